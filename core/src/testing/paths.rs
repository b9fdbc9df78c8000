//! The paths that requests and answers take, each on its own, so that what it costs can be counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderValue;

use super::{anybody, caller_paths, policy_paths, server, trail_paths};
use crate::acl::{Arguments, CallerFacts, Condition, Facts};
use crate::catalog::{Kind, Offer, Room, Scope, View, look, read_page};
use crate::config::{Agent, Gateway};
use crate::front::terms::{Terms, Told};
use crate::front::{Caller, Inbound};
use crate::identity::Identity;
use crate::names::ServerName;
use crate::observe::Record;
use crate::pieces::Pieces;
use crate::plan::{Plan, plan};
use crate::relay::Splice;
use crate::session::Sealer;
use crate::shape;
use crate::sorted::SortedMap;
use crate::tasks::Tasks;
use crate::upstream::handshake::Introduction;
use crate::upstream::{Server, compose};
use crate::wire::json::Json;
use crate::wire::message::{self, Message};
use crate::wire::outline::Outline;
use crate::wire::version::{Era, Version};

/// How many servers there are, and how many tools each has.
const SERVERS: usize = 10;
const TOOLS: usize = 100;

/// Something that can be done again and again; it returns how many bytes came out.
pub type Path = Box<dyn Fn() -> usize>;

/// Returns every path by its name, prepared for a gateway with a thousand tools.
pub fn paths() -> Vec<(&'static str, Path)> {
    let servers = Arc::new((0..SERVERS).map(offering).collect::<SortedMap<_, _>>());
    let view = Arc::new(merge(&servers));
    let known = Arc::new((Sealer::new(&[7; 32], &[]), anybody()));
    let plans = |text: String| -> Path {
        let (view, known) = (view.clone(), known.clone());
        Box::new(move || planned(&view, &known, text.as_bytes()))
    };
    let escaped = r#"Three of these \"characters\" are escaped.\n"#.repeat(1_000_000 / 44);
    let policy = policy_paths::paths(&servers);
    let trail = trail_paths::paths(&offering(7).1);
    let mut all: Vec<(&'static str, Path)> = vec![
        ("merge", Box::new(move || merge(&servers).capabilities(Era::Modern, Told::Everything).len())),
        ("list", plans(request("tools/list", ""))),
        ("plan_100_b", plans(call(&plain(100)))),
        ("plan_10_kb", plans(call(&plain(10_000)))),
        ("plan_1_mb", plans(call(&plain(1_000_000)))),
        ("plan_1_mb_escaped", plans(call(&escaped))),
        ("relay_100_b", relays(&plain(100), 1 << 20)),
        ("relay_10_kb", relays(&plain(10_000), 1 << 20)),
        ("relay_1_mb", relays(&plain(1_000_000), 64 << 10)),
        ("relay_1_mb_escaped", relays(&escaped, 64 << 10)),
        ("condition", condition()),
        ("api_key", caller_paths::api_key()),
    ];
    all.extend(policy);
    all.extend(trail);
    all
}

/// Makes a server that is up and offers its tools.
fn offering(number: usize) -> (ServerName, Arc<Server>) {
    let name = ServerName::parse(&format!("server{number}")).expect("a name");
    let (made, _) = Server::new(name.clone(), server(&format!("http://{name}.test/mcp")), 1);
    let tools = (0..TOOLS).map(|tool| {
        format!(
            r#"{{"name":"tool{tool}","description":"Returns what it is given, at whatever length its caller likes, and says how long that was.","inputSchema":{{"type":"object","properties":{{"message":{{"type":"string","description":"The text."}},"limit":{{"type":"integer","minimum":1}}}},"required":["message"]}}}}"#
        )
    });
    let list = format!("{{\"tools\":[{}]}}", tools.collect::<Vec<_>>().join(","));
    let list = Json::check(list.as_bytes()).expect("JSON");
    let (items, _) =
        read_page(Kind::Tools, list, &mut BTreeSet::new(), &mut Room::endless()).expect("a list");
    let introduction = Introduction { capabilities: r#"{"tools":{}}"#.into(), ..Introduction::default() };
    let mut offer = Offer::new(Version::MODERN, introduction, 0);
    offer.set_items(Kind::Tools, items);
    made.offer.store(Some(Arc::new(offer)));
    made.listed.store(true, Ordering::Relaxed);
    (name, made)
}

fn merge(servers: &SortedMap<ServerName, Arc<Server>>) -> View {
    look(&Gateway::default(), servers, &Scope::All, Agent::allowing_everything())
}

pub(super) fn request(method: &str, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

pub(super) fn plain(size: usize) -> String {
    "x".repeat(size)
}

pub(super) fn call(text: &str) -> String {
    request("tools/call", &format!(r#""name":"server7__tool42","arguments":{{"message":"{text}"}},"#))
}

/// Reads a request, decides on it, and writes what the server gets or the agent is answered.
pub(super) fn planned(view: &View, (sealer, who): &(Sealer, Arc<Identity>), text: &[u8]) -> usize {
    let outline = Outline::check(text).expect("JSON");
    let Ok(Message::Request { id, method, params }) = message::parse(outline) else { panic!("a request") };
    let inbound = Inbound::new(id, method, params);
    let via = HeaderValue::from_static("gateway");
    let record = Record::default();
    let caller = Caller {
        scope: Scope::All,
        who: who.clone(),
        now: 0,
        session: None,
        via,
        streams: true,
        resumes: true,
        terms: Terms::default(),
        taken_up: None,
        record,
    };
    let servers = SortedMap::new();
    let tasks = Tasks::new(sealer, &servers, &caller);
    match plan(view, &tasks, &caller, &inbound, None).expect("a plan") {
        Plan::Ask(_, ask) => compose::message(&ask, Version::MODERN, 7).len(),
        Plan::Answer(result) => result.into_message(inbound.id.text()).len(),
        _ => panic!("neither a question nor an answer"),
    }
}

/// Passes on an answer with that text, which comes in chunks.
fn relays(text: &str, chunk: usize) -> Path {
    let answer = Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}}}"#
    ));
    Box::new(move || {
        let mut splice = Splice::new(shape::edits(7, Version::LEGACY, "\"a\"", Era::Modern, false));
        let mut passed = 0;
        for start in (0..answer.len()).step_by(chunk) {
            let mut out = Pieces::default();
            let chunk = answer.slice(start..answer.len().min(start + chunk));
            splice.push(&chunk, &mut out).expect("an answer");
            passed += out.into_vec().iter().map(Bytes::len).sum::<usize>();
        }
        splice.finish().expect("a whole answer");
        passed
    })
}

/// Evaluates a condition on an argument and the caller.
fn condition() -> Path {
    let text = r#"args.repo == "sandbox" && caller.client == "Cursor""#;
    let condition = Condition::parse(text).expect("a condition");
    Box::new(move || {
        let facts = Facts {
            arguments: Arguments::check(r#"{"repo":"sandbox","title":"A title","body":"Some text."}"#),
            caller: CallerFacts { agent: "intern", client: Some("Cursor"), ..CallerFacts::default() },
            now: 1_785_196_800_000,
        };
        usize::from(condition.holds(&facts).expect("an answer"))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_path_leads_somewhere() {
        let lengths: Vec<_> = super::paths().iter().map(|(name, path)| (*name, path() > 0)).collect();
        assert_eq!(lengths.len(), 18);
        assert!(lengths.iter().all(|(_, led)| *led), "{lengths:?}");
        let length = |wanted: &str| {
            let found = super::paths().into_iter().find(|(name, _)| *name == wanted);
            found.map(|(_, path)| path()).expect("a path")
        };
        assert!(length("plan_1_mb") > 1_000_000 && length("relay_1_mb") > 1_000_000);
        assert!(length("list") > 200_000, "a thousand tools");
        let (first, later) = (length("agent_list_first"), length("agent_list"));
        assert!(first > 50_000 && later > first && later < length("list"), "{first} {later}");
    }
}
