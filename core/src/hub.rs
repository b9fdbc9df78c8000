//! Who listens to what: the open streams that notifications go out on.
//!
//! **A notification reaches only streams that asked for it and whose endpoint shows its source. That a list has changed
//! is told when, and only when, it has for whoever is told**: each stream is told of what its own agent is listed. Streams
//! that do not keep up lose repetitions, never the last word: a change that finds no room is told later.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::channel::mpsc;

use crate::catalog::{CAPABILITIES, Listed, Scope};
use crate::config::Limits;
use crate::front::Caller;
use crate::identity::Identity;
use crate::names::ServerName;
use crate::sorted::{SortedMap, SortedSet};
use crate::upstream::{ServerKey, lock};
use crate::users;
use crate::wire::version::Era;

/// How many notifications may wait on one stream.
const BACKLOG: usize = 256;

/// How many resources one subscriber may want to hear of.
const SUBSCRIPTIONS: usize = 1000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// The lists of this capability have changed.
    ListChanged(&'static str),
    /// This resource has changed, by the URI that agents know.
    Updated(String),
    /// A message for one session, as JSON text.
    Message(String),
    /// The gateway stops.
    Goodbye,
}

/// A resource as its server knows it.
pub(crate) type Resource = (ServerKey, String);

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    closed: bool,
    /// Whether somebody is busy announcing changes.
    announcing: bool,
    listeners: SortedMap<u64, Listener>,
    /// What each subscriber wants to hear of, with the URI that it knows it by.
    subscriptions: SortedMap<u64, Subscriber>,
}

#[derive(Debug)]
struct Subscriber {
    /// When it is forgotten, in milliseconds since the Unix epoch.
    expires: u64,
    resources: SortedMap<Resource, String>,
}

#[derive(Debug)]
struct Listener {
    audience: Audience,
    /// What it was listed when it was last looked at.
    listed: Listed,
    /// The changes that it is to be told.
    due: SortedSet<&'static str>,
    /// Who listens: a session's nonce, or a number of the request's own.
    nonce: u64,
    interest: Interest,
    notes: mpsc::Sender<Note>,
}

/// Which changes of lists a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Those that a stateless request asked for.
    Lists(SortedSet<&'static str>),
    /// All: it is a session's own stream.
    Session,
}

impl Interest {
    fn includes(&self, capability: &str) -> bool {
        match self {
            Self::Lists(lists) => lists.contains(capability),
            Self::Session => true,
        }
    }
}

/// What decides on what somebody is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Audience {
    pub(crate) scope: Scope,
    /// The gateways that it listens through.
    pub(crate) through: Vec<String>,
    pub(crate) era: Era,
    pub(crate) who: Whose,
}

impl Audience {
    /// Returns whom a caller's streams are for.
    pub(crate) fn of(caller: &Caller) -> Self {
        let through = caller.comes_through().into_iter().map(str::to_owned).collect();
        Self { scope: caller.scope.clone(), through, era: caller.era(), who: Whose(caller.who.clone()) }
    }
}

/// Whose view it is. Those whom the policy cannot tell apart are the same.
#[derive(Debug, Clone)]
pub(crate) struct Whose(pub(crate) Arc<Identity>);

impl Whose {
    fn key(&self) -> (&str, Option<&str>, Option<&str>, Option<&str>) {
        let who = &self.0;
        (who.agent.key(), who.principal.as_deref(), who.client.as_deref(), who.tag.as_deref())
    }
}

impl PartialEq for Whose {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Whose {}

impl PartialOrd for Whose {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Whose {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// An open stream's end of the hub.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) notes: mpsc::Receiver<Note>,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Opens a stream; once the hub is closed it ends at once. `look` says what the audience is listed. Of too many
    /// streams of one session the oldest ends; where there are too many at all there is no seat.
    pub(crate) fn join(
        &self,
        audience: Audience,
        nonce: u64,
        interest: Interest,
        limits: &Limits,
        look: impl Fn(&Audience) -> Listed,
    ) -> Option<Seat> {
        let (mut sender, notes) = mpsc::channel(BACKLOG);
        let mut state = self.state();
        state.make_room(nonce, limits.session_streams);
        if state.listeners.len() >= limits.streams {
            return None;
        }
        state.next += 1;
        let id = state.next;
        if state.closed {
            let _ = sender.try_send(Note::Goodbye);
        }
        let (listed, due) = (look(&audience), SortedSet::new());
        let listener = Listener { audience, listed, due, nonce, interest, notes: sender };
        state.listeners.insert(id, listener);
        Some(Seat { id, notes })
    }

    /// Returns how many streams are open.
    pub(crate) fn open(&self) -> usize {
        self.state().listeners.len()
    }

    /// Tells whether a stream is open for an audience that `is_it`.
    pub(crate) fn any(&self, is_it: impl Fn(&Audience) -> bool) -> bool {
        self.state().listeners.values().any(|listener| is_it(&listener.audience))
    }

    /// Closes a stream.
    pub(crate) fn leave(&self, id: u64) {
        self.state().listeners.remove(&id);
    }

    /// Closes a stream that has nothing to be told and hears of lists alone; returns what its audience was listed.
    pub(crate) fn put_to_rest(&self, id: u64) -> Option<Listed> {
        let mut state = self.state();
        let listener = state.listeners.get(&id).filter(|listener| listener.due.is_empty())?;
        if state.subscriptions.get(&listener.nonce).is_some_and(|wishes| !wishes.resources.is_empty()) {
            return None;
        }
        Some(state.listeners.remove(&id)?.listed)
    }

    /// Looks at what everybody is listed now, and notes who is to be told of a change; the streams of those end who would
    /// not be let in any more. Returns whether [`Hub::announce`] has to be called, until it returns `false`.
    pub(crate) fn compare(&self, look: impl Fn(&Audience) -> Option<Listed>) -> bool {
        let mut state = self.state();
        let mut seen: SortedMap<Audience, Option<Listed>> = SortedMap::new();
        for listener in state.listeners.values_mut() {
            if !seen.contains_key(&listener.audience) {
                seen.insert(listener.audience.clone(), look(&listener.audience));
            }
            let Some(now) = &seen[&listener.audience] else {
                listener.due.clear();
                let _ = listener.notes.try_send(Note::Goodbye);
                continue;
            };
            for (index, capability) in CAPABILITIES.into_iter().enumerate() {
                if listener.listed.0[index] != now.0[index] && listener.interest.includes(capability) {
                    listener.due.insert(capability);
                }
            }
            listener.listed.clone_from(now);
        }
        let begins = !state.announcing && state.is_anything_due();
        state.announcing |= begins;
        begins
    }

    /// Tells everybody of what has changed since it was last told. Returns `false` once there was nothing to tell.
    pub(crate) fn announce(&self) -> bool {
        let mut state = self.state();
        state.announcing = state.is_anything_due();
        for capability in CAPABILITIES {
            let due: SortedSet<u64> = state.due(capability).map(|listener| listener.nonce).collect();
            let told = state.send(&Note::ListChanged(capability), |listener| due.contains(&listener.nonce));
            for listener in state.listeners.values_mut().filter(|listener| told.contains(&listener.nonce)) {
                listener.due.remove(capability);
            }
        }
        state.announcing
    }

    /// Forgets servers that are no longer there: subscriptions to their resources, and streams of their endpoints.
    pub(crate) fn keep_only(&self, is_there: impl Fn(&ServerName) -> bool) {
        let mut state = self.state();
        for subscriber in state.subscriptions.values_mut() {
            subscriber.resources.retain(|(server, _), _| is_there(&server.name));
        }
        state.subscriptions.retain(|_, subscriber| !subscriber.resources.is_empty());
        state.send_all(
            &Note::Goodbye,
            |listener| matches!(&listener.audience.scope, Scope::Server(name) if !is_there(name)),
        );
    }

    /// Tells whether somebody listens for whom such servers are.
    pub(crate) fn hears(&self, user: &str) -> bool {
        self.any(|audience| users::is_for(user, &audience.who.0))
    }

    /// Ends the streams of principals that no longer are any.
    pub(crate) fn keep_principals(&self, counts: impl Fn(&str) -> bool) {
        let lost =
            |listener: &Listener| listener.audience.who.0.principal.as_ref().is_some_and(|who| !counts(who));
        self.state().send_all(&Note::Goodbye, lost);
    }

    /// Tells those who subscribed to it that a resource has changed, by the URI that each knows. `sees` says who still
    /// may read it.
    pub(crate) fn updated(&self, resource: &Resource, sees: impl Fn(&Audience, &Resource) -> bool) {
        let mut state = self.state();
        let subscribers: Vec<_> = state
            .subscriptions
            .iter()
            .filter_map(|(nonce, subscriber)| Some((*nonce, subscriber.resources.get(resource)?.clone())))
            .collect();
        for (nonce, uri) in subscribers {
            state.send(&Note::Updated(uri), |listener| {
                listener.nonce == nonce && sees(&listener.audience, resource)
            });
        }
    }

    /// Sends a message to a session's own stream; returns whether there is one.
    pub(crate) fn tell(&self, nonce: u64, message: String) -> bool {
        !self.state().send(&Note::Message(message), |listener| listener.nonce == nonce).is_empty()
    }

    /// Notes that somebody wants to hear of a resource, by the URI that it knows, until it expires. Returns whether it
    /// may want that many.
    pub(crate) fn subscribe(&self, (nonce, expires): (u64, u64), resource: Resource, uri: String) -> bool {
        let mut state = self.state();
        let new = || Subscriber { expires, resources: SortedMap::new() };
        let resources = &mut state.subscriptions.entry(nonce).or_insert_with(new).resources;
        let room = resources.len() < SUBSCRIPTIONS || resources.contains_key(&resource);
        if room {
            resources.insert(resource, uri);
        }
        room
    }

    /// Forgets subscribers that have expired. Returns the resources that they wanted to hear of.
    pub(crate) fn forget_expired(&self, now: u64) -> Vec<Resource> {
        let mut state = self.state();
        let expired = state.subscriptions.extract_if(|_, subscriber| subscriber.expires <= now);
        expired.flat_map(|(_, subscriber)| subscriber.resources.into_keys()).collect()
    }

    /// Notes that somebody no longer wants to hear of a resource.
    pub(crate) fn unsubscribe(&self, nonce: u64, resource: &Resource) {
        let mut state = self.state();
        if let Some(Subscriber { resources, .. }) = state.subscriptions.get_mut(&nonce) {
            resources.remove(resource);
            if resources.is_empty() {
                state.subscriptions.remove(&nonce);
            }
        }
    }

    /// Tells whether anybody wants to hear of a resource.
    pub(crate) fn is_subscribed(&self, resource: &Resource) -> bool {
        self.state().subscriptions.values().any(|subscriber| subscriber.resources.contains_key(resource))
    }

    /// Returns the resources of a server that anybody wants to hear of.
    pub(crate) fn resources_of(&self, server: &ServerKey) -> SortedSet<String> {
        let state = self.state();
        let resources = state.subscriptions.values().flat_map(|subscriber| subscriber.resources.keys());
        resources.filter(|(of, _)| of == server).map(|(_, uri)| uri.clone()).collect()
    }

    /// Forgets a session: its streams end. Returns the resources that it wanted to hear of.
    pub(crate) fn forget(&self, nonce: u64) -> Vec<Resource> {
        let mut state = self.state();
        state.send_all(&Note::Goodbye, |listener| listener.nonce == nonce);
        let subscriber = state.subscriptions.remove(&nonce);
        subscriber.map_or(Vec::new(), |subscriber| subscriber.resources.into_keys().collect())
    }

    /// Tells everyone, and whoever comes later, that the gateway stops.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.send_all(&Note::Goodbye, |_| true);
    }
}

impl State {
    /// Sends to everyone concerned; of several streams of one session only the newest counts, since a message goes
    /// out on one stream. Returns who was told.
    fn send(&mut self, note: &Note, concerns: impl Fn(&Listener) -> bool) -> SortedSet<u64> {
        let mut told = SortedSet::new();
        for listener in self.listeners.values_mut().rev() {
            if !told.contains(&listener.nonce)
                && concerns(listener)
                && listener.notes.try_send(note.clone()).is_ok()
            {
                told.insert(listener.nonce);
            }
        }
        told
    }

    /// Ends the oldest streams of a session that has as many as it may have.
    fn make_room(&mut self, nonce: u64, most: usize) {
        let own = self.listeners.iter().filter(|(_, listener)| listener.nonce == nonce);
        let own: Vec<u64> = own.map(|(id, _)| *id).collect();
        for id in own.iter().take((own.len() + 1).saturating_sub(most)) {
            self.listeners.remove(id);
        }
    }

    fn due(&self, capability: &str) -> impl Iterator<Item = &Listener> {
        self.listeners.values().filter(move |listener| listener.due.contains(capability))
    }

    fn is_anything_due(&self) -> bool {
        self.listeners.values().any(|listener| !listener.due.is_empty())
    }

    fn send_all(&mut self, note: &Note, concerns: impl Fn(&Listener) -> bool) {
        for listener in self.listeners.values_mut().filter(|listener| concerns(listener)) {
            let _ = listener.notes.try_send(note.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn drain(seat: &mut Seat) -> Vec<Note> {
        std::iter::from_fn(|| seat.notes.next().now_or_never().flatten()).collect()
    }

    /// Joins as whoever is listed what the number says.
    fn join(hub: &Hub, scope: Scope, nonce: u64, interest: Interest) -> Seat {
        let era = if interest == Interest::Session { Era::Legacy } else { Era::Modern };
        let who = Whose(Arc::new(Identity::anonymous(&crate::config::Policy::default())));
        let audience = Audience { scope, through: Vec::new(), era, who };
        let limits = Limits { streams: 4, session_streams: 2, ..Limits::default() };
        hub.join(audience, nonce, interest, &limits, |_| listed([0; 3])).expect("room")
    }

    fn listed(versions: [u64; 3]) -> Listed {
        Listed(versions.map(|version| version.to_string()))
    }

    fn key(name_of: &str) -> ServerKey {
        ServerKey { name: name(name_of), user: None }
    }

    fn name(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    const TOOLS: Note = Note::ListChanged("tools");
    const PROMPTS: Note = Note::ListChanged("prompts");

    #[test]
    fn a_note_reaches_those_who_asked_and_may_see_it() {
        let hub = Hub::default();
        let resource = (key("a"), "x:1".to_owned());
        let mut modern = join(&hub, Scope::All, 1, Interest::Lists(SortedSet::from(["tools"])));
        let mut older = join(&hub, Scope::All, 7, Interest::Session);
        let mut session = join(&hub, Scope::All, 7, Interest::Session);
        let mut narrow = join(&hub, Scope::Server(name("b")), 8, Interest::Session);
        hub.subscribe((1, 9), resource.clone(), "portcullis://a/x:1".into());
        let look =
            |audience: &Audience| Some(listed(if audience.scope == Scope::All { [1, 1, 0] } else { [0; 3] }));
        assert!(hub.compare(look) && hub.announce() && !hub.announce());
        hub.updated(&resource, |_, _| true);
        assert_eq!(drain(&mut modern), [TOOLS, Note::Updated("portcullis://a/x:1".into())]);
        assert_eq!(drain(&mut session), [TOOLS, PROMPTS]);
        assert!(drain(&mut narrow).is_empty());
        assert!(drain(&mut older).is_empty(), "one stream of a session is enough");
        assert!(!hub.compare(look), "nothing has changed since");
        hub.subscribe((7, 9), resource.clone(), "x:1".into());
        hub.updated(&resource, |audience, _| audience.era == Era::Legacy);
        assert_eq!(drain(&mut session), [Note::Updated("x:1".into())]);
        assert!(drain(&mut modern).is_empty(), "it no longer sees the resource");
        hub.unsubscribe(7, &resource);
        assert!(hub.is_subscribed(&resource));
        hub.unsubscribe(1, &resource);
        assert!(!hub.is_subscribed(&resource));
    }

    #[test]
    fn changes_are_told_together_and_the_last_one_always() {
        let hub = Hub::default();
        let mut seat = join(&hub, Scope::All, 1, Interest::Session);
        assert!(hub.compare(|_| Some(listed([1, 0, 0]))));
        assert!(hub.announce());
        for version in 2..100 {
            assert!(!hub.compare(|_| Some(listed([version, 0, 0]))), "somebody announces already");
        }
        assert!(hub.announce() && !hub.announce());
        assert_eq!(drain(&mut seat), [TOOLS, TOOLS]);
        for version in [5, 99] {
            hub.compare(|_| Some(listed([version, 0, 0])));
        }
        hub.announce();
        assert_eq!(drain(&mut seat), [TOOLS], "it may have seen what was there in between");
    }

    #[test]
    fn a_change_that_finds_no_room_is_told_later() {
        let hub = Hub::default();
        let mut seat = join(&hub, Scope::All, 1, Interest::Session);
        while hub.tell(1, "{}".into()) {}
        hub.compare(|_| Some(listed([1, 0, 0])));
        assert!(hub.announce() && hub.announce());
        assert!(!drain(&mut seat).contains(&TOOLS));
        assert!(hub.announce() && !hub.announce());
        assert_eq!(drain(&mut seat), [TOOLS]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let hub = Hub::default();
        let mut gone = join(&hub, Scope::Server(name("a")), 1, Interest::Session);
        let mut all = join(&hub, Scope::All, 2, Interest::Session);
        let (one, two) = ((key("a"), "x:1".to_owned()), (key("b"), "x:2".to_owned()));
        for resource in [&one, &two] {
            hub.subscribe((2, 9), resource.clone(), resource.1.clone());
        }
        hub.keep_only(|server| *server == name("b"));
        assert!(!hub.is_subscribed(&one) && hub.is_subscribed(&two));
        assert_eq!((drain(&mut gone), drain(&mut all)), (vec![Note::Goodbye], Vec::new()));
    }

    #[test]
    fn who_is_let_in_no_more_hears_nothing_more() {
        let hub = Hub::default();
        let mut seat = join(&hub, Scope::All, 1, Interest::Session);
        assert!(hub.compare(|_| Some(listed([1, 0, 0]))));
        assert!(!hub.compare(|_| None) && !hub.announce());
        assert_eq!(drain(&mut seat), [Note::Goodbye]);
    }

    #[test]
    fn a_session_that_opens_ever_more_streams_loses_the_oldest() {
        let hub = Hub::default();
        let mut seats: Vec<_> = (0..9).map(|_| join(&hub, Scope::All, 1, Interest::Session)).collect();
        let open: Vec<_> = seats.iter_mut().map(|seat| seat.notes.next().now_or_never().is_none()).collect();
        assert_eq!(open, [[false; 7].as_slice(), &[true; 2]].concat());
    }

    #[test]
    fn subscribers_are_bounded_and_expire() {
        let hub = Hub::default();
        let resource = |number: usize| (key("a"), number.to_string());
        let subscribe = |number| hub.subscribe((1, 9), resource(number), String::new());
        assert!((0..SUBSCRIPTIONS).all(subscribe));
        assert!(!subscribe(SUBSCRIPTIONS) && subscribe(0));
        assert_eq!((hub.forget_expired(8).len(), hub.forget_expired(9).len()), (0, SUBSCRIPTIONS));
        assert!(!hub.is_subscribed(&resource(0)));
    }

    #[test]
    fn everything_ends_once_it_is_closed() {
        let hub = Hub::default();
        let mut before = join(&hub, Scope::All, 1, Interest::Session);
        hub.close();
        let mut after = join(&hub, Scope::All, 2, Interest::Session);
        assert_eq!((drain(&mut before), drain(&mut after)), (vec![Note::Goodbye], vec![Note::Goodbye]));
    }
}
