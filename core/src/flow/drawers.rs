//! A store of connections that asks a drawer for each principal (`oauth/connection/drawer.rs`).

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use serde::de::DeserializeOwned;

use crate::control::StoreError;
use crate::oauth::connection::drawer::{Errand, PRINCIPALS, name_of};
use crate::oauth::connection::{ConnectionKey, ConnectionRecord, Stored, Swapped, Version};
use crate::ports::ConnectionStore;
use crate::wire::plain::{read, text};

/// How many drawers are asked at once.
const TOGETHER: usize = 16;

/// The way to drawers.
pub trait Messenger: Send + Sync {
    /// Brings an errand to the drawer of that name, and returns what it answers.
    fn bring(&self, drawer: String, errand: String) -> BoxFuture<'static, Result<String, StoreError>>;
}

/// The connections in all drawers.
#[derive(Debug)]
pub struct Drawers<M>(M);

impl<M: Messenger> Drawers<M> {
    /// Those that this messenger reaches.
    pub fn new(messenger: M) -> Self {
        Self(messenger)
    }

    async fn ask<T: DeserializeOwned>(&self, drawer: String, errand: &Errand) -> Result<T, StoreError> {
        let said = self.0.bring(drawer, text(errand)).await?;
        let odd = || StoreError("answers something else than was asked".into());
        read::<Result<T, StoreError>>(&said).ok_or_else(odd)?
    }

    async fn list_of(&self, principal: &str) -> Result<Vec<ConnectionRecord>, StoreError> {
        self.ask(name_of(principal), &Errand::List).await
    }

    async fn listed(&self, principal: Option<&str>) -> Result<Vec<ConnectionRecord>, StoreError> {
        let mut records = Vec::new();
        if let Some(principal) = principal {
            records.extend(self.list_of(principal).await?);
        } else {
            let principals: Vec<String> = self.ask(PRINCIPALS.to_owned(), &Errand::Principals).await?;
            for some in principals.chunks(TOGETHER) {
                let lists = future::try_join_all(some.iter().map(|principal| self.list_of(principal)));
                records.extend(lists.await?.into_iter().flatten());
            }
        }
        records.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(records)
    }
}

impl<M: Messenger> ConnectionStore for Drawers<M> {
    fn get(&self, key: ConnectionKey) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        async move { self.ask(name_of(&key.principal), &Errand::Get(key.clone())).await }.boxed()
    }

    fn swap(
        &self,
        key: ConnectionKey,
        expected: Option<Version>,
        next: Option<Stored>,
    ) -> BoxFuture<'_, Result<Swapped, StoreError>> {
        async move {
            if expected.is_none() && next.is_some() {
                // Before its first connection, so that none is left out of a list.
                let know = Errand::Know(key.principal.clone());
                self.ask::<()>(PRINCIPALS.to_owned(), &know).await?;
            }
            let drawer = name_of(&key.principal);
            self.ask(drawer, &Errand::Swap(key, expected, next)).await
        }
        .boxed()
    }

    fn list(&self, principal: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<ConnectionRecord>, StoreError>> {
        async move { self.listed(principal.as_deref()).await }.boxed()
    }

    fn remove_all(&self, principal: Arc<str>) -> BoxFuture<'_, Result<usize, StoreError>> {
        async move { self.ask(name_of(&principal), &Errand::RemoveAll).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::oauth::connection::drawer::{Shelf, run};
    use crate::sorted::SortedMap;
    use crate::testing::{
        Memory, Rotating, connection_key, connection_store, gateway, json_answer, refresh_race,
    };
    use crate::upstream::lock;

    type Texts = Mutex<SortedMap<String, String>>;

    /// Drawers in memory.
    #[derive(Clone, Default)]
    struct Chest(Arc<Mutex<SortedMap<String, Arc<Drawer>>>>);

    #[derive(Default)]
    struct Drawer(Texts);

    impl Shelf for Drawer {
        fn load(&self, key: &str) -> Option<String> {
            lock(&self.0).get(key).cloned()
        }

        fn store(&self, key: &str, text: &str) -> bool {
            lock(&self.0).insert(key.to_owned(), text.to_owned());
            true
        }

        fn remove(&self, key: &str) {
            lock(&self.0).remove(key);
        }

        fn all(&self) -> Vec<(String, String)> {
            lock(&self.0).iter().map(|(key, text)| (key.clone(), text.clone())).collect()
        }
    }

    impl Messenger for Chest {
        fn bring(&self, drawer: String, errand: String) -> BoxFuture<'static, Result<String, StoreError>> {
            let drawer = lock(&self.0).entry(drawer).or_default().clone();
            future::lazy(move |_| Ok(run(&errand, &*drawer).expect("an errand"))).boxed()
        }
    }

    #[test]
    fn drawers_keep_what_stores_of_connections_have_to_keep() {
        let host = Memory::new(|_| json_answer(404, ""));
        host.run(connection_store(&Drawers::new(Chest::default())));
    }

    #[test]
    fn of_gateways_with_the_same_drawers_one_refreshes() {
        let host = Memory::new(|_| json_answer(404, ""));
        host.keep_connections(Arc::new(Drawers::new(Chest::default())));
        host.run(refresh_race(&[gateway(&host, &[]), gateway(&host, &[])], "ana"));
    }

    #[test]
    fn each_principal_has_a_drawer_and_no_token_is_seen_in_it() {
        let (host, chest) = (Memory::new(|_| json_answer(404, "")), Chest::default());
        host.keep_connections(Arc::new(Drawers::new(chest.clone())));
        let gateway = gateway(&host, &[]);
        for principal in ["ana", "bob"] {
            let granted = Rotating::default().consent(60);
            host.run(gateway.connect(&connection_key(principal, "git"), &granted)).unwrap();
        }
        let drawers = lock(&chest.0).clone();
        assert_eq!(drawers.keys().map(|name| &name[..3]).collect::<Vec<_>>(), ["of ", "of ", "pri"]);
        let texts = drawers.values().flat_map(|drawer| drawer.all()).map(|(_, text)| text);
        let decoded = |text: String| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let bytes = texts.flat_map(decoded).collect::<Vec<_>>();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.contains("https://git.test/mcp")
                && !text.contains("access 1")
                && !text.contains("refresh 1")
        );
    }
}
