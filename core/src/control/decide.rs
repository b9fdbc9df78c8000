//! What a configuration that comes from elsewhere comes to here, and what a write to the store becomes. Pure.
//!
//! **What has an error is refused when it is pushed.** What the store has, however it came there, is put in force as far as
//! that can be done, and never where an error concerns more than one server.

use std::sync::Arc;

use super::request::Condition;
use super::{Document, Revision, Stamp, digest};
use crate::approval::Approval;
use crate::config::{self, Config, Parsed, Problem, Processes, Severity, Source, overlay_source};
use crate::listing::Approved;
use crate::names::ServerName;

/// What a host can do for a configuration, and what it asks of one.
pub struct Means<'h> {
    /// Looks environment variables up, or what the host has instead.
    pub env: &'h dyn Fn(&str) -> Option<String>,
    /// Whether it starts programs.
    pub processes: Processes,
    /// Whether it serves callers that prove nothing.
    pub strangers: Strangers,
}

/// Whether a gateway may serve callers that prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strangers {
    /// A configuration has to say `auth.required`: others than this machine can reach the gateway.
    #[default]
    KeptOut,
    /// What the configuration says counts.
    Admitted,
}

/// Where the configuration in force comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Managed {
    /// Files of the host's, named for people: what is pushed is refused.
    ByFiles(String),
    /// The host's store.
    ByStore(InStore),
}

/// What a gateway knows of its store's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InStore {
    /// Whether callers that prove nothing may be served.
    pub strangers: Strangers,
    /// The version in force, and its digest; 0 where the store has had none.
    pub version: u64,
    pub(crate) digest: String,
    /// The control plane that says what is served, where one does: nobody else writes then.
    pub governed: Option<String>,
    /// Whether it has been asked since this gateway began.
    pub(crate) asked: bool,
    /// The version that was refused since.
    pub(crate) refused: Option<Refused>,
}

/// A version that is not in force although it is the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) version: u64,
    pub(crate) digest: String,
    /// Why.
    pub(crate) reason: String,
}

impl InStore {
    /// Tells whether a version need not be looked at: it is in force, was refused as it is, or is older.
    pub(crate) fn knows(&self, stamp: &Stamp) -> bool {
        let refused = self.refused.as_ref();
        stamp.version < self.version
            || (stamp.version == self.version && stamp.digest == self.digest)
            || refused
                .is_some_and(|refused| refused.version == stamp.version && refused.digest == stamp.digest)
    }

    /// Takes note that a version is in force.
    pub(crate) fn took(&mut self, stamp: &Stamp) {
        (self.version, self.digest, self.refused) = (stamp.version, stamp.digest.clone(), None);
    }

    /// Takes note that a version was refused.
    pub(crate) fn refuse(&mut self, stamp: &Stamp, reason: String) {
        self.refused = Some(Refused { version: stamp.version, digest: stamp.digest.clone(), reason });
    }
}

/// Understands a document as this host would serve it.
pub fn understand(document: &Document, means: &Means<'_>) -> Parsed {
    let mut parsed = understand_one(document, means);
    #[cfg(feature = "control")]
    if let Some(ahead) = &document.ahead {
        let next = understand_one(&ahead.document, means);
        config::go_ahead(&mut parsed, (ahead.version, next), &ahead.agents);
    }
    parsed.report_unlisted();
    parsed
}

fn understand_one(document: &Document, means: &Means<'_>) -> Parsed {
    let overlays: Vec<_> =
        document.overlays.iter().map(|(name, text)| overlay_source((name, text))).collect();
    let mut parsed = understand_all(&document.sources(), &overlays, means);
    for (name, text) in &document.approvals {
        match (ServerName::parse(name), Approval::read(text)) {
            (Ok(name), Ok(approval)) => parsed.config.approvals.set(name, Some(Arc::new(approval))),
            // Served without one, it could say whatever it likes.
            (_, Err(what)) => parsed.problems.push(error(
                "",
                "approvals",
                format!("the approval of {name:?} is none: {what}"),
            )),
            (Err(_), _) => {}
        }
    }
    for (key, text) in &document.listed {
        match Approved::read(text) {
            Ok(approved) => parsed.config.listed.set(key.clone(), approved),
            Err(what) => {
                let message = format!("what the registry has of {key:?} is no approval: {what}");
                parsed.problems.push(error("", "listed", message));
            }
        }
    }
    parsed
}

/// Understands files, of which there is at least one, as this host would serve them.
pub fn understand_files(files: &[Source], means: &Means<'_>) -> Parsed {
    understand_all(files, &[], means)
}

fn understand_all(sources: &[Source], overlays: &[Source], means: &Means<'_>) -> Parsed {
    let mut parsed = config::parse_all((sources, overlays), means.env, means.processes);
    if means.strangers == Strangers::KeptOut && !parsed.config.auth.required && !parsed.is_refused() {
        parsed.problems.push(open_to_strangers(&sources[0].path));
    }
    parsed
}

/// Understands what a store has: a text that is no document is one error.
pub fn understand_text(text: &str, means: &Means<'_>) -> Parsed {
    match Document::read(text) {
        Ok(document) => understand(&document, means),
        Err(malformed) => {
            let message = format!("what the store has is no configuration: {malformed}");
            Parsed { problems: vec![error("", "", message)], ..Parsed::default() }
        }
    }
}

/// Returns what to begin with: the newest version of the store where it can be served, else `otherwise`, and what is wrong
/// with the newest.
pub fn begin(
    newest: Option<&Revision>,
    means: &Means<'_>,
    otherwise: Config,
) -> (Config, InStore, Vec<Problem>) {
    let mut known = InStore { strangers: means.strangers, ..InStore::default() };
    let Some(Revision { stamp, text }) = newest else { return (otherwise, known, Vec::new()) };
    let parsed = understand_text(text, means);
    if parsed.is_refused() {
        known.refuse(stamp, super::answer::in_short(&parsed.problems));
        return (otherwise, known, parsed.problems);
    }
    known.took(stamp);
    (parsed.config, known, parsed.problems)
}

fn open_to_strangers(file: &str) -> Problem {
    let message =
        "others than this gateway's machine can reach it, and the configuration lets in whoever comes";
    let hint = "set `auth.required: true`, and make keys with `portcullis keys create --url URL`";
    Problem { hint: Some(hint.to_owned()), ..error(file, "auth.required", message.to_owned()) }
}

fn error(file: &str, field: &str, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        line: 1,
        column: 1,
        field: field.to_owned(),
        message,
        hint: None,
        server: None,
    }
}

/// What a write comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    /// The same is in force already.
    Unchanged(Stamp),
    /// The condition does not hold: this version is the newest, or none where it is 0.
    Conflict(u64),
    /// This is to be stored.
    Store(Revision),
}

/// Decides what a write comes to. What is in force already is not written again, whatever the condition: so an answer that
/// was lost on its way can be asked for again.
pub(crate) fn write(
    newest: Option<&Stamp>,
    condition: Condition,
    text: String,
    by: (&str, String, u64),
) -> Write {
    let digest = digest(&text);
    if let Some(newest) = newest.filter(|newest| newest.digest == digest) {
        return Write::Unchanged(newest.clone());
    }
    let version = newest.map_or(0, |newest| newest.version);
    if !condition.holds(version) {
        return Write::Conflict(version);
    }
    let (by, note, at) = by;
    Write::Store(Revision {
        stamp: Stamp { version: version + 1, at, by: by.to_owned(), note, digest },
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means<'a>(processes: Processes, strangers: Strangers) -> Means<'a> {
        Means { env: &|_| None, processes, strangers }
    }

    fn problems(text: &str, means: &Means<'_>) -> String {
        understand_text(text, means).problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
    }

    fn stamp(version: u64, text: &str) -> Stamp {
        Stamp { version, at: 1, by: "somebody".into(), note: String::new(), digest: digest(text) }
    }

    fn revision(version: u64, text: &str) -> Revision {
        Revision { stamp: stamp(version, text), text: text.to_owned() }
    }

    #[test]
    fn what_a_host_cannot_do_is_said_where_it_stands() {
        let local = "version: 1\nservers:\n  time: { command: [uvx, time] }\n  web: { url: https://a.example }\n  off: { command: x, enabled: false }\n";
        let cannot = means(Processes::NeverStarted, Strangers::Admitted);
        insta::assert_snapshot!(problems(local, &cannot), @"
    portcullis.yaml:3:21: error: servers.time.command[0]: this gateway's host starts no programs, so that a server cannot be a `command` here
      hint: run it with Portcullis on a machine of yours (`portcullis serve`), and put that gateway's URL here: `url: https://GATEWAY/mcp/servers/NAME`, with a key of its own in `headers`
    ");
        insta::assert_snapshot!(problems(local, &means(Processes::Started, Strangers::Admitted)), @"");
        let parsed = understand_text(local, &cannot);
        assert!(!parsed.is_refused() && parsed.config.broken.contains_key("time"));
        let foreign = r#"{"files":{"mcp.json":"{\"mcpServers\":{\"time\":{\"command\":\"uvx\"}}}"}}"#;
        insta::assert_snapshot!(problems(foreign, &cannot), @"
    mcp.json:1:34: error: mcpServers.time.command: this gateway's host starts no programs, so that a server cannot be a `command` here
      hint: run it with Portcullis on a machine of yours (`portcullis serve`), and put that gateway's URL here: `url: https://GATEWAY/mcp/servers/NAME`, with a key of its own in `headers`
    ");
    }

    #[test]
    fn strangers_are_kept_out_where_they_could_come() {
        let out = means(Processes::Started, Strangers::KeptOut);
        insta::assert_snapshot!(problems("version: 1", &out), @"
    portcullis.yaml:1:1: error: auth.required: others than this gateway's machine can reach it, and the configuration lets in whoever comes
      hint: set `auth.required: true`, and make keys with `portcullis keys create --url URL`
    ");
        insta::assert_snapshot!(problems("version: 1\nauth: { required: true }", &out), @"");
        assert!(understand_text("version: 1", &out).is_refused());
    }

    #[test]
    fn a_write_builds_on_what_is_in_force() {
        let newest = stamp(3, "a");
        let check = |newest: Option<&Stamp>, condition, text: &str| match write(
            newest,
            condition,
            text.to_owned(),
            ("ana", "why".to_owned(), 7),
        ) {
            Write::Unchanged(stamp) => format!("unchanged {}", stamp.version),
            Write::Conflict(version) => format!("conflict {version}"),
            Write::Store(next) => format!(
                "{} {} {} {} {}",
                next.stamp.version, next.stamp.by, next.stamp.note, next.stamp.at, next.text
            ),
        };
        assert_eq!(check(Some(&newest), Condition::Version(3), "b"), "4 ana why 7 b");
        assert_eq!(check(Some(&newest), Condition::Any, "b"), "4 ana why 7 b");
        assert_eq!(check(Some(&newest), Condition::Version(2), "b"), "conflict 3");
        assert_eq!(check(Some(&newest), Condition::Version(0), "b"), "conflict 3");
        assert_eq!(check(Some(&newest), Condition::Version(2), "a"), "unchanged 3");
        assert_eq!(check(None, Condition::Version(0), "a"), "1 ana why 7 a");
        assert_eq!(check(None, Condition::Version(1), "a"), "conflict 0");
    }

    #[test]
    fn what_cannot_be_served_is_not_begun_with() {
        let any = means(Processes::Started, Strangers::Admitted);
        let check = |newest: Option<Revision>| {
            let (config, known, problems) = begin(newest.as_ref(), &any, Config::default());
            (
                config.servers.len(),
                known.version,
                known.refused.map(|refused| refused.version),
                problems.len(),
            )
        };
        assert_eq!(check(None), (0, 0, None, 0));
        assert_eq!(
            check(Some(revision(4, "version: 1\nservers: { a: { url: https://a.example } }"))),
            (1, 4, None, 0)
        );
        assert_eq!(check(Some(revision(4, "version: 2"))), (0, 0, Some(4), 1));
        assert_eq!(check(Some(revision(4, r#"{"files":{}}"#))), (0, 0, Some(4), 1));
    }

    #[test]
    fn only_what_is_new_is_looked_at() {
        let mut known = InStore::default();
        assert!(!known.knows(&stamp(2, "a")));
        known.took(&stamp(2, "a"));
        assert!(known.knows(&stamp(2, "a")) && known.knows(&stamp(1, "b")), "an old copy counts for nothing");
        assert!(!known.knows(&stamp(2, "b")), "somebody has put another text in its place");
        known.refuse(&stamp(3, "c"), "is bad".into());
        assert!(known.knows(&stamp(3, "c")) && known.knows(&stamp(2, "a")));
        assert!(!known.knows(&stamp(3, "d")) && !known.knows(&stamp(4, "c")));
    }
}
