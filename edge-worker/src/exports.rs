//! What the platform calls: the handlers of its events, and the classes of its objects.

use std::cell::RefCell;
use std::rc::Rc;

use http::{Response, StatusCode};
use js_sys::Promise;
use portcullis_core::body::{Body, Reply};
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::bindings::Bindings;
use crate::host::{Asked, Edge, Event, Leaving, answer, publish, request};
use crate::isolate::Place;
use crate::logging;

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

/// Makes the place of a gateway, with whatever the Worker is bound to.
fn begin(env: Env, host: impl FnOnce(&Bindings) -> Edge) -> Rc<Place> {
    let bindings = Bindings::new(env);
    logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
    let host = host(&bindings);
    Rc::new(Place::new(bindings, host))
}

/// The object that holds the sessions, parked calls and streams of one principal.
#[wasm_bindgen]
pub struct Conversations {
    event: Event,
    place: Rc<Place>,
}

#[wasm_bindgen]
impl Conversations {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        Self { event: Event::new(state), place: begin(env, Edge::owner) }
    }

    /// Answers a request that an isolate has handed over.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        serve(Asked::new(asked), self.event.clone(), self.place.clone(), Door::Inner)
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
        Self { event: Event::new(state), place: begin(env, |_| Edge::reader()) }
    }

    /// Brings the catalog up to date, publishes it, and answers with it.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        serve(Asked::new(asked), self.event.clone(), self.place.clone(), Door::Catalog)
    }
}

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
        own.spawn(async move { place.refresh().await });
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
            let catalog = gateway.catalog().await;
            publish(place.bindings(), &catalog).await;
            Response::new(Body::Full(catalog.into()))
        }
    }
}

fn plain(status: StatusCode, why: &str) -> Reply {
    let mut reply = Response::new(Body::Full(format!("{why}\n").into()));
    *reply.status_mut() = status;
    reply
}
