//! Snapshots of principals: in each, the servers that act for their users are those of one user (ADR 0030). Whoever is the same
//! agent shares the servers of which each agent has one: for these an agent counts as a user.
//!
//! **Everything else in it is everybody's**: the configuration, the rules, all other servers. So no flow knows the
//! difference, and what holds between two servers holds between two users of one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use arc_swap::ArcSwap;

use crate::gateway::{Keeper, Snapshot};
use crate::identity::Identity;
use crate::sorted::SortedMap;
use crate::upstream::{Server, lock};

/// The most principals whose servers are kept at a time, beyond those that listen.
const KEPT: usize = 1000;
/// How long they are kept after they were last used, in milliseconds.
const IDLE: u64 = 10 * 60_000;

/// What says that an agent is meant, and no principal: those have another word before the colon.
const AGENT: &str = "agent:";

/// The snapshots of principals, by principal; those of agents, by what [`of_agent`] says.
#[derive(Default)]
pub(crate) struct Users {
    known: ArcSwap<SortedMap<Arc<str>, Arc<User>>>,
    /// Those with the servers of a principal and of an agent.
    joint: ArcSwap<Vec<Joint>>,
    /// Held while there come to be others.
    changing: Mutex<()>,
}

/// One principal's snapshot.
struct User {
    snapshot: Arc<Snapshot>,
    /// When it was last asked for, in milliseconds since the Unix epoch.
    used: AtomicU64,
}

/// What a caller's snapshot is made of, and the snapshot.
#[derive(Clone)]
struct Joint {
    own: Arc<Snapshot>,
    agents: Arc<Snapshot>,
    both: Arc<Snapshot>,
}

/// What else follows where somebody's snapshot is made.
#[derive(Default)]
pub(crate) struct Turnover {
    /// The servers that are new.
    pub(crate) keepers: Vec<Keeper>,
    /// Those that are no longer anybody's.
    pub(crate) retired: Vec<Arc<Server>>,
}

/// Returns what an agent is called among users.
pub(crate) fn of_agent(name: &str) -> Arc<str> {
    format!("{AGENT}{name}").into()
}

/// Tells whether the servers of this user are a caller's.
pub(crate) fn is_for(user: &str, who: &Identity) -> bool {
    match user.strip_prefix(AGENT) {
        Some(agent) => *who.agent.name == *agent,
        None => who.principal.as_deref() == Some(user),
    }
}

impl Users {
    /// Returns a principal's snapshot, where there is one that follows from `everybodys`.
    pub(crate) fn known(&self, everybodys: &Snapshot, user: &str, now: u64) -> Option<Arc<Snapshot>> {
        let known = self.known.load();
        let found = known.get(user).filter(|found| found.snapshot.edition == everybodys.edition)?;
        found.used.store(now, Ordering::Relaxed);
        Some(found.snapshot.clone())
    }

    /// Makes a principal's snapshot where there is none.
    pub(crate) fn make(&self, everybodys: &Snapshot, user: &Arc<str>, now: u64) -> (Arc<Snapshot>, Turnover) {
        let _one_at_a_time = lock(&self.changing);
        if let Some(known) = self.known(everybodys, user, now) {
            return (known, Turnover::default());
        }
        let mut known = SortedMap::clone(&self.known.load());
        let mut turnover = Turnover::default();
        let before = known.remove(user);
        let snapshot =
            Arc::new(everybodys.of_user(user, before.as_deref().map(|user| &*user.snapshot), &mut turnover));
        known.insert(user.clone(), Arc::new(User { snapshot: snapshot.clone(), used: AtomicU64::new(now) }));
        self.known.store(Arc::new(known));
        (snapshot, turnover)
    }

    /// Returns a caller's snapshot, of its own and of its agent's.
    pub(crate) fn beside(&self, own: &Arc<Snapshot>, agents: &Arc<Snapshot>) -> Arc<Snapshot> {
        let known = |joint: &[Joint]| {
            let is_it = |known: &&Joint| Arc::ptr_eq(&known.own, own) && Arc::ptr_eq(&known.agents, agents);
            joint.iter().find(is_it).map(|known| known.both.clone())
        };
        if let Some(both) = known(&self.joint.load()) {
            return both;
        }
        let _one_at_a_time = lock(&self.changing);
        let mut joint = Vec::clone(&self.joint.load());
        // Somebody else may have made it meanwhile.
        if let Some(both) = known(&joint) {
            return both;
        }
        // Of those that cannot be asked for again, nothing is kept.
        joint.retain(|known| known.own.edition == own.edition);
        if joint.len() >= KEPT {
            joint.remove(0);
        }
        let both = Arc::new(own.beside(agents));
        joint.push(Joint { own: own.clone(), agents: agents.clone(), both: both.clone() });
        self.joint.store(Arc::new(joint));
        both
    }

    /// Lets go of the snapshots that are idle, but of nobody's who listens; returns their servers.
    pub(crate) fn let_go(&self, now: u64, listens: impl Fn(&str) -> bool) -> Vec<Arc<Server>> {
        let _one_at_a_time = lock(&self.changing);
        let mut known = SortedMap::clone(&self.known.load());
        let gone: Vec<_> = idle(&known, now, &listens).iter().filter_map(|user| known.remove(user)).collect();
        self.known.store(Arc::new(known));
        if !gone.is_empty() {
            let is_gone = |part: &Arc<Snapshot>| gone.iter().any(|gone| Arc::ptr_eq(&gone.snapshot, part));
            let mut joint = Vec::clone(&self.joint.load());
            joint.retain(|known| !is_gone(&known.own) && !is_gone(&known.agents));
            self.joint.store(Arc::new(joint));
        }
        gone.iter().flat_map(|gone| gone.snapshot.own_servers()).collect()
    }

    /// Makes all snapshots anew for another configuration.
    pub(crate) fn succeed(&self, everybodys: &Snapshot) -> Turnover {
        let _one_at_a_time = lock(&self.changing);
        let mut turnover = Turnover::default();
        let mut known = SortedMap::new();
        for (user, before) in self.known.load().iter() {
            if !everybodys.has_stand_ins {
                turnover.retired.extend(before.snapshot.own_servers());
                continue;
            }
            let snapshot = Arc::new(everybodys.of_user(user, Some(&before.snapshot), &mut turnover));
            let used = AtomicU64::new(before.used.load(Ordering::Relaxed));
            known.insert(user.clone(), Arc::new(User { snapshot, used }));
        }
        self.known.store(Arc::new(known));
        turnover
    }

    /// Returns the servers of all users.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        self.known.load().values().flat_map(|user| user.snapshot.own_servers()).collect()
    }
}

/// Returns whose snapshots are let go of: who has not been here for a while, and of too many who was here longest ago.
fn idle(known: &SortedMap<Arc<str>, Arc<User>>, now: u64, listens: &impl Fn(&str) -> bool) -> Vec<Arc<str>> {
    let used = |user: &User| user.used.load(Ordering::Relaxed);
    let mut quiet: Vec<_> = known.iter().filter(|(user, _)| !listens(user)).collect();
    quiet.sort_by_key(|(_, user)| used(user));
    let surplus = quiet.len().saturating_sub(KEPT);
    let is_idle = |(place, user): (usize, &User)| place < surplus || used(user) + IDLE < now;
    quiet
        .iter()
        .enumerate()
        .filter(|(place, (_, user))| is_idle((*place, user)))
        .map(|(_, (user, _))| (*user).clone())
        .collect()
}

impl Snapshot {
    /// Returns the snapshot in which servers that act for their users act for this one. Those of before stay whose
    /// settings are equal.
    fn of_user(&self, user: &Arc<str>, before: Option<&Self>, turnover: &mut Turnover) -> Self {
        let mut servers = self.servers.clone();
        let mut retired: Vec<_> = before.into_iter().flat_map(Self::own_servers).collect();
        let is_agent = user.starts_with(AGENT);
        let theirs = |server: &Server| server.is_stand_in() && server.settings.is_per_agent() == is_agent;
        for (name, server) in servers.iter_mut().filter(|(_, server)| theirs(server)) {
            let same = retired.iter().position(|own| own.name == *name && own.settings == server.settings);
            let own = if let Some(place) = same {
                retired.swap_remove(place)
            } else {
                let (own, nudges) =
                    Server::of_user(user.clone(), name.clone(), server.settings.clone(), self.edition);
                turnover.keepers.push((own.clone(), nudges));
                own
            };
            let is_unlisted = self.config.keeps_out(&own.settings);
            own.approve(self.config.approvals.of(name).as_ref(), is_unlisted);
            *server = own;
        }
        let runs = |server: &&Weak<Server>| server.upgrade().is_some_and(|server| server.user.is_some());
        let running = before.iter().flat_map(|before| &before.former).filter(runs);
        let former: Vec<Weak<Server>> =
            self.former.iter().chain(running).cloned().chain(retired.iter().map(Arc::downgrade)).collect();
        turnover.retired.append(&mut retired);
        Self {
            config: self.config.clone(),
            gate: self.gate.clone(),
            user: Some(user.clone()),
            has_stand_ins: true,
            servers,
            former,
            views: self.views.beside(),
            acl: self.acl.clone(),
            since: self.since,
            edition: self.edition,
        }
    }

    /// Returns the snapshot in which the servers of each agent are those of this one.
    fn beside(&self, agents: &Self) -> Self {
        let mut servers = self.servers.clone();
        for (name, server) in servers.iter_mut().filter(|(_, server)| server.is_stand_in()) {
            if let Some(own) = agents.servers.get(name) {
                *server = own.clone();
            }
        }
        Self {
            config: self.config.clone(),
            gate: self.gate.clone(),
            user: self.user.clone().or_else(|| agents.user.clone()),
            has_stand_ins: true,
            servers,
            former: self.former.iter().chain(&agents.former).cloned().collect(),
            views: self.views.beside(),
            acl: self.acl.clone(),
            since: self.since,
            edition: self.edition,
        }
    }

    /// Returns the servers in it that act for its user.
    fn own_servers(&self) -> Vec<Arc<Server>> {
        let own = |server: &&Arc<Server>| server.user.is_some();
        self.servers.values().filter(own).cloned().collect()
    }
}
