//! The log: for people on a terminal, JSON lines otherwise; always on standard error, and where telemetry goes.

use std::io::IsTerminal as _;

use anyhow::anyhow;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::commands::complain;

fn parse(text: &str, level: &str) -> EnvFilter {
    EnvFilter::try_new(text).unwrap_or_else(|error| {
        complain(&anyhow!(
            "PORTCULLIS_LOG is no filter such as `warn,upstream=info` and is left aside: {error}"
        ));
        EnvFilter::new(level)
    })
}

/// Starts logging from `level` on, unless `PORTCULLIS_LOG` says otherwise, in the way `RUST_LOG` does elsewhere.
pub(crate) fn init(level: &str, telemetry: Option<&SdkLoggerProvider>) {
    let filter =
        std::env::var("PORTCULLIS_LOG").map_or_else(|_| EnvFilter::new(level), |text| parse(&text, level));
    let log = fmt::layer().with_writer(std::io::stderr);
    let log = if std::io::stderr().is_terminal() {
        log.with_target(false).compact().boxed()
    } else {
        log.json().flatten_event(true).boxed()
    };
    // What sending logs has to say must not become another log to send.
    let others = filter_fn(|event| {
        !["portcullis::otlp", "opentelemetry", "hyper"].iter().any(|own| event.target().starts_with(own))
    });
    let sent = telemetry.map(|provider| OpenTelemetryTracingBridge::new(provider).with_filter(others));
    tracing_subscriber::registry().with(filter).with(log).with(sent).init();
}
