//! What an `app.yaml` means for the servers that there are: agents, groups, variants, and who is let in.
//!
//! **A group that nobody has refuses the file, and a file with an error allows nothing.** A server that nobody has is
//! warned of: there is nothing that a rule about it could allow or deny.

use std::sync::Arc;

use http::HeaderName;
use sha2::{Digest as _, Sha256};

use super::super::item::{At, nearest};
use super::super::policy::{
    Agent, Auth, Dialect, Fixed, Group, ItemKind, Match, Narrowing, Policy, Rule, Selector, Variant, What,
};
use super::super::problem::{self, Place, Problem, Report, Severity, quote};
use super::app::AuthEntry;
use super::extensions::Child;
use super::groups::{Names, ToolGroup};
use super::permissions::{Base, Entry, Permissions};
use super::{App, origin, server_key};
use crate::acl::Glob;
use crate::names::ServerName;
use crate::sorted::{SortedMap, SortedSet};

/// The header that carries an API key where the file names none.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-lunar-api-key");
/// The header that carries a tag.
const TAG_HEADER: HeaderName = HeaderName::from_static("x-lunar-consumer-tag");
/// The longest name of an agent or a group, in characters.
const NAME_LIMIT: usize = 64;
/// The most characters that are put behind a name that is taken already.
const SUFFIX_LIMIT: usize = 16;

/// What an `app.yaml` comes to.
#[derive(Debug, Clone)]
pub(in crate::config) struct Resolved {
    pub(in crate::config) policy: Policy,
    pub(in crate::config) variants: Vec<Variant>,
    pub(in crate::config) auth: Auth,
}

/// What for a file is resolved.
#[derive(Clone, Copy)]
pub(in crate::config) enum Purpose<'a> {
    /// To be served, with the environment.
    Serve(&'a dyn Fn(&str) -> Option<String>),
    /// To be written natively, without knowing any variable.
    Import,
}

/// Resolves a file against the names of all servers that are described, and adds its problems to those that it has.
pub(in crate::config) fn resolve(
    app: &App,
    path: &str,
    servers: &[&str],
    purpose: Purpose<'_>,
    problems: &mut Vec<Problem>,
) -> Resolved {
    let servers = servers.iter().filter_map(|name| ServerName::parse(name).ok());
    let servers = servers.map(|name| (server_key(name.as_str()), name)).collect();
    let mut report = Report::new(path);
    let mut resolver = Resolver { file: path.into(), servers, purpose, report: &mut report };
    let groups = resolver.groups(&app.groups);
    let policy = app.permissions.as_ref().map(|permissions| resolver.policy(permissions, &groups));
    let variants = resolver.variants(&app.children);
    resolver.check_inactive(&app.inactive);
    let has_tags = app.permissions.as_ref().is_some_and(|permissions| !permissions.consumers.is_empty());
    let tag_header = has_tags.then_some(TAG_HEADER);
    let auth = Auth { tag_header, ..resolver.auth(app.auth.as_ref()) };
    problems.extend(report.finish());
    problem::in_order(problems);
    let is_refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    let policy = match policy {
        Some(agents) if !is_refused => Policy { groups: groups.by_key, ..agents },
        _ => nothing_allowed(path),
    };
    Resolved { policy, variants, auth }
}

fn nothing_allowed(path: &str) -> Policy {
    let place = Place { field: "permissions".to_owned(), ..Place::default() };
    let default = Arc::new(Agent::bare("default", origin(&path.into(), &place)));
    Policy {
        groups: SortedMap::new(),
        agents: Vec::new(),
        default,
        dialect: Dialect::Mcpx,
        ..Policy::default()
    }
}

/// The groups, and which of them is meant by which name.
#[derive(Default)]
struct Groups {
    by_key: SortedMap<String, Group>,
    /// The key of each group by its name in the file, in lower case.
    keys: SortedMap<String, String>,
}

struct Resolver<'a, 'r> {
    file: Arc<str>,
    /// The servers by the form in which their names are compared.
    servers: SortedMap<String, ServerName>,
    purpose: Purpose<'a>,
    report: &'a mut Report<'r>,
}

impl Resolver<'_, '_> {
    fn groups(&mut self, written: &[ToolGroup]) -> Groups {
        let mut groups = Groups::default();
        let mut taken: SortedSet<String> = self.servers.keys().cloned().collect();
        taken.extend(written.iter().map(|group| group.name.value.to_lowercase()));
        for group in written {
            let folded = group.name.value.to_lowercase();
            if groups.keys.contains_key(&folded) {
                let shown = quote(&group.name.value);
                self.report.error(
                    &group.name.place,
                    format!("there is a group {shown} already; case makes no difference"),
                );
                continue;
            }
            let name = self.group_name(&group.name, &mut taken);
            let members = self.members(group);
            let key = name.to_lowercase();
            groups.keys.insert(folded, key.clone());
            let origin = origin(&self.file, &group.place);
            groups
                .by_key
                .insert(key, Group { name, description: group.description.clone(), members, origin });
        }
        groups
    }

    /// Returns the name that a group gets. One that a server has could mean either in a native file.
    fn group_name(&mut self, name: &At<String>, taken: &mut SortedSet<String>) -> String {
        if !self.servers.contains_key(&server_key(&name.value)) {
            return name.value.clone();
        }
        let other = free_name(&name.value, "group", taken);
        if matches!(self.purpose, Purpose::Import) {
            let shown = quote(&name.value);
            self.report
                .warn(&name.place, format!("a server is named {shown} too; the group becomes {other:?}"));
        }
        other
    }

    fn members(&mut self, group: &ToolGroup) -> Vec<Selector> {
        let mut by_server: Vec<(ServerName, Vec<Glob>)> = Vec::new();
        for (service, names) in &group.services {
            let Some(server) = self.server(service) else { continue };
            let globs = match names {
                Names::All => vec![Glob::everything()],
                Names::These(names) => names.iter().map(|name| Glob::new(name)).collect(),
            };
            match by_server.iter_mut().find(|(known, _)| *known == server) {
                Some((_, known)) => known.extend(globs),
                None => by_server.push((server, globs)),
            }
        }
        let selectors = by_server.into_iter().flat_map(|(server, globs)| {
            let server = Glob::new(server.as_str());
            globs.into_iter().map(move |item| Selector { server: server.clone(), kind: None, item })
        });
        selectors.collect()
    }

    /// Returns the server that is meant; where there is none, nothing, with a warning.
    fn server(&mut self, written: &At<String>) -> Option<ServerName> {
        let key = server_key(&written.value);
        if let Some(server) = self.servers.get(&key) {
            return Some(server.clone());
        }
        if self.servers.is_empty() && matches!(self.purpose, Purpose::Import) {
            return ServerName::parse(&key).ok();
        }
        let known: Vec<_> = self.servers.keys().map(String::as_str).collect();
        let shown = quote(&written.value);
        self.report
            .warn(&written.place, format!("no server is named {shown}; what is said of it has no effect"));
        if let Some(near) = nearest(&key, &known) {
            self.report.hint(format!("did you mean `{near}`?"));
        }
        None
    }

    fn policy(&mut self, permissions: &Permissions, groups: &Groups) -> Policy {
        self.refuse_equal(&permissions.consumers);
        self.refuse_equal(&permissions.clients);
        let mut taken: SortedSet<String> = ["default".to_owned()].into();
        let mut agents = Vec::new();
        for (tag, entry) in &permissions.consumers {
            let name = self.agent_name(tag, "tag", &mut taken);
            let matches = vec![Match::Tag(tag.value.clone())];
            agents.push(Arc::new(Agent { matches, ..self.agent(&name, entry, groups) }));
        }
        for (client, entry) in &permissions.clients {
            let name = self.agent_name(client, "client", &mut taken);
            let matches = vec![Match::Client(client.value.clone())];
            agents.push(Arc::new(Agent { matches, ..self.agent(&name, entry, groups) }));
        }
        if let Some((first, _)) = permissions.consumers.first() {
            self.report.warn(
                &first.place,
                format!("a tag is a claim, not a proof: whoever sends `{TAG_HEADER}` is believed"),
            );
            self.report
                .hint("give each agent an API key once its file is a native one (`portcullis import`)");
        }
        let default = Arc::new(self.agent("default", &permissions.default, groups));
        Policy { groups: SortedMap::new(), agents, default, dialect: Dialect::Mcpx, ..Policy::default() }
    }

    /// Refuses names that are equal once case is ignored, as it is wherever names are compared.
    fn refuse_equal(&mut self, entries: &[(At<String>, Entry)]) {
        let mut seen = SortedSet::new();
        for (name, _) in entries {
            if !seen.insert(name.value.trim().to_lowercase()) {
                let shown = quote(&name.value);
                self.report.error(
                    &name.place,
                    format!("there is an entry for {shown} already; case makes no difference"),
                );
            }
        }
    }

    /// Returns the name of the agent that somebody becomes: the own one, as far as an agent may have it.
    fn agent_name(&mut self, written: &At<String>, what: &str, taken: &mut SortedSet<String>) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        let plain = written.value.trim().chars().take(NAME_LIMIT);
        let plain: String = plain.map(|c| if allowed(c) { c } else { '-' }).collect();
        let plain = plain.trim();
        let name =
            if taken.insert(plain.to_lowercase()) { plain.to_owned() } else { free_name(plain, what, taken) };
        if name != written.value && matches!(self.purpose, Purpose::Import) {
            let shown = quote(&written.value);
            self.report.warn(&written.place, format!("the agent for the {what} {shown} is named {name:?}"));
        }
        name
    }

    fn agent(&mut self, name: &str, entry: &Entry, groups: &Groups) -> Agent {
        let origin = origin(&self.file, &entry.place);
        let allow = match entry.base {
            Base::Allow => {
                vec![Rule {
                    what: What::Everything,
                    when: None,
                    text: "*".to_owned(),
                    origin: origin.clone(),
                }]
            }
            Base::Block => self.rules(&entry.allow, groups),
        };
        let deny = self.rules(&entry.block, groups);
        if entry.base == Base::Allow {
            self.rules(&entry.allow, groups);
        }
        Agent { allow, deny, ..Agent::bare(name, origin) }
    }

    fn rules(&mut self, written: &[At<String>], groups: &Groups) -> Vec<Rule> {
        written.iter().filter_map(|name| self.rule(name, groups)).collect()
    }

    fn rule(&mut self, written: &At<String>, groups: &Groups) -> Option<Rule> {
        let folded = written.value.trim().to_lowercase();
        let found = groups.keys.get(&folded).and_then(|key| Some((key, groups.by_key.get(key)?)));
        let Some((key, group)) = found else {
            let shown = quote(&written.value);
            self.report.error(&written.place, format!("there is no tool group {shown}"));
            let known: Vec<_> = groups.keys.keys().map(String::as_str).collect();
            if let Some(near) = nearest(&folded, &known) {
                self.report.hint(format!("did you mean `{near}`?"));
            }
            return None;
        };
        let origin = origin(&self.file, &written.place);
        Some(Rule { what: What::Group(key.clone()), when: None, text: group.name.clone(), origin })
    }

    fn variants(&mut self, children: &[Child]) -> Vec<Variant> {
        let mut variants: SortedMap<(ServerName, String), Variant> = SortedMap::new();
        for child in children {
            let Some(server) = self.server(&child.service) else { continue };
            let key = (server.clone(), child.name.value.clone());
            if variants.contains_key(&key) {
                let shown = quote(&child.name.value);
                self.report.error(&child.name.place, format!("{server} has a child tool {shown} already"));
                continue;
            }
            variants.insert(key, self.variant(server, child));
        }
        variants.into_values().collect()
    }

    fn variant(&self, server: ServerName, child: &Child) -> Variant {
        Variant {
            server,
            name: child.name.value.clone(),
            kind: ItemKind::Tool,
            replaces: child.name.value == child.from,
            from: child.from.clone(),
            title: None,
            description: child.description.clone(),
            arguments: child.arguments.clone(),
            result: Narrowing::default(),
            fixed: Fixed::Noted,
            origin: origin(&self.file, &child.place),
        }
    }

    fn check_inactive(&mut self, inactive: &[At<String>]) {
        for name in inactive {
            self.server(name);
        }
    }

    fn auth(&mut self, written: Option<&AuthEntry>) -> Auth {
        let Some(entry) = written.filter(|entry| entry.enabled) else { return Auth::default() };
        let shared_key = match self.purpose {
            Purpose::Serve(lookup) => self.shared_key(lookup, &entry.place),
            Purpose::Import => {
                self.report.warn(&entry.place, "the one key in AUTH_KEY becomes an API key of each agent");
                self.report.hint("create them with `portcullis keys create --agent NAME`");
                None
            }
        };
        Auth {
            required: true,
            header: Some(entry.header.clone().unwrap_or(KEY_HEADER)),
            shared_key,
            tag_header: None,
            issuers: Vec::new(),
            sign_in: None,
        }
    }

    fn shared_key(&mut self, lookup: &dyn Fn(&str) -> Option<String>, place: &Place) -> Option<[u8; 32]> {
        let key = lookup("AUTH_KEY").filter(|key| !key.trim().is_empty());
        if key.is_none() {
            self.report.error(place, "the environment variable AUTH_KEY is not set, and `auth` is enabled");
            self.report.hint("set it to the key that callers send, or write `enabled: false`");
        }
        key.map(|key| Sha256::digest(key).into())
    }
}

/// Returns a name that is not taken yet, made of one that is.
fn free_name(name: &str, suffix: &str, taken: &mut SortedSet<String>) -> String {
    let name: String = name.chars().take(NAME_LIMIT - SUFFIX_LIMIT).collect();
    let name = name.trim_end();
    let mut candidate = format!("{name}-{suffix}");
    let mut number = 2_usize;
    while !taken.insert(candidate.to_lowercase()) {
        candidate = format!("{name}-{suffix}-{number}");
        number += 1;
    }
    candidate
}
