//! A recorded call: what its line in the audit trail tells of it, and what it does not.
//!
//! **Arguments are known only where they are certain**: what was taken out of them, or cut off, is not supposed.

use std::borrow::Cow;

use super::Unknown;
use crate::audit::{self, REDACTED, auth_named, parse_time};
use crate::config::ItemKind;
use crate::identity::{AuthKind, Traces};
use crate::wire::json::Json;

/// The methods that are calls, and what each asks for.
const METHODS: [(&str, ItemKind); 3] = [
    ("tools/call", ItemKind::Tool),
    ("prompts/get", ItemKind::Prompt),
    ("resources/read", ItemKind::Resource),
];
/// A recorded name may have been cut that is so long, in bytes.
const WHOLE: usize = (1 << 10) - 8;

/// A recorded call.
pub(super) struct Call<'l> {
    /// When it was over, in milliseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) agent: Cow<'l, str>,
    principal: Option<Cow<'l, str>>,
    auth: AuthKind,
    client: Option<Cow<'l, str>>,
    pub(super) kind: ItemKind,
    /// What it asked for, as agents know it.
    pub(super) name: Cow<'l, str>,
    /// The server that it led to.
    pub(super) server: Option<Cow<'l, str>>,
    /// What that server knows it by.
    pub(super) upstream: Option<Cow<'l, str>>,
    pub(super) fate: Fate,
    pub(super) arguments: Given<'l>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was let through.
    LetThrough,
    /// The policy did not permit it.
    Forbidden,
    /// It was refused for something else.
    Refused,
}

/// What is known of a call's arguments.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'l> {
    /// These, or that there were none.
    Known(Option<Json<'l>>),
    /// There were some; why they are not known.
    Hidden(Unknown),
}

impl<'l> Call<'l> {
    /// Tells by its bytes alone whether a line may be a call's.
    pub(super) fn may_be(line: &str) -> bool {
        METHODS.iter().any(|(method, _)| line.contains(method))
    }

    /// Reads a line; nothing where it is no call of an agent that can be made again.
    pub(super) fn read(line: &'l str) -> Option<Self> {
        let json = Json::check(line.as_bytes()).ok().filter(|json| json.is_object())?;
        let text = |key: &str| json.get(key).and_then(Json::as_str);
        let method = text("method")?;
        let (_, kind) = METHODS.iter().find(|(known, _)| *known == method)?;
        let auth = auth_named(&text("auth")?)?;
        let name = text("name").filter(|name| name.len() < WHOLE && !name.contains(REDACTED))?;
        if matches!(auth, AuthKind::Admin | AuthKind::Session | AuthKind::Directory) {
            return None;
        }
        let fate = match &*text("decision")? {
            "denied" if text("rule").is_some_and(|rule| is_denial(&rule)) => Fate::Forbidden,
            "denied" => Fate::Refused,
            _ => Fate::LetThrough,
        };
        Some(Self {
            time: parse_time(&text("time")?)?,
            agent: text("agent")?,
            principal: text("principal"),
            auth,
            client: text("client"),
            kind: *kind,
            name,
            server: text("server"),
            upstream: text("upstream_name").filter(|name| name.len() < WHOLE && !name.contains(REDACTED)),
            fate,
            arguments: given(json),
        })
    }

    /// Returns what it tells of who made it.
    pub(super) fn traces(&self) -> Traces<'_> {
        Traces {
            agent: &self.agent,
            principal: self.principal.as_deref(),
            auth: self.auth,
            client: self.client.as_deref(),
        }
    }

    /// Returns what tells it from calls that are not certain to come to the same whatever their arguments.
    pub(super) fn key(&self) -> String {
        let part = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
        let kinds = format!("{:?} {:?} {:?}", self.auth, self.kind, self.fate);
        let (principal, client) = (part(&self.principal), part(&self.client));
        let (server, upstream) = (part(&self.server), part(&self.upstream));
        [&kinds, &*self.agent, &principal, &client, &*self.name, &server, &upstream].join("\u{0}")
    }
}

/// Tells whether what an entry has as its rule is one that denied.
fn is_denial(rule: &str) -> bool {
    ["denied by ", "the condition of ", "no rule of "].iter().any(|begins| rule.starts_with(begins))
}

fn given(line: Json<'_>) -> Given<'_> {
    let digest = line.get("args_digest").and_then(Json::as_str);
    let (written, digest) = match (line.get("args"), digest) {
        (Some(written), digest) => (written, digest),
        (None, Some(_)) => return Given::Hidden(Unknown::Arguments),
        (None, None) => return Given::Known(None),
    };
    let is_as_sent = || digest.is_some_and(|digest| audit::digest(written.text().as_bytes()) == *digest);
    // Written anew it is the same value, but for what was taken out, and for halves of characters.
    let is_whole =
        || written.is_object() && !written.text().contains(REDACTED) && !written.text().contains("\\\\u");
    match (is_whole() || is_as_sent(), written.is_object()) {
        (true, _) => Given::Known(Some(written)),
        (false, true) => Given::Hidden(Unknown::Redacted),
        (false, false) => Given::Hidden(Unknown::Arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Arguments, Decision, Entry, FIRST, Redactor, Writing};

    fn check(arguments: Option<&'static str>, recorded: bool) -> String {
        let arguments = arguments.map_or(Arguments::None, |text| Arguments::Text(text.into()));
        let entry = Entry {
            time: 1_785_196_800_123,
            agent: Some("a".into()),
            method: "tools/call",
            name: Some("git__get".into()),
            arguments,
            ..Entry::default()
        };
        let line = entry.line(1, FIRST, &Writing { redactor: Redactor::default(), arguments: recorded });
        assert!(Call::may_be(&line));
        match Call::read(&line).expect("a call").arguments {
            Given::Known(json) => format!("{:?}", json.map(Json::text)),
            Given::Hidden(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn arguments_are_known_where_they_are_certain() {
        assert_eq!(check(None, false), "None");
        assert_eq!(check(Some(r#"{"a":1}"#), false), "Arguments");
        assert_eq!(check(Some(r#"{ "a" : 1.0 }"#), true), r#"Some("{\"a\":1.0}")"#);
        assert_eq!(check(Some(r#"{"password":"x"}"#), true), "Redacted");
        assert_eq!(check(Some(r#"{"a":"\ud800"}"#), true), "Redacted");
        assert_eq!(check(Some("[1]"), true), r#"Some("[1]")"#);
        let long: &'static str = format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000)).leak();
        assert_eq!(check(Some(long), true), "Arguments");
    }

    #[test]
    fn what_is_no_call_is_left_out() {
        let line = |entry: Entry| {
            let entry = Entry { agent: Some("a".into()), time: 1, ..entry };
            entry.line(1, FIRST, &Writing::default())
        };
        let call = || Entry { method: "tools/call", name: Some("a".into()), ..Entry::default() };
        let check = |entry: Entry| Call::read(&line(entry)).map(|call| call.fate);
        assert_eq!(check(call()), Some(Fate::LetThrough));
        assert_eq!(check(Entry { decision: Decision::Failed, ..call() }), Some(Fate::LetThrough));
        let denied = |rule: &str| Entry { decision: Decision::Denied, rule: Some(rule.into()), ..call() };
        assert_eq!(check(denied("denied by `a` (p.yaml:1: b)")), Some(Fate::Forbidden));
        assert_eq!(check(denied("`a` (p.yaml:1: b)")), Some(Fate::Refused));
        assert_eq!(check(Entry { method: "tools/list", ..call() }), None);
        assert_eq!(check(Entry { auth: AuthKind::Admin, ..call() }), None);
        assert_eq!(check(Entry { name: Some("x".repeat(1 << 10).into()), ..call() }), None);
        assert_eq!(check(Entry { name: Some("password=hunter2hunter2".into()), ..call() }), None);
        assert!(Call::read("nonsense tools/call").is_none());
    }
}
