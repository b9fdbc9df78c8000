//! Cases of a policy, judged by names alone: no server has to run.
//!
//! **What is decided is what a call would come to**: a call without arguments has none, and conditions are asked.

use super::named::lead;
use crate::acl::{Acl, Judgement, Target, Verdict};
use crate::config::{Case, Config, ItemKind, Problem};
use crate::identity::{Somebody, suppose};
use crate::wire::json::Json;

/// What a case came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The agent that asked; nothing where that could not be told.
    pub agent: Option<String>,
    /// Whether it was allowed; nothing where nothing could be decided.
    pub is_allowed: Option<bool>,
    /// What decided, and where it stands.
    pub by: String,
    /// Why the case fails, where it does.
    pub problem: Option<Problem>,
}

/// Judges a case at a time, in milliseconds since the Unix epoch, where the case names none.
pub fn judge(config: &Config, acl: &Acl, case: &Case, now: u64) -> Outcome {
    match decide(config, acl, case, now) {
        Ok((agent, judgement)) => {
            let is_allowed = judgement.verdict == Verdict::Allowed;
            let problem = failure(case, &agent, is_allowed, &judgement).map(|why| case.problem(why));
            Outcome { agent: Some(agent), is_allowed: Some(is_allowed), by: judgement.by, problem }
        }
        Err(why) => {
            let problem = Some(case.problem(why.clone()));
            Outcome { agent: None, is_allowed: None, by: why, problem }
        }
    }
}

fn decide(config: &Config, acl: &Acl, case: &Case, now: u64) -> Result<(String, Judgement), String> {
    let somebody =
        Somebody { agent: case.agent.as_deref(), client: case.client.as_deref(), tag: case.tag.as_deref() };
    let who = suppose(&config.policy, &config.auth, &somebody).map_err(|unknown| unknown.to_string())?;
    let named = lead(config, case.kind, &case.name)?;
    let is_template = case.kind == ItemKind::Resource && named.name.contains('{');
    let target = Target { server: named.server, kind: case.kind, name: &named.name, is_template };
    let arguments = Json::known(case.arguments.as_deref().unwrap_or("{}"));
    let now = case.at.unwrap_or(now);
    let rules = acl.rules(who.agent.key());
    let mut judgement = rules.explain(&target, |condition| who.holds(condition, Some(arguments.into()), now));
    if let Some(why) = named.nowhere {
        judgement.verdict = Verdict::Denied;
        judgement.by = why;
    }
    Ok((who.agent.name.to_string(), judgement))
}

fn failure(case: &Case, agent: &str, is_allowed: bool, judgement: &Judgement) -> Option<String> {
    let word = |is_allowed| if is_allowed { "allowed" } else { "denied" };
    let asked = format!("{} by agent {agent}", case.name);
    if is_allowed != case.is_allowed {
        let (expected, by) = (word(case.is_allowed), &judgement.by);
        return Some(format!("{asked}: expected {expected}, but it is {}: {by}", word(is_allowed)));
    }
    let rule = case.rule.as_ref().filter(|rule| !judgement.by.contains(rule.as_str()))?;
    Some(format!("{asked}: is {}, but not by a rule with {rule:?}: {}", word(is_allowed), judgement.by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse, read_cases};

    const POLICY: &str = r#"
version: 1
servers: { git: { url: "http://git.test/mcp" }, time: { url: "http://time.test/mcp" } }
groups: { reading: { git: ["get_*", "resource:repo://*"] } }
variants: { git: { file_bug: { from: create_issue, replace: true } } }
auth: { trust_tags: true }
agents:
  reader: { match: [{ client: Cursor }], allow: [reading] }
  writer:
    match: [{ tag: ops }]
    allow: ["git/*", { on: time/now, when: "now.hour < 12" }]
    deny: [{ on: git/push, when: 'args.branch == "main"' }]
"#;

    fn check(cases: &str) -> String {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let config = parse(&[source("p.yaml", POLICY)], &|_| None).config;
        let (cases, problems) = read_cases(&source("c.yaml", cases));
        assert_eq!(problems, []);
        let acl = Acl::new(&config.policy);
        let said = cases.iter().map(|case| {
            let outcome = judge(&config, &acl, case, 0);
            let passed = outcome.problem.as_ref().map_or("passes".to_owned(), ToString::to_string);
            format!("{:?} {:?} {}: {passed}", outcome.agent, outcome.is_allowed, outcome.by)
        });
        said.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn cases_pass_where_what_is_expected_is_decided() {
        insta::assert_snapshot!(check(r#"
- { agent: reader, call: git/get_issue, expect: allowed, rule: reading }
- { client: cursor-vscode, call: git__push, expect: denied, rule: no rule }
- { agent: WRITER, call: git/push, args: { branch: dev }, expect: allowed }
- { tag: OPS, call: git/push, args: { branch: main }, expect: denied, rule: "deny[0]" }
- { agent: writer, call: time/now, at: 2026-07-28T09:00:00Z, expect: allowed }
- { agent: writer, call: time/now, at: 2026-07-28T13:00:00Z, expect: denied }
- { agent: reader, resource: git/repo://a/b, expect: allowed }
- { agent: writer, prompt: git/help, expect: allowed }
- { agent: writer, call: git/create_issue, expect: denied, rule: file_bug }
- { call: git/get_issue, expect: denied }
"#), @r#"
        Some("reader") Some(true) allowed by `reading` (p.yaml:8: agents.reader.allow[0]): passes
        Some("reader") Some(false) no rule of agent reader allows it (p.yaml:8: agents.reader): passes
        Some("writer") Some(true) allowed by `git/*` (p.yaml:11: agents.writer.allow[0]): passes
        Some("writer") Some(false) denied by `git/push` (p.yaml:12: agents.writer.deny[0]): passes
        Some("writer") Some(true) allowed by `time/now` (p.yaml:11: agents.writer.allow[1]): passes
        Some("writer") Some(false) the condition of `time/now` does not hold (p.yaml:11: agents.writer.allow[1]): passes
        Some("reader") Some(true) allowed by `reading` (p.yaml:8: agents.reader.allow[0]): passes
        Some("writer") Some(true) allowed by `git/*` (p.yaml:11: agents.writer.allow[0]): passes
        Some("writer") Some(false) the variant "file_bug" stands in its place (p.yaml:5: variants.git.file_bug): passes
        Some("default") Some(false) no rule of agent default allows it (p.yaml:8: agents, where no `default` is written): passes
        "#);
    }

    #[test]
    fn cases_fail_with_their_place_and_what_decided() {
        insta::assert_snapshot!(check(r#"
- { agent: reader, call: git/push, expect: allowed }
- { agent: reader, call: git/get_x, expect: allowed, rule: "git/get" }
- { agent: writer, call: git/push, expect: allowed }
- { agent: raeder, call: git/get_x, expect: denied }
- { agent: reader, call: gut/get_x, expect: denied }
"#), @r#"
        Some("reader") Some(false) no rule of agent reader allows it (p.yaml:8: agents.reader): c.yaml:2:3: error: [0]: git/push by agent reader: expected allowed, but it is denied: no rule of agent reader allows it (p.yaml:8: agents.reader)
        Some("reader") Some(true) allowed by `reading` (p.yaml:8: agents.reader.allow[0]): c.yaml:3:3: error: [1]: git/get_x by agent reader: is allowed, but not by a rule with "git/get": allowed by `reading` (p.yaml:8: agents.reader.allow[0])
        Some("writer") Some(false) denied by `git/push` (p.yaml:12: agents.writer.deny[0]): c.yaml:4:3: error: [2]: git/push by agent writer: expected allowed, but it is denied: denied by `git/push` (p.yaml:12: agents.writer.deny[0])
        None None no agent is called "raeder"; did you mean "reader"?: c.yaml:5:3: error: [3]: no agent is called "raeder"; did you mean "reader"?
        None None no server has "gut/get_x", by the names of the configuration; did you mean `git/…`?: c.yaml:6:3: error: [4]: no server has "gut/get_x", by the names of the configuration; did you mean `git/…`?
        "#);
    }
}
