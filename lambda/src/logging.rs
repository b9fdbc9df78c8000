//! The log: one JSON object an event, on standard output, from where the platform takes it.

use tracing_subscriber::EnvFilter;

/// Starts logging as `filter` says, from warnings on where it says nothing.
pub(crate) fn init(filter: Option<&str>) {
    let (filter, wrong) = match filter.map(EnvFilter::try_new) {
        None => (EnvFilter::new("warn"), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("warn"), Some(error)),
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stdout)
        .init();
    if let Some(error) = wrong {
        tracing::warn!(%error, "PORTCULLIS_LOG is no filter such as `warn,upstream=info` and is left aside");
    }
}
