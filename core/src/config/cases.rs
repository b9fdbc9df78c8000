//! Cases of a policy, as a file lists them: who asks for what, and what is expected.
//!
//! **What is not understood is an error**, and so is a file without a case: a test that tests nothing must not pass.

use super::item::{Fields, Item};
use super::node::read;
use super::policy::{ItemKind, Origin};
use super::problem::{Place, Problem, Report, Severity};
use super::source::Source;
use super::value::read_json;
use crate::audit::parse_time;

/// One case of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Where it stands.
    pub origin: Origin,
    /// The agent that asks; without one, what it claims tells which.
    pub agent: Option<String>,
    /// The name of its client.
    pub client: Option<String>,
    /// The tag that it claims.
    pub tag: Option<String>,
    /// Of which kind it asks for something.
    pub kind: ItemKind,
    /// What it asks for: an exposed name, or `SERVER/NAME`.
    pub name: String,
    /// The arguments, as JSON text; nothing where the call has none.
    pub arguments: Option<String>,
    /// When, in milliseconds since the Unix epoch; now, where nothing is said.
    pub at: Option<u64>,
    /// Whether it is to be allowed.
    pub is_allowed: bool,
    /// A part of the rule that is to decide.
    pub rule: Option<String>,
    /// The column at which it begins.
    column: u32,
}

/// Reads a file of cases.
pub fn read_cases(source: &Source) -> (Vec<Case>, Vec<Problem>) {
    let mut report = Report::new(&source.path);
    let cases = match read(source) {
        Ok((_, node)) => read_list(&Item::root(&node), &mut report),
        Err(error) => {
            report.error(&Place { at: error.at, field: String::new() }, error.message);
            Vec::new()
        }
    };
    (cases, report.finish())
}

fn read_list(root: &Item<'_>, report: &mut Report<'_>) -> Vec<Case> {
    let items = root.list("a list of cases", report).unwrap_or_default();
    if items.is_empty() && report.mark() == 0 {
        report.error(&root.place(), "there is no case");
    }
    items.iter().filter_map(|item| read_case(item, report)).collect()
}

fn read_case(item: &Item<'_>, report: &mut Report<'_>) -> Option<Case> {
    let mark = report.mark();
    let mut fields = item.fields(report)?;
    let mut text = |key| Some(fields.take_even_null(key)?.filled_text("a text", report)?.value);
    let (agent, client, tag, rule) = (text("agent"), text("client"), text("tag"), text("rule"));
    let asked = read_asked(item, &mut fields, report);
    let arguments = fields.take_even_null("args").and_then(|args| read_arguments(&args, report));
    let at = fields.take_even_null("at").and_then(|at| {
        at.parsed("a time such as 2026-07-28T12:00:00Z", report, parse_time).map(|time| time.value)
    });
    let expect = fields.take_even_null("expect");
    if expect.is_none() {
        report.error(&item.place(), "`expect` is missing: `allowed` or `denied`");
    }
    let expect = expect.and_then(|item| item.parsed("`allowed` or `denied`", report, parse_expected));
    fields.finish(report);
    let ((kind, name), is_allowed) = (asked?, expect?.value);
    if kind == ItemKind::Resource && arguments.is_some() {
        report.error(&item.place(), "a resource is read without `args`");
    }
    let origin = report.origin(&item.place());
    let column = item.place().at.column;
    let case = Case { origin, agent, client, tag, kind, name, arguments, at, is_allowed, rule, column };
    (report.mark() == mark).then_some(case)
}

/// Reads what a case is about: one thing of one kind.
fn read_asked(
    item: &Item<'_>,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<(ItemKind, String)> {
    let kinds = [("call", ItemKind::Tool), ("prompt", ItemKind::Prompt), ("resource", ItemKind::Resource)];
    let given = kinds.map(|(key, kind)| Some((kind, fields.take_even_null(key)?)));
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some((kind, name)), None) => Some((kind, name.filled_text("a name", report)?.value)),
        (None, _) => {
            report.error(&item.place(), "expected one of `call`, `prompt` and `resource`, found none");
            None
        }
        (Some(_), Some(_)) => {
            report.error(&item.place(), "expected one of `call`, `prompt` and `resource`, found several");
            None
        }
    }
}

fn read_arguments(item: &Item<'_>, report: &mut Report<'_>) -> Option<String> {
    let arguments = read_json(item, report)?;
    if !arguments.starts_with('{') {
        item.mismatch("a map of arguments", report);
    }
    Some(arguments)
}

fn parse_expected(text: &str) -> Option<bool> {
    match text {
        "allowed" => Some(true),
        "denied" => Some(false),
        _ => None,
    }
}

impl Case {
    /// Says what is wrong with the case, or what came of it.
    pub(crate) fn problem(&self, message: String) -> Problem {
        Problem {
            severity: Severity::Error,
            file: self.origin.file.to_string(),
            line: self.origin.line,
            column: self.column,
            field: self.origin.field.clone(),
            message,
            hint: None,
            server: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let (cases, problems) = read_cases(&Source { path: "c.yaml".into(), text: text.into() });
        let cases = cases.iter().map(|case| {
            let expected = if case.is_allowed { "allowed" } else { "denied" };
            let who: Vec<_> = [&case.agent, &case.client, &case.tag].into_iter().flatten().cloned().collect();
            let arguments = case.arguments.as_deref().unwrap_or("-");
            format!(
                "{}: {} {:?} {} {arguments} {:?} {expected} {:?}",
                case.origin,
                who.join("+"),
                case.kind,
                case.name,
                case.at,
                case.rule
            )
        });
        cases.chain(problems.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn cases_are_read_with_their_places() {
        insta::assert_snapshot!(check("
- { agent: coder, call: git/get, args: { n: 1.0, big: 123456789012345678901 }, expect: allowed, rule: 'git/*' }
- { client: Cursor, tag: ops, prompt: git/help, at: 2026-07-28T12:00:00Z, expect: denied }
- agent: coder
  resource: git/repo://a
  expect: denied
"), @r#"
        c.yaml:2: [0]: coder Tool git/get {"n":1.0,"big":123456789012345678901} None allowed Some("git/*")
        c.yaml:3: [1]: Cursor+ops Prompt git/help - Some(1785240000000) denied None
        c.yaml:4: [2]: coder Resource git/repo://a - None denied None
        "#);
        insta::assert_snapshot!(check(r#"[{"agent": "a", "call": "x", "expect": "denied"}]"#), @"c.yaml:1: [0]: a Tool x - None denied None");
    }

    #[test]
    fn what_is_no_case_is_refused() {
        insta::assert_snapshot!(check(""), @"c.yaml:1:1: error: the file is empty");
        insta::assert_snapshot!(check("[]"), @"c.yaml:1:1: error: there is no case");
        insta::assert_snapshot!(check("cases: []"), @"c.yaml:1:1: error: expected a list of cases, found a map");
        insta::assert_snapshot!(check("- { agent: a, expect: allowed }"), @"c.yaml:1:3: error: [0]: expected one of `call`, `prompt` and `resource`, found none");
        insta::assert_snapshot!(check("- { agent: a, call: x, prompt: y, expect: allowed }"), @"c.yaml:1:3: error: [0]: expected one of `call`, `prompt` and `resource`, found several");
        insta::assert_snapshot!(check("- { agent: a, call: x }"), @"c.yaml:1:3: error: [0]: `expect` is missing: `allowed` or `denied`");
        insta::assert_snapshot!(check("- { agent: , call: x, expect: maybe, at: noon, args: [1], argz: {} }"), @r#"
        c.yaml:1:10: error: [0].agent: expected a text, found nothing
        c.yaml:1:54: error: [0].args: expected a map of arguments, found a list
        c.yaml:1:42: error: [0].at: expected a time such as 2026-07-28T12:00:00Z, found "noon"
        c.yaml:1:31: error: [0].expect: expected `allowed` or `denied`, found "maybe"
        c.yaml:1:59: error: [0].argz: unknown key "argz"; known: agent, client, tag, rule, call, prompt, resource, args, at, expect
          hint: did you mean `args`?
        "#);
        insta::assert_snapshot!(check("- { resource: s/a:b, args: {}, expect: allowed }"), @"c.yaml:1:3: error: [0]: a resource is read without `args`");
        insta::assert_snapshot!(check("- { call: x, expect: allowed, expect: denied }"), @r#"
        c.yaml:1:31: error: [0].expect: the key "expect" stands here twice, on line 1 and again on line 1
          hint: keep one of them
        "#);
    }
}
