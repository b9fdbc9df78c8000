//! Servers whose process is stopped while nobody needs it.
//!
//! **What such a server offers stays known**, and is read again once it runs. What it keeps in memory is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future;

use crate::gateway::Gateway;
use crate::ports::Host;
use crate::upstream::{Established, Server};

impl<H: Host> Gateway<H> {
    /// Stops the process of a server each time that nobody has needed it for a while; the next request starts it again. What it
    /// offers stays known.
    pub(super) fn pause_when_idle(&self, server: &Arc<Server>, idle: u64) {
        let (gateway, server) = (self.clone(), server.clone());
        self.host().spawn_lasting(async move {
            let given_up = server.shared.given_up.wait();
            let pausing = std::pin::pin!(async {
                loop {
                    gateway.host().sleep(Duration::from_millis(idle.div_ceil(4))).await;
                    gateway.pause_server(&server, gateway.host().now().saturating_sub(idle)).await;
                }
            });
            future::select(pausing, given_up).await;
        });
    }

    /// Stops a server's process where it was last used before `time`, carries nothing, and nobody waits for its news.
    async fn pause_server(&self, server: &Arc<Server>, time: u64) {
        let link = &server.shared;
        let Some(_nobody_begins) = link.handshake.try_lock() else { return };
        let is_needed = |established: &Arc<Established>| {
            // The link has one, and this is another.
            Arc::strong_count(established) > 2
                || established.pipe.as_ref().is_none_or(crate::pipe::Pipe::is_needed)
        };
        let Some(established) = link.current.load_full() else { return };
        let is_old = link.used.load(Ordering::Relaxed) < time;
        if !is_old || is_needed(&established) || !server.watched.lock().await.is_empty() {
            return;
        }
        server.paused.store(true, Ordering::Relaxed);
        link.forget(&established);
        tracing::info!(server = %server.name, "stopped until it is needed again");
    }
}
