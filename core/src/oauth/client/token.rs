//! Token requests and their answers (RFC 6749 §2.3, §4, §5; RFC 7521 §4; RFC 8693; RFC 8707).
//!
//! **What an authorization server says beyond a known code is repeated to nobody**: it may be what it was sent.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use zeroize::Zeroizing;

use super::Scopes;
use crate::body::Whole;
use crate::secrets::{Secret, header_value};
use crate::wire::json::Json;

/// The longest token, in bytes.
const LONGEST: usize = 16 << 10;
/// The longest code of an error that is repeated.
const LONGEST_CODE: usize = 64;
/// The longest that a token is believed to last, in seconds.
const LONGEST_LIFE: u64 = 30 * 24 * 3600;
/// What says that a client is not who it says, or may not do this (RFC 6749 §5.2; the last is GitHub's).
const CLIENT_CODES: [&str; 3] = ["invalid_client", "unauthorized_client", "incorrect_client_credentials"];
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const VOUCHED: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a client with a secret proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
}

/// What a token is asked for with.
#[derive(Clone, Copy)]
pub(crate) enum Grant<'a> {
    /// `client_credentials`: the client is itself.
    ClientCredentials,
    /// `authorization_code`: a user has consented (RFC 6749 §4.1.3, RFC 7636 §4.5).
    Code {
        /// What the user's browser brought back.
        code: &'a str,
        /// What the code is bound to.
        verifier: &'a str,
        /// Where the browser was sent back to, to the letter.
        redirect: &'a str,
    },
    /// `refresh_token`: what was given with the token before (RFC 6749 §6).
    Refresh(&'a str),
    /// A token of a user is exchanged (RFC 8693 §2.1).
    Exchange {
        /// The token, and the name of its type.
        subject: (&'a str, &'static str),
        /// What is to be got for it.
        wanted: Issued,
        /// For whom that is to be.
        audience: Option<&'a str>,
    },
    /// `device_code`: a user has entered the code that came with this one, or not yet (RFC 8628 §3.4).
    Device(&'a str),
    /// `jwt-bearer`: somebody vouches for a user (RFC 7523 §2.1).
    Assertion(&'a str),
}

/// What is got from an authorization server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Issued {
    /// An access token.
    AccessToken,
    /// What an authorization server elsewhere believes (draft-ietf-oauth-identity-assertion-authz-grant).
    IdJag,
}

impl Issued {
    fn urn(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::IdJag => "urn:ietf:params:oauth:token-type:id-jag",
        }
    }
}

impl Grant<'_> {
    /// Returns what is got by it.
    pub(crate) fn issues(self) -> Issued {
        if let Self::Exchange { wanted, .. } = self { wanted } else { Issued::AccessToken }
    }
}

/// A request to an authorization server, for a token or about one: the header that it has besides, and its form.
pub(crate) struct TokenRequest {
    authorization: Option<HeaderValue>,
    form: Zeroizing<String>,
}

impl TokenRequest {
    /// Begins a request for a token that is good for one resource, or for whatever the authorization server says where that
    /// is not to be named. A code has its scopes already.
    pub(crate) fn new(grant: Grant<'_>, scopes: &Scopes, resource: Option<&str>) -> Self {
        let mut request = Self::empty();
        match grant {
            Grant::ClientCredentials => request.add("grant_type", "client_credentials"),
            Grant::Code { code, verifier, redirect } => {
                request.add("grant_type", "authorization_code");
                request.add("code", code);
                request.add("redirect_uri", redirect);
                request.add("code_verifier", verifier);
            }
            Grant::Refresh(token) => {
                request.add("grant_type", "refresh_token");
                request.add("refresh_token", token);
            }
            Grant::Exchange { subject: (token, kind), wanted, audience } => {
                request.add("grant_type", EXCHANGE);
                request.add("subject_token", token);
                request.add("subject_token_type", kind);
                request.add("requested_token_type", wanted.urn());
                if let Some(audience) = audience {
                    request.add("audience", audience);
                }
            }
            Grant::Device(code) => {
                request.add("grant_type", DEVICE);
                request.add("device_code", code);
            }
            Grant::Assertion(assertion) => {
                request.add("grant_type", VOUCHED);
                request.add("assertion", assertion);
            }
        }
        let none = Scopes::default();
        let scopes = if matches!(grant, Grant::Code { .. } | Grant::Device(_)) { &none } else { scopes };
        request.about_what(scopes, resource);
        request
    }

    /// Adds what is asked for.
    pub(super) fn about_what(&mut self, scopes: &Scopes, resource: Option<&str>) {
        if !scopes.is_empty() {
            self.add("scope", &scopes.to_string());
        }
        if let Some(resource) = resource {
            self.add("resource", resource);
        }
    }

    /// Begins the question what a token is (RFC 7662 §2.1).
    pub(crate) fn about(token: &str) -> Self {
        let mut request = Self::empty();
        request.add("token", token);
        request.add("token_type_hint", "access_token");
        request
    }

    /// Begins the request to let a token count no longer (RFC 7009 §2.1).
    pub(crate) fn revoking(token: &str) -> Self {
        let mut request = Self::empty();
        request.add("token", token);
        request
    }

    pub(super) fn empty() -> Self {
        Self { authorization: None, form: Zeroizing::new(String::with_capacity(2 * LONGEST)) }
    }

    /// Returns it as it is sent to an address.
    pub(crate) fn to(self, url: &str) -> Result<http::Request<Whole>, String> {
        let form = Bytes::copy_from_slice(self.form.as_bytes());
        let mut post = http::Request::post(url).body(Whole::from(form)).map_err(|error| error.to_string())?;
        post.headers_mut().insert(header::CONTENT_TYPE, FORM);
        if let Some(authorization) = self.authorization {
            post.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        Ok(post)
    }

    /// Adds what a client with a secret proves itself with (RFC 6749 §2.3.1).
    pub(crate) fn with_secret(mut self, auth: ClientAuth, client: &str, secret: &str) -> Self {
        match auth {
            ClientAuth::Basic => {
                let mut pair = Zeroizing::new(String::with_capacity(3 * (client.len() + secret.len()) + 1));
                push_encoded(&mut pair, client);
                pair.push(':');
                push_encoded(&mut pair, secret);
                let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                self.authorization = header_value(&value);
            }
            ClientAuth::Post => {
                self.add("client_id", client);
                self.add("client_secret", secret);
            }
        }
        self
    }

    /// Adds who a client without a credential is (RFC 6749 §3.2.1).
    pub(crate) fn of_public_client(mut self, client: &str) -> Self {
        self.add("client_id", client);
        self
    }

    /// Adds a signed assertion, which says who the client is.
    pub(crate) fn with_assertion(mut self, assertion: &str) -> Self {
        self.add("client_assertion_type", ASSERTION);
        self.add("client_assertion", assertion);
        self
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        if !self.form.is_empty() {
            self.form.push('&');
        }
        self.form.push_str(name);
        self.form.push('=');
        push_encoded(&mut self.form, value);
    }
}

/// Encodes a text as forms have it (`application/x-www-form-urlencoded`).
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

/// An access token, and what comes with it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The token.
    pub(crate) value: Secret,
    /// What the next one is had for, where there is such a thing.
    pub(crate) refresh: Option<Secret>,
    /// For how long it is good, in milliseconds; nothing where its maker did not say.
    pub(crate) good_for: Option<u64>,
    /// What it is good for, where that is other than what was asked for.
    pub(crate) scopes: Option<Scopes>,
}

/// Shows nothing of the tokens themselves.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("good_for", &self.good_for)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// The client is not who it says, or may not do this: by this code.
    Client(String),
    /// It is refused for another reason: by this code.
    Refused(String),
    /// The authorization server does not answer as it should, which says nothing of the request.
    Failed(String),
}

impl NoToken {
    /// Tells whether the authorization server says that what was presented no longer counts: a code, or a refresh token
    /// (RFC 6749 §5.2; GitHub has a word of its own for it).
    pub(crate) fn is_revoked(&self) -> bool {
        matches!(self, Self::Refused(code) if matches!(&**code, "invalid_grant" | "bad_refresh_token"))
    }
}

impl Token {
    /// Reads the answer to a request for an access token.
    pub(crate) fn read(status: StatusCode, text: &[u8]) -> Result<Self, NoToken> {
        Self::read_issued(status, text, Issued::AccessToken)
    }

    /// Reads the answer to a token request. An error that comes as a success (GitHub) is one all the same.
    pub(crate) fn read_issued(status: StatusCode, text: &[u8], wanted: Issued) -> Result<Self, NoToken> {
        let json = Json::check(text).ok().filter(|json| json.is_object());
        if !status.is_success() {
            return Err(refusal(status, json));
        }
        let failed = |why: &str| NoToken::Failed(format!("answers with {why}"));
        let json = json.ok_or_else(|| failed("what is no JSON object"))?;
        if json.get("error").is_some() && json.get("access_token").is_none() {
            return Err(refusal(status, Some(json)));
        }
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        let (kind, issued) = (text("token_type"), text("issued_token_type"));
        let is_of_kind =
            |expected: &str| kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(expected));
        match wanted {
            Issued::AccessToken if !is_of_kind("bearer") => {
                return Err(failed("a token of another type than Bearer"));
            }
            // What is something else must not be shown to whom this is for.
            Issued::IdJag if !is_of_kind("n_a") || issued.as_deref() != Some(wanted.urn()) => {
                return Err(failed("what is no ID-JAG (`issued_token_type`, `token_type`)"));
            }
            Issued::AccessToken | Issued::IdJag => {}
        }
        let token = |name: &str| text(name).filter(|token| is_token(token)).map(std::borrow::Cow::into_owned);
        let value = token("access_token").and_then(|value| Secret::new(value).ok());
        let lifetime = json.get("expires_in").and_then(seconds);
        Ok(Self {
            value: value.ok_or_else(|| failed("no token (`access_token`)"))?,
            refresh: token("refresh_token").and_then(|value| Secret::new(value).ok()),
            good_for: lifetime.map(|seconds| seconds.min(LONGEST_LIFE) * 1000),
            scopes: text("scope").map(|scopes| granted(&scopes)),
        })
    }

    /// Returns the header that presents the token.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        header_value(&Zeroizing::new(format!("Bearer {}", self.value.reveal())))
    }
}

/// Reads the scopes of a token. Some put commas between them (GitHub).
fn granted(scopes: &str) -> Scopes {
    if scopes.contains(' ') { Scopes::parse(scopes) } else { Scopes::new(scopes.split(',')) }
}

pub(super) fn refusal(status: StatusCode, json: Option<Json<'_>>) -> NoToken {
    let code = json.and_then(|json| json.get("error")).and_then(Json::as_str);
    let code = code.filter(|code| is_error_code(code));
    match code {
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            NoToken::Failed(format!("answers HTTP {}", status.as_u16()))
        }
        Some(code) if CLIENT_CODES.contains(&&*code) => NoToken::Client(code.into()),
        Some(code) => NoToken::Refused(code.into()),
        None if status == StatusCode::UNAUTHORIZED => NoToken::Client("HTTP 401".into()),
        None if status.is_success() => NoToken::Failed("answers with an error".into()),
        None => NoToken::Failed(format!("answers HTTP {}", status.as_u16())),
    }
}

/// Tells whether a text may be the code of an error, and can be repeated to anybody.
pub(super) fn is_error_code(text: &str) -> bool {
    let of_a_code = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=LONGEST_CODE).contains(&text.len()) && text.bytes().all(of_a_code)
}

/// Tells whether a text may be a token (RFC 6749, appendix A.12).
pub(super) fn is_token(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, 0x21..=0x7e))
}

/// Reads a number of seconds, which some write as a text.
pub(super) fn seconds(json: Json<'_>) -> Option<u64> {
    json.as_u64().or_else(|| json.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scopes: &str) -> TokenRequest {
        TokenRequest::new(Grant::ClientCredentials, &Scopes::parse(scopes), Some("https://a.example/mcp"))
    }

    #[test]
    fn a_client_asks_for_a_token_and_proves_itself() {
        let basic = request("b a").with_secret(ClientAuth::Basic, "me & you", "s:3 cret+ä");
        insta::assert_snapshot!(*basic.form, @"grant_type=client_credentials&scope=a+b&resource=https%3A%2F%2Fa.example%2Fmcp");
        let header = basic.authorization.expect("a header");
        assert!(header.is_sensitive());
        let pair = STANDARD.decode(header.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        insta::assert_snapshot!(String::from_utf8(pair).unwrap(), @"me+%26+you:s%3A3+cret%2B%C3%A4");
        let post = request("").with_secret(ClientAuth::Post, "me", "s3cret&x=y");
        assert!(post.authorization.is_none());
        insta::assert_snapshot!(*post.form, @"grant_type=client_credentials&resource=https%3A%2F%2Fa.example%2Fmcp&client_id=me&client_secret=s3cret%26x%3Dy");
        insta::assert_snapshot!(*request("").with_assertion("a.b.c").form, @"grant_type=client_credentials&resource=https%3A%2F%2Fa.example%2Fmcp&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c");
    }

    #[test]
    fn a_code_and_a_refresh_token_are_redeemed() {
        let code = Grant::Code { code: "c&d", verifier: "v", redirect: "https://gw.example/oauth/callback" };
        let scopes = Scopes::parse("b a");
        let form = |grant, resource| {
            TokenRequest::new(grant, &scopes, resource).of_public_client("me").form.to_string()
        };
        insta::assert_snapshot!(form(code, Some("https://a.example/mcp")), @"grant_type=authorization_code&code=c%26d&redirect_uri=https%3A%2F%2Fgw.example%2Foauth%2Fcallback&code_verifier=v&resource=https%3A%2F%2Fa.example%2Fmcp&client_id=me");
        insta::assert_snapshot!(form(Grant::Refresh("r+1"), Some("https://a.example/mcp")), @"grant_type=refresh_token&refresh_token=r%2B1&scope=a+b&resource=https%3A%2F%2Fa.example%2Fmcp&client_id=me");
        insta::assert_snapshot!(form(Grant::Refresh("r"), None), @"grant_type=refresh_token&refresh_token=r&scope=a+b&client_id=me");
        let bare = TokenRequest::new(Grant::Refresh("r"), &Scopes::default(), None);
        insta::assert_snapshot!(*bare.with_secret(ClientAuth::Post, "me", "s").form, @"grant_type=refresh_token&refresh_token=r&client_id=me&client_secret=s");
        let revoking = TokenRequest::revoking("t k").with_secret(ClientAuth::Basic, "me", "s");
        assert!(revoking.authorization.is_some());
        insta::assert_snapshot!(*revoking.form, @"token=t+k");
    }

    #[test]
    fn a_token_of_a_user_is_exchanged_and_somebody_vouches() {
        let form = |grant| {
            TokenRequest::new(grant, &Scopes::parse("b a"), Some("https://a.example/mcp")).form.to_string()
        };
        let subject = ("h.p+s", "urn:ietf:params:oauth:token-type:id_token");
        let exchange = |wanted, audience| Grant::Exchange { subject, wanted, audience };
        insta::assert_snapshot!(form(exchange(Issued::AccessToken, None)), @"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=h.p%2Bs&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&scope=a+b&resource=https%3A%2F%2Fa.example%2Fmcp");
        insta::assert_snapshot!(form(exchange(Issued::IdJag, Some("https://as.example"))), @"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=h.p%2Bs&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid-jag&audience=https%3A%2F%2Fas.example&scope=a+b&resource=https%3A%2F%2Fa.example%2Fmcp");
        insta::assert_snapshot!(form(Grant::Assertion("j.a.g")), @"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=j.a.g&scope=a+b&resource=https%3A%2F%2Fa.example%2Fmcp");
    }

    #[test]
    fn what_vouches_is_what_it_says() {
        let check = |text: &str| match Token::read_issued(StatusCode::OK, text.as_bytes(), Issued::IdJag) {
            Ok(token) => token.value.reveal().to_owned(),
            Err(error) => format!("{error:?}"),
        };
        let kind = r#""issued_token_type":"urn:ietf:params:oauth:token-type:id-jag""#;
        assert_eq!(check(&format!(r#"{{"access_token":"j.a.g","token_type":"N_A",{kind}}}"#)), "j.a.g");
        let refused = r#"Failed("answers with what is no ID-JAG (`issued_token_type`, `token_type`)")"#;
        for other in [
            r#"{"access_token":"t","token_type":"N_A"}"#.to_owned(),
            r#"{"access_token":"t","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}"#.to_owned(),
            r#"{"access_token":"t","token_type":"N_A","issued_token_type":"urn:ietf:params:oauth:token-type:id_token"}"#.to_owned(),
            format!(r#"{{"access_token":"t","token_type":"Bearer",{kind}}}"#),
        ] {
            assert_eq!(check(&other), refused, "{other}");
        }
    }

    fn check(status: u16, text: &str) -> String {
        match Token::read(StatusCode::from_u16(status).expect("a status"), text.as_bytes()) {
            Ok(token) => format!("{token:?}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn tokens_are_read_and_not_shown() {
        insta::assert_snapshot!(check(200, r#"{"access_token":"t0k3n","token_type":"bearer","expires_in":3600,"scope":"a b"}"#), @r#"Token { good_for: Some(3600000), scopes: Some(Scopes({"a", "b"})), .. }"#);
        insta::assert_snapshot!(check(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":"60"}"#), @"Token { good_for: Some(60000), scopes: None, .. }");
        insta::assert_snapshot!(check(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":-1}"#), @"Token { good_for: None, scopes: None, .. }");
        insta::assert_snapshot!(check(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":18446744073709551615}"#), @"Token { good_for: Some(2592000000), scopes: None, .. }");
        let token =
            Token::read(StatusCode::OK, br#"{"access_token":"t0k3n","token_type":"Bearer"}"#).unwrap();
        let header = token.header().expect("a header");
        assert!(header.is_sensitive() && header == "Bearer t0k3n");
        assert!(token.refresh.is_none());
    }

    #[test]
    fn a_refresh_token_is_read_and_not_shown() {
        let read = |refresh: &str| {
            let text = format!(r#"{{"access_token":"t","token_type":"Bearer","refresh_token":{refresh}}}"#);
            Token::read(StatusCode::OK, text.as_bytes()).expect("a token")
        };
        let token = read(r#""r3fr3sh""#);
        assert_eq!(token.refresh.as_ref().map(Secret::reveal), Some("r3fr3sh"));
        assert!(!format!("{token:?}").contains("r3fr3sh"));
        for none in ["null", r#""""#, "1", r#""a\nb""#, r#"["r"]"#] {
            assert!(read(none).refresh.is_none(), "{none}");
        }
    }

    #[test]
    fn scopes_stand_between_spaces_or_commas() {
        let read = |scope: &str| {
            let text = format!(r#"{{"access_token":"t","token_type":"Bearer","scope":"{scope}"}}"#);
            Token::read(StatusCode::OK, text.as_bytes()).expect("a token").scopes.expect("scopes").to_string()
        };
        assert_eq!(read("repo,gist"), "gist repo");
        assert_eq!(read("repo"), "repo");
        assert_eq!(read("a,b c"), "a,b c");
        assert_eq!(read(""), "");
    }

    #[test]
    fn what_is_no_token_is_none() {
        insta::assert_snapshot!(check(200, "t0k3n"), @r#"Failed("answers with what is no JSON object")"#);
        insta::assert_snapshot!(check(200, r#"{"access_token":"t","token_type":"DPoP"}"#), @r#"Failed("answers with a token of another type than Bearer")"#);
        insta::assert_snapshot!(check(200, r#"{"access_token":"t"}"#), @r#"Failed("answers with a token of another type than Bearer")"#);
        for odd in ["", "a b", "a\\r\\nb", "\u{e4}", &"x".repeat(LONGEST + 1)] {
            let text = format!(r#"{{"access_token":"{odd}","token_type":"Bearer"}}"#);
            assert_eq!(check(200, &text), r#"Failed("answers with no token (`access_token`)")"#, "{odd}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        insta::assert_snapshot!(check(401, r#"{"error":"invalid_client","error_description":"s3cret"}"#), @r#"Client("invalid_client")"#);
        insta::assert_snapshot!(check(400, r#"{"error":"unauthorized_client"}"#), @r#"Client("unauthorized_client")"#);
        insta::assert_snapshot!(check(401, "who?"), @r#"Client("HTTP 401")"#);
        insta::assert_snapshot!(check(400, r#"{"error":"invalid_scope"}"#), @r#"Refused("invalid_scope")"#);
        insta::assert_snapshot!(check(400, r#"{"error":"invalid_grant"}"#), @r#"Refused("invalid_grant")"#);
        insta::assert_snapshot!(check(503, r#"{"error":"invalid_client"}"#), @r#"Failed("answers HTTP 503")"#);
        insta::assert_snapshot!(check(429, "{}"), @r#"Failed("answers HTTP 429")"#);
        insta::assert_snapshot!(check(302, ""), @r#"Failed("answers HTTP 302")"#);
        insta::assert_snapshot!(check(400, r#"{"error":"a <b>"}"#), @r#"Failed("answers HTTP 400")"#);
    }

    #[test]
    fn an_error_that_comes_as_a_success_is_an_error() {
        insta::assert_snapshot!(check(200, r#"{"error":"bad_verification_code","error_description":"s3cret"}"#), @r#"Refused("bad_verification_code")"#);
        insta::assert_snapshot!(check(200, r#"{"error":"incorrect_client_credentials"}"#), @r#"Client("incorrect_client_credentials")"#);
        insta::assert_snapshot!(check(200, r#"{"error":"<b>"}"#), @r#"Failed("answers with an error")"#);
        insta::assert_snapshot!(check(200, r#"{"error":"x","access_token":"t","token_type":"bearer"}"#), @"Token { good_for: None, scopes: None, .. }");
    }

    #[test]
    fn only_what_says_so_is_revoked() {
        let check = |status: u16, text: &str| {
            let read = Token::read(StatusCode::from_u16(status).expect("a status"), text.as_bytes());
            read.expect_err("no token").is_revoked()
        };
        assert!(check(400, r#"{"error":"invalid_grant"}"#));
        assert!(check(401, r#"{"error":"invalid_grant"}"#));
        assert!(check(200, r#"{"error":"bad_refresh_token"}"#));
        assert!(!check(500, r#"{"error":"invalid_grant"}"#));
        assert!(!check(429, r#"{"error":"invalid_grant"}"#));
        for other in ["invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type", ""] {
            assert!(!check(400, &format!(r#"{{"error":"{other}"}}"#)), "{other}");
        }
        assert!(!check(400, "invalid_grant") && !check(200, "invalid_grant"));
    }
}
