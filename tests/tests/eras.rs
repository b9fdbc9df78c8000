//! Agents and servers of either era, in all four pairings and over both of the servers' transports.
#![allow(clippy::print_stdout, reason = "a failure shows which pairing it was")]

use std::sync::OnceLock;

use portcullis_tests::agent::{Agent, LEGACY, MODERN};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::scenario::{Stage, Transport, body_of, raw_call, servers, text};
use portcullis_tests::wait;
use serde_json::{Value, json};

/// Arguments that do not survive being read into ordinary values.
const ARGUMENTS: &str = r#"{"one":1.0,"huge":1e400,"big":123456789012345678901234567890,"z":1,"a":{"y":1.10,"b":[]},"text":"\u00e9\/é","_meta":{"com.example/vendor":1.50}}"#;

/// The gateways that tests share which change nothing.
fn stages() -> &'static [Stage] {
    static STAGES: OnceLock<Vec<Stage>> = OnceLock::new();
    STAGES.get_or_init(|| servers().iter().map(|&(era, transport)| Stage::new(era, transport)).collect())
}

/// An agent of each era.
fn agents(url: &str) -> [Agent; 2] {
    [Agent::modern(url), Agent::legacy(url)]
}

/// Runs `check` in every pairing; says which one it is where that fails.
fn in_every_pairing(check: impl Fn(&Agent)) {
    for (stage, (era, transport)) in stages().iter().zip(servers()) {
        for agent in agents(stage.url()) {
            println!("a {} agent, a {era} server, {transport:?}", agent.version());
            check(&agent);
        }
    }
}

fn names(items: &[Value], key: &str) -> Vec<String> {
    items.iter().map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn lists_are_complete() {
    in_every_pairing(|agent| {
        let tools = agent.tools();
        assert!(tools.contains(&"s__echo".to_owned()) && tools.len() > 50, "{tools:?}");
        assert!(tools.is_sorted(), "{tools:?}");
        let prompts = names(&agent.list("prompts/list", "prompts"), "name");
        assert!(prompts.contains(&"s__test_simple_prompt".to_owned()), "{prompts:?}");
        let resources = names(&agent.list("resources/list", "resources"), "uri");
        assert!(resources.contains(&"test://static-text".to_owned()), "{resources:?}");
        let templates = names(&agent.list("resources/templates/list", "resourceTemplates"), "uriTemplate");
        assert_eq!(templates, ["test://template/{id}/data"]);
    });
}

#[test]
fn what_is_listed_can_be_used() {
    in_every_pairing(|agent| {
        let echo = agent.call("s__echo", &json!({ "message": "hello" }));
        assert_eq!(echo["structuredContent"], json!({ "message": "hello" }));
        let params =
            json!({ "name": "s__test_prompt_with_arguments", "arguments": { "arg1": "x", "arg2": "y" } });
        let prompt = agent.result("prompts/get", params);
        let said = &prompt["messages"][0]["content"]["text"];
        assert_eq!(said, "Prompt with arguments: arg1='x', arg2='y'");
        let read = |uri: &str| agent.result("resources/read", json!({ "uri": uri }))["contents"][0].take();
        assert_eq!(
            read("test://static-text"),
            json!({
                "uri": "test://static-text", "mimeType": "text/plain",
                "text": "This is the content of the static text resource."
            })
        );
        let picture = read("test://static-binary");
        assert_eq!(picture["mimeType"], "image/png");
        assert!(picture["blob"].as_str().is_some_and(|blob| blob.starts_with("iVBOR")), "{picture}");
        let data = read("test://template/42/data");
        assert_eq!(data["uri"], "test://template/42/data");
        assert!(data["text"].as_str().is_some_and(|text| text.contains("Data for ID: 42")), "{data}");
    });
}

#[test]
fn arguments_of_prompts_and_templates_are_completed() {
    in_every_pairing(|agent| {
        let complete = |reference: Value, argument: Value, context: Value| {
            let params = json!({ "ref": reference, "argument": argument, "context": context });
            agent.result("completion/complete", params)["completion"]["values"].take()
        };
        let prompt = json!({ "type": "ref/prompt", "name": "s__test_prompt_with_arguments" });
        let values = complete(prompt.clone(), json!({ "name": "arg1", "value": "par" }), json!({}));
        assert_eq!(values, json!(["paris", "park", "party"]));
        let known = json!({ "arguments": { "arg1": "paris" } });
        let values = complete(prompt, json!({ "name": "arg2", "value": "" }), known);
        assert_eq!(values, json!(["after paris", "other"]));
        let template = json!({ "type": "ref/resource", "uri": "test://template/{id}/data" });
        let values = complete(template, json!({ "name": "id", "value": "12" }), json!({}));
        assert_eq!(values, json!(["12", "123"]));
    });
}

#[test]
fn every_kind_of_content_arrives() {
    in_every_pairing(|agent| {
        let kind = |tool: &str| agent.call(tool, &json!({}))["content"][0]["type"].take();
        assert_eq!(kind("s__test_image_content"), "image");
        assert_eq!(kind("s__test_audio_content"), "audio");
        assert_eq!(kind("s__test_embedded_resource"), "resource");
        assert_eq!(kind("s__test_resource_link"), "resource_link");
        assert_eq!(agent.call("s__test_error_handling", &json!({}))["isError"], true);
        assert_eq!(text(&agent.call("s__large", &json!({ "bytes": 3_000_000 }))).len(), 3_000_000);
    });
}

#[test]
fn a_call_keeps_every_byte_in_both_directions() {
    in_every_pairing(|agent| {
        let body = raw_call(agent, "s__echo", ARGUMENTS).send().text();
        assert_contains(&body, &format!("\"structuredContent\":{ARGUMENTS}"));
        assert_contains(&body, &format!("\"text\":{}", json!(ARGUMENTS)));
        let body = raw_call(agent, "s__big_numbers", "{}").send().text();
        let numbers = r#"{"big":123456789012345678901234567890,"one":1.0,"exp":1e400,"z":1,"a":2,"unknown":{"k":[1.10]}}"#;
        assert_contains(&body, &format!("\"structuredContent\":{numbers}"));
        assert_contains(&body, r#""x-unknown":{"deep":1.0}"#);
        assert_contains(&body, r#""com.example/vendor":{"n":1.0}"#);
    });
}

#[test]
fn a_list_keeps_every_byte() {
    for (stage, (era, transport)) in stages().iter().zip(servers()) {
        let Some(upstream) = stage.upstream.as_ref().filter(|_| transport == Transport::Http) else {
            continue;
        };
        let direct =
            if era == "modern" { Agent::modern(upstream.url()) } else { Agent::legacy(upstream.url()) };
        for (method, key) in [
            ("tools/list", "tools"),
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
        ] {
            let items = raw_items(direct.post(method, json!({})).send(), key);
            assert!(!items.is_empty());
            for agent in agents(stage.url()) {
                let body = agent.post(method, json!({})).send().text();
                for item in &items {
                    let prefixed = item.replacen("\"name\":\"", "\"name\":\"s__", 1);
                    assert!(
                        body.contains(item) || body.contains(&prefixed),
                        "{} agent, {era} server: not as it came: {item}\n{body}",
                        agent.version()
                    );
                }
            }
        }
    }
}

/// The items of a list, each as the text that came.
fn raw_items(response: Response, key: &str) -> Vec<String> {
    let body = if response.is_stream() {
        let data: Vec<_> =
            response.events().map(|event| event.data).filter(|data| !data.is_empty()).collect();
        data.last().cloned().unwrap_or_default()
    } else {
        response.text()
    };
    let raw = |text: &str, key: &str| -> String {
        let object: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        object.get(key).unwrap_or_else(|| panic!("no {key} in {text}")).get().to_owned()
    };
    let items = raw(&raw(&body, "result"), key);
    let items: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(&items).expect("a list");
    items.iter().map(|item| item.get().to_owned()).collect()
}

fn assert_contains(body: &str, part: &str) {
    assert!(body.contains(part), "no {part} in {body}");
}

#[test]
fn only_modern_agents_are_given_a_result_type() {
    in_every_pairing(|agent| {
        let requests = [
            ("tools/list", json!({}), true),
            ("prompts/list", json!({}), true),
            ("resources/list", json!({}), true),
            ("resources/templates/list", json!({}), true),
            ("resources/read", json!({ "uri": "test://static-text" }), true),
            ("tools/call", json!({ "name": "s__count" }), false),
            ("prompts/get", json!({ "name": "s__test_simple_prompt" }), false),
        ];
        for (method, params, cacheable) in requests {
            let result = agent.result(method, params);
            if agent.version() == MODERN {
                assert_eq!(result["resultType"], "complete", "{method}");
                assert_eq!(result["ttlMs"].is_u64(), cacheable, "{method}: {result}");
                assert_eq!(result["cacheScope"].is_string(), cacheable, "{method}: {result}");
            } else {
                assert_eq!(result.get("resultType"), None, "{method}: {result}");
            }
        }
    });
}

#[test]
fn an_id_comes_back_as_it_was() {
    in_every_pairing(|agent| {
        for id in ["1", "\"1\"", "\"\"", "-7", "123456789012345678", "\"a\\u0062c\""] {
            let request = agent.post("tools/call", json!({ "name": "s__count" }));
            let body = body_of(&request);
            let (start, rest) = body.split_once("\"id\":").expect("a request has an id");
            let end = rest.find([',', '}']).expect("something follows");
            let body = request.body(format!("{start}\"id\":{id}{}", &rest[end..])).send().text();
            assert_contains(&body, &format!("\"id\":{id},"));
        }
    });
}

#[test]
fn what_is_unknown_has_the_eras_code() {
    in_every_pairing(|agent| {
        let modern = agent.version() == MODERN;
        let refused = |method: &str, params: Value| {
            let response = agent.post(method, params).send();
            let status = response.status;
            let error = response.messages().pop().unwrap_or_default()["error"].take();
            (status, error["code"].clone(), error)
        };
        let (status, code, error) = refused("tools/call", json!({ "name": "s__nothing" }));
        assert_eq!((status, code), (200, json!(-32602)), "{error}");
        let (status, code, error) = refused("prompts/get", json!({ "name": "s__nothing" }));
        assert_eq!((status, code), (200, json!(-32602)), "{error}");
        let (status, code, error) = refused("resources/read", json!({ "uri": "test://nothing" }));
        // A modern server's own code may reach a legacy agent as it is.
        let known = if modern { [-32602, -32602] } else { [-32002, -32602] };
        assert!(status == 200 && known.map(Value::from).contains(&code), "{status}: {error}");
        assert_eq!(error["data"]["uri"], "test://nothing");
        for cursor in ["nonsense", ""] {
            let (status, code, error) = refused("tools/list", json!({ "cursor": cursor }));
            assert_eq!((status, code), (200, json!(-32602)), "{error}");
        }
        let (status, code, error) = refused("no/such/method", json!({}));
        assert_eq!((status, code), (if modern { 404 } else { 200 }, json!(-32601)), "{error}");
    });
}

#[test]
fn each_era_has_its_own_methods() {
    let url = stages()[0].url();
    let [modern, legacy] = agents(url);
    for method in ["ping", "logging/setLevel", "resources/subscribe"] {
        let response = modern.post(method, json!({ "level": "info", "uri": "test://static-text" })).send();
        assert_eq!(response.status, 404, "{method}");
        assert_eq!(response.json()["error"]["code"], -32601, "{method}");
    }
    assert_eq!(legacy.result("ping", json!({})), json!({}));
    assert_eq!(legacy.error("server/discover", json!({}))["code"], -32601);
    assert_eq!(legacy.error("subscriptions/listen", json!({ "notifications": {} }))["code"], -32601);
    let discovered = modern.result("server/discover", json!({}));
    assert_eq!(discovered["supportedVersions"], json!([MODERN]));
    assert!(discovered["capabilities"]["tools"].is_object(), "{discovered}");
}

#[test]
fn a_modern_request_that_is_not_whole_is_refused() {
    let url = stages()[0].url();
    let agent = Agent::modern(url);
    let refused = |request: Request, status: u16, code: i32| {
        let response = request.send();
        assert_eq!(response.status, status);
        assert_eq!(response.json()["error"]["code"], code);
    };
    let list = || agent.post("tools/list", json!({}));
    refused(list().body("{"), 400, -32700);
    refused(list().body("[]"), 400, -32600);
    refused(list().header("Mcp-Method", "tools/call"), 400, -32020);
    let named = agent.post("tools/call", json!({ "name": "s__echo" }));
    let other = body_of(&named).replace("s__echo", "s__count");
    refused(named.body(other), 400, -32020);
    let bare = body_of(&list()).replace("io.modelcontextprotocol/clientCapabilities", "x.example/other");
    refused(list().body(bare), 400, -32602);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2099-01-01" });
    let later = agent.post("tools/list", json!({ "_meta": meta }));
    let bytes = String::from_utf8(later.bytes()).expect("text");
    let bytes = bytes.replace("MCP-Protocol-Version: 2026-07-28", "MCP-Protocol-Version: 2099-01-01");
    let authority = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let response = portcullis_tests::http::send_bytes(authority, bytes.as_bytes());
    assert_eq!(response.status, 400);
    let error = response.json()["error"].take();
    assert_eq!(error["code"], -32022, "{error}");
    assert!(
        error["data"]["supported"].as_array().is_some_and(|known| known.contains(&json!(MODERN))),
        "{error}"
    );
}

#[test]
fn lists_come_in_pages() {
    for (era, transport) in servers() {
        let options = ["--page-size", "3", "--tools", "20"];
        let stage = Stage::with(era, transport, "{ page_size: 5 }", &options);
        let whole = Stage::with(era, transport, "{}", &["--tools", "20"]);
        for (agent, other) in agents(stage.url()).into_iter().zip(agents(whole.url())) {
            let (pages, cursors) = pages(&agent);
            assert!(pages.iter().all(|page| page.len() <= 5), "{pages:?}");
            assert!(pages.len() > 10);
            assert_eq!(pages.concat(), other.tools(), "{era}, {transport:?}");
            assert!(cursors.iter().all(|cursor| cursor.parse::<u64>().is_err()), "{cursors:?}");
            assert!(cursors.is_sorted_by(|a, b| a != b), "{cursors:?}");
            let prompts_page = agent.error("prompts/list", json!({ "cursor": cursors[0] }));
            assert_eq!(prompts_page["code"], -32602, "another list's cursor: {prompts_page}");
        }
    }
}

/// The names on every page of the tools, and the cursors between them.
fn pages(agent: &Agent) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut pages, mut cursors) = (Vec::new(), Vec::new());
    let mut params = json!({});
    loop {
        let page = agent.result("tools/list", params);
        pages.push(names(page["tools"].as_array().expect("a list"), "name"));
        let Some(cursor) = page.get("nextCursor") else { return (pages, cursors) };
        cursors.push(cursor.as_str().expect("a cursor is a string").to_owned());
        params = json!({ "cursor": cursor });
    }
}

#[test]
fn a_cursor_of_a_list_that_has_changed_is_refused() {
    for (era, transport) in servers() {
        let stage = Stage::with(era, transport, "{ page_size: 5 }", &[]);
        let [modern, legacy] = agents(stage.url());
        let cursors = [pages(&modern).1.swap_remove(0), pages(&legacy).1.swap_remove(0)];
        // A Worker hears of changes while somebody listens.
        let wanted = json!({ "notifications": { "toolsListChanged": true } });
        let listening = modern.post("subscriptions/listen", wanted).send();
        assert_eq!(listening.status, 200);
        modern.call("s__change_tools", &json!({}));
        // It comes first, and a change between two pages would be no failure.
        let first = |agent: &Agent| {
            names(agent.result("tools/list", json!({}))["tools"].as_array().expect("a list"), "name")
        };
        for (agent, cursor) in [&modern, &legacy].into_iter().zip(cursors) {
            wait::expect("the added tool", || first(agent).contains(&"s__added_0001".to_owned()));
            let error = agent.error("tools/list", json!({ "cursor": cursor }));
            assert_eq!(error["code"], -32602, "{era}, {transport:?}: {error}");
        }
    }
}

/// A body of two requests in one array.
fn batch(agent: &Agent) -> Request {
    let requests = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "ping" },
        { "jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": { "name": "s__echo", "arguments": {} } }
    ]);
    agent.post("batch", json!({})).body(requests.to_string())
}

#[test]
fn only_the_revision_that_knows_batches_takes_them() {
    for stage in stages() {
        let oldest = Agent::modern(stage.url()).handshake("2025-03-26");
        let response = batch(&oldest).send();
        assert_eq!(response.status, 200);
        let messages: Vec<Value> = response
            .messages()
            .into_iter()
            .flat_map(|message| match message {
                Value::Array(many) => many,
                one => vec![one],
            })
            .collect();
        let mut ids: Vec<_> = messages.iter().map(|message| message["id"].to_string()).collect();
        ids.sort();
        assert_eq!(ids, ["\"a\"", "\"b\""], "{messages:?}");
        assert!(messages.iter().all(|message| message.get("result").is_some()), "{messages:?}");
        for newer in ["2025-06-18", LEGACY] {
            let refusal = batch(&Agent::modern(stage.url()).handshake(newer)).send();
            assert_eq!(refusal.status, 400, "{newer}");
            assert_eq!(refusal.json()["error"]["code"], -32600, "{newer}");
        }
    }
}

#[test]
fn a_session_ends_when_the_agent_says_so() {
    let stage = Stage::new("legacy", Transport::Http);
    let agent = Agent::legacy(stage.url());
    agent.call("s__count", &json!({}));
    let session = agent.session().expect("a session").to_owned();
    let delete = || Request::new("DELETE", stage.url()).header("Mcp-Session-Id", &session);
    assert!((200..300).contains(&delete().send().status));
    assert_eq!(agent.post("tools/list", json!({})).send().status, 404);
    assert_eq!(agent.notify("notifications/initialized", json!({})).status, 404);
    let get =
        Request::get(stage.url()).header("Accept", "text/event-stream").header("Mcp-Session-Id", &session);
    assert_eq!(get.send().status, 404);
    assert_eq!(delete().send().status, 404);
    assert!(!Agent::legacy(stage.url()).tools().is_empty(), "another session can begin");
}

#[test]
fn a_session_that_is_not_there_is_not_found() {
    let url = stages()[0].url();
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let request = || {
        Request::post(url)
            .header("Accept", "application/json, text/event-stream")
            .header("MCP-Protocol-Version", LEGACY)
            .json(&message)
    };
    assert_eq!(request().send().status, 400, "no session");
    for unknown in ["nonsense", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(request().header("Mcp-Session-Id", unknown).send().status, 404);
    }
    let agent = Agent::legacy(url);
    let doubled = agent.post("tools/list", json!({})).header("MCP-Protocol-Version", "1999-01-01");
    assert_eq!(doubled.send().status, 400, "two revisions");
    for method in ["GET", "DELETE"] {
        let response = Request::new(method, url).header("Accept", "text/event-stream").send();
        assert!([400, 405].contains(&response.status), "{method} without a session: {}", response.status);
    }
}

/// Sends `initialize` without any header that names a revision.
fn initialize(url: &str, version: &str) -> Response {
    let client = json!({ "name": "x", "version": "1" });
    let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    Request::post(url).header("Accept", "application/json, text/event-stream").json(&message).send()
}

#[test]
fn the_handshake_settles_on_a_revision_with_sessions() {
    for stage in stages() {
        for (asked, agreed) in [
            ("2025-03-26", "2025-03-26"),
            ("2025-06-18", "2025-06-18"),
            (LEGACY, LEGACY),
            (MODERN, LEGACY),
            ("1999-01-01", LEGACY),
        ] {
            let response = initialize(stage.url(), asked);
            assert!(response.header("mcp-session-id").is_some(), "asked for {asked}");
            let result = response.messages().pop().unwrap_or_default()["result"].take();
            assert_eq!(result["protocolVersion"], agreed, "asked for {asked}");
            assert!(result["capabilities"]["tools"].is_object(), "{result}");
            let agent = Agent::modern(stage.url()).handshake(agreed);
            let answer = agent.call("s__test_simple_text", &json!({}));
            assert_eq!(text(&answer), "This is a simple text response for testing.");
        }
    }
}

#[test]
fn sessions_can_be_turned_off() {
    let stage = Stage::with("legacy", Transport::Http, "{ legacy: false }", &[]);
    assert!(!Agent::modern(stage.url()).tools().is_empty());
    let response = initialize(stage.url(), LEGACY);
    assert!([400, 404].contains(&response.status), "{}", response.status);
    let error = response.json()["error"].take();
    assert!(error.to_string().contains(MODERN), "the answer names what is spoken: {error}");
}
