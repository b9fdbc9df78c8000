//! `tools` and `call`: what agents see, tried out.

use std::borrow::Cow;
use std::process::ExitCode;

use portcullis_core::inspect::{Finding, inspect_tools, is_invisible, marked};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, Params};
use super::say;
use crate::cli::{Call, Tools};

/// The most characters of a description that a list shows.
const SUMMARY: usize = 80;

#[derive(Deserialize)]
struct Page {
    tools: Vec<Box<RawValue>>,
    #[serde(rename = "nextCursor")]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    name: String,
    description: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    content: Vec<Box<RawValue>>,
    #[serde(rename = "structuredContent")]
    structured: Option<Box<RawValue>>,
    #[serde(rename = "isError", default)]
    is_error: bool,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

pub(super) async fn list(args: Tools) -> anyhow::Result<ExitCode> {
    let client = Client::of(&args.target).await?;
    let tools = all_tools(&client).await;
    client.close().await;
    let tools = tools?;
    let texts: Vec<_> = tools.iter().map(|tool| tool.get()).collect();
    let findings = inspect_tools(&texts);
    if args.target.json {
        let texts: Vec<_> =
            texts.iter().zip(&findings).map(|(tool, findings)| as_json(tool, findings)).collect();
        say(format_args!("[{}]", texts.join(",\n")));
        return Ok(ExitCode::SUCCESS);
    }
    let tools =
        tools.iter().map(|tool| serde_json::from_str::<Tool>(tool.get())).collect::<Result<Vec<_>, _>>()?;
    let width = tools.iter().map(|tool| tool.name.len()).max().unwrap_or(0);
    if tools.is_empty() {
        eprintln!("portcullis: there are no tools; `portcullis doctor` says how the servers are");
    }
    for (tool, findings) in tools.iter().zip(&findings) {
        let mark = if findings.is_empty() { " " } else { "! " };
        let name = clean(&tool.name);
        say(format_args!("{name:width$} {mark}{}", summary(tool)));
        for Finding { what, place, evidence } in findings {
            eprintln!("portcullis: {name} {place} is suspicious: {}: {evidence}", what.code());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A tool as it came, and with what is suspicious about it where something is.
fn as_json<'t>(tool: &'t str, findings: &[Finding]) -> Cow<'t, str> {
    if findings.is_empty() { Cow::Borrowed(tool) } else { Cow::Owned(marked(tool, findings)) }
}

async fn all_tools(client: &Client) -> anyhow::Result<Vec<Box<RawValue>>> {
    let mut tools = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let result =
            client.ask("tools/list", &Params { cursor: cursor.as_deref(), ..Params::default() }).await?;
        let page: Page = serde_json::from_str(result.get())?;
        tools.extend(page.tools);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tools);
        }
    }
}

/// The first sentence or so of a tool's description, fit for a terminal.
fn summary(tool: &Tool) -> String {
    let text = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let clean = clean(line);
    let short: String = clean.chars().take(SUMMARY).collect();
    if short.len() < clean.len() { format!("{short}…") } else { short }
}

/// Leaves out what a terminal would obey, and what nobody would see.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect()
}

pub(super) async fn call(args: Call) -> anyhow::Result<ExitCode> {
    let client = Client::of(&args.target).await?;
    let params = Params { name: Some(&args.tool), arguments: Some(&args.args), ..Params::default() };
    let result = client.ask("tools/call", &params).await;
    client.close().await;
    let result = result?;
    let outcome: Outcome = serde_json::from_str(result.get())?;
    if args.target.json {
        say(result.get());
    } else {
        show(&outcome, &result);
    }
    Ok(ExitCode::from(u8::from(outcome.is_error)))
}

fn show(outcome: &Outcome, result: &RawValue) {
    for block in &outcome.content {
        match serde_json::from_str::<Text>(block.get()) {
            Ok(Text { text }) => say(text),
            Err(_) => say(block.get()),
        }
    }
    if outcome.content.is_empty() {
        say(outcome.structured.as_deref().unwrap_or(result).get());
    }
}
