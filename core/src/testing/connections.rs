//! Connections in memory, a provider that revokes what is used twice, and what every store of connections has to pass.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{self, BoxFuture, ready};

use super::MemoryStore;
use crate::control::StoreError;
use crate::flow::NoToken;
use crate::gateway::Gateway;
use crate::oauth::connection::{
    ConnectionKey, ConnectionRecord, Granted, Outcome, Reason, Standing, Stored, Swapped, Token, Version,
};
use crate::ports::{ConnectionStore, Host};
use crate::sorted::SortedMap;
use crate::upstream::lock;

/// What a store in memory has.
#[derive(Default)]
pub(super) struct ConnectionsHeld {
    by_key: SortedMap<ConnectionKey, Stored>,
    reads: usize,
}

impl ConnectionsHeld {
    fn swap(&mut self, key: ConnectionKey, expected: Option<Version>, next: Option<Stored>) -> Swapped {
        let found = self.by_key.get(&key);
        if found.map(|stored| stored.version) != expected {
            return Swapped::Changed(found.cloned());
        }
        match next {
            Some(next) => self.by_key.insert(key, next),
            None => self.by_key.remove(&key),
        };
        Swapped::Done
    }
}

impl MemoryStore {
    /// Returns how often connections have been read since the last time.
    pub fn connection_reads(&self) -> usize {
        self.held(|held| std::mem::take(&mut held.connections.reads)).unwrap_or_default()
    }
}

impl ConnectionStore for MemoryStore {
    fn get(&self, key: ConnectionKey) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        let found = self.held(|held| {
            held.connections.reads += 1;
            held.connections.by_key.get(&key).cloned()
        });
        ready(found).boxed()
    }

    fn swap(
        &self,
        key: ConnectionKey,
        expected: Option<Version>,
        next: Option<Stored>,
    ) -> BoxFuture<'_, Result<Swapped, StoreError>> {
        ready(self.held(|held| held.connections.swap(key, expected, next))).boxed()
    }

    fn list(&self, principal: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<ConnectionRecord>, StoreError>> {
        let is_wanted = |stored: &&Stored| {
            principal.as_ref().is_none_or(|principal| stored.record.key.principal == *principal)
        };
        let records = self.held(|held| {
            let wanted = held.connections.by_key.values().filter(is_wanted);
            wanted.map(|stored| stored.record.clone()).collect()
        });
        ready(records).boxed()
    }

    fn remove_all(&self, principal: Arc<str>) -> BoxFuture<'_, Result<usize, StoreError>> {
        let removed = self.held(|held| {
            let before = held.connections.by_key.len();
            held.connections.by_key.retain(|key, _| key.principal != principal);
            before - held.connections.by_key.len()
        });
        ready(removed).boxed()
    }
}

/// A provider that gives another refresh token each time, and revokes everything where one is used twice. Clones are the
/// same one.
#[derive(Debug, Clone, Default)]
pub struct Rotating(Arc<Mutex<Rotated>>);

#[derive(Debug, Default)]
struct Rotated {
    generation: u64,
    is_revoked: bool,
    asked: usize,
}

impl Rotating {
    /// Gives the first tokens, as after a consent, for so many seconds.
    pub fn consent(&self, lifetime: u64) -> Granted {
        let mut rotated = lock(&self.0);
        rotated.is_revoked = false;
        rotated.next(lifetime)
    }

    /// Answers a refresh token, with tokens for so many seconds.
    pub fn refresh(&self, presented: &Token, lifetime: u64) -> Outcome {
        let mut rotated = lock(&self.0);
        rotated.asked += 1;
        if rotated.is_revoked || presented.reveal() != format!("refresh {}", rotated.generation) {
            rotated.is_revoked = true;
            return Outcome::Revoked;
        }
        Outcome::Granted(rotated.next(lifetime))
    }

    /// Returns how often it has been asked since the last time.
    pub fn asked(&self) -> usize {
        std::mem::take(&mut lock(&self.0).asked)
    }
}

impl Rotated {
    fn next(&mut self, lifetime: u64) -> Granted {
        self.generation += 1;
        let token = |what: &str| Token::new(format!("{what} {}", self.generation)).expect("a token");
        Granted {
            access: token("access"),
            refresh: Some(token("refresh")),
            lifetime: Some(lifetime),
            scopes: Some(vec!["read".to_owned()]),
        }
    }
}

/// Returns the key of a principal's connection at the server of that name.
pub fn connection_key(principal: &str, server: &str) -> ConnectionKey {
    ConnectionKey {
        principal: principal.into(),
        server: server.into(),
        issuer: "https://as.test".into(),
        resource: format!("https://{server}.test/mcp").into(),
    }
}

/// Checks that of fifty who want a token at once, through several gateways with one store, one refreshes it. Panics where
/// that is not so.
pub async fn refresh_race<H: Host>(gateways: &[Gateway<H>], principal: &str) {
    let (provider, key) = (Rotating::default(), connection_key(principal, "race"));
    let race = async |refused: Option<&Token>| {
        let calls = (0..50).map(|call| {
            let gateway = &gateways[call % gateways.len()];
            let (provider, host) = (provider.clone(), gateway.host().clone());
            gateway.access_token(&key, refused, move |token| {
                let (provider, host) = (provider.clone(), host.clone());
                async move {
                    // Long enough for all others to come.
                    host.sleep(Duration::from_millis(200)).await;
                    provider.refresh(&token, 3600)
                }
            })
        });
        let outcomes = future::join_all(calls).await.into_iter();
        outcomes.map(|token| token.expect("a token").reveal().to_owned()).collect::<Vec<_>>()
    };
    gateways[0].connect(&key, &provider.consent(0)).await.expect("the store can be written");
    assert_eq!(race(None).await, vec!["access 2"; 50]);
    assert_eq!(provider.asked(), 1, "one refreshes for all");
    let refused = Token::new("access 2".into()).expect("a token");
    assert_eq!(race(Some(&refused)).await, vec!["access 3"; 50]);
    assert_eq!(provider.asked(), 1, "also what a server has refused before its time");
    let records = gateways[0].connections(Some(principal)).await.expect("the store can be read");
    assert_eq!(records.iter().map(|record| record.standing).collect::<Vec<_>>(), [Standing::Connected]);
    assert_eq!(gateways[0].disconnect_all(principal).await, Ok(1));
    let never = |_| async { unreachable!("nobody is asked for what is not there") };
    let gone = gateways[0].access_token(&key, None, never).await;
    assert_eq!(gone, Err(NoToken::Ask(Reason::NotConnected)));
}

/// Returns a connection as a store is given it.
fn stored(key: &ConnectionKey, version: u64, sealed: &str) -> Stored {
    let record = ConnectionRecord {
        key: key.clone(),
        scopes: vec!["read".into(), "wr\"ite ✓".into()],
        connected: 1_800_000_000_000,
        expires: (!version.is_multiple_of(2)).then_some(1_800_000_000_000 + version % 1000),
        standing: Standing::Connected,
    };
    Stored { version: Version(version), record, sealed: sealed.to_owned() }
}

/// Checks that an empty store keeps connections as [`ConnectionStore`] says. Panics where it does not.
pub async fn connection_store(store: &dyn ConnectionStore) {
    let (key, other) = (connection_key("Ana's \"own\" ü#~/", "tickets"), connection_key("bob", "git"));
    let get = async |key: &ConnectionKey| store.get(key.clone()).await.expect("the store can be read");
    let swap = async |key: &ConnectionKey, expected: Option<u64>, next: Option<&Stored>| {
        let swapped = store.swap(key.clone(), expected.map(Version), next.cloned()).await;
        swapped.expect("the store can be written")
    };
    assert_eq!(get(&key).await, None, "an empty store has no connection");
    assert_eq!(store.list(None).await, Ok(Vec::new()));
    assert_eq!(store.remove_all(key.principal.clone()).await, Ok(0));
    assert_eq!(swap(&key, Some(1), None).await, Swapped::Changed(None));
    assert_eq!(swap(&key, None, None).await, Swapped::Done, "nothing is there, as it was to be");

    let first = stored(&key, u64::MAX, "first");
    assert_eq!(swap(&key, Some(1), Some(&first)).await, Swapped::Changed(None));
    assert_eq!(swap(&key, None, Some(&first)).await, Swapped::Done);
    assert_eq!(get(&key).await.as_ref(), Some(&first));
    let second = stored(&key, 2, &"x".repeat(200 << 10));
    for wrong in [None, Some(0), Some(2), Some(u64::MAX >> 1)] {
        let found = Swapped::Changed(Some(first.clone()));
        assert_eq!(swap(&key, wrong, Some(&second)).await, found, "{wrong:?} is not its version");
        assert_eq!(swap(&key, wrong, None).await, found, "and so it is not removed");
    }
    assert_eq!(swap(&key, Some(u64::MAX), Some(&second)).await, Swapped::Done);
    assert_eq!(get(&key).await.as_ref(), Some(&second));
    assert_eq!(swap(&key, Some(2), None).await, Swapped::Done);
    assert_eq!(get(&key).await, None);
    assert_eq!(swap(&key, Some(2), Some(&first)).await, Swapped::Changed(None), "what was removed stays so");
    assert_eq!(swap(&key, None, Some(&first)).await, Swapped::Done);
    keys_are_apart(store, (&key, &first), &other).await;
    one_of_many_swaps(store, &other).await;
    assert_eq!(store.remove_all(other.principal.clone()).await, Ok(1));
    assert_eq!(store.list(None).await, Ok(vec![first.record]));
}

/// Checks that connections are told apart by each part of their keys, and belong to their principals.
async fn keys_are_apart(
    store: &dyn ConnectionStore,
    (key, first): (&ConnectionKey, &Stored),
    other: &ConnectionKey,
) {
    let long: Arc<str> = "p".repeat(3000).into();
    let like_it = [
        ConnectionKey { server: "another".into(), ..key.clone() },
        ConnectionKey { issuer: "https://b.test".into(), ..key.clone() },
        ConnectionKey { resource: "https://b.test".into(), ..key.clone() },
    ];
    let of_others = [other.clone(), ConnectionKey { principal: long.clone(), ..key.clone() }];
    let mut records = vec![first.record.clone()];
    for (at, one) in (1..).zip(like_it.iter().chain(&of_others)) {
        assert_eq!(store.get(one.clone()).await, Ok(None), "{one:?}");
        let stored = stored(one, 100 + at, "it");
        assert_eq!(store.swap(one.clone(), None, Some(stored.clone())).await, Ok(Swapped::Done));
        records.push(stored.record);
    }
    records.sort_by(|one, other| one.key.cmp(&other.key));
    let of = |principal: &Arc<str>| {
        let of_it = records.iter().filter(|record| record.key.principal == *principal);
        Ok(of_it.cloned().collect::<Vec<_>>())
    };
    assert_eq!(store.list(Some(key.principal.clone())).await, of(&key.principal));
    assert_eq!(store.list(Some(long.clone())).await, of(&long));
    assert_eq!(store.list(Some("Ana".into())).await, Ok(Vec::new()), "another whose name begins so");
    assert_eq!(store.list(None).await, Ok(records.clone()), "all of them, by key");
    assert_eq!(store.remove_all(long).await, Ok(1));
    assert_eq!(store.remove_all(key.principal.clone()).await, Ok(4));
    assert_eq!(store.remove_all(key.principal.clone()).await, Ok(0));
    let gone = store.swap(key.clone(), Some(first.version), None).await;
    assert_eq!(gone, Ok(Swapped::Changed(None)), "what all were removed with is known to be gone");
    assert_eq!(store.swap(key.clone(), None, Some(first.clone())).await, Ok(Swapped::Done));
}

async fn one_of_many_swaps(store: &dyn ConnectionStore, key: &ConnectionKey) {
    let found = store.get(key.clone()).await.expect("the store can be read").expect("it is there");
    let attempts = (0..8).map(|attempt| {
        let next = stored(key, 1000 + attempt, &format!("by {attempt}"));
        store.swap(key.clone(), Some(found.version), Some(next))
    });
    let outcomes = future::join_all(attempts).await;
    let is_done = |outcome: &&Result<Swapped, StoreError>| **outcome == Ok(Swapped::Done);
    assert_eq!(outcomes.iter().filter(is_done).count(), 1, "of swaps at once one is done: {outcomes:?}");
    let winner = store.get(key.clone()).await.expect("the store can be read");
    let others = outcomes.iter().filter(|outcome| !is_done(outcome));
    assert!(others.eq(vec![&Ok(Swapped::Changed(winner)); 7]), "all others are told: {outcomes:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, gateway, json_answer};

    #[test]
    fn a_store_in_memory_is_one() {
        let host = Memory::new(|_| json_answer(404, ""));
        host.run(connection_store(&MemoryStore::default()));
    }

    #[test]
    fn of_gateways_in_memory_one_refreshes() {
        let host = Memory::new(|_| json_answer(404, ""));
        let gateways = [gateway(&host, &[]), gateway(&host, &[]), gateway(&host, &[])];
        host.run(refresh_race(&gateways, "ana"));
    }
}
