//! The log: one JSON object an event, on standard output, from where the platform takes it.

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging as `filter` says, from warnings on where it says nothing.
pub(crate) fn init(filter: Option<&str>) {
    let wanted = filter.filter(|text| !text.trim().is_empty());
    let (filter, wrong) = match wanted.map(parse) {
        None => (Targets::new().with_default(LevelFilter::WARN), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (Targets::new().with_default(LevelFilter::WARN), Some(error)),
    };
    let log = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stdout);
    tracing_subscriber::registry().with(filter).with(log).init();
    if let Some(error) = wrong {
        tracing::warn!(%error, "PORTCULLIS_LOG is no filter such as `warn,upstream=info` and is left aside");
    }
}

/// Reads a filter: levels, and targets with theirs.
fn parse(text: &str) -> Result<Targets, ParseError> {
    let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    directives.collect::<Vec<_>>().join(",").parse()
}
