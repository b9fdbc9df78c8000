//! What an endpoint shows to a caller: which of all items, the lists of them as ready-made bytes, and the way back from
//! each name.
//!
//! A view is made when somebody first looks and kept until something changes; nothing is merged while an agent waits.
//! **A list and a call ask the same view**: what is not seen is answered as what does not exist.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::introduce::{Declaring, Offering, capabilities, instructions};
use super::merged::{Entry, Merged, Route, unwrap_uri};
use super::{CAPABILITIES, Kind};
use crate::acl::{Condition, Decision, Denial, Rules, Target, Truth};
use crate::config::{Dialect, Gateway, ItemKind, Selector};
use crate::front::terms::Told;
use crate::names::ServerName;
use crate::upstream::Server;
use crate::wire::version::Era;

/// How long an agent may take a list for current at most, in milliseconds.
const AGENT_TTL: u64 = 30_000;

/// The eras of agents, in the order in which a view has something for each.
const ERAS: [Era; 2] = [Era::Modern, Era::Legacy];

/// Which part of the gateway an endpoint shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Every server.
    All,
    /// One server.
    Server(ServerName),
    /// One group, by its key in the policy.
    Group(Arc<str>),
}

/// One page of a list: its members as they stand in a result, without the braces. Every answer shares its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page(pub(crate) Bytes);

/// What an agent is listed of each of the [`CAPABILITIES`], as digests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Listed(pub(crate) [String; 3]);

/// What decides on what is seen.
pub(super) struct Sight<'s> {
    /// Which servers' things are seen at all.
    pub(super) servers: &'s dyn Fn(&ServerName) -> bool,
    /// The endpoint.
    pub(super) scope: &'s Scope,
    /// What the endpoint is narrowed to.
    pub(super) group: Option<&'s [Selector]>,
    /// The caller's rules.
    pub(super) rules: &'s Arc<Rules>,
    /// What their conditions come to that do not depend on a call, of [`Rules::outcomes`].
    pub(super) outcomes: &'s [Truth],
}

/// What one caller sees at one endpoint.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) merged: Arc<Merged>,
    rules: Arc<Rules>,
    outcomes: Box<[Truth]>,
    group: Option<Box<[Selector]>>,
    /// How each item of each list is seen.
    seen: [Vec<Seen>; 4],
    /// The servers that are shown, by their place among all.
    shown: Vec<bool>,
    page_size: usize,
    /// Made when first asked for, of each kind for both eras.
    lists: [[OnceLock<List>; 2]; 4],
    /// The capabilities that the endpoint declares to agents of each era that are told everything, as JSON text.
    capabilities: [String; 2],
    /// What the servers say about how to use them, each under its name.
    pub(crate) instructions: Option<String>,
    /// How long an agent may take the lists for current, in milliseconds.
    pub(crate) ttl: u64,
}

/// How an item is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    /// Allowed by the rule at that place.
    By(u32),
    /// Allowed by it where the arguments permit.
    Perhaps(u32),
}

/// Something is held back: it is not as it was approved.
struct Withheld;

/// Something that a caller sees, and what allows it.
#[derive(Debug, Clone)]
pub(crate) struct Found<'v> {
    pub(crate) route: Route,
    /// What allows it, and where that stands.
    pub(crate) rule: &'v Arc<str>,
    /// Whether the arguments have a say.
    pub(crate) depends: bool,
}

#[derive(Debug, Default)]
struct List {
    digest: String,
    pages: Vec<Page>,
}

impl View {
    /// Looks at what all servers offer.
    pub(super) fn make(settings: &Gateway, merged: Arc<Merged>, sight: &Sight<'_>) -> Self {
        let mut view = Self {
            rules: sight.rules.clone(),
            outcomes: sight.outcomes.into(),
            group: sight.group.map(Into::into),
            seen: Default::default(),
            shown: merged.servers.iter().map(|server| sight.shows(server)).collect(),
            page_size: settings.page_size.max(1),
            lists: Default::default(),
            capabilities: Default::default(),
            instructions: None,
            ttl: 0,
            merged,
        };
        for kind in Kind::ALL {
            view.seen[kind as usize] = view.look_at(kind);
        }
        let (speaking, incomplete) = view.speaking();
        view.instructions = instructions(settings, &speaking);
        view.capabilities =
            ERAS.map(|era| capabilities(&speaking, incomplete, Declaring::new(era, Told::Everything)));
        view.ttl = view.offering().map(lasts).chain([AGENT_TTL]).min().unwrap_or(0);
        view
    }

    /// Returns the capabilities that the endpoint declares to agents of an era that are told that much, as JSON text.
    pub(crate) fn capabilities(&self, era: Era, told: Told) -> Cow<'_, str> {
        if told == Told::Everything {
            return self.capabilities[usize::from(era == ERAS[1])].as_str().into();
        }
        let (speaking, incomplete) = self.speaking();
        capabilities(&speaking, incomplete, Declaring::new(era, told)).into()
    }

    /// Returns the servers that are shown and have been read.
    fn offering(&self) -> impl Iterator<Item = &Offering> {
        self.merged.offers.iter().filter(|(server, _)| self.shows(server))
    }

    /// Returns the servers that introduce themselves, and whether others may yet.
    fn speaking(&self) -> (Vec<Offering>, bool) {
        let shown = self.shown.iter().filter(|shown| **shown).count();
        let incomplete = self.offering().count() < shown;
        let speaks = |server: &Arc<Server>| self.sees_everything() || self.sees_some_of(server);
        (self.offering().filter(|(server, _)| speaks(server)).cloned().collect(), incomplete)
    }

    fn look_at(&self, kind: Kind) -> Vec<Seen> {
        let everything = self.sees_everything().then(|| self.rules.first()).flatten();
        // Items come server by server.
        let mut server: Option<(*const Server, bool)> = None;
        let look = |entry: &Entry| {
            let of = Arc::as_ptr(&entry.route.server);
            let shown = match server {
                Some((same, shown)) if same == of => shown,
                _ => self.shows(&entry.route.server),
            };
            server = Some((of, shown));
            match everything {
                _ if !shown || entry.is_withheld => Seen::Not,
                Some(rule) => Seen::By(rule),
                // How to connect it is for whoever could see anything of it.
                None if entry.route.server.awaits_consent.load(Ordering::Relaxed) => {
                    let rule = self.rules.reaching(entry.route.server.name.as_str());
                    rule.map_or(Seen::Not, Seen::By)
                }
                None => self.seen_as(&target(kind, entry)),
            }
        };
        self.merged.list(kind).iter().map(look).collect()
    }

    fn seen_as(&self, target: &Target<'_>) -> Seen {
        let in_group = |group: &[Selector]| group.iter().any(|selector| selector.allows(target));
        if !self.group.as_deref().is_none_or(in_group) {
            return Seen::Not;
        }
        match self.rules.decide(target, |condition| self.truth(condition, target.kind)) {
            Decision::Allowed { rule, depends: false } => Seen::By(rule),
            Decision::Allowed { rule, depends: true } => Seen::Perhaps(rule),
            Decision::Denied(_) => Seen::Not,
        }
    }

    fn truth(&self, condition: &Condition, kind: ItemKind) -> Truth {
        self.rules.outcome(&self.outcomes, condition, kind)
    }

    fn sees_everything(&self) -> bool {
        self.group.is_none() && self.rules.is_unrestricted()
    }

    /// Tells whether what the caller sees is narrowed by its rules.
    pub(crate) fn is_restricted(&self) -> bool {
        !self.rules.is_unrestricted()
    }

    /// Returns how refusals are worded.
    pub(crate) fn dialect(&self) -> Dialect {
        self.rules.dialect
    }

    /// Tells whether a server is shown at all.
    pub(crate) fn shows(&self, server: &Arc<Server>) -> bool {
        let place = self.merged.servers.iter().position(|known| Arc::ptr_eq(known, server));
        place.is_some_and(|place| self.shown[place])
    }

    /// Tells whether anything that a server offers is seen.
    pub(crate) fn sees_some_of(&self, server: &Arc<Server>) -> bool {
        Kind::ALL.into_iter().any(|kind| {
            let mut items = self.merged.list(kind).iter().zip(&self.seen[kind as usize]);
            items.any(|(entry, seen)| *seen != Seen::Not && Arc::ptr_eq(&entry.route.server, server))
        })
    }

    /// Tells whether the caller may read a resource of a server by the server's own URI, be it listed or not.
    pub(crate) fn may_read(&self, server: &ServerName, uri: &str) -> bool {
        let holds_back = |known: &Arc<Server>| known.name == *server && known.holds_back(uri);
        self.is_readable(server, uri) && !self.merged.servers.iter().any(holds_back)
    }

    /// The same by its rules alone.
    fn is_readable(&self, server: &ServerName, uri: &str) -> bool {
        self.shows_named(server) && self.seen_as(&resource(server, uri)) != Seen::Not
    }

    /// Tells whether a server is one of which the caller may see nothing.
    pub(crate) fn hides(&self, server: &ServerName) -> bool {
        let seen_of = |kind: Kind| {
            let items = self.merged.list(kind).iter().zip(&self.seen[kind as usize]);
            items.filter(|(entry, _)| entry.route.server.name == *server).map(|(_, seen)| *seen)
        };
        let mut all = Kind::ALL.into_iter().flat_map(seen_of).peekable();
        !self.shows_named(server) || (all.peek().is_some() && all.all(|seen| seen == Seen::Not))
    }

    fn shows_named(&self, server: &ServerName) -> bool {
        let place = self.merged.servers.iter().position(|known| known.name == *server);
        place.is_some_and(|place| self.shown[place])
    }

    /// Decides once more, now that everything is known that conditions may read.
    pub(crate) fn decide(
        &self,
        target: &Target<'_>,
        truth: impl Fn(&Condition) -> Truth,
    ) -> Result<&Arc<str>, Denial<'_>> {
        match self.rules.decide(target, truth) {
            Decision::Allowed { rule, .. } => Ok(self.rules.label(rule)),
            Decision::Denied(denial) => Err(denial),
        }
    }

    /// Says for the record why a name leads nowhere for the caller.
    pub(crate) fn why_not(&self, kind: Kind, name: &str) -> String {
        let Some((_, entry)) = self.merged.find(kind, name) else { return "nothing has this name".into() };
        let truth = |condition: &Condition| self.truth(condition, kind.of_rules());
        match self.rules.decide(&target(kind, entry), truth) {
            Decision::Denied(denial) => denial.reason(),
            Decision::Allowed { .. } => "this endpoint does not show it".into(),
        }
    }

    /// Tells whether a name is one of something that the caller would see, had it not changed since it was approved.
    pub(crate) fn is_withheld(&self, kind: Kind, name: &str) -> bool {
        let withheld = self.merged.find(kind, name).filter(|(_, entry)| entry.is_withheld);
        withheld.is_some_and(|(_, entry)| {
            self.shows(&entry.route.server) && self.seen_as(&target(kind, entry)) != Seen::Not
        })
    }

    /// Returns all that servers offer of a kind, whoever may see it: each exposed name, and where it leads.
    pub(crate) fn everything(&self, kind: Kind) -> impl Iterator<Item = (&str, &Route)> {
        self.merged.list(kind).iter().map(|entry| (&*entry.name, &entry.route))
    }

    /// Returns what an agent of an era is listed of a kind: each exposed name, and the item as JSON text.
    #[cfg(feature = "control")]
    pub(crate) fn items(&self, kind: Kind, era: Era) -> impl Iterator<Item = (&str, &str)> {
        let items = self.merged.list(kind).iter().zip(&self.seen[kind as usize]);
        items.filter(|(_, seen)| **seen != Seen::Not).map(move |(entry, _)| (&*entry.name, entry.text(era)))
    }

    /// Returns the item that has an exposed name, whoever may see it, as JSON text.
    #[cfg(feature = "control")]
    pub(crate) fn text(&self, kind: Kind, name: &str) -> Option<&str> {
        Some(self.merged.find(kind, name)?.1.text(Era::Modern))
    }

    /// Returns the same with each item as stateless agents see it, and whether it is held back.
    #[cfg(feature = "control")]
    pub(crate) fn texts(&self, kind: Kind) -> impl Iterator<Item = (&str, &Route, &str, bool)> {
        let all = self.merged.list(kind).iter();
        all.map(|entry| (&*entry.name, &entry.route, entry.text(Era::Modern), entry.is_withheld))
    }

    /// Returns where an exposed name leads that the caller sees.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<Found<'_>> {
        let (index, entry) = self.merged.find(kind, name)?;
        self.found(self.seen[kind as usize][index], || entry.route.clone())
    }

    fn found(&self, seen: Seen, route: impl FnOnce() -> Route) -> Option<Found<'_>> {
        let (rule, depends) = match seen {
            Seen::Not => return None,
            Seen::By(rule) => (rule, false),
            Seen::Perhaps(rule) => (rule, true),
        };
        Some(Found { route: route(), rule: self.rules.label(rule), depends })
    }

    /// Returns where a URI leads that the caller may read: to the server that lists it, to the one whose template gives
    /// it, or to the only one with resources at all. Servers where the caller may not read it are none here, whatever
    /// they list: who may not see a resource cannot tell that somebody has it.
    pub(crate) fn find_uri(&self, uri: &str) -> Option<Found<'_>> {
        if let Some(found) = self.find(Kind::Resources, uri) {
            return Some(found);
        }
        let [server] = self.leads(uri).ok()?[..] else { return None };
        let name = unwrap_uri(server.name.as_str(), uri);
        self.found(self.seen_as(&resource(&server.name, &name)), || Route::to(server.clone(), &name))
    }

    /// Tells whether a URI leads to something that the caller could read, had it been approved as it is.
    pub(crate) fn is_uri_withheld(&self, uri: &str) -> bool {
        self.find(Kind::Resources, uri).is_none() && self.leads(uri).is_err()
    }

    /// Returns the servers to which a URI may lead that none is seen to list; an error where one of them holds it back.
    fn leads(&self, uri: &str) -> Result<Vec<&Arc<Server>>, Withheld> {
        let may_read = |server: &&Arc<Server>| {
            self.is_readable(&server.name, &unwrap_uri(server.name.as_str(), uri)) && self.shows(server)
        };
        let templates = self.merged.list(Kind::Templates).iter();
        let giving = templates.filter(|entry| {
            !entry.is_withheld && entry.template.as_ref().is_some_and(|template| template.matches(uri))
        });
        let mut servers: Vec<_> = giving.map(|entry| &entry.route.server).filter(may_read).collect();
        servers.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let is_given = !servers.is_empty();
        if !is_given {
            let offers = self.merged.offers.iter();
            let with_resources = offers.filter(|(_, offer)| offer.capability("resources").is_some());
            servers = with_resources.map(|(server, _)| server).filter(may_read).collect();
        }
        let holds_back = |server: &&Arc<Server>| {
            let name = unwrap_uri(server.name.as_str(), uri);
            server.holds_back(&name) || (!is_given && server.holds_back_template(&name))
        };
        if servers.iter().any(holds_back) { Err(Withheld) } else { Ok(servers) }
    }

    /// Returns what an agent of an era is listed, as digests.
    pub(crate) fn listed(&self, era: Era) -> Listed {
        Listed(CAPABILITIES.map(|capability| {
            let kinds = Kind::ALL.into_iter().filter(|kind| kind.capability() == capability);
            kinds.map(|kind| self.list(era, kind).digest.as_str()).collect()
        }))
    }

    fn list(&self, era: Era, kind: Kind) -> &List {
        self.lists[kind as usize][era as usize].get_or_init(|| {
            let items = self.merged.list(kind).iter().zip(&self.seen[kind as usize]);
            let items: Vec<_> =
                items.filter(|(_, seen)| **seen != Seen::Not).map(|(entry, _)| entry).collect();
            List::make(kind, era, &items, self.page_size)
        })
    }

    /// Returns the page that a cursor leads to, the first one without a cursor; nothing where the cursor is not of
    /// this list as it is now.
    pub(crate) fn page(&self, era: Era, kind: Kind, cursor: Option<&str>) -> Option<&Page> {
        let list = self.list(era, kind);
        let Some(cursor) = cursor else { return list.pages.first() };
        let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (digest, offset) = decoded.split_once('.')?;
        let offset: usize = offset.parse().ok()?;
        let index = offset / self.page_size;
        (digest == list.digest && offset == index * self.page_size && index > 0)
            .then(|| list.pages.get(index))
            .flatten()
    }
}

impl Sight<'_> {
    fn shows(&self, server: &Server) -> bool {
        let name = server.name.as_str();
        let in_group =
            |group: &[Selector]| group.iter().any(|selector| selector.server.matches_without_case(name));
        let in_scope = match self.scope {
            Scope::Server(only) => *only == server.name,
            Scope::All | Scope::Group(_) => true,
        };
        in_scope
            && (self.servers)(&server.name)
            && self.group.is_none_or(in_group)
            && self.rules.may_reach(name)
    }
}

impl List {
    fn make(kind: Kind, era: Era, items: &[&Entry], page_size: usize) -> Self {
        let mut digest = Sha256::new();
        for item in items {
            digest.update(item.digest(era));
        }
        let digest = URL_SAFE_NO_PAD.encode(&digest.finalize()[..9]);
        let mut pages = Vec::new();
        for (index, chunk) in items.chunks(page_size).enumerate() {
            let end = (index + 1) * page_size;
            let texts = chunk.iter().map(|entry| entry.text(era).len() + 1).sum::<usize>();
            let mut page = String::with_capacity(texts + 64);
            page.extend(["\"", kind.member(), "\":["]);
            for (index, entry) in chunk.iter().enumerate() {
                if index > 0 {
                    page.push(',');
                }
                page.push_str(entry.text(era));
            }
            page.push(']');
            if end < items.len() {
                let cursor = URL_SAFE_NO_PAD.encode(format!("{digest}.{end}"));
                page.extend([",\"nextCursor\":\"", &cursor, "\""]);
            }
            pages.push(Page(page.into()));
        }
        if pages.is_empty() {
            pages.push(Page(format!("\"{}\":[]", kind.member()).into()));
        }
        Self { digest, pages }
    }
}

/// Returns for how long what a server lists may be kept, in milliseconds. The way to connect it is gone as soon as that is done.
fn lasts((server, offer): &Offering) -> u64 {
    if server.awaits_consent.load(Ordering::Relaxed) { 0 } else { offer.ttl }
}

fn resource<'n>(server: &'n ServerName, name: &'n str) -> Target<'n> {
    Target { server: server.as_str(), kind: ItemKind::Resource, name, is_template: false }
}

fn target(kind: Kind, entry: &Entry) -> Target<'_> {
    Target {
        server: entry.route.server.name.as_str(),
        kind: kind.of_rules(),
        name: entry.route.own_name(),
        is_template: kind == Kind::Templates,
    }
}
