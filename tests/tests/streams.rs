//! What travels on streams: progress, cancellation, resumption, changes, log messages, and the servers' questions.
#![allow(clippy::print_stdout, reason = "a failure shows which pairing it was")]

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Host;
use portcullis_tests::http::{Body, Request, Response};
use portcullis_tests::scenario::{Stage, Transport, answer, servers, text, with_id};
use portcullis_tests::sse::Events;
use portcullis_tests::wait;
use serde_json::{Value, json};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const WATCHED: &str = "test://watched-resource";
const LISTS: &str = "notifications/tools/list_changed";
const UPDATED: &str = "notifications/resources/updated";

/// The messages of a stream, each as soon as it is there.
struct Messages(Events<Body>);

impl Messages {
    fn of(response: Response) -> Self {
        assert_eq!(response.status, 200);
        assert!(response.is_stream(), "no stream but {:?}", response.header("content-type"));
        Self(response.events())
    }

    /// The stream on which a session hears what belongs to no request.
    fn of_session(agent: &Agent, url: &str) -> Self {
        Self::of(resume(agent, url, None))
    }

    /// The next message that is one of these; panics where the stream ends first.
    fn next_of(&mut self, methods: &[&str]) -> Value {
        let wanted = |message: &Value| methods.iter().any(|method| message["method"] == *method);
        self.find(wanted).unwrap_or_else(|| panic!("the stream ended before any of {methods:?}"))
    }

    /// The response at the end of a request's stream.
    fn response(&mut self) -> Value {
        let is_response = |message: &Value| message.get("result").is_some() || message.get("error").is_some();
        self.find(is_response).expect("the stream ends with a response")
    }
}

impl Iterator for Messages {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let event = self.0.by_ref().find(|event| !event.data.is_empty())?;
        Some(event.json())
    }
}

/// Opens a session's stream, from the event after `last` on.
fn resume(agent: &Agent, url: &str, last: Option<&str>) -> Response {
    let request = Request::get(url)
        .header("Accept", "text/event-stream")
        .header("MCP-Protocol-Version", agent.version())
        .header("Mcp-Session-Id", agent.session().expect("a session"));
    match last {
        Some(last) => request.header("Last-Event-ID", last).send(),
        None => request.send(),
    }
}

/// Sends a request, and leaves the connection open without reading from it.
///
/// The platform's runtime takes who only closes its own half for one that still reads: there the connection is reset.
fn send_only(url: &str, request: &Request) -> TcpStream {
    if Host::chosen() == Host::Edge {
        return request.begin();
    }
    let authority = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let mut stream = TcpStream::connect(authority).expect("the gateway listens");
    stream.write_all(&request.bytes()).expect("the gateway reads");
    stream
}

/// A call that takes this long.
fn sleep(agent: &Agent, ms: u64) -> Request {
    agent.post("tools/call", json!({ "name": "s__sleep", "arguments": { "ms": ms } }))
}

fn cancelled(agent: &Agent) -> u64 {
    text(&agent.call("s__cancelled_count", &json!({}))).parse().expect("a number")
}

/// Every server, with what it is for the message of a failure.
fn before_every_server(check: impl Fn(&Stage)) {
    for (era, transport) in servers() {
        println!("a {era} server, {transport:?}");
        check(&Stage::new(era, transport));
    }
}

#[test]
fn progress_reaches_only_its_own_call() {
    before_every_server(|stage| {
        let agents = [Agent::modern(stage.url()), Agent::legacy(stage.url()), Agent::legacy(stage.url())];
        let calls: Vec<_> = (0..12_u64)
            .map(|number| {
                let steps = 10 + number;
                let params = json!({
                    "name": "s__progress_many", "arguments": { "n": steps }, "_meta": { "progressToken": "token" }
                });
                let agent = &agents[usize::try_from(number % 3).expect("a small number")];
                let request = agent.post("tools/call", params);
                // Requests of one session must have ids of their own, others need not.
                let id = if agent.session().is_some() { json!(1000 + number / 3) } else { json!(1) };
                (steps, id.clone(), with_id(request, &id))
            })
            .collect();
        let answers: Vec<_> = calls
            .into_iter()
            .map(|(steps, id, request)| (steps, id, thread::spawn(move || request.send().messages())))
            .collect();
        for (steps, id, answer) in answers {
            let messages = answer.join().expect("the call is answered");
            let (response, progress) = messages.split_last().expect("an answer");
            assert_eq!(response["id"], id);
            assert_eq!(text(&response["result"]), format!("Reported {steps} times"));
            let seen: Vec<_> = progress.iter().map(|message| message["params"]["progress"].clone()).collect();
            assert_eq!(seen, (1..=steps).map(Value::from).collect::<Vec<_>>(), "every step once, in order");
            for message in progress {
                assert_eq!(message["method"], "notifications/progress");
                assert_eq!(message["params"]["progressToken"], "token");
                assert_eq!(message["params"]["total"], steps, "of another call");
            }
        }
    });
}

#[test]
fn a_token_keeps_its_type_and_no_token_means_no_progress() {
    before_every_server(|stage| {
        for agent in [Agent::modern(stage.url()), Agent::legacy(stage.url())] {
            for token in [json!(7), json!("7"), json!("")] {
                let meta = json!({ "progressToken": token });
                let params = json!({ "name": "s__progress_many", "arguments": { "n": 2 }, "_meta": meta });
                let messages = agent.post("tools/call", params).send().messages();
                assert_eq!(messages.len(), 3, "{messages:?}");
                assert!(messages[..2].iter().all(|message| message["params"]["progressToken"] == token));
            }
            let params = json!({ "name": "s__progress_many", "arguments": { "n": 2 } });
            assert_eq!(agent.post("tools/call", params).send().messages().len(), 1);
        }
    });
}

#[test]
fn a_modern_agent_cancels_by_hanging_up() {
    before_every_server(|stage| {
        let agent = Agent::modern(stage.url());
        let call = send_only(stage.url(), &sleep(&agent, 600_000));
        wait::expect("the call to reach the server", || stage.has_been_called("sleep"));
        assert_eq!(cancelled(&agent), 0);
        drop(call);
        wait::expect("the cancellation to reach the server", || cancelled(&agent) == 1);
    });
}

#[test]
fn a_legacy_agent_cancels_by_saying_so() {
    before_every_server(|stage| {
        let agent = Agent::legacy(stage.url());
        let call = with_id(sleep(&agent, 600_000), &json!("the call"));
        let answer = thread::spawn(move || call.send().text());
        wait::expect("the call to reach the server", || stage.has_been_called("sleep"));
        let stranger = Agent::legacy(stage.url());
        let cancel = json!({ "requestId": "the call", "reason": "enough" });
        assert_eq!(stranger.notify("notifications/cancelled", cancel.clone()).status, 202);
        let unknown = json!({ "requestId": "another call" });
        assert_eq!(agent.notify("notifications/cancelled", unknown).status, 202);
        assert_eq!(cancelled(&agent), 0, "another session's word does not count");
        assert_eq!(agent.notify("notifications/cancelled", cancel).status, 202);
        wait::expect("the cancellation to reach the server", || cancelled(&agent) == 1);
        let answer = answer.join().expect("the answer ends");
        assert!(!answer.contains("\"result\""), "{answer}");
    });
}

#[test]
fn a_legacy_agent_that_hangs_up_has_not_cancelled() {
    before_every_server(|stage| {
        let agent = Agent::legacy(stage.url());
        let call = send_only(stage.url(), &sleep(&agent, 600_000));
        wait::expect("the call to reach the server", || stage.has_been_called("sleep"));
        drop(call);
        // A cancellation would arrive before the end of a call that begins later.
        agent.call("s__sleep", &json!({ "ms": 500 }));
        assert_eq!(cancelled(&agent), 0);
    });
}

#[test]
fn a_legacy_stream_is_resumed_by_its_session_alone() {
    before_every_server(|stage| {
        let agent = Agent::legacy(stage.url());
        let meta = json!({ "progressToken": "token" });
        let call = agent.post("tools/call", json!({ "name": "s__test_tool_with_progress", "_meta": meta }));
        let mut events = call.send().events();
        let last = events.next().and_then(|event| event.id).expect("the stream begins with an id");
        drop(events);
        let stranger = Agent::legacy(stage.url());
        let mut theirs = Messages::of(resume(&stranger, stage.url(), Some(&last)));
        let messages: Vec<_> = Messages::of(resume(&agent, stage.url(), Some(&last))).collect();
        let (answer, progress) = messages.split_last().expect("an answer");
        assert_eq!(text(&answer["result"]), "Tool with progress executed successfully");
        assert_eq!(progress.len(), 3, "{messages:?}");
        let again: Vec<_> = Messages::of(resume(&agent, stage.url(), Some(&last))).collect();
        assert_eq!(again, messages, "what was delivered can be asked for once more");
        agent.call("s__change_tools", &json!({}));
        assert_eq!(theirs.next().expect("a change")["method"], LISTS, "nothing of another session");
    });
}

#[test]
fn a_question_waits_until_its_stream_is_resumed() {
    for transport in [Transport::Http, Transport::Stdio, Transport::Sse] {
        let stage = Stage::new("legacy", transport);
        let agent = Agent::modern(stage.url()).capabilities(json!({ "elicitation": {} })).handshake(LEGACY);
        let mut events = agent.post("tools/call", json!({ "name": "s__ask_elicitation" })).send().events();
        let last = events.next().and_then(|event| event.id).expect("the stream begins with an id");
        drop(events);
        let mut stream = Messages::of(resume(&agent, stage.url(), Some(&last)));
        let question = stream.next_of(&["elicitation/create"]);
        let reply = json!({ "action": "accept", "content": { "answer": "late" } });
        assert_eq!(answer(&agent, &question["id"], &reply).status, 202);
        assert!(text(&stream.response()["result"]).contains("late"));
    }
}

#[test]
fn a_legacy_session_hears_of_changed_lists() {
    before_every_server(|stage| {
        let agent = Agent::legacy(stage.url());
        let mut stream = Messages::of_session(&agent, stage.url());
        agent.call("s__change_tools", &json!({}));
        stream.next_of(&[LISTS]);
        let is_new = || agent.tools().contains(&"s__added_0001".to_owned());
        // A Worker or a function answers lists from the catalog, which follows what was told.
        assert!(Host::chosen() != Host::Local || is_new(), "the list is new by then");
        wait::expect("the new list", is_new);
        agent.call("s__test_trigger_prompt_change", &json!({}));
        stream.next_of(&["notifications/prompts/list_changed"]);
        agent.call("s__change_resources", &json!({}));
        stream.next_of(&["notifications/resources/list_changed"]);
    });
}

/// Opens a subscription, and answers its stream after the acknowledgement.
fn listen(agent: &Agent, id: &Value, notifications: &Value) -> Messages {
    let request = agent.post("subscriptions/listen", json!({ "notifications": notifications }));
    let mut stream = Messages::of(with_id(request, id).send());
    let first = stream.next().expect("an acknowledgement");
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], *id, "{first}");
    assert_eq!(first["params"]["notifications"], *notifications, "{first}");
    stream
}

#[test]
fn a_modern_subscription_carries_what_was_asked_for() {
    before_every_server(|stage| {
        let agent = Agent::modern(stage.url());
        let mut tools = listen(&agent, &json!("a"), &json!({ "toolsListChanged": true }));
        let mut prompts = listen(&agent, &json!(2), &json!({ "promptsListChanged": true }));
        agent.call("s__change_tools", &json!({}));
        let change = tools.next().expect("a change");
        assert_eq!(change["method"], LISTS);
        assert_eq!(change["params"]["_meta"][SUBSCRIPTION], "a");
        assert!(agent.tools().contains(&"s__added_0001".to_owned()), "the list is new by then");
        agent.call("s__test_trigger_prompt_change", &json!({}));
        let change = prompts.next().expect("a change");
        assert_eq!(change["method"], "notifications/prompts/list_changed", "the tools were not asked for");
        assert_eq!(change["params"]["_meta"][SUBSCRIPTION], 2);
    });
}

#[test]
fn an_updated_resource_is_told_to_subscribed_sessions() {
    before_every_server(|stage| {
        let (agent, other) = (Agent::legacy(stage.url()), Agent::legacy(stage.url()));
        let mut stream = Messages::of_session(&agent, stage.url());
        let mut others = Messages::of_session(&other, stage.url());
        let watch = json!({ "uri": WATCHED });
        agent.result("resources/subscribe", watch.clone());
        let caller = Agent::modern(stage.url());
        caller.call("s__update_resource", &json!({}));
        assert_eq!(stream.next_of(&[UPDATED, LISTS])["params"]["uri"], WATCHED);
        caller.call("s__change_tools", &json!({}));
        assert_eq!(others.next_of(&[UPDATED, LISTS])["method"], LISTS, "it did not subscribe");
        assert_eq!(stream.next_of(told_once())["method"], LISTS, "once is enough");
        agent.result("resources/unsubscribe", watch);
        caller.call("s__update_resource", &json!({}));
        caller.call("s__change_tools", &json!({}));
        assert_eq!(stream.next_of(&[UPDATED, LISTS])["method"], LISTS, "it has unsubscribed");
    });
}

#[test]
fn an_updated_resource_is_told_to_modern_subscribers() {
    before_every_server(|stage| {
        let agent = Agent::modern(stage.url());
        let watching = json!({ "resourceSubscriptions": [WATCHED] });
        let mut watch = listen(&agent, &json!(1), &watching);
        let lists = json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://static-text"] });
        let mut others = listen(&agent, &json!(1), &lists);
        agent.call("s__update_resource", &json!({}));
        let update = watch.next().expect("an update");
        assert_eq!((&update["method"], &update["params"]["uri"]), (&json!(UPDATED), &json!(WATCHED)));
        assert_eq!(update["params"]["_meta"][SUBSCRIPTION], 1);
        agent.call("s__change_tools", &json!({}));
        assert_eq!(others.next_of(told_once())["method"], LISTS, "it watches another resource");
    });
}

/// What comes next where a resource's update is told once. A Worker or a function begins to hear a server when somebody listens, and then
/// says of every resource that it may have changed.
fn told_once() -> &'static [&'static str] {
    if Host::chosen() == Host::Local { &[UPDATED, LISTS] } else { &[LISTS] }
}

/// How many log messages come with the answer of a tool that logs three of severity info.
fn logged(agent: &Agent, level: Option<&str>) -> usize {
    let meta = match level {
        Some(level) => json!({ "io.modelcontextprotocol/logLevel": level }),
        None => json!({}),
    };
    let params = json!({ "name": "s__test_tool_with_logging", "_meta": meta });
    let messages = agent.post("tools/call", params).send().messages();
    messages.iter().filter(|message| message["method"] == "notifications/message").count()
}

#[test]
fn log_messages_come_as_the_agent_asked() {
    before_every_server(|stage| {
        let modern = Agent::modern(stage.url());
        assert_eq!(logged(&modern, None), 0, "nobody asked");
        assert_eq!(logged(&modern, Some("info")), 3);
        assert_eq!(logged(&modern, Some("debug")), 3);
        assert_eq!(logged(&modern, Some("error")), 0);
        let refusal = json!({ "name": "s__count", "_meta": { "io.modelcontextprotocol/logLevel": "loud" } });
        assert_eq!(modern.error("tools/call", refusal)["code"], -32602);

        let (legacy, other) = (Agent::legacy(stage.url()), Agent::legacy(stage.url()));
        legacy.result("logging/setLevel", json!({ "level": "error" }));
        other.result("logging/setLevel", json!({ "level": "debug" }));
        assert_eq!(logged(&legacy, None), 0);
        assert_eq!(logged(&other, None), 3, "each session has its own level");
        legacy.result("logging/setLevel", json!({ "level": "error" }));
        assert_eq!(logged(&other, None), 3, "another session wants less");
        legacy.result("logging/setLevel", json!({ "level": "info" }));
        assert_eq!(logged(&legacy, None), 3);
        assert_eq!(legacy.error("logging/setLevel", json!({ "level": "loud" }))["code"], -32602);
    });
}

#[test]
fn calls_of_one_session_do_not_wait_for_each_other() {
    before_every_server(|stage| {
        let agent = Agent::modern(stage.url()).handshake(LEGACY);
        let call = send_only(stage.url(), &sleep(&agent, 600_000));
        wait::expect("the call to reach the server", || stage.has_been_called("sleep"));
        assert_eq!(text(&agent.call("s__echo", &json!({}))), "{}");
        drop(call);
    });
}

#[test]
fn a_stopping_gateway_ends_its_streams() {
    let mut stage = Stage::new("legacy", Transport::Stdio);
    let (modern, legacy) = (Agent::modern(stage.url()), Agent::legacy(stage.url()));
    let subscription = listen(&modern, &json!("a"), &json!({ "toolsListChanged": true }));
    let session = Messages::of_session(&legacy, stage.url());
    stage.gateway.process().signal(nix::sys::signal::Signal::SIGTERM);
    let last = subscription.last().expect("a graceful end");
    assert_eq!(last["id"], "a", "{last}");
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
    assert_eq!(last["result"]["_meta"][SUBSCRIPTION], "a", "{last}");
    assert_eq!(session.filter(|message| message.get("id").is_some()).count(), 0);
    wait::expect("the gateway's end", || stage.gateway.process().ended().is_some());
    assert_eq!(stage.gateway.process().ended().and_then(|status| status.code()), Some(0));
}
