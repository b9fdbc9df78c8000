//! What becomes of what a server says otherwise than it was approved to, and whether it has to be approved at all.

use schemars::JsonSchema;

use super::item::Item;
use super::problem::Report;

/// How it is with approvals, of one server or of all that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Approving {
    /// What becomes of definitions that are not as they were approved, where that is said.
    pub changed: Option<Changed>,
    /// Whether nothing of a server is served that was not approved, where that is said.
    pub required: Option<bool>,
}

/// What becomes of a definition that is not as it was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changed {
    /// It is served as it was approved.
    #[default]
    Approved,
    /// It is not served.
    Hide,
    /// It is served as it is, and so is what is new; the operator is warned.
    Warn,
}

impl Approving {
    /// Returns the same, with what another says of what this one does not.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self { changed: self.changed.or(other.changed), required: self.required.or(other.required) }
    }

    /// Tells whether nothing is served that was not approved.
    pub(crate) fn is_required(self) -> bool {
        self.required == Some(true)
    }

    /// Reads the section.
    pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut fields = item.fields(report)?;
        let expected = "`approved`, `hide` or `warn`";
        let changed = fields.take("changed").and_then(|item| item.parsed(expected, report, parse_changed));
        let required = fields.take("required").and_then(|item| item.flag(report));
        fields.finish(report);
        Some(Self { changed: changed.map(|at| at.value), required: required.map(|at| at.value) })
    }
}

fn parse_changed(text: &str) -> Option<Changed> {
    match text {
        "approved" => Some(Changed::Approved),
        "hide" => Some(Changed::Hide),
        "warn" => Some(Changed::Warn),
        _ => None,
    }
}

/// What becomes of what a server says otherwise than it was approved to (`portcullis approve`).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Approval")]
#[expect(dead_code, reason = "describes a section in the schema")]
pub(super) struct ApprovingSchema {
    /// What becomes of a definition that is not as it was approved: it is served as it was `approved`, or it is not served
    /// (`hide`), or it is served as it is, and so is what is new, and the log and the audit trail tell (`warn`).
    #[schemars(with = "Option<ChangedText>", extend("default" = "approved"))]
    changed: Option<Changed>,
    /// Whether nothing of a server is served, and no program is started, before it was approved.
    #[schemars(extend("default" = false))]
    required: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes a value in the schema")]
enum ChangedText {
    Approved,
    Hide,
    Warn,
}

#[cfg(test)]
mod tests {
    use super::super::{Source, parse};

    fn check(gateway: &str, server: &str) -> String {
        let text = format!(
            "version: 1\ngateway: {{ {gateway} }}\nservers:\n  s: {{ url: \"https://a.example\", {server} }}\n"
        );
        let parsed = parse(&[Source { path: "p.yaml".to_owned(), text }], &|_| None);
        match parsed.config.servers.get("s") {
            Some(server) if parsed.problems.is_empty() => {
                format!("{:?} {}", server.approval.changed.unwrap_or_default(), server.approval.is_required())
            }
            _ => parsed.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn what_a_server_says_comes_before_what_the_gateway_says() {
        assert_eq!(check("", ""), "Approved false");
        assert_eq!(check("approval: { changed: hide, required: true }", ""), "Hide true");
        assert_eq!(
            check("approval: { changed: hide, required: true }", "approval: { changed: warn }"),
            "Warn true"
        );
        assert_eq!(check("approval: { required: true }", "approval: { required: false }"), "Approved false");
        insta::assert_snapshot!(check("approval: { changed: ask }", "approval: { change: hide, required: 1 }"), @r#"
        p.yaml:2:33: error: gateway.approval.changed: expected `approved`, `hide` or `warn`, found "ask"
        p.yaml:4:46: error: servers.s.approval.change: unknown key "change"; known: changed, required
          hint: did you mean `changed`?
        p.yaml:4:70: error: servers.s.approval.required: expected true or false, found "1"
        "#);
    }
}
