//! `keys`: the API keys of a data folder, or of a gateway that runs elsewhere.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use http::Method;
use portcullis_core::audit::time_text;
use portcullis_core::control::{Kept, Revoked, described_key};
use portcullis_core::identity::knows;
use portcullis_native::now;
use serde_json::{Value, json};

use super::admin::{Admin, Answered};
use super::{counted, find_anyway, say, table};
use crate::cli::{CreateKey, Keys, KeysOf, ListKeys, RevokeKey};
use crate::data;
use crate::keys::{KeyStore, create};

pub(super) async fn run(command: Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::Create(args) => make(args).await,
        Keys::List(args) => list(args).await,
        Keys::Revoke(args) => revoke(args).await,
    }
}

async fn make(args: CreateKey) -> anyhow::Result<ExitCode> {
    let agent = args.agent.trim().to_owned();
    let odd = |text: &str| text.chars().any(char::is_control) || text.chars().count() > 128;
    if agent.is_empty() || odd(&agent) || args.comment.as_deref().is_some_and(odd) {
        bail!("an agent's name and a comment have at most 128 characters, none of them a control character");
    }
    let json = args.json;
    let made = match admin(&args.of)? {
        Some(admin) => make_there(&admin, &agent, args.expires, args.comment).await?,
        None => make_here(&agent, args)?,
    };
    if json {
        say(format_args!("{made:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    say(made["key"].as_str().unwrap_or_default());
    let until =
        made["expires"].as_str().map_or("until it is revoked".to_owned(), |end| format!("until {end}"));
    eprintln!(
        "portcullis: key {} of agent {agent:?} counts {until}. It is not shown again.",
        text(&made["id"])
    );
    Ok(ExitCode::SUCCESS)
}

fn make_here(agent: &str, args: CreateKey) -> anyhow::Result<Value> {
    let found = find_anyway(&args.setup)?;
    if found.parsed.is_refused() {
        eprintln!(
            "portcullis: warning: {} has errors, so whether it names an agent {agent:?} is not known; `portcullis \
             check` lists them",
            found.origin
        );
    } else if !knows(&found.parsed.config.policy, agent) {
        warn_of_unknown(&found.origin, agent);
    }
    let store = KeyStore::make(&data::folder(args.setup.data_dir)?)?;
    let (key, record) = create(&store, agent, args.expires, args.comment)?;
    let mut made = described_key(&Kept { record, used: None }, now());
    made["key"] = key.reveal().into();
    Ok(made)
}

async fn make_there(
    admin: &Admin,
    agent: &str,
    expires: Option<Duration>,
    comment: Option<String>,
) -> anyhow::Result<Value> {
    let end = |after: Duration| now().saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let body =
        json!({ "agent": agent, "expires": expires.map(|after| time_text(end(after))), "comment": comment });
    let Answered { body, .. } = admin.ask((Method::POST, "keys"), &[], Some(&body), &[]).await?;
    if body["agent_known"] == false {
        warn_of_unknown(&admin.url, agent);
    }
    Ok(body)
}

fn warn_of_unknown(origin: &str, agent: &str) {
    eprintln!("portcullis: warning: {origin} names no agent {agent:?}: until it does, this key is refused");
}

async fn list(args: ListKeys) -> anyhow::Result<ExitCode> {
    let keys = all(&args.of, args.data_dir).await?;
    if args.json {
        say(format_args!("{:#}", Value::from(keys)));
        return Ok(ExitCode::SUCCESS);
    }
    let heads = ["ID", "AGENT", "STATE", "CREATED", "EXPIRES", "LAST USED", "COMMENT"];
    table(heads, keys.iter().map(row));
    eprintln!("portcullis: {}", counted(keys.len(), "key"));
    Ok(ExitCode::SUCCESS)
}

/// Returns what is known of every key, the oldest first.
async fn all(of: &KeysOf, folder: Option<PathBuf>) -> anyhow::Result<Vec<Value>> {
    if let Some(admin) = admin(of)? {
        let Answered { body, .. } = admin.ask((Method::GET, "keys"), &[], None, &[]).await?;
        return Ok(body["keys"].as_array().cloned().unwrap_or_default());
    }
    let store = KeyStore::find(&data::folder(folder)?)?;
    let keys = store.map_or(Ok(Vec::new()), |store| store.all())?;
    Ok(keys.iter().map(|kept| described_key(kept, now())).collect())
}

fn row(key: &Value) -> [String; 7] {
    let time = |name: &str| key[name].as_str().unwrap_or("never").to_owned();
    [
        text(&key["id"]),
        text(&key["agent"]),
        text(&key["state"]),
        time("created"),
        time("expires"),
        time("last_used"),
        text(&key["comment"]),
    ]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn admin(of: &KeysOf) -> anyhow::Result<Option<Admin>> {
    of.url.as_ref().map(|url| Admin::new(url, &of.credential)).transpose()
}

async fn revoke(args: RevokeKey) -> anyhow::Result<ExitCode> {
    let (key, state) = match admin(&args.of)? {
        Some(admin) => {
            let id = &args.id;
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                bail!("there is no key with the id {id:?}");
            }
            let path = format!("keys/{id}");
            (admin.ask((Method::DELETE, &path), &[], None, &[]).await?.body, "is revoked")
        }
        None => revoke_here(&args.id, args.data_dir)?,
    };
    if args.json {
        say(format_args!("{key:#}"));
    } else {
        eprintln!("portcullis: key {} {state}", args.id);
    }
    Ok(ExitCode::SUCCESS)
}

fn revoke_here(id: &str, folder: Option<PathBuf>) -> anyhow::Result<(Value, &'static str)> {
    let store = KeyStore::find(&data::folder(folder)?)?;
    let revoked = store.as_ref().map_or(Ok(Revoked::Unknown), |store| store.revoke(id, now()))?;
    let state = match revoked {
        Revoked::Now => "is revoked",
        Revoked::Before => "had been revoked before",
        Revoked::Unknown => bail!("there is no key with the id {id:?}; `portcullis keys list` shows them"),
    };
    let keys = store.map_or(Ok(Vec::new()), |store| store.all())?;
    let kept = keys.iter().find(|kept| *kept.record.id == *id);
    Ok((Value::from(kept.map(|kept| described_key(kept, now()))), state))
}
