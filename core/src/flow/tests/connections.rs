//! Tokens of connections: how often the store and the provider are asked, and what is left where something goes wrong between
//! them.

use std::sync::Arc;
use std::time::Duration;

use futures::future;

use crate::control::StoreError;
use crate::flow::NoToken;
use crate::gateway::{Gateway, SealKeys};
use crate::oauth::connection::{ConnectionKey, Outcome, Reason, Standing, Token};
use crate::ports::{Background as _, Clock as _, ConnectionStore as _};
use crate::testing::{Memory, Rotating, Wrapping, connection_key, gateway, json_answer};

struct Stage {
    host: Memory,
    provider: Rotating,
    gateway: Gateway<Memory>,
    key: ConnectionKey,
}

impl Stage {
    /// Begins with a connection whose token lasts for so many seconds.
    fn new(lifetime: u64) -> Self {
        let host = Memory::new(|_| json_answer(404, ""));
        let (provider, gateway) = (Rotating::default(), gateway(&host, &[]));
        let stage = Self { host, provider, gateway, key: connection_key("ana", "tickets") };
        stage.consent(lifetime);
        stage
    }

    fn consent(&self, lifetime: u64) {
        self.host.run(self.gateway.connect(&self.key, &self.provider.consent(lifetime))).unwrap();
    }

    /// Asks for a token, of a provider whose answers become what `fate` makes of them.
    async fn ask(&self, fate: impl Fn(Outcome) -> Outcome + Send + Sync + 'static) -> String {
        self.ask_at(&self.gateway, fate).await
    }

    async fn ask_at(
        &self,
        gateway: &Gateway<Memory>,
        fate: impl Fn(Outcome) -> Outcome + Send + Sync + 'static,
    ) -> String {
        let (provider, host) = (self.provider.clone(), self.host.clone());
        let fate = Arc::new(fate);
        let refresh = move |token: Token| {
            let (provider, host, fate) = (provider.clone(), host.clone(), fate.clone());
            async move {
                host.sleep(Duration::from_millis(100)).await;
                fate(provider.refresh(&token, 3600))
            }
        };
        match gateway.access_token(&self.key, None, refresh).await {
            Ok(token) => token.reveal().to_owned(),
            Err(NoToken::Later(until)) => format!("later by {}", until - self.host.now()),
            Err(no) => no.to_string(),
        }
    }

    fn asks(&self) -> String {
        self.host.run(self.ask(|outcome| outcome))
    }

    /// Asks another instance, which knows nothing yet.
    fn asks_another(&self) -> String {
        let other = gateway(&self.host, &[]);
        self.host.run(self.ask_at(&other, |outcome| outcome))
    }

    fn pass(&self, millis: u64) {
        self.host.run(self.host.sleep(Duration::from_millis(millis)));
    }

    fn standing(&self) -> Vec<Standing> {
        let records = self.host.run(self.gateway.connections(Some("ana"))).unwrap();
        records.into_iter().map(|record| record.standing).collect()
    }
}

fn lost(_: Outcome) -> Outcome {
    Outcome::Failed("the connection broke off".into())
}

#[test]
fn fifty_calls_read_once_and_refresh_once() {
    let stage = Stage::new(3600);
    stage.host.store().connection_reads();
    let calls = || future::join_all((0..50).map(|_| stage.ask(|outcome| outcome)));
    assert_eq!(stage.host.run(calls()), vec!["access 1"; 50]);
    assert_eq!((stage.host.store().connection_reads(), stage.provider.asked()), (1, 0));
    stage.consent(0);
    stage.host.store().connection_reads();
    assert_eq!(stage.host.run(calls()), vec!["access 3"; 50]);
    assert_eq!((stage.host.store().connection_reads(), stage.provider.asked()), (1, 1));
}

#[test]
fn a_call_that_leaves_takes_no_answer_of_the_provider_with_it() {
    let stage = Stage::new(0);
    {
        let mut call = std::pin::pin!(stage.ask(|outcome| outcome));
        assert!(stage.host.run(async { futures::poll!(call.as_mut()) }).is_pending());
    }
    stage.pass(1000);
    assert_eq!(stage.provider.asked(), 1);
    assert_eq!((stage.asks(), stage.provider.asked()), ("access 2".to_owned(), 0));
}

#[test]
fn a_provider_that_fails_is_left_alone_and_asks_nobody_for_consent() {
    let stage = Stage::new(0);
    let answers_500 = |stage: &Stage| {
        // It has not been asked: it keeps its tokens as they are.
        let refresh = |_| future::ready(Outcome::Failed("500".into()));
        stage.host.run(stage.gateway.access_token(&stage.key, None, refresh))
    };
    assert!(matches!(answers_500(&stage), Err(NoToken::Later(_))));
    assert_eq!(stage.asks(), "later by 1000");
    assert_eq!((stage.standing(), stage.provider.asked()), (vec![Standing::Paused], 0));
    stage.pass(1000);
    assert!(matches!(answers_500(&stage), Err(NoToken::Later(_))));
    assert_eq!(stage.asks_another(), "later by 2000", "also on other instances");
    stage.pass(2000);
    assert_eq!((stage.asks(), stage.standing()), ("access 2".to_owned(), vec![Standing::Connected]));
}

#[test]
fn a_token_that_is_valid_is_used_while_its_provider_fails() {
    let stage = Stage::new(10);
    stage.pass(8000);
    assert_eq!(stage.host.run(stage.ask(lost)), "access 1");
    assert_eq!(stage.provider.asked(), 1);
}

#[test]
fn a_silent_provider_is_given_up_before_the_lease_is_over() {
    let stage = Stage::new(0);
    let before = stage.host.now();
    let silent = stage.gateway.access_token(&stage.key, None, |_| future::pending());
    assert!(matches!(stage.host.run(silent), Err(NoToken::Later(_))));
    assert_eq!((stage.host.now() - before) / 1000, 20);
    stage.pass(1000);
    assert_eq!(stage.asks(), "access 2");
}

#[test]
fn a_lost_answer_leads_to_consent_and_not_to_a_dead_end() {
    let stage = Stage::new(0);
    assert_eq!(stage.host.run(stage.ask(lost)), "later by 1000");
    stage.pass(1000);
    assert_eq!(stage.asks(), Reason::Revoked.to_string());
    assert_eq!(stage.standing(), [Standing::NeedsConsent]);
    assert_eq!(stage.provider.asked(), 2);
    assert_eq!((stage.asks_another(), stage.provider.asked()), (Reason::Revoked.to_string(), 0));
    stage.consent(3600);
    assert_eq!((stage.asks(), stage.asks_another()), ("access 3".to_owned(), "access 3".to_owned()));
}

#[test]
fn tokens_that_cannot_be_written_at_once_are_written_later() {
    for (away, kept) in
        [(2000, "access 2"), (30_000, "the provider says that the connection no longer counts")]
    {
        let stage = Stage::new(0);
        let (store, host) = (stage.host.store().clone(), stage.host.clone());
        let fails = move |outcome| {
            store.fail(Some("is away"));
            let (store, host) = (store.clone(), host.clone());
            host.clone().spawn(async move {
                host.sleep(Duration::from_millis(away)).await;
                store.fail(None);
            });
            outcome
        };
        assert_eq!(stage.host.run(stage.ask(fails)), "access 2", "it is used in any case");
        stage.pass(40_000);
        assert_eq!(stage.asks_another(), kept);
    }
}

#[test]
fn what_is_removed_while_it_is_refreshed_stays_removed() {
    let stage = Stage::new(0);
    let other = gateway(&stage.host, &[]);
    let removal = async {
        stage.host.sleep(Duration::from_millis(50)).await;
        other.disconnect_all("ana").await
    };
    let (asked, removed) = stage.host.run(future::join(stage.ask(|outcome| outcome), removal));
    assert_eq!((asked, removed), (Reason::NotConnected.to_string(), Ok(1)));
    assert_eq!(stage.standing(), []);
}

#[test]
fn a_removed_connection_gives_back_what_its_provider_may_forget() {
    let stage = Stage::new(3600);
    assert_eq!(stage.asks(), "access 1");
    let tokens = stage.host.run(stage.gateway.disconnect(&stage.key)).unwrap().unwrap();
    assert_eq!(tokens.iter().map(Token::reveal).collect::<Vec<_>>(), ["refresh 1", "access 1"]);
    assert_eq!(stage.asks(), Reason::NotConnected.to_string(), "at once");
    assert_eq!(stage.host.run(stage.gateway.disconnect(&stage.key)), Ok(None));
}

#[test]
fn a_store_that_fails_is_no_reason_to_consent() {
    let stage = Stage::new(3600);
    stage.host.store().fail(Some("is away"));
    assert_eq!(stage.asks(), "the store of connections is away");
    let failed = stage.host.run(stage.gateway.connect(&stage.key, &stage.provider.consent(1)));
    assert_eq!(failed, Err(StoreError("is away".into())));
}

#[test]
fn what_is_stored_shows_no_token_and_opens_for_nobody_else() {
    let stage = Stage::new(3600);
    let store = stage.host.store();
    let stored = stage.host.run(store.get(stage.key.clone())).unwrap().unwrap();
    let text = serde_json::to_string(&stored).unwrap();
    assert!(!text.contains("access 1") && !text.contains("refresh 1") && text.contains("\"ana\""), "{text}");
    let foreign = Stage { key: connection_key("bob", "tickets"), ..Stage::new(3600) };
    let moved = foreign.host.store();
    foreign.host.run(foreign.gateway.disconnect(&foreign.key)).unwrap();
    foreign.host.run(moved.swap(foreign.key.clone(), None, Some(stored.clone()))).unwrap();
    assert_eq!(foreign.asks(), Reason::Sealed.to_string());
    foreign.consent(3600);
    assert_eq!(foreign.asks(), "access 2", "it is made anew");
}

#[test]
fn rotated_seal_keys_open_what_was_before_and_seal_what_comes() {
    let stage = Stage::new(3600);
    let keys = |first, others: &[u8]| SealKeys {
        first: [first; 32],
        others: others.iter().map(|other| [*other; 32]).collect(),
    };
    let asks_with = |keys: SealKeys| {
        stage.gateway.set_seal_keys(&keys);
        stage.pass(5000);
        stage.asks()
    };
    assert_eq!(asks_with(keys(8, &[7])), "access 1");
    assert_eq!(asks_with(keys(8, &[])), Reason::Sealed.to_string(), "nothing has been written since");
    assert_eq!(asks_with(keys(8, &[7])), "access 1");
    stage.pass(3_590_000);
    assert_eq!(stage.asks(), "access 2");
    assert_eq!(asks_with(keys(8, &[])), "access 2");
}

/// Has a host wrap the keys of connections from now on.
fn wrapped(stage: &Stage) -> Wrapping {
    let wrap = Wrapping::default();
    stage.host.wrap_keys(Arc::new(wrap.clone()));
    wrap
}

#[test]
fn what_was_sealed_before_a_host_wraps_keys_opens_and_is_wrapped_with_the_next_write() {
    let stage = Stage::new(3600);
    let wrap = wrapped(&stage);
    assert_eq!((stage.asks(), wrap.asked()), ("access 1".to_owned(), 0));
    stage.pass(3_595_000);
    assert_eq!((stage.asks(), wrap.asked()), ("access 2".to_owned(), 1), "one key for a refresh");
    let stored = stage.host.run(stage.host.store().get(stage.key.clone())).unwrap().unwrap();
    assert!(stored.sealed.starts_with("1.memory:0."), "{}", stored.sealed);
    stage.gateway.set_seal_keys(&SealKeys { first: [8; 32], others: Vec::new() });
    assert_eq!((stage.asks_another(), wrap.asked()), ("access 2".to_owned(), 1));
}

#[test]
fn nobody_is_asked_for_a_key_between_a_providers_answer_and_the_write() {
    let stage = Stage::new(0);
    let wrap = wrapped(&stage);
    let fails = {
        let wrap = wrap.clone();
        move |outcome| {
            wrap.fail(Some("needs a key that is out of reach"));
            outcome
        }
    };
    assert_eq!(stage.host.run(stage.ask(fails)), "access 2");
    assert_eq!(stage.asks_another(), "the store of connections needs a key that is out of reach");
    wrap.fail(None);
    assert_eq!((stage.asks_another(), stage.provider.asked()), ("access 2".to_owned(), 1));
}

#[test]
fn keys_out_of_reach_change_nothing() {
    let stage = Stage::new(3600);
    let wrap = wrapped(&stage);
    stage.consent(0);
    let store = stage.host.store();
    let before = stage.host.run(store.get(stage.key.clone()));
    wrap.fail(Some("needs a key that is out of reach"));
    assert_eq!(stage.asks(), "the store of connections needs a key that is out of reach");
    assert_eq!((stage.host.run(store.get(stage.key.clone())), stage.provider.asked()), (before, 0));
    wrap.fail(None);
    assert_eq!(stage.asks(), "access 3");
    wrap.fail(Some("needs a key that is out of reach"));
    let failed = stage.host.run(stage.gateway.connect(&stage.key, &stage.provider.consent(1)));
    assert_eq!(failed, Err(StoreError("needs a key that is out of reach".into())));
}

#[test]
fn what_no_key_opens_any_more_is_made_anew() {
    let stage = Stage::new(3600);
    let wrap = wrapped(&stage);
    stage.consent(3600);
    wrap.forget();
    assert_eq!(stage.asks(), Reason::Sealed.to_string());
    stage.consent(3600);
    assert_eq!(stage.asks(), "access 3");
}
