//! What agents would be listed otherwise: the tools that each is listed under two configurations.

use super::report::Listed;
use super::world::World;
use crate::catalog::{Kind, Scope};
use crate::config::Policy;
use crate::identity::{Somebody, suppose};
use crate::sorted::{SortedMap, SortedSet};
use crate::wire::version::Era;

/// Returns the agents that would be listed other tools, or the same described otherwise.
pub(super) fn changes((now, then): (&World, &World), at: u64) -> Vec<Listed> {
    let names = |policy: &Policy| {
        let agents = policy.agents.iter().chain([&policy.default]);
        agents.map(|agent| agent.name.to_string()).collect::<Vec<_>>()
    };
    let all = names(&now.config().policy).into_iter().chain(names(&then.config().policy));
    let all: SortedSet<_> = all.collect();
    let change = |agent: &String| {
        let (before, after) = (tools(now, agent, at), tools(then, agent, at));
        let beyond = |these: &SortedMap<String, String>, those: &SortedMap<String, String>| {
            these.keys().filter(|name| !those.contains_key(name.as_str())).cloned().collect::<Vec<_>>()
        };
        let is_changed =
            |(name, text): &(&String, &String)| before.get(name.as_str()).is_some_and(|known| known != *text);
        let listed = Listed {
            agent: agent.clone(),
            added: beyond(&after, &before),
            removed: beyond(&before, &after),
            changed: after.iter().filter(is_changed).map(|(name, _)| name.clone()).collect(),
        };
        let is_same = listed.added.is_empty() && listed.removed.is_empty() && listed.changed.is_empty();
        (!is_same).then_some(listed)
    };
    all.iter().filter_map(change).collect()
}

/// Returns the tools that an agent is listed, each as JSON text; none where there is no such agent.
fn tools(world: &World, agent: &str, at: u64) -> SortedMap<String, String> {
    let config = world.config();
    let somebody = Somebody { agent: Some(agent), ..Somebody::default() };
    let Ok(who) = suppose(&config.policy, &config.auth, &somebody) else { return SortedMap::new() };
    let view = world.snapshot.view(&Scope::All, &who, &[], at);
    view.items(Kind::Tools, Era::Modern).map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}
