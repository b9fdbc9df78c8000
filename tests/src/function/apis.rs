//! The Runtime API and the Extensions API, as one environment has them.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::front::{self, Chunk, Head};
use super::state::{State, Told};
use super::{Front, Function};

const MODE: &str = "lambda-runtime-function-response-mode";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";
/// The longest whole answer, in bytes.
const LARGEST: usize = 6 << 20;

/// Serves the APIs of one environment.
pub(super) async fn serve(function: Arc<Function>, number: u64, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).ok();
        let function = function.clone();
        let service = service_fn(move |request| {
            let function = function.clone();
            async move { Ok::<_, Infallible>(answer(&function, number, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(function: &Function, number: u64, request: Request<Incoming>) -> Told {
    let path = request.uri().path().trim_matches('/').to_owned();
    let parts: Vec<_> = path.split('/').collect();
    match (request.method(), &parts[..]) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => {
            let at_a_time = function.settings.at_a_time;
            awaited(function, |asks| function.state().runtime_asks(number, asks, at_a_time)).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            let Some(client) = function.state().answers(number, id) else {
                return State::refusal(StatusCode::GONE, "there is no such request, or it was answered");
            };
            respond(function, request, client, || function.state().has_given(number, id)).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => {
            if let Some(client) = function.state().answers(number, id) {
                function.state().has_given(number, id);
                client.send(front::failed()).ok();
            }
            noted(function, request).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => noted(function, request).await,
        (&Method::POST, ["2020-01-01", "extension", "register"]) if function.settings.extensions => {
            function.state().registers(number);
            let told = Response::builder()
                .header("lambda-extension-identifier", "00000000-0000-4000-8000-0000000000ee");
            told.body(r#"{"functionName":"portcullis","functionVersion":"$LATEST"}"#.into())
                .expect("an answer")
        }
        (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => {
            let at_a_time = function.settings.at_a_time;
            awaited(function, |asks| function.state().extension_asks(number, asks, at_a_time)).await
        }
        _ => State::refusal(StatusCode::FORBIDDEN, "there is nothing of the kind here"),
    }
}

/// Waits for the next event.
async fn awaited(function: &Function, ask: impl FnOnce(oneshot::Sender<Told>)) -> Told {
    let (asks, told) = oneshot::channel();
    ask(asks);
    function.ready.notify_waiters();
    told.await
        .unwrap_or_else(|_gone| State::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the environment ends"))
}

/// Says what an environment has reported.
async fn noted(function: &Function, request: Request<Incoming>) -> Told {
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    function.say(&format!("an error is reported: {}", String::from_utf8_lossy(&body)));
    accepted()
}

fn accepted() -> Told {
    let mut told = Response::new(Full::from(r#"{"status":"OK"}"#));
    *told.status_mut() = StatusCode::ACCEPTED;
    told
}

/// Passes an answer on to the client; calls `has_given` before the client could know that it has all of it.
async fn respond(
    function: &Function,
    request: Request<Incoming>,
    client: oneshot::Sender<front::Reply>,
    has_given: impl FnOnce(),
) -> Told {
    let streams = request.headers().get(MODE).is_some_and(|mode| mode == "streaming");
    let begins = request.headers().get("content-type").is_some_and(|kind| kind == INTEGRATION);
    match (streams, begins, function.settings.front) {
        (true, true, Front::Url) => stream(request.into_body(), client, has_given).await,
        (false, _, _) => {
            let body = request
                .into_body()
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            if body.len() > LARGEST {
                return State::refusal(StatusCode::PAYLOAD_TOO_LARGE, "the answer is larger than 6 MB");
            }
            has_given();
            client.send(front::whole(&body).unwrap_or_else(front::failed)).ok();
        }
        _ => {
            function.say("an answer streams where it cannot");
            has_given();
            client.send(front::failed()).ok();
        }
    }
    accepted()
}

/// Passes an answer on as it comes, to its end, whether or not the client takes it.
async fn stream(mut body: Incoming, client: oneshot::Sender<front::Reply>, has_given: impl FnOnce()) {
    let mut prelude = BytesMut::new();
    let mut client = Some(client);
    let (mut sender, mut receiver) = front::channel();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            sender.send(Chunk::BrokenOff).await;
            break;
        };
        match frame.into_data() {
            Ok(data) => {
                let Some(waiting) = client.take() else {
                    sender.send(Chunk::Data(data)).await;
                    continue;
                };
                prelude.extend_from_slice(&data);
                let Some((head, rest)) = split(&prelude) else {
                    client = Some(waiting);
                    continue;
                };
                if let Some(receiver) = receiver.take() {
                    waiting.send(head.streaming(receiver)).ok();
                }
                sender.send(Chunk::Data(rest)).await;
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_else(|_| HeaderMap::new());
                if trailers.contains_key(ERROR_TYPE) {
                    sender.send(Chunk::BrokenOff).await;
                }
            }
        }
    }
    has_given();
}

/// Returns what stands before the delimiter, and what comes after it.
fn split(begun: &[u8]) -> Option<(Head, Bytes)> {
    let at = begun.windows(8).position(|window| window == [0; 8])?;
    let head = serde_json::from_slice(&begun[..at]).expect("a prelude is JSON");
    Some((head, Bytes::copy_from_slice(&begun[at + 8..])))
}
