//! `keys`: the API keys of a data folder.

use std::process::ExitCode;

use anyhow::bail;
use portcullis_core::control::{Kept, Revoked, described_key};
use portcullis_core::identity::{KeyRecord, knows};
use serde_json::{Value, json};

use super::{counted, say};
use crate::cli::{CreateKey, Keys, ListKeys, RevokeKey};
use crate::host::now;
use crate::keys::{KeyStore, create};
use crate::moment::{Moment, Offset};
use crate::{data, source};

pub(super) fn run(command: Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::Create(args) => make(args),
        Keys::List(args) => list(args),
        Keys::Revoke(args) => revoke(args),
    }
}

fn make(args: CreateKey) -> anyhow::Result<ExitCode> {
    let agent = args.agent.trim();
    let odd = |text: &str| text.chars().any(char::is_control) || text.chars().count() > 128;
    if agent.is_empty() || odd(agent) || args.comment.as_deref().is_some_and(odd) {
        bail!("an agent's name and a comment have at most 128 characters, none of them a control character");
    }
    let found = source::find(args.setup.config.as_deref())?;
    if found.parsed.is_refused() {
        eprintln!(
            "portcullis: warning: {} has errors, so whether it names an agent {agent:?} is not known; `portcullis \
             check` lists them",
            found.origin
        );
    } else if !knows(&found.parsed.config.policy, agent) {
        eprintln!(
            "portcullis: warning: {} names no agent {agent:?}: until it does, this key is refused",
            found.origin
        );
    }
    let store = KeyStore::make(&data::folder(args.setup.data_dir)?)?;
    let (key, record) = create(&store, agent, args.expires, args.comment)?;
    if args.json {
        let mut shown = described(&record, None);
        shown["key"] = key.reveal().into();
        say(format_args!("{shown:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    say(key.reveal());
    let until =
        record.expires.map_or("until it is revoked".to_owned(), |end| format!("until {}", moment(end)));
    eprintln!("portcullis: key {} of agent {agent:?} counts {until}. It is not shown again.", record.id);
    Ok(ExitCode::SUCCESS)
}

fn list(args: ListKeys) -> anyhow::Result<ExitCode> {
    let store = KeyStore::find(&data::folder(args.data_dir)?)?;
    let keys = store.map_or(Ok(Vec::new()), |store| store.all())?;
    if args.json {
        let shown: Vec<_> = keys.iter().map(|kept| described(&kept.record, kept.used)).collect();
        say(format_args!("{:#}", Value::from(shown)));
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = keys.iter().map(row).collect();
    let head = ["ID", "AGENT", "STATE", "CREATED", "EXPIRES", "LAST USED", "COMMENT"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    eprintln!("portcullis: {}", counted(keys.len(), "key"));
    Ok(ExitCode::SUCCESS)
}

fn row(Kept { record, used }: &Kept) -> [String; 7] {
    let time = |time: Option<u64>| time.map_or("never".to_owned(), moment);
    [
        record.id.to_string(),
        record.agent.to_string(),
        state(record).to_owned(),
        moment(record.created),
        time(record.expires),
        time(*used),
        record.comment.clone().unwrap_or_default(),
    ]
}

fn described(record: &KeyRecord, used: Option<u64>) -> Value {
    json!({
        "id": record.id,
        "agent": record.agent,
        "state": state(record),
        "created": moment(record.created),
        "expires": record.expires.map(moment),
        "revoked": record.revoked.map(moment),
        "last_used": used.map(moment),
        "comment": record.comment,
    })
}

fn state(record: &KeyRecord) -> &'static str {
    match record {
        KeyRecord { revoked: Some(_), .. } => "revoked",
        record if record.is_valid(now()) => "valid",
        _ => "expired",
    }
}

fn moment(time: u64) -> String {
    let utc = Offset::parse("Z").expect("an offset");
    Moment::at(time / 1000, utc).to_string()
}

fn revoke(args: RevokeKey) -> anyhow::Result<ExitCode> {
    let store = KeyStore::find(&data::folder(args.data_dir)?)?;
    let revoked = store.as_ref().map_or(Ok(Revoked::Unknown), |store| store.revoke(&args.id, now()))?;
    let state = match revoked {
        Revoked::Now => "is revoked",
        Revoked::Before => "had been revoked before",
        Revoked::Unknown => {
            bail!("there is no key with the id {:?}; `portcullis keys list` shows them", args.id)
        }
    };
    if args.json {
        let keys = store.map_or(Ok(Vec::new()), |store| store.all())?;
        let kept = keys.iter().find(|kept| *kept.record.id == *args.id);
        say(format_args!("{:#}", Value::from(kept.map(|kept| described(&kept.record, kept.used)))));
    } else {
        eprintln!("portcullis: key {} {state}", args.id);
    }
    Ok(ExitCode::SUCCESS)
}
