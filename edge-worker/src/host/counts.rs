//! Counts that hold across instances: an object for each.
//!
//! **What cannot be counted is refused.** Each count of a request is taken from its object, all at once; where one is
//! used up, the others are given back.

use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{self, BoxFuture, Either};
use http::{Method, Request, StatusCode, Uri};
use portcullis_core::body::Body;
use portcullis_core::error::Unreachable;
use portcullis_core::quota::{Counted, Errand, Exceeded, Exhausted, Hold, Most, Outcome};
use wasm_bindgen::JsValue;
use worker::send::{SendFuture, SendWrapper};

use super::event::Event;
use super::glue::{object, randomize};
use super::objects::ask;
use crate::bindings::Bindings;

/// The largest that an object answers, in bytes.
const ANSWER: usize = 4096;
/// How long an object is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The objects that count.
#[derive(Clone)]
pub(super) struct Counts(SendWrapper<JsValue>);

/// What is given back when it is dropped, also by whoever leaves while it is still being counted.
struct Held {
    counts: Counts,
    errands: Vec<(String, Errand)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.errands.is_empty() {
            self.counts.later(std::mem::take(&mut self.errands));
        }
    }
}

impl Counts {
    pub(super) fn of(bindings: &Bindings) -> Option<Self> {
        bindings.objects("COUNTS").map(|namespace| Self(SendWrapper::new(namespace)))
    }

    /// Takes one from each count, or nothing.
    pub(super) async fn take(&self, counted: &[Counted], now: u64) -> Result<Hold, Exhausted> {
        let id = number();
        let held = counted.iter().filter(|counted| counted.limits.concurrency.is_some());
        let held = held.map(|counted| (counted.key.clone(), Errand::GiveBack { hold: id })).collect();
        let mut held = Held { counts: self.clone(), errands: held };
        let asked = counted.iter().map(|Counted { key, limits }| {
            let most = Most::from(limits);
            let answer = self.run(key.clone(), Errand::Take { most, now, hold: id });
            answer.map(move |answer| (key, most, answer))
        });
        let (mut undone, mut refused) = (Vec::new(), None);
        for (key, most, answer) in future::join_all(asked).await {
            let (limit, retry_after) = match answer {
                Ok(Outcome::Done) => {
                    undone.push((key.clone(), Errand::Undo { most, hold: id }));
                    continue;
                }
                Ok(Outcome::Exhausted { limit, retry_after }) => (limit, Duration::from_millis(retry_after)),
                Err(error) => {
                    tracing::error!(%key, reason = %error, "a count is out of reach");
                    // Perhaps it was taken all the same.
                    undone.push((key.clone(), Errand::GiveBack { hold: id }));
                    (Exceeded::Unknown, Duration::from_secs(1))
                }
            };
            refused.get_or_insert(Exhausted { key: key.clone(), limit, retry_after });
        }
        if let Some(exhausted) = refused {
            held.errands = undone;
            return Err(exhausted);
        }
        if held.errands.is_empty() {
            return Ok(Hold::default());
        }
        Ok(Hold::new(move || drop(held)))
    }

    /// Runs errands after the answer. One that fails is made up for by the count itself, in time.
    fn later(&self, errands: Vec<(String, Errand)>) {
        let Some(event) = Event::current() else { return };
        let counts = self.clone();
        event.spawn(async move {
            future::join_all(errands.into_iter().map(|(key, errand)| counts.run(key, errand))).await;
        });
    }

    fn run(&self, key: String, errand: Errand) -> BoxFuture<'static, Result<Outcome, Unreachable>> {
        let namespace = self.0.clone();
        let run = async move {
            let limit = pin!(Event::sleep(PATIENCE));
            match future::select(pin!(put(object(&namespace, &key), errand)), limit).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => Err(failed("does not answer in time")),
            }
        };
        SendFuture::new(run).boxed()
    }
}

/// Puts an errand to an object. What it says under an error's status does not count.
async fn put(object: JsValue, errand: Errand) -> Result<Outcome, Unreachable> {
    let text = serde_json::to_string(&errand).map_err(failed)?;
    let mut request = Request::new(Body::Full(text.into()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/");
    let reply = ask(object, request).await?;
    if reply.status() != StatusCode::OK {
        return Err(failed(reply.status()));
    }
    let answer = reply.into_body().collect(ANSWER).await.map_err(failed)?;
    serde_json::from_slice(&answer).map_err(failed)
}

fn failed(why: impl ToString) -> Unreachable {
    Unreachable::new("the count", why.to_string())
}

fn number() -> u64 {
    let mut bytes = [0; 8];
    randomize(&mut bytes);
    u64::from_le_bytes(bytes)
}
