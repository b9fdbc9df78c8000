//! What another configuration would change, before it is in force: recorded calls judged under both, and what agents are listed.
//!
//! **Both sides are judged by the same functions**, those that decide on calls: the configuration in force against itself
//! changes nothing. **What an entry does not have is not guessed**: where the outcome depends on it, that is what is said.
//! Nothing here waits, asks a server, or changes anything that is in force.

mod listed;
mod recorded;
mod report;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use report::{Calls, Listed, Report, Stands, Unread};

use crate::approval::Approval;
use crate::catalog::Kind;
use crate::config::{Config, ItemKind, Origin};
use crate::gateway::Gateway;
use crate::identity::{KeyRing, Known, Stranger, Unrecorded, suppositions};
use crate::names::ServerName;
use crate::ports::Host;
use recorded::{Call, Fate};
use report::{Counted, Sort};
use world::{Verdict, World};

/// How many kinds of calls are remembered that come to the same whatever they carry.
const REMEMBERED: usize = 1 << 14;

/// A draft that recorded calls are tried against.
pub struct Simulation {
    /// What is in force.
    now: World,
    /// What would be.
    then: World,
    keys: Arc<KeyRing>,
    /// When it began, in milliseconds since the Unix epoch.
    at: u64,
    considered: u64,
    skipped: u64,
    left_out: u64,
    refused: Counted,
    allowed: Counted,
    unknown: Counted,
    /// What calls have come to that come to the same whatever they carry.
    remembered: BTreeMap<String, Option<(Change, Sort)>>,
}

/// Something that was decided, in words, and where what decided it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    why: String,
    origin: Origin,
}

/// Why it cannot be known what a call would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// Its arguments were not recorded.
    Arguments,
    /// They were not recorded as they were.
    Redacted,
    /// Tags are not recorded.
    Tag,
    /// Who it was depends on what is not recorded of a token.
    Caller(Unrecorded),
    /// What a server offers is not known.
    Offer,
}

/// How a call would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Refused,
    Allowed,
    Unknown,
}

/// Why a definition cannot be supposed to be approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSeen {
    /// There is no such server.
    #[error("there is no such server")]
    NoServer,
    /// It has not said what it offers.
    #[error("the server has not said yet what it offers")]
    NoOffer,
    /// It has no such tool.
    #[error("the server has no such tool")]
    NoTool,
}

impl<H: Host> Gateway<H> {
    /// Begins to try recorded calls against another configuration; what was approved stays so.
    pub fn simulate(&self, draft: Config) -> Simulation {
        self.simulate_with(draft, None)
    }

    /// Begins to try recorded calls against what is in force, had what a server says now been approved, or one tool of it.
    pub fn simulate_approval(&self, server: &str, tool: Option<&str>) -> Result<Simulation, NotSeen> {
        let snapshot = self.snapshot();
        let (name, server) = snapshot.servers.get_key_value(server).ok_or(NotSeen::NoServer)?;
        let seen = server.seen().ok_or(NotSeen::NoOffer)?;
        let (launch, at) = (server.launch(), self.host().now());
        let approval = match tool {
            Some(tool) if !seen.items(Kind::Tools).iter().any(|item| item.name == tool) => {
                return Err(NotSeen::NoTool);
            }
            Some(tool) => {
                let before = server.approval();
                Approval::of_tool(&launch, at, (before.as_deref(), &seen), tool)
            }
            None => Approval::of_all(&launch, at, &seen),
        };
        let approved = (name.clone(), Some(Arc::new(approval)));
        Ok(self.simulate_with(Config::clone(&snapshot.config), Some(&approved)))
    }

    fn simulate_with(
        &self,
        draft: Config,
        approved: Option<&(ServerName, Option<Arc<Approval>>)>,
    ) -> Simulation {
        let snapshot = self.snapshot();
        let mut draft = draft;
        // Whoever says what is in files says nothing of these: they stay.
        draft.approvals = snapshot.config.approvals.clone();
        draft.listed = snapshot.config.listed.clone();
        Simulation {
            now: World::new(snapshot.supposing(Config::clone(&snapshot.config), None)),
            then: World::new(snapshot.supposing(draft, approved)),
            keys: self.0.keys.load_full(),
            at: self.host().now(),
            considered: 0,
            skipped: 0,
            left_out: 0,
            refused: Counted::default(),
            allowed: Counted::default(),
            unknown: Counted::default(),
            remembered: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulation")
    }
}

impl Simulation {
    /// Takes a line of the trail.
    pub fn take(&mut self, line: &str) {
        let Some(call) = Some(line).filter(|line| Call::may_be(line)).and_then(Call::read) else {
            self.skipped += 1;
            return;
        };
        self.considered += 1;
        let key = call.key();
        let change = if let Some(change) = self.remembered.get(&key) {
            change.clone()
        } else {
            let (change, is_steady) = self.change(&call);
            if is_steady && self.remembered.len() < REMEMBERED {
                self.remembered.insert(key, change.clone());
            }
            change
        };
        let Some((change, sort)) = change else { return };
        let counted = match change {
            Change::Refused => &mut self.refused,
            Change::Allowed => &mut self.allowed,
            Change::Unknown => &mut self.unknown,
        };
        if !counted.count(&sort, call.time) {
            self.left_out += 1;
        }
    }

    /// Returns what has been found.
    pub fn finish(self) -> Report {
        let servers = &self.now.snapshot.servers;
        let is_changed = |(name, server): (&ServerName, &Arc<crate::upstream::Server>)| {
            let before = servers.get(name)?;
            (before.settings != server.settings).then(|| name.to_string())
        };
        let unread = |(name, why): (&ServerName, &&'static str)| {
            let is_new = !servers.contains_key(name);
            let reason = if is_new { "is new, and is asked once it is in force" } else { why };
            Unread { server: name.to_string(), reason: reason.to_owned() }
        };
        Report {
            considered: self.considered,
            skipped: self.skipped,
            left_out: self.left_out,
            listed: listed::changes((&self.now, &self.then), self.at),
            assumed: self.then.snapshot.servers.iter().filter_map(is_changed).collect(),
            unread: self.then.unread.iter().map(unread).collect(),
            remarks: self.remarks(),
            refused: self.refused.into_calls(),
            allowed: self.allowed.into_calls(),
            unknown: self.unknown.into_calls(),
            next: None,
        }
    }

    fn remarks(&self) -> Vec<String> {
        let groups = |world: &World| world.config().policy.groups.clone();
        let (before, after) = (groups(&self.now), groups(&self.then));
        let is_narrowed = |name: &&String| {
            after.get(name.as_str()).map(|group| &group.members)
                != before.get(name.as_str()).map(|group| &group.members)
        };
        let names: Vec<_> = before.keys().filter(is_narrowed).map(String::as_str).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let names = names.join(", ");
        vec![format!(
            "at which endpoint a call came in is not recorded: those at the endpoints of these groups, which change, may come \
             to something else: {names}"
        )]
    }

    /// Returns how a call would change, if it would, and whether that is so whatever else it carries.
    fn change(&self, call: &Call<'_>) -> (Option<(Change, Sort)>, bool) {
        let (now, then) = (self.now.config(), self.then.config());
        let pairs = match suppositions((now, then), (&self.keys, self.at), &call.traces()) {
            Ok(pairs) => pairs,
            Err(what) => return (Some(sorted(call, Change::Unknown, &Unknown::Caller(what).said())), true),
        };
        let is_steady = |(before, after): &(Known, Known)| {
            let steady = |world: &World, who: &Known| who.as_ref().map_or(true, |who| world.is_steady(who));
            steady(&self.now, before) && steady(&self.then, after)
        };
        let steady = pairs.iter().all(is_steady) && !self.now.varies(call) && !self.then.varies(call);
        let mut changes: Vec<_> = pairs.iter().map(|pair| self.change_for(pair, call)).collect();
        let first = changes.pop().flatten();
        let kind = |change: &Option<(Change, Said)>| change.as_ref().map(|(change, _)| *change);
        let change = if changes.iter().all(|other| kind(other) == kind(&first)) {
            first
        } else {
            Some((Change::Unknown, Unknown::Tag.said()))
        };
        (change.map(|(change, said)| sorted(call, change, &said)), steady)
    }

    /// Returns how a call of somebody's would change.
    fn change_for(&self, (before, after): &(Known, Known), call: &Call<'_>) -> Option<(Change, Said)> {
        let judged = |world: &World, who: &Known| match who {
            Ok(who) => world.judge(who, call),
            Err(Stranger { why, origin }) => {
                Verdict::Denied(Said { why: format!("{why} ({origin})"), origin: origin.clone() })
            }
        };
        let (was, is) = (judged(&self.now, before), judged(&self.then, after));
        let was = match (was, call.fate) {
            // What it came to is a fact, whatever it depends on.
            (Verdict::Allowed(_), _) | (Verdict::Unknown(_), Fate::LetThrough) => Ok(true),
            (Verdict::Denied(_), _) | (Verdict::Unknown(_), Fate::Forbidden) => Ok(false),
            (Verdict::Unknown(why), Fate::Refused) => Err(why),
        };
        match (was, is) {
            (Ok(true), Verdict::Allowed(_)) | (Ok(false), Verdict::Denied(_)) => None,
            (Ok(true), Verdict::Denied(said)) => Some((Change::Refused, said)),
            (Ok(false), Verdict::Allowed(said)) => Some((Change::Allowed, said)),
            (_, Verdict::Unknown(_)) if self.is_alike(before, after, call) => None,
            (_, Verdict::Unknown(why)) | (Err(why), _) => Some((Change::Unknown, why.said())),
        }
    }

    fn is_alike(&self, before: &Known, after: &Known, call: &Call<'_>) -> bool {
        match (before, after) {
            (Ok(before), Ok(after)) => self.now.decides_alike(&self.then, (before, after), call),
            _ => false,
        }
    }
}

/// Says of which sort the change of a call is.
fn sorted(call: &Call<'_>, change: Change, said: &Said) -> (Change, Sort) {
    let kind = match call.kind {
        ItemKind::Tool => "tool",
        ItemKind::Prompt => "prompt",
        ItemKind::Resource => "resource",
    };
    let sort = Sort {
        agent: call.agent.clone().into_owned(),
        kind,
        name: call.name.clone().into_owned(),
        server: call.server.as_ref().map(|server| server.clone().into_owned()),
        rule: said.why.clone(),
        origin: Stands::of(&said.origin),
    };
    (change, sort)
}

impl Unknown {
    fn said(self) -> Said {
        let why = match self {
            Self::Arguments => "it depends on arguments, which were not recorded",
            Self::Redacted => {
                "it depends on arguments, of which something was taken out where they were recorded"
            }
            Self::Tag | Self::Caller(Unrecorded::Tag) => {
                "it depends on the caller's tag, which is not recorded"
            }
            Self::Caller(Unrecorded::Claims) => "it depends on what a token claims, which is not recorded",
            Self::Caller(Unrecorded::Token) => {
                "it depends on a token, which is not recorded, and on its provider, whose settings change"
            }
            Self::Offer => "it depends on what a server offers, which is not known",
        };
        Said { why: why.to_owned(), origin: Origin::default() }
    }
}
