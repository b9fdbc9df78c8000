//! The log: for people on a terminal, JSON lines otherwise; always on standard error, and where telemetry goes.

use std::io::IsTerminal as _;

use anyhow::anyhow;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::commands::complain;

/// Reads a filter: levels, and targets with theirs.
fn parse(text: &str) -> Result<Targets, ParseError> {
    let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    directives.collect::<Vec<_>>().join(",").parse()
}

/// Starts logging from `level` on, unless `PORTCULLIS_LOG` says otherwise, in the way `RUST_LOG` does elsewhere.
pub(crate) fn init(level: LevelFilter, telemetry: Option<&SdkLoggerProvider>) {
    let own = Targets::new().with_default(level);
    let wanted = std::env::var("PORTCULLIS_LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = wanted.map_or(Ok(own.clone()), |text| parse(&text)).unwrap_or_else(|error| {
        complain(&anyhow!(
            "PORTCULLIS_LOG is no filter such as `warn,upstream=info` and is left aside: {error}"
        ));
        own
    });
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
