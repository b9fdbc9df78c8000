//! A line that is read again: for people, for tables, for filters.

use super::entry::Searched;
use super::line::may_be_cut;
use super::moment::parse_time;
use super::text::visible;
use crate::wire::json::Json;

/// The fields of an entry, in their order.
pub const FIELDS: [&str; 24] = [
    "time",
    "id",
    "prev",
    "gateway",
    "agent",
    "principal",
    "auth",
    "client",
    "era",
    "method",
    "server",
    "name",
    "upstream_name",
    "decision",
    "rule",
    "error",
    "args_digest",
    "args",
    "result_bytes",
    "is_error",
    "duration_ms",
    "upstream_ms",
    "request_id",
    "trace_id",
];

/// One line of the trail, read.
#[derive(Debug, Clone, Copy)]
pub struct Row<'l>(Json<'l>);

impl<'l> Row<'l> {
    /// Reads a line; nothing where it is none.
    pub fn read(line: &'l str) -> Option<Self> {
        Json::check(line.as_bytes()).ok().filter(|json| json.is_object()).map(Self)
    }

    /// Returns a field as text, fit for one line of a terminal; empty where it is not there. What is no string is JSON.
    pub fn field(&self, name: &str) -> String {
        let Some(value) = self.0.get(name) else { return String::new() };
        let text = value.as_str();
        visible(text.as_deref().unwrap_or(value.text())).into_owned()
    }

    /// Tells whether it is about what this principal did. A name that may have been cut is nobody's.
    pub(super) fn is_of(&self, principal: &str) -> bool {
        let is_whole = !principal.is_empty() && !may_be_cut(principal);
        is_whole && self.0.get("principal").and_then(Json::as_str).is_some_and(|said| said == principal)
    }

    /// Returns its number in the chain; nothing where it has none.
    pub fn id(&self) -> Option<u64> {
        self.field("id").parse().ok()
    }

    /// Returns what the line is searched by.
    pub fn searched(&self) -> Searched<'static> {
        Searched {
            time: parse_time(&self.field("time")).unwrap_or_default(),
            agent: self.field("agent").into(),
            server: self.field("server").into(),
            name: self.field("name").into(),
            decision: self.field("decision").into(),
        }
    }

    /// Returns the row of a table (RFC 4180), without a line break. **What a spreadsheet would take for a formula is
    /// text**: it begins with an apostrophe.
    pub fn to_csv(&self) -> String {
        let cells: Vec<_> = FIELDS.iter().map(|name| cell(&self.field(name))).collect();
        cells.join(",")
    }
}

/// Returns the first row of the table: the names of the fields.
pub fn csv_head() -> String {
    FIELDS.join(",")
}

fn cell(text: &str) -> String {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠'])
        && text.parse::<f64>().is_err();
    let guard = if is_formula { "'" } else { "" };
    if guard.is_empty() && !text.contains(['"', ',', '\'']) && text.trim() == text {
        return text.to_owned();
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Entry, FIRST, Writing};

    #[test]
    fn a_table_is_safe_to_open() {
        let check = |text: &str, expected: &str| assert_eq!(cell(text), expected);
        check("plain", "plain");
        check("-1.5", "-1.5");
        check("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\"");
        check("+1+cmd|' /C calc'!A0", "\"'+1+cmd|' /C calc'!A0\"");
        check(" @SUM(A1)", "\"' @SUM(A1)\"");
        check("a,b", "\"a,b\"");
        let entry =
            Entry { name: Some("=1\n\u{202e}".into()), request_id: Some("1".into()), ..Entry::default() };
        let mut line = String::new();
        entry.write(&mut line, (1, FIRST), &Writing::default());
        let csv = Row::read(&line).unwrap().to_csv();
        assert!(csv.contains(",\"'=1\\u000a\\u202e\","), "{csv}");
        assert_eq!(csv.split(',').count(), csv_head().split(',').count());
    }
}
