//! The JSON-RPC envelope, borrowed from the bytes it came in.

use std::borrow::Cow;

use super::json::{Json, Object, push_string};
use super::outline::Outline;
use crate::error::{Refusal, code};

/// One JSON-RPC message.
#[derive(Debug, Clone)]
pub(crate) enum Message<'a> {
    /// Wants an answer.
    Request {
        /// Its id.
        id: Id<'a>,
        /// What is asked.
        method: Cow<'a, str>,
        /// The members of `params`, none where it is absent.
        params: Object<'a>,
    },
    /// Wants no answer.
    Notification {
        /// What is told.
        method: Cow<'a, str>,
        /// The members of `params`, none where it is absent.
        params: Object<'a>,
    },
    /// Answers a request of ours.
    Response {
        /// The id of the request.
        id: Id<'a>,
        /// The whole `result`, or the whole `error` object.
        outcome: Result<Json<'a>, Json<'a>>,
    },
}

/// A request's id as it was written: a string or an integer. `1` and `"1"` differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    fn parse(json: Json<'a>) -> Option<Self> {
        let text = json.text();
        let integer = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        (text.starts_with('"') || integer).then_some(Self(text))
    }

    /// Returns the id's JSON text.
    pub(crate) fn text(self) -> &'a str {
        self.0
    }
}

/// A message that cannot be taken, with the id to answer to where one could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// The id's JSON text.
    pub id: Option<String>,
    /// What to answer.
    pub refusal: Refusal,
}

/// Parses one message, which has been checked to be JSON.
///
/// Duplicate keys of the envelope and of `params` are refused, since two parsers could read them differently.
pub(crate) fn parse<'a>(message: impl Into<Outline<'a>>) -> Result<Message<'a>, Rejected> {
    let reject = |id: Option<Id<'_>>, message: String| Rejected {
        id: id.map(|id| id.text().to_owned()),
        refusal: Refusal::new(code::INVALID_REQUEST, message),
    };
    let Outline { json, members, of_params } = message.into();
    if !json.is_object() {
        return Err(reject(None, "a message is one JSON object".into()));
    }
    let envelope = Object::unique(members).map_err(|e| reject(None, e.to_string()))?;
    let id = match envelope.get("id") {
        Some(value) if !(value.is_null() && envelope.get("error").is_some()) => {
            let id = Id::parse(value);
            Some(id.ok_or_else(|| reject(None, "`id` must be a string or an integer".into()))?)
        }
        _ => None,
    };
    if envelope.get("jsonrpc").and_then(Json::as_str).as_deref() != Some("2.0") {
        return Err(reject(id, "`jsonrpc` must be \"2.0\"".into()));
    }
    let Some(method) = envelope.get("method") else {
        // Some servers say both, the one that does not apply as null.
        let error = envelope.get("error").filter(|error| !error.is_null());
        return match (id, envelope.get("result"), error) {
            (Some(id), Some(result), None) => Ok(Message::Response { id, outcome: Ok(result) }),
            (Some(id), None, Some(error)) => Ok(Message::Response { id, outcome: Err(error) }),
            (None, None, Some(error)) => Ok(Message::Response { id: Id("null"), outcome: Err(error) }),
            _ => Err(reject(id, "`method` is missing".into())),
        };
    };
    let method = method.as_str().ok_or_else(|| reject(id, "`method` must be a string".into()))?;
    let params = match envelope.get("params") {
        Some(params) if params.is_object() => {
            let params = of_params.map_or_else(|| params.object(), Object::unique);
            params.map_err(|e| reject(id, format!("{e} in `params`")))?
        }
        Some(params) if !params.is_null() => return Err(reject(id, "`params` must be an object".into())),
        _ => Object::default(),
    };
    Ok(match id {
        Some(id) => Message::Request { id, method, params },
        None => Message::Notification { method, params },
    })
}

/// Returns what a body that is not JSON is answered with.
pub(crate) fn not_json(error: super::json::Malformed) -> Rejected {
    Rejected { id: None, refusal: Refusal::new(code::PARSE, format!("Parse error: {error}")) }
}

/// Returns `{"jsonrpc":"2.0","id":ID,"result":RESULT}`.
pub(crate) fn result(id: &str, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

/// Returns `{"jsonrpc":"2.0","id":ID,"error":ERROR}`; without an id that could be read it says `null`.
pub(crate) fn error(id: Option<&str>, refusal: &Refusal) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{}}}", id.unwrap_or("null"), refusal.to_json())
}

/// Returns a notification with these parameters, which are JSON text; an empty text leaves `params` out.
pub(crate) fn notification(method: &str, params: &str) -> String {
    let params = if params.is_empty() { String::new() } else { format!(",\"params\":{params}") };
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"{params}}}")
}

/// Writes a JSON object member by member.
#[derive(Debug)]
pub(crate) struct ObjectWriter(Vec<u8>);

impl Default for ObjectWriter {
    fn default() -> Self {
        Self::with_capacity(256)
    }
}

impl ObjectWriter {
    /// Begins an object that is expected to take that many bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self(out)
    }

    /// Appends a member; `value` is JSON text.
    pub(crate) fn member(&mut self, key: &str, value: &str) -> &mut Self {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        push_string(&mut self.0, key);
        self.0.push(b':');
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// Appends a member whose value is a string.
    pub(crate) fn string(&mut self, key: &str, value: &str) -> &mut Self {
        self.member(key, "");
        push_string(&mut self.0, value);
        self
    }

    /// Ends the object and returns its text.
    pub(crate) fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("only text was appended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let json = Json::check(text.as_bytes()).expect("JSON");
        match parse(json) {
            Ok(Message::Request { id, method, params }) => {
                format!(
                    "request {} {method} {}",
                    id.text(),
                    params.iter().map(|(k, _)| k.as_ref()).collect::<Vec<_>>().join(",")
                )
            }
            Ok(Message::Notification { method, .. }) => format!("notification {method}"),
            Ok(Message::Response { id, outcome }) => {
                format!(
                    "response {} {}",
                    id.text(),
                    outcome.map_or_else(|e| format!("error {}", e.text()), |r| r.text().to_owned())
                )
            }
            Err(rejected) => format!("{:?} {}", rejected.id, rejected.refusal),
        }
    }

    #[test]
    fn tells_messages_apart() {
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), @"request 1 ping ");
        insta::assert_snapshot!(check(r#"{"method":"x","params":{"b":1,"a":2},"id":"1","jsonrpc":"2.0"}"#), @r#"request "1" x b,a"#);
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#), @"notification notifications/x");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#), @"response 7 {}");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#), @r#"response null error {"code":1}"#);
    }

    #[test]
    fn refuses_ambiguity() {
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#), @r#"None duplicate key "method""#);
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":1,"n\u0061me":2}}"#), @r#"Some("1") duplicate key "name" in `params`"#);
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#), @"None `id` must be a string or an integer");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#), @"None `id` must be a string or an integer");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#), @r#"Some("1") `jsonrpc` must be "2.0""#);
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":1}"#), @r#"Some("1") `method` is missing"#);
        insta::assert_snapshot!(check("[]"), @"None a message is one JSON object");
    }
}
