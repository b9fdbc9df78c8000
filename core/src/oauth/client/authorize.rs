//! Asking a user for consent in a browser (RFC 6749 §4.1.1, RFC 7636, RFC 8707), and what the browser brings back
//! (RFC 6749 §4.1.2, RFC 9207).
//!
//! **Who answers is told before anything else of an answer is believed**: of one that is another issuer's not even its error is
//! repeated. **No parameter of ours is there twice**, whatever the endpoint's own query or the configuration says.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

use super::token::is_error_code;
use super::{AuthorizationServer, Scopes};
use crate::oauth::server::Form;

/// The longest code, in bytes.
const LONGEST_CODE: usize = 4096;
/// The scope that refresh tokens are asked for with (OIDC Core 1.0 §11).
const OFFLINE: &str = "offline_access";
/// What stands for the code of an error that is not repeated.
const UNKNOWN: &str = "unknown_error";

/// Returns the challenge that a code is bound to, whose verifier redeems it (RFC 7636 §4.2, `S256`).
pub(crate) fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// Returns the scopes to ask for where a connection should last: with that for refresh tokens, where the authorization
/// server knows it (SEP-2207). Where none is asked for it stays so, since `offline_access` alone would be another request.
pub(crate) fn with_offline(scopes: Scopes, server: &AuthorizationServer) -> Scopes {
    let offline = Scopes::new([OFFLINE]);
    let is_known = server.scopes.as_ref().is_some_and(|known| known.cover(&offline));
    if scopes.is_empty() || !is_known { scopes } else { scopes.with(&offline) }
}

/// What a user's consent is asked for with.
pub(crate) struct Asking<'a> {
    /// What the gateway is called at the authorization server.
    pub(crate) client_id: &'a str,
    /// Where the browser is sent back to.
    pub(crate) redirect: &'a str,
    /// What the token is to be good for; where that is nothing, it is for the authorization server to say.
    pub(crate) scopes: &'a Scopes,
    /// What the server is called; nothing where that is not said.
    pub(crate) resource: Option<&'a str>,
    /// What the browser brings back, so that it is known again.
    pub(crate) state: &'a str,
    /// What redeems the code. It is not in the URL.
    pub(crate) verifier: &'a str,
    /// What the authorization server is told besides.
    pub(crate) parameters: &'a [(String, String)],
}

impl Asking<'_> {
    /// Returns where a user's browser goes: the endpoint with what its own query says, and then what is asked for.
    pub(crate) fn url(&self, endpoint: &Url) -> Url {
        let pairs = self.pairs(endpoint);
        let is_ours = |pair: &str| pairs.iter().any(|(name, _)| name_of(pair).as_deref() == Some(name));
        let own = endpoint.query().unwrap_or_default().split('&');
        let mut query: Vec<_> =
            own.filter(|pair| !pair.is_empty() && !is_ours(pair)).map(str::to_owned).collect();
        query.push(form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish());
        let mut url = endpoint.clone();
        url.set_query(Some(&query.join("&")));
        url
    }

    /// Returns what is added to an endpoint: what the flow needs, and what else is wanted that it does not say itself.
    fn pairs(&self, endpoint: &Url) -> Vec<(&str, String)> {
        let mut pairs = vec![
            ("response_type", "code".to_owned()),
            ("client_id", self.client_id.to_owned()),
            ("redirect_uri", self.redirect.to_owned()),
        ];
        if !self.scopes.is_empty() {
            pairs.push(("scope", self.scopes.to_string()));
        }
        pairs.push(("state", self.state.to_owned()));
        pairs.push(("code_challenge", challenge_of(self.verifier)));
        pairs.push(("code_challenge_method", "S256".to_owned()));
        pairs.extend(self.resource.map(|resource| ("resource", resource.to_owned())));
        for (name, value) in self.parameters {
            if pairs.iter().all(|(known, _)| known != name) {
                pairs.push((name, value.clone()));
            }
        }
        let says_prompt = pairs.iter().any(|(name, _)| *name == "prompt")
            || endpoint.query_pairs().any(|(name, _)| name == "prompt");
        // OIDC Core 1.0 §11: without it `offline_access` is not heeded.
        if self.scopes.cover(&Scopes::new([OFFLINE])) && !says_prompt {
            pairs.push(("prompt", "consent".to_owned()));
        }
        pairs
    }
}

fn name_of(pair: &str) -> Option<String> {
    form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned())
}

/// What a browser brings back from an authorization server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum CameBack {
    /// The user has consented: this redeems the tokens.
    Code(String),
    /// There will be none, by this code of an error.
    Refused(String),
}

/// Shows no code.
impl fmt::Debug for CameBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(_) => f.write_str("Code(..)"),
            Self::Refused(error) => f.debug_tuple("Refused").field(error).finish(),
        }
    }
}

/// Returns what an answer says that it answers, where it says so once.
pub(crate) fn state_of(query: &str) -> Option<String> {
    Form::parse(query.as_bytes()).one("state").ok().flatten().map(str::to_owned)
}

/// Reads the answer of an issuer, or says why it is not believed. `says_issuer` is whether the issuer's answers name it.
pub(crate) fn came_back(query: &str, issuer: &str, says_issuer: bool) -> Result<CameBack, String> {
    let form = Form::parse(query.as_bytes());
    let one = |name| form.one(name).map_err(|repeated| format!("its answer is odd: {repeated}"));
    match one("iss")? {
        Some(of) if of != issuer => return Err("the answer is another issuer's (`iss`)".into()),
        None if says_issuer => return Err("its answer does not say whose it is (`iss`)".into()),
        Some(_) | None => {}
    }
    one("state")?;
    match (one("code")?, one("error")?) {
        (Some(code), None) if is_code(code) => Ok(CameBack::Code(code.to_owned())),
        (Some(_), None) => Err("its answer has no `code` that could be one".into()),
        (None, Some(error)) => {
            let error = if is_error_code(error) { error } else { UNKNOWN };
            Ok(CameBack::Refused(error.to_owned()))
        }
        (Some(_), Some(_)) => Err("its answer has both a `code` and an `error`".into()),
        (None, None) => Err("its answer has neither a `code` nor an `error`".into()),
    }
}

/// Tells whether a text may be a code (RFC 6749, appendix A.11).
fn is_code(text: &str) -> bool {
    text.len() <= LONGEST_CODE && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Named;
    use super::*;

    const ISSUER: &str = "https://idp.example/t";

    fn parameters(texts: &[(&str, &str)]) -> Vec<(String, String)> {
        texts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn ask(endpoint: &str, scopes: &str, resource: Option<&str>, more: &[(&str, &str)]) -> String {
        let asking = Asking {
            client_id: "me & you",
            redirect: "https://gw.example/oauth/callback",
            scopes: &Scopes::parse(scopes),
            resource,
            state: "st/a+te",
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            parameters: &parameters(more),
        };
        let url = asking.url(&Url::parse(endpoint).expect("a URL"));
        assert!(!url.as_str().contains(asking.verifier));
        url.into()
    }

    #[test]
    fn a_challenge_is_what_its_verifier_hashes_to() {
        // RFC 7636, appendix B.
        let challenge = challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_user_is_asked_with_what_the_token_is_for() {
        let at = "https://idp.example/authorize";
        insta::assert_snapshot!(ask(at, "b a", Some("https://a.example/mcp"), &[]), @"https://idp.example/authorize?response_type=code&client_id=me+%26+you&redirect_uri=https%3A%2F%2Fgw.example%2Foauth%2Fcallback&scope=a+b&state=st%2Fa%2Bte&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&resource=https%3A%2F%2Fa.example%2Fmcp");
        insta::assert_snapshot!(ask(at, "", None, &[("access_type", "offline"), ("prompt", "consent")]), @"https://idp.example/authorize?response_type=code&client_id=me+%26+you&redirect_uri=https%3A%2F%2Fgw.example%2Foauth%2Fcallback&state=st%2Fa%2Bte&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&access_type=offline&prompt=consent");
        insta::assert_snapshot!(ask(at, "a offline_access", None, &[]), @"https://idp.example/authorize?response_type=code&client_id=me+%26+you&redirect_uri=https%3A%2F%2Fgw.example%2Foauth%2Fcallback&scope=a+offline_access&state=st%2Fa%2Bte&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&prompt=consent");
        assert!(ask(at, "offline_access", None, &[("prompt", "login")]).ends_with("&prompt=login"));
        insta::assert_snapshot!(ask("https://idp.example/authorize?p=sign%20in&&q&prompt=x", "offline_access", None, &[]), @"https://idp.example/authorize?p=sign%20in&q&prompt=x&response_type=code&client_id=me+%26+you&redirect_uri=https%3A%2F%2Fgw.example%2Foauth%2Fcallback&scope=offline_access&state=st%2Fa%2Bte&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256");
    }

    #[test]
    fn nothing_of_ours_is_there_twice() {
        let hostile = "https://idp.example/a?tenant=1&state=x&%73tate=y&redirect_uri=https://evil.example&scope=all&audience=z";
        let more = [("state", "x"), ("client_id", "x"), ("audience", "api"), ("audience", "other")];
        insta::assert_snapshot!(ask(hostile, "a", None, &more), @"https://idp.example/a?tenant=1&response_type=code&client_id=me+%26+you&redirect_uri=https%3A%2F%2Fgw.example%2Foauth%2Fcallback&scope=a&state=st%2Fa%2Bte&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&audience=api");
    }

    #[test]
    fn refresh_tokens_are_asked_for_where_they_are_known() {
        let check = |scopes: &str, known: &str| {
            let text = format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"https://idp.example/t"{known}}}"#);
            let server = AuthorizationServer::read(text.as_bytes(), ISSUER, Named::Here).expect("metadata");
            with_offline(Scopes::parse(scopes), &server).to_string()
        };
        assert_eq!(check("a", r#","scopes_supported":["a","offline_access"]"#), "a offline_access");
        assert_eq!(check("", r#","scopes_supported":["a","offline_access"]"#), "");
        assert_eq!(check("a", r#","scopes_supported":["a"]"#), "a");
        assert_eq!(check("a", ""), "a");
    }

    fn check(query: &str, says_issuer: bool) -> String {
        match came_back(query, ISSUER, says_issuer) {
            Ok(CameBack::Code(code)) => format!("code {code}"),
            Ok(CameBack::Refused(error)) => format!("refused {error}"),
            Err(why) => why,
        }
    }

    const ISS: &str = "iss=https%3A%2F%2Fidp.example%2Ft";

    #[test]
    fn an_answer_has_a_code_or_an_error() {
        assert_eq!(check("code=a%2Bb&state=x", false), "code a+b");
        assert_eq!(format!("{:?}", came_back("code=c0de", ISSUER, false)), "Ok(Code(..))");
        assert_eq!(check(&format!("state=x&code=c&{ISS}&session_state=1"), true), "code c");
        assert_eq!(check("error=access_denied&error_description=no%20way", false), "refused access_denied");
        assert_eq!(check(&format!("error=%3Cb%3E&{ISS}"), true), "refused unknown_error");
        assert_eq!(check(&format!("error={}", "x".repeat(65)), false), "refused unknown_error");
        insta::assert_snapshot!(check("code=a&error=b", false), @"its answer has both a `code` and an `error`");
        insta::assert_snapshot!(check("state=x", false), @"its answer has neither a `code` nor an `error`");
        insta::assert_snapshot!(check("code=&error=", false), @"its answer has neither a `code` nor an `error`");
        insta::assert_snapshot!(check("code=a%0D%0Ab", false), @"its answer has no `code` that could be one");
        assert_eq!(check(&format!("code={}", "x".repeat(LONGEST_CODE + 1)), false), check("code=%00", false));
        insta::assert_snapshot!(check("code=a&code=b", false), @"its answer is odd: the parameter `code` may appear once");
        for twice in ["error=a&error=a", "code=a&state=x&state=x", &format!("code=a&{ISS}&{ISS}")] {
            assert!(check(twice, false).contains("may appear once"), "{twice}");
        }
    }

    #[test]
    fn an_answer_is_its_issuers_to_the_letter() {
        assert_eq!(check(&format!("code=c&{ISS}"), false), "code c");
        insta::assert_snapshot!(check("code=c", true), @"its answer does not say whose it is (`iss`)");
        insta::assert_snapshot!(check("error=access_denied", true), @"its answer does not say whose it is (`iss`)");
        assert_eq!(check("code=c&iss=", true), check("code=c", true));
        for says_issuer in [true, false] {
            for other in [
                "https://idp.example/t/",
                "https://IDP.example/t",
                "https://idp.example:443/t",
                "https://evil.example",
                "x",
            ] {
                for what in ["code=c", "error=%3Cscript%3E"] {
                    let said = check(&format!("{what}&iss={other}"), says_issuer);
                    assert_eq!(said, "the answer is another issuer's (`iss`)", "{other}");
                }
            }
        }
    }

    #[test]
    fn an_answer_says_once_what_it_answers() {
        assert_eq!(state_of("code=a&state=x%2Fy").as_deref(), Some("x/y"));
        for none in ["", "code=a", "state=", "state=x&state=x", "state=x&state=y"] {
            assert_eq!(state_of(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_asked_once(
            query in "[a-z_%=&+0-9]{0,40}",
            more in prop::collection::vec(("(state|scope|prompt|[a-z_]{1,8})", "[ -~]{0,8}"), 0..4),
        ) {
            let parameters = more;
            let scopes = Scopes::parse("a offline_access");
            let asking = Asking { client_id: "c", redirect: "https://gw.example/cb", scopes: &scopes, resource: Some("r"), state: "s", verifier: "v", parameters: &parameters };
            let endpoint = Url::parse(&format!("https://idp.example/a?{query}")).expect("a URL");
            let url = asking.url(&endpoint);
            let all: Vec<_> = url.query_pairs().into_owned().collect();
            for (name, value) in asking.pairs(&endpoint) {
                let found: Vec<_> = all.iter().filter(|(known, _)| *known == name).collect();
                prop_assert_eq!(found.len(), 1, "{} in {}", name, url);
                prop_assert_eq!(&found[0].1, &value);
            }
            prop_assert!(all.contains(&("state".to_owned(), "s".to_owned())));
            prop_assert_eq!(url.origin(), endpoint.origin());
        }

        #[test]
        fn any_answer_is_read(query in "(code|error|iss|state|[a-z%])?=?[ -~]{0,20}(&(code|iss)=[a-z%0-9]{0,4})?") {
            let _ = (state_of(&query), came_back(&query, ISSUER, true).is_ok());
        }
    }
}
