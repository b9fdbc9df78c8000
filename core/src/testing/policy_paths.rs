//! What a policy costs: a decision, an agent's first list, a call of a variant.

use std::fmt::Write as _;
use std::sync::Arc;

use super::anybody;
use super::paths::{Path, planned, request};
use crate::acl::{Acl, Decision, Target, Truth};
use crate::catalog::{Kind, Lookout, Scope, View};
use crate::config::{Config, ItemKind, Source, parse};
use crate::names::ServerName;
use crate::session::Sealer;
use crate::sorted::SortedMap;
use crate::upstream::Server;
use crate::wire::version::Era;

/// The path of each thing that a policy adds; the gateway has a thousand tools, a hundred agents and fifty groups.
pub(super) fn paths(servers: &Arc<SortedMap<ServerName, Arc<Server>>>) -> Vec<(&'static str, Path)> {
    let config = Arc::new(config());
    let acl = Arc::new(Acl::new(&config.policy));
    let lookout = Arc::new(Lookout::new(&config, servers));
    let varied = Arc::new(lookout.view(&Scope::All, &acl.rules("agent57")));
    let known = Arc::new((Sealer::new(&[7; 32], &[]), anybody()));
    let plans = |text: String| -> Path {
        let (view, known) = (varied.clone(), known.clone());
        Box::new(move || planned(&view, &known, text.as_bytes()))
    };
    vec![
        ("decide", decides(acl.clone())),
        ("agent_list_first", Box::new(move || first_list(&lookout.view(&Scope::All, &acl.rules("agent57"))))),
        ("agent_list", plans(request("tools/list", ""))),
        ("plan_variant", plans(call())),
    ]
}

fn config() -> Config {
    let mut text = String::from("version: 1\nservers:\n");
    for number in 0..10 {
        let _ = writeln!(text, "  server{number}: {{ url: \"http://server{number}.test/mcp\" }}");
    }
    text.push_str("groups:\n");
    for number in 0..50 {
        let (server, tens) = (number % 10, number % 9);
        let _ = writeln!(text, "  group{number}: {{ server{server}: [\"tool{tens}*\", \"tool1{tens}\"] }}");
    }
    text.push_str(
        "variants:\n  server7:\n    short_echo: { from: tool42, arguments: { limit: { fix: 10 }, message: { rename: text, pattern: \"^[a-z]*$\" } } }\n",
    );
    text.push_str("agents:\n");
    for number in 0..100 {
        let groups =
            [number % 50, (number + 7) % 50, (number + 21) % 50].map(|group| format!("group{group}"));
        let _ = writeln!(
            text,
            "  agent{number}: {{ match: [{{ client: c{number} }}], allow: [{}, \"server7/*\", \"server2/*\"], deny: [\"*/tool9*\", \"server3/tool?\"] }}",
            groups.join(", ")
        );
    }
    let parsed = parse(&[Source { path: "p.yaml".into(), text }], &|_| None);
    assert!(!parsed.is_refused(), "{:?}", parsed.problems);
    parsed.config
}

/// Decides on one tool that only the last rule allows.
fn decides(acl: Arc<Acl>) -> Path {
    Box::new(move || {
        let rules = acl.rules("agent57");
        let target = Target { server: "server2", kind: ItemKind::Tool, name: "tool42", is_template: false };
        match rules.decide(&target, |_| Truth::Depends) {
            Decision::Allowed { rule, .. } => 1 + rule as usize,
            Decision::Denied(_) => 0,
        }
    })
}

fn call() -> String {
    let text = "x".repeat(100);
    request("tools/call", &format!(r#""name":"server7__short_echo","arguments":{{"text":"{text}"}},"#))
}

fn first_list(view: &View) -> usize {
    view.page(Era::Modern, Kind::Tools, None).map_or(0, |page| page.0.len())
}
