//! What the gateway says of itself as a protected resource (RFC 9728), and for whom tokens have to be made.

use url::Url;

use crate::config::{Auth, Issuer};
use crate::endpoint;
use crate::wire::message::ObjectWriter;

/// The path of what an endpoint says of itself; the endpoint's path is appended (RFC 9728 §3.1).
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Returns which endpoint a path asks about, by its path; nothing where it asks about none.
pub(crate) fn asked_about(path: &str) -> Option<&str> {
    match path.strip_prefix(WELL_KNOWN)? {
        "" => Some("/mcp"),
        path if path == "/mcp" || path == endpoint::SSE || endpoint::is_narrowed(path) => Some(path),
        _ => None,
    }
}

/// Returns the document that describes an endpoint.
pub(crate) fn document(auth: &Auth, base: &str, path: &str) -> String {
    let list = |texts: &mut dyn Iterator<Item = &String>| {
        let quoted: Vec<_> = texts.map(|text| crate::wire::json::quote(text)).collect();
        format!("[{}]", quoted.join(","))
    };
    let mut document = ObjectWriter::with_capacity(256);
    document.string("resource", &format!("{base}{path}"));
    // Before one of them the gateway stands in, so that agents ask it instead.
    let own = auth.sign_in.as_ref().map(|_| base.to_owned());
    let behind = auth.issuer_of_sign_in().map(|issuer| &issuer.name);
    let others = auth.issuers.iter().filter(|issuer| Some(&issuer.name) != behind).map(|issuer| &issuer.url);
    document.member("authorization_servers", &list(&mut own.iter().chain(others)));
    let scopes = scopes(auth);
    if !scopes.is_empty() {
        document.member("scopes_supported", &list(&mut scopes.iter()));
    }
    document.member("bearer_methods_supported", r#"["header"]"#);
    document.string("resource_name", "Portcullis");
    document.finish()
}

/// Returns the challenge of an endpoint without its scheme: where it is described, where `base` says what its URL begins
/// with, and the scopes that are needed, or that all issuers ask for. Nothing where there is neither.
pub(crate) fn challenge(auth: &Auth, base: Option<&str>, path: &str, needed: Option<&str>) -> Option<String> {
    let path = described(path);
    let scopes = needed.map_or_else(|| scopes(auth).join(" "), ToOwned::to_owned);
    let place = base.map(|base| format!(r#"resource_metadata="{base}{WELL_KNOWN}{path}""#));
    let scope = (!scopes.is_empty()).then(|| format!(r#"scope="{scopes}""#));
    let parts: Vec<_> = place.into_iter().chain(scope).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns what the URLs of all endpoints begin with, by that under which the gateway is known.
pub(crate) fn base(public: &Url) -> String {
    let path = public.path().trim_end_matches('/');
    let prefix = path.strip_suffix("/mcp").unwrap_or(path);
    format!("{}{prefix}", public.origin().ascii_serialization())
}

/// Returns the path of the endpoint that a path belongs to: what is posted belongs to the stream.
fn described(path: &str) -> &str {
    if path == endpoint::MESSAGES { endpoint::SSE } else { path }
}

/// Returns for whom an issuer's tokens have to be made: as is configured, else for the endpoint, or for all that the
/// gateway serves.
pub(crate) fn audiences(issuer: &Issuer, public: Option<&Url>, path: &str) -> Vec<String> {
    if !issuer.audience.is_empty() {
        return issuer.audience.clone();
    }
    let Some(public) = public else { return Vec::new() };
    let base = base(public);
    let (own, whole) = (format!("{base}{}", described(path)), format!("{base}/mcp"));
    [own, whole, format!("{base}/"), base, public.as_str().to_owned()].into()
}

/// Returns the scopes that every issuer asks for; none where issuers differ, since one does not know those of another.
fn scopes(auth: &Auth) -> &[String] {
    let first = auth.issuers.first().map_or(&[][..], |issuer| &issuer.scopes);
    if auth.issuers.iter().all(|issuer| issuer.scopes == first) { first } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        let issuer = |url: &str, scopes: &[&str]| Issuer {
            name: "a".into(),
            url: url.into(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            ..Issuer::default()
        };
        Auth {
            issuers: vec![issuer("https://a.example", &["mcp:use"]), issuer("https://b.example/", &[])],
            ..Auth::default()
        }
    }

    #[test]
    fn an_endpoint_describes_itself() {
        let text = document(&auth(), "https://gw.example", "/mcp/groups/x");
        insta::assert_snapshot!(text, @r#"{"resource":"https://gw.example/mcp/groups/x","authorization_servers":["https://a.example","https://b.example/"],"bearer_methods_supported":["header"],"resource_name":"Portcullis"}"#);
        let mut one = auth();
        one.issuers.pop();
        let text = document(&one, "https://gw.example", "/mcp");
        assert!(text.contains(r#""scopes_supported":["mcp:use"]"#), "{text}");
        let check = |auth: &Auth, base: Option<&str>, path: &str, needed: Option<&str>| {
            challenge(auth, base, path, needed).unwrap_or_default()
        };
        let own = Some("https://gw.example");
        insta::assert_snapshot!(check(&one, own, "/mcp", None), @r#"resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp", scope="mcp:use""#);
        insta::assert_snapshot!(check(&auth(), own, "/messages", None), @r#"resource_metadata="https://gw.example/.well-known/oauth-protected-resource/sse""#);
        insta::assert_snapshot!(check(&auth(), None, "/mcp", Some("mcp:use")), @r#"scope="mcp:use""#);
        insta::assert_snapshot!(check(&auth(), None, "/mcp", None), @"");
    }

    #[test]
    fn each_endpoint_is_asked_about_by_its_path() {
        let check = |rest: &str| asked_about(&format!("{WELL_KNOWN}{rest}")).map(ToOwned::to_owned);
        assert_eq!(check("").as_deref(), Some("/mcp"));
        for path in ["/mcp", "/mcp/servers/x", "/mcp/groups/y", "/sse"] {
            assert_eq!(check(path).as_deref(), Some(path));
        }
        for other in ["/", "x", "/messages", "/admin/v1/servers", "/mcpx"] {
            assert_eq!(check(other), None, "{other}");
        }
        assert_eq!(asked_about("/mcp"), None);
    }

    #[test]
    fn a_token_is_for_an_endpoint_or_for_all() {
        let public = Url::parse("https://gw.example:8443/base").expect("a URL");
        let own = Issuer::default();
        let audiences_of = |path: &str| audiences(&own, Some(&public), path).join(" ");
        insta::assert_snapshot!(audiences_of("/mcp/groups/x"), @"https://gw.example:8443/base/mcp/groups/x https://gw.example:8443/base/mcp https://gw.example:8443/base/ https://gw.example:8443/base https://gw.example:8443/base");
        assert_eq!(audiences_of("/messages"), audiences_of("/sse"));
        for (public, expected) in [
            ("https://gw.example/mcp", "https://gw.example"),
            ("https://gw.example", "https://gw.example"),
            ("https://gw.example/prod/mcp/", "https://gw.example/prod"),
            ("https://gw.example/prod", "https://gw.example/prod"),
        ] {
            assert_eq!(base(&Url::parse(public).expect("a URL")), expected);
        }
        assert!(audiences(&own, None, "/mcp").is_empty(), "for nobody");
        let configured = Issuer { audience: vec!["api://mcp".into()], ..own.clone() };
        assert_eq!(audiences(&configured, Some(&public), "/mcp/groups/x"), ["api://mcp"]);
    }
}
