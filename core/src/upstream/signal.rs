//! Something that happens once, and that any number of walks may wait for.

use std::sync::Mutex;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;

use super::lock;

/// Completes what waits for it when it is fired, or dropped.
#[derive(Debug)]
pub(crate) struct Signal {
    sender: Mutex<Option<oneshot::Sender<()>>>,
    fired: Shared<oneshot::Receiver<()>>,
}

impl Default for Signal {
    fn default() -> Self {
        let (sender, fired) = oneshot::channel();
        Self { sender: Mutex::new(Some(sender)), fired: fired.shared() }
    }
}

impl Signal {
    /// Completes whatever waits, now and later.
    pub(crate) fn fire(&self) {
        lock(&self.sender).take();
    }

    /// Tells whether it has been fired.
    pub(crate) fn has_fired(&self) -> bool {
        lock(&self.sender).is_none()
    }

    /// Returns what completes once it is fired.
    pub(crate) fn wait(&self) -> Shared<oneshot::Receiver<()>> {
        self.fired.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_completes_whatever_waits_before_and_after() {
        let signal = Signal::default();
        let before = signal.wait();
        assert!(!signal.has_fired() && before.clone().now_or_never().is_none());
        signal.fire();
        signal.fire();
        assert!(
            signal.has_fired() && before.now_or_never().is_some() && signal.wait().now_or_never().is_some()
        );
        let dropped = Signal::default().wait();
        assert!(dropped.now_or_never().is_some());
    }
}
