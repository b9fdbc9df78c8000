//! The control plane that says what this Worker serves, where there is one: when it is asked. What it says lies in the objects
//! that all instances share.
//!
//! **No answer waits for it**, but the first one's, while there is nothing to serve yet. Isolates ask, after answers; objects
//! serve what those were told.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures::future::{self, Either};
use portcullis_core::Gateway;
use portcullis_core::ports::{Clock as _, Host as _, Place};

use crate::bindings::Bindings;
use crate::host::Edge;
use crate::isolate::Unserved;

/// How long what the control plane said is taken for what it says, in milliseconds.
const SAID: u64 = 5000;
/// How long it is asked at most: the platform ends what goes on for 30 seconds after an answer.
const PATIENCE: Duration = Duration::from_secs(25);
/// The variable with its URL.
const URL: &str = "PORTCULLIS_CONTROL";
/// What keeps that a Worker is in a fleet, and what it is given.
const KEEPERS: [&str; 2] = ["CONFIGURATIONS", "RECORDS"];

/// Who says what is served, where somebody does.
pub(crate) struct Plane(Option<Control>);

struct Control {
    url: String,
    /// The token to join its fleet with, needed once.
    token: Option<String>,
    /// When it is to be asked again.
    due: Cell<u64>,
    host: Edge,
}

fn set(bindings: &Bindings, name: &str) -> Option<String> {
    bindings.text(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Plane {
    /// Returns the one that the bindings name.
    pub(crate) fn of(bindings: &Bindings, host: &Edge) -> Self {
        let control = |url| {
            let token = set(bindings, "PORTCULLIS_ENROLMENT");
            Control { url, token, due: Cell::default(), host: host.clone() }
        };
        Self(set(bindings, URL).map(control))
    }

    /// Tells whether a gateway with these bindings may serve: one that could not keep what it is told may not.
    pub(crate) fn check(bindings: &Bindings) -> Result<(), Unserved> {
        if set(bindings, URL).is_none() {
            return Ok(());
        }
        if let Some(missing) = KEEPERS.into_iter().find(|name| bindings.objects(name).is_none()) {
            return Err(format!(
                "{URL} needs the binding {missing}: what the control plane says is kept there"
            ));
        }
        Ok(())
    }

    /// Tells whether nobody else says what is served.
    pub(crate) fn governs(&self) -> bool {
        self.0.is_some()
    }

    /// Has a gateway that begins be governed; asks what it is to serve, where it has nothing.
    pub(crate) async fn begin(&self, gateway: &Gateway<Edge>) {
        let Some(control) = &self.0 else { return };
        gateway.governed_by(&control.url);
        let has_nothing = gateway.version_in_force().is_some_and(|(version, _)| version == 0);
        if has_nothing && self.is_due() {
            self.ask(gateway).await;
        }
    }

    /// Tells whether it is to be asked now, by this instance.
    pub(crate) fn is_due(&self) -> bool {
        let is_due =
            |Control { host, due, .. }: &Control| host.place() == Place::Isolate && host.now() >= due.get();
        self.0.as_ref().is_some_and(is_due)
    }

    /// Asks it what is to be served, and tells it how things are. What comes is in force here then, and kept for the others.
    pub(crate) async fn ask(&self, gateway: &Gateway<Edge>) {
        let Some(control) = &self.0 else { return };
        control.due.set(control.host.now() + SAID);
        let asking = pin!(gateway.attend(&control.url, control.token.as_deref(), "worker"));
        match future::select(asking, pin!(control.host.sleep(PATIENCE))).await {
            Either::Left((Ok(_), _)) => {}
            Either::Left((Err(why), _)) => {
                tracing::warn!(%why, "the control plane cannot be followed for now: the gateway goes on with what it has");
            }
            Either::Right(_) => {
                tracing::warn!("the control plane takes too long: the gateway goes on with what it has");
            }
        }
    }
}
