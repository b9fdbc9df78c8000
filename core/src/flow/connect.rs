//! Getting to know a server: which era it speaks, and a session where it wants one. One handshake at a time.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future;

use super::ask::AnswerBody;
use crate::catalog::capability;
use crate::config::Transport;
use crate::error::Unreachable;
use crate::front::LEVELS;
use crate::gateway::Gateway;
use crate::observe::Lasting;
use crate::pipe::{Pipe, PipeAnswer, Wait};
use crate::ports::{Host, Place};
use crate::upstream::compose::{self, Ask};
use crate::upstream::handshake::{self, Introduction, Probed, Reply};
use crate::upstream::{Established, Link, Owner, Server, lock};
use crate::wire::http as names;
use crate::wire::json::quote;
use crate::wire::message;
use crate::wire::version::{Era, Version};

/// The longest that a question of the handshake may take over HTTP.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(30);
/// The longest that the first request over a link waits for the stream on which its server tells and asks.
const LISTENING: Duration = Duration::from_secs(1);
/// A process that stops sooner than this after its handshake counts as failed, in milliseconds.
const SHORT_LIFE: u64 = 10_000;

impl<H: Host> Gateway<H> {
    /// Returns what was agreed on with the server, after a handshake where nothing is or it no longer holds.
    pub(crate) async fn establish(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
    ) -> Result<Arc<Established>, Unreachable> {
        if server.idle.is_some() {
            link.used.store(self.host().now(), Ordering::Relaxed);
        }
        if let Some(established) = link.usable() {
            return Ok(established);
        }
        server.may_be_reached()?;
        let mut attempts = link.handshake.lock().await;
        if let Some(established) = link.usable() {
            return Ok(established);
        }
        let now = self.host().now();
        if let Some(reason) = link.current.swap(None).and_then(|e| e.pipe.as_ref()?.closed()) {
            if now.saturating_sub(attempts.made) < SHORT_LIFE {
                attempts.crashed(self.without_secrets(server, server.error(reason)), now);
            } else {
                attempts.failures = 0;
                attempts.crashes = 0;
            }
        } else if attempts.last.is_none() {
            attempts.failures = 0;
        }
        if let Some(error) = attempts.too_early(now) {
            return Err(error);
        }
        if self.0.stopping.load(Ordering::Relaxed) {
            return Err(server.error("is not asked any more: the gateway is stopping"));
        }
        // Rare and large: kept apart, so that the future of an ordinary call stays small.
        match Box::pin(self.shake_hands(server, link)).await {
            Ok(established) => {
                let established = Arc::new(established);
                attempts.made = self.host().now();
                attempts.last = None;
                link.current.store(Some(established.clone()));
                if link.given_up.has_fired() {
                    // Whoever asked may still use it; nobody else will, or let go of it.
                    link.forget(&established);
                    self.leave(server, established.clone());
                }
                self.agreed(server, link, &established).await;
                Ok(established)
            }
            Err(error) => {
                let error = self.without_secrets(server, error);
                // What its user has to do can be done at any moment.
                if error.lack.is_none() {
                    attempts.failed(error.clone(), self.host().now());
                }
                Err(error)
            }
        }
    }

    /// Begins what goes on for as long as an agreement holds. A session's own link is heard before anything is asked
    /// over it: what a server asks while nobody listens is lost. So is what it tells of changes between the reading of
    /// its lists and the opening of its stream, which matters where servers are kept only once somebody listens.
    async fn agreed(&self, server: &Arc<Server>, link: &Arc<Link>, established: &Arc<Established>) {
        let listening = self.watch(server, link, established);
        if link.owner != Owner::Shared || matches!(self.host().place(), Place::Owner | Place::Function) {
            future::select(listening, std::pin::pin!(self.host().sleep(LISTENING))).await;
        }
        self.set_up_log(server, link, established);
        if link.owner == Owner::Shared {
            self.restore(server);
        }
    }

    /// Tells a session-based server from which level on to log: everything where several agents' calls go, since each
    /// gets what it asked for; what the session asked for on its own.
    fn set_up_log(&self, server: &Arc<Server>, link: &Arc<Link>, established: &Arc<Established>) {
        let level = match link.owner {
            Owner::Shared | Owner::Lane(_) => Some(0),
            Owner::Session(nonce, _) => lock(&self.0.sessions.levels).get(nonce).copied(),
        };
        let logs = established.version.era() == Era::Legacy
            && capability(&established.introduction, "logging").is_some();
        if let Some(level) = level.filter(|_| logs) {
            let (gateway, server, established) = (self.clone(), server.clone(), established.clone());
            self.host().spawn(async move { gateway.set_level(&server, &established, level).await });
        }
    }

    /// Tells a server from which level on to log.
    pub(crate) async fn set_level(&self, server: &Arc<Server>, established: &Arc<Established>, level: usize) {
        let ask = Ask::own("logging/setLevel").with("level", quote(LEVELS[level]));
        match self.put(server, established, &ask, Wait::Own).await {
            Ok(mut asked) => {
                let body = std::mem::replace(&mut asked.body, AnswerBody::Nothing);
                let answer = self.message_of(body, server, asked.id);
                let _ = self.within(server, server.settings.timeout, answer).await;
                asked.cancel.disarm();
            }
            Err(error) => tracing::debug!(%error, "could not set the log level"),
        }
    }

    async fn shake_hands(&self, server: &Arc<Server>, link: &Arc<Link>) -> Result<Established, Unreachable> {
        let mut established = match &server.settings.transport {
            Transport::Http(_) | Transport::Sse(_) => self.shake_hands_http(server, link).await,
            #[cfg(feature = "hosting")]
            Transport::Stdio(command) => self.shake_hands_pipe(server, link, command).await,
            #[cfg(not(feature = "hosting"))]
            Transport::Stdio(command) => {
                // It says why no program can be started.
                let (_, end, _) = crate::pipe::pipe(server.name.as_str(), crate::pipe::Users::One);
                let launched = self.host().launch(&server.name, command, end, 0).await;
                launched.and_then(|()| Err(server.error("is a program, and none is started here")))
            }
        }?;
        tracing::debug!(server = %server.name, version = %established.version, "connected");
        if established.introduction.capabilities.is_empty() {
            established.introduction.capabilities = "{\"tools\":{},\"prompts\":{},\"resources\":{}}".into();
        }
        Ok(established)
    }

    async fn shake_hands_http(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
    ) -> Result<Established, Unreachable> {
        let sse_first = server.speaks_sse.load(Ordering::Relaxed);
        if sse_first && let Some(established) = self.shake_hands_sse(server, link).await? {
            return Ok(established);
        }
        let mut established = blank(Version::MODERN, None);
        if link.owner == Owner::Shared {
            let reply = self.question(server, &established, &Ask::own("server/discover")).await?;
            match handshake::after_discover(&reply) {
                Probed::Modern(version, introduction) => {
                    return Ok(Established { version, introduction, ..established });
                }
                Probed::Failed(why) => return Err(server.error(why)),
                Probed::Legacy => {}
            }
        }
        established.version = Version::LEGACY;
        let initialize = initialize(link);
        let reply = self.question(server, &established, &initialize).await?;
        if !sse_first
            && handshake::takes_no_posts(&reply)
            && let Some(established) = self.shake_hands_sse(server, link).await?
        {
            return Ok(established);
        }
        self.initialized(server, link, established, &reply).await
    }

    /// Asks over HTTP and reads the whole reply, whatever it is.
    async fn question(
        &self,
        server: &Arc<Server>,
        established: &Established,
        ask: &Ask<'_>,
    ) -> Result<Reply, Unreachable> {
        let limit = HANDSHAKE.min(server.settings.timeout);
        self.within(server, limit, async {
            let id = self.next_id();
            let (head, body) = self.post(server, established, ask, id).await?;
            let session = head.headers.get(names::SESSION_ID).cloned();
            let body = match body {
                AnswerBody::Nothing => Bytes::new(),
                body => self.message_of(body, server, id).await.unwrap_or_default(),
            };
            Ok(Reply { status: Some(head.status), session, body })
        })
        .await
    }

    /// Ends the handshake of a session with what the server said to `initialize`.
    pub(super) async fn initialized(
        &self,
        server: &Arc<Server>,
        link: &Link,
        established: Established,
        reply: &Reply,
    ) -> Result<Established, Unreachable> {
        let (version, introduction) = handshake::after_initialize(reply).map_err(|why| {
            let refused = reply.status.is_none_or(|status| status.is_client_error() || status.is_success());
            if refused && link.owner != Owner::Shared {
                server.has_no_sessions.store(true, Ordering::Relaxed);
            }
            server.error(why)
        })?;
        let session = reply.session.clone();
        let lasting = Lasting::begin(self.host().observer(), server, version);
        let established = Established { version, introduction, session, _lasting: lasting, ..established };
        let told = message::notification("notifications/initialized", "");
        self.within(server, HANDSHAKE, self.tell(server, &established, told)).await?;
        Ok(established)
    }

    pub(super) async fn write(
        &self,
        pipe: &Pipe,
        ask: &Ask<'_>,
        version: Version,
    ) -> Result<PipeAnswer, Unreachable> {
        let id = self.next_id();
        let answer = pipe.expect(id, Wait::Own);
        pipe.send(compose::message(ask, version, id)).await?;
        Ok(answer)
    }
}

impl Link {
    /// Returns what was agreed on, if it still holds as far as this end can tell.
    fn usable(&self) -> Option<Arc<Established>> {
        let current = self.current.load_full()?;
        let open = current.pipe.as_ref().is_none_or(|pipe| pipe.closed().is_none());
        open.then_some(current)
    }
}

pub(super) fn blank(version: Version, pipe: Option<Pipe>) -> Established {
    let introduction = Introduction::default();
    let (session, is_borrowed) = (None, false);
    Established { version, session, is_borrowed, pipe, introduction, _lasting: Lasting::default() }
}

pub(super) fn initialize(link: &Link) -> Ask<'static> {
    let params = handshake::initialize_params(&compose::declared(link.owner));
    let mut ask = Ask::own("initialize");
    let params = crate::wire::json::Json::check(params.as_bytes()).expect("we wrote it");
    ask.params = params
        .members()
        .map(|(k, v)| (k.into_owned().into(), Cow::<str>::Owned(v.text().to_owned()).into()))
        .collect();
    ask
}

pub(super) fn reply_of(
    server: &Server,
    message: Option<Result<Bytes, Unreachable>>,
) -> Result<Reply, Unreachable> {
    let body = message.ok_or_else(|| server.error("closed its output"))??;
    Ok(Reply { body, ..Reply::default() })
}
