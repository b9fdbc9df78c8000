//! Putting another configuration in force while requests are running.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Sharing};
use crate::gateway::{Gateway, Snapshot};
use crate::ports::Host;
use crate::succession::{Changes, Succession};
use crate::upstream::{Server, lock};
use crate::users::Turnover;

/// How often it is looked whether a server that is no longer configured still answers calls.
const LINGER: Duration = Duration::from_millis(250);

impl<H: Host> Gateway<H> {
    /// Puts another configuration in force, all of it at once. Running calls end where they began.
    ///
    /// A server whose settings are equal stays as it is. One that is configured otherwise begins anew, and what it
    /// offered before stays listed until it has answered or failed. One that is no longer configured stops once its
    /// calls are over.
    pub fn reload(&self, config: Config) -> Changes {
        let _one_at_a_time = lock(&self.0.reloading);
        let before = self.snapshot();
        let mut config = config;
        if self.keeps_apart(&before) && config.gateway.sharing == Sharing::Shared {
            // Nothing is kept here that could be shared.
            tracing::warn!("each identity keeps a gateway of its own until this one is started anew");
            config.gateway.sharing = Sharing::PerIdentity;
        }
        if self.0.keeps_approvals {
            config.approvals = before.config.approvals.clone();
            config.listed = before.config.listed.clone();
        }
        let Succession { snapshot, keepers, retired, changes } = before.succeeded_by(config);
        let snapshot = Arc::new(snapshot);
        if let Some(trail) = self.host().audit() {
            trail.configure(&snapshot.config.audit);
        }
        self.0.snapshot.store(snapshot.clone());
        let turnover = self.0.users.succeed(&snapshot);
        self.end_streams_of_strangers(&before);
        self.0.hub.keep_only(|name| snapshot.servers.contains_key(name));
        self.0.secrets.keep_only(&snapshot.config.secrets());
        self.0.issuers.keep_only(&snapshot.config.auth.issuers);
        self.retire_all(retired);
        self.begin(keepers);
        self.turn_over(turnover);
        self.views_changed();
        self.tell_unknown_names();
        // Whoever reads servers may have done so before it knew of an approval; who takes what others have read tells nothing.
        if self.host().catalog().is_none() {
            snapshot.servers.values().for_each(|server| self.tell_of_changes(server));
        }
        changes
    }

    /// Returns the snapshot of a principal, made where there is none.
    pub(crate) fn snapshot_of_user(&self, everybodys: &Snapshot, user: &Arc<str>) -> Arc<Snapshot> {
        let now = self.host().now();
        if let Some(known) = self.0.users.known(everybodys, user, now) {
            return known;
        }
        let (snapshot, turnover) = self.0.users.make(everybodys, user, now);
        // Later: whoever asks may be looking for those that listen.
        let gateway = self.clone();
        self.host().spawn(async move {
            gateway.turn_over(turnover);
            let gone = gateway.0.users.let_go(now, |user| gateway.0.hub.hears(user));
            gateway.retire_all(gone);
        });
        snapshot
    }

    fn turn_over(&self, turnover: Turnover) {
        self.retire_all(turnover.retired);
        self.begin(turnover.keepers);
    }

    fn retire_all(&self, servers: Vec<Arc<Server>>) {
        if servers.is_empty() {
            return;
        }
        for server in servers {
            // At once: what listens to the server ends, and its keeper.
            server.shared.given_up.fire();
            let gateway = self.clone();
            self.host().spawn(async move { gateway.retire(server).await });
        }
        lock(&self.0.asleep).retain(|(server, _)| !server.shared.given_up.has_fired());
    }

    /// Lets go of a server that is no longer configured: of every link once nobody uses it any more.
    async fn retire(self, server: Arc<Server>) {
        server.watched.lock().await.clear();
        loop {
            for link in server.drop_idle_links(u64::MAX) {
                self.end_session(&server, &link).await;
            }
            if server.has_no_links() && Arc::strong_count(&server.shared) == 1 {
                break;
            }
            self.host().sleep(LINGER).await;
        }
        self.end_session(&server, &server.shared).await;
        tracing::debug!(server = %server.name, "let go");
    }
}
