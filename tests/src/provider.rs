//! An identity provider on loopback, with which agents sign in (`interop/servers/identity.cjs`).

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::http::Request;
use crate::toolbox;
use crate::upstream::Upstream;

/// The secret of each program that can sign in there.
const SECRET: &str = "a secret of the tests";

/// A provider that runs until it is dropped.
#[derive(Debug)]
pub struct Provider(Upstream);

impl Provider {
    /// One that makes tokens for whatever resource is asked for.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same, whose users sign in and consent in pages.
    pub fn with_pages() -> Self {
        Self::with(&["--pages"])
    }

    /// One whose access tokens last for so many seconds.
    pub fn of_short_tokens(seconds: u32) -> Self {
        Self::with(&["--lifetime", &seconds.to_string()])
    }

    /// One whose access tokens last for so many seconds, until they are refreshed.
    pub fn of_a_short_first_token(seconds: u32) -> Self {
        Self::with(&["--first", &seconds.to_string()])
    }

    /// One that makes tokens for what it calls its API, whatever resource is asked for.
    pub fn of_api(audience: &str) -> Self {
        Self::with(&["--audience", audience])
    }

    /// One before which the gateway at `origin` stands in.
    pub fn behind(origin: &str) -> Self {
        Self::with(&["--portcullis", origin])
    }

    /// One before which the gateway at `origin` stands in, and whose users sign in and consent in pages.
    pub fn with_pages_behind(origin: &str) -> Self {
        Self::with(&["--pages", "--portcullis", origin])
    }

    fn with(options: &[&str]) -> Self {
        let mut command = Command::new(toolbox::node());
        command.arg(toolbox::interop("servers/identity.cjs")).args(options);
        command.env("NODE_PATH", toolbox::identity_modules());
        Self(Upstream::start(&command))
    }

    /// What it calls itself.
    pub fn issuer(&self) -> &str {
        self.0.url()
    }

    /// The secret of every program that may sign in, and of the one that may ask about tokens (`gateway`).
    pub fn secret() -> &'static str {
        SECRET
    }

    /// Signs a program in (`robot` of the group `eng`, `guest`, `opaque`), for a resource; answers its access token.
    pub fn token(&self, program: &str, resource: &str) -> String {
        let credentials = STANDARD.encode(format!("{program}:{}", SECRET.replace(' ', "+")));
        let form = format!("grant_type=client_credentials&scope=mcp:use&resource={resource}");
        let answer = Request::post(&format!("{}/token", self.issuer()))
            .header("Authorization", format!("Basic {credentials}"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .json();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Signs `{header, payload, by}` as it stands, but for the key's name and the issuer where it says nothing of them.
    pub fn sign(&self, token: &Value) -> String {
        Request::post(&format!("{}/test/sign", self.issuer())).json(token).send().text()
    }

    /// Says who comes from now on, where nobody signs in in pages.
    pub fn comes(&self, who: &str) {
        Request::post(&format!("{}/test/user", self.issuer())).json(&who.into()).send();
    }

    /// Has it go on with other keys.
    pub fn rotate(&self) {
        Request::post(&format!("{}/test/rotate", self.issuer())).send();
    }

    /// Says what becomes of the next request for tokens: `hold` (it is not looked at, nor answered), `withhold` (it is done, and
    /// its answer held back), `fail` (500), or `break` (its connection ends).
    pub fn next(&self, what: &str) {
        Request::post(&format!("{}/test/next", self.issuer())).json(&what.into()).send();
    }

    /// How often it was asked for its `keys`, or about a token (`introspection`); how often a `refresh` token was used, and how
    /// many grants it has `revoked`; how many requests for tokens went `wrong` as [`Provider::next`] has it.
    pub fn asked(&self, what: &str) -> u64 {
        let asked = Request::get(&format!("{}/test/asked", self.issuer())).send().json();
        asked[what].as_u64().unwrap_or_else(|| panic!("{what} in {asked}"))
    }
}
