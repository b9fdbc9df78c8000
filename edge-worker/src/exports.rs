//! What the platform calls: the handlers of its events, and the classes of its objects.

use bytes::Bytes;
use std::cell::RefCell;
use std::rc::Rc;

use http::{Method, Response, StatusCode};
use js_sys::Promise;
use portcullis_core::body::{Body, Reply};
use portcullis_core::oauth::connection::drawer;
use portcullis_core::ports::Clock as _;
use portcullis_core::quota::{self, Count};
use portcullis_core::{Gateway, Wanted};
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::bindings::Bindings;
use crate::host::{
    Asked, Edge, Event, Leaving, Ledger, Notes, Scribe, Storage, Streams, answer, deliver, moment, refuse,
    request, settled,
};
use crate::isolate::Place;
use crate::json;
use crate::logging;

/// The longest batch of messages of the audit trail, in bytes.
const MESSAGES: usize = 32 << 20;

thread_local! {
    static ISOLATE: RefCell<Option<Rc<Place>>> = const { RefCell::new(None) };
}

/// Answers a request.
#[wasm_bindgen]
pub fn fetch(asked: JsValue, env: Env, context: JsValue) -> Promise {
    let isolate =
        ISOLATE.with_borrow_mut(|isolate| isolate.get_or_insert_with(|| begin(env, Edge::isolate)).clone());
    serve(Asked::new(asked), Event::new(context), isolate, Door::Front)
}

/// Brings messages of the queue, a line each, to the writer of the audit trail. Where that fails, the queue delivers them
/// again.
#[wasm_bindgen]
pub fn queue(messages: String, env: Env, context: JsValue) -> Promise {
    let isolate =
        ISOLATE.with_borrow_mut(|isolate| isolate.get_or_insert_with(|| begin(env, Edge::isolate)).clone());
    let (promise, _) = Event::new(context).promise(async move {
        match deliver(isolate.bindings(), messages, None).await {
            Ok(()) => Ok(JsValue::UNDEFINED),
            Err(why) => Err(js_sys::Error::new(&why).into()),
        }
    });
    promise
}

/// The object that writes the audit trail.
#[wasm_bindgen]
pub struct Trail {
    event: Event,
    scribe: Rc<Scribe>,
}

#[wasm_bindgen]
impl Trail {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        let bindings = Bindings::new(env);
        logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
        Self { scribe: Rc::new(Scribe::of(&state, bindings)), event: Event::new(state) }
    }

    /// Takes messages, or tells how far the trail reaches.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        let (scribe, event) = (self.scribe.clone(), self.event.clone());
        let (promise, _) = self.event.promise(async move {
            let reply = match keep(asked, &scribe).await {
                Ok(text) => Response::new(Body::Full(text.into())),
                Err(why) => plain(StatusCode::INTERNAL_SERVER_ERROR, &why),
            };
            Ok(answer(reply, &event, &Leaving::default()))
        });
        promise
    }

    /// Copies what was gathered to where it is read.
    pub fn alarm(&self) -> Promise {
        let scribe = self.scribe.clone();
        let (promise, _) = self.event.promise(async move {
            scribe.copy_or_wait(Edge::default().now()).await;
            Ok(JsValue::UNDEFINED)
        });
        promise
    }
}

async fn keep(asked: JsValue, scribe: &Scribe) -> Result<String, String> {
    let request = request(Asked::new(asked)).map_err(|error| error.to_string())?;
    let now = Edge::default().now();
    if request.method() == Method::GET {
        scribe.copy(now).await?;
        return Ok(scribe.reach()?.unwrap_or_else(|| "null".into()));
    }
    let days = request.uri().query().and_then(|query| query.strip_prefix("days=")?.parse().ok());
    let messages = request.into_body().collect(MESSAGES).await.map_err(|error| error.to_string())?;
    let messages = std::str::from_utf8(&messages).map_err(|error| error.to_string())?;
    scribe.write(messages, days, now)?;
    Ok("{}".into())
}

/// Makes the place of a gateway, with whatever the Worker is bound to.
fn begin(env: Env, host: impl FnOnce(&Bindings) -> Edge) -> Rc<Place> {
    let bindings = Bindings::new(env);
    logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
    let host = host(&bindings);
    Rc::new(Place::new(bindings, host))
}

/// The object that holds the sessions, parked calls and streams of one principal.
#[wasm_bindgen]
#[derive(Clone)]
pub struct Conversations {
    event: Event,
    place: Rc<Place>,
    notes: Notes,
    streams: Streams,
}

#[wasm_bindgen]
impl Conversations {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        let (notes, streams) = (Notes::of(&state), Streams::of(&state));
        let place = begin(env, |bindings| Edge::owner(bindings, &notes));
        tracing::info!("an owner of conversations begins");
        Self { event: Event::new(state), place, notes, streams }
    }

    /// Removes notes that no longer count, and looks for news for the streams that rest.
    pub fn alarm(&self) -> Promise {
        let tidied = self.notes.tidy(Edge::default().now(), self.streams.any());
        self.with_gateway(move |conversations, gateway| async move {
            let _ = settled(&tidied).await;
            conversations.take_up(gateway, Wanted::ForNews).await;
        })
    }

    /// Answers a request that an isolate has handed over.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        // What the request comes to may be told on a stream that rests.
        drop(self.with_gateway(|conversations, gateway| async move {
            conversations.take_up(gateway, Wanted::Now).await;
        }));
        serve(Asked::new(asked), self.event.clone(), self.place.clone(), Door::Inner)
    }

    /// Takes what an isolate says on a socket: which stream it opens.
    pub fn message(&self, socket: JsValue, text: String) -> Promise {
        let own = self.clone();
        let (promise, _) = self.event.promise(async move {
            match own.place.gateway().await {
                Ok(gateway) => own.streams.begin(&own.event, gateway, socket, &text).await,
                Err(why) => {
                    tracing::error!(%why, "nothing is served");
                    refuse(&socket);
                }
            }
            Ok(JsValue::UNDEFINED)
        });
        promise
    }

    /// Takes note that an isolate has closed a socket.
    pub fn close(&self, socket: JsValue) {
        self.streams.end(&socket);
    }
}

impl Conversations {
    fn with_gateway<F: Future<Output = ()> + 'static>(
        &self,
        work: impl FnOnce(Self, Gateway<Edge>) -> F + 'static,
    ) -> Promise {
        let own = self.clone();
        let (promise, _) = self.event.promise(async move {
            match own.place.gateway().await {
                Ok(gateway) => work(own, gateway).await,
                Err(why) => {
                    tracing::error!(%why, "nothing is served");
                    own.streams.keep_looking();
                }
            }
            Ok(JsValue::UNDEFINED)
        });
        promise
    }

    async fn take_up(&self, gateway: Gateway<Edge>, wanted: Wanted) {
        self.streams.take_up(&self.event, &gateway, wanted).await;
        if gateway.holds_streams() {
            self.streams.look_later();
        }
    }
}

/// The object that reads servers for all instances.
#[wasm_bindgen]
pub struct Upstreams {
    event: Event,
    place: Rc<Place>,
}

#[wasm_bindgen]
impl Upstreams {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        Self { event: Event::new(state), place: begin(env, Edge::reader) }
    }

    /// Brings the catalog up to date, publishes it, and answers with it.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        serve(Asked::new(asked), self.event.clone(), self.place.clone(), Door::Catalog)
    }
}

/// The object that keeps configurations and keys.
#[wasm_bindgen]
pub struct Configurations {
    event: Event,
    ledger: Rc<Ledger>,
}

#[wasm_bindgen]
impl Configurations {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        let bindings = Bindings::new(env);
        logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
        Self { ledger: Rc::new(Ledger::new(&state, &bindings)), event: Event::new(state) }
    }

    /// Copies what could not be copied before.
    pub fn alarm(&self) -> Promise {
        let ledger = self.ledger.clone();
        let (promise, _) = self.event.promise(async move {
            ledger.copy().await;
            Ok(JsValue::UNDEFINED)
        });
        promise
    }

    /// Runs an errand.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        let (ledger, event) = (self.ledger.clone(), self.event.clone());
        let (promise, _) = self.event.promise(async move {
            let reply = match errand(asked, CONFIGURATIONS).await {
                Ok(errand) => Response::new(Body::Full(ledger.run(errand).await.into())),
                Err(why) => plain(StatusCode::BAD_REQUEST, &why),
            };
            Ok(answer(reply, &event, &Leaving::default()))
        });
        promise
    }
}

/// The object that keeps the connections of one principal, or knows which principals have some.
#[wasm_bindgen]
pub struct Connections {
    event: Event,
    storage: Rc<Storage>,
}

#[wasm_bindgen]
impl Connections {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        let bindings = Bindings::new(env);
        logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
        Self { storage: Rc::new(Storage::new(&state)), event: Event::new(state) }
    }

    /// Runs an errand.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        let (storage, event) = (self.storage.clone(), self.event.clone());
        let (promise, _) = self.event.promise(async move {
            let reply = match body_of(asked, CONNECTIONS).await {
                Ok(errand) => match drawer::run(&String::from_utf8_lossy(&errand), &*storage) {
                    Some(said) => Response::new(Body::Full(said.into())),
                    None => plain(StatusCode::BAD_REQUEST, "this is no errand"),
                },
                Err(why) => plain(StatusCode::BAD_REQUEST, &why),
            };
            Ok(answer(reply, &event, &Leaving::default()))
        });
        promise
    }
}

/// The object of one count.
#[wasm_bindgen]
pub struct Counts {
    event: Event,
    storage: Rc<Storage>,
}

/// The largest errand about configurations, in bytes.
const CONFIGURATIONS: usize = 64 << 20;
/// The largest errand about connections, in bytes.
const CONNECTIONS: usize = 2 << 20;
/// The largest errand about a count, in bytes.
const COUNTED: usize = 4096;
/// Under which an object stores its count.
const COUNT: &str = "count";

#[wasm_bindgen]
impl Counts {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        let bindings = Bindings::new(env);
        logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
        Self { storage: Rc::new(Storage::new(&state)), event: Event::new(state) }
    }

    /// Runs an errand.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        let (storage, event) = (self.storage.clone(), self.event.clone());
        let (promise, _) = self.event.promise(async move {
            let reply = match errand::<quota::Errand>(asked, COUNTED).await {
                Ok(errand) => {
                    let mut count = stored(&storage);
                    let outcome = count.run(errand);
                    storage.store(COUNT, &to_text(&count));
                    // It is for tidiness only.
                    drop(storage.wake(moment(count.idle_at())));
                    Response::new(Body::Full(to_text(&outcome).into()))
                }
                Err(why) => plain(StatusCode::BAD_REQUEST, &why),
            };
            Ok(answer(reply, &event, &Leaving::default()))
        });
        promise
    }

    /// Forgets the count once it says nothing.
    pub fn alarm(&self) -> Promise {
        let storage = self.storage.clone();
        let (promise, _) = self.event.promise(async move {
            let idle_at = moment(stored(&storage).idle_at());
            let rest =
                if js_sys::Date::now() < idle_at { storage.wake(idle_at) } else { storage.forget_all() };
            settled(&rest).await
        });
        promise
    }
}

async fn errand<T: serde::de::DeserializeOwned>(asked: JsValue, largest: usize) -> Result<T, String> {
    let body = body_of(asked, largest).await?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

async fn body_of(asked: JsValue, largest: usize) -> Result<Bytes, String> {
    let request = request(Asked::new(asked)).map_err(|error| error.to_string())?;
    request.into_body().collect(largest).await.map_err(|error| error.to_string())
}

fn stored(storage: &Storage) -> Count {
    storage.load(COUNT).and_then(|text| json::read(&text).ok()).unwrap_or_default()
}

fn to_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// The largest request for the catalog, in bytes: by what a server is known there.
const CHANGED: usize = 4096;

/// By which way a request comes in.
#[derive(Clone, Copy)]
enum Door {
    /// From anywhere.
    Front,
    /// From another instance, which has let it in.
    Inner,
    /// From another instance, which wants the catalog.
    Catalog,
}

fn serve(asked: Asked, event: Event, place: Rc<Place>, door: Door) -> Promise {
    let leaving = Leaving::default();
    leaving.listen(&asked, &event);
    let (own, left) = (event.clone(), leaving.clone());
    let (promise, running) = event.promise(async move {
        let reply = reply(asked, &place, door).await;
        if place.has_chores() {
            own.spawn(async move { place.do_chores().await });
        }
        Ok(answer(reply, &own, &left))
    });
    leaving.does(running);
    promise
}

async fn reply(asked: Asked, place: &Place, door: Door) -> Reply {
    let gateway = match place.gateway().await {
        Ok(gateway) => gateway,
        Err(why) => {
            tracing::error!(%why, "nothing is served");
            return plain(StatusCode::SERVICE_UNAVAILABLE, &why);
        }
    };
    let request = match request(asked) {
        Ok(request) => request,
        Err(error) => return plain(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match door {
        Door::Front => gateway.serve(request).await,
        Door::Inner => gateway.serve_handed(request).await,
        Door::Catalog => {
            // It is asked rarely, and reads for all: with what is configured, and approved, by now.
            place.refresh().await;
            let changed = request.into_body().collect(CHANGED).await.unwrap_or_default();
            let changed = std::str::from_utf8(&changed).ok().filter(|changed| !changed.is_empty());
            let catalog = gateway.catalog(changed).await;
            place.publish(&catalog, gateway.last_read()).await;
            Response::new(Body::Full(catalog.into()))
        }
    }
}

fn plain(status: StatusCode, why: &str) -> Reply {
    let mut reply = Response::new(Body::Full(format!("{why}\n").into()));
    *reply.status_mut() = status;
    reply
}
