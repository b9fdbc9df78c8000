//! `push`, `pull`, `rollback`, `versions`: the configuration of a gateway that runs elsewhere.
//!
//! **Nobody's change is lost**: beside the configuration it is noted which version was last seen, and a push builds on that
//! one. What was changed here is not overwritten either.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use http::{Method, header};
use portcullis_core::audit::visible;
use portcullis_core::control::{Document, digest};
use portcullis_core::sorted::SortedMap;
use serde_json::{Map, Value, json};

use super::admin::{Admin, Answered};
use super::{say, table};
use crate::cli::{Pull, Push, Rollback, Versions};
use crate::source;

/// The file beside a configuration that says which version of it was last seen, by the gateway's URL.
const SEEN: &str = ".portcullis-remote.json";

/// The folder beside a configuration that holds its overlays.
const OVERLAYS: &str = "overlays";

/// A version of a configuration that was seen here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: u64,
    /// What it said.
    digest: String,
}

pub(super) async fn push(args: Push) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(&args.to, &args.credential)?;
    let path = args.config.unwrap_or_else(|| PathBuf::from("."));
    let (folder, document) = read(&path)?;
    let seen = seen(&folder, &admin.url)?.map_or(0, |seen| seen.version);
    let condition = if args.force { "*".to_owned() } else { format!("\"{seen}\"") };
    let body = json!({
        "files": document.files,
        "overlays": document.overlays,
        "note": args.note.unwrap_or_default(),
    });
    let headers = [(header::IF_MATCH, condition)];
    let Answered { status, body } =
        admin.ask((Method::PUT, "config"), &headers, Some(&body), &[412, 422]).await?;
    if args.json {
        say(format_args!("{body:#}"));
    }
    match status {
        412 => bail!("{}", behind(&admin.url, seen, &body)),
        422 if !args.json => complain_about(&folder, &body),
        _ => {}
    }
    if status == 422 {
        bail!("{} has not taken the configuration, and serves what it served", admin.url);
    }
    let version = body["version"].as_u64().context("the answer names no version")?;
    note(&folder, &admin.url, &Seen { version, digest: digest(&document.to_text()) })?;
    if !args.json {
        complain_about(&folder, &body);
        let is_new = body["changed"] == true;
        say(format_args!(
            "version {version} is in force at {}{}",
            admin.url,
            if is_new { "" } else { ", and says the same" }
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says who would be overwritten by a push.
fn behind(url: &str, seen: u64, answer: &Value) -> String {
    let newest = &answer["version"];
    let last = match seen {
        0 => "which has not been pulled here".to_owned(),
        seen => format!("and version {seen} was the last that was seen here"),
    };
    format!(
        "{url} serves version {newest} by now, {last}: look at it with `portcullis pull --from {url} --output DIR`, or push \
         with --force"
    )
}

/// Says what is wrong with a configuration, with the paths of its files here.
pub(super) fn complain_about(folder: &Path, answer: &Value) {
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    for problem in list("errors").iter().chain(&list("problems")) {
        let text = |key: &str| problem[key].as_str().unwrap_or_default();
        let place = folder
            .join(overlay_file(text("file").trim_start_matches("overlay ")).unwrap_or(text("file").into()));
        let field = if text("field").is_empty() { String::new() } else { format!("{}: ", text("field")) };
        eprintln!(
            "{}:{}:{}: {}: {field}{}",
            place.display(),
            problem["line"],
            problem["column"],
            text("severity"),
            text("message")
        );
        if let Some(hint) = problem["hint"].as_str() {
            eprintln!("  hint: {hint}");
        }
    }
}

pub(super) async fn pull(args: Pull) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(&args.from, &args.credential)?;
    let path = args.version.map_or("config".to_owned(), |version| format!("config/versions/{version}"));
    let Answered { body, .. } = admin.ask((Method::GET, &path), &[], None, &[]).await?;
    if body["version"] == 0 {
        bail!("nothing has been pushed to {} yet", admin.url);
    }
    let text = json!({ "files": body["files"], "overlays": body["overlays"] }).to_string();
    let document = Document::read(&text).with_context(|| format!("{} has no configuration", admin.url))?;
    let folder = args.output;
    if !args.force {
        keep_changes(&folder, &admin.url, &document)?;
    }
    write(&folder, &document)?;
    let version = body["version"].as_u64().context("the answer names no version")?;
    if args.version.is_none() {
        note(&folder, &admin.url, &Seen { version, digest: digest(&document.to_text()) })?;
    }
    if args.json {
        say(format_args!("{body:#}"));
    } else {
        say(format_args!("version {version} of {} is in {}", admin.url, folder.display()));
    }
    let others = read(&folder).is_ok_and(|(_, found)| found != document);
    if others {
        eprintln!(
            "portcullis: warning: {} has files besides that belong to no such configuration",
            folder.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses to write over what was changed here since it was last seen.
fn keep_changes(folder: &Path, url: &str, document: &Document) -> anyhow::Result<()> {
    let differs = |(file, text): (PathBuf, &String)| {
        let path = folder.join(file);
        fs::read_to_string(&path).is_ok_and(|here| here != *text).then_some(path)
    };
    let Some(path) = files(document)?.into_iter().find_map(differs) else { return Ok(()) };
    let mut here = Document::default();
    for name in document.files.keys() {
        if let Ok(text) = fs::read_to_string(folder.join(name)) {
            here.files.insert(name.clone(), text);
        }
    }
    here.overlays = read_overlays(&folder.join(OVERLAYS))?;
    if seen(folder, url)?.is_some_and(|seen| seen.digest == digest(&here.to_text())) {
        return Ok(());
    }
    bail!(
        "{} was changed here, and would be overwritten: pull with --output to another folder, or with --force",
        path.display()
    );
}

pub(super) async fn rollback(args: Rollback) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(&args.url, &args.credential)?;
    let mut body = json!({ "to": args.to });
    if let Some(note) = args.note {
        body["note"] = note.into();
    }
    let asked = (Method::POST, "config/rollback");
    let Answered { status, body } = admin.ask(asked, &[], Some(&body), &[422]).await?;
    if args.json {
        say(format_args!("{body:#}"));
    } else if status == 422 {
        complain_about(Path::new(""), &body);
    }
    if status == 422 {
        bail!("version {} cannot be served by {} any more", args.to, admin.url);
    }
    if !args.json {
        let version = &body["version"];
        say(format_args!(
            "version {version} is in force at {}, and says what version {} did",
            admin.url, args.to
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn versions(args: Versions) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(&args.url, &args.credential)?;
    if let Some(from) = args.diff {
        return compare(&admin, from, &args).await;
    }
    let path = format!("config/versions?limit={}", args.limit);
    let Answered { body, .. } = admin.ask((Method::GET, &path), &[], None, &[]).await?;
    if args.json {
        say(format_args!("{body:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |version: &Value| ["version", "at", "by", "note"].map(|key| text(&version[key]));
    let versions = body["versions"].as_array().cloned().unwrap_or_default();
    table(["VERSION", "AT", "BY", "NOTE"], versions.iter().map(row));
    Ok(ExitCode::SUCCESS)
}

/// Shows how another version differs from one.
async fn compare(admin: &Admin, from: u64, args: &Versions) -> anyhow::Result<ExitCode> {
    let to = args.to.map(|to| format!("?to={to}")).unwrap_or_default();
    let path = format!("config/versions/{from}/diff{to}");
    let Answered { body, .. } = admin.ask((Method::GET, &path), &[], None, &[]).await?;
    if args.json {
        say(format_args!("{body:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for file in body["files"].as_array().into_iter().flatten() {
        let name = text(&file["name"]);
        say(format_args!("--- {name}\n+++ {name}\n{}", text(&file["unified"]).trim_end_matches('\n')));
    }
    for change in body["changes"].as_array().into_iter().flatten() {
        let [kind, what, name] = ["kind", "what", "name"].map(|key| text(&change[key]));
        eprintln!("portcullis: {what} {} is {kind}", visible(&name));
    }
    if body["files"].as_array().is_none_or(Vec::is_empty) {
        eprintln!("portcullis: both versions say the same");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration at a path; returns its folder, too.
pub(super) fn read(path: &Path) -> anyhow::Result<(PathBuf, Document)> {
    let mut document = Document::default();
    let mut folder = PathBuf::new();
    for source in source::look(path)? {
        let path = Path::new(&source.path);
        folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str()).context("a file's name is not Unicode")?;
        document.files.insert(name.to_owned(), source.text);
    }
    document.overlays = read_overlays(&folder.join(OVERLAYS))?;
    Ok((folder, document))
}

/// Reads the overlays in a folder, where there is one.
fn read_overlays(folder: &Path) -> anyhow::Result<SortedMap<String, String>> {
    let mut overlays = SortedMap::new();
    if !folder.is_dir() {
        return Ok(overlays);
    }
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let whose = name.strip_suffix(".yaml").and_then(|stem| {
            let of = |beginning: &str, kind: &str| Some(format!("{kind}{}", stem.strip_prefix(beginning)?));
            of("agent-", "agent:").or_else(|| of("principal-key-", "principal:key:"))
        });
        let whose = whose.with_context(|| {
            format!(
                "{} is named as no overlay is: `agent-NAME.yaml` or `principal-key-ID.yaml`",
                path.display()
            )
        })?;
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        overlays.insert(whose, text);
    }
    Ok(overlays)
}

/// Returns the file of an overlay within the configuration's folder; nothing where none could be named so.
fn overlay_file(whose: &str) -> Option<PathBuf> {
    let of = |kind: &str, beginning: &str| Some((beginning.to_owned(), whose.strip_prefix(kind)?));
    let (beginning, name) = of("agent:", "agent-").or_else(|| of("principal:key:", "principal-key-"))?;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    name.chars().all(is_plain).then(|| Path::new(OVERLAYS).join(format!("{beginning}{name}.yaml")))
}

/// Returns what a document is written to, within a folder, and what is written there.
fn files(document: &Document) -> anyhow::Result<Vec<(PathBuf, &String)>> {
    let mut files: Vec<_> = document.files.iter().map(|(name, text)| (PathBuf::from(name), text)).collect();
    for (whose, text) in &document.overlays {
        let file = overlay_file(whose);
        let file = file.with_context(|| format!("no file can be named after the overlay {whose:?}"))?;
        files.push((file, text));
    }
    Ok(files)
}

fn write(folder: &Path, document: &Document) -> anyhow::Result<()> {
    let files = files(document)?;
    let inner = if document.overlays.is_empty() { folder.to_owned() } else { folder.join(OVERLAYS) };
    fs::create_dir_all(&inner).with_context(|| format!("cannot make {}", inner.display()))?;
    for (file, text) in files {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Returns which version of a gateway's configuration was last seen in a folder.
fn seen(folder: &Path, url: &str) -> anyhow::Result<Option<Seen>> {
    let all = all_seen(folder)?;
    let one = &all.get(url);
    let version = one.and_then(|one| one["version"].as_u64());
    let digest = one.and_then(|one| one["digest"].as_str()).unwrap_or_default().to_owned();
    Ok(version.map(|version| Seen { version, digest }))
}

fn all_seen(folder: &Path) -> anyhow::Result<Map<String, Value>> {
    let path = folder.join(SEEN);
    if !path.exists() {
        return Ok(Map::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what push and pull write there", path.display()))
}

/// Notes which version was seen.
fn note(folder: &Path, url: &str, seen: &Seen) -> anyhow::Result<()> {
    let mut all = all_seen(folder)?;
    all.insert(url.to_owned(), json!({ "version": seen.version, "digest": seen.digest }));
    let path = folder.join(SEEN);
    let text = format!("{:#}\n", Value::Object(all));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
