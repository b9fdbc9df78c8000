//! Users' tokens that are refreshed while something goes wrong, on each of the gateway's hosts and with the store that it has
//! there: the gateway is killed at a step of the refresh, or the provider fails.
//!
//! **Nobody is locked out**: the call goes on, or its user is asked once. Where a lease has to lapse that nobody can give
//! back, that takes half a minute.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::consent::Connected;
use portcullis_tests::provider::Provider;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::Value;

/// How long the first access token lasts, in seconds.
const SECONDS: u32 = 2;

/// Somebody whose token is over.
struct Stage {
    user: Connected,
    granting: Provider,
    _server: Upstream,
}

impl Stage {
    fn new() -> Self {
        let granting = Provider::of_a_short_first_token(SECONDS);
        let server = Upstream::protected(2, granting.issuer());
        let user = Connected::at(&server, |gateway| gateway);
        let connected = Instant::now();
        wait::expect("the token to be over", || connected.elapsed() > Duration::from_secs(SECONDS.into()));
        Self { user, granting, _server: server }
    }

    /// What the user's call says that has arrived at the server.
    fn own(&self) -> String {
        format!("ann of {}", self.granting.issuer())
    }

    /// Kills the gateway while it waits for its provider, to whom that happens.
    fn kill_while_refreshing(&mut self, what: &str) {
        self.granting.next(what);
        let call = self.user.call();
        let calling = thread::spawn(move || drop(call.try_send()));
        wait::expect("the provider to be asked", || self.granting.asked("wrong") == 1);
        self.user.front.gateway.crash();
        calling.join().expect("it ends with the gateway");
    }

    /// Calls until the call has arrived, or its user is asked.
    fn goes_on(&self) -> Value {
        let outcome = wait::until(PATIENCE * 4, || {
            let said = self.user.ask();
            let has_arrived = said["result"]["content"][0]["text"] == self.own();
            (has_arrived || said["result"]["resultType"] == "input_required").then_some(said)
        });
        outcome.unwrap_or_else(|| panic!("{} {}", self.user.ask(), self.user.front.gateway.log()))
    }

    #[track_caller]
    fn check_arrives(&self) {
        let said = self.goes_on();
        assert_eq!(said["result"]["content"][0]["text"], self.own(), "{said}");
    }

    /// How many refresh tokens were used, and how many grants ended.
    fn used(&self) -> (u64, u64) {
        (self.granting.asked("refresh"), self.granting.asked("revoked"))
    }
}

#[test]
fn a_gateway_that_is_killed_before_its_provider_does_anything_costs_nothing() {
    let mut stage = Stage::new();
    stage.kill_while_refreshing("hold");
    stage.check_arrives();
    assert_eq!(stage.used(), (1, 0));
}

#[test]
fn a_gateway_that_is_killed_before_it_has_the_answer_costs_a_consent() {
    let mut stage = Stage::new();
    stage.kill_while_refreshing("withhold");
    let asked = stage.goes_on();
    stage.user.consent(&asked);
    assert_eq!(stage.used(), (1, 1), "the provider has seen a refresh token twice");
    stage.check_arrives();
}

#[test]
fn a_gateway_that_is_killed_after_it_has_refreshed_costs_nothing() {
    let mut stage = Stage::new();
    stage.check_arrives();
    stage.user.front.gateway.crash();
    stage.check_arrives();
    assert_eq!(stage.used(), (1, 0));
}

#[test]
fn a_provider_that_fails_or_hangs_up_costs_nothing() {
    let stage = Stage::new();
    for (count, what) in [(1, "fail"), (2, "break")] {
        stage.granting.next(what);
        wait::expect("the provider to be asked", || {
            let said = stage.user.whoami();
            assert!(said.contains("does not renew the connection; try again soon"), "{what}: {said}");
            stage.granting.asked("wrong") == count
        });
    }
    assert_eq!(stage.used(), (0, 0));
    stage.check_arrives();
    assert_eq!(stage.used(), (1, 0));
}
