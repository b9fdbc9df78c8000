//! Who says what a Worker serves that is built without the control plane: nobody. One that is to be governed serves nothing, since
//! it would take what anybody else pushes.

use portcullis_core::Gateway;

use crate::bindings::Bindings;
use crate::host::Edge;
use crate::isolate::Unserved;

/// Nobody.
pub(crate) struct Plane;

#[allow(clippy::unused_self, clippy::unused_async, reason = "as the one that there is otherwise")]
impl Plane {
    pub(crate) fn of(bindings: &Bindings, _: &Edge) -> Result<Self, Unserved> {
        match bindings.text("PORTCULLIS_CONTROL") {
            Some(url) if !url.is_empty() => Err("PORTCULLIS_CONTROL needs `FEATURES=control`".into()),
            _ => Ok(Self),
        }
    }

    pub(crate) fn governs(&self) -> bool {
        false
    }

    pub(crate) async fn begin(&self, _: &Gateway<Edge>) {}

    pub(crate) fn is_due(&self) -> bool {
        false
    }

    pub(crate) async fn ask(&self, _: &Gateway<Edge>) {}
}
