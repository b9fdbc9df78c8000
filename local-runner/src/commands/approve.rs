//! `approve`: what a server says of itself is shown, and bound.
//!
//! **What is approved is what was shown**: its digest goes along, and what the server says by then has to have it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Method, Request, header};
use portcullis_core::audit::visible;
use portcullis_core::body::Body;
use portcullis_core::inspect::inspect_tools;
use portcullis_core::{AdminKey, Exposure, Gateway};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::admin::Admin;
use super::{ask_for, find, say, start_keeping, table};
use crate::cli::Approve;
use crate::host::Machine;

/// The lists, and what one thing of each is called.
const LISTS: [(&str, &str, &str); 4] = [
    ("tools", "tool", "name"),
    ("prompts", "prompt", "name"),
    ("resources", "resource", "uri"),
    ("resourceTemplates", "template", "uriTemplate"),
];
/// How long a server may take to say what it offers once it may be reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 256 << 20;

pub(super) async fn run(args: Approve) -> anyhow::Result<ExitCode> {
    let door = Door::of(&args).await?;
    let done = match &args.server {
        None => list(&args, &door).await,
        Some(server) => of_server(&args, &door, server).await,
    };
    door.close().await;
    done
}

/// A gateway that is asked for approvals.
enum Door {
    /// One that runs.
    There(Admin),
    /// One of this process, and what opens it.
    Here(Gateway<Machine>, Machine, HeaderValue),
}

impl Door {
    async fn of(args: &Approve) -> anyhow::Result<Self> {
        if let Some(url) = &args.url {
            return Ok(Self::There(Admin::new(url, &args.credential)?));
        }
        let mut found = find(&args.setup)?;
        if let Some(only) = &args.server {
            found.parsed.config.servers.retain(|name, _| name.as_str() == only);
            if found.parsed.config.servers.is_empty() {
                bail!("{} has no server {only:?}; `portcullis approve` lists them", found.origin);
            }
        }
        let local = start_keeping(&args.setup, found, Exposure::Loopback, Machine::new())?;
        let mut secret = [0; 32];
        portcullis_native::randomize(&mut secret);
        let key = URL_SAFE_NO_PAD.encode(secret);
        local.gateway.set_admin_key(AdminKey::new(&key));
        let is_starting = |server: &portcullis_core::Readiness| server.status == "starting";
        while local.gateway.readiness().iter().any(is_starting) {
            sleep(LOOK / 10).await;
        }
        Ok(Self::Here(local.gateway, local.machine, format!("Bearer {key}").parse()?))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (gateway, bearer) = match self {
            Self::There(admin) => return Ok(admin.ask((method, path), &[], body.as_ref(), &[]).await?.body),
            Self::Here(gateway, _, bearer) => (gateway, bearer),
        };
        let mut request = Request::new(Body::Full(body.unwrap_or_default().to_string().into()));
        (*request.method_mut(), *request.uri_mut()) = (method, format!("/admin/v1/{path}").parse()?);
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::AUTHORIZATION, bearer.clone());
        let reply = Box::pin(gateway.serve(request)).await;
        let is_done = reply.status().is_success();
        let body = reply.into_body().collect(LARGEST).await?;
        let body: Value = serde_json::from_slice(&body)?;
        if !is_done {
            bail!("{}", body["detail"].as_str().unwrap_or("the gateway refuses that"));
        }
        Ok(body)
    }

    async fn close(self) {
        if let Self::Here(gateway, machine, _) = self {
            gateway.stop();
            machine.stop_processes(Duration::from_secs(6)).await;
        }
    }
}

async fn list(args: &Approve, door: &Door) -> anyhow::Result<ExitCode> {
    let all = door.ask(Method::GET, "approvals", None).await?;
    if args.json {
        say(format_args!("{all:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let all = all["approvals"].as_array().cloned().unwrap_or_default();
    let row =
        |one: &Value| [text(one, "server"), text(one, "state"), text(one, "approved"), text(one, "detail")];
    table(["SERVER", "STATE", "APPROVED", ""], all.iter().map(row));
    Ok(ExitCode::SUCCESS)
}

async fn of_server(args: &Approve, door: &Door, server: &str) -> anyhow::Result<ExitCode> {
    let path = format!("approvals/{}", spelt(server));
    let mut shown = door.ask(Method::GET, &path, None).await?;
    if args.forget {
        ask_for(args.yes, &format!("Approve nothing of {server} any more?"))?;
        shown = door.ask(Method::DELETE, &path, None).await?;
        return Ok(end(args, &shown, &format!("nothing of {server} is approved any more")));
    }
    if args.show || args.diff {
        return Ok(only_show(args, &shown));
    }
    if shown["launch_approved"] == false {
        // Nothing is known of what it offers before it may be reached.
        eprintln!("portcullis: {server} is reached by\n  {}", text(&shown, "launch"));
        ask_for(args.yes, "Approve that?")?;
        door.ask(Method::PUT, &path, Some(json!({ "digest": shown["digest"] }))).await?;
        shown = until_read(door, &path).await?;
    }
    if shown["definitions"].is_null() {
        let reason = shown["reason"].as_str().unwrap_or("has not said what it offers");
        bail!("{server} cannot be approved: it {reason}");
    }
    if !args.json {
        describe(&shown);
    }
    let question = match &args.tool {
        Some(tool) => format!("Approve the tool {tool} of {server} as it is?"),
        None => format!("Approve all of this of {server}?"),
    };
    ask_for(args.yes, &question)?;
    let mut body = json!({ "digest": shown["digest"] });
    if let Some(tool) = &args.tool {
        body["tool"] = tool.as_str().into();
    }
    let approved = door.ask(Method::PUT, &path, Some(body)).await?;
    Ok(end(args, &approved, &format!("{server} is approved: {}", text(&approved, "detail"))))
}

fn end(args: &Approve, shown: &Value, said: &str) -> ExitCode {
    if args.json {
        say(format_args!("{shown:#}"));
    } else {
        eprintln!("portcullis: {said}");
    }
    ExitCode::SUCCESS
}

/// Shows and approves nothing.
fn only_show(args: &Approve, shown: &Value) -> ExitCode {
    let differs =
        !is_empty(&shown["changes"]) || !is_empty(&shown["gone"]) || shown["launch_approved"] == false;
    if args.json {
        say(format_args!("{shown:#}"));
    } else if args.show {
        describe_all(shown);
    } else {
        if shown["launch_approved"] == false {
            say(format_args!("reached by {}", text(shown, "launch")));
        }
        differences(shown).iter().for_each(say);
        eprintln!("portcullis: {}", text(shown, "detail"));
    }
    ExitCode::from(u8::from(args.diff && differs))
}

/// Waits until a server that may be reached has said what it offers, or why it does not.
async fn until_read(door: &Door, path: &str) -> anyhow::Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = door.ask(Method::GET, path, None).await?;
        if !shown["definitions"].is_null() || Instant::now() >= deadline {
            return Ok(shown);
        }
        sleep(LOOK).await;
    }
}

/// Shows what is to be approved: what has changed since, or everything where nothing was approved.
fn describe(shown: &Value) {
    if shown["approved"].is_null() {
        describe_all(shown);
        return;
    }
    let differences = differences(shown);
    if differences.is_empty() {
        say("Everything is as it was approved.");
    }
    differences.iter().for_each(say);
    suspicious(shown);
}

fn describe_all(shown: &Value) {
    say(format_args!("{}, reached by {}", text(shown, "server"), text(shown, "launch")));
    let definitions = &shown["definitions"];
    if let Some(instructions) = definitions["instructions"].as_str() {
        say(format_args!("instructions\n  {}", visible(instructions)));
    }
    for (list, noun, key) in LISTS {
        for item in definitions[list].as_array().into_iter().flatten() {
            say(format_args!("{noun} {}", visible(&text(item, key))));
            for member in ["title", "description"] {
                if let Some(said) = item[member].as_str() {
                    say(format_args!("  {}", visible(said)));
                }
            }
            let rest = rest_of(item, key);
            if rest != "{}" {
                say(format_args!("  {}", visible(&rest)));
            }
        }
    }
    suspicious(shown);
}

/// Everything of an item that is not shown otherwise.
fn rest_of(item: &Value, key: &str) -> String {
    let mut rest = item.clone();
    if let Some(members) = rest.as_object_mut() {
        members.retain(|member, _| ![key, "title", "description"].contains(&member.as_str()));
    }
    rest.to_string()
}

/// Warns of texts of tools that hide or command something.
fn suspicious(shown: &Value) {
    let tools: Vec<_> = shown["definitions"]["tools"].as_array().into_iter().flatten().collect();
    let texts: Vec<_> = tools.iter().map(ToString::to_string).collect();
    let findings = inspect_tools(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    for (tool, findings) in tools.iter().zip(&findings) {
        for finding in findings {
            let name = visible(&text(tool, "name")).into_owned();
            eprintln!(
                "portcullis: warning: {name} {} is suspicious: {}: {}",
                finding.place,
                finding.what.code(),
                finding.evidence
            );
        }
    }
}

/// Returns what is not as it was approved, a line each.
fn differences(shown: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let noun = |list: &str| {
        LISTS.iter().find(|(known, ..)| *known == list).map_or("instructions", |(_, noun, _)| noun).to_owned()
    };
    for change in shown["changes"].as_array().into_iter().flatten() {
        let (list, name) = (text(change, "list"), visible(&text(change, "name")).into_owned());
        lines.push(format!("{} {} {name}", text(change, "change"), noun(&list)).trim_end().to_owned());
        if change["change"] == "new" {
            let of_name = LISTS.iter().find(|(known, ..)| *known == list).map(|(.., key)| *key);
            let items = shown["definitions"][&*list].as_array().into_iter().flatten();
            let item = of_name.and_then(|key| items.into_iter().find(|item| item[key] == change["name"]));
            lines.extend(item.map(|item| format!("  + {}", visible(&item.to_string()))));
        }
        for difference in change["differences"].as_array().into_iter().flatten() {
            let at = text(difference, "at");
            if !at.is_empty() {
                lines.push(format!("  {}", visible(&at)));
            }
            for (mark, side) in [("-", "before"), ("+", "after")] {
                if !difference[side].is_null() {
                    lines.push(format!("    {mark} {}", visible(&difference[side].to_string())));
                }
            }
        }
    }
    for gone in shown["gone"].as_array().into_iter().flatten() {
        lines.push(format!("gone {} {}", noun(&text(gone, "list")), visible(&text(gone, "name"))));
    }
    lines
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Spells a server's name as it stands in a path.
fn spelt(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_readable() {
        let shown = json!({
            "definitions": { "tools": [{ "name": "extra" }] },
            "changes": [
                { "list": "instructions", "name": "", "change": "changed", "differences": [{ "at": "", "before": "a", "after": "b" }] },
                { "list": "tools", "name": "read", "change": "changed", "differences": [
                    { "at": "annotations.readOnlyHint", "before": true, "after": false },
                    { "at": "description", "before": null, "after": "x\u{200b}\u{1b}[2Jy" },
                ] },
                { "list": "tools", "name": "extra", "change": "new", "differences": [] },
            ],
            "gone": [{ "list": "resources", "name": "file:///a" }],
        });
        let expected = [
            "changed instructions",
            "    - \"a\"",
            "    + \"b\"",
            "changed tool read",
            "  annotations.readOnlyHint",
            "    - true",
            "    + false",
            "  description",
            "    + \"x\\u200b\\u001b[2Jy\"",
            "new tool extra",
            "  + {\"name\":\"extra\"}",
            "gone resource file:///a",
        ];
        assert_eq!(differences(&shown), expected);
    }

    #[test]
    fn names_are_spelt_as_paths_have_them() {
        assert_eq!(spelt("my server_1.x"), "my%20server_1.x");
    }
}
