//! One HTTP exchange with a server, or with another instance of this gateway.
//!
//! **Whoever waits no longer cancels it**: dropping the answer, or what waits for it, ends it at the other side.

use futures::{StreamExt as _, future, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use js_sys::Uint8Array;
use portcullis_core::body::Whole;
use portcullis_core::error::Unreachable;
use portcullis_core::ports::Chunks;
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::answer::{chunk, headers, lines, reason};
use super::glue::Sent;
use super::told::settled;

/// A request to a server, which is cancelled when nobody waits for its answer or the rest of it any more.
struct Exchange {
    sent: Sent,
    is_over: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            self.sent.abort();
        }
    }
}

/// Sends a request to a server, or to an object where `to` is one.
pub(super) async fn send(
    to: JsValue,
    request: http::Request<Whole>,
) -> Result<http::Response<Chunks>, Unreachable> {
    let (head, body) = request.into_parts();
    let host = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let body = (!body.is_empty()).then(|| Uint8Array::from(&*body.into_bytes()));
    let sent = Sent::new(&to, head.method.as_str(), &head.uri.to_string(), &lines(&head.headers), body);
    let mut exchange = Exchange { sent, is_over: false };
    let failed = |why: String| Unreachable::new(&host, format!("cannot be reached: {why}")).absent();
    let answered = settled(&exchange.sent.answered()).await.map_err(|error| failed(reason(&error)))?;
    let text = answered.as_string().unwrap_or_default();
    let mut fields = text.split('\n');
    let status = fields.next().unwrap_or_default().as_bytes();
    let chunks = match exchange.sent.take() {
        Some(whole) => {
            exchange.is_over = true;
            stream::once(future::ready(Ok(whole.to_vec().into()))).boxed()
        }
        None => chunks(exchange, host.clone()),
    };
    let mut response = http::Response::new(chunks);
    *response.status_mut() =
        http::StatusCode::from_bytes(status).map_err(|error| failed(error.to_string()))?;
    *response.headers_mut() = headers(fields);
    if response.headers_mut().remove(CONTENT_ENCODING).is_some() {
        // The platform has decoded the body.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(response)
}

fn chunks(exchange: Exchange, host: String) -> Chunks {
    let next = |(mut exchange, host): (SendWrapper<Exchange>, String)| {
        SendFuture::new(async move {
            match settled(&exchange.sent.next_chunk()).await {
                Ok(end) if end.is_undefined() => {
                    exchange.is_over = true;
                    None
                }
                Ok(bytes) => Some((Ok(chunk(&bytes)), (exchange, host))),
                Err(error) => {
                    exchange.is_over = true;
                    let error = Unreachable::new(&host, format!("broke off its answer: {}", reason(&error)));
                    Some((Err(error), (exchange, host)))
                }
            }
        })
    };
    stream::unfold((SendWrapper::new(exchange), host), next).boxed()
}
