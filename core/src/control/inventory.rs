//! Servers, groups, variants and agents as those who govern see them: what is configured, where that stands, and how it is.
//!
//! **To a member it is told what their agents have, and nothing of how that is arranged**: no settings, no rules.

use serde_json::{Value, json};

use super::operations::Reach;
use super::settings::shown;
use crate::config::{self, Agent, Group, ItemKind, Match, Origin, Rule, Transport, Variant, Written};
use crate::explain::{Considered, Explanation, Found, Side, Verdict};
use crate::gateway::Readiness;
use crate::upstream::Server;
use crate::upstream::circuit::Opened;

/// Says where something stands; nothing where it stands nowhere.
fn place(origin: Option<&Origin>) -> Value {
    match origin.filter(|origin| !origin.file.is_empty()) {
        Some(origin) => json!({ "file": &*origin.file, "line": origin.line, "field": origin.field }),
        None => Value::Null,
    }
}

/// What is known of a server.
pub(crate) struct Known<'k> {
    pub(crate) name: &'k str,
    /// What the configuration in force says of it.
    pub(crate) config: Option<&'k config::Server>,
    pub(crate) server: Option<&'k Server>,
    pub(crate) readiness: Option<&'k Readiness>,
    /// How it is written.
    pub(crate) written: Option<&'k Written>,
}

impl Known<'_> {
    /// Describes the server.
    pub(crate) fn described(&self, reach: Reach) -> Value {
        let mut said = json!({
            "name": self.name,
            "kind": self.kind(),
            "status": "off",
            "tools": 0,
            "prompts": 0,
            "resources": 0,
            "sign_in": self.sign_in(),
        });
        if let Some(readiness) = self.readiness {
            said["status"] = readiness.status.into();
            said["tools"] = readiness.tools.into();
            said["prompts"] = readiness.prompts.into();
            said["resources"] = readiness.resources.into();
            let told = [
                ("reason", readiness.reason.as_deref().map(Value::from)),
                ("revision", readiness.version.map(Value::from)),
                ("circuit", readiness.circuit.as_ref().map(circuit)),
            ];
            for (key, value) in told.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                said[key] = value;
            }
        } else {
            said["reason"] =
                "is not in force: it is disabled, or the version that has it is not the one in force".into();
        }
        if self.config.is_some_and(|config| config.consent().is_some()) {
            said["connect"] = format!("/connect/{}", self.name).into();
        }
        if reach == Reach::All {
            self.arranged(&mut said);
        }
        said
    }

    /// Adds how it is arranged.
    fn arranged(&self, said: &mut Value) {
        let settings = self.written.map(|written| shown(&written.settings));
        if let Some(url) = self.url(settings.as_ref()) {
            said["url"] = url.into();
        }
        if let Some(command) = settings.as_ref().and_then(command) {
            said["command"] = command.into();
        }
        let approval = self.server.map(super::approvals::summary);
        let approval = approval.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        said["approval"] = approval.filter(|approval| approval["state"] != "none").unwrap_or_default();
        said["origin"] = place(self.written.and_then(|written| written.origin.as_ref()));
        said["settings"] = settings.unwrap_or_default();
    }

    fn kind(&self) -> &'static str {
        match self.config.map(|config| (&config.transport, config.hosting())) {
            Some((Transport::Stdio(_), Some(_))) => "hosted",
            Some((Transport::Stdio(_), None)) => "stdio",
            Some((Transport::Http(_), _)) => "http",
            Some((Transport::Sse(_), _)) => "sse",
            None => "unknown",
        }
    }

    /// Returns the URL as it is written; of one that is not, no more than its origin: the rest may be a secret.
    fn url(&self, settings: Option<&Value>) -> Option<String> {
        let written = settings.and_then(|settings| settings["url"].as_str().map(str::to_owned));
        written.or_else(|| match &self.config?.transport {
            Transport::Stdio(_) => None,
            Transport::Http(endpoint) | Transport::Sse(endpoint) => {
                Some(endpoint.url.origin().ascii_serialization())
            }
        })
    }

    /// Says who signs in there.
    fn sign_in(&self) -> &'static str {
        let Some(config) = self.config else { return "none" };
        if config.is_per_user() && (config.consent().is_some() || config.is_on_behalf()) {
            return "user";
        }
        match &config.transport {
            _ if config.consent().is_some() => "oauth",
            Transport::Http(endpoint) | Transport::Sse(endpoint) if endpoint.sign_on.is_some() => "oauth",
            Transport::Http(endpoint) | Transport::Sse(endpoint)
                if !endpoint.headers.is_empty() || !endpoint.secret_headers.is_empty() =>
            {
                "header"
            }
            _ => "none",
        }
    }
}

/// Describes an open circuit.
pub(crate) fn circuit(opened: &Opened) -> Value {
    json!({ "reason": opened.reason, "open_ms": opened.open_for, "retry_ms": opened.retry_in })
}

fn command(settings: &Value) -> Option<Vec<Value>> {
    let program = match &settings["command"] {
        Value::String(program) => vec![program.as_str().into()],
        Value::Array(line) => line.clone(),
        _ => return None,
    };
    let args = settings["args"].as_array().cloned().unwrap_or_default();
    Some([program, args].concat())
}

/// Describes an agent.
pub(crate) fn agent(
    of: Option<&Agent>,
    name: &str,
    written: Option<&Written>,
    servers: &[&str],
    reach: Reach,
) -> Value {
    let mut said =
        json!({ "name": name, "default": name.eq_ignore_ascii_case("default"), "servers": servers });
    if reach == Reach::Own {
        return said;
    }
    let rules = |rules: &[Rule]| rules.iter().map(rule).collect::<Value>();
    said["match"] = of.map(|of| of.matches.iter().map(way).collect()).unwrap_or_default();
    said["allow"] = rules(of.map_or(&[], |of| &of.allow));
    said["deny"] = rules(of.map_or(&[], |of| &of.deny));
    if let Some(when) = of.and_then(|of| of.when.as_ref()) {
        said["when"] = when.text().into();
    }
    let limits = of.map(|of| of.limits.to_string()).filter(|limits| !limits.is_empty());
    if let Some(limits) = limits {
        said["limits"] = limits.into();
    }
    let origin = written.and_then(|written| written.origin.as_ref()).or(of.map(|of| &of.origin));
    said["origin"] = place(origin);
    said["settings"] = written.map(|written| shown(&written.settings)).unwrap_or_default();
    said
}

fn rule(rule: &Rule) -> Value {
    let mut said = json!({ "rule": rule.text, "origin": place(Some(&rule.origin)) });
    if let Some(when) = &rule.when {
        said["when"] = when.text().into();
    }
    said
}

fn way(way: &Match) -> Value {
    match way {
        Match::ApiKey(agent) => json!({ "api_key": agent }),
        Match::Claim(name, value) => json!({ "claim": { name.as_str(): value } }),
        Match::Tag(tag) => json!({ "tag": tag }),
        Match::Client(client) => json!({ "client": client }),
    }
}

/// Describes a group.
pub(crate) fn group(of: Option<&Group>, name: &str, written: Option<&Written>) -> Value {
    let members = of.map(|of| of.members.iter().map(ToString::to_string).collect::<Vec<_>>());
    let origin = written.and_then(|written| written.origin.as_ref()).or(of.map(|of| &of.origin));
    json!({
        "name": name,
        "description": of.and_then(|of| of.description.as_deref()),
        "members": members.unwrap_or_default(),
        "origin": place(origin),
        "settings": written.map(|written| shown(&written.settings)),
    })
}

/// Describes a variant, which is called `SERVER/NAME`.
pub(crate) fn variant(of: Option<&Variant>, name: &str, written: Option<&Written>) -> Value {
    let origin = written.and_then(|written| written.origin.as_ref()).or(of.map(|of| &of.origin));
    json!({
        "name": name,
        "kind": of.map(|of| kind(of.kind)),
        "from": of.map(|of| &of.from),
        "replaces": of.is_some_and(|of| of.replaces),
        "origin": place(origin),
        "settings": written.map(|written| shown(&written.settings)),
    })
}

fn kind(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Tool => "tool",
        ItemKind::Prompt => "prompt",
        ItemKind::Resource => "resource",
    }
}

/// Says what the policy comes to. To a member, what they may not see is not there.
pub(crate) fn explained(explained: &Explanation, name: &str, reach: Reach) -> Value {
    let found = explained.found.as_ref();
    let found = found.filter(|found| reach == Reach::All || found.judgement.verdict != Verdict::Denied);
    let verdict = found.map(|found| found.judgement.verdict);
    let mut said = json!({
        "agent": explained.agent,
        "name": found.map_or(name, |found| &found.exposed),
        "allowed": verdict.is_some_and(|verdict| verdict != Verdict::Denied),
        "depends": verdict == Some(Verdict::Depends),
        "found": found.is_some(),
        "rule": Value::Null,
        "origin": Value::Null,
        "why": "nothing has this name",
        "considered": [],
        "near": [],
        "silent": [],
    });
    if reach == Reach::Own {
        if found.is_some() {
            said["why"] = "the policy allows it".into();
        }
        return said;
    }
    said["near"] =
        explained.near.iter().map(|near| json!({ "name": near.name, "seen": near.is_seen })).collect();
    let silent = explained.silent.iter();
    said["silent"] = silent.map(|(server, why)| json!({ "server": server, "reason": why })).collect();
    match (found, &explained.gone) {
        (Some(found), _) => add_found(&mut said, found),
        (None, Some(gone)) => said["why"] = gone.as_str().into(),
        (None, None) => {}
    }
    said
}

fn add_found(said: &mut Value, found: &Found) {
    let judgement = &found.judgement;
    said["rule"] = judgement.rule.as_deref().into();
    said["origin"] = place(Some(&judgement.origin));
    said["why"] = judgement.by.as_str().into();
    said["server"] = found.server.as_str().into();
    said["upstream_name"] = found.upstream.as_str().into();
    said["considered"] = judgement.considered.iter().map(considered).collect();
    if let Some(variant) = &found.variant {
        said["variant_of"] = variant.from.as_str().into();
    }
    if let Some(unfit) = &found.unfit {
        said["unfit"] = unfit.as_str().into();
    }
    let limits = found.limits.iter();
    said["limits"] = limits
        .map(|of| json!({ "what": of.what, "limits": of.limits, "origin": place(Some(&of.origin)) }))
        .collect();
}

fn considered(of: &Considered) -> Value {
    json!({
        "side": match of.side { Side::Deny => "deny", Side::Allow => "allow", Side::Agent => "agent" },
        "rule": of.text,
        "when": of.when,
        "holds": match of.truth {
            crate::acl::Truth::Holds => Some(true),
            crate::acl::Truth::Fails => Some(false),
            crate::acl::Truth::Depends | crate::acl::Truth::Undecided => None,
        },
        "origin": place(Some(&of.origin)),
    })
}
