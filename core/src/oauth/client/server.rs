//! An authorization server, as it describes itself (RFC 8414, OIDC Discovery 1.0), and whether it may be given a
//! client's credential.
//!
//! **A credential is shown to an issuer that the configuration names, or to one that is where the server itself is**: else any
//! server could name an issuer of its own and be given what the client proves itself with anywhere.

use std::collections::BTreeSet;

use url::Url;

use super::{ClientAuth, SigningAlgorithm};
use crate::gather::Gather as _;
use crate::oauth::address::{is_same_host, may_follow, parse};
use crate::wire::json::Json;

/// The most texts of one list.
const MOST: usize = 64;

/// Who has named an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// The configuration.
    ByUs,
    /// The server.
    ByTheServer,
}

/// What an authorization server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorizationServer {
    /// What it is called.
    pub(crate) issuer: String,
    /// Where tokens are made.
    pub(crate) token_endpoint: Url,
    /// How clients may prove themselves there; nothing where it does not say.
    methods: Option<BTreeSet<String>>,
    /// With what assertions may be signed; nothing where it does not say.
    algorithms: Option<BTreeSet<String>>,
}

/// Tells whether an issuer that a server has named is where the server itself is.
pub(crate) fn is_at_the_server(issuer: &str, server: &Url) -> bool {
    parse(issuer).is_some_and(|issuer| is_same_host(server, &issuer))
}

impl AuthorizationServer {
    /// Reads an issuer's metadata, or says why it is not believed.
    pub(crate) fn read(text: &[u8], issuer: &str, named: Named) -> Result<Self, String> {
        let json = Json::check(text).ok().filter(|json| json.is_object());
        let json = json.ok_or("its metadata is no JSON object")?;
        if json.get("issuer").and_then(Json::as_str).as_deref() != Some(issuer) {
            return Err("its metadata is another issuer's (`issuer`)".into());
        }
        let issuer_url = parse(issuer).ok_or("it has no URL")?;
        let endpoint = json.get("token_endpoint").and_then(Json::as_str);
        let endpoint = endpoint.ok_or("its metadata names no `token_endpoint`")?;
        let is_followed = |to: &Url| match named {
            Named::ByUs => may_follow(&issuer_url, to),
            Named::ByTheServer => is_same_host(&issuer_url, to),
        };
        let is_bare = |to: &Url| to.username().is_empty() && to.password().is_none();
        let token_endpoint = parse(&endpoint).filter(|to| is_bare(to) && is_followed(to));
        let token_endpoint =
            token_endpoint.ok_or("its metadata names a `token_endpoint` that is given no credential")?;
        Ok(Self {
            issuer: issuer.to_owned(),
            token_endpoint,
            methods: texts(json, "token_endpoint_auth_methods_supported"),
            algorithms: texts(json, "token_endpoint_auth_signing_alg_values_supported"),
        })
    }

    /// Returns how a client with a secret proves itself; `Basic` where the issuer does not say (RFC 8414 §2).
    pub(crate) fn secret_method(&self) -> Result<ClientAuth, String> {
        let takes = |method: &str| self.methods.as_ref().is_none_or(|methods| methods.contains(method));
        if takes("client_secret_basic") {
            Ok(ClientAuth::Basic)
        } else if takes("client_secret_post") {
            Ok(ClientAuth::Post)
        } else {
            Err("it takes no client secret (`token_endpoint_auth_methods_supported`)".into())
        }
    }

    /// Tells whether a client may prove itself with a key of that kind, or says why not.
    pub(crate) fn check_key(&self, algorithm: SigningAlgorithm) -> Result<(), String> {
        let lacks = |list: &Option<BTreeSet<String>>, text: &str| {
            list.as_ref().is_some_and(|list| !list.contains(text))
        };
        if lacks(&self.methods, "private_key_jwt") {
            return Err("it takes no signed assertion (`token_endpoint_auth_methods_supported`)".into());
        }
        if lacks(&self.algorithms, algorithm.name()) {
            return Err(format!("it takes no assertion that is signed with {}", algorithm.name()));
        }
        Ok(())
    }
}

fn texts(json: Json<'_>, name: &str) -> Option<BTreeSet<String>> {
    let list = json.get(name).filter(|list| list.is_array())?;
    let texts = list.elements().take(MOST).filter_map(Json::as_str);
    Some(texts.map(std::borrow::Cow::into_owned).gathered())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://idp.example/t";

    fn read(members: &str, named: Named) -> Result<AuthorizationServer, String> {
        AuthorizationServer::read(format!(r#"{{"issuer":"{ISSUER}",{members}}}"#).as_bytes(), ISSUER, named)
    }

    fn check(endpoint: &str, named: Named) -> String {
        let read = read(&format!(r#""token_endpoint":"{endpoint}""#), named);
        read.map_or_else(|why| why, |server| server.token_endpoint.into())
    }

    #[test]
    fn an_issuer_is_who_it_says_to_the_letter() {
        let metadata = format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"https://idp.example/token"}}"#);
        for other in
            ["https://idp.example/t/", "https://idp.example", "https://IDP.example/t", "http://idp.example/t"]
        {
            let read = AuthorizationServer::read(metadata.as_bytes(), other, Named::ByUs);
            assert_eq!(read.unwrap_err(), "its metadata is another issuer's (`issuer`)", "{other}");
        }
        assert!(AuthorizationServer::read(b"[]", ISSUER, Named::ByUs).is_err());
        insta::assert_snapshot!(read(r#""x":1"#, Named::ByUs).unwrap_err(), @"its metadata names no `token_endpoint`");
    }

    #[test]
    fn a_credential_goes_where_the_issuer_may_have_it() {
        assert_eq!(check("https://tokens.example/t", Named::ByUs), "https://tokens.example/t");
        assert_eq!(check("https://idp.example:8443/t", Named::ByTheServer), "https://idp.example:8443/t");
        let refused = "its metadata names a `token_endpoint` that is given no credential";
        assert_eq!(check("https://tokens.example/t", Named::ByTheServer), refused);
        for named in [Named::ByUs, Named::ByTheServer] {
            for odd in [
                "http://169.254.169.254/latest",
                "http://idp.example/t",
                "https://me:pw@idp.example/t",
                "https://localhost/t",
                "file:///x",
                "javascript:alert(1)",
                "--upload-pack=x",
                "$(id)",
            ] {
                assert_eq!(check(odd, named), refused, "{odd}");
            }
        }
    }

    #[test]
    fn an_issuer_is_trusted_by_itself_where_the_server_is() {
        let check =
            |issuer: &str| is_at_the_server(issuer, &Url::parse("https://a.example/mcp").expect("a URL"));
        assert!(check("https://a.example") && check("https://a.example:8443/t"));
        for other in
            ["https://b.example", "http://a.example", "https://a.example.evil.example", "a.example", ""]
        {
            assert!(!check(other), "{other}");
        }
    }

    #[test]
    fn a_client_proves_itself_as_the_issuer_wants() {
        let method = |list: &str| {
            let list = format!(r#""token_endpoint":"https://idp.example/t"{list}"#);
            read(&list, Named::ByUs).expect("metadata")
        };
        let listed = |list: &str| method(&format!(r#","token_endpoint_auth_methods_supported":[{list}]"#));
        assert_eq!(method("").secret_method(), Ok(ClientAuth::Basic));
        assert_eq!(
            listed(r#""client_secret_post","client_secret_basic""#).secret_method(),
            Ok(ClientAuth::Basic)
        );
        assert_eq!(listed(r#""client_secret_post""#).secret_method(), Ok(ClientAuth::Post));
        insta::assert_snapshot!(listed(r#""private_key_jwt""#).secret_method().unwrap_err(), @"it takes no client secret (`token_endpoint_auth_methods_supported`)");
        assert_eq!(method("").check_key(SigningAlgorithm::Rs256), Ok(()));
        insta::assert_snapshot!(listed(r#""client_secret_basic""#).check_key(SigningAlgorithm::Es256).unwrap_err(), @"it takes no signed assertion (`token_endpoint_auth_methods_supported`)");
        let one = method(r#","token_endpoint_auth_signing_alg_values_supported":["ES256"]"#);
        assert_eq!(one.check_key(SigningAlgorithm::Es256), Ok(()));
        insta::assert_snapshot!(one.check_key(SigningAlgorithm::Rs256).unwrap_err(), @"it takes no assertion that is signed with RS256");
    }
}
