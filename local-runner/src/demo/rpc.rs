//! JSON-RPC 2.0, strictly: a line in, at most one line out.

use serde_json::{Map, Value, json};

use super::protocol;

/// The parameters of a request.
pub(super) type Params = Map<String, Value>;

/// Why a request has no result: a JSON-RPC error.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    code: i64,
    /// The code of the revisions before 2026-07-28, where it was another.
    legacy_code: Option<i64>,
    message: String,
    data: Option<Value>,
}

impl Failure {
    /// Not JSON.
    fn parse(message: impl Into<String>) -> Self {
        Self::new(-32700, message)
    }

    /// JSON, but no request.
    fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    /// No such method.
    pub(super) fn unknown_method(method: &str) -> Self {
        Self::new(-32601, format!("there is no method {method:?}"))
    }

    /// Parameters that the method does not take.
    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// No such resource, which had a code of its own once.
    pub(super) fn unknown_resource(uri: &str) -> Self {
        let failure = Self::invalid_params(format!("there is no resource {uri:?}"));
        Self { legacy_code: Some(-32002), data: Some(json!({ "uri": uri })), ..failure }
    }

    /// A revision that is not served; `supported` are those that are.
    pub(super) fn unsupported_version(requested: &str, supported: &[&str]) -> Self {
        let failure = Self::new(-32022, format!("the revision {requested:?} is not served this way"));
        Self { data: Some(json!({ "supported": supported, "requested": requested })), ..failure }
    }

    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, legacy_code: None, message: message.into(), data: None }
    }

    /// Returns the failure as the revisions before 2026-07-28 have it.
    pub(super) fn into_legacy(self) -> Self {
        Self { code: self.legacy_code.unwrap_or(self.code), ..self }
    }
}

/// Answers one line, or does not, where it holds notifications alone.
pub(super) fn respond(line: &[u8]) -> Option<String> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    let answer = match serde_json::from_slice(line) {
        Ok(Value::Array(batch)) => answer_batch(batch),
        Ok(message) => answer(message),
        Err(error) => Some(failed(&Value::Null, Failure::parse(format!("not JSON: {error}")))),
    };
    answer.map(|answer| answer.to_string())
}

/// Answers a batch, which the revision 2025-03-26 has and no other: not the current one, nor the first message.
fn answer_batch(batch: Vec<Value>) -> Option<Value> {
    if batch.is_empty() {
        return Some(failed(&Value::Null, Failure::invalid_request("the batch is empty")));
    }
    let answers: Vec<_> = batch.into_iter().filter_map(answer_in_batch).collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

fn answer_in_batch(message: Value) -> Option<Value> {
    if message["method"] == "initialize" || protocol::is_modern(&message["params"]) {
        let id = message.get("id")?;
        let id = if is_id(id) { id } else { &Value::Null };
        return Some(failed(id, Failure::invalid_request("this request cannot be part of a batch")));
    }
    answer(message)
}

fn answer(message: Value) -> Option<Value> {
    let Value::Object(mut message) = message else {
        return Some(failed(&Value::Null, Failure::invalid_request("a message is an object")));
    };
    let id = message.remove("id");
    let is_response = message.contains_key("result") || message.contains_key("error");
    if is_response && !message.contains_key("method") {
        // This server asks nothing; an error about an answer would be an answer to an answer.
        return None;
    }
    let outcome = read(message, id.as_ref()).and_then(|(method, params)| match &id {
        Some(_) => protocol::perform(&method, &params).map(Some),
        None => Ok(None),
    });
    let id = id.filter(is_id).unwrap_or_default();
    match outcome {
        Ok(result) => result.map(|result| json!({ "jsonrpc": "2.0", "id": id, "result": result })),
        Err(failure) => Some(failed(&id, failure)),
    }
}

/// Reads the envelope of a request or notification.
fn read(mut message: Map<String, Value>, id: Option<&Value>) -> Result<(String, Params), Failure> {
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(Failure::invalid_request("`jsonrpc` must be \"2.0\""));
    }
    if id.is_some_and(|id| !is_id(id)) {
        return Err(Failure::invalid_request("`id` must be a string or an integer"));
    }
    let Some(Value::String(method)) = message.remove("method") else {
        return Err(Failure::invalid_request("`method` must be a string"));
    };
    match message.remove("params") {
        None => Ok((method, Params::new())),
        Some(Value::Object(params)) => Ok((method, params)),
        // Nobody waits for what is wrong with a notification.
        Some(_) if id.is_none() => Ok((method, Params::new())),
        Some(_) => Err(Failure::invalid_params("`params` must be an object")),
    }
}

fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

fn failed(id: &Value, failure: Failure) -> Value {
    let mut error = json!({ "code": failure.code, "message": failure.message });
    if let Some(data) = failure.data {
        error["data"] = data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_the_same_id() {
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, r#"{"id":1,"jsonrpc":"2.0","result":{}}"#);
        check(r#"{"jsonrpc":"2.0","id":"1","method":"ping"}"#, r#"{"id":"1","jsonrpc":"2.0","result":{}}"#);
    }

    #[test]
    fn refuses_what_is_no_request() {
        check_error("{", -32700, "null");
        check_error("\u{1}", -32700, "null");
        check_error("1", -32600, "null");
        check_error("{}", -32600, "null");
        check_error(r#"{"id":1,"method":"ping"}"#, -32600, "1");
        check_error(r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600, "1");
        check_error(r#"{"jsonrpc":"2.0","id":1}"#, -32600, "1");
        check_error(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, "null");
        check_error(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600, "null");
        check_error(r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600, "1");
        check_error(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, -32602, "1");
        check_error(r#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#, -32601, "1");
        check_error("[]", -32600, "null");
    }

    #[test]
    fn is_silent_where_nothing_is_asked() {
        check_silent("");
        check_silent("  \r");
        check_silent(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        check_silent(r#"{"jsonrpc":"2.0","method":"no/such/notification","params":[]}"#);
        check_silent(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        check_silent(r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#);
    }

    #[test]
    fn answers_batches_of_the_revision_that_has_them() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        check(&format!("[{ping},{note}]"), r#"[{"id":1,"jsonrpc":"2.0","result":{}}]"#);
        let first = r#"[{"jsonrpc":"2.0","id":1,"method":"initialize"}]"#;
        assert!(respond(first.as_bytes()).unwrap().contains("-32600"));
    }

    #[test]
    fn survives_bytes_that_are_not_text() {
        assert!(respond(b"{\"jsonrpc\":\"\xff\"}").unwrap().contains("-32700"));
    }

    fn check(line: &str, expected: &str) {
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&respond(line.as_bytes()).unwrap()).unwrap(), expected);
    }

    fn check_error(line: &str, code: i64, id: &str) {
        let answer: Value = serde_json::from_str(&respond(line.as_bytes()).unwrap()).unwrap();
        assert_eq!(answer["error"]["code"], code, "{line}");
        assert_eq!(answer["id"].to_string(), id, "{line}");
    }

    fn check_silent(line: &str) {
        assert_eq!(respond(line.as_bytes()), None, "{line}");
    }
}
