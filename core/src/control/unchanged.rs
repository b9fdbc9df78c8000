//! What is read again and has not changed is not answered again.
//!
//! **A tag stands for all that an answer says**: it has a digest of it, behind the version that a write builds on where there is
//! one. What is told as it happens, or in a stream, has none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::body::{Body, Reply};

/// How much of a digest a tag has, in bytes.
const DIGEST: usize = 15;

/// What an answer's own tag is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tagged {
    /// All that it says.
    Wholly,
    /// What a write builds on; what the answer says may change without it.
    Partly,
}

/// Answers that nothing has changed where the request knows the answer by its tag (RFC 9110, section 13.1.2).
pub(crate) fn unless_known(reply: Reply, headers: &HeaderMap, tagged: Tagged) -> Reply {
    let (mut head, body) = reply.into_parts();
    let Body::Full(whole) = body else { return Reply::from_parts(head, body) };
    if head.status != StatusCode::OK {
        return Reply::from_parts(head, Body::Full(whole));
    }
    let bytes = whole.into_bytes();
    let tag = match (head.headers.remove(header::ETAG), tagged) {
        (Some(own), Tagged::Wholly) => Some(own),
        (own, _) => of_content(own.as_ref(), &bytes),
    };
    let Some(tag) = tag else { return Reply::from_parts(head, Body::Full(bytes.into())) };
    let is_known = knows(headers, &tag);
    head.headers.insert(header::ETAG, tag);
    if is_known {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_TYPE);
        return Reply::from_parts(head, Body::default());
    }
    Reply::from_parts(head, Body::Full(bytes.into()))
}

/// Returns the tag of what is answered: `"DIGEST"`, or `"VERSION.DIGEST"`.
fn of_content(own: Option<&HeaderValue>, bytes: &[u8]) -> Option<HeaderValue> {
    let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..DIGEST]);
    let version = own.and_then(|own| own.to_str().ok()).map(|own| own.trim_matches('"'));
    let tag = version.map_or_else(|| format!("\"{digest}\""), |version| format!("\"{version}.{digest}\""));
    HeaderValue::from_str(&tag).ok()
}

fn knows(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|known| known.to_str().ok());
    let mut known = known.flat_map(|known| known.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::answer::{answer, tag};

    fn asked(known: &str, version: Option<u64>, tagged: Tagged) -> String {
        let mut headers = HeaderMap::new();
        if !known.is_empty() {
            headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
        }
        let reply = tag(answer(StatusCode::OK, &serde_json::json!({ "a": 1 })), version);
        let reply = unless_known(reply, &headers, tagged);
        let (head, body) = reply.into_parts();
        let length = match body {
            Body::Full(whole) => whole.into_bytes().len(),
            Body::Stream(_) => 0,
        };
        let header =
            |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("-");
        let tag = header(header::ETAG);
        assert_eq!(header(header::CACHE_CONTROL), "no-store");
        assert_eq!(header(header::CONTENT_TYPE) == "-", head.status == 304);
        format!("{} {length} {tag}", head.status.as_u16())
    }

    #[test]
    fn what_is_known_is_not_said_again() {
        let tag = "\"AVq9f1zFei3ZS3WQ8ErY\"";
        let check =
            |known: &str, expected: &str| assert_eq!(asked(known, None, Tagged::Partly), expected, "{known}");
        let (whole, none) = (format!("200 7 {tag}"), format!("304 0 {tag}"));
        check("", &whole);
        check(tag, &none);
        check(&format!("W/{tag}"), &none);
        check(&format!("\"other\", {tag}"), &none);
        check("*", &none);
        for other in ["\"other\"", "AVq9f1zFei3ZS3WQ8ErY", "\"1\"", "\"\"", "odd"] {
            check(other, &whole);
        }
    }

    #[test]
    fn a_version_is_kept_in_the_tag_and_does_not_stand_for_what_changes_without_it() {
        assert_eq!(asked("\"3\"", Some(3), Tagged::Wholly), "304 0 \"3\"");
        assert_eq!(asked("\"2\"", Some(3), Tagged::Wholly), "200 7 \"3\"");
        assert_eq!(asked("\"3\"", Some(3), Tagged::Partly), "200 7 \"3.AVq9f1zFei3ZS3WQ8ErY\"");
        assert_eq!(
            asked("\"3.AVq9f1zFei3ZS3WQ8ErY\"", Some(3), Tagged::Partly),
            "304 0 \"3.AVq9f1zFei3ZS3WQ8ErY\""
        );
    }

    #[test]
    fn what_is_refused_or_streamed_has_no_tag() {
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static("*"))]);
        let gone =
            unless_known(answer(StatusCode::NOT_FOUND, &serde_json::json!({})), &known, Tagged::Partly);
        assert_eq!((gone.status().as_u16(), gone.headers().get(header::ETAG)), (404, None));
        let stream = Reply::new(Body::Stream(Box::pin(futures::stream::empty())));
        let stream = unless_known(stream, &known, Tagged::Partly);
        assert_eq!((stream.status().as_u16(), stream.headers().get(header::ETAG)), (200, None));
    }
}
