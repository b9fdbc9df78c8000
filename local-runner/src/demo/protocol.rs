//! The methods of MCP and how its two eras differ.
//!
//! **A request says itself which era it belongs to**: the current one names its revision in `_meta`.

use serde_json::{Value, json};

use super::content;
use super::rpc::{Failure, Params};
use super::tools;

/// The revision without sessions.
const MODERN: &str = "2026-07-28";
/// The revisions with `initialize`, newest first.
const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// How long what never changes may be kept.
const TTL_MS: u64 = 3_600_000;

const INSTRUCTIONS: &str = "A server to try MCP with. `echo`, `add`, `current_time`, `roll_dice` and `word_count` \
    need no account and change nothing. The prompt `explain_portcullis` and the resource demo://about say what \
    stands between you and this server; demo://greeting/{name} greets.";

/// An era of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Era {
    Modern,
    Legacy,
}

/// One method.
struct Method {
    name: &'static str,
    eras: &'static [Era],
    /// Whether a modern result says how long it may be kept.
    caching: Caching,
    answer: fn(&Params) -> Result<Value, Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caching {
    Public,
    Never,
}

const BOTH: &[Era] = &[Era::Modern, Era::Legacy];

const METHODS: [Method; 11] = [
    Method {
        name: "server/discover",
        eras: &[Era::Modern],
        caching: Caching::Public,
        answer: |_| Ok(discover()),
    },
    Method { name: "initialize", eras: &[Era::Legacy], caching: Caching::Never, answer: initialize },
    Method { name: "ping", eras: &[Era::Legacy], caching: Caching::Never, answer: |_| Ok(json!({})) },
    Method { name: "tools/list", eras: BOTH, caching: Caching::Public, answer: list_tools },
    Method { name: "tools/call", eras: BOTH, caching: Caching::Never, answer: tools::call },
    Method { name: "prompts/list", eras: BOTH, caching: Caching::Public, answer: list_prompts },
    Method { name: "prompts/get", eras: BOTH, caching: Caching::Never, answer: content::prompt },
    Method { name: "resources/list", eras: BOTH, caching: Caching::Public, answer: list_resources },
    Method { name: "resources/templates/list", eras: BOTH, caching: Caching::Public, answer: list_templates },
    Method { name: "resources/read", eras: BOTH, caching: Caching::Public, answer: content::read },
    Method { name: "completion/complete", eras: BOTH, caching: Caching::Never, answer: content::complete },
];

/// Whether parameters belong to a request of the modern era.
pub(super) fn is_modern(params: &Value) -> bool {
    params["_meta"].get(VERSION_KEY).is_some()
}

/// Performs a method.
pub(super) fn perform(method: &str, params: &Params) -> Result<Value, Failure> {
    let era = era(method, params)?;
    let known = METHODS.iter().find(|known| known.name == method && known.eras.contains(&era));
    let known = known.ok_or_else(|| Failure::unknown_method(method))?;
    let result = (known.answer)(params);
    match era {
        Era::Modern => result.map(|result| modern(result, known.caching)),
        Era::Legacy => result.map_err(Failure::into_legacy),
    }
}

/// Reads which era a request belongs to, and whether it is a proper one of the modern era.
fn era(method: &str, params: &Params) -> Result<Era, Failure> {
    let meta = params.get("_meta").and_then(Value::as_object);
    let Some(version) = meta.and_then(|meta| meta.get(VERSION_KEY)) else {
        return match method {
            "server/discover" => Err(Failure::invalid_params(format!("`_meta` must name `{VERSION_KEY}`"))),
            _ => Ok(Era::Legacy),
        };
    };
    let Some(version) = version.as_str() else {
        return Err(Failure::invalid_params(format!("`{VERSION_KEY}` must be a string")));
    };
    if version != MODERN {
        return Err(Failure::unsupported_version(version, &[MODERN]));
    }
    if !meta.and_then(|meta| meta.get(CAPABILITIES_KEY)).is_some_and(Value::is_object) {
        return Err(Failure::invalid_params(format!("`_meta` must have the object `{CAPABILITIES_KEY}`")));
    }
    Ok(Era::Modern)
}

/// Gives a result what the modern era asks of every one.
fn modern(mut result: Value, caching: Caching) -> Value {
    result["resultType"] = json!("complete");
    result["_meta"] = json!({ SERVER_KEY: server() });
    if caching == Caching::Public {
        result["ttlMs"] = json!(TTL_MS);
        result["cacheScope"] = json!("public");
    }
    result
}

fn server() -> Value {
    json!({
        "name": "portcullis-demo",
        "title": "Portcullis demo",
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn capabilities() -> Value {
    json!({ "tools": {}, "prompts": {}, "resources": {}, "completions": {} })
}

fn discover() -> Value {
    json!({ "supportedVersions": [MODERN], "capabilities": capabilities(), "instructions": INSTRUCTIONS })
}

fn initialize(params: &Params) -> Result<Value, Failure> {
    let Some(requested) = params.get("protocolVersion").and_then(Value::as_str) else {
        return Err(Failure::invalid_params("`protocolVersion` must be a string"));
    };
    let version = LEGACY.iter().find(|version| **version == requested).unwrap_or(&LEGACY[0]);
    Ok(json!({
        "protocolVersion": version,
        "capabilities": capabilities(),
        "serverInfo": server(),
        "instructions": INSTRUCTIONS,
    }))
}

fn list_tools(params: &Params) -> Result<Value, Failure> {
    only_page(params)?;
    Ok(json!({ "tools": tools::list() }))
}

fn list_prompts(params: &Params) -> Result<Value, Failure> {
    only_page(params)?;
    Ok(json!({ "prompts": content::prompts() }))
}

fn list_resources(params: &Params) -> Result<Value, Failure> {
    only_page(params)?;
    Ok(json!({ "resources": content::resources() }))
}

fn list_templates(params: &Params) -> Result<Value, Failure> {
    only_page(params)?;
    Ok(json!({ "resourceTemplates": content::templates() }))
}

/// Every list has one page, so no cursor was ever given out.
fn only_page(params: &Params) -> Result<(), Failure> {
    match params.get("cursor") {
        None => Ok(()),
        Some(_) => Err(Failure::invalid_params("the cursor is unknown")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_pass_by_value, reason = "cases are written in place")]

    use super::super::rpc::respond;
    use super::*;

    #[test]
    fn discovers() {
        let result = ask_modern("server/discover", json!({}));
        assert_eq!(result["supportedVersions"], json!([MODERN]));
        assert_eq!(result["resultType"], "complete");
        assert_eq!(result["cacheScope"], "public");
        assert_eq!(result["_meta"][SERVER_KEY]["name"], "portcullis-demo");
        assert!(result["instructions"].as_str().unwrap().contains("demo://about"));
    }

    #[test]
    fn negotiates() {
        for version in LEGACY {
            assert_eq!(initialized(version), version);
        }
        assert_eq!(initialized("2019-01-01"), "2025-11-25");
        assert_eq!(initialized(MODERN), "2025-11-25", "the current revision has no handshake");
    }

    #[test]
    fn marks_modern_results_alone() {
        for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            let result = ask_modern(method, json!({}));
            assert_eq!(
                (&result["resultType"], &result["ttlMs"]),
                (&json!("complete"), &json!(TTL_MS)),
                "{method}"
            );
            let result = ask(method, json!({}));
            assert!(result.get("resultType").is_none() && result.get("ttlMs").is_none(), "{method}");
        }
        let called = ask_modern("tools/call", json!({ "name": "echo", "arguments": { "message": "x" } }));
        assert_eq!(called["resultType"], "complete");
        assert!(called.get("ttlMs").is_none());
    }

    #[test]
    fn each_era_has_its_methods() {
        for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe"] {
            check_error(method, with_meta(json!({})), -32601);
        }
        check_error("logging/setLevel", json!({}), -32601);
        check_error("server/discover", json!({}), -32602);
    }

    #[test]
    fn refuses_improper_metadata() {
        let meta = |meta: Value| json!({ "_meta": meta });
        check_error("tools/list", meta(json!({ VERSION_KEY: "2030-01-01", CAPABILITIES_KEY: {} })), -32022);
        check_error("tools/list", meta(json!({ VERSION_KEY: 1, CAPABILITIES_KEY: {} })), -32602);
        check_error("tools/list", meta(json!({ VERSION_KEY: MODERN })), -32602);
        let answer = send("tools/list", meta(json!({ VERSION_KEY: "2025-11-25" })));
        assert_eq!(answer["error"]["data"], json!({ "supported": [MODERN], "requested": "2025-11-25" }));
    }

    #[test]
    fn refuses_cursors() {
        check_error("tools/list", json!({ "cursor": "x" }), -32602);
    }

    #[test]
    fn an_unknown_resource_has_the_code_of_its_era() {
        let params = json!({ "uri": "demo://nothing" });
        check_error("resources/read", params.clone(), -32002);
        check_error("resources/read", with_meta(params.clone()), -32602);
        assert_eq!(send("resources/read", params)["error"]["data"], json!({ "uri": "demo://nothing" }));
    }

    fn initialized(version: &str) -> String {
        let result = ask("initialize", json!({ "protocolVersion": version, "capabilities": {} }));
        result["protocolVersion"].as_str().unwrap().to_owned()
    }

    fn with_meta(mut params: Value) -> Value {
        params["_meta"] = json!({ VERSION_KEY: MODERN, CAPABILITIES_KEY: {} });
        params
    }

    fn ask_modern(method: &str, params: Value) -> Value {
        ask(method, with_meta(params))
    }

    fn ask(method: &str, params: Value) -> Value {
        let mut answer = send(method, params);
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].take()
    }

    fn check_error(method: &str, params: Value, code: i64) {
        assert_eq!(send(method, params)["error"]["code"], code, "{method}");
    }

    fn send(method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        serde_json::from_str(&respond(request.to_string().as_bytes()).unwrap()).unwrap()
    }
}
