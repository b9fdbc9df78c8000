//! How an endpoint introduces itself: the capabilities and instructions of its servers, merged.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Offer;
use crate::config::{Gateway, Naming};
use crate::front::terms::Told;
use crate::names::ServerName;
use crate::route::expose;
use crate::tasks::EXTENSION;
use crate::upstream::Server;
use crate::wire::json::Json;
use crate::wire::message::ObjectWriter;
use crate::wire::version::Era;

/// The longest instructions of one server that are passed on, in characters.
const INSTRUCTIONS: usize = 8 << 10;

/// A server and what it offers.
pub(super) type Offering = (Arc<Server>, Arc<Offer>);
/// Servers, and what they offer.
pub(super) type Offers = [Offering];

/// To whom capabilities are declared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declaring {
    /// The agents' era.
    agents: Era,
    /// What they are told of without asking.
    told: Told,
}

impl Declaring {
    pub(super) fn new(agents: Era, told: Told) -> Self {
        Self { agents, told }
    }

    fn lists(self) -> &'static str {
        if self.told == Told::Nothing { "{}" } else { r#"{"listChanged":true}"# }
    }

    fn resources(self, subscribable: bool) -> &'static str {
        // A session's agent subscribes by one request, and hears of it on another.
        let subscribes = match (self.told, self.agents) {
            (Told::Everything, _) | (Told::OnItsStream, Era::Modern) => subscribable,
            (Told::OnItsStream, Era::Legacy) | (Told::Nothing, _) => false,
        };
        if subscribes { r#"{"subscribe":true,"listChanged":true}"# } else { self.lists() }
    }
}

/// Declares to agents what some server has; while one is not known yet, it may have anything.
pub(super) fn capabilities(offers: &Offers, incomplete: bool, to: Declaring) -> String {
    let some = |name: &str| offers.iter().any(|(_, offer)| offer.capability(name).is_some());
    let subscribable = offers.iter().any(|(_, offer)| {
        offer.capability("resources").and_then(|c| c.get("subscribe")).and_then(Json::as_bool) == Some(true)
    });
    let mut out = ObjectWriter::default();
    if some("tools") || incomplete || offers.is_empty() {
        out.member("tools", to.lists());
    }
    if some("prompts") || incomplete {
        out.member("prompts", to.lists());
    }
    if some("resources") || incomplete {
        out.member("resources", to.resources(subscribable));
    }
    if some("completions") {
        out.member("completions", "{}");
    }
    if some("logging") {
        out.member("logging", "{}");
    }
    let extensions = extensions(offers, to.agents);
    if extensions != "{}" {
        out.member("extensions", &extensions);
    }
    out.finish()
}

/// The extensions of all servers; tasks only where both sides are stateless, since the other revisions have others.
fn extensions(offers: &Offers, agents: Era) -> String {
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
pub(super) fn instructions(settings: &Gateway, offers: &Offers) -> Option<String> {
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
