//! Tokens: for a code, for a refresh token, and what becomes of them (RFC 6749 §4.1.3, §5, §6; RFC 7009).
//!
//! **A code and the refresh tokens that follow from it are a family**, each with a generation; each is used by the client that
//! it was made for, and what is noted of the family says whether it may be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::answer::{Failure, private};
use super::client::{Method, Named};
use super::form::{Form, Repeated};
use super::{Authority, digest, open};
use crate::body::Reply;
use crate::identity::Bearer;
use crate::ports::Entropy;
use crate::session::{Sealer, SignInPart};
use crate::wire::message::ObjectWriter;

/// How long an access token lives, in milliseconds.
const ACCESS: u64 = 10 * 60_000;
/// What the tokens begin with.
const ACCESS_PREFIX: &str = "pca_";
const REFRESH_PREFIX: &str = "pcr_";

/// What a user has let a client do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// The client, by its id's digest.
    pub(super) client: String,
    /// The user.
    pub(crate) principal: String,
    /// What the provider says of them, as far as the policy asks.
    pub(crate) bearer: Bearer,
    /// The endpoint, by its path.
    pub(super) resource: String,
    /// The scopes.
    pub(super) scope: Vec<String>,
    /// Which family its tokens are.
    pub(crate) family: String,
    /// When the family ends, in milliseconds since the Unix epoch.
    pub(crate) ends: u64,
}

/// An authorization code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Code {
    pub(super) grant: Grant,
    pub(super) redirect: String,
    pub(super) challenge: String,
    pub(super) refreshes: bool,
    pub(super) expires: u64,
}

/// A refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Refresh {
    grant: Grant,
    generation: u32,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access {
    /// The user.
    pub(crate) principal: String,
    /// What is known of them, and when the token ends.
    pub(crate) bearer: Bearer,
    /// The issuer, which is where it counts.
    origin: String,
    /// The endpoint that it is for, by its path.
    resource: String,
}

/// A request for tokens that is right, provided that what it presents may still be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// What the tokens are for.
    pub(crate) grant: Grant,
    /// The generation that is used.
    pub(crate) generation: u32,
    /// The scopes of the access token.
    scope: Vec<String>,
    refreshes: bool,
}

impl From<Repeated> for Failure {
    fn from(repeated: Repeated) -> Self {
        Self::new("invalid_request", repeated.to_string())
    }
}

/// Tells whether a credential is to be opened as an access token of the gateway's own.
pub(crate) fn is_access_token(text: &str) -> bool {
    text.starts_with(ACCESS_PREFIX)
}

impl Access {
    /// Opens an access token; nothing where it is none of ours, is over, or is for none of these URLs.
    pub(crate) fn open(text: &str, sealer: &Sealer, (audiences, now): (&[String], u64)) -> Option<Self> {
        let access: Self = open(sealer, SignInPart::Access, text.strip_prefix(ACCESS_PREFIX)?)?;
        let audience = format!("{}{}", access.origin, access.resource);
        (access.bearer.expires > now && audiences.contains(&audience)).then_some(access)
    }
}

impl<E: Entropy> Authority<'_, E> {
    /// Finds a request for tokens right, or says what is wrong with it.
    pub(crate) fn exchange(&self, headers: &HeaderMap, form: &Form) -> Result<Exchange, Failure> {
        let client = self.authenticated(headers, form)?;
        match form.one("grant_type")? {
            Some("authorization_code") => self.of_code(form, &client),
            Some("refresh_token") => self.of_refresh(form, &client),
            Some(_) => Err(Failure::new(
                "unsupported_grant_type",
                "`grant_type` must be authorization_code or refresh_token",
            )),
            None => Err(Failure::new("invalid_request", "`grant_type` is missing")),
        }
    }

    fn of_code(&self, form: &Form, client: &str) -> Result<Exchange, Failure> {
        let wrong = |why: &str| Err(Failure::new("invalid_grant", why));
        let text = needed(form, "code")?;
        let verifier = needed(form, "code_verifier")?;
        let code = self.open::<Code>(SignInPart::Code, text);
        let Some(code) = code.filter(|code| code.expires > self.now) else {
            return wrong("the code is none of ours, or it is over");
        };
        if code.grant.client != client {
            return wrong("the code is another client's");
        }
        if form.one("redirect_uri")?.is_some_and(|uri| uri != code.redirect) {
            return wrong("`redirect_uri` is not the one that the code was sent to");
        }
        if !is_verifier(verifier) || digest(verifier) != code.challenge {
            return wrong("`code_verifier` does not fit the challenge");
        }
        self.check_target(form, &code.grant)?;
        let scope = code.grant.scope.clone();
        Ok(Exchange { grant: code.grant, generation: 0, scope, refreshes: code.refreshes })
    }

    fn of_refresh(&self, form: &Form, client: &str) -> Result<Exchange, Failure> {
        let refresh = self.refresh(needed(form, "refresh_token")?);
        let Some(Refresh { grant, generation }) = refresh.filter(|it| it.grant.client == client) else {
            return Err(Failure::new(
                "invalid_grant",
                "the refresh token is none of this client's, or it is over",
            ));
        };
        self.check_target(form, &grant)?;
        let scope = match form.one("scope")? {
            None => grant.scope.clone(),
            Some(asked) => {
                let asked: Vec<_> =
                    asked.split(' ').filter(|scope| !scope.is_empty()).map(Into::into).collect();
                if asked.iter().any(|scope| !grant.scope.contains(scope)) {
                    return Err(Failure::new("invalid_scope", "`scope` asks for more than was granted"));
                }
                asked
            }
        };
        Ok(Exchange { grant, generation, scope, refreshes: true })
    }

    fn refresh(&self, text: &str) -> Option<Refresh> {
        let refresh: Refresh = self.open(SignInPart::Refresh, text.strip_prefix(REFRESH_PREFIX)?)?;
        (refresh.grant.ends > self.now).then_some(refresh)
    }

    fn check_target(&self, form: &Form, grant: &Grant) -> Result<(), Failure> {
        let own = self.url(&grant.resource);
        let resource =
            form.one("resource").map_err(|repeated| Failure::new("invalid_target", repeated.to_string()))?;
        if resource.is_some_and(|resource| resource != own) {
            return Err(Failure::new(
                "invalid_target",
                "`resource` is not what the user has allowed access to",
            ));
        }
        Ok(())
    }

    /// Makes the tokens of a request, now that it is noted; the refresh token is of the generation `next`.
    pub(crate) fn issue(&self, exchange: Exchange, next: u32) -> Reply {
        let Exchange { grant, scope, refreshes, .. } = exchange;
        let ends = grant.ends.min(self.now + ACCESS);
        let mut bearer = grant.bearer.clone();
        bearer.expires = ends;
        let access = Access {
            principal: grant.principal.clone(),
            bearer,
            origin: self.origin.to_owned(),
            resource: grant.resource.clone(),
        };
        let access = format!("{ACCESS_PREFIX}{}", self.seal(SignInPart::Access, &access));
        let mut out = ObjectWriter::default();
        out.string("access_token", &access).string("token_type", "Bearer");
        out.member("expires_in", &((ends - self.now) / 1000).to_string());
        if refreshes {
            let next = Refresh { grant, generation: next };
            out.string(
                "refresh_token",
                &format!("{REFRESH_PREFIX}{}", self.seal(SignInPart::Refresh, &next)),
            );
        }
        out.string("scope", &scope.join(" "));
        private(StatusCode::OK, out.finish())
    }

    /// Returns what a client gives back; nothing where there is nothing to end (RFC 7009 §2.2).
    pub(crate) fn given_back(&self, headers: &HeaderMap, form: &Form) -> Result<Option<Grant>, Failure> {
        let client = self.authenticated(headers, form)?;
        let token = needed(form, "token")?;
        if is_access_token(token) {
            let why = "access tokens cannot be revoked: they end after ten minutes; revoke the refresh token";
            return Err(Failure::new("unsupported_token_type", why));
        }
        let refresh = self.refresh(token).filter(|refresh| refresh.grant.client == client);
        Ok(refresh.map(|refresh| refresh.grant))
    }

    /// Tells which client asks, by its id's digest, once it has proved it as it said that it would (RFC 6749 §2.3).
    fn authenticated(&self, headers: &HeaderMap, form: &Form) -> Result<String, Failure> {
        let wrong = |why: &str| Failure::new("invalid_client", why);
        let basic = basic(headers)?;
        let (named, secret) = (form.one("client_id")?, form.one("client_secret")?);
        if basic.is_some() && secret.is_some() {
            return Err(Failure::new("invalid_request", "the client's secret is there twice"));
        }
        let (id, secret, method) = match (&basic, named, secret) {
            (Some((id, _)), Some(named), _) if id != named => {
                return Err(Failure::new("invalid_request", "two clients are named"));
            }
            (Some((id, secret)), ..) => (id.as_str(), secret.as_str(), Method::ClientSecretBasic),
            (None, Some(id), Some(secret)) => (id, secret, Method::ClientSecretPost),
            (None, Some(id), None) => (id, "", Method::None),
            (None, None, _) => return Err(wrong("the request does not say which client it is of")),
        };
        let client = match self.named(id).map_err(wrong)? {
            Named::At(_) if method == Method::None => return Ok(digest(id)),
            Named::At(_) => return Err(wrong("a client with a document has no secret")),
            Named::Registered(client) => client,
        };
        if client.method != method {
            let why = format!("the client has registered to authenticate with {}", client.method.as_str());
            return Err(wrong(&why));
        }
        if method != Method::None && !self.is_secret_of(id, secret) {
            return Err(wrong("the client's secret is wrong"));
        }
        Ok(digest(id))
    }
}

fn needed<'f>(form: &'f Form, name: &'static str) -> Result<&'f str, Failure> {
    form.one(name)?.ok_or_else(|| Failure::new("invalid_request", format!("`{name}` is missing")))
}

/// Reads a client's credentials in `Authorization`, which are encoded before they are (RFC 6749 §2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Failure> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let read = || {
        let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
        let pair = STANDARD.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let pair = String::from_utf8(pair).ok()?;
        let (id, secret) = pair.split_once(':')?;
        Some((decoded(id), decoded(secret)))
    };
    let pair = read().filter(|_| values.next().is_none());
    pair.map(Some)
        .ok_or_else(|| Failure::new("invalid_client", "`Authorization` must be `Basic` with id and secret"))
}

fn decoded(text: &str) -> String {
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map(|(key, _)| key.into_owned()).unwrap_or_default()
}

/// Tells whether a text is a verifier (RFC 7636 §4.1).
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}
