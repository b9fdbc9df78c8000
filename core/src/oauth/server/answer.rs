//! How the authorization server answers: JSON to programs, pages without script to browsers.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::body::{Body, Reply, empty, json};
use crate::wire::message::ObjectWriter;

/// Why a program does not get what it asks for (RFC 6749 §5.2, RFC 7591 §3.2.2, RFC 7009 §2.2.1, RFC 8707 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The error's code.
    pub(crate) error: &'static str,
    /// What is wrong, for developers.
    pub(crate) why: String,
}

impl Failure {
    /// Makes a failure.
    pub(crate) fn new(error: &'static str, why: impl Into<String>) -> Self {
        Self { error, why: why.into() }
    }

    /// Returns the answer that says so.
    pub(crate) fn reply(&self) -> Reply {
        let status = match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut out = ObjectWriter::default();
        out.string("error", self.error).string("error_description", &self.why);
        let mut reply = private(status, out.finish());
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"portcullis\"");
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        reply
    }
}

/// Returns a JSON document that nobody may keep.
pub(super) fn private(status: StatusCode, text: String) -> Reply {
    let mut reply = json(status, text);
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

/// Answers a browser that asks whether a page may send a request (Fetch, CORS). Which pages may read the answer, the gate
/// has decided.
pub(crate) fn preflighted(method: &'static str) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(method));
    let allowed = HeaderValue::from_static("authorization, content-type, mcp-protocol-version");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    reply
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;color:#1b1b1f}\
h1{font-size:1.3rem}dt{color:#55555f;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere;font-weight:600}\
.warning{border-left:4px solid #b45309;padding:.3rem .8rem;background:#fef3e2}\
button{font:inherit;padding:.5rem 1.4rem;margin:1rem .6rem 0 0;border-radius:.4rem;border:1px solid #55555f}\
button.allow{background:#1d4ed8;border-color:#1d4ed8;color:#fff}";

/// Returns a page. What stands in it is escaped by whoever made it.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Reply {
    let text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>{body}\
         </body></html>"
    );
    let mut reply = Reply::new(Body::Full(text.into()));
    *reply.status_mut() = status;
    protect(&mut reply);
    reply
}

fn protect(reply: &mut Reply) {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    let headers = reply.headers_mut();
    let plain: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Without one at all, browsers would post the form with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in plain {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).expect("it is ASCII"));
}

/// Returns the page that says what went wrong before it was certain where an error could be sent.
pub(crate) fn page_error(status: StatusCode, why: &str) -> Reply {
    let text = format!(
        "<p>{}</p><p>Nobody was signed in. Go back to the application and try again.</p>",
        escape(why)
    );
    page(status, "This sign-in cannot go on", &text)
}

/// Sends a browser on.
pub(crate) fn redirect(to: &str) -> Reply {
    let mut reply = empty(StatusCode::FOUND);
    let headers = reply.headers_mut();
    match HeaderValue::from_str(to) {
        Ok(to) => headers.insert(header::LOCATION, to),
        Err(_) => return page_error(StatusCode::BAD_REQUEST, "The address to go on to is malformed."),
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// Sends a browser on that has posted a form: by a page, as a redirect would have to be among the addresses to which the
/// form's own page may post.
pub(crate) fn onward(to: &str) -> Reply {
    let text = format!("<p><a href=\"{}\" rel=\"noreferrer\">Go on</a></p>", escape(to));
    let mut reply = page(StatusCode::OK, "One moment", &text);
    if let Ok(refresh) = HeaderValue::from_str(&format!("0;url={to}")) {
        reply.headers_mut().insert(HeaderName::from_static("refresh"), refresh);
    }
    reply
}

/// Returns a text as HTML shows it: nothing in it is markup, and nothing turns its neighbours around.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            _ if is_hidden(c) => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

/// Tells whether a character is not seen, or changes how others are.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_text() {
        assert_eq!(escape("<a href='x'>\"&"), "&#60;a href=&#39;x&#39;&#62;&#34;&#38;");
        assert_eq!(escape("a\u{202e}b\u{200b}c\n\u{e0041}é"), "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}é");
    }
}
