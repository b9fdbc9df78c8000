//! `secrets`: the secrets of a data folder, or of a gateway that runs elsewhere.
//!
//! **A value is read and handed on, and never printed.**

use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use http::Method;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use portcullis_core::config::{Problem, SecretUse};
use portcullis_core::control::described_secret;
use portcullis_core::ports::SecretStore as _;
use portcullis_core::secrets::{LONGEST_VALUE, Replacing, Secret, SecretName, SecretRecord};
use serde_json::{Value, json};

use super::admin::Admin;
use super::{counted, find_anyway, say, table};
use crate::cli::{ChangeSecret, ListSecrets, Secrets, SecretsOf};
use crate::data;
use crate::secrets::{self as safe, Safe};
use crate::source::Found;
use portcullis_native::now;

pub(super) async fn run(command: Secrets) -> anyhow::Result<ExitCode> {
    match command {
        Secrets::Set(args) => change(args, Replacing::AtOnce).await,
        Secrets::Rotate(args) => change(args, Replacing::Rotating).await,
        Secrets::List(args) => list(args).await,
        Secrets::Rm(args) => remove(args).await,
    }
}

/// Says which secrets a configuration needs that are not in a data folder, as far as that can be known.
pub(super) fn missing(uses: &[SecretUse], folder: &Path) -> Vec<Problem> {
    let Ok(Some(records)) = safe::find(folder) else { return Vec::new() };
    let is_missing = |one: &&SecretUse| !records.iter().any(|record| record.name == one.name);
    uses.iter().filter(is_missing).map(SecretUse::missing).collect()
}

async fn change(args: ChangeSecret, replacing: Replacing) -> anyhow::Result<ExitCode> {
    let ChangeSecret { name, of } = args;
    let admin = admin(&of)?;
    let value = value_of(&name).await?;
    if value.reveal().chars().any(|c| !c.is_ascii() || c.is_ascii_control()) {
        eprintln!("portcullis: warning: the value has characters that a header cannot have");
    }
    let (record, origin) = match &admin {
        Some(admin) => (change_there(admin, &name, &value, replacing).await?, admin.url.clone()),
        None => change_here(&of, &name, value, replacing).await?,
    };
    if users(&record).is_empty() {
        eprintln!(
            "portcullis: warning: no server of {origin} needs the secret {:?}; `{{ secret: {name} }}` in its `headers`, \
             `auth` or `env` would",
            name.as_str()
        );
    }
    if of.json {
        say(format_args!("{record:#}"));
    } else {
        let done = if replacing == Replacing::Rotating { "is rotated" } else { "is set" };
        eprintln!("portcullis: secret {name} {done}, version {}", text(&record["version"]));
    }
    Ok(ExitCode::SUCCESS)
}

async fn change_there(
    admin: &Admin,
    name: &SecretName,
    value: &Secret,
    replacing: Replacing,
) -> anyhow::Result<Value> {
    let body = json!({ "value": value.reveal(), "rotate": replacing == Replacing::Rotating });
    Ok(admin.ask((Method::PUT, &format!("secrets/{name}")), &[], Some(&body), &[]).await?.body)
}

async fn change_here(
    of: &SecretsOf,
    name: &SecretName,
    value: Secret,
    replacing: Replacing,
) -> anyhow::Result<(Value, String)> {
    let folder = data::folder(of.setup.data_dir.clone())?;
    let store = Safe::new(&folder, &data::seal_keys(&folder)?);
    let set = store.set(name.clone(), value, replacing, now()).await;
    let record = set.map_err(|error| anyhow!("the secrets of {} {error}", folder.display()))?;
    let record = record.ok_or_else(|| none(name))?;
    let found = find_anyway(&of.setup)?;
    Ok((described(&record, &found), found.origin))
}

async fn list(args: ListSecrets) -> anyhow::Result<ExitCode> {
    let ListSecrets { of } = args;
    let all = match admin(&of)? {
        Some(admin) => admin.ask((Method::GET, "secrets"), &[], None, &[]).await?.body,
        None => list_here(&of)?,
    };
    if of.json {
        say(format_args!("{all:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let secrets = all["secrets"].as_array().cloned().unwrap_or_default();
    table(["NAME", "VERSION", "CREATED", "CHANGED", "PREVIOUS", "NEEDED BY"], secrets.iter().map(row));
    for name in all["missing"].as_array().into_iter().flatten() {
        eprintln!("portcullis: warning: the secret {name} is needed and not set");
    }
    eprintln!("portcullis: {}", counted(secrets.len(), "secret"));
    Ok(ExitCode::SUCCESS)
}

fn list_here(of: &SecretsOf) -> anyhow::Result<Value> {
    let records = safe::list(&data::folder(of.setup.data_dir.clone())?)?;
    let found = find_anyway(&of.setup)?;
    let is_missing = |name: &&SecretName| !records.iter().any(|record| record.name == **name);
    let missing: Vec<_> = found.parsed.config.secrets().into_iter().filter(is_missing).collect();
    let secrets: Vec<_> = records.iter().map(|record| described(record, &found)).collect();
    Ok(json!({ "secrets": secrets, "missing": missing }))
}

fn row(secret: &Value) -> [String; 6] {
    let time = |name: &str| secret[name].as_str().unwrap_or("unknown").to_owned();
    let kept = if secret["has_previous"] == true { "kept" } else { "" };
    [
        text(&secret["name"]),
        text(&secret["version"]),
        time("created"),
        time("changed"),
        kept.to_owned(),
        users(secret).join(", "),
    ]
}

async fn remove(args: ChangeSecret) -> anyhow::Result<ExitCode> {
    let ChangeSecret { name, of } = args;
    let removed = match admin(&of)? {
        Some(admin) => admin.ask((Method::DELETE, &format!("secrets/{name}")), &[], None, &[]).await?.body,
        None => remove_here(&of, &name).await?,
    };
    let users = users(&removed);
    if !users.is_empty() {
        eprintln!(
            "portcullis: warning: needed by {}, which is down until the secret is set again",
            users.join(", ")
        );
    }
    if of.json {
        say(format_args!("{removed:#}"));
    } else {
        eprintln!("portcullis: secret {name} is removed");
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove_here(of: &SecretsOf, name: &SecretName) -> anyhow::Result<Value> {
    let folder = data::folder(of.setup.data_dir.clone())?;
    let store = Safe::new(&folder, &data::seal_keys(&folder)?);
    let removed = store.remove(name.clone()).await;
    if !removed.map_err(|error| anyhow!("the secrets of {} {error}", folder.display()))? {
        return Err(none(name));
    }
    Ok(json!({ "name": name, "used_by": users_of(name, &find_anyway(&of.setup)?) }))
}

fn none(name: &SecretName) -> anyhow::Error {
    anyhow!("there is no secret {:?}; `portcullis secrets list` shows them", name.as_str())
}

fn admin(of: &SecretsOf) -> anyhow::Result<Option<Admin>> {
    of.url.as_ref().map(|url| Admin::new(url, &of.credential)).transpose()
}

fn described(record: &SecretRecord, found: &Found) -> Value {
    let users = users_of(&record.name, found);
    described_secret(record, &users.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Returns the servers that need a secret.
fn users_of(name: &SecretName, found: &Found) -> Vec<String> {
    let users = found.parsed.config.servers.iter().filter(|(_, server)| server.secrets().contains(name));
    users.map(|(server, _)| server.to_string()).collect()
}

fn users(described: &Value) -> Vec<String> {
    described["used_by"].as_array().into_iter().flatten().map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Reads a value from standard input; asks for it where that is a terminal.
async fn value_of(name: &SecretName) -> anyhow::Result<Secret> {
    let quiet = if stdin().is_terminal() {
        eprint!("Value of {name} (not shown): ");
        Some(Quiet::begin()?)
    } else {
        None
    };
    let is_asked = quiet.is_some();
    // Dropped where the command is stopped, so that the terminal shows again what is typed.
    let read = tokio::task::spawn_blocking(move || read_value(is_asked)).await?;
    drop(quiet);
    Secret::new(read?).context("nothing is stored")
}

fn read_value(is_asked: bool) -> anyhow::Result<String> {
    let mut value = String::new();
    if is_asked {
        stdin().read_line(&mut value)?;
    } else {
        let most = u64::try_from(LONGEST_VALUE + 3)?;
        stdin().lock().take(most).read_to_string(&mut value).context("standard input is no UTF-8")?;
    }
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    if value.is_empty() {
        bail!("expected the value on standard input, found nothing");
    }
    Ok(value)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(stdin()).context("the terminal cannot be asked")?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(stdin(), SetArg::TCSANOW, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}
