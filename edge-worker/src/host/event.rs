//! What the platform is handling: a request, a batch of a queue, an alarm. What waits belongs to the event in which it
//! began, and goes on there, whichever event wakes it.
//!
//! **A task is polled in its own event only.** A timer or a fetch that is begun while it is polled is the event's then,
//! as the platform demands; work for later is handed to the event that is polled ([`Event::current`]).
//!
//! **Whoever is woken in its own event goes on at once.** A bell is struck only where another event wakes. An event has one
//! bell and one timer, however many of its tasks wait, since each costs more than what is done in between.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::{self, Rc};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use futures::task::{ArcWake, waker};
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use worker::send::SendWrapper;

use super::glue::{Promised, alarm, bell, silence, strike};
use super::told::{Ear, forget, listen};

/// How long an event waits at most without a sign of its own, in milliseconds: one that waits for another event is not
/// to be taken for one that will never end.
const SIGN: u64 = 5000;

/// An event of the platform's. Clones are the same.
#[derive(Clone)]
pub(crate) struct Event(Rc<Inner>);

/// An event that may be over.
pub(super) struct WeakEvent(rc::Weak<Inner>);

struct Inner {
    /// Keeps the event alive for a promise.
    context: worker::worker_sys::Context,
    /// How many tasks wait.
    waiting: Cell<usize>,
    /// Those that were woken.
    woken: RefCell<VecDeque<Arc<Task>>>,
    /// Its number, and what strikes it.
    bell: RefCell<Option<(u32, JsValue)>>,
    clock: RefCell<Option<Clock>>,
    /// Who sleeps, by when they are woken and in which order they lay down.
    sleepers: RefCell<BTreeMap<(u64, u64), Waker>>,
    slept: Cell<u64>,
    /// Who waits for the end of the answer; nobody any more once it is over.
    until_answered: RefCell<Option<Vec<oneshot::Sender<()>>>>,
}

/// The timer of an event.
struct Clock {
    at: u64,
    number: u32,
    timer: JsValue,
}

thread_local! {
    /// The event of the task that is polled.
    static CURRENT: RefCell<Option<Event>> = const { RefCell::new(None) };
    /// The event that the platform runs.
    static RUNNING: RefCell<Option<Event>> = const { RefCell::new(None) };
}

impl Event {
    pub(crate) fn new(context: JsValue) -> Self {
        Self(Rc::new(Inner {
            context: context.unchecked_into(),
            waiting: Cell::default(),
            woken: RefCell::default(),
            bell: RefCell::default(),
            clock: RefCell::default(),
            sleepers: RefCell::default(),
            slept: Cell::default(),
            until_answered: RefCell::new(Some(Vec::new())),
        }))
    }

    /// Returns the event in which the running code runs.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs `work` as a part of this event.
    pub(super) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let outer = CURRENT.replace(Some(self.clone()));
        let done = work();
        CURRENT.set(outer);
        done
    }

    /// Runs `work`, and then whoever it wakes, where the platform runs this event.
    pub(super) fn enter(&self, work: impl FnOnce()) {
        if self.is_running() {
            return work();
        }
        let outer = RUNNING.replace(Some(self.clone()));
        work();
        while let Some(task) = self.next_woken() {
            task.run();
        }
        RUNNING.set(outer);
    }

    fn is_running(&self) -> bool {
        RUNNING.with_borrow(|running| running.as_ref().is_some_and(|running| Rc::ptr_eq(&running.0, &self.0)))
    }

    fn next_woken(&self) -> Option<Arc<Task>> {
        self.0.woken.borrow_mut().pop_front()
    }

    /// Begins `work` at once, and returns a promise of what it comes to, with what can give it up.
    pub(crate) fn promise(
        &self,
        work: impl Future<Output = Result<JsValue, JsValue>> + 'static,
    ) -> (Promise, Running) {
        let (promise, task) = self.task(work.boxed_local());
        let running = Running(Arc::downgrade(&task));
        self.enter(|| task.run());
        (promise, running)
    }

    /// Does `work` after whatever runs now, and keeps the event alive for it.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.begin(work.boxed_local());
    }

    /// As [`Event::spawn`]. It is compiled once, not for each kind of work: the Worker's size is bounded.
    pub(super) fn begin(&self, work: LocalBoxFuture<'static, ()>) {
        let done = work.map(|()| Ok(JsValue::UNDEFINED));
        let (promise, task) = self.task(done.boxed_local());
        if let Err(error) = self.0.context.wait_until(&promise) {
            tracing::warn!(?error, "work after an answer cannot be waited for");
        }
        task.wait();
        ArcWake::wake(task);
    }

    /// Returns once it is over; where it is dropped before, nothing is left of it.
    pub(crate) fn sleep(duration: Duration) -> Sleep {
        Sleep { duration, place: None }
    }

    /// Takes note that the answer is over: given, or given up.
    pub(super) fn end_answer(&self) {
        self.0.until_answered.take();
    }

    /// Waits until the answer is over.
    pub(super) async fn answered(&self) {
        let (told, answered) = oneshot::channel();
        match &mut *self.0.until_answered.borrow_mut() {
            Some(waiting) => waiting.push(told),
            None => return,
        }
        // It is told by dropping the other end.
        let _ = answered.await;
    }

    fn task(&self, work: LocalBoxFuture<'static, Result<JsValue, JsValue>>) -> (Promise, Arc<Task>) {
        let promised = Promised::new();
        let promise = promised.promise();
        let task = Task::new(self.clone(), async move {
            match work.await {
                Ok(value) => promised.resolve(&value),
                Err(error) => promised.reject(&error),
            }
        });
        (promise, task)
    }

    /// Has a task run: by whoever runs this event, or by its bell.
    fn wakes(&self, task: Arc<Task>) {
        self.0.woken.borrow_mut().push_back(task);
        if !self.is_running()
            && let Some((_, bell)) = &*self.0.bell.borrow()
        {
            strike(bell);
        }
    }

    fn began_to_wait(&self) {
        self.0.waiting.set(self.0.waiting.get() + 1);
        if self.0.bell.borrow().is_none() {
            self.0.bell.replace(Some(listen(Ear::Bell(self.weak()), bell)));
        }
        if self.0.clock.borrow().is_none() {
            self.set_clock(now());
        }
    }

    fn no_longer_waits(&self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
        if self.0.waiting.get() == 0 {
            self.stop_clock();
            if let Some((number, _)) = self.0.bell.take() {
                forget(number);
            }
        }
    }

    fn weak(&self) -> WeakEvent {
        WeakEvent(Rc::downgrade(&self.0))
    }

    /// Sets the timer to when somebody wants to be woken.
    fn set_clock(&self, now: u64) {
        let earliest = self.0.sleepers.borrow().first_key_value().map(|((at, _), _)| *at);
        let at = earliest.map_or(now + SIGN, |at| at.clamp(now, now + SIGN));
        self.stop_clock();
        #[allow(clippy::cast_precision_loss, reason = "a few seconds")]
        let left = (at - now) as f64;
        let (number, timer) = listen(Ear::Clock(self.weak()), |number, tell| alarm(left, number, tell));
        self.0.clock.replace(Some(Clock { at, number, timer }));
    }

    fn stop_clock(&self) {
        if let Some(Clock { number, timer, .. }) = self.0.clock.take() {
            forget(number);
            silence(&timer);
        }
    }
}

impl WeakEvent {
    /// Runs who was woken by another event. The bell is hung up again, in its own event.
    pub(super) fn rung(self) {
        let Some(event) = self.0.upgrade().map(Event) else { return };
        event.0.bell.take();
        if event.0.waiting.get() > 0 {
            event.0.bell.replace(Some(listen(Ear::Bell(event.weak()), bell)));
        }
        event.enter(|| ());
    }

    /// Wakes whoever has slept for long enough.
    pub(super) fn wake_sleepers(self) {
        let Some(event) = self.0.upgrade().map(Event) else { return };
        // The platform's clock may be a little behind its timers.
        let now = event.0.clock.take().map_or(0, |clock| clock.at).max(now());
        let later = event.0.sleepers.borrow_mut().split_off(&(now + 1, 0));
        let due = event.0.sleepers.replace(later);
        event.enter(|| due.into_values().for_each(Waker::wake));
        if event.0.waiting.get() > 0 && event.0.clock.borrow().is_none() {
            event.set_clock(now);
        }
    }
}

/// Some time that passes in an event.
pub(crate) struct Sleep {
    duration: Duration,
    place: Option<(Event, (u64, u64))>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker();
        if let Some((event, place)) = &self.place {
            let mut sleepers = event.0.sleepers.borrow_mut();
            let Some(sleeper) = sleepers.get_mut(place) else { return Poll::Ready(()) };
            let before = std::mem::replace(sleeper, waker.clone());
            drop(sleepers);
            // Much may go with it.
            drop(before);
            return Poll::Pending;
        }
        let Some(event) = Event::current() else {
            tracing::error!("somebody sleeps outside any event, and is not woken");
            return Poll::Pending;
        };
        let now = now();
        let at = now.saturating_add(u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX));
        let place = (at, event.0.slept.get());
        event.0.slept.set(place.1 + 1);
        event.0.sleepers.borrow_mut().insert(place, waker.clone());
        if event.0.clock.borrow().as_ref().is_none_or(|clock| at < clock.at) {
            event.set_clock(now);
        }
        self.place = Some((event, place));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((event, place)) = self.place.take() {
            let sleeper = event.0.sleepers.borrow_mut().remove(&place);
            drop(sleeper);
        }
    }
}

/// Returns the platform's time in milliseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    // Positive and far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let now = js_sys::Date::now() as u64;
    now
}

/// Work that has begun.
#[derive(Clone, Default)]
pub(crate) struct Running(Weak<Task>);

impl Running {
    /// Drops the work, as a part of its event, unless it is done.
    pub(crate) fn give_up(&self) {
        if let Some(task) = self.0.upgrade() {
            task.give_up();
        }
    }
}

/// Some work of an event's. The wrapper makes wakers of it, which have to be `Send`; a Worker has one thread.
struct Task(SendWrapper<Work>);

struct Work {
    event: Event,
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    /// Itself, while it waits: nobody else may hold it then.
    own: RefCell<Option<Arc<Task>>>,
    state: Cell<State>,
    woken: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Polled,
    GivenUp,
}

impl Task {
    fn new(event: Event, future: impl Future<Output = ()> + 'static) -> Arc<Self> {
        Arc::new(Self(SendWrapper::new(Work {
            event,
            future: RefCell::new(Some(Box::pin(future))),
            own: RefCell::default(),
            state: Cell::new(State::Waiting),
            woken: Cell::new(false),
        })))
    }

    fn run(self: &Arc<Self>) {
        let work = &*self.0;
        work.woken.set(false);
        let Some(mut future) = work.future.take() else { return };
        work.state.set(State::Polled);
        let waker = waker(self.clone());
        let poll = || future.as_mut().poll(&mut Context::from_waker(&waker));
        let is_done = work.event.within(poll).is_ready();
        if is_done || work.state.get() == State::GivenUp {
            return self.end(future);
        }
        work.state.set(State::Waiting);
        work.future.replace(Some(future));
        self.wait();
        if work.woken.get() {
            work.event.wakes(self.clone());
        }
    }

    /// Makes ready to be woken: in the task's own event.
    fn wait(self: &Arc<Self>) {
        let work = &*self.0;
        if work.own.borrow().is_none() {
            work.own.replace(Some(self.clone()));
            work.event.began_to_wait();
        }
    }

    fn give_up(&self) {
        let work = &*self.0;
        if work.state.replace(State::GivenUp) == State::Polled {
            return;
        }
        if let Some(future) = work.future.take() {
            self.end(future);
        }
    }

    fn end(&self, future: Pin<Box<dyn Future<Output = ()>>>) {
        let work = &*self.0;
        work.state.set(State::GivenUp);
        work.event.within(|| drop(future));
        if work.own.take().is_some() {
            work.event.no_longer_waits();
        }
    }
}

impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        let work = &*task.0;
        if !work.woken.replace(true) && work.state.get() == State::Waiting {
            work.event.wakes(task.clone());
        }
    }
}
