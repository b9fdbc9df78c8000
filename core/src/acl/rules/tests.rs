//! What rules come to, and that denying never widens.

use proptest::prelude::*;

use super::*;

/// Reads a rule as `SERVER/[KIND:]GLOB`, `*` or a group's name, with ` if EXPRESSION` behind it.
fn rule(text: &str) -> Rule {
    let (what, when) = match text.split_once(" if ") {
        Some((what, when)) => (what, Some(Condition::parse(when).unwrap())),
        None => (text, None),
    };
    let what = match what.split_once('/') {
        _ if what == "*" => What::Everything,
        None => What::Group(what.to_owned()),
        Some(_) => What::Select(selector(what)),
    };
    Rule { what, when, text: text.to_owned(), origin: Origin::default() }
}

fn selector(text: &str) -> Selector {
    let (server, item) = text.split_once('/').unwrap();
    let kinds = [("tool:", ItemKind::Tool), ("prompt:", ItemKind::Prompt), ("resource:", ItemKind::Resource)];
    let kind = kinds.iter().find(|(prefix, _)| item.starts_with(prefix));
    let item = kind.map_or(item, |(prefix, _)| &item[prefix.len()..]);
    Selector { server: Glob::new(server), kind: kind.map(|(_, kind)| *kind), item: Glob::new(item) }
}

fn agent(allow: &[&str], deny: &[&str], when: Option<&str>) -> Agent {
    let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect();
    Agent {
        allow: rules(allow),
        deny: rules(deny),
        when: when.map(|when| Condition::parse(when).unwrap()),
        ..Agent::bare("a", Origin::default())
    }
}

fn groups() -> SortedMap<String, Group> {
    let group = |name: &str, members: &[&str]| {
        let members = members.iter().map(|member| selector(member)).collect();
        (name.to_owned(), Group { name: name.into(), description: None, members, origin: Origin::default() })
    };
    SortedMap::from([
        group("read-only", &["git/get_*", "git/resource:repo://*", "time/*"]),
        group("empty", &[]),
    ])
}

fn policy() -> Policy {
    Policy { groups: groups(), ..Policy::default() }
}

fn target(text: &str) -> (String, ItemKind, String) {
    let selector = selector(text);
    (
        selector.server.as_str().to_owned(),
        selector.kind.unwrap_or(ItemKind::Tool),
        selector.item.as_str().to_owned(),
    )
}

/// Decides on each thing; conditions are what they come to.
fn check(agent: Agent, things: &[&str]) -> String {
    let rules = Rules::new(0, Arc::new(agent), &policy());
    let truth = |condition: &Condition| match condition.text() {
        "true" => Truth::Holds,
        "args" => Truth::Depends,
        "null" => Truth::Undecided,
        _ => Truth::Fails,
    };
    let decide = |thing: &&str| {
        let (server, kind, name) = target(thing);
        let is_template = name.contains('{');
        let target = Target { server: &server, kind, name: &name, is_template };
        match rules.decide(&target, truth) {
            Decision::Allowed { rule, depends } => {
                format!("{thing}: {}{}", if depends { "perhaps " } else { "" }, rules.rule(rule).text)
            }
            Decision::Denied(denial) => {
                format!("{thing}: {}", denial.reason().replace(" ()", ""))
            }
        }
    };
    things.iter().map(decide).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_nothing_allows_is_denied_and_denying_wins() {
    insta::assert_snapshot!(check(agent(&["git/get_*", "time/*"], &["git/get_secret*", "*/drop"], None),
        &["git/get_issue", "git/push", "time/now", "git/get_secret_key", "time/drop", "other/get_x"]), @"
    git/get_issue: git/get_*
    git/push: no rule of agent a allows it
    time/now: time/*
    git/get_secret_key: denied by `git/get_secret*`
    time/drop: denied by `*/drop`
    other/get_x: no rule of agent a allows it
    ");
    insta::assert_snapshot!(check(agent(&["*"], &["*"], None), &["git/get_issue"]), @"git/get_issue: denied by `*`");
    insta::assert_snapshot!(check(agent(&[], &[], None), &["git/get_issue"]), @"git/get_issue: no rule of agent a allows it");
}

#[test]
fn groups_stand_for_what_they_hold() {
    insta::assert_snapshot!(check(agent(&["read-only"], &[], None),
        &["git/get_issue", "git/prompt:get_help", "git/resource:repo://x", "git/resource:file:///etc", "time/resource:any:thing", "git/push"]), @"
    git/get_issue: read-only
    git/prompt:get_help: read-only
    git/resource:repo://x: read-only
    git/resource:file:///etc: no rule of agent a allows it
    time/resource:any:thing: read-only
    git/push: no rule of agent a allows it
    ");
    insta::assert_snapshot!(check(agent(&["empty", "missing"], &[], None), &["git/get_issue"]), @"git/get_issue: no rule of agent a allows it");
    insta::assert_snapshot!(check(agent(&["*"], &["read-only"], None), &["git/get_issue", "git/push"]), @"
    git/get_issue: denied by `read-only`
    git/push: *
    ");
}

#[test]
fn kinds_are_told_apart() {
    insta::assert_snapshot!(check(agent(&["git/tool:a*", "git/prompt:b*"], &[], None), &["git/a", "git/prompt:a", "git/b", "git/prompt:b"]), @"
    git/a: git/tool:a*
    git/prompt:a: no rule of agent a allows it
    git/b: no rule of agent a allows it
    git/prompt:b: git/prompt:b*
    ");
    insta::assert_snapshot!(check(agent(&["git/get*"], &[], None), &["git/resource:get:x"]), @"git/resource:get:x: no rule of agent a allows it");
}

#[test]
fn the_case_of_letters_never_widens() {
    insta::assert_snapshot!(check(agent(&["GIT/get_x"], &["git/drop"], None), &["git/get_x", "git/GET_X", "git/DROP"]), @"
    git/get_x: GIT/get_x
    git/GET_X: no rule of agent a allows it
    git/DROP: denied by `git/drop`
    ");
}

#[test]
fn what_cannot_be_evaluated_counts_against_the_caller() {
    insta::assert_snapshot!(check(agent(&["git/a if true", "git/b if false", "git/c if null", "git/d if args"], &[], None), &["git/a", "git/b", "git/c", "git/d"]), @"
    git/a: git/a if true
    git/b: the condition of `git/b if false` does not hold
    git/c: the condition of `git/c if null` does not hold
    git/d: perhaps git/d if args
    ");
    insta::assert_snapshot!(check(agent(&["git/*"], &["git/a if true", "git/b if false", "git/c if null", "git/d if args"], None), &["git/a", "git/b", "git/c", "git/d"]), @"
    git/a: denied by `git/a if true`
    git/b: git/*
    git/c: denied by `git/c if null`
    git/d: perhaps git/*
    ");
    insta::assert_snapshot!(check(agent(&["git/*"], &[], Some("false")), &["git/a"]), @"git/a: the condition of agent a does not hold");
    insta::assert_snapshot!(check(agent(&["git/*"], &[], Some("args")), &["git/a"]), @"git/a: perhaps git/*");
}

#[test]
fn a_rule_that_always_holds_is_named_before_one_that_may() {
    insta::assert_snapshot!(check(agent(&["git/a if args", "git/*"], &[], None), &["git/a"]), @"git/a: git/*");
}

#[test]
fn templates_are_shown_where_some_uri_may_be_read() {
    insta::assert_snapshot!(check(agent(&["git/resource:repo://a/*"], &["git/resource:repo://a/secret/*"], None),
        &["git/resource:repo://{owner}/x", "git/resource:repo://b/{x}", "git/resource:repo://a/{x}", "git/resource:repo://a/secret/{x}"]), @"
    git/resource:repo://{owner}/x: git/resource:repo://a/*
    git/resource:repo://b/{x}: no rule of agent a allows it
    git/resource:repo://a/{x}: git/resource:repo://a/*
    git/resource:repo://a/secret/{x}: denied by `git/resource:repo://a/secret/*`
    ");
}

fn rules_of(texts: Vec<String>) -> Vec<Rule> {
    texts.iter().map(|text| rule(text)).collect()
}

proptest! {
    #[test]
    fn a_deny_rule_never_widens(
        allow in proptest::collection::vec("(\\*|[ab]/[xy*]{1,2})( if (true|false|args|null))?", 0..4),
        deny in proptest::collection::vec("(\\*|[ab]/[xy*]{1,2})( if (true|false|args|null))?", 0..4),
        more in "(\\*|[ab]/[xy*]{1,2})( if (true|false|args|null))?",
        thing in "[abc]/[xyXY]{1,2}",
    ) {
        let narrow = Agent { allow: rules_of(allow), deny: rules_of(deny), ..agent(&[], &[], None) };
        let mut narrower = narrow.clone();
        narrower.deny.push(rule(&more));
        let (server, kind, name) = target(&thing);
        let allowed = |agent: Agent| {
            let rules = Rules::new(0, Arc::new(agent), &policy());
            let target = Target { server: &server, kind, name: &name, is_template: false };
            let truth = |condition: &Condition| match condition.text() {
                "true" => Truth::Holds,
                "args" => Truth::Depends,
                "null" => Truth::Undecided,
                _ => Truth::Fails,
            };
            matches!(rules.decide(&target, truth), Decision::Allowed { .. })
        };
        prop_assert!(allowed(narrow) || !allowed(narrower));
    }

    #[test]
    fn a_server_that_cannot_be_reached_has_nothing_that_is_allowed(
        allow in proptest::collection::vec("(\\*|[ab*]/[xy*]{1,2}|[ab]/resource:[xy*]{1,2})( if (true|false|args))?", 0..4),
        deny in proptest::collection::vec("(\\*|[ab*]/[xy*]{1,2}|[ab]/resource:[xy*]{1,2})( if (true|false|args))?", 0..4),
        thing in "[ab]/(resource:)?[xyXY]{1,2}",
    ) {
        let agent = Agent { allow: rules_of(allow), deny: rules_of(deny), ..agent(&[], &[], None) };
        let rules = Rules::new(0, Arc::new(agent), &policy());
        let (server, kind, name) = target(&thing);
        let target = Target { server: &server, kind, name: &name, is_template: false };
        let allowed = matches!(rules.decide(&target, |_| Truth::Depends), Decision::Allowed { .. });
        prop_assert!(rules.may_reach(&server) || !allowed);
    }
}

#[test]
fn a_server_is_out_of_reach_where_all_of_it_is_denied() {
    let check = |allow: &[&str], deny: &[&str]| {
        Rules::new(0, Arc::new(agent(allow, deny, None)), &policy()).may_reach("git")
    };
    assert!(check(&["*"], &[]) && check(&["git/x"], &["git/y*"]) && check(&["*"], &["git/* if true"]));
    assert!(check(&["*"], &["git/tool:*"]) && check(&["git/resource:a"], &[]));
    assert!(
        !check(&[], &[]) && !check(&["a/*"], &[]) && !check(&["*"], &["*"]) && !check(&["*"], &["GIT/*"])
    );
    assert!(!check(&["git/x"], &["g?t/*"]));
}
