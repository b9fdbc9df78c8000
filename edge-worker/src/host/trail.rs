//! What JavaScript does for the audit trail. See `trail.js`.

use js_sys::Promise;
use portcullis_core::audit::{Segment, Unreadable};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

use super::answer::reason;
use super::told::settled;
use crate::bindings::Bindings;
use crate::json;

#[wasm_bindgen(module = "/src/host/trail.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn enqueue(queue: &JsValue, text: &str) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_name = Tables)]
    pub(super) type Tables;
    #[wasm_bindgen(constructor, js_class = "Tables")]
    pub(super) fn new(state: &JsValue) -> Tables;
    #[wasm_bindgen(method, catch, js_name = run)]
    fn run_all(this: &Tables, statements: &str) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = rows)]
    fn all_rows(this: &Tables, query: &str) -> Result<String, JsValue>;
    #[wasm_bindgen(method)]
    pub(super) fn wake(this: &Tables, at: f64) -> Promise;

    /// A store of segments.
    #[derive(Clone)]
    pub(super) type Shelf;
    #[wasm_bindgen(method)]
    fn put(this: &Shelf, name: &str, text: &str, beside: &str, seconds: f64) -> Promise;
    #[wasm_bindgen(method)]
    fn list(this: &Shelf, prefix: &str, cursor: Option<String>) -> Promise;
    #[wasm_bindgen(method)]
    fn get(this: &Shelf, name: &str) -> Promise;

    fn store(binding: &JsValue) -> Shelf;
    fn archive(binding: &JsValue) -> Shelf;
}

/// The binding of the queue of entries.
const QUEUE: &str = "ENTRIES";
/// The binding of the store of keys.
const STORE: &str = "STORE";
/// The binding of the store of files.
const ARCHIVE: &str = "ARCHIVE";

/// Puts messages, a line each, into the queue as one; nothing where there is none.
pub(super) async fn enqueued(bindings: &Bindings, text: &str) -> Option<Result<(), String>> {
    let queue = bindings.objects(QUEUE)?;
    Some(match enqueue(&queue, text) {
        Ok(sent) => settled(&sent).await.map(drop).map_err(|error| reason(&error)),
        Err(error) => Err(reason(&error)),
    })
}

impl Tables {
    /// Runs statements, each with its values, all of them or none.
    pub(super) fn run(&self, statements: &[serde_json::Value]) -> Result<(), String> {
        let text = serde_json::to_string(statements).map_err(|error| error.to_string())?;
        self.run_all(&text).map_err(|error| reason(&error))
    }

    /// Returns the rows of a query.
    pub(super) fn rows<T: DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, String> {
        let text = self.all_rows(query).map_err(|error| reason(&error))?;
        json::read(&text).map_err(|error| error.to_string())
    }
}

/// Where segments lie.
#[derive(Clone)]
pub(super) struct Shelves {
    /// The store of keys, close to every reader.
    pub(super) store: Option<Shelf>,
    /// The store of files, for long.
    pub(super) archive: Option<Shelf>,
}

impl Shelves {
    pub(super) fn of(bindings: &Bindings) -> Self {
        let bound = |name| bindings.objects(name);
        Self {
            store: bound(STORE).map(|binding| store(&binding)),
            archive: bound(ARCHIVE).map(|binding| archive(&binding)),
        }
    }
}

impl Shelf {
    /// Puts a segment there; a store of keys keeps it for so many days.
    pub(super) async fn keep(&self, named: (&str, &str), text: &str, days: u32) -> Result<(), String> {
        let put = self.put(named.0, text, named.1, f64::from(days.max(1)) * 86_400.0);
        settled(&put).await.map(drop).map_err(|error| reason(&error))
    }

    /// Returns the segments whose names begin so.
    pub(super) async fn segments(&self, prefix: &str) -> Result<Vec<Segment>, Unreadable> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let listed = settled(&self.list(prefix, cursor.take())).await.map_err(|e| failed(&e))?;
            let text = listed.as_string().unwrap_or_default();
            let (named, next): (Vec<(String, String)>, Option<String>) =
                json::read(&text).map_err(|error| Unreadable::Failed(error.to_string()))?;
            all.extend(named.iter().filter_map(|(name, beside)| Segment::parse(name, beside)));
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Returns the text of a segment; nothing where it is gone.
    pub(super) async fn text(&self, name: &str) -> Result<Option<String>, Unreadable> {
        let text = settled(&self.get(name)).await.map_err(|error| failed(&error))?;
        Ok(text.as_string())
    }
}

fn failed(error: &JsValue) -> Unreadable {
    Unreadable::Failed(reason(error))
}
