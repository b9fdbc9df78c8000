//! A browser whose every step a test takes itself: it keeps the gateway's cookies, and follows nothing.

use std::collections::BTreeMap;

use portcullis_tests::http::{Request, Response};

const FORM: &str = "application/x-www-form-urlencoded";

/// A browser of somebody's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Browser(BTreeMap<String, String>);

/// A page as it came.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Browser {
    /// Opens an address.
    pub(crate) fn get(&mut self, url: &str) -> Page {
        self.send(Request::get(url))
    }

    /// Sends a form, as a page of that origin does.
    pub(crate) fn post(&mut self, url: &str, origin: &str, fields: &[(&str, &str)]) -> Page {
        let body: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.send(
            Request::post(url).header("Content-Type", FORM).header("Origin", origin).body(body.join("&")),
        )
    }

    /// Sends any request with its cookies.
    pub(crate) fn send(&mut self, request: Request) -> Page {
        let line: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let page = Page::of(request.header("Cookie", line.join("; ")).send());
        for cookie in page.all("set-cookie") {
            // Only so is it sent over TLS alone, to this host alone, and to no form of another site.
            for rule in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
                assert!(cookie.starts_with("__Host-") && cookie.contains(rule), "{cookie}");
            }
            assert!(!cookie.contains("Domain"), "{cookie}");
            let (name, value) = cookie.split(';').next().and_then(|c| c.split_once('=')).expect("a cookie");
            self.0.insert(name.to_owned(), value.to_owned());
        }
        page
    }
}

impl Page {
    fn of(response: Response) -> Self {
        let headers = response.headers().to_vec();
        let page = Self { status: response.status, headers, text: response.text() };
        if page.header("content-type").starts_with("text/html") {
            page.assert_framed_by_nobody();
        }
        page
    }

    fn all<'p>(&'p self, name: &str) -> impl Iterator<Item = &'p str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Where the browser is sent on to; nothing where it stays.
    pub(crate) fn onward(&self) -> Option<&str> {
        let refresh =
            self.all("refresh").next().map(|value| value.split_once("url=").map_or("", |(_, url)| url));
        self.all("location").next().or(refresh)
    }

    /// The value of a hidden field.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        let begins = format!("name=\"{name}\" value=\"");
        let value = self.text.split(&*begins).nth(1).and_then(|rest| rest.split('"').next());
        value.unwrap_or_else(|| panic!("no {name} in {}", self.text)).to_owned()
    }

    /// Fails where another site could show the page in a frame, run a script in it, or keep it.
    #[track_caller]
    fn assert_framed_by_nobody(&self) {
        let policy = self.header("content-security-policy");
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"]
        {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("script-src") && !self.text.contains("<script"), "{}", self.text);
        assert_eq!((self.header("x-frame-options"), self.header("cache-control")), ("DENY", "no-store"));
        // Whoever is let read it does so without the browser's cookies.
        assert_ne!(self.header("access-control-allow-origin"), "*");
        assert_eq!(self.header("access-control-allow-credentials"), "");
    }
}
