//! Portcullis on AWS Lambda: the platform's events become core's requests, and core's answers the platform's. Nothing is
//! decided here about MCP.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::Context as _;
use futures::FutureExt as _;
use http::StatusCode;
use portcullis_core::body::{Body, Reply};
use portcullis_core::ports::{Undivided, Until};
use portcullis_native::HttpClient;
use tokio::signal::unix::{SignalKind, signal};

use crate::answer::{Way, plain};
use crate::aws::Account;
use crate::environment::Environment;
use crate::event::{Front, Odd};
use crate::extension::{Answered, Extension};
use crate::host::{Function, Reading, Stores};
use crate::kms::Kms;
use crate::runtime::{Answer, Platform};
use crate::secrets::Manager;
use crate::secrets::store::Store;
use crate::settings::Settings;
use crate::table::Table;
use crate::tenancy::Tenancy;
use crate::underway::Underway;

mod answer;
mod aws;
mod environment;
mod event;
mod extension;
mod host;
mod kms;
mod logging;
mod runtime;
mod secrets;
mod settings;
mod table;
mod tenancy;
mod underway;

fn main() -> anyhow::Result<()> {
    let env = |name: &str| std::env::var(name).ok();
    logging::init(env("PORTCULLIS_LOG").as_deref());
    let platform = Platform::find(env)?;
    let at_a_time = env("AWS_LAMBDA_MAX_CONCURRENCY").and_then(|text| text.parse().ok()).unwrap_or(1);
    // One request at a time needs no second thread.
    let mut runtime = if at_a_time > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    runtime.enable_all().build()?.block_on(run(platform, at_a_time))
}

/// Answers invocations, that many at a time, until the platform ends the environment.
async fn run(platform: Platform, at_a_time: usize) -> anyhow::Result<()> {
    let settings = match Settings::read(&|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => {
            platform.give_up(&format!("{error:#}")).await?;
            return Err(error);
        }
    };
    let underway = Underway::default();
    let reading = Reading::default();
    let (stores, manager) = match stores(&settings, &underway, &reading) {
        Ok(made) => made,
        Err(error) => {
            platform.give_up(&format!("{error:#}")).await?;
            return Err(error);
        }
    };
    let host = Function::new(HttpClient::default(), stores, reading, underway.clone());
    let tenancy = host.tenancy().clone();
    let environment = Arc::new(Environment::new(settings, host, underway, manager));
    let answered = Answered::default();
    match Extension::register(&platform).await {
        Ok(extension) => {
            let (environment, answered) = (environment.clone(), answered.clone());
            tokio::spawn(async move {
                let finish = || environment.finish();
                if let Err(error) = extension.run(answered, finish).await {
                    tracing::error!(%error, "the environment may be frozen before what is left to do is done");
                }
            });
        }
        Err(error) => {
            tracing::warn!(%error, "there is no extension here: what is left to do after an answer may wait for the next \
                                    request");
        }
    }
    let invocations = (0..at_a_time.max(1)).map(|_| {
        tokio::spawn(answer_all(platform.clone(), environment.clone(), tenancy.clone(), answered.clone()))
    });
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for the end")?;
    tokio::select! {
        ended = futures::future::select_all(invocations) => ended.0?,
        _ = terminated.recv() => {
            environment.finish().await;
            Ok(())
        }
    }
}

/// Returns what environments share, as far as there is a place for it, and Secrets Manager, where anything is kept there.
/// Asks AWS nothing.
fn stores(
    settings: &Settings,
    underway: &Underway,
    reading: &Reading,
) -> anyhow::Result<(Stores, Option<Arc<Manager>>)> {
    let has_secrets = settings.secrets.is_some() || settings.own.is_kept();
    if settings.table.is_none() && !has_secrets {
        return Ok((Stores::default(), None));
    }
    let account = Account::from_env()?;
    let mut stores = match &settings.table {
        Some(name) => {
            let table = Table::new(account.dynamodb(), name.as_str(), portcullis_native::now);
            table::stores(&table, underway, reading)
        }
        None => Stores::default(),
    };
    if stores.connections.is_some() && !settings.connection_keys.is_empty() {
        let kms = Kms::new(account.clone(), settings.connection_keys.clone(), portcullis_native::now);
        stores.key_wrap = Some(Arc::new(kms));
    }
    let manager = has_secrets.then(|| Arc::new(Manager::new(account)));
    if let (Some(manager), Some(prefix)) = (&manager, &settings.secrets) {
        let store = Store::new(manager.clone(), prefix.clone(), settings.secrets_key.clone());
        stores.secrets = Some(Arc::new(store));
    }
    Ok((stores, manager))
}

async fn answer_all(
    platform: Platform,
    environment: Arc<Environment>,
    tenancy: Tenancy,
    answered: Answered,
) -> anyhow::Result<()> {
    loop {
        let invocation = platform.next().await?;
        tenancy.invoked_for(invocation.tenant.as_deref());
        let ticket = invocation.ticket.clone();
        let outcome = match event::request(&invocation.event) {
            Ok((request, front)) => {
                let answering = async {
                    let answer = answer(&environment, request, front, invocation.deadline).await;
                    platform.answer(&ticket, answer).await
                };
                tokio::select! {
                    outcome = answering => outcome,
                    never = environment.keep_looking() => match never {},
                }
            }
            Err(Odd::Malformed(front, why)) => {
                let way = Way::of(front, environment.settings().answers);
                platform.answer(&ticket, way.answer(plain(StatusCode::BAD_REQUEST, &why), front).await).await
            }
            Err(odd @ Odd::NoRequest(_)) => {
                platform.refuse(&ticket, "Portcullis.NoRequest", &odd.to_string()).await
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "an answer did not reach the platform");
        }
        answered.note(&ticket.request);
    }
}

/// Answers one request as its front takes it.
async fn answer(
    environment: &Environment,
    request: http::Request<Body>,
    front: Front,
    deadline: u64,
) -> Answer {
    let way = Way::of(front, environment.settings().answers);
    let until = way.until(front, deadline, portcullis_native::now());
    let reply = serve(environment, request, way, until).await;
    way.answer(reply, front).await
}

/// Has the gateway answer, where there is one.
async fn serve(environment: &Environment, mut request: http::Request<Body>, way: Way, until: u64) -> Reply {
    request.extensions_mut().insert(Until(until));
    if let Way::Whole(most) = way {
        request.extensions_mut().insert(Undivided(most));
    }
    let serving = AssertUnwindSafe(Box::pin(async {
        match environment.gateway().await {
            Ok(gateway) => {
                // Others may have made it a moment ago.
                if gateway.may_present_new_key(&request) {
                    environment.learn_of_keys(gateway).await;
                }
                gateway.serve(request).await
            }
            Err(why) => {
                let why = format!("nothing is served: {why:#}");
                tracing::error!("{why}");
                plain(StatusCode::SERVICE_UNAVAILABLE, &why)
            }
        }
    }));
    serving.catch_unwind().await.unwrap_or_else(|_panicked| {
        plain(StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed; its log says more")
    })
}
