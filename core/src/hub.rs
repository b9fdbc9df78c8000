//! Who listens to what: the open streams that notifications go out on.
//!
//! **A notification reaches only streams that asked for it and whose endpoint shows its source.** Streams that do
//! not keep up lose repetitions, never the last word: a change that is already waiting is not queued again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc;

use crate::catalog::Scope;
use crate::names::ServerName;

/// How many notifications may wait on one stream.
const BACKLOG: usize = 256;

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
pub(crate) type Resource = (ServerName, String);

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    closed: bool,
    listeners: BTreeMap<u64, Listener>,
    /// What each subscriber wants to hear of, with the URI that it knows it by.
    subscriptions: BTreeMap<u64, BTreeMap<Resource, String>>,
}

#[derive(Debug)]
struct Listener {
    scope: Scope,
    /// Who listens: a session's nonce, or a number of the request's own.
    nonce: u64,
    interest: Interest,
    notes: mpsc::Sender<Note>,
}

/// Which changes of lists a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Those that a stateless request asked for.
    Lists(BTreeSet<&'static str>),
    /// All: it is a session's own stream.
    Session,
}

/// An open stream's end of the hub.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) notes: mpsc::Receiver<Note>,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream; once the hub is closed it ends at once.
    pub(crate) fn join(&self, scope: Scope, nonce: u64, interest: Interest) -> Seat {
        let (mut sender, notes) = mpsc::channel(BACKLOG);
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        if state.closed {
            let _ = sender.try_send(Note::Goodbye);
        }
        state.listeners.insert(id, Listener { scope, nonce, interest, notes: sender });
        Seat { id, notes }
    }

    /// Returns how many streams are open.
    pub(crate) fn open(&self) -> usize {
        self.state().listeners.len()
    }

    /// Closes a stream.
    pub(crate) fn leave(&self, id: u64) {
        self.state().listeners.remove(&id);
    }

    /// Tells those whose endpoint shows the server that its lists have changed.
    pub(crate) fn list_changed(&self, server: &ServerName, capability: &'static str) {
        let mut state = self.state();
        state.send(&Note::ListChanged(capability), |listener| {
            listener.scope.includes(server)
                && match &listener.interest {
                    Interest::Lists(lists) => lists.contains(capability),
                    Interest::Session => true,
                }
        });
    }

    /// Tells those who subscribed to it that a resource has changed, by the URI that each knows.
    pub(crate) fn updated(&self, resource: &Resource) {
        let mut state = self.state();
        let subscribers: Vec<_> = state
            .subscriptions
            .iter()
            .filter_map(|(nonce, resources)| Some((*nonce, resources.get(resource)?.clone())))
            .collect();
        for (nonce, uri) in subscribers {
            state.send(&Note::Updated(uri), |listener| listener.nonce == nonce);
        }
    }

    /// Sends a message to a session's own stream; returns whether there is one.
    pub(crate) fn tell(&self, nonce: u64, message: String) -> bool {
        self.state().send(&Note::Message(message), |listener| listener.nonce == nonce)
    }

    /// Notes that somebody wants to hear of a resource, by the URI that it knows.
    pub(crate) fn subscribe(&self, nonce: u64, resource: Resource, uri: String) {
        self.state().subscriptions.entry(nonce).or_default().insert(resource, uri);
    }

    /// Notes that somebody no longer wants to hear of a resource.
    pub(crate) fn unsubscribe(&self, nonce: u64, resource: &Resource) {
        let mut state = self.state();
        if let Some(resources) = state.subscriptions.get_mut(&nonce) {
            resources.remove(resource);
            if resources.is_empty() {
                state.subscriptions.remove(&nonce);
            }
        }
    }

    /// Tells whether anybody wants to hear of a resource.
    pub(crate) fn is_subscribed(&self, resource: &Resource) -> bool {
        self.state().subscriptions.values().any(|resources| resources.contains_key(resource))
    }

    /// Returns the resources of a server that anybody wants to hear of.
    pub(crate) fn resources_of(&self, server: &ServerName) -> BTreeSet<String> {
        let state = self.state();
        let resources = state.subscriptions.values().flat_map(BTreeMap::keys);
        resources.filter(|(name, _)| name == server).map(|(_, uri)| uri.clone()).collect()
    }

    /// Forgets a session: its streams end. Returns the resources that it wanted to hear of.
    pub(crate) fn forget(&self, nonce: u64) -> Vec<Resource> {
        let mut state = self.state();
        state.send_all(&Note::Goodbye, |listener| listener.nonce == nonce);
        state.subscriptions.remove(&nonce).unwrap_or_default().into_keys().collect()
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
    /// out on one stream. Returns whether anybody was.
    fn send(&mut self, note: &Note, concerns: impl Fn(&Listener) -> bool) -> bool {
        let mut told = BTreeSet::new();
        for listener in self.listeners.values_mut().rev() {
            if !told.contains(&listener.nonce)
                && concerns(listener)
                && listener.notes.try_send(note.clone()).is_ok()
            {
                told.insert(listener.nonce);
            }
        }
        !told.is_empty()
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

    #[test]
    fn a_note_reaches_those_who_asked_and_may_see_it() {
        let hub = Hub::default();
        let name = |name| ServerName::parse(name).unwrap();
        let resource = (name("a"), "x:1".to_owned());
        let mut modern = hub.join(Scope::All, 1, Interest::Lists(BTreeSet::from(["tools"])));
        let mut older = hub.join(Scope::All, 7, Interest::Session);
        let mut session = hub.join(Scope::All, 7, Interest::Session);
        let mut narrow = hub.join(Scope::Server(name("b")), 8, Interest::Session);
        hub.subscribe(1, resource.clone(), "portcullis://a/x:1".into());
        hub.list_changed(&name("a"), "tools");
        hub.list_changed(&name("a"), "prompts");
        hub.updated(&resource);
        assert_eq!(
            drain(&mut modern),
            [Note::ListChanged("tools"), Note::Updated("portcullis://a/x:1".into())]
        );
        assert_eq!(drain(&mut session), [Note::ListChanged("tools"), Note::ListChanged("prompts")]);
        assert!(drain(&mut narrow).is_empty());
        assert!(drain(&mut older).is_empty(), "one stream of a session is enough");
        hub.subscribe(7, resource.clone(), "x:1".into());
        hub.updated(&resource);
        assert_eq!(drain(&mut session), [Note::Updated("x:1".into())]);
        hub.unsubscribe(7, &resource);
        assert!(hub.is_subscribed(&resource));
        hub.unsubscribe(1, &resource);
        assert!(!hub.is_subscribed(&resource));
    }

    #[test]
    fn everything_ends_once_it_is_closed() {
        let hub = Hub::default();
        let mut before = hub.join(Scope::All, 1, Interest::Session);
        hub.close();
        let mut after = hub.join(Scope::All, 2, Interest::Session);
        assert_eq!((drain(&mut before), drain(&mut after)), (vec![Note::Goodbye], vec![Note::Goodbye]));
    }
}
