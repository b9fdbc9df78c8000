//! `fleet`: which gateways a control plane governs, and which version goes where.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use portcullis_core::audit::time_text;
use portcullis_native::now;
use serde_json::{Map, Value, json};

use super::admin::Admin;
use super::{counted, say, table};
use crate::cli::{BeginRollout, Enrol, Fleet, ListGateways, OfFleet, Promote, RemoveGateway};

/// What an agent's name is said after in a stage.
const OF_AGENT: &str = "agent:";

pub(super) async fn run(command: Fleet) -> anyhow::Result<ExitCode> {
    match command {
        Fleet::Enrol(args) => enrol(args).await,
        Fleet::List(args) => list(args).await,
        Fleet::Remove(args) => remove(args).await,
        Fleet::Rollout(args) => begin(args).await,
        Fleet::Promote(args) => promote(args).await,
        Fleet::Abort(of) => abort(of).await,
    }
}

fn admin(of: &OfFleet) -> anyhow::Result<Admin> {
    Admin::new(&of.url, &of.credential)
}

async fn ask(admin: &Admin, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    Ok(admin.ask((method, path), &[], body, &[]).await?.body)
}

/// Returns every item of a list, whose parts are asked for one after the other.
async fn every(admin: &Admin, path: &str) -> anyhow::Result<Vec<Value>> {
    let (mut items, mut target) = (Vec::new(), format!("{path}?limit=1000"));
    loop {
        let part = ask(admin, Method::GET, &target, None).await?;
        items.extend(part["items"].as_array().cloned().unwrap_or_default());
        let Some(next) = part["next"].as_str() else { return Ok(items) };
        target = format!("{path}?limit=1000&cursor={next}");
    }
}

async fn enrol(args: Enrol) -> anyhow::Result<ExitCode> {
    let admin = admin(&args.of)?;
    let end = |after: Duration| now().saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let labels: Map<_, _> = args.label.into_iter().map(|(name, value)| (name, value.into())).collect();
    let expires = args.expires.map(|after| time_text(end(after)));
    let body = json!({ "name": args.name, "labels": labels, "expires": expires });
    let made = ask(&admin, Method::POST, "enrolments", Some(&body)).await?;
    if args.of.json {
        say(format_args!("{made:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    say(text(&made["token"]));
    eprintln!(
        "portcullis: the gateway {:?} joins with this once, until {}. It is not shown again. There: portcullis serve \
         --control {} --enrolment-file FILE",
        args.name,
        text(&made["expires"]),
        admin.url
    );
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListGateways) -> anyhow::Result<ExitCode> {
    let admin = admin(&args.of)?;
    let gateways = every(&admin, "gateways").await?;
    let enrolments = every(&admin, "enrolments").await?;
    let open = open_rollout(&admin).await?;
    if args.of.json {
        say(format_args!("{:#}", json!({ "gateways": gateways, "enrolments": enrolments, "rollout": open })));
        return Ok(ExitCode::SUCCESS);
    }
    let heads = ["NAME", "ID", "STATE", "VERSION", "WANTED", "HOST", "LABELS", "SEEN"];
    let waits = enrolments.iter().map(|one| {
        let (name, id, labels) = (text(&one["name"]), text(&one["id"]), labels(&one["labels"]));
        [name, id, "enrolling".into(), "-".into(), "-".into(), "-".into(), labels, "never".into()]
    });
    table(heads, gateways.iter().map(row).chain(waits));
    for gateway in &gateways {
        for why in ["refused", "rejected"] {
            if let Some(said) = gateway[why].as_str() {
                eprintln!("portcullis: {} has {why} what it was given: {said}", text(&gateway["name"]));
            }
        }
    }
    if let Some(open) = open {
        eprintln!("portcullis: {}", told(&open));
    }
    eprintln!("portcullis: {}", counted(gateways.len(), "gateway"));
    Ok(ExitCode::SUCCESS)
}

fn row(gateway: &Value) -> [String; 8] {
    let number = |name: &str| gateway[name].as_u64().filter(|number| *number > 0);
    let version = |name: &str| number(name).map_or("-".to_owned(), |number| number.to_string());
    [
        text(&gateway["name"]),
        text(&gateway["id"]),
        text(&gateway["state"]),
        version("version"),
        version("wanted"),
        text(&gateway["host"]),
        labels(&gateway["labels"]),
        text(&gateway["seen"]),
    ]
}

fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(",")
}

async fn remove(args: RemoveGateway) -> anyhow::Result<ExitCode> {
    let admin = admin(&args.of)?;
    let is_it = |one: &Value| one["name"] == *args.name || one["id"] == *args.name;
    for (path, what) in [("gateways", "gateway"), ("enrolments", "enrolment")] {
        if let Some(found) = every(&admin, path).await?.iter().find(|one| is_it(one)) {
            let target = format!("{path}/{}", text(&found["id"]));
            let removed = ask(&admin, Method::DELETE, &target, None).await?;
            if args.of.json {
                say(format_args!("{removed:#}"));
            } else {
                eprintln!("portcullis: the {what} {} is removed", args.name);
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
    bail!("there is no gateway {:?}; `portcullis fleet list` shows them", args.name)
}

async fn begin(args: BeginRollout) -> anyhow::Result<ExitCode> {
    let admin = admin(&args.of)?;
    let stages: Vec<_> = args.stages.iter().map(|text| stage(text)).collect();
    let body = json!({ "version": args.version, "stages": stages, "note": args.note });
    let begun = ask(&admin, Method::POST, "rollouts", Some(&body)).await?;
    tell(&args.of, &begun);
    Ok(ExitCode::SUCCESS)
}

/// Reads a stage: names of gateways, labels, and agents.
fn stage(text: &str) -> Value {
    let (mut gateways, mut labels, mut agents) = (Vec::new(), Map::new(), Vec::new());
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match (part.strip_prefix(OF_AGENT), part.split_once('=')) {
            (Some(agent), _) => agents.push(agent),
            (None, Some((name, value))) => drop(labels.insert(name.to_owned(), value.into())),
            (None, None) => gateways.push(part),
        }
    }
    json!({ "gateways": gateways, "labels": labels, "agents": agents })
}

async fn promote(args: Promote) -> anyhow::Result<ExitCode> {
    let body = json!({ "all": args.all });
    step(&args.of, "promote", Some(&body)).await
}

async fn abort(of: OfFleet) -> anyhow::Result<ExitCode> {
    step(&of, "abort", None).await
}

async fn step(of: &OfFleet, what: &str, body: Option<&Value>) -> anyhow::Result<ExitCode> {
    let admin = admin(of)?;
    let open = open_rollout(&admin).await?.context("no rollout is open")?;
    let path = format!("rollouts/{}/{what}", text(&open["id"]));
    let then = ask(&admin, Method::POST, &path, body).await?;
    tell(of, &then);
    Ok(ExitCode::SUCCESS)
}

async fn open_rollout(admin: &Admin) -> anyhow::Result<Option<Value>> {
    let first = ask(admin, Method::GET, "rollouts?limit=1", None).await?;
    Ok(Some(first["items"][0].clone()).filter(|rollout| rollout["state"] == "open"))
}

fn tell(of: &OfFleet, rollout: &Value) {
    if of.json {
        say(format_args!("{rollout:#}"));
    } else {
        eprintln!("portcullis: {}", told(rollout));
    }
}

/// Says how it is with a rollout.
fn told(rollout: &Value) -> String {
    let (version, base) = (&rollout["version"], &rollout["base"]);
    match text(&rollout["state"]).as_str() {
        "promoted" => format!("version {version} is for all gateways"),
        "aborted" => format!("version {base} is for all gateways again"),
        _ => {
            let many = rollout["stages"].as_array().map_or(0, Vec::len);
            format!(
                "version {version} is for stage {} of {many}, version {base} for all others",
                rollout["reached"]
            )
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
