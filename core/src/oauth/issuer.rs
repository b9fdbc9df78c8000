//! Where an issuer's keys are: its metadata (RFC 8414, OpenID Connect Discovery 1.0), and what of it is followed.

use url::{Host, Url};

use crate::wire::json::Json;

/// Returns where an issuer's metadata may be, in the order in which it is asked for (RFC 8414 §3.1, §5; MCP 2026-07-28).
pub(crate) fn metadata_urls(issuer: &str) -> Vec<Url> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let Ok(url) = Url::parse(issuer) else { return Vec::new() };
    let path = url.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut url = url.clone();
        url.set_path(&path);
        url
    };
    if path.is_empty() {
        return vec![at(OAUTH.into()), at(OPENID.into())];
    }
    vec![at(format!("{OAUTH}{path}")), at(format!("{OPENID}{path}")), at(format!("{path}{OPENID}"))]
}

/// Reads where the keys are from an issuer's metadata, or says why that is not to be had.
pub(crate) fn keys_url(metadata: &[u8], issuer: &str) -> Result<Url, String> {
    let json = Json::check(metadata).map_err(|_| "its metadata is no JSON".to_owned())?;
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    if text("issuer").as_deref() != Some(issuer) {
        return Err("its metadata names another issuer".into());
    }
    let keys = text("jwks_uri").ok_or("its metadata does not say where its keys are (`jwks_uri`)")?;
    let keys = Url::parse(&keys).map_err(|_| "its `jwks_uri` is no URL".to_owned())?;
    if !may_follow(issuer, &keys) {
        return Err("its `jwks_uri` leads where an identity provider has no business".into());
    }
    Ok(keys)
}

/// Tells whether an address that an issuer's metadata names may be asked: over TLS, and at no address inside unless the
/// issuer itself is there.
fn may_follow(issuer: &str, to: &Url) -> bool {
    let is_same_host =
        Url::parse(issuer).is_ok_and(|issuer| issuer.host() == to.host() && issuer.scheme() == to.scheme());
    let is_name =
        matches!(to.host(), Some(Host::Domain(name)) if name.contains('.') && !name.ends_with(".localhost"));
    let is_bare = to.username().is_empty() && to.password().is_none();
    is_bare && (is_same_host || (to.scheme() == "https" && is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_asked_for_at_the_known_places() {
        let check =
            |issuer: &str| metadata_urls(issuer).iter().map(Url::as_str).collect::<Vec<_>>().join(" ");
        insta::assert_snapshot!(check("https://idp.example"), @"https://idp.example/.well-known/oauth-authorization-server https://idp.example/.well-known/openid-configuration");
        insta::assert_snapshot!(check("https://idp.example/"), @"https://idp.example/.well-known/oauth-authorization-server https://idp.example/.well-known/openid-configuration");
        insta::assert_snapshot!(check("https://idp.example/t/1/"), @"https://idp.example/.well-known/oauth-authorization-server/t/1 https://idp.example/.well-known/openid-configuration/t/1 https://idp.example/t/1/.well-known/openid-configuration");
        assert!(metadata_urls("idp").is_empty());
    }

    #[test]
    fn keys_are_where_the_issuer_itself_says() {
        let check = |issuer: &str, keys: &str| {
            let text = format!(r#"{{"issuer":"https://idp.example","jwks_uri":"{keys}"}}"#);
            keys_url(text.as_bytes(), issuer).map_or_else(|why| why, String::from)
        };
        let own = "https://idp.example";
        assert_eq!(check(own, "https://idp.example:8443/keys"), "https://idp.example:8443/keys");
        assert_eq!(check(own, "https://keys.example/1"), "https://keys.example/1");
        insta::assert_snapshot!(check("https://idp.example/", "https://idp.example/keys"), @"its metadata names another issuer");
        for inside in [
            "http://idp.example/keys",
            "https://127.0.0.1/keys",
            "https://169.254.169.254/keys",
            "https://[::1]/keys",
            "https://localhost/keys",
            "https://metadata/keys",
            "https://a.localhost/keys",
            "https://me:x@keys.example/keys",
            "file:///etc/passwd",
        ] {
            assert!(check(own, inside).contains("no business"), "{inside}");
        }
        let here = r#"{"issuer":"http://127.0.0.1:9","jwks_uri":"http://127.0.0.1:9/jwks"}"#;
        assert!(keys_url(here.as_bytes(), "http://127.0.0.1:9").is_ok());
        insta::assert_snapshot!(keys_url(b"{", own).unwrap_err(), @"its metadata is no JSON");
        insta::assert_snapshot!(keys_url(br#"{"issuer":"https://idp.example"}"#, own).unwrap_err(), @"its metadata does not say where its keys are (`jwks_uri`)");
    }
}
