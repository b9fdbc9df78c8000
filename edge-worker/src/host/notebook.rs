//! What an object writes down, to know it again after it was put away.

use std::rc::Rc;
use std::sync::Arc;

use js_sys::Promise;
use portcullis_core::ports::Notebook;
use wasm_bindgen::JsValue;
use worker::send::SendWrapper;

use super::glue::Storage;
use crate::json;

/// The notes of one object: each is its value and until when it counts, as JSON.
#[derive(Clone)]
pub(crate) struct Notes(SendWrapper<Rc<Storage>>);

impl Notes {
    /// Returns the notes of the object with that state.
    pub(crate) fn of(state: &JsValue) -> Self {
        Self(SendWrapper::new(Rc::new(Storage::new(state))))
    }

    pub(super) fn shared(&self) -> Arc<dyn Notebook> {
        Arc::new(self.clone())
    }

    /// Removes what no longer counts, and has the object woken again for the rest; where nothing is left, and nothing else
    /// is stored, the object is forgotten.
    pub(crate) fn tidy(&self, now: u64, stores_more: bool) -> Promise {
        let mut next = None;
        for (key, _, until) in self.read() {
            if until <= now {
                self.0.remove(&key);
            } else {
                next = Some(next.map_or(until, |next: u64| next.min(until)));
            }
        }
        match next {
            Some(next) => self.0.wake(moment(next)),
            None if stores_more => Promise::resolve(&JsValue::UNDEFINED),
            None => self.0.forget_all(),
        }
    }
}

impl Notebook for Notes {
    fn write(&self, key: &str, value: &str, until: u64) {
        self.0.store(key, &serde_json::to_string(&(value, until)).expect("plain data"));
        // For tidiness only: whether it is put off does not matter.
        drop(self.0.wake(moment(until)));
    }

    fn strike(&self, key: &str) {
        self.0.remove(key);
    }

    fn read(&self) -> Vec<(String, String, u64)> {
        let all: Vec<(String, String)> = json::read(&self.0.all()).unwrap_or_default();
        let note = |(key, text): (String, String)| {
            let (value, until) = json::read::<(String, u64)>(&text).ok()?;
            Some((key, value, until))
        };
        all.into_iter().filter_map(note).collect()
    }
}

/// Returns a moment as JavaScript has it.
#[allow(clippy::cast_precision_loss, reason = "milliseconds stay far below 2^53 for ages")]
pub(crate) fn moment(milliseconds: u64) -> f64 {
    milliseconds.min(1 << 52) as f64
}
