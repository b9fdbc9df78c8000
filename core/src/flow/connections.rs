//! The tokens of users' connections: one that can be presented now, refreshed where it is due.
//!
//! **Of all who want a token at once in this process, one looks for it, and goes on when they leave**: what a provider
//! answers is never lost with the call that asked. Among processes, what is written decides (`oauth/connection`).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::{self, BoxFuture, Either, Shared};
use zeroize::Zeroizing;

use crate::control::StoreError;
use crate::gateway::Gateway;
use crate::oauth::connection::{
    Attempt, ConnectionKey, ConnectionRecord, DataKey, Decision, Envelope, Granted, LEASED, Outcome, Reason,
    Sealed, State, Stored, Swapped, Token, Version,
};
use crate::ports::{ConnectionStore, Host};
use crate::session::Purpose;
use crate::sorted::SortedMap;
use crate::upstream::lock;

/// How long a token is presented without another look at the store, in milliseconds. So long a connection that was removed
/// elsewhere may still be used here.
const KNOWN: u64 = 5000;
/// How many connections are remembered before those are forgotten of which nothing is known any more.
const MOST: usize = 1024;
/// How long others are waited for that refresh, in milliseconds: until one of them has lost its lease, and then some.
const PATIENCE: u64 = LEASED + 15_000;
/// How long is waited before it is looked what others have done, at first and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long is waited before tokens are written again that could not be written; twice as long each time.
const AGAIN: Duration = Duration::from_millis(100);
/// How often they are written again: for as long as a lease lasts beyond the wait for the provider.
const ATTEMPTS: u32 = 6;
/// How often a write is begun anew that others came before.
const ROUNDS: usize = 32;

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// The user has to consent.
    #[error("{0}")]
    Ask(Reason),
    /// Its provider does not give one for now; it is asked again at that time, in milliseconds since the Unix epoch.
    #[error("the provider does not renew the connection for now")]
    Later(u64),
    /// The store of connections cannot be used.
    #[error("the store of connections {0}")]
    Store(#[from] StoreError),
}

/// Asks a provider for the next token.
type Refresh = Arc<dyn Fn(Token) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A look for a token that goes on, which any number wait for.
type Running = Shared<oneshot::Receiver<Result<Token, NoToken>>>;

/// What is known of connections, by key.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Mutex<SortedMap<ConnectionKey, Slot>>,
}

#[derive(Default)]
struct Slot {
    /// A token, and until when it is presented without another look.
    known: Option<(Token, u64)>,
    running: Option<(u64, Running)>,
}

/// Where a token comes from.
enum Source {
    Known(Token),
    /// Somebody looks for it.
    Theirs(Running),
    /// This call is to look for it.
    Own(oneshot::Sender<Result<Token, NoToken>>, Running),
}

/// A lease, as it was written.
struct Lease {
    version: Version,
    state: State,
    /// What it is sealed under; and then what comes of it: nobody is to be asked for a key once the provider has answered.
    data_key: DataKey,
}

/// What became of an attempt's outcome.
enum Settled {
    Written,
    /// There is something else, which counts.
    Left,
}

impl Connections {
    /// Returns a token that is presented without another look at the store.
    fn known(&self, key: &ConnectionKey, refused: Option<&Token>, now: u64) -> Option<Token> {
        let slots = lock(&self.slots);
        let (token, until) = slots.get(key)?.known.as_ref()?;
        (now < *until && refused != Some(token)).then(|| token.clone())
    }

    /// Returns where a token comes from, for a call whose server has refused the one that it is given.
    fn source(&self, key: &ConnectionKey, refused: Option<&Token>, (now, run): (u64, u64)) -> Source {
        let mut slots = lock(&self.slots);
        if slots.len() >= MOST {
            slots.retain(|_, slot| slot.is_needed(now));
        }
        let slot = slots.entry(key.clone()).or_default();
        if let Some((token, until)) = &slot.known
            && now < *until
            && refused != Some(token)
        {
            return Source::Known(token.clone());
        }
        if let Some((_, running)) = slot.running.as_ref().filter(|(_, running)| running.peek().is_none()) {
            return Source::Theirs(running.clone());
        }
        let (sender, receiver) = oneshot::channel();
        let running = receiver.shared();
        slot.running = Some((run, running.clone()));
        Source::Own(sender, running)
    }

    /// Takes note of what a look has found, unless the connection has been written here meanwhile.
    fn found(&self, key: &ConnectionKey, run: u64, found: &Result<Token, NoToken>, now: u64) {
        let mut slots = lock(&self.slots);
        let Some(slot) = slots.get_mut(key) else { return };
        if slot.running.as_ref().is_some_and(|(own, _)| *own == run) {
            slot.known = found.as_ref().ok().map(|token| (token.clone(), now.saturating_add(KNOWN)));
        }
    }

    /// Forgets what is known of connections that are written here.
    fn forget(&self, is_written: impl Fn(&ConnectionKey) -> bool) {
        lock(&self.slots).retain(|key, _| !is_written(key));
    }
}

impl Slot {
    fn is_needed(&self, now: u64) -> bool {
        let is_running = self.running.as_ref().is_some_and(|(_, running)| running.peek().is_none());
        is_running || self.known.as_ref().is_some_and(|(_, until)| now < *until)
    }
}

impl<H: Host> Gateway<H> {
    /// Returns an access token of a connection; has `refresh` ask the provider for the next one where that is due.
    /// `refused` is one that the server has just refused.
    ///
    /// `refresh` is called for one of all who want a token of this connection at the same time, on whichever instance, and
    /// is given up after 20 seconds.
    pub async fn access_token<F: Future<Output = Outcome> + Send + 'static>(
        &self,
        key: &ConnectionKey,
        refused: Option<&Token>,
        refresh: impl Fn(Token) -> F + Send + Sync + 'static,
    ) -> Result<Token, NoToken> {
        let refresh: Refresh = Arc::new(move |token| refresh(token).boxed());
        for _ in 0..ROUNDS {
            let (now, run) = (self.host().now(), self.chance());
            match self.0.connections.source(key, refused, (now, run)) {
                Source::Known(token) => return Ok(token),
                Source::Own(sender, running) => {
                    self.look(key, run, (refused.cloned(), refresh.clone()), sender);
                    if let Ok(found) = running.await {
                        return found;
                    }
                }
                Source::Theirs(running) => match running.await {
                    // They may not know yet that it is refused.
                    Ok(Ok(token)) if Some(&token) == refused => (),
                    Ok(found) => return found,
                    // Who looked has gone, as a platform ends what it likes.
                    Err(oneshot::Canceled) => (),
                },
            }
        }
        Err(NoToken::Later(self.host().now()))
    }

    /// Returns an access token that is known here and need not be looked for.
    pub(super) fn known_token(&self, key: &ConnectionKey, refused: Option<&Token>) -> Option<Token> {
        self.0.connections.known(key, refused, self.host().now())
    }

    /// Keeps what a provider gave after its user consented, in place of whatever was there.
    pub async fn connect(&self, key: &ConnectionKey, granted: &Granted) -> Result<(), StoreError> {
        let state = State::connected(granted, self.chance(), self.host().now());
        let store = self.connection_store()?;
        let data_key = self.data_key(key).await?;
        let mut found = store.get(key.clone()).await?;
        for _ in 0..ROUNDS {
            let expected = found.as_ref().map(|stored| stored.version);
            match self.swap(key, expected, &state, &data_key).await?.1 {
                Swapped::Done => {
                    self.0.connections.forget(|one| one == key);
                    return Ok(());
                }
                Swapped::Changed(other) => found = other,
            }
        }
        Err(busy())
    }

    /// Removes a connection; returns the tokens that were in it, for the provider to be told, or nothing where there was no
    /// connection.
    pub async fn disconnect(&self, key: &ConnectionKey) -> Result<Option<Vec<Token>>, StoreError> {
        let store = self.connection_store()?;
        let mut found = store.get(key.clone()).await?;
        for _ in 0..ROUNDS {
            let Some(stored) = found else {
                self.0.connections.forget(|one| one == key);
                return Ok(None);
            };
            match store.swap(key.clone(), Some(stored.version), None).await? {
                Swapped::Done => {
                    self.0.connections.forget(|one| one == key);
                    let state = self.open(key, &stored).await.ok().flatten();
                    return Ok(Some(state.map(State::into_tokens).unwrap_or_default()));
                }
                Swapped::Changed(other) => found = other,
            }
        }
        Err(busy())
    }

    /// Removes all connections of a principal; returns how many there were.
    pub async fn disconnect_all(&self, principal: &str) -> Result<usize, StoreError> {
        let removed = self.connection_store()?.remove_all(principal.into()).await?;
        self.0.connections.forget(|key| *key.principal == *principal);
        Ok(removed)
    }

    /// Returns what is known of the connections of one principal, or of all, without what is in them.
    pub async fn connections(&self, principal: Option<&str>) -> Result<Vec<ConnectionRecord>, StoreError> {
        self.connection_store()?.list(principal.map(Arc::from)).await
    }

    /// Looks for a token, whether or not anybody goes on waiting for it.
    fn look(
        &self,
        key: &ConnectionKey,
        run: u64,
        (refused, refresh): (Option<Token>, Refresh),
        sender: oneshot::Sender<Result<Token, NoToken>>,
    ) {
        let (gateway, key) = (self.clone(), key.clone());
        self.host().spawn(async move {
            let found = gateway.obtain(&key, refused.as_ref(), &refresh).await;
            gateway.0.connections.found(&key, run, &found, gateway.host().now());
            let _ = sender.send(found);
        });
    }

    async fn obtain(
        &self,
        key: &ConnectionKey,
        refused: Option<&Token>,
        refresh: &Refresh,
    ) -> Result<Token, NoToken> {
        let store = self.connection_store()?;
        let (begun, mut look) = (self.host().now(), LOOK.0);
        let mut found = store.get(key.clone()).await?;
        loop {
            let Some(stored) = found else { return Err(NoToken::Ask(Reason::NotConnected)) };
            let Some(state) = self.open(key, &stored).await? else {
                return Err(NoToken::Ask(Reason::Sealed));
            };
            let now = self.host().now();
            found = match state.decide(now, self.chance(), refused) {
                Decision::Use(token) => return Ok(token),
                Decision::Ask(reason) => return Err(NoToken::Ask(reason)),
                Decision::Later(until) => return Err(NoToken::Later(until)),
                Decision::Wait(until) if now.abs_diff(begun) >= PATIENCE => {
                    return Err(NoToken::Later(until));
                }
                Decision::Wait(until) => {
                    self.host().sleep(look.min(Duration::from_millis(until.saturating_sub(now)))).await;
                    look = (look * 2).min(LOOK.1);
                    store.get(key.clone()).await?
                }
                Decision::Refresh(next, attempt) => {
                    let data_key = self.data_key(key).await?;
                    match self.swap(key, Some(stored.version), &next, &data_key).await? {
                        (version, Swapped::Done) => {
                            let lease = Lease { version, state: *next, data_key };
                            if let Some(token) = self.attempt(key, lease, &attempt, refresh).await? {
                                return Ok(token);
                            }
                            store.get(key.clone()).await?
                        }
                        (_, Swapped::Changed(other)) => other,
                    }
                }
            };
        }
    }

    /// Makes an attempt, and writes what comes of it; returns the new access token where there is one and it counts.
    async fn attempt(
        &self,
        key: &ConnectionKey,
        lease: Lease,
        attempt: &Attempt,
        refresh: &Refresh,
    ) -> Result<Option<Token>, NoToken> {
        let outcome = self.ask_provider(attempt, refresh).await;
        match &outcome {
            Outcome::Granted(_) => {
                tracing::debug!(principal = %key.principal, issuer = %key.issuer, "a connection is refreshed");
            }
            Outcome::Revoked => {
                tracing::info!(principal = %key.principal, issuer = %key.issuer, "a connection no longer counts, says its provider");
            }
            Outcome::Failed(why) => {
                tracing::warn!(principal = %key.principal, issuer = %key.issuer, %why, "a connection cannot be refreshed for now");
            }
        }
        let settled = self.settle(key, lease, attempt, &outcome).await;
        match (settled, outcome) {
            (Ok(Settled::Written), Outcome::Granted(granted)) => Ok(Some(granted.access)),
            (Ok(_), _) => Ok(None),
            (Err(why), Outcome::Granted(granted)) => {
                // It can be used all the same, for once.
                tracing::error!(principal = %key.principal, issuer = %key.issuer, %why, "a refreshed connection cannot be kept");
                Ok(Some(granted.access))
            }
            (Err(why), _) => Err(why.into()),
        }
    }

    async fn ask_provider(&self, attempt: &Attempt, refresh: &Refresh) -> Outcome {
        let left = attempt.left(self.host().now());
        if left == 0 {
            return Outcome::Failed("it took too long to write that it is refreshed".into());
        }
        let limit = std::pin::pin!(self.host().sleep(Duration::from_millis(left)));
        match future::select(refresh(attempt.token.clone()), limit).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Outcome::Failed("the provider does not answer in time".into()),
        }
    }

    /// Writes what an outcome makes of the state that was written before, or of what others have put in its place.
    async fn settle(
        &self,
        key: &ConnectionKey,
        lease: Lease,
        attempt: &Attempt,
        outcome: &Outcome,
    ) -> Result<Settled, StoreError> {
        let Lease { mut version, mut state, data_key } = lease;
        let mut failures = 0;
        loop {
            let Some(next) = state.settle(attempt, outcome, self.host().now()) else {
                return Ok(Settled::Left);
            };
            let failed = match self.swap(key, Some(version), &next, &data_key).await {
                Ok((_, Swapped::Done)) => return Ok(Settled::Written),
                Ok((_, Swapped::Changed(None))) => return Ok(Settled::Left),
                Ok((_, Swapped::Changed(Some(other)))) => match self.open(key, &other).await {
                    Ok(Some(opened)) => {
                        (version, state) = (other.version, opened);
                        continue;
                    }
                    Ok(None) => return Ok(Settled::Left),
                    Err(why) => why,
                },
                Err(why) => why,
            };
            if failures >= ATTEMPTS {
                return Err(failed);
            }
            self.host().sleep(AGAIN * 2_u32.pow(failures)).await;
            failures += 1;
        }
    }

    fn connection_store(&self) -> Result<&dyn ConnectionStore, StoreError> {
        let none = || StoreError("is not there: this gateway's host keeps none".into());
        Ok(&**self.host().connections().ok_or_else(none)?)
    }

    /// Puts a state in the place of what has that version, sealed under that key.
    async fn swap(
        &self,
        key: &ConnectionKey,
        expected: Option<Version>,
        next: &State,
        data_key: &DataKey,
    ) -> Result<(Version, Swapped), StoreError> {
        let version = Version(self.chance());
        let plain = next.to_bytes();
        let sealed = Envelope { key, version }.seal(self.host(), data_key, &plain);
        let stored = Stored { version, record: next.record(key), sealed };
        let swapped = self.connection_store()?.swap(key.clone(), expected, Some(stored)).await?;
        Ok((version, swapped))
    }

    /// Opens a connection; returns nothing where it cannot ever be opened.
    async fn open(&self, key: &ConnectionKey, stored: &Stored) -> Result<Option<State>, StoreError> {
        let Some(sealed) = Sealed::parse(&stored.sealed) else { return Ok(None) };
        let Some(data_key) = self.unwrapped(key, sealed.wrapped).await? else { return Ok(None) };
        let plain = Envelope { key, version: stored.version }.open(&data_key.plain, &sealed);
        Ok(plain.and_then(|plain| State::from_bytes(&plain)))
    }

    /// Returns a new data key: wrapped by the host, or else by the first of the seal keys.
    async fn data_key(&self, key: &ConnectionKey) -> Result<DataKey, StoreError> {
        if let Some(wrap) = self.host().key_wrap() {
            return wrap.generate(key.clone()).await;
        }
        let mut plain = Zeroizing::new([0; 32]);
        self.host().fill(&mut *plain);
        let wrapped = self.0.sealer.seal(self.host(), Purpose::DataKey, &*plain);
        Ok(DataKey { plain, wrapped })
    }

    /// Unwraps a data key, also one of before the host wrapped any.
    async fn unwrapped(&self, key: &ConnectionKey, wrapped: &str) -> Result<Option<DataKey>, StoreError> {
        if let Some(plain) = self.0.sealer.open(Purpose::DataKey, wrapped).map(Zeroizing::new) {
            let plain = <[u8; 32]>::try_from(plain.as_slice()).ok().map(Zeroizing::new);
            return Ok(plain.map(|plain| DataKey { plain, wrapped: wrapped.to_owned() }));
        }
        match self.host().key_wrap() {
            Some(wrap) => wrap.unwrap(key.clone(), wrapped.to_owned()).await,
            None => Ok(None),
        }
    }

    /// Returns a number drawn by chance.
    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        self.host().fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn busy() -> StoreError {
    StoreError("is too busy to be written".into())
}
