//! What a configuration names and no server offers: found once servers have answered.
//!
//! Only names without a wildcard, of tools and of prompts, are looked for: a pattern may be meant for what comes, and a
//! server may have resources that it does not list. **A server that has not answered has every name.**

use std::fmt;
use std::ops::Deref;

use super::{Kind, Offer};
use crate::config::{Config, ItemKind, Origin, Selector, Variant, What, nearest};
use crate::customize::{Customized, customize};
use crate::names::{ServerName, without_case};
use crate::sorted::{self, SortedMap, SortedSet};

/// Something that a configuration names and no server offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownName {
    /// Where it is named.
    pub origin: Origin,
    /// What is named, and who does not offer it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As they are written.
    Exact,
    /// Without case.
    Loose,
}

/// The names that one server offers: of tools, and of prompts.
struct Names<'n>([Named<'n>; 2]);

/// Names of one kind.
struct Named<'n> {
    kind: ItemKind,
    exact: SortedSet<&'n str>,
    small: SortedSet<String>,
}

/// Finds what a configuration names and no server offers. `offers` are those of the servers that have answered.
pub(crate) fn unknown_names<O: Deref<Target = Offer>>(
    config: &Config,
    offers: &SortedMap<&ServerName, O>,
) -> Vec<UnknownName> {
    let mut unknown = Vec::new();
    let mut names = SortedMap::new();
    for (server, offer) in offers {
        let variants: Vec<_> = config.variants.iter().filter(|of| of.server == **server).collect();
        names.insert(*server, Names::of(offer, &variants, &mut unknown));
    }
    for (selector, spelling, origin) in selectors(config) {
        unknown.extend(look_for(config, &names, selector, spelling, origin));
    }
    sorted::sort(&mut unknown);
    unknown.dedup();
    unknown
}

/// Returns everything that names items, with how it is compared and where it stands.
fn selectors(config: &Config) -> impl Iterator<Item = (&Selector, Spelling, &Origin)> {
    let agents =
        config.policy.agents.iter().chain([&config.policy.default]).chain(config.policy.personal.values());
    let rules = agents.flat_map(|agent| {
        let allow = agent.allow.iter().map(|rule| (rule, Spelling::Exact));
        allow.chain(agent.deny.iter().map(|rule| (rule, Spelling::Loose)))
    });
    let rules = rules.filter_map(|(rule, spelling)| match &rule.what {
        What::Select(selector) => Some((selector, spelling, &rule.origin)),
        What::Everything | What::Group(_) => None,
    });
    let groups = config.policy.groups.values();
    let members =
        groups.flat_map(|group| group.members.iter().map(|member| (member, Spelling::Exact, &group.origin)));
    let limits = config.tool_limits.iter().map(|of| (&of.selector, Spelling::Loose, &of.origin));
    rules.chain(members).chain(limits)
}

/// Says what is wrong with a selector, where all that it may mean have answered and none offers what it names.
fn look_for(
    config: &Config,
    names: &SortedMap<&ServerName, Names<'_>>,
    selector: &Selector,
    spelling: Spelling,
    origin: &Origin,
) -> Option<UnknownName> {
    if !selector.item.is_exact() || selector.kind == Some(ItemKind::Resource) {
        return None;
    }
    let served = config.servers.iter().filter(|(_, settings)| settings.enabled).map(|(server, _)| server);
    let servers: Vec<_> =
        served.filter(|server| selector.server.matches_without_case(server.as_str())).collect();
    let answered: Vec<_> = servers.iter().filter_map(|server| names.get(server)).collect();
    if answered.is_empty() || answered.len() < servers.len() {
        return None;
    }
    let item = selector.item.as_str();
    let offered = || answered.iter().flat_map(|names| names.of_kind(selector.kind));
    let is_offered = match spelling {
        Spelling::Exact => offered().any(|named| named.exact.contains(item)),
        Spelling::Loose => offered().any(|named| named.small.contains(&without_case(item))),
    };
    if is_offered {
        return None;
    }
    let replaces =
        |variant: &&Variant| variant.replaces && variant.from == item && servers.contains(&&variant.server);
    let names = || offered().flat_map(|named| named.exact.iter().copied()).collect::<Vec<_>>();
    let instead = config.variants.iter().find(replaces);
    let instead = instead.map(|of| format!("`{}` stands in its place ({})", of.name, of.origin));
    let hint = instead.or_else(|| nearest(item, &names()).map(|near| format!("did you mean `{near}`?")));
    Some(UnknownName { origin: origin.clone(), message: format!("no server offers `{selector}`"), hint })
}

impl<'n> Names<'n> {
    /// Collects the names of a server, and reports its variants that cannot be made.
    fn of(offer: &'n Offer, variants: &[&'n Variant], unknown: &mut Vec<UnknownName>) -> Self {
        Self([Kind::Tools, Kind::Prompts].map(|kind| {
            let items = offer.items(kind);
            let Customized { replaced, failed, .. } = customize(variants.iter().copied(), kind, items);
            unknown.extend(failed.into_iter().map(|error| {
                let message = format!("the variant {:?} {}; it is left out", error.variant, error.why);
                UnknownName { origin: error.origin, message, hint: None }
            }));
            let own = items.iter().map(|item| item.name.as_str());
            let own = own.filter(|name| !replaced.iter().any(|gone| gone == name));
            // A variant that is left out has been reported already.
            let varied = variants.iter().filter(|variant| variant.kind == kind.of_rules());
            let exact: SortedSet<_> = own.chain(varied.map(|variant| variant.name.as_str())).collect();
            let small = exact.iter().map(|name| without_case(name)).collect();
            Named { kind: kind.of_rules(), exact, small }
        }))
    }

    fn of_kind(&self, kind: Option<ItemKind>) -> impl Iterator<Item = &Named<'n>> {
        self.0.iter().filter(move |named| kind.is_none_or(|kind| kind == named.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Item;
    use crate::config::{Source, parse};
    use crate::upstream::handshake::Introduction;
    use crate::wire::version::Version;

    fn offer(tools: &[&str], prompts: &[&str]) -> Offer {
        let mut offer = Offer::new(Version::MODERN, Introduction::default(), 0);
        for (kind, names) in [(Kind::Tools, tools), (Kind::Prompts, prompts)] {
            let item = |name: &&str| Item {
                name: (*name).to_owned(),
                text: format!(
                    r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{"owner":{{}}}}}}}}"#
                )
                .into(),
                parameters: Vec::new(),
            };
            offer.set_items(kind, names.iter().map(item).collect());
        }
        offer
    }

    /// Lists what a file names that is not offered; the server `git` has answered, and where it is said, `time`.
    fn check(sections: &str, time: Option<&[&str]>) -> String {
        let text = format!(
            "version: 1\nservers: {{ git: {{ url: 'http://git.test' }}, time: {{ url: 'http://time.test' }} }}\n{sections}"
        );
        let parsed = parse(&[Source { path: "p.yaml".into(), text }], &|_| None);
        assert_eq!(parsed.problems, []);
        let git = offer(&["get_issue", "create_issue", "push"], &["help"]);
        let time = time.map(|tools| offer(tools, &[]));
        let (git_name, time_name) = (ServerName::parse("git").unwrap(), ServerName::parse("time").unwrap());
        let mut offers = SortedMap::from([(&git_name, &git)]);
        offers.extend(time.as_ref().map(|offer| (&time_name, offer)));
        let said = unknown_names(&parsed.config, &offers).into_iter().map(|unknown| {
            let hint = unknown.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{unknown}{hint}")
        });
        said.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_that_a_server_does_not_offer_are_found() {
        insta::assert_snapshot!(check("agents:\n  a:\n    allow: [git/get_isue, git/push, git/help, 'git/x_*', 'git/prompt:push']\n    deny: [git/PUSH, git/drop]", None), @"
        p.yaml:5: agents.a.allow[0]: no server offers `git/get_isue` (did you mean `get_issue`?)
        p.yaml:5: agents.a.allow[4]: no server offers `git/prompt:push`
        p.yaml:6: agents.a.deny[1]: no server offers `git/drop`
        ");
        insta::assert_snapshot!(check("groups: { g: { git: [push, PUSH, 'resource:a:b'] } }\nlimits: { git/Push: { rate: 1/s }, git/pull: { rate: 1/s } }", None), @r#"
        p.yaml:3: groups.g: no server offers `git/PUSH` (did you mean `push`?)
        p.yaml:4: limits."git/pull": no server offers `git/pull`
        "#);
    }

    #[test]
    fn a_server_that_has_not_answered_has_every_name() {
        let rules = "agents: { a: { allow: [time/now, '*/later', '*/push'] } }";
        insta::assert_snapshot!(check(rules, None), @"");
        insta::assert_snapshot!(check(rules, Some(&["today"])), @"
        p.yaml:3: agents.a.allow[0]: no server offers `time/now`
        p.yaml:3: agents.a.allow[1]: no server offers `*/later`
        ");
    }

    #[test]
    fn variants_have_their_names_and_take_those_that_they_replace() {
        insta::assert_snapshot!(check("variants: { git: { bug: { from: create_issue, replace: true }, b2: { from: gone }, b3: { from: push, arguments: { x: { fix: 1 } } } } }\nagents: { a: { allow: [git/bug, git/b2, git/create_issue, git/push] } }", None), @r#"
        p.yaml:3: variants.git.b2: the variant "b2" is made from "gone", which the server does not offer; it is left out
        p.yaml:3: variants.git.b3: the variant "b3" changes the argument "x", which "push" does not have; it is left out
        p.yaml:4: agents.a.allow[2]: no server offers `git/create_issue` (`bug` stands in its place (p.yaml:3: variants.git.bug))
        "#);
    }
}
