//! The gateway of an isolate, or of an object: made from the configuration when first asked for, and looked after.

use std::cell::{Cell, RefCell};

use portcullis_core::config::{self, Config, Severity, Source};
use portcullis_core::control::Managed;
use portcullis_core::ports::Clock as _;
use portcullis_core::{AdminKey, Exposure, Gateway, Options, SealKeys};

use crate::bindings::Bindings;
use crate::host::Edge;

/// The key of the configuration in the store.
const CONFIGURATION: &str = "config";
/// How long a configuration is taken for the one in force, in milliseconds.
const FRESH: u64 = 3000;

/// A gateway where it may not have been made yet.
pub(crate) struct Place {
    bindings: Bindings,
    host: Edge,
    made: RefCell<Option<Made>>,
}

struct Made {
    gateway: Gateway<Edge>,
    /// What the configuration was made from.
    text: String,
    looked: Cell<u64>,
}

/// Why nothing is served.
pub(crate) type Unserved = String;

impl Place {
    pub(crate) fn new(bindings: Bindings, host: Edge) -> Self {
        Self { bindings, host, made: RefCell::default() }
    }

    pub(crate) fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// Returns the gateway; makes it where there is none.
    pub(crate) async fn gateway(&self) -> Result<Gateway<Edge>, Unserved> {
        let (bindings, host) = (&self.bindings, &self.host);
        if let Some(made) = &*self.made.borrow() {
            return Ok(made.gateway.clone());
        }
        let text = configuration(bindings).await?;
        let config = understand(&text, bindings)?;
        let mut slot = self.made.borrow_mut();
        if let Some(made) = &*slot {
            // Another request was quicker.
            return Ok(made.gateway.clone());
        }
        let looked = Cell::new(host.now());
        host.configure(&config.audit);
        let options = options(config, bindings)?;
        let gateway = Gateway::start(host.clone(), options).map_err(|refusal| refusal.to_string())?;
        *slot = Some(Made { gateway: gateway.clone(), text, looked });
        Ok(gateway)
    }

    /// Sends, after an answer, the audit entries that could not be sent before.
    pub(crate) async fn flush(&self) {
        self.host.flush().await;
    }

    /// Looks, after an answer, whether another configuration is to be in force. What cannot be served changes nothing.
    pub(crate) async fn refresh(&self) {
        let (bindings, now) = (&self.bindings, self.host.now());
        let is_fresh = |made: &Made| now < made.looked.get() + FRESH;
        if self.made.borrow().as_ref().is_none_or(is_fresh) {
            return;
        }
        if let Some(made) = &*self.made.borrow() {
            made.looked.set(now);
        }
        let Ok(text) = configuration(bindings).await else { return };
        let mut slot = self.made.borrow_mut();
        let Some(made) = slot.as_mut().filter(|made| made.text != text) else { return };
        match understand(&text, bindings) {
            Ok(config) => {
                self.host.configure(&config.audit);
                drop(made.gateway.reload(config));
            }
            Err(why) => tracing::error!(%why, "the configuration is refused; the one before stays in force"),
        }
        made.text = text;
    }
}

/// Reads the configuration: that of the store, else that of the variable.
async fn configuration(bindings: &Bindings) -> Result<String, Unserved> {
    let stored = match bindings.store() {
        Some(store) => {
            let text = store.get(CONFIGURATION).text().await;
            text.map_err(|error| format!("the configuration cannot be read: {error}"))?
        }
        None => None,
    };
    let text = stored.or_else(|| bindings.text("PORTCULLIS_CONFIG"));
    text.ok_or_else(|| {
        "there is no configuration: put one into the store under `config`, or into PORTCULLIS_CONFIG".into()
    })
}

fn understand(text: &str, bindings: &Bindings) -> Result<Config, Unserved> {
    let source = Source { path: "portcullis.yaml".into(), text: text.into() };
    let parsed = config::parse(&[source], &|name| bindings.text(name));
    for problem in &parsed.problems {
        match problem.severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
    if parsed.is_refused() {
        return Err("the configuration has errors, which are in the log".into());
    }
    if !parsed.config.auth.required && !bindings.says("PORTCULLIS_INSECURE") {
        return Err(
            "no authentication is configured, and anyone could use every server and its credentials: set \
                    `auth.required`, or PORTCULLIS_INSECURE=1 where something in front asks who is there"
                .into(),
        );
    }
    Ok(parsed.config)
}

fn options(config: Config, bindings: &Bindings) -> Result<Options, Unserved> {
    let admin_key = bindings.text("PORTCULLIS_ADMIN_KEY").as_deref().and_then(AdminKey::new);
    let seal_keys = seal_keys(bindings)?;
    Ok(Options {
        config,
        seal_keys,
        exposure: Exposure::Network,
        started_by: Vec::new(),
        admin_key,
        managed: Managed::ByFiles("what the store has under `config`".into()),
    })
}

/// Reads the keys that seal what agents carry. All instances need the same: one that made its own would know no session
/// of any other.
fn seal_keys(bindings: &Bindings) -> Result<SealKeys, Unserved> {
    let Some(text) = bindings.text("PORTCULLIS_SEAL_KEY") else {
        return Err(
            "there is no PORTCULLIS_SEAL_KEY, which seals sessions: set it with `openssl rand -base64 32 | \
                    wrangler secret put PORTCULLIS_SEAL_KEY`"
                .into(),
        );
    };
    SealKeys::parse(&text).map_err(|error| format!("PORTCULLIS_SEAL_KEY: {error}"))
}
