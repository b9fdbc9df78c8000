//! Signing in at the console, and who that makes of a request: the way to the identity provider and back, the admin credential
//! for when that way is closed, and the sessions that come of either.
//!
//! What is decided stands in `control::session` and `control::cookie`. **The data path asks nothing of it**, and a session's id
//! stands in its cookie alone: in no URL, no record, no line of a log.

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use super::control::Asked;
use super::sign_in::{SignedIn, Standing};
use crate::body::{Body, Reply, empty};
use crate::config::{AgentLimits, ConsoleSignIn, Issuer, Rate};
use crate::control::answer::{Fault, answer, kept_from_caches};
use crate::control::cookie::{Reached, way_back};
use crate::control::session::{
    SESSIONS, Session, Standard, digest_of, judged_by, key_of, new_id, part_of_list,
};
use crate::control::who::{Operator, Role};
use crate::endpoint::{self, ConsoleStep};
use crate::front::gate::{is_here, own_origins};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::AuthKind;
use crate::oauth::server::answer::{onward, redirect};
use crate::oauth::server::{Errand, Form, SIGNED_IN, Visit, browser_cookie, page_error};
use crate::ports::{Host, RecordStore};
use crate::quota::Counted;

/// Where a browser comes back to that has signed in as a client of the console's own.
const CONSOLE_SIGNED_IN: &str = "/console/signed-in";
/// How often the admin credential may be tried at the console.
const TRIES: Rate = Rate { count: 10, period: Duration::from_mins(1) };
/// The largest body with which somebody signs in, in bytes.
const BODY: usize = 8 << 10;
/// How many sessions are read at a time.
const PAGE: usize = 200;

impl<H: Host> Gateway<H> {
    /// Answers a step of signing in at the console, or out.
    pub(super) async fn console(&self, head: &Parts, body: Body, step: ConsoleStep) -> Reply {
        let snapshot = self.snapshot();
        if !self.is_governed() {
            return endpoint::not_found();
        }
        let _place = match self.take_place() {
            Ok(place) => place,
            Err(refusal) => return page_error(StatusCode::SERVICE_UNAVAILABLE, &refusal.message),
        };
        if let Err(refusal) = self.is_recordable() {
            return page_error(StatusCode::SERVICE_UNAVAILABLE, &refusal.message);
        }
        match (step, &head.method) {
            (ConsoleStep::SignIn, &Method::GET) if wants_json(&head.headers) => self.ways_in(&snapshot),
            (ConsoleStep::SignIn, &Method::GET) => {
                self.begin_to_sign_in(head, &snapshot).await.unwrap_or_else(|page| *page)
            }
            (ConsoleStep::SignIn, &Method::POST) => {
                self.sign_in_by_key(head, body, &snapshot).await.unwrap_or_else(|fault| fault.reply())
            }
            (ConsoleStep::SignedIn, &Method::GET) => self.back_at_console(head, &snapshot).await,
            (ConsoleStep::SignOut, &Method::POST) => {
                self.sign_out(head, &snapshot).await.unwrap_or_else(|fault| fault.reply())
            }
            (ConsoleStep::SignIn, _) => endpoint::only("GET, POST"),
            (ConsoleStep::SignedIn, _) => endpoint::only("GET"),
            (ConsoleStep::SignOut, _) => endpoint::only("POST"),
        }
    }

    /// Says how somebody can sign in, to the page that offers it.
    fn ways_in(&self, snapshot: &Snapshot) -> Reply {
        let has_key = self.0.admin_key.load().is_some();
        answer(StatusCode::OK, &json!({ "provider": of_console(snapshot).is_some(), "admin_key": has_key }))
    }

    /// Sends a browser to the identity provider. Nothing is kept of that here.
    async fn begin_to_sign_in(&self, head: &Parts, snapshot: &Snapshot) -> Result<Reply, Box<Reply>> {
        let nobody = || {
            let why = "Nobody signs in here at an identity provider: an admin sets `console.sign_in`.";
            Box::new(page_error(StatusCode::NOT_FOUND, why))
        };
        let (sign_in, issuer, public) = of_console(snapshot).ok_or_else(nobody)?;
        let origin = public.origin().ascii_serialization();
        if !is_reached_at(head, public) {
            // A browser is sent back to this name, and brings cookies of this name alone.
            let place = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            return Ok(redirect(&format!("{origin}{place}")));
        }
        let form = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
        let to = way_back(form.one("to").ok().flatten());
        let provider = self.provider(issuer).await?;
        let authority = self.authority(&sign_in.client, issuer, &origin, back_of(sign_in));
        let browser = authority.browser(&head.headers);
        let cookie = browser_cookie(&browser);
        let mut reply = redirect(&authority.sign_in_at(&provider, Errand::Console(Visit::new(to, browser))));
        reply.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(reply)
    }

    /// Takes a browser that comes back from the provider as a client of the console's own.
    async fn back_at_console(&self, head: &Parts, snapshot: &Snapshot) -> Reply {
        let Some((sign_in, issuer, public)) = of_console(snapshot).filter(|(sign_in, ..)| !sign_in.is_shared)
        else {
            return endpoint::not_found();
        };
        let origin = public.origin().ascii_serialization();
        let authority = self.authority(&sign_in.client, issuer, &origin, CONSOLE_SIGNED_IN);
        let form = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
        self.come_back(&Standing { authority, issuer, snapshot }, head, &form).await
    }

    /// Begins the session of somebody whom the provider has named.
    pub(super) async fn welcome(
        &self,
        at: &Standing<'_, H>,
        head: &Parts,
        visit: Visit,
        SignedIn { principal, claims, .. }: SignedIn,
    ) -> Reply {
        let config = &at.snapshot.config;
        let said = of_console(at.snapshot).filter(|(sign_in, ..)| back_of(sign_in) == at.authority.back);
        let Some((sign_in, issuer, _)) = said else {
            return page_error(StatusCode::FORBIDDEN, "Nobody signs in at the console this way any more.");
        };
        let judged_by = judged_by(issuer, &sign_in.client);
        let now = self.host().now();
        let session =
            Session::of_claims((&principal, &claims), judged_by, (&config.console, &config.policy), now);
        let record = |outcome| self.record_governing(head, (&principal, AuthKind::Session), outcome);
        if let Err(denial) = self.is_welcome(at.snapshot, &principal).await {
            let refusal = denial.refusal();
            record(Err((refusal.status, &refusal.message)));
            return page_error(refusal.status, "You are let in no more. Ask whoever runs this gateway.");
        }
        if self.operator_by(&session, "", at.snapshot).is_none() {
            record(Err((StatusCode::FORBIDDEN, "has no role, and members are not let in")));
            let why = "You are signed in, and have no role here. Ask whoever runs this gateway for one.";
            return page_error(StatusCode::FORBIDDEN, why);
        }
        match self.begin_session(head, &session, at.snapshot).await {
            Ok(cookie) => {
                record(Ok(()));
                let mut reply = onward(&format!("{}{}", at.authority.origin, visit.to));
                reply.headers_mut().append(header::SET_COOKIE, cookie);
                reply
            }
            Err(fault) => {
                record(Err((fault.status, &fault.detail)));
                page_error(fault.status, &format!("You cannot be signed in: {}.", fault.detail))
            }
        }
    }

    /// Begins the session of who has the admin credential.
    async fn sign_in_by_key(&self, head: &Parts, body: Body, snapshot: &Snapshot) -> Result<Reply, Fault> {
        let reached = reached(head, snapshot);
        reached.check(head).map_err(Fault::forged)?;
        let admin = self.0.admin_key.load_full();
        let admin = admin.ok_or_else(|| {
            Fault::new(StatusCode::NOT_FOUND, "no-admin-key", "this gateway has no admin credential")
        })?;
        let admin_principal = Operator::admin().principal;
        let record = |outcome| self.record_governing(head, (&admin_principal, AuthKind::Admin), outcome);
        let limits = AgentLimits { rate: Some(TRIES), ..AgentLimits::default() };
        let count = [Counted { key: "console: the admin credential".into(), limits }];
        if let Err(exhausted) = self.host().take(&count, self.host().now()).await {
            record(Err((StatusCode::TOO_MANY_REQUESTS, "the admin credential is tried too often")));
            return Err(Fault::too_often(exhausted.retry_after));
        }
        let body = body.collect(BODY).await;
        let body = body.map_err(|error| Fault::new(StatusCode::BAD_REQUEST, "body", error.to_string()))?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let key = said["key"].as_str().ok_or_else(|| Fault::field("key", "expected the admin credential"))?;
        if !admin.is(key) {
            record(Err((StatusCode::UNAUTHORIZED, "the admin credential is wrong")));
            let detail = "this is not the admin credential";
            return Err(Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        }
        if let Some(before) = reached.id(&head.headers).and_then(digest_of) {
            self.end(&before).await?;
        }
        let judged_by = self.0.sealer.name(&admin.fingerprint());
        let session = Session::of_admin(judged_by, &snapshot.config.console, self.host().now());
        let cookie = self.begin_session(head, &session, snapshot).await?;
        record(Ok(()));
        let said = json!({ "principal": session.principal, "role": Role::Admin });
        let mut reply = answer(StatusCode::OK, &said);
        reply.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(reply)
    }

    /// Keeps a session under a new id, which no one has known before; returns the cookie that carries it.
    async fn begin_session(
        &self,
        head: &Parts,
        session: &Session,
        snapshot: &Snapshot,
    ) -> Result<http::HeaderValue, Fault> {
        let id = new_id(self.host());
        let digest = digest_of(&id).expect("it was made as one");
        let until = Some(session.until);
        let written =
            self.record_store()?.replace(key_of(&digest), None, Some(session.to_text()), until).await?;
        if !written {
            return Err(Fault::new(StatusCode::CONFLICT, "conflict", "there is a session of that id"));
        }
        let seconds = (session.until.saturating_sub(session.created)) / 1000;
        Ok(reached(head, snapshot).set(&id, seconds))
    }

    /// Ends the session of a browser.
    async fn sign_out(&self, head: &Parts, snapshot: &Snapshot) -> Result<Reply, Fault> {
        let reached = reached(head, snapshot);
        reached.check(head).map_err(Fault::forged)?;
        if let Some(digest) = reached.id(&head.headers).and_then(digest_of)
            && let Some(session) = self.end(&digest).await?
        {
            self.record_governing(head, (&session.principal, AuthKind::Session), Ok(()));
        }
        let mut reply = kept_from_caches(empty(StatusCode::NO_CONTENT));
        reply.headers_mut().insert(header::SET_COOKIE, reached.forget());
        Ok(reply)
    }

    /// Ends a session; returns what it was, nothing where there was none.
    pub(super) async fn end(&self, digest: &str) -> Result<Option<Session>, Fault> {
        let store = self.record_store()?;
        loop {
            let Some(text) = store.get(key_of(digest)).await? else { return Ok(None) };
            if store.replace(key_of(digest), Some(text.clone()), None, None).await? {
                return Ok(Session::parse(&text));
            }
        }
    }

    /// Returns who has the session whose cookie a request brings; nothing where it brings none that counts.
    pub(super) async fn signed_in(&self, head: &Parts) -> Option<Result<Operator, Fault>> {
        if head.headers.contains_key(header::AUTHORIZATION) {
            return None;
        }
        let snapshot = self.snapshot();
        let reached = reached(head, &snapshot);
        let digest = reached.id(&head.headers).and_then(digest_of)?;
        if let Err(why) = reached.check(head) {
            return Some(Err(Fault::forged(why)));
        }
        let text = match self.record_store() {
            Ok(store) => store.get(key_of(&digest)).await,
            Err(fault) => return Some(Err(fault)),
        };
        // Where it has never been read, nobody is known to be there.
        if !self.has_directory(&snapshot) {
            self.look_at_directory().await;
        }
        match text {
            Ok(text) => Ok(self.operator_by(&Session::parse(&text?)?, &digest, &snapshot)).transpose(),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Returns who governs by a session, as everything is now.
    fn operator_by(&self, session: &Session, digest: &str, snapshot: &Snapshot) -> Option<Operator> {
        let at_provider = of_console(snapshot).map(|(sign_in, issuer, _)| judged_by(issuer, &sign_in.client));
        let by_key = self.0.admin_key.load().as_ref().map(|admin| self.0.sealer.name(&admin.fingerprint()));
        let directory = self.directory();
        session.operator(
            digest,
            &Standard {
                directory: snapshot.config.console.scim.as_ref().map(|scim| (scim, &*directory)),
                console: &snapshot.config.console,
                policy: &snapshot.config.policy,
                judged_by: (at_provider.as_deref(), by_key.as_deref()),
                now: self.host().now(),
            },
        )
    }

    /// Returns where records lie.
    pub(super) fn record_store(&self) -> Result<&dyn RecordStore, Fault> {
        let none = || Fault::new(StatusCode::NOT_FOUND, "no-store", "this gateway's host keeps no records");
        Ok(&**self.host().records().ok_or_else(none)?)
    }

    /// Lists who is signed in: to a member, themselves alone.
    pub(super) async fn show_sessions(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (after, most) = part_of_list(asked.query)?;
        let (store, snapshot) = (self.record_store()?, self.snapshot());
        let by = asked.operator;
        let (mut items, mut after) = (Vec::new(), after);
        let next = loop {
            let page = store.page(SESSIONS, after.clone(), PAGE).await?;
            let is_last = page.len() < PAGE;
            let mut next = None;
            for (digest, text) in page {
                if items.len() == most {
                    next.clone_from(&after);
                    break;
                }
                let session = Session::parse(&text);
                let of = session.as_ref().and_then(|session| self.operator_by(session, &digest, &snapshot));
                if let (Some(session), Some(of)) = (session, of)
                    && (by.role != Role::Member || of.principal == by.principal)
                {
                    items.push(session.described(&digest, &of, by));
                }
                after = Some(digest);
            }
            if next.is_some() || is_last {
                break next;
            }
        };
        Ok(answer(StatusCode::OK, &json!({ "items": items, "next": next })))
    }

    /// Ends a session: one's own, or, for an admin, anybody's.
    pub(super) async fn end_session_of(&self, digest: &str, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let unknown = || Fault::new(StatusCode::NOT_FOUND, "no-session", "there is no session with that id");
        let by = asked.operator;
        let text = self.record_store()?.get(key_of(digest)).await?;
        let session = text.as_deref().and_then(Session::parse).ok_or_else(unknown)?;
        if session.principal != by.principal && by.role != Role::Admin {
            return Err(match by.role {
                Role::Member => unknown(),
                _ => Fault::forbidden("only an admin ends the sessions of others"),
            });
        }
        self.end(digest).await?.ok_or_else(unknown)?;
        Ok(kept_from_caches(empty(StatusCode::NO_CONTENT)))
    }
}

/// Returns how people sign in at the console, at which provider, and where they come back to.
fn of_console(snapshot: &Snapshot) -> Option<(&ConsoleSignIn, &Issuer, &Url)> {
    let config = &snapshot.config;
    let sign_in = config.console.sign_in.as_ref()?;
    let issuer = config.auth.issuers.iter().find(|issuer| issuer.name == sign_in.client.issuer)?;
    Some((sign_in, issuer, config.gateway.public_url.as_ref()?))
}

fn back_of(sign_in: &ConsoleSignIn) -> &'static str {
    if sign_in.is_shared { SIGNED_IN } else { CONSOLE_SIGNED_IN }
}

/// Tells whether a page asks, and not somebody who goes there.
fn wants_json(headers: &http::HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accepted| accepted == "application/json")
}

/// Returns the host that a request names, with its port.
fn host_of(head: &Parts) -> Option<&str> {
    let named = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| head.uri.authority().map(http::uri::Authority::as_str))
}

/// Tells whether a request came to a URL's own host and port.
fn is_reached_at(head: &Parts, public: &Url) -> bool {
    let reached = host_of(head).and_then(|host| Url::parse(&format!("{}://{host}", public.scheme())).ok());
    reached.is_some_and(|reached| reached.origin() == public.origin())
}

/// Returns how the gateway is reached by a request.
fn reached(head: &Parts, snapshot: &Snapshot) -> Reached {
    let public = snapshot.config.gateway.public_url.as_ref();
    let at_public = public.filter(|public| is_reached_at(head, public));
    let here = host_of(head).filter(|host| is_here(host));
    let mut origins: Vec<_> =
        public.map(|public| public.origin().ascii_serialization()).into_iter().collect();
    origins.extend(host_of(head).into_iter().flat_map(own_origins));
    let plainly = match at_public {
        Some(public) => public.scheme() == "http",
        None => here.is_some(),
    };
    Reached { plainly, origins }
}
