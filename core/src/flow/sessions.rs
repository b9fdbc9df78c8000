//! Legacy sessions: how they begin, are taken up by later requests, and end; and what an agent says in one besides
//! asking.

use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::keepsakes::Keepsake;
use super::serve::{refused, session_expiry, session_nonce};
use crate::acl::Bounds;
use crate::body::{self, Reply};
use crate::endpoint;
use crate::error::{Refusal, code};
use crate::front::{Caller, Inbound, legacy};
use crate::gateway::Gateway;
use crate::plan;
use crate::ports::Host;
use crate::session::{Asker, LIFETIME, ServerRequest, Session};
use crate::upstream::lock;
use crate::wire::http as names;
use crate::wire::json::Json;
use crate::wire::message;

impl<H: Host> Gateway<H> {
    /// Hands a session's answer to whoever asked: a server, or a call that waits here.
    pub(super) async fn answered(
        &self,
        (caller, session): (&Caller, &Session),
        id: &str,
        outcome: Result<Json<'_>, Json<'_>>,
    ) -> Result<(), Refusal> {
        let nobody = || {
            let why = "nobody waits for this answer here: the question has ended, or this gateway process did not ask it";
            Refusal::new(code::INVALID_REQUEST, why)
        };
        let sealed = Json::check(id.as_bytes()).ok().and_then(Json::as_str);
        let request = sealed.and_then(|id| ServerRequest::open(&id, &self.0.sealer, session.nonce));
        let request = request.ok_or_else(nobody)?;
        let text = |id: &str| match outcome {
            Ok(result) => message::result(id, result.text()),
            Err(error) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{}}}", error.text()),
        };
        let id = match request.asker {
            Asker::Server(id) => id,
            Asker::Call(place) => {
                let met = self.host().deliver(place, text("0").into()).await;
                return if met { Ok(()) } else { Err(nobody()) };
            }
        };
        let snapshot = self.snapshot_of(&caller.who);
        let server = &snapshot.addressed(&request.server).ok_or_else(nobody)?;
        let established = server.own_link(session.nonce).and_then(|link| link.current.load_full());
        let established = established.ok_or_else(nobody)?;
        let told = self.tell(server, &established, text(&id));
        Ok(self.within(server, server.settings.timeout, told).await?)
    }

    pub(super) fn roots_changed(&self, caller: &Caller, session: &Session) {
        for server in self.snapshot_of(&caller.who).servers.values() {
            let established = server.own_link(session.nonce).and_then(|link| link.current.load_full());
            if let Some(established) = established {
                self.send_back(
                    server,
                    &established,
                    message::notification("notifications/roots/list_changed", ""),
                );
            }
        }
    }

    pub(super) async fn initialize(&self, inbound: &Inbound<'_>, caller: &Caller) -> Reply {
        let id = inbound.id.text();
        let version = match legacy::negotiate(inbound) {
            Ok(version) => version,
            Err(refusal) => return refused(&caller.record, id, &refusal),
        };
        caller.record.speaks(version);
        if let Err(refusal) = self.count(&Bounds::of_agent(&caller.who.agent), caller).await {
            return refused(&caller.record, id, &refusal);
        }
        caller.record.succeeded();
        let session = Session {
            nonce: self.random(),
            version,
            interaction: legacy::interaction(inbound),
            owner: caller.who.owner(),
            client: caller.who.client.clone(),
            endpoint: endpoint::path(&caller.scope),
            expires: self.host().now() + LIFETIME,
        };
        let view = self.view(&self.snapshot_of(&caller.who), caller).await;
        let text = message::result(id, &plan::initialized(&view, version, caller.terms.told));
        caller.record.gave(text.len());
        let mut reply = body::json(StatusCode::OK, text);
        let session_id = session.seal(&self.0.sealer, self.host());
        if let Ok(value) = HeaderValue::from_str(&session_id) {
            reply.headers_mut().insert(names::SESSION_ID, value);
        }
        reply
    }

    pub(super) fn resume_session(&self, head: &Parts, caller: Caller) -> Result<Caller, Refusal> {
        legacy::check_version(&head.headers)?;
        let id = legacy::session_id(&head.headers)?;
        let endpoint = endpoint::path(&caller.scope);
        let session = Session::open(id, &self.0.sealer, self.host(), &endpoint, &caller.who);
        let session = session.filter(|s| !lock(&self.0.sessions.ended).contains_key(&s.nonce));
        let session = session.ok_or_else(legacy::unknown_session)?;
        Ok(self.of_session(caller, session))
    }

    pub(super) fn get_stream(
        &self,
        head: &Parts,
        caller: &Caller,
        session: &Session,
    ) -> Result<Reply, Refusal> {
        if !caller.streams {
            return Ok(body::empty(StatusCode::NOT_ACCEPTABLE));
        }
        let last = names::single(&head.headers, &names::LAST_EVENT_ID).ok().flatten();
        match last.and_then(|last| self.0.streams.resume(last, session.nonce)) {
            Some(replay) => Ok(body::events(self.keep_alive(futures::StreamExt::boxed(replay)))),
            None => self.open_session_stream(caller, session),
        }
    }

    /// Ends a session: its id no longer opens, and its servers forget it.
    pub(super) fn delete_session(&self, head: &Parts, caller: &Caller, session: &Session) -> Reply {
        let now = self.host().now();
        self.note_session(head, session, now);
        {
            let mut ended = lock(&self.0.sessions.ended);
            ended.retain(|_, expires| *expires > now);
            ended.insert(session.nonce, session.expires);
        }
        self.keep_in_mind(&Keepsake::Ended(session.nonce), "", session.expires);
        lock(&self.0.sessions.levels).remove(session.nonce);
        self.dismiss(&Keepsake::Level(session.nonce));
        for resource in self.0.hub.forget(session.nonce) {
            self.dismiss(&Keepsake::wish(session.nonce, &resource));
            self.unwatch_resource(resource);
        }
        let ending: Vec<_> =
            lock(&self.0.sessions.running).extract_if(|(nonce, _), _| *nonce == session.nonce).collect();
        for (_, cancel) in ending {
            let _ = cancel.send(());
        }
        for server in self.snapshot_of(&caller.who).servers.values() {
            if let Some(link) = server.drop_link(session.nonce) {
                self.give_up(server, link);
            }
        }
        body::empty(StatusCode::OK)
    }

    /// Notes a session's log level and passes it on to the servers that it has links of its own to; what a shared link
    /// logs is chosen from for each agent.
    pub(super) async fn log_from(&self, caller: &Caller, level: usize) {
        let (nonce, expires) = (session_nonce(caller), session_expiry(caller));
        lock(&self.0.sessions.levels).insert(nonce, level, expires, self.host().now());
        self.keep_in_mind(&Keepsake::Level(nonce), &level.to_string(), expires);
        let snapshot = self.snapshot_of(&caller.who);
        let own = snapshot
            .servers
            .values()
            .filter_map(|server| Some((server, server.own_link(nonce)?.current.load_full()?)));
        let setting =
            own.map(|(server, established)| async move { self.set_level(server, &established, level).await });
        futures::future::join_all(setting).await;
    }
}
