//! Learning of servers where no keeper does: from what all instances know, or by asking.
//!
//! **A request waits for servers of which nothing is known**, and on a function a list waits for what all environments
//! know: what has grown old is answered as it is, and brought up to date after the answer.
//!
//! **What all instances know is of servers that are everybody's.** One that is an identity's own is read with its credential,
//! so each instance reads it itself, for that identity alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::oneshot;
use futures::future::{self, Either};
use http::HeaderValue;

use crate::catalog::shared::{self, Acquaintance, Known};
use crate::catalog::{Offer, Scope, View};
use crate::error::Unreachable;
use crate::front::{Caller, Inbound};
use crate::gateway::{Gateway, SETTLING, Snapshot};
use crate::identity::Identity;
use crate::plan;
use crate::ports::{Chunks, Host, Place};
use crate::session::Purpose;
use crate::sorted::SortedMap;
use crate::upstream::{Established, Nudge, Server, Status, lock};

/// What stands in each message that tells of a list that has changed.
const LIST_CHANGED: &[u8] = b"list_changed\"";

/// Puts off telling anybody of changes until it is dropped, however that comes about.
struct Unpublished<H: Host>(Gateway<H>);

impl<H: Host> Unpublished<H> {
    fn new(gateway: &Gateway<H>) -> Self {
        gateway.0.unpublished.fetch_add(1, Ordering::AcqRel);
        Self(gateway.clone())
    }
}

impl<H: Host> Drop for Unpublished<H> {
    fn drop(&mut self) {
        self.0.0.unpublished.fetch_sub(1, Ordering::AcqRel);
        self.0.views_changed();
    }
}

impl<H: Host> Gateway<H> {
    /// Makes known what the servers of an endpoint offer: to a caller, or to nobody in particular.
    pub(super) async fn learn(&self, snapshot: &Snapshot, scope: &Scope, caller: Option<&Identity>) {
        let is_kept = |server: &Server| self.host().place() == Place::Process && server.user.is_none();
        let concerns = |server: &&Arc<Server>| {
            snapshot.includes(scope, &server.name)
                && !server.is_stand_in()
                && !is_kept(server)
                && match caller {
                    Some(caller) => !snapshot.is_anothers(&server.name, caller),
                    // What is an identity's own is read for that identity.
                    None => snapshot.is_shared(server),
                }
        };
        let shown = || snapshot.servers.values().filter(concerns);
        let unknown = || shown().filter(|server| !server.settled.has_fired()).cloned().collect::<Vec<_>>();
        let lacks_shared = || unknown().iter().any(|server| snapshot.is_shared(server));
        if lacks_shared()
            && let Some(store) = self.host().catalog()
        {
            if let Some(text) = store.published().await {
                self.take_catalog(&text);
            }
            if lacks_shared() {
                self.take_refreshed(None).await;
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

    /// Returns the view on which a request is answered. An environment of a function hears of no change while it is frozen:
    /// a list may have been told as changed by another, and a name that nobody has may be new.
    pub(super) async fn view_for(
        &self,
        inbound: &Inbound<'_>,
        snapshot: &Snapshot,
        caller: &Caller,
    ) -> Arc<View> {
        let may_be_behind = self.host().place() == Place::Function;
        if may_be_behind && plan::is_list(inbound) {
            self.take_published().await;
        }
        let view = self.view(snapshot, caller).await;
        if may_be_behind && plan::names_unknown(&view, inbound) && self.take_published().await {
            return self.view(snapshot, caller).await;
        }
        view
    }

    /// Takes what all instances know of servers; tells whether that is something else than it was before.
    async fn take_published(&self) -> bool {
        let Some(store) = self.host().catalog() else { return false };
        let Some(text) = store.published().await else { return false };
        if *lock(&self.0.published) == text {
            return false;
        }
        self.take_catalog(&text);
        *lock(&self.0.published) = text;
        true
    }

    /// Has what is known of servers brought up to date: by their keepers, by the instance that does so for all, or here.
    async fn bring_up_to_date(&self, due: Vec<Arc<Server>>) {
        let (kept, due): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|server| self.is_kept(server) && server.may_tell_of_changes());
        for server in kept {
            let _ = server.nudge.unbounded_send(Nudge::Stale);
        }
        let (snapshot, has_catalog) = (self.snapshot(), self.host().catalog().is_some());
        let (shared, own): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|server| has_catalog && snapshot.is_shared(server));
        if !shared.is_empty() {
            self.take_refreshed(None).await;
        }
        if !own.is_empty() {
            self.read_now(own).await;
        }
    }

    /// Has a change that was found here known to all instances, before anybody is told of it: whoever is told, and asks
    /// again, is to be answered with what is new.
    pub(super) async fn share_change(&self, server: &Server, offer: &Offer) {
        let is_heard_here = matches!(self.host().place(), Place::Owner | Place::Function);
        let finds_changes =
            is_heard_here && self.host().catalog().is_some() && self.snapshot().is_shared(server);
        let is_new = || server.seen().is_some_and(|before| !before.lists_as(offer));
        if !finds_changes || !is_new() {
            return;
        }
        // Each environment with a listener hears of it: the first has the server read, for all.
        let is_published = self.host().place() == Place::Function && self.take_published().await && !is_new();
        if !is_published {
            self.take_refreshed(Some(&server.identity)).await;
        }
    }

    /// Passes on what an owner tells an agent; what it tells of is known here before.
    pub(super) fn knowing_of_changes(&self, chunks: Chunks, caller: &Caller) -> Chunks {
        let (gateway, who) = (self.clone(), caller.who.clone());
        let learn = move |chunk: Result<Bytes, Unreachable>| {
            let tells = chunk.as_ref().is_ok_and(|chunk| memchr::memmem::find(chunk, LIST_CHANGED).is_some());
            let told = tells.then(|| (gateway.clone(), who.clone()));
            async move {
                if let Some((gateway, who)) = told {
                    gateway.learn_anew().await;
                    gateway.read_own_anew(&who).await;
                }
                chunk
            }
        };
        chunks.then(learn).boxed()
    }

    /// Learns of what has changed, where others know more by now. However many are told of it at once, that is asked for
    /// once or twice.
    pub async fn learn_anew(&self) {
        let (one_at_a_time, begun) = &self.0.renewing;
        let before = begun.load(Ordering::Relaxed);
        let _held = one_at_a_time.lock().await;
        // Somebody began after this was told, and is done.
        if begun.load(Ordering::Relaxed) == before {
            begun.fetch_add(1, Ordering::Relaxed);
            self.take_refreshed(None).await;
        }
    }

    /// Reads again those servers of an identity's own that are known here.
    async fn read_own_anew(&self, who: &Identity) {
        let snapshot = self.snapshot_of(who);
        let Some(who) = who.under(&snapshot.config, &self.0.keys.load(), self.host().now()) else { return };
        let is_own =
            |server: &&Arc<Server>| !snapshot.is_shared(server) && !snapshot.is_anothers(&server.name, &who);
        let known = snapshot.servers.values().filter(|server| server.settled.has_fired());
        let own: Vec<_> = known.filter(is_own).cloned().collect();
        if !own.is_empty() {
            self.read_for(own, |_| true).await;
        }
    }

    /// Takes what the instance that reads servers for all has published after it has read them anew: those that are old,
    /// and the one whose lists have changed.
    async fn take_refreshed(&self, changed: Option<&str>) {
        let Some(store) = self.host().catalog() else { return };
        // A function reads servers itself. Whoever is told of a change may ask elsewhere, so it is published before.
        let unpublished = (self.host().place() == Place::Function).then(|| Unpublished::new(self));
        let limit = std::pin::pin!(self.host().sleep(Duration::from_millis(2 * SETTLING)));
        match future::select(store.refresh(changed), limit).await {
            Either::Left((Ok(text), _)) => self.take_catalog(&text),
            Either::Left((Err(error), _)) => {
                tracing::warn!(reason = %error, "what all instances know of servers cannot be brought up to date");
            }
            Either::Right(_) => {
                tracing::warn!("what all instances know of servers is not brought up to date in time");
            }
        }
        drop(unpublished);
    }

    /// Reads the lists of servers, and waits for that as long as an agent waits at most.
    async fn read_now(&self, servers: Vec<Arc<Server>>) {
        self.read_for(servers, |_| false).await;
    }

    /// The same; of some servers it is known that what was read before now is out of date.
    async fn read_for(&self, servers: Vec<Arc<Server>>, has_changed: impl Fn(&Server) -> bool) {
        let asked = self.host().now();
        let reading = servers.into_iter().map(|server| {
            let (done, read) = oneshot::channel();
            let gateway = self.clone();
            let outdated = has_changed(&server).then_some(asked);
            // It goes on when nobody waits any more: a slow server would never be known otherwise.
            self.host().spawn(async move {
                gateway.read(&server, outdated).await;
                let _ = done.send(());
            });
            read
        });
        let reading = future::join_all(reading);
        future::select(reading, std::pin::pin!(self.host().sleep(Duration::from_millis(SETTLING)))).await;
    }

    /// Reads a server's lists, unless somebody has just done so; what was read until `outdated` does not count.
    async fn read(&self, server: &Arc<Server>, outdated: Option<u64>) {
        let _one_at_a_time = server.reading.lock().await;
        let read = server.offer.load().as_ref().map_or(0, |offer| offer.read);
        let is_outdated = outdated.is_some_and(|outdated| read <= outdated);
        if server.settled.has_fired() && !server.is_due(self.host().now()) && !is_outdated {
            return;
        }
        if let Err(error) = self.refresh(server).await {
            // What it offered stays listed through a first failure.
            let failures = if matches!(server.status(), Status::Up) { 1 } else { 2 };
            self.down(server, error, failures);
        }
    }

    /// Brings what is known of all servers that are everybody's up to date and returns it as the text that all instances share.
    ///
    /// For the one instance that does so for all; it waits a few seconds at most, and tells of what it knows by then. The
    /// server that is `changed`, by what it is known by in that text, is read however young its lists are.
    pub async fn catalog(&self, changed: Option<&str>) -> Bytes {
        let snapshot = self.snapshot();
        let now = self.host().now();
        let has_changed = |server: &Server| changed == Some(&*server.identity);
        let unread =
            |server: &&Arc<Server>| !server.settled.has_fired() || server.is_due(now) || has_changed(server);
        let shared = || snapshot.servers.values().filter(|server| snapshot.is_shared(server));
        let unread: Vec<_> = shared().filter(unread).cloned().collect();
        if !unread.is_empty() {
            self.read_for(unread, has_changed).await;
        }
        let known = shared().map(|server| (server.identity.clone(), self.knows(server)));
        shared::encode(&known.collect()).into()
    }

    /// Returns when a server that is everybody's was read last for what is known here, in milliseconds since the Unix epoch.
    pub fn last_read(&self) -> u64 {
        let snapshot = self.snapshot();
        let known =
            |server: &Arc<Server>| snapshot.is_shared(server) && !server.inherited.load(Ordering::Relaxed);
        let read = |server: &Arc<Server>| Some(server.offer.load().as_ref()?.read);
        snapshot.servers.values().filter(|server| known(server)).filter_map(read).max().unwrap_or(0)
    }

    fn knows(&self, server: &Server) -> Known {
        let offer = server.seen().filter(|_| !server.inherited.load(Ordering::Relaxed));
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
        let (known, snapshot): (SortedMap<String, Known>, _) = (shared::decode(text), self.snapshot());
        // One that has become an identity's own was everybody's when that was written.
        for server in snapshot.servers.values().filter(|server| snapshot.is_shared(server)) {
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

    /// Tells whether what a server says unasked is heard here, at the moment.
    fn is_kept(&self, server: &Server) -> bool {
        match &server.user {
            Some(user) => self.host().place() != Place::Isolate && self.0.hub.hears(user),
            None => self.is_heard(),
        }
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
