//! The gateway as the authorization server: what its steps wait for, which are clients' documents, the identity provider, and
//! the note of what was used.
//!
//! **That something is used is noted before its answer is made**, and where it cannot be noted, nothing is made of it. What is
//! decided stands in `oauth::server`.

use std::sync::{Arc, Mutex};

use http::request::Parts;
use http::{Method, StatusCode};
use url::Url;

use crate::body::{Body, Reply, empty};
use crate::config::{Issuer, SignIn, SubjectType};
use crate::control::StoreError;
use crate::endpoint;
use crate::error::{Refusal, code};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{Bearer, Proof, identify};
use crate::oauth::connect::Intent;
use crate::oauth::issuer::metadata_urls;
use crate::oauth::server::answer::onward;
use crate::oauth::server::{
    Authority, BODY, Back, Client, Decided, Errand, Exchange, Failure, Form, Grant, Named, Next, Noted,
    Provider, SIGNED_IN, State, Step, Use, agreed, id_token_of, is_of_this_sign_in, page_error, preflighted,
};
use crate::oauth::{Claims, Expected, Token};
use crate::ports::{Host, TokenFamilies};
use crate::upstream::lock;
use crate::wire::http as names;

/// How long what a provider says of itself is good for, in milliseconds.
const KNOWN: u64 = 10 * 60_000;
/// The longest ID token that is kept, to act by it, in bytes: it is part of what agents send.
const KEPT: usize = 4 << 10;
/// How often a note is written anew that others write at the same time.
const ATTEMPTS: usize = 8;

/// What is known where the gateway stands in.
#[derive(Debug, Default)]
pub(crate) struct SignIns {
    /// What the provider says of itself, by its issuer, and until when that is good.
    provider: Mutex<Option<(String, u64, Arc<Provider>)>>,
}

/// Somebody who has signed in.
pub(super) struct SignedIn {
    pub(super) principal: String,
    bearer: Bearer,
    #[cfg(feature = "control")]
    pub(super) claims: Claims,
}

/// It cannot be noted that something is used.
struct NotNoted;

/// What a step is decided by, and whom to ask.
pub(super) struct Standing<'s, H> {
    pub(super) authority: Authority<'s, H>,
    pub(super) issuer: &'s Issuer,
    pub(super) snapshot: &'s Snapshot,
}

impl<H: Host> Gateway<H> {
    /// Answers a step of a sign-in.
    pub(super) async fn stand_in(&self, head: &Parts, body: Body, step: Step) -> Reply {
        if step.is_for_programs() && head.method == Method::OPTIONS {
            return preflighted(step.method());
        }
        if head.method != step.method() {
            return endpoint::only(step.method());
        }
        let snapshot = self.snapshot();
        let auth = &snapshot.config.auth;
        let (Some(settings), Some(issuer), Some(public)) =
            (&auth.sign_in, auth.issuer_of_sign_in(), &snapshot.config.gateway.public_url)
        else {
            return endpoint::not_found();
        };
        let Some(families) = self.host().token_families() else {
            return unavailable("this host cannot note which tokens were used, and so signs nobody in");
        };
        if let Err(refusal) = self.is_recordable() {
            return unavailable(&refusal.message);
        }
        let _place = match self.take_place() {
            Ok(place) => place,
            Err(refusal) => return unavailable(&refusal.message),
        };
        let origin = public.origin().ascii_serialization();
        let authority = self.authority(settings, issuer, &origin, SIGNED_IN);
        let standing = Standing { authority, issuer, snapshot: &snapshot };
        self.step(&standing, &**families, (head, body), step).await
    }

    pub(super) fn authority<'a>(
        &'a self,
        settings: &'a SignIn,
        issuer: &'a Issuer,
        origin: &'a str,
        back: &'static str,
    ) -> Authority<'a, H> {
        Authority {
            origin,
            settings,
            back,
            scopes: &issuer.scopes,
            sealer: &self.0.sealer,
            entropy: self.host(),
            now: self.host().now(),
        }
    }

    /// Sends somebody to the identity provider who wants to connect a server.
    pub(super) async fn sign_in_to_connect(
        &self,
        intent: Intent,
        snapshot: &Snapshot,
    ) -> Result<Reply, Box<Reply>> {
        let auth = &snapshot.config.auth;
        let public = snapshot.config.gateway.public_url.as_ref();
        let (Some(settings), Some(issuer), Some(public)) = (&auth.sign_in, auth.issuer_of_sign_in(), public)
        else {
            return Err(Box::new(endpoint::not_found()));
        };
        let provider = self.provider(issuer).await?;
        let origin = public.origin().ascii_serialization();
        let authority = self.authority(settings, issuer, &origin, SIGNED_IN);
        let to = authority.sign_in_at(&provider, Errand::Connect(intent));
        Ok(onward(&to))
    }

    async fn step(
        &self,
        at: &Standing<'_, H>,
        families: &dyn TokenFamilies,
        (head, body): (&Parts, Body),
        step: Step,
    ) -> Reply {
        let query = || Form::parse(head.uri.query().unwrap_or_default().as_bytes());
        match step {
            Step::Metadata => at.authority.metadata(),
            Step::Authorize => self.authorize(at, head, &query()).await.unwrap_or_else(|reply| *reply),
            Step::SignedIn => self.come_back(at, head, &query()).await,
            Step::Register => match body.collect(BODY).await {
                Ok(body) if names::media_type(&head.headers) == "application/json" => {
                    at.authority.register(&body)
                }
                Ok(_) => {
                    Failure::new("invalid_client_metadata", "Content-Type must be application/json").reply()
                }
                Err(error) => Failure::new("invalid_client_metadata", error.to_string()).reply(),
            },
            Step::Consent => match posted(head, body).await {
                Ok(form) => self.consent(at, head, &form).await,
                Err(failure) => page_error(StatusCode::BAD_REQUEST, &failure.why),
            },
            Step::Token => self.give_tokens(at, families, (head, body)).await,
            Step::Revoke => self.take_back(at, families, (head, body)).await,
        }
    }

    async fn authorize(&self, at: &Standing<'_, H>, head: &Parts, form: &Form) -> Result<Reply, Box<Reply>> {
        let (id, named) = at.authority.asking(form)?;
        let client = match named {
            Named::Registered(client) => client,
            Named::At(url) => self.described_client(&url, id).await?,
        };
        let browser = at.authority.browser(&head.headers);
        let pending = at.authority.pending(form, (id, &client), &browser)?;
        match at.authority.next(pending, &head.headers) {
            Next::Ask(page) => Ok(page),
            Next::SignIn(pending) => {
                let provider = self.provider(at.issuer).await?;
                Ok(at.authority.sign_in(&provider, pending))
            }
        }
    }

    /// Fetches what a client says of itself at its URL.
    async fn described_client(&self, url: &Url, id: &str) -> Result<Client, Box<Reply>> {
        let page = |why: &str| Box::new(page_error(StatusCode::BAD_REQUEST, why));
        let text = self.document_of_stranger(url).await.map_err(|why| {
            tracing::debug!(client = %url, reason = %why, "a client's document cannot be read");
            page("What the client says of itself cannot be read at the address that is its id.")
        })?;
        Client::read(&text, id).map_err(page)
    }

    async fn consent(&self, at: &Standing<'_, H>, head: &Parts, form: &Form) -> Reply {
        match at.authority.decided(&head.headers, form) {
            Decided::Answer(reply) => reply,
            Decided::Allowed(pending, remembered) => match self.provider(at.issuer).await {
                Ok(provider) => {
                    let to = at.authority.sign_in_at(&provider, Errand::Agent(pending));
                    agreed(&to, remembered)
                }
                Err(page) => *page,
            },
        }
    }

    /// Takes a browser that comes back from the provider.
    pub(super) async fn come_back(&self, at: &Standing<'_, H>, head: &Parts, form: &Form) -> Reply {
        let provider = match self.provider(at.issuer).await {
            Ok(provider) => provider,
            Err(page) => return *page,
        };
        let (state, code) = match at.authority.back(&provider, form, &head.headers) {
            Back::Code(state, code) => (state, code),
            Back::Answer(reply) => {
                self.record_refused(head, None, "the identity provider has signed nobody in");
                return reply;
            }
        };
        match self.redeem(at, &provider, (&state, &code)).await {
            Ok(signed_in) => self.go_on_for(at, head, state.errand, signed_in).await,
            Err(why) => {
                tracing::warn!(issuer = %at.issuer.url, reason = %why, "an identity provider has signed nobody in");
                self.record_refused(head, None, "the identity provider has signed nobody in");
                at.authority.not_signed_in(&state, "server_error")
            }
        }
    }

    /// Does what somebody has signed in for.
    async fn go_on_for(
        &self,
        at: &Standing<'_, H>,
        head: &Parts,
        errand: Errand,
        signed_in: SignedIn,
    ) -> Reply {
        #[cfg(feature = "control")]
        let errand = match errand {
            Errand::Console(visit) => return self.welcome(at, head, visit, signed_in).await,
            // A client of the console's own signs in for nothing else.
            _ if at.authority.back != SIGNED_IN => {
                return page_error(StatusCode::FORBIDDEN, "This sign-in was begun elsewhere.");
            }
            other => other,
        };
        let SignedIn { principal, bearer, .. } = signed_in;
        #[cfg(feature = "control")]
        if let Err(denial) = self.is_welcome(at.snapshot, &principal).await {
            let refusal = denial.refusal();
            self.record_user(head, at.snapshot, (&principal, &bearer), Err(&refusal));
            return page_error(refusal.status, "You are let in no more. Ask whoever runs this gateway.");
        }
        self.record_user(head, at.snapshot, (&principal, &bearer), Ok(()));
        match errand {
            Errand::Agent(pending) => at.authority.signed_in(pending, &principal, bearer),
            Errand::Connect(intent) => self.proved_for(head, at.snapshot, intent, &principal).await,
            #[cfg(feature = "control")]
            Errand::Console(_) => endpoint::not_found(),
        }
    }

    /// Redeems a code of the provider, and tells who has signed in.
    async fn redeem(
        &self,
        at: &Standing<'_, H>,
        provider: &Provider,
        (state, code): (&State, &str),
    ) -> Result<SignedIn, String> {
        let settings = at.authority.settings;
        let secret = match &settings.client_secret {
            Some(name) => Some(self.secret_value(name).await?),
            None => None,
        };
        let secret = secret.as_ref().map(|values| values.current.reveal());
        let request = at.authority.redemption(provider, (state, code), secret);
        let (answer, text) = self.exchange(request?).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("its token endpoint answers {}", answer.status));
        }
        let text = id_token_of(&text).ok_or("its answer has no ID token")?;
        let token = Token::parse(&text).map_err(|error| format!("its ID token is none: {error}"))?;
        if !self.is_signed(at.issuer, &token).await.map_err(|denial| denial.refusal().message)? {
            return Err("the signature of its ID token is wrong".into());
        }
        let audiences = [settings.client_id.clone()];
        let expected = Expected {
            issuer: &at.issuer.url,
            audience_claim: "aud",
            audiences: &audiences,
            now: self.host().now(),
        };
        let claims = Claims::read(&token.payload, &expected).map_err(|unfit| unfit.to_string())?;
        if !is_of_this_sign_in(&token.payload, &state.nonce, &settings.client_id) {
            return Err("its ID token is of another sign-in".into());
        }
        let mut bearer = Bearer::new(&claims, &at.snapshot.config.policy, at.issuer);
        if at.snapshot.acts_on_behalf() && text.len() <= KEPT {
            bearer = bearer.keeping(&text, &at.issuer.url, Some(SubjectType::IdToken));
        }
        let principal = at.issuer.principal(&claims.subject);
        #[cfg(feature = "control")]
        return Ok(SignedIn { principal, bearer, claims });
        #[cfg(not(feature = "control"))]
        Ok(SignedIn { principal, bearer })
    }

    async fn give_tokens(
        &self,
        at: &Standing<'_, H>,
        families: &dyn TokenFamilies,
        (head, body): (&Parts, Body),
    ) -> Reply {
        let form = posted(head, body).await;
        let exchange = form.and_then(|form| at.authority.exchange(&head.headers, &form));
        let exchange = match exchange {
            Ok(exchange) => exchange,
            Err(failure) => {
                self.record_refused(head, None, &failure.why);
                return failure.reply();
            }
        };
        let Exchange { grant, generation, .. } = &exchange;
        let user = (&*grant.principal, &grant.bearer);
        let refuse = |failure: Failure| {
            let refusal = refusal(&failure.why);
            self.record_user(head, at.snapshot, user, Err(&refusal));
            failure.reply()
        };
        let is_still = at.issuer.has_named(&grant.principal)
            && grant.bearer.is_of(at.issuer)
            && grant.bearer.suits(&at.snapshot.config.policy);
        #[cfg(feature = "control")]
        if self.is_welcome(at.snapshot, &grant.principal).await.is_err() {
            return refuse(Failure::new("invalid_grant", "the user is let in no more"));
        }
        if !is_still {
            return refuse(Failure::new(
                "invalid_grant",
                "the user has to sign in again: what decides has changed",
            ));
        }
        match self.using(families, grant, *generation).await {
            Ok(Use::Right(_, next)) => {
                self.record_user(head, at.snapshot, user, Ok(()));
                at.authority.issue(exchange, next)
            }
            Ok(Use::Copied) => {
                tracing::warn!(principal = %grant.principal, "a code or a refresh token was used twice; its family ends");
                refuse(Failure::new("invalid_grant", "it was used before; the user has to sign in again"))
            }
            Ok(Use::Late) => {
                refuse(Failure::new("invalid_grant", "it counts no more; the user has to sign in again"))
            }
            Err(NotNoted) => refuse(Failure::new(
                "temporarily_unavailable",
                "it cannot be noted that it is used; try again",
            )),
        }
    }

    async fn take_back(
        &self,
        at: &Standing<'_, H>,
        families: &dyn TokenFamilies,
        (head, body): (&Parts, Body),
    ) -> Reply {
        let form = posted(head, body).await;
        match form.and_then(|form| at.authority.given_back(&head.headers, &form)) {
            Ok(None) => empty(StatusCode::OK),
            Ok(Some(grant)) => match note(families, &grant, |_| Some((Noted::Ended, ()))).await {
                Ok(_) => {
                    self.record_user(head, at.snapshot, (&grant.principal, &grant.bearer), Ok(()));
                    empty(StatusCode::OK)
                }
                Err(NotNoted) => unavailable("it cannot be noted that the token is revoked; try again"),
            },
            Err(failure) => failure.reply(),
        }
    }

    /// Notes that a generation of a family is used, or that it must not be.
    async fn using(
        &self,
        families: &dyn TokenFamilies,
        grant: &Grant,
        generation: u32,
    ) -> Result<Use, NotNoted> {
        let decide = |noted| {
            let outcome = Noted::using(noted, generation, self.host().now());
            let next = match outcome {
                Use::Right(next, _) => next,
                Use::Copied => Noted::Ended,
                Use::Late => return None,
            };
            Some((next, outcome))
        };
        Ok(note(families, grant, decide).await?.unwrap_or(Use::Late))
    }

    /// Returns what the provider says of itself, read again from time to time.
    pub(super) async fn provider(&self, issuer: &Issuer) -> Result<Arc<Provider>, Box<Reply>> {
        let now = self.host().now();
        if let Some((url, until, provider)) = &*lock(&self.0.sign_ins.provider)
            && *url == issuer.url
            && *until > now
        {
            return Ok(provider.clone());
        }
        let mut first = None;
        for url in metadata_urls(&issuer.url) {
            let found = self.public_document(url.as_str()).await;
            match found.and_then(|(_, text)| Provider::read(&text, &issuer.url)) {
                Ok(provider) => {
                    let provider = Arc::new(provider);
                    *lock(&self.0.sign_ins.provider) =
                        Some((issuer.url.clone(), now + KNOWN, provider.clone()));
                    return Ok(provider);
                }
                Err(why) => first = first.or(Some(why)),
            }
        }
        let why = first.unwrap_or_default();
        tracing::warn!(issuer = %issuer.url, reason = %why, "an identity provider cannot be asked to sign somebody in");
        let page = page_error(StatusCode::SERVICE_UNAVAILABLE, "The identity provider cannot be reached.");
        Err(Box::new(page))
    }

    /// Records what was done for somebody who signs in, or has.
    fn record_user(
        &self,
        head: &Parts,
        snapshot: &Snapshot,
        (principal, bearer): (&str, &Bearer),
        outcome: Result<(), &Refusal>,
    ) {
        let proof = Proof::of_bearer(principal, bearer.clone(), None);
        let who = identify(&snapshot.config.policy, &proof).ok();
        self.record_exchange(head, who.as_ref(), outcome);
    }

    fn record_refused(&self, head: &Parts, who: Option<&crate::identity::Identity>, why: &str) {
        self.record_exchange(head, who, Err(&refusal(why)));
    }
}

/// Writes what is to be noted of a family, given what is; returns what was decided with it, or nothing where nothing was.
async fn note<T>(
    families: &dyn TokenFamilies,
    grant: &Grant,
    decide: impl Fn(Option<Noted>) -> Option<(Noted, T)>,
) -> Result<Option<T>, NotNoted> {
    let not_noted = |error: StoreError| {
        tracing::warn!(reason = %error, "it cannot be noted that a code or a refresh token is used");
        NotNoted
    };
    for _ in 0..ATTEMPTS {
        let read = families.noted(grant.family.clone()).await.map_err(not_noted)?;
        let Some((next, decided)) = decide(read.as_deref().map(Noted::parse)) else { return Ok(None) };
        let written = families.note(grant.family.clone(), read, next.to_string(), grant.ends).await;
        if written.map_err(not_noted)? {
            return Ok(Some(decided));
        }
    }
    Err(not_noted(StoreError("is written by too many at a time".into())))
}

/// Reads a form that was posted.
pub(super) async fn posted(head: &Parts, body: Body) -> Result<Form, Failure> {
    if names::media_type(&head.headers) != "application/x-www-form-urlencoded" {
        let why = "Content-Type must be application/x-www-form-urlencoded";
        return Err(Failure::new("invalid_request", why));
    }
    let body =
        body.collect(BODY).await.map_err(|error| Failure::new("invalid_request", error.to_string()))?;
    Ok(Form::parse(&body))
}

fn unavailable(why: &str) -> Reply {
    Failure::new("temporarily_unavailable", why).reply()
}

fn refusal(why: &str) -> Refusal {
    Refusal::new(code::INVALID_REQUEST, why.to_owned()).with_status(StatusCode::BAD_REQUEST)
}
