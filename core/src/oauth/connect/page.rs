//! The pages of connecting: what is about to happen, and what came of it. They have no script.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue, StatusCode, header};
use url::Url;

use super::Asked;
use crate::body::Reply;
use crate::oauth::server::answer::{escape, page};

/// What a page is about.
#[derive(Debug)]
pub(crate) struct Pages<'a> {
    /// The server's name.
    pub(crate) server: &'a str,
    /// Where it is.
    pub(crate) url: &'a Url,
    /// Where the form goes.
    pub(crate) action: &'a str,
}

impl Pages<'_> {
    /// Returns the page that asks whether to connect. `form` is what the browser brings back; `wrong` says that what it
    /// brought was no proof.
    pub(crate) fn ask(
        &self,
        (asked, is_wrong): (Asked, bool),
        form: &str,
        for_everyone: bool,
        cookie: HeaderValue,
    ) -> Reply {
        let mut text = format!(
            "<p>Portcullis will act for {whom} at this server. You sign in there next, and decide what it may do.</p>\
             <dl><dt>Server</dt><dd>{name}</dd><dt>At</dt><dd>{host}</dd></dl>",
            whom = if for_everyone { "everybody who uses this gateway" } else { "you" },
            name = escape(self.server),
            host = escape(self.url.host_str().unwrap_or_default()),
        );
        if is_wrong {
            text.push_str("<p class=\"warning\">This is not the credential that the call was made with.</p>");
        }
        let field = match asked {
            Asked::ApiKey => Some("Your API key, which shows that the call was yours"),
            Asked::AdminKey => Some("The admin key of this gateway"),
            Asked::Presence | Asked::SignIn => None,
        };
        let _ = write!(
            text,
            "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"form\" value=\"{form}\">",
            escape(self.action),
        );
        if let Some(label) = field {
            let _ = write!(
                text,
                "<p><label>{label}<br><input type=\"password\" name=\"key\" autocomplete=\"off\" required></label></p>"
            );
        }
        let button = if asked == Asked::SignIn { "Sign in and connect" } else { "Connect" };
        let _ = write!(
            text,
            "<button class=\"allow\" name=\"decision\" value=\"connect\">{button}</button>\
             <button name=\"decision\" value=\"disconnect\">Disconnect</button></form>"
        );
        let status = if is_wrong { StatusCode::FORBIDDEN } else { StatusCode::OK };
        let mut reply = page(status, "Connect your account?", &text);
        reply.headers_mut().insert(header::SET_COOKIE, cookie);
        reply
    }
}

/// Returns the page that says which code is to be entered at which page, and looks again after so many seconds.
pub(crate) fn enter(server: &str, (code, at): (&str, &str), seconds: u64) -> Reply {
    let text = format!(
        "<p>Go to the page below, and enter this code there, so that Portcullis can act for you at <b>{}</b>. Leave this page \
         open: it goes on by itself.</p><dl><dt>Code</dt><dd>{}</dd><dt>Page</dt><dd><a href=\"{page}\" target=\"_blank\" \
         rel=\"noreferrer\">{page}</a></dd></dl>",
        escape(server),
        escape(code),
        page = escape(at),
    );
    let mut reply = page(StatusCode::OK, "Enter this code", &text);
    reply.headers_mut().insert(HeaderName::from_static("refresh"), seconds.into());
    reply
}

/// Returns the page that says that it is done.
pub(crate) fn connected(server: &str) -> Reply {
    let text = format!(
        "<p>Portcullis can act for you at <b>{}</b>.</p><p>You can close this page and go back to your agent.</p>",
        escape(server)
    );
    page(StatusCode::OK, "Connected", &text)
}

/// Returns the page that says that there is no connection any more, and how many there were.
pub(crate) fn disconnected(server: &str, count: usize) -> Reply {
    let name = escape(server);
    let text = match count {
        0 => format!("<p>There was no connection to <b>{name}</b>.</p>"),
        _ => format!(
            "<p>Portcullis can no longer act for you at <b>{name}</b>, and has forgotten its tokens.</p>"
        ),
    };
    page(StatusCode::OK, "Disconnected", &text)
}

/// Returns the page that says why it cannot be.
pub(crate) fn refused(status: StatusCode, why: &str) -> Reply {
    let text = format!("<p>{}</p><p>Nothing was connected.</p>", escape(why));
    page(status, "This cannot be connected", &text)
}

/// Returns the page that says that a server, or its authorization server, is to blame.
pub(crate) fn failed(why: &str) -> Reply {
    refused(StatusCode::BAD_GATEWAY, why)
}

/// Returns the page that says that nobody knows what the browser brings.
pub(crate) fn unknown() -> Reply {
    refused(
        StatusCode::BAD_REQUEST,
        "This was not begun here in this browser, or it took too long. Have your agent call again, and open the link that it \
         shows you.",
    )
}
