//! What JavaScript tells: that a promise is settled, that a bell was struck, that it is time, that an agent has left. What
//! is told stands here under a number of its own, so that JavaScript holds nothing but the number.
//!
//! **What comes to nobody's ears is dropped**: who waits no longer has taken the number back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use js_sys::Promise;
use wasm_bindgen::prelude::*;

use super::event::{Event, WeakEvent};
use super::glue::wait;

/// Who is told.
pub(super) enum Ear {
    /// Who waits for a promise, in an event or outside of any.
    Promise(Option<Event>, Option<Waker>, Option<Result<JsValue, JsValue>>),
    /// An event in which somebody was woken by another one.
    Bell(WeakEvent),
    /// An event whose time has come.
    Clock(WeakEvent),
    /// Who hears that an agent has left.
    Left(Box<dyn FnOnce()>),
}

#[derive(Default)]
struct Ears {
    all: BTreeMap<u32, Ear>,
    last: u32,
}

/// What JavaScript calls: with the number, whether all is well, and a value.
type Tell = Closure<dyn Fn(u32, bool, JsValue)>;

thread_local! {
    static EARS: RefCell<Ears> = RefCell::default();
    static TELL: Tell = Closure::new(told);
}

/// Has somebody told; `ask` hands their number to JavaScript with what it is to call.
pub(super) fn listen<T>(ear: Ear, ask: impl FnOnce(u32, &JsValue) -> T) -> (u32, T) {
    let number = EARS.with_borrow_mut(|ears| {
        ears.last = ears.last.wrapping_add(1);
        ears.all.insert(ears.last, ear);
        ears.last
    });
    (number, TELL.with(|tell| ask(number, tell.as_ref())))
}

/// Takes a number back.
pub(super) fn forget(number: u32) {
    drop(EARS.with_borrow_mut(|ears| ears.all.remove(&number)));
}

fn told(number: u32, is_well: bool, value: JsValue) {
    let outcome = if is_well { Ok(value) } else { Err(value) };
    let ear = EARS.with_borrow_mut(|ears| match ears.all.get_mut(&number) {
        Some(Ear::Promise(event, waker, slot)) => {
            *slot = Some(outcome);
            Some(Ear::Promise(event.clone(), waker.take(), None))
        }
        Some(_) => ears.all.remove(&number),
        None => None,
    });
    match ear {
        Some(Ear::Promise(event, Some(waker), _)) => match event {
            Some(event) => event.enter(|| waker.wake()),
            None => waker.wake(),
        },
        Some(Ear::Bell(event)) => event.rung(),
        Some(Ear::Clock(event)) => event.wake_sleepers(),
        Some(Ear::Left(hears)) => hears(),
        _ => {}
    }
}

/// Waits for a promise.
pub(crate) fn settled(promise: &Promise) -> Settled {
    let ear = Ear::Promise(Event::current(), None, None);
    Settled(listen(ear, |number, tell| wait(promise, number, tell)).0)
}

/// What a promise comes to.
pub(crate) struct Settled(u32);

impl Future for Settled {
    type Output = Result<JsValue, JsValue>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // What was to be woken before is let go of outside: much may go with it.
        let (polled, _before) = EARS.with_borrow_mut(|ears| match ears.all.get_mut(&self.0) {
            Some(Ear::Promise(_, waker, outcome)) => match outcome.take() {
                Some(outcome) => (Poll::Ready(outcome), None),
                None => (Poll::Pending, waker.replace(context.waker().clone())),
            },
            _ => (Poll::Pending, None),
        });
        polled
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        forget(self.0);
    }
}
