//! The gateway's URLs: which path is what, and the answers that are about HTTP alone.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::body::{Reply, empty, json};
use crate::catalog::Scope;
use crate::config::{Config, Group};
use crate::control::{self, StoreError};
use crate::flow::Linking;
use crate::front::gate;
use crate::gateway::{Readiness, Snapshot};
use crate::identity::key_header;
use crate::names::ServerName;
use crate::oauth::resource;
use crate::oauth::server::Step;
use crate::sorted::SortedMap;
use crate::upstream::Server;
use crate::wire::http::PARAM_PREFIX;
use crate::wire::message::ObjectWriter;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/healthz`, `/healthcheck`: whether the process lives.
    Health,
    /// `/readyz`: which servers are up.
    Readiness,
    /// `/metrics`: what has been counted.
    Metrics,
    /// `/admin/v1/...`: the control plane.
    Admin,
    /// `/fleet/v1/...`: where gateways ask that are governed from here.
    #[cfg(feature = "control")]
    Fleet(control::fleet::asked::Step),
    /// `/v0.1/...`: the registry.
    #[cfg(feature = "control")]
    Registry,
    /// `/console/...`: the files of the console.
    #[cfg(feature = "control")]
    Assets,
    /// `/mcp`, `/mcp/servers/{server}`, `/mcp/groups/{group}`.
    Mcp(Scope),
    /// `/sse`: the event stream of an agent that speaks HTTP+SSE.
    Sse,
    /// `/messages`: what such an agent says.
    Messages,
    /// `/.well-known/oauth-protected-resource...`: where tokens for an endpoint are to be had.
    Resource,
    /// `/oauth/...`, `/.well-known/oauth-authorization-server...`: the gateway as the authorization server.
    SignIn(Step),
    /// `/connect/{server}`, `/oauth/callback`, `/oauth/client-metadata.json`: users connect accounts at servers.
    Connect(Linking),
    /// `/scim/v2/...`: the identity provider says who is there, and who has left.
    #[cfg(feature = "control")]
    Scim,
    /// `/console/...`: those who govern sign in and out.
    #[cfg(feature = "control")]
    Console(ConsoleStep),
}

/// A step of signing in at the console.
#[cfg(feature = "control")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsoleStep {
    /// `/console/sign-in`: the way to the identity provider, or the admin credential.
    SignIn,
    /// `/console/signed-in`: the way back, for a client of the console's own.
    SignedIn,
    /// `/console/sign-out`.
    SignOut,
}

#[cfg(feature = "control")]
impl ConsoleStep {
    const ALL: [(&'static str, Self); 3] = [
        ("/console/sign-in", Self::SignIn),
        ("/console/signed-in", Self::SignedIn),
        ("/console/sign-out", Self::SignOut),
    ];

    fn at(path: &str) -> Option<(&'static str, Self)> {
        Self::ALL.into_iter().find(|(whole, _)| *whole == path)
    }
}

/// The path at which agents that speak HTTP+SSE open their stream.
pub(crate) const SSE: &str = "/sse";
/// The path to which they post.
pub(crate) const MESSAGES: &str = "/messages";
/// What the paths of single servers begin with.
const SERVERS: &str = "/mcp/servers/";
/// What the paths of groups begin with.
const GROUPS: &str = "/mcp/groups/";
/// What the paths of the pages begin with on which users connect.
const CONNECT: &str = "/connect/";
/// Where a browser comes back to from a server's authorization server, or waits whose user is there.
pub(crate) const CALLBACK: &str = "/oauth/callback";
/// Where the gateway says what it is as a client of such servers.
pub(crate) const CLIENT: &str = "/oauth/client-metadata.json";

/// Finds what a path leads to. A path is compared as it is written: dots and empty segments lead nowhere.
pub(crate) fn find(
    path: &str,
    servers: &SortedMap<ServerName, Arc<Server>>,
    groups: &SortedMap<String, Group>,
) -> Option<Endpoint> {
    match path {
        "/healthz" | "/healthcheck" => Some(Endpoint::Health),
        "/readyz" => Some(Endpoint::Readiness),
        "/metrics" => Some(Endpoint::Metrics),
        "/mcp" => Some(Endpoint::Mcp(Scope::All)),
        SSE => Some(Endpoint::Sse),
        MESSAGES => Some(Endpoint::Messages),
        #[cfg(feature = "control")]
        _ if path.starts_with(control::registry::ROOT) => Some(Endpoint::Registry),
        _ if control::operations::is_admin(path) => Some(Endpoint::Admin),
        #[cfg(feature = "control")]
        _ if path.starts_with(control::fleet::ROOT) => {
            control::fleet::asked::Step::at(path).map(|(_, step)| Endpoint::Fleet(step))
        }
        #[cfg(feature = "control")]
        _ if ConsoleStep::at(path).is_some() => Some(Endpoint::Console(ConsoleStep::at(path)?.1)),
        #[cfg(feature = "control")]
        _ if control::scim::is_scim(path) => Some(Endpoint::Scim),
        #[cfg(feature = "control")]
        _ if control::console::is_console(path) => Some(Endpoint::Assets),
        _ if resource::asked_about(path).is_some() => Some(Endpoint::Resource),
        _ if Step::at(path).is_some() => Some(Endpoint::SignIn(Step::at(path)?.1)),
        CALLBACK => Some(Endpoint::Connect(Linking::Back)),
        CLIENT => Some(Endpoint::Connect(Linking::Client)),
        _ if path.starts_with(CONNECT) => {
            let name = decode(path.strip_prefix(CONNECT)?)?;
            let (name, _) = servers.get_key_value(name.as_str())?;
            Some(Endpoint::Connect(Linking::Page(name.clone())))
        }
        _ if path.starts_with(GROUPS) => {
            let name = decode(path.strip_prefix(GROUPS)?)?;
            let (name, _) = groups.get_key_value(&name.to_lowercase())?;
            Some(Endpoint::Mcp(Scope::Group(name.as_str().into())))
        }
        _ => {
            let name = decode(path.strip_prefix(SERVERS)?)?;
            let (name, _) = servers.get_key_value(name.as_str())?;
            Some(Endpoint::Mcp(Scope::Server(name.clone())))
        }
    }
}

/// Returns the pattern that a path follows, whether or not its names are known; empty where it leads nowhere.
pub(crate) fn route(path: &str) -> &'static str {
    const WHOLE: [&str; 9] =
        ["/mcp", SSE, MESSAGES, "/healthz", "/healthcheck", "/readyz", "/metrics", CALLBACK, CLIENT];
    let of_sign_in = Step::at(path).map(|(whole, _)| whole);
    #[cfg(feature = "control")]
    let of_sign_in = of_sign_in
        .or_else(|| ConsoleStep::at(path).map(|(whole, _)| whole))
        .or_else(|| control::fleet::asked::Step::at(path).map(|(whole, _)| whole));
    match WHOLE.into_iter().find(|whole| *whole == path).or(of_sign_in) {
        Some(whole) => whole,
        None if path.starts_with(SERVERS) => "/mcp/servers/{server}",
        None if path.starts_with(GROUPS) => "/mcp/groups/{group}",
        None if path.starts_with(CONNECT) => "/connect/{server}",
        None if resource::asked_about(path).is_some() => resource::WELL_KNOWN,
        #[cfg(feature = "control")]
        None if control::console::is_console(path) => "/console/",
        #[cfg(feature = "control")]
        None if control::scim::is_scim(path) => control::scim::route(path).unwrap_or("/scim/v2/"),
        None => control::operations::route(path),
    }
}

/// Tells whether a path is that of an endpoint which shows only some servers, whether or not there are such.
pub(crate) fn is_narrowed(path: &str) -> bool {
    path.starts_with("/mcp/")
}

/// Tells whether a path is that of an endpoint for agents, whether or not there are such servers.
pub(crate) fn is_agents(path: &str) -> bool {
    path == "/mcp" || is_narrowed(path)
}

/// Returns what the URLs of the endpoints begin with: the public one, else, where only this machine can reach the gateway,
/// what the request came to. Nothing where nobody says: `Host` is anything that a caller writes.
pub(crate) fn base(head: &Parts, snapshot: &Snapshot) -> Option<String> {
    if let Some(public) = &snapshot.config.gateway.public_url {
        return Some(resource::base(public));
    }
    let named = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| head.uri.authority().map(http::uri::Authority::as_str))?;
    (snapshot.gate.is_loopback_only() && gate::is_here(host)).then(|| format!("http://{host}"))
}

/// Answers where tokens for an endpoint are to be had (RFC 9728 §3.2).
pub(crate) fn resource(head: &Parts, snapshot: &Snapshot) -> Reply {
    let config = &snapshot.config;
    let Some(base) = base(head, snapshot) else { return not_found() };
    if head.method == http::Method::OPTIONS {
        return preflight(&head.headers, config);
    }
    if head.method != http::Method::GET {
        let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return reply;
    }
    let path = resource::asked_about(head.uri.path()).unwrap_or("/mcp");
    let mut reply = json(StatusCode::OK, resource::document(&config.auth, &base, path));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Returns the path of an endpoint.
pub(crate) fn path(scope: &Scope) -> String {
    let encode = |name: &str| name.replace(' ', "%20");
    match scope {
        Scope::All => "/mcp".into(),
        Scope::Server(name) => format!("{SERVERS}{}", encode(name.as_str())),
        Scope::Group(name) => format!("{GROUPS}{}", encode(name)),
    }
}

/// Tells whether a path is that of a page on which users connect a server, whether or not there is such a server.
pub(crate) fn is_connect(path: &str) -> bool {
    path.starts_with(CONNECT)
}

/// Returns the path of the page on which users connect a server.
pub(crate) fn connect_path(server: &ServerName) -> String {
    format!("{CONNECT}{}", server.as_str().replace(' ', "%20"))
}

/// Decodes the percent signs of one segment; nothing where it is malformed or has a slash.
pub(crate) fn decode(segment: &str) -> Option<String> {
    if segment.contains('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

/// What is wrong with the gateway itself.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Why the audit trail cannot be written.
    pub(crate) audit: Option<String>,
    /// The newest version of the configuration, where it is not in force, and why.
    pub(crate) refused: Option<(u64, String)>,
    /// Why secrets cannot be read, and how many.
    pub(crate) secrets: Option<(StoreError, usize)>,
    /// What the host was not given, and what is lost by that.
    pub(crate) lacking: Vec<(&'static str, &'static str)>,
}

/// Says which servers are up, and what is wrong with the gateway itself. It is ready once each server has answered or failed.
pub(crate) fn readiness(servers: &[Readiness], settled: bool, trouble: &Trouble) -> Reply {
    let degraded = trouble.audit.is_some()
        || trouble.secrets.is_some()
        || trouble.refused.is_some()
        || servers.iter().any(|server| server.status != "up" || server.circuit.is_some());
    let mut list = ObjectWriter::default();
    for server in servers {
        let mut one = ObjectWriter::default();
        one.string("status", server.status).member("tools", &server.tools.to_string());
        if let Some(reason) = &server.reason {
            one.string("reason", reason);
        }
        if let Some(opened) = &server.circuit {
            let mut circuit = ObjectWriter::default();
            circuit.string("reason", &opened.reason);
            circuit.member("open_ms", &opened.open_for.to_string());
            circuit.member("retry_ms", &opened.retry_in.to_string());
            one.member("circuit", &circuit.finish());
        }
        list.member(&server.server, &one.finish());
    }
    let mut out = ObjectWriter::default();
    out.string(
        "status",
        if !settled {
            "STARTING"
        } else if degraded {
            "DEGRADED"
        } else {
            "OK"
        },
    );
    out.member("servers", &list.finish());
    if let Some((version, reason)) = &trouble.refused {
        let mut refused = ObjectWriter::default();
        refused.string("status", "refused").member("version", &version.to_string()).string("reason", reason);
        out.member("configuration", &refused.finish());
    }
    if !trouble.lacking.is_empty() {
        let mut lacking = ObjectWriter::default();
        for (name, loss) in &trouble.lacking {
            lacking.string(name, loss);
        }
        out.member("missing", &lacking.finish());
    }
    if let Some((reason, count)) = &trouble.secrets {
        let mut secrets = ObjectWriter::default();
        let reason = format!("the store of secrets {reason}; what was read before goes on being used");
        secrets.string("status", "failing").string("reason", &reason).member("count", &count.to_string());
        out.member("secrets", &secrets.finish());
    }
    if let Some(reason) = &trouble.audit {
        let mut audit = ObjectWriter::default();
        audit.string("status", "failing").string("reason", reason);
        out.member("audit", &audit.finish());
    }
    json(if settled { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, out.finish())
}

/// The answer to a path that leads nowhere.
pub(crate) fn not_found() -> Reply {
    json(StatusCode::NOT_FOUND, r#"{"error":"not found; the MCP endpoint is /mcp"}"#)
}

/// The answer to a request for what needs the admin credential and does not carry it.
pub(crate) fn unauthorized() -> Reply {
    let mut reply =
        json(StatusCode::UNAUTHORIZED, r#"{"error":"needs the admin credential as a bearer token"}"#);
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    reply
}

/// The answer to a method that an MCP endpoint does not have.
pub(crate) fn method_not_allowed() -> Reply {
    only("POST")
}

/// The answer to any other method than those that a path has.
pub(crate) fn only(methods: &str) -> Reply {
    let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
    if let Ok(methods) = HeaderValue::from_str(methods) {
        reply.headers_mut().insert(header::ALLOW, methods);
    }
    reply
}

/// The answer to a browser that asks what it may send.
///
/// The names of headers that repeat arguments are the tools' own, so the answer repeats those that were asked for.
pub(crate) fn preflight(asked: &HeaderMap, config: &Config) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, DELETE, OPTIONS"));
    let own = "authorization, content-type, accept, last-event-id, mcp-session-id, mcp-protocol-version, mcp-method, \
               mcp-name, traceparent, tracestate";
    let params =
        asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let params = params.split(',').map(str::trim).filter(|name| {
        HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| name.as_str().starts_with(PARAM_PREFIX))
    });
    let of_callers = [key_header(&config.auth, config.policy.dialect), config.auth.tag_header.clone()];
    let of_callers = of_callers.iter().flatten().map(HeaderName::as_str);
    let allowed = std::iter::once(own).chain(of_callers).chain(params).collect::<Vec<_>>().join(", ");
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    reply
}

/// Lets a page of an origin that has passed the gate read the answer.
pub(crate) fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("mcp-session-id, www-authenticate"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_they_are_written() {
        let name = ServerName::parse("my srv").unwrap();
        let settings = crate::testing::server("http://127.0.0.1:1/mcp");
        let servers = SortedMap::from([(name.clone(), Server::new(name.clone(), settings, 0).0)]);
        let group = Group {
            name: "Read only".into(),
            description: None,
            members: Vec::new(),
            origin: crate::config::Origin::default(),
        };
        let groups = SortedMap::from([("read only".to_owned(), group)]);
        let check = |path: &str| find(path, &servers, &groups);
        assert_eq!(check("/mcp/groups/Read%20Only"), Some(Endpoint::Mcp(Scope::Group("read only".into()))));
        assert_eq!(check(&path(&Scope::Group("read only".into()))), check("/mcp/groups/read%20only"));
        assert_eq!((check("/mcp/groups/other"), check("/mcp/groups/")), (None, None));
        assert_eq!((check("/sse"), check("/messages")), (Some(Endpoint::Sse), Some(Endpoint::Messages)));
        assert_eq!(check("/mcp"), Some(Endpoint::Mcp(Scope::All)));
        assert_eq!(check("/mcp/servers/my%20srv"), Some(Endpoint::Mcp(Scope::Server(name.clone()))));
        assert_eq!(check(&path(&Scope::Server(name))), check("/mcp/servers/my%20srv"));
        for odd in [
            "/mcp/",
            "/MCP",
            "/mcp/servers/",
            "/mcp/servers/x",
            "/mcp/servers/my%2",
            "/mcp/servers/../x",
            "/mcp/servers/my%2fsrv",
            "/mcp/../mcp",
            "/sse/",
            "/messages/x",
            "//mcp",
            "/mcp/groups/x",
        ] {
            assert_eq!(check(odd), None, "{odd}");
        }
    }
}
