//! Refreshes of the function, whose environment is killed at one request to the table: between the lease and the provider,
//! between the provider and the write, and on either side of them.
//!
//! What every host has to pass is in `refreshes`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_tests::aws::{Asked, Emulator, Fault, Flaky};
use portcullis_tests::consent::Connected;
use portcullis_tests::gateway::Host;
use portcullis_tests::http::Request;
use portcullis_tests::provider::Provider;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::Value;

/// How long the first access token lasts, in seconds.
const SECONDS: u32 = 2;
/// How it is with a connection whose lease has been written.
const LEASED: &str = "refreshing";
/// How it is with one whose tokens have.
const SETTLED: &str = "connected";

/// Kills all environments at the next write of a connection that is said to stand so.
#[derive(Debug, Clone, Default)]
struct Killer(Arc<Mutex<Option<(String, String)>>>);

impl Killer {
    /// Stands before the table, which has done that write, or has not.
    fn before_the_table(&self, last: Fault) -> Flaky {
        let killer = self.clone();
        Flaky::before(Emulator::shared(), move |asked| {
            let mut next = killer.0.lock().expect("nobody has failed");
            match next.take_if(|(standing, _)| writes(asked, standing)) {
                Some((_, kill)) => {
                    Request::post(&kill).send();
                    last.clone()
                }
                None => Fault::None,
            }
        })
    }

    fn kill_at(&self, standing: &str, kill: String) {
        *self.0.lock().expect("nobody has failed") = Some((standing.to_owned(), kill));
    }

    fn has_killed(&self) -> bool {
        self.0.lock().expect("nobody has failed").is_none()
    }
}

/// Tells whether a user's connection is written that stands so.
fn writes(asked: &Asked, standing: &str) -> bool {
    let record = asked.what["Item"]["record"]["S"].as_str().unwrap_or_default();
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    asked.operation == "PutItem"
        && record["key"]["principal"] == "user:corp:ann"
        && record["standing"] == standing
}

/// Kills the environment at that write, which is done or lost, and has its user call until the call arrives, or they are
/// asked. Answers whether they were, how many refresh tokens were used, and how many grants the provider has ended.
fn killed_at(standing: &str, last: Fault) -> (bool, u64, u64) {
    let killer = Killer::default();
    let table = killer.before_the_table(last);
    let granting = Provider::of_a_short_first_token(SECONDS);
    let server = Upstream::protected(2, granting.issuer());
    let mut user =
        Connected::at(&server, |function| function.on(Host::Lambda).env("AWS_ENDPOINT_URL", &table.url()));
    let connected = Instant::now();
    wait::expect("the token to be over", || connected.elapsed() > Duration::from_secs(SECONDS.into()));
    killer.kill_at(standing, user.front.gateway.url_of("/.function/kill"));
    drop(user.call().try_send());
    assert!(killer.has_killed(), "{}", user.front.gateway.log());
    let own = format!("ann of {}", granting.issuer());
    let is_asked = wait::until(PATIENCE * 4, || {
        let said = user.ask();
        if said["result"]["resultType"] == "input_required" {
            user.consent(&said);
            return Some(true);
        }
        (said["result"]["content"][0]["text"] == own).then_some(false)
    });
    let is_asked = is_asked.unwrap_or_else(|| panic!("{} {}", user.ask(), user.front.gateway.log()));
    assert_eq!(user.whoami(), own);
    (is_asked, granting.asked("refresh"), granting.asked("revoked"))
}

#[test]
fn an_environment_that_is_killed_before_its_lease_is_written_costs_nothing() {
    assert_eq!(killed_at(LEASED, Fault::Lost), (false, 1, 0));
}

#[test]
fn an_environment_that_is_killed_before_it_asks_the_provider_costs_nothing() {
    assert_eq!(killed_at(LEASED, Fault::AnswerLost), (false, 1, 0));
}

#[test]
fn an_environment_that_is_killed_between_the_providers_answer_and_the_write_costs_a_consent() {
    assert_eq!(killed_at(SETTLED, Fault::Lost), (true, 1, 1));
}

#[test]
fn an_environment_that_is_killed_after_the_write_costs_nothing() {
    assert_eq!(killed_at(SETTLED, Fault::AnswerLost), (false, 1, 0));
}
