//! Who may talk to the gateway at all: the `Host` and `Origin` of a request, and the gateways it came through.
//!
//! **On a loopback address only loopback names are served**, so that a web page cannot reach the gateway through a
//! name that it makes point there (DNS rebinding). Nothing else is ever derived from `Host`, but for the
//! gateway's own URL on a loopback address, where it names this machine.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::config;
use crate::error::{Refusal, code};
use crate::wire::http as names;

/// The most gateways that a request may come through.
const HOPS: usize = 8;

/// Decides from a request's headers whether it is served.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    exposure: Exposure,
    public: Option<url::Url>,
    origins: Vec<String>,
    id: String,
    started_by: Vec<String>,
}

/// Who can reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Programs on this machine: it listens on a loopback address.
    Loopback,
    /// Others too.
    Network,
}

impl Gate {
    /// Makes the gate of a gateway; `id` names it in the chain of gateways.
    ///
    /// `started_by` are the gateways that started this one as their server.
    pub(crate) fn new(
        exposure: Exposure,
        settings: &config::Gateway,
        id: String,
        started_by: Vec<String>,
    ) -> Self {
        Self {
            exposure,
            public: settings.public_url.clone(),
            origins: settings.allowed_origins.clone(),
            id,
            started_by,
        }
    }

    /// Returns the gate of the same gateway with other settings.
    pub(crate) fn with(&self, settings: &config::Gateway) -> Self {
        Self::new(self.exposure, settings, self.id.clone(), self.started_by.clone())
    }

    /// Refuses a request that is not for this gateway, or comes from a web page that may not call it.
    pub(crate) fn check(&self, headers: &HeaderMap, target: &http::Uri) -> Result<(), Refusal> {
        let forbidden = |message: &'static str| {
            Refusal::new(code::INVALID_REQUEST, message).with_status(StatusCode::FORBIDDEN)
        };
        let host = names::single(headers, &header::HOST).map_err(|_| {
            Refusal::new(code::INVALID_REQUEST, "`Host` must appear once")
                .with_status(StatusCode::BAD_REQUEST)
        })?;
        let absolute = target.authority().map(http::uri::Authority::as_str);
        if host.is_none() && absolute.is_none() {
            let refusal = Refusal::new(code::INVALID_REQUEST, "`Host` is missing");
            return Err(refusal.with_status(StatusCode::BAD_REQUEST));
        }
        if !host.into_iter().chain(absolute).all(|host| self.serves(host)) {
            return Err(forbidden(
                "this gateway is not served under that `Host`; set `gateway.public_url` to its public address",
            ));
        }
        let origin =
            names::single(headers, &header::ORIGIN).map_err(|_| forbidden("`Origin` must appear once"))?;
        let is_own = |origin: &str| {
            let host = host.or(absolute).filter(|_| is_governing(target.path()));
            host.is_some_and(|host| own_origins(host).any(|own| own.eq_ignore_ascii_case(origin)))
        };
        if !origin.is_none_or(|origin| self.trusts(origin) || is_own(origin)) {
            return Err(forbidden(
                "web pages of that `Origin` may not call this gateway; add it to `gateway.allowed_origins`",
            ));
        }
        Ok(())
    }

    /// Tells whether only programs on this machine can reach the gateway.
    pub(crate) fn is_loopback_only(&self) -> bool {
        self.exposure == Exposure::Loopback
    }

    fn serves(&self, host: &str) -> bool {
        let public = self.public.as_ref().and_then(url::Url::host_str);
        let name = host_name(host);
        match (self.exposure, public) {
            (Exposure::Loopback, public) => {
                is_loopback(name) || public.is_some_and(|p| p.eq_ignore_ascii_case(name))
            }
            (Exposure::Network, Some(public)) => public.eq_ignore_ascii_case(name) || is_loopback(name),
            (Exposure::Network, None) => true,
        }
    }

    fn trusts(&self, origin: &str) -> bool {
        if self.origins.iter().any(|o| o.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Ok(url) = url::Url::parse(origin) else { return false };
        let public = self.public.as_ref().map(url::Url::origin);
        if public.is_some_and(|public| public == url.origin()) {
            return true;
        }
        self.exposure == Exposure::Loopback
            && matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(is_loopback)
    }

    /// Returns what to send on as the chain of gateways, or refuses a request that has been here before.
    pub(crate) fn via(&self, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
        let chain: Vec<_> = headers
            .get_all(names::VIA)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .chain(self.started_by.iter().map(String::as_str))
            .filter(|hop| !hop.is_empty())
            .collect();
        self.check_chain(&chain)?;
        let chain = chain.into_iter().chain([self.id.as_str()]).collect::<Vec<_>>().join(", ");
        HeaderValue::from_str(&chain)
            .map_err(|_| Refusal::new(code::INVALID_REQUEST, "the chain of gateways is malformed"))
    }

    /// Refuses a chain that this gateway is part of, or that is too long.
    fn check_chain(&self, chain: &[&str]) -> Result<(), Refusal> {
        if chain.contains(&self.id.as_str()) || chain.len() >= HOPS {
            let message = "loop detected: this request has already come through this gateway, which must not be its own upstream";
            return Err(Refusal::new(code::INVALID_REQUEST, message).with_status(StatusCode::LOOP_DETECTED));
        }
        Ok(())
    }

    /// Returns the chain of what this gateway asks of itself, as text.
    pub(crate) fn own_chain(&self) -> String {
        self.started_by.iter().chain([&self.id]).map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Refuses to be where this gateway was started by itself.
    pub(crate) fn check_start(&self) -> Result<(), Refusal> {
        self.check_chain(&self.started_by.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Tells whether a path is the console's, the admin API's, or the registry's, to which the console publishes.
fn is_governing(path: &str) -> bool {
    ["/console/", "/admin/v1/", "/v0.1/"].iter().any(|root| path.starts_with(root))
}

/// Returns the origins of pages that a gateway which is reached under this `Host` gives out itself: a browser names there what it
/// has connected to. By TLS nobody else has a page of that name; without it, that holds of this machine's own names alone.
///
/// For the console, whose cookies are bound to their host, so that another name that leads here has none of them.
pub(crate) fn own_origins(host: &str) -> impl Iterator<Item = String> {
    let plainly = is_here(host).then(|| format!("http://{host}"));
    [format!("https://{host}")].into_iter().chain(plainly)
}

/// Returns the name of a `Host`, without its port and the brackets of IPv6.
fn host_name(host: &str) -> &str {
    if let Some((name, rest)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        return if rest.is_empty() || is_port(rest) { name } else { "" };
    }
    match host.split_once(':') {
        Some((name, port)) if is_port(&format!(":{port}")) => name,
        Some(_) => "",
        None => host,
    }
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

/// Tells whether a `Host` is this machine.
pub(crate) fn is_here(host: &str) -> bool {
    is_loopback(host_name(host))
}

/// Tells whether a name, without a port, is one of this machine's own.
pub(crate) fn is_loopback(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(exposure: Exposure, public: Option<&str>) -> Gate {
        let settings = config::Gateway {
            public_url: public.map(|p| p.parse().unwrap()),
            allowed_origins: vec!["https://ui.example".into()],
            ..config::Gateway::default()
        };
        Gate::new(exposure, &settings, "abc".into(), Vec::new())
    }

    #[track_caller]
    fn check(gate: &Gate, host: &str, origin: &str, expected: u16) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if !origin.is_empty() {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let status = gate
            .check(&headers, &http::Uri::from_static("/mcp"))
            .map_or_else(|r| r.status.as_u16(), |()| 200);
        assert_eq!(status, expected, "{host} {origin}");
    }

    #[test]
    fn loopback_serves_only_loopback_names() {
        let gate = gate(Exposure::Loopback, None);
        for host in
            ["127.0.0.1", "127.0.0.1:9000", "localhost:1", "LOCALHOST", "[::1]:9000", "[::1]", "127.9.9.9"]
        {
            check(&gate, host, "", 200);
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test:80",
            "127.0.0.1/../admin",
            "x:y",
            "[::1].evil",
            "0.0.0.0",
            "",
        ] {
            check(&gate, host, "", 403);
        }
        for origin in
            ["http://localhost:3000", "http://127.0.0.1:9000", "http://[::1]:1", "https://ui.example"]
        {
            check(&gate, "localhost", origin, 200);
        }
        for origin in
            ["http://evil.test", "null", "file://", "http://localhost.evil.test", "chrome-extension://x"]
        {
            check(&gate, "localhost", origin, 403);
        }
    }

    #[test]
    fn a_network_gateway_serves_its_public_name() {
        let gate = gate(Exposure::Network, Some("https://mcp.example.com"));
        check(&gate, "mcp.example.com", "https://mcp.example.com", 200);
        check(&gate, "mcp.example.com", "https://mcp.example.com:444", 403);
        check(&gate, "mcp.example.com", "http://localhost", 403);
        check(&gate, "other.example.com", "", 403);
    }

    #[test]
    fn pages_that_the_gateway_gave_out_govern_it_and_call_nothing_else() {
        let gate = gate(Exposure::Network, None);
        let check = |path: &'static str, host: &'static str, origin: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            let is_served = gate.check(&headers, &http::Uri::from_static(path)).is_ok();
            assert_eq!(is_served, expected, "{path} {host} {origin}");
        };
        for path in ["/console/assets/a.js", "/console/sign-out", "/admin/v1/me", "/v0.1/publish"] {
            check(path, "gw.example", "https://gw.example", true);
            check(path, "gw.example:8443", "https://gw.example:8443", true);
            check(path, "127.0.0.1:8787", "http://127.0.0.1:8787", true);
            // A name that was made to lead here has no certificate.
            check(path, "evil.test", "http://evil.test", false);
            check(path, "gw.example", "https://evil.test", false);
            check(path, "gw.example:8443", "https://gw.example", false);
            check(path, "127.0.0.1:8787", "http://127.0.0.1:3000", false);
            check(path, "gw.example", "null", false);
        }
        for path in ["/mcp", "/console", "/oauth/token"] {
            check(path, "gw.example", "https://gw.example", false);
        }
    }

    #[test]
    fn a_host_that_appears_twice_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.test"));
        assert_eq!(
            gate(Exposure::Loopback, None)
                .check(&headers, &http::Uri::from_static("/mcp"))
                .unwrap_err()
                .status,
            400
        );
    }

    #[test]
    fn a_request_for_nobody_is_refused() {
        let check = gate(Exposure::Network, None).check(&HeaderMap::new(), &http::Uri::from_static("/mcp"));
        assert_eq!(check.unwrap_err().status, 400);
    }

    #[test]
    fn an_absolute_target_does_not_hide_behind_host() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        let check =
            |uri: &'static str| gate(Exposure::Loopback, None).check(&headers, &http::Uri::from_static(uri));
        assert_eq!(check("http://evil.test/mcp").unwrap_err().status, 403);
        assert!(check("http://localhost:9000/mcp").is_ok());
    }

    #[test]
    fn a_loop_is_seen() {
        let gate = gate(Exposure::Loopback, None);
        let mut headers = HeaderMap::new();
        assert_eq!(gate.via(&headers).unwrap(), "abc");
        headers.insert(names::VIA, HeaderValue::from_static("one, two"));
        assert_eq!(gate.via(&headers).unwrap(), "one, two, abc");
        headers.append(names::VIA, HeaderValue::from_static("abc"));
        assert_eq!(gate.via(&headers).unwrap_err().status, 508);
        headers.insert(names::VIA, HeaderValue::from_static("1,2,3,4,5,6,7,8"));
        assert_eq!(gate.via(&headers).unwrap_err().status, 508);
    }
}
