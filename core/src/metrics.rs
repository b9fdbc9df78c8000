//! Counters of what the gateway does, and their text for Prometheus.
//!
//! Names are those of OpenTelemetry's semantic conventions for MCP and HTTP in Prometheus' spelling, what the
//! conventions do not have begins with `portcullis_`. **What is counted takes no lock and, but for the first of its
//! kind and for errors, no memory. The number of series is bounded**: names are those of known tools and prompts,
//! and beyond [`SERIES`] of a metric everything new is counted together.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

#[cfg(feature = "control")]
use crate::error::code;
#[cfg(feature = "control")]
use crate::front::modern::named_by;
use crate::names::ServerName;
use crate::observe::{Ended, Exchange, OTHER, Operation, Side};

/// The most series of one metric.
const SERIES: usize = 4096;

/// The boundaries that the conventions have for MCP, in seconds.
pub const OPERATION: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// The boundaries that the conventions have for HTTP, in seconds.
const EXCHANGE: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// What the gateway itself adds is far less, in seconds.
const OVERHEAD: [f64; 10] = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1.0];

const OPERATION_LABELS: [&str; 8] = [
    "mcp_method_name",
    "portcullis_server",
    "gen_ai_tool_name",
    "gen_ai_prompt_name",
    "mcp_protocol_version",
    "network_transport",
    "error_type",
    "rpc_response_status_code",
];

const SESSION_LABELS: [&str; 3] = ["portcullis_server", "mcp_protocol_version", "network_transport"];

/// What has happened since the gateway started.
#[derive(Debug)]
pub struct Metrics {
    served: Histograms<8>,
    asked: Histograms<8>,
    overhead: Histograms<1>,
    exchanges: Histograms<4>,
    served_sessions: Histograms<3>,
    asked_sessions: Histograms<3>,
    running: AtomicI64,
}

/// What was counted of requests of agents since the gateway started.
#[cfg(feature = "control")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Those that went to a server.
    pub(crate) requests: u64,
    /// Those of them that ended with an error.
    pub(crate) errors: u64,
    /// Those that led to no server, as nothing permits them or there is no such thing, and those over a limit.
    pub(crate) denied: u64,
}

/// A value of the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// The metric's name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its labels and their values.
    pub labels: Vec<(&'static str, String)>,
    /// How many.
    pub value: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            served: Histograms::new(
                "mcp_server_operation_duration_seconds",
                "How long agents waited for their requests.",
                OPERATION_LABELS,
                &OPERATION,
            ),
            asked: Histograms::new(
                "mcp_client_operation_duration_seconds",
                "How long servers took for what they were asked for agents.",
                OPERATION_LABELS,
                &OPERATION,
            ),
            overhead: Histograms::new(
                "portcullis_overhead_duration_seconds",
                "How much longer than their servers requests took.",
                ["mcp_method_name"],
                &OVERHEAD,
            ),
            exchanges: Histograms::new(
                "http_server_request_duration_seconds",
                "How long HTTP requests took to the head of their answer.",
                ["http_request_method", "http_route", "http_response_status_code", "url_scheme"],
                &EXCHANGE,
            ),
            served_sessions: Histograms::new(
                "mcp_server_session_duration_seconds",
                "How long sessions of agents lasted that were ended.",
                SESSION_LABELS,
                &OPERATION,
            ),
            asked_sessions: Histograms::new(
                "mcp_client_session_duration_seconds",
                "How long sessions with servers lasted.",
                SESSION_LABELS,
                &OPERATION,
            ),
            running: AtomicI64::new(0),
        }
    }
}

impl Metrics {
    /// Counts an operation that has begun.
    pub fn begun(&self, side: Side) {
        if side == Side::Server {
            self.running.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an operation that is over.
    pub fn ended(&self, operation: &Operation<'_>) {
        let about = operation.about;
        let (code, error) = (operation.code.map(|code| code.to_string()), operation.error_type());
        let labels = [
            operation.method,
            about.map_or("", |about| about.server.as_str()),
            about.and_then(|about| about.tool.as_deref()).unwrap_or_default(),
            about.and_then(|about| about.prompt.as_deref()).unwrap_or_default(),
            operation.version,
            transport(operation.piped),
            error.as_deref().unwrap_or_default(),
            code.as_deref().unwrap_or_default(),
        ];
        match operation.side {
            Side::Server => {
                self.running.fetch_sub(1, Ordering::Relaxed);
                self.served.observe(labels, operation.duration);
                if about.is_some() && operation.error_type().is_none() {
                    let overhead = operation.duration.saturating_sub(operation.upstream);
                    self.overhead.observe([operation.method], overhead);
                }
            }
            Side::Client => self.asked.observe(labels, operation.duration),
        }
    }

    /// Counts an HTTP request.
    pub fn answered(&self, exchange: &Exchange) {
        let labels = [exchange.method, exchange.route, exchange.status.as_str(), "http"];
        self.exchanges.observe(labels, exchange.duration);
    }

    /// Counts a session that is over.
    pub fn session_ended(&self, session: &Ended<'_>) {
        let server = session.server.map_or("", ServerName::as_str);
        let labels = [server, session.version, transport(session.piped)];
        match session.side {
            Side::Server => self.served_sessions.observe(labels, session.duration),
            Side::Client => self.asked_sessions.observe(labels, session.duration),
        }
    }

    /// Returns what was counted of requests of agents.
    #[cfg(feature = "control")]
    pub(crate) fn totals(&self) -> Totals {
        let limited = code::LIMITED.to_string();
        let mut totals = Totals::default();
        for series in self.served.series.load().iter() {
            let count: u64 = series.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum();
            let [method, server, .., error, _] = series.labels.each_ref().map(|label| &**label);
            let is_call = named_by(method).is_some();
            match (server, error) {
                (_, error) if *error == limited => totals.denied += count,
                ("", "") => {}
                ("", _) => totals.denied += if is_call { count } else { 0 },
                (_, error) => {
                    totals.requests += count;
                    totals.errors += if error.is_empty() { 0 } else { count };
                }
            }
        }
        totals
    }

    /// Returns everything in Prometheus' text format, with what is true at the moment.
    pub fn render(&self, gauges: &[Gauge]) -> String {
        let mut out = String::with_capacity(16 << 10);
        self.served.render(&mut out);
        self.asked.render(&mut out);
        self.overhead.render(&mut out);
        self.exchanges.render(&mut out);
        self.served_sessions.render(&mut out);
        self.asked_sessions.render(&mut out);
        let running = Gauge {
            name: "portcullis_requests_running",
            help: "Requests of agents that are being answered, streams among them.",
            labels: Vec::new(),
            value: usize::try_from(self.running.load(Ordering::Relaxed)).unwrap_or(0),
        };
        let mut last = "";
        for gauge in std::iter::once(&running).chain(gauges) {
            if gauge.name != last {
                head(&mut out, gauge.name, gauge.help, "gauge");
                last = gauge.name;
            }
            let labels = gauge.labels.iter().map(|(name, value)| (*name, value.as_str()));
            sample(&mut out, gauge.name, labels, gauge.value);
        }
        out
    }
}

/// Returns `network.transport`.
fn transport(piped: bool) -> &'static str {
    if piped { "pipe" } else { "tcp" }
}

/// One metric: a histogram for each combination of labels.
#[derive(Debug)]
struct Histograms<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    bounds: &'static [f64],
    /// Ordered by their labels; replaced as a whole by one that has more.
    series: ArcSwap<Vec<Arc<Series<N>>>>,
}

#[derive(Debug)]
struct Series<const N: usize> {
    labels: [Box<str>; N],
    /// How many fell into each bucket, the last of which has no bound.
    buckets: Box<[AtomicU64]>,
    /// In nanoseconds.
    sum: AtomicU64,
}

impl<const N: usize> Histograms<N> {
    fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Self {
        Self { name, help, labels, bounds, series: ArcSwap::default() }
    }

    fn observe(&self, labels: [&str; N], duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let count = |series: &Series<N>| {
            series.buckets[bucket].fetch_add(1, Ordering::Relaxed);
            series.sum.fetch_add(nanoseconds, Ordering::Relaxed);
        };
        let all = self.series.load();
        match find(&all, labels) {
            Ok(place) => count(&all[place]),
            Err(_) if all.len() >= SERIES => count(&self.add([OTHER; N])),
            Err(_) => count(&self.add(labels)),
        }
    }

    /// Returns the series of these labels, made where there is none.
    fn add(&self, labels: [&str; N]) -> Arc<Series<N>> {
        let fresh = Arc::new(Series {
            labels: labels.map(Into::into),
            buckets: (0..=self.bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        });
        self.series.rcu(|all| match find(all, labels) {
            Ok(_) => all.clone(),
            Err(place) => {
                let mut more = Vec::clone(all);
                more.insert(place, fresh.clone());
                Arc::new(more)
            }
        });
        let all = self.series.load();
        find(&all, labels).map_or(fresh, |place| all[place].clone())
    }

    fn render(&self, out: &mut String) {
        head(out, self.name, self.help, "histogram");
        for series in self.series.load().iter() {
            let labels = self.labels.into_iter().zip(series.labels.iter().map(AsRef::as_ref));
            let mut total = 0;
            let bounds = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            for (bound, bucket) in bounds.zip(&series.buckets) {
                total += bucket.load(Ordering::Relaxed);
                let labels = labels.clone().chain([("le", bound.as_str())]);
                sample(out, &format!("{}_bucket", self.name), labels, total);
            }
            let sum = Duration::from_nanos(series.sum.load(Ordering::Relaxed)).as_secs_f64();
            sample(out, &format!("{}_sum", self.name), labels.clone(), sum);
            sample(out, &format!("{}_count", self.name), labels, total);
        }
    }
}

fn find<const N: usize>(all: &[Arc<Series<N>>], labels: [&str; N]) -> Result<usize, usize> {
    all.binary_search_by(|series| series.labels.iter().map(AsRef::as_ref).cmp(labels))
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes one line; labels without a value are left out.
fn sample<'l>(
    out: &mut String,
    name: &str,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    value: impl std::fmt::Display,
) {
    out.push_str(name);
    let mut separator = '{';
    for (label, value) in labels.filter(|(_, value)| !value.is_empty()) {
        let _ = write!(out, "{separator}{label}=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALVES: &[f64] = &[0.5, 1.0];

    #[test]
    fn durations_are_counted_by_label_and_bucket() {
        let histograms = Histograms::new("x_seconds", "Some.", ["a", "b"], HALVES);
        for (labels, milliseconds) in [(["2", "\"\\\n"], 400), (["1", ""], 500), (["1", ""], 2000)] {
            histograms.observe(labels, Duration::from_millis(milliseconds));
        }
        let mut out = String::new();
        histograms.render(&mut out);
        insta::assert_snapshot!(out, @r#"
        # HELP x_seconds Some.
        # TYPE x_seconds histogram
        x_seconds_bucket{a="1",le="0.5"} 1
        x_seconds_bucket{a="1",le="1"} 1
        x_seconds_bucket{a="1",le="+Inf"} 2
        x_seconds_sum{a="1"} 2.5
        x_seconds_count{a="1"} 2
        x_seconds_bucket{a="2",b="\"\\\n",le="0.5"} 1
        x_seconds_bucket{a="2",b="\"\\\n",le="1"} 1
        x_seconds_bucket{a="2",b="\"\\\n",le="+Inf"} 1
        x_seconds_sum{a="2",b="\"\\\n"} 0.4
        x_seconds_count{a="2",b="\"\\\n"} 1
        "#);
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let histograms = Histograms::new("x_seconds", "Some.", ["a"], HALVES);
        for name in 0..SERIES + 10 {
            histograms.observe([&name.to_string()], Duration::ZERO);
        }
        let all = histograms.series.load();
        assert_eq!(all.len(), SERIES + 1);
        let rest = find(&all, [OTHER]).map(|place| all[place].buckets[0].load(Ordering::Relaxed));
        assert_eq!(rest, Ok(10));
    }
}
