//! The console's cookie, and from which page a request with it may come.
//!
//! **A session counts for its own console alone**: a request that changes something says by headers which a browser sets, and by
//! one that no form can send, that it was sent from a page of the gateway's own.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::oauth::server::cookie_of;
use crate::wire::http as names;

/// The cookie where the gateway is reached over TLS: for this host alone, whichever site set it.
const SECURE: &str = "__Host-portcullis-session";
/// The cookie on this machine, where there is no TLS.
const PLAIN: &str = "portcullis-session";
/// A header that no form sends.
const CONSOLE: HeaderName = HeaderName::from_static("x-portcullis-console");
/// Where a browser says which page sends a request (Fetch Metadata).
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a gateway is reached by a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Whether without TLS, on this machine.
    pub(crate) plainly: bool,
    /// The origins that are the gateway's own there.
    pub(crate) origins: Vec<String>,
}

impl Reached {
    fn cookie(&self) -> &'static str {
        if self.plainly { PLAIN } else { SECURE }
    }

    /// Returns the session's id that a request brings.
    pub(crate) fn id<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        cookie_of(headers, self.cookie())
    }

    /// Returns what sets the cookie.
    pub(crate) fn set(&self, id: &str, seconds: u64) -> HeaderValue {
        let (name, secure) = (self.cookie(), if self.plainly { "" } else { " Secure;" });
        let text = format!("{name}={id}; Path=/; Max-Age={seconds}; HttpOnly;{secure} SameSite=Strict");
        HeaderValue::from_str(&text).expect("it is ASCII")
    }

    /// Returns what has a browser forget it.
    pub(crate) fn forget(&self) -> HeaderValue {
        self.set("", 0)
    }

    /// Says why a request may not use its cookie, where it may not.
    pub(crate) fn check(&self, head: &Parts) -> Result<(), &'static str> {
        let site = names::single(&head.headers, &SITE).map_err(|_| "`Sec-Fetch-Site` appears twice")?;
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        if let Some(site) = site
            && site != "same-origin"
            && !(reads && site == "none")
        {
            return Err("a page of another origin sends it");
        }
        let origin = names::single(&head.headers, &header::ORIGIN).map_err(|_| "`Origin` appears twice")?;
        if let Some(origin) = origin
            && !self.origins.iter().any(|own| own == origin)
        {
            return Err("a page of another origin sends it");
        }
        if reads {
            return Ok(());
        }
        if site.is_none() && origin.is_none() {
            return Err("nothing says which page sends it");
        }
        match names::single(&head.headers, &CONSOLE) {
            Ok(Some("1")) => Ok(()),
            _ => Err("it lacks the header `X-Portcullis-Console: 1`"),
        }
    }
}

/// Returns the path below the console that somebody wants to come back to; its first page where that is no such path.
pub(crate) fn way_back(to: Option<&str>) -> &str {
    const FIRST: &str = "/console/";
    let is_plain = |to: &&str| {
        let path = to.split(['?', '#']).next().unwrap_or_default();
        let parts = path.split('/');
        to.starts_with(FIRST)
            && to.len() <= 1024
            && to.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
            && parts.skip(1).all(|part| {
                !matches!(part.to_ascii_lowercase().as_str(), "." | ".." | "%2e" | "%2e%2e" | ".%2e" | "%2e.")
            })
            && !path.contains("//")
    };
    to.filter(is_plain).unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached() -> Reached {
        Reached { plainly: false, origins: vec!["https://gw.test".into()] }
    }

    fn check(method: &str, headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let mut request = http::Request::builder().method(method).uri("/admin/v1/me");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        reached().check(&request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn what_changes_something_comes_from_the_console() {
        let own =
            [("sec-fetch-site", "same-origin"), ("origin", "https://gw.test"), ("x-portcullis-console", "1")];
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(check(method, &own), Ok(()));
            assert_eq!(check(method, &own[..2]), Err("it lacks the header `X-Portcullis-Console: 1`"));
            assert_eq!(check(method, &own[2..]), Err("nothing says which page sends it"));
            assert_eq!(check(method, &own[1..]), Ok(()), "an old browser");
            for site in ["cross-site", "same-site", "none", ""] {
                let sent = [("sec-fetch-site", site), own[1], own[2]];
                assert_eq!(check(method, &sent), Err("a page of another origin sends it"), "{site}");
            }
            for origin in [
                "https://evil.test",
                "null",
                "https://gw.test.evil.test",
                "http://gw.test",
                "https://gw.test:444",
            ] {
                let sent = [own[0], ("origin", origin), own[2]];
                assert_eq!(check(method, &sent), Err("a page of another origin sends it"), "{origin}");
            }
            assert!(check(method, &[own[0], own[1], ("x-portcullis-console", "0")]).is_err());
            assert!(check(method, &[own[0], own[0], own[2]]).is_err());
        }
    }

    #[test]
    fn what_reads_comes_from_no_other_page() {
        for site in ["same-origin", "none"] {
            assert_eq!(check("GET", &[("sec-fetch-site", site)]), Ok(()));
        }
        assert_eq!(check("HEAD", &[]), Ok(()));
        for site in ["cross-site", "same-site"] {
            assert!(check("GET", &[("sec-fetch-site", site)]).is_err());
        }
        assert!(check("GET", &[("origin", "https://evil.test")]).is_err());
    }

    #[test]
    fn the_cookie_is_kept_from_everybody_else() {
        insta::assert_debug_snapshot!(reached().set("ID", 60), @r#""__Host-portcullis-session=ID; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Strict""#);
        let plain = Reached { plainly: true, ..reached() };
        insta::assert_debug_snapshot!(plain.forget(), @r#""portcullis-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict""#);
        let headers = |cookie: &str| HeaderMap::from_iter([(header::COOKIE, cookie.parse().expect("ASCII"))]);
        let both = headers("portcullis-session=a; __Host-portcullis-session=b; x=c");
        assert_eq!((reached().id(&both), plain.id(&both)), (Some("b"), Some("a")));
        // Of two, nobody knows whose they are.
        assert_eq!(reached().id(&headers("__Host-portcullis-session=a; __Host-portcullis-session=b")), None);
    }

    #[test]
    fn the_way_back_stays_below_the_console() {
        for right in ["/console/", "/console/servers?q=a#b", "/console/agents/a.b"] {
            assert_eq!(way_back(Some(right)), right);
        }
        for wrong in [
            "https://evil.test/console/",
            "//evil.test/console/",
            "/console",
            "/consoles/",
            "/console/../admin/v1/x",
            "/console/%2e%2E/x",
            "/console/./x",
            "/console//evil.test",
            "/console/\\x",
            "/console/a b",
            "/console/\r\nX: y",
            "",
            "console/",
            "/\\evil.test/console/",
            "/console/é",
        ] {
            assert_eq!(way_back(Some(wrong)), "/console/", "{wrong}");
        }
        assert_eq!(way_back(Some(&format!("/console/{}", "a".repeat(1024)))), "/console/");
        assert_eq!(way_back(None), "/console/");
    }
}
