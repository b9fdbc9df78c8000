//! What the names in a policy mean: the servers and the groups that there are.
//!
//! **A name that nobody has is an error, never silently empty.** Servers that are disabled or broken have their names.

use super::item::nearest;
use super::native_rules::{Named, RuleDraft};
use super::policy::{Rule, Selector, What};
use super::problem::{Place, Report, quote};
use crate::acl::Glob;
use crate::names::without_case;
use crate::sorted::{self, SortedMap};

/// How many names a hint lists.
const SHOWN: usize = 8;

/// The names that there are.
pub(super) struct Known {
    servers: Vec<String>,
    /// Names of groups as they are written, by their keys.
    groups: SortedMap<String, String>,
}

impl Known {
    /// Knows servers, and no group yet.
    pub(super) fn new(servers: impl IntoIterator<Item = String>) -> Self {
        Self { servers: servers.into_iter().collect(), groups: SortedMap::new() }
    }

    /// Remembers a group.
    pub(super) fn add_group(&mut self, name: &str) {
        self.groups.insert(group_key(name), name.to_owned());
    }

    /// Returns a server's name as it is written in its own section.
    pub(super) fn server(&self, name: &str) -> Option<&str> {
        let name = without_case(name);
        self.servers.iter().map(String::as_str).find(|server| without_case(server) == name)
    }

    /// Reports a name or a pattern that no server has.
    pub(super) fn check_server(&self, server: &Glob, place: &Place, report: &mut Report<'_>) {
        if server.is_exact() {
            if self.server(server.as_str()).is_none() {
                self.report_unknown_server(server.as_str(), place, report);
            }
        } else if !server.is_everything()
            && !self.servers.iter().any(|name| server.matches_without_case(name))
        {
            report.error(place, format!("no server's name matches {}", quote(server.as_str())));
            hint_names(&self.server_names(), "servers", report);
        }
    }

    /// Resolves a rule to what it is about.
    pub(super) fn resolve_rule(&self, draft: &RuleDraft, report: &mut Report<'_>) -> Option<Rule> {
        let what = match &draft.on.value {
            Named::Everything => What::Everything,
            Named::Name(name) => self.resolve_name(name, &draft.on.place, report)?,
            Named::Select(selector) => {
                self.check_server(&selector.server, &draft.on.place, report);
                What::Select(selector.clone())
            }
        };
        let origin = report.origin(&draft.place);
        Some(Rule { what, when: draft.when.clone(), text: draft.text.clone(), origin })
    }

    fn resolve_name(&self, name: &str, place: &Place, report: &mut Report<'_>) -> Option<What> {
        let key = group_key(name);
        match (self.groups.contains_key(&key), self.server(name)) {
            (true, None) => Some(What::Group(key)),
            (false, Some(_)) => {
                Some(What::Select(Selector { server: Glob::new(name), kind: None, item: Glob::everything() }))
            }
            (true, Some(_)) => {
                report.error(place, format!("{} is both a group and a server", quote(name)));
                report.hint(format!("write `{name}/*` for the server, or rename the group"));
                None
            }
            (false, None) => {
                self.report_unknown(name, place, report);
                None
            }
        }
    }

    fn report_unknown(&self, name: &str, place: &Place, report: &mut Report<'_>) {
        report.error(place, format!("no group and no server is called {}", quote(name)));
        let names: Vec<_> = self.groups.values().chain(&self.servers).map(String::as_str).collect();
        match name.split_once("__").and_then(|(server, item)| Some((self.server(server)?, item))) {
            Some((server, item)) => report.hint(format!("write `{server}/{item}`")),
            None => hint_nearest(name, &names, "groups and servers", report),
        }
    }

    /// Reports a name that no server has.
    pub(super) fn report_unknown_server(&self, name: &str, place: &Place, report: &mut Report<'_>) {
        report.error(place, format!("no server is called {}", quote(name)));
        hint_nearest(name, &self.server_names(), "servers", report);
    }

    fn server_names(&self) -> Vec<&str> {
        self.servers.iter().map(String::as_str).collect()
    }
}

/// Returns the key of a group in [`super::Policy::groups`]: names are compared without case.
pub(super) fn group_key(name: &str) -> String {
    without_case(name)
}

fn hint_nearest(name: &str, names: &[&str], what: &str, report: &mut Report<'_>) {
    match nearest(name, names) {
        Some(near) => report.hint(format!("did you mean {}?", quote(near))),
        None => hint_names(names, what, report),
    }
}

fn hint_names(names: &[&str], what: &str, report: &mut Report<'_>) {
    if names.is_empty() {
        return report.hint(format!("there are no {what}"));
    }
    let mut shown: Vec<_> = names.iter().map(|name| quote(name)).collect();
    sorted::sort(&mut shown);
    let rest = shown.len().saturating_sub(SHOWN);
    shown.truncate(SHOWN);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    report.hint(format!("{what}: {}{more}", shown.join(", ")));
}
