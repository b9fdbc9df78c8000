//! What the audit trail costs: what is noted of a call until its draft is there, and the line that is made of one.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::paths::{Path, call, plain};
use super::{TestTrail, anybody};
use crate::audit::{self, Arguments, Chain, Decision, Draft, Entry, Noted, Redactor, Writing};
use crate::front::Inbound;
use crate::observe::Record;
use crate::ports::{AuditSink, AuditState};
use crate::upstream::{Server, lock};
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;
use crate::wire::version::Version;

/// The two steps of an entry's way into the trail.
pub(super) fn paths(server: &Arc<Server>) -> Vec<(&'static str, Path)> {
    vec![("trail_draft", notes(server.clone())), ("trail_line", line())]
}

/// Makes drafts of entries, one after the other in the same memory.
#[derive(Default)]
struct Drafting {
    time: TestTrail,
    redactor: Redactor,
    text: Mutex<String>,
}

impl AuditSink for Drafting {
    fn ticks(&self) -> u64 {
        self.time.ticks()
    }

    fn now(&self) -> u64 {
        self.time.now()
    }

    fn record(&self, entry: Entry) {
        let mut text = lock(&self.text);
        text.clear();
        entry.draft(&mut text, &self.redactor);
    }

    fn is_failing(&self) -> bool {
        self.time.is_failing()
    }

    fn state(&self) -> AuditState {
        self.time.state()
    }
}

/// Notes all that is noted of a call, up to its draft.
fn notes(server: Arc<Server>) -> Path {
    let raw = Bytes::from(call(&plain(100)));
    let (trail, gateway, who) = (Arc::new(Drafting::default()), "gateway".into(), anybody());
    let (rule, name): (Arc<str>, Arc<str>) = ("agents.default".into(), "tool42".into());
    let sink: Arc<dyn AuditSink> = trail.clone();
    // Reading the message is part of the call.
    let text: &'static [u8] = raw.to_vec().leak();
    let outline = Outline::check(text).expect("JSON");
    let Ok(Message::Request { id, method, params }) = message::parse(outline) else { panic!("a request") };
    let inbound = Inbound::new(id, method, params);
    Box::new(move || {
        let arguments = inbound.params.get("arguments").map_or(Arguments::None, |a| audit::digested(a, &raw));
        let about = (&*inbound.method, &inbound.params, arguments);
        let noted = Noted::new(&sink, &gateway, (&who, None), about);
        let record = Record::asked((None, Some(noted)), (inbound.id.text(), &inbound.method), None, None);
        record.identified(&who);
        record.speaks(Version::MODERN);
        record.decided(Decision::Allowed, || rule.clone());
        record.concerns(&server, &inbound);
        record.leads_to(&name);
        let asking = record.asking(&server);
        asking.sent(Version::MODERN);
        asking.received();
        drop(asking);
        record.gave(200);
        record.answered(None, false);
        record.succeeded();
        drop(record);
        lock(&trail.text).len()
    })
}

/// Makes the line of a draft, and its hash.
fn line() -> Path {
    let entry = Entry {
        time: 1_785_240_000_123,
        gateway: "gateway".into(),
        agent: Some("default".into()),
        method: "tools/call",
        server: Some("server7".into()),
        name: Some("server7__tool42".into()),
        upstream_name: Some("tool42".into()),
        rule: Some("agents.default".into()),
        arguments: Arguments::digest_of(b"{}"),
        result_bytes: Some(200),
        request_id: Some("1".into()),
        ..Entry::default()
    };
    let mut text = String::new();
    let split = entry.draft(&mut text, &Redactor::default()).split;
    let state = Mutex::new((Chain::default(), String::new()));
    Box::new(move || {
        let mut held = lock(&state);
        let (chain, out) = &mut *held;
        out.clear();
        let (before, after) = text.split_at(split);
        let draft = Draft { time: entry.time, before, arguments: None, after };
        let writing = Writing::default();
        chain.append(out, |out, id, prev| draft.write(out, (id, prev), &writing));
        out.len()
    })
}
