//! What the gateway tells those who observe it, and those who ask for its counters.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use crate::body::{self, Body, Reply};
use crate::endpoint;
use crate::front::gate::Exposure;
use crate::front::{Caller, Piped};
use crate::gateway::Gateway;
use crate::metrics::Gauge;
use crate::observe::{Ended, Exchange, OTHER, Record, Side};
use crate::ports::Host;
use crate::session::{LIFETIME, Session};
use crate::upstream::lock;
use crate::wire::message::Message;

/// The media type of Prometheus' text format.
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

impl<H: Host> Gateway<H> {
    /// Answers a request to a listener that has the counters and nothing else, and asks nobody who they are.
    pub fn serve_metrics(&self, request: &http::Request<Body>, exposure: Exposure) -> Reply {
        let named = match exposure {
            Exposure::Loopback => self.0.snapshot.load().gate.check(request.headers(), request.uri()),
            // Whoever reaches it may read it, under whatever name.
            Exposure::Network => Ok(()),
        };
        match named {
            Err(refusal) => body::refused(None, &refusal),
            Ok(()) if request.uri().path() == "/metrics" => self.metrics(request.method()),
            Ok(()) => {
                body::json(StatusCode::NOT_FOUND, r#"{"error":"not found; the metrics are at /metrics"}"#)
            }
        }
    }

    /// Answers with the counters who has the admin credential. Without one there is no such path.
    pub(super) fn metrics_for(&self, head: &Parts) -> Reply {
        match &*self.0.admin_key.load() {
            None => endpoint::not_found(),
            Some(key) if !key.is_in(&head.headers) => self.refuse_stranger(head),
            Some(_) => self.metrics(&head.method),
        }
    }

    fn metrics(&self, method: &Method) -> Reply {
        if method != Method::GET && method != Method::HEAD {
            return endpoint::only("GET");
        }
        let mut gauges = self.gauges();
        let counted =
            self.host().observer().and_then(|observer| Some(observer.metrics(&mut gauges)?.render(&gauges)));
        let Some(text) = counted else { return endpoint::not_found() };
        let mut reply = body::json(StatusCode::OK, text);
        reply.headers_mut().insert(header::CONTENT_TYPE, PROMETHEUS);
        reply
    }

    /// Returns what is true at the moment.
    fn gauges(&self) -> Vec<Gauge> {
        let gauge = |name, help, value| Gauge { name, help, labels: Vec::new(), value };
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let mut gauges = vec![
            Gauge { labels: version, ..gauge("portcullis_build_info", "The version that runs.", 1) },
            gauge("portcullis_streams_open", "Streams on which agents listen.", self.0.hub.open()),
            gauge(
                "portcullis_calls_parked",
                "Calls that wait for an agent's answer.",
                lock(&self.0.parked).calls.len(),
            ),
        ];
        let servers = self.readiness();
        let of_servers = |name, help, value: &dyn Fn(&crate::gateway::Readiness) -> usize| {
            let labels = |server: &str| vec![("portcullis_server", server.to_owned())];
            servers
                .iter()
                .map(|server| Gauge { name, help, labels: labels(&server.server), value: value(server) })
                .collect::<Vec<_>>()
        };
        let up = of_servers("portcullis_server_up", "Whether the server answers.", &|s| {
            usize::from(s.status == "up")
        });
        let tools = of_servers("portcullis_server_tools", "Tools that the server offers.", &|s| s.tools);
        gauges.extend(up.into_iter().chain(tools));
        gauges.extend(self.suspects().into_iter().map(|(server, suspects)| Gauge {
            labels: vec![("portcullis_server", server)],
            ..gauge(
                "portcullis_suspicious_items",
                "Items of the server with texts that are suspicious.",
                suspects.items,
            )
        }));
        let snapshot = self.snapshot();
        let approved = snapshot.servers.values().filter(|server| server.approval().is_some());
        gauges.extend(approved.map(|server| Gauge {
            labels: vec![("portcullis_server", server.name.to_string())],
            ..gauge(
                "portcullis_changed_definitions",
                "Definitions of the server that are not as they were approved.",
                server.held().len(),
            )
        }));
        if let Some(trail) = self.host().audit().map(|trail| trail.state()) {
            let failing = usize::from(trail.trouble.is_some());
            gauges.extend([
                gauge("portcullis_audit_failing", "Whether the audit trail cannot be written.", failing),
                gauge("portcullis_audit_waiting", "Entries that wait to be written.", trail.waiting),
                gauge("portcullis_audit_recorded", "Entries that have been written.", trail.recorded),
                gauge("portcullis_audit_lost", "Entries that there was no room for.", trail.lost),
            ]);
        }
        gauges
    }

    pub(super) fn note_exchange(&self, head: &Parts, status: StatusCode, began: u64) {
        let Some(observer) = self.host().observer().filter(|_| head.extensions.get::<Piped>().is_none())
        else {
            return;
        };
        let method = match head.method {
            Method::POST => "POST",
            Method::GET => "GET",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            Method::HEAD => "HEAD",
            _ => OTHER,
        };
        let duration = Duration::from_nanos(observer.ticks().saturating_sub(began));
        observer.answered(&Exchange { method, route: endpoint::route(head.uri.path()), status, duration });
    }

    /// Takes note of a session that its agent has ended. When it began is known from when it would have expired.
    pub(super) fn note_session(&self, head: &Parts, session: &Session, now: u64) {
        let Some(observer) = self.host().observer() else { return };
        let began = session.expires.saturating_sub(LIFETIME);
        observer.session_ended(&Ended {
            side: Side::Server,
            server: None,
            version: session.version.as_str(),
            piped: head.extensions.get::<Piped>().is_some(),
            duration: Duration::from_millis(now.saturating_sub(began)),
        });
    }

    /// Begins to take note of a request.
    pub(super) fn noted(&self, caller: Caller, head: &Parts, message: &Message<'_>, raw: &Bytes) -> Caller {
        let Message::Request { id, method, params } = message else { return caller };
        let watching = (self.host().observer(), self.noted_for_trail(&caller, method, params, raw));
        let headers = head.extensions.get::<Piped>().is_none().then_some(&head.headers);
        let record = Record::asked(watching, (id.text(), method), params.get("_meta"), headers);
        Caller { record, ..caller }
    }
}
