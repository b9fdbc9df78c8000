//! The internal extension: the platform freezes the environment once both the runtime and this have asked for the next
//! event, so that what is left to do after an answer is done before.

use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio::sync::watch;

use crate::runtime::{Platform, Sent};

const NAME: HeaderName = HeaderName::from_static("lambda-extension-name");
const IDENTIFIER: HeaderName = HeaderName::from_static("lambda-extension-identifier");

/// How long the work after an answer may take: it is paid for, and goes on with the next request.
const BOUND: Duration = Duration::from_secs(3);
/// So long before the invocation's end it is left, in milliseconds.
const BEFORE: u64 = 200;

/// The extension, once the platform knows of it.
pub(crate) struct Extension {
    platform: Platform,
    identifier: HeaderValue,
}

/// What the platform tells an extension.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    deadline_ms: u64,
}

/// The request that was answered last. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Answered(std::sync::Arc<watch::Sender<String>>);

impl Default for Answered {
    fn default() -> Self {
        Self(std::sync::Arc::new(watch::Sender::new(String::new())))
    }
}

impl Answered {
    /// Takes note that a request has been answered, or given up.
    pub(crate) fn note(&self, request: &str) {
        self.0.send_replace(request.to_owned());
    }

    async fn await_request(&self, request: &str) {
        let _ = self.0.subscribe().wait_for(|answered| answered == request).await;
    }
}

impl Extension {
    /// Makes the extension known to the platform.
    pub(crate) async fn register(platform: &Platform) -> anyhow::Result<Self> {
        let request = platform
            .request(Method::POST, "2020-01-01/extension/register")
            .header(NAME, "portcullis")
            .body(Sent::Whole(br#"{"events":["INVOKE"]}"#[..].into()))?;
        let response = platform.send(request).await?;
        let identifier =
            response.headers().get(&IDENTIFIER).context("the platform gives it no identifier")?.clone();
        response.into_body().collect().await?;
        Ok(Self { platform: platform.clone(), identifier })
    }

    /// Keeps the environment from being frozen after each answer before `finish` has ended, or has taken too long.
    pub(crate) async fn run<F: Future<Output = ()>>(
        self,
        answered: Answered,
        finish: impl Fn() -> F,
    ) -> anyhow::Result<()> {
        loop {
            let told = self.next().await?;
            let Some(request) = told.request_id else { continue };
            let left = told.deadline_ms.saturating_sub(portcullis_native::now() + BEFORE);
            let finishing = async {
                answered.await_request(&request).await;
                if tokio::time::timeout(BOUND, finish()).await.is_err() {
                    tracing::info!("what is left to do after an answer waits for the next request");
                }
            };
            // Beyond that the platform resets the environment.
            let _ = tokio::time::timeout(Duration::from_millis(left), finishing).await;
        }
    }

    async fn next(&self) -> anyhow::Result<Told> {
        let request = self
            .platform
            .request(Method::GET, "2020-01-01/extension/event/next")
            .header(IDENTIFIER, &self.identifier)
            .body(Sent::nothing())?;
        let body = self.platform.send(request).await?.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&body).context("the platform tells an extension something else")
    }
}
