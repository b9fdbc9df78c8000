//! What a request is counted under, and how much it may take.

use std::time::Duration;

use super::Target;
use crate::config::{Agent, AgentLimits, ItemKind, ToolLimits};
use crate::quota::Counted;

/// The limits of one request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Bounds {
    /// What it is taken from.
    pub(crate) counted: Vec<Counted>,
    /// How long it may take, where that is less than its server may.
    pub(crate) timeout: Option<Duration>,
    /// The largest result, in bytes.
    pub(crate) result: Option<usize>,
}

impl Bounds {
    /// Returns what every request of an agent is bound by, whatever it asks for.
    pub(crate) fn of_agent(agent: &Agent) -> Self {
        let mut bounds = Self::default();
        bounds.add(&agent.limits, || format!("agent {}", agent.name));
        bounds
    }

    /// Returns the same bounds for what goes on with a call that is counted already among those that run.
    pub(crate) fn without_concurrency(mut self) -> Self {
        for counted in &mut self.counted {
            counted.limits.concurrency = None;
        }
        self
    }

    /// Returns what a call is bound by besides. Each thing that limits name is counted for itself.
    pub(crate) fn of_call(agent: &Agent, limits: &[ToolLimits], target: &Target<'_>) -> Self {
        let mut bounds = Self { counted: Vec::new(), ..Self::of_agent(agent) };
        for of in limits.iter().filter(|of| of.bind(agent, target)) {
            let whose = of.agent.as_ref().map_or(String::new(), |name| format!(" by agent {name}"));
            // The caller chooses the URIs that it reads: they are counted together.
            let name =
                if target.kind == ItemKind::Resource { of.selector.item.as_str() } else { target.name };
            let field = &of.origin.field;
            let key = || format!("{:?} {}/{name}{whose} ({field})", target.kind, target.server);
            bounds.add(&of.limits, key);
        }
        bounds
    }

    fn add(&mut self, limits: &AgentLimits, key: impl FnOnce() -> String) {
        if limits.rate.is_some() || limits.concurrency.is_some() || limits.daily.is_some() {
            self.counted.push(Counted { key: key(), limits: limits.clone() });
        }
        self.timeout = least(self.timeout, limits.timeout);
        let most = limits.result.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        self.result = least(self.result, most);
    }
}

impl ToolLimits {
    /// Tells whether a call of that agent's is bound by these.
    pub(crate) fn bind(&self, agent: &Agent, target: &Target<'_>) -> bool {
        self.agent.as_ref().is_none_or(|name| *name == agent.name) && self.selector.denies(target)
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Glob;
    use crate::config::{Origin, Rate, Selector};

    fn limits(count: u32, timeout: u64) -> AgentLimits {
        let rate = Rate { count, period: Duration::from_mins(1) };
        AgentLimits {
            rate: Some(rate),
            timeout: Some(Duration::from_secs(timeout)),
            ..AgentLimits::default()
        }
    }

    fn of(item: &str, agent: Option<&str>, limits: AgentLimits) -> ToolLimits {
        let selector = Selector { server: Glob::new("git"), kind: None, item: Glob::new(item) };
        ToolLimits { selector, agent: agent.map(Into::into), limits, origin: Origin::default() }
    }

    #[test]
    fn a_call_is_bound_by_all_that_name_it() {
        let mut agent = Agent::bare("coder", Origin::default());
        agent.limits = limits(100, 30);
        let all = [
            of("get_*", None, limits(10, 20)),
            of("get_x", Some("coder"), limits(1, 60)),
            of("get_x", Some("other"), limits(1, 1)),
            of("push", None, limits(1, 1)),
        ];
        let check = |name: &str| {
            let target = Target { server: "git", kind: ItemKind::Tool, name, is_template: false };
            let bounds = Bounds::of_call(&agent, &all, &target);
            let keys: Vec<_> = bounds.counted.into_iter().map(|counted| counted.key).collect();
            format!("{keys:?} {:?}", bounds.timeout)
        };
        insta::assert_snapshot!(check("get_x"), @r#"["Tool git/get_x ()", "Tool git/get_x by agent coder ()"] Some(20s)"#);
        insta::assert_snapshot!(check("GET_X"), @r#"["Tool git/GET_X ()", "Tool git/GET_X by agent coder ()"] Some(20s)"#);
        insta::assert_snapshot!(check("other"), @"[] Some(30s)");
        let keys = Bounds::of_agent(&agent).counted.into_iter().map(|counted| counted.key);
        assert_eq!(keys.collect::<Vec<_>>(), ["agent coder"]);
    }

    #[test]
    fn resources_are_counted_together_and_edits_of_other_lines_count_on() {
        let agent = Agent::bare("reader", Origin::default());
        let key = |uri: &str, line: u32| {
            let mut limits = of("x:*", None, limits(1, 60));
            limits.origin = Origin { line, field: "limits.docs".into(), ..Origin::default() };
            let target = Target { server: "git", kind: ItemKind::Resource, name: uri, is_template: false };
            limits.selector.kind = Some(ItemKind::Resource);
            Bounds::of_call(&agent, &[limits], &target).counted.pop().unwrap().key
        };
        assert_eq!(key("x:1", 7), key("x:2", 9));
        insta::assert_snapshot!(key("x:1", 7), @"Resource git/x:* (limits.docs)");
    }
}
