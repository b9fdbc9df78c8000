//! Consent: which client somebody lets act for them, asked in a page of ours before the provider is asked anything.
//!
//! **No browser is sent on for another client, or to another redirect URI, than its user agreed to**; that is what keeps a
//! client from using somebody's live session at the provider. A form counts only from the browser that it was made for.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::answer::{escape, onward, page, page_error};
use super::authorize::Pending;
use super::client::is_certain;
use super::form::Form;
use super::redirect::{Destination, destination};
use super::{Authority, digest};
use crate::body::Reply;
use crate::ports::Entropy;
use crate::session::SignInPart;

/// The cookie that tells browsers apart. It is set for this host alone, over TLS alone, and for no page of others.
const BROWSER: &str = "__Host-portcullis-browser";
/// The cookie that holds to whom a browser has agreed.
const CONSENTS: &str = "__Host-portcullis-consents";
/// How long a browser is remembered, in seconds.
const REMEMBERED: u64 = 30 * 24 * 60 * 60;
/// The most consents that are.
const MOST: usize = 20;

/// To whom a browser has agreed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Consents {
    browser: String,
    /// Clients with their redirect URIs, by their digests, the latest last; and until when that counts.
    of: Vec<(String, u64)>,
}

/// How a request goes on that was found right.
#[derive(Debug)]
pub(crate) enum Next {
    /// The user has agreed before: the provider is asked.
    SignIn(Pending),
    /// The user is asked.
    Ask(Reply),
}

/// What a user has decided.
#[derive(Debug)]
pub(crate) enum Decided {
    /// The client may go on. What is remembered goes with the answer.
    Allowed(Pending, Option<HeaderValue>),
    /// This is the answer.
    Answer(Reply),
}

impl<E: Entropy> Authority<'_, E> {
    /// Returns what the browser of a request is known by, a new name where it has none.
    pub(crate) fn browser(&self, headers: &HeaderMap) -> String {
        known_browser(headers).map_or_else(|| self.random::<16>(), ToOwned::to_owned)
    }

    /// Decides whether the user of a request has to be asked.
    pub(crate) fn next(&self, pending: Pending, headers: &HeaderMap) -> Next {
        let agreed = self.consents(headers, &pending.browser);
        let key = key(&pending);
        if !pending.asks && agreed.of.iter().any(|(of, until)| *of == key && *until > self.now) {
            return Next::SignIn(pending);
        }
        let mut reply = page(StatusCode::OK, "Let this application in?", &self.question(&pending));
        reply.headers_mut().insert(header::SET_COOKIE, browser_cookie(&pending.browser));
        Next::Ask(reply)
    }

    fn question(&self, pending: &Pending) -> String {
        let name = pending.name.as_deref().unwrap_or("An application without a name");
        let from = match &pending.host {
            Some(host) => format!("<dd>{}</dd>", escape(host)),
            None => "<dd>unknown: it registered itself, and anybody can use any name</dd>".into(),
        };
        let (to, warning) = match destination(&pending.redirect) {
            Ok(Destination::Site(host)) => (host, ""),
            Ok(Destination::Machine(host)) => {
                (format!("a program on this computer ({host})"), "whatever program listens there")
            }
            Ok(Destination::App(scheme)) => (
                format!("an app on this computer ({scheme}:)"),
                "whatever app has taken that address for itself",
            ),
            Err(_) => (pending.redirect.clone(), ""),
        };
        let warning = match warning {
            "" => String::new(),
            who => format!(
                "<p class=\"warning\">Access goes to {who}. Go on only if you have just started to sign in from a program \
                 on this computer.</p>"
            ),
        };
        format!(
            "<dl><dt>Application (as it calls itself)</dt><dd>{name}</dd><dt>Published at</dt>{from}<dt>Access goes to</dt>\
             <dd>{to}</dd><dt>To act for you at</dt><dd>{at}</dd></dl>{warning}<form method=\"post\" \
             action=\"/oauth/consent\"><input type=\"hidden\" name=\"request\" value=\"{request}\"><button class=\"allow\" \
             name=\"decision\" value=\"allow\">Allow</button><button name=\"decision\" value=\"deny\">Deny</button></form>",
            name = escape(name),
            to = escape(&to),
            at = escape(&self.url(&pending.resource)),
            request = self.seal(SignInPart::Pending, pending),
        )
    }

    /// Takes what a user has decided. It counts from the page that was shown in that browser alone.
    pub(crate) fn decided(&self, headers: &HeaderMap, form: &Form) -> Decided {
        let answer = |status, why| Decided::Answer(page_error(status, why));
        let foreign = headers.get_all(header::ORIGIN).iter().any(|origin| origin != self.origin);
        if foreign {
            return answer(StatusCode::FORBIDDEN, "The form was sent by another site.");
        }
        let pending = form.one("request").ok().flatten();
        let pending = pending.and_then(|text| self.open::<Pending>(SignInPart::Pending, text));
        let Some(pending) = pending.filter(|pending| pending.expires > self.now) else {
            return answer(StatusCode::BAD_REQUEST, "The form is not one of ours, or it is too old.");
        };
        if known_browser(headers) != Some(&pending.browser) {
            return answer(
                StatusCode::FORBIDDEN,
                "The form was made for another browser, or this one keeps no cookies.",
            );
        }
        match form.one("decision") {
            Ok(Some("allow")) => {
                let remembered = self.remembered(&pending, headers);
                Decided::Allowed(pending, remembered)
            }
            Ok(Some("deny")) => Decided::Answer(onward(&self.answer(
                &pending.redirect,
                pending.state.as_deref(),
                &[("error", "access_denied"), ("error_description", "the user has denied access")],
            ))),
            _ => answer(StatusCode::BAD_REQUEST, "The form does not say what was decided."),
        }
    }

    /// Returns the cookie that holds this consent, too. What leads to a program that could be any other is not remembered
    /// (RFC 8252 §8.6).
    fn remembered(&self, pending: &Pending, headers: &HeaderMap) -> Option<HeaderValue> {
        if !is_certain(&pending.redirect) {
            return None;
        }
        let key = key(pending);
        let mut consents = self.consents(headers, &pending.browser);
        consents.of.retain(|(of, until)| *of != key && *until > self.now);
        consents.of.push((key, self.now + REMEMBERED * 1000));
        let excess = consents.of.len().saturating_sub(MOST);
        consents.of.drain(..excess);
        Some(cookie(CONSENTS, &self.seal(SignInPart::Consents, &consents), REMEMBERED))
    }

    /// Returns to whom a browser has agreed; to nobody where that is another browser's.
    fn consents(&self, headers: &HeaderMap, browser: &str) -> Consents {
        let known =
            cookie_of(headers, CONSENTS).and_then(|text| self.open::<Consents>(SignInPart::Consents, text));
        let own = known.filter(|consents| consents.browser == browser);
        own.unwrap_or_else(|| Consents { browser: browser.to_owned(), of: Vec::new() })
    }
}

/// Sends a browser on to the provider after its user has agreed.
pub(crate) fn agreed(to: &str, remembered: Option<HeaderValue>) -> Reply {
    let mut reply = onward(to);
    if let Some(cookie) = remembered {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    reply
}

/// Returns what a consent is for: the client, and where its codes go.
fn key(pending: &Pending) -> String {
    digest(&format!("{} {}", pending.client, pending.redirect))
}

/// Returns what a browser that has been here is known by.
pub(crate) fn known_browser(headers: &HeaderMap) -> Option<&str> {
    let is_ours = |text: &&str| {
        text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    cookie_of(headers, BROWSER).filter(is_ours)
}

/// Returns a cookie; none where it is there more than once.
pub(crate) fn cookie_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name);
    let first = values.next().map(|(_, value)| value);
    first.filter(|_| values.next().is_none())
}

/// Returns the cookie by which a browser is known again.
pub(crate) fn browser_cookie(browser: &str) -> HeaderValue {
    cookie(BROWSER, browser, REMEMBERED)
}

fn cookie(name: &str, value: &str, seconds: u64) -> HeaderValue {
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    HeaderValue::from_str(&text).expect("it is ASCII")
}
