//! Cases 19 and 20 with a policy: no spelling of a denied tool's name reaches it, and no rule comes to name another tool.

use portcullis_tests::agent::header_value;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::scenario::{body_of, raw_call};
use serde_json::{Value, json};

use super::double::Double;
use super::governed::{asked, both, governed, modern};

/// A gateway before `up`, which can read and write; the agent `reader` may read.
fn start(tools: &[&str], agents: &Value) -> (Gateway, Double) {
    let up = Double::mcp("up", tools);
    let file = governed(&json!({ "up": { "url": up.url() } }), agents, &json!({}));
    (Gateway::start(&file), up)
}

fn reader() -> Value {
    json!({ "reader": { "allow": ["up/read"] } })
}

/// Names that some program might take for `up__write`.
fn spellings() -> Vec<String> {
    let name = "up__write";
    let mut all: Vec<String> = [
        "write",
        "up",
        "up__",
        "__write",
        "up_write",
        "up___write",
        "up__up__write",
        "up__write__write",
        "up.write",
        "up/write",
        "up:write",
        "up__read/../write",
        "up__read,up__write",
        "UP__WRITE",
        "Up__Write",
        "up__Write",
        "up__write ",
        " up__write",
        "up__write\t",
        "up__write\n",
        "up__write\0",
        "up\0__write",
        "up%5F%5Fwrite",
        "up__writ%65",
        "up%255F_write",
        "up&#95;_write",
        "up\\u005f_write",
        "up__wr\u{456}te",
        "ｕｐ__write",
        "up＿＿write",
        "up__wr\u{200d}ite",
        "\u{feff}up__write",
        "up__write\u{301}",
        "up__write\u{202e}",
        "up__wri\u{ad}te",
        "__proto__",
        "constructor",
        "toString",
        "*",
        "up__*",
        "up__wr?te",
        "",
    ]
    .map(str::to_owned)
    .into();
    all.push(header_value(&format!("{name} ")));
    all.push(name.chars().map(|c| char::from_u32(c as u32 + 0xfee0).unwrap_or(c)).collect());
    all
}

#[test]
fn case_20_no_spelling_reaches_a_denied_tool() {
    let (gateway, up) = start(&["read", "write"], &reader());
    for agent in both(gateway.url(), "reader") {
        assert_eq!(agent.tools(), ["up__read"]);
        for name in spellings() {
            let error = agent.error("tools/call", json!({ "name": name, "arguments": {} }));
            assert_eq!(
                (&error["code"], &error["message"]),
                (&json!(-32602), &json!(format!("Unknown tool: {name}")))
            );
        }
        for name in [json!(null), json!(["up__write"]), json!({ "toString": "up__write" }), json!(1e300)] {
            let code = agent.error("tools/call", json!({ "name": name }))["code"].take();
            assert!(code == -32602 || code == -32020, "{name}: {code}");
        }
        assert_eq!(up.calls(), Vec::<String>::new());
    }
    modern(gateway.url(), "reader").call("up__read", &json!({}));
    assert_eq!(up.calls(), ["read"], "the record works");
}

/// Bodies that name a tool that may be called somewhere, and the denied one elsewhere.
#[test]
fn case_20_no_body_of_two_meanings_reaches_a_denied_tool() {
    let (gateway, up) = start(&["read", "write"], &reader());
    let agent = modern(gateway.url(), "reader");
    let honest = body_of(&agent.post("tools/call", json!({ "name": "up__read", "arguments": {} })));
    let name = r#""name":"up__read""#;
    assert!(honest.contains(name), "{honest}");
    let bodies = [
        r#""name":"up__read","name":"up__write""#,
        r#""name":"up__write","name":"up__read""#,
        r#""n\u0061me":"up__write","name":"up__read""#,
        r#""name":"up__read","__proto__":{"name":"up__write"},"Name":"up__write","name ":"up__write""#,
        r#""name":"up__read","arguments":{"name":"up__write"}"#,
        r#""name":"up__read","tool":"up__write","params":{"name":"up__write"},"n":123456789012345678901234567890"#,
    ];
    for (header, members) in ["up__read", "up__write"].iter().flat_map(|h| bodies.iter().map(move |b| (h, b)))
    {
        let request = agent.post("tools/call", json!({ "name": header, "arguments": {} }));
        request.body(honest.replace(name, members)).send();
    }
    for (header, in_body) in [("up__read", "up__write"), ("up__write", "up__read")] {
        let request = agent.post("tools/call", json!({ "name": header, "arguments": {} }));
        let answer = request.body(honest.replace("up__read", in_body)).send().json();
        assert_eq!(answer["error"]["code"], -32020, "{header} {in_body}: {answer}");
    }
    assert!(up.calls().iter().all(|call| call == "read"), "{:?}", up.calls());
}

/// Each message of a batch is decided on for itself.
#[test]
fn case_20_no_batch_reaches_a_denied_tool() {
    let (gateway, up) = start(&["read", "write"], &reader());
    let agent = modern(gateway.url(), "reader").handshake("2025-03-26");
    let call = |id: u64, name: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": name, "arguments": {} } });
    let batch = json!([call(1, "up__read"), call(2, "up__write"), call(3, "up__read"), call(4, "write")]);
    let answers = agent.post("tools/call", json!({})).body(batch.to_string()).send().json();
    let of = |id: u64| {
        let mut answers = answers.as_array().expect("a batch").iter();
        answers.find(|answer| answer["id"] == id).expect("an answer").clone()
    };
    assert!(of(1).get("result").is_some() && of(3).get("result").is_some(), "{answers}");
    assert_eq!((&of(2)["error"]["code"], &of(4)["error"]["code"]), (&json!(-32602), &json!(-32602)));
    assert_eq!(up.calls(), ["read", "read"]);
}

/// What a condition reads is what the server will read, or the call is refused.
#[test]
fn case_20_a_condition_is_not_blinded() {
    let rule = json!({ "on": "up/read", "when": "args.repo == \"secret\"" });
    let (gateway, up) = start(&["read"], &json!({ "reader": { "allow": ["up/*"], "deny": [rule] } }));
    let agents = both(gateway.url(), "reader");
    for agent in &agents {
        for arguments in [
            r#"{"repo":"secret"}"#,
            r#"{"repo":"\u0073ecret"}"#,
            r#"{"r\u0065po":"secret"}"#,
            r#"{"repo":"open","repo":"secret"}"#,
            r#"{"repo":"secret","repo":"open"}"#,
            r#"{"repo":"open","r\u0065po":"secret"}"#,
            r#"{"__proto__":{"repo":"open"}}"#,
            r#"{"Repo":"open"}"#,
            "[]",
            "null",
            r#""secret""#,
        ] {
            let answer = raw_call(agent, "up__read", arguments).send().json();
            assert!(answer.get("error").is_some(), "{arguments}: {answer}");
        }
        assert_eq!(up.calls(), Vec::<String>::new());
    }
    agents[0].call("up__read", &json!({ "repo": "open" }));
    assert_eq!(up.calls(), ["read"], "the record works");
}

/// A rule names a tool by the server's own name for it: whatever names collide, it allows no other.
#[test]
fn case_19_an_allow_rule_names_one_tool_whatever_is_added() {
    let agents = json!({ "reader": { "allow": ["s/get.x", "s/a__b"] } });
    let more = ["get_x", "get/x", "GET.X", "get.X", "gеt.x", "get x", "s__get.x", "get.x ", "a__B", "b"];
    let own = ["get.x", "a__b"];
    for added in [&[][..], &more[..3], &more] {
        let server = Double::mcp("s", &[&own, added].concat());
        let other = Double::mcp("s__a", &["b", "get.x"]);
        let servers = json!({ "s": { "url": server.url() }, "s__a": { "url": other.url() } });
        let gateway = Gateway::start(&governed(&servers, &agents, &json!({})));
        let agent = modern(gateway.url(), "reader");
        let mut ran: Vec<_> = agent
            .tools()
            .into_iter()
            .map(|name| {
                agent.call(&name, &json!({}))["content"][0]["text"].as_str().unwrap_or_default().to_owned()
            })
            .collect();
        ran.sort();
        assert_eq!(ran, ["s ran a__b", "s ran get.x"], "beside {added:?}");
        assert_eq!(other.calls(), Vec::<String>::new());
    }
}

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    fn rules(&mut self) -> Vec<&'static str> {
        const RULES: [&str; 14] = [
            "*",
            "a",
            "b",
            "a/*",
            "b/get_*",
            "*/get_*",
            "a/get_one",
            "b/GET_ONE",
            "*/?et_two",
            "a/tool:set",
            "b/prompt:*",
            "*/set*",
            "half",
            "a/resource:*",
        ];
        (0..self.roll(4)).map(|_| RULES[self.roll(RULES.len())]).collect()
    }
}

/// Whatever is listed can be called, and whatever is not is answered as what does not exist, under any policy.
#[test]
fn case_21_what_is_listed_is_what_can_be_called() {
    const TOOLS: [&str; 5] = ["get_one", "get_two", "GET_ONE", "set", "b__set"];
    let servers = [("a", Double::mcp("a", &TOOLS)), ("b", Double::mcp("b", &TOOLS))];
    let mut dice = Dice(20_260_728);
    let mut agents = json!({});
    for number in 0..30 {
        let agent = json!({ "allow": dice.rules(), "deny": dice.rules() });
        agents[format!("agent{number}")] = agent;
    }
    agents["all"] = json!({ "allow": ["*"] });
    let urls = json!({ "a": { "url": servers[0].1.url() }, "b": { "url": servers[1].1.url() } });
    let groups = json!({ "groups": { "half": { "a": ["get_*"], "b": ["set"] } } });
    let gateway = Gateway::start(&governed(&urls, &agents, &groups));
    let everything = modern(gateway.url(), "all").tools();
    assert_eq!(everything.len(), 10);
    let (mut seen, mut refused) = (0, 0);
    for tag in agents.as_object().expect("agents").keys() {
        let agent = modern(gateway.url(), tag);
        let listed = agent.tools();
        for name in &everything {
            let calls = || servers.iter().map(|(_, server)| server.calls().len()).sum::<usize>();
            let before = calls();
            let answer = asked(&agent, "tools/call", json!({ "name": name }));
            if listed.contains(name) {
                assert!(answer.contains(" ran "), "{tag} is listed {name}: {answer}");
                assert_eq!(calls(), before + 1);
                seen += 1;
            } else {
                let absent = "q".repeat(name.len());
                let of_absent = asked(&agent, "tools/call", json!({ "name": absent }));
                assert_eq!(answer.replace(name, &absent), of_absent, "{tag}");
                assert_eq!(calls(), before, "{tag} reached {name}");
                refused += 1;
            }
        }
    }
    assert!(seen > 40 && refused > 100, "the policies are of all kinds: {seen} {refused}");
}
