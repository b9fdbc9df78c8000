//! Core's answers as each front takes them: status, headers and body in one document, or status and headers before what
//! streams.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use portcullis_core::body::{Body, Reply};
use serde::Serialize;

use crate::event::{Front, Headers};
use crate::runtime::Answer;
use crate::settings::Answers;

/// The largest body that passes where an answer is one document, in bytes: such a document is of 6 MB at most, and a
/// text may be twice as long in it.
const DOCUMENT: usize = 3 << 20;
/// That of a load balancer, whose documents are of 1 MB at most.
const BALANCED: usize = 512 << 10;
/// How long API Gateway waits for a document, in milliseconds.
const PATIENCE: u64 = 29_000;

/// How an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it comes.
    Streamed,
    /// As one document whose body is of so many bytes at most.
    Whole(usize),
}

impl Way {
    /// Returns how a front takes answers, unless the settings know better.
    pub(crate) fn of(front: Front, answers: Answers) -> Self {
        let largest = if matches!(front, Front::LoadBalancer(_)) { BALANCED } else { DOCUMENT };
        match (answers, front) {
            (Answers::Streamed, _) | (Answers::AsFront, Front::FunctionUrl) => Self::Streamed,
            (Answers::Whole | Answers::AsFront, _) => Self::Whole(largest),
        }
    }

    /// Returns when an answer has to be there that the platform waits for until `deadline`.
    pub(crate) fn until(self, front: Front, deadline: u64, now: u64) -> u64 {
        match (self, front) {
            (Self::Whole(_), Front::HttpApi | Front::RestApi) => deadline.min(now + PATIENCE),
            _ => deadline,
        }
    }

    /// Makes what goes to the platform.
    pub(crate) async fn answer(self, reply: Reply, front: Front) -> Answer {
        let (head, body) = reply.into_parts();
        match self {
            Self::Streamed => {
                let prelude = Head {
                    status_code: head.status.as_u16(),
                    headers: Some(joined(&head.headers)),
                    cookies: Some(cookies(&head.headers)),
                    ..Head::default()
                };
                Answer::Streamed(prelude.to_text(), body)
            }
            Self::Whole(most) => Answer::Whole(match body.collect(most).await {
                Ok(body) => document(head.status, &head.headers, &body, front),
                Err(error) => {
                    let text = format!("the answer cannot be passed on: {error}");
                    document(StatusCode::BAD_GATEWAY, &HeaderMap::new(), text.as_bytes(), front)
                }
            }),
        }
    }
}

/// The way of an answer that says nothing but why there is none.
pub(crate) fn plain(status: StatusCode, why: &str) -> Reply {
    let mut reply = http::Response::new(Body::Full(Bytes::from(format!("{why}\n")).into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    status_code: u16,
    /// A load balancer asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'a str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<BTreeMap<&'a str, Vec<String>>>,
    /// What is no header of its own there, where values are joined. It may be empty, and `cargo lambda watch` wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_base64_encoded: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Text<'a> {
    AsItIs(&'a str),
    Encoded(String),
}

impl Head<'_> {
    fn to_text(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain data").into()
    }
}

fn document(status: StatusCode, headers: &HeaderMap, body: &[u8], front: Front) -> Bytes {
    let text = std::str::from_utf8(body).map(Text::AsItIs);
    let mut head = Head {
        status_code: status.as_u16(),
        is_base64_encoded: Some(text.is_err()),
        body: Some(text.unwrap_or_else(|_| Text::Encoded(STANDARD.encode(body)))),
        ..Head::default()
    };
    if matches!(front, Front::LoadBalancer(_)) {
        head.status_description = Some(status.to_string());
    }
    match front {
        Front::RestApi | Front::LoadBalancer(Headers::Lists) => {
            head.multi_value_headers = Some(listed(headers));
        }
        Front::FunctionUrl | Front::HttpApi => {
            head.headers = Some(joined(headers));
            head.cookies = Some(cookies(headers));
        }
        Front::LoadBalancer(Headers::Single) => {
            let mut joined = joined(headers);
            // There is room for one.
            joined.extend(cookies(headers).pop().map(|cookie| ("set-cookie", cookie)));
            head.headers = Some(joined);
        }
    }
    head.to_text()
}

fn values(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.get_all(name).iter().map(text).collect()
}

fn listed(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    headers.keys().map(|name| (name.as_str(), values(headers, name))).collect()
}

/// Returns each header with its values in one (RFC 9110, section 5.3), but for cookies, for which that cannot be.
fn joined(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let others = headers.keys().filter(|name| *name != header::SET_COOKIE);
    others.map(|name| (name.as_str(), values(headers, name).join(", "))).collect()
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    values(headers, &header::SET_COOKIE)
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use portcullis_core::error::Unreachable;

    use super::*;

    fn reply(body: Body) -> Reply {
        let reply = http::Response::builder().status(404).header("x-a", "1").header("x-a", "2");
        let reply = reply.header("set-cookie", "a=1").header("set-cookie", "b=2");
        reply.header("content-type", "application/json").body(body).expect("an answer")
    }

    async fn check(way: Way, body: Body, front: Front) -> String {
        match way.answer(reply(body), front).await {
            Answer::Whole(text) => String::from_utf8(text.into()).expect("UTF-8"),
            Answer::Streamed(prelude, body) => format!("{} then {body:?}", prelude.escape_ascii()),
        }
    }

    fn text() -> Body {
        Body::Full(Bytes::from_static(br#"{"a":"b"}"#).into())
    }

    #[tokio::test]
    async fn each_front_gets_what_it_takes() {
        let single = Front::LoadBalancer(Headers::Single);
        let lists = Front::LoadBalancer(Headers::Lists);
        let whole = Way::Whole(100);
        insta::assert_snapshot!(check(Way::Streamed, text(), Front::FunctionUrl).await, @r#"{\"statusCode\":404,\"headers\":{\"content-type\":\"application/json\",\"x-a\":\"1, 2\"},\"cookies\":[\"a=1\",\"b=2\"]} then Full(9 bytes)"#);
        insta::assert_snapshot!(check(whole, text(), Front::HttpApi).await, @r#"{"statusCode":404,"headers":{"content-type":"application/json","x-a":"1, 2"},"cookies":["a=1","b=2"],"body":"{\"a\":\"b\"}","isBase64Encoded":false}"#);
        insta::assert_snapshot!(check(whole, text(), Front::RestApi).await, @r#"{"statusCode":404,"multiValueHeaders":{"content-type":["application/json"],"set-cookie":["a=1","b=2"],"x-a":["1","2"]},"body":"{\"a\":\"b\"}","isBase64Encoded":false}"#);
        insta::assert_snapshot!(check(whole, text(), single).await, @r#"{"statusCode":404,"statusDescription":"404 Not Found","headers":{"content-type":"application/json","set-cookie":"b=2","x-a":"1, 2"},"body":"{\"a\":\"b\"}","isBase64Encoded":false}"#);
        insta::assert_snapshot!(check(whole, text(), lists).await, @r#"{"statusCode":404,"statusDescription":"404 Not Found","multiValueHeaders":{"content-type":["application/json"],"set-cookie":["a=1","b=2"],"x-a":["1","2"]},"body":"{\"a\":\"b\"}","isBase64Encoded":false}"#);
        let bytes = Body::Full(Bytes::from_static(b"\xff").into());
        insta::assert_snapshot!(check(whole, bytes, Front::HttpApi).await, @r#"{"statusCode":404,"headers":{"content-type":"application/json","x-a":"1, 2"},"cookies":["a=1","b=2"],"body":"/w==","isBase64Encoded":true}"#);
    }

    #[tokio::test]
    async fn what_cannot_be_passed_on_whole_is_said_to_be_so() {
        let chunks = |chunks: Vec<Result<Bytes, Unreachable>>| Body::Stream(stream::iter(chunks).boxed());
        let part = || Ok(Bytes::from_static(b"0123456789"));
        let parts = chunks(vec![part(), part()]);
        insta::assert_snapshot!(check(Way::Whole(20), parts, Front::HttpApi).await, @r#"{"statusCode":404,"headers":{"content-type":"application/json","x-a":"1, 2"},"cookies":["a=1","b=2"],"body":"01234567890123456789","isBase64Encoded":false}"#);
        let parts = chunks(vec![part(), part()]);
        insta::assert_snapshot!(check(Way::Whole(19), parts, Front::HttpApi).await, @r#"{"statusCode":502,"headers":{},"cookies":[],"body":"the answer cannot be passed on: the body is larger than 19 bytes","isBase64Encoded":false}"#);
        let broken = chunks(vec![part(), Err(Unreachable::new("a", "broke off"))]);
        insta::assert_snapshot!(check(Way::Whole(20), broken, Front::HttpApi).await, @r#"{"statusCode":502,"headers":{},"cookies":[],"body":"the answer cannot be passed on: the body broke off: server \"a\" broke off","isBase64Encoded":false}"#);
    }

    #[test]
    fn the_front_decides_unless_the_settings_do() {
        let way = |front, answers| Way::of(front, answers);
        let balancer = Front::LoadBalancer(Headers::Single);
        assert_eq!(way(Front::FunctionUrl, Answers::AsFront), Way::Streamed);
        assert_eq!(way(Front::FunctionUrl, Answers::Whole), Way::Whole(DOCUMENT));
        assert_eq!(way(Front::RestApi, Answers::Streamed), Way::Streamed);
        assert_eq!(way(Front::RestApi, Answers::AsFront), Way::Whole(DOCUMENT));
        assert_eq!(way(balancer, Answers::AsFront), Way::Whole(BALANCED));
    }

    #[test]
    fn api_gateway_waits_less_long_than_the_function_may_run() {
        let (whole, deadline) = (Way::Whole(1), 900_000);
        assert_eq!(whole.until(Front::HttpApi, deadline, 0), PATIENCE);
        assert_eq!(whole.until(Front::RestApi, 1000, 0), 1000);
        assert_eq!(whole.until(Front::LoadBalancer(Headers::Lists), deadline, 0), deadline);
        assert_eq!(Way::Streamed.until(Front::RestApi, deadline, 0), deadline);
    }
}
