//! Approvals in the admin API: what a request says, and how a server's definitions and their approval are described.

use http::{HeaderMap, StatusCode};

use super::answer::{Fault, moment};
use super::request::{expect_json, object};
use crate::approval::{Approval, Change, Difference, Held, described, differences, digest, hex, texts};
use crate::catalog::{Item, Kind, Offer};
use crate::upstream::approved::Unapproved;
use crate::upstream::{Server, Status};
use crate::wire::json::quote;
use crate::wire::message::ObjectWriter;

/// What is to be approved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewApproval {
    /// What was shown to whoever approves it.
    pub(crate) digest: String,
    /// The one tool of it that is approved, where it is one.
    pub(crate) tool: Option<String>,
}

impl NewApproval {
    /// Reads the body of an approval.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        expect_json(headers)?;
        let object = object(body, &["digest", "tool"])?;
        let text = |key: &str| object.get(key).map(|value| value.as_str().map(std::borrow::Cow::into_owned));
        let digest = text("digest").flatten();
        let digest =
            digest.ok_or_else(|| Fault::field("digest", "expected the digest of what is approved"))?;
        let tool =
            text("tool").map(|tool| tool.ok_or_else(|| Fault::field("tool", "expected a tool's name")));
        Ok(Self { digest, tool: tool.transpose()? })
    }

    /// Makes the approval of what a server says now, provided that this is what was shown.
    pub(crate) fn of(&self, server: &Server, now: u64) -> Result<Approval, Fault> {
        let (before, launch) = (server.approval(), server.launch());
        let launch = launch.as_str();
        if self.digest == launch && server.may_be_reached().is_err() {
            return Ok(Approval::of_launch(launch, now, before.as_deref()));
        }
        let seen = readable(server).ok_or_else(|| {
            let detail = format!("{} has not said yet what it offers: {}", server.name, state(server).1);
            Fault::new(StatusCode::CONFLICT, "not-seen", detail)
        })?;
        if self.digest != digest(launch, &seen) {
            let detail = "what the server offers is not what was shown: look at it again";
            return Err(Fault::new(StatusCode::PRECONDITION_FAILED, "conflict", detail));
        }
        let Some(tool) = &self.tool else { return Ok(Approval::of_all(launch, now, &seen)) };
        let is_known = |items: &[Item]| items.iter().any(|item| item.name == *tool);
        if !is_known(seen.items(Kind::Tools))
            && !before.as_ref().is_some_and(|b| is_known(b.items(Kind::Tools)))
        {
            return Err(Fault::field("tool", "the server has no such tool"));
        }
        Ok(Approval::of_tool(launch, now, (before.as_deref(), &seen), tool))
    }
}

/// Returns what a server offers, where it may be asked.
fn readable(server: &Server) -> Option<std::sync::Arc<Offer>> {
    server.seen().filter(|_| server.may_be_reached().is_ok() && !server.is_inherited())
}

/// Returns how it is with a server's approval, in a word and in a sentence.
fn state(server: &Server) -> (&'static str, String) {
    let held = server.held().len();
    match (server.unapproved(), server.approval()) {
        (Some(Unapproved::Launch), _) => {
            ("moved", "it is reached by something else than was approved".into())
        }
        (Some(Unapproved::Unlisted), _) => {
            ("unlisted", "the registry has no approved entry that it is, and nothing of it is served".into())
        }
        (Some(Unapproved::Never), _) => {
            ("required", "it has to be approved, and nothing of it is served".into())
        }
        (None, None) => ("none", "it was not approved, and everything is served".into()),
        (None, Some(_)) => match (held, server.status()) {
            (1.., _) => ("changed", format!("{held} of what it says is not as it was approved")),
            (0, Status::Down(error)) => ("approved", error.message),
            (0, _) => ("approved", "everything is as it was approved".into()),
        },
    }
}

/// Describes how it is with a server's approval, in short.
pub(crate) fn summary(server: &Server) -> String {
    let mut out = ObjectWriter::with_capacity(256);
    summarize(&mut out, server);
    out.member("changes", &server.held().len().to_string());
    out.finish()
}

fn summarize(out: &mut ObjectWriter, server: &Server) {
    let (word, sentence) = state(server);
    out.string("server", server.name.as_str()).string("state", word).string("detail", &sentence);
    let at = server.approval().map_or_else(|| "null".to_owned(), |approval| quote(&moment(approval.at)));
    out.member("approved", &at);
}

/// Describes what a server says and what of it is not as it was approved.
pub(crate) fn whole(server: &Server) -> String {
    let mut out = ObjectWriter::with_capacity(1024);
    summarize(&mut out, server);
    out.string("launch", &described(&server.settings.transport));
    if let Status::Down(error) = server.status() {
        out.string("reason", &error.message);
    }
    let approval = server.approval();
    let may_be_reached = server.may_be_reached().is_ok();
    out.member("launch_approved", if may_be_reached { "true" } else { "false" });
    let Some(seen) = readable(server) else {
        // What it offers is not known: only what it is reached by can be approved.
        out.member("digest", &if may_be_reached { "null".to_owned() } else { quote(&server.launch()) });
        out.member("definitions", "null").member("changes", "[]");
        return out.finish();
    };
    out.string("digest", &digest(&server.launch(), &seen));
    out.member("definitions", &definitions(&seen));
    let changes = server.held();
    let changes: Vec<_> = changes.iter().map(|held| change(held, approval.as_deref(), &seen)).collect();
    out.member("changes", &format!("[{}]", changes.join(",")));
    let gone: Vec<_> = approval.iter().flat_map(|approval| gone(approval, &seen)).collect();
    out.member("gone", &format!("[{}]", gone.join(",")));
    out.finish()
}

fn definitions(seen: &Offer) -> String {
    let mut out = ObjectWriter::with_capacity(1024);
    if let Some(instructions) = &seen.introduction.instructions {
        out.string("instructions", instructions);
    }
    for kind in Kind::ALL {
        out.member(kind.member(), &texts(seen.items(kind)));
    }
    out.finish()
}

/// Describes what is not as it was approved.
fn change(held: &Held, approval: Option<&Approval>, seen: &Offer) -> String {
    let mut out = ObjectWriter::with_capacity(256);
    out.string("list", held.kind.map_or("instructions", Kind::member)).string("name", &held.name);
    let (word, differences) = match held.change {
        Change::New => ("new", Vec::new()),
        Change::Changed => ("changed", held_differences(held, approval, seen)),
    };
    out.string("change", word).string("digest", &hex(&held.digest));
    let told: Vec<_> = differences.iter().map(difference).collect();
    out.member("differences", &format!("[{}]", told.join(",")));
    out.finish()
}

/// Returns where a definition differs from what was approved.
pub(crate) fn held_differences(held: &Held, approval: Option<&Approval>, seen: &Offer) -> Vec<Difference> {
    let Some(approval) = approval else { return Vec::new() };
    let Some(kind) = held.kind else {
        let said = |text: &Option<String>| quote(text.as_deref().unwrap_or_default());
        return differences(&said(&approval.instructions), &said(&seen.introduction.instructions));
    };
    let now = seen.items(kind).iter().find(|item| item.name == held.name);
    match (approval.item(kind, &held.name), now) {
        (Some(before), Some(now)) => differences(&before.text, &now.text),
        _ => Vec::new(),
    }
}

fn difference(difference: &Difference) -> String {
    let mut out = ObjectWriter::with_capacity(128);
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".into());
    out.string("at", &difference.at);
    out.member("before", &text(&difference.before)).member("after", &text(&difference.after));
    out.finish()
}

/// Describes what was approved and is no longer there.
fn gone(approval: &Approval, seen: &Offer) -> Vec<String> {
    let (mut gone, now) = (Vec::new(), Approval::of_all("", 0, seen));
    for kind in Kind::ALL {
        for item in approval.items(kind).iter().filter(|item| now.item(kind, &item.name).is_none()) {
            let mut out = ObjectWriter::with_capacity(64);
            out.string("list", kind.member()).string("name", &item.name);
            gone.push(out.finish());
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn approvals_are_read() {
        let headers: HeaderMap =
            [(header::CONTENT_TYPE, "application/json".parse().unwrap())].into_iter().collect();
        let check = |body: &str| match NewApproval::read(&headers, body.as_bytes()) {
            Ok(read) => format!("{} {:?}", read.digest, read.tool),
            Err(fault) => fault.detail,
        };
        insta::assert_snapshot!(check(r#"{"digest":"ab"}"#), @"ab None");
        insta::assert_snapshot!(check(r#"{"digest":"ab","tool":"x"}"#), @r#"ab Some("x")"#);
        insta::assert_snapshot!(check("{}"), @"digest: expected the digest of what is approved");
        insta::assert_snapshot!(check(r#"{"digest":"ab","tool":1}"#), @"tool: expected a tool's name");
        insta::assert_snapshot!(check(r#"{"digest":"ab","tools":[]}"#), @"tools: unknown field; known: digest, tool");
    }
}
