//! Streams on which agents listen, between the isolate that holds the agent's connection and the object that owns the
//! conversation: a socket, which outlives the object's sleep.
//!
//! The isolate says first which request is answered; the object says the head of its answer, then the chunks of its body.
//! While a stream rests, its object stores what is needed to take it up again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{self, Either};
use futures::{StreamExt as _, stream};
use http::{Method, Request, StatusCode};
use js_sys::Uint8Array;
use portcullis_core::body::{Body, Reply};
use portcullis_core::error::Unreachable;
use portcullis_core::ports::{Chunks, Clock as _, Entropy as _};
use portcullis_core::{Gateway, Rest, Wanted};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::answer::{chunk, headers, lines, reason};
use super::edge::Edge;
use super::event::{Event, Running};
use super::glue::{Line, Sockets, Storage, hang_up, name_as, name_of, put};
use super::notebook::moment;
use super::told::settled;
use crate::json;

/// How often an object looks whether there is news for the streams that rest, in milliseconds.
const LOOK: u64 = 30_000;
/// What the keys of stored streams begin with.
const STORED: &str = "stream/";
/// How long an object may take to begin a stream: a server may be asked before.
const OPENING: Duration = Duration::from_mins(2);
/// The largest request that opens a stream, in bytes.
const WHOLE: usize = 256 << 10;

/// A request that a stream answers, and what the stream knew when it was put to rest.
#[derive(Serialize, Deserialize)]
struct Opened {
    method: String,
    path: String,
    fields: String,
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

/// The head of the answer.
#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    fields: String,
}

impl Opened {
    async fn of(request: Request<Body>) -> Result<Self, String> {
        let (head, body) = request.into_parts();
        let body = body.collect(WHOLE).await.map_err(|error| error.to_string())?;
        Ok(Self {
            method: head.method.to_string(),
            path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            fields: lines(&head.headers),
            body: String::from_utf8(body.into()).map_err(|error| error.to_string())?,
            state: None,
        })
    }

    fn request(&self) -> Result<Request<Body>, http::Error> {
        let method = Method::from_bytes(self.method.as_bytes())?;
        let body = Body::Full(self.body.clone().into_bytes().into());
        let mut request = Request::builder().method(method).uri(&*self.path).body(body)?;
        *request.headers_mut() = headers(self.fields.split('\n'));
        Ok(request)
    }

    /// Tells whether messages of its conversation may come on the stream, not only news of lists.
    fn carries_messages(&self) -> bool {
        self.method == "GET"
    }

    fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

/// The isolate's end: a socket that is closed when nobody reads it any more.
struct Held(Line);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Lets go of a socket on which nothing can be answered.
pub(crate) fn refuse(socket: &JsValue) {
    hang_up(socket);
}

/// Opens a stream at an object.
pub(super) async fn open(to: JsValue, request: Request<Body>) -> Result<Reply, Unreachable> {
    let failed = |why: String| Unreachable::new("the owner", why);
    let opened = Opened::of(request).await.map_err(failed)?;
    let line = Held(Line::new(&to, &opened.to_text()));
    let clock = Edge::default();
    let (first, limit) = (line.0.next_message(), pin!(clock.sleep(OPENING)));
    let first = match future::select(settled(&first), limit).await {
        Either::Left((first, _)) => first.map_err(|error| failed(reason(&error)))?,
        Either::Right(_) => return Err(failed("did not open a stream in time".into())),
    };
    let head: Head = json::read(&first.as_string().unwrap_or_default())
        .map_err(|error| failed(format!("answered with no head: {error}")))?;
    let mut reply = Reply::new(Body::Stream(chunks(line)));
    *reply.status_mut() = StatusCode::from_u16(head.status).map_err(|error| failed(error.to_string()))?;
    *reply.headers_mut() = headers(head.fields.split('\n'));
    Ok(reply)
}

fn chunks(line: Held) -> Chunks {
    let next = |line: SendWrapper<Held>| {
        SendFuture::new(async move {
            match settled(&line.0.0.next_message()).await {
                Ok(end) if end.is_undefined() => None,
                Ok(bytes) => Some((Ok(chunk(&bytes)), line)),
                Err(error) => Some((Err(Unreachable::new("the owner", reason(&error))), line)),
            }
        })
    };
    stream::unfold(SendWrapper::new(line), next).boxed()
}

/// The object's end of its streams. Clones are the same.
#[derive(Clone)]
pub(crate) struct Streams(Rc<Inner>);

struct Inner {
    sockets: Sockets,
    storage: Storage,
    /// Those that do not rest.
    awake: RefCell<BTreeMap<String, Running>>,
}

impl Streams {
    /// Returns the streams of the object with that state.
    pub(crate) fn of(state: &JsValue) -> Self {
        let (sockets, storage) = (Sockets::new(state), Storage::new(state));
        Self(Rc::new(Inner { sockets, storage, awake: RefCell::default() }))
    }

    /// Answers the request that came first on a socket.
    pub(crate) async fn begin(&self, event: &Event, gateway: Gateway<Edge>, socket: JsValue, first: &str) {
        let opened = json::read::<Opened>(first).map_err(|error| error.to_string());
        let request = opened.and_then(|opened| match opened.request() {
            Ok(request) => Ok((opened, request)),
            Err(error) => Err(error.to_string()),
        });
        let (opened, request) = match request {
            Ok(request) => request,
            Err(why) => {
                tracing::error!(%why, "a stream is asked for in a way that cannot be read");
                return hang_up(&socket);
            }
        };
        let (head, body) = gateway.serve_handed(request).await.into_parts();
        let said = Head { status: head.status.as_u16(), fields: lines(&head.headers) };
        put(&socket, serde_json::to_string(&said).expect("plain data").into());
        match body {
            Body::Full(whole) => {
                put(&socket, Uint8Array::from(&*whole.into_bytes()).into());
                hang_up(&socket);
            }
            Body::Stream(chunks) => {
                name_as(&socket, &random_name());
                self.run(event, gateway, socket, opened, (chunks, head.extensions.get::<Rest>().cloned()));
            }
        }
    }

    /// Gives a stream to its socket until it ends or rests.
    fn run(
        &self,
        event: &Event,
        gateway: Gateway<Edge>,
        socket: JsValue,
        opened: Opened,
        (chunks, rest): (Chunks, Option<Rest>),
    ) {
        let Some(name) = name_of(&socket) else { return hang_up(&socket) };
        let (streams, own) = (self.clone(), name.clone());
        let (_, running) = event.promise(async move {
            let send = |bytes: bytes::Bytes| put(&socket, Uint8Array::from(&*bytes).into());
            let state = gateway.deliver(chunks, rest, send).await;
            streams.0.awake.borrow_mut().remove(&own);
            let rests = state.is_some() && {
                tracing::info!(stream = %own, "a stream rests");
                let stored = Opened { state, ..opened };
                streams.0.storage.store(&format!("{STORED}{own}"), &stored.to_text())
            };
            if rests {
                streams.look_later();
            } else {
                streams.0.storage.remove(&format!("{STORED}{own}"));
                hang_up(&socket);
            }
            Ok(JsValue::UNDEFINED)
        });
        self.0.awake.borrow_mut().insert(name, running);
        self.look_later();
    }

    /// Ends a stream whose agent has left.
    pub(crate) fn end(&self, socket: &JsValue) {
        let Some(name) = name_of(socket) else { return };
        tracing::info!(stream = %name, "a stream has ended");
        let running = self.0.awake.borrow_mut().remove(&name);
        if let Some(running) = running {
            running.give_up();
        }
        self.0.storage.remove(&format!("{STORED}{name}"));
        hang_up(socket);
    }

    /// Tells whether there are any streams.
    pub(crate) fn any(&self) -> bool {
        !self.0.sockets.all().is_empty()
    }

    /// Takes streams up that rest: those on which messages may come, or with `Wanted::ForNews` all that have news.
    pub(crate) async fn take_up(&self, event: &Event, gateway: &Gateway<Edge>, wanted: Wanted) {
        for socket in self.0.sockets.all() {
            let Some(name) = name_of(&socket) else { continue };
            if self.0.awake.borrow().contains_key(&name) {
                continue;
            }
            let stored = self.0.storage.load(&format!("{STORED}{name}"));
            let stored = stored.and_then(|text| json::read::<Opened>(&text).ok());
            let Some(opened) = stored else {
                // It was awake when its object was put away without a warning: its agent opens another.
                hang_up(&socket);
                continue;
            };
            if wanted == Wanted::Now && !opened.carries_messages() {
                continue;
            }
            let (Ok(request), Some(state)) = (opened.request(), opened.state.as_deref()) else { continue };
            // Nobody else takes it up meanwhile.
            self.0.awake.borrow_mut().insert(name.clone(), Running::default());
            let (head, body) = gateway.take_up(request, state, wanted).await.into_parts();
            match body {
                Body::Stream(chunks) => {
                    tracing::info!(stream = %name, "a stream is taken up");
                    let rest = head.extensions.get::<Rest>().cloned();
                    self.run(event, gateway.clone(), socket, opened, (chunks, rest));
                }
                Body::Full(_) => {
                    self.0.awake.borrow_mut().remove(&name);
                    if head.status != StatusCode::NO_CONTENT {
                        self.end(&socket);
                    }
                }
            }
        }
        self.keep_looking();
    }

    /// Has the object woken again while anybody listens: for news, and for whether they are still let in.
    pub(crate) fn keep_looking(&self) {
        if !self.0.sockets.all().is_empty() {
            self.look_later();
        }
    }

    /// Has the object woken to look for news.
    pub(crate) fn look_later(&self) {
        // Whatever wakes it sooner looks as well.
        drop(self.0.storage.wake(moment(Edge::default().now() + LOOK)));
    }
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    Edge::default().fill(&mut bytes);
    format!("{:032x}", u128::from_le_bytes(bytes))
}
