//! What the Worker is bound to: secrets and variables, the store, objects. All of it may be missing.

use js_sys::Reflect;
use wasm_bindgen::JsValue;
use worker::Env;

/// The bindings' names, as `wrangler.toml` has them.
const STORE: &str = "STORE";

/// What may be left out of them, and what is lost by that.
const OPTIONAL: &[(&str, &str)] = &[
    (
        STORE,
        "the configuration is that of the variable, keys and the audit trail cannot be read, and what servers offer is asked of an object by each instance",
    ),
    (
        "CONFIGURATIONS",
        "configurations and keys cannot be pushed, nor secrets set; what STORE holds under `config` is served",
    ),
    (
        "CONVERSATIONS",
        "servers cannot ask in the middle of a call, and there are no streams to listen on and no HTTP+SSE",
    ),
    ("IDENTITIES", "with `isolation: per-identity` every request is refused"),
    ("CONNECTIONS", "users cannot be connected to servers that ask for a token of theirs"),
    ("UPSTREAMS", "each instance asks each server what it offers when it starts"),
    ("COUNTS", "each instance counts for itself, so that limits are looser than they say"),
    ("FAMILIES", "nobody can sign in with the gateway (`auth.sign_in`)"),
    ("TRAIL", "no audit trail is written"),
    ("ENTRIES", "each instance brings its audit entries to the trail itself, after answers"),
    ("ARCHIVE", "the audit trail is kept no longer than STORE keeps it"),
];

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

    /// Returns what a configuration may refer to: not what is the gateway's own.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        if name.starts_with("PORTCULLIS_") { None } else { self.text(name) }
    }

    /// Tells whether a variable says yes.
    pub(crate) fn says(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| matches!(text.as_str(), "1" | "true" | "yes"))
    }

    /// Returns the objects of a class.
    pub(crate) fn objects(&self, name: &str) -> Option<JsValue> {
        Reflect::get(&self.0, &JsValue::from_str(name)).ok().filter(JsValue::is_object)
    }

    /// Returns what the Worker is not bound to, and what is lost by that.
    pub(crate) fn missing(&self) -> Vec<(&'static str, &'static str)> {
        OPTIONAL.iter().copied().filter(|(name, _)| self.is_unbound(name)).collect()
    }

    /// Tells whether there is no such binding: what an instance does without is null.
    fn is_unbound(&self, name: &str) -> bool {
        Reflect::get(&self.0, &JsValue::from_str(name)).is_ok_and(|bound| bound.is_undefined())
    }

    /// Returns the store that all isolates read.
    pub(crate) fn store(&self) -> Option<JsValue> {
        self.objects(STORE)
    }
}
