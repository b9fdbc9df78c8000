//! What another configuration changes: which servers stay as they are, which come, and which go. Pure.
//!
//! **A server whose settings are equal stays**, with its links, its lists and its keeper. A server that has an error
//! where one was served keeps its former settings: an edit that cannot be understood changes nothing. **Of one that is an
//! identity's own, or was, nothing is kept**: it may be another's now.

use std::sync::{Arc, Weak};

use crate::acl::Acl;
use crate::catalog::Views;
use crate::config::Config;
use crate::gateway::{Keeper, Snapshot};
use crate::sorted::{SortedMap, SortedSet};
use crate::upstream::Server;

/// What follows a snapshot.
pub(crate) struct Succession {
    pub(crate) snapshot: Snapshot,
    /// The servers that are new in it.
    pub(crate) keepers: Vec<Keeper>,
    /// The servers that are no longer in it.
    pub(crate) retired: Vec<Arc<Server>>,
    pub(crate) changes: Changes,
}

/// What another configuration has changed, for people: servers by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Served from now on.
    pub added: Vec<String>,
    /// No longer served.
    pub removed: Vec<String>,
    /// Served with other settings.
    pub changed: Vec<String>,
    /// Served as before, since what the configuration says of them now has an error.
    pub kept: Vec<String>,
    /// Whether a setting of the gateway itself has changed.
    pub gateway: bool,
    /// Whether it has changed who may do what, under which name, or what is recorded of it.
    pub access: bool,
}

impl Snapshot {
    /// Returns what follows this snapshot when another configuration comes into force.
    pub(crate) fn succeeded_by(&self, mut config: Config) -> Succession {
        let mut changes = Changes {
            gateway: config.gateway != self.config.gateway,
            access: config.access() != self.config.access(),
            ..Changes::default()
        };
        let own: SortedSet<_> = config.personal.iter().chain(&self.config.personal).cloned().collect();
        for broken in config.broken.keys() {
            let former = self.config.servers.get_key_value(broken.as_str());
            if let Some((name, settings)) = former.filter(|(name, _)| !own.contains(*name)) {
                config.servers.insert(name.clone(), settings.clone());
                changes.kept.push(broken.clone());
            }
        }
        let edition = self.edition + 1;
        let (mut servers, mut keepers, mut retired) = (SortedMap::new(), Vec::new(), Vec::new());
        for (name, settings) in config.servers.iter().filter(|(_, settings)| settings.enabled) {
            let before = self.servers.get(name);
            let approval = config.approvals.of(name);
            let is_unlisted = config.keeps_out(settings);
            if let Some(same) = before.filter(|server| server.settings == *settings) {
                same.approve(approval.as_ref(), is_unlisted);
                servers.insert(name.clone(), same.clone());
                continue;
            }
            let (server, nudges) = Server::new(name.clone(), settings.clone(), edition);
            server.approve(approval.as_ref(), is_unlisted);
            match before {
                None => changes.added.push(name.to_string()),
                Some(former) => {
                    if !own.contains(name) {
                        server.inherit(former);
                    }
                    retired.push(former.clone());
                    changes.changed.push(name.to_string());
                }
            }
            servers.insert(name.clone(), server.clone());
            keepers.push((server, nudges));
        }
        for (name, server) in self.servers.iter().filter(|(name, _)| !servers.contains_key(*name)) {
            retired.push(server.clone());
            changes.removed.push(name.to_string());
        }
        let running = self.former.iter().filter(|server| server.strong_count() > 0).cloned();
        let former = running.chain(retired.iter().map(Arc::downgrade)).collect::<Vec<Weak<Server>>>();
        let (gate, views) = (self.gate.with(&config.gateway), Views::default());
        let acl = Arc::new(Acl::new(&config.policy));
        let has_stand_ins = servers.values().any(|server| server.is_stand_in());
        let (config, user, since) = (Arc::new(config), None, self.since);
        let snapshot =
            Snapshot { config, gate, user, has_stand_ins, servers, former, views, acl, since, edition };
        Succession { snapshot, keepers, retired, changes }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::names::ServerName;
    use crate::testing::{Memory, gateway, json_answer, server};

    fn config(servers: &[(&str, &str)]) -> Config {
        let named = |(name, url): &(&str, &str)| (ServerName::parse(name).unwrap(), server(url));
        Config { servers: servers.iter().map(named).collect(), ..Config::default() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_equal_stays_and_everything_else_is_named() {
        let gateway = gateway(&Memory::new(|_| json_answer(404, "")), &["same", "other", "gone"]);
        let before = gateway.snapshot();
        let same = ("same", "http://same.test/mcp");
        let mut edit =
            config(&[same, ("other", "http://elsewhere.test/mcp"), ("new", "http://new.test/mcp")]);
        edit.gateway.page_size = 7;
        let Succession { snapshot, keepers, retired, changes } = before.succeeded_by(edit);
        let expected = Changes {
            added: names(&["new"]),
            removed: names(&["gone"]),
            changed: names(&["other"]),
            kept: Vec::new(),
            gateway: true,
            access: false,
        };
        assert_eq!(changes, expected);
        assert!(Arc::ptr_eq(&snapshot.servers["same"], &before.servers["same"]));
        let kept: Vec<_> = keepers.iter().map(|(server, _)| server.name.as_str()).collect();
        let gone: Vec<_> = retired.iter().map(|server| server.name.as_str()).collect();
        assert_eq!((kept, gone), (vec!["new", "other"], vec!["other", "gone"]));
        let (old, new) = (&before.servers["other"], &snapshot.servers["other"]);
        assert_ne!(old.address, new.address);
        for server in [old, new] {
            assert!(snapshot.addressed(&server.address).is_some_and(|found| Arc::ptr_eq(&found, server)));
        }
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let gateway = gateway(&Memory::new(|_| json_answer(404, "")), &["a"]);
        let next = gateway.snapshot().succeeded_by(config(&[("a", "http://a.test/mcp")]));
        assert_eq!(next.changes, Changes::default());
        assert!(next.keepers.is_empty() && next.retired.is_empty());
    }

    #[test]
    fn a_server_with_an_error_keeps_its_settings() {
        let gateway = gateway(&Memory::new(|_| json_answer(404, "")), &["a"]);
        let broken = ["a", "b"].map(|name| (name.to_owned(), "has none".to_owned()));
        let next = gateway.snapshot().succeeded_by(Config { broken: broken.into(), ..Config::default() });
        assert_eq!(next.changes, Changes { kept: names(&["a"]), ..Changes::default() });
        assert_eq!(next.snapshot.servers.len(), 1);
    }

    #[test]
    fn of_an_identitys_own_server_nothing_is_kept() {
        let gateway = gateway(&Memory::new(|_| json_answer(404, "")), &["mine", "other"]);
        let shared = gateway.snapshot();
        let own = |mut config: Config| {
            config.personal.insert(ServerName::parse("mine").unwrap());
            config
        };
        let same = config(&[("mine", "http://mine.test/mcp"), ("other", "http://other.test/mcp")]);
        let owned = std::sync::Arc::new(shared.succeeded_by(own(same)).snapshot);
        let moved = || config(&[("mine", "http://moved.test/mcp"), ("other", "http://moved.test/mcp")]);
        let inherits = |before: &Snapshot, config: Config| {
            let next = before.succeeded_by(config).snapshot;
            let all = next.servers.values().filter(|server| server.inherited.load(Ordering::Relaxed));
            all.map(|server| server.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(inherits(&shared, moved()), ["mine", "other"]);
        for (before, after) in [(&shared, own(moved())), (&owned, moved()), (&owned, own(moved()))] {
            assert_eq!(inherits(before, after), ["other"]);
        }
        let broken = || {
            let broken = ["mine", "other"].map(|name| (name.to_owned(), "has none".to_owned()));
            Config { broken: broken.into(), ..Config::default() }
        };
        for (before, after) in [(&shared, own(broken())), (&owned, broken()), (&owned, own(broken()))] {
            let changes = before.succeeded_by(after).changes;
            assert_eq!((changes.kept, changes.removed), (names(&["other"]), names(&["mine"])));
        }
    }
}
