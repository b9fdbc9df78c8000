//! One HTTP request, from its head to its answer: admit, tell the eras apart, plan, ask, answer.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::mpsc;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::TakenUp;
use super::addressee::{Addressee, Cancelled};
use super::admit::in_place;
use super::invite::Behind;
use super::keepsakes::Keepsake;
use super::messages::Messages;
use super::park::Retried;
use crate::acl::{Bounds, Target};
use crate::body::{self, Body, CollectError, Reply};
use crate::catalog::{Route, Scope};
use crate::config::ItemKind;
use crate::endpoint::{self, Endpoint};
use crate::error::{Refusal, code};
use crate::front::terms::{Terms, Told};
use crate::front::{Caller, Inbound, LEVELS, Piped, legacy, meta, modern};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::Identity;
use crate::observe::Record;
use crate::pipe::Wait;
use crate::plan::{self, Plan};
use crate::ports::Host;
use crate::quota::Hold;
use crate::sorted::SortedSet;
use crate::tasks::{self, Tasks};
use crate::upstream::compose::{Ask, declared};
use crate::upstream::lane::Lane;
use crate::upstream::{Owner, Server, lock};
use crate::wire::http as names;
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;
use crate::wire::version::Era;

/// The log level of a session that asked for none, as an index into [`LEVELS`]: `info`.
const DEFAULT_LEVEL: usize = 1;

impl<H: Host> Gateway<H> {
    /// Answers one HTTP request. Dropping the answer's body tells the servers that nobody waits any more, where the
    /// era says so.
    pub async fn serve(&self, request: http::Request<Body>) -> Reply {
        let (mut head, body) = request.into_parts();
        let began = self.host().observer().map(|observer| observer.ticks());
        let origin = head.headers.get(header::ORIGIN).cloned();
        #[cfg(feature = "control")]
        let origin = origin.filter(|_| !self.is_for_any_origin(&mut head));
        let checked = self.0.snapshot.load().gate.check(&head.headers, &head.uri);
        let mut reply = match checked {
            Err(refusal) => return self.turn_away(&head, None, &refusal),
            Ok(()) => self.admit(&mut head, body).await,
        };
        if let Some(origin) = origin {
            endpoint::allow_origin(reply.headers_mut(), origin);
        }
        if let Some(began) = began {
            self.note_exchange(&head, reply.status(), began);
        }
        reply
    }

    async fn admit(&self, head: &mut Parts, body: Body) -> Reply {
        let snapshot = self.snapshot();
        let legacy = snapshot.config.gateway.legacy;
        let endpoint = endpoint::find(head.uri.path(), &snapshot.servers, &snapshot.config.policy.groups);
        match endpoint {
            Some(Endpoint::Health) => return body::json(StatusCode::OK, r#"{"status":"OK"}"#),
            Some(Endpoint::Readiness) => return self.answer_readiness(&snapshot).await,
            Some(Endpoint::Metrics) => return self.metrics_for(head),
            #[cfg(feature = "control")]
            Some(Endpoint::Registry) => return Box::pin(self.registry(head, body)).await,
            Some(Endpoint::Admin) => return Box::pin(self.administer(head, body)).await,
            #[cfg(feature = "control")]
            Some(Endpoint::Fleet(step)) => return Box::pin(self.answer_fleet(head, body, step)).await,
            #[cfg(feature = "control")]
            Some(Endpoint::Assets) => return self.show_console(head),
            #[cfg(feature = "control")]
            Some(Endpoint::Scim) => return Box::pin(self.provision(head, body)).await,
            #[cfg(feature = "control")]
            Some(Endpoint::Console(step)) => return Box::pin(self.console(head, body, step)).await,
            Some(Endpoint::Resource) if !snapshot.config.auth.issuers.is_empty() => {
                return endpoint::resource(head, &snapshot);
            }
            Some(Endpoint::SignIn(step)) if snapshot.config.auth.sign_in.is_some() => {
                return Box::pin(self.stand_in(head, body, step)).await;
            }
            Some(Endpoint::Connect(step)) if snapshot.has_consents() => {
                return Box::pin(self.link(head, body, step)).await;
            }
            Some(Endpoint::Mcp(_)) => {}
            Some(Endpoint::Sse | Endpoint::Messages) if legacy && self.has_owners() => {}
            // Whether there is such a server is not told to strangers.
            None if endpoint::is_narrowed(head.uri.path()) => {}
            _ => return endpoint::not_found(),
        }
        if head.method == Method::OPTIONS {
            return endpoint::preflight(&head.headers, &snapshot.config);
        }
        if let Err(refusal) = self.is_recordable() {
            return body::refused(None, &refusal);
        }
        let is_for_another = self.is_for_another(head, &snapshot);
        let who = match self.let_in(head, &snapshot).await {
            Ok(who) => who,
            Err(refused) => return *refused,
        };
        let is_for_another = self.is_anothers(&who) && is_for_another;
        let takes_place = head.extensions.get::<Piped>() != Some(&Piped::Tells);
        let place = match takes_place.then(|| self.take_place()).transpose() {
            Ok(place) => place,
            Err(refusal) => return self.turn_away(head, Some(&who), &refusal),
        };
        if is_for_another {
            return in_place(Box::pin(self.answer_apart(head, body, &who)).await, place);
        }
        let answer = match endpoint {
            // An endpoint at which there is nothing for the caller is as one that is not there.
            Some(Endpoint::Mcp(scope)) if !snapshot.has_anything_for(&who, &scope) => {
                return self.nothing_there(head, &who);
            }
            Some(Endpoint::Mcp(scope)) => self.mcp_message(head, body, (scope, who.clone())).await,
            Some(Endpoint::Messages) => Box::pin(self.post_to_stream(head, body, &who)).await,
            Some(_) => self.open_sse(head, &who).await,
            None => return self.nothing_there(head, &who),
        };
        match answer {
            Ok(reply) => self.name_reached(head, in_place(reply, place)),
            Err(refusal) => self.turn_away(head, Some(&who), &refusal),
        }
    }

    /// Tells another gateway where its request has come to.
    fn name_reached(&self, head: &Parts, mut reply: Reply) -> Reply {
        if head.headers.contains_key(names::VIA)
            && let Ok(reached) = HeaderValue::from_str(&self.reached())
        {
            reply.headers_mut().insert(names::VIA, reached);
        }
        reply
    }

    /// Returns this gateway and those that its servers are or lead to: what another gateway must know to see a ring.
    fn reached(&self) -> String {
        let snapshot = self.snapshot();
        let own = snapshot.gate.own_chain();
        let behind = snapshot
            .servers
            .values()
            .cloned()
            .chain(self.0.users.servers())
            .flat_map(|server| lock(&server.behind).clone())
            .collect::<SortedSet<_>>();
        behind.into_iter().fold(own, |all, hop| format!("{all}, {hop}"))
    }

    /// Answers a message of MCP, of a caller who is known.
    pub(super) async fn mcp_message(
        &self,
        head: &Parts,
        body: Body,
        (scope, who): (Scope, Arc<Identity>),
    ) -> Result<Reply, Refusal> {
        let has_come_through = head.headers.contains_key(names::VIA);
        let via =
            if has_come_through { self.0.snapshot.load().gate.via(&head.headers)? } else { self.own_via() };
        let now = self.host().now();
        let terms = Terms::of(&head.extensions, self.host().place(), || self.has_owners(), now);
        let caller = Caller {
            scope,
            who,
            now,
            terms,
            session: None,
            via,
            streams: terms.undivided.is_none() && names::accepts(&head.headers, "text/event-stream"),
            resumes: head.extensions.get::<Piped>().is_none(),
            taken_up: head.extensions.get::<Arc<TakenUp>>().cloned(),
            record: Record::default(),
        };
        match head.method {
            Method::POST => self.post_message(head, body, caller).await,
            Method::GET | Method::DELETE
                if head.headers.contains_key(names::SESSION_ID) && !modern::is_named(&head.headers) =>
            {
                let caller = self.resume_session(head, caller)?;
                if let Some(handed) = self.hand_over_session(head, &caller, &Bytes::new()).await {
                    return handed;
                }
                if head.method == Method::GET && caller.terms.told == Told::Nothing {
                    return Ok(endpoint::method_not_allowed());
                }
                if let Some(resting) = self.rests_on(&caller).await {
                    return Ok(resting);
                }
                let reply = match (&caller.session, &head.method) {
                    (Some(session), &Method::GET) => self.get_stream(head, &caller, session)?,
                    (Some(session), _) => self.delete_session(head, &caller, session),
                    (None, _) => return Err(legacy::unknown_session()),
                };
                if caller.taken_up.is_none() {
                    self.record_exchange(head, Some(&caller.who), Ok(()));
                }
                Ok(reply)
            }
            _ => Ok(endpoint::method_not_allowed()),
        }
    }

    async fn post_message(&self, head: &Parts, body: Body, caller: Caller) -> Result<Reply, Refusal> {
        let whole = self.message_body(head, body).await?;
        let outline = match Outline::check(&whole) {
            Ok(outline) => outline,
            Err(malformed) => return Ok(self.reject(head, &caller.who, &message::not_json(malformed))),
        };
        if outline.json.is_array() {
            return Box::pin(self.batch(head, (outline.json, &whole), caller)).await;
        }
        match message::parse(outline) {
            Ok(message) => self.message(head, message, caller, &whole).await,
            Err(rejection) => Ok(self.reject(head, &caller.who, &rejection)),
        }
    }

    /// Collects what a POST brings.
    pub(super) async fn message_body(&self, head: &Parts, body: Body) -> Result<Bytes, Refusal> {
        if names::media_type(&head.headers) != "application/json" {
            let refusal = Refusal::new(code::INVALID_REQUEST, "Content-Type must be application/json");
            return Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let limit = self.0.snapshot.load().config.gateway.request_limit;
        let expected = names::length(&head.headers);
        body.collect_expecting(expected, limit).await.map_err(|error| {
            let status = match error {
                CollectError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                CollectError::Broken(_) => StatusCode::BAD_REQUEST,
            };
            Refusal::new(code::INVALID_REQUEST, error.to_string()).with_status(status)
        })
    }

    async fn message(
        &self,
        head: &Parts,
        message: Message<'_>,
        caller: Caller,
        raw: &Bytes,
    ) -> Result<Reply, Refusal> {
        let caller = self.noted(caller, head, &message, raw);
        let message = match message {
            Message::Request { id, method, params } => {
                let inbound = Inbound { raw: raw.clone(), ..Inbound::new(id, method, params) };
                if modern::is_meant(&inbound, &head.headers) {
                    let caller = self.of_client(caller, inbound.client());
                    return Ok(self.modern(head, &inbound, &caller).await);
                }
                if !self.0.snapshot.load().config.gateway.legacy {
                    let requested = inbound.text("protocolVersion").unwrap_or_default();
                    return Ok(refused(&caller.record, id.text(), &modern::unsupported(&requested)));
                }
                if inbound.method == "initialize" {
                    let caller = self.of_client(caller, inbound.client());
                    return Ok(self.initialize(&inbound, &caller).await);
                }
                Message::Request { id: inbound.id, method: inbound.method, params: inbound.params }
            }
            Message::Notification { .. } if modern::is_named(&head.headers) => {
                return Ok(body::empty(StatusCode::ACCEPTED));
            }
            Message::Response { .. } if modern::is_named(&head.headers) => {
                return Err(Refusal::new(
                    code::INVALID_REQUEST,
                    "a body is a request or a notification, never a response",
                ));
            }
            message => message,
        };
        let id = match &message {
            Message::Request { id, .. } => Some(*id),
            _ => None,
        };
        let record = caller.record.clone();
        match self.resume_session(head, caller) {
            Ok(caller) => match self.hand_over_session(head, &caller, raw).await {
                Some(handed) => handed,
                None => self.legacy(message, raw, caller).await,
            },
            Err(refusal) => {
                record.refused(&refusal);
                Ok(body::refused(id.map(message::Id::text), &refusal))
            }
        }
    }

    async fn modern(&self, head: &Parts, inbound: &Inbound<'_>, caller: &Caller) -> Reply {
        let id = inbound.id.text();
        let headers = head.extensions.get::<Piped>().is_none().then_some(&head.headers);
        if let Err(refusal) = modern::check(inbound, headers) {
            tracing::debug!(method = %inbound.method, reason = %refusal, "refused");
            return refused(&caller.record, id, &refusal);
        }
        if let Some(handed) = self.hand_over_stateless(head, inbound, caller).await {
            return handed.unwrap_or_else(|refusal| refused(&caller.record, id, &refusal));
        }
        concluded(&caller.record, id, self.answer(headers, inbound, caller).await)
    }

    /// Takes a message of a session.
    pub(super) async fn legacy(
        &self,
        message: Message<'_>,
        raw: &Bytes,
        caller: Caller,
    ) -> Result<Reply, Refusal> {
        let Some(session) = caller.session.clone() else { return Err(legacy::unknown_session()) };
        match message {
            Message::Request { id, method, params } => {
                let inbound = Inbound { raw: raw.clone(), ..Inbound::new(id, method, params) };
                if let Some(Err(duplicate)) = inbound.meta().map(Json::object) {
                    let refusal = Refusal::new(code::INVALID_PARAMS, format!("{duplicate} in `_meta`"));
                    return Ok(refused(&caller.record, id.text(), &refusal));
                }
                let answer = self.answer(None, &inbound, &caller).await;
                let answer = answer.map_err(|refusal| refusal.with_status(StatusCode::OK));
                Ok(concluded(&caller.record, id.text(), answer))
            }
            Message::Notification { method, params } => {
                if method == "notifications/cancelled" {
                    if let Some(id) = params.get("requestId") {
                        let key = (session.nonce, id.text().to_owned());
                        let running = lock(&self.0.sessions.running).remove(&key);
                        running.map(|cancel| cancel.send(()));
                    }
                } else if method == "notifications/roots/list_changed" {
                    self.roots_changed(&caller, &session);
                }
                Ok(body::empty(StatusCode::ACCEPTED))
            }
            Message::Response { id, outcome } => {
                self.answered((&caller, &session), id.text(), outcome).await?;
                Ok(body::empty(StatusCode::ACCEPTED))
            }
        }
    }

    /// Answers a request that has passed the checks of its era, however long that takes.
    pub(super) async fn answer_freely(
        &self,
        headers: Option<&HeaderMap>,
        inbound: &Inbound<'_>,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        caller.record.speaks(caller.version());
        let retried = self.retried(inbound, caller).await;
        let counted = self.counted(&retried, caller).await?;
        let retried = retried?;
        let snapshot = self.snapshot_of(&caller.who);
        let mut view = self.view_for(inbound, &snapshot, caller).await;
        if let Retried::Parked(place) = retried {
            // It ends where it began, whatever is served by now; but not for whom it is no longer meant.
            return Box::pin(self.resume(place, inbound, (caller, &view))).await;
        }
        let comes_back = matches!(retried, Retried::Server { .. });
        if snapshot.has_stand_ins && plan::names_unknown(&view, inbound) {
            let behind = self.look_behind((&*snapshot, &*view), inbound, caller, comes_back);
            match Box::pin(behind).await {
                Behind::Nothing => {}
                Behind::Read => view = self.view_for(inbound, &snapshot, caller).await,
                Behind::Answer(answer) => return answer,
            }
        }
        let tasks = Tasks::new(&self.0.sealer, &snapshot.servers, caller);
        let id = inbound.id.text();
        match plan::plan(&view, &tasks, caller, inbound, headers)? {
            Plan::Answer(answer) => {
                let text = answer.into_message(id);
                caller.record.gave(text.len());
                Ok(body::json(StatusCode::OK, text))
            }
            Plan::Ask(route, mut ask) => {
                caller.record.concerns(&route.server, inbound);
                caller.record.leads_to(&route.name);
                if let Some(session) = &caller.session {
                    // What belongs to rounds is between the gateway and the server.
                    ask.set("inputResponses", None);
                    ask.set("requestState", None);
                    ask.log_level = self.log_level(inbound, caller).map(|level| LEVELS[level]);
                    if caller.streams && self.has_owners() {
                        ask.capabilities = declared(Owner::Lane(session.interaction)).into();
                    }
                }
                retried.bring_back(&mut ask, &route.server)?;
                if let Some(answer) = self.invited(&route, inbound, caller, comes_back).await {
                    return answer;
                }
                ask.record = caller.record.asking(&route.server);
                let bounds = bounds_of(&snapshot, caller, inbound, &route);
                let holds =
                    [counted, self.count(&bounds, caller).await.inspect_err(|_| self.unspend(ask.stamp))?];
                (ask.timeout, ask.most) = (bounds.timeout, bounds.result);
                ask.route = Some(route.clone());
                let mut ids = tasks.ids(inbound, &route);
                if ask.narrowing.is_some() || ask.most.is_some_and(|_| inbound.method == "tools/call") {
                    ask.forgo_tasks();
                    ids = None;
                }
                self.routed(&route.server, ask, inbound, caller, (ids, holds.into())).await
            }
            Plan::Listen(wanted) => {
                let listening = Box::pin(self.listen(caller, id, wanted)).await?;
                caller.record.succeeded();
                Ok(listening)
            }
            Plan::Subscribe(route, uri) => {
                let (nonce, expires) = (session_nonce(caller), session_expiry(caller));
                Box::pin(self.subscribe((nonce, expires), &route, uri.to_string())).await?.keep();
                let resource = (route.server.key(), route.name.to_string());
                self.keep_in_mind(&Keepsake::wish(nonce, &resource), &uri, expires);
                Ok(body::json(StatusCode::OK, message::result(id, "{}")))
            }
            Plan::Unsubscribe(route) => {
                let resource = (route.server.key(), route.name.to_string());
                self.dismiss(&Keepsake::wish(session_nonce(caller), &resource));
                self.unsubscribe(session_nonce(caller), resource);
                Ok(body::json(StatusCode::OK, message::result(id, "{}")))
            }
            Plan::SetLevel(level) => {
                Box::pin(self.log_from(caller, level)).await;
                Ok(body::json(StatusCode::OK, message::result(id, "{}")))
            }
        }
    }

    /// Counts a request, whatever it comes to. One that goes on with a call holds no place besides the call's.
    async fn counted(&self, retried: &Result<Retried, Refusal>, caller: &Caller) -> Result<Hold, Refusal> {
        if caller.taken_up.is_some() {
            // It was counted when its stream was opened.
            return Ok(Hold::default());
        }
        let bounds = Bounds::of_agent(&caller.who.agent);
        match retried {
            Ok(Retried::Parked(_)) => self.count(&bounds.without_concurrency(), caller).await,
            Ok(Retried::Server { stamp, .. }) => {
                self.count(&bounds, caller).await.inspect_err(|_| self.unspend(Some(*stamp)))
            }
            Ok(Retried::Not) | Err(_) => self.count(&bounds, caller).await,
        }
    }

    /// Puts a request to its server and answers with what comes back.
    pub(super) async fn routed(
        &self,
        server: &Arc<Server>,
        ask: Ask<'_>,
        inbound: &Inbound<'_>,
        caller: &Caller,
        (tasks, holds): (Option<Arc<tasks::Ids>>, Vec<Hold>),
    ) -> Result<Reply, Refusal> {
        let turn = self.turn_at(server).await.inspect_err(|_| self.unspend(ask.stamp))?;
        let way = match self.way_to(server, inbound, caller).await {
            Ok(way) => way,
            Err(error) => {
                self.unspend(ask.stamp);
                return self.failed(server, error, inbound, caller);
            }
        };
        let mut to = Addressee {
            caller: caller.clone(),
            id: inbound.id.text().to_owned(),
            progress_token: inbound.progress_token(),
            log_level: self.log_level(inbound, caller),
            cacheable: inbound.method == "resources/read",
            narrowing: ask.narrowing.clone(),
            patience: ask.patience(server),
            most: ask.most,
            route: ask.route.clone(),
            _holds: holds,
            tasks,
            server: server.clone(),
            link: way.link,
            running: caller.session.as_ref().map(|session| self.running(session, inbound.id.text())),
            interaction: way.interaction,
            turn: Some(turn),
            lane: way.lane,
            request: match caller.era() {
                Era::Modern => inbound.raw.clone(),
                Era::Legacy => Bytes::new(),
            },
        };
        if let Some(session) = caller.session.as_ref().filter(|_| caller.streams && self.has_owners()) {
            return self.converse_in_session(session, ask.into_owned(), to).await;
        }
        if let Some(besides) = to.lane.as_mut().map(Lane::begin) {
            let messages = self.ask_on_lane(ask.into_owned(), besides, to);
            return Ok(Box::pin(self.relay_messages(messages)).await.unwrap_or_else(cancelled));
        }
        let link = to.link.clone();
        let asking = std::pin::pin!(self.ask(server, &link, &ask, Wait::Call));
        // A cancelled request gets no answer; its connection still has to end.
        match to.unless_cancelled(asking).await {
            Err(Cancelled) => Ok(cancelled(Cancelled)),
            Ok(Err(error)) => {
                to.log_unanswered(&error);
                self.failed(server, error, inbound, caller)
            }
            Ok(Ok(asked)) => Ok(self.converse(asked, to).await.unwrap_or_else(cancelled)),
        }
    }

    /// Asks where the server may ask back at any time, also before it answers at all.
    fn ask_on_lane(&self, ask: Ask<'static>, besides: mpsc::Receiver<Bytes>, to: Addressee) -> Messages<H> {
        let (gateway, server, link) = (self.clone(), to.server.clone(), to.link.clone());
        let asking = async move { gateway.ask(&server, &link, &ask, Wait::Call).await };
        Messages::asking(self.clone(), asking.boxed(), besides, to)
    }

    pub(super) fn log_level(&self, inbound: &Inbound<'_>, caller: &Caller) -> Option<usize> {
        if let Some(session) = &caller.session {
            Some(lock(&self.0.sessions.levels).get(session.nonce).copied().unwrap_or(DEFAULT_LEVEL))
        } else {
            let level = inbound.meta()?.get(meta::LOG_LEVEL)?.as_str()?;
            LEVELS.iter().position(|l| *l == level)
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        let snapshot = self.snapshot();
        // What is an identity's own is read when that identity comes.
        let is_settled = |server: &Arc<Server>| server.settled.has_fired() || !snapshot.is_shared(server);
        self.is_late() || self.keeps_apart(&snapshot) || snapshot.servers.values().all(is_settled)
    }
}

/// Returns what a request to a server is bound by besides what all requests of its agent are.
fn bounds_of(snapshot: &Snapshot, caller: &Caller, inbound: &Inbound<'_>, route: &Route) -> Bounds {
    let kind = match inbound.method.as_ref() {
        "tools/call" => ItemKind::Tool,
        "prompts/get" => ItemKind::Prompt,
        "resources/read" => ItemKind::Resource,
        _ => return Bounds { counted: Vec::new(), ..Bounds::of_agent(&caller.who.agent) },
    };
    let (server, name) = (route.server.name.as_str(), route.own_name());
    let target = Target { server, kind, name, is_template: false };
    Bounds::of_call(&caller.who.agent, &snapshot.config.tool_limits, &target)
}

fn cancelled(_: Cancelled) -> Reply {
    body::empty(StatusCode::ACCEPTED)
}

pub(super) fn session_nonce(caller: &Caller) -> u64 {
    caller.session.as_ref().map_or(0, |session| session.nonce)
}

pub(super) fn session_expiry(caller: &Caller) -> u64 {
    caller.session.as_ref().map_or(u64::MAX, |session| session.expires)
}

/// Takes note of how a request was answered, where it has been answered whole.
fn concluded(record: &Record, id: &str, answer: Result<Reply, Refusal>) -> Reply {
    if let Ok(reply) = &answer
        && reply.status() == StatusCode::OK
        && matches!(reply.body(), Body::Full(_))
    {
        record.succeeded();
    }
    answer.unwrap_or_else(|refusal| refused(record, id, &refusal))
}

/// Refuses a request, and takes note of that.
pub(super) fn refused(record: &Record, id: &str, refusal: &Refusal) -> Reply {
    record.refused(refusal);
    body::refused(Some(id), refusal)
}

pub(super) fn rejected(rejection: &message::Rejected) -> Reply {
    body::refused(rejection.id.as_deref(), &rejection.refusal)
}
