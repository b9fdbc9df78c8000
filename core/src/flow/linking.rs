//! Connecting, step by step in a browser: the page, the proof, the way to a server's authorization server and back.
//!
//! What is decided stands in `oauth::connect`. **What a step needs is known again from what the browser brings, sealed**, so
//! any instance goes on where another began.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode, header};

use super::connected::said;
use super::sign_in::posted;
use crate::body::{Body, Reply, json};
use crate::config::{Consent, ConsentBy, Whose};
use crate::control::StoreError;
use crate::endpoint;
use crate::error::{Refusal, code};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{Evidence, Shown, authenticate};
use crate::names::ServerName;
use crate::oauth::client::{
    Asking, CameBack, Grant, NoToken, Registration, Scopes, TokenRequest, callback_url, came_back,
    client_document, device_endpoint, document_url, interval_after, registration, state_of, with_offline,
};
use crate::oauth::connect::{
    Asked, Client, Desk, EVERYONE, Grantor, Intent, LOCAL, Leg, Pages, connected, disconnected, enter,
    failed, refused, unknown,
};
use crate::oauth::connection::{ConnectionKey, ConnectionRecord, Standing, Stored, Swapped, Token, Version};
use crate::oauth::server::answer::{onward, redirect};
use crate::oauth::server::{Form, browser_cookie};
use crate::ports::{Host, NamedByStranger};
use crate::session::{ConnectPart, Purpose};
use crate::upstream::Server;

/// A step of connecting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Linking {
    /// `/connect/{server}`: the page, and its form.
    Page(ServerName),
    /// `/oauth/callback`: a browser comes back from a server's authorization server, or waits whose user is there.
    Back,
    /// `/oauth/client-metadata.json`: what the gateway is as a client.
    Client,
}

/// A page that ends a step.
pub(super) type Ended = Box<Reply>;

/// What a step is about.
pub(super) struct At<'s> {
    pub(super) server: &'s Arc<Server>,
    url: &'s url::Url,
    pub(super) consent: &'s Consent,
    pub(super) base: &'s str,
}

impl<H: Host> Gateway<H> {
    /// Answers a step of connecting.
    pub(super) async fn link(&self, head: &Parts, body: Body, step: Linking) -> Reply {
        let snapshot = self.snapshot();
        let Some(base) = endpoint::base(head, &snapshot) else {
            return refused(
                StatusCode::NOT_FOUND,
                "Nobody can come back to this gateway: an admin sets `gateway.public_url` to the URL that browsers know it by.",
            );
        };
        let _place = match self.take_place() {
            Ok(place) => place,
            Err(refusal) => return refused(StatusCode::SERVICE_UNAVAILABLE, &refusal.message),
        };
        if let Err(refusal) = self.is_recordable() {
            return refused(StatusCode::SERVICE_UNAVAILABLE, &refusal.message);
        }
        match (step, &head.method) {
            (Linking::Client, &Method::GET) => {
                let mut reply = json(StatusCode::OK, client_document(&base));
                let headers = reply.headers_mut();
                headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("public, max-age=3600"));
                reply
            }
            (Linking::Back, &Method::GET) => {
                self.back_from_grantor(head, &snapshot, &base).await.unwrap_or_else(|ended| *ended)
            }
            (Linking::Page(name), &Method::GET | &Method::POST) => {
                let found = snapshot.servers.get(&name);
                let Some((server, (url, consent))) =
                    found.and_then(|server| Some((server, server.consent()?)))
                else {
                    return refused(
                        StatusCode::NOT_FOUND,
                        "There is no server of this name that users connect to.",
                    );
                };
                let at = At { server, url, consent, base: &base };
                let step = match head.method {
                    Method::GET => self.ask_to_connect(&at, head, &snapshot),
                    _ => self.agreed_to_connect(&at, head, body, &snapshot).await,
                };
                step.unwrap_or_else(|ended| *ended)
            }
            (Linking::Page(_), _) => endpoint::only("GET, POST"),
            _ => endpoint::only("GET"),
        }
    }

    /// Shows what is about to happen, and asks.
    fn ask_to_connect(&self, at: &At<'_>, head: &Parts, snapshot: &Snapshot) -> Result<Reply, Ended> {
        if let Some(base) = self.base(snapshot).filter(|base| base != at.base) {
            // A browser is sent back to this name, and brings cookies of this name alone.
            let place = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            return Ok(redirect(&format!("{base}{place}")));
        }
        let form = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
        let desk = self.desk();
        let ticket = match form.one("ticket") {
            Ok(None) => None,
            Ok(Some(text)) => {
                Some(desk.open_ticket(text, &at.server.known_as).ok_or_else(|| Box::new(unknown()))?)
            }
            Err(_) => return Err(Box::new(unknown())),
        };
        let expected = ticket.as_ref().map(|ticket| ticket.principal.clone());
        let asked = self.asked(at, expected.as_deref(), snapshot)?;
        let (intent, cookie) = desk.begin(&head.headers, &at.server.known_as, ticket);
        Ok(Self::page(at, (asked, false), &desk.seal_intent(&intent), cookie))
    }

    fn page(at: &At<'_>, asked: (Asked, bool), form: &str, cookie: http::HeaderValue) -> Reply {
        let action = endpoint::connect_path(&at.server.name);
        let pages = Pages { server: at.server.name.as_str(), url: at.url, action: &action };
        pages.ask(asked, form, at.consent.whose == Whose::Everyone, cookie)
    }

    fn asked(&self, at: &At<'_>, expected: Option<&str>, snapshot: &Snapshot) -> Result<Asked, Ended> {
        let means = snapshot.means(self.0.admin_key.load().is_some());
        means.asked(at.consent, expected).map_err(|why| Box::new(refused(StatusCode::FORBIDDEN, why)))
    }

    /// Takes the form of the page: who sends it proves to be who called, or signs in for that.
    async fn agreed_to_connect(
        &self,
        at: &At<'_>,
        head: &Parts,
        body: Body,
        snapshot: &Snapshot,
    ) -> Result<Reply, Ended> {
        let origin = at.base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        if head.headers.get_all(header::ORIGIN).iter().any(|sent| *sent != *origin) {
            return Err(Box::new(refused(StatusCode::FORBIDDEN, "The form was sent by another site.")));
        }
        let form = posted(head, body).await;
        let form = form.map_err(|failure| Box::new(refused(StatusCode::BAD_REQUEST, &failure.why)))?;
        let intent = form.one("form").ok().flatten();
        let intent = intent.and_then(|text| self.desk().open_intent(text, &head.headers));
        let intent = intent.filter(|intent| intent.server == *at.server.known_as);
        let Some(mut intent) = intent else { return Err(Box::new(unknown())) };
        intent.ends = form.one("decision") == Ok(Some("disconnect"));
        let asked = self.asked(at, intent.principal.as_deref(), snapshot)?;
        let key = form.one("key").ok().flatten().unwrap_or_default();
        let proved: Option<Arc<str>> = match asked {
            Asked::SignIn => return self.sign_in_to_connect(intent, snapshot).await,
            Asked::Presence if at.consent.whose == Whose::User => Some(LOCAL.into()),
            Asked::Presence => Some(EVERYONE.into()),
            Asked::AdminKey => {
                let admin = self.0.admin_key.load_full();
                admin.is_some_and(|admin| admin.is(key)).then(|| EVERYONE.into())
            }
            Asked::ApiKey => self.principal_of(key, snapshot).await,
        };
        let expected = intent.principal.as_ref().filter(|_| at.consent.whose == Whose::User);
        if let Some(principal) = proved.filter(|proved| expected.is_none_or(|expected| expected == proved)) {
            return self.go_on(at, head, principal, intent).await;
        }
        self.record_step(head, None, Err("the credential is not the one that the call was made with"));
        let cookie = browser_cookie(&intent.browser);
        Ok(Self::page(at, (asked, true), &self.desk().seal_intent(&intent), cookie))
    }

    /// Returns who somebody is by a credential of theirs.
    #[cfg_attr(
        not(feature = "control"),
        expect(clippy::unused_async, reason = "who has left may have to be read from a store")
    )]
    pub(super) async fn principal_of(&self, key: &str, snapshot: &Snapshot) -> Option<Arc<str>> {
        let evidence = Evidence::of_text(key);
        let shown = authenticate(&snapshot.config.auth, &self.0.keys.load(), &evidence, self.host().now());
        let Ok(Shown::Proved(proof)) = shown else { return None };
        #[cfg(feature = "control")]
        if self.may_have_left(snapshot, &proof) {
            let owner = proof.stands_with()?;
            Box::pin(self.still_there(snapshot, owner)).await.ok()?;
        }
        proof.principal
    }

    /// Goes on for somebody who has signed in at the identity provider.
    pub(super) async fn proved_for(
        &self,
        head: &Parts,
        snapshot: &Snapshot,
        intent: Intent,
        principal: &str,
    ) -> Reply {
        let server = snapshot.servers.values().find(|server| *server.known_as == *intent.server);
        let (Some((server, (url, consent))), Some(base)) =
            (server.and_then(|server| Some((server, server.consent()?))), endpoint::base(head, snapshot))
        else {
            return unknown();
        };
        let at = At { server, url, consent, base: &base };
        if intent.principal.as_ref().is_some_and(|expected| **expected != *principal) {
            self.record_step(head, Some(principal), Err("somebody else has signed in than who called"));
            let why = "You are signed in as somebody else than the one whose agent called. Sign out at the identity provider, \
                       and open the link again.";
            return refused(StatusCode::FORBIDDEN, why);
        }
        self.go_on(&at, head, principal.into(), intent).await.unwrap_or_else(|ended| *ended)
    }

    /// Does what somebody wants who has proved who they are.
    async fn go_on(
        &self,
        at: &At<'_>,
        head: &Parts,
        principal: Arc<str>,
        intent: Intent,
    ) -> Result<Reply, Ended> {
        if !intent.ends {
            return self.go_to_grantor(at, principal, intent).await;
        }
        match self.cut(at, &principal).await {
            Ok(count) => {
                self.record_step(head, Some(&principal), Ok(()));
                Ok(disconnected(at.server.name.as_str(), count))
            }
            Err(error) => {
                self.record_step(head, Some(&principal), Err("the store of connections cannot be written"));
                Err(Box::new(failed(&format!("The store of connections {}.", error.0))))
            }
        }
    }

    /// Ends the connections that somebody has at a server, and tells who gave the tokens; returns how many there were.
    async fn cut(&self, at: &At<'_>, principal: &Arc<str>) -> Result<usize, StoreError> {
        let records = self.connections(Some(principal)).await?;
        let mut count = 0;
        for record in records.into_iter().filter(|record| record.key.server == at.server.known_as) {
            let Some(tokens) = self.disconnect(&record.key).await? else { continue };
            count += 1;
            self.tell_grantor(at, &record.key, tokens).await;
        }
        if count > 0 {
            self.read_for_user(at.server, principal);
        }
        Ok(count)
    }

    /// Tells an authorization server that tokens are no longer used, where it wants to know (RFC 7009).
    async fn tell_grantor(&self, at: &At<'_>, key: &ConnectionKey, tokens: Vec<Token>) {
        let Ok(grantor) = self.grantor_asked(at.server, (at.url, at.consent)).await else { return };
        let Some(endpoint) = grantor.authorization.revocation_endpoint.as_ref() else { return };
        if grantor.issuer != key.issuer {
            return;
        }
        let Ok(Some(client)) = self.client_known(&grantor, at.consent, Some(at.base)).await else { return };
        for token in tokens {
            let request = TokenRequest::revoking(token.reveal());
            let told = self.posted_as(at.server, (&grantor, &client), request, endpoint).await;
            if let Err(why) = told {
                tracing::info!(server = %at.server.name, why = %said(&why), "an authorization server was not told that a token is no longer used");
            }
        }
    }

    /// Sends a browser to a server's authorization server.
    async fn go_to_grantor(&self, at: &At<'_>, principal: Arc<str>, intent: Intent) -> Result<Reply, Ended> {
        let odd = |why: String| {
            tracing::warn!(server = %at.server.name, reason = %why, "a server cannot be connected");
            Box::new(failed(&why))
        };
        let grantor = self.grantor_asked(at.server, (at.url, at.consent)).await;
        let grantor = grantor.map_err(|error| odd(format!("The server {}.", error.message)))?;
        let authorization = &grantor.authorization;
        let endpoint = match &at.consent.by {
            ConsentBy::Code(pkce) => {
                authorization
                    .check_challenges(*pkce)
                    .map_err(|why| odd(format!("Its authorization server is not safe to use: {why}.")))?;
                let endpoint = authorization.authorization_endpoint.clone();
                endpoint.ok_or_else(|| odd("Its authorization server signs nobody in.".into()))?
            }
            ConsentBy::Device(configured) => device_endpoint(authorization, configured.as_deref())
                .map_err(|why| odd(format!("Its authorization server cannot be used so: {why}.")))?,
        };
        let scopes = self.scopes_for(at, (&grantor, &principal), intent.scopes.as_deref()).await;
        let client = self.client_of(&grantor, at.consent, at.base, &scopes).await.map_err(odd)?;
        let redirect = callback_url(at.base);
        let desk = self.desk();
        let leg = desk.leg(principal, intent, (&grantor.issuer, &grantor.resource, &scopes), redirect);
        if let ConsentBy::Device(_) = at.consent.by {
            return self.wait_for_code(at, (&grantor, &client, leg), &endpoint).await.map_err(odd);
        }
        let asking = Asking {
            client_id: client.id(),
            redirect: &leg.redirect,
            scopes: &scopes,
            resource: grantor.named_resource(),
            state: &desk.seal_leg(&leg),
            verifier: &leg.verifier,
            parameters: &at.consent.parameters,
        };
        Ok(onward(asking.url(&endpoint).as_str()))
    }

    /// Returns what is asked for: what the configuration says, else what the call needs besides what was granted before,
    /// else what the server knows.
    async fn scopes_for(
        &self,
        at: &At<'_>,
        (grantor, principal): (&Grantor, &Arc<str>),
        needed: Option<&str>,
    ) -> Scopes {
        if let Some(scopes) = &at.consent.scopes {
            return Scopes::new(scopes.iter().map(String::as_str));
        }
        let key = grantor.key(principal, &at.server.known_as);
        let before = match self.connections(Some(principal)).await {
            Ok(records) => records.into_iter().find(|record| record.key == key),
            Err(_) => None,
        };
        let before =
            before.map(|record| Scopes::new(record.scopes.iter().map(String::as_str))).unwrap_or_default();
        let wanted = match needed {
            Some(needed) => before.with(&Scopes::parse(needed)),
            None => grantor.scopes.clone().unwrap_or_default(),
        };
        with_offline(wanted, &grantor.authorization)
    }

    /// Takes a browser that comes back from a server's authorization server, or waits whose user is there.
    async fn back_from_grantor(&self, head: &Parts, snapshot: &Snapshot, base: &str) -> Result<Reply, Ended> {
        let query = head.uri.query().unwrap_or_default();
        let leg = state_of(query).and_then(|state| self.desk().open_leg(&state, &head.headers));
        let Some(leg) = leg else { return Err(Box::new(unknown())) };
        let (at, grantor) = self.under_way(head, snapshot, base, &leg).await?;
        let end = |why: &str| self.ended(head, &leg, why);
        let (name, now) = (at.server.name.as_str(), self.host().now());
        let brought;
        let grant = match &leg.waits {
            Some(waits) if now < waits.next => {
                let rest = (waits.next - now).div_ceil(1000);
                return Ok(enter(name, (&waits.user_code, &leg.redirect), rest));
            }
            Some(_) => Grant::Device(&leg.verifier),
            None => match came_back(query, &leg.issuer, grantor.authorization.says_issuer) {
                Ok(CameBack::Code(code)) => {
                    brought = code;
                    Grant::Code { code: &brought, verifier: &leg.verifier, redirect: &leg.redirect }
                }
                Ok(CameBack::Refused(code)) => {
                    return Err(end(&format!("The authorization server has not granted it ({code})")));
                }
                Err(why) => return Err(end(&why)),
            },
        };
        let given = self.redeem_for(&at, (&grantor, &leg), grant).await.map_err(|why| end(&why))?;
        let Err(why) = given else {
            self.record_step(head, Some(&leg.principal), Ok(()));
            return Ok(connected(name));
        };
        let waits = leg.waits.as_ref();
        let again = waits.and_then(|waits| Some((&*waits.user_code, interval_after(waits.interval, &why)?)));
        again
            .map(|waits| self.wait(base, &leg, waits))
            .ok_or_else(|| end(&format!("No token was given: {}", said(&why))))
    }

    /// Returns what somebody's way is about, and who is asked on it, where both are still as it began.
    async fn under_way<'s>(
        &self,
        head: &Parts,
        snapshot: &'s Snapshot,
        base: &'s str,
        leg: &Leg,
    ) -> Result<(At<'s>, Arc<Grantor>), Ended> {
        let server = snapshot.servers.values().find(|server| *server.known_as == *leg.server);
        let Some((server, (url, consent))) = server.and_then(|server| Some((server, server.consent()?)))
        else {
            return Err(Box::new(unknown()));
        };
        let grantor = self.grantor_asked(server, (url, consent)).await;
        let grantor = grantor.map_err(|error| self.ended(head, leg, &error.message))?;
        if *grantor.issuer != *leg.issuer || *grantor.resource != *leg.resource {
            let why = "The server has changed its authorization server meanwhile";
            return Err(self.ended(head, leg, why));
        }
        Ok((At { server, url, consent, base }, grantor))
    }

    /// Records that somebody's way ends without a connection; returns the page that says why.
    fn ended(&self, head: &Parts, leg: &Leg, why: &str) -> Ended {
        self.record_step(head, Some(&leg.principal), Err(why));
        Box::new(failed(&format!("{why}.")))
    }

    /// Redeems what a user has consented by, and keeps what is given for it; or returns why no tokens are given.
    async fn redeem_for(
        &self,
        at: &At<'_>,
        (grantor, leg): (&Arc<Grantor>, &Leg),
        grant: Grant<'_>,
    ) -> Result<Result<(), NoToken>, String> {
        let client = self.client_known(grantor, at.consent, Some(at.base)).await?;
        let client = client.ok_or("The authorization server does not know this gateway any more")?;
        let request = TokenRequest::new(grant, &Scopes::default(), grantor.named_resource());
        let mut granted = match self.granted(at.server, (grantor, &client), request).await {
            Ok(granted) => granted,
            Err(why) => return Ok(Err(why)),
        };
        // Where it does not say, it is what was asked for (RFC 6749 §5.1).
        granted.scopes.get_or_insert_with(|| Scopes::parse(&leg.scopes).to_vec());
        let key = grantor.key(&leg.principal, &at.server.known_as);
        let kept = self.connect(&key, &granted).await;
        kept.map_err(|error| {
            format!("What was granted cannot be kept: the store of connections {}", error.0)
        })?;
        tracing::info!(server = %at.server.name, principal = %leg.principal, issuer = %leg.issuer, "a server is connected");
        self.read_for_user(at.server, &leg.principal);
        Ok(Ok(()))
    }

    /// Has the server read that acts for somebody who has just connected, or disconnected.
    pub(super) fn read_for_user(&self, server: &Server, principal: &Arc<str>) {
        let snapshot = self.snapshot_for(Some(principal).filter(|principal| ***principal != *EVERYONE));
        let Some(own) = snapshot.servers.get(&server.name).cloned() else { return };
        let gateway = self.clone();
        self.host().spawn(async move {
            if let Err(error) = gateway.refresh(&own).await {
                gateway.down(&own, error, 2);
            }
        });
    }

    /// Returns what the gateway is at an authorization server; it registers itself where it can and has to.
    async fn client_of<'c>(
        &self,
        grantor: &Arc<Grantor>,
        consent: &'c Consent,
        base: &str,
        scopes: &Scopes,
    ) -> Result<Client<'c>, String> {
        if let Some(client) = self.client_known(grantor, consent, Some(base)).await? {
            return Ok(client);
        }
        let Some(endpoint) = &grantor.authorization.registration_endpoint else {
            return Err(format!(
                "The authorization server {} registers nobody by itself: register this gateway there, with the redirect URI \
                 {}, and set `auth.oauth.client_id`",
                grantor.issuer,
                callback_url(base)
            ));
        };
        let mut request = http::Request::post(endpoint.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(crate::body::Whole::from(registration(base, scopes)))
            .map_err(|error| error.to_string())?;
        if grantor.is_strange {
            request.extensions_mut().insert(NamedByStranger);
        }
        let (head, text) = self.exchange(request).await?;
        let made = Registration::read(head.status, &text)
            .map_err(|why| format!("The authorization server does not register this gateway: {why}"))?;
        self.keep_client(grantor, base, &made).await?;
        Ok(Client::Registered(made))
    }

    /// Returns what the gateway is at an authorization server by now.
    pub(super) async fn client_known<'c>(
        &self,
        grantor: &Grantor,
        consent: &'c Consent,
        base: Option<&str>,
    ) -> Result<Option<Client<'c>>, String> {
        if let Some(registered) = &consent.client {
            return Ok(Some(Client::Configured(registered)));
        }
        let Some(base) = base else { return Ok(None) };
        if grantor.authorization.takes_client_documents && base.starts_with("https://") {
            return Ok(Some(Client::Described(document_url(base))));
        }
        let store = self.host().connections().ok_or("this gateway's host keeps no connections")?;
        let stored = store.get(registration_key(grantor, base)).await.map_err(|error| error.to_string())?;
        let text = stored.and_then(|stored| {
            self.0.sealer.open(Purpose::Connect(ConnectPart::Registration), &stored.sealed)
        });
        let made = text.and_then(|text| Registration::from_sealed_json(std::str::from_utf8(&text).ok()?));
        let now = self.host().now();
        Ok(made.filter(|made| made.expires.is_none_or(|expires| now < expires)).map(Client::Registered))
    }

    /// Keeps what the gateway has registered itself as, in place of what was kept before.
    async fn keep_client(&self, grantor: &Grantor, base: &str, made: &Registration) -> Result<(), String> {
        let store = self.host().connections().ok_or("this gateway's host keeps no connections")?;
        let key = registration_key(grantor, base);
        let purpose = Purpose::Connect(ConnectPart::Registration);
        let record = ConnectionRecord {
            key: key.clone(),
            scopes: Vec::new(),
            connected: self.host().now(),
            expires: made.expires,
            standing: Standing::Connected,
        };
        let sealed = self.0.sealer.seal(self.host(), purpose, made.to_sealed_json().as_bytes());
        let next = Stored { version: Version(self.random()), record, sealed };
        let before = store.get(key.clone()).await.map_err(|error| error.to_string())?;
        let expected = before.map(|stored| stored.version);
        match store.swap(key, expected, Some(next)).await.map_err(|error| error.to_string())? {
            Swapped::Done => Ok(()),
            Swapped::Changed(_) => {
                Err("The gateway is being registered elsewhere at the same time: try again".into())
            }
        }
    }

    /// Forgets what the gateway has registered itself as.
    pub(super) async fn forget_client(&self, grantor: &Grantor, base: Option<&str>) {
        let (Some(store), Some(base)) = (self.host().connections(), base) else { return };
        let key = registration_key(grantor, base);
        if let Ok(Some(stored)) = store.get(key.clone()).await {
            // Where somebody has written another meanwhile, that one counts.
            let _ = store.swap(key, Some(stored.version), None).await;
        }
    }

    /// Returns what the URLs of this gateway begin with, as browsers know it, where that is known without a request.
    pub(crate) fn base(&self, snapshot: &Snapshot) -> Option<String> {
        let public = snapshot.config.gateway.public_url.as_ref();
        let address = || self.0.address.get().filter(|_| snapshot.gate.is_loopback_only()).cloned();
        public.map(crate::oauth::resource::base).or_else(address)
    }

    pub(super) fn desk(&self) -> Desk<'_, H> {
        Desk { sealer: &self.0.sealer, entropy: self.host(), now: self.host().now() }
    }

    /// Records a step of connecting.
    fn record_step(&self, head: &Parts, principal: Option<&str>, outcome: Result<(), &str>) {
        let refusal = outcome.err().map(|why| {
            Refusal::new(code::INVALID_REQUEST, why.to_owned()).with_status(StatusCode::FORBIDDEN)
        });
        self.record_connecting(head, principal, refusal.as_ref().map_or(Ok(()), Err));
    }
}

/// Where it is kept what the gateway has registered itself as: with nobody's connections.
fn registration_key(grantor: &Grantor, base: &str) -> ConnectionKey {
    ConnectionKey {
        principal: "".into(),
        server: "".into(),
        issuer: grantor.issuer.clone(),
        resource: base.into(),
    }
}
