//! The identity provider behind: how a browser is sent there, and what has to be true of what comes back.
//!
//! **Only the browser that agreed can finish a sign-in**: the `state` is sealed and bound to its cookie. Who answers is told by
//! `iss`, compared to the letter (RFC 9207), before anything else of the answer is looked at; the ID token carries our nonce.

use http::{HeaderMap, Request, StatusCode};
use serde::{Deserialize, Serialize};
use url::Url;

use super::answer::{page_error, redirect as go};
use super::authorize::Pending;
use super::consent::known_browser;
use super::form::Form;
use super::token::{Code, Grant};
use super::{Authority, STEP, digest, redirect};
use crate::body::{Reply, Whole};
use crate::identity::Bearer;
use crate::oauth::client::{AuthorizationServer, Grant as TokenGrant, Named, Scopes, TokenRequest};
use crate::oauth::connect::Intent;
use crate::ports::Entropy;
use crate::session::SignInPart;
use crate::wire::json::Json;

/// How long a code lives, in milliseconds.
const CODE: u64 = 60_000;
/// How long tokens can be refreshed after a sign-in, in milliseconds.
const FAMILY: u64 = 24 * 60 * 60_000;
/// The longest code of a provider, in bytes.
const LONGEST_CODE: usize = 4096;

/// An identity provider that people can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provider {
    /// What it says of itself.
    server: AuthorizationServer,
    /// Where browsers go.
    authorization: Url,
}

impl Provider {
    /// Reads a provider's metadata (RFC 8414 §2), or says why it cannot be asked.
    pub(crate) fn read(text: &[u8], issuer: &str) -> Result<Self, String> {
        let server = AuthorizationServer::read(text, issuer, Named::Here)?;
        let authorization = server.authorization_endpoint.clone();
        let authorization =
            authorization.ok_or("its metadata names no `authorization_endpoint` for browsers")?;
        Ok(Self { server, authorization })
    }
}

/// What somebody signs in for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Errand {
    /// An agent, which gets a code.
    Agent(Pending),
    /// To show who wants to connect a server.
    Connect(Intent),
    /// To govern the gateway.
    #[cfg(feature = "control")]
    Console(Visit),
}

/// A visit of the console.
#[cfg(feature = "control")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Visit {
    /// The page that somebody wants to see.
    pub(crate) to: String,
    /// The browser.
    pub(crate) browser: String,
    expires: u64,
}

#[cfg(feature = "control")]
impl Visit {
    /// Begins a visit of a page of the console.
    pub(crate) fn new(to: &str, browser: String) -> Self {
        Self { to: to.to_owned(), browser, expires: 0 }
    }
}

impl Errand {
    fn browser(&self) -> &str {
        match self {
            Self::Agent(pending) => &pending.browser,
            Self::Connect(intent) => &intent.browser,
            #[cfg(feature = "control")]
            Self::Console(visit) => &visit.browser,
        }
    }

    fn expires(&mut self) -> &mut u64 {
        match self {
            Self::Agent(pending) => &mut pending.expires,
            Self::Connect(intent) => &mut intent.expires,
            #[cfg(feature = "control")]
            Self::Console(visit) => &mut visit.expires,
        }
    }
}

/// What is known again when a browser comes back from the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) errand: Errand,
    /// Our own verifier, which the provider wants to see with the code.
    verifier: String,
    /// What the ID token has to repeat.
    pub(crate) nonce: String,
}

/// What a browser brings back from the provider.
#[derive(Debug)]
pub(crate) enum Back {
    /// A code.
    Code(State, String),
    /// Nothing that could be used; this is the answer.
    Answer(Reply),
}

impl<E: Entropy> Authority<'_, E> {
    fn return_address(&self) -> String {
        self.url(self.back)
    }

    /// Returns where a browser goes to sign in.
    pub(crate) fn sign_in_at(&self, provider: &Provider, mut errand: Errand) -> String {
        *errand.expires() = self.now + STEP;
        let state = State { errand, verifier: self.random::<32>(), nonce: self.random::<16>() };
        let scopes = self.settings.scopes.join(" ");
        redirect::with(
            provider.authorization.as_str(),
            &[
                ("response_type", "code"),
                ("client_id", &self.settings.client_id),
                ("redirect_uri", &self.return_address()),
                ("scope", &scopes),
                ("state", &self.seal(SignInPart::State, &state)),
                ("nonce", &state.nonce),
                ("code_challenge", &digest(&state.verifier)),
                ("code_challenge_method", "S256"),
            ],
        )
    }

    /// Sends a browser to sign in.
    pub(crate) fn sign_in(&self, provider: &Provider, pending: Pending) -> Reply {
        go(&self.sign_in_at(provider, Errand::Agent(pending)))
    }

    /// Reads what a browser brings back.
    pub(crate) fn back(&self, provider: &Provider, form: &Form, headers: &HeaderMap) -> Back {
        let page = |status, why| Back::Answer(page_error(status, why));
        let state =
            form.one("state").ok().flatten().and_then(|text| self.open::<State>(SignInPart::State, text));
        let Some(state) = state.and_then(|mut state| (*state.errand.expires() > self.now).then_some(state))
        else {
            return page(
                StatusCode::BAD_REQUEST,
                "This is no answer to a sign-in that was begun here, or it came too late.",
            );
        };
        if known_browser(headers) != Some(state.errand.browser()) {
            return page(StatusCode::FORBIDDEN, "This sign-in was begun in another browser.");
        }
        let is_its = match form.one("iss") {
            Ok(Some(iss)) => iss == provider.server.issuer,
            Ok(None) => !provider.server.says_issuer,
            Err(_) => false,
        };
        if !is_its {
            return page(StatusCode::BAD_REQUEST, "The answer is not the identity provider's.");
        }
        match (form.one("error"), form.one("code")) {
            (Ok(None), Ok(Some(code))) if code.len() <= LONGEST_CODE => Back::Code(state, code.to_owned()),
            (Ok(Some("access_denied")), _) => Back::Answer(self.not_signed_in(&state, "access_denied")),
            (Ok(Some("temporarily_unavailable")), _) => {
                Back::Answer(self.not_signed_in(&state, "temporarily_unavailable"))
            }
            _ => Back::Answer(self.not_signed_in(&state, "server_error")),
        }
    }

    /// Tells the client that its user was not signed in. What the provider says about it is for the log.
    pub(crate) fn not_signed_in(&self, state: &State, error: &str) -> Reply {
        let Errand::Agent(pending) = &state.errand else {
            return page_error(StatusCode::FORBIDDEN, "The identity provider has not signed you in.");
        };
        let what =
            [("error", error), ("error_description", "the identity provider has not signed the user in")];
        go(&self.answer(&pending.redirect, pending.state.as_deref(), &what))
    }

    /// Composes the request for the tokens of a code (RFC 6749 §4.1.3).
    pub(crate) fn redemption(
        &self,
        provider: &Provider,
        (state, code): (&State, &str),
        secret: Option<&str>,
    ) -> Result<Request<Whole>, String> {
        let (id, redirect) = (self.settings.client_id.as_str(), self.return_address());
        let code = TokenGrant::Code { code, verifier: &state.verifier, redirect: &redirect };
        let request = TokenRequest::new(code, &Scopes::default(), None);
        let request = match secret {
            Some(secret) => request.with_secret(provider.server.secret_method()?, id, secret),
            None => request.of_public_client(id),
        };
        request.to(provider.server.token_endpoint.as_str())
    }

    /// Sends a browser back to the client with a code, now that it is known who its user is.
    pub(crate) fn signed_in(&self, pending: Pending, principal: &str, mut bearer: Bearer) -> Reply {
        let ends = self.now + FAMILY;
        bearer.expires = ends;
        let grant = Grant {
            client: pending.client,
            principal: principal.into(),
            bearer,
            resource: pending.resource,
            scope: pending.scope,
            family: self.random::<16>(),
            ends,
        };
        let code = Code {
            grant,
            redirect: pending.redirect.clone(),
            challenge: pending.challenge,
            refreshes: pending.refreshes,
            expires: self.now + CODE,
        };
        let code = self.seal(SignInPart::Code, &code);
        go(&self.answer(&pending.redirect, pending.state.as_deref(), &[("code", &code)]))
    }
}

/// Returns the ID token of a provider's answer.
pub(crate) fn id_token_of(answer: &[u8]) -> Option<String> {
    let json = Json::check(answer).ok()?;
    Some(json.get("id_token")?.as_str()?.into_owned())
}

/// Tells whether a verified ID token is of the sign-in that was begun here (OIDC Core 1.0 §3.1.3.7): it repeats the
/// nonce, and where it is for several, it was made for this client.
pub(crate) fn is_of_this_sign_in(payload: &str, nonce: &str, client: &str) -> bool {
    let Ok(json) = Json::check(payload.as_bytes()) else { return false };
    let is = |name: &str, value: &str| json.get(name).and_then(Json::as_str).as_deref() == Some(value);
    let for_several =
        json.get("aud").is_some_and(|audience| audience.is_array() && audience.elements().nth(1).is_some());
    is("nonce", nonce) && (is("azp", client) || (!for_several && json.get("azp").is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::ClientAuth;

    #[test]
    fn a_provider_says_where_it_is_asked() {
        let own = "https://idp.example/t";
        let read = |more: &str| Provider::read(format!(r#"{{"issuer":"{own}"{more}}}"#).as_bytes(), own);
        let whole = r#","authorization_endpoint":"https://idp.example/auth?x=1","token_endpoint":"https://login.example/token""#;
        let provider = read(whole).expect("a provider");
        assert_eq!(
            (provider.authorization.as_str(), provider.server.token_endpoint.as_str()),
            ("https://idp.example/auth?x=1", "https://login.example/token")
        );
        let says = |provider: &Provider| (provider.server.says_issuer, provider.server.secret_method());
        assert_eq!(says(&provider), (false, Ok(ClientAuth::Basic)));
        let more = r#","authorization_response_iss_parameter_supported":true,"token_endpoint_auth_methods_supported":["client_secret_post"]"#;
        let provider = read(&format!("{whole}{more}")).expect("a provider");
        assert_eq!(says(&provider), (true, Ok(ClientAuth::Post)));
        for bad in [
            "javascript:alert(1)",
            "http://idp.example/auth",
            "https://127.0.0.1/auth",
            "https://idp.example/#a",
            "--x",
        ] {
            assert!(read(&whole.replace("https://idp.example/auth?x=1", bad)).is_err(), "{bad}");
            assert!(read(&whole.replace("https://login.example/token", bad)).is_err(), "{bad}");
        }
        assert!(read("").is_err());
        assert!(Provider::read(read_other().as_bytes(), own).is_err());
    }

    fn read_other() -> String {
        r#"{"issuer":"https://idp.example/t/","authorization_endpoint":"https://idp.example/a","token_endpoint":"https://idp.example/t"}"#.into()
    }

    #[test]
    fn an_id_token_is_of_this_sign_in_alone() {
        let check = |payload: &str| is_of_this_sign_in(payload, "n1", "me");
        assert!(check(r#"{"nonce":"n1","aud":"me"}"#));
        assert!(check(r#"{"nonce":"n1","aud":["me"]}"#));
        assert!(check(r#"{"nonce":"n1","aud":["me","you"],"azp":"me"}"#));
        for bad in [
            r#"{"aud":"me"}"#,
            r#"{"nonce":"n2","aud":"me"}"#,
            r#"{"nonce":["n1"],"aud":"me"}"#,
            r#"{"nonce":"n1","aud":["me","you"]}"#,
            r#"{"nonce":"n1","aud":"me","azp":"you"}"#,
            r#"{"nonce":"n1","aud":["me","you"],"azp":"you"}"#,
            "",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }
}
