//! What a request proves, told from its headers alone.
//!
//! **A credential that is presented and wrong is refused, also where none is required.** Two credentials in one request
//! are refused too: whichever counted, the other would have been ignored.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};

use super::key::{ApiKey, KeyHash, NotAKey};
use super::{AuthKind, Bearer, Denial, KeyRing};
use crate::config::{Auth, Dialect};
use crate::wire::http::single;

/// The header of MCPX's key, where a file names no other.
const MCPX_KEY: HeaderName = HeaderName::from_static("x-lunar-api-key");
/// The longest tag, in bytes.
const LONGEST_TAG: usize = 256;

/// What a caller has proved, and the tag that it claims.
///
/// A host that answers for a caller puts one into the extensions of its request; then its headers prove nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub(crate) principal: Option<Arc<str>>,
    pub(super) auth: AuthKind,
    /// The name of the agent that it is certain to be.
    pub(super) agent: Option<Arc<str>>,
    pub(super) tag: Option<Arc<str>>,
    /// What its token says.
    pub(super) bearer: Option<Arc<Bearer>>,
    /// Whose the key is that it was proved with, where that is somebody's.
    #[cfg(feature = "control")]
    pub(super) owner: Option<Arc<str>>,
}

/// What a request shows of its caller.
#[derive(Debug)]
pub(crate) enum Shown<'h> {
    /// What is proved.
    Proved(Proof),
    /// A token, which is to be verified, and the tag that is claimed with it.
    Token(&'h str, Option<Arc<str>>),
}

/// What a request says of its caller in its headers.
#[derive(Debug, Default)]
pub(crate) struct Evidence<'h> {
    /// `Authorization`.
    authorization: Option<&'h str>,
    /// What stands in the header for keys.
    key: Option<&'h str>,
    /// What stands in the header for tags.
    tag: Option<&'h str>,
}

impl Proof {
    /// The principal of whoever has the key that all share.
    pub(crate) const SHARED: &str = "key:shared";

    /// Returns the proof of a caller whose token has been verified, as a user of that name.
    pub(crate) fn of_bearer(principal: &str, bearer: Bearer, tag: Option<Arc<str>>) -> Self {
        let (principal, bearer) = (Some(principal.into()), Some(Arc::new(bearer)));
        Self { principal, auth: AuthKind::Token, tag, bearer, ..Self::default() }
    }

    /// Returns who has to be let in for it to count: the key's owner, or who has proved it.
    #[cfg(feature = "control")]
    pub(crate) fn stands_with(&self) -> Option<&Arc<str>> {
        self.owner.as_ref().or(self.principal.as_ref())
    }

    /// Tells whether its token, where it is of one, was judged as its issuer is configured now.
    pub(crate) fn is_current(&self, auth: &Auth) -> bool {
        self.bearer.as_ref().is_none_or(|bearer| auth.issuers.iter().any(|issuer| bearer.is_of(issuer)))
    }

    /// Tells whether it is of a token that has ended meanwhile.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.ends().is_some_and(|ends| ends <= now)
    }

    /// Returns when the token ends that it is of, in milliseconds since the Unix epoch.
    pub(crate) fn ends(&self) -> Option<u64> {
        self.bearer.as_ref().map(|bearer| bearer.expires)
    }

    /// Takes what the same caller has proved since, where that lasts at least as long.
    pub(crate) fn renew(&mut self, newer: &Self) {
        if self.principal == newer.principal && newer.ends() >= self.ends() {
            self.clone_from(newer);
        }
    }

    /// Returns the proof of a caller that whoever runs the gateway vouches to be that agent.
    pub fn of_agent(name: &str) -> Self {
        Self { auth: AuthKind::Operator, agent: Some(name.into()), ..Self::default() }
    }

    /// Returns the proof of somebody who governs and tries what an agent may; without a name, what strangers may.
    #[cfg(feature = "control")]
    pub(crate) fn of_trial(principal: &Arc<str>, agent: Option<&str>) -> Self {
        let (principal, agent) = (Some(principal.clone()), agent.map(Into::into));
        Self { principal, auth: AuthKind::Operator, agent, ..Self::default() }
    }
}

impl<'h> Evidence<'h> {
    /// Finds the headers that tell of the caller. Each may be there once.
    pub(crate) fn of(headers: &'h HeaderMap, auth: &Auth, dialect: Dialect) -> Result<Self, Denial> {
        let text = |name: &HeaderName| {
            single(headers, name).map_err(|bad| Denial::Malformed(bad.to_string().into()))
        };
        let tag = match &auth.tag_header {
            Some(name) => text(name)?.filter(|tag| !tag.is_empty()),
            None => None,
        };
        if tag.is_some_and(|tag| tag.len() > LONGEST_TAG) {
            return Err(Denial::Malformed(format!("a tag has at most {LONGEST_TAG} bytes").into()));
        }
        let key = match key_header(auth, dialect) {
            Some(name) => text(&name)?,
            None => None,
        };
        Ok(Self { authorization: text(&header::AUTHORIZATION)?, key, tag })
    }

    /// Takes what somebody has typed for the credential of their agent.
    pub(crate) fn of_text(key: &'h str) -> Self {
        let key = Some(key.trim()).filter(|key| !key.is_empty());
        Self { authorization: None, key, tag: None }
    }

    /// Tells whether it is a whole API key of which a ring knows nothing, not even that it counts no more.
    pub(crate) fn is_unknown_key(&self, auth: &Auth, ring: &KeyRing) -> bool {
        let Ok(Some(credential)) = self.credential() else { return false };
        !is_shared(auth, credential) && ApiKey::parse(credential).is_ok_and(|key| !ring.has(&key))
    }

    /// Returns the one credential that there is.
    fn credential(&self) -> Result<Option<&'h str>, Denial> {
        match (self.authorization, self.key) {
            (None, None) => Ok(None),
            (None, Some(key)) => Ok(Some(key)),
            (Some(value), None) => {
                let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
                if scheme.eq_ignore_ascii_case("bearer") {
                    return Ok(Some(token.trim()));
                }
                Err(Denial::Wrong("`Authorization` must be `Bearer` and an API key".into()))
            }
            (Some(_), Some(_)) => {
                let text = "there are two credentials, one in `Authorization` and one in the header for keys";
                Err(Denial::Malformed(text.into()))
            }
        }
    }
}

/// Returns the header that carries keys besides `Authorization`.
pub(crate) fn key_header(auth: &Auth, dialect: Dialect) -> Option<HeaderName> {
    auth.header.clone().or_else(|| (dialect == Dialect::Mcpx).then_some(MCPX_KEY))
}

/// Tells what a request proves, or finds the token that is to be verified.
pub(crate) fn authenticate<'h>(
    auth: &Auth,
    ring: &KeyRing,
    evidence: &Evidence<'h>,
    now: u64,
) -> Result<Shown<'h>, Denial> {
    let tag: Option<Arc<str>> = evidence.tag.map(Into::into);
    let Some(credential) = evidence.credential()? else {
        let proof = Proof { tag, ..Proof::default() };
        return if auth.required { Err(Denial::Missing) } else { Ok(Shown::Proved(proof)) };
    };
    if is_shared(auth, credential) {
        let principal = Some(Proof::SHARED.into());
        let proof = Proof { principal, auth: AuthKind::SharedKey, tag, ..Proof::default() };
        return Ok(Shown::Proved(proof));
    }
    if !auth.issuers.is_empty() && !ApiKey::is_one(credential) {
        return Ok(Shown::Token(credential, tag));
    }
    let key = ApiKey::parse(credential).map_err(|error| Denial::Wrong(why(credential, error)))?;
    // Which of these it is, is nobody's business who has no valid key.
    let refused = || Denial::Wrong("the API key is unknown, expired or revoked".into());
    let record = ring.find(&key, now).ok_or_else(refused)?;
    let principal = Some(record.principal());
    let agent = Some(record.agent.clone());
    Ok(Shown::Proved(Proof {
        principal,
        auth: AuthKind::ApiKey,
        agent,
        tag,
        bearer: None,
        #[cfg(feature = "control")]
        owner: record.owner.clone(),
    }))
}

/// Tells whether a credential is the key that all callers share.
fn is_shared(auth: &Auth, credential: &str) -> bool {
    auth.shared_key.is_some_and(|hash| KeyHash::from_bytes(hash) == KeyHash::of(credential))
}

/// Says what a text that is no API key is, without repeating it.
fn why(credential: &str, error: NotAKey) -> Cow<'static, str> {
    let looks_signed = credential.starts_with("ey") && credential.split('.').count() >= 3;
    if looks_signed && error == NotAKey::Foreign {
        return "tokens of an identity provider are not taken, only API keys, which begin with `pck_`".into();
    }
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    const NOW: u64 = 1000;

    fn auth(required: bool) -> Auth {
        Auth {
            required,
            header: Some(HeaderName::from_static("x-key")),
            tag_header: Some(HeaderName::from_static("x-tag")),
            shared_key: Some(*KeyHash::of("open sesame").as_bytes()),
            issuers: Vec::new(),
            sign_in: None,
        }
    }

    fn check(auth: &Auth, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let old = super::super::KeyRecord { expires: Some(NOW), ..key(2).1 };
        let revoked = super::super::KeyRecord { revoked: Some(1), ..key(3).1 };
        let ring = KeyRing::new([key(1).1, old, revoked]);
        let proof = Evidence::of(&map, auth, Dialect::Native)
            .and_then(|evidence| authenticate(auth, &ring, &evidence, NOW));
        match proof {
            Ok(Shown::Token(token, tag)) => format!("Token {token:?} {tag:?}"),
            Ok(Shown::Proved(Proof { principal, auth, agent, tag, .. })) => {
                let principal = principal.map(|p| p.replace(&*key(1).1.id, "ID"));
                format!("{auth:?} {principal:?} {agent:?} {tag:?}")
            }
            Err(denial) => format!("{denial:?}"),
        }
    }

    fn bearer(number: u8) -> String {
        format!("Bearer {}", key(number).0.reveal())
    }

    #[test]
    fn a_key_is_taken_from_either_header() {
        let own = key(1).0;
        insta::assert_snapshot!(check(&auth(true), &[("authorization", &bearer(1))]), @r#"ApiKey Some("key:ID") Some("coder") None"#);
        insta::assert_snapshot!(check(&auth(true), &[("authorization", &format!("bearer  {}", own.reveal())), ("x-tag", " ops ")]), @r#"ApiKey Some("key:ID") Some("coder") Some("ops")"#);
        insta::assert_snapshot!(check(&auth(true), &[("x-key", own.reveal())]), @r#"ApiKey Some("key:ID") Some("coder") None"#);
        insta::assert_snapshot!(check(&auth(true), &[("x-key", "open sesame")]), @r#"SharedKey Some("key:shared") None None"#);
        insta::assert_snapshot!(check(&auth(false), &[("x-tag", "ops")]), @r#"Anonymous None None Some("ops")"#);
        insta::assert_snapshot!(check(&auth(false), &[]), @"Anonymous None None None");
        insta::assert_snapshot!(check(&auth(true), &[("x-tag", "ops")]), @"Missing");
        let plain = Auth { required: true, ..Auth::default() };
        insta::assert_snapshot!(check(&plain, &[("x-key", own.reveal()), ("x-tag", "ops")]), @"Missing");
    }

    #[test]
    fn a_token_is_taken_from_either_header() {
        let auth = Auth { issuers: vec![crate::config::Issuer::default()], ..auth(true) };
        assert_eq!(check(&auth, &[("authorization", "Bearer a.b.c")]), r#"Token "a.b.c" None"#);
        assert_eq!(check(&auth, &[("x-key", "a.b.c"), ("x-tag", "ops")]), r#"Token "a.b.c" Some("ops")"#);
        assert!(
            check(&auth, &[("authorization", "Bearer a.b.c"), ("x-key", "d.e.f")]).starts_with("Malformed")
        );
        assert!(check(&auth, &[("x-key", key(1).0.reveal())]).starts_with("ApiKey"));
        assert!(check(&auth, &[("x-key", key(3).0.reveal())]).starts_with("Wrong"));
    }

    #[test]
    fn a_wrong_credential_is_refused_also_where_none_is_needed() {
        for required in [true, false] {
            let check = |headers: &[(&'static str, &str)]| check(&auth(required), headers);
            let unknown = check(&[("authorization", &bearer(9))]);
            insta::allow_duplicates! { insta::assert_snapshot!(unknown, @r#"Wrong("the API key is unknown, expired or revoked")"#); }
            assert_eq!(check(&[("authorization", &bearer(2))]), unknown, "expired");
            assert_eq!(check(&[("x-key", key(3).0.reveal())]), unknown, "revoked");
            for headers in [
                [("authorization", "Bearer")],
                [("authorization", "Bearer ")],
                [("authorization", "Basic dXNlcjpwYXNz")],
                [("authorization", "")],
                [("authorization", key(1).0.reveal())],
                [("authorization", "Bearer open sesame!")],
                [("x-key", "")],
                [("x-key", &bearer(1))],
            ] {
                assert!(check(&headers).starts_with("Wrong("), "{headers:?} {}", check(&headers));
            }
        }
        let token = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl";
        insta::assert_snapshot!(check(&auth(false), &[("authorization", token)]), @r#"Wrong("tokens of an identity provider are not taken, only API keys, which begin with `pck_`")"#);
        let (own, bearer_of_own) = (key(1).0, bearer(1));
        let both = [("authorization", &*bearer_of_own), ("x-key", own.reveal())];
        insta::assert_snapshot!(check(&auth(false), &both), @r#"Malformed("there are two credentials, one in `Authorization` and one in the header for keys")"#);
        insta::assert_snapshot!(check(&auth(false), &[("authorization", &bearer(1)), ("authorization", &bearer(1))]), @r#"Malformed("header authorization appears more than once")"#);
        insta::assert_snapshot!(check(&auth(false), &[("x-tag", &"t".repeat(257))]), @r#"Malformed("a tag has at most 256 bytes")"#);
    }
}
