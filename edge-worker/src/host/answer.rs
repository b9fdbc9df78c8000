//! Requests and answers: the platform's become core's, and core's the platform's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use js_sys::{Promise, Uint8Array};
use portcullis_core::body::{Body, Reply};
use portcullis_core::error::Unreachable;
use portcullis_core::ports::Chunks;
use wasm_bindgen::prelude::*;
use worker::send::{SendFuture, SendWrapper};

use super::event::{Event, Running};
use super::glue::{Asked, Reading, streamed_answer, whole_answer};
use super::told::{Ear, forget, listen, settled};

/// Up to this many bytes a body that says its length is read at once.
const AT_ONCE: u64 = 1 << 20;

/// Makes core's request of the platform's. Its URI is what the request line would have: the path and the query.
pub(crate) fn request(asked: Asked) -> Result<Request<Body>, http::Error> {
    let head = asked.head();
    let mut lines = head.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, url, has_body) = (line(), line(), !line().is_empty());
    let mut request = Request::builder().method(method).uri(path_of(url)).body(Body::default())?;
    *request.headers_mut() = headers(lines);
    if has_body {
        *request.body_mut() = body(asked, request.headers());
    }
    Ok(request)
}

/// Returns a URL without its scheme and authority.
fn path_of(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    url[after..].find('/').map_or("/", |at| &url[after + at..])
}

/// Reads header fields from lines: a name, its value, and so on. What is no header field is left out.
pub(crate) fn headers<'a>(mut lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut all = HeaderMap::new();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
        {
            all.append(name, value);
        }
    }
    all
}

/// Writes header fields as lines.
pub(crate) fn lines(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        text.push_str(name.as_str());
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
        text.push('\n');
    }
    text
}

fn body(asked: Asked, headers: &HeaderMap) -> Body {
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length <= AT_ONCE) {
        let asked = SendWrapper::new(asked);
        let whole = SendFuture::new(async move { settled(&asked.whole()).await });
        let whole = async move { whole.await.map(|bytes| chunk(&bytes)).map_err(|error| broken(&error)) };
        return Body::Stream(stream::once(whole).boxed());
    }
    Body::Stream(chunks(Upload(asked.reading())))
}

struct Upload(Reading);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn chunks(upload: Upload) -> Chunks {
    let next = |upload: SendWrapper<Upload>| {
        SendFuture::new(async move {
            match settled(&upload.0.0.next()).await {
                Ok(end) if end.is_undefined() => None,
                Ok(bytes) => Some((Ok(chunk(&bytes)), upload)),
                Err(error) => Some((Err(broken(&error)), upload)),
            }
        })
    };
    stream::unfold(SendWrapper::new(upload), next).boxed()
}

/// Copies a chunk from JavaScript's memory.
pub(crate) fn chunk(bytes: &JsValue) -> Bytes {
    bytes.unchecked_ref::<Uint8Array>().to_vec().into()
}

fn broken(error: &JsValue) -> Unreachable {
    Unreachable::new("", reason(error))
}

/// Returns what JavaScript says of an error.
pub(crate) fn reason(error: &JsValue) -> String {
    let message = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    message.or_else(|| error.as_string()).unwrap_or_else(|| format!("{error:?}"))
}

/// What gives an answer up when its agent has left.
#[derive(Clone, Default)]
pub(crate) struct Leaving(Rc<Left>);

#[derive(Default)]
struct Left {
    /// Under which number its leaving is told.
    number: Cell<Option<u32>>,
    running: RefCell<Running>,
    chunks: RefCell<Option<Rc<RefCell<Option<Chunks>>>>>,
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(number) = self.number.get() {
            forget(number);
        }
    }
}

impl Leaving {
    /// Listens for the agent's leaving.
    pub(crate) fn listen(&self, asked: &Asked, event: &Event) {
        let (leaving, event) = (Rc::downgrade(&self.0), event.clone());
        let left = Ear::Left(Box::new(move || {
            if let Some(leaving) = leaving.upgrade() {
                Self(leaving).leave(&event);
            }
        }));
        let (number, ()) = listen(left, |number, tell| asked.on_leaving(number, tell));
        self.0.number.set(Some(number));
    }

    /// Gives up what is being done for the agent.
    pub(crate) fn leave(&self, event: &Event) {
        self.0.running.borrow().give_up();
        let chunks = self.0.chunks.take();
        event.within(|| drop(chunks.and_then(|chunks| chunks.take())));
        event.end_answer();
    }

    /// Names what is being done for the agent now.
    pub(crate) fn does(&self, running: Running) {
        self.0.running.replace(running);
    }
}

/// Makes the platform's answer of core's.
pub(crate) fn answer(reply: Reply, event: &Event, leaving: &Leaving) -> JsValue {
    let (head, body) = reply.into_parts();
    let fields = lines(&head.headers);
    match body {
        Body::Full(bytes) => {
            event.end_answer();
            let bytes = (!bytes.is_empty()).then(|| Uint8Array::from(&*bytes.into_bytes()));
            whole_answer(head.status.as_u16(), &fields, bytes)
        }
        Body::Stream(chunks) => {
            let chunks = Rc::new(RefCell::new(Some(chunks)));
            leaving.0.chunks.replace(Some(chunks.clone()));
            let source = Source { chunks, event: event.clone(), leaving: leaving.clone() };
            streamed_answer(head.status.as_u16(), &fields, source)
        }
    }
}

/// What an answer streams from.
#[wasm_bindgen]
pub struct Source {
    chunks: Rc<RefCell<Option<Chunks>>>,
    event: Event,
    leaving: Leaving,
}

#[wasm_bindgen]
impl Source {
    /// Returns a promise of the next chunk, or of nothing.
    pub fn next(&self) -> Promise {
        let (chunks, held) = (self.chunks.clone(), self.chunks.take());
        let event = self.event.clone();
        let (promise, running) = self.event.promise(async move {
            let Some(mut stream) = held else { return Ok(JsValue::UNDEFINED) };
            let next = stream.next().await;
            if let Some(Ok(bytes)) = next {
                chunks.replace(Some(stream));
                return Ok(Uint8Array::from(&*bytes).into());
            }
            event.end_answer();
            match next {
                Some(Err(error)) => Err(js_sys::Error::new(&error.to_string()).into()),
                _ => Ok(JsValue::UNDEFINED),
            }
        });
        self.leaving.does(running);
        promise
    }

    /// Gives the rest of the answer up.
    pub fn cancel(&self) {
        self.leaving.leave(&self.event);
    }
}
