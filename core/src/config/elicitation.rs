//! What a server may ask the users of agents: which pages to visit, and which forms to fill in.
//!
//! **Hosts are compared as they are asked for**: in ASCII, in lower case, without a dot at the end.

use schemars::JsonSchema;
use url::Url;

use super::item::Item;
use super::node::Value;
use super::problem::Report;

/// What a server may ask users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elicitation {
    /// The hosts of pages that it may ask them to visit, over TLS or at their own machine. `*.` stands for one or more labels
    /// before the rest, and `*` for any host.
    pub urls: Vec<String>,
    /// The forms that it may ask them to fill in.
    pub forms: Forms,
}

/// The forms that a server may ask users to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forms {
    /// Those that ask for no secret.
    Plain,
    /// All of them.
    Any,
    /// None.
    None,
}

impl Default for Elicitation {
    fn default() -> Self {
        Self { urls: any(), forms: Forms::Plain }
    }
}

impl Elicitation {
    /// Tells whether a host may be visited.
    pub(crate) fn permits(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.urls.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(rest) => host.len() > rest.len() && host.ends_with(rest),
            None => host == pattern,
        })
    }

    /// Reads the section.
    pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut fields = item.fields(report)?;
        let urls = fields.take("urls").and_then(|item| read_urls(&item, report));
        let expected = "`plain`, `any` or `none`";
        let forms = fields.take("forms").and_then(|item| item.parsed(expected, report, parse_forms));
        fields.finish(report);
        Some(Self { urls: urls.unwrap_or_else(any), forms: forms.map_or(Forms::Plain, |forms| forms.value) })
    }
}

fn any() -> Vec<String> {
    vec!["*".into()]
}

fn read_urls(item: &Item<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    if !matches!(item.node.value, Value::List(_)) {
        let parse = |text: &str| match text {
            "any" => Some(any()),
            "none" => Some(Vec::new()),
            _ => None,
        };
        return Some(item.parsed("`any`, `none` or a list of hosts", report, parse)?.value);
    }
    let mut hosts = Vec::new();
    for text in &item.texts(report)? {
        match host_of(&text.value) {
            Some(host) => hosts.push(host),
            None => report.error(
                &text.place,
                "expected a host in ASCII, such as `login.example.com` or `*.example.com`",
            ),
        }
    }
    Some(hosts)
}

/// Returns a host as it stands in a URL that leads there.
fn host_of(text: &str) -> Option<String> {
    let (wild, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    let url = Url::parse(&format!("https://{}", name.trim_end_matches('.'))).ok()?;
    let host = url.host_str().filter(|host| !host.contains('*'))?;
    // Nothing else was written, neither a port nor a path.
    (url.as_str() == format!("https://{host}/")).then(|| format!("{wild}{host}"))
}

fn parse_forms(text: &str) -> Option<Forms> {
    match text {
        "plain" => Some(Forms::Plain),
        "any" => Some(Forms::Any),
        "none" => Some(Forms::None),
        _ => None,
    }
}

/// What a server may ask the users of agents.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Elicitation")]
#[expect(dead_code, reason = "describes a section in the schema")]
pub(super) struct ElicitationSchema {
    /// The pages that it may ask them to visit, always over https or at their own machine: of `any` host, `none`, or of the
    /// listed hosts, where `*.example.com` stands for all below `example.com`.
    #[schemars(extend("default" = "any"))]
    urls: Option<UrlsSchema>,
    /// The forms that it may ask them to fill in: `plain` ones, without a field for a password, a token or the like, `any`,
    /// or `none`.
    #[schemars(extend("default" = "plain"))]
    forms: Option<FormsText>,
}

/// Which pages.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "ElicitationUrls")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum UrlsSchema {
    Word(UrlsText),
    Hosts(Vec<String>),
}

/// All pages or none.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum UrlsText {
    Any,
    None,
}

/// Which forms.
#[derive(JsonSchema)]
#[schemars(rename = "ElicitationForms", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum FormsText {
    Plain,
    Any,
    None,
}

#[cfg(test)]
mod tests {
    use super::super::{Source, parse};
    use super::*;

    fn check(elicitation: &str) -> String {
        let text = format!(
            "version: 1\nservers:\n  s: {{ url: \"https://a.example\", elicitation: {elicitation} }}\n"
        );
        let parsed = parse(&[Source { path: "p.yaml".to_owned(), text }], &|_| None);
        match parsed.config.servers.get("s") {
            Some(server) if parsed.problems.is_empty() => format!("{:?}", server.elicitation),
            _ => parsed.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn what_a_server_may_ask_is_read() {
        insta::assert_snapshot!(check("{}"), @r#"Elicitation { urls: ["*"], forms: Plain }"#);
        insta::assert_snapshot!(check("{ urls: any, forms: any }"), @r#"Elicitation { urls: ["*"], forms: Any }"#);
        insta::assert_snapshot!(check("{ urls: none, forms: none }"), @"Elicitation { urls: [], forms: None }");
        insta::assert_snapshot!(check("{ urls: [], forms: plain }"), @"Elicitation { urls: [], forms: Plain }");
        insta::assert_snapshot!(check("{ urls: [Login.Example.com., '*.xn--bcher-kva.example', '[::1]', 127.1, localhost] }"), @r#"Elicitation { urls: ["login.example.com", "*.xn--bcher-kva.example", "[::1]", "127.0.0.1", "localhost"], forms: Plain }"#);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        insta::assert_snapshot!(check("{ urls: ['https://a.example', 'a.example/x', 'a.example:1', '*', '*.', '**.a.example', 'a@b.example', 'a b', '', 'bücher.example'] }"), @"
        p.yaml:3:56: error: servers.s.elicitation.urls[0]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:77: error: servers.s.elicitation.urls[1]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:92: error: servers.s.elicitation.urls[2]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:107: error: servers.s.elicitation.urls[3]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:112: error: servers.s.elicitation.urls[4]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:118: error: servers.s.elicitation.urls[5]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:134: error: servers.s.elicitation.urls[6]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:149: error: servers.s.elicitation.urls[7]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:156: error: servers.s.elicitation.urls[8]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:160: error: servers.s.elicitation.urls[9]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        ");
        insta::assert_snapshot!(check("{ urls: some, forms: [plain], links: any }"), @r#"
        p.yaml:3:55: error: servers.s.elicitation.urls: expected `any`, `none` or a list of hosts, found "some"
        p.yaml:3:68: error: servers.s.elicitation.forms: expected `plain`, `any` or `none`, found a list
        p.yaml:3:77: error: servers.s.elicitation.links: unknown key "links"; known: urls, forms
        "#);
        insta::assert_snapshot!(check("none"), @"p.yaml:3:47: error: servers.s.elicitation: expected a map, found a text");
    }

    #[test]
    fn hosts_are_permitted_to_the_letter() {
        let hosts = ["login.example.com", "*.a.example", "*.example.org"].map(str::to_owned);
        let urls = Elicitation { urls: hosts.into(), ..Elicitation::default() };
        for host in ["login.example.com", "login.example.com.", "x.a.example", "x.y.a.example"] {
            assert!(urls.permits(host), "{host}");
        }
        for host in
            ["example.com", "x.login.example.com", "a.example", "xa.example", ".example.org.evil.test", ""]
        {
            assert!(!urls.permits(host), "{host}");
        }
        assert!(Elicitation::default().permits("x.example"));
    }
}
