//! Case 20: bodies that two programs read differently, or that one of them does not survive.

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::http::Request;
use serde_json::Value;

use super::target::{META, Target, calling, refusal, with_headers};

const PARSE: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;

/// A call of `up__echo` with this text as its arguments.
fn with_arguments(arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__echo","arguments":{arguments},{META}}}}}"#
    )
}

/// Two values under one key, of which each parser takes another one; an escape does not hide it.
#[test]
fn case_20_duplicate_keys_are_refused() {
    let target = Target::start();
    let params = format!(r#"{{"name":"up__echo","arguments":{{}},{META}}}"#);
    let version = r#""io.modelcontextprotocol/protocolVersion""#;
    let escaped = r#""io.modelcontextprotocol\/protocolVersion""#;
    let in_meta = |key: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__echo","_meta":{{{version}:"2026-07-28",{key}:"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    };
    let bodies = [
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{params}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","m\u0065thod":"tools/call","params":{params}}}"#
        ),
        format!(r#"{{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{params}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"\u0069d":1,"method":"tools/call","params":{params}}}"#),
        format!(r#"{{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{}},"params":{params}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params},"p\u0061rams":{{}}}}"#),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__count","name":"up__echo",{META}}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"n\u0061me":"up__count","name":"up__echo",{META}}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__echo","arguments":{{}},"\u0061rguments":{{}},{META}}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__echo",{META},"_meta":{{}}}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__echo",{META},"\u005fmeta":{{}}}}}}"#
        ),
        in_meta(version),
        in_meta(escaped),
        in_meta(r#""progressToken":"a","progress\u0054oken""#),
    ];
    for body in bodies {
        let (status, code) = refusal(calling(target.url(), body.as_str()).send());
        assert_eq!(status, 400, "{body}");
        assert!(matches!(code, INVALID_REQUEST | -32602), "{code}: {body}");
    }
    target.assert_untouched();
}

/// The same in a session, whose answers are HTTP 200 where the message itself is understood.
#[test]
fn case_20_duplicate_keys_are_refused_in_a_session() {
    let target = Target::start();
    let agent = Agent::legacy(target.url());
    let headers = [("Mcp-Session-Id", agent.session().expect("a session")), ("MCP-Protocol-Version", LEGACY)];
    let bodies = [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"up__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up__count","n\u0061me":"up__echo"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up__echo","_meta":{},"_meta":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up__echo","_meta":{"progressToken":1,"progressToken":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up__echo","_meta":{"progressToken":1,"progress\u0054oken":2}}}"#,
    ];
    for body in bodies {
        let request = with_headers(target.url(), &headers).header("Content-Type", "application/json");
        let (_, code) = refusal(request.body(body).send());
        assert!(matches!(code, INVALID_REQUEST | -32602), "{code}: {body}");
    }
    target.assert_untouched();
}

/// A batch hides a call from whoever looks at the first message; stateless requests come one by one.
#[test]
fn case_20_batches_are_refused() {
    let target = Target::start();
    let call = with_arguments("{}");
    let hidden = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for body in [
        format!("[{call}]"),
        format!("[{hidden},{call}]"),
        format!(" \n[{call}]"),
        "[]".to_owned(),
        "[1]".to_owned(),
    ] {
        assert_eq!(refusal(calling(target.url(), body.as_str()).send()), (400, INVALID_REQUEST), "{body}");
        let bare = Request::post(target.url()).header("Content-Type", "application/json").body(body.as_str());
        assert_eq!(refusal(bare.send()), (400, INVALID_REQUEST), "{body} without headers");
        let agent = Agent::legacy(target.url());
        let headers =
            [("Mcp-Session-Id", agent.session().expect("a session")), ("MCP-Protocol-Version", LEGACY)];
        let request = with_headers(target.url(), &headers).header("Content-Type", "application/json");
        assert_eq!(
            refusal(request.body(body.as_str()).send()),
            (400, INVALID_REQUEST),
            "{body} in a session"
        );
    }
    target.assert_untouched();
}

/// A body that is no request at all.
#[test]
fn case_20_what_is_no_message_is_refused() {
    let target = Target::start();
    let call = with_arguments("{}");
    for body in [
        "1",
        "null",
        "\"tools/call\"",
        "true",
        "{}",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ] {
        assert_eq!(refusal(calling(target.url(), body).send()), (400, INVALID_REQUEST), "{body}");
    }
    for version in [r#""jsonrpc":"1.0""#, r#""jsonrpc":2.0"#, r#""jsonrpc":"2""#, r#""x":1"#] {
        let body = call.replace(r#""jsonrpc":"2.0""#, version);
        assert_eq!(refusal(calling(target.url(), body.as_str()).send()), (400, INVALID_REQUEST), "{body}");
    }
    let tails = [
        "",
        " ",
        "x",
        "{",
        "}",
        &call[..call.len() - 1],
        &format!("{call}{call}"),
        &format!("{call},"),
        "{'a':1}",
        "{\"a\":01}",
        "NaN",
    ];
    for body in tails {
        assert_eq!(refusal(calling(target.url(), body).send()), (400, PARSE), "{body:?}");
    }
    for params in ["[]", "\"x\"", "1", r#"["up__echo"]"#] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        assert_eq!(refusal(calling(target.url(), body.as_str()).send()).0, 400, "{body}");
    }
    target.assert_untouched();
}

/// Ids that a program may not be able to give back as they were; all others come back as they stood.
#[test]
fn case_20_an_id_is_a_string_or_an_integer() {
    let target = Target::start();
    let with_id = |id: &str| with_arguments("{}").replace(r#""id":1"#, &format!(r#""id":{id}"#));
    for id in ["null", "1.5", "1.0", "1e3", "true", "{}", "[]", "[1]", r#"{"$ref":"1"}"#] {
        let response = calling(target.url(), with_id(id)).send();
        let status = response.status;
        let message = response.json();
        assert_eq!((status, message["error"]["code"].as_i64()), (400, Some(INVALID_REQUEST)), "{id}");
        assert_eq!(message["id"], Value::Null, "{id}");
    }
    target.assert_untouched();
    for id in ["0", "-1", "\"\"", "\"1\"", "123456789012345678901234567890", r#""\u0031é""#, r#""\"""#] {
        let response = calling(target.url(), with_id(id)).send().text();
        assert!(response.contains(&format!(r#""id":{id}"#)), "{id}: {response}");
    }
}

/// What only a server may judge passes through untouched: no number is rounded and no key is special.
#[test]
fn case_20_arguments_pass_through_untouched() {
    let target = Target::start();
    let arguments = [
        r#"{"n":123456789012345678901234567890}"#,
        r#"{"n":-0.0,"e":1E400,"f":1.00,"g":9007199254740993}"#,
        r#"{"__proto__":{"admin":true},"constructor":{"prototype":{}},"toString":1}"#,
        r#"{"name":"up__count","method":"tools/list","_meta":{"io.modelcontextprotocol/protocolVersion":"1"}}"#,
        r#"{"":0," ":1,"a\u0062":2,"\ud83d\ude00":"\u0000"}"#,
        r#"{"jsonrpc":"1.0","id":null}"#,
    ];
    for text in arguments {
        let response = calling(target.url(), with_arguments(text)).send();
        assert_eq!(response.status, 200, "{text}");
        let body = response.text();
        assert!(body.contains(text), "{text} became {body}");
    }
    for (sent, call) in arguments.iter().zip(target.calls()) {
        assert!(call.contains(sent), "{sent} arrived as {call}");
    }
}

/// A body that nests so deeply that a recursive reader overflows its stack.
#[test]
fn case_20_deep_nesting_is_refused() {
    let target = Target::start();
    for depth in [200, 10_000, 1_000_000] {
        let array = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let object = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let open = "[".repeat(depth);
        let bodies = [array.clone(), open, with_arguments(&array), with_arguments(&object)];
        for body in bodies {
            let (status, code) = refusal(calling(target.url(), body).send());
            assert_eq!((status, code), (400, PARSE), "{depth} levels");
        }
    }
    target.assert_untouched();
}

/// A body larger than the limit is refused, whether it says its length or not.
#[test]
fn case_20_a_large_body_is_refused() {
    let target = Target::start();
    let body = with_arguments(&format!("\"{}\"", "x".repeat(9 << 20)));
    assert_eq!(calling(target.url(), body.as_str()).send().status, 413);
    let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
    chunked.extend_from_slice(body.as_bytes());
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let request = calling(target.url(), chunked).header("Transfer-Encoding", "chunked");
    assert_eq!(request.send().status, 413, "in chunks");
    target.assert_untouched();
}

/// A page can post without asking first only what is not JSON, so nothing else is read as JSON.
#[test]
fn case_20_another_content_type_is_refused() {
    let target = Target::start();
    let kinds = [
        "text/plain",
        "text/plain; x=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/jsonx",
        "application/json-patch+json",
        "text/json",
        "application",
        "",
    ];
    let headers =
        [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "up__echo")];
    let request = || with_headers(target.url(), &headers).body(with_arguments("{}"));
    for kind in kinds {
        assert_eq!(request().header("Content-Type", kind).send().status, 415, "{kind}");
    }
    assert_eq!(request().send().status, 415, "no content type");
    target.assert_untouched();
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(request().header("Content-Type", kind).send().status, 200, "{kind}");
    }
}

/// Bytes that are no UTF-8 are no JSON, wherever they stand.
#[test]
fn case_20_invalid_utf_8_is_refused() {
    let target = Target::start();
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\xf5\x80\x80\x80"] {
        let mut body = with_arguments("{\"a\":\"MARK\"}").into_bytes();
        let at = body.windows(4).position(|window| window == b"MARK").expect("the mark is there");
        body.splice(at..at + 4, bytes.iter().copied());
        assert_eq!(refusal(calling(target.url(), body).send()), (400, PARSE), "{bytes:x?}");
    }
    let utf_16: Vec<_> = with_arguments("{}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(refusal(calling(target.url(), utf_16).send()), (400, PARSE));
    target.assert_untouched();
}
