//! `connections`: who has connected an account at which server, and ending that.
//!
//! **What is in a connection is shown to nobody.**

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use http::Method;
use portcullis_core::audit::time_text;
use portcullis_core::oauth::connection::ConnectionRecord;
use portcullis_core::ports::ConnectionStore as _;
use serde_json::{Value, json};

use super::admin::Admin;
use super::{counted, say, table};
use crate::cli::{Connections, ConnectionsOf, EndConnections, ListConnections};
use crate::connections::Connections as Store;
use crate::data;

pub(super) async fn run(command: Connections) -> anyhow::Result<ExitCode> {
    match command {
        Connections::List(args) => list(args).await,
        Connections::Rm(args) => end(args).await,
    }
}

async fn list(args: ListConnections) -> anyhow::Result<ExitCode> {
    let connections = all(&args.of).await?;
    if args.json {
        say(format_args!("{:#}", Value::from(connections)));
        return Ok(ExitCode::SUCCESS);
    }
    let heads = ["PRINCIPAL", "RESOURCE", "ISSUER", "STANDING", "SCOPES", "CONNECTED"];
    table(heads, connections.iter().map(row));
    eprintln!("portcullis: {}", counted(connections.len(), "connection"));
    Ok(ExitCode::SUCCESS)
}

async fn all(of: &ConnectionsOf) -> anyhow::Result<Vec<Value>> {
    if let Some(admin) = admin(of)? {
        let answer = admin.ask((Method::GET, "connections"), &[], None, &[]).await?;
        return Ok(answer.body["connections"].as_array().cloned().unwrap_or_default());
    }
    let (store, folder) = store(of)?;
    let records = store.list(None).await.map_err(|error| anyhow!("the connections of {folder} {error}"))?;
    Ok(records.iter().filter(|record| !record.key.principal.is_empty()).map(described).collect())
}

fn described(record: &ConnectionRecord) -> Value {
    json!({
        "principal": record.key.principal,
        "issuer": record.key.issuer,
        "resource": record.key.resource,
        "scopes": record.scopes,
        "connected": time_text(record.connected),
        "expires": record.expires.map(time_text),
        "standing": record.standing,
    })
}

fn row(connection: &Value) -> [String; 6] {
    let text = |name: &str| connection[name].as_str().unwrap_or_default().to_owned();
    let scopes = connection["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let scopes: Vec<_> = scopes.collect();
    [
        text("principal"),
        text("resource"),
        text("issuer"),
        text("standing"),
        scopes.join(" "),
        text("connected"),
    ]
}

async fn end(args: EndConnections) -> anyhow::Result<ExitCode> {
    let principal = args.principal.trim();
    if principal.is_empty() {
        bail!("expected a principal, as `portcullis connections list` shows it");
    }
    let none = || anyhow!("{principal:?} has no connections; `portcullis connections list` shows who has");
    if let Some(admin) = admin(&args.of)? {
        let path = format!("connections/{}", spelt(principal));
        admin.ask((Method::DELETE, &path), &[], None, &[]).await?;
    } else {
        let (store, folder) = store(&args.of)?;
        let removed = store.remove_all(Arc::from(principal)).await;
        if removed.map_err(|error| anyhow!("the connections of {folder} {error}"))? == 0 {
            return Err(none());
        }
    }
    eprintln!(
        "portcullis: {principal} is connected to nothing any more; a gateway that runs knows it within seconds"
    );
    Ok(ExitCode::SUCCESS)
}

/// Spells a text as a segment of a path (RFC 3986 §2.1).
fn spelt(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let spell = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(spell).collect()
}

fn store(of: &ConnectionsOf) -> anyhow::Result<(Store, String)> {
    let folder = data::folder(of.data_dir.clone())?;
    Ok((Store::new(&folder), folder.display().to_string()))
}

fn admin(of: &ConnectionsOf) -> anyhow::Result<Option<Admin>> {
    of.url.as_ref().map(|url| Admin::new(url, &of.credential)).transpose()
}
