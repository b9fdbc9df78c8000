//! Why a caller is not let in, and how it is told.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};

use crate::body::{self, Reply};
use crate::config::{Auth, Dialect};
use crate::error::{Refusal, code};

/// Why a caller is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// It presents no credential, and one is required.
    Missing,
    /// What it presents is no valid credential, and why, as far as it may be told.
    Wrong(Cow<'static, str>),
    /// Its token was verified before the policy asked for other claims, or its issuer was configured otherwise.
    Unseen,
    /// What it says of itself cannot be understood.
    Malformed(Cow<'static, str>),
    /// Its token lacks a scope; these are needed.
    Scope(Cow<'static, str>),
    /// Whether its token is valid cannot be told: that issuer cannot be asked.
    Unavailable(Arc<str>),
    /// Its key is valid, and made for an agent that the policy does not know.
    UnknownAgent(Arc<str>),
    /// It is somebody who has left, or of whom that cannot be told.
    #[cfg(feature = "control")]
    Absent(StatusCode, &'static str),
}

impl Denial {
    /// Returns the refusal that the caller is told.
    pub(crate) fn refusal(&self) -> Refusal {
        let (status, text) = match self {
            Self::Missing => (
                StatusCode::UNAUTHORIZED,
                "Unauthorized: send an API key as `Authorization: Bearer KEY`".into(),
            ),
            Self::Wrong(why) => (StatusCode::UNAUTHORIZED, format!("Unauthorized: {why}")),
            Self::Unseen => (
                StatusCode::UNAUTHORIZED,
                "Unauthorized: the configuration is another than when the token was verified; send it again"
                    .into(),
            ),
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, format!("Bad Request: {why}")),
            Self::Scope(scopes) => {
                (StatusCode::FORBIDDEN, format!("Forbidden: the token needs the scopes {scopes}"))
            }
            Self::Unavailable(issuer) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("Service Unavailable: the identity provider {issuer} cannot be asked; try again"),
            ),
            #[cfg(feature = "control")]
            Self::Absent(status, why) => (*status, (*why).into()),
            Self::UnknownAgent(agent) => {
                let agent = agent.escape_debug();
                (
                    StatusCode::FORBIDDEN,
                    format!(
                        "Forbidden: this key is for the agent \"{agent}\", which the gateway's policy does not name"
                    ),
                )
            }
        };
        Refusal::new(code::INVALID_REQUEST, text).with_status(status)
    }

    /// Returns the answer, with a challenge where it has one (RFC 6750 §3); `described` says where tokens for it are to be
    /// had, where any are taken (RFC 9728 §5.1).
    pub(crate) fn reply(&self, auth: &Auth, dialect: Dialect, described: Option<&str>) -> Reply {
        if let Some(text) = self.as_mcpx(auth, dialect) {
            return text;
        }
        let mut reply = body::refused(None, &self.refusal());
        // A caller that sent no credential is not told what would be wrong with one.
        let error = match self {
            Self::Missing => "",
            Self::Wrong(_) | Self::Unseen => r#", error="invalid_token""#,
            Self::Malformed(_) => r#", error="invalid_request""#,
            Self::Scope(_) => r#", error="insufficient_scope""#,
            Self::UnknownAgent(_) | Self::Unavailable(_) => return reply,
            #[cfg(feature = "control")]
            Self::Absent(..) => return reply,
        };
        let described = described.map(|described| format!(", {described}")).unwrap_or_default();
        let challenge = format!(r#"Bearer realm="portcullis"{error}{described}"#);
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        reply
    }

    /// Returns the answer as MCPX words it, where a key is shared as it does.
    fn as_mcpx(&self, auth: &Auth, dialect: Dialect) -> Option<Reply> {
        let _shared = auth.shared_key.filter(|_| dialect == Dialect::Mcpx)?;
        let (status, text) = match self {
            Self::Missing => (StatusCode::UNAUTHORIZED, "Unauthorized: API key required"),
            Self::Wrong(_) => (StatusCode::FORBIDDEN, "Forbidden: Invalid API key"),
            Self::Malformed(_)
            | Self::UnknownAgent(_)
            | Self::Scope(_)
            | Self::Unavailable(_)
            | Self::Unseen => return None,
            #[cfg(feature = "control")]
            Self::Absent(..) => return None,
        };
        let mut reply = body::json(status, text);
        reply
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(denial: &Denial, dialect: Dialect) -> String {
        let auth = Auth { shared_key: Some([0; 32]), ..Auth::default() };
        let reply = denial.reply(&auth, dialect, None);
        let challenge =
            reply.headers().get(header::WWW_AUTHENTICATE).map(|v| v.to_str().expect("ASCII").to_owned());
        let (status, challenge) = (reply.status().as_u16(), challenge.unwrap_or_default());
        let body::Body::Full(text) = reply.into_body() else { panic!("a whole body") };
        format!("{status} [{challenge}] {}", String::from_utf8_lossy(&text.into_bytes()))
    }

    #[test]
    fn refusals_challenge_as_rfc_6750_has_it() {
        let native = |denial: &Denial| check(denial, Dialect::Native);
        insta::assert_snapshot!(native(&Denial::Missing), @r#"401 [Bearer realm="portcullis"] {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unauthorized: send an API key as `Authorization: Bearer KEY`"}}"#);
        insta::assert_snapshot!(native(&Denial::Wrong("the key is odd".into())), @r#"401 [Bearer realm="portcullis", error="invalid_token"] {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unauthorized: the key is odd"}}"#);
        insta::assert_snapshot!(native(&Denial::Malformed("header x appears more than once".into())), @r#"400 [Bearer realm="portcullis", error="invalid_request"] {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Bad Request: header x appears more than once"}}"#);
        insta::assert_snapshot!(native(&Denial::UnknownAgent("a\"b".into())), @r#"403 [] {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Forbidden: this key is for the agent \"a\\\"b\", which the gateway's policy does not name"}}"#);
    }

    #[test]
    fn a_shared_key_is_refused_in_mcpx_own_words() {
        let mcpx = |denial: &Denial| check(denial, Dialect::Mcpx);
        insta::assert_snapshot!(mcpx(&Denial::Missing), @"401 [] Unauthorized: API key required");
        insta::assert_snapshot!(mcpx(&Denial::Wrong("the key is odd".into())), @"403 [] Forbidden: Invalid API key");
        insta::assert_snapshot!(mcpx(&Denial::UnknownAgent("x".into())), @r#"403 [] {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Forbidden: this key is for the agent \"x\", which the gateway's policy does not name"}}"#);
    }
}
