//! Case 39: two programs read one request differently, about where it ends or about what its headers say.

use portcullis_tests::agent::{Agent, LEGACY, MODERN};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::{Request, Response, send_bytes};
use serde_json::json;

use super::double::{Answer, Double, Mcp};
use super::target::{Target, calling, config, honest_call, refusal};

/// What a stateless call of `up__echo` says in its head, but for the framing.
const HEAD: &str = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
    MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: up__echo\r\n";

fn authority(target: &Target) -> String {
    format!("127.0.0.1:{}", target.gateway.port())
}

/// Sends a head and a body byte by byte. The connection may be kept: what follows would be answered as well.
fn raw(target: &Target, head: &str, body: &str) -> Vec<u8> {
    let authority = authority(target);
    format!("POST /mcp HTTP/1.1\r\nHost: {authority}\r\n{HEAD}{head}\r\n{body}").into_bytes()
}

/// Everything that comes back until the connection is closed.
fn answered(target: &Target, bytes: &[u8]) -> String {
    let response: Response = send_bytes(&authority(target), bytes);
    let status = response.status;
    format!("{status} {}", response.text())
}

/// A second request that hides behind the first.
fn hidden(target: &Target) -> String {
    let call = honest_call().replace(r#""arguments":{}"#, r#""arguments":{"hidden":true}"#);
    let authority = authority(target);
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {authority}\r\n{HEAD}Content-Length: {}\r\nConnection: close\r\n\r\n{call}",
        call.len()
    )
}

/// A length that is no length, or two of them, frame nothing.
#[test]
fn case_39_a_doubtful_length_is_refused() {
    let target = Target::start();
    let call = honest_call();
    let length = call.len();
    let heads = [
        format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length + 1),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}, {}\r\n", length + 1),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: -{length}\r\n"),
        format!("Content-Length: {length:#x}\r\n"),
        format!("Content-Length: {length}.0\r\n"),
        format!("Content-Length: {length} 0\r\n"),
        "Content-Length:\r\n".to_owned(),
        format!("Content-Length: 99999999999999999999{length}\r\n"),
    ];
    for head in heads {
        let answer = answered(&target, &raw(&target, &head, &(call.clone() + &hidden(&target))));
        assert!(answer.starts_with("400"), "{head}: {answer}");
    }
    target.assert_untouched();
}

/// A coding that is not plainly `chunked` frames nothing either.
#[test]
fn case_39_a_doubtful_coding_is_refused() {
    let target = Target::start();
    let call = honest_call();
    let chunked = format!("{:x}\r\n{call}\r\n0\r\n\r\n", call.len());
    let codings = [
        "identity",
        "xchunked",
        "chunked, identity",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\0",
        "chunked\u{b}",
    ];
    for coding in codings {
        let head = format!("Transfer-Encoding: {coding}\r\n");
        let answer = answered(&target, &raw(&target, &head, &chunked));
        assert!(!answer.starts_with("200"), "{coding:?}: {answer}");
    }
    target.assert_untouched();
}

/// Where a length stands beside a coding, a program in front may have gone by the length: whatever comes after the
/// first request on that connection is not read (RFC 9112 §6.1).
#[test]
fn case_39_nothing_hides_behind_a_length_beside_a_coding() {
    let target = Target::start();
    let call = honest_call();
    let chunked = format!("{:x}\r\n{call}\r\n0\r\n\r\n", call.len());
    for length in [0, 4, chunked.len(), chunked.len() + hidden(&target).len()] {
        for head in [
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        ] {
            let bytes = raw(&target, &head, &(chunked.clone() + &hidden(&target)));
            let response = send_bytes(&authority(&target), &bytes);
            let closes = response.header("connection").is_some_and(|value| value == "close");
            assert!(response.status == 400 || closes, "{head}: {response:?}");
            response.text();
        }
    }
    target.assert_serving();
    let calls = target.calls();
    assert!(!calls.iter().any(|call| call.contains("hidden")), "{calls:?}");
}

/// Chunks whose sizes are none.
#[test]
fn case_39_a_doubtful_chunk_is_refused() {
    let target = Target::start();
    let call = honest_call();
    let size = format!("{:x}", call.len());
    let bodies = [
        format!("0x{size}\r\n{call}\r\n0\r\n\r\n"),
        format!("+{size}\r\n{call}\r\n0\r\n\r\n"),
        format!("-1\r\n{call}\r\n0\r\n\r\n"),
        format!("fffffffffffffffff{size}\r\n{call}\r\n0\r\n\r\n"),
        format!("zz\r\n{call}\r\n0\r\n\r\n"),
        format!("\r\n{call}\r\n0\r\n\r\n"),
        format!("{size}\n{call}\n0\n\n"),
        format!("{size}\r\n{call}0\r\n\r\n"),
    ];
    for body in bodies {
        let bytes = raw(&target, "Transfer-Encoding: chunked\r\n", &body);
        let answer = answered(&target, &bytes);
        assert!(answer.starts_with("400"), "{body:.20}: {answer}");
    }
    target.assert_untouched();
}

/// Lines that some programs join, and others end early.
#[test]
fn case_39_a_doubtful_line_is_refused() {
    let target = Target::start();
    let call = honest_call();
    let length = format!("Content-Length: {}\r\n", call.len());
    let lines = [
        "X-A: 1\r\n Mcp-Name: up__count\r\n",
        "X-A: 1\r\n\tMcp-Name: up__count\r\n",
        "Mcp-Session-Id : x\r\n",
        "X-A: a\0b\r\n",
        "X-A: a\rMcp-Session-Id: x\r\n",
        "X\0A: a\r\n",
        "X A: a\r\n",
        ": a\r\n",
        "no colon\r\n",
        "X-\u{e9}: a\r\n",
    ];
    for line in lines {
        let answer = answered(&target, &raw(&target, &format!("{line}{length}"), &call));
        assert!(answer.starts_with("400"), "{line:?}: {answer}");
    }
    for start in
        ["POST  /mcp HTTP/1.1", "POST /mcp HTTP/1.1 x", "POST /mcp", "POST /mcp HTTP/2.0", "PRI * HTTP/2.0"]
    {
        let bytes = raw(&target, &length, &call);
        let rest = bytes.split(|byte| *byte == b'\n').skip(1).collect::<Vec<_>>().join(&b'\n');
        let bytes = [format!("{start}\r\n").as_bytes(), &rest].concat();
        let answer = answered(&target, &bytes);
        assert!(!answer.starts_with("200"), "{start}: {answer}");
    }
    target.assert_untouched();
}

/// What a gateway protocol turns into `mcp-name` and `mcp-session-id` is neither; a proxy may have let it pass.
#[test]
fn case_39_an_underscore_is_no_hyphen() {
    let target = Target::start();
    let headers = [("MCP_Protocol_Version", MODERN), ("Mcp_Method", "tools/call"), ("Mcp_Name", "up__echo")];
    let request = headers.iter().fold(Request::post(target.url()), |r, (name, value)| r.header(name, value));
    let request = request.header("Content-Type", "application/json").body(honest_call());
    assert_eq!(refusal(request.send()), (400, -32020), "only look-alikes");
    let session = Agent::legacy(target.url()).session().expect("a session").to_owned();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "up__echo" } });
    let request = Request::post(target.url()).header("MCP-Protocol-Version", LEGACY);
    let response = request.header("Mcp_Session_Id", &session).json(&call).send();
    assert_ne!(response.status, 200, "a look-alike of a session");
    target.assert_untouched();
    let beside = calling(target.url(), honest_call());
    let beside = beside.header("Mcp_Name", "up__count").header("Mcp_Session_Id", "x");
    assert_eq!(refusal(beside.send()), (200, 0), "look-alikes mean nothing");
}

/// Names that no header can carry honestly, and ones that are too long for any.
#[test]
fn case_39_an_impossible_name_is_refused() {
    let target = Target::start();
    let with_name = |name: &[u8]| {
        let request = Request::post(target.url()).header("Accept", "application/json, text/event-stream");
        let request = request.header("MCP-Protocol-Version", MODERN).header("Mcp-Method", "tools/call");
        request.header("Content-Type", "application/json").header("Mcp-Name", name).body(honest_call())
    };
    for name in [&b"up__ech\xf6"[..], b"up__echo\xff", b"\xc3\xa9", b"up__echo\x7f"] {
        let (status, _) = refusal(with_name(name).send());
        assert_eq!(status, 400, "{name:?}");
    }
    for length in [300, 70_000, 1 << 20] {
        // Where the server hangs up before it has read all, the answer may be lost on the way.
        if let Some(response) = with_name("up__echo".repeat(length / 8).as_bytes()).try_send() {
            assert!(matches!(response.status, 400 | 431), "{length}: {}", response.status);
        }
    }
    target.assert_untouched();
}

/// What a request brings along beside itself stays here: its server gets one request, made anew.
#[test]
fn case_39_a_server_gets_one_request_of_the_gateways_own() {
    let evil = "t\r\nX-Evil: 1\r\n\r\nPOST /mcp HTTP/1.1\r\nHost: x\r\n\r\n";
    let mcp = Mcp::new("raw", &["t", evil, "é", "=?base64?dA==?="]);
    let server = Double::new(move |request| match request.path.as_str() {
        "/mcp" => mcp.answer(request),
        _ => Answer::status(500),
    });
    let gateway = Gateway::start(&config(&json!({ "raw": { "url": server.url() } })));
    let agent = Agent::modern(gateway.url());
    // A credential that is none is refused before; that a good one goes no further, the tests of identity show.
    let agent = ["Cookie", "Proxy-Authorization", "X-Evil", "Forwarded", "Via", "TE", "Upgrade"]
        .into_iter()
        .fold(agent, |agent, name| agent.header(name, "smuggled"));
    let tools = agent.tools();
    assert_eq!(tools.len(), 4, "{tools:?}");
    let arguments = json!({ "a": "\r\n\r\nPOST /mcp HTTP/1.1\r\n\r\n" });
    for tool in &tools {
        agent.call(tool, &arguments);
    }
    let received = server.received();
    let calls: Vec<_> = received.iter().filter(|r| r.message()["method"] == "tools/call").collect();
    assert_eq!(calls.len(), tools.len());
    for call in calls {
        assert!(!call.head.contains("smuggled") && !call.head.contains("X-Evil"), "{}", call.head);
        let mut names: Vec<_> = call.head.lines().filter_map(|line| line.split_once(':')).collect();
        // The gateway's own, and the one that Cloudflare's platform adds.
        names.retain(|(name, _)| !["portcullis-via", "cf-worker"].contains(&&*name.to_ascii_lowercase()));
        let mut names: Vec<_> = names.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        let expected = [
            "accept",
            "content-length",
            "content-type",
            "host",
            "mcp-method",
            "mcp-name",
            "mcp-protocol-version",
        ];
        assert_eq!(names, expected, "{}", call.head);
    }
    assert!(
        received.iter().all(|request| !request.message().is_null()),
        "something else arrived: {received:?}"
    );
}
