//! Everything that all servers offer, under the names that agents know: merged once, whoever asks.
//!
//! **Names are given among all servers**, so that a name means the same thing at every endpoint and to every agent,
//! whichever servers are up. What of it somebody sees is a [`View`](super::View).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest as _, Sha256};

use super::{Item, Kind, Offer, Parameter, Template, replace_member, without_member};
use crate::config::{Gateway, ItemKind, Variant};
use crate::customize::{Call, Customized, Made, customize};
use crate::names::ServerName;
use crate::route::{colliding, expose};
use crate::sorted;
use crate::upstream::Server;
use crate::wire::json::Json;
use crate::wire::message::ObjectWriter;
use crate::wire::version::Era;

/// Where a name leads.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) server: Arc<Server>,
    /// The name that the server knows it by.
    pub(crate) name: Arc<str>,
    /// The arguments that a caller repeats in headers.
    pub(crate) parameters: Arc<[Parameter]>,
    /// What it is a variant of the server's own by, where it is one.
    pub(crate) variant: Option<Arc<Varied>>,
}

/// How a variant leads to what it is made from.
#[derive(Debug)]
pub(crate) struct Varied {
    /// The variant's own name.
    pub(crate) name: Box<str>,
    /// How it is called.
    pub(crate) call: Arc<Call>,
    /// The arguments of the server's own that are repeated in headers.
    pub(crate) parameters: Vec<Parameter>,
}

impl Route {
    /// Leads to a server's resource that nothing lists.
    pub(super) fn to(server: Arc<Server>, uri: &str) -> Self {
        Self { server, name: uri.into(), parameters: Arc::from([]), variant: None }
    }

    /// Returns the name that rules know it by.
    pub(crate) fn own_name(&self) -> &str {
        self.variant.as_ref().map_or(&*self.name, |variant| &*variant.name)
    }

    /// Returns the arguments that are repeated in headers to the server.
    pub(crate) fn server_parameters(&self) -> &[Parameter] {
        self.variant.as_ref().map_or(&*self.parameters, |variant| &*variant.parameters)
    }
}

/// What is enough to tell one text from another.
pub(super) type Digest = [u8; 9];

/// What all servers offer.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// Counts the changes of what servers offer that went before.
    pub(super) generation: u64,
    /// All servers that are configured.
    pub(super) servers: Vec<Arc<Server>>,
    /// Those whose lists are known and current, with what they offer.
    pub(super) offers: Vec<(Arc<Server>, Arc<Offer>)>,
    lists: [Vec<Entry>; 4],
    by_name: [HashMap<Box<str>, usize>; 4],
}

/// One item under the name that agents know.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    /// As stateless agents see it.
    modern: Text,
    /// As session-based agents see it, where that differs.
    legacy: Option<Text>,
    pub(super) route: Route,
    /// The item's pattern, where it is a template.
    pub(super) template: Option<Template>,
    /// Whether it has its name and is not served.
    pub(super) is_withheld: bool,
}

#[derive(Debug)]
struct Text {
    text: Box<str>,
    digest: Digest,
}

/// One thing that is offered, and by whom.
struct Offered<'o> {
    server: &'o Arc<Server>,
    era: Era,
    item: Cow<'o, Item>,
    variant: Option<Arc<Varied>>,
    is_withheld: bool,
}

impl Merged {
    /// Merges what the servers offer.
    pub(super) fn make<'s>(
        generation: u64,
        settings: &Gateway,
        variants: &[Variant],
        servers: impl Iterator<Item = (&'s ServerName, &'s Arc<Server>)>,
    ) -> Self {
        let servers: Vec<_> = servers.map(|(_, server)| server.clone()).collect();
        let known: Vec<_> = servers.iter().filter_map(|s| Some((s.clone(), s.offer.load_full()?))).collect();
        let is_listed = |server: &Server| server.listed.load(Ordering::Relaxed);
        let offers: Vec<_> = known.iter().filter(|(server, _)| is_listed(server)).cloned().collect();
        let offers_now = |thing: &Offered<'_>| offers.iter().any(|(s, _)| Arc::ptr_eq(s, thing.server));
        let mut merged = Self { generation, ..Self::default() };
        let all: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
        for kind in Kind::ALL {
            let things: Vec<_> =
                known.iter().flat_map(|(s, offer)| offered(s, offer, variants, kind)).collect();
            let keys: Vec<_> =
                things.iter().map(|t| (t.server.name.as_str(), t.item.name.as_str())).collect();
            let names = match kind {
                Kind::Tools | Kind::Prompts => expose(settings.naming, settings.name_limit, &all, &keys),
                Kind::Resources | Kind::Templates => expose_uris(&keys),
            };
            let pairs = things.into_iter().zip(names);
            merged.add_list(kind, pairs.filter(|(thing, _)| offers_now(thing)));
        }
        Self { servers, offers, ..merged }
    }

    fn add_list<'o>(&mut self, kind: Kind, named: impl Iterator<Item = (Offered<'o>, Option<String>)>) {
        let mut entries: Vec<Entry> = Vec::new();
        for (thing, name) in named {
            if let Some(name) = name {
                entries.push(Entry::new(kind, &thing, name));
            } else {
                let server = &thing.server.name;
                tracing::error!(%server, name = %thing.item.name, "left out: another server has the same name, and `naming: none` keeps names as they are");
            }
        }
        sorted::sort_by(&mut entries, |a, b| {
            (&a.route.server.name, &a.name).cmp(&(&b.route.server.name, &b.name))
        });
        let places = entries.iter().enumerate().map(|(index, entry)| (entry.name.clone(), index));
        self.by_name[kind as usize] = places.collect();
        self.lists[kind as usize] = entries;
    }

    /// Returns the items of one list, in the order in which they are listed.
    pub(super) fn list(&self, kind: Kind) -> &[Entry] {
        &self.lists[kind as usize]
    }

    /// Finds an item by the name that agents know; returns its place in the list as well.
    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<(usize, &Entry)> {
        let index = *self.by_name[kind as usize].get(name)?;
        Some((index, &self.lists[kind as usize][index]))
    }
}

impl Entry {
    fn new(kind: Kind, thing: &Offered<'_>, name: String) -> Self {
        let text = if name == thing.item.name {
            Cow::Borrowed(&*thing.item.text)
        } else {
            Cow::Owned(replace_member(&thing.item.text, kind.key(), &name))
        };
        let (modern, legacy) = match kind {
            Kind::Tools => {
                let modern = for_agents(&text, thing.era, Era::Modern);
                let legacy = for_agents(&text, thing.era, Era::Legacy);
                let differs = modern != legacy;
                (Text::new(&modern), differs.then(|| Text::new(&legacy)))
            }
            _ => (Text::new(&text), None),
        };
        let route = Route {
            server: thing.server.clone(),
            name: match &thing.variant {
                Some(variant) => variant.call.name.clone(),
                None => thing.item.name.as_str().into(),
            },
            parameters: thing.item.parameters.as_slice().into(),
            variant: thing.variant.clone(),
        };
        let template = (kind == Kind::Templates).then(|| Template::parse(&name));
        Self { name: name.into(), modern, legacy, route, template, is_withheld: thing.is_withheld }
    }

    fn text_for(&self, era: Era) -> &Text {
        self.legacy.as_ref().filter(|_| era == Era::Legacy).unwrap_or(&self.modern)
    }

    /// Returns the item as agents of an era see it, as JSON text.
    pub(super) fn text(&self, era: Era) -> &str {
        &self.text_for(era).text
    }

    /// Returns what tells it from what it was before.
    pub(super) fn digest(&self, era: Era) -> &Digest {
        &self.text_for(era).digest
    }
}

impl Text {
    fn new(text: &str) -> Self {
        let mut digest = Digest::default();
        digest.copy_from_slice(&Sha256::digest(text.as_bytes())[..9]);
        Self { text: text.into(), digest }
    }
}

impl Kind {
    /// Returns what rules call things of this kind.
    pub(crate) fn of_rules(self) -> ItemKind {
        match self {
            Self::Tools => ItemKind::Tool,
            Self::Prompts => ItemKind::Prompt,
            Self::Resources | Self::Templates => ItemKind::Resource,
        }
    }
}

/// Returns what a server offers of one kind, and its variants; without what they stand in place of.
fn offered<'o>(
    server: &'o Arc<Server>,
    offer: &'o Offer,
    variants: &[Variant],
    kind: Kind,
) -> Vec<Offered<'o>> {
    let era = offer.version.era();
    let items = offer.items(kind);
    let own = |item: &'o Item| {
        let is_withheld = offer.withholds(kind, &item.name);
        Offered { server, era, item: Cow::Borrowed(item), variant: None, is_withheld }
    };
    let variants: Vec<_> = variants.iter().filter(|variant| variant.server == server.name).collect();
    if variants.is_empty() {
        return items.iter().map(own).collect();
    }
    // Variants that are left out are told of where names are that nobody has: once, not with every merge.
    let Customized { made, replaced, .. } = customize(variants, kind, items);
    let stays = |item: &&Item| !replaced.contains(&item.name);
    let parameters =
        |call: &Call| items.iter().find(|item| *item.name == *call.name).map(|item| item.parameters.clone());
    let varied = made.into_iter().map(|Made { item, call }| {
        let parameters = parameters(&call).unwrap_or_default();
        let is_withheld = offer.withholds(kind, &call.name);
        let variant = Varied { name: item.name.as_str().into(), call, parameters };
        Offered { server, era, item: Cow::Owned(item), variant: Some(Arc::new(variant)), is_withheld }
    });
    items.iter().filter(stays).map(own).chain(varied).collect()
}

/// Returns a tool as agents of an era may see it: how it runs as a task is another matter in each, and one of them
/// knows only output that is an object.
fn for_agents(text: &str, server: Era, agents: Era) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if server != agents && text.contains("\"taskSupport\"") {
        text = without_task_support(&text).into();
    }
    if agents == Era::Legacy && has_modern_schema(&text) {
        text = without_member(&text, "outputSchema").into();
    }
    text
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
pub(super) fn wrap_uri(server: &str, uri: &str) -> String {
    let server: String = url::form_urlencoded::byte_serialize(server.as_bytes()).collect();
    format!("portcullis://{server}/{uri}")
}

pub(super) fn unwrap_uri(server: &str, uri: &str) -> String {
    let prefix = wrap_uri(server, "");
    uri.strip_prefix(&prefix).unwrap_or(uri).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str) -> bool {
        has_modern_schema(&format!(r#"{{"name":"a","inputSchema":{{"type":"object"}}{schema}}}"#))
    }

    #[test]
    fn task_support_does_not_cross_eras() {
        let check = |server: Era, agents: Era, tool: &str| for_agents(tool, server, agents).into_owned();
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
