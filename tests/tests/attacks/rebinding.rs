//! Case 1: a web page makes its own name point at the loopback address, and talks to the gateway from a browser.

use portcullis_tests::gateway::Host;
use portcullis_tests::http::Request;

use super::target::{Target, calling, honest_call};

const PATHS: [&str; 6] = ["/mcp", "/mcp/servers/up", "/healthz", "/healthcheck", "/readyz", "/nothing"];
const METHODS: [&str; 5] = ["POST", "GET", "DELETE", "OPTIONS", "PUT"];

const FOREIGN_HOSTS: [&str; 8] = [
    "evil.test",
    "evil.test:80",
    "localhost.evil.test",
    "127.0.0.1.evil.test",
    "127.0.0.1.nip.io",
    "0.0.0.0",
    "169.254.169.254",
    "[2001:db8::1]",
];
const FOREIGN_ORIGINS: [&str; 8] = [
    "http://evil.test",
    "https://evil.test",
    "http://localhost.evil.test",
    "http://127.0.0.1.evil.test",
    "http://localhost@evil.test",
    "null",
    "file://",
    "chrome-extension://abcdef",
];

/// Every method of every path with one more header, or with this one in place of `Host`.
fn forbidden_everywhere(target: &Target, name: &str, value: &str) {
    for path in PATHS {
        let url = target.gateway.url_of(path);
        for method in METHODS {
            let mut request = Request::new(method, &url).header(name, value);
            if method == "POST" {
                request = calling(&url, honest_call()).header(name, value);
            }
            let response = request.send();
            assert_eq!(response.status, 403, "{method} {path} with {name}: {value}");
            assert_eq!(response.header("access-control-allow-origin"), None, "{method} {path}");
        }
    }
}

/// A rebound name arrives in `Host`: no path and no method is served under it, nor does the server behind hear of it.
#[test]
fn case_01_a_foreign_host_is_forbidden_everywhere() {
    let target = Target::start();
    for host in FOREIGN_HOSTS {
        forbidden_everywhere(&target, "Host", host);
    }
    target.assert_untouched();
}

/// A page calls the loopback address directly: its `Origin` gives it away.
#[test]
fn case_01_a_foreign_origin_is_forbidden_everywhere() {
    let target = Target::start();
    for origin in FOREIGN_ORIGINS {
        forbidden_everywhere(&target, "Origin", origin);
    }
    target.assert_untouched();
}

/// A local page beside a foreign `Host`, and a local `Host` beside a foreign page, are each still the attack; so is an
/// honest `Origin` that a foreign one follows.
#[test]
fn case_01_one_honest_header_does_not_excuse_the_other() {
    let target = Target::start();
    let request = || calling(target.url(), honest_call());
    let pairs = [("evil.test", "http://localhost"), ("localhost", "http://evil.test")];
    for (host, origin) in pairs {
        let response = request().header("Host", host).header("Origin", origin).send();
        assert_eq!(response.status, 403, "{host} {origin}");
    }
    let twice = request().header("Origin", "http://localhost").header("Origin", "http://evil.test").send();
    assert_eq!(twice.status, 403);
    target.assert_untouched();
}

/// The names that are truly this machine's are served, whatever their port and case. A Worker is on no machine of the
/// agent's: it trusts pages of its own public URL only.
#[test]
fn case_01_loopback_names_are_served() {
    let target = Target::start();
    let port = target.gateway.port();
    let edge = Host::chosen() == Host::Edge;
    for name in ["127.0.0.1", "127.8.9.10", "localhost", "LocalHost", "[::1]"] {
        for host in [name.to_owned(), format!("{name}:{port}"), format!("{name}:1")] {
            let call = |origin: &str| {
                let call = calling(target.url(), honest_call()).header("Host", &host);
                call.header("Origin", origin).send().status
            };
            let page = format!("http://{host}");
            let is_public = page == "http://127.0.0.1";
            assert_eq!(call(&page), if edge && !is_public { 403 } else { 200 }, "{host}");
            assert_eq!(call("http://127.0.0.1"), 200, "{host}");
            let health = Request::get(&target.gateway.url_of("/healthz")).header("Host", &host).send();
            assert_eq!(health.status, 200, "{host}");
        }
    }
}
