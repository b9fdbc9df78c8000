//! Signing in at servers: a request to a server gets an access token, which is asked for when it is needed.
//!
//! **One token is asked for at a time and server**, by whoever needs it first; all others wait for that, or go on with the one
//! that is still good. **A token goes to its server and a credential to its issuer, along no redirect** (ADR 0027). A server
//! that refuses a token costs one other; an authorization server that fails is left alone for a while.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::channel::oneshot;
use futures::lock::OwnedMutexGuard;
use http::header;
use url::Url;

use super::ask::{AnswerBody, MakeRequest};
use super::on_behalf::{OnBehalf, no_subject};
use crate::config::{ClientCredential, ResourceName, SignOn};
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::identity::Subject;
use crate::oauth::address::{is_same_host, may_follow, parse};
use crate::oauth::client::held::{Access, Held, Known, Way};
use crate::oauth::client::{
    Assertion, AuthorizationServer, ClientAuth, Demand, Grant, Named, NoToken, PrivateKey, Resource, Scopes,
    Token, TokenRequest, canonical, is_at_the_server, metadata_places,
};
use crate::oauth::connect::Grantor;
use crate::oauth::issuer::metadata_urls;
use crate::ports::Host;
use crate::secrets::Veil;
use crate::secrets::held::Freshness;
use crate::upstream::handshake::shorten;
use crate::upstream::{Server, lock};

/// What is held of signing in at one server.
#[derive(Debug, Default)]
pub(crate) struct SignedIn {
    held: Mutex<Held>,
    /// Held while a token is asked for.
    asking: Arc<futures::lock::Mutex<()>>,
    /// On whose behalf, where that is anybody's.
    pub(super) on_behalf: OnBehalf,
}

impl SignedIn {
    /// Takes note that what is signed in with may be another.
    pub(crate) fn changed(&self) {
        lock(&self.held).changed();
    }

    /// Takes a token that the user has signed in with on whose behalf the gateway acts; tells whether it is to be tried.
    pub(crate) fn presents(&self, subject: &Arc<Subject>) -> bool {
        let is_taken = self.on_behalf.presents(subject);
        if is_taken {
            self.changed();
        }
        is_taken
    }

    /// Returns a text without the token that is held, and without the user's own.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let held = lock(&self.held);
        let veil = Veil::new(held.token().map(|token| &token.value));
        self.on_behalf.redacted(&veil.over(text))
    }
}

/// Where a server is, and how the gateway signs in there.
type At<'s> = (&'s Url, &'s SignOn);
/// An answer of a server: its head, and its body.
type Answer = (http::response::Parts, AnswerBody);

impl<H: Host> Gateway<H> {
    /// Fetches what `request` makes, with an access token. Where the server refuses it, another is asked for, once; where its
    /// scopes do not suffice, one with those that the server names besides.
    pub(super) async fn fetch_signed_in(
        &self,
        server: &Server,
        at: At<'_>,
        request: &MakeRequest<'_>,
    ) -> Result<Answer, Unreachable> {
        if at.1.is_on_behalf() && server.signed_in.on_behalf.subject().is_none() {
            return Err(no_subject(server));
        }
        let access = self.access(server, at).await?;
        let answer = self.fetch_with(server, access.as_ref(), request).await?;
        let Some(demand) = Demand::read(answer.0.status, &answer.0.headers) else {
            return Ok(answer);
        };
        drop(answer);
        let number = access.map_or(0, |access| access.number);
        let anew = self.access_after(server, at, (number, &demand)).await?;
        let answer = self.fetch_with(server, Some(&anew), request).await?;
        let mut held = lock(&server.signed_in.held);
        let Some(still) = Demand::read(answer.0.status, &answer.0.headers) else {
            if answer.0.status.is_success() {
                held.helped();
            }
            return Ok(answer);
        };
        // A token that lacks scopes is good.
        if !still.is_about_scopes {
            held.refused(anew.number, self.host().now());
        }
        Err(not_enough(server, at.1, &still))
    }

    async fn fetch_with(
        &self,
        server: &Server,
        access: Option<&Access>,
        request: &MakeRequest<'_>,
    ) -> Result<Answer, Unreachable> {
        let token = access.and_then(|access| access.token.header());
        let with = || {
            let mut request = request();
            if let Some(token) = &token {
                request.headers_mut().insert(header::AUTHORIZATION, token.clone());
            }
            request
        };
        self.fetch_unsigned(server, &with).await
    }

    /// Returns what the next request carries; nothing where the server has to be asked first where to sign in.
    async fn access(&self, server: &Server, at: At<'_>) -> Result<Option<Access>, Unreachable> {
        let signed_in = &server.signed_in;
        let known = || lock(&signed_in.held).known(self.host().now());
        let ageing = match known() {
            Known::Good(access) => return Ok(Some(access)),
            Known::Trouble(error) => return Err(error),
            Known::Ageing(access) => Some(access),
            Known::Nothing => None,
        };
        let way = lock(&signed_in.held).way();
        if way.is_none() && at.1.issuer.is_none() && ageing.is_none() {
            return Ok(None);
        }
        let turn = match (signed_in.asking.try_lock_owned(), ageing) {
            (Some(turn), _) => turn,
            (None, Some(access)) => return Ok(Some(access)),
            (None, None) => signed_in.asking.clone().lock_owned().await,
        };
        let ageing = match known() {
            Known::Good(access) => return Ok(Some(access)),
            Known::Trouble(error) => return Err(error),
            Known::Ageing(access) => Some(access),
            Known::Nothing => None,
        };
        let scopes = lock(&signed_in.held).scopes().clone();
        match (self.ask_for_token(server, turn, way, (None, scopes)).await, ageing) {
            (Ok(access), _) | (Err(_), Some(access)) => Ok(Some(access)),
            (Err(error), None) => Err(error),
        }
    }

    /// Returns what a request carries instead that was refused with the token of that number.
    async fn access_after(
        &self,
        server: &Server,
        at: At<'_>,
        (number, demand): (u64, &Demand),
    ) -> Result<Access, Unreachable> {
        let signed_in = &server.signed_in;
        let turn = signed_in.asking.clone().lock_owned().await;
        let now = self.host().now();
        match lock(&signed_in.held).known_after(number, demand.besides(), now) {
            Known::Good(access) | Known::Ageing(access) => return Ok(access),
            Known::Trouble(error) => return Err(error),
            Known::Nothing => {}
        }
        let asked = lock(&signed_in.held).scopes().clone();
        let scopes = match &demand.scopes {
            // Of what was asked for before, nothing is given up.
            Some(scopes) if at.1.scopes.is_none() => asked.with(scopes),
            _ => asked.clone(),
        };
        if demand.is_about_scopes {
            if asked.cover(&scopes) {
                return Err(not_enough(server, at.1, demand));
            }
            let wanted = demand.scopes.clone().unwrap_or_default();
            if let Some(error) = lock(&signed_in.held).in_vain(&wanted, now) {
                return Err(error.clone());
            }
            // It is the same authorization server.
            let way = lock(&signed_in.held).way();
            return self.ask_for_token(server, turn, way, (Some(demand), scopes)).await;
        }
        if lock(&signed_in.held).is_quiet(now) {
            return Err(not_enough(server, at.1, demand));
        }
        // It may be another authorization server.
        self.ask_for_token(server, turn, None, (Some(demand), scopes)).await
    }

    /// Asks for a token and holds it, or why there is none; whether or not anybody goes on waiting for it, as the time limit of
    /// the call that needs it is none of the authorization server's.
    async fn ask_for_token(
        &self,
        server: &Server,
        turn: OwnedMutexGuard<()>,
        way: Option<Arc<Way>>,
        (demand, scopes): (Option<&Demand>, Scopes),
    ) -> Result<Access, Unreachable> {
        let own = self.server(&server.key()).filter(|own| std::ptr::eq(Arc::as_ptr(own), server));
        let Some(own) = own else {
            // It is configured no more, and what has begun goes on.
            return self.get_token(server, way, (demand, &scopes)).await;
        };
        let (gateway, demand) = (self.clone(), demand.cloned());
        let (sender, got) = oneshot::channel();
        self.host().spawn(async move {
            let outcome = gateway.get_token(&own, way, (demand.as_ref(), &scopes)).await;
            drop(turn);
            let _ = sender.send(outcome);
        });
        got.await.unwrap_or_else(|_| Err(server.error("cannot be signed in at: the gateway stops")))
    }

    async fn get_token(
        &self,
        server: &Server,
        way: Option<Arc<Way>>,
        (demand, scopes): (Option<&Demand>, &Scopes),
    ) -> Result<Access, Unreachable> {
        let (url, sign_on) = server.sign_on().ok_or_else(|| server.error("is not signed in at"))?;
        let asking = async {
            let (way, known) = match way {
                Some(way) => (way, None),
                None => self.find_way(server, (url, sign_on), demand).await?,
            };
            let scopes = match (&sign_on.scopes, known) {
                (Some(written), _) => Scopes::new(written.iter().map(String::as_str)),
                (None, Some(known)) if scopes.is_empty() => known,
                (None, _) => scopes.clone(),
            };
            let token = self.token_by(server, sign_on, &way, &scopes).await?;
            Ok((token, way, scopes))
        };
        let outcome: Result<_, Unreachable> = Box::pin(asking).await;
        // It is said for as long as it holds, when it may be another token that is looked for in texts.
        let outcome = outcome.map_err(|error| {
            let message = server.signed_in.redacted(&error.message);
            Unreachable { message, ..error }
        });
        let now = self.host().now();
        let mut held = lock(&server.signed_in.held);
        match outcome {
            Ok((token, way, scopes)) => {
                let issuer = &way.authorization.issuer;
                tracing::debug!(server = %server.name, issuer, %scopes, "the gateway is signed in at a server");
                Ok(held.made(token, way, scopes, now))
            }
            Err(error) => {
                // What one call needs besides says nothing of the server.
                if let Some(wanted) = demand.and_then(Demand::besides) {
                    let error = error.refused();
                    held.failed_besides(wanted.clone(), error.clone(), now);
                    Err(error)
                } else {
                    held.failed(error.clone(), now);
                    Err(error)
                }
            }
        }
    }

    /// Finds where a server's tokens are made, and the scopes that it knows where it says so.
    async fn find_way(
        &self,
        server: &Server,
        (url, sign_on): At<'_>,
        demand: Option<&Demand>,
    ) -> Result<(Arc<Way>, Option<Scopes>), Unreachable> {
        let sought = Sought {
            url,
            issuer: sign_on.issuer.as_deref(),
            resource: sign_on.resource.as_ref(),
            trust: Trust::Near,
        };
        let found = self.find_issuer(server, &sought, demand).await?;
        let resource = found.named_resource().map(str::to_owned);
        Ok((Arc::new(Way { authorization: found.authorization, resource }), found.scopes))
    }

    /// Finds where a server's tokens are made.
    pub(super) async fn find_issuer(
        &self,
        server: &Server,
        sought: &Sought<'_>,
        demand: Option<&Demand>,
    ) -> Result<Grantor, Unreachable> {
        let url = sought.url;
        if let Some(issuer) = sought.issuer {
            let authorization = self.describe(server, issuer, Named::Here).await?;
            return Ok(sought.found(authorization, canonical(url), None, Named::Here));
        }
        let odd = |why: &str| {
            let message =
                format!("does not say where the gateway can sign in: {why}; set `auth.oauth.issuer`");
            server.error(message).refused()
        };
        let metadata = demand.and_then(|demand| demand.metadata.as_deref());
        let mut first = None;
        for place in metadata_places(url, metadata).map_err(|why| odd(&why))? {
            let read = if is_same_host(url, &place) {
                self.public_document(place.as_str()).await.map(|(_, text)| text)
            } else {
                self.document_of_stranger(&place).await
            };
            let resource = match read.and_then(|text| Resource::read(&text, url)) {
                Ok(resource) => resource,
                Err(why) => {
                    first = first.or(Some(why));
                    continue;
                }
            };
            let named = |issuer: &&String| match sought.trust {
                Trust::Near => is_at_the_server(issuer, url),
                Trust::Public => parse(issuer).is_some_and(|issuer| may_follow(url, &issuer)),
            };
            let Some(issuer) = resource.issuers.iter().find(named) else {
                return Err(untrusted(server, &resource.issuers[0]));
            };
            let named = if is_at_the_server(issuer, url) { Named::Near } else { Named::Afar };
            let authorization = self.describe(server, issuer, named).await?;
            return Ok(sought.found(authorization, resource.name, resource.scopes, named));
        }
        Err(odd(&first.unwrap_or_default()))
    }

    /// Reads what an issuer says of itself.
    pub(super) async fn describe(
        &self,
        server: &Server,
        issuer: &str,
        named: Named,
    ) -> Result<AuthorizationServer, Unreachable> {
        let mut first = None;
        for place in metadata_urls(issuer) {
            let read = match named {
                Named::Here | Named::Near => self.public_document(place.as_str()).await.map(|(_, text)| text),
                Named::Afar => self.document_of_stranger(&place).await,
            };
            match read.and_then(|text| AuthorizationServer::read(&text, issuer, named)) {
                Ok(authorization) => return Ok(authorization),
                Err(why) => first = first.or(Some(why)),
            }
        }
        Err(not_described(server, issuer, &first.unwrap_or_else(|| "it has no URL".into())))
    }

    /// Asks for a token with what the configuration says.
    async fn token_by(
        &self,
        server: &Server,
        sign_on: &SignOn,
        way: &Way,
        scopes: &Scopes,
    ) -> Result<Token, Unreachable> {
        if sign_on.is_on_behalf() {
            return Box::pin(self.token_on_behalf(server, sign_on, way, scopes)).await;
        }
        let (client, authorization) = (Prover::of(sign_on), &way.authorization);
        let resource = way.resource.as_deref();
        let asked = Asked { authorization, grant: Grant::ClientCredentials, scopes, resource };
        let outcome = self.ask_as(server, &client, &asked).await?;
        outcome.map_err(|why| no_token(server, &client, authorization, &why))
    }

    /// Asks for a token as a client; where that is refused, once with what its secret is now, or was before a rotation.
    pub(super) async fn ask_as(
        &self,
        server: &Server,
        client: &Prover<'_>,
        asked: &Asked<'_>,
    ) -> Result<Result<Token, NoToken>, Unreachable> {
        let secret = client.credential.text();
        let (current, _, reading) = self.credential(server, secret, Freshness::Recent).await?;
        let refused = match self.ask_with(server, client, asked, &current).await? {
            Err(NoToken::Client(code)) => code,
            outcome => return Ok(outcome),
        };
        let (anew, previous, _) = self.credential(server, secret, Freshness::After(reading)).await?;
        let instead = std::iter::once(anew).chain(previous).find(|other| **other != *current);
        match instead {
            Some(other) => self.ask_with(server, client, asked, &other).await,
            None => Ok(Err(NoToken::Client(refused))),
        }
    }

    /// Asks for a token with one credential.
    async fn ask_with(
        &self,
        server: &Server,
        client: &Prover<'_>,
        asked: &Asked<'_>,
        credential: &str,
    ) -> Result<Result<Token, NoToken>, Unreachable> {
        let request = TokenRequest::new(asked.grant, asked.scopes, asked.resource);
        let request = self.proved_with(server, client, (asked.authorization, request), credential).await?;
        let to = asked.authorization.token_endpoint.as_str();
        let answer = async { self.exchange(request.to(to)?).await }.await;
        let read = |(head, text): (http::response::Parts, Bytes)| {
            Token::read_issued(head.status, &text, asked.grant.issues())
        };
        Ok(answer.map_err(NoToken::Failed).and_then(read))
    }

    /// Adds to a request what its client proves itself with, as that is now.
    pub(super) async fn proved(
        &self,
        server: &Server,
        prover: &Prover<'_>,
        (authorization, request): (&AuthorizationServer, TokenRequest),
    ) -> Result<TokenRequest, Unreachable> {
        let (value, _, _) = self.credential(server, prover.credential.text(), Freshness::Recent).await?;
        self.proved_with(server, prover, (authorization, request), &value).await
    }

    /// Adds to a request what its client proves itself with, by a value of its secret.
    async fn proved_with(
        &self,
        server: &Server,
        prover: &Prover<'_>,
        (authorization, request): (&AuthorizationServer, TokenRequest),
        value: &str,
    ) -> Result<TokenRequest, Unreachable> {
        let unfit = |why: String| not_described(server, &authorization.issuer, &why);
        match &prover.credential {
            ClientCredential::Secret(_) => {
                let auth = prover.token_auth.map_or_else(|| authorization.secret_method(), Ok);
                Ok(request.with_secret(auth.map_err(unfit)?, prover.client, value))
            }
            ClientCredential::PrivateKey(_) => {
                let no_key = |why: &dyn std::fmt::Display| {
                    server.error(format!("cannot be signed in at: `auth.oauth.private_key` {why}")).refused()
                };
                let key = PrivateKey::parse(value).map_err(|odd| no_key(&odd))?;
                authorization.check_key(key.algorithm()).map_err(unfit)?;
                let mut id = [0; 16];
                self.host().fill(&mut id);
                let who = (prover.client, &*authorization.issuer);
                let assertion = Assertion::new(key.algorithm(), who, &id, self.host().now());
                let signature = self.host().sign(key, assertion.signing_input().to_vec()).await;
                Ok(request.with_assertion(&assertion.signed(&signature.map_err(|why| no_key(&why))?)))
            }
        }
    }
}

/// What the gateway proves itself with as a client.
#[derive(Debug)]
pub(super) struct Prover<'c> {
    /// What it is called.
    pub(super) client: &'c str,
    /// What proves that.
    pub(super) credential: &'c ClientCredential,
    /// How a secret is sent; nothing where the authorization server says how.
    pub(super) token_auth: Option<ClientAuth>,
}

impl<'c> Prover<'c> {
    /// What signs in at a server.
    pub(super) fn of(sign_on: &'c SignOn) -> Self {
        Self { client: &sign_on.client_id, credential: &sign_on.credential, token_auth: sign_on.token_auth }
    }
}

/// What a token is asked for with, where, and for what.
pub(super) struct Asked<'a> {
    /// Who is asked.
    pub(super) authorization: &'a AuthorizationServer,
    /// What is shown for it.
    pub(super) grant: Grant<'a>,
    /// What it is to be good for.
    pub(super) scopes: &'a Scopes,
    /// Where; nothing where that is not to be named.
    pub(super) resource: Option<&'a str>,
}

/// How it is found out where a server's tokens are made.
#[derive(Debug)]
pub(super) struct Sought<'c> {
    /// Where the server is.
    pub(super) url: &'c Url,
    /// The issuer, where the configuration says so.
    pub(super) issuer: Option<&'c str>,
    /// What the server is called there, where the configuration says so.
    pub(super) resource: Option<&'c ResourceName>,
    /// Which issuers are believed that the server names.
    pub(super) trust: Trust,
}

/// Which issuers are believed that a server names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that are where the server is: they are shown a credential.
    Near,
    /// Any that is in public, too: users sign in there, and see where they are.
    Public,
}

impl Sought<'_> {
    fn found(
        &self,
        authorization: AuthorizationServer,
        called: String,
        scopes: Option<Scopes>,
        named: Named,
    ) -> Grantor {
        let (resource, names_resource) = match self.resource {
            None => (called, true),
            Some(ResourceName::None) => (called, false),
            Some(ResourceName::Is(name)) => (name.clone(), true),
        };
        Grantor {
            issuer: authorization.issuer.as_str().into(),
            authorization,
            resource: resource.into(),
            names_resource,
            scopes,
            is_strange: named == Named::Afar,
        }
    }
}

/// The error about a server that does not take what the gateway is given for it.
fn not_enough(server: &Server, sign_on: &SignOn, demand: &Demand) -> Unreachable {
    let Some(scopes) = demand.scopes.as_ref().filter(|_| demand.is_about_scopes) else {
        let message = "refuses the access token that the gateway is given for it; see `auth.oauth` \
                       (`resource`, `scopes`), and what the authorization server lets the client do";
        return server.error(message).refused();
    };
    let message = if sign_on.scopes.is_some() {
        format!(
            "wants the scopes {scopes:?}, which `auth.oauth.scopes` does not have",
            scopes = scopes.to_string()
        )
    } else {
        format!("wants the scopes {scopes:?}, which the gateway is not given", scopes = scopes.to_string())
    };
    server.error(message).refused()
}

fn untrusted(server: &Server, issuer: &str) -> Unreachable {
    let message = format!(
        "names {:?} as its authorization server, which is elsewhere and so is shown no credential; \
         if that is right, set `auth.oauth.issuer` to it",
        shorten(issuer)
    );
    server.error(message).refused()
}

fn not_described(server: &Server, issuer: &str, why: &str) -> Unreachable {
    let message = format!(
        "cannot be signed in at: the authorization server {:?} cannot be used: {why}; see that it runs, and `auth.oauth.issuer`",
        shorten(issuer)
    );
    server.error(message)
}

/// The error about an authorization server that gives no token.
pub(super) fn no_token(
    server: &Server,
    client: &Prover<'_>,
    authorization: &AuthorizationServer,
    why: &NoToken,
) -> Unreachable {
    let begin =
        format!("cannot be signed in at: the authorization server {:?}", shorten(&authorization.issuer));
    let names = client.credential.text().names();
    let client = client.client;
    match why {
        NoToken::Client(code) => {
            let set = names.iter().map(|name| format!("`portcullis secrets set {name}`")).next();
            let set = set.unwrap_or_else(|| "see `auth.oauth`".into());
            server.error(format!("{begin} refuses the client {client:?} ({code}); {set}")).refused()
        }
        NoToken::Refused(code) => {
            let see = "see `auth.oauth`, and what it lets the client do";
            server.error(format!("{begin} gives the client {client:?} no token ({code}); {see}")).refused()
        }
        NoToken::Failed(why) => server.error(format!("{begin} {why}; it is tried again soon")),
    }
}
