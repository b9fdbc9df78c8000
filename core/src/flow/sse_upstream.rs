//! Servers that speak HTTP+SSE (2024-11-05): one event stream carries everything from the server, and each message to
//! it is a POST. Together they are a pipe (ADR 0009).
//!
//! **Messages are posted to the origin of the configured URL only**, whatever the server's first event names.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{self, Either};
use http::{Method, StatusCode, header};

use super::ask::AnswerBody;
use super::connect::{HANDSHAKE, blank, initialize, reply_of};
use super::too_large;
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::pipe::{Pipe, PipeEnd, PipeInbox, Users, pipe};
use crate::ports::{Chunks, Host};
use crate::upstream::{Established, Link, Owner, Server, Target, compose, handshake};
use crate::wire::http as names;
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::sse::{Decoder, Event, TooLarge};
use crate::wire::version::Version;

/// How long a message that is no request may take to be posted: what is written after it waits.
const TOLD: Duration = Duration::from_secs(10);

impl<H: Host> Gateway<H> {
    /// Shakes hands over HTTP+SSE; nothing where the server opens no event stream.
    pub(super) async fn shake_hands_sse(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
    ) -> Result<Option<Established>, Unreachable> {
        let opened = self.open_pipe(server, link.owner).await?;
        server.speaks_sse.store(opened.is_some(), Ordering::Relaxed);
        let Some(pipe) = opened else { return Ok(None) };
        let mut answer = self.write(&pipe, &initialize(link), Version::LEGACY).await?;
        let limit = HANDSHAKE.min(server.settings.timeout);
        let reply = self.within(server, limit, async { reply_of(server, answer.next().await) }).await?;
        let established = blank(Version::LEGACY, Some(pipe));
        self.initialized(server, link, established, &reply).await.map(Some)
    }

    /// Opens the server's event stream and ties a pipe to it, once the server has named where to post.
    async fn open_pipe(&self, server: &Arc<Server>, owner: Owner) -> Result<Option<Pipe>, Unreachable> {
        let Some(target) = &server.target else { return Ok(None) };
        let request = || {
            let mut request = compose::bare(Method::GET, target, &self.own_via());
            request.headers_mut().insert(header::ACCEPT, names::EVENT_STREAM);
            request
        };
        let limit = HANDSHAKE.min(server.settings.timeout);
        let (head, body) = self.within(server, limit, self.fetch(server, &request)).await?;
        if let Some(reason) = handshake::refusal(head.status) {
            return Err(server.error(reason));
        }
        let (StatusCode::OK, AnswerBody::Events(chunks)) = (head.status, body) else { return Ok(None) };
        let mut events = Events::new(server.clone(), chunks, self.decoder());
        let first = self.within(server, limit, async { Ok(events.next().await) }).await;
        let first =
            first.map_err(|_| server.error(NO_ENDPOINT))??.ok_or_else(|| server.error(NO_ENDPOINT))?;
        let uri = handshake::posts_go_to(&target.uri, &first).map_err(|why| server.error(why))?;
        let users = if owner == Owner::Shared { Users::Many } else { Users::One };
        let (core_end, end, unasked) = pipe(server.name.as_str(), users);
        self.hear_pipe(server, owner, core_end.downgrade(), unasked);
        let target = Target { uri, headers: target.headers.clone() };
        self.host().spawn_lasting(self.clone().carry_pipe(server.clone(), target, events, end));
        Ok(Some(core_end))
    }

    /// Carries a pipe's messages both ways until the server ends its stream or nobody needs it any more.
    async fn carry_pipe(self, server: Arc<Server>, target: Target, events: Events, end: PipeEnd) {
        let inbox = end.inbox();
        let receiving = std::pin::pin!(events.feed(&inbox));
        let posting = std::pin::pin!(self.post_lines(&server, &target, end));
        if let Either::Left((reason, _)) = future::select(receiving, posting).await {
            inbox.close(reason);
        }
    }

    /// Posts what is written to a pipe, in its order but for requests: a server may answer these late, and what is
    /// written after them must not wait for it.
    async fn post_lines(&self, server: &Arc<Server>, target: &Target, mut end: PipeEnd) {
        while let Some(line) = end.next().await {
            let message = line.slice(..line.len() - 1);
            let posting =
                self.clone().post_line(server.clone(), target.clone(), message.clone(), end.inbox());
            if request_id(&message).is_some() {
                self.host().spawn(posting);
            } else {
                posting.await;
            }
        }
    }

    async fn post_line(self, server: Arc<Server>, target: Target, line: Bytes, inbox: PipeInbox) {
        let id = request_id(&line);
        let request = || compose::post(&target, &self.own_via(), line.clone());
        let limit = server.settings.timeout;
        let limit = if id.is_some() { limit } else { limit.min(TOLD) };
        let posted = self.within(&server, limit, self.fetch(&server, &request)).await;
        let error = match posted {
            Ok((head, _)) if head.status.is_success() => return,
            Ok((head, _)) if head.status == StatusCode::NOT_FOUND => {
                let reason = format!("no longer knows its event stream (HTTP {})", head.status);
                return inbox.close(reason);
            }
            Ok((head, _)) => {
                let error = server.error(format!("refused a message with HTTP {}", head.status));
                if head.status.is_server_error() { error } else { error.refused() }
            }
            Err(error) => error,
        };
        tracing::debug!(%error, "could not post");
        if let Some(id) = id {
            inbox.fail(id, error);
        }
    }
}

const NO_ENDPOINT: &str = "opened an event stream and did not say where to post (no `endpoint` event)";

/// Returns the id of a request of ours.
fn request_id(line: &[u8]) -> Option<u64> {
    match message::parse(Json::check(line).ok()?) {
        Ok(Message::Request { id, .. }) => id.text().parse().ok(),
        _ => None,
    }
}

/// The events of a stream, one by one.
struct Events {
    server: Arc<Server>,
    chunks: Chunks,
    decoder: Decoder,
    ready: VecDeque<Event>,
}

impl Events {
    fn new(server: Arc<Server>, chunks: Chunks, decoder: Decoder) -> Self {
        Self { server, chunks, decoder, ready: VecDeque::new() }
    }

    /// Waits for the next event that carries something; nothing once the stream has ended.
    async fn next(&mut self) -> Result<Option<Event>, Unreachable> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
            }
            let Some(chunk) = self.chunks.next().await else { return Ok(None) };
            let mut events = Vec::new();
            let taken = self.decoder.push(&chunk?, &mut events);
            taken.map_err(|TooLarge(limit)| too_large(&self.server, limit))?;
            self.ready.extend(events);
        }
    }

    /// Hands every message to whom it concerns; returns why there are no more, continuing "server X ...".
    async fn feed(mut self, inbox: &PipeInbox) -> String {
        loop {
            match self.next().await {
                Ok(Some(event)) if event.name.as_deref().unwrap_or("message") == "message" => {
                    inbox.receive(event.data);
                }
                Ok(Some(_)) => {}
                Ok(None) => return "has ended its event stream".into(),
                Err(error) => return format!("has lost its event stream: it {}", error.message),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::names::ServerName;
    use crate::pipe::Wait;
    use crate::ports::Clock;
    use crate::testing::{Memory, gateway, json_answer, server, silence};
    use futures::FutureExt;

    fn endpoint() -> (Arc<Server>, Target) {
        let settings =
            crate::config::Server { timeout: Duration::from_mins(1), ..server("http://a.test/sse") };
        let (server, _) = Server::new(ServerName::parse("a").unwrap(), settings, 1);
        let target = server.target.clone().unwrap();
        (server, target)
    }

    #[test]
    fn a_refused_post_is_no_failure_of_the_server() {
        for status in [400, 401, 403, 429, 500, 503] {
            let host = Memory::new(move |_| json_answer(status, ""));
            let (server, target) = endpoint();
            let (pipe, end, _unasked) = pipe("a", Users::Many);
            let mut answer = pipe.expect(1, Wait::Call);
            let call = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#);
            host.run(gateway(&host, &[]).post_line(server, target, call, end.inbox()));
            let error = answer.next().now_or_never().flatten().expect("an outcome").expect_err("no answer");
            let expected = if status < 500 { Failure::Refused } else { Failure::Faulty };
            assert_eq!(error.failure, expected, "{error}");
        }
    }

    #[test]
    fn a_message_that_is_no_request_keeps_others_waiting_for_a_short_time_only() {
        let host = Memory::new(|_| silence());
        let took = |line: &'static str| {
            let (server, target) = endpoint();
            let (_pipe, end, _unasked) = pipe("a", Users::Many);
            let before = host.now();
            host.run(gateway(&host, &[]).post_line(
                server,
                target,
                Bytes::from_static(line.as_bytes()),
                end.inbox(),
            ));
            Duration::from_millis(host.now() - before)
        };
        assert_eq!(took(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#), TOLD);
        assert_eq!(took(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#), Duration::from_mins(1));
    }
}
