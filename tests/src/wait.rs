//! Waiting for a condition, with a deadline; tests sleep nowhere else.

use std::thread;
use std::time::{Duration, Instant};

/// How long a step of a test may take on a slow, busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers, or until `within` has passed: then `None`.
pub fn until<T>(within: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Asks `condition` until it holds; panics with `what` after [`PATIENCE`].
pub fn expect(what: &str, mut condition: impl FnMut() -> bool) {
    assert!(
        until(PATIENCE, || condition().then_some(())).is_some(),
        "waited {PATIENCE:?} in vain for {what}"
    );
}
