//! What a member reads of the trail: what is theirs, whatever they ask, and nothing that tells of the rest.

use http::{Method, Request};
use serde_json::Value;

use super::control::sorted;
use super::recorded::{Stage, lines};
use crate::audit::Entry;
use crate::body::{Body, Reply};
use crate::control::who::{Operator, Role};
use crate::identity::{AuthKind, KeyRecord};
use crate::ports::Host as _;
use crate::testing::key;

const ANN: &str = "user:corp:ann";
const BOB: &str = "user:corp:bob";

/// Calls by turns of Ann, of Bob, by a key of Ann's, by one that nobody owns, by one of Bob's, and of who proved nothing, all as
/// the same agent.
fn calls(count: u64) -> Vec<String> {
    let principal = |id: u64| match id % 6 {
        1 => Some(ANN.into()),
        2 => Some(BOB.into()),
        3 => Some(key(1).1.principal()),
        4 => Some(key(2).1.principal()),
        5 => Some(key(3).1.principal()),
        _ => None,
    };
    lines(count, |id| Entry {
        agent: Some("coder".into()),
        principal: principal(id),
        auth: AuthKind::Token,
        server: Some(if id % 2 == 0 { "even" } else { "odd" }.into()),
        name: Some(format!("tool-{id}").into()),
        ..Entry::default()
    })
}

fn staged(count: u64) -> Stage {
    let stage = Stage::of(Some(calls(count)));
    let keys = stage.host.keys().expect("it keeps keys");
    for (number, owner) in [(1, Some(ANN)), (2, None), (3, Some(BOB))] {
        let record = KeyRecord { owner: owner.map(Into::into), ..key(number).1 };
        stage.host.run(keys.add(record)).expect("it is kept");
    }
    stage
}

fn operator(principal: &str) -> Operator {
    let (name, session) = (None, None);
    Operator { principal: principal.into(), role: Role::Member, agents: vec!["coder".into()], name, session }
}

impl Stage {
    fn as_member(&self, who: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = Request::builder().method(Method::GET).uri(format!("/admin/v1/{path}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (head, ()) = request.body(()).expect("a request").into_parts();
        self.host.run(self.gateway.administer_for(&head, Body::default(), &operator(who)))
    }

    fn told(&self, who: &str, path: &str) -> (u16, String) {
        self.text(self.as_member(who, path, &[]))
    }

    fn json(&self, who: &str, path: &str) -> Value {
        let (status, text) = self.told(who, path);
        assert_eq!(status, 200, "{path}: {text}");
        sorted(serde_json::from_str(&text).expect("JSON"))
    }

    /// The tools that somebody is told of, page after page.
    fn tools(&self, who: &str, query: &str) -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.json(who, &format!("audit?{query}{cursor}"));
            let entries = page["entries"].as_array().expect("a list");
            all.extend(entries.iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()));
            let Some(next) = page["cursor"].as_str() else { return all };
            cursor = format!("&cursor={next}");
        }
    }
}

#[test]
fn a_member_reads_what_they_did_and_what_keys_of_theirs_did() {
    let stage = staged(12);
    assert_eq!(stage.tools(ANN, "order=oldest"), ["tool-1", "tool-3", "tool-7", "tool-9"]);
    assert_eq!(stage.tools(ANN, "limit=1"), ["tool-9", "tool-7", "tool-3", "tool-1"]);
    assert_eq!(stage.tools(BOB, "order=oldest&limit=3"), ["tool-2", "tool-5", "tool-8", "tool-11"]);
    assert!(stage.tools("user:corp:eve", "").is_empty());
    assert!(stage.tools("user:corp:an", "").is_empty() && stage.tools("", "").is_empty());
}

#[test]
fn no_parameter_widens_what_a_member_reads() {
    let stage = staged(12);
    let queries = [
        "agent=coder",
        "server=even",
        "tool=tool-2",
        "decision=denied",
        "method=tools/call",
        "since=2026-07-28",
        "until=2026-07-29",
        "agent=coder&agent=other",
    ];
    for query in queries {
        for (who, others) in [(ANN, ["tool-2", "tool-4", "tool-6"]), (BOB, ["tool-1", "tool-3", "tool-4"])] {
            let tools = stage.tools(who, query);
            assert!(!tools.iter().any(|tool| others.contains(&&**tool)), "{who} {query}: {tools:?}");
        }
    }
    for unknown in ["principal=user:corp:bob", "principals=", "owner=x", "whose=all", "role=admin"] {
        for path in ["audit", "audit/export", "statistics", "identities"] {
            assert_eq!(stage.told(ANN, &format!("{path}?{unknown}")).0, 400, "{path} {unknown}");
        }
    }
}

#[test]
fn an_export_is_of_what_is_theirs_and_no_chain_is_checked() {
    let stage = staged(3000);
    let (status, all) = stage.told(ANN, "audit/export");
    assert_eq!((status, all.lines().count()), (200, 1000));
    assert!(!all.contains(BOB) && !all.contains(&*key(2).1.principal()));
    let (_, own) = stage.told(ANN, "audit/export?agent=coder&since=2026-07-28T00:49:55Z");
    insta::assert_snapshot!(own.lines().next().unwrap(), @r#"{"time":"2026-07-28T00:49:55.000Z","gateway":"","agent":"coder","principal":"user:corp:ann","auth":"oauth","method":"tools/call","server":"odd","name":"tool-2995","decision":"allowed","duration_ms":0.000}"#);
    for query in ["", "?cursor=1", "?principals=x"] {
        assert_eq!(stage.told(ANN, &format!("audit/verify{query}")).0, 403);
    }
}

#[test]
fn neither_lines_nor_cursors_tell_how_much_others_do() {
    let (few, many) = (staged(12), staged(1200));
    let page = few.json(ANN, "audit?limit=1");
    let entry = page["entries"][0].as_object().expect("an entry");
    assert!(!entry.contains_key("id") && !entry.contains_key("prev"), "{entry:?}");
    let cursors = |stage: &Stage, who: &str| {
        let page = stage.json(who, "audit?limit=1");
        ["cursor", "follow"].map(|name| page[name].as_str().expect("a cursor").to_owned())
    };
    let [next, follow] = cursors(&few, ANN);
    let again = cursors(&few, ANN);
    assert!(again[0] != next && again[1] != follow, "what is the same does not look the same");
    let lengths = |all: [String; 2]| all.map(|cursor| cursor.len());
    assert_eq!(lengths(again), lengths(cursors(&many, ANN)));
    // Nobody goes on elsewhere than they were told to.
    for cursor in ["1", "11", &*cursors(&few, BOB)[0], &next[1..], &*format!("{next}A")] {
        for path in ["audit?limit=1&", "audit/export?"] {
            assert_eq!(few.told(ANN, &format!("{path}cursor={cursor}")).0, 400, "{path}{cursor}");
        }
    }
    let followed = few.json(ANN, &format!("audit?order=oldest&cursor={follow}"));
    assert_eq!(followed["entries"], Value::Array(Vec::new()));
}

/// Whether others use an agent or a server, and when, is told by nothing: neither by what is there of an answer, nor by its length.
#[test]
fn what_others_do_is_told_by_no_part_of_an_answer() {
    let (stage, none) = (staged(1200), Stage::of(Some(Vec::new())));
    let window = "since=2026-07-28T00:00:02Z&until=2026-07-28T00:00:03Z";
    for order in ["newest", "oldest"] {
        let shape = |stage: &Stage, filter: &str| {
            let (status, text) =
                stage.told("user:corp:eve", &format!("audit?order={order}&{window}{filter}"));
            (status, text.len())
        };
        let shapes = ["", "&agent=coder", "&agent=nobody", "&server=even", "&decision=denied"]
            .map(|filter| shape(&stage, filter));
        assert!(shapes.iter().all(|one| *one == shape(&none, "")), "{order}: {shapes:?}");
    }
}

#[test]
fn what_is_counted_is_what_is_theirs() {
    let stage = staged(12);
    insta::assert_snapshot!(stage.json(ANN, "statistics?since=2026-07-28"), @r#"{"agents":[{"calls":2,"denied":2,"errors":0,"name":"coder","p50_ms":0.0,"p95_ms":0.0}],"gateways":[],"servers":[{"calls":2,"denied":2,"errors":0,"name":"odd","p50_ms":0.0,"p95_ms":0.0}],"since":"2026-07-28T00:00:00.000Z"}"#);
    let identities = |who: &str| {
        let told = stage.json(who, "identities?since=2026-07-28");
        let items = told["items"].as_array().expect("a list").iter();
        items.map(|item| format!("{} {}", item["principal"], item["calls"])).collect::<Vec<_>>()
    };
    let of_key = format!("\"{}\" 2", key(3).1.principal());
    assert_eq!(identities(BOB), [of_key, format!("\"{BOB}\" 2")]);
    assert!(identities("user:corp:eve").is_empty());
}

#[test]
fn what_goes_through_is_told_to_whom_it_belongs() {
    let stage = staged(12);
    // From the beginning on, as they may be told it.
    let page = stage.json(ANN, "audit?order=oldest&limit=1");
    let first = page["follow"].as_str().expect("a place");
    let told = |who: &str, from: &str| {
        let (status, text) = stage.text(stage.as_member(who, "live", &[("last-event-id", from)]));
        assert_eq!(status, 200, "{text}");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| sorted(serde_json::from_str(data).expect("JSON"))["edges"].to_string())
            .collect::<Vec<_>>()
    };
    insta::assert_snapshot!(told(ANN, first).join("\n"), @r#"[{"agent":"coder","calls":1,"denied":2,"errors":0,"ms_sum":0.0,"server":"odd"}]"#);
    assert!(told(BOB, first).is_empty(), "it is no place of theirs: they are told what comes from now on");
    assert!(told(ANN, "1").is_empty() && told(ANN, "").is_empty());
}

#[test]
fn a_member_is_not_told_where_the_trail_lies() {
    let stage = Stage::of(Some(vec![String::new()]));
    let (status, text) = stage.told(ANN, "audit");
    assert!(status == 503 && !text.contains("the disk is gone"), "{text}");
}
