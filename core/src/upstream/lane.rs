//! The links that carry the calls of stateless agents which can be asked something, at servers that have sessions.
//!
//! **A lane carries one call at a time**, so that whatever the server asks on it is certain to concern that call. A
//! free lane is taken again, the first one first: an agent whose calls follow each other meets the same session.
//!
//! **A lane carries the calls of one caller**: what its user has agreed to, or signed in to, on the server's session must
//! serve nobody else.
//!
//! **A lane whose call has ended without an answer is not taken again**: its server may still be at that call, and what
//! it asked then would be another agent's.
//!
//! **A server is told roots once on a lane**: it may keep them for as long as the session lasts, so that what it says of
//! them to the next agent would be another's. Such a lane is not taken again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::channel::mpsc;

use super::{Link, Owner, lock};
use crate::identity;
use crate::session::Interaction;

/// The most lanes to one server; further calls share its shared link, on which nothing can be asked.
const LANES: usize = 16;

/// How many messages outside the answer may wait for a call.
const BACKLOG: usize = 64;

/// The lanes to one server.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<ByCaller>);

/// Lanes by whose they are and what may be asked on them.
type ByCaller = BTreeMap<(identity::Owner, Interaction), Vec<Arc<Link>>>;

/// What a lane's link knows of the call that it carries.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    busy: AtomicBool,
    /// Whether it carries no more calls.
    over: AtomicBool,
    /// Takes what the server says besides the answer, on a stream of its own.
    unasked: Mutex<Option<mpsc::Sender<Bytes>>>,
}

/// A lane in use; once this is dropped it is free again, or over.
#[derive(Debug)]
pub(crate) struct Lane {
    link: Arc<Link>,
    knows_roots: bool,
    /// Whether the server may be at a call of it.
    is_asked: bool,
}

impl Lanes {
    /// Takes a free lane of the caller's whose server was told that it may ask this; nothing where all that may be are in
    /// use. Where there are too many, the one that has been free the longest is given up for it, and is returned besides.
    pub(crate) fn take(
        &self,
        owner: identity::Owner,
        interaction: Interaction,
        now: u64,
    ) -> (Option<Lane>, Option<Arc<Link>>) {
        let mut lanes = lock(&self.0);
        let key = (owner, interaction);
        let free = lanes.get(&key).into_iter().flatten().find(|link| link.carried.begin()).cloned();
        let mut given_up = None;
        let link = if let Some(link) = free {
            link
        } else {
            if lanes.values().map(Vec::len).sum::<usize>() >= LANES {
                given_up = give_up_one(&mut lanes);
                if given_up.is_none() {
                    return (None, None);
                }
            }
            let link = Link::new(Owner::Lane(interaction));
            link.carried.begin();
            lanes.entry(key).or_default().push(link.clone());
            link
        };
        link.used.store(now, Ordering::Relaxed);
        (Some(Lane { link, knows_roots: false, is_asked: false }), given_up)
    }

    /// Gives up the lanes that were last taken before `time` and are free, and those that are over.
    pub(crate) fn drop_idle(&self, time: u64) -> Vec<Arc<Link>> {
        let mut idle = Vec::new();
        lock(&self.0).retain(|_, links| {
            idle.extend(links.extract_if(.., |link| {
                let busy = link.carried.busy.load(Ordering::Relaxed);
                let idle = link.used.load(Ordering::Relaxed) < time && !busy;
                idle || link.carried.over.load(Ordering::Relaxed)
            }));
            !links.is_empty()
        });
        idle
    }

    /// Tells whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

/// Takes out the free lane that was taken the longest ago.
fn give_up_one(lanes: &mut ByCaller) -> Option<Arc<Link>> {
    let free = lanes.values().flatten().filter(|link| !link.carried.busy.load(Ordering::Acquire));
    let oldest = free.min_by_key(|link| link.used.load(Ordering::Relaxed))?.clone();
    // Who takes a lane holds the lock: it stays free.
    for links in lanes.values_mut() {
        links.retain(|link| !Arc::ptr_eq(link, &oldest));
    }
    lanes.retain(|_, links| !links.is_empty());
    Some(oldest)
}

impl Carried {
    fn begin(&self) -> bool {
        !self.busy.swap(true, Ordering::Acquire)
    }

    /// Hands a message to the call that is being carried; returns whether there is one that takes it.
    pub(crate) fn tell(&self, message: Bytes) -> bool {
        lock(&self.unasked).as_mut().is_some_and(|call| call.try_send(message).is_ok())
    }
}

impl Lane {
    /// Returns the link.
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Notes that the server is told the roots of the agent whose call this is.
    pub(crate) fn tells_roots(&mut self) {
        self.knows_roots = true;
    }

    /// Notes that the call has been answered.
    pub(crate) fn answered(&mut self) {
        self.is_asked = false;
    }

    /// Begins the call; returns what the server says besides the answer, from now on.
    pub(crate) fn begin(&mut self) -> mpsc::Receiver<Bytes> {
        self.is_asked = true;
        let (sender, receiver) = mpsc::channel(BACKLOG);
        *lock(&self.link.carried.unasked) = Some(sender);
        receiver
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let carried = &self.link.carried;
        lock(&carried.unasked).take();
        if self.knows_roots || self.is_asked {
            carried.over.store(true, Ordering::Release);
        } else {
            carried.busy.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(lanes: &Lanes, interaction: Interaction, now: u64) -> Option<Lane> {
        lanes.take(identity::Owner::default(), interaction, now).0
    }

    #[test]
    fn a_lane_carries_one_call_at_a_time() {
        let lanes = Lanes::default();
        let form = Interaction { form: true, ..Interaction::default() };
        let first = take(&lanes, form, 1).expect("room");
        let second = take(&lanes, form, 1).expect("room");
        assert!(!Arc::ptr_eq(first.link(), second.link()));
        let link = first.link().clone();
        drop(first);
        let again = take(&lanes, form, 2).expect("room");
        assert!(Arc::ptr_eq(&link, again.link()), "the first free one");
        let all: Vec<_> = (0..100).filter_map(|_| take(&lanes, form, 3)).collect();
        assert_eq!(all.len(), LANES - 2);
        assert!(take(&lanes, Interaction::default(), 3).is_none());
        drop((again, second, all));
        assert_eq!(lanes.drop_idle(3).len(), 2);
        assert_eq!(lanes.drop_idle(4).len(), LANES - 2);
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_lane_whose_server_knows_roots_is_not_taken_again() {
        let lanes = Lanes::default();
        let roots = Interaction { roots: true, ..Interaction::default() };
        let mut first = take(&lanes, roots, 1).expect("room");
        first.tells_roots();
        let link = first.link().clone();
        assert!(lanes.drop_idle(0).is_empty(), "its call still runs");
        drop(first);
        let second = take(&lanes, roots, 1).expect("room");
        assert!(!Arc::ptr_eq(&link, second.link()));
        let given_up = lanes.drop_idle(0);
        assert!(given_up.len() == 1 && Arc::ptr_eq(&given_up[0], &link));
        drop(second);
        assert!(lanes.drop_idle(0).is_empty(), "who knows nothing is kept");
    }

    #[test]
    fn what_is_said_besides_reaches_the_call_or_nobody() {
        let lanes = Lanes::default();
        let mut lane = take(&lanes, Interaction::default(), 1).expect("room");
        let link = lane.link().clone();
        assert!(!link.carried.tell(Bytes::new()), "nobody listens yet");
        let mut heard = lane.begin();
        assert!(link.carried.tell(Bytes::from_static(b"x")));
        assert_eq!(heard.try_recv().ok().as_deref(), Some(&b"x"[..]));
        drop(lane);
        assert!(!link.carried.tell(Bytes::new()));
    }

    #[test]
    fn a_lane_whose_call_was_not_answered_is_over() {
        let lanes = Lanes::default();
        let form = Interaction { form: true, ..Interaction::default() };
        let mut lane = take(&lanes, form, 1).expect("room");
        let link = lane.link().clone();
        drop(lane.begin());
        lane.answered();
        drop(lane);
        let mut lane = take(&lanes, form, 1).expect("room");
        assert!(Arc::ptr_eq(&link, lane.link()), "an answer ends the call");
        drop(lane.begin());
        drop(lane);
        let other = take(&lanes, form, 1).expect("room");
        assert!(!Arc::ptr_eq(&link, other.link()), "its server may still ask");
        let gone = lanes.drop_idle(0);
        assert!(gone.len() == 1 && Arc::ptr_eq(&link, &gone[0]));
    }

    #[test]
    fn a_lane_serves_the_caller_that_it_was_made_for() {
        let lanes = Lanes::default();
        let owner = |principal: &str| identity::Owner { principal: Some(principal.into()), tag: None };
        let form = Interaction { form: true, ..Interaction::default() };
        let take = |who: &str, now| lanes.take(owner(who), form, now);
        let mut links: Vec<_> = (0..LANES as u64).map(|now| take(&now.to_string(), now).0).collect();
        assert!(matches!(take("more", 50), (None, None)), "all are in use");
        let first = links[0].as_ref().map(|lane| lane.link().clone()).expect("room");
        let second = links[1].as_ref().map(|lane| lane.link().clone()).expect("room");
        drop((links[0].take(), links[1].take()));
        let (again, given_up) = take("1", 60);
        assert!(again.is_some_and(|lane| Arc::ptr_eq(lane.link(), &second)) && given_up.is_none());
        let (other, given_up) = take("more", 70);
        assert!(other.is_some_and(|lane| !Arc::ptr_eq(lane.link(), &first)), "never another caller's");
        assert!(given_up.is_some_and(|link| Arc::ptr_eq(&link, &first)), "the one that was free the longest");
    }
}
