//! What an endpoint shows: the lists of its servers merged, as ready-made bytes, and the way back from each name.
//!
//! A view is made when a list has changed and read until the next change; nothing is merged while an agent waits.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{CAPABILITIES, Kind, Offer, Parameter, Template, replace_member, without_member};
use crate::config::{Gateway, Naming};
use crate::names::ServerName;
use crate::route::{colliding, expose};
use crate::tasks::EXTENSION;
use crate::upstream::{Server, lock};
use crate::wire::json::Json;
use crate::wire::message::ObjectWriter;
use crate::wire::version::Era;

/// How long an agent may take a list for current at most, in milliseconds.
const AGENT_TTL: u64 = 30_000;
/// The longest instructions of one server that are passed on, in characters.
const INSTRUCTIONS: usize = 8 << 10;

/// Which part of the gateway an endpoint shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Every server.
    All,
    /// One server.
    Server(ServerName),
}

impl Scope {
    /// Tells whether a server is shown.
    pub(crate) fn includes(&self, name: &ServerName) -> bool {
        match self {
            Self::All => true,
            Self::Server(only) => only == name,
        }
    }
}

/// Where a name leads.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) server: Arc<Server>,
    /// The name that the server knows it by.
    pub(crate) name: Arc<str>,
    pub(crate) parameters: Arc<[Parameter]>,
}

/// One page of a list: its members as they stand in a result, without the braces. Every answer shares its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page(pub(crate) Bytes);

/// What an agent is listed of each of the [`CAPABILITIES`], as digests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listed(pub(crate) [String; 3]);

/// What one endpoint shows.
#[derive(Debug, Default)]
pub(crate) struct View {
    generation: u64,
    lists: [List; 4],
    /// The tools as session-based agents may see them, where that differs.
    legacy_tools: Option<List>,
    routes: [HashMap<String, Route>; 4],
    templates: Vec<(Template, Route)>,
    /// The capabilities that the endpoint declares to stateless agents, as JSON text.
    pub(crate) capabilities: String,
    /// Those that it declares to session-based agents, as JSON text.
    pub(crate) legacy_capabilities: String,
    /// What the servers say about how to use them, each under its name.
    pub(crate) instructions: Option<String>,
    /// How long an agent may take the lists for current, in milliseconds.
    pub(crate) ttl: u64,
    /// The servers with resources.
    with_resources: Vec<Arc<Server>>,
}

#[derive(Debug, Default)]
struct List {
    digest: String,
    page_size: usize,
    pages: Vec<Page>,
}

/// The views of a snapshot, each made when first asked for and again after a change.
#[derive(Debug, Default)]
pub(crate) struct Views {
    generation: AtomicU64,
    made: ArcSwap<BTreeMap<Scope, Arc<View>>>,
    making: Mutex<()>,
}

impl Views {
    /// Notes that some server's offer has changed.
    pub(crate) fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns the view of a scope.
    pub(crate) fn view(
        &self,
        scope: &Scope,
        settings: &Gateway,
        servers: &BTreeMap<ServerName, Arc<Server>>,
    ) -> Arc<View> {
        let current = |made: &BTreeMap<Scope, Arc<View>>| {
            let view = made.get(scope)?;
            (view.generation == self.generation.load(Ordering::Acquire)).then(|| view.clone())
        };
        if let Some(view) = current(&self.made.load()) {
            return view;
        }
        let _one_at_a_time = lock(&self.making);
        if let Some(view) = current(&self.made.load()) {
            return view;
        }
        let generation = self.generation.load(Ordering::Acquire);
        let view =
            Arc::new(View { generation, ..View::make(settings, servers, |name| scope.includes(name)) });
        let mut made = BTreeMap::clone(&self.made.load());
        made.insert(scope.clone(), view.clone());
        self.made.store(Arc::new(made));
        view
    }
}

/// One thing that is offered, and by whom.
struct Offered<'o> {
    server: &'o Arc<Server>,
    era: Era,
    item: &'o super::Item,
}

/// One item of a list under the name that agents know; items are in the order of their servers and names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown<'o> {
    server: &'o str,
    name: String,
    text: String,
    /// The server's.
    era: Era,
}

impl Shown<'_> {
    /// Returns a tool as agents of an era may see it: how it runs as a task is another matter in each, and one of them
    /// knows only output that is an object.
    fn for_agents(&self, era: Era) -> Cow<'_, str> {
        let mut text = Cow::Borrowed(self.text.as_str());
        if self.era != era && text.contains("\"taskSupport\"") {
            text = without_task_support(&text).into();
        }
        if era == Era::Legacy && has_modern_schema(&text) {
            text = without_member(&text, "outputSchema").into();
        }
        text
    }
}

impl View {
    /// Merges what the servers offer that are shown. Names are given among all, so that a name means the same thing at
    /// every endpoint, and whichever servers are up.
    pub(crate) fn make(
        settings: &Gateway,
        servers: &BTreeMap<ServerName, Arc<Server>>,
        shown: impl Fn(&ServerName) -> bool,
    ) -> Self {
        let visible: Vec<_> = servers.values().filter(|server| shown(&server.name)).collect();
        let listed = visible.iter().filter(|server| server.listed.load(Ordering::Relaxed));
        let offers: Vec<_> = listed.filter_map(|s| Some((*s, s.offer.load_full()?))).collect();
        let mut view = Self {
            capabilities: capabilities(&offers, offers.len() < visible.len(), Era::Modern),
            legacy_capabilities: capabilities(&offers, offers.len() < visible.len(), Era::Legacy),
            instructions: instructions(settings, &offers),
            ttl: offers.iter().map(|(_, o)| o.ttl).chain([AGENT_TTL]).min().unwrap_or(0),
            ..Self::default()
        };
        let all: Vec<_> = servers.keys().map(ServerName::as_str).collect();
        let known: Vec<_> = servers.values().filter_map(|s| Some((s, s.offer.load_full()?))).collect();
        for kind in Kind::ALL {
            let things: Vec<_> = known
                .iter()
                .flat_map(|(server, offer)| {
                    let era = offer.version.era();
                    offer.items(kind).iter().map(move |item| Offered { server, era, item })
                })
                .collect();
            let keys: Vec<_> =
                things.iter().map(|t| (t.server.name.as_str(), t.item.name.as_str())).collect();
            let names = match kind {
                Kind::Tools | Kind::Prompts => expose(settings.naming, settings.name_limit, &all, &keys),
                Kind::Resources | Kind::Templates => expose_uris(&keys),
            };
            let pairs = things.into_iter().zip(names);
            let visible_pairs =
                pairs.filter(|(thing, _)| offers.iter().any(|(server, _)| Arc::ptr_eq(server, thing.server)));
            view.add_list(settings, kind, visible_pairs);
        }
        view.with_resources = offers
            .iter()
            .filter(|(_, offer)| offer.capability("resources").is_some())
            .map(|(server, _)| Arc::clone(server))
            .collect();
        view
    }

    fn add_list<'o>(
        &mut self,
        settings: &Gateway,
        kind: Kind,
        named: impl Iterator<Item = (Offered<'o>, Option<String>)>,
    ) {
        let mut shown: Vec<Shown<'_>> = Vec::new();
        for (thing, name) in named {
            let Some(name) = name else {
                let server = &thing.server.name;
                tracing::error!(%server, name = %thing.item.name, "left out: another server has the same name, and `naming: none` keeps names as they are");
                continue;
            };
            let text = if name == thing.item.name {
                thing.item.text.to_string()
            } else {
                replace_member(&thing.item.text, kind.key(), &name)
            };
            let route = Route {
                server: thing.server.clone(),
                name: thing.item.name.as_str().into(),
                parameters: thing.item.parameters.as_slice().into(),
            };
            if kind == Kind::Templates {
                self.templates.push((Template::parse(&name), route.clone()));
            }
            self.routes[kind as usize].insert(name.clone(), route);
            shown.push(Shown { server: thing.server.name.as_str(), name, text, era: thing.era });
        }
        shown.sort();
        if kind != Kind::Tools {
            let texts: Vec<_> = shown.into_iter().map(|shown| shown.text).collect();
            self.lists[kind as usize] = List::make(kind, &texts, settings.page_size);
            return;
        }
        let tools = |agents: Era| shown.iter().map(|tool| tool.for_agents(agents)).collect::<Vec<_>>();
        let (modern, legacy) = (tools(Era::Modern), tools(Era::Legacy));
        if modern != legacy {
            self.legacy_tools = Some(List::make(kind, &legacy, settings.page_size));
        }
        self.lists[kind as usize] = List::make(kind, &modern, settings.page_size);
    }

    /// Returns where an exposed name leads.
    pub(crate) fn route(&self, kind: Kind, name: &str) -> Option<&Route> {
        self.routes[kind as usize].get(name)
    }

    /// Returns where a URI leads: to the server that lists it, to the one whose template gives it, or to the only
    /// one with resources at all.
    pub(crate) fn route_uri(&self, uri: &str) -> Option<Route> {
        if let Some(route) = self.route(Kind::Resources, uri) {
            return Some(route.clone());
        }
        let mut servers: Vec<_> =
            self.templates.iter().filter(|(t, _)| t.matches(uri)).map(|(_, r)| &r.server).collect();
        servers.dedup_by(|a, b| Arc::ptr_eq(a, b));
        if servers.is_empty() {
            servers = self.with_resources.iter().collect();
        }
        let [server] = servers[..] else { return None };
        let parameters = Arc::from([]);
        Some(Route { server: server.clone(), name: unwrap_uri(server.name.as_str(), uri).into(), parameters })
    }

    /// Returns what an agent of an era is listed, as digests.
    pub(crate) fn listed(&self, era: Era) -> Listed {
        Listed(CAPABILITIES.map(|capability| {
            let kinds = Kind::ALL.into_iter().filter(|kind| kind.capability() == capability);
            kinds.map(|kind| self.list(era, kind).digest.as_str()).collect()
        }))
    }

    fn list(&self, era: Era, kind: Kind) -> &List {
        let adapted = self.legacy_tools.as_ref().filter(|_| era == Era::Legacy && kind == Kind::Tools);
        adapted.unwrap_or(&self.lists[kind as usize])
    }

    /// Returns the page that a cursor leads to, the first one without a cursor; nothing where the cursor is not of
    /// this list as it is now.
    pub(crate) fn page(&self, era: Era, kind: Kind, cursor: Option<&str>) -> Option<&Page> {
        let list = self.list(era, kind);
        let Some(cursor) = cursor else { return list.pages.first() };
        let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (digest, offset) = decoded.split_once('.')?;
        let offset: usize = offset.parse().ok()?;
        let index = offset.checked_div(list.page_size)?;
        (digest == list.digest && offset == index * list.page_size && index > 0)
            .then(|| list.pages.get(index))
            .flatten()
    }
}

impl List {
    fn make(kind: Kind, items: &[impl AsRef<str>], page_size: usize) -> Self {
        let mut digest = Sha256::new();
        for item in items {
            digest.update(item.as_ref());
            digest.update([0]);
        }
        let digest = URL_SAFE_NO_PAD.encode(&digest.finalize()[..9]);
        let page_size = page_size.max(1);
        let mut pages = Vec::new();
        for (index, chunk) in items.chunks(page_size).enumerate() {
            let end = (index + 1) * page_size;
            let mut page = format!(
                "\"{}\":[{}]",
                kind.member(),
                chunk.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",")
            );
            if end < items.len() {
                let cursor = URL_SAFE_NO_PAD.encode(format!("{digest}.{end}"));
                page = format!("{page},\"nextCursor\":\"{cursor}\"");
            }
            pages.push(Page(page.into()));
        }
        if pages.is_empty() {
            pages.push(Page(format!("\"{}\":[]", kind.member()).into()));
        }
        Self { digest, page_size, pages }
    }
}

/// Tells whether a tool's output schema is one that only the stateless revision allows: not of an object.
fn has_modern_schema(tool: &str) -> bool {
    let schema = Json::check(tool.as_bytes()).ok().and_then(|tool| tool.get("outputSchema"));
    schema.is_some_and(|schema| schema.get("type").and_then(Json::as_str).as_deref() != Some("object"))
}

/// Returns a tool's text without what it says about tasks of another era.
fn without_task_support(tool: &str) -> String {
    let json = Json::check(tool.as_bytes()).expect("items are kept as checked JSON");
    let mut out = ObjectWriter::with_capacity(tool.len());
    for (key, value) in json.members() {
        if key != "execution" || !value.is_object() {
            out.member(&key, value.text());
            continue;
        }
        let rest = without_member(value.text(), "taskSupport");
        if rest != "{}" {
            out.member(&key, &rest);
        }
    }
    out.finish()
}

/// URIs stay as they are, but for those that two servers share, or that are what another one's came to be.
fn expose_uris(things: &[(&str, &str)]) -> Vec<Option<String>> {
    let mut uris: Vec<_> = things.iter().map(|(_, uri)| Some((*uri).to_owned())).collect();
    // Each round can only meet URIs that a server has made up to meet one of the round before.
    for _ in 0..3 {
        for index in colliding(&uris) {
            let (server, uri) = things[index];
            uris[index] = Some(wrap_uri(server, uri));
        }
    }
    for index in colliding(&uris) {
        uris[index] = None;
    }
    uris
}

/// The URI of a resource whose own URI another server has as well. A template's braces stay in sight.
fn wrap_uri(server: &str, uri: &str) -> String {
    let server: String = url::form_urlencoded::byte_serialize(server.as_bytes()).collect();
    format!("portcullis://{server}/{uri}")
}

fn unwrap_uri(server: &str, uri: &str) -> String {
    let prefix = wrap_uri(server, "");
    uri.strip_prefix(&prefix).unwrap_or(uri).to_owned()
}

type Offers<'s> = [(&'s Arc<Server>, Arc<Offer>)];

/// Declares to agents of an era what some server has; while one is not known yet, it may have anything.
fn capabilities(offers: &Offers<'_>, incomplete: bool, agents: Era) -> String {
    let some = |name: &str| offers.iter().any(|(_, offer)| offer.capability(name).is_some());
    let subscribable = offers.iter().any(|(_, offer)| {
        offer.capability("resources").and_then(|c| c.get("subscribe")).and_then(Json::as_bool) == Some(true)
    });
    let mut out = ObjectWriter::default();
    if some("tools") || incomplete || offers.is_empty() {
        out.member("tools", r#"{"listChanged":true}"#);
    }
    if some("prompts") || incomplete {
        out.member("prompts", r#"{"listChanged":true}"#);
    }
    if some("resources") || incomplete {
        out.member(
            "resources",
            if subscribable { r#"{"subscribe":true,"listChanged":true}"# } else { r#"{"listChanged":true}"# },
        );
    }
    if some("completions") {
        out.member("completions", "{}");
    }
    if some("logging") {
        out.member("logging", "{}");
    }
    let extensions = extensions(offers, agents);
    if extensions != "{}" {
        out.member("extensions", &extensions);
    }
    out.finish()
}

/// The extensions of all servers; tasks only where both sides are stateless, since the other revisions have others.
fn extensions(offers: &Offers<'_>, agents: Era) -> String {
    let mut out = ObjectWriter::default();
    let mut seen = BTreeSet::new();
    for (_, offer) in offers {
        let carries_tasks = (offer.version.era(), agents) == (Era::Modern, Era::Modern);
        for (name, settings) in offer.capability("extensions").iter().flat_map(|e| e.members()) {
            if (name != EXTENSION || carries_tasks) && seen.insert(name.clone().into_owned()) {
                out.member(&name, settings.text());
            }
        }
    }
    out.finish()
}

/// One server's instructions as they are; those of several each under the server's name.
fn instructions(settings: &Gateway, offers: &Offers<'_>) -> Option<String> {
    if settings.instructions.is_some() {
        return settings.instructions.clone();
    }
    let texts: Vec<_> = offers
        .iter()
        .filter_map(|(server, offer)| Some((server, offer.introduction.instructions.as_deref()?.trim())))
        .filter(|(_, text)| !text.is_empty())
        .map(|(server, text)| (server, text.chars().take(INSTRUCTIONS).collect::<String>()))
        .collect();
    match &texts[..] {
        [] => None,
        [(_, text)] if offers.len() == 1 => Some(text.clone()),
        _ => {
            let prefix = |server: &Server| match settings.naming {
                Naming::Prefix => {
                    format!("# {} (its tools begin with `{}`)", server.name, tool_prefix(&server.name))
                }
                Naming::None => format!("# {}", server.name),
            };
            Some(
                texts
                    .iter()
                    .map(|(s, text)| format!("{}\n\n{text}", prefix(s)))
                    .collect::<Vec<_>>()
                    .join("\n\n"),
            )
        }
    }
}

fn tool_prefix(server: &ServerName) -> String {
    expose(Naming::Prefix, 128, &[], &[(server.as_str(), "")]).remove(0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str) -> bool {
        has_modern_schema(&format!(r#"{{"name":"a","inputSchema":{{"type":"object"}}{schema}}}"#))
    }

    #[test]
    fn task_support_does_not_cross_eras() {
        let check = |server: Era, agents: Era, tool: &str| {
            let shown = Shown { server: "a", name: "a".into(), text: tool.into(), era: server };
            shown.for_agents(agents).into_owned()
        };
        let tool = r#"{"name":"a","execution":{"taskSupport":"required"},"z":1.0}"#;
        assert_eq!(check(Era::Legacy, Era::Legacy, tool), tool);
        assert_eq!(check(Era::Legacy, Era::Modern, tool), r#"{"name":"a","z":1.0}"#);
        assert_eq!(check(Era::Modern, Era::Legacy, tool), r#"{"name":"a","z":1.0}"#);
        let more = r#"{"execution":{"x":1,"taskSupport":"optional"},"about":"\"taskSupport\""}"#;
        assert_eq!(
            check(Era::Legacy, Era::Modern, more),
            r#"{"execution":{"x":1},"about":"\"taskSupport\""}"#
        );
        let odd = r#"{"execution":"taskSupport","taskSupport":1}"#;
        assert_eq!(check(Era::Legacy, Era::Modern, odd), odd);
    }

    #[test]
    fn only_schemas_of_objects_are_for_everybody() {
        assert!(check(r#","outputSchema":{"type":"array"}"#));
        assert!(check(r#","outputSchema":{"anyOf":[]}"#));
        assert!(!check(r#","outputSchema":{"type":"object"}"#));
        assert!(!check(""));
        assert_eq!(
            without_member(r#"{"a":1,"outputSchema":{"type":"array"},"b":2}"#, "outputSchema"),
            r#"{"a":1,"b":2}"#
        );
    }
}
