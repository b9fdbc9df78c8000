//! An authorization server, as it describes itself (RFC 8414, OIDC Discovery 1.0), and whether it may be given a
//! client's credential.
//!
//! **A credential is shown to an issuer that the configuration names, or to one that is where the server itself is**: else any
//! server could name an issuer of its own and be given what the client proves itself with anywhere.

use url::Url;

use super::{ClientAuth, Scopes, SigningAlgorithm};
use crate::config::Pkce;
use crate::front::gate::is_loopback;
use crate::oauth::address::{is_same_host, may_follow, parse};
use crate::sorted::SortedSet;
use crate::wire::json::Json;

/// The most texts of one list.
const MOST: usize = 64;

/// Who has named an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// The configuration.
    Here,
    /// The server, and it is where the server is.
    Near,
    /// The server, and it is elsewhere in public.
    Afar,
}

/// What an authorization server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorizationServer {
    /// What it is called.
    pub(crate) issuer: String,
    /// Where tokens are made.
    pub(crate) token_endpoint: Url,
    /// Where users are sent to consent; nothing where it names none, or one that no browser is sent to.
    pub(crate) authorization_endpoint: Option<Url>,
    /// Where clients make themselves known (RFC 7591); nothing where it names none that is followed.
    pub(crate) registration_endpoint: Option<Url>,
    /// Where a code is got that a user enters (RFC 8628); nothing where it names none that is followed.
    pub(crate) device_endpoint: Option<Url>,
    /// Where tokens are given back (RFC 7009); nothing where it names none that is followed.
    pub(crate) revocation_endpoint: Option<Url>,
    /// Whether a client can be the URL of a document about it.
    pub(crate) takes_client_documents: bool,
    /// Whether each of its answers to a browser says that it is its own (RFC 9207).
    pub(crate) says_issuer: bool,
    /// The scopes that it knows; nothing where it does not say.
    pub(crate) scopes: Option<Scopes>,
    /// How clients may prove themselves there; nothing where it does not say.
    methods: Option<SortedSet<String>>,
    /// With what assertions may be signed; nothing where it does not say.
    algorithms: Option<SortedSet<String>>,
    /// How a code may be bound to who asked for it (RFC 7636); nothing where it does not say.
    challenges: Option<SortedSet<String>>,
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
        let is_followed = |to: &Url| match named {
            Named::Here | Named::Afar => may_follow(&issuer_url, to),
            Named::Near => is_same_host(&issuer_url, to),
        };
        let is_bare = |to: &Url| to.username().is_empty() && to.password().is_none();
        let endpoint = |name: &str| {
            let named = json.get(name)?.as_str()?;
            Some(parse(&named).filter(|to| is_bare(to) && is_followed(to)))
        };
        let says = |name: &str| json.get(name).and_then(Json::as_bool).unwrap_or_default();
        let token_endpoint = endpoint("token_endpoint").ok_or("its metadata names no `token_endpoint`")?;
        let token_endpoint =
            token_endpoint.ok_or("its metadata names a `token_endpoint` that is given no credential")?;
        Ok(Self {
            issuer: issuer.to_owned(),
            token_endpoint,
            authorization_endpoint: endpoint("authorization_endpoint").flatten().filter(is_for_browsers),
            registration_endpoint: endpoint("registration_endpoint").flatten(),
            device_endpoint: endpoint("device_authorization_endpoint").flatten(),
            revocation_endpoint: endpoint("revocation_endpoint").flatten(),
            takes_client_documents: says("client_id_metadata_document_supported"),
            says_issuer: says("authorization_response_iss_parameter_supported"),
            scopes: json.get("scopes_supported").and_then(Scopes::read),
            challenges: texts(json, "code_challenge_methods_supported"),
            methods: texts(json, "token_endpoint_auth_methods_supported"),
            algorithms: texts(json, "token_endpoint_auth_signing_alg_values_supported"),
        })
    }

    /// Tells whether a code that it gives is good for nobody but who asked for it, or says why not. An authorization server
    /// that does not say so is not asked for one (MCP 2026-07-28, "Authorization Code Protection"), unless the configuration
    /// answers for it.
    pub(crate) fn check_challenges(&self, pkce: Pkce) -> Result<(), String> {
        match &self.challenges {
            Some(methods) if methods.contains("S256") => Ok(()),
            Some(_) => Err("it takes no S256 challenge (`code_challenge_methods_supported`)".into()),
            None if pkce == Pkce::Assumed => Ok(()),
            None => Err("it does not say that it takes S256 challenges (`code_challenge_methods_supported`); if it does, set \
                         `auth.oauth.pkce: assumed`"
                .into()),
        }
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
        let lacks = |list: &Option<SortedSet<String>>, text: &str| {
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

/// Tells whether somebody's browser may be sent to an address: over TLS, or within the machine.
pub(super) fn is_for_browsers(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && url.host_str().is_some_and(is_loopback))
}

fn texts(json: Json<'_>, name: &str) -> Option<SortedSet<String>> {
    let list = json.get(name).filter(|list| list.is_array())?;
    let texts = list.elements().take(MOST).filter_map(Json::as_str);
    Some(texts.map(std::borrow::Cow::into_owned).collect())
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
            let read = AuthorizationServer::read(metadata.as_bytes(), other, Named::Here);
            assert_eq!(read.unwrap_err(), "its metadata is another issuer's (`issuer`)", "{other}");
        }
        assert!(AuthorizationServer::read(b"[]", ISSUER, Named::Here).is_err());
        insta::assert_snapshot!(read(r#""x":1"#, Named::Here).unwrap_err(), @"its metadata names no `token_endpoint`");
    }

    #[test]
    fn a_credential_goes_where_the_issuer_may_have_it() {
        assert_eq!(check("https://tokens.example/t", Named::Here), "https://tokens.example/t");
        assert_eq!(check("https://idp.example:8443/t", Named::Near), "https://idp.example:8443/t");
        let refused = "its metadata names a `token_endpoint` that is given no credential";
        assert_eq!(check("https://tokens.example/t", Named::Near), refused);
        for named in [Named::Here, Named::Near] {
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
    fn users_and_clients_are_led_where_the_token_endpoint_may_be() {
        let read = |issuer: &str, named: Named, member: &str, to: &str| {
            let text =
                format!(r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/token","{member}":"{to}"}}"#);
            AuthorizationServer::read(text.as_bytes(), issuer, named).expect("metadata")
        };
        let all = [
            "authorization_endpoint",
            "registration_endpoint",
            "revocation_endpoint",
            "device_authorization_endpoint",
        ];
        let check = |issuer: &str, named: Named, to: &str| {
            let read = all.map(|member| {
                let server = read(issuer, named, member, to);
                let found = [
                    server.authorization_endpoint,
                    server.registration_endpoint,
                    server.revocation_endpoint,
                    server.device_endpoint,
                ];
                let place = all.iter().position(|one| *one == member).expect("one of them");
                assert_eq!(found.iter().flatten().count(), usize::from(found[place].is_some()));
                found[place].is_some()
            });
            assert!(read[1] == read[2] && read[2] == read[3], "{to}");
            (read[0], read[1])
        };
        let own = "https://idp.example";
        assert_eq!(check(own, Named::Near, "https://idp.example:8443/x?y=1"), (true, true));
        assert_eq!(check(own, Named::Near, "https://login.example/x"), (false, false));
        assert_eq!(check(own, Named::Here, "https://login.example/x"), (true, true));
        assert_eq!(check("http://127.0.0.1:9", Named::Here, "http://127.0.0.1:8/x"), (true, true));
        assert_eq!(check("http://localhost:9", Named::Near, "http://localhost:9/x"), (true, true));
        assert_eq!(check("http://10.0.0.1", Named::Near, "http://10.0.0.1/x"), (false, true));
        for odd in [
            "http://idp.example/x",
            "https://me:pw@idp.example/x",
            "https://169.254.169.254/x",
            "https://localhost/x",
            "https://idp.example/x#y",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///x",
            "vscode://x",
            "--upload-pack=x",
            "$(id)",
            "",
        ] {
            assert_eq!(check(own, Named::Here, odd), (false, false), "{odd}");
        }
    }

    #[test]
    fn what_it_can_do_is_what_it_says() {
        let check = |members: &str| {
            let server = read(&format!(r#""token_endpoint":"https://idp.example/t"{members}"#), Named::Here);
            let server = server.expect("metadata");
            let scopes = server.scopes.map(|scopes| scopes.to_string());
            (server.takes_client_documents, server.says_issuer, scopes)
        };
        assert_eq!(check(""), (false, false, None));
        assert_eq!(check(r#","client_id_metadata_document_supported":true"#), (true, false, None));
        assert_eq!(check(r#","authorization_response_iss_parameter_supported":true"#), (false, true, None));
        assert_eq!(check(r#","scopes_supported":["b","a"]"#), (false, false, Some("a b".into())));
        let odd = r#","client_id_metadata_document_supported":"true","authorization_response_iss_parameter_supported":1,"scopes_supported":"a""#;
        assert_eq!(check(odd), (false, false, None));
    }

    #[test]
    fn codes_are_bound_to_who_asks_for_them() {
        let check_as = |members: &str, pkce| {
            let server = read(&format!(r#""token_endpoint":"https://idp.example/t"{members}"#), Named::Here);
            server.expect("metadata").check_challenges(pkce)
        };
        let check = |members: &str| {
            let stated = check_as(members, Pkce::Stated);
            // What it says counts, whatever is assumed.
            let says = members.contains('[');
            assert_eq!(check_as(members, Pkce::Assumed), if says { stated.clone() } else { Ok(()) });
            stated
        };
        assert_eq!(check(r#","code_challenge_methods_supported":["plain","S256"]"#), Ok(()));
        insta::assert_snapshot!(check(r#","code_challenge_methods_supported":["plain"]"#).unwrap_err(), @"it takes no S256 challenge (`code_challenge_methods_supported`)");
        assert!(check(r#","code_challenge_methods_supported":[]"#).is_err());
        insta::assert_snapshot!(check("").unwrap_err(), @"it does not say that it takes S256 challenges (`code_challenge_methods_supported`); if it does, set `auth.oauth.pkce: assumed`");
        insta::assert_snapshot!(check(r#","code_challenge_methods_supported":"S256""#).unwrap_err(), @"it does not say that it takes S256 challenges (`code_challenge_methods_supported`); if it does, set `auth.oauth.pkce: assumed`");
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
            read(&list, Named::Here).expect("metadata")
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
