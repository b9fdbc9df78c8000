//! Who says what a Worker serves that is built without the control plane: nobody. One that is to be governed serves nothing, since
//! it would take what anybody else pushes.

use crate::bindings::Bindings;
use crate::host::Edge;
use crate::isolate::Unserved;

/// Nobody.
pub(crate) struct Plane;

#[allow(clippy::unused_self, reason = "as the one that there is otherwise")]
impl Plane {
    pub(crate) fn of(_: &Bindings, _: &Edge) -> Self {
        Self
    }

    pub(crate) fn check(bindings: &Bindings) -> Result<(), Unserved> {
        let control = bindings.text("PORTCULLIS_CONTROL");
        control.map_or(Ok(()), |_| Err("PORTCULLIS_CONTROL needs `FEATURES=control`".into()))
    }

    pub(crate) fn governs(&self) -> bool {
        false
    }

    pub(crate) fn is_due(&self) -> bool {
        false
    }
}
