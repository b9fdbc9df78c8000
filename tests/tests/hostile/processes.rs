//! Subprocesses that die, flood, fall silent, or say what nobody asked for.

use std::sync::Arc;

use portcullis_tests::agent::Agent;
use serde_json::json;

use super::siege::Outcome::{Fails, Fine};
use super::siege::{Outcome, Siege, judge};

/// Lets agents of both eras call the tool of each process, several times.
fn besiege(timeout: &str, cases: &[(&'static str, Outcome)]) {
    let program = env!("CARGO_BIN_EXE_hostile-stdio");
    let settings = |name: &str| format!("{}", json!({ "command": [program, name], "timeout": timeout }));
    let settings: Vec<_> = cases.iter().map(|(name, _)| ((*name).to_owned(), settings(name))).collect();
    let mut siege = Siege::begin(&settings);
    for (name, _) in cases {
        siege.await_tool(&format!("{name}__x"));
    }
    let url: Arc<str> = siege.gateway.url().into();
    for _ in 0..2 {
        let attacks = cases.iter().map(|&(name, outcome)| {
            let url = Arc::clone(&url);
            move || {
                for agent in [Agent::modern(&url), Agent::legacy(&url)] {
                    judge(&agent, name, outcome);
                }
            }
        });
        siege.endure(attacks.collect());
    }
    siege.end();
}

#[test]
fn processes_that_go_are_named_and_started_again() {
    besiege(
        "30s",
        &[
            ("dies", Fails("exited with code 3")),
            ("killed", Fails("was killed by SIGKILL")),
            ("half-line", Fails("exited with code 0")),
            ("closes-output", Fails("")),
        ],
    );
}

#[test]
fn processes_that_do_not_answer_cost_their_callers_the_timeout() {
    besiege(
        "1s",
        &[("silent", Fails("did not answer within 1 s")), ("deaf", Fails("did not answer within 1 s"))],
    );
    besiege("30s", &[("malformed", Fails("malformed"))]);
}

#[test]
fn processes_that_say_too_much_are_bounded() {
    besiege("1s", &[("long-line", Fails("")), ("flood", Fails("did not answer within"))]);
    besiege("30s", &[("loud", Fine), ("storm", Fine)]);
}

#[test]
fn what_nobody_asked_a_process_for_reaches_nobody() {
    besiege("30s", &[("asks", Fine), ("others", Fine), ("junk", Fine)]);
}
