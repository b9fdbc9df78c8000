//! The log: one JSON object an event, to the console, from where the platform takes it.

use std::fmt::{Debug, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn error(text: &str);
    #[wasm_bindgen(js_namespace = console, js_name = warn)]
    fn warn(text: &str);
    #[wasm_bindgen(js_namespace = console, js_name = log)]
    fn log(text: &str);
}

/// Writes events of `level` and above.
struct Console(Level);

/// Starts logging from `level` on, by its name; from warnings on where that is no level's.
pub(crate) fn init(level: Option<&str>) {
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(Level::WARN);
    // Whoever came first has set it.
    let _ = tracing::subscriber::set_global_default(Console(level));
}

impl Subscriber for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.0
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        fields.0.insert("level".into(), event.metadata().level().as_str().into());
        fields.0.insert("target".into(), event.metadata().target().into());
        event.record(&mut fields);
        let text = Value::Object(fields.0).to_string();
        match *event.metadata().level() {
            Level::ERROR => error(&text),
            Level::WARN => warn(&text),
            _ => log(&text),
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // A string takes whatever is written.
        let _ = write!(text, "{value:?}");
        self.0.insert(field.name().into(), text.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}
