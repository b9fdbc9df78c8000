//! Putting one request to one server, over whatever leads there, in whatever era it speaks.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method, StatusCode, header};

use super::trial::Trial;
use super::{collect, too_large};
use crate::body::Whole;
use crate::catalog::Kind;
use crate::error::{Unreachable, code};
use crate::gateway::Gateway;
use crate::observe::Record;
use crate::pipe::{PipeAnswer, Wait};
use crate::plan::mirrored;
use crate::ports::{Chunks, Host};
use crate::upstream::compose::{self, Ask};
use crate::upstream::handshake::{about_meta, shorten};
use crate::upstream::{Established, Link, Server, lock};
use crate::wire::http as names;
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::sse::{Decoder, Event, TooLarge};
use crate::wire::version::Era;

/// How many redirects within one origin are followed.
const REDIRECTS: usize = 3;
/// The most that is read of an answer that is not `200 OK`, in bytes.
const REFUSAL: usize = 4 << 20;

/// A request that a server is answering.
#[derive(Debug)]
pub(crate) struct Asked<H: Host> {
    pub(crate) id: u64,
    pub(crate) established: Arc<Established>,
    pub(crate) body: AnswerBody,
    pub(crate) cancel: Cancel<H>,
    /// Whether the server says that the headers do not fit the request, and so has not acted on it.
    mismatch: bool,
    trial: Option<Box<Trial>>,
}

/// Makes a request, each time that it is sent.
pub(super) type MakeRequest<'a> = dyn Fn() -> http::Request<Whole> + Send + Sync + 'a;

/// How an answer comes.
pub(crate) enum AnswerBody {
    /// One JSON-RPC message.
    Json(Chunks),
    /// Server-sent events, one message each.
    Events(Chunks),
    /// Messages on a pipe.
    Pipe(PipeAnswer),
    /// Nothing: it was a notification, or the answer comes otherwise.
    Nothing,
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json(_) => "Json",
            Self::Events(_) => "Events",
            Self::Pipe(_) => "Pipe",
            Self::Nothing => "Nothing",
        })
    }
}

/// Tells the server, unless it is disarmed before it is dropped, that nobody wants its answer any more.
pub(crate) struct Cancel<H: Host> {
    gateway: Gateway<H>,
    server: Arc<Server>,
    established: Arc<Established>,
    id: Option<u64>,
    pub(super) record: Record,
}

impl<H: Host> std::fmt::Debug for Cancel<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cancel({:?})", self.id)
    }
}

impl<H: Host> Cancel<H> {
    /// The answer has come: there is nothing to cancel.
    pub(crate) fn disarm(&mut self) {
        self.id = None;
        self.record.received();
    }
}

impl<H: Host> Drop for Cancel<H> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.gateway.cancel(&self.server, &self.established, id);
        }
    }
}

impl<H: Host> Asked<H> {
    /// The answer has come.
    pub(crate) fn answered(&mut self) {
        self.cancel.disarm();
        self.asks();
    }

    /// The server has come to ask something, which says as much for it as an answer.
    pub(crate) fn asks(&mut self) {
        if let Some(trial) = self.trial.take() {
            trial.answered(self.cancel.gateway.host().now());
        }
    }

    /// No answer will come.
    pub(crate) fn failed(&mut self, error: &Unreachable) {
        if let Some(trial) = self.trial.take() {
            trial.failed(error, self.cancel.gateway.host().now());
        }
    }
}

impl<H: Host> Gateway<H> {
    /// Asks a server, unless its circuit is open. Asks again, once, where the server has certainly not acted on the
    /// request: on a new connection where it no longer knows this one, with new headers where they did not fit.
    pub(crate) async fn ask(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
        ask: &Ask<'_>,
        wait: Wait,
    ) -> Result<Asked<H>, Unreachable> {
        let trial = match wait {
            Wait::Call => {
                let trial = Trial::begin(server, self.host().now());
                Some(Box::new(trial.inspect_err(|_| self.unspend(ask.stamp))?))
            }
            Wait::Own => None,
        };
        match self.ask_twice(server, link, ask, wait).await {
            Ok(asked) => Ok(Asked { trial, ..asked }),
            Err(error) => {
                let error = self.without_secrets(server, error);
                ask.record.failed();
                if let Some(trial) = trial {
                    trial.failed(&error, self.host().now());
                }
                Err(error)
            }
        }
    }

    async fn ask_twice(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
        ask: &Ask<'_>,
        wait: Wait,
    ) -> Result<Asked<H>, Unreachable> {
        let established = self.establish(server, link).await.map_err(Unreachable::absent)?;
        match self.put(server, &established, ask, wait).await {
            Err(error) if error.undelivered => {
                link.forget(&established);
                let established = self.establish(server, link).await.map_err(Unreachable::absent)?;
                self.put(server, &established, ask, wait).await
            }
            Ok(asked) if asked.mismatch && wait == Wait::Call => {
                // Rare and large: kept apart, so that the future of an ordinary call stays small.
                Box::pin(async {
                    match self.with_new_headers(server, ask).await {
                        Some(ask) => self.put(server, &established, &ask, wait).await,
                        None => Ok(asked),
                    }
                })
                .await
            }
            outcome => outcome,
        }
    }

    /// Reads the server's lists again and returns the call with the headers that they ask for, where those differ
    /// (2026-07-28, custom headers: a client that is told of a mismatch should do so once).
    async fn with_new_headers<'a>(&self, server: &Arc<Server>, ask: &Ask<'a>) -> Option<Ask<'a>> {
        self.refresh(server)
            .await
            .inspect_err(|error| tracing::debug!(%error, "cannot read the lists again"))
            .ok()?;
        let offer = server.offer.load_full()?;
        let tool =
            offer.items(Kind::Tools).iter().find(|tool| Some(tool.name.as_str()) == ask.name.as_deref())?;
        let arguments = ask.params.iter().find(|(key, _)| key == "arguments");
        let arguments = arguments.and_then(|(_, text)| Json::check(text.as_bytes()).ok());
        let headers = mirrored(&tool.parameters, arguments);
        let differ =
            headers.len() != ask.headers.len() || headers.iter().any(|header| !ask.headers.contains(header));
        differ.then(|| Ask { headers, ..ask.clone() })
    }

    /// Puts a request under what was agreed on.
    pub(crate) async fn put(
        &self,
        server: &Arc<Server>,
        established: &Arc<Established>,
        ask: &Ask<'_>,
        wait: Wait,
    ) -> Result<Asked<H>, Unreachable> {
        let id = self.next_id();
        ask.record.sent(established.version);
        let mut cancel = Cancel {
            gateway: self.clone(),
            server: server.clone(),
            established: established.clone(),
            id: Some(id),
            record: ask.record.clone(),
        };
        if let Some(pipe) = &established.pipe {
            let answer = pipe.expect(id, wait);
            pipe.send(compose::message(ask, established.version, id)).await?;
            return Ok(Asked {
                id,
                established: established.clone(),
                body: AnswerBody::Pipe(answer),
                cancel,
                mismatch: false,
                trial: None,
            });
        }
        let posted = std::pin::pin!(async {
            match self.post(server, established, ask, id).await? {
                (head, body) if head.status == StatusCode::OK => Ok((body, false)),
                (head, body) => refused(server, established, &head, body, id).await,
            }
        });
        match self.within(server, ask.patience(server), posted).await {
            Ok((body, mismatch)) => {
                Ok(Asked { id, established: established.clone(), body, cancel, mismatch, trial: None })
            }
            Err(error) => {
                if error.undelivered {
                    cancel.disarm();
                }
                Err(error)
            }
        }
    }

    /// Posts a request and returns the head of the answer, its body told apart by its media type.
    pub(crate) async fn post(
        &self,
        server: &Server,
        established: &Established,
        ask: &Ask<'_>,
        id: u64,
    ) -> Result<(http::response::Parts, AnswerBody), Unreachable> {
        let target = server.target.as_ref().ok_or_else(|| server.error("has no URL"))?;
        let via = ask.via.clone().unwrap_or_else(|| self.own_via());
        let body = compose::message(ask, established.version, id);
        let request = || {
            let mut request = compose::post(target, &via, body.clone());
            compose::describe(request.headers_mut(), established, Some(ask));
            if ask.method == "initialize" {
                // The revision is only being negotiated.
                request.headers_mut().remove(names::PROTOCOL_VERSION);
            }
            request
        };
        self.fetch(server, &request).await
    }

    /// Sends a message that is not a request: a notification, or an answer to the server.
    pub(crate) async fn tell(
        &self,
        server: &Server,
        established: &Established,
        message: String,
    ) -> Result<(), Unreachable> {
        if let Some(pipe) = &established.pipe {
            return pipe.send(message).await;
        }
        let target = server.target.as_ref().ok_or_else(|| server.error("has no URL"))?;
        let message = Bytes::from(message);
        let request = || {
            let mut request = compose::post(target, &self.own_via(), message.clone());
            compose::describe(request.headers_mut(), established, None);
            request
        };
        self.fetch(server, &request).await.map(|_| ())
    }

    /// Opens the stream on which a session-based server speaks unasked, or takes a broken one up again; nothing where
    /// the server has none.
    pub(crate) async fn open_stream(
        &self,
        server: &Server,
        established: &Established,
        last_event: Option<&str>,
    ) -> Result<Option<AnswerBody>, Unreachable> {
        let target = server.target.as_ref().ok_or_else(|| server.error("has no URL"))?;
        let request = || {
            let mut request = compose::bare(Method::GET, target, &self.own_via());
            compose::describe(request.headers_mut(), established, None);
            let headers = request.headers_mut();
            headers.insert(header::ACCEPT, names::EVENT_STREAM);
            if let Some(value) = last_event.and_then(|id| id.parse().ok()) {
                headers.insert(names::LAST_EVENT_ID, value);
            }
            request
        };
        match self.fetch(server, &request).await? {
            (head, body @ AnswerBody::Events(_)) if head.status == StatusCode::OK => Ok(Some(body)),
            (head, _) if head.status != StatusCode::TOO_MANY_REQUESTS && !head.status.is_server_error() => {
                Ok(None)
            }
            (head, _) => Err(server.error(format!("has no stream of its own (HTTP {})", head.status))),
        }
    }

    /// Fetches what `request` makes, with what the server's configuration adds to it. **Whatever is sent to a server goes
    /// through here.**
    pub(super) async fn fetch(
        &self,
        server: &Server,
        request: &MakeRequest<'_>,
    ) -> Result<(http::response::Parts, AnswerBody), Unreachable> {
        if let Some(sign_on) = server.sign_on() {
            Box::pin(self.fetch_signed_in(server, sign_on, request)).await
        } else if let Some(consent) = server.consent() {
            Box::pin(self.fetch_connected(server, consent, request)).await
        } else {
            self.fetch_unsigned(server, request).await
        }
    }

    /// Fetches what `request` makes, with the server's secret headers.
    pub(super) async fn fetch_unsigned(
        &self,
        server: &Server,
        request: &MakeRequest<'_>,
    ) -> Result<(http::response::Parts, AnswerBody), Unreachable> {
        if server.secret_headers().is_empty() {
            self.fetch_plain(server, request).await
        } else {
            Box::pin(self.fetch_with_secrets(server, request)).await
        }
    }

    /// Fetches what `request` makes, following redirects only within the origin: credentials go nowhere else.
    pub(super) async fn fetch_plain(
        &self,
        server: &Server,
        request: &MakeRequest<'_>,
    ) -> Result<(http::response::Parts, AnswerBody), Unreachable> {
        let mut redirected = None;
        for _ in 0..REDIRECTS {
            let mut request = request();
            if let Some(target) = redirected.take() {
                *request.uri_mut() = target;
            }
            let uri = request.uri().clone();
            let response = self
                .host()
                .fetch(request)
                .await
                .map_err(|e| Unreachable { server: server.name.to_string(), ..e })?;
            let target = match response.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    same_origin(&uri, response.headers())
                }
                _ => None,
            };
            let Some(target) = target else {
                let (head, chunks) = response.into_parts();
                let coding = encoding(&head.headers);
                if let Some(coding) = coding.as_ref().filter(|_| head.status == StatusCode::OK) {
                    let why = "compressed its answer, which was not asked for";
                    return Err(server.error(format!("{why} (Content-Encoding: {coding})")));
                }
                let name = server.name.to_string();
                let chunks = chunks.map_err(move |e| Unreachable { server: name.clone(), ..e }).boxed();
                if let Some(behind) = head.headers.get(names::VIA).and_then(|v| v.to_str().ok()) {
                    *lock(&server.behind) = behind.split(',').map(|hop| hop.trim().to_owned()).collect();
                }
                let body = match &*names::media_type(&head.headers) {
                    // Its status says enough.
                    _ if coding.is_some() => AnswerBody::Nothing,
                    "application/json" => AnswerBody::Json(chunks),
                    "text/event-stream" => AnswerBody::Events(chunks),
                    _ if matches!(head.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) => {
                        AnswerBody::Nothing
                    }
                    _ if head.status.is_success()
                        && head.headers.get(header::CONTENT_LENGTH).is_some_and(|l| l == "0") =>
                    {
                        AnswerBody::Nothing
                    }
                    _ => AnswerBody::Json(chunks),
                };
                return Ok((head, body));
            };
            redirected = Some(target);
        }
        Err(server.error("redirects in circles"))
    }

    /// Tells a server that nobody waits for the answer to this request any more.
    ///
    /// Over HTTP in the stateless era the closed connection says so itself.
    fn cancel(&self, server: &Arc<Server>, established: &Arc<Established>, id: u64) {
        let message = message::notification(
            "notifications/cancelled",
            &format!("{{\"requestId\":{id},\"reason\":\"the agent has left\"}}"),
        );
        if let Some(pipe) = &established.pipe {
            pipe.send_now(message);
        } else if established.version.era() == Era::Legacy {
            let (gateway, server, established) = (self.clone(), server.clone(), established.clone());
            self.host().spawn(async move {
                let limit = server.settings.timeout;
                let told = gateway.within(&server, limit, gateway.tell(&server, &established, message)).await;
                if let Err(error) = told {
                    tracing::debug!(%error, "could not cancel");
                }
            });
        }
    }

    pub(crate) fn own_via(&self) -> http::HeaderValue {
        self.0.own_via.clone()
    }

    /// Makes a decoder of a server's events.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.limits().message)
    }

    /// Reads up to the message that answers the request, whatever comes before it.
    pub(crate) async fn message_of(
        &self,
        body: AnswerBody,
        server: &Server,
        id: u64,
    ) -> Result<Bytes, Unreachable> {
        match body {
            AnswerBody::Json(chunks) => collect(server, chunks, self.limits().message).await,
            AnswerBody::Events(mut chunks) => {
                let mut decoder = self.decoder();
                let mut events: Vec<Event> = Vec::new();
                while let Some(chunk) = chunks.next().await {
                    let taken = decoder.push(&chunk?, &mut events);
                    taken.map_err(|TooLarge(limit)| too_large(server, limit))?;
                    for event in events.drain(..) {
                        if is_response(&event.data, id) {
                            return Ok(event.data);
                        }
                    }
                }
                Err(server.error("ended its stream without an answer"))
            }
            AnswerBody::Pipe(mut answer) => {
                while let Some(message) = answer.next().await {
                    let message = message?;
                    if is_response(&message, id) {
                        return Ok(message);
                    }
                }
                Err(server.error("closed its output"))
            }
            AnswerBody::Nothing => Err(server.error("answered with nothing")),
        }
    }
}

fn answers(data: &[u8], id: u64) -> bool {
    let json = Json::check(data).ok().filter(|json| json.get("error").is_some());
    json.and_then(|json| Some(json.get("id")?.text() == id.to_string())).unwrap_or(false)
}

fn is_modern_error(data: &[u8]) -> bool {
    let error = Json::check(data).ok().and_then(|json| json.get("error"));
    error.is_some_and(|error| match error.get("code").and_then(|code| code.text().parse::<i64>().ok()) {
        Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION) => true,
        Some(code::INVALID_PARAMS) => about_meta(&error),
        _ => false,
    })
}

fn is_response(data: &[u8], id: u64) -> bool {
    let Ok(json) = Json::check(data) else { return false };
    match message::parse(json) {
        Ok(Message::Response { id: answered, outcome }) => {
            answered.text() == id.to_string() || (answered.text() == "null" && outcome.is_err())
        }
        _ => false,
    }
}

/// Decides what an answer that is not `200 OK` means: an error of the request itself is passed on, and whether it is
/// about the headers; a lost session or a change of era is reported as not delivered, anything else is the server's
/// failure.
async fn refused(
    server: &Server,
    established: &Established,
    head: &http::response::Parts,
    body: AnswerBody,
    id: u64,
) -> Result<(AnswerBody, bool), Unreachable> {
    let status = head.status;
    let whole = match body {
        // A page that is too long or breaks off says no more than its status does.
        AnswerBody::Json(chunks) | AnswerBody::Events(chunks) => {
            collect(server, chunks, REFUSAL).await.unwrap_or_default()
        }
        _ => Bytes::new(),
    };
    let code =
        Json::check(&whole).ok().and_then(|json| json.get("error")?.get("code")?.text().parse::<i64>().ok());
    let of_request = matches!(
        code,
        Some(
            code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::INVALID_PARAMS | code::METHOD_NOT_FOUND
        )
    );
    let client_error =
        matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    // An error with the request's own id is its answer, unless it is one that only a stateless server gives.
    let is_answer = match established.version.era() {
        _ if status.is_server_error() => answers(&whole, id),
        Era::Legacy => status == StatusCode::BAD_REQUEST && !is_modern_error(&whole) && answers(&whole, id),
        Era::Modern => client_error && of_request,
    };
    if is_answer {
        let mismatch = code == Some(code::HEADER_MISMATCH) && established.version.era() == Era::Modern;
        let body = AnswerBody::Json(futures::stream::once(async move { Ok(whole) }).boxed());
        return Ok((body, mismatch));
    }
    if client_error {
        return Err(server
            .error(format!("no longer takes requests as agreed (HTTP {status})"))
            .undelivered());
    }
    let error = server.error(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("asks for authorization (HTTP {status}); set its credential in `headers`")
        }
        _ if status.is_redirection() => format!("redirects elsewhere (HTTP {status}); set the final URL"),
        _ => format!("answered HTTP {status}{}", pause_asked_for(&head.headers)),
    });
    Err(if status.is_server_error() || status.is_success() { error } else { error.refused() })
}

/// Says how long a server asks to be left alone (RFC 9110, section 10.2.3), where it says so in seconds.
fn pause_asked_for(headers: &HeaderMap) -> String {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    seconds.map_or(String::new(), |seconds| format!("; it asks to wait {seconds} s"))
}

/// Returns how a body is encoded, where it is not as it is.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let coding = headers.get(header::CONTENT_ENCODING)?;
    let coding = String::from_utf8_lossy(coding.as_bytes());
    (!coding.trim().eq_ignore_ascii_case("identity")).then(|| shorten(&coding))
}

/// Returns where a redirect leads, if it stays within the origin.
fn same_origin(from: &http::Uri, headers: &HeaderMap) -> Option<http::Uri> {
    let base = url::Url::parse(&from.to_string()).ok()?;
    let target = base.join(headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
    (target.origin() == base.origin()).then(|| target.as_str().parse().ok()).flatten()
}
