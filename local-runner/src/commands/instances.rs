//! `instances`: the gateways that are identities' own, of a gateway that runs: which there are, and removing one.

use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use super::admin::Admin;
use super::{counted, say, table};
use crate::cli::{Instances, ListInstances, RemoveInstance};

pub(super) async fn run(command: Instances) -> anyhow::Result<ExitCode> {
    match command {
        Instances::List(args) => list(args).await,
        Instances::Rm(args) => remove(args).await,
    }
}

async fn list(args: ListInstances) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(&args.of.url, &args.of.credential)?;
    let answer = admin.ask((Method::GET, "instances"), &[], None, &[]).await?;
    let instances = answer.body["items"].as_array().cloned().unwrap_or_default();
    if args.json {
        say(format_args!("{:#}", Value::from(instances)));
        return Ok(ExitCode::SUCCESS);
    }
    table(["ID", "PRINCIPAL", "STATE", "REQUESTS", "LAST REQUEST"], instances.iter().map(row));
    eprintln!("portcullis: {}", counted(instances.len(), "instance"));
    Ok(ExitCode::SUCCESS)
}

fn row(instance: &Value) -> [String; 5] {
    let text = |name: &str| instance[name].as_str().unwrap_or_default().to_owned();
    [text("id"), text("principal"), text("state"), instance["requests"].to_string(), text("last_request")]
}

async fn remove(args: RemoveInstance) -> anyhow::Result<ExitCode> {
    let id = args.id.trim();
    let admin = Admin::new(&args.of.url, &args.of.credential)?;
    admin.ask((Method::DELETE, &format!("instances/{id}")), &[], None, &[]).await?;
    eprintln!("portcullis: {id} is gone with all that it held; its identity's next request makes another");
    Ok(ExitCode::SUCCESS)
}
