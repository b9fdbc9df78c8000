//! Streams of the Worker on which nothing happens: they come to rest, their objects are put away, and what is to be told is
//! told all the same.
//!
//! What is waited for here takes half a minute and more, by the platform's own clock: so all cases run side by side.

use std::thread;
use std::time::Duration;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario::{hears, text};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";

/// A stream rests after twenty seconds, is looked after every thirty, and announces what has become known within a minute.
const IN_TIME: Duration = Duration::from_mins(3);

/// What the Worker says in its log.
const BEGINS: &str = "an owner of conversations begins";
const RESTS: &str = "a stream rests";
const ENDED: &str = "a stream has ended";

/// A Worker before one server, whose one stream rests.
struct Resting {
    gateway: Gateway,
    upstream: Upstream,
    agent: Agent,
    stream: Response,
}

impl Resting {
    fn of_session(era: &str) -> Self {
        Self::new(era, Agent::legacy, |agent, url| {
            Request::get(url)
                .header("Accept", "text/event-stream")
                .header("MCP-Protocol-Version", agent.version())
                .header("Mcp-Session-Id", agent.session().expect("a session"))
        })
    }

    fn of_subscription(era: &str) -> Self {
        Self::new(era, Agent::modern, |agent, _| {
            agent.post("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }))
        })
    }

    fn new(era: &str, agent: fn(&str) -> Agent, open: fn(&Agent, &str) -> Request) -> Self {
        let upstream = Upstream::fixture(&["--era", era]);
        let config = format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n", upstream.url());
        let gateway = Gateway::with(&config).on(Host::Edge).env("PORTCULLIS_LOG", "info").start();
        let agent = agent(gateway.url());
        let stream = open(&agent, gateway.url()).send();
        assert_eq!((stream.status, stream.is_stream()), (200, true));
        let resting = Self { gateway, upstream, agent, stream };
        resting.await_said(RESTS, 1);
        resting
    }

    /// How often the Worker has said this.
    fn said(&self, what: &str) -> usize {
        self.gateway.log().matches(what).count()
    }

    fn await_said(&self, what: &str, times: usize) {
        let said = wait::until(IN_TIME, || (self.said(what) >= times).then_some(()));
        assert!(said.is_some(), "{what:?}: not {times} times in\n{}", self.gateway.log());
    }

    /// Calls a tool of the server, not through the gateway.
    fn directly(&self, tool: &str) -> Value {
        Agent::modern(self.upstream.url()).call(tool, &json!({}))
    }

    /// How many streams of the server's own are open.
    fn heard_by(&self) -> String {
        text(&self.directly("subscriptions_count")).to_owned()
    }

    /// Waits for a message of this method on the stream.
    fn hears(self, method: &str) {
        let heard = hears(self.stream, method, IN_TIME);
        assert!(heard, "{method}; the Worker said\n{}", self.gateway.log());
    }
}

fn a_session_hears_of_changes_though_its_object_was_put_away() {
    let resting = Resting::of_session("dual");
    wait::expect("the end of the server's stream", || resting.heard_by() == "0");
    let began = resting.said(BEGINS);
    resting.await_said(BEGINS, began + 1);
    resting.directly("change_tools");
    resting.hears(TOOLS);
}

fn a_subscription_hears_of_changes_though_its_object_was_put_away() {
    let resting = Resting::of_subscription("dual");
    wait::expect("the end of the server's stream", || resting.heard_by() == "0");
    let began = resting.said(BEGINS);
    resting.await_said(BEGINS, began + 1);
    resting.directly("change_tools");
    resting.hears(TOOLS);
}

fn what_a_session_does_is_told_on_its_stream_at_once() {
    for era in ["modern", "legacy"] {
        let resting = Resting::of_session(era);
        resting.agent.call("s__test_trigger_prompt_change", &json!({}));
        resting.hears(PROMPTS);
    }
}

fn an_agent_that_leaves_ends_its_stream() {
    let Resting { gateway, stream, .. } = Resting::of_subscription("modern");
    drop(stream);
    let left = wait::until(IN_TIME, || gateway.log().contains(ENDED).then_some(()));
    assert!(left.is_some(), "nothing has ended in\n{}", gateway.log());
}

#[test]
fn streams_rest_and_are_taken_up_again() {
    let cases: [(&str, fn()); 4] = [
        ("a session, put away", a_session_hears_of_changes_though_its_object_was_put_away),
        ("a subscription, put away", a_subscription_hears_of_changes_though_its_object_was_put_away),
        ("a session's call", what_a_session_does_is_told_on_its_stream_at_once),
        ("an agent leaves", an_agent_that_leaves_ends_its_stream),
    ];
    let running = cases.map(|(name, case)| (name, thread::spawn(case)));
    let failed: Vec<_> =
        running.into_iter().filter_map(|(name, case)| case.join().is_err().then_some(name)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
