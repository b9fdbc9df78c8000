//! The platform's Runtime API: invocations come by it, and their answers go by it, whole or as they come.
//!
//! **An answer that breaks off is told as one**: by the trailers of the API, upon which the platform breaks off what it has
//! passed on. What ends without them was whole.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis_core::body::Body;
use serde_json::json;

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const TENANT: &str = "lambda-runtime-aws-tenant-id";
const DEADLINE: &str = "lambda-runtime-deadline-ms";
/// What is less is no time since 1970, but how long an invocation may take: `cargo lambda watch` has it so.
const A_YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
/// Comes with an invocation and goes back with its answer, where the platform has it.
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
/// Says that the body begins with a status and headers.
const INTEGRATION: HeaderValue =
    HeaderValue::from_static("application/vnd.awslambda.http-integration-response");
/// What stands between those and the rest.
static DELIMITER: [u8; 8] = [0; 8];

/// The way to the platform. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Platform {
    client: Client<HttpConnector, Sent>,
    authority: String,
}

/// An invocation of the function.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// What the platform knows it by.
    pub(crate) ticket: Ticket,
    /// When the platform ends it, in milliseconds since the Unix epoch.
    pub(crate) deadline: u64,
    /// Which tenant it is of, where the platform keeps an environment for each.
    pub(crate) tenant: Option<String>,
    /// The event, as JSON text.
    pub(crate) event: Bytes,
}

/// What the platform knows an invocation by.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    /// The id of the request.
    pub(crate) request: String,
    invocation: Option<HeaderValue>,
}

/// What goes to the platform in answer to an invocation.
pub(crate) enum Answer {
    /// One document.
    Whole(Bytes),
    /// Status and headers as JSON text, then the body as it comes.
    Streamed(Bytes, Body),
}

impl Platform {
    /// Finds the platform.
    pub(crate) fn find(env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let authority = env("AWS_LAMBDA_RUNTIME_API").context(
            "AWS_LAMBDA_RUNTIME_API is not set: this program is the bootstrap of a Lambda function, which the platform \
             starts; on a machine of yours, start `portcullis serve`",
        )?;
        let mut connector = HttpConnector::new();
        // Events leave in small pieces: none is to wait for the acknowledgement of the one before.
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let authority = authority.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Ok(Self { client, authority })
    }

    /// Waits for the next invocation.
    pub(crate) async fn next(&self) -> anyhow::Result<Invocation> {
        let request = self.request(Method::GET, "2018-06-01/runtime/invocation/next").body(Sent::nothing())?;
        let response =
            self.client.request(request).await.context("the Runtime API cannot be asked for an event")?;
        let (head, body) = accepted(response).await?.into_parts();
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let request = text(REQUEST_ID).context("an invocation has no id")?.to_owned();
        let told =
            text(DEADLINE).and_then(|text| text.parse().ok()).context("an invocation has no deadline")?;
        let deadline = if told < A_YEAR { portcullis_native::now() + told } else { told };
        let ticket = Ticket { request, invocation: head.headers.get(&INVOCATION_ID).cloned() };
        let tenant = text(TENANT).filter(|tenant| !tenant.is_empty()).map(str::to_owned);
        Ok(Invocation { ticket, deadline, tenant, event: body.collect().await?.to_bytes() })
    }

    /// Answers an invocation; returns once the platform has the whole answer.
    pub(crate) async fn answer(&self, ticket: &Ticket, answer: Answer) -> anyhow::Result<()> {
        let path = format!("2018-06-01/runtime/invocation/{}/response", ticket.request);
        let mut request = self.request(Method::POST, &path);
        let body = match answer {
            Answer::Whole(text) => Sent::Whole(text),
            Answer::Streamed(prelude, body) => {
                request = request
                    .header(RESPONSE_MODE, "streaming")
                    .header(header::CONTENT_TYPE, INTEGRATION)
                    .header(header::TRAILER, ERROR_TYPE.as_str())
                    .header(header::TRAILER, ERROR_BODY.as_str());
                Sent::streamed(prelude, body)
            }
        };
        self.tell(with(request, ticket).body(body)?).await
    }

    /// Says that an invocation is none that can be answered.
    pub(crate) async fn refuse(&self, ticket: &Ticket, kind: &str, message: &str) -> anyhow::Result<()> {
        let path = format!("2018-06-01/runtime/invocation/{}/error", ticket.request);
        let request = with(self.request(Method::POST, &path), ticket);
        self.tell(failed(request, kind, message)?).await
    }

    /// Says why nothing can ever be answered.
    pub(crate) async fn give_up(&self, message: &str) -> anyhow::Result<()> {
        let request = self.request(Method::POST, "2018-06-01/runtime/init/error");
        self.tell(failed(request, "Portcullis.Settings", message)?).await
    }

    /// Begins a request to the platform.
    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}/{path}", self.authority))
    }

    /// Sends a request and returns the answer, which is a good one.
    pub(crate) async fn send(&self, request: Request<Sent>) -> anyhow::Result<Response<Incoming>> {
        accepted(self.client.request(request).await.context("the platform cannot be reached")?).await
    }

    async fn tell(&self, request: Request<Sent>) -> anyhow::Result<()> {
        self.send(request).await?.into_body().collect().await?;
        Ok(())
    }
}

fn with(request: http::request::Builder, ticket: &Ticket) -> http::request::Builder {
    match &ticket.invocation {
        Some(invocation) => request.header(INVOCATION_ID, invocation),
        None => request,
    }
}

fn failed(request: http::request::Builder, kind: &str, message: &str) -> anyhow::Result<Request<Sent>> {
    let body = json!({ "errorType": kind, "errorMessage": message }).to_string();
    Ok(request.header(ERROR_TYPE, kind).body(Sent::Whole(body.into()))?)
}

async fn accepted(response: Response<Incoming>) -> anyhow::Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text =
        response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let stale = if status == StatusCode::GONE { "; its time was over" } else { "" };
    anyhow::bail!("the platform answers {status}{stale}: {}", String::from_utf8_lossy(&text));
}

/// A body that goes to the platform.
pub(crate) enum Sent {
    /// All of it.
    Whole(Bytes),
    /// What is there, and what comes. Prelude, delimiter and body are chunks of their own: `cargo lambda watch` tells them
    /// apart by that.
    Streamed(VecDeque<Bytes>, Body),
    /// Nothing more.
    Ended,
}

impl Sent {
    /// Returns an empty body.
    pub(crate) fn nothing() -> Self {
        Self::Whole(Bytes::new())
    }

    fn streamed(prelude: Bytes, body: Body) -> Self {
        let mut first = VecDeque::from([prelude, Bytes::from_static(&DELIMITER)]);
        match body {
            Body::Full(whole) if whole.is_empty() => Self::Streamed(first, Body::default()),
            Body::Full(whole) => {
                first.push_back(whole.into_bytes());
                Self::Streamed(first, Body::default())
            }
            chunks @ Body::Stream(_) => Self::Streamed(first, chunks),
        }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match &mut *self {
            Self::Whole(text) if text.is_empty() => None,
            Self::Whole(text) => Some(Frame::data(std::mem::take(text))),
            Self::Streamed(first, Body::Full(_)) => first.pop_front().map(Frame::data),
            Self::Streamed(first, _) if !first.is_empty() => first.pop_front().map(Frame::data),
            Self::Streamed(_, Body::Stream(chunks)) => match ready!(chunks.as_mut().poll_next(context)) {
                None => None,
                Some(Ok(chunk)) => Some(Frame::data(chunk)),
                Some(Err(error)) => {
                    *self = Self::Ended;
                    Some(Frame::trailers(broken_off(&error.to_string())))
                }
            },
            Self::Ended => None,
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(text) if text.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => SizeHint::with_exact(text.len() as u64),
            Self::Streamed(..) | Self::Ended => SizeHint::default(),
        }
    }
}

fn broken_off(why: &str) -> HeaderMap {
    let kind = "Portcullis.BrokenOff";
    let body = STANDARD.encode(json!({ "errorType": kind, "errorMessage": why }).to_string());
    let body = HeaderValue::from_str(&body).unwrap_or(HeaderValue::from_static(""));
    HeaderMap::from_iter([(ERROR_TYPE, HeaderValue::from_static(kind)), (ERROR_BODY, body)])
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use portcullis_core::error::Unreachable;

    use super::*;

    /// Describes the frames of an answer.
    async fn frames(body: Body) -> Vec<String> {
        let mut sent = Sent::streamed(Bytes::from_static(b"{}"), body);
        let mut frames = Vec::new();
        while let Some(Ok(frame)) = sent.frame().await {
            frames.push(match frame.into_data() {
                Ok(data) => data.escape_ascii().to_string(),
                Err(frame) => {
                    format!("{:?}", frame.into_trailers().expect("trailers").keys().collect::<Vec<_>>())
                }
            });
        }
        frames
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_told_as_one() {
        const END: &str = r"\x00\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(frames(Body::Full(Bytes::from_static(b"whole").into())).await, ["{}", END, "whole"]);
        assert_eq!(frames(Body::default()).await, ["{}", END]);
        let chunks = |chunks: Vec<Result<Bytes, Unreachable>>| Body::Stream(stream::iter(chunks).boxed());
        let part = || Ok(Bytes::from_static(b"part"));
        assert_eq!(frames(chunks(vec![part(), part()])).await, ["{}", END, "part", "part"]);
        let broken = chunks(vec![part(), Err(Unreachable::new("a", "broke off")), part()]);
        let trailers = r#"["lambda-runtime-function-error-type", "lambda-runtime-function-error-body"]"#;
        assert_eq!(frames(broken).await, ["{}", END, "part", trailers]);
    }

    #[test]
    fn whoever_starts_it_by_hand_is_told_what_it_is() {
        let error = Platform::find(|_| None).err().expect("there is no platform").to_string();
        assert!(error.contains("start `portcullis serve`"), "{error}");
    }
}
