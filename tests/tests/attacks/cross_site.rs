//! Case 34, where there is no page: another site's script or form at the admin API, the metrics and every other path.
//!
//! A browser sends what another site makes it send, and shows that site nothing that it is not let read. **The admin credential
//! is a header that no browser adds by itself; looking changes nothing; and no answer is for everybody's scripts together with
//! a browser's cookies.**

use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use serde_json::{Value, json};

use super::browsing::Browser;
use super::target::fixture;

const ADMIN_KEY: &str = "an-admin-key-of-the-tests-that-is-long-enough";
const FOREIGN: [&str; 3] = ["https://evil.example", "null", "http://127.0.0.1.evil.example"];

const PATHS: [&str; 16] = [
    "/",
    "/mcp",
    "/mcp/servers/up",
    "/sse",
    "/healthz",
    "/readyz",
    "/metrics",
    "/connect/up",
    "/oauth/authorize",
    "/oauth/consent",
    "/oauth/callback",
    "/admin/v1/config",
    "/admin/v1/keys",
    "/admin/v1/secrets",
    "/admin/v1/connections",
    "/admin/v1/audit",
];

fn start() -> Gateway {
    let config = json!({ "version": 1, "servers": { "up": fixture() } }).to_string();
    Gateway::with(&config).env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY).start()
}

fn keys(gateway: &Gateway) -> Value {
    let request = Request::get(&gateway.url_of("/admin/v1/keys"));
    request.header("Authorization", format!("Bearer {ADMIN_KEY}")).send().json()
}

#[test]
fn case_34_no_path_answers_the_scripts_of_other_sites() {
    let gateway = start();
    for path in PATHS {
        for origin in FOREIGN {
            for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
                let response = Request::new(method, &gateway.url_of(path))
                    .header("Origin", origin)
                    .header("Access-Control-Request-Method", "POST")
                    .header("Access-Control-Request-Headers", "authorization,content-type")
                    .header("Cookie", "portcullis=x")
                    .send();
                for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
                    assert_eq!(response.header(name), None, "{method} {path} of {origin}");
                }
                assert!(response.status >= 400, "{method} {path} of {origin}: {}", response.status);
            }
        }
    }
}

/// Nothing that a browser sends by itself is the admin's credential, and nothing is done by looking.
#[test]
fn case_34_nobody_administers_without_the_header() {
    let gateway = start();
    let before = keys(&gateway);
    let body = json!({ "agent": "default" }).to_string();
    let forms = [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/json",
    ];
    for kind in forms {
        for origin in ["https://evil.example", "null", &*gateway.url_of("")] {
            for path in ["/admin/v1/keys", "/admin/v1/config", "/admin/v1/secrets/x"] {
                let refused = Browser::default().send(
                    Request::post(&gateway.url_of(path))
                        .header("Origin", origin)
                        .header("Content-Type", kind)
                        .header("X-HTTP-Method-Override", "PUT")
                        .body(&*body),
                );
                assert!(matches!(refused.status, 401 | 403), "{path} {kind} {origin}: {refused:?}");
            }
        }
    }
    // In the address or in a cookie the credential is none.
    for query in [
        format!("?key={ADMIN_KEY}"),
        format!("?access_token={ADMIN_KEY}"),
        format!("?authorization=Bearer%20{ADMIN_KEY}"),
    ] {
        let request = Request::get(&gateway.url_of(&format!("/admin/v1/keys{query}")));
        let refused =
            request.header("Cookie", format!("Authorization=Bearer {ADMIN_KEY}; key={ADMIN_KEY}")).send();
        assert_eq!(refused.status, 401, "{query}");
    }
    // With the credential, from another site: a page that was let have it is still another site's.
    for origin in FOREIGN {
        let refused = Request::post(&gateway.url_of("/admin/v1/keys"))
            .header("Origin", origin)
            .header("Authorization", format!("Bearer {ADMIN_KEY}"))
            .header("Content-Type", "application/json")
            .body(&*body)
            .send();
        assert_eq!(refused.status, 403, "{origin}");
    }
    for method in ["GET", "HEAD"] {
        for path in [
            "/admin/v1/keys?agent=default&_method=POST",
            "/admin/v1/config?_method=PUT",
            "/admin/v1/keys/x?_method=DELETE",
        ] {
            let request = Request::new(method, &gateway.url_of(path));
            request
                .header("Authorization", format!("Bearer {ADMIN_KEY}"))
                .header("X-HTTP-Method-Override", "POST")
                .send();
        }
    }
    assert_eq!(keys(&gateway), before, "nothing was changed");
}
