//! People who govern a gateway, signed in at its console before a real identity provider, and what they send.

use portcullis_tests::browser::Browser;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::StandIn;
use serde_json::{Value, json};

/// The admin credential of [`governed_by`].
pub(crate) const ADMIN: &str = "Bearer the admin's key";

/// Somebody who is signed in at the console.
pub(crate) struct Governor<'s> {
    front: &'s StandIn,
    pub(crate) cookies: String,
}

/// A gateway whose signed-in people have this role.
pub(crate) fn governed_by(role: &str) -> StandIn {
    let roles = match role {
        "member" => json!({}),
        role => json!({ role: [{ "claim": { "groups": "eng" } }] }),
    };
    StandIn::governed(Provider::behind, &json!({ "sign_in": true, "roles": roles, "members": true }))
}

impl<'s> Governor<'s> {
    /// Signs in.
    pub(crate) fn of(front: &'s StandIn, role: &str) -> Self {
        let mut browser = Browser::default();
        browser.visit(&format!("{}/console/sign-in?to=/console/", front.origin));
        let governor = Self { front, cookies: browser.cookies(&front.origin) };
        assert_eq!(governor.ask("GET", "/admin/v1/me", &Value::Null).json()["role"], role);
        governor
    }

    /// A request with its cookies alone, as any page has a browser send it.
    pub(crate) fn bare(&self, method: &str, path: &str) -> Request {
        Request::new(method, &format!("{}{path}", self.front.origin)).header("Cookie", &self.cookies)
    }

    /// Asks as a page of the console does.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Response {
        self.with(method, path, body).send()
    }

    /// A request as a page of the console sends it.
    pub(crate) fn with(&self, method: &str, path: &str, body: &Value) -> Request {
        let request = self.bare(method, path).header("Origin", &self.front.origin).header("If-Match", "*");
        let request = request.header("X-Portcullis-Console", "1").header("Sec-Fetch-Site", "same-origin");
        if body.is_null() { request } else { request.json(body) }
    }
}

/// A request with the admin credential.
pub(crate) fn as_admin(front: &StandIn, method: &str, path: &str, body: &Value) -> Request {
    let request = Request::new(method, &format!("{}{path}", front.origin)).header("Authorization", ADMIN);
    let request = request.header("If-Match", "*");
    if body.is_null() { request } else { request.json(body) }
}
