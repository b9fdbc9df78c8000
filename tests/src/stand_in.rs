//! A gateway that is the authorization server before a real identity provider, on any of its hosts.

use serde_json::{Value, json};

use crate::gateway::{Builder, Gateway};
use crate::http::{Request, Response};
use crate::provider::Provider;
use crate::upstream::free_port;

/// The credential of who governs it.
const ADMIN_KEY: &str = "the admin's key";
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-all-purposes";
/// Its challenge, as S256 has it.
const CHALLENGE: &str = "Wkk7QXBRuHO9ED7lZJWtCeCZ1E0kcYBquDrmTCtUtFU";

/// The gateway, and the provider that signs people in.
#[derive(Debug)]
pub struct StandIn {
    /// The gateway.
    pub gateway: Gateway,
    /// What it calls itself: a URL without a path.
    pub origin: String,
    /// The provider, which lasts as long.
    pub provider: Provider,
}

impl StandIn {
    /// A gateway before these servers that lets in who is of the group `eng`; the provider is made once its origin is known.
    pub fn start(provider: impl FnOnce(&str) -> Provider, servers: &Value) -> Self {
        Self::set_up(provider, servers, |gateway| gateway)
    }

    /// The same, whose gateway is set up further.
    pub fn set_up(
        provider: impl FnOnce(&str) -> Provider,
        servers: &Value,
        further: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        Self::make(provider, (servers, None), further)
    }

    /// One before no server, which people govern who sign in at its console as this section says.
    pub fn governed(provider: impl FnOnce(&str) -> Provider, console: &Value) -> Self {
        Self::make(provider, (&json!({}), Some(console)), |gateway| gateway)
    }

    /// The same before these servers, and what it serves is pushed to it.
    pub fn governed_remotely(
        provider: impl FnOnce(&str) -> Provider,
        servers: &Value,
        console: &Value,
    ) -> Self {
        let front = Self::make(provider, (servers, Some(console)), Builder::configured_remotely);
        let text = std::fs::read_to_string(front.gateway.folder().join("portcullis.yaml")).expect("its text");
        let pushed = Request::new("PUT", &format!("{}/admin/v1/config", front.origin))
            .header("Authorization", format!("Bearer {ADMIN_KEY}"))
            .header("If-None-Match", "*")
            .header("Content-Type", "application/yaml")
            .body(text)
            .send();
        let status = pushed.status;
        assert_eq!(status, 201, "{}", pushed.text());
        front
    }

    fn make(
        provider: impl FnOnce(&str) -> Provider,
        (servers, console): (&Value, Option<&Value>),
        further: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let provider = provider(&origin);
        let mut config = json!({
            "version": 1,
            "gateway": { "public_url": origin },
            "servers": servers,
            "auth": {
                "required": true,
                "issuers": { "corp": { "url": provider.issuer() } },
                "sign_in": {
                    "issuer": "corp",
                    "client_id": "portcullis",
                    "client_secret": { "secret": "idp" },
                },
            },
            "agents": {
                "engineer": { "match": [{ "claim": { "groups": "eng" } }], "allow": ["*"] },
                "default": { "deny": ["*"] },
            },
        });
        if let Some(console) = console {
            config["console"] = console.clone();
        }
        let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", ADMIN_KEY);
        // Of a function, two environments take turns: each step comes to another than the one before.
        let gateway = gateway.at_port(port).of_function("environments", json!(2));
        let gateway = if console.is_some() { gateway.governing() } else { gateway };
        let gateway = further(gateway).start_with_secret("idp", Provider::secret());
        Self { gateway, origin, provider }
    }

    /// Registers a client that listens on this port of this machine; answers its ID.
    pub fn register(&self, port: u16) -> String {
        let metadata = json!({
            "client_name": "tests",
            "redirect_uris": [format!("http://127.0.0.1:{port}/callback")],
            "token_endpoint_auth_method": "none",
        });
        let answer = Request::post(&format!("{}/oauth/register", self.origin)).json(&metadata).send();
        assert_eq!(answer.status, 201);
        of(&answer.json(), "client_id")
    }

    /// Has somebody's browser sign in for a client, whose callback is at this port; answers where it is sent to in the end.
    pub fn sign_in(&self, client: &str, port: u16, browse: impl FnOnce(&str) -> String) -> String {
        let back = format!("http%3A%2F%2F127.0.0.1%3A{port}%2Fcallback");
        let request = format!("response_type=code&client_id={client}&redirect_uri={back}&state=mine");
        browse(&format!(
            "{}/oauth/authorize?{request}&code_challenge={CHALLENGE}&code_challenge_method=S256",
            self.origin
        ))
    }

    /// Redeems the code that a browser has brought back.
    pub fn redeem(&self, client: &str, back: &str) -> Value {
        let code = parameter(back, "code");
        self.tokens(&format!(
            "grant_type=authorization_code&client_id={client}&code={code}&code_verifier={VERIFIER}"
        ))
        .json()
    }

    /// Uses the refresh token among these tokens.
    pub fn refresh(&self, client: &str, tokens: &Value) -> Value {
        let token = of(tokens, "refresh_token");
        self.tokens(&format!("grant_type=refresh_token&client_id={client}&refresh_token={token}")).json()
    }

    fn tokens(&self, form: &str) -> Response {
        Request::post(&format!("{}/oauth/token", self.origin))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
    }
}

/// A member of a document that has to be there.
pub fn of(document: &Value, name: &str) -> String {
    document[name].as_str().unwrap_or_else(|| panic!("{name} in {document}")).to_owned()
}

/// A parameter of an address, as it stands there; nothing where it is not there.
pub fn parameter<'u>(url: &'u str, name: &str) -> &'u str {
    let pairs = url.split(['?', '&']).filter_map(|pair| pair.split_once('='));
    pairs.clone().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}
