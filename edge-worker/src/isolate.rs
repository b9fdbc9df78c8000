//! The gateway of an isolate, or of an object: made from the configuration when first asked for, and looked after.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use portcullis_core::config::{Config, Parsed, Problem, Processes, Severity};
use portcullis_core::control::{self, Kept, Managed, Means, Revision, Stamp, Strangers, understand_text};
use portcullis_core::identity::KeyRing;
use portcullis_core::ports::{Clock as _, Host as _};
use portcullis_core::{AdminKey, Exposure, Gateway, Options, SealKeys};
use wasm_bindgen::JsValue;

use crate::bindings::Bindings;
use crate::host::{CATALOG, CONFIGURATION, EDITION, Edge, KEYS, publish, read_all};
use crate::json;
use crate::plane::Plane;

/// The variable with the configuration of a gateway whose store has none.
const VARIABLE: &str = "PORTCULLIS_CONFIG";
/// How long a configuration is taken for the one in force, in milliseconds.
const FRESH: u64 = 3000;

/// Once a configuration has not been looked at for so long, in milliseconds, that is done before anything is answered.
const OLD: u64 = 20_000;

/// A gateway where it may not have been made yet.
pub(crate) struct Place {
    bindings: Bindings,
    host: Edge,
    plane: Plane,
    made: RefCell<Option<Made>>,
    /// The catalog as it was published last.
    published: RefCell<Bytes>,
}

struct Made {
    gateway: Gateway<Edge>,
    /// What the store had when it was last looked at.
    held: Held,
    looked: Cell<u64>,
}

/// Why nothing is served.
pub(crate) type Unserved = String;

impl Place {
    pub(crate) fn new(bindings: Bindings, host: Edge) -> Self {
        let plane = Plane::of(&bindings, &host);
        Self { bindings, host, plane, made: RefCell::default(), published: RefCell::default() }
    }

    pub(crate) fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// Returns the gateway; makes it where there is none.
    pub(crate) async fn gateway(&self) -> Result<Gateway<Edge>, Unserved> {
        let made = self.made.borrow().as_ref().map(|made| (made.gateway.clone(), made.looked.get()));
        if let Some((gateway, looked)) = made {
            // Nobody has looked for long, since nobody asked: keys may have been revoked meanwhile.
            if self.host.now() > looked + OLD {
                self.refresh().await;
            }
            return Ok(gateway);
        }
        let (held, catalog) = match self.bindings.store() {
            // What others have read of servers is nothing to whoever reads them alone.
            Some(store) => read(&store, self.bindings.objects("UPSTREAMS").is_some()).await?,
            None => (Held::default(), None),
        };
        let (config, managed) = self.begin(&held).await?;
        if let Some(made) = &*self.made.borrow() {
            // Another request was quicker.
            return Ok(made.gateway.clone());
        }
        let options = options(config, managed, &self.bindings)?;
        for (binding, loss) in self.bindings.missing() {
            tracing::warn!(binding, loss, "the Worker is not bound to something");
        }
        let gateway = Gateway::start(self.host.clone(), options).map_err(|refusal| refusal.to_string())?;
        gateway.set_keys(held.key_ring());
        if let Some(catalog) = catalog {
            gateway.take_catalog(catalog.as_bytes());
        }
        self.host.configure(&gateway.audit());
        let looked = Cell::new(self.host.now());
        self.made.replace(Some(Made { gateway: gateway.clone(), held, looked }));
        #[cfg(feature = "control")]
        self.plane.begin(&gateway).await;
        Ok(gateway)
    }

    /// Publishes the catalog for all instances, where it is another one than before; `edition` is when a server was read
    /// last for it.
    pub(crate) async fn publish(&self, catalog: &Bytes, edition: u64) {
        if *self.published.borrow() != *catalog && publish(&self.bindings, catalog, edition).await {
            self.published.replace(catalog.clone());
        }
    }

    /// Returns the configuration to begin with: that of the store, else that of the variable.
    async fn begin(&self, held: &Held) -> Result<(Config, Managed), Unserved> {
        let bindings = &self.bindings;
        let env = |name: &str| bindings.variable(name);
        let means = Means { env: &env, processes: Processes::NeverStarted, strangers: strangers(bindings) };
        let Some(store) = self.host.configurations() else {
            let text = held.config.as_ref().map(|held| held.text.clone());
            let text = text.or_else(|| bindings.text(VARIABLE)).ok_or_else(|| {
                format!("there is no configuration: put one into the store under `{CONFIGURATION}`, or into {VARIABLE}")
            })?;
            let config = served(understand_text(&text, &means))?;
            return Ok((config, Managed::ByFiles(format!("what the store has under `{CONFIGURATION}`"))));
        };
        let newest = match &held.config {
            Some(held) => self.revision(held, &means).await?,
            // The store is slower than the object, or new.
            None => store.newest().await.map_err(|error| error.to_string())?,
        };
        let otherwise = match bindings.text(VARIABLE) {
            Some(text) => served(understand_text(&text, &means))?,
            None => Config::default(),
        };
        let (config, known, problems) = control::begin(newest.as_ref(), &means, otherwise);
        tell(&problems);
        Ok((config, Managed::ByStore(known)))
    }

    /// Returns the version that the store holds. What was put there by other means becomes a version, if it can be served.
    async fn revision(&self, held: &Entry, means: &Means<'_>) -> Result<Option<Revision>, Unserved> {
        if let Some(stamp) = &held.stamp {
            return Ok(Some(Revision { stamp: stamp.clone(), text: held.text.clone() }));
        }
        if self.plane.governs() {
            tracing::error!("what was put into the store is refused: the control plane says what is served");
            return self.host.newest().await.map_err(|error| error.to_string());
        }
        let parsed = understand_text(&held.text, means);
        tell(&parsed.problems);
        let found = if parsed.is_refused() {
            tracing::error!("what was put into the store is refused; the version before stays in force");
            self.host.newest().await
        } else {
            self.host.import(held.text.clone()).await.map(Some)
        };
        found.map_err(|error| error.to_string())
    }

    /// Puts the audit trail's settings in force as the configuration has them, after an answer; tells whether there is
    /// more to do.
    pub(crate) fn has_chores(&self) -> bool {
        let made = self.made.borrow();
        if let Some(made) = &*made {
            self.host.configure(&made.gateway.audit());
        }
        made.as_ref().is_some_and(|made| self.is_old(made)) || self.host.lags() || self.plane.is_due()
    }

    /// Does, after an answer, what there is to do.
    pub(crate) async fn do_chores(&self) {
        if self.host.lags() {
            self.host.flush().await;
        }
        self.refresh().await;
        #[cfg(feature = "control")]
        if self.plane.is_due() {
            let gateway = self.made.borrow().as_ref().map(|made| made.gateway.clone());
            if let Some(gateway) = gateway {
                self.plane.ask(&gateway).await;
            }
        }
    }

    fn is_old(&self, made: &Made) -> bool {
        self.bindings.store().is_some() && self.host.now() >= made.looked.get() + FRESH
    }

    /// Looks, after an answer, whether another configuration or other keys are to be in force. What cannot be served
    /// changes nothing.
    pub(crate) async fn refresh(&self) {
        let now = self.host.now();
        let gateway = match &*self.made.borrow() {
            Some(made) if now >= made.looked.get() + FRESH => {
                made.looked.set(now);
                made.gateway.clone()
            }
            _ => return,
        };
        let Some(store) = self.bindings.store() else { return };
        let Ok((held, _)) = read(&store, false).await else { return };
        let before = match &mut *self.made.borrow_mut() {
            Some(made) if made.held != held => std::mem::replace(&mut made.held, held.clone()),
            _ => return,
        };
        if before.keys != held.keys {
            gateway.set_keys(held.key_ring());
        }
        if before.edition != held.edition && held.edition > Some(gateway.last_read()) {
            gateway.learn_anew().await;
        }
        let Some(config) = held.config.as_ref().filter(|_| before.config != held.config) else { return };
        let bindings = &self.bindings;
        let env = |name: &str| bindings.variable(name);
        let means = Means { env: &env, processes: Processes::NeverStarted, strangers: strangers(bindings) };
        if self.host.configurations().is_none() {
            match served(understand_text(&config.text, &means)) {
                Ok(config) => drop(gateway.reload(config)),
                Err(why) => {
                    tracing::error!(%why, "the configuration is refused; the one before stays in force");
                }
            }
            return;
        }
        match self.revision(config, &means).await {
            Ok(Some(newest)) => drop(gateway.look_again(&newest)),
            Ok(None) => {}
            Err(why) => {
                tracing::error!(%why, "the newest configuration cannot be read");
                if let Some(made) = &mut *self.made.borrow_mut() {
                    made.held.config = before.config;
                }
            }
        }
    }
}

/// What the store holds that every instance needs.
#[derive(Clone, Default, PartialEq, Eq)]
struct Held {
    config: Option<Entry>,
    /// The API keys, as JSON text.
    keys: Option<String>,
    /// When a server was read last for the newest catalog.
    edition: Option<u64>,
}

/// A configuration in the store.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    text: String,
    /// Which version it is; none where it was put there by other means.
    stamp: Option<Stamp>,
}

impl Held {
    fn key_ring(&self) -> KeyRing {
        let kept: Vec<Kept> = match self.keys.as_deref().map(json::read) {
            Some(Ok(kept)) => kept,
            Some(Err(error)) => {
                tracing::error!(%error, "the keys in the store cannot be read; no key counts");
                Vec::new()
            }
            None => Vec::new(),
        };
        KeyRing::new(kept.into_iter().map(|kept| kept.record))
    }
}

/// Reads what every instance needs in one request, and the catalog where it is wanted.
async fn read(store: &JsValue, with_catalog: bool) -> Result<(Held, Option<String>), Unserved> {
    let all = [CONFIGURATION, KEYS, EDITION, CATALOG];
    let names = if with_catalog { &all[..] } else { &all[..3] };
    let found = read_all(store, names).await.map_err(|why| format!("the store cannot be read: {why}"))?;
    let mut found = found.into_iter();
    let config = found.next().flatten().map(|(text, about)| {
        let stamp = about.and_then(|about| json::read(&about).ok());
        Entry { text, stamp }
    });
    let mut text = || found.next().flatten().map(|(text, _)| text);
    let (keys, edition) = (text(), text().and_then(|text| text.parse().ok()));
    Ok((Held { config, keys, edition }, text()))
}

fn strangers(bindings: &Bindings) -> Strangers {
    if bindings.says("PORTCULLIS_INSECURE") { Strangers::Admitted } else { Strangers::KeptOut }
}

fn tell(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
}

fn served(parsed: Parsed) -> Result<Config, Unserved> {
    tell(&parsed.problems);
    if parsed.is_refused() {
        let errors = parsed.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let errors: Vec<_> = errors.map(ToString::to_string).collect();
        return Err(format!("the configuration has errors: {}", errors.join("; ")));
    }
    Ok(parsed.config)
}

fn options(config: Config, managed: Managed, bindings: &Bindings) -> Result<Options, Unserved> {
    let admin_key = bindings.text("PORTCULLIS_ADMIN_KEY").as_deref().and_then(AdminKey::new);
    let seal_keys = seal_keys(bindings)?;
    Plane::check(bindings)?;
    let exposure = Exposure::Network;
    Ok(Options { config, seal_keys, exposure, started_by: Vec::new(), admin_key, managed })
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
