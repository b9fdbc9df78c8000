//! What a browser does, over plain HTTP, for somebody who agrees to what they are asked.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::http::{Request, Response};

/// A browser: it keeps cookies by host, and goes where it is sent.
#[derive(Debug, Default)]
pub struct Browser(BTreeMap<String, BTreeMap<String, String>>);

impl Browser {
    /// Goes on until it is sent to a client's callback, and answers that.
    pub fn sign_in(&mut self, url: &str) -> String {
        let back = self.go(url, |next| next.contains("/callback?code="));
        back.unwrap_or_else(|page| panic!("it ends before: {page}"))
    }

    /// Goes on until it is sent to an address that begins so, and answers that without going there.
    pub fn stopped_at(&mut self, url: &str, before: &str) -> String {
        self.go(url, |next| next.starts_with(before)).unwrap_or_else(|page| panic!("it ends before: {page}"))
    }

    /// Goes on until there is nothing to agree to, and answers the last page.
    pub fn visit(&mut self, url: &str) -> String {
        self.go(url, |_| false).expect_err("nowhere is the end")
    }

    /// Returns the cookies that it brings to an address, as `Cookie` has them.
    pub fn cookies(&self, url: &str) -> String {
        let cookies = self.0.get(&origin_of(url)).into_iter().flatten();
        cookies.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Goes on to an address that ends it, or to a page that leads nowhere.
    fn go(&mut self, url: &str, is_end: impl Fn(&str) -> bool) -> Result<String, String> {
        let mut request = Request::get(url);
        let mut at = url.to_owned();
        for _ in 0..16 {
            let response = self.send(&request, &at);
            (request, at) = match onward(&response, &at) {
                Some(next) if is_end(&next) => return Ok(next),
                Some(next) => (Request::get(&next), next),
                None => match form(&at, response.text()) {
                    ControlFlow::Continue(form) => form,
                    ControlFlow::Break(page) => return Err(page),
                },
            };
        }
        panic!("sent around in a circle, at last to {at}");
    }

    fn send(&mut self, request: &Request, at: &str) -> Response {
        let cookies = self.0.entry(origin_of(at)).or_default();
        let line: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = request.clone().header("Cookie", line.join("; ")).send();
        for cookie in response.all("set-cookie") {
            let pair = cookie.split(';').next().and_then(|pair| pair.split_once('='));
            let (name, value) = pair.unwrap_or_else(|| panic!("no cookie: {cookie}"));
            cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }
}

/// The form of a page, with the button pressed that agrees, and where it goes; the page itself where it has none.
fn form(at: &str, page: String) -> ControlFlow<String, (Request, String)> {
    let (Some(action), Some(button)) = (tag(&page, "<form "), tag(&page, "<button class=\"allow\"")) else {
        return ControlFlow::Break(page);
    };
    let field = |tag: &str| {
        Some(format!("{}={}", attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default()))
    };
    let hidden = page.split("<input ").skip(1).filter_map(|input| field(input.split('>').next()?));
    let body: Vec<_> = hidden.chain(field(button)).collect();
    let to = absolute(attribute(action, "action").unwrap_or_default(), at);
    let form = Request::post(&to)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", origin_of(at))
        .body(body.join("&"));
    ControlFlow::Continue((form, to))
}

/// What stands in the first tag that begins so.
fn tag<'p>(page: &'p str, begins: &str) -> Option<&'p str> {
    page.split(begins).nth(1)?.split('>').next()
}

fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    tag.split(&format!("{name}=\"")).nth(1)?.split('"').next()
}

fn origin_of(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

fn absolute(to: &str, at: &str) -> String {
    if to.starts_with('/') { format!("{}{to}", origin_of(at)) } else { to.to_owned() }
}

/// Where an answer sends a browser on to.
fn onward(response: &Response, at: &str) -> Option<String> {
    let refresh = response.header("refresh").and_then(|value| value.strip_prefix("0;url="));
    Some(absolute(response.header("location").or(refresh)?, at))
}
