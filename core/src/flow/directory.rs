//! Who is still there, as the identity provider has said (SCIM): the directory that is held, when it is read again, and what
//! ends with somebody's leaving.
//!
//! **A request of an agent waits for the directory only where it has never been read.** What another instance wrote is learned
//! by [`Gateway::look_at_directory`], which hosts call from time to time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::control::StoreError;
use crate::control::answer::Fault;
use crate::control::scim::{Directory, Former, Kind, Presence};
use crate::control::session::{SESSIONS, Session, new_id};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{Denial, KeyRecord, Proof};
use crate::ports::{Host, RecordKey, RecordStore};

/// Where what those were called lies who are gone.
const GONE: &str = "scim-gone";
/// How many records are read at a time.
pub(super) const PAGE: usize = 200;

/// What is held of the directory.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    known: ArcSwap<Directory>,
    /// Held while it is read.
    reading: futures::lock::Mutex<()>,
    /// Whether it could not be read when it was last tried.
    fails: AtomicBool,
}

/// Returns where it is noted which change was the last.
fn last_change() -> RecordKey {
    RecordKey::new("scim-state", "changed")
}

impl<H: Host> Gateway<H> {
    /// Reads the directory again where another instance has changed it. What cannot be read changes nothing.
    ///
    /// For hosts whose store may have been written to by another instance: they look from time to time.
    pub async fn look_at_directory(&self) {
        match self.read_directory().await {
            Ok(()) => {
                if self.0.directory.fails.swap(false, Ordering::Relaxed) {
                    tracing::info!("the directory of users can be read again");
                }
            }
            Err(error) => {
                if !self.0.directory.fails.swap(true, Ordering::Relaxed) {
                    tracing::error!("the directory of users stays as it is: the store of records {error}");
                }
            }
        }
    }

    /// Reads the directory, unless nothing has changed since it was read.
    pub(super) async fn read_directory(&self) -> Result<(), StoreError> {
        let snapshot = self.snapshot();
        let Some(scim) = &snapshot.config.console.scim else { return Ok(()) };
        let none = || StoreError("is not there: this gateway's host keeps no records".into());
        let store = &**self.host().records().ok_or_else(none)?;
        let _one_at_a_time = self.0.directory.reading.lock().await;
        let changed = store.get(last_change()).await?;
        if self.0.directory.known.load().is_of(scim, changed.as_deref()) {
            return Ok(());
        }
        let (users, groups) = (read_all(store, Kind::User).await?, read_all(store, Kind::Group).await?);
        let gone = read(store, GONE, |_, text| serde_json::from_str::<Former>(text).ok()).await?;
        let directory = Directory::new(scim, changed, (&users, &groups), &gone);
        self.0.directory.known.store(directory.into());
        self.end_streams_of_strangers(&snapshot);
        Ok(())
    }

    /// Has every instance read the directory again, this one at once.
    pub(super) async fn directory_changed(&self, store: &dyn RecordStore) -> Result<(), StoreError> {
        loop {
            let before = store.get(last_change()).await?;
            if store.replace(last_change(), before, Some(new_id(self.host())), None).await? {
                return self.read_directory().await;
            }
        }
    }

    /// Keeps in mind what somebody was called, before they are called so no more.
    pub(super) async fn keep_in_mind_who_left(
        &self,
        store: &dyn RecordStore,
        former: &Former,
    ) -> Result<(), StoreError> {
        let (key, text) = former.kept();
        let key = RecordKey::new(GONE, key);
        // Where it is there already, nothing is written.
        store.replace(key, None, Some(text), None).await.map(drop)
    }

    /// Ends the sessions of everybody who has left.
    pub(super) async fn end_sessions_of_the_gone(&self) -> Result<(), Fault> {
        let store = self.record_store()?;
        let snapshot = self.snapshot();
        let has_left = |digest: &str, text: &str| {
            let session = Session::parse(text)?;
            self.has_left(&snapshot, &session.principal).then(|| digest.to_owned())
        };
        for digest in read(store, SESSIONS, has_left).await? {
            self.end(&digest).await?;
        }
        Ok(())
    }

    /// Tells whether a principal is certain to have left.
    pub(super) fn has_left(&self, snapshot: &Snapshot, principal: &str) -> bool {
        let scim = snapshot.config.console.scim.as_ref();
        scim.is_some_and(|scim| self.0.directory.known.load().presence(scim, principal) == Presence::Left)
    }

    /// Tells whether it is to be judged whether who has proved something is still there.
    pub(super) fn may_have_left(&self, snapshot: &Snapshot, proof: &Proof) -> bool {
        let (Some(scim), Some(principal)) = (&snapshot.config.console.scim, proof.stands_with()) else {
            return false;
        };
        !matches!(self.0.directory.known.load().presence(scim, principal), Presence::There(_))
    }

    /// Lets nobody in who has left, or of whom that cannot be told.
    pub(super) async fn still_there(&self, snapshot: &Snapshot, principal: &str) -> Result<(), Denial> {
        let Some(scim) = &snapshot.config.console.scim else { return Ok(()) };
        let presence = |gateway: &Self| match gateway.0.directory.known.load().presence(scim, principal) {
            Presence::There(_) => Some(Ok(())),
            Presence::Left => {
                let why = "Forbidden: the identity provider says that this user has left";
                Some(Err(Denial::Absent(StatusCode::FORBIDDEN, why)))
            }
            Presence::Unknown => None,
        };
        if let Some(judged) = presence(self) {
            return judged;
        }
        self.look_at_directory().await;
        presence(self).unwrap_or_else(|| {
            let why = "Service Unavailable: the directory of users cannot be read; try again";
            Err(Denial::Absent(StatusCode::SERVICE_UNAVAILABLE, why))
        })
    }

    /// Lets nobody sign in who has left, also where another instance alone knows of that by now.
    pub(super) async fn is_welcome(&self, snapshot: &Snapshot, principal: &str) -> Result<(), Denial> {
        if snapshot.config.console.scim.is_some() {
            self.look_at_directory().await;
        }
        self.still_there(snapshot, principal).await
    }

    /// Returns the keys whose owners have not left, for gateways that have no directory. Where that cannot be told, nothing is.
    pub(super) async fn whose_owners_are_there(
        &self,
        mut keys: Vec<KeyRecord>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        let snapshot = self.snapshot();
        if snapshot.config.console.scim.is_none() || keys.iter().all(|key| key.owner.is_none()) {
            return Ok(keys);
        }
        if !self.has_directory(&snapshot) {
            self.read_directory().await?;
        }
        keys.retain(|key| key.owner.as_ref().is_none_or(|owner| !self.has_left(&snapshot, owner)));
        Ok(keys)
    }

    /// Returns the directory that is held.
    pub(super) fn directory(&self) -> Arc<Directory> {
        self.0.directory.known.load_full()
    }

    /// Tells whether the directory has been read, where there is one.
    pub(super) fn has_directory(&self, snapshot: &Snapshot) -> bool {
        snapshot.config.console.scim.as_ref().is_none_or(|scim| self.directory().is_for(scim))
    }
}

/// Reads all resources of a kind. **One that cannot be read fails all**: nobody is let in by what is missing.
async fn read_all(
    store: &dyn RecordStore,
    kind: Kind,
) -> Result<Vec<(String, Map<String, Value>)>, StoreError> {
    let read =
        read(store, kind.collection(), |id, text| Some((id.to_owned(), serde_json::from_str(text).ok())));
    let broken = || StoreError("has a user or group that cannot be read".into());
    let whole = |(id, kept): (String, Option<Map<String, Value>>)| Ok((id, kept.ok_or_else(broken)?));
    read.await?.into_iter().map(whole).collect()
}

/// Reads a whole collection, keeping what is wanted of it.
pub(super) async fn read<T>(
    store: &dyn RecordStore,
    collection: &'static str,
    mut keep: impl FnMut(&str, &str) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let (mut kept, mut after) = (Vec::new(), None);
    loop {
        let page = store.page(collection, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        kept.extend(page.iter().filter_map(|(key, text)| keep(key, text)));
        after = page.into_iter().last().map(|(key, _)| key);
        if is_last {
            return Ok(kept);
        }
    }
}
