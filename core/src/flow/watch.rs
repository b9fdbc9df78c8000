//! Hearing what servers say unasked: that their lists or resources have changed, and questions outside any call.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use futures::future::{self, Either};

use super::ask::{AnswerBody, Asked};
use super::too_large;
use crate::catalog::tells_of_changes;
use crate::error::{Refusal, Unreachable, code};
use crate::gateway::Gateway;
use crate::hub::Resource;
use crate::observe::Record;
use crate::pipe::{Wait, WeakPipe};
use crate::ports::Host;
use crate::screen::{DECLINED, Declined, Screen};
use crate::shape;
use crate::upstream::compose::Ask;
use crate::upstream::pauses::BEFORE_A_SERVER;
use crate::upstream::{Established, Link, Nudge, Owner, Server, Watch, lock};
use crate::wire::json::{Json, quote};
use crate::wire::message::{self, Message};
use crate::wire::sse::TooLarge;
use crate::wire::version::Era;

/// A stream that lasted this long is taken for a good one, in milliseconds.
const STABLE: u64 = 10_000;
/// How long a session's own link may be unused before it is given up, in milliseconds.
const IDLE: u64 = 10 * 60 * 1000;

/// Whose stream is heard.
struct Hearing {
    server: Arc<Server>,
    owner: Owner,
    /// The link, where what is asked belongs to the call that it carries.
    lane: Weak<Link>,
}

impl Hearing {
    /// Hands a question to the call that the lane carries; returns whether that took it.
    fn goes_to_call(&self, raw: &Bytes) -> bool {
        let asks = || {
            let message = Json::check(raw).ok().and_then(|json| message::parse(json).ok());
            matches!(message, Some(Message::Request { method, .. }) if method != "ping")
        };
        let Some(link) = self.lane.upgrade() else { return false };
        asks() && link.carried.tell(raw.clone())
    }
}

/// What became of a stream of changes.
enum Heard {
    /// It ended; the server may open another.
    Ended,
    /// The server has none.
    Nothing,
}

impl<H: Host> Gateway<H> {
    /// Takes what a process says unasked, for as long as it runs.
    pub(crate) fn hear_pipe(
        &self,
        server: &Arc<Server>,
        owner: Owner,
        pipe: WeakPipe,
        mut unasked: mpsc::UnboundedReceiver<Bytes>,
    ) {
        // The task must not keep the process running: it holds neither the pipe nor the link.
        let (gateway, server) = (self.clone(), server.clone());
        self.host().spawn_lasting(async move {
            while let Some(line) = unasked.next().await {
                let Some(pipe) = pipe.upgrade() else { return };
                if let Some(answer) = gateway.heard(&server, owner, &line) {
                    pipe.send_now(answer);
                }
            }
            if owner == Owner::Shared && !server.is_put_aside() {
                let _ = server.nudge.unbounded_send(Nudge::Disconnected);
            }
        });
    }

    /// Hears what a server tells on a stream of its own, for as long as what was agreed on holds. A session's own
    /// link is heard whatever the server declared: its questions may come there. What is returned resolves once the
    /// first attempt to open that stream is decided, or there is none.
    pub(crate) fn watch(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
        established: &Arc<Established>,
    ) -> oneshot::Receiver<()> {
        let (opening, opened) = oneshot::channel();
        let legacy = established.version.era() == Era::Legacy;
        let speaks = match link.owner {
            Owner::Shared => {
                self.is_heard() && tells_of_changes(&established.introduction, established.version)
            }
            Owner::Session(..) | Owner::Lane(_) => {
                legacy || tells_of_changes(&established.introduction, established.version)
            }
        };
        if !speaks || (legacy && established.pipe.is_some()) {
            return opened;
        }
        let (gateway, given_up) = (self.clone(), link.given_up.wait());
        let lane = match link.owner {
            Owner::Lane(_) => Arc::downgrade(link),
            Owner::Shared | Owner::Session(..) => Weak::new(),
        };
        let (owner, user) = (link.owner, server.user.clone());
        let hearing = Hearing { server: server.clone(), owner: link.owner, lane };
        let (link, established) = (Arc::downgrade(link), Arc::downgrade(established));
        self.host().spawn(async move {
            let listening = std::pin::pin!(gateway.keep_listening(hearing, link, established, Some(opening)));
            let unheard = std::pin::pin!(gateway.unheard(owner, user.as_deref()));
            future::select(listening, future::select(given_up, unheard)).await;
        });
        opened
    }

    /// Waits until what is heard over a link of that owner concerns nobody any more.
    async fn unheard(&self, owner: Owner, user: Option<&str>) {
        match owner {
            Owner::Shared => self.deserted(user).await,
            Owner::Session(..) | Owner::Lane(_) => future::pending().await,
        }
    }

    /// Hears one stream of changes after another while an agreement holds.
    async fn keep_listening(
        &self,
        hearing: Hearing,
        link: Weak<Link>,
        established: Weak<Established>,
        mut opening: Option<oneshot::Sender<()>>,
    ) {
        let server = &hearing.server;
        let mut attempts = 0u32;
        while let (Some(link), Some(established)) = (link.upgrade(), established.upgrade()) {
            if !link.holds(&established) {
                return;
            }
            drop(link);
            let began = self.host().now();
            match self.listen_to(&hearing, established, opening.take()).await {
                // A server without such a stream is read again when its lists grow old.
                Ok(Heard::Nothing) => return,
                Ok(Heard::Ended) => {
                    tracing::debug!(server = %server.name, "a stream of changes has ended");
                }
                Err(error) => tracing::debug!(%error, "cannot hear of changes"),
            }
            if self.host().now().saturating_sub(began) > STABLE {
                attempts = 0;
            }
            self.host().sleep(BEFORE_A_SERVER.after(attempts)).await;
            attempts = attempts.saturating_add(1);
            // What changed meanwhile was not told.
            let _ = server.nudge.unbounded_send(Nudge::Stale);
        }
    }

    /// Hears one stream of changes to its end; `opening` is dropped once there is one. It is let go of when the
    /// agreement is.
    async fn listen_to(
        &self,
        hearing: &Hearing,
        established: Arc<Established>,
        opening: Option<oneshot::Sender<()>>,
    ) -> Result<Heard, Unreachable> {
        let server = &hearing.server;
        if established.version.era() == Era::Legacy {
            let opened =
                self.within(server, server.settings.timeout, self.open_stream(server, &established, None));
            let opened = opened.await?;
            drop(opening);
            return match opened {
                Some(body) => self.hear(hearing, &established, body, None).await,
                None => Ok(Heard::Nothing),
            };
        }
        let wanted = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;
        let mut asked = self.subscribe_to(server, &established, wanted).await?;
        let body = std::mem::replace(&mut asked.body, AnswerBody::Nothing);
        self.hear(hearing, &established, body, opening).await
    }

    async fn subscribe_to(
        &self,
        server: &Arc<Server>,
        established: &Arc<Established>,
        wanted: &str,
    ) -> Result<Asked<H>, Unreachable> {
        let ask = Ask::own("subscriptions/listen").with("notifications", wanted.to_owned());
        self.put(server, established, &ask, Wait::Own).await
    }

    /// Hears one stream to its end; `opening` is dropped once something has come, which is the acknowledgement.
    async fn hear(
        &self,
        hearing: &Hearing,
        established: &Arc<Established>,
        body: AnswerBody,
        mut opening: Option<oneshot::Sender<()>>,
    ) -> Result<Heard, Unreachable> {
        let server = &hearing.server;
        match body {
            AnswerBody::Events(mut chunks) => {
                let mut decoder = self.decoder();
                while let Some(chunk) = chunks.next().await {
                    let mut events = Vec::new();
                    let taken = decoder.push(&chunk?, &mut events);
                    taken.map_err(|TooLarge(limit)| too_large(server, limit))?;
                    drop(opening.take());
                    for event in events {
                        if hearing.goes_to_call(&event.data) {
                            continue;
                        }
                        if let Some(answer) = self.heard(server, hearing.owner, &event.data) {
                            self.send_back(server, established, answer);
                        }
                    }
                }
                Ok(Heard::Ended)
            }
            AnswerBody::Pipe(mut answer) => {
                let mut told = false;
                while let Some(line) = answer.next().await {
                    let line = line?;
                    told |= self.heard(server, hearing.owner, &line).is_none() && !is_error(&line);
                }
                Ok(if told { Heard::Ended } else { Heard::Nothing })
            }
            AnswerBody::Json(_) | AnswerBody::Nothing => Ok(Heard::Nothing),
        }
    }

    /// Takes one message that no request asked for; returns what the server is to be answered.
    pub(crate) fn heard(&self, server: &Arc<Server>, owner: Owner, raw: &[u8]) -> Option<String> {
        let json = Json::check(raw).ok()?;
        match message::parse(json).ok()? {
            Message::Notification { method, params } => {
                match method.as_ref() {
                    "notifications/tools/list_changed"
                    | "notifications/prompts/list_changed"
                    | "notifications/resources/list_changed" => {
                        let _ = server.nudge.unbounded_send(Nudge::Changed);
                    }
                    "notifications/resources/updated" => {
                        if let Some(uri) = params.get("uri").and_then(Json::as_str) {
                            self.resource_updated((server.key(), uri.into_owned()));
                        }
                    }
                    // What belongs to a request has no place on a stream of its own.
                    "notifications/progress" | "notifications/cancelled" => {}
                    "notifications/message" if !self.wants_log(owner, params.get("level")) => {}
                    _ => {
                        if let Owner::Session(nonce, _) = owner {
                            self.0.hub.tell(nonce, json.text().to_owned());
                        }
                    }
                }
                None
            }
            Message::Request { id, method, .. } => self.answer_to(server, owner, json, id.text(), &method),
            Message::Response { .. } => None,
        }
    }

    fn wants_log(&self, owner: Owner, level: Option<Json<'_>>) -> bool {
        let Owner::Session(nonce, _) = owner else { return false };
        let least = lock(&self.0.sessions.levels).get(nonce).copied().unwrap_or(0);
        shape::severity(level) >= least
    }

    /// Returns the gateway's answer to a server's question; nothing where it went to the session's own stream.
    fn answer_to(
        &self,
        server: &Server,
        owner: Owner,
        json: Json<'_>,
        id: &str,
        method: &str,
    ) -> Option<String> {
        if method == "ping" {
            return Some(message::result(id, "{}"));
        }
        if let Owner::Session(nonce, interaction) = owner
            && shape::can_be_asked(interaction, method, json.get("params"))
        {
            let params = match Screen::new(server, &Record::default()).params(method, json.get("params")) {
                Ok(params) => params,
                Err(Declined(why)) => {
                    let why = server.error(format!("asks its user in vain: {why}")).to_string();
                    let refusal = Refusal::new(code::INVALID_REQUEST, why);
                    self.record_event("elicitation/create", None, Err(&refusal));
                    return Some(message::result(id, DECLINED));
                }
            };
            let (question, address) = ((json, params.as_deref()), &server.address);
            let question = shape::sealed_question(question, id, address, nonce, &self.0.sealer, self.host());
            if self.0.hub.tell(nonce, question) {
                return None;
            }
        }
        Some(message::error(Some(id), &shape::cannot_be_asked(method)))
    }

    /// Sends a message to a server without waiting for it to arrive.
    pub(crate) fn send_back(&self, server: &Arc<Server>, established: &Arc<Established>, message: String) {
        let (gateway, server, established) = (self.clone(), server.clone(), established.clone());
        self.host().spawn(async move {
            let limit = server.settings.timeout;
            let sent = gateway.within(&server, limit, gateway.tell(&server, &established, message)).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "could not send");
            }
        });
    }

    /// Makes a server tell of one resource, unless it does already.
    pub(crate) async fn watch_resource(&self, server: &Arc<Server>, uri: &str) -> Result<(), Unreachable> {
        let established = self.establish(server, &server.shared).await?;
        let mut watched = server.watched.lock().await;
        if watched.get(uri).is_some_and(|watch| watch.established.ptr_eq(&Arc::downgrade(&established))) {
            return Ok(());
        }
        let stop = if established.version.era() == Era::Legacy {
            self.resource_request(server, "resources/subscribe", uri).await?;
            None
        } else {
            Some(self.hear_resource(server, &established, uri).await?)
        };
        watched.insert(uri.to_owned(), Watch { established: Arc::downgrade(&established), stop });
        Ok(())
    }

    /// Opens the stream on which a stateless server tells of one resource; dropping what is returned ends it.
    async fn hear_resource(
        &self,
        server: &Arc<Server>,
        established: &Arc<Established>,
        uri: &str,
    ) -> Result<oneshot::Sender<()>, Unreachable> {
        let wanted = format!("{{\"resourceSubscriptions\":[{}]}}", quote(uri));
        let mut asked = self.subscribe_to(server, established, &wanted).await?;
        let body = std::mem::replace(&mut asked.body, AnswerBody::Nothing);
        let (stop, stopped) = oneshot::channel();
        let stopped = future::select(stopped, server.shared.given_up.wait());
        let (gateway, established) = (self.clone(), established.clone());
        let hearing = Hearing { server: server.clone(), owner: Owner::Shared, lane: Weak::new() };
        let resource = (server.key(), uri.to_owned());
        self.host().spawn(async move {
            let stopped = {
                let heard = std::pin::pin!(gateway.hear(&hearing, &established, body, None));
                matches!(future::select(heard, stopped).await, Either::Right(_))
            };
            drop(asked);
            if stopped {
                return;
            }
            // The server has ended it: again after a while, for as long as somebody wants it.
            hearing.server.watched.lock().await.remove(&resource.1);
            gateway.host().sleep(BEFORE_A_SERVER.after(0)).await;
            if gateway.0.hub.is_subscribed(&resource) {
                gateway.restore(&hearing.server);
            }
        });
        Ok(stop)
    }

    /// Makes a server tell again of every resource that somebody wants to hear of.
    pub(crate) fn restore(&self, server: &Arc<Server>) {
        let uris = self.0.hub.resources_of(&server.key());
        if uris.is_empty() {
            return;
        }
        let (gateway, server) = (self.clone(), server.clone());
        self.host().spawn(async move {
            for uri in uris {
                if let Err(error) = gateway.watch_resource(&server, &uri).await {
                    tracing::debug!(%error, uri, "a resource is no longer watched");
                }
                gateway.resource_updated((server.key(), uri));
            }
        });
    }

    /// Makes a server tell no longer of one resource, if nobody wants to hear of it any more.
    pub(crate) fn unwatch_resource(&self, resource: Resource) {
        let Some(server) = self.server(&resource.0) else { return };
        let gateway = self.clone();
        self.host().spawn(async move {
            let mut watched = server.watched.lock().await;
            if gateway.0.hub.is_subscribed(&resource) {
                return;
            }
            let Some(watch) = watched.remove(&resource.1) else { return };
            if watch.stop.is_none()
                && let Err(error) =
                    gateway.resource_request(&server, "resources/unsubscribe", &resource.1).await
            {
                tracing::debug!(%error, "could not unsubscribe");
            }
        });
    }

    async fn resource_request(
        &self,
        server: &Arc<Server>,
        method: &str,
        uri: &str,
    ) -> Result<(), Unreachable> {
        let ask = Ask::own(method).with("uri", quote(uri));
        match self.result(server, &ask).await? {
            Some(_) => Ok(()),
            None => Err(server.error("has no subscriptions to resources")),
        }
    }

    /// Gives up the link of a session once it has not been used for a while, and then stops looking.
    pub(crate) fn reap(&self, server: &Arc<Server>) {
        let (gateway, server) = (self.clone(), server.clone());
        self.host().spawn(async move {
            loop {
                gateway.host().sleep(Duration::from_millis(IDLE / 10)).await;
                let before = gateway.host().now().saturating_sub(IDLE);
                for link in server.drop_idle_links(before) {
                    gateway.end_session(&server, &link).await;
                }
                if server.has_no_links() {
                    return;
                }
            }
        });
    }

    /// Ends the session of a link that is given up, without waiting for that.
    pub(crate) fn give_up(&self, server: &Arc<Server>, link: Arc<Link>) {
        let (gateway, server) = (self.clone(), server.clone());
        self.host().spawn(async move { gateway.end_session(&server, &link).await });
    }

    /// Tells an HTTP server that a session of its own has ended. Processes notice by themselves.
    pub(crate) async fn end_session(&self, server: &Arc<Server>, link: &Arc<Link>) {
        link.given_up.fire();
        if let Some(established) = link.current.swap(None) {
            self.end_agreement(server, &established).await;
        }
    }

    /// Ends the session of an agreement that no link holds, once its call has had time to end.
    pub(crate) fn leave(&self, server: &Arc<Server>, established: Arc<Established>) {
        if !established.has_own_session() {
            return;
        }
        let (gateway, server) = (self.clone(), server.clone());
        self.host().spawn(async move {
            gateway.host().sleep(server.settings.timeout).await;
            gateway.end_agreement(&server, &established).await;
        });
    }

    async fn end_agreement(&self, server: &Arc<Server>, established: &Established) {
        let Some(target) = server.target.as_ref().filter(|_| established.has_own_session()) else { return };
        let request = || {
            let mut request = crate::upstream::compose::bare(http::Method::DELETE, target, &self.own_via());
            crate::upstream::compose::describe(request.headers_mut(), established, None);
            request
        };
        let ended = self.within(server, server.settings.timeout, self.fetch(server, &request)).await;
        if let Err(error) = ended {
            tracing::debug!(%error, "could not end a session");
        }
    }
}

fn is_error(line: &[u8]) -> bool {
    Json::check(line).is_ok_and(|json| json.get("error").is_some())
}
