//! Who observes the requests on this machine: counters for Prometheus, and OpenTelemetry where it is wanted.

use std::sync::Arc;
use std::time::Instant;

use portcullis_core::metrics::{Gauge, Metrics};
use portcullis_core::observe::{Ended, Exchange, Operation, Side, SpanContext};
use portcullis_core::ports::Observe;

use crate::otlp::Telemetry;
use crate::process::Processes;

/// Counts requests, and passes on what they came to.
pub(crate) struct Observer {
    start: Instant,
    metrics: Metrics,
    processes: Processes,
    telemetry: Option<Arc<Telemetry>>,
}

impl Observer {
    pub(crate) fn new(processes: Processes, telemetry: Option<Arc<Telemetry>>) -> Self {
        Self { start: Instant::now(), metrics: Metrics::default(), processes, telemetry }
    }
}

impl Observe for Observer {
    fn ticks(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn begin(&self, side: Side, parent: Option<SpanContext>) -> Option<SpanContext> {
        self.metrics.begun(side);
        self.telemetry.as_ref()?.begin(parent)
    }

    fn end(&self, operation: &Operation<'_>) {
        self.metrics.ended(operation);
        if let Some(telemetry) = &self.telemetry {
            telemetry.end(operation, self.start);
        }
    }

    fn answered(&self, exchange: &Exchange) {
        self.metrics.answered(exchange);
    }

    fn session_ended(&self, session: &Ended<'_>) {
        self.metrics.session_ended(session);
        if let Some(telemetry) = &self.telemetry {
            telemetry.session_ended(session);
        }
    }

    fn metrics(&self, gauges: &mut Vec<Gauge>) -> Option<&Metrics> {
        gauges.push(Gauge {
            name: "portcullis_processes",
            help: "Subprocesses that run or stop.",
            labels: Vec::new(),
            value: self.processes.count(),
        });
        gauges.extend(self.processes.traffic());
        Some(&self.metrics)
    }
}
