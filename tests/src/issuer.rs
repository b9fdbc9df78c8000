//! An authorization server, and a server that takes its tokens alone.
//!
//! It makes a token for a client that proves itself with its secret, or with an assertion where it knows its key, and does whatever a test tells it to
//! do instead. The server stands before another one, to which it hands what comes with a token that counts.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::assertion::ClientKey;
use crate::hostile::{Done, Exchange, Hostile};

/// What the authorization server knows and does.
#[derive(Debug, Clone)]
pub struct Doing {
    /// The secret of the client `portcullis`.
    pub secret: String,
    /// Its key, where it is known by that and no longer by its secret.
    pub key: Option<ClientKey>,
    /// For how many seconds a token is good.
    pub lifetime: u64,
    /// Tokens up to this number are refused.
    pub revoked: usize,
    /// What it answers instead of a token: status, headers and body.
    pub instead: Option<(u16, String, String)>,
    /// Where it says that tokens are made; where they are, unless this says otherwise.
    pub token_endpoint: Option<String>,
    /// Which issuer the server names.
    pub named: Option<String>,
    /// Where the server says that its metadata is.
    pub metadata: Option<String>,
    /// The forms of the token requests that came.
    pub forms: Vec<String>,
    /// What was wrong with the assertions that came.
    pub wrong: Vec<&'static str>,
    /// The tokens that were made.
    pub made: usize,
}

/// An authorization server.
#[derive(Debug, Clone)]
pub struct Issuer {
    server: Hostile,
    doing: Arc<Mutex<Doing>>,
}

impl Default for Issuer {
    fn default() -> Self {
        let doing = Arc::new(Mutex::new(Doing {
            secret: "s3cret".into(),
            key: None,
            lifetime: 3600,
            revoked: 0,
            instead: None,
            token_endpoint: None,
            named: None,
            metadata: None,
            forms: Vec::new(),
            wrong: Vec::new(),
            made: 0,
        }));
        let told = doing.clone();
        Self { server: Hostile::modern(move |exchange| issue(exchange, &mut lock(&told))), doing }
    }
}

impl Issuer {
    /// What it is called.
    pub fn url(&self) -> String {
        self.server.url().trim_end_matches("/mcp").to_owned()
    }

    /// What it knows and does.
    pub fn doing(&self) -> MutexGuard<'_, Doing> {
        lock(&self.doing)
    }

    /// A server before another one (`HOST:PORT`), which takes its tokens alone.
    pub fn guard(&self, behind: &str) -> Hostile {
        let (told, behind, url) = (self.doing.clone(), behind.to_owned(), self.url());
        Hostile::modern(move |exchange| {
            let doing = lock(&told).clone();
            if exchange.head.starts_with("GET /.well-known/") {
                let resource = format!("http://{}/mcp", header(exchange, "host"));
                let issuer = doing.named.unwrap_or_else(|| url.clone());
                let text = json!({ "resource": resource, "authorization_servers": [issuer] });
                exchange.json(text.to_string())?;
            } else if is_taken(&doing, exchange) {
                // One exchange for each connection: who asks must not wait on it for the next.
                exchange.head = exchange.head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                exchange.hand_over(&behind)?;
            } else {
                let place =
                    doing.metadata.map_or(String::new(), |place| format!(" resource_metadata=\"{place}\""));
                exchange.respond(401, &format!("WWW-Authenticate: Bearer{place}\r\n"), "")?;
            }
            Ok(Done::Answered)
        })
    }
}

fn lock(doing: &Mutex<Doing>) -> MutexGuard<'_, Doing> {
    doing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value of a header.
pub fn header(exchange: &Exchange, name: &str) -> String {
    let values = exchange.head.lines().filter_map(|line| line.split_once(": "));
    values
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

fn is_taken(doing: &Doing, exchange: &Exchange) -> bool {
    let token = header(exchange, "authorization");
    let number = token.strip_prefix("Bearer zx-token-").and_then(|number| number.parse::<usize>().ok());
    number.is_some_and(|number| number > doing.revoked && number <= doing.made)
}

fn issue(exchange: &mut Exchange, doing: &mut Doing) -> io::Result<Done> {
    let own = format!("http://{}", header(exchange, "host"));
    if exchange.head.starts_with("GET /.well-known/oauth-authorization-server ") {
        let endpoint = doing.token_endpoint.clone().unwrap_or_else(|| format!("{own}/token"));
        exchange.json(json!({ "issuer": own, "token_endpoint": endpoint }).to_string())?;
        return Ok(Done::Answered);
    }
    if !exchange.head.starts_with("POST /token ") {
        exchange.respond(404, "", "")?;
        return Ok(Done::Answered);
    }
    doing.forms.push(exchange.body.clone());
    let is_client = is_client(doing, exchange, &own);
    if let Some((status, headers, body)) = &doing.instead {
        exchange.respond(*status, headers, body)?;
    } else if is_client {
        doing.made += 1;
        let token = format!("zx-token-{}", doing.made);
        let text = json!({ "access_token": token, "token_type": "Bearer", "expires_in": doing.lifetime });
        exchange.json(text.to_string())?;
    } else {
        // It repeats what it was sent, as some do.
        let sent = header(exchange, "authorization");
        let text =
            json!({ "error": "invalid_client", "error_description": format!("{sent} {}", doing.secret) });
        exchange.respond(401, "Content-Type: application/json\r\n", text.to_string())?;
    }
    Ok(Done::Answered)
}

/// Whether it is the client that asks; of an assertion, it is noted what is wrong.
fn is_client(doing: &mut Doing, exchange: &Exchange, own: &str) -> bool {
    let Some(key) = &mut doing.key else {
        let basic = format!("Basic {}", STANDARD.encode(format!("portcullis:{}", doing.secret)));
        return header(exchange, "authorization") == basic;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let checked = key.check(&exchange.body, "portcullis", own, now);
    doing.wrong.extend(checked.err());
    checked.is_ok()
}
