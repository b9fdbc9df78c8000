//! The gateway of an execution environment: made from the configuration when first asked for, and looked after.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures::future::try_join3;
use portcullis_core::config::{Config, Parsed, Problem, Processes, Severity, Source};
use portcullis_core::control::{self, Kept, Managed, Means, Revision};
use portcullis_core::identity::KeyRing;
use portcullis_core::ports::{Clock as _, Host as _};
use portcullis_core::{Exposure, Gateway, Options};
use tokio::sync::OnceCell;

use crate::host::Function;
use crate::secrets::Manager;
use crate::secrets::own::Keys;
use crate::settings::{Settings, variable};
use crate::underway::Underway;

/// How long a configuration is taken for the one in force, in milliseconds.
const FRESH: u64 = 3000;
/// Once a configuration has not been looked at for so long, in milliseconds, that is done before anything is answered.
const OLD: u64 = 5000;
/// So long nobody looks again whatever a stranger presents, in milliseconds.
const MOMENT: u64 = 1000;
/// So long nobody looks again where that failed, in milliseconds.
const PAUSE: u64 = 1000;
/// How often it is looked while an answer is given: whoever listens may lose the right to.
const LOOK: Duration = Duration::from_secs(5);
/// How long what the control plane said is taken for what it says, in milliseconds.
const SAID: u64 = 5000;
/// How long the gateway's own keys are taken for those that count, in milliseconds.
const KEYS_FRESH: u64 = 5 * 60 * 1000;
/// Once they have not been read for so long, in milliseconds, that is done before anything is answered.
const KEYS_OLD: u64 = 2 * KEYS_FRESH;
/// How long they are left alone where they could not be read, in milliseconds.
const KEYS_PAUSE: u64 = 30_000;

/// An execution environment.
pub(crate) struct Environment {
    settings: Settings,
    host: Function,
    underway: Underway,
    /// Where secrets are, if any is needed.
    manager: Option<Arc<Manager>>,
    gateway: OnceCell<Gateway<Function>>,
    seen: Mutex<Seen>,
    /// Held by whoever asks what is to be in force: the others wait for what that one finds.
    looking: tokio::sync::Mutex<()>,
}

/// What the stores had when they were last looked at.
#[derive(Default)]
struct Seen {
    /// When the last look began that came to its end.
    looked: u64,
    /// Nobody looks before, since a look has failed.
    paused: u64,
    version: u64,
    keys: Vec<Kept>,
    /// When the gateway's own keys are to be read again.
    own_due: u64,
    /// When the control plane is to be asked again.
    plane_due: u64,
}

impl Environment {
    /// Makes an environment in which there is no gateway yet.
    pub(crate) fn new(
        settings: Settings,
        host: Function,
        underway: Underway,
        manager: Option<Arc<Manager>>,
    ) -> Self {
        let (gateway, seen, looking) = (OnceCell::new(), Mutex::default(), tokio::sync::Mutex::default());
        Self { settings, host, underway, manager, gateway, seen, looking }
    }

    /// Returns how it is set up.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the gateway; makes it where there is none.
    pub(crate) async fn gateway(&self) -> anyhow::Result<&Gateway<Function>> {
        if let Some(gateway) = self.gateway.get() {
            // Nobody has looked for long, since nobody asked: keys may have been revoked meanwhile.
            self.look_again(gateway, OLD).await;
            self.read_keys_again(gateway, KEYS_OLD - KEYS_FRESH).await;
            return Ok(gateway);
        }
        self.gateway.get_or_try_init(|| self.begin()).await
    }

    /// Looks whether other keys are to be in force, since one is presented that the gateway does not know.
    pub(crate) async fn learn_of_keys(&self, gateway: &Gateway<Function>) {
        self.look_again(gateway, MOMENT).await;
    }

    /// Looks again and again whether another configuration or other keys are to be in force.
    pub(crate) async fn keep_looking(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(gateway) = self.gateway.get() {
                self.ask_plane(gateway).await;
                self.look_again(gateway, FRESH).await;
            }
        }
    }

    /// Asks the control plane for what this gateway is to serve, where there is one and that was not done lately. Nobody's
    /// answer waits for it.
    async fn ask_plane(&self, gateway: &Gateway<Function>) {
        let Some(control) = &self.settings.control else { return };
        {
            let (now, mut seen) = (self.host.now(), self.seen());
            if now < seen.plane_due {
                return;
            }
            seen.plane_due = now + SAID;
        }
        if let Err(why) = gateway.attend(&control.url, control.token.as_deref(), "function").await {
            tracing::warn!(%why, "the control plane cannot be followed for now: the gateway goes on with what it has");
        }
    }

    /// Does what is left to do after an answer: waits for what was begun, writes the audit trail, and looks whether another
    /// configuration or other keys are to be in force.
    pub(crate) async fn finish(&self) {
        self.write_trail().await;
        if let Some(gateway) = self.gateway.get() {
            self.ask_plane(gateway).await;
            self.look_again(gateway, FRESH).await;
            self.read_keys_again(gateway, 0).await;
        }
        self.underway.ended().await;
        self.write_trail().await;
    }

    async fn write_trail(&self) {
        if let Some(sink) = &self.host.stores().sink {
            // What cannot be written waits for the next time; the sink has said so.
            let _ = sink.flush().await;
        }
    }

    async fn begin(&self) -> anyhow::Result<Gateway<Function>> {
        let began = self.host.now();
        let (newest, keys, own) = try_join3(self.newest(), self.keys(), self.own_keys()).await?;
        let version = newest.as_ref().map_or(0, |newest| newest.stamp.version);
        let (config, managed) = self.configured(newest.as_ref())?;
        let options = Options {
            config,
            seal_keys: own.seal_keys,
            exposure: Exposure::Network,
            started_by: Vec::new(),
            admin_key: own.admin_key,
            managed,
        };
        let gateway = Gateway::start(self.host.clone(), options).map_err(|refusal| anyhow!("{refusal}"))?;
        gateway.set_keys(ring(&keys));
        self.host.reading().by(gateway.clone());
        self.configure(&gateway);
        gateway.look_at_directory().await;
        *self.seen() =
            Seen { looked: began, paused: 0, version, keys, own_due: began + KEYS_FRESH, plane_due: 0 };
        if let Some(control) = &self.settings.control {
            gateway.governed_by(&control.url);
            // There is nothing to serve yet.
            if version == 0 {
                self.ask_plane(&gateway).await;
            }
        }
        Ok(gateway)
    }

    async fn keys(&self) -> anyhow::Result<Vec<Kept>> {
        match self.host.keys() {
            Some(store) => store.all().await.map_err(|error| anyhow!("{error}")),
            None => Ok(Vec::new()),
        }
    }

    async fn own_keys(&self) -> anyhow::Result<Keys> {
        Box::pin(self.settings.own.read(self.manager.as_ref())).await
    }

    /// Waits for the turn to read what is due; nothing where it is not, or was read meanwhile.
    async fn turn(&self, is_due: impl Fn() -> bool) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if !is_due() {
            return None;
        }
        let turn = self.looking.lock().await;
        is_due().then_some(turn)
    }

    /// Tells whether the gateway's own keys were to be read again so long ago.
    fn are_keys_due(&self, ago: u64) -> bool {
        self.settings.own.is_kept() && self.host.now() >= self.seen().own_due.saturating_add(ago)
    }

    /// Reads the gateway's own keys again where they were to be so long ago. What cannot be read changes nothing, and
    /// what is cut off was no reading.
    async fn read_keys_again(&self, gateway: &Gateway<Function>, ago: u64) {
        let Some(_one_at_a_time) = self.turn(|| self.are_keys_due(ago)).await else { return };
        let next = match self.own_keys().await {
            Ok(keys) => {
                gateway.set_seal_keys(&keys.seal_keys);
                gateway.set_admin_key(keys.admin_key);
                KEYS_FRESH
            }
            Err(why) => {
                let why = format!("{why:#}");
                tracing::error!(%why, "the gateway's own keys cannot be read; what they were before counts");
                KEYS_PAUSE
            }
        };
        self.seen().own_due = self.host.now() + next;
    }

    /// Returns the newest version of the table's configuration, where that is the one.
    async fn newest(&self) -> anyhow::Result<Option<Revision>> {
        let Some(store) = self.host.configurations() else { return Ok(None) };
        store.newest().await.map_err(|error| anyhow!("{error}"))
    }

    /// Returns the configuration to begin with, and where it comes from.
    fn configured(&self, newest: Option<&Revision>) -> anyhow::Result<(Config, Managed)> {
        let strangers = self.settings.strangers;
        let means = Means { env: &variable, processes: Processes::NeverStarted, strangers };
        let packaged = match &self.settings.file {
            Some(path) => served(control::understand_files(&files(path)?, &means))?,
            None => Config::default(),
        };
        if self.host.configurations().is_none() {
            let origin = self.settings.file.as_ref().map(|path| path.display().to_string());
            return Ok((packaged, Managed::ByFiles(origin.unwrap_or_default())));
        }
        let (config, known, problems) = control::begin(newest, &means, packaged);
        tell(&problems);
        Ok((config, Managed::ByStore(known)))
    }

    /// Looks whether another configuration or other keys are to be in force, where the last look is older than that. What
    /// cannot be read changes nothing, and a look that is cut off was none.
    async fn look_again(&self, gateway: &Gateway<Function>, age: u64) {
        let Some(_one_at_a_time) = self.turn(|| self.is_older_than(age)).await else { return };
        let began = self.host.now();
        match self.look(gateway).await {
            Ok(()) => self.seen().looked = began,
            Err(why) => {
                tracing::error!(%why, "what is to be in force cannot be read; what was before stays in force");
                self.seen().paused = self.host.now() + PAUSE;
            }
        }
    }

    async fn look(&self, gateway: &Gateway<Function>) -> anyhow::Result<()> {
        let keys = self.keys().await?;
        if self.seen().keys != keys {
            gateway.set_keys(ring(&keys));
            self.seen().keys = keys;
        }
        let newest = self.newest().await?;
        if let Some(newest) = newest.filter(|newest| newest.stamp.version != self.seen().version) {
            drop(gateway.look_again(&newest));
            self.configure(gateway);
            self.seen().version = newest.stamp.version;
        }
        gateway.look_at_directory().await;
        Ok(())
    }

    /// Puts the settings of the audit trail in force.
    fn configure(&self, gateway: &Gateway<Function>) {
        if let Some(sink) = self.host.audit() {
            sink.configure(&gateway.audit());
        }
    }

    /// Tells whether the last look is older than that, and may be followed by another one.
    fn is_older_than(&self, age: u64) -> bool {
        let (now, seen) = (self.host.now(), self.seen());
        now >= seen.looked.saturating_add(age).max(seen.paused)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Reads a file of the package, and MCPX's second file where it lies beside an `mcp.json`: without it, nobody's
/// permissions would be known.
fn files(path: &Path) -> anyhow::Result<Vec<Source>> {
    let beside = path.with_file_name("app.yaml");
    let is_mcpx = path.file_name().is_some_and(|name| name == "mcp.json") && beside.exists();
    let paths = if is_mcpx { vec![path, &beside] } else { vec![path] };
    let read = |path: &Path| {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("PORTCULLIS_CONFIG: {shown} cannot be read: name a file of the function's package")
        })?;
        Ok(Source { path: shown, text })
    };
    paths.into_iter().map(read).collect()
}

fn ring(keys: &[Kept]) -> KeyRing {
    KeyRing::new(keys.iter().map(|kept| kept.record.clone()))
}

fn tell(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
}

fn served(parsed: Parsed) -> anyhow::Result<Config> {
    tell(&parsed.problems);
    if parsed.is_refused() {
        let errors = parsed.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let errors: Vec<_> = errors.map(ToString::to_string).collect();
        bail!("the configuration has errors: {}", errors.join("; "));
    }
    Ok(parsed.config)
}
