//! One configuration, with what servers offer, and what a recorded call would come to under it.
//!
//! **It is decided as a call is**: by the same view of everything, the same [`Rules::decide`](crate::acl::Rules::decide), and
//! the same making of a variant's arguments. What a condition reads that was not recorded, it is not guessed.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::recorded::{Call, Given};
use super::{Said, Unknown};
use crate::acl::{Condition, Decision, Denial, Rules, Target, Truth};
use crate::approval::Approval;
use crate::catalog::{Kind, Route, Scope, View, Views};
use crate::config::{Config, ItemKind, Naming, Origin, Variant};
use crate::explain::{list_of, nowhere};
use crate::gateway::Snapshot;
use crate::identity::Identity;
use crate::names::ServerName;
use crate::route::plain;
use crate::sorted::SortedMap;
use crate::upstream::Server;
use crate::wire::json::Json;

/// A configuration, and what servers offer under it as far as that is known.
pub(super) struct World {
    pub(super) snapshot: Snapshot,
    everything: Arc<View>,
    /// The servers of which it is not known what they offer, and why.
    pub(super) unread: SortedMap<ServerName, &'static str>,
}

/// What a call comes to.
pub(super) enum Verdict {
    Allowed(Said),
    Denied(Said),
    Unknown(Unknown),
}

impl Snapshot {
    /// Returns a photograph of this snapshot with another configuration: nothing of it is changed, and no server is asked.
    /// `approved` is what is supposed to be approved of one server.
    pub(super) fn supposing(
        &self,
        config: Config,
        approved: Option<&(ServerName, Option<Arc<Approval>>)>,
    ) -> Self {
        let mut servers = SortedMap::new();
        for (name, settings) in config.servers.iter().filter(|(_, settings)| settings.enabled) {
            let approval = match approved.filter(|(of, _)| of == name) {
                Some((_, approval)) => approval.clone(),
                None => config.approvals.of(name),
            };
            let before = self.servers.get(name);
            let is_unlisted = config.keeps_out(settings);
            let is_same = |server: &&Arc<Server>| {
                server.settings == *settings
                    && server.approval().as_ref() == approval.as_ref()
                    && server.is_unlisted() == is_unlisted
            };
            let server = before.filter(is_same).cloned().unwrap_or_else(|| {
                let (server, _) = Server::new(name.clone(), settings.clone(), self.edition + 1);
                server.approve(approval.as_ref(), is_unlisted);
                let is_own = config.personal.contains(name) || self.config.personal.contains(name);
                if let Some(former) = before.filter(|_| !is_own) {
                    server.inherit(former);
                }
                server
            });
            servers.insert(name.clone(), server);
        }
        let has_stand_ins = servers.values().any(|server| server.is_stand_in());
        Self {
            gate: self.gate.with(&config.gateway),
            user: None,
            has_stand_ins,
            servers,
            former: Vec::new(),
            views: Views::default(),
            acl: Arc::new(crate::acl::Acl::new(&config.policy)),
            since: self.since,
            edition: self.edition + 1,
            config: Arc::new(config),
        }
    }
}

impl World {
    /// Looks at a photograph.
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let why = |server: &Server| {
            if server.is_stand_in() {
                return Some("offers each of its users their own");
            }
            let is_known = server.offer.load().is_some() && server.listed.load(Ordering::Relaxed);
            (!is_known).then_some("has not been asked yet, or does not answer")
        };
        let unread = snapshot.servers.iter().filter_map(|(name, server)| Some((name.clone(), why(server)?)));
        Self { unread: unread.collect(), everything: snapshot.view_of_everything(), snapshot }
    }

    pub(super) fn config(&self) -> &Config {
        &self.snapshot.config
    }

    pub(super) fn rules(&self, who: &Identity) -> Arc<Rules> {
        self.snapshot.acl.rules(who.agent.key())
    }

    /// Tells whether rules decide alike whatever was not recorded: they have no conditions.
    pub(super) fn is_steady(&self, who: &Identity) -> bool {
        self.rules(who).conditions().next().is_none()
    }

    /// Tells whether a call is one of a variant, which may not take its arguments.
    pub(super) fn varies(&self, call: &Call<'_>) -> bool {
        call.kind != ItemKind::Resource && self.find(call).is_some_and(|route| route.variant.is_some())
    }

    /// Returns what a call of somebody's comes to.
    pub(super) fn judge(&self, who: &Identity, call: &Call<'_>) -> Verdict {
        let rules = self.rules(who);
        let asking = Asking { world: self, who, call, rules: &rules };
        if call.kind == ItemKind::Resource {
            if self.reads_tags() && rules.conditions().any(reads_tag) {
                return Verdict::Unknown(Unknown::Tag);
            }
            let view = self.snapshot.view(&Scope::All, who, &[], call.time);
            return match view.find_uri(&call.name) {
                Some(found) => asking.of_route(&found.route),
                None if view.is_uri_withheld(&call.name) => withheld(),
                None => match self.find(call) {
                    // It is there, and not for this caller.
                    Some(route) => asking.of_route(&route),
                    None => asking.of_nothing(),
                },
            };
        }
        match self.find(call) {
            Some(route) => asking.of_route(&route),
            None if self.everything.is_withheld(list_of(call.kind), &call.name) => withheld(),
            None => asking.of_nothing(),
        }
    }

    fn find(&self, call: &Call<'_>) -> Option<Route> {
        Some(self.everything.find(list_of(call.kind), &call.name)?.route)
    }

    /// Tells whether conditions may read a tag that counts.
    fn reads_tags(&self) -> bool {
        self.config().auth.tag_header.is_some()
    }

    /// Returns what a server's variants of a kind are made by, wherever that stands.
    fn variants(&self, server: &str, kind: ItemKind) -> Vec<Variant> {
        let of_it = self.config().variants.iter();
        let of_it = of_it.filter(|of| of.server.as_str() == server && of.kind == kind);
        of_it.map(|of| Variant { origin: Origin::default(), ..of.clone() }).collect()
    }

    /// Tells whether another configuration decides on a call alike, whatever was not recorded.
    pub(super) fn decides_alike(
        &self,
        other: &Self,
        (who, known_as): (&Identity, &Identity),
        call: &Call<'_>,
    ) -> bool {
        let (rules, others) = (self.rules(who), other.rules(known_as));
        let names_alike = |config: &Config| (config.gateway.naming, config.gateway.name_limit);
        if who.agent.name != known_as.agent.name || self.reads_tags() != other.reads_tags() {
            return false;
        }
        let kind = list_of(call.kind);
        match (self.find(call), other.find(call)) {
            (Some(route), Some(to)) if call.kind != ItemKind::Resource => {
                let target = target(&route, kind);
                let server = route.server.name.as_str();
                target == self::target(&to, kind)
                    && rules.decides_alike(&others, &target)
                    && self.everything.text(kind, &call.name) == other.everything.text(kind, &call.name)
                    && self.variants(server, call.kind) == other.variants(server, call.kind)
            }
            (None, None) => {
                self.unread.keys().eq(other.unread.keys())
                    && self.config().servers == other.config().servers
                    && names_alike(self.config()) == names_alike(other.config())
                    && self.unread.keys().all(|server| {
                        self.variants(server.as_str(), call.kind)
                            == other.variants(server.as_str(), call.kind)
                    })
                    && rules.says_the_same(&others)
            }
            _ => {
                call.kind == ItemKind::Resource
                    && self.config().servers == other.config().servers
                    && rules.says_the_same(&others)
            }
        }
    }
}

/// A call of somebody's, about to be judged.
struct Asking<'a> {
    world: &'a World,
    who: &'a Identity,
    call: &'a Call<'a>,
    rules: &'a Rules,
}

impl Asking<'_> {
    /// Decides on something that is there.
    fn of_route(&self, route: &Route) -> Verdict {
        let target = target(route, list_of(self.call.kind));
        if route.server.awaits_consent.load(Ordering::Relaxed) {
            // How to connect it is for whoever could see anything of it.
            return match self.rules.reaching(target.server).filter(|_| self.rules.may_reach(target.server)) {
                Some(rule) => self.allowed(rule),
                None => Self::denied(&Denial::Nothing(&self.rules.agent)),
            };
        }
        let Some(variant) = &route.variant else { return self.of_target(&target, self.call.arguments) };
        let given = match self.call.arguments {
            Given::Known(arguments) => arguments,
            Given::Hidden(why) => {
                // What the variant does not take, nobody knows.
                let verdict = self.of_target(&target, Given::Hidden(why));
                return if matches!(verdict, Verdict::Allowed(_)) { Verdict::Unknown(why) } else { verdict };
            }
        };
        let unfit = |message: &str| {
            let is_it = |of: &&Variant| {
                of.server == route.server.name && of.kind == self.call.kind && *of.name == *variant.name
            };
            let origin = self.world.config().variants.iter().find(is_it).map(|of| of.origin.clone());
            let origin = origin.unwrap_or_default();
            let why = format!("the variant does not take the arguments: {message} ({origin})");
            Verdict::Denied(Said { why, origin })
        };
        // What is fixed or filled in is judged, as in a call.
        let judged = match variant.call.judged(given) {
            Ok(judged) => judged,
            Err(refusal) => return unfit(&refusal.message),
        };
        match self.of_target(&target, Given::Known(Some(Json::known(&judged)))) {
            Verdict::Allowed(said) => match variant.call.arguments(given) {
                Ok(_) => Verdict::Allowed(said),
                Err(refusal) => unfit(&refusal.message),
            },
            other => other,
        }
    }

    /// Decides by the rules alone.
    fn of_target(&self, target: &Target<'_>, arguments: Given<'_>) -> Verdict {
        let arguments = if target.kind == ItemKind::Resource { Given::Known(None) } else { arguments };
        let unknown = Cell::new(Unknown::Arguments);
        let truth = |condition: &Condition| {
            if self.world.reads_tags() && reads_tag(condition) {
                unknown.set(Unknown::Tag);
                return Truth::Depends;
            }
            match arguments {
                Given::Hidden(why) if condition.reads_arguments() => {
                    unknown.set(why);
                    Truth::Depends
                }
                Given::Hidden(_) => self.who.truth(condition, None, self.call.time),
                Given::Known(json) => {
                    let json = json.unwrap_or(Json::known("{}"));
                    self.who.truth(condition, Some(json), self.call.time)
                }
            }
        };
        match self.rules.decide(target, truth) {
            Decision::Allowed { rule, depends: false } => self.allowed(rule),
            Decision::Allowed { depends: true, .. } => Verdict::Unknown(unknown.get()),
            Decision::Denied(denial) => Self::denied(&denial),
        }
    }

    /// Decides on a name that nothing has as far as servers are known: by what the entry tells of where it led to.
    fn of_nothing(&self) -> Verdict {
        let Self { world, call, .. } = self;
        let naming = world.config().gateway.naming;
        let unread = call.server.as_deref().and_then(|server| world.unread.get_key_value(server));
        if let Some((server, _)) = unread {
            let is_named = |own: &str| match naming {
                _ if call.kind == ItemKind::Resource => true,
                Naming::None => own == call.name,
                Naming::Prefix => plain(server.as_str(), own) == call.name,
            };
            let own = call.upstream.as_deref().filter(|own| is_named(own));
            let is_plain = world.variants(server.as_str(), call.kind).is_empty();
            return match own.filter(|_| is_plain) {
                Some(name) => {
                    let target =
                        Target { server: server.as_str(), kind: call.kind, name, is_template: false };
                    self.of_target(&target, call.arguments)
                }
                None => Verdict::Unknown(Unknown::Offer),
            };
        }
        let may_have = |server: &ServerName| match naming {
            _ if call.kind == ItemKind::Resource => true,
            Naming::None => true,
            Naming::Prefix => call.name.starts_with(&plain(server.as_str(), "")),
        };
        if world.unread.keys().any(may_have) {
            return Verdict::Unknown(Unknown::Offer);
        }
        let gone = nowhere(world.config(), call.kind, &call.name);
        let is_gone = |server: &&str| !world.snapshot.servers.contains_key(*server);
        let why = match (gone, call.server.as_deref().filter(is_gone)) {
            (Some(why), _) => why,
            (None, Some(server)) => format!("there is no server {server:?}"),
            (None, None) => "nothing has this name".to_owned(),
        };
        Verdict::Denied(Said { why, origin: Origin::default() })
    }

    fn allowed(&self, rule: u32) -> Verdict {
        let rule = self.rules.rule(rule);
        let why = format!("allowed by `{}` ({})", rule.text, rule.origin);
        Verdict::Allowed(Said { why, origin: rule.origin.clone() })
    }

    fn denied(denial: &Denial<'_>) -> Verdict {
        let origin = match denial {
            Denial::Rule(rule) | Denial::Unmet(rule) => &rule.origin,
            Denial::When(agent) | Denial::Nothing(agent) => &agent.origin,
        };
        Verdict::Denied(Said { why: denial.reason(), origin: origin.clone() })
    }
}

fn withheld() -> Verdict {
    let why = "it is held back: it is not as it was approved".to_owned();
    Verdict::Denied(Said { why, origin: Origin::default() })
}

fn target(route: &Route, kind: Kind) -> Target<'_> {
    Target {
        server: route.server.name.as_str(),
        kind: kind.of_rules(),
        name: route.own_name(),
        is_template: false,
    }
}

/// Tells whether a condition may read the tag of a caller, which no entry has.
fn reads_tag(condition: &Condition) -> bool {
    condition.text().contains("tag")
}
