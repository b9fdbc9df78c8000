//! Which addresses are followed that a server names: those where what it names may be, and none within somebody's network.

use url::{Host, Url};

/// Names that lead nowhere in public (RFC 6761, RFC 6762, RFC 8375, and what clouds, clusters and offices use).
const INSIDE: [&str; 13] = [
    ".localhost",
    ".localdomain",
    ".local",
    ".internal",
    ".intranet",
    ".home.arpa",
    ".svc",
    ".lan",
    ".corp",
    ".home",
    ".private",
    ".intra",
    ".onion",
];

/// Tells whether an address may be asked that stands in something that came from `by`: over TLS at a public name, or else
/// only where `by` is itself, so that nothing is asked on somebody's behalf that they could not ask.
pub(crate) fn may_follow(by: &Url, to: &Url) -> bool {
    let is_bare = to.username().is_empty() && to.password().is_none();
    is_bare && (is_same_host(by, to) || (to.scheme() == "https" && is_public_name(to)))
}

/// Tells whether two addresses are of one host and scheme, at whatever port.
pub(crate) fn is_same_host(one: &Url, other: &Url) -> bool {
    matches!(other.scheme(), "http" | "https")
        && one.scheme() == other.scheme()
        && one.host().is_some()
        && one.host() == other.host()
}

/// Tells whether an address leads to a name that could be one of the public internet.
pub(crate) fn is_public_name(url: &Url) -> bool {
    let Some(Host::Domain(name)) = url.host() else { return false };
    let name = name.trim_end_matches('.');
    name.contains('.') && !INSIDE.iter().any(|inside| name.ends_with(inside))
}

/// Parses an address that a server named.
pub(crate) fn parse(text: &str) -> Option<Url> {
    const LONGEST: usize = 2048;
    Url::parse(text).ok().filter(|url| text.len() <= LONGEST && url.fragment().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(by: &str, to: &str) -> bool {
        parse(to).is_some_and(|to| may_follow(&Url::parse(by).expect("a URL"), &to))
    }

    #[test]
    fn public_names_are_followed() {
        for to in ["https://idp.example/token", "https://a.b.example:8443/x?y=1", "https://mcp.example:1/"] {
            assert!(check("https://mcp.example/mcp", to), "{to}");
        }
        assert!(check("http://127.0.0.1:9/mcp", "http://127.0.0.1:8/token"), "where it is itself");
        assert!(check("http://localhost:9/mcp", "http://localhost:8/token"));
    }

    #[test]
    fn nothing_inside_is_followed() {
        for to in [
            "http://idp.example/token",
            "http://169.254.169.254/latest/meta-data/",
            "https://169.254.169.254/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://localhost/",
            "https://localhost./",
            "https://a.localhost/",
            "https://metadata/",
            "https://metadata.google.internal/",
            "https://printer.local/",
            "https://kubernetes.default.svc/",
            "https://x.lan/",
            "https://x.corp./",
            "https://x.home/",
            "https://me:pw@idp.example/",
            "https://idp.example/#x",
            "http://mcp.example/",
            "file:///etc/passwd",
            "gopher://idp.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "--upload-pack=x",
            "$(id)",
            "",
        ] {
            assert!(!check("https://mcp.example/mcp", to), "{to}");
        }
        assert!(!check("http://127.0.0.1:9/mcp", "http://127.0.0.2:9/"));
        assert!(!check("https://mcp.example", &format!("https://idp.example/{}", "x".repeat(2048))));
    }
}
