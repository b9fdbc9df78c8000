//! What the platform calls: the handlers of its events, and the classes of its objects.

use std::rc::Rc;

use http::{Response, StatusCode};
use js_sys::Promise;
use portcullis_core::body::{Body, Reply};
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::bindings::Bindings;
use crate::host::{Asked, Event, Leaving, answer, request};
use crate::isolate::Place;
use crate::logging;

thread_local! {
    static ISOLATE: Rc<Place> = Rc::default();
}

/// Answers a request.
#[wasm_bindgen]
pub fn fetch(asked: JsValue, env: Env, context: JsValue) -> Promise {
    let bindings = Bindings::new(env);
    logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
    serve(Asked::new(asked), Event::new(context), bindings, ISOLATE.with(Rc::clone))
}

/// The object that holds the sessions, parked calls and streams of one principal.
#[wasm_bindgen]
pub struct Conversations {
    event: Event,
    bindings: Bindings,
    place: Rc<Place>,
}

#[wasm_bindgen]
impl Conversations {
    /// Makes the object.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: Env) -> Self {
        let bindings = Bindings::new(env);
        logging::init(bindings.text("PORTCULLIS_LOG").as_deref());
        Self { event: Event::new(state), bindings, place: Rc::default() }
    }

    /// Answers a request that an isolate has handed over.
    pub fn fetch(&self, asked: JsValue) -> Promise {
        serve(Asked::new(asked), self.event.clone(), self.bindings.clone(), self.place.clone())
    }
}

fn serve(asked: Asked, event: Event, bindings: Bindings, place: Rc<Place>) -> Promise {
    let leaving = Leaving::default();
    leaving.listen(&asked, &event);
    let (own, left) = (event.clone(), leaving.clone());
    let (promise, running) = event.promise(async move {
        let reply = match place.gateway(&bindings).await {
            Ok(gateway) => match request(asked) {
                Ok(request) => gateway.serve(request).await,
                Err(error) => plain(StatusCode::BAD_REQUEST, &error.to_string()),
            },
            Err(why) => {
                tracing::error!(%why, "nothing is served");
                plain(StatusCode::SERVICE_UNAVAILABLE, &why)
            }
        };
        own.spawn(async move { place.refresh(&bindings).await });
        Ok(answer(reply, &own, &left))
    });
    leaving.does(running);
    promise
}

fn plain(status: StatusCode, why: &str) -> Reply {
    let mut reply = Response::new(Body::Full(format!("{why}\n").into()));
    *reply.status_mut() = status;
    reply
}
