//! What was begun in the background and has not ended: an environment is not to be frozen before.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts what is underway. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Underway(Arc<watch::Sender<usize>>);

impl Default for Underway {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

/// One thing that is underway, until it is dropped.
#[derive(Debug)]
pub(crate) struct One(Underway);

impl Underway {
    /// Takes note of one more.
    pub(crate) fn begin(&self) -> One {
        self.0.send_modify(|count| *count += 1);
        One(self.clone())
    }

    /// Runs `work` to its end.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let one = self.begin();
        tokio::spawn(async move {
            work.await;
            drop(one);
        });
    }

    /// Waits until nothing is underway.
    pub(crate) async fn ended(&self) {
        // There is a sender for as long as this one is there.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_when_the_last_has_ended_even_by_a_panic() {
        let underway = Underway::default();
        underway.ended().await;
        let one = underway.begin();
        underway.spawn(async { panic!("on purpose") });
        let mut ended = tokio_test(underway.clone());
        assert!(!ended.is_finished());
        drop(one);
        (&mut ended).await.unwrap();
    }

    fn tokio_test(underway: Underway) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { underway.ended().await })
    }
}
