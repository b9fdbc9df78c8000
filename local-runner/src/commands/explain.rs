//! `explain`: what somebody may do with one thing, by which rule, and where that stands.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use portcullis_core::Exposure;
use portcullis_core::acl::Truth;
use portcullis_core::audit::visible;
use portcullis_core::config::ItemKind;
use portcullis_core::explain::{Considered, Explanation, Found, Question, Side, Somebody, Verdict};
use serde_json::{Value, json};

use super::client::settle;
use super::{find, say, start};
use crate::cli::Explain;
use crate::host::Machine;

/// How long the servers' processes may take to stop.
const STOP: Duration = Duration::from_secs(6);

pub(super) async fn run(args: Explain) -> anyhow::Result<ExitCode> {
    let local = start(&args.setup, find(&args.setup)?, Exposure::Loopback, Machine::new())?;
    settle(&local.gateway).await;
    let (kind, name) = asked(&args);
    let who =
        Somebody { agent: args.agent.as_deref(), client: args.client.as_deref(), tag: args.tag.as_deref() };
    let arguments = args.args.as_ref().map(|json| json.get());
    let explained = local.gateway.explain(&Question { who, kind, name, arguments });
    local.gateway.stop();
    local.end(STOP).await;
    let explained = match explained {
        Ok(explained) => explained,
        Err(unknown) => {
            eprintln!("portcullis: {}", visible(&unknown.to_string()));
            return Ok(ExitCode::from(2));
        }
    };
    if args.json {
        say(format_args!("{:#}", as_json(&explained, name)));
    } else {
        show(&explained, &args, name);
    }
    Ok(ExitCode::from(u8::from(!is_allowed(&explained))))
}

/// Returns what is asked about; the command line has made sure that there is one thing.
fn asked(args: &Explain) -> (ItemKind, &str) {
    match (&args.tool, &args.prompt, &args.resource) {
        (_, Some(prompt), _) => (ItemKind::Prompt, prompt),
        (_, _, Some(uri)) => (ItemKind::Resource, uri),
        (tool, None, None) => (ItemKind::Tool, tool.as_deref().unwrap_or_default()),
    }
}

fn is_allowed(explained: &Explanation) -> bool {
    let found = explained.found.as_ref();
    found.is_some_and(|found| found.judgement.verdict != Verdict::Denied && found.unfit.is_none())
}

fn show(explained: &Explanation, args: &Explain, name: &str) {
    match &explained.found {
        Some(found) => show_found(found),
        None => show_nothing(explained, name),
    }
    line(format_args!("  asked by     agent {} ({})", explained.agent, explained.origin));
    if let Some(client) = &explained.client {
        line(format_args!("               with the client {client}"));
    }
    match (&args.tag, &explained.tag) {
        (Some(_), None) => line("               the tag counts for nothing: `auth.trust_tags` is not set"),
        (_, Some(tag)) => line(format_args!("               with the tag {tag}")),
        (None, None) => {}
    }
    if let Some(found) = &explained.found {
        show_reasons(found);
    }
}

fn show_found(found: &Found) {
    let verdict = match (found.judgement.verdict, &found.unfit) {
        (Verdict::Denied, _) => "denied",
        (_, Some(_)) => "allowed, but not with these arguments",
        (Verdict::Allowed, None) => "allowed",
        (Verdict::Depends, None) => "allowed with some arguments; `--args` says with which",
    };
    line(format_args!("{}: {verdict}", found.exposed));
    line(format_args!("  because      {}", found.judgement.by));
    if let Some(why) = &found.unfit {
        line(format_args!("               the variant does not take the arguments: {why}"));
    }
    line(format_args!("  leads to     {} of server {}", found.upstream, found.server));
    if let Some(of) = &found.variant {
        line(format_args!("  variant      {} of {} ({})", found.name, of.from, of.origin));
    }
}

fn show_nothing(explained: &Explanation, name: &str) {
    line(format_args!("{name}: denied"));
    let gone = explained.gone.as_deref().unwrap_or("nothing has this name");
    line(format_args!("  because      {gone}"));
    for near in &explained.near {
        let hidden = if near.is_seen { "" } else { ", which this agent does not see" };
        line(format_args!("  like         {}{hidden}", near.name));
    }
    for (server, reason) in &explained.silent {
        line(format_args!("  not known    what server {server} offers: it {reason}"));
    }
}

fn show_reasons(found: &Found) {
    for of in &found.judgement.considered {
        let when = of.when.as_ref().map(|when| format!(" when {when}: {}", outcome(of)));
        let what = format!("{} {}{}", side(of.side), of.text, when.unwrap_or_default());
        line(format_args!("  {:12} {what} ({})", "rule", of.origin));
    }
    for limit in &found.limits {
        line(format_args!("  {:12} {}: {} ({})", "limit", limit.what, limit.limits, limit.origin));
    }
}

/// Says one line for people: what servers call their things neither moves a cursor nor hides.
fn line(text: impl Display) {
    say(visible(&text.to_string()));
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Deny => "deny",
        Side::Allow => "allow",
        Side::Agent => "agent",
    }
}

fn outcome(of: &Considered) -> String {
    match (of.truth, &of.why) {
        (Truth::Holds, _) => "holds".to_owned(),
        (Truth::Fails, _) => "does not hold".to_owned(),
        (Truth::Depends, _) => "depends on the arguments".to_owned(),
        (Truth::Undecided, None) => "cannot be told".to_owned(),
        (Truth::Undecided, Some(why)) => format!("cannot be told, as {why}; that counts against the caller"),
    }
}

fn as_json(explained: &Explanation, name: &str) -> Value {
    let mut value = json!({
        "asked": name,
        "decision": if is_allowed(explained) { "allowed" } else { "denied" },
        "agent": explained.agent,
        "agent_at": explained.origin.to_string(),
        "client": explained.client,
        "tag": explained.tag,
        "near": explained.near.iter().map(|of| json!({ "name": of.name, "seen": of.is_seen })).collect::<Vec<_>>(),
        "silent_servers": explained.silent.iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    let Some(found) = &explained.found else {
        value["because"] = json!(explained.gone.as_deref().unwrap_or("nothing has this name"));
        return value;
    };
    value["name"] = json!(found.exposed);
    value["because"] = json!(found.judgement.by);
    value["depends_on_arguments"] = json!(found.judgement.verdict == Verdict::Depends);
    value["rule"] = json!(found.judgement.rule);
    value["file"] = json!(&*found.judgement.origin.file);
    value["line"] = json!(found.judgement.origin.line);
    value["field"] = json!(found.judgement.origin.field);
    value["server"] = json!(found.server);
    value["own_name"] = json!(found.name);
    value["upstream_name"] = json!(found.upstream);
    value["variant_of"] = json!(found.variant.as_ref().map(|of| &of.from));
    value["unfit"] = json!(found.unfit);
    value["rules"] = found.judgement.considered.iter().map(rule_as_json).collect();
    let limits = found.limits.iter();
    let limits = limits.map(|of| json!({ "of": of.what, "limits": of.limits, "at": of.origin.to_string() }));
    value["limits"] = limits.collect();
    value
}

fn rule_as_json(of: &Considered) -> Value {
    json!({
        "side": side(of.side),
        "rule": of.text,
        "when": of.when,
        "comes_to": of.when.as_ref().map(|_| outcome(of)),
        "at": of.origin.to_string(),
    })
}
