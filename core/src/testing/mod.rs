//! What tests of this crate and of its hosts use: a host in memory, on which time is virtual, and builders.

mod caller_paths;
mod connections;
mod families;
mod fleet;
pub mod fuzz;
mod host;
mod paths;
mod policy_paths;
mod records;
mod secrets;
mod store;
mod trail;
mod trail_paths;
mod wrap;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};

use crate::body::Body;
use crate::config::{Config, Endpoint, Policy, Server, Transport};
use crate::control::{InStore, Managed, Strangers};
use crate::front::admin::AdminKey;
use crate::front::gate::Exposure;
use crate::gateway::{Gateway, Options, SealKeys};
use crate::identity::{ApiKey, Identity, KeyRecord};
use crate::names::ServerName;
use crate::ports::{Entropy, Host};

pub use caller_paths::token_rs256;
pub use connections::{Rotating, connection_key, connection_store, refresh_race};
pub use families::token_families;
pub use fleet::Fleet;
#[cfg(test)]
pub(crate) use host::signature;
pub use host::{Answer, Memory, Notes, Open, json_answer, later, open_stream, silence, slowly};
pub use paths::{Path, paths};
pub use records::record_store;
pub use secrets::secret_store;
pub use store::{MemoryStore, config_store, key_store};
pub use trail::{TestLines, TestTrail};
pub use wrap::{Wrapping, key_wrap};

/// The admin credential of the gateways that are started here.
pub const ADMIN_KEY: &str = "the admin's key";

/// Returns the settings of a server at a URL.
pub fn server(url: &str) -> Server {
    Server {
        transport: Transport::Http(Endpoint {
            url: url.parse().expect("a URL"),
            headers: http::HeaderMap::new(),
            secret_headers: Vec::new(),
            sign_on: None,
            consent: None,
        }),
        timeout: Duration::from_secs(5),
        cache: Duration::from_mins(1),
        enabled: true,
        elicitation: crate::config::Elicitation::default(),
        approval: crate::config::Approving::default(),
    }
}

/// Returns the API key of that number and what is known of it: it is the agent `coder`'s, and never expires.
pub fn key(number: u8) -> (ApiKey, KeyRecord) {
    struct Always(u8);
    impl Entropy for Always {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }
    let key = ApiKey::generate(&Always(number));
    let hash = key.hash();
    let record = KeyRecord {
        id: hash.id().into(),
        agent: "coder".into(),
        hash,
        created: 1,
        expires: None,
        revoked: None,
        comment: None,
        owner: None,
        created_by: None,
    };
    (key, record)
}

/// Returns who a caller is of whom nothing is known, where everybody may do everything.
pub(crate) fn anybody() -> Arc<Identity> {
    Arc::new(Identity::anonymous(&Policy::default()))
}

/// Answers as a session-based server does whose one tool `ask` answers as `call` says, given its parameters and its id.
#[cfg(test)]
pub(crate) fn session_server(
    request: &http::Request<Bytes>,
    call: impl FnOnce(&str, &str) -> Answer,
) -> Answer {
    use crate::wire::json::Json;
    let json = Json::check(request.body()).ok();
    let text = |key: &str| json.and_then(|json| json.get(key)).map_or("", Json::text);
    let result = |result: &str| json_answer(200, crate::wire::message::result(text("id"), result));
    match text("method") {
        "\"initialize\"" => {
            let mut answer = result(
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"x"}}"#,
            )?;
            let id = http::HeaderValue::from_static("s");
            answer.headers_mut().insert(crate::wire::http::SESSION_ID, id);
            Ok(answer)
        }
        "\"tools/list\"" => result(r#"{"tools":[{"name":"ask","inputSchema":{"type":"object"}}]}"#),
        "\"tools/call\"" => call(text("params"), text("id")),
        "" | "\"notifications/initialized\"" | "\"notifications/cancelled\"" => json_answer(202, ""),
        _ => json_answer(400, ""),
    }
}

/// Starts a gateway in front of servers with these names, each at `http://NAME.test/mcp`.
pub fn gateway(host: &Memory, servers: &[&str]) -> Gateway<Memory> {
    gateway_with(host, servers, Config::default())
}

/// Starts such a gateway, which otherwise is as `config` says.
pub fn gateway_with(host: &Memory, servers: &[&str], config: Config) -> Gateway<Memory> {
    let named = |name: &&str| {
        let parsed = ServerName::parse(name).expect("a name");
        (parsed, server(&format!("http://{name}.test/mcp")))
    };
    gateway_on(host.clone(), Config { servers: servers.iter().map(named).collect(), ..config })
}

/// Starts a gateway on any host, which is as `config` says and seals with a key that all have that are started here.
pub fn gateway_on<H: Host>(host: H, config: Config) -> Gateway<H> {
    let seal_keys = SealKeys { first: [7; 32], others: Vec::new() };
    let options = Options {
        config,
        seal_keys,
        exposure: Exposure::Loopback,
        started_by: Vec::new(),
        admin_key: AdminKey::new(ADMIN_KEY),
        managed: Managed::ByStore(InStore { strangers: Strangers::Admitted, ..InStore::default() }),
    };
    Gateway::start(host, options).expect("not started by itself")
}

/// Returns what a server says that offers these tools, each a name and a description.
pub fn sighting(
    server: &str,
    principal: Option<&str>,
    at: u64,
    tools: &[(&str, &str)],
) -> crate::approval::Sighting {
    use crate::catalog::{Item, Kind, Offer};
    let introduction = crate::upstream::handshake::Introduction {
        capabilities: r#"{"tools":{}}"#.into(),
        info: None,
        instructions: None,
    };
    let mut offer = Offer::new(crate::wire::version::Version::MODERN, introduction, at);
    let item = |(name, description): &(&str, &str)| Item {
        name: (*name).into(),
        text: format!(r#"{{"name":"{name}","description":"{description}"}}"#).into(),
        parameters: Vec::new(),
    };
    offer.set_items(Kind::Tools, tools.iter().map(item).collect());
    crate::approval::Sighting::new(server, principal.map(Arc::from), Arc::new(offer))
}

/// Returns a POST of a message to `/mcp` with these headers.
pub fn post(message: impl Into<Bytes>, headers: &[(&'static str, &str)]) -> http::Request<Body> {
    let mut request = http::Request::new(Body::Full(message.into().into()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("/mcp");
    request.headers_mut().insert(header::HOST, http::HeaderValue::from_static("localhost"));
    request.headers_mut().insert(header::CONTENT_TYPE, crate::wire::http::JSON);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    request
}

/// Returns a stateless request as a conforming client sends it; `params` are JSON members besides `_meta`.
pub fn modern(id: &str, method: &'static str, params: &str) -> http::Request<Body> {
    modern_with(id, method, params, "{}")
}

/// Returns a stateless request of a client with these capabilities.
pub fn modern_with(id: &str, method: &'static str, params: &str, capabilities: &str) -> http::Request<Body> {
    let separator = if params.is_empty() { "" } else { "," };
    let message = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{params}{separator}\"_meta\":{{\
         \"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{capabilities}}}}}}}"
    );
    let name = crate::wire::json::Json::check(format!("{{{params}}}").as_bytes()).ok().and_then(|json| {
        json.get(crate::front::modern::named_by(method)?)?.as_str().map(std::borrow::Cow::into_owned)
    });
    let mut request = post(message, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]);
    if let Some(name) = name {
        request.headers_mut().insert("mcp-name", crate::wire::http::encode(&name));
    }
    request
}
