//! Acting for users at servers: the token of somebody's connection goes along with what is sent for them.
//!
//! **Nothing of one user's goes along with another's request**, since each has a server of their own (ADR 0030). A server that
//! refuses a token costs one refresh; one that refuses the next token, too, or wants further scopes, is a matter for its
//! user, who is asked.

use std::sync::{Arc, Mutex};

use http::{HeaderValue, header};
use url::Url;

use super::ask::{AnswerBody, MakeRequest};
use super::connections::NoToken;
use super::on_behalf::no_subject;
use super::sign_on::{Prover, Sought, Trust};
use crate::body::Whole;
use crate::config::{Consent, Registered};
use crate::error::{Lack, Unreachable};
use crate::gateway::Gateway;
use crate::oauth::client::{self, Demand, Grant, NoToken as Refused, Registration, Scopes, TokenRequest};
use crate::oauth::connect::{Client, Grantor};
use crate::oauth::connection::{Granted, Outcome, Token};
use crate::ports::{Host, NamedByStranger};
use crate::secrets::{Secret, header_value};
use crate::sorted::SortedMap;
use crate::upstream::{Server, ServerKey, Wanting, lock};

/// For how long is known who grants access to a server, in milliseconds.
const KNOWN: u64 = 10 * 60_000;
/// For how long a user is not asked again for scopes that were asked for in vain, in milliseconds.
const IN_VAIN: u64 = 10 * 60_000;

/// Where a server is, and how its users sign in there.
type At<'s> = (&'s Url, &'s Consent);
/// An answer of a server: its head, and its body.
type Answer = (http::response::Parts, AnswerBody);

/// Who grants access to servers, by what these are known by, and until when that is good.
#[derive(Debug, Default)]
pub(crate) struct Grantors(Mutex<SortedMap<Arc<str>, Good>>);

/// Who grants access, and until when that is good, in milliseconds since the Unix epoch.
type Good = (u64, Arc<Grantor>);

impl Grantors {
    fn known(&self, server: &Server, now: u64) -> Option<Arc<Grantor>> {
        let known = lock(&self.0);
        known.get(&server.known_as).filter(|(until, _)| now < *until).map(|(_, grantor)| grantor.clone())
    }

    fn found(&self, server: &Server, grantor: &Arc<Grantor>, now: u64) {
        let mut known = lock(&self.0);
        known.retain(|_, (until, _)| now < *until);
        known.insert(server.known_as.clone(), (now + KNOWN, grantor.clone()));
    }
}

impl<H: Host> Gateway<H> {
    /// Fetches what `request` makes with the token of a connection.
    pub(super) async fn fetch_connected(
        &self,
        server: &Server,
        at: At<'_>,
        request: &MakeRequest<'_>,
    ) -> Result<Answer, Unreachable> {
        let token = match self.grantor_known(server, at).await? {
            Some(grantor) => Some(self.token_at(server, &grantor, None).await?),
            None => None,
        };
        let answer = self.fetch_as(server, token.as_ref(), request).await?;
        let Some(demand) = Demand::read(answer.0.status, &answer.0.headers) else { return Ok(answer) };
        drop(answer);
        if let Some(token) = token.as_ref().filter(|_| demand.is_about_scopes) {
            return Err(lacking(server, token, &demand, self.host().now()));
        }
        let grantor = self.find_grantor(server, at, Some(&demand)).await?;
        self.0.grantors.found(server, &grantor, self.host().now());
        let anew = self.token_at(server, &grantor, token.as_ref()).await?;
        let answer = self.fetch_as(server, Some(&anew), request).await?;
        match Demand::read(answer.0.status, &answer.0.headers) {
            None => Ok(answer),
            Some(still) => Err(lacking(server, &anew, &still, self.host().now())),
        }
    }

    async fn fetch_as(
        &self,
        server: &Server,
        token: Option<&Token>,
        request: &MakeRequest<'_>,
    ) -> Result<Answer, Unreachable> {
        if let Some(token) = token {
            *lock(&server.presented) = Some(token.clone());
        }
        let value = token.map(|token| {
            let text = zeroize::Zeroizing::new(format!("Bearer {}", token.reveal()));
            header_value(&text)
                .ok_or_else(|| server.error("was given a token that no header can carry").refused())
        });
        let value = value.transpose()?;
        let with = || {
            let mut request = request();
            if let Some(value) = &value {
                request.headers_mut().insert(header::AUTHORIZATION, value.clone());
            }
            request
        };
        self.fetch_unsigned(server, &with).await
    }

    /// Returns who grants access to a server, where that is known without asking the server.
    async fn grantor_known(&self, server: &Server, at: At<'_>) -> Result<Option<Arc<Grantor>>, Unreachable> {
        if let Some(known) = self.0.grantors.known(server, self.host().now()) {
            return Ok(Some(known));
        }
        match at.1.issuer {
            Some(_) => self.grantor_of(server, at).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns who grants access to a server.
    pub(super) async fn grantor_of(&self, server: &Server, at: At<'_>) -> Result<Arc<Grantor>, Unreachable> {
        if let Some(known) = self.0.grantors.known(server, self.host().now()) {
            return Ok(known);
        }
        let grantor = self.find_grantor(server, at, None).await?;
        self.0.grantors.found(server, &grantor, self.host().now());
        Ok(grantor)
    }

    /// Finds who grants access to a server, by what it demands where it has refused something.
    async fn find_grantor(
        &self,
        server: &Server,
        (url, consent): At<'_>,
        demand: Option<&Demand>,
    ) -> Result<Arc<Grantor>, Unreachable> {
        // A secret is shown to whom the configuration says, or to whoever is where the server is.
        let has_secret = consent.client.as_ref().is_some_and(|client| client.credential.is_some());
        let sought = Sought {
            url,
            issuer: consent.issuer.as_deref(),
            resource: consent.resource.as_ref(),
            trust: if has_secret { Trust::Near } else { Trust::Public },
        };
        let found = self.find_issuer(server, &sought, demand).await?;
        let scopes = demand.and_then(|demand| demand.scopes.clone()).or(found.scopes);
        Ok(Arc::new(Grantor { scopes, ..found }))
    }

    /// Returns who grants access to a server, which is asked where it says so, should it say so nowhere else.
    pub(super) async fn grantor_asked(
        &self,
        server: &Server,
        at: At<'_>,
    ) -> Result<Arc<Grantor>, Unreachable> {
        let error = match self.grantor_of(server, at).await {
            Err(error) if at.1.issuer.is_none() => error,
            known => return known,
        };
        let request = || {
            let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
            let mut request =
                http::Request::post(at.0.as_str()).body(Whole::from(ping.to_owned())).unwrap_or_default();
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
            request
                .headers_mut()
                .insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
            request
        };
        let (head, _) = self.fetch_unsigned(server, &request).await?;
        let Some(demand) = Demand::read(head.status, &head.headers) else { return Err(error) };
        let grantor = self.find_grantor(server, at, Some(&demand)).await?;
        self.0.grantors.found(server, &grantor, self.host().now());
        Ok(grantor)
    }

    /// Returns what there is to present at a server, for whom it acts; `refused` is what it has just refused.
    async fn token_at(
        &self,
        server: &Server,
        grantor: &Arc<Grantor>,
        refused: Option<&Token>,
    ) -> Result<Token, Unreachable> {
        let principal = server.acts_for.as_ref().ok_or_else(|| nobody(server))?;
        let key = grantor.key(principal, &server.known_as);
        let found = if let Some(token) = self.known_token(&key, refused) {
            Ok(token)
        } else {
            let renewing = (self.clone(), server.key(), grantor.clone());
            let renew = move |token: Token| {
                let (gateway, server, grantor) = renewing.clone();
                async move { gateway.renew(&server, &grantor, &token).await }
            };
            Box::pin(self.access_token(&key, refused, renew)).await
        };
        let token = found.map_err(|why| no_token(server, &why))?;
        match &*lock(&server.wanting) {
            // It is of no use. One that only lacks scopes is, for calls that do not need them.
            Some(wanting) if wanting.token == token && wanting.lack.scopes.is_none() => {
                Err(in_need(server, wanting.lack.clone()))
            }
            _ => Ok(token),
        }
    }

    /// Returns what a server's user has to do before a call can go on; nothing where it can, or where only the server
    /// itself can tell. For a call that `comes_back` since its token lacked scopes, the same token is not enough.
    pub(super) async fn lacks(&self, server: &Server, comes_back: bool) -> Option<Lack> {
        let at = server.consent()?;
        let grantor = self.grantor_known(server, at).await.ok()??;
        match self.token_at(server, &grantor, None).await {
            Ok(token) if comes_back => {
                let wanting = lock(&server.wanting);
                wanting.as_ref().filter(|wanting| wanting.token == token).map(|wanting| wanting.lack.clone())
            }
            Ok(_) => None,
            Err(error) => error.lack.map(|lack| *lack),
        }
    }

    /// Asks a provider for the next token of a connection.
    async fn renew(&self, server: &ServerKey, grantor: &Arc<Grantor>, token: &Token) -> Outcome {
        let Some(server) = self.server(server) else { return Outcome::Failed("the server is gone".into()) };
        let Some((_, consent)) = server.consent() else {
            return Outcome::Failed("the server is used otherwise by now".into());
        };
        let base = self.base(&self.snapshot());
        let client = match self.client_known(grantor, consent, base.as_deref()).await {
            Ok(Some(client)) => client,
            // It was given to a client that the gateway is no longer.
            Ok(None) => return Outcome::Revoked,
            Err(why) => return Outcome::Failed(why),
        };
        let request =
            TokenRequest::new(Grant::Refresh(token.reveal()), &Scopes::default(), grantor.named_resource());
        match self.granted(&server, (grantor, &client), request).await {
            Ok(granted) => Outcome::Granted(granted),
            Err(Refused::Client(_)) if matches!(client, Client::Registered(_)) => {
                // Providers forget clients that have registered themselves.
                self.forget_client(grantor, base.as_deref()).await;
                Outcome::Revoked
            }
            Err(why) if why.is_revoked() => Outcome::Revoked,
            Err(why) => Outcome::Failed(said(&why)),
        }
    }

    /// Sends a request for tokens as a client, and reads what is granted.
    pub(super) async fn granted(
        &self,
        server: &Server,
        (grantor, client): (&Grantor, &Client<'_>),
        request: TokenRequest,
    ) -> Result<Granted, Refused> {
        let endpoint = &grantor.authorization.token_endpoint;
        let (head, text) = self.posted_as(server, (grantor, client), request, endpoint).await?;
        let given = client::Token::read(head.status, &text)?;
        Granted::of(&given).ok_or_else(|| Refused::Failed("answers with a token that is too long".into()))
    }

    /// Sends a request to an authorization server as a client.
    pub(super) async fn posted_as(
        &self,
        server: &Server,
        (grantor, client): (&Grantor, &Client<'_>),
        request: TokenRequest,
        endpoint: &Url,
    ) -> Result<(http::response::Parts, bytes::Bytes), Refused> {
        let authorization = &grantor.authorization;
        let request = match client {
            Client::Configured(Registered { client_id, credential: Some(credential), token_auth }) => {
                let proof = Prover { client: client_id, credential, token_auth: *token_auth };
                let proved = self.proved(server, &proof, (authorization, request)).await;
                proved.map_err(|error| Refused::Failed(error.message))?
            }
            Client::Registered(Registration {
                client_id, secret: Some(secret), auth: Some(auth), ..
            }) => request.with_secret(*auth, client_id, secret.reveal()),
            _ => request.of_public_client(client.id()),
        };
        let mut request = request.to(endpoint.as_str()).map_err(Refused::Failed)?;
        if grantor.is_strange {
            request.extensions_mut().insert(NamedByStranger);
        }
        self.exchange(request).await.map_err(Refused::Failed)
    }
}

impl Granted {
    /// Takes what an authorization server gave; nothing where it cannot be kept.
    fn of(given: &client::Token) -> Option<Self> {
        let token = |secret: &Secret| Token::new(secret.reveal().to_owned()).ok();
        let refresh = given.refresh.as_ref().map(token);
        Some(Self {
            access: token(&given.value)?,
            refresh: match refresh {
                Some(refresh) => Some(refresh?),
                None => None,
            },
            lifetime: given.good_for.map(|millis| millis / 1000),
            scopes: given.scopes.as_ref().map(Scopes::to_vec),
        })
    }
}

/// Says why an authorization server gives no token.
pub(super) fn said(why: &Refused) -> String {
    match why {
        Refused::Client(code) | Refused::Refused(code) => format!("the authorization server says {code:?}"),
        Refused::Failed(why) => format!("the authorization server {why}"),
    }
}

/// The error about a server that wants its user's consent.
fn in_need(server: &Server, lack: Lack) -> Unreachable {
    let message = match &lack.scopes {
        Some(scopes) => format!("wants its user's consent to more ({scopes})"),
        None => format!("is not connected: {}", lack.why),
    };
    server.error(message).refused().lacking(lack)
}

/// The error about a server that has found a token wanting. Its user is asked, but not again for scopes that the next
/// token does not bring.
fn lacking(server: &Server, token: &Token, demand: &Demand, now: u64) -> Unreachable {
    let scopes = demand.scopes.as_ref().filter(|_| demand.is_about_scopes).map(Scopes::to_string);
    let mut wanting = lock(&server.wanting);
    if let Some(before) = &*wanting
        && before.token != *token
        && scopes.is_some()
        && before.lack.scopes == scopes
        && now.saturating_sub(before.since) < IN_VAIN
    {
        let scopes = scopes.unwrap_or_default();
        return server
            .error(format!("wants more ({scopes}), which its user's consent does not bring"))
            .refused();
    }
    let lack = Lack { why: "the server refuses what it was connected with".into(), scopes };
    *wanting = Some(Wanting { token: token.clone(), lack: lack.clone(), since: now });
    in_need(server, lack)
}

fn no_token(server: &Server, why: &NoToken) -> Unreachable {
    match why {
        NoToken::Ask(reason) => in_need(server, Lack { why: reason.to_string(), scopes: None }),
        NoToken::Later(_) => server.error(
            "cannot be used for a moment: its authorization server does not renew the connection; try again soon",
        ),
        NoToken::Store(error) => server.error(format!("cannot be used: the store of connections {}", error.0)),
    }
}

/// The error about a server that acts for its user where nobody knows who that is.
pub(super) fn nobody(server: &Server) -> Unreachable {
    if server.settings.is_on_behalf() {
        return no_subject(server);
    }
    let why = "acts for its user, and nobody knows who calls: give the agent an API key (`portcullis keys create`), or let \
               it sign in (`auth.issuers`)";
    server.error(why).refused()
}
