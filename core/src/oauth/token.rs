//! A signed token in its compact form (RFC 7515 §3.1, RFC 7519), before anybody knows whether it is true.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::jwk::Algorithm;
use crate::wire::json::Json;

/// The longest token that is looked at, in bytes.
pub(crate) const LONGEST: usize = 16 << 10;

/// A token as it was presented. **What it says is not true before its signature is verified.**
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'t> {
    /// The algorithm that it claims to be signed with.
    pub algorithm: Algorithm,
    /// The key that it claims to be signed with.
    pub key_id: Option<String>,
    /// What is signed: header and payload as they were sent.
    pub signed: &'t [u8],
    /// The signature.
    pub signature: Vec<u8>,
    /// The payload's JSON text.
    pub payload: String,
}

/// Why a text is no token that could be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    /// It does not look like one; it may mean something to its issuer.
    #[error("it is no signed token")]
    Opaque,
    /// It is one, and broken.
    #[error("the token is malformed")]
    Malformed,
    /// It is longer than tokens are.
    #[error("the token is longer than {LONGEST} bytes")]
    TooLong,
    /// It is signed in a way that is not taken.
    #[error("the token is not signed with RS256, ES256 or EdDSA")]
    Algorithm,
    /// It has a header that says that more must be understood (RFC 7515 §4.1.11).
    #[error("the token has critical headers, which are not understood")]
    Critical,
    /// It is a token for something else, such as an ID token in a place of its own or a `DPoP` proof.
    #[error("the token is not an access token: its `typ` says so")]
    Type,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    pub fn parse(text: &'t str) -> Result<Self, NotAToken> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAToken::Opaque);
        };
        if text.len() > LONGEST {
            return Err(NotAToken::TooLong);
        }
        // What begins like one, and cannot be read, is no other kind of token.
        let head = decode(header).ok_or(NotAToken::Opaque)?;
        let head = Json::check(&head).map_err(|_| NotAToken::Opaque)?;
        let head = Some(head).filter(|head| head.is_object()).ok_or(NotAToken::Opaque)?;
        let head = head.object().map_err(|_| NotAToken::Malformed)?;
        if head.get("crit").is_some() {
            return Err(NotAToken::Critical);
        }
        let text_of =
            |name: &str| head.get(name).map(|value| value.as_str().ok_or(NotAToken::Malformed)).transpose();
        if text_of("typ")?.is_some_and(|kind| !is_access(&kind)) {
            return Err(NotAToken::Type);
        }
        let algorithm = text_of("alg")?.ok_or(NotAToken::Malformed)?;
        let algorithm = Algorithm::named(&algorithm).ok_or(NotAToken::Algorithm)?;
        let key_id = text_of("kid")?.map(std::borrow::Cow::into_owned);
        let payload_text = decode(payload).and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(Self {
            algorithm,
            key_id,
            signed: &text.as_bytes()[..header.len() + 1 + payload.len()],
            signature: decode(signature).filter(|it| !it.is_empty()).ok_or(NotAToken::Malformed)?,
            payload: payload_text.ok_or(NotAToken::Malformed)?,
        })
    }

    /// Returns the issuer that it claims to be of.
    pub fn issuer(&self) -> Option<String> {
        let payload = Json::check(self.payload.as_bytes()).ok()?.object().ok()?;
        Some(payload.get("iss")?.as_str()?.into_owned())
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// Tells whether a type is one that access tokens have (RFC 9068 §2.1), or the one that says nothing.
fn is_access(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "at+jwt" | "jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn check(text: &str) -> String {
        match Token::parse(text) {
            Ok(token) => format!("{:?} {:?} of {:?}", token.algorithm, token.key_id, token.issuer()),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn a_token_is_taken_apart() {
        let payload = r#"{"iss":"https://idp.example"}"#;
        let text = made(r#"{"alg":"RS256","kid":"a","typ":"at+jwt"}"#, payload);
        let token = Token::parse(&text).expect("a token");
        assert_eq!(token.signed, text.rsplit_once('.').expect("a dot").0.as_bytes());
        assert_eq!((&*token.signature, &*token.payload), (&b"sig"[..], payload));
        insta::assert_snapshot!(check(&text), @r#"Rs256 Some("a") of Some("https://idp.example")"#);
        insta::assert_snapshot!(check(&made(r#"{"alg":"ES256"}"#, "{}")), @"Es256 None of None");
        insta::assert_snapshot!(check(&made(r#"{"alg":"EdDSA","typ":"application/JWT"}"#, "[]")), @"EdDsa None of None");
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        for opaque in ["", "abc", "a.b", "a.b.c", "....", "a.b.c.d", &made("[]", "{}"), &made("1", "{}")] {
            assert_eq!(check(opaque), "Opaque", "{opaque}");
        }
        assert_eq!(check(&made(r#"{"alg":"none"}"#, "{}")), "Algorithm");
        assert_eq!(check(&made(r#"{"alg":"HS256"}"#, "{}")), "Algorithm");
        assert_eq!(check(&made(r#"{"alg":"rs256"}"#, "{}")), "Algorithm");
        assert_eq!(check(&made(r#"{"alg":"RS256","alg":"none"}"#, "{}")), "Malformed");
        assert_eq!(check(&made(r#"{"alg":7}"#, "{}")), "Malformed");
        assert_eq!(check(&made("{}", "{}")), "Malformed");
        assert_eq!(check(&made(r#"{"alg":"RS256","crit":["exp"]}"#, "{}")), "Critical");
        assert_eq!(check(&made(r#"{"alg":"RS256","typ":"dpop+jwt"}"#, "{}")), "Type");
        assert_eq!(check(&made(r#"{"alg":"RS256"}"#, "{}").replace("c2ln", "")), "Malformed");
        assert_eq!(check(&made(r#"{"alg":"RS256"}"#, "{}").replace("c2ln", "c2ln=")), "Malformed");
        assert_eq!(check(&made(r#"{"alg":"RS256"}"#, &" ".repeat(LONGEST))), "TooLong");
    }
}
