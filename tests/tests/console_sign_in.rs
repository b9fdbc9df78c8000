//! Those who govern a gateway sign in at its console, before a real identity provider and over real HTTP.

use portcullis_tests::browser::Browser;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::StandIn;
use serde_json::json;

/// Somebody who has signed in with a browser.
struct Governor<'s> {
    front: &'s StandIn,
    cookies: String,
}

impl<'s> Governor<'s> {
    fn sign_in(front: &'s StandIn) -> Self {
        let mut browser = Browser::default();
        browser.visit(&format!("{}/console/sign-in?to=/console/", front.origin));
        Self { front, cookies: browser.cookies(&front.origin) }
    }

    fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, &format!("{}{path}", self.front.origin)).header("Cookie", &self.cookies)
    }

    /// Asks as a page of the console does.
    fn ask(&self, method: &str, path: &str) -> Response {
        let request = self.request(method, path).header("Origin", &self.front.origin);
        request.header("X-Portcullis-Console", "1").header("Sec-Fetch-Site", "same-origin").send()
    }
}

#[test]
fn an_auditor_signs_in_at_a_real_provider_and_reads_what_is_configured() {
    let roles = json!({ "auditor": [{ "claim": { "groups": "eng" } }] });
    let front = StandIn::governed(Provider::behind, &json!({ "sign_in": true, "roles": roles }));
    let stranger = Request::get(&format!("{}/admin/v1/me", front.origin)).send();
    assert_eq!(stranger.status, 401);
    let governor = Governor::sign_in(&front);
    let me = governor.ask("GET", "/admin/v1/me").json();
    assert_eq!(me["role"], "auditor", "{me}");
    assert!(me["principal"].as_str().is_some_and(|who| who.starts_with("user:corp:")), "{me}");
    assert_eq!(governor.ask("GET", "/admin/v1/keys").status, 200);
    let makes = governor.request("POST", "/admin/v1/keys").header("Origin", &front.origin);
    let makes = makes.header("X-Portcullis-Console", "1").json(&json!({ "agent": "engineer" })).send();
    assert_eq!(makes.status, 403, "an auditor changes nothing");
    let keys = governor.ask("GET", "/admin/v1/keys").json();
    assert_eq!(keys["keys"], json!([]), "and nothing was changed");
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    assert_eq!(governor.request("POST", "/mcp").json(&body).send().status, 401, "it is no agent's session");
    assert_eq!(governor.ask("POST", "/console/sign-out").status, 204);
    assert_eq!(governor.ask("GET", "/admin/v1/me").status, 401, "the session has ended");
}

#[test]
fn an_admins_session_counts_for_no_other_page() {
    let roles = json!({ "admin": [{ "claim": { "groups": "eng" } }] });
    let front = StandIn::governed(Provider::behind, &json!({ "sign_in": true, "roles": roles }));
    let governor = Governor::sign_in(&front);
    let key = || governor.request("POST", "/admin/v1/keys").json(&json!({ "agent": "engineer" }));
    let forged = [
        key(),
        key().header("Origin", &front.origin),
        key().header("X-Portcullis-Console", "1"),
        key().header("X-Portcullis-Console", "1").header("Origin", "https://evil.example"),
        key().header("X-Portcullis-Console", "1").header("Sec-Fetch-Site", "cross-site"),
    ];
    for request in forged {
        assert_eq!(request.send().status, 403);
    }
    let made = key().header("X-Portcullis-Console", "1").header("Origin", &front.origin).send();
    assert_eq!(made.status, 201);
    let sessions = governor.ask("GET", "/admin/v1/sessions").json();
    let [session] = sessions["items"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        panic!("one session: {sessions}")
    };
    let id = session["id"].as_str().expect("it has an id");
    assert!(!governor.cookies.contains(id), "what is shown opens nothing");
    assert_eq!(governor.ask("DELETE", &format!("/admin/v1/sessions/{id}")).status, 204);
    assert_eq!(governor.ask("GET", "/admin/v1/me").status, 401, "it has ended at once");
}

#[test]
fn who_has_no_role_does_not_get_in() {
    let roles = json!({ "admin": [{ "claim": { "groups": "platform" } }] });
    let front = StandIn::governed(Provider::behind, &json!({ "sign_in": true, "roles": roles }));
    let governor = Governor::sign_in(&front);
    assert!([401, 403].contains(&governor.ask("GET", "/admin/v1/me").status));
    assert!([401, 403].contains(&governor.ask("GET", "/admin/v1/config").status));
}
