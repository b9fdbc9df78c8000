//! What the platform is handling: a request, a batch of a queue, an alarm. What waits belongs to the event in which it
//! began, and goes on there, whichever event wakes it.
//!
//! **A task is polled in its own event only.** A timer or a fetch that is begun while it is polled is the event's then,
//! as the platform demands; work for later is handed to the event that is polled ([`Event::current`]).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Context;

use futures::channel::oneshot;
use futures::task::{ArcWake, waker};
use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use worker::send::SendWrapper;

use super::glue::{Bell, tick, untick};

/// An event of the platform's. Clones are the same.
#[derive(Clone)]
pub(crate) struct Event(Rc<Inner>);

struct Inner {
    /// Keeps the event alive for a promise.
    context: worker::worker_sys::Context,
    /// How many tasks wait.
    waiting: Cell<usize>,
    /// Who waits for the end of the answer; nobody any more once it is over.
    until_answered: RefCell<Option<Vec<oneshot::Sender<()>>>>,
    ticking: RefCell<Option<JsValue>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Event>> = const { RefCell::new(None) };
}

impl Event {
    pub(crate) fn new(context: JsValue) -> Self {
        let context = context.unchecked_into();
        let until_answered = RefCell::new(Some(Vec::new()));
        Self(Rc::new(Inner {
            context,
            waiting: Cell::default(),
            until_answered,
            ticking: RefCell::default(),
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

    /// Begins `work` at once, and returns a promise of what it comes to, with what can give it up.
    pub(crate) fn promise(
        &self,
        work: impl Future<Output = Result<JsValue, JsValue>> + 'static,
    ) -> (Promise, Running) {
        let (promise, task) = self.task(work);
        let running = Running(task.as_ref().map(Arc::downgrade).unwrap_or_default());
        if let Some(task) = task {
            task.run();
        }
        (promise, running)
    }

    /// Does `work` after whatever runs now, and keeps the event alive for it.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        let (promise, task) = self.task(async move {
            work.await;
            Ok(JsValue::UNDEFINED)
        });
        if let Err(error) = self.0.context.wait_until(&promise) {
            tracing::warn!(?error, "work after an answer cannot be waited for");
        }
        if let Some(task) = task {
            task.wait();
            ArcWake::wake(task);
        }
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

    fn task(
        &self,
        work: impl Future<Output = Result<JsValue, JsValue>> + 'static,
    ) -> (Promise, Option<Arc<Task>>) {
        let (mut work, mut task) = (Some(work), None);
        let promise = Promise::new(&mut |resolve: Function, reject: Function| {
            let Some(work) = work.take() else { return };
            task = Some(Task::new(self.clone(), async move {
                // Neither can fail: they settle a promise.
                let _ = match work.await {
                    Ok(value) => resolve.call1(&JsValue::UNDEFINED, &value),
                    Err(error) => reject.call1(&JsValue::UNDEFINED, &error),
                };
            }));
        });
        (promise, task)
    }

    fn began_to_wait(&self) {
        self.0.waiting.set(self.0.waiting.get() + 1);
        self.0.ticking.borrow_mut().get_or_insert_with(tick);
    }

    fn no_longer_waits(&self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
        if self.0.waiting.get() == 0
            && let Some(id) = self.0.ticking.take()
        {
            untick(&id);
        }
    }
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

/// A bell, and what it runs.
type Hung = (Bell, Closure<dyn FnMut()>);

struct Work {
    event: Event,
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    bell: RefCell<Option<Hung>>,
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
            bell: RefCell::default(),
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
            self.strike();
        }
    }

    /// Makes ready to be woken: in the task's own event.
    fn wait(self: &Arc<Self>) {
        let work = &*self.0;
        if let Some((bell, _)) = &*work.bell.borrow() {
            return bell.arm();
        }
        let task = self.clone();
        let run = Closure::<dyn FnMut()>::new(move || task.run());
        work.bell.replace(Some((Bell::new(&run), run)));
        work.event.began_to_wait();
    }

    fn strike(&self) {
        if let Some((bell, _)) = &*self.0.bell.borrow() {
            bell.strike();
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
        if let Some((bell, _run)) = work.bell.take() {
            bell.silence();
            work.event.no_longer_waits();
        }
    }
}

impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        let work = &*task.0;
        if !work.woken.replace(true) && work.state.get() == State::Waiting {
            task.strike();
        }
    }
}
