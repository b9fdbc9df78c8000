//! Events that stand for HTTP requests: from a function URL, API Gateway's two kinds of APIs, and a load balancer.
//!
//! **The path is the client's**: the stage that an API puts before it is taken away, what is not allowed in a path is
//! encoded, and what is encoded stays so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use portcullis_core::body::Body;
use serde::Deserialize;

/// The domain that every function URL is of.
const FUNCTION_URLS: &str = ".lambda-url.";

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// A function URL.
    FunctionUrl,
    /// An HTTP API of API Gateway.
    HttpApi,
    /// A REST API of API Gateway.
    RestApi,
    /// A load balancer, and how it has headers.
    LoadBalancer(Headers),
}

/// How a load balancer has headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// One value for each name.
    Single,
    /// A list of values for each name.
    Lists,
}

/// Why an event is not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Odd {
    /// It is no request.
    #[error("the event is no HTTP request of a function URL, API Gateway or a load balancer: {0}")]
    NoRequest(String),
    /// It is one that its client should not have sent.
    #[error("{1}")]
    Malformed(Front, String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    version: Option<String>,
    resource: Option<String>,
    route_key: Option<String>,
    path: Option<String>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    http_method: Option<String>,
    headers: Option<BTreeMap<String, Option<String>>>,
    multi_value_headers: Option<BTreeMap<String, Option<Vec<String>>>>,
    query_string_parameters: Option<BTreeMap<String, String>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Vec<String>>>,
    path_parameters: Option<BTreeMap<String, String>>,
    cookies: Option<Vec<String>>,
    request_context: Context,
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    http: Option<Http>,
    elb: Option<serde::de::IgnoredAny>,
    stage: Option<String>,
    domain_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Http {
    method: String,
}

/// Returns the request that an event stands for, and where it comes from.
pub(crate) fn request(event: &[u8]) -> Result<(Request<Body>, Front), Odd> {
    let event: Event = serde_json::from_slice(event).map_err(|error| Odd::NoRequest(error.to_string()))?;
    let nothing = || Odd::NoRequest("it has neither `httpMethod` nor `requestContext.http`".into());
    let front = event.front().ok_or_else(nothing)?;
    let request = event.into_request(front).map_err(|why| Odd::Malformed(front, why))?;
    Ok((request, front))
}

impl Event {
    fn into_request(mut self, front: Front) -> Result<Request<Body>, String> {
        let mut request = Request::new(Body::Full(self.take_body()?.into()));
        *request.method_mut() = self.method()?;
        *request.uri_mut() = self.uri(front)?;
        let headers = request.headers_mut();
        for (name, value) in self.header_lines() {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("the name of a header", name))?;
            let value =
                HeaderValue::from_str(value).map_err(|_| refused("the value of a header", name.as_str()))?;
            headers.append(name, value);
        }
        let domain = self.request_context.domain_name.as_deref();
        let domain = domain.filter(|_| !headers.contains_key(header::HOST));
        if let Some(Ok(host)) = domain.map(HeaderValue::from_str) {
            headers.insert(header::HOST, host);
        }
        Ok(request)
    }

    fn front(&self) -> Option<Front> {
        let context = &self.request_context;
        let is_url = context.domain_name.as_ref().is_some_and(|domain| domain.contains(FUNCTION_URLS));
        match (self.version.as_deref(), &context.http, &self.http_method) {
            (Some("2.0"), Some(_), _) if is_url => Some(Front::FunctionUrl),
            (Some("2.0"), Some(_), _) => Some(Front::HttpApi),
            (_, None, Some(_)) if context.elb.is_some() => {
                let lists = self.multi_value_headers.is_some();
                Some(Front::LoadBalancer(if lists { Headers::Lists } else { Headers::Single }))
            }
            (_, None, Some(_)) => Some(Front::RestApi),
            _ => None,
        }
    }

    fn method(&self) -> Result<Method, String> {
        let method =
            self.request_context.http.as_ref().map(|http| &http.method).or(self.http_method.as_ref());
        let method = method.map(String::as_str).unwrap_or_default();
        Method::from_bytes(method.as_bytes()).map_err(|_| refused("the method", method))
    }

    fn take_body(&mut self) -> Result<Bytes, String> {
        let body = self.body.take().unwrap_or_default();
        if !self.is_base64_encoded {
            return Ok(body.into());
        }
        let body = STANDARD.decode(body).map_err(|error| format!("the body is no base64: {error}"))?;
        Ok(body.into())
    }

    fn uri(&self, front: Front) -> Result<Uri, String> {
        let mut uri = encoded(&self.path(), Part::Path).into_owned();
        let query = self.query(front);
        if !query.is_empty() {
            uri.push('?');
            uri.push_str(&query);
        }
        let parsed = uri.parse().ok().filter(|_| uri.starts_with('/'));
        parsed.ok_or_else(|| refused("the path", &uri))
    }

    /// Returns the path without what the front has put before it.
    fn path(&self) -> Cow<'_, str> {
        let whole = self.raw_path.as_deref().or(self.path.as_deref()).unwrap_or("/");
        // What a greedy route matches is what the client asked for, whatever domain and stage are before it.
        let route = self.resource.as_deref().or_else(|| self.route_key.as_deref()?.split(' ').nth(1));
        let proxied = self.path_parameters.as_ref().and_then(|parameters| parameters.get("proxy"));
        if let (Some(mount), Some(rest)) = (route.and_then(|route| route.strip_suffix("{proxy+}")), proxied) {
            return format!("{mount}{}", rest.trim_start_matches('/')).into();
        }
        let stage = self.request_context.stage.as_deref().filter(|stage| *stage != "$default");
        let rest = stage.and_then(|stage| whole.strip_prefix('/')?.strip_prefix(stage));
        match rest {
            Some("") => "/".into(),
            Some(rest) if rest.starts_with('/') => rest.into(),
            _ => whole.into(),
        }
    }

    fn query(&self, front: Front) -> Cow<'_, str> {
        if let Some(raw) = &self.raw_query_string {
            return encoded(raw, Part::Query);
        }
        // A load balancer leaves them as they are; a REST API decodes them.
        let part = if front == Front::RestApi { Part::Value } else { Part::Query };
        let mut query = String::new();
        let mut add = |name: &str, value: &str| {
            let separator = if query.is_empty() { "" } else { "&" };
            let _ = write!(query, "{separator}{}={}", encoded(name, part), encoded(value, part));
        };
        if let Some(all) = &self.multi_value_query_string_parameters {
            for (name, values) in all {
                for value in values {
                    add(name, value);
                }
            }
        } else if let Some(all) = &self.query_string_parameters {
            for (name, value) in all {
                add(name, value);
            }
        }
        query.into()
    }

    /// Returns the names and values of all headers.
    fn header_lines(&self) -> impl Iterator<Item = (&str, &str)> {
        let lists = self.multi_value_headers.iter().flatten();
        let lists = lists
            .flat_map(|(name, values)| values.iter().flatten().map(|value| (name.as_str(), value.as_str())));
        let single = self.headers.iter().flatten().filter(|_| self.multi_value_headers.is_none());
        let single = single.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
        // Where cookies are listed, a header with the same says nothing more; a cookie that is there twice counts as none.
        let single =
            single.filter(|(name, _)| self.cookies.is_none() || !name.eq_ignore_ascii_case("cookie"));
        let cookies = self.cookies.iter().flatten().map(|cookie| ("cookie", cookie.as_str()));
        lists.chain(single).chain(cookies)
    }
}

fn refused(what: &str, text: &str) -> String {
    format!("{what} cannot be one: {text:?}")
}

/// Where in a URI something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Query,
    /// A name or a value of the query, of which nothing is encoded yet.
    Value,
}

impl Part {
    fn allows(self, byte: u8) -> bool {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        unreserved
            || match self {
                Self::Path => b"/!$&'()*+,;=:@".contains(&byte),
                Self::Query => b"/?!$&'()*+,;=:@".contains(&byte),
                Self::Value => false,
            }
    }
}

/// Encodes what is not allowed there; what is encoded already stays so.
fn encoded(text: &str, part: Part) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_encoded = |at: usize| {
        part != Part::Value && bytes[at..].get(1..3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    let stays = |at: usize, byte: u8| part.allows(byte) || (byte == b'%' && is_encoded(at));
    if bytes.iter().enumerate().all(|(at, byte)| stays(at, *byte)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for (at, &byte) in bytes.iter().enumerate() {
        if stays(at, byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Describes what a fixture is understood as.
    fn check(event: &str) -> String {
        let (request, front) = match request(event.as_bytes()) {
            Ok(understood) => understood,
            Err(odd) => return format!("{odd:?}"),
        };
        let (head, body) = request.into_parts();
        let told = ["accept", "cookie", "host", "mcp-session-id", "x-portcullis-tag"];
        let headers: Vec<_> = head.headers.iter().filter(|(name, _)| told.contains(&name.as_str())).collect();
        let Body::Full(body) = body else { panic!("a whole body") };
        let body = body.into_bytes();
        format!("{front:?} {} {}\n{headers:?}\n{}", head.method, head.uri, body.escape_ascii())
    }

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("../tests/events/", $name, ".json"))
        };
    }

    #[test]
    fn a_function_url_is_understood() {
        insta::assert_snapshot!(check(fixture!("function-url")), @r#"
FunctionUrl POST /mcp/servers/a%20b?from=1&to=%2B2
[("accept", "application/json, text/event-stream"), ("host", "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"), ("cookie", "one=1"), ("cookie", "two=2")]
{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}
"#);
        insta::assert_snapshot!(check(fixture!("function-url-get")), @r#"
FunctionUrl GET /
[("host", "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"), ("mcp-session-id", "a,b")]
"#);
    }

    #[test]
    fn api_gateway_is_understood() {
        insta::assert_snapshot!(check(fixture!("http-api")), @r#"
HttpApi POST /mcp/servers/%C3%A4%20b
[("host", "abcdefghij.execute-api.eu-central-1.amazonaws.com")]
\x00\x01\xfe\xff
"#);
        insta::assert_snapshot!(check(fixture!("http-api-custom-domain")), @r#"
HttpApi POST /mcp?a=b%20c
[("host", "mcp.example.com")]
{}
"#);
        insta::assert_snapshot!(check(fixture!("rest-api")), @r#"
RestApi POST /mcp?from=1&q=x%3D1&q=y%26z
[("accept", "application/json"), ("accept", "text/event-stream"), ("host", "abcdefghij.execute-api.eu-central-1.amazonaws.com"), ("x-portcullis-tag", "first"), ("x-portcullis-tag", "second")]
{}
"#);
        insta::assert_snapshot!(check(fixture!("rest-api-root")), @"
RestApi OPTIONS /
[]
");
    }

    #[test]
    fn a_load_balancer_is_understood() {
        insta::assert_snapshot!(check(fixture!("load-balancer")), @r#"
LoadBalancer(Single) POST /mcp%2Fx?q=a%26b
[("accept", "application/json"), ("host", "portcullis-0123456789.eu-central-1.elb.amazonaws.com")]
{}
"#);
        insta::assert_snapshot!(check(fixture!("load-balancer-lists")), @r#"
LoadBalancer(Lists) GET /readyz?q=1&q=2
[("accept", "*/*"), ("host", "portcullis-0123456789.eu-central-1.elb.amazonaws.com"), ("x-portcullis-tag", "first"), ("x-portcullis-tag", "second")]
"#);
    }

    #[test]
    fn what_is_no_request_is_said_to_be_none() {
        insta::assert_snapshot!(check(fixture!("queue")), @r#"NoRequest("it has neither `httpMethod` nor `requestContext.http`")"#);
        insta::assert_snapshot!(check("[]"), @r#"NoRequest("it has neither `httpMethod` nor `requestContext.http`")"#);
        let url = fixture!("function-url");
        insta::assert_snapshot!(check(&url.replace("\"mcp-method\"", "\"mcp method\"")), @r#"Malformed(FunctionUrl, "the name of a header cannot be one: \"mcp method\"")"#);
        insta::assert_snapshot!(check(&url.replace("tools/list\",\n    \"mcp-pro", "a\\nb\",\n    \"mcp-pro")), @r#"Malformed(FunctionUrl, "the value of a header cannot be one: \"mcp-method\"")"#);
        insta::assert_snapshot!(check(&url.replace("\"method\": \"POST\"", "\"method\": \"PO ST\"")), @r#"Malformed(FunctionUrl, "the method cannot be one: \"PO ST\"")"#);
        insta::assert_snapshot!(check(&url.replace("\"isBase64Encoded\": false", "\"isBase64Encoded\": true")), @r#"Malformed(FunctionUrl, "the body is no base64: Invalid symbol 123, offset 0.")"#);
    }

    #[test]
    fn paths_are_the_clients() {
        let path = |path: &str| {
            let event =
                fixture!("function-url-get").replace("\"rawPath\": \"/\"", &format!("\"rawPath\": {path:?}"));
            request(event.as_bytes()).map(|(request, _)| request.uri().to_string()).unwrap_or_default()
        };
        let odd = [
            "/mcp",
            "//mcp",
            "/./mcp",
            "/mcp/../x",
            "/mcp%2f..%2Fx",
            "/a%zz",
            "/a?b#c",
            "/ü",
            "/a b",
            "/[x]|",
        ];
        insta::assert_snapshot!(odd.map(path).join(" "), @"/mcp //mcp /./mcp /mcp/../x /mcp%2f..%2Fx /a%25zz /a%3Fb%23c /%C3%BC /a%20b /%5Bx%5D%7C");
    }
}
