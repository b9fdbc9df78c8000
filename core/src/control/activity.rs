//! What went through the gateway, told from the lines of the audit trail: per server and agent, per identity, per second.
//!
//! **Only what is recorded is counted, so the data path pays nothing for it.** A call is one of a tool or a prompt, or the reading
//! of a resource. One that the gateway refused is no call of a server, and counted apart.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::audit::{parse_time, time_text};
use crate::wire::json::Json;

/// The methods that are calls.
const CALLS: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];
/// How many identities are told apart at most.
const IDENTITIES: usize = 10_000;

/// What a line says of a request.
struct Seen {
    /// In milliseconds since the Unix epoch.
    time: u64,
    agent: String,
    server: String,
    principal: String,
    auth: String,
    is_call: bool,
    is_denied: bool,
    is_error: bool,
    /// In milliseconds.
    duration: f64,
}

impl Seen {
    /// Reads a line; nothing where it is none.
    fn read(line: &str) -> Option<Self> {
        let json = Json::check(line.as_bytes()).ok().filter(|json| json.is_object())?;
        let text = |key: &str| {
            json.get(key).and_then(Json::as_str).map_or(String::new(), std::borrow::Cow::into_owned)
        };
        let is_there = |key: &str| json.get(key).is_some_and(|value| !value.is_null());
        let decision = text("decision");
        let is_tool_error = json.get("is_error").is_some_and(|value| value.text() == "true");
        let duration = json.get("duration_ms").and_then(|value| value.text().parse().ok());
        Some(Self {
            time: parse_time(&text("time"))?,
            agent: text("agent"),
            server: text("server"),
            principal: text("principal"),
            auth: text("auth"),
            is_call: CALLS.contains(&&*text("method")),
            is_denied: decision == "denied",
            is_error: decision == "failed" || is_tool_error || is_there("error"),
            duration: duration.filter(|duration: &f64| duration.is_finite()).unwrap_or_default(),
        })
    }

    /// Reads the line of a call.
    fn call(line: &str) -> Option<Self> {
        let may_be = CALLS.iter().any(|method| line.contains(method));
        may_be.then(|| Self::read(line))?.filter(|seen| seen.is_call)
    }
}

/// What was counted of one server or one agent.
#[derive(Debug, Default)]
struct Count {
    errors: u64,
    denied: u64,
    /// How long each call took, in milliseconds.
    durations: Vec<f64>,
}

impl Count {
    fn take(&mut self, seen: &Seen) {
        if seen.is_denied {
            self.denied += 1;
        } else {
            self.errors += u64::from(seen.is_error);
            self.durations.push(seen.duration);
        }
    }

    fn described(mut self, name: &str) -> Value {
        self.durations.sort_unstable_by(f64::total_cmp);
        json!({
            "name": name,
            "calls": self.durations.len(),
            "errors": self.errors,
            "denied": self.denied,
            "p50_ms": rank(&self.durations, 50),
            "p95_ms": rank(&self.durations, 95),
        })
    }
}

/// Returns the smallest of some sorted values that so many percent of them do not exceed.
fn rank(sorted: &[f64], percent: usize) -> Option<f64> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

/// What servers and agents did in some time.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    servers: BTreeMap<String, Count>,
    agents: BTreeMap<String, Count>,
    /// Of the gateways that are governed from here.
    gateways: BTreeMap<String, Count>,
}

impl Statistics {
    /// Takes a line of the trail, which is this gateway's own where no other is named.
    pub(crate) fn take(&mut self, line: &str, gateway: Option<&str>) {
        let Some(seen) = Seen::call(line) else { return };
        if let Some(name) = gateway {
            self.gateways.entry(name.to_owned()).or_default().take(&seen);
        }
        for (counts, name) in [(&mut self.servers, &seen.server), (&mut self.agents, &seen.agent)] {
            // What was refused because it is not there leads to no server.
            if !name.is_empty() {
                counts.entry(name.clone()).or_default().take(&seen);
            }
        }
    }

    /// Describes them; everything since that moment was counted.
    pub(crate) fn described(self, since: u64) -> Value {
        let all = |counts: BTreeMap<String, Count>| {
            counts.into_iter().map(|(name, count)| count.described(&name)).collect::<Vec<_>>()
        };
        json!({
            "since": time_text(since),
            "servers": all(self.servers),
            "agents": all(self.agents),
            "gateways": all(self.gateways),
        })
    }
}

/// What went from agents to servers since the last look.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    edges: BTreeMap<(String, String), (u64, u64, u64, f64)>,
}

impl Traffic {
    /// Takes a line of the trail.
    pub(crate) fn take(&mut self, line: &str) {
        let Some(seen) = Seen::call(line) else { return };
        let (calls, errors, denied, ms) = self.edges.entry((seen.agent, seen.server)).or_default();
        if seen.is_denied {
            *denied += 1;
        } else {
            *calls += 1;
            *errors += u64::from(seen.is_error);
            *ms += seen.duration;
        }
    }

    /// Describes it, as it was at that moment; nothing where nothing happened.
    pub(crate) fn described(&self, at: u64) -> Option<Value> {
        let edge = |((agent, server), (calls, errors, denied, ms)): (
            &(String, String),
            &(u64, u64, u64, f64),
        )| {
            json!({
                "agent": agent, "server": server, "calls": calls, "errors": errors, "denied": denied, "ms_sum": ms,
            })
        };
        let edges: Vec<_> = self.edges.iter().map(edge).collect();
        (!edges.is_empty()).then(|| json!({ "at": time_text(at), "edges": edges }))
    }
}

/// Who was there in some time.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// By principal, how it was proved, and agent: when it was last seen, and how many calls it made.
    all: BTreeMap<[String; 3], (u64, u64)>,
    /// Since when all are told apart, where that is later than what was asked for.
    full: Option<u64>,
}

impl Identities {
    /// Takes a line of the trail; lines come from the newest on.
    pub(crate) fn take(&mut self, line: &str) {
        let Some(seen) = Seen::read(line) else { return };
        if self.full.is_some() || (seen.principal.is_empty() && seen.agent.is_empty()) {
            return;
        }
        let key = [seen.principal, seen.agent, seen.auth];
        if self.all.len() == IDENTITIES && !self.all.contains_key(&key) {
            self.full = Some(seen.time + 1);
            return;
        }
        let (last, calls) = self.all.entry(key).or_default();
        *last = seen.time.max(*last);
        *calls += u64::from(seen.is_call && !seen.is_denied);
    }

    /// Describes them, each with what it is ordered by, and since when all are there.
    pub(crate) fn described(self, since: u64) -> (Vec<(String, Value)>, String) {
        let described = |([principal, agent, auth], (last, calls)): ([String; 3], (u64, u64))| {
            let text = |text: &String| if text.is_empty() { Value::Null } else { text.as_str().into() };
            let item = json!({
                "principal": text(&principal),
                "agent": text(&agent),
                "auth": auth,
                "last_seen": time_text(last),
                "calls": calls,
            });
            (format!("{principal}\n{agent}\n{auth}"), item)
        };
        let since = self.full.map_or(since, |full| full.max(since));
        (self.all.into_iter().map(described).collect(), time_text(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        format!("{{\"time\":\"2026-07-28T00:00:00.000Z\",{}}}", text.replace('\'', "\""))
    }

    fn lines() -> Vec<String> {
        let call = |rest: &str| {
            line(&format!("'agent':'ana','principal':'key:1','auth':'api_key','method':'tools/call',{rest}"))
        };
        let mut all: Vec<_> = (1..=20)
            .map(|ms| {
                call(&format!("'server':'git','decision':'allowed','is_error':false,'duration_ms':{ms}.5"))
            })
            .collect();
        all.push(call("'server':'git','decision':'allowed','is_error':true,'duration_ms':100"));
        all.push(call("'server':'git','decision':'failed','error':'is down','duration_ms':200"));
        all.push(call("'decision':'denied','rule':'no rule of ana','duration_ms':0.1"));
        all.push(line(
            "'agent':'bob','auth':'anonymous','method':'tools/list','decision':'allowed','duration_ms':1",
        ));
        all.push(line("'method':'definition','server':'git','decision':'denied'"));
        all.push("no entry of a tools/call".into());
        all
    }

    #[test]
    fn calls_are_counted_and_timed() {
        let mut statistics = Statistics::default();
        for line in lines() {
            statistics.take(&line, Some("eu-1"));
        }
        let of = |name: &str, denied: u64| {
            let (p50, p95) = (11.5, 100.0);
            json!({ "name": name, "calls": 22, "errors": 2, "denied": denied, "p50_ms": p50, "p95_ms": p95 })
        };
        let since = "1970-01-01T00:00:00.000Z";
        let (servers, agents, gateways) = ([of("git", 0)], [of("ana", 1)], [of("eu-1", 1)]);
        let expected = json!({ "since": since, "servers": servers, "agents": agents, "gateways": gateways });
        assert_eq!(statistics.described(0), expected);
    }

    #[test]
    fn traffic_is_told_where_there_is_some() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.described(0), None);
        for line in lines() {
            traffic.take(&line);
        }
        let edge = |server: &str, (calls, errors, denied): (u64, u64, u64), ms: f64| {
            json!({
                "agent": "ana", "server": server, "calls": calls, "errors": errors, "denied": denied, "ms_sum": ms,
            })
        };
        let edges = [edge("", (0, 0, 1), 0.0), edge("git", (22, 2, 0), 520.0)];
        let expected = json!({ "at": "1970-01-01T00:00:01.000Z", "edges": edges });
        assert_eq!(traffic.described(1000), Some(expected));
    }

    #[test]
    fn whoever_was_there_is_told() {
        let mut identities = Identities::default();
        for line in lines() {
            identities.take(&line);
        }
        let (all, since) = identities.described(7);
        let all: Vec<_> = all.into_iter().map(|(_, item)| item).collect();
        let who = |principal: Value, agent: &str, auth: &str, calls: u64| {
            let seen = "2026-07-28T00:00:00.000Z";
            json!({ "principal": principal, "agent": agent, "auth": auth, "last_seen": seen, "calls": calls })
        };
        let expected = [who(Value::Null, "bob", "anonymous", 0), who("key:1".into(), "ana", "api_key", 22)];
        assert_eq!((all, &*since), (expected.to_vec(), "1970-01-01T00:00:00.007Z"));
    }

    #[test]
    fn too_many_to_tell_apart_shorten_the_time() {
        let mut identities = Identities::default();
        for number in 0..=IDENTITIES {
            identities.take(&line(&format!("'principal':'key:{number}','auth':'api_key'")));
        }
        let (all, since) = identities.described(7);
        assert_eq!((all.len(), &*since), (IDENTITIES, "2026-07-28T00:00:00.001Z"));
    }
}
