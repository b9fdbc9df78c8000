//! What the Worker is bound to: secrets and variables, the store, objects. All of it may be missing.

use js_sys::Reflect;
use wasm_bindgen::JsValue;
use worker::Env;

/// The bindings' names, as `wrangler.toml` has them.
const STORE: &str = "STORE";

/// The Worker's bindings.
#[derive(Clone)]
pub(crate) struct Bindings(Env);

impl Bindings {
    pub(crate) fn new(env: Env) -> Self {
        Self(env)
    }

    /// Returns a secret or a variable.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        Reflect::get(&self.0, &JsValue::from_str(name)).ok()?.as_string()
    }

    /// Tells whether a variable says yes.
    pub(crate) fn says(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| matches!(text.as_str(), "1" | "true" | "yes"))
    }

    /// Returns the objects of a class.
    pub(crate) fn objects(&self, name: &str) -> Option<JsValue> {
        Reflect::get(&self.0, &JsValue::from_str(name)).ok().filter(JsValue::is_object)
    }

    /// Returns the store that all isolates read.
    pub(crate) fn store(&self) -> Option<JsValue> {
        self.objects(STORE)
    }
}
