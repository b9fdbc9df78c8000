//! An authorization server of anybody's making, and servers that say whose tokens they take.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::hostile::{Done, Exchange, Hostile};
use portcullis_tests::issuer::header;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// An authorization server that registers whoever comes, and gives a token for any code.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    server: Hostile,
    doing: Arc<Mutex<Doing>>,
}

/// What an authority says, and what came to it.
#[derive(Debug, Default)]
pub(crate) struct Doing {
    /// Members of its metadata in place of what they should be.
    pub(crate) metadata: BTreeMap<&'static str, Value>,
    /// The forms that came to where tokens are made.
    pub(crate) forms: Vec<String>,
    /// How many clients have registered.
    pub(crate) registered: usize,
    /// What is answered in place of tokens.
    pub(crate) instead: Option<(u16, Value)>,
}

impl Authority {
    /// One that marks whatever it makes with a name.
    pub(crate) fn named(name: &'static str) -> Self {
        let doing = Arc::<Mutex<Doing>>::default();
        let told = doing.clone();
        Self { server: Hostile::modern(move |exchange| answer(exchange, name, &mut lock(&told))), doing }
    }

    /// One that says something else in its metadata than it should.
    pub(crate) fn saying(name: &'static str, value: Value) -> Self {
        let authority = Self::named("evil");
        authority.doing().metadata.insert(name, value);
        authority
    }

    /// What it calls itself.
    pub(crate) fn issuer(&self) -> String {
        self.server.url().trim_end_matches("/mcp").to_owned()
    }

    /// Signs a token of its own, for an hour, unless the claims say otherwise.
    pub(crate) fn sign(&self, name: &str, kind: &str, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let mut payload = json!({ "iss": self.issuer(), "sub": "ann", "exp": now + 3600 });
        for (key, value) in claims.as_object().into_iter().flatten() {
            payload[key] = value.clone();
        }
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed =
            format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "k", "typ": kind })), part(&payload));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair(name).sign(signed.as_bytes())))
    }

    /// What it says, and what came.
    pub(crate) fn doing(&self) -> MutexGuard<'_, Doing> {
        lock(&self.doing)
    }
}

/// The key of an authority of that name.
fn pair(name: &str) -> Ed25519KeyPair {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed of 32 bytes")
}

fn answer(exchange: &mut Exchange, name: &str, doing: &mut Doing) -> io::Result<Done> {
    let own = format!("http://{}", header(exchange, "host"));
    let path = exchange.head.split(' ').nth(1).unwrap_or_default().to_owned();
    match &*path {
        "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration" => {
            let mut metadata = json!({
                "issuer": own,
                "authorization_endpoint": format!("{own}/authorize"),
                "token_endpoint": format!("{own}/token"),
                "registration_endpoint": format!("{own}/register"),
                "jwks_uri": format!("{own}/jwks"),
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
                "authorization_response_iss_parameter_supported": true,
            });
            for (key, value) in &doing.metadata {
                metadata[*key] = value.clone();
            }
            exchange.json(metadata.to_string())?;
        }
        "/register" => {
            doing.registered += 1;
            let mut client: Value = serde_json::from_str(&exchange.body).unwrap_or_default();
            client["client_id"] = json!(format!("client-of-{name}-{}", doing.registered));
            exchange.respond(201, "Content-Type: application/json\r\n", client.to_string())?;
        }
        "/jwks" => {
            let x = URL_SAFE_NO_PAD.encode(pair(name).public_key());
            let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "x": x });
            exchange.json(json!({ "keys": [key] }).to_string())?;
        }
        "/token" => {
            doing.forms.push(format!("{} {}", header(exchange, "authorization"), exchange.body));
            if let Some((status, answer)) = &doing.instead {
                exchange.respond(*status, "Content-Type: application/json\r\n", answer.to_string())?;
                return Ok(Done::Answered);
            }
            if exchange.body.contains("token-type%3Aid-jag") {
                let jag = format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode("{}"), doing.forms.len());
                let kind = "urn:ietf:params:oauth:token-type:id-jag";
                let given = json!({ "access_token": jag, "token_type": "N_A", "issued_token_type": kind });
                exchange.json(given.to_string())?;
                return Ok(Done::Answered);
            }
            let number = doing.forms.len();
            let tokens = json!({
                "access_token": format!("access-of-{name}-{number}"), "token_type": "Bearer", "expires_in": 3600,
                "refresh_token": format!("refresh-of-{name}-{number}"),
            });
            exchange.json(tokens.to_string())?;
        }
        _ => exchange.respond(404, "", "")?,
    }
    Ok(Done::Answered)
}

/// A server that takes tokens.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    server: Hostile,
    state: Arc<Mutex<Taking>>,
}

#[derive(Debug, Default)]
struct Taking {
    named: String,
    taken: String,
    shown: Vec<String>,
}

impl Guarded {
    /// One that takes the tokens of this authority, and says so.
    pub(crate) fn by(authority: &Authority, name: &str) -> Self {
        let state = Arc::<Mutex<Taking>>::default();
        let told = state.clone();
        let server = Hostile::modern(move |exchange| {
            let mut state = lock(&told);
            if exchange.head.starts_with("GET /.well-known/oauth-protected-resource") {
                let resource = format!("http://{}/mcp", header(exchange, "host"));
                let text = json!({ "resource": resource, "authorization_servers": [state.named] });
                exchange.json(text.to_string())?;
                return Ok(Done::Answered);
            }
            let token = header(exchange, "authorization");
            if !token.is_empty() {
                state.shown.push(token.clone());
            }
            if token.starts_with(&format!("Bearer access-of-{}-", state.taken)) {
                return Ok(Done::Behave);
            }
            exchange.respond(401, "WWW-Authenticate: Bearer\r\n", "")?;
            Ok(Done::Answered)
        });
        let guarded = Self { server, state };
        guarded.turn_to(authority, name);
        guarded
    }

    /// Comes to name another authority, and to take its tokens alone.
    pub(crate) fn turn_to(&self, authority: &Authority, name: &str) {
        let mut state = lock(&self.state);
        (state.named, state.taken) = (authority.issuer(), name.to_owned());
    }

    /// Its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// The credentials that it was shown since it was last asked.
    pub(crate) fn shown(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).shown)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
