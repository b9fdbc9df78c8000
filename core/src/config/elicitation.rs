//! What a server may ask the users of agents: which pages to visit, and which forms to fill in.
//!
//! **Hosts are compared as they are asked for**: in ASCII, in lower case, without a dot at the end.

use schemars::JsonSchema;
use url::Host;

use super::item::{At, Item};
use super::node::Value;
use super::problem::Report;

/// What a server may ask users.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Elicitation {
    /// The pages that it may ask them to visit.
    pub urls: Urls,
    /// The forms that it may ask them to fill in.
    pub forms: Forms,
}

/// The pages that a server may ask users to visit, over TLS or at their own machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Urls {
    /// Those of any host.
    #[default]
    Any,
    /// None.
    None,
    /// Those of these hosts; `*.` stands for one or more labels before the rest.
    Hosts(Vec<String>),
}

/// The forms that a server may ask users to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forms {
    /// Those that ask for no secret.
    #[default]
    Plain,
    /// All of them.
    Any,
    /// None.
    None,
}

impl Urls {
    /// Tells whether a host may be visited.
    pub(crate) fn permit(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let is_it = |pattern: &String| match pattern.strip_prefix('*') {
            Some(rest) => host.len() > rest.len() && host.ends_with(rest),
            None => host == pattern,
        };
        match self {
            Self::Any => true,
            Self::None => false,
            Self::Hosts(hosts) => hosts.iter().any(is_it),
        }
    }
}

impl Elicitation {
    /// Reads the section.
    pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut fields = item.fields(report)?;
        let urls = fields.take("urls").and_then(|item| read_urls(&item, report));
        let expected = "`plain`, `any` or `none`";
        let forms = fields.take("forms").and_then(|item| item.parsed(expected, report, parse_forms));
        fields.finish(report);
        Some(Self { urls: urls.unwrap_or_default(), forms: forms.map_or(Forms::Plain, |forms| forms.value) })
    }
}

fn read_urls(item: &Item<'_>, report: &mut Report<'_>) -> Option<Urls> {
    if matches!(item.node.value, Value::List(_)) {
        let mut hosts = Vec::new();
        for host in &item.texts(report)? {
            hosts.extend(read_host(host, report));
        }
        return Some(Urls::Hosts(hosts));
    }
    let parse = |text: &str| match text {
        "any" => Some(Urls::Any),
        "none" => Some(Urls::None),
        _ => None,
    };
    Some(item.parsed("`any`, `none` or a list of hosts", report, parse)?.value)
}

/// Reads a host as it stands in a URL that leads there.
fn read_host(text: &At<String>, report: &mut Report<'_>) -> Option<String> {
    let (wild, name) = text.value.strip_prefix("*.").map_or(("", &*text.value), |name| ("*.", name));
    match Host::parse(name.trim_end_matches('.')) {
        Ok(Host::Domain(name)) if !name.contains('*') => Some(format!("{wild}{name}")),
        Ok(host) if wild.is_empty() && !matches!(host, Host::Domain(_)) => Some(host.to_string()),
        _ => {
            report.error(
                &text.place,
                "expected a host in ASCII, such as `login.example.com` or `*.example.com`",
            );
            None
        }
    }
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
        insta::assert_snapshot!(check("{}"), @"Elicitation { urls: Any, forms: Plain }");
        insta::assert_snapshot!(check("{ urls: any, forms: any }"), @"Elicitation { urls: Any, forms: Any }");
        insta::assert_snapshot!(check("{ urls: none, forms: none }"), @"Elicitation { urls: None, forms: None }");
        insta::assert_snapshot!(check("{ urls: [], forms: plain }"), @"Elicitation { urls: Hosts([]), forms: Plain }");
        insta::assert_snapshot!(check("{ urls: [Login.Example.com., '*.xn--bcher-kva.example', '[::1]', 127.1, localhost] }"), @r#"Elicitation { urls: Hosts(["login.example.com", "*.xn--bcher-kva.example", "[::1]", "127.0.0.1", "localhost"]), forms: Plain }"#);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        insta::assert_snapshot!(check("{ urls: ['https://a.example', 'a.example/x', 'a.example:1', '*', '*.', '*.127.0.0.1', 'a b', '', 'bücher.example'] }"), @"
        p.yaml:3:56: error: servers.s.elicitation.urls[0]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:77: error: servers.s.elicitation.urls[1]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:92: error: servers.s.elicitation.urls[2]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:107: error: servers.s.elicitation.urls[3]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:112: error: servers.s.elicitation.urls[4]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:118: error: servers.s.elicitation.urls[5]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:133: error: servers.s.elicitation.urls[6]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:140: error: servers.s.elicitation.urls[7]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
        p.yaml:3:144: error: servers.s.elicitation.urls[8]: expected a host in ASCII, such as `login.example.com` or `*.example.com`
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
        let urls = Urls::Hosts(hosts.into());
        for host in ["login.example.com", "login.example.com.", "x.a.example", "x.y.a.example"] {
            assert!(urls.permit(host), "{host}");
        }
        for host in
            ["example.com", "x.login.example.com", "a.example", "xa.example", ".example.org.evil.test", ""]
        {
            assert!(!urls.permit(host), "{host}");
        }
        assert!(Urls::Any.permit("x.example") && !Urls::None.permit("x.example"));
    }
}
