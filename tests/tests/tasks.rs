//! Tasks: calls that go on after their answer, through one instance or several, under ids that only the gateway reads.
#![allow(clippy::print_stdout, reason = "a failure shows which server it was")]

use portcullis_tests::agent::Agent;
use portcullis_tests::client::{Client, Step};
use portcullis_tests::gateway::{Gateway, Host};
use portcullis_tests::http::Response;
use portcullis_tests::scenario::{Stage, Transport, servers, text};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Two instances of one gateway share such a key.
const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// The methods about one task.
const METHODS: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];

/// An agent that knows tasks and can be asked for input.
fn agent(url: &str) -> Agent {
    Agent::modern(url).capabilities(json!({ "elicitation": {}, "extensions": { EXTENSION: {} } }))
}

/// Calls a tool that goes on as a task; answers the task's id.
fn begin(agent: &Agent, tool: &str, arguments: &Value) -> String {
    let task = agent.call(tool, arguments);
    assert_eq!(task["resultType"], "task", "{task}");
    task["taskId"].as_str().expect("an id").to_owned()
}

fn about(method: &str, id: &str) -> Value {
    let mut params = json!({ "taskId": id });
    if method == "tasks/update" {
        params["inputResponses"] = json!({});
    }
    params
}

/// Polls a task until it has this status.
fn await_status(agent: &Agent, id: &str, status: &str) -> Value {
    let poll = || {
        let task = agent.result("tasks/get", about("tasks/get", id));
        assert_eq!(task["taskId"], id, "the same id every time");
        (task["status"] == status).then_some(task)
    };
    wait::until(wait::PATIENCE, poll).unwrap_or_else(|| panic!("the task is never {status}"))
}

/// Answers what `confirm_delete` asks.
fn confirm(agent: &Agent, id: &str) {
    await_status(agent, id, "input_required");
    let responses = json!({ "confirm": { "action": "accept", "content": { "confirm": true } } });
    agent.result("tasks/update", json!({ "taskId": id, "inputResponses": responses }));
}

/// A stream that tells of these tasks, and those of which it says that it will.
fn listen(agent: &Agent, ids: &[&str]) -> (impl Iterator<Item = Value> + use<>, Value) {
    let wanted = json!({ "notifications": { "taskIds": ids } });
    let response: Response = agent.post("subscriptions/listen", wanted).send();
    assert_eq!(response.status, 200);
    let mut messages = response.events().filter(|event| !event.data.is_empty()).map(|event| event.json());
    let mut first = messages.next().expect("an acknowledgement");
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    (messages, first["params"]["notifications"]["taskIds"].take())
}

/// The statuses that a stream tells of one task, up to the last.
fn statuses(messages: &mut impl Iterator<Item = Value>, id: &str) -> Vec<String> {
    let mut statuses = Vec::new();
    for message in messages {
        assert_eq!(message["method"], "notifications/tasks", "{message}");
        assert_eq!(message["params"]["taskId"], id, "{message}");
        assert!(message["params"]["_meta"][SUBSCRIPTION].is_number(), "{message}");
        let status = message["params"]["status"].as_str().expect("a status").to_owned();
        statuses.push(status);
        if statuses.last().is_some_and(|last| last == "completed") {
            return statuses;
        }
    }
    panic!("the stream ended after {statuses:?}");
}

fn subscriptions(agent: &Agent) -> u64 {
    text(&agent.call("s__subscriptions_count", &json!({}))).parse().expect("a number")
}

/// Every modern server, over HTTP and over a pipe.
fn before_every_server(check: impl Fn(&Stage)) {
    for (era, transport) in servers().into_iter().filter(|(era, _)| *era == "modern") {
        println!("a {era} server, {transport:?}");
        check(&Stage::with(era, transport, "{}", &["--numbered-tasks"]));
    }
}

#[test]
fn a_task_is_known_by_one_id_that_leads_to_it() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let extensions = &agent.result("server/discover", json!({}))["capabilities"]["extensions"];
        assert!(extensions[EXTENSION].is_object(), "{extensions}");
        let id = begin(&agent, "s__confirm_delete", &json!({ "filename": "a.txt" }));
        assert!(id.len() < 1000 && !id.contains("task"), "{id}");
        let asked = await_status(&agent, &id, "input_required");
        assert_eq!(asked["inputRequests"]["confirm"]["method"], "elicitation/create", "{asked}");
        confirm(&agent, &id);
        let done = await_status(&agent, &id, "completed");
        assert_eq!(text(&done["result"]), "Deleted a.txt");
        let updates: Vec<_> =
            stage.received().into_iter().filter(|request| request["method"] == "tasks/update").collect();
        assert_eq!(updates.len(), 1);
        assert_eq!(updates[0]["body"]["params"]["taskId"], "task 1");
    });
}

#[test]
fn a_task_can_be_cancelled() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let id = begin(&agent, "s__confirm_delete", &json!({}));
        let cancelled = agent.result("tasks/cancel", about("tasks/cancel", &id));
        assert_eq!(cancelled["resultType"], "complete", "{cancelled}");
        await_status(&agent, &id, "cancelled");
    });
}

#[test]
fn a_task_begun_at_one_instance_goes_on_at_another() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let config = format!("version: 1\nservers:\n  s: {{ url: \"{}\" }}\n", upstream.url());
    let start = |key: &str| Gateway::with(&config).env("PORTCULLIS_SEAL_KEY", key).start();
    let [one, other] = [start(KEY), start(KEY)];
    let (first, second) = (agent(one.url()), agent(other.url()));
    let id = begin(&first, "s__confirm_delete", &json!({}));
    let (mut messages, acknowledged) = listen(&second, &[&id]);
    assert_eq!(acknowledged, json!([id]));
    confirm(&second, &id);
    assert_eq!(statuses(&mut messages, &id).last().map(String::as_str), Some("completed"));
    await_status(&first, &id, "completed");

    let stranger = start("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
    let refused = agent(stranger.url()).error("tasks/get", about("tasks/get", &id));
    assert_eq!((&refused["code"], &refused["message"]), (&json!(-32602), &json!("Unknown task")));
    let rotated = start(&format!("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=,{KEY}"));
    await_status(&agent(rotated.url()), &id, "completed");
}

#[test]
fn a_task_goes_through_a_gateway_behind_a_gateway() {
    let stage = Stage::with("modern", Transport::Http, "{}", &["--numbered-tasks"]);
    let servers = json!({ "inner": { "url": stage.url() } });
    let outer = Gateway::start(&json!({ "version": 1, "servers": servers }).to_string());
    let agent = agent(outer.url());
    let id = begin(&agent, "inner__s__confirm_delete", &json!({ "filename": "a.txt" }));
    assert!(id.len() < 1000, "it fits a header: {id}");
    let (mut messages, acknowledged) = listen(&agent, &[&id]);
    assert_eq!(acknowledged, json!([id]));
    confirm(&agent, &id);
    assert_eq!(statuses(&mut messages, &id).last().map(String::as_str), Some("completed"));
    assert_eq!(text(&await_status(&agent, &id, "completed")["result"]), "Deleted a.txt");
}

#[test]
fn an_id_that_is_not_exactly_what_was_given_out_reaches_no_server() {
    let stage = Stage::with("modern", Transport::Http, "{}", &["--numbered-tasks"]);
    let agent = agent(stage.url());
    let narrow = self::agent(&stage.gateway.url_of("/mcp/servers/s"));
    let id = begin(&agent, "s__confirm_delete", &json!({}));
    let foreign = begin(&narrow, "s__confirm_delete", &json!({}));
    let mut wrong = vec![foreign.clone(), "task 1".into(), String::new(), format!("{id}A"), format!("{id}=")];
    for at in 0..id.len() {
        let flipped = if &id[at..=at] == "A" { "B" } else { "A" };
        wrong.push(format!("{}{flipped}{}", &id[..at], &id[at + 1..]));
        wrong.push(id[..at].to_owned());
    }
    let about_tasks =
        || stage.received().iter().filter(|request| request.to_string().contains("taskId")).count();
    let before = about_tasks();
    for (number, id) in wrong.iter().enumerate() {
        let method = METHODS[number % METHODS.len()];
        let refused = agent.error(method, about(method, id));
        assert_eq!(refused, json!({ "code": -32602, "message": "Unknown task" }), "{method} {id:?}");
    }
    let (messages, acknowledged) = listen(&agent, &wrong.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(acknowledged, Value::Null);
    drop(messages);
    let refused = narrow.error("tasks/get", about("tasks/get", &id));
    assert_eq!(refused["message"], "Unknown task", "an id of the wider endpoint");
    assert_eq!(about_tasks(), before, "nothing reached the server");
    await_status(&agent, &id, "input_required");
    await_status(&narrow, &foreign, "input_required");
}

#[test]
fn servers_with_the_same_ids_stay_apart() {
    let options = ["--era", "modern", "--numbered-tasks"];
    let [a, b] = [Upstream::fixture(&options), Upstream::fixture(&options)];
    let servers = json!({ "a": { "url": a.url() }, "b": { "url": b.url() } });
    let gateway = Gateway::start(&json!({ "version": 1, "servers": servers }).to_string());
    let agent = agent(gateway.url());
    let begin =
        |server: &str| begin(&agent, &format!("{server}__confirm_delete"), &json!({ "filename": server }));
    let ids = [begin("a"), begin("b")];
    assert_ne!(ids[0], ids[1]);
    let (mut both, acknowledged) = listen(&agent, &[&ids[0], &ids[1]]);
    let mut acknowledged: Vec<_> = acknowledged.as_array().expect("ids").clone();
    acknowledged.sort_by_key(|id| *id != json!(ids[0]));
    assert_eq!(acknowledged, [json!(ids[0]), json!(ids[1])]);
    let (mut second, _) = listen(&agent, &[&ids[1]]);
    confirm(&agent, &ids[0]);
    assert_eq!(statuses(&mut both, &ids[0]).last().map(String::as_str), Some("completed"));
    confirm(&agent, &ids[1]);
    assert_eq!(statuses(&mut both, &ids[1]).last().map(String::as_str), Some("completed"));
    assert_eq!(statuses(&mut second, &ids[1]).last().map(String::as_str), Some("completed"));
    for (id, file) in ids.iter().zip(["a", "b"]) {
        let done = await_status(&agent, id, "completed");
        assert_eq!(text(&done["result"]), format!("Deleted {file}"));
    }
}

#[test]
fn a_server_is_listened_to_for_as_long_as_the_agent_listens() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let id = begin(&agent, "s__confirm_delete", &json!({}));
        // Where nothing runs between requests, a server is heard only while somebody listens.
        let at_rest = u64::from(Host::chosen() == Host::Local);
        wait::expect("the gateway to hear of changes", || subscriptions(&agent) == at_rest);
        let (messages, acknowledged) = listen(&agent, &[&id]);
        assert_eq!(acknowledged, json!([id]));
        wait::expect("the task's stream beside that of changes", || subscriptions(&agent) == 2);
        drop(messages);
        wait::expect("the server's stream to end", || subscriptions(&agent) == at_rest);
    });
}

#[test]
fn what_happens_while_a_server_ends_its_streams_is_told_later() {
    before_every_server(|stage| {
        let agent = agent(stage.url());
        let id = begin(&agent, "s__confirm_delete", &json!({}));
        await_status(&agent, &id, "input_required");
        let (mut messages, _) = listen(&agent, &[&id]);
        agent.call("s__end_subscriptions", &json!({}));
        confirm(&agent, &id);
        assert_eq!(statuses(&mut messages, &id).last().map(String::as_str), Some("completed"));
    });
}

#[test]
fn the_extensions_own_client_is_served() {
    before_every_server(|stage| {
        let call = |name: &str, arguments: Value| Step::CallTool { name: format!("s__{name}"), arguments };
        let plan = [
            call("confirm_delete", json!({ "filename": "a.txt" })),
            call("slow_compute", json!({ "seconds": 0.2, "label": "it" })),
            call("test_tool_with_task", json!({})),
            call("failing_job", json!({})),
            call("protocol_error_job", json!({})),
            call("greet", json!({ "name": "Ada" })),
        ];
        let transcript = Client::TsV2Tasks.run(stage.url(), &plan);
        let result = |step: usize, kind: &str| {
            let result = transcript.result(step);
            assert_eq!(result["kind"], kind, "{result}");
            &result["result"]
        };
        assert_eq!(text(result(0, "task")), "Deleted a.txt");
        assert_eq!(text(result(1, "task")), "Computed it in 0.2 seconds");
        assert_eq!(text(result(2, "task")), "Hello, stranger!");
        assert_eq!(result(3, "task")["isError"], true);
        let failed = transcript.steps[4].error.as_deref().expect("the task failed");
        assert!(failed.contains("-32603") && failed.contains("The job broke down"), "{failed}");
        assert_eq!(text(result(5, "immediate")), "Hello, Ada!");
    });
}

#[test]
fn an_agent_that_does_not_know_tasks_gets_none() {
    before_every_server(|stage| {
        let plain = Agent::modern(stage.url());
        let done = plain.call("s__slow_compute", &json!({ "seconds": 0, "label": "x" }));
        assert_eq!(done["resultType"], "complete", "{done}");
        let required = json!({ "requiredCapabilities": { "extensions": { EXTENSION: {} } } });
        for method in METHODS {
            let refused = plain.error(method, about(method, "x"));
            assert_eq!((&refused["code"], &refused["data"]), (&json!(-32021), &required), "{method}");
        }
        let wanted = json!({ "notifications": { "taskIds": ["x"] } });
        let refused = plain.error("subscriptions/listen", wanted);
        assert_eq!((&refused["code"], &refused["data"]), (&json!(-32021), &required));
        let of_server = plain.error("tools/call", json!({ "name": "s__failing_job", "arguments": {} }));
        assert_eq!((&of_server["code"], &of_server["data"]), (&json!(-32021), &required));
        for method in ["tasks/list", "tasks/result"] {
            assert_eq!(agent(stage.url()).error(method, json!({}))["code"], -32601, "{method}");
        }
        let legacy = Agent::legacy(stage.url());
        let done = legacy.call("s__slow_compute", &json!({ "seconds": 0, "label": "x" }));
        assert_eq!(text(&done), "Computed x in 0 seconds");
        assert_eq!(legacy.error("tasks/get", about("tasks/get", "x"))["code"], -32601);
    });
}

#[test]
fn tasks_do_not_cross_eras() {
    let everything = Upstream::everything();
    let fixture = Upstream::fixture(&["--era", "legacy"]);
    let servers = json!({ "everything": { "url": everything.url() }, "s": { "url": fixture.url() } });
    let gateway = Gateway::start(&json!({ "version": 1, "servers": servers }).to_string());
    let modern = agent(gateway.url());
    let capabilities = &modern.result("server/discover", json!({}))["capabilities"];
    assert!(capabilities["extensions"].get(EXTENSION).is_none(), "{capabilities}");
    let supporting = |agent: &Agent| {
        let tools = agent.list("tools/list", "tools");
        tools.iter().filter(|tool| tool["execution"].get("taskSupport").is_some()).count()
    };
    assert_eq!(supporting(&modern), 0);
    assert!(supporting(&Agent::legacy(gateway.url())) > 0, "within an era it stays");
    let done = modern.call("s__slow_compute", &json!({ "seconds": 0, "label": "x" }));
    assert_eq!(text(&done), "Computed x in 0 seconds");
}
