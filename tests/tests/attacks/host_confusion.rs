//! Case 2: a request that names several hosts, none, or a strange one, so that two programs read it differently.
//!
//! Before a Worker stands the platform's own front, which reads a request first: it makes one URL of it, or refuses it in
//! its own words. **What it makes of it is all that counts then**: where it tidies up, what is asked for is what came out.

use portcullis_tests::gateway::Host;
use portcullis_tests::http::{Request, Response, send_bytes};

use super::target::{Target, calling, honest_call};

/// The marker that no answer may repeat.
const ECHO: &str = "echoed-host-4711";

fn authority(target: &Target) -> String {
    format!("127.0.0.1:{}", target.gateway.port())
}

/// Fails where the request was served, or where its answer repeats the marker.
#[track_caller]
fn assert_refused(what: &str, response: Response) {
    let status = response.status;
    let by_front = Host::chosen() == Host::Edge && status == 500;
    assert!(matches!(status, 400 | 403) || by_front, "{what}: {status}");
    assert_no_echo(what, response);
}

#[track_caller]
fn assert_no_echo(what: &str, response: Response) {
    let head = format!("{:?}", response.headers());
    let whole = format!("{head}{}", response.text());
    assert!(!whole.contains(ECHO), "{what} is echoed: {whole}");
}

/// A `Host` that is a path, an address of somebody, a list, or nothing at all names no host of this gateway.
#[test]
fn case_02_a_malformed_host_is_refused() {
    let target = Target::start();
    let hosts = [
        "x/../admin",
        "localhost/../admin",
        "127.0.0.1/echoed-host-4711",
        "localhost@echoed-host-4711",
        "echoed-host-4711@localhost",
        "localhost, echoed-host-4711",
        "localhost echoed-host-4711",
        "localhost:80:echoed-host-4711",
        "localhost:echoed-host-4711",
        "localhost#echoed-host-4711",
        "localhost?echoed-host-4711",
        "http://localhost",
        "[::1]echoed-host-4711",
        "[::1",
        "\"localhost\"",
        ".",
        "",
    ];
    for host in hosts {
        assert_refused(host, calling(target.url(), honest_call()).header("Host", host).send());
        assert_refused(host, Request::get(&target.gateway.url_of("/readyz")).header("Host", host).send());
    }
    target.assert_untouched();
}

/// The host of an absolute request target counts as much as the header, which could hide it. The platform's front leaves
/// it out, so that a Worker is asked for the header's.
#[test]
fn case_02_an_absolute_target_does_not_hide_another_host() {
    let target = Target::start();
    let own = format!("http://{}", authority(&target));
    let hidden = calling(target.url(), honest_call()).target(&format!("{own}/mcp")).header("Host", ECHO);
    assert_refused("the header's", hidden.send());
    let targets = [
        "http://echoed-host-4711/mcp",
        "http://echoed-host-4711:80/mcp",
        "http://localhost@echoed-host-4711/mcp",
        "https://echoed-host-4711/mcp",
    ];
    for absolute in targets {
        match Host::chosen() {
            Host::Local => {
                assert_refused(absolute, calling(target.url(), honest_call()).target(absolute).send());
            }
            Host::Edge | Host::Lambda => {
                let response =
                    Request::get(target.url()).target(&absolute.replace("/mcp", "/healthz")).send();
                assert_eq!(response.status, 200, "{absolute}");
                assert_no_echo(absolute, response);
            }
        }
    }
    target.assert_untouched();
    // A proxy may ask so, and then it is the same host.
    let own = format!("{own}/healthz");
    assert_eq!(Request::get(&target.gateway.url_of("/healthz")).target(&own).send().status, 200);
}

/// Two `Host` headers: one for the program in front, one for this.
#[test]
fn case_02_a_host_given_twice_is_refused() {
    let target = Target::start();
    for (first, second) in [("localhost", ECHO), (ECHO, "localhost"), ("localhost", "localhost")] {
        let request = calling(target.url(), honest_call()).header("Host", first).header("Host", second);
        assert_refused(&format!("{first}, {second}"), request.send());
    }
    target.assert_untouched();
}

/// A request of HTTP/1.1 without `Host` is malformed (RFC 9112 §3.2), and would get around the check of its name.
#[test]
fn case_02_a_missing_host_is_refused() {
    let target = Target::start();
    let body = honest_call();
    let post = format!(
        "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
        MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: up__echo\r\n\
        Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_refused("POST", send_bytes(&authority(&target), post.as_bytes()));
    let get = "GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_refused("GET", send_bytes(&authority(&target), get.as_bytes()));
    target.assert_untouched();
}

/// What proxies say about the host they were asked for decides nothing, neither for a request nor against it.
#[test]
fn case_02_forwarded_hosts_are_ignored() {
    let target = Target::start();
    let lies = [
        ("X-Forwarded-Host", "localhost"),
        ("Forwarded", "host=localhost;for=127.0.0.1"),
        ("X-Host", "localhost"),
        ("X-Original-Host", "localhost"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-Ip", "127.0.0.1"),
        ("X-Original-URL", "/readyz"),
        ("X-Rewrite-URL", "/readyz"),
    ];
    for (name, value) in lies {
        let request = calling(target.url(), honest_call()).header("Host", ECHO).header(name, value);
        assert_refused(name, request.send());
    }
    target.assert_untouched();
    for (name, value) in [("X-Forwarded-Host", ECHO.to_owned()), ("Forwarded", format!("host={ECHO}"))] {
        let response = calling(target.url(), honest_call()).header(name, &value).send();
        assert_eq!(response.status, 200, "{name}");
        assert_no_echo(name, response);
    }
}

/// Paths that nobody tidies up lead nowhere.
#[test]
fn case_02_path_tricks_lead_nowhere() {
    let target = Target::start();
    let paths = [
        "//mcp",
        "/mcp/",
        "/mcp//",
        "/MCP",
        "/mcp/.",
        "/mcp/..",
        "/mcp%2f",
        "/%6dcp",
        "/mcp%00",
        "/mcp;a=b",
        "/mcp/servers",
        "/mcp/servers/",
        "/mcp/servers//up",
        "/mcp/servers/up/",
        "/mcp/servers/up/..",
        "/mcp/servers/UP",
        "/mcp/servers/up%00",
        "/mcp/servers/up%20",
        "/mcp/servers/up%2f",
        "/mcp/servers/..%2fup",
        "/mcp/servers/x%2f..%2fup",
        "/mcp/servers/%252e%252e",
        "/mcp/servers/%75%70%",
        "/mcp/groups/up",
        "/readyz/",
        "mcp",
    ];
    for path in paths {
        leads_nowhere(&target, path, &[400, 403, 404]);
    }
    // What is no URL at all.
    leads_nowhere(&target, "*", if Host::chosen() == Host::Edge { &[500] } else { &[400, 403, 404] });
    target.assert_untouched();
}

#[track_caller]
fn leads_nowhere(target: &Target, path: &str, statuses: &[u16]) {
    let response = calling(target.url(), honest_call()).target(path).send();
    assert!(statuses.contains(&response.status), "POST {path}: {}", response.status);
    let response = Request::get(target.url()).target(path).send();
    assert!(statuses.contains(&response.status), "GET {path}: {}", response.status);
}

/// Paths that many programs tidy up, the platform's front among them: they lead nowhere, or where their tidy form leads.
#[test]
fn case_02_a_path_that_is_tidied_up_is_no_other_than_its_tidy_form() {
    let target = Target::start();
    let paths = [
        ("/./mcp", "/mcp"),
        ("/mcp/../mcp", "/mcp"),
        ("/mcp/%2E%2E/mcp", "/mcp"),
        ("/readyz/../mcp", "/mcp"),
        ("/mcp/../readyz", "/readyz"),
        ("/mcp/%2e%2e/readyz", "/readyz"),
        ("/mcp/servers/up/../nope", "/mcp/servers/nope"),
        ("/mcp/nothing/%2e%2e/servers/up", "/mcp/servers/up"),
        ("/mcp/groups/../../admin/v1/config", "/admin/v1/config"),
    ];
    for (path, tidy) in paths {
        if Host::chosen() != Host::Edge {
            leads_nowhere(&target, path, &[400, 403, 404]);
            continue;
        }
        for method in ["GET", "DELETE", "OPTIONS"] {
            let status = |path: &str| Request::new(method, target.url()).target(path).send().status;
            assert_eq!(status(path), status(tidy), "{method} {path}");
        }
    }
    target.assert_untouched();
}

/// Nothing that is answered is made from `Host`, not even an honest one.
#[test]
fn case_02_no_answer_repeats_the_host() {
    let target = Target::start();
    for path in ["/mcp", "/healthz", "/readyz", "/nothing", "/.well-known/oauth-protected-resource/mcp"] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let request =
                Request::new(method, &target.gateway.url_of(path)).header("Host", "localhost:47110");
            let response = request.send();
            let head = format!("{:?}", response.headers());
            let whole = format!("{head}{}", response.text());
            assert!(!whole.contains("47110"), "{method} {path}: {whole}");
        }
    }
}
