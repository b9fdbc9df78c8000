//! A gateway that runs somewhere, seen from here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use portcullis_core::body::{Body, Whole};
use portcullis_core::ports::Upstream as _;
use serde::Deserialize;
use serde_json::json;

use super::Finding;
use crate::commands::client::{Client, Params, Remote, Session};
use crate::commands::counted;
use crate::host::Machine;

/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 16 << 20;

#[derive(Deserialize)]
struct Ready {
    servers: BTreeMap<String, Server>,
}

#[derive(Deserialize)]
struct Server {
    status: String,
    #[serde(default)]
    tools: usize,
    reason: Option<String>,
}

pub(super) async fn check(remote: Remote) -> Vec<Finding> {
    let (machine, url) = (&remote.machine, &remote.url);
    let health = match get(machine, url, "/healthz").await {
        Ok((StatusCode::OK, _)) => Finding::ok("/healthz", "the gateway lives"),
        Ok((status, _)) => Finding::problem(
            "/healthz",
            format!("answered HTTP {status}"),
            "is it a gateway that answers there? Check host and port",
        ),
        Err(error) => {
            let advice = "start the gateway, and check host, port and what stands in between";
            return vec![Finding::problem("/healthz", error.to_string(), advice)];
        }
    };
    let mut findings = vec![health];
    findings.extend(readiness(machine, url).await);
    findings.push(stateless(&remote).await);
    findings.push(with_session(&remote).await);
    findings
}

async fn readiness(machine: &Machine, url: &Uri) -> Vec<Finding> {
    let answer = get(machine, url, "/readyz").await;
    let ready = answer.and_then(|(status, text)| {
        let ready: Ready = serde_json::from_slice(&text).context("it is no readiness report")?;
        Ok((status, ready))
    });
    let (status, ready) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            let advice = "is it a gateway that answers there? Check host and port";
            return vec![Finding::problem("/readyz", format!("{error:#}"), advice)];
        }
    };
    let mut findings = Vec::new();
    if status != StatusCode::OK {
        findings.push(Finding::warning(
            "/readyz",
            "the gateway is still starting",
            "look again in some seconds",
        ));
    }
    findings.extend(ready.servers.into_iter().map(|(name, server)| {
        let subject = format!("server {name}");
        match server.reason {
            None if server.status == "up" => {
                Finding::ok(subject, format!("up, {}", counted(server.tools, "tool")))
            }
            reason => Finding::problem(
                subject,
                reason.unwrap_or(server.status),
                "run `portcullis doctor` where the gateway runs, with its configuration",
            ),
        }
    }));
    findings
}

/// Shakes hands as agents of the stateless revision do.
async fn stateless(remote: &Remote) -> Finding {
    let begun = Instant::now();
    let client = Client::Remote(remote.clone());
    let asked = async {
        client.ask("server/discover", &Params::default()).await?;
        client.ask("tools/list", &Params::default()).await
    };
    handshake("2026-07-28 (stateless)", begun, timely(asked).await)
}

/// Shakes hands as agents of the revisions with sessions do, and ends the session.
async fn with_session(remote: &Remote) -> Finding {
    let begun = Instant::now();
    let asked = async {
        let session = Session::begin(remote).await?;
        session.ask("tools/list", &json!({})).await?;
        let version = session.version.clone();
        session.end().await?;
        Ok(version)
    };
    let asked = timely(asked).await;
    let name = asked.as_ref().map_or("2025-11-25", String::as_str);
    handshake(&format!("{name} (with sessions)"), begun, asked.as_ref().map_err(|e| anyhow::anyhow!("{e:#}")))
}

fn handshake<T>(revision: &str, begun: Instant, asked: anyhow::Result<T>) -> Finding {
    let subject = format!("handshake {revision}");
    match asked {
        Ok(_) => Finding::ok(subject, format!("works, in {} ms", begun.elapsed().as_millis())),
        Err(error) => Finding::problem(
            subject,
            format!("{error:#}"),
            "check that the URL is the MCP endpoint (/mcp), and that nothing in between changes requests",
        ),
    }
}

async fn timely<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
    }
}

async fn get(machine: &Machine, url: &Uri, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(path.parse()?);
    let request = Request::get(Uri::from_parts(parts)?).body(Whole::default())?;
    timely(async {
        let response = machine.fetch(request).await?;
        let status = response.status();
        Ok((status, Body::Stream(response.into_body()).collect(LARGEST).await?))
    })
    .await
}
