//! Learning of servers where no keeper does: from what all instances know, or by asking.
//!
//! **A request waits for servers of which nothing is known, and for nothing else**: what has grown old is answered as it
//! is, and brought up to date after the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{self, Either};
use http::HeaderValue;

use crate::catalog::Scope;
use crate::catalog::shared::{self, Acquaintance, Known};
use crate::gateway::{Gateway, SETTLING, Snapshot};
use crate::ports::{Host, Place};
use crate::session::Purpose;
use crate::upstream::{Established, Nudge, Server, Status, lock};

impl<H: Host> Gateway<H> {
    /// Makes known what the servers of an endpoint offer.
    pub(super) async fn learn(&self, snapshot: &Snapshot, scope: &Scope) {
        let shown = || snapshot.servers.values().filter(|server| snapshot.includes(scope, &server.name));
        let unknown = || shown().filter(|server| !server.settled.has_fired()).cloned().collect::<Vec<_>>();
        if !unknown().is_empty()
            && let Some(store) = self.host().catalog()
        {
            if let Some(text) = store.published().await {
                self.take_catalog(&text);
            }
            if !unknown().is_empty() {
                self.take_refreshed().await;
            }
        }
        let unknown = unknown();
        if !unknown.is_empty() {
            self.read_now(unknown).await;
        }
        let now = self.host().now();
        let due: Vec<_> =
            shown().filter(|server| server.is_due(now) && server.begin_refresh(now)).cloned().collect();
        if !due.is_empty() {
            let gateway = self.clone();
            self.host().spawn(async move { gateway.bring_up_to_date(due).await });
        }
    }

    /// Has what is known of servers brought up to date: by their keepers, by the instance that does so for all, or here.
    async fn bring_up_to_date(&self, due: Vec<Arc<Server>>) {
        let (kept, due): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|server| self.is_heard() && server.may_tell_of_changes());
        for server in kept {
            let _ = server.nudge.unbounded_send(Nudge::Stale);
        }
        if due.is_empty() {
        } else if self.host().catalog().is_some() {
            self.take_refreshed().await;
        } else {
            self.read_now(due).await;
        }
    }

    /// Takes what the instance that reads servers for all has published after it has read them anew.
    async fn take_refreshed(&self) {
        let Some(store) = self.host().catalog() else { return };
        let limit = std::pin::pin!(self.host().sleep(Duration::from_millis(2 * SETTLING)));
        match future::select(store.refresh(), limit).await {
            Either::Left((Ok(text), _)) => self.take_catalog(&text),
            Either::Left((Err(error), _)) => {
                tracing::warn!(reason = %error, "what all instances know of servers cannot be brought up to date");
            }
            Either::Right(_) => {
                tracing::warn!("what all instances know of servers is not brought up to date in time");
            }
        }
    }

    /// Reads the lists of servers, and waits for that as long as an agent waits at most.
    async fn read_now(&self, servers: Vec<Arc<Server>>) {
        let reading = servers.into_iter().map(|server| {
            let (done, read) = oneshot::channel();
            let gateway = self.clone();
            // It goes on when nobody waits any more: a slow server would never be known otherwise.
            self.host().spawn(async move {
                gateway.read(&server).await;
                let _ = done.send(());
            });
            read
        });
        let reading = future::join_all(reading);
        future::select(reading, std::pin::pin!(self.host().sleep(Duration::from_millis(SETTLING)))).await;
    }

    /// Reads a server's lists, unless somebody has just done so.
    async fn read(&self, server: &Arc<Server>) {
        let _one_at_a_time = server.reading.lock().await;
        if server.settled.has_fired() && !server.is_due(self.host().now()) {
            return;
        }
        if let Err(error) = self.refresh(server).await {
            // What it offered stays listed through a first failure.
            let failures = if matches!(server.status(), Status::Up) { 1 } else { 2 };
            self.down(server, error, failures);
        }
    }

    /// Brings what is known of all servers up to date and returns it as the text that all instances share.
    ///
    /// For the one instance that does so for all; it waits a few seconds at most, and tells of what it knows by then.
    pub async fn catalog(&self) -> Bytes {
        let snapshot = self.snapshot();
        let now = self.host().now();
        let unread = |server: &&Arc<Server>| !server.settled.has_fired() || server.is_due(now);
        let unread: Vec<_> = snapshot.servers.values().filter(unread).cloned().collect();
        if !unread.is_empty() {
            self.read_now(unread).await;
        }
        let known = snapshot.servers.values().map(|server| (server.identity.clone(), self.knows(server)));
        shared::encode(&known.collect()).into()
    }

    fn knows(&self, server: &Server) -> Known {
        let offer = server.offer.load_full().filter(|_| !server.inherited.load(Ordering::Relaxed));
        match (server.status(), offer) {
            (Status::Down(error), _) if !server.listed.load(Ordering::Relaxed) => Known::Down(error.message),
            (_, None) => Known::Down("has not answered yet".into()),
            (_, Some(offer)) => {
                let established = server.shared.current.load_full();
                let session = established.as_ref().and_then(|established| established.session.as_ref());
                let sealed =
                    |id: &HeaderValue| self.0.sealer.seal(self.host(), Purpose::Upstream, id.as_bytes());
                Known::Up(Box::new(Acquaintance {
                    offer: (*offer).clone(),
                    session: session.map(sealed),
                    needs_stream: server.speaks_sse.load(Ordering::Relaxed),
                    behind: lock(&server.behind).clone(),
                }))
            }
        }
    }

    /// Takes what another instance knows of servers, as far as it is newer than what is known here.
    pub fn take_catalog(&self, text: &[u8]) {
        let known: BTreeMap<String, Known> = shared::decode(text);
        for server in self.snapshot().servers.values() {
            match known.get(&server.identity) {
                Some(Known::Up(acquaintance)) => self.make_acquainted(server, acquaintance),
                Some(Known::Down(reason)) if server.status() != Status::Up => {
                    self.down(server, server.error(reason.clone()), 2);
                }
                Some(Known::Down(_)) | None => {}
            }
        }
    }

    fn make_acquainted(&self, server: &Arc<Server>, acquaintance: &Acquaintance) {
        let Acquaintance { offer, session, needs_stream, behind } = acquaintance;
        let known = server.offer.load_full().filter(|_| !server.inherited.load(Ordering::Relaxed));
        if known.is_some_and(|known| known.read >= offer.read) && server.status() == Status::Up {
            return;
        }
        server.speaks_sse.store(*needs_stream, Ordering::Relaxed);
        lock(&server.behind).extend(behind.iter().cloned());
        // Where it is heard it gets a session of its own: what it tells in the shared one goes to somebody else.
        let is_heard = self.is_heard() && server.may_tell_of_changes();
        if server.shared.current.load().is_none() && !*needs_stream && !is_heard {
            let opened = session.as_ref().map(|sealed| self.0.sealer.open(Purpose::Upstream, sealed));
            let session = opened.map(|plain| plain.and_then(|plain| HeaderValue::from_bytes(&plain).ok()));
            // A session that does not open here is made anew by whoever needs one.
            if !matches!(session, Some(None)) {
                let established = Established::known(offer, session.flatten());
                server.shared.current.store(Some(Arc::new(established)));
            }
        }
        self.up(server, offer.clone());
    }

    /// Tells whether what servers say unasked is heard here, at the moment.
    pub(crate) fn is_heard(&self) -> bool {
        match self.host().place() {
            Place::Process => true,
            Place::Owner | Place::Function => self.0.hub.open() > 0,
            Place::Isolate => false,
        }
    }
}
