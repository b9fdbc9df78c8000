//! `registry`: which servers a gateway's registry has, and which of them were approved.
//!
//! **What is approved is what was shown**: by its digest, so that what has changed meanwhile is refused.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use http::Method;
use portcullis_core::audit::visible;
use serde_json::{Value, json};

use super::admin::Admin;
use super::{ask_for, counted, say, table};
use crate::cli::{
    ApproveEntry, ImportEntries, ListEntries, OfRegistry, OneEntry, Publish, Registry, Review, SetStatus,
};

pub(super) async fn run(command: Registry) -> anyhow::Result<ExitCode> {
    match command {
        Registry::List(args) => list(args).await,
        Registry::Show(args) => show(args).await,
        Registry::Publish(args) => publish(args).await,
        Registry::Status(args) => set_status(args).await,
        Registry::Delete(args) => delete(args).await,
        Registry::Approve(args) => approve(args).await,
        Registry::Reject(args) => reject(args).await,
        Registry::Import(args) => import(args).await,
    }
    .map(|()| ExitCode::SUCCESS)
}

fn admin(of: &OfRegistry) -> anyhow::Result<Admin> {
    Admin::new(&of.url, &of.credential)
}

async fn ask(admin: &Admin, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    Ok(admin.ask((method, path), &[], body, &[]).await?.body)
}

/// Returns every entry with a review, or every one.
async fn every(admin: &Admin, review: Option<Review>) -> anyhow::Result<Vec<Value>> {
    let review = review.map_or("", |review| match review {
        Review::Pending => "&review=pending",
        Review::Approved => "&review=approved",
        Review::Rejected => "&review=rejected",
    });
    let first = format!("registry?limit=1000{review}");
    let (mut items, mut target) = (Vec::new(), first.clone());
    loop {
        let part = ask(admin, Method::GET, &target, None).await?;
        items.extend(part["items"].as_array().cloned().unwrap_or_default());
        let Some(next) = part["next"].as_str() else { return Ok(items) };
        target = format!("{first}&cursor={}", segment(next));
    }
}

/// Returns one entry as who reviews it sees it.
async fn find(admin: &Admin, name: &str, version: &str) -> anyhow::Result<Value> {
    let is_it = |entry: &Value| entry["name"] == *name && entry["version"] == *version;
    let found = every(admin, None).await?.into_iter().find(is_it);
    found.with_context(|| {
        format!(
            "the registry has no {} in version {}; `portcullis registry list` shows what it has",
            visible(name),
            visible(version)
        )
    })
}

async fn list(args: ListEntries) -> anyhow::Result<()> {
    let entries = every(&admin(&args.of)?, args.review).await?;
    if args.of.json {
        say(format_args!("{:#}", Value::from(entries)));
        return Ok(());
    }
    let row =
        |entry: &Value| ["name", "version", "review", "status", "by", "source"].map(|key| text(&entry[key]));
    table(["NAME", "VERSION", "REVIEW", "STATUS", "BY", "FROM"], entries.iter().map(row));
    for entry in entries.iter().filter(|entry| !entry["resembles"].is_null()) {
        let [name, other] = ["name", "resembles"].map(|key| text(&entry[key]));
        eprintln!("portcullis: warning: {name} could be taken for {other}, which was approved");
    }
    let count = entries.len();
    eprintln!("portcullis: {count} {}", if count == 1 { "entry" } else { "entries" });
    Ok(())
}

async fn show(args: OneEntry) -> anyhow::Result<()> {
    let entry = find(&admin(&args.of)?, &args.name, &args.version).await?;
    if args.of.json {
        say(format_args!("{entry:#}"));
    } else {
        say(described(&entry).trim_end());
    }
    Ok(())
}

/// Describes an entry for somebody who is to decide on it.
fn described(entry: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<10}{value}");
        }
    };
    line("entry", &format!("{} {}", text(&entry["name"]), text(&entry["version"])));
    line("review", &text(&entry["review"]));
    line("status", &format!("{} {}", text(&entry["status"]), text(&entry["status_message"])));
    line("from", &format!("{} {}", text(&entry["by"]), text(&entry["source"])));
    line("reviewed", &text(&entry["reviewed_by"]));
    line("digest", &text(&entry["digest"]));
    for identity in entry["identities"].as_array().into_iter().flatten() {
        line("is", &text(identity));
    }
    line("resembles", &text(&entry["resembles"]));
    for (name, key) in [("server", "server"), ("proposed", "proposed"), ("settings", "settings")] {
        if !entry[key].is_null() {
            line(name, &visible_lines(&format!("{:#}", entry[key])));
        }
    }
    out
}

/// Returns a text of several lines with nothing in it that a terminal would obey.
fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

async fn publish(args: Publish) -> anyhow::Result<()> {
    let is_input = args.file == Path::new("-");
    let read = if is_input {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&args.file)
    };
    let file = args.file.display();
    let text = read.with_context(|| format!("cannot read {file}"))?;
    let server: Value = serde_json::from_str(&text).with_context(|| format!("{file} is no JSON"))?;
    let shown = ask(&admin(&args.of)?, Method::POST, "/v0.1/publish", Some(&server)).await?;
    tell(&args.of, &shown, || {
        let [name, version] = ["name", "version"].map(|key| self::text(&shown["server"][key]));
        format!("{name} {version} is published and approved")
    });
    Ok(())
}

async fn set_status(args: SetStatus) -> anyhow::Result<()> {
    let (version, status) = match &args.what[..] {
        [version, status] => (Some(version), status),
        [status] => (None, status),
        _ => bail!("expected a status, with a version before it where only one is meant"),
    };
    let mut body = json!({ "status": status });
    if let Some(message) = &args.message {
        body["statusMessage"] = message.as_str().into();
    }
    let path = match version {
        Some(version) => format!("{}/status", place(&args.name, version)),
        None => format!("/v0.1/servers/{}/status", segment(&args.name)),
    };
    let shown = ask(&admin(&args.of)?, Method::PATCH, &path, Some(&body)).await?;
    let count = shown["updatedCount"].as_u64().and_then(|count| usize::try_from(count).ok());
    tell(&args.of, &shown, || match version {
        Some(version) => format!("{} {version} is {status}", args.name),
        None => format!("{} is {status}, in {}", args.name, counted(count.unwrap_or(0), "version")),
    });
    Ok(())
}

async fn delete(args: OneEntry) -> anyhow::Result<()> {
    let path = place(&args.name, &args.version);
    let shown = ask(&admin(&args.of)?, Method::DELETE, &path, None).await?;
    tell(&args.of, &shown, || format!("{} {} is deleted", args.name, args.version));
    Ok(())
}

async fn approve(args: ApproveEntry) -> anyhow::Result<()> {
    let ApproveEntry { entry: OneEntry { name, version, of }, digest, add, yes } = args;
    let admin = admin(&of)?;
    let digest = if let Some(digest) = digest {
        digest
    } else {
        let entry = find(&admin, &name, &version).await?;
        let Some(digest) = entry["digest"].as_str() else {
            bail!("nothing of {name} {version} waits: it is approved as it is");
        };
        if !yes {
            eprintln!("{}", described(&entry).trim_end());
        }
        ask_for(yes, &format!("Approve {name} {version}?"))?;
        digest.to_owned()
    };
    let mut body = json!({ "digest": digest });
    if let Some(server) = &add {
        body["add"] = server.as_str().into();
    }
    let path = format!("registry/{}/{}/approve", segment(&name), segment(&version));
    let shown = ask(&admin, Method::POST, &path, Some(&body)).await?;
    tell(&of, &shown, || {
        let added = add.map(|server| format!(", and served as {server:?} from now on")).unwrap_or_default();
        format!("{name} {version} is approved{added}")
    });
    Ok(())
}

async fn reject(args: OneEntry) -> anyhow::Result<()> {
    let path = format!("registry/{}/{}/reject", segment(&args.name), segment(&args.version));
    let shown = ask(&admin(&args.of)?, Method::POST, &path, None).await?;
    tell(&args.of, &shown, || format!("{} {} is {}", args.name, args.version, text(&shown["review"])));
    Ok(())
}

async fn import(args: ImportEntries) -> anyhow::Result<()> {
    let mut body = json!({ "url": args.source.to_string().trim_end_matches('/') });
    if let Some(search) = &args.search {
        body["search"] = search.as_str().into();
    }
    let said = ask(&admin(&args.of)?, Method::POST, "registry/imports", Some(&body)).await?;
    tell(&args.of, &said, || {
        let [waiting, same, refused] = ["pending", "unchanged", "refused"].map(|key| said[key].to_string());
        let rest = if said["complete"] == true { "" } else { "; there is more: import again" };
        format!("{waiting} wait for a review, {same} are as they were, {refused} are no server.json{rest}")
    });
    Ok(())
}

/// Says what came of it: in words, or as the gateway's answer.
fn tell(of: &OfRegistry, answer: &Value, words: impl FnOnce() -> String) {
    if of.json {
        say(format_args!("{answer:#}"));
    } else {
        say(words());
    }
}

/// Returns the path of one version in the registry's own API.
fn place(name: &str, version: &str) -> String {
    format!("/v0.1/servers/{}/versions/{}", segment(name), segment(version))
}

/// Writes a text as one segment of a path, or as a value of a query.
fn segment(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().fold(String::new(), |mut out, byte| {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn text(value: &Value) -> String {
    visible(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment_of_a_path() {
        assert_eq!(
            place("com.example/sums", "1.0.0+build"),
            "/v0.1/servers/com.example%2Fsums/versions/1.0.0%2Bbuild"
        );
        assert_eq!(segment("a b?#%ä"), "a%20b%3F%23%25%C3%A4");
    }

    #[test]
    fn what_a_terminal_would_obey_is_made_visible() {
        let entry = json!({ "name": "a/b", "version": "1", "server": { "title": "\u{202e}\u{1b}[2J" } });
        let said = described(&entry);
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{said}");
        assert!(said.contains("entry     a/b 1"), "{said}");
    }
}
