//! What a policy comes to for somebody and one thing, for whoever runs the gateway.
//!
//! **Nothing here decides**: who somebody is, `identity` says; where a name leads, the same [`View`] that agents are
//! answered from; whether it may be, [`Rules::decide`](crate::acl::Rules::decide). Agents are told none of this: it says
//! what exists and is hidden from them.

mod cases;
mod named;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use crate::acl::{Considered, Judgement, Side, Verdict};
pub use crate::catalog::UnknownName;
pub use crate::identity::{Somebody, UnknownAgent};
pub use cases::{Outcome, judge};

use crate::acl::{Acl, Target};
use crate::catalog::{Kind, Looking, Route, Scope, View, unknown_names};
use crate::config::{Config, ItemKind, Origin, Policy, Variant, nearest};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{Identity, suppose};
use crate::ports::Host;
use crate::sorted::SortedMap;
use crate::upstream::{Status, lock};
use crate::wire::json::Json;

/// How many names that are like one that nobody has are told.
const NEAR: usize = 5;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// Who would ask the gateway.
    pub who: Somebody<'q>,
    /// Of which kind it would ask for something.
    pub kind: ItemKind,
    /// What it would ask for: an exposed name, a URI, or `SERVER/NAME`.
    pub name: &'q str,
    /// The arguments, as JSON text, where they are known.
    pub arguments: Option<&'q str>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The agent that the policy knows somebody as.
    pub agent: String,
    /// Where that agent stands.
    pub origin: Origin,
    /// The name of its client, in its canonical form.
    pub client: Option<String>,
    /// The tag that it is believed.
    pub tag: Option<String>,
    /// What the name comes to; nothing where nothing has it.
    pub found: Option<Found>,
    /// Why nothing has the name, where the configuration says so.
    pub gone: Option<String>,
    /// Names that are like it, where nothing has it.
    pub near: Vec<Near>,
    /// The servers that do not answer, and why: what they offer is not known.
    pub silent: Vec<(String, String)>,
}

/// What a name comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The name that agents know it by.
    pub exposed: String,
    /// The server that it leads to.
    pub server: String,
    /// The name that rules know it by.
    pub name: String,
    /// The name that the server knows it by.
    pub upstream: String,
    /// What it is a variant of, where it is one.
    pub variant: Option<VariantOf>,
    /// The decision.
    pub judgement: Judgement,
    /// Why the variant does not take the arguments, where it does not.
    pub unfit: Option<String>,
    /// The limits that a call is bound by, and where each stands.
    pub limits: Vec<Limited>,
}

/// What a variant is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantOf {
    /// A name of the server's, or of another variant.
    pub from: String,
    /// Where the variant stands.
    pub origin: Origin,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// What counts together.
    pub what: String,
    /// How much, in words.
    pub limits: String,
    /// Where it stands.
    pub origin: Origin,
}

/// A name that is like the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// The name that agents know it by.
    pub name: String,
    /// Whether the caller sees it.
    pub is_seen: bool,
}

impl<H: Host> Gateway<H> {
    /// Says what somebody may do with one thing, and why. What servers offer is as it is known at the moment.
    pub fn explain(&self, question: &Question<'_>) -> Result<Explanation, UnknownAgent> {
        let snapshot = self.snapshot();
        let config = &snapshot.config;
        let who = suppose(&config.policy, &config.auth, &question.who)?;
        let now = self.host().now();
        let looks = Looks {
            own: snapshot.view(&Scope::All, &who, &[], now),
            all: snapshot.view_of_everything(),
            snapshot: &snapshot,
        };
        let place = looks.locate(question.kind, question.name);
        let found = place.as_ref().map(|place| looks.found(place, question, &who, now));
        let near = if found.is_some() { Vec::new() } else { looks.near(question.kind, question.name) };
        let led = || named::lead(config, question.kind, question.name).ok();
        let gone = if found.is_some() { None } else { led().and_then(|named| named.nowhere) };
        let silent = snapshot.servers.values().filter_map(|server| match server.status() {
            Status::Up => None,
            Status::Starting => Some((server.name.to_string(), "has not answered yet".to_owned())),
            Status::Down(error) => Some((server.name.to_string(), error.message)),
        });
        Ok(Explanation {
            agent: who.agent.name.to_string(),
            origin: who.agent.origin.clone(),
            client: who.client.as_deref().map(str::to_owned),
            tag: who.tag.as_deref().map(str::to_owned),
            found,
            gone,
            near,
            silent: silent.collect(),
        })
    }

    /// Returns what the configuration names and no server offers, as far as servers have answered.
    pub fn unknown_names(&self) -> Vec<UnknownName> {
        let snapshot = self.snapshot();
        let offers = snapshot.servers.values().filter_map(|server| {
            let is_own = !server.inherited.load(Ordering::Relaxed) && server.listed.load(Ordering::Relaxed);
            Some((&server.name, server.offer.load_full().filter(|_| is_own)?))
        });
        unknown_names(&snapshot.config, &offers.collect::<SortedMap<_, _>>())
    }

    /// Logs which names no server offers, each once until it is offered.
    pub(crate) fn tell_unknown_names(&self) {
        let unknown = self.unknown_names();
        let mut told = lock(&self.0.told);
        for name in unknown.iter().filter(|name| !told.contains(&name.to_string())) {
            let hint = name.hint.as_deref().unwrap_or_default();
            tracing::warn!(place = %name.origin, hint, "{}", name.message);
        }
        *told = unknown.iter().map(ToString::to_string).collect();
    }
}

impl Snapshot {
    /// Returns what the whole gateway shows to somebody who may see everything.
    pub(crate) fn view_of_everything(&self) -> Arc<View> {
        let policy = Policy::default();
        let rules = Acl::new(&policy).rules(&policy.default.name);
        let looking = Looking { scope: &Scope::All, group: None, rules: &rules, outcomes: [].into() };
        self.views.view_of(&looking, &self.config, &self.servers, &|_| true)
    }
}

/// A thing that was found.
struct Place {
    exposed: String,
    route: Route,
    kind: Kind,
}

/// What one caller sees, and what there is.
struct Looks<'s> {
    own: Arc<View>,
    all: Arc<View>,
    snapshot: &'s Snapshot,
}

impl Looks<'_> {
    /// Finds a thing by the name that agents know, as the caller would be led there; else whatever has that name.
    fn locate(&self, kind: ItemKind, name: &str) -> Option<Place> {
        let place = |kind, route| Place { exposed: name.to_owned(), route, kind };
        let views = [&self.own, &self.all];
        if kind == ItemKind::Resource {
            let template = self.all.find(Kind::Templates, name).map(|f| place(Kind::Templates, f.route));
            let uri = || views.into_iter().find_map(|view| view.find_uri(name));
            return template
                .or_else(|| self.by_server(Kind::Resources, name))
                .or_else(|| self.by_server(Kind::Templates, name))
                .or_else(|| uri().map(|found| place(Kind::Resources, found.route)));
        }
        let kind = list_of(kind);
        let found = views.into_iter().find_map(|view| view.find(kind, name));
        found.map(|found| place(kind, found.route)).or_else(|| self.by_server(kind, name))
    }

    /// Finds a thing by `SERVER/NAME`.
    fn by_server(&self, kind: Kind, name: &str) -> Option<Place> {
        let is_it =
            |route: &Route| named::of_server(route.server.name.as_str(), name) == Some(route.own_name());
        let (exposed, route) = self.all.everything(kind).find(|(_, route)| is_it(route))?;
        Some(Place { exposed: exposed.to_owned(), route: route.clone(), kind })
    }

    fn found(&self, place: &Place, question: &Question<'_>, who: &Identity, now: u64) -> Found {
        let Place { exposed, route, kind } = place;
        let (server, name) = (route.server.name.as_str(), route.own_name());
        let target = Target { server, kind: kind.of_rules(), name, is_template: *kind == Kind::Templates };
        let arguments = match kind {
            Kind::Resources => Some("{}"),
            Kind::Templates => None,
            Kind::Tools | Kind::Prompts => question.arguments,
        };
        let json = arguments.and_then(|text| Json::check(text.as_bytes()).ok());
        let rules = self.snapshot.acl.rules(who.agent.key());
        // What a variant fixes or fills in is judged, as in a call.
        let judged =
            route.variant.as_ref().zip(json).and_then(|(variant, json)| variant.call.judged(Some(json)).ok());
        let shown = judged.as_deref().map(Json::known).or(json);
        let judgement = rules.explain(&target, |condition| who.holds(condition, shown.map(Into::into), now));
        let config = &self.snapshot.config;
        let unfit =
            route.variant.as_ref().zip(json).and_then(|(variant, json)| {
                Some(variant.call.arguments(Some(json)).err()?.message.into_owned())
            });
        Found {
            exposed: exposed.clone(),
            server: server.to_owned(),
            name: name.to_owned(),
            upstream: route.name.to_string(),
            variant: route.variant.as_ref().and_then(|_| variant_of(config, &target)),
            judgement,
            unfit,
            limits: limits_of(config, who, &target),
        }
    }

    fn near(&self, kind: ItemKind, name: &str) -> Vec<Near> {
        let kind = list_of(kind);
        let all: Vec<_> = self.all.everything(kind).collect();
        let item = name.rsplit('/').next().unwrap_or(name);
        let is_like = |(exposed, route): &&(&str, &Route)| {
            exposed.eq_ignore_ascii_case(name) || route.own_name().eq_ignore_ascii_case(item)
        };
        let mut near: Vec<_> = all.iter().filter(is_like).map(|(exposed, _)| *exposed).collect();
        if near.is_empty() {
            let names: Vec<_> =
                all.iter().flat_map(|(exposed, route)| [*exposed, route.own_name()]).collect();
            let nearest = [name, item].into_iter().find_map(|word| nearest(word, &names));
            let is_it = |(exposed, route): &&(&str, &Route)| {
                nearest.is_some_and(|near| *exposed == near || route.own_name() == near)
            };
            near.extend(all.iter().filter(is_it).map(|(exposed, _)| *exposed));
        }
        let is_seen = |name: &str| self.own.find(kind, name).is_some();
        let near = near.into_iter().take(NEAR);
        near.map(|name| Near { name: name.to_owned(), is_seen: is_seen(name) }).collect()
    }
}

/// Says why a name leads nowhere, where the configuration says so.
#[cfg(feature = "control")]
pub(crate) fn nowhere(config: &Config, kind: ItemKind, name: &str) -> Option<String> {
    named::lead(config, kind, name).ok()?.nowhere
}

pub(crate) fn list_of(kind: ItemKind) -> Kind {
    match kind {
        ItemKind::Tool => Kind::Tools,
        ItemKind::Prompt => Kind::Prompts,
        ItemKind::Resource => Kind::Resources,
    }
}

fn variant_of(config: &Config, target: &Target<'_>) -> Option<VariantOf> {
    let is_it = |of: &&Variant| {
        of.server.as_str() == target.server && of.name == target.name && of.kind == target.kind
    };
    let Variant { from, origin, .. } = config.variants.iter().find(is_it)?;
    Some(VariantOf { from: from.clone(), origin: origin.clone() })
}

fn limits_of(config: &Config, who: &Identity, target: &Target<'_>) -> Vec<Limited> {
    let own = Limited {
        what: format!("everything that agent {} does", who.agent.name),
        limits: who.agent.limits.to_string(),
        origin: who.agent.origin.clone(),
    };
    let tools = config.tool_limits.iter().filter(|of| of.bind(&who.agent, target)).map(|of| Limited {
        what: match &of.agent {
            Some(agent) => format!("this, by agent {agent}"),
            None => "this, by all callers together".to_owned(),
        },
        limits: of.limits.to_string(),
        origin: of.origin.clone(),
    });
    [own].into_iter().chain(tools).filter(|of| !of.limits.is_empty()).collect()
}

#[cfg(test)]
mod tests;
