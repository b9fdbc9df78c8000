//! What wraps keys in memory, and what everything that wraps keys has to pass.

use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use zeroize::Zeroizing;

use super::connection_key;
use crate::control::StoreError;
use crate::oauth::connection::{ConnectionKey, DataKey};
use crate::ports::KeyWrap;
use crate::sorted::SortedMap;
use crate::upstream::lock;

/// Wraps keys in memory. Clones are the same.
#[derive(Clone, Default)]
pub struct Wrapping(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    wrapped: SortedMap<String, (ConnectionKey, u8)>,
    trouble: Option<String>,
    asked: usize,
}

impl Wrapping {
    /// Has everything that is asked of it fail from now on, or nothing any more.
    pub fn fail(&self, trouble: Option<&str>) {
        lock(&self.0).trouble = trouble.map(str::to_owned);
    }

    /// Forgets every key that it has wrapped.
    pub fn forget(&self) {
        lock(&self.0).wrapped.clear();
    }

    /// Returns how often it was asked since the last time.
    pub fn asked(&self) -> usize {
        std::mem::take(&mut lock(&self.0).asked)
    }

    fn ask<T>(&self, what: impl FnOnce(&mut Held) -> T) -> Result<T, StoreError> {
        let mut held = lock(&self.0);
        held.asked += 1;
        match &held.trouble {
            Some(trouble) => Err(StoreError(trouble.clone())),
            None => Ok(what(&mut held)),
        }
    }
}

impl KeyWrap for Wrapping {
    fn generate(&self, key: ConnectionKey) -> BoxFuture<'_, Result<DataKey, StoreError>> {
        let generated = self.ask(|held| {
            let byte = u8::try_from(held.wrapped.len()).expect("few keys are wrapped in a test");
            let wrapped = format!("memory:{byte}");
            held.wrapped.insert(wrapped.clone(), (key, byte));
            DataKey { plain: Zeroizing::new([byte; 32]), wrapped }
        });
        ready(generated).boxed()
    }

    fn unwrap(
        &self,
        key: ConnectionKey,
        wrapped: String,
    ) -> BoxFuture<'_, Result<Option<DataKey>, StoreError>> {
        let unwrapped = self.ask(|held| {
            let (of, byte) = held.wrapped.get(&wrapped)?;
            (*of == key).then(|| DataKey { plain: Zeroizing::new([*byte; 32]), wrapped })
        });
        ready(unwrapped).boxed()
    }
}

/// Checks that something wraps keys as [`KeyWrap`] says. Panics where it does not.
pub async fn key_wrap(wrap: &dyn KeyWrap) {
    let (own, other) = (connection_key("ana", "wrapped"), connection_key("bob", "wrapped"));
    let keys = [
        wrap.generate(own.clone()).await.expect("a key"),
        wrap.generate(own.clone()).await.expect("another key"),
    ];
    assert_ne!(keys[0].plain, keys[1].plain, "each is new");
    for key in &keys {
        assert!(!key.wrapped.contains('.'), "{} could not be told from what it seals", key.wrapped);
        let open = async |of: &ConnectionKey, wrapped: &str| {
            let opened = wrap.unwrap(of.clone(), wrapped.to_owned()).await.expect("it answers");
            opened.map(|opened| (opened.plain, opened.wrapped))
        };
        let same = Some((key.plain.clone(), key.wrapped.clone()));
        assert_eq!(open(&own, &key.wrapped).await, same);
        assert_eq!(open(&own, &key.wrapped).await, same, "again");
        assert_eq!(open(&other, &key.wrapped).await, None, "another's");
        let server = connection_key("ana", "elsewhere");
        assert_eq!(open(&server, &key.wrapped).await, None, "for something else");
        let cut = &key.wrapped[..key.wrapped.len() - 1];
        for odd in ["", "x", cut, &"x".repeat(100_000)] {
            assert_eq!(open(&own, odd).await, None, "{odd:.20}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, json_answer};

    #[test]
    fn what_wraps_in_memory_wraps_as_it_has_to() {
        Memory::new(|_| json_answer(404, "")).run(key_wrap(&Wrapping::default()));
    }
}
