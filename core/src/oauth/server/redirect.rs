//! Redirect URIs: which a client may have, and whether the one of a request is one of its own.
//!
//! **They are compared as texts.** Only the port of a loopback address may differ, as a native client listens where it can
//! (RFC 8252 §7.3).

use url::{Url, form_urlencoded};

/// The longest that is taken, in bytes.
const LONGEST: usize = 1024;
/// Schemes that no app has for itself: they run something, show something, or go over the network in the clear.
const FOREIGN: [&str; 17] = [
    "about",
    "blob",
    "cid",
    "data",
    "file",
    "filesystem",
    "ftp",
    "gopher",
    "javascript",
    "jar",
    "mailto",
    "mid",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Where a redirect URI leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A site, by its host and port.
    Site(String),
    /// Whatever program listens on the user's machine.
    Machine(String),
    /// Whatever program has taken a scheme for itself.
    App(String),
}

/// Tells where a redirect URI leads to; an error where no client may have it.
pub(crate) fn destination(text: &str) -> Result<Destination, &'static str> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`');
    if text.len() > LONGEST {
        return Err("a redirect URI has at most 1024 bytes");
    }
    if !text.bytes().all(is_plain) {
        return Err("a redirect URI has characters that a URI cannot have");
    }
    if text.contains('#') {
        return Err("a redirect URI has no fragment");
    }
    let url = Url::parse(text).map_err(|_| "a redirect URI is a whole URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a redirect URI has no credentials");
    }
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    match url.scheme() {
        "https" => Ok(Destination::Site(host)),
        "http" if loopback(text).is_some() => Ok(Destination::Machine(host)),
        "http" => Err("a redirect URI is https, unless it is on `127.0.0.1`, `[::1]` or `localhost`"),
        scheme if FOREIGN.contains(&scheme) => Err("a redirect URI must not have that scheme"),
        scheme => Ok(Destination::App(scheme.to_owned())),
    }
}

/// Tells whether the redirect URI of a request is one that its client has.
pub(crate) fn is_same(registered: &str, presented: &str) -> bool {
    if registered == presented {
        return true;
    }
    match (loopback(registered), loopback(presented)) {
        (Some(registered), Some(presented)) => registered == presented,
        _ => false,
    }
}

/// Returns a loopback URI's host and what follows its port.
fn loopback(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let host = ["127.0.0.1", "[::1]", "localhost"].into_iter().find(|host| rest.starts_with(host))?;
    let rest = &rest[host.len()..];
    let rest = match rest.strip_prefix(':') {
        Some(port) => {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            port[..digits].parse::<u16>().ok()?;
            &port[digits..]
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

/// Returns a URI with more parameters in its query.
pub(crate) fn with(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    let joint = if !uri.contains('?') {
        "?"
    } else if uri.ends_with(['?', '&']) {
        ""
    } else {
        "&"
    };
    format!("{uri}{joint}{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_on_a_site_a_machine_or_an_app() {
        let check = |text: &str| format!("{:?}", destination(text).expect("a redirect URI"));
        assert_eq!(check("https://app.example/cb?x=1"), r#"Site("app.example")"#);
        assert_eq!(check("https://app.example:8443/cb"), r#"Site("app.example:8443")"#);
        assert_eq!(check("http://127.0.0.1:33418/"), r#"Machine("127.0.0.1:33418")"#);
        assert_eq!(check("http://[::1]/cb"), r#"Machine("[::1]")"#);
        assert_eq!(check("http://localhost"), r#"Machine("localhost")"#);
        assert_eq!(check("cursor://anysphere.cursor-mcp/oauth/callback"), r#"App("cursor")"#);
        assert_eq!(check("com.example.app:/cb"), r#"App("com.example.app")"#);
    }

    #[test]
    fn other_redirect_uris_are_refused() {
        for bad in [
            "",
            "/cb",
            "app.example/cb",
            "http://app.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1@evil.example/cb",
            "http://localhost.evil.example/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.2/cb",
            "HTTP://127.0.0.1/cb",
            "https://me@app.example/cb",
            "https://app.example/cb#x",
            "https://app.example/cb#",
            "https://app.example/\u{e9}",
            "https://app.example/a b",
            "https://app.example/\r\nset-cookie: a",
            "https://",
            "javascript:alert(1)",
            "data:text/html,x",
            "JavaScript:alert(1)",
            "file:///etc/passwd",
            "wss://app.example/",
            &format!("https://app.example/{}", "a".repeat(1024)),
        ] {
            assert!(destination(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_port_of_a_loopback_address_alone_may_differ() {
        let check = |registered: &str, presented: &str, expected| {
            assert_eq!(is_same(registered, presented), expected, "{registered} {presented}");
        };
        check("https://app.example/cb", "https://app.example/cb", true);
        check("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb", true);
        check("http://[::1]:1/cb", "http://[::1]:2/cb", true);
        check("http://localhost:1/cb?a=b", "http://localhost:2/cb?a=b", true);
        for (registered, presented) in [
            ("https://app.example/cb", "https://app.example/cb/"),
            ("https://app.example/cb", "https://app.example/cb?x=1"),
            ("https://app.example/cb", "https://APP.example/cb"),
            ("https://app.example/cb", "https://app.example:443/cb"),
            ("https://app.example/cb", "https://app.example:444/cb"),
            ("https://app.example/cb", "https://app.example.evil.example/cb"),
            ("https://app.example/cb", "https://app.example/x/../cb"),
            ("https://localhost:1/cb", "https://localhost:2/cb"),
            ("http://127.0.0.1/cb", "http://localhost/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1/other"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1.evil.example/cb"),
            ("http://127.0.0.1", "http://127.0.0.1:1/"),
            ("app:/cb", "app:/cb2"),
        ] {
            check(registered, presented, false);
        }
    }

    #[test]
    fn parameters_are_added_to_what_is_there() {
        let add = |uri: &str| with(uri, &[("code", "a b"), ("iss", "https://x")]);
        assert_eq!(add("https://a.example/cb"), "https://a.example/cb?code=a+b&iss=https%3A%2F%2Fx");
        assert_eq!(add("https://a.example/cb?x=1"), "https://a.example/cb?x=1&code=a+b&iss=https%3A%2F%2Fx");
        assert_eq!(add("app:/cb?"), "app:/cb?code=a+b&iss=https%3A%2F%2Fx");
    }
}
