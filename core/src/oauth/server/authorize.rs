//! Authorization requests (RFC 6749 §4.1.1, RFC 7636, RFC 8707): what of them is right, and where an error goes.
//!
//! **An error goes to a redirect URI only once it is certain that the client has it**; before, it is a page.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::answer::{page_error, redirect as go};
use super::client::{Client, Named};
use super::form::{Form, Repeated};
use super::{Authority, STEP, digest, is_endpoint, redirect};
use crate::body::Reply;
use crate::ports::Entropy;

/// The longest `state` of a client, in bytes.
const LONGEST_STATE: usize = 2048;
/// The longest name of an endpoint, in bytes.
const LONGEST_RESOURCE: usize = 512;
/// How long an S256 challenge is: SHA-256 as base64.
const CHALLENGE: usize = 43;

/// An authorization request that was found right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The client, by its id's digest.
    pub(super) client: String,
    /// What the client calls itself.
    pub(super) name: Option<String>,
    /// The host of its document; none where it registered itself.
    pub(super) host: Option<String>,
    /// Where the code goes.
    pub(super) redirect: String,
    /// The client's own `state`.
    pub(super) state: Option<String>,
    /// What the client's verifier must hash to.
    pub(super) challenge: String,
    /// The endpoint that tokens are for, by its path.
    pub(super) resource: String,
    /// What they may be used for.
    pub(super) scope: Vec<String>,
    /// Whether the client wants refresh tokens.
    pub(super) refreshes: bool,
    /// Whether the client wants to have the user asked in any case.
    pub(super) asks: bool,
    /// The browser that it came from, by its cookie.
    pub(super) browser: String,
    /// Until when it can go on, in milliseconds since the Unix epoch.
    pub(super) expires: u64,
}

/// Why a client does not get a code.
struct Denied(&'static str, String);

impl From<Repeated> for Denied {
    fn from(repeated: Repeated) -> Self {
        Self("invalid_request", repeated.to_string())
    }
}

impl<E: Entropy> Authority<'_, E> {
    /// Tells which client asks; else returns a page.
    pub(crate) fn asking<'f>(&self, form: &'f Form) -> Result<(&'f str, Named), Box<Reply>> {
        let id = form.one("client_id").map_err(|repeated| bad(&repeated.to_string()))?;
        let id = id.ok_or_else(|| bad("The request does not say which client it is of (`client_id`)."))?;
        let named = self.named(id).map_err(bad)?;
        Ok((id, named))
    }

    /// Finds a request right, or returns what the client or its user is told.
    pub(crate) fn pending(
        &self,
        form: &Form,
        (id, client): (&str, &Client),
        browser: &str,
    ) -> Result<Pending, Box<Reply>> {
        let uri = form.one("redirect_uri").map_err(|repeated| bad(&repeated.to_string()))?;
        let uri = uri.ok_or_else(|| bad("The request does not say where to go back to (`redirect_uri`)."))?;
        if client.redirect(uri).is_none() || redirect::destination(uri).is_err() {
            return Err(bad(
                "The request would send you to an address that its client has not named as its own.",
            ));
        }
        let state = form.one("state");
        let told = state.ok().flatten().filter(|state| state.len() <= LONGEST_STATE);
        let denied = |Denied(error, why): Denied| Box::new(self.deny(uri, told, (error, &why)));
        if state.is_ok_and(|state| state != told) {
            let why = format!("`state` has at most {LONGEST_STATE} bytes");
            return Err(denied(Denied("invalid_request", why)));
        }
        let (challenge, resource, scope) = self.asked(form).map_err(denied)?;
        Ok(Pending {
            client: digest(id),
            name: client.name.clone(),
            host: host_of(id),
            redirect: uri.to_owned(),
            state: told.map(Into::into),
            challenge,
            resource,
            scope,
            refreshes: client.refreshes,
            asks: form.one("prompt").ok().flatten().is_some_and(|prompt| prompt.contains("consent")),
            browser: browser.to_owned(),
            expires: self.now + STEP,
        })
    }

    /// Reads what is asked for: the challenge, the endpoint, and the scopes.
    fn asked(&self, form: &Form) -> Result<(String, String, Vec<String>), Denied> {
        let wrong = |error, why: &str| Err(Denied(error, why.to_owned()));
        form.one("state")?;
        if form.has("request") {
            return wrong("request_not_supported", "request objects are not taken");
        }
        if form.has("request_uri") {
            return wrong("request_uri_not_supported", "request objects are not taken");
        }
        match form.one("response_type")? {
            Some("code") => {}
            None => return wrong("invalid_request", "`response_type` is missing"),
            Some(_) => return wrong("unsupported_response_type", "`response_type` must be code"),
        }
        if form.one("response_mode")?.is_some_and(|mode| mode != "query") {
            return wrong("invalid_request", "`response_mode` must be query");
        }
        if form.one("prompt")? == Some("none") {
            return wrong("login_required", "nobody is signed in without being asked");
        }
        let challenge = match (form.one("code_challenge")?, form.one("code_challenge_method")?) {
            (Some(challenge), Some("S256")) if is_challenge(challenge) => challenge,
            (Some(_), Some("S256")) => {
                return wrong("invalid_request", "`code_challenge` is no S256 challenge");
            }
            (Some(_), _) => return wrong("invalid_request", "`code_challenge_method` must be S256"),
            (None, _) => return wrong("invalid_request", "`code_challenge` is missing: PKCE is required"),
        };
        let resource = form.one("resource").map_err(|_| {
            Denied("invalid_target", "a token is for one endpoint: `resource` may appear once".into())
        })?;
        let resource = self.endpoint(resource).ok_or_else(|| {
            Denied("invalid_target", "`resource` is none of this gateway's MCP endpoints".into())
        })?;
        Ok((challenge.to_owned(), resource, self.granted(form.one("scope")?)))
    }

    /// Returns the path of the endpoint that a token is asked for: of everything where nothing is said.
    fn endpoint(&self, resource: Option<&str>) -> Option<String> {
        let Some(resource) = resource else { return Some("/mcp".into()) };
        let path = resource.strip_prefix(self.origin).filter(|_| resource.len() <= LONGEST_RESOURCE)?;
        (is_endpoint(path) && path.bytes().all(is_of_path)).then(|| path.to_owned())
    }

    /// Returns which of the scopes that are asked for there are.
    fn granted(&self, asked: Option<&str>) -> Vec<String> {
        let mut granted: Vec<_> = asked.unwrap_or_default().split(' ').map(ToOwned::to_owned).collect();
        granted.retain(|scope| self.scopes.contains(scope));
        granted.sort_unstable();
        granted.dedup();
        granted
    }

    /// Tells a client why it gets no code, at a redirect URI that is its own.
    fn deny(&self, redirect: &str, state: Option<&str>, (error, why): (&str, &str)) -> Reply {
        go(&self.answer(redirect, state, &[("error", error), ("error_description", why)]))
    }

    /// Returns where a browser goes with an answer to a client. Every answer names the issuer (RFC 9207).
    pub(super) fn answer(&self, redirect: &str, state: Option<&str>, what: &[(&str, &str)]) -> String {
        let mut parameters = what.to_vec();
        parameters.extend(state.map(|state| ("state", state)));
        parameters.push(("iss", self.origin));
        redirect::with(redirect, &parameters)
    }
}

fn bad(why: &str) -> Box<Reply> {
    Box::new(page_error(StatusCode::BAD_REQUEST, why))
}

fn host_of(id: &str) -> Option<String> {
    let url = url::Url::parse(id).ok()?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}{port}", url.host_str()?))
}

fn is_challenge(text: &str) -> bool {
    text.len() == CHALLENGE && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte)
}
