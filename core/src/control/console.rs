//! The console's files: which path is which file, and with what headers it goes out. What the files say is the host's.
//!
//! **A page of the console runs what this gateway gives it and nothing else**: the policy stands here, and no file can change it.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::body::{Body, Reply, Whole, empty};
use crate::endpoint::{not_found, only};

/// The path that the console's begin with.
const ROOT: &str = "/console/";
/// What every path leads to that is no file: the application finds its own pages.
const INDEX: &str = "index.html";
/// Files here are named by what they hold, and never change.
const LASTING: &str = "assets/";
/// What a page of the console may do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file of the console, as it was built.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its path below `/console/`.
    pub path: &'static str,
    /// What kind of file it is.
    pub media_type: &'static str,
    /// A digest of what it says.
    pub digest: &'static str,
    /// What it says.
    pub bytes: &'static [u8],
    /// Whether that is compressed with gzip.
    pub compressed: bool,
}

/// Tells whether a path is the console's.
pub(crate) fn is_console(path: &str) -> bool {
    path == "/console" || path.starts_with(ROOT)
}

/// Answers a request for a file of the console.
pub(crate) fn answer(head: &Parts, assets: &'static [Asset]) -> Reply {
    if head.method != Method::GET && head.method != Method::HEAD {
        return only("GET, HEAD");
    }
    let Some(path) = head.uri.path().strip_prefix(ROOT) else {
        let mut reply = empty(StatusCode::PERMANENT_REDIRECT);
        reply.headers_mut().insert(header::LOCATION, HeaderValue::from_static(ROOT));
        return reply;
    };
    let Some(asset) = find(path, assets) else { return not_found() };
    let mut reply = if is_known(&head.headers, asset) {
        empty(StatusCode::NOT_MODIFIED)
    } else if asset.compressed && !takes_gzip(&head.headers) {
        empty(StatusCode::NOT_ACCEPTABLE)
    } else {
        whole(head, asset)
    };
    describe(reply.headers_mut(), asset);
    reply
}

/// Returns the file of a path. One that is named by what it holds, and is not there, is of another build: nothing stands in for it.
fn find(path: &str, assets: &'static [Asset]) -> Option<&'static Asset> {
    let named = |name: &str| assets.iter().find(|asset| asset.path == name);
    match named(path) {
        None if path.starts_with(LASTING) => None,
        found => found.or_else(|| named(INDEX)),
    }
}

fn whole(head: &Parts, asset: &'static Asset) -> Reply {
    let mut reply = empty(StatusCode::OK);
    if head.method == Method::HEAD {
        reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(asset.bytes.len()));
    } else {
        *reply.body_mut() = Body::Full(Whole::from(bytes::Bytes::from_static(asset.bytes)));
    }
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    if asset.compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}

/// Sets what goes with a file, whether or not it is sent again.
fn describe(headers: &mut HeaderMap, asset: &Asset) {
    let lasts = asset.path.starts_with(LASTING);
    let caching = if lasts { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", asset.digest)) {
        headers.insert(header::ETAG, tag);
    }
    if asset.compressed {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Tells whether the caller has this file already (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, asset: &Asset) -> bool {
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    tags.split(',')
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|tag| tag == asset.digest)
}

/// Tells whether the caller takes gzip: who says nothing takes anything (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut said =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).peekable();
    if said.peek().is_none() {
        return true;
    }
    let mut any = false;
    for coding in said.flat_map(|value| value.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches("q=").trim();
        let is_taken = weight.parse::<f32>().map_or(true, |weight| weight > 0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return is_taken,
            "*" => any = is_taken,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    static ASSETS: [Asset; 2] = [
        Asset {
            path: "assets/app-1.js",
            media_type: "text/javascript",
            digest: "d1",
            bytes: b"zipped",
            compressed: true,
        },
        Asset {
            path: INDEX,
            media_type: "text/html; charset=utf-8",
            digest: "d2",
            bytes: b"<html>",
            compressed: false,
        },
    ];

    fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(&request.body(()).unwrap().into_parts().0, &ASSETS)
    }

    #[track_caller]
    fn check(method: &str, path: &str, headers: &[(&str, &str)], expected: &str) {
        let reply = ask(method, path, headers);
        let said =
            |name| reply.headers().get(name).map_or("-", |value: &HeaderValue| value.to_str().unwrap());
        let got = format!(
            "{} {} {} {} {}",
            reply.status().as_u16(),
            said(header::CONTENT_TYPE),
            said(header::CONTENT_ENCODING),
            said(header::CACHE_CONTROL),
            said(header::ETAG)
        );
        assert_eq!(got, expected, "{method} {path} {headers:?}");
    }

    #[test]
    fn a_path_is_a_file_or_a_page_of_the_application() {
        let page = "200 text/html; charset=utf-8 - no-cache \"d2\"";
        let script = "200 text/javascript gzip public, max-age=31536000, immutable \"d1\"";
        check("GET", "/console/", &[], page);
        check("HEAD", "/console/", &[], page);
        check("GET", "/console/servers/a%20b?x=1", &[], page);
        check("GET", "/console/assets/app-1.js", &[], script);
        check("GET", "/console/assets/app-0.js", &[], "404 application/json - - -");
        check("GET", "/console", &[], "308 - - - -");
        check("POST", "/console/", &[], "405 - - - -");
    }

    #[test]
    fn what_the_caller_has_or_cannot_read_is_not_sent() {
        let lasting = "public, max-age=31536000, immutable \"d1\"";
        check("GET", "/console/", &[("if-none-match", "\"d1\", W/\"d2\"")], "304 - - no-cache \"d2\"");
        check(
            "GET",
            "/console/",
            &[("if-none-match", "\"d1\"")],
            "200 text/html; charset=utf-8 - no-cache \"d2\"",
        );
        for (accepted, is_sent) in [
            ("gzip, deflate, br", true),
            ("br, *;q=0.5", true),
            ("GZIP;q=0.1", true),
            ("gzip;q=0, *", false),
            ("br", false),
            ("identity", false),
            ("*;q=0", false),
        ] {
            let expected = if is_sent {
                format!("200 text/javascript gzip {lasting}")
            } else {
                format!("406 - - {lasting}")
            };
            check("GET", "/console/assets/app-1.js", &[("accept-encoding", accepted)], &expected);
        }
    }

    #[test]
    fn every_answer_with_a_file_carries_the_policy() {
        for path in ["/console/", "/console/assets/app-1.js", "/console/agents"] {
            let reply = ask("GET", path, &[]);
            let said = |name: &str| reply.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(said("content-security-policy"), POLICY);
            assert_eq!(said("x-content-type-options"), "nosniff");
            assert_eq!(said("cross-origin-opener-policy"), "same-origin");
        }
        assert_eq!(ask("HEAD", "/console/assets/app-1.js", &[]).headers()["content-length"], "6");
    }
}
