//! OpenTelemetry: traces, metrics and logs, sent over OTLP to where the environment says.
//!
//! **Off unless `OTEL_EXPORTER_OTLP_ENDPOINT`, or the same of one signal, is set**: nothing is sent, started or loaded
//! until then. Spans and metrics follow the semantic conventions for MCP. They carry names, never arguments, results or
//! session ids.

use std::env;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::{Histogram, MeterProvider as _};
use opentelemetry::trace::{self, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample as _,
    SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use portcullis_core::audit::{FIELDS, Redactor, Row, parse_time};
use portcullis_core::body::{Body, Whole};
use portcullis_core::observe::{Ended, Operation, Side, SpanContext};
use portcullis_core::ports::Upstream as _;

use crate::host::Machine;

/// How long the last telemetry may take to be sent when the gateway stops.
const FLUSH: Duration = Duration::from_secs(3);
/// The largest answer of a collector that is read, in bytes.
const ANSWER: usize = 4 << 20;

/// What is sent where.
pub(crate) struct Telemetry {
    traces: Option<Traces>,
    metrics: Option<Instruments>,
    logs: Option<SdkLoggerProvider>,
    scope: InstrumentationScope,
    /// One moment on both clocks.
    moment: (Instant, SystemTime),
}

struct Traces {
    processor: BatchSpanProcessor,
    root: Sampler,
    follows_parent: bool,
}

struct Instruments {
    provider: SdkMeterProvider,
    served: Histogram<f64>,
    asked: Histogram<f64>,
    served_sessions: Histogram<f64>,
    asked_sessions: Histogram<f64>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Telemetry {
    /// Begins to send what the environment asks for; nothing where it names no collector. Needs a runtime.
    pub(crate) fn from_environment() -> anyhow::Result<Option<Arc<Self>>> {
        let wanted = ["TRACES", "METRICS", "LOGS"].map(is_wanted);
        if wanted == [false; 3] || env::var("OTEL_SDK_DISABLED").is_ok_and(|v| v.eq_ignore_ascii_case("true"))
        {
            return Ok(None);
        }
        check_protocols()?;
        let resource = resource();
        let collector = Collector::new()?;
        let [traces, metrics, logs] = wanted;
        let telemetry = Self {
            traces: traces.then(|| Traces::new(&collector, &resource)).transpose()?,
            metrics: metrics.then(|| Instruments::new(&collector, &resource)).transpose()?,
            logs: logs.then(|| logger(&collector, &resource)).transpose()?,
            scope: InstrumentationScope::builder("portcullis")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            moment: (Instant::now(), SystemTime::now()),
        };
        Ok(Some(Arc::new(telemetry)))
    }

    /// Returns where log events go, where they are wanted.
    pub(crate) fn logs(&self) -> Option<&SdkLoggerProvider> {
        self.logs.as_ref()
    }

    /// Sends lines of the audit trail, where logs are wanted.
    pub(crate) fn audited<'l>(&self, lines: impl Iterator<Item = &'l str>) {
        let Some(logs) = &self.logs else { return };
        let logger = logs.logger("portcullis.audit");
        for (line, row) in lines.filter_map(|line| Some((line, Row::read(line)?))) {
            logger.emit(log_record(&logger, line, &row));
        }
    }

    /// Gives an operation its place in a trace; nothing where traces are not wanted.
    pub(crate) fn begin(&self, parent: Option<SpanContext>) -> Option<SpanContext> {
        let traces = self.traces.as_ref()?;
        let ids = RandomIdGenerator::default();
        let trace = parent.map_or_else(|| ids.new_trace_id(), |parent| TraceId::from(parent.trace));
        let sampled = match parent {
            Some(parent) if traces.follows_parent => parent.sampled,
            _ => traces.samples(trace),
        };
        let span = u64::from_be_bytes(ids.new_span_id().to_bytes());
        Some(SpanContext { trace: u128::from_be_bytes(trace.to_bytes()), span, sampled })
    }

    /// Sends what an operation came to; `start` is the moment at which its ticks are 0.
    pub(crate) fn end(&self, operation: &Operation<'_>, start: Instant) {
        let mut attributes = attributes(operation);
        if let Some(metrics) = &self.metrics {
            let histogram = match operation.side {
                Side::Server => &metrics.served,
                Side::Client => &metrics.asked,
            };
            histogram.record(operation.duration.as_secs_f64(), &attributes);
        }
        let sampled = operation.span.filter(|span| span.sampled);
        let (Some(traces), Some(span)) = (&self.traces, sampled) else { return };
        attributes.push(KeyValue::new(
            "jsonrpc.request.id",
            Redactor::default().text(operation.id.trim_matches('"')).into_owned(),
        ));
        if operation.about.is_some_and(|about| about.tool.is_some()) {
            attributes.push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
        }
        if let Some(uri) = operation.about.and_then(|about| about.resource.as_deref()) {
            attributes.push(KeyValue::new("mcp.resource.uri", Redactor::default().text(uri).into_owned()));
        }
        let began = self.wall(start + Duration::from_nanos(operation.began));
        traces.processor.on_end(SpanData {
            span_context: context(span, false),
            parent_span_id: operation.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span)),
            parent_span_is_remote: operation.side == Side::Server && operation.parent.is_some(),
            span_kind: match operation.side {
                Side::Server => SpanKind::Server,
                Side::Client => SpanKind::Client,
            },
            name: name(operation).into(),
            start_time: began,
            end_time: began + operation.duration,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if operation.error_type().is_some() { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Sends how long a session lasted.
    pub(crate) fn session_ended(&self, session: &Ended<'_>) {
        let Some(metrics) = &self.metrics else { return };
        let mut attributes = vec![
            KeyValue::new("mcp.protocol.version", session.version),
            KeyValue::new("network.transport", if session.piped { "pipe" } else { "tcp" }),
        ];
        attributes
            .extend(session.server.map(|server| KeyValue::new("portcullis.server", server.to_string())));
        let histogram = match session.side {
            Side::Server => &metrics.served_sessions,
            Side::Client => &metrics.asked_sessions,
        };
        histogram.record(session.duration.as_secs_f64(), &attributes);
    }

    /// Sends what is left, and nothing more after that.
    pub(crate) fn shut_down(&self) {
        // Side by side: a collector that hangs holds up the end once, not three times.
        std::thread::scope(|scope| {
            if let Some(traces) = &self.traces {
                scope.spawn(|| traces.processor.shutdown_with_timeout(FLUSH));
            }
            if let Some(metrics) = &self.metrics {
                scope.spawn(|| metrics.provider.shutdown_with_timeout(FLUSH));
            }
            if let Some(logs) = &self.logs {
                scope.spawn(|| logs.shutdown_with_timeout(FLUSH));
            }
        });
    }

    fn wall(&self, moment: Instant) -> SystemTime {
        let (instant, wall) = self.moment;
        moment
            .checked_duration_since(instant)
            .map_or_else(|| wall - instant.saturating_duration_since(moment), |later| wall + later)
    }
}

impl Traces {
    fn new(collector: &Collector, resource: &Resource) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder().with_http().with_http_client(collector.clone()).build()?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(resource);
        let (root, follows_parent) = sampler()?;
        Ok(Self { processor, root, follows_parent })
    }

    fn samples(&self, trace: TraceId) -> bool {
        let decided = self.root.should_sample(None, trace, "", &SpanKind::Server, &[], &[]);
        decided.decision == SamplingDecision::RecordAndSample
    }
}

impl Instruments {
    fn new(collector: &Collector, resource: &Resource) -> anyhow::Result<Self> {
        let exporter = MetricExporter::builder().with_http().with_http_client(collector.clone()).build()?;
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter)
            .with_resource(resource.clone())
            .build();
        let meter = provider.meter("portcullis");
        let histogram = |name, description| {
            let bounds = portcullis_core::metrics::OPERATION.to_vec();
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(description);
            histogram.with_boundaries(bounds).build()
        };
        Ok(Self {
            served: histogram("mcp.server.operation.duration", "How long agents waited for their requests."),
            asked: histogram(
                "mcp.client.operation.duration",
                "How long servers took for what they were asked for agents.",
            ),
            served_sessions: histogram(
                "mcp.server.session.duration",
                "How long sessions of agents lasted that were ended.",
            ),
            asked_sessions: histogram(
                "mcp.client.session.duration",
                "How long sessions with servers lasted.",
            ),
            provider,
        })
    }
}

/// Makes what is sent of a line of the audit trail: the line, and each of its fields.
fn log_record(logger: &SdkLogger, line: &str, row: &Row<'_>) -> SdkLogRecord {
    let mut record = logger.create_log_record();
    let is_allowed = row.field("decision") == "allowed";
    record.set_event_name("portcullis.audit");
    record.set_severity_number(if is_allowed { Severity::Info } else { Severity::Warn });
    record.set_severity_text(if is_allowed { "INFO" } else { "WARN" });
    if let Some(time) = parse_time(&row.field("time")) {
        record.set_timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(time));
    }
    for name in FIELDS {
        let value = row.field(name);
        if !value.is_empty() {
            record.add_attribute(name, value);
        }
    }
    record.set_body(line.to_owned().into());
    record
}

fn logger(collector: &Collector, resource: &Resource) -> anyhow::Result<SdkLoggerProvider> {
    let exporter = LogExporter::builder().with_http().with_http_client(collector.clone()).build()?;
    Ok(SdkLoggerProvider::builder().with_batch_exporter(exporter).with_resource(resource.clone()).build())
}

/// Tells whether a signal is to be sent: its collector is named, and it is not turned off.
fn is_wanted(signal: &str) -> bool {
    let set = |name: &str| env::var(name).is_ok_and(|value| !value.trim().is_empty());
    let named = set("OTEL_EXPORTER_OTLP_ENDPOINT") || set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
    let exporter = env::var(format!("OTEL_{signal}_EXPORTER")).unwrap_or_default();
    named && matches!(exporter.trim(), "" | "otlp")
}

fn check_protocols() -> anyhow::Result<()> {
    for name in
        ["", "_TRACES", "_METRICS", "_LOGS"].map(|signal| format!("OTEL_EXPORTER_OTLP{signal}_PROTOCOL"))
    {
        if let Ok(protocol) = env::var(&name)
            && !matches!(protocol.trim(), "" | "http/protobuf")
        {
            bail!(
                "{name} is {protocol:?}, and only http/protobuf is spoken: remove it, and name the collector's port for \
                 HTTP in OTEL_EXPORTER_OTLP_ENDPOINT (by default 4318; 4317 is gRPC's)"
            );
        }
    }
    Ok(())
}

fn sampler() -> anyhow::Result<(Sampler, bool)> {
    let name = env::var("OTEL_TRACES_SAMPLER").unwrap_or_default();
    let ratio = || {
        let text = env::var("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|_| "1".into());
        let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio
            .map(Sampler::TraceIdRatioBased)
            .with_context(|| format!("OTEL_TRACES_SAMPLER_ARG is {text:?}; expected a number from 0 to 1"))
    };
    Ok(match name.trim() {
        "" | "parentbased_always_on" => (Sampler::AlwaysOn, true),
        "parentbased_always_off" => (Sampler::AlwaysOff, true),
        "parentbased_traceidratio" => (ratio()?, true),
        "always_on" => (Sampler::AlwaysOn, false),
        "always_off" => (Sampler::AlwaysOff, false),
        "traceidratio" => (ratio()?, false),
        other => bail!(
            "OTEL_TRACES_SAMPLER is {other:?}; expected always_on, always_off or traceidratio, with parentbased_ before \
             it or not"
        ),
    })
}

/// Says who sends: what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, and this program's name otherwise.
fn resource() -> Resource {
    let named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|all| all.contains("service.name="));
    let resource =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if named { resource.build() } else { resource.with_service_name("portcullis").build() }
}

fn name(operation: &Operation<'_>) -> String {
    let about = operation.about.and_then(|about| about.tool.as_deref().or(about.prompt.as_deref()));
    about.map_or_else(|| operation.method.to_owned(), |about| format!("{} {about}", operation.method))
}

/// Returns what the conventions say of an operation, but for what differs from one to the next.
fn attributes(operation: &Operation<'_>) -> Vec<KeyValue> {
    let transport = if operation.piped { "pipe" } else { "tcp" };
    let mut all = vec![
        KeyValue::new("mcp.method.name", operation.method),
        KeyValue::new("network.transport", transport),
    ];
    if !operation.piped {
        all.push(KeyValue::new("network.protocol.name", "http"));
    }
    if !operation.version.is_empty() {
        all.push(KeyValue::new("mcp.protocol.version", operation.version));
    }
    if let Some(about) = operation.about {
        all.push(KeyValue::new("portcullis.server", about.server.to_string()));
        let named = [("gen_ai.tool.name", &about.tool), ("gen_ai.prompt.name", &about.prompt)];
        all.extend(
            named
                .into_iter()
                .filter_map(|(key, name)| name.as_ref().map(|name| KeyValue::new(key, name.to_string()))),
        );
    }
    if let Some(error) = operation.error_type() {
        all.push(KeyValue::new("error.type", error));
    }
    if let Some(code) = operation.code {
        all.push(KeyValue::new("rpc.response.status_code", code.to_string()));
    }
    all
}

fn context(span: SpanContext, is_remote: bool) -> trace::SpanContext {
    let flags = TraceFlags::default().with_sampled(span.sampled);
    let (trace, id) = (TraceId::from(span.trace), SpanId::from(span.span));
    trace::SpanContext::new(trace, id, flags, is_remote, TraceState::default())
}

/// The way to the collector: the gateway's own HTTP client, on its own runtime.
#[derive(Clone)]
struct Collector {
    machine: Machine,
    runtime: tokio::runtime::Handle,
    timeout: Duration,
    /// Whether the last attempt failed, so that each trouble is said once.
    fails: Arc<AtomicBool>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    fn new() -> anyhow::Result<Self> {
        let timeout = env::var("OTEL_EXPORTER_OTLP_TIMEOUT").ok().and_then(|text| text.trim().parse().ok());
        Ok(Self {
            machine: Machine::new(),
            runtime: tokio::runtime::Handle::try_current()?,
            timeout: timeout.map_or(Duration::from_secs(10), Duration::from_millis),
            fails: Arc::default(),
        })
    }

    async fn send(self, request: http::Request<Bytes>) -> anyhow::Result<http::Response<Bytes>> {
        let (head, chunks) = self.machine.fetch(request.map(Whole::from)).await?.into_parts();
        let body = Body::Stream(chunks).collect(ANSWER).await?;
        Ok(http::Response::from_parts(head, body))
    }

    /// Says what has changed about how sending goes.
    fn tell(&self, target: &http::Uri, outcome: &anyhow::Result<http::Response<Bytes>>) {
        let trouble = match outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("answered HTTP {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let collector = origin(target);
        let failed = self.fails.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(reason) if !failed => {
                tracing::warn!(%collector, %reason, "telemetry cannot be sent");
            }
            None if failed => tracing::info!(%collector, "telemetry is sent again"),
            _ => {}
        }
    }
}

/// Returns where a URL leads, without what may be secret in it: credentials, path and query.
fn origin(target: &http::Uri) -> String {
    let host = target.host().unwrap_or_default();
    let port = target.port().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{host}{port}", target.scheme_str().unwrap_or("http"))
}

impl HttpClient for Collector {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        let target = request.uri().clone();
        let (collector, timeout) = (self.clone(), self.timeout);
        // The exporters' threads are none of the runtime's.
        let sent =
            self.runtime.spawn(async move { tokio::time::timeout(timeout, collector.send(request)).await });
        Box::pin(async move {
            let outcome = match sent.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(anyhow::anyhow!("no answer within {} s", timeout.as_secs_f32())),
                Err(error) => Err(error.into()),
            };
            self.tell(&target, &outcome);
            outcome.map_err(Into::into)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_of_a_collectors_url_is_logged() {
        let check = |url: &str| origin(&url.parse().unwrap());
        assert_eq!(check("https://me:secret@otel.test:4318/v1/traces?key=secret"), "https://otel.test:4318");
        assert_eq!(check("http://[::1]/v1/logs"), "http://[::1]");
    }
}
