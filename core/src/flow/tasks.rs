//! Hearing how tasks go on: for each stream of an agent a stream of its own from each server concerned.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{self, Either};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use super::ask::{AnswerBody, Asked};
use crate::error::{Refusal, Unreachable, code};
use crate::gateway::Gateway;
use crate::hub::Audience;
use crate::observe::Record;
use crate::pipe::Wait;
use crate::ports::Host;
use crate::screen::{Screen, with_declined};
use crate::sorted::SortedMap;
use crate::tasks::{self, Change, Told};
use crate::upstream::Server;
use crate::upstream::compose::Ask;
use crate::upstream::pauses::BEFORE_A_SERVER;
use crate::wire::json::{Json, quote};
use crate::wire::sse::Decoder;
use crate::wire::version::Era;

/// What one server tells about some of its tasks, for as long as any of them can change. Dropping it tells the server
/// that nobody listens any more.
struct News<H: Host> {
    gateway: Gateway<H>,
    server: Arc<Server>,
    /// The tasks that can still change: by the server's own id, the id that the agent knows.
    open: SortedMap<String, String>,
    /// The id of the agent's subscription, as JSON text.
    subscription: String,
    /// Who listens.
    audience: Audience,
    source: BoxStream<'static, Bytes>,
    /// What was missed while there was no stream.
    missed: Vec<Change>,
    /// How often a stream was asked for since something was heard.
    attempts: u32,
    /// The record of no request: what is heard comes with none.
    record: Record,
}

impl<H: Host> Gateway<H> {
    /// Makes servers tell of tasks. Returns those of which they will, by the ids that the agent knows, and the
    /// notifications for the agent, which never end by themselves.
    pub(super) async fn hear_tasks(
        &self,
        wanted: tasks::Wanted,
        subscription: &str,
        audience: &Audience,
    ) -> (Vec<String>, BoxStream<'static, String>) {
        let snapshot = self.snapshot_of(&audience.who.0);
        let concerned = wanted.into_iter().filter_map(|(identity, ids)| {
            Some((snapshot.servers.values().find(|server| server.identity == identity)?, ids))
        });
        let asking = concerned.map(|(server, ids)| self.hear_tasks_of(server, ids, (subscription, audience)));
        let (mut acknowledged, mut all) = (Vec::new(), Vec::new());
        for news in future::join_all(asking).await {
            match news {
                Ok(news) => {
                    acknowledged.extend(news.open.values().cloned());
                    all.push(news.into_stream());
                }
                Err(error) => tracing::debug!(%error, "cannot hear of tasks"),
            }
        }
        (acknowledged, stream::select_all(all).chain(stream::pending()).boxed())
    }

    /// Tells a server that what one of its tasks asks for by these keys was declined.
    pub(super) fn decline_inputs(&self, server: &Arc<Server>, task: &str, keys: &[String]) {
        if keys.is_empty() {
            return;
        }
        let (gateway, server, task) = (self.clone(), server.clone(), task.to_owned());
        let responses = with_declined(None, keys);
        self.host().spawn(async move {
            let ask = Ask {
                capabilities: tasks::DECLARED.into(),
                name: Some(task.as_str().into()),
                ..Ask::own("tasks/update").with(tasks::ID, quote(&task)).with("inputResponses", responses)
            };
            if let Err(error) = gateway.result(&server, &ask).await {
                tracing::debug!(%error, "cannot decline what a task asks for");
            }
        });
    }

    async fn hear_tasks_of(
        &self,
        server: &Arc<Server>,
        ids: SortedMap<String, String>,
        (subscription, audience): (&str, &Audience),
    ) -> Result<News<H>, Unreachable> {
        let mut news = News {
            gateway: self.clone(),
            server: server.clone(),
            open: ids,
            subscription: subscription.to_owned(),
            audience: audience.clone(),
            source: stream::empty().boxed(),
            missed: Vec::new(),
            attempts: 0,
            record: Record::default(),
        };
        news.connect().await?;
        Ok(news)
    }
}

impl<H: Host> News<H> {
    fn screen(&self) -> Screen<'_> {
        Screen::new(&self.server, &self.record)
    }

    fn into_stream(self) -> BoxStream<'static, String> {
        stream::unfold(self, |mut news| async move { Some((news.next().await?, news)) }).boxed()
    }

    /// Waits for the next notification; nothing once no task can change any more.
    async fn next(&mut self) -> Option<String> {
        while !self.open.is_empty() {
            if let Some(change) = self.missed.pop() {
                return self.note(change);
            }
            let given_up = self.server.shared.given_up.wait();
            let heard = match future::select(given_up, std::pin::pin!(self.hear())).await {
                Either::Left(_) => None,
                Either::Right((change, _)) => Some(change),
            };
            match heard {
                None => self.turn_to_successor()?,
                Some(None) => {}
                Some(Some(change)) => return self.note(change),
            }
        }
        None
    }

    /// Waits for what the server says next; where its stream has ended, for another stream.
    async fn hear(&mut self) -> Option<Change> {
        let Some(raw) = self.source.next().await else {
            self.reconnect().await;
            return None;
        };
        self.attempts = 0;
        match tasks::told(&raw, &self.open, &self.subscription, self.screen()) {
            Told::Changed(change) => Some(change),
            _ => None,
        }
    }

    /// Leaves a server that another configuration has replaced for what it is now, with other settings; nothing where
    /// it is gone, or another server has its name.
    fn turn_to_successor(&mut self) -> Option<()> {
        self.source = stream::empty().boxed();
        self.attempts = 0;
        let successor = self.gateway.server(&self.server.key());
        self.server = successor.filter(|server| server.identity == self.server.identity)?;
        Some(())
    }

    /// Returns what the agent is told; nothing where it may see nothing of the server any more.
    fn note(&mut self, change: Change) -> Option<String> {
        let view = self.gateway.shown_to(&self.audience)?;
        if view.hides(&self.server.name) {
            return None;
        }
        if change.is_last {
            self.open.remove(&change.id);
        }
        if !change.declined.is_empty() {
            let why = self.server.error("asks its user in vain for what one of its tasks wants").to_string();
            let refusal = Refusal::new(code::INVALID_REQUEST, why);
            self.gateway.record_event("elicitation/create", None, Err(&refusal));
        }
        self.gateway.decline_inputs(&self.server, &change.id, &change.declined);
        Some(change.text)
    }

    /// Asks for a stream, and keeps those tasks that the server will tell of.
    async fn connect(&mut self) -> Result<(), Unreachable> {
        let server = self.server.clone();
        let ids: Vec<_> = self.open.keys().map(|id| quote(id)).collect();
        let wanted = format!("{{\"taskIds\":[{}]}}", ids.join(","));
        let ask = Ask {
            capabilities: tasks::DECLARED.into(),
            ..Ask::own("subscriptions/listen").with("notifications", wanted)
        };
        if self.gateway.establish(&server, &server.shared).await?.version.era() == Era::Legacy {
            return Err(server.error("has no tasks"));
        }
        let asked = self.gateway.ask(&server, &server.shared, &ask, Wait::Own).await?;
        self.source = messages(asked, self.gateway.decoder());
        let first =
            self.source.next().map(|first| first.ok_or_else(|| server.error("does not tell of tasks")));
        let first = self.gateway.within(&server, server.settings.timeout, first).await?;
        let Told::Acknowledged(ids) = tasks::told(&first, &self.open, &self.subscription, self.screen())
        else {
            return Err(server.error("does not tell of tasks"));
        };
        self.open.retain(|own, _| ids.contains(own));
        Ok(())
    }

    /// Asks for another stream after a while, and for what has changed meanwhile.
    async fn reconnect(&mut self) {
        self.gateway.host().sleep(BEFORE_A_SERVER.after(self.attempts)).await;
        self.attempts = self.attempts.saturating_add(1);
        if let Err(error) = self.connect().await {
            tracing::debug!(%error, "cannot hear of tasks again");
            return;
        }
        let open: Vec<_> = self.open.keys().cloned().collect();
        for id in open {
            let ask = Ask {
                capabilities: tasks::DECLARED.into(),
                name: Some(id.as_str().into()),
                ..Ask::own("tasks/get").with(tasks::ID, quote(&id))
            };
            match self.gateway.result(&self.server, &ask).await {
                Ok(task) => {
                    let task = task.as_deref().and_then(|text| Json::check(text.as_bytes()).ok());
                    let change = task
                        .and_then(|task| tasks::missed(task, &self.open, &self.subscription, self.screen()));
                    self.missed.extend(change);
                }
                Err(error) => tracing::debug!(%error, "cannot ask for a task"),
            }
        }
    }
}

/// Returns the messages of an answer up to its end or its first fault. Dropping them gives up the answer.
fn messages<H: Host>(mut asked: Asked<H>, decoder: Decoder) -> BoxStream<'static, Bytes> {
    let messages = match std::mem::replace(&mut asked.body, AnswerBody::Nothing) {
        AnswerBody::Events(chunks) => chunks
            .scan(decoder, |decoder, chunk| {
                let mut events = Vec::new();
                let taken = chunk.ok().and_then(|chunk| decoder.push(&chunk, &mut events).ok());
                future::ready(taken.map(|()| stream::iter(events.into_iter().map(|event| event.data))))
            })
            .flatten()
            .boxed(),
        AnswerBody::Pipe(answer) => answer.scan((), |(), line| future::ready(line.ok())).boxed(),
        AnswerBody::Json(_) | AnswerBody::Nothing => stream::empty().boxed(),
    };
    let held = asked;
    messages
        .inspect(move |_| {
            let _ = &held;
        })
        .boxed()
}
