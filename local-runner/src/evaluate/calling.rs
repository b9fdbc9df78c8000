//! Which tools of a server are called, and with what.
//!
//! **`safe` calls what says that it only reads, where its name does not belie that, and what has a name of things that only
//! read.** A server that ends because of a call is started again, and goes on with the next one.

use std::time::{Duration, Instant};

use portcullis_core::names::ServerName;
use serde_json::{Value, json};

use super::den::Den;
use super::inputs::{Input, Paths, inputs};
use super::link::{LONGEST, Lost, Reply};
use super::naming::{Deed, deed};
use super::observed::{Called, Observed, Outcome, Sighting, Visit, Way};
use super::place::{Running, Starter};
use super::report::Calls;
use super::visit::{Client, START_UP, finish, greet};

/// How long a call may take.
const CALL: Duration = Duration::from_secs(15);
/// How long a server may take to say that it is there at all.
const PING: Duration = Duration::from_secs(3);
/// How long all calls may take.
const ALL: Duration = Duration::from_mins(5);
/// How often a server is started again.
const RESTARTS: usize = 12;

/// Who calls, where, and what.
pub(super) struct Caller<'a> {
    pub(super) server: &'a ServerName,
    pub(super) client: &'a Client,
    pub(super) den: &'a Den,
    pub(super) calls: Calls,
}

/// Calls tools, one after the other.
pub(super) async fn all(
    caller: &Caller<'_>,
    running: &mut Running,
    starter: &mut Starter,
    visit: &Visit,
    observed: &mut Observed,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut restarts = 0;
    for tool in visit.offered.tools.iter().filter(|tool| is_called(tool, caller.calls)) {
        for input in inputs(&tool["inputSchema"], &paths(tool, caller.den)) {
            if began.elapsed() > ALL {
                observed.clock.note("there was no time for further calls");
                return Ok(());
            }
            let made = call(caller, running, tool, &input, observed).await;
            let is_gone = match made.outcome {
                Outcome::Ended => true,
                Outcome::Late => running.link.ask("ping", json!({}), PING).await.is_err(),
                Outcome::Answered | Outcome::Failed | Outcome::Refused | Outcome::Overlong => false,
            };
            observed.calls.push(made);
            if is_gone {
                restarts += 1;
                if restarts > RESTARTS {
                    observed.clock.note("ended too often");
                    return Ok(());
                }
                finish(caller.den, running, starter, observed, false).await;
                observed.begin(START_UP.to_owned());
                *running = starter.start(caller.server, caller.den).await?;
                observed.clock.note("was started again");
                greet(caller.client, running, &mut observed.clock).await;
            }
        }
    }
    Ok(())
}

/// The paths that a tool is asked for: what may write is led to none of the canaries.
fn paths(tool: &Value, den: &Den) -> Paths {
    let name = tool["name"].as_str().unwrap_or_default();
    let writes = matches!(deed(name), Deed::Writes | Deed::Destroys);
    let says = tool["annotations"]["readOnlyHint"].as_bool();
    if says == Some(false) || says.is_none() && writes { Paths::default() } else { den.paths.clone() }
}

/// Tells whether a tool is called.
fn is_called(tool: &Value, calls: Calls) -> bool {
    let name = tool["name"].as_str().unwrap_or_default();
    let says = tool["annotations"]["readOnlyHint"].as_bool();
    match calls {
        Calls::None => false,
        Calls::All => !name.is_empty(),
        Calls::Safe => match says {
            Some(reads) => reads && !matches!(deed(name), Deed::Destroys),
            None => deed(name) == Deed::Reads,
        },
    }
}

async fn call(
    caller: &Caller<'_>,
    running: &mut Running,
    tool: &Value,
    input: &Input,
    observed: &mut Observed,
) -> Called {
    let den = caller.den;
    let name = tool["name"].as_str().unwrap_or_default();
    let params = json!({ "name": name, "arguments": input.arguments });
    observed.begin(format!("tool \"{name}\""));
    let before = running.watcher.processor();
    let began = Instant::now();
    let asked = running.link.ask("tools/call", caller.client.params(params), CALL).await;
    let elapsed = began.elapsed();
    let (outcome, bytes) = match asked {
        Ok(Reply { outcome: answer, bytes, .. }) => {
            let text = texts(answer.as_ref().unwrap_or_else(|error| error));
            for (canary, form) in den.sightings(&text) {
                let way = Way::Answer { tool: name.to_owned(), asked: input.asks_for_hidden };
                observed.sightings.push(Sighting { canary: canary.clone(), form, way });
            }
            let outcome = match &answer {
                Ok(result) if result["isError"] == true => Outcome::Failed,
                Ok(_) => Outcome::Answered,
                Err(_) => Outcome::Refused,
            };
            (outcome, bytes)
        }
        Err(Lost::Late) => (Outcome::Late, 0),
        Err(Lost::Ended) => (Outcome::Ended, 0),
        Err(Lost::Overlong) => (Outcome::Overlong, LONGEST as u64),
    };
    let files = den.opened();
    if !files.is_empty() && !input.asks_for_hidden {
        observed.peeked.push((name.to_owned(), files));
    }
    let processor = running.watcher.processor().saturating_sub(before);
    Called {
        tool: name.to_owned(),
        arguments: input.arguments.clone(),
        outcome,
        took: elapsed,
        bytes,
        processor,
    }
}

/// All texts of an answer, decoded.
fn texts(answer: &Value) -> String {
    match answer {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(texts).collect::<Vec<_>>().join("\n"),
        Value::Object(members) => members.values().map(texts).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_calls_are_those_that_read() {
        let hinted =
            |name: &str, reads: bool| json!({ "name": name, "annotations": { "readOnlyHint": reads } });
        for (tool, expected) in [
            (hinted("frobnicate", true), true),
            (hinted("get_page", false), false),
            (hinted("delete_page", true), false),
            (json!({ "name": "get_page" }), true),
            (json!({ "name": "create_page" }), false),
            (json!({ "name": "frobnicate" }), false),
        ] {
            assert_eq!(is_called(&tool, Calls::Safe), expected, "{tool}");
            assert!(is_called(&tool, Calls::All) && !is_called(&tool, Calls::None));
        }
    }
}
