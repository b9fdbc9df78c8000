//! Where an issuer's keys are, and where it is asked about tokens: its metadata (RFC 8414, `OpenID` Connect Discovery 1.0).

use url::Url;

use super::address::{may_follow, parse};
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

/// What an issuer's metadata is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sought {
    /// Where its keys are.
    Keys,
    /// Where it is asked about tokens.
    Introspection,
}

impl Sought {
    fn member(self) -> &'static str {
        match self {
            Self::Keys => "jwks_uri",
            Self::Introspection => "introspection_endpoint",
        }
    }
}

/// Reads an address from an issuer's metadata, or says why it is not to be had.
pub(crate) fn address(metadata: &[u8], issuer: &str, sought: Sought) -> Result<Url, String> {
    let member = sought.member();
    let json = Json::check(metadata).map_err(|_| "its metadata is no JSON".to_owned())?;
    let text = |name: &str| json.get(name).and_then(Json::as_str);
    if text("issuer").as_deref() != Some(issuer) {
        return Err("its metadata names another issuer".into());
    }
    let url = text(member).ok_or_else(|| format!("its metadata has no `{member}`"))?;
    let url = parse(&url).ok_or_else(|| format!("its `{member}` is no URL"))?;
    if !Url::parse(issuer).is_ok_and(|issuer| may_follow(&issuer, &url)) {
        return Err(format!("its `{member}` leads where an identity provider has no business"));
    }
    Ok(url)
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
            address(text.as_bytes(), issuer, Sought::Keys).map_or_else(|why| why, String::from)
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
        assert!(address(here.as_bytes(), "http://127.0.0.1:9", Sought::Keys).is_ok());
        insta::assert_snapshot!(address(b"{", own, Sought::Keys).unwrap_err(), @"its metadata is no JSON");
        insta::assert_snapshot!(address(br#"{"issuer":"https://idp.example"}"#, own, Sought::Keys).unwrap_err(), @"its metadata has no `jwks_uri`");
    }
}
