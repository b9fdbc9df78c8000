//! Case 20: the headers of a stateless request say one thing, its body another, and two programs decide by each.

use portcullis_tests::agent::MODERN;
use portcullis_tests::http::Request;

use super::target::{META, Target, refusal, with_headers};

/// What a header that contradicts the body is answered with.
const MISMATCH: (u16, i64) = (400, -32020);

const VERSION: (&str, &str) = ("MCP-Protocol-Version", MODERN);
const METHOD: (&str, &str) = ("Mcp-Method", "tools/call");
const NAME: (&str, &str) = ("Mcp-Name", "up__echo");

fn call(target: &Target, tool: &str, headers: &[(&str, &str)]) -> Request {
    let tool = serde_json::Value::from(tool);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{{"name":{tool},"arguments":{{}},{META}}}}}"#
    );
    with_headers(target.url(), headers).header("Content-Type", "application/json").body(body)
}

#[track_caller]
fn assert_mismatch(target: &Target, tool: &str, headers: &[(&str, &str)]) {
    let response = call(target, tool, headers).send();
    let status = response.status;
    let message = response.json();
    let code = message["error"]["code"].as_i64().unwrap_or_default();
    assert_eq!((status, code), MISMATCH, "{headers:?}: {message}");
    assert_eq!(message["id"], "x", "{headers:?}");
}

/// A harmless name in the header, another one in the body, and every near miss between them.
#[test]
fn case_20_the_header_name_is_the_bodys() {
    let target = Target::start();
    let names = [
        "up__count",
        "echo",
        "UP__ECHO",
        "up__echo,up__count",
        "up__echo, up__echo",
        "\"up__echo\"",
        "up%5F%5Fecho",
        "up__echo;",
        "up__echo\u{e9}",
        "",
    ];
    for name in names {
        assert_mismatch(&target, "up__echo", &[VERSION, METHOD, ("Mcp-Name", name)]);
    }
    assert_mismatch(&target, "up__crash", &[VERSION, METHOD, NAME]);
    assert_mismatch(&target, "up__echo", &[VERSION, METHOD]);
    assert_mismatch(&target, "up__echo", &[VERSION, METHOD, NAME, NAME]);
    assert_mismatch(&target, "up__echo", &[VERSION, METHOD, NAME, ("mcp-name", "up__count")]);
    assert_mismatch(&target, "up__echo", &[VERSION, METHOD, ("Mcp_Name", "up__echo")]);
    target.assert_untouched();
}

/// A harmless method in the header.
#[test]
fn case_20_the_header_method_is_the_bodys() {
    let target = Target::start();
    for method in [
        "tools/list",
        "Tools/Call",
        "tools/call,tools/list",
        "tools%2Fcall",
        "=?base64?dG9vbHMvY2FsbA==?=",
        "",
    ] {
        assert_mismatch(&target, "up__echo", &[VERSION, ("Mcp-Method", method), NAME]);
    }
    assert_mismatch(&target, "up__echo", &[VERSION, NAME]);
    assert_mismatch(&target, "up__echo", &[VERSION, METHOD, METHOD, NAME]);
    assert_mismatch(&target, "up__echo", &[VERSION, METHOD, ("mcp-method", "tools/list"), NAME]);
    target.assert_untouched();
}

/// A revision in the header whose rules are laxer than those of the body's.
#[test]
fn case_20_the_header_version_is_the_bodys() {
    let target = Target::start();
    for version in
        ["2025-11-25", "2025-03-26", "2099-01-01", "1", "2026-07-28,2025-11-25", "2026-07-28 x", ""]
    {
        assert_mismatch(&target, "up__echo", &[("MCP-Protocol-Version", version), METHOD, NAME]);
    }
    assert_mismatch(&target, "up__echo", &[METHOD, NAME]);
    assert_mismatch(&target, "up__echo", &[VERSION, VERSION, METHOD, NAME]);
    assert_mismatch(&target, "up__echo", &[VERSION, ("mcp-protocol-version", "2025-11-25"), METHOD, NAME]);
    target.assert_untouched();
}

/// A session does not turn a stateless request into one whose headers need not agree.
#[test]
fn case_20_a_session_does_not_excuse_a_stateless_request() {
    let target = Target::start();
    let agent = portcullis_tests::agent::Agent::legacy(target.url());
    let session = ("Mcp-Session-Id", agent.session().expect("a session"));
    assert_mismatch(&target, "up__echo", &[session, ("MCP-Protocol-Version", "2025-11-25")]);
    assert_mismatch(&target, "up__echo", &[session]);
    target.assert_untouched();
}

/// The encoded form of a header is decoded once, strictly, and then compared.
#[test]
fn case_20_an_encoded_header_is_decoded_strictly() {
    let target = Target::start();
    let encoded = "=?base64?dXBfX2VjaG8=?=";
    let wrong = [
        "=?base64?dXBfX2NvdW50?=",
        "=?base64?dXBfX2VjaG8?=",
        "=?base64?dXBfX2VjaG9=?=",
        "=?base64?dXBfX2VjaG8==?=",
        "=?base64?dXBf X2VjaG8=?=",
        "=?base64?dXBfX2VjaG8=",
        "dXBfX2VjaG8=",
        "=?base64??=",
        "=?base64?!!!!?=",
        "=?base64?/w==?=",
        "=?base64?IHVwX19lY2hv?=",
        "=?base64?dXBfX2VjaG8A?=",
        "=?base64?VVBfX2VjaG8=?=",
        "=?base64?PT9iYXNlNjQ/ZFhCZlgyVmphRzg9Pz0=?=",
        "=?utf-8?q?up__echo?=",
        "=?base64?dXBfX2VjaG8=?= ,up__count",
        "=?base64?dXBfX2VjaG8=?==?base64?dXBfX2VjaG8=?=",
    ];
    for name in wrong {
        assert_mismatch(&target, "up__echo", &[VERSION, METHOD, ("Mcp-Name", name)]);
    }
    // A body that holds the encoded form means just that, and the header would have to encode it again.
    assert_mismatch(&target, encoded, &[VERSION, METHOD, ("Mcp-Name", encoded)]);
    target.assert_untouched();
    let honest = call(&target, "up__echo", &[VERSION, METHOD, ("Mcp-Name", encoded)]);
    assert_eq!(refusal(honest.send()), (200, 0));
    let padded = call(&target, "up__echo", &[VERSION, METHOD, ("Mcp-Name", "  up__echo\t")]);
    assert_eq!(
        refusal(padded.send()),
        (200, 0),
        "white space around a value is not part of it (RFC 9110 §5.5)"
    );
}
