//! An identity provider in the place of another that publishes no keys, as the conformance suite's does not.
//!
//! It signs its users in with tokens of its own, which a gateway can verify. **What it is asked about such a token goes to the
//! other as it came**, but for the token, in whose place there is the one that the other has made.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::hostile::{Done, Exchange, Hostile};
use crate::http::Request;
use crate::issuer::header;

/// For whom its tokens are made.
pub const AUDIENCE: &str = "portal";

/// A provider that runs until the program ends.
#[derive(Debug)]
pub struct Vouching {
    server: Hostile,
    key: [u8; 32],
}

impl Vouching {
    /// One in the place of another, by its token endpoint and a token that it has made.
    pub fn before(token_endpoint: &str, token: &str) -> Self {
        let key = [7; 32];
        let (endpoint, token) = (token_endpoint.to_owned(), token.to_owned());
        let script = move |exchange: &mut Exchange| answer(exchange, key, (&endpoint, &token));
        Self { server: Hostile::modern(script), key }
    }

    /// What it calls itself.
    pub fn issuer(&self) -> String {
        self.server.url().trim_end_matches("/mcp").to_owned()
    }

    /// A token of its user.
    pub fn token(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let payload =
            json!({ "iss": self.issuer(), "sub": "ann", "aud": AUDIENCE, "iat": now, "exp": now + 3600 });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "k" })), part(&payload));
        let signature = pair(self.key).sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn pair(key: [u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&key).expect("a seed of 32 bytes")
}

fn answer(exchange: &mut Exchange, key: [u8; 32], (endpoint, token): (&str, &str)) -> io::Result<Done> {
    let own = format!("http://{}", header(exchange, "host"));
    let path = exchange.head.split(' ').nth(1).unwrap_or_default();
    match path {
        "/.well-known/openid-configuration" => exchange.json(
            json!({ "issuer": own, "jwks_uri": format!("{own}/jwks"), "token_endpoint": format!("{own}/token") })
                .to_string(),
        )?,
        "/jwks" => {
            let x = URL_SAFE_NO_PAD.encode(pair(key).public_key());
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "x": x });
            exchange.json(json!({ "keys": [jwk] }).to_string())?;
        }
        "/token" => {
            let (before, after) = exchange.body.split_once("subject_token=").unwrap_or((&exchange.body, ""));
            let rest = after.split_once('&').map_or("", |(_, rest)| rest);
            let form = format!("{before}subject_token={token}&{rest}");
            let answer = Request::post(endpoint)
                .header("Authorization", header(exchange, "authorization"))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form)
                .send();
            let status = answer.status;
            exchange.respond(status, "Content-Type: application/json\r\n", answer.text())?;
        }
        _ => exchange.respond(404, "", "")?,
    }
    Ok(Done::Answered)
}
