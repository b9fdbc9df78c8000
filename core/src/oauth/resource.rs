//! What the gateway says of itself as a protected resource (RFC 9728), and for whom tokens have to be made.

use url::Url;

use crate::config::{Auth, Issuer};
use crate::endpoint;
use crate::gather;
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
pub(crate) fn document(auth: &Auth, origin: &str, path: &str) -> String {
    let list = |texts: &mut dyn Iterator<Item = &String>| {
        let quoted: Vec<_> = texts.map(|text| crate::wire::json::quote(text)).collect();
        format!("[{}]", quoted.join(","))
    };
    let mut document = ObjectWriter::with_capacity(256);
    document.string("resource", &format!("{origin}{path}"));
    document.member("authorization_servers", &list(&mut auth.issuers.iter().map(|issuer| &issuer.url)));
    let scopes = scopes(auth);
    if !scopes.is_empty() {
        document.member("scopes_supported", &list(&mut scopes.into_iter()));
    }
    document.member("bearer_methods_supported", r#"["header"]"#);
    document.string("resource_name", "Portcullis");
    document.finish()
}

/// Returns the challenge of an endpoint without its scheme: where it is described, and which scopes it takes.
pub(crate) fn challenge(auth: &Auth, origin: &str, path: &str) -> String {
    let scopes: Vec<_> = scopes(auth).into_iter().map(String::as_str).collect();
    let scope = if scopes.is_empty() { String::new() } else { format!(r#", scope="{}""#, scopes.join(" ")) };
    format!(r#"resource_metadata="{origin}{WELL_KNOWN}{path}"{scope}"#)
}

/// Returns for whom an issuer's tokens have to be made: as is configured, else for the endpoint, or for all that the
/// gateway serves.
pub(crate) fn audiences(issuer: &Issuer, public: Option<&Url>, path: &str) -> Vec<String> {
    if !issuer.audience.is_empty() {
        return issuer.audience.clone();
    }
    let Some(public) = public else { return Vec::new() };
    let origin = public.origin().ascii_serialization();
    let whole = format!("{origin}/mcp");
    [format!("{origin}{path}"), whole, origin.clone(), format!("{origin}/"), public.as_str().to_owned()]
        .into()
}

fn scopes(auth: &Auth) -> Vec<&String> {
    let mut scopes: Vec<_> = auth.issuers.iter().flat_map(|issuer| &issuer.scopes).collect();
    gather::sort(&mut scopes);
    scopes.dedup();
    scopes
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
        insta::assert_snapshot!(text, @r#"{"resource":"https://gw.example/mcp/groups/x","authorization_servers":["https://a.example","https://b.example/"],"scopes_supported":["mcp:use"],"bearer_methods_supported":["header"],"resource_name":"Portcullis"}"#);
        insta::assert_snapshot!(challenge(&auth(), "https://gw.example", "/mcp"), @r#"resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp", scope="mcp:use""#);
        insta::assert_snapshot!(challenge(&Auth::default(), "https://gw.example", "/mcp"), @r#"resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp""#);
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
        insta::assert_snapshot!(audiences_of("/mcp/groups/x"), @"https://gw.example:8443/mcp/groups/x https://gw.example:8443/mcp https://gw.example:8443 https://gw.example:8443/ https://gw.example:8443/base");
        assert!(audiences(&own, None, "/mcp").is_empty(), "for nobody");
        let configured = Issuer { audience: vec!["api://mcp".into()], ..own.clone() };
        assert_eq!(audiences(&configured, Some(&public), "/mcp/groups/x"), ["api://mcp"]);
    }
}
