//! Being part of a fleet: `serve --control` joins where it has not, and follows its control plane while it serves.

use anyhow::Context as _;
use portcullis_core::Gateway;
use tokio::task::JoinHandle;

use crate::cli::{Control, ENROLMENT};
use crate::host::Machine;

/// What the control plane knows this kind of host by.
const HOST: &str = "local";

/// Returns the control plane that says what is served, where one does.
pub(super) fn control(args: &Control) -> Option<&str> {
    args.url.as_deref().map(str::trim).filter(|url| !url.is_empty())
}

/// Joins the fleet of a control plane, where this gateway is in none, and follows it from then on.
pub(super) async fn follow(
    gateway: Gateway<Machine>,
    url: &str,
    args: &Control,
) -> anyhow::Result<JoinHandle<()>> {
    // Once it has joined, the token may be gone.
    let token = if gateway.membership().await?.is_some() { None } else { Some(token(args)?) };
    let known = gateway.enter(url, token.as_deref(), HOST).await;
    let known = known.context("this gateway does not follow its control plane")?;
    // Whoever has something to serve begins at once.
    if known.number == 0
        && let Err((why, _)) = gateway.pull(0).await
    {
        tracing::warn!(%why, "the control plane has given nothing yet");
    }
    Ok(tokio::spawn(async move { gateway.follow_fleet().await }))
}

/// Returns the token to join with.
fn token(args: &Control) -> anyhow::Result<String> {
    match &args.enrolment_file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        }
        None => std::env::var(ENROLMENT).ok().filter(|token| !token.trim().is_empty()).with_context(|| {
            format!(
                "this gateway is in no fleet yet: set {ENROLMENT}, or name a file with --enrolment-file; `portcullis fleet \
                 enrol NAME --url URL` makes the token"
            )
        }),
    }
}
