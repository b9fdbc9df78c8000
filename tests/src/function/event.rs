//! The events that a function URL and an HTTP API make of requests: both have the payload's version 2.0.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;
use http::request::Parts;
use serde_json::json;

use super::Front;

/// Returns the event of a request, as JSON text.
pub(super) fn of(head: &Parts, body: &[u8], front: Front) -> String {
    let domain = match front {
        Front::Url => "abcdefghijklmnopqrstuvwxyz.lambda-url.eu-west-1.on.aws",
        Front::HttpApi => "abcdefghij.execute-api.eu-west-1.amazonaws.com",
    };
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_text =
        text("content-type").starts_with("application/json") || text("content-type").starts_with("text/");
    let body = match std::str::from_utf8(body) {
        Ok(body) if is_text => (body.to_owned(), false),
        _ => (STANDARD.encode(body), true),
    };
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != header::COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let all = headers.entry(name.as_str()).or_default();
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(&value);
    }
    let cookies = head.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookies: Vec<_> = cookies.flat_map(|value| value.split("; ")).collect();
    let path = head.uri.path();
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": head.uri.query().unwrap_or_default(),
        "cookies": cookies,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghij",
            "domainName": domain,
            "domainPrefix": domain.split('.').next(),
            "http": {
                "method": head.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": text("user-agent"),
            },
            "requestId": "00000000-0000-4000-8000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "time": "26/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1_795_996_800_000_u64,
        },
        "body": body.0,
        "isBase64Encoded": body.1,
    })
    .to_string()
}
