//! How the gateway makes itself known to an authorization server that nobody has registered it at: with a document that
//! describes it (client ID metadata documents), or by asking to be registered (RFC 7591).
//!
//! **The gateway asks to be a public client**, whose codes are bound to who asked for them and lead to its own address alone.
//! Where it is given a secret all the same, that shows itself nowhere.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::token::is_error_code;
use super::{ClientAuth, Scopes};
use crate::secrets::Secret;
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;

const NAME: &str = "Portcullis";
const CALLBACK: &str = "/oauth/callback";
const DOCUMENT: &str = "/oauth/client-metadata.json";
/// The longest id and the longest secret that are taken, in bytes.
const LONGEST: usize = 8 << 10;

/// Returns where browsers are sent back to by authorization servers; `base` is the gateway's public URL.
pub(crate) fn callback_url(base: &str) -> String {
    format!("{}{CALLBACK}", base.trim_end_matches('/'))
}

/// Returns what the gateway is called where it is known by its document: the document's own URL.
pub(crate) fn document_url(base: &str) -> String {
    format!("{}{DOCUMENT}", base.trim_end_matches('/'))
}

/// Returns the document that describes the gateway as a client.
pub(crate) fn client_document(base: &str) -> String {
    let mut out = ObjectWriter::with_capacity(512);
    out.string("client_id", &document_url(base));
    describe(&mut out, base);
    out.finish()
}

/// Returns what the gateway says where it asks to be registered. On a machine of somebody's own it is a native application
/// (SEP-837).
pub(crate) fn registration(base: &str, scopes: &Scopes) -> String {
    let mut out = ObjectWriter::with_capacity(512);
    describe(&mut out, base);
    out.string("application_type", if base.starts_with("https://") { "web" } else { "native" });
    if !scopes.is_empty() {
        out.string("scope", &scopes.to_string());
    }
    out.finish()
}

fn describe(out: &mut ObjectWriter, base: &str) {
    out.string("client_name", NAME)
        .member("redirect_uris", &format!("[{}]", quote(&callback_url(base))))
        .member("grant_types", r#"["authorization_code","refresh_token"]"#)
        .member("response_types", r#"["code"]"#)
        .string("token_endpoint_auth_method", "none");
}

/// What the gateway is at an authorization server that has registered it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    /// What it is called there.
    pub(crate) client_id: String,
    /// What it proves that with, where it has to.
    pub(crate) secret: Option<Secret>,
    /// How it does; nothing where it is a public client.
    pub(crate) auth: Option<ClientAuth>,
    /// When the secret ends, in milliseconds since the Unix epoch; nothing where it does not.
    pub(crate) expires: Option<u64>,
}

/// Shows nothing of the secret.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("client_id", &self.client_id)
            .field("auth", &self.auth)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Registration {
    /// Reads the answer to a registration (RFC 7591 §3.2), or says why there is none.
    pub(crate) fn read(status: StatusCode, text: &[u8]) -> Result<Self, String> {
        let json = Json::check(text).ok().filter(|json| json.is_object());
        if !status.is_success() {
            return Err(refusal(status, json));
        }
        let json = json.ok_or("answers a registration with what is no JSON object")?;
        let text = |name: &str| json.get(name).and_then(Json::as_str).filter(|text| is_visible(text));
        let client_id = text("client_id").ok_or("registers the gateway without a `client_id`")?;
        let secret = text("client_secret").and_then(|secret| Secret::new(secret.into_owned()).ok());
        let method = json.get("token_endpoint_auth_method").filter(|method| !method.is_null());
        let auth = match method.map(Json::as_str) {
            // What is not said is `client_secret_basic` (RFC 7591 §2).
            None => secret.as_ref().map(|_| ClientAuth::Basic),
            Some(method) => auth_of(method.as_deref().unwrap_or_default())?,
        };
        let secret = secret.filter(|_| auth.is_some());
        if auth.is_some() && secret.is_none() {
            return Err("registers the gateway as a client with a secret, and gives it none".into());
        }
        let ends = json.get("client_secret_expires_at").and_then(Json::as_u64).filter(|ends| *ends > 0);
        let expires = ends.filter(|_| secret.is_some()).map(|ends| ends.saturating_mul(1000));
        Ok(Self { client_id: client_id.into_owned(), secret, auth, expires })
    }

    /// Returns it as text to be sealed: the secret stands in it.
    pub(crate) fn to_sealed_json(&self) -> Zeroizing<String> {
        let kept = Kept {
            client_id: self.client_id.as_str().into(),
            secret: self.secret.as_ref().map(|secret| secret.reveal().into()),
            auth: self.auth.map(|auth| match auth {
                ClientAuth::Basic => KeptAuth::Basic,
                ClientAuth::Post => KeptAuth::Post,
            }),
            expires: self.expires,
        };
        Zeroizing::new(serde_json::to_string(&kept).expect("there are texts and a number"))
    }

    /// Reads it from text that was sealed; nothing where it is none.
    pub(crate) fn from_sealed_json(text: &str) -> Option<Self> {
        let Kept { client_id, secret, auth, expires } = serde_json::from_str(text).ok()?;
        let secret = match secret {
            Some(secret) => Some(Secret::new(secret.into_owned()).ok()?),
            None => None,
        };
        let auth = auth.map(|auth| match auth {
            KeptAuth::Basic => ClientAuth::Basic,
            KeptAuth::Post => ClientAuth::Post,
        });
        Some(Self { client_id: client_id.into_owned(), secret, auth, expires })
    }
}

/// A registration as it is sealed.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    client_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<KeptAuth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeptAuth {
    Basic,
    Post,
}

fn refusal(status: StatusCode, json: Option<Json<'_>>) -> String {
    let code = json.and_then(|json| json.get("error")).and_then(Json::as_str);
    match code.filter(|code| is_error_code(code)) {
        Some(code) => format!("does not register the gateway ({code})"),
        None => format!("answers a registration with HTTP {}", status.as_u16()),
    }
}

fn auth_of(method: &str) -> Result<Option<ClientAuth>, String> {
    match method {
        "none" => Ok(None),
        "client_secret_basic" => Ok(Some(ClientAuth::Basic)),
        "client_secret_post" => Ok(Some(ClientAuth::Post)),
        _ => Err("registers the gateway as a client that proves itself in a way that it cannot".into()),
    }
}

/// Tells whether a text may be a client's id or secret (RFC 6749, appendix A.1, A.2).
fn is_visible(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_gateway_is_described_by_a_document_at_its_own_id() {
        insta::assert_snapshot!(client_document("https://gw.example"), @r#"{"client_id":"https://gw.example/oauth/client-metadata.json","client_name":"Portcullis","redirect_uris":["https://gw.example/oauth/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}"#);
        assert_eq!(client_document("https://gw.example/"), client_document("https://gw.example"));
    }

    #[test]
    fn the_gateway_asks_to_be_registered_as_what_it_is() {
        insta::assert_snapshot!(registration("https://gw.example", &Scopes::parse("b a")), @r#"{"client_name":"Portcullis","redirect_uris":["https://gw.example/oauth/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"web","scope":"a b"}"#);
        insta::assert_snapshot!(registration("http://127.0.0.1:9000", &Scopes::default()), @r#"{"client_name":"Portcullis","redirect_uris":["http://127.0.0.1:9000/oauth/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native"}"#);
    }

    fn read(status: u16, text: &str) -> Result<Registration, String> {
        Registration::read(StatusCode::from_u16(status).expect("a status"), text.as_bytes())
    }

    fn check(members: &str) -> String {
        match read(201, &format!(r#"{{"client_id":"c"{members}}}"#)) {
            Ok(made) => format!("{made:?} {}", made.secret.as_ref().map_or("public", Secret::reveal)),
            Err(why) => why,
        }
    }

    #[test]
    fn a_registration_is_what_the_answer_says() {
        insta::assert_snapshot!(check(""), @r#"Registration { client_id: "c", auth: None, expires: None, .. } public"#);
        insta::assert_snapshot!(check(r#","client_secret":"s3cret""#), @r#"Registration { client_id: "c", auth: Some(Basic), expires: None, .. } s3cret"#);
        insta::assert_snapshot!(check(r#","client_secret":"s","token_endpoint_auth_method":"client_secret_post","client_secret_expires_at":1800000000"#), @r#"Registration { client_id: "c", auth: Some(Post), expires: Some(1800000000000), .. } s"#);
        insta::assert_snapshot!(check(r#","client_secret":"s","token_endpoint_auth_method":"client_secret_basic","client_secret_expires_at":0"#), @r#"Registration { client_id: "c", auth: Some(Basic), expires: None, .. } s"#);
        insta::assert_snapshot!(check(r#","client_secret":"s","token_endpoint_auth_method":"none","client_secret_expires_at":9"#), @r#"Registration { client_id: "c", auth: None, expires: None, .. } public"#);
        insta::assert_snapshot!(check(r#","client_secret":"s","client_secret_expires_at":18446744073709551615"#), @r#"Registration { client_id: "c", auth: Some(Basic), expires: Some(18446744073709551615), .. } s"#);
        assert!(read(200, r#"{"client_id":"c"}"#).is_ok());
        let shown = format!(
            "{:?}",
            read(201, r#"{"client_id":"c","client_secret":"s3cret"}"#).expect("a registration")
        );
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_is_no_registration_is_none() {
        insta::assert_snapshot!(read(400, r#"{"error":"invalid_redirect_uri","error_description":"s3cret"}"#).unwrap_err(), @"does not register the gateway (invalid_redirect_uri)");
        insta::assert_snapshot!(read(403, "<html>").unwrap_err(), @"answers a registration with HTTP 403");
        insta::assert_snapshot!(read(400, r#"{"error":"<b>"}"#).unwrap_err(), @"answers a registration with HTTP 400");
        insta::assert_snapshot!(read(201, "[]").unwrap_err(), @"answers a registration with what is no JSON object");
        insta::assert_snapshot!(read(201, "{}").unwrap_err(), @"registers the gateway without a `client_id`");
        for odd in ["", "\\n", "\u{e4}", &"x".repeat(LONGEST + 1)] {
            assert_eq!(read(201, &format!(r#"{{"client_id":"{odd}"}}"#)), read(201, "{}"), "{odd}");
        }
        insta::assert_snapshot!(check(r#","token_endpoint_auth_method":"client_secret_basic""#), @"registers the gateway as a client with a secret, and gives it none");
        insta::assert_snapshot!(check(r#","client_secret":"s","token_endpoint_auth_method":"private_key_jwt""#), @"registers the gateway as a client that proves itself in a way that it cannot");
        assert_eq!(
            check(r#","token_endpoint_auth_method":1"#),
            check(r#","token_endpoint_auth_method":"tls_client_auth""#)
        );
    }

    #[test]
    fn what_was_sealed_is_read_again() {
        let made = read(
            201,
            r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_post"}"#,
        );
        insta::assert_snapshot!(*made.expect("a registration").to_sealed_json(), @r#"{"client_id":"c","secret":"s","auth":"post"}"#);
        for none in ["", "{}", "[]", r#"{"client_id":"c","auth":"jwt"}"#, r#"{"client_id":"c","secret":""}"#]
        {
            assert_eq!(Registration::from_sealed_json(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn every_registration_is_kept_whole(
            client_id in "[ -~]{1,20}",
            secret in proptest::option::of("[ -~]{1,20}"),
            auth in proptest::option::of(prop_oneof![Just(ClientAuth::Basic), Just(ClientAuth::Post)]),
            expires in proptest::option::of(any::<u64>()),
        ) {
            let secret = secret.map(|text| Secret::new(text).expect("a value"));
            let made = Registration { client_id, secret, auth, expires };
            prop_assert_eq!(Registration::from_sealed_json(&made.to_sealed_json()), Some(made));
        }
    }
}
