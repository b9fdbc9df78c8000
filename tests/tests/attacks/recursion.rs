//! Case 40: a gateway that is, directly or not, its own server, and would ask or start itself for ever.

use std::fs;
use std::path::Path;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Gateway, Readiness};
use portcullis_tests::http::Request;
use portcullis_tests::{toolbox, wait};
use serde_json::{Value, json};

use super::double::Tunnel;
use super::target::{calling, config, fixture, honest_call, state_of};

/// The most gateways that one may be started by, itself included.
const HOPS: usize = 8;

fn at(tunnel: &Tunnel) -> Value {
    json!({ "url": tunnel.url() })
}

fn listening(servers: &Value) -> Gateway {
    Gateway::with(&config(servers)).until(Readiness::Listening).start()
}

/// Fails where a server is not reported down because of the loop.
#[track_caller]
fn assert_loop_seen(gateway: &Gateway, server: &str) {
    let state = state_of(gateway, server);
    assert_eq!(state["status"], "down", "{state}");
    assert!(state["reason"].to_string().contains("loop"), "the reason does not say loop: {state}");
}

#[track_caller]
fn assert_honest_server_works(gateway: &Gateway) {
    let echo = Agent::modern(gateway.url()).call("up__echo", &json!({ "honest": true }));
    assert_eq!(echo["structuredContent"], json!({ "honest": true }));
}

/// A gateway whose server is itself: that server is down, with a reason that says loop, and the others work.
#[test]
fn case_40_a_gateway_is_not_its_own_server() {
    let tunnel = Tunnel::open();
    let gateway = listening(&json!({ "me": at(&tunnel), "up": fixture() }));
    tunnel.lead_to(gateway.port());
    assert_loop_seen(&gateway, "me");
    assert_honest_server_works(&gateway);
    let tools = Agent::modern(gateway.url()).tools();
    assert!(tools.iter().all(|tool| tool.starts_with("up__")), "{tools:?}");
}

/// The same through the endpoint of one server, which is another path of the same gateway.
#[test]
fn case_40_a_gateways_narrow_endpoint_is_not_its_server_either() {
    let tunnel = Tunnel::open();
    let url = format!("{}/servers/up", tunnel.url());
    let gateway = listening(&json!({ "me": { "url": url }, "up": fixture() }));
    tunnel.lead_to(gateway.port());
    assert_loop_seen(&gateway, "me");
    assert_honest_server_works(&gateway);
}

/// The same over HTTP+SSE, whether that is found out or said.
#[test]
fn case_40_a_gateways_event_stream_is_not_its_server_either() {
    for transport in ["http", "sse"] {
        let tunnel = Tunnel::open();
        let me = json!({ "url": tunnel.url().replace("/mcp", "/sse"), "transport": transport });
        let gateway = listening(&json!({ "me": me, "up": fixture() }));
        tunnel.lead_to(gateway.port());
        assert_loop_seen(&gateway, "me");
        assert_honest_server_works(&gateway);
    }
}

/// Two gateways, each the other's server: both keep working, no request goes round, and lists do not grow.
#[test]
fn case_40_a_ring_of_two_gateways_ends() {
    check_ring("/mcp");
}

/// The same over HTTP+SSE.
#[test]
fn case_40_a_ring_of_two_event_streams_ends() {
    check_ring("/sse");
}

fn check_ring(path: &str) {
    let (to_first, to_second) = (Tunnel::open(), Tunnel::open());
    let quick = |tunnel: &Tunnel| json!({ "url": tunnel.url().replace("/mcp", path), "cache": "0s" });
    let first = listening(&json!({ "second": quick(&to_second), "up": fixture() }));
    let second = listening(&json!({ "first": quick(&to_first), "up": fixture() }));
    to_first.lead_to(first.port());
    to_second.lead_to(second.port());
    for (gateway, other) in [(&first, "second"), (&second, "first")] {
        state_of(gateway, other);
        assert_honest_server_works(gateway);
    }
    // Asked again and again, each lists the other's tools at most, and never its own as the other's.
    for _ in 0..10 {
        for (gateway, own, other) in [(&first, "first", "second"), (&second, "second", "first")] {
            let agent = Agent::modern(gateway.url());
            let circular = format!("{other}__{own}__");
            let tools = agent.tools();
            let came_round = tools.iter().find(|tool| tool.starts_with(&circular));
            assert_eq!(came_round, None, "tools go round ({} are listed)", tools.len());
            assert_honest_server_works(gateway);
        }
    }
}

/// A call that has come through a gateway before is refused with 508, whatever else it says.
#[test]
fn case_40_a_call_that_comes_round_is_refused() {
    let (tunnel, seen) = (Tunnel::open(), super::double::Double::mcp("seen", &["t"]));
    let gateway = listening(&json!({ "seen": { "url": seen.url() }, "up": fixture(), "me": at(&tunnel) }));
    tunnel.lead_to(gateway.port());
    assert_loop_seen(&gateway, "me");
    Agent::modern(gateway.url()).call("seen__t", &json!({}));
    let chain = seen.received().pop().expect("the call arrived").head;
    let chain = chain.lines().find_map(|line| line.strip_prefix("portcullis-via: "));
    let id = chain.expect("a call says through which gateways it came");
    for via in [id.to_owned(), format!("other, {id}, another"), format!(" {id} "), format!(",,{id},,")] {
        let response = calling(gateway.url(), honest_call()).header("Portcullis-Via", &via).send();
        assert_eq!(response.status, 508, "{via}");
    }
    let long = (0..HOPS).map(|hop| format!("hop{hop}")).collect::<Vec<_>>().join(", ");
    assert_eq!(calling(gateway.url(), honest_call()).header("Portcullis-Via", &long).send().status, 508);
    let short = calling(gateway.url(), honest_call()).header("Portcullis-Via", "another").send();
    assert_eq!(short.status, 200, "coming through another gateway is no loop");
}

/// How many processes have this text on their command lines.
fn processes(marker: &str) -> usize {
    let running = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = running.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(marker)).count()
}

/// A gateway that starts `portcullis stdio` on its own configuration.
fn starting_itself(folder: &Path, data: &str) -> Value {
    let config = folder.join("portcullis.yaml");
    json!({
        "me": { "command": [toolbox::gateway(), "stdio", "--config", config, "--data-dir", data] },
        "up": fixture(),
    })
}

/// Starts such a gateway and watches that the chain of its processes is short, seen, and gone in the end.
fn assert_chain_is_short(data_of_children: Option<&str>) {
    // The configuration names its own folder, so it is written once the folder is known.
    let mut gateway = Gateway::with("version: 1").until(Readiness::Listening).start();
    let folder = gateway.folder().to_owned();
    let own = gateway.data_dir();
    let data = data_of_children.map_or(own, |name| folder.join(name));
    gateway.write("portcullis.yaml", &config(&starting_itself(&folder, &data.to_string_lossy())));
    gateway.restart();
    // The gateway itself, and the shell that holds it on its leash, name the folder as well.
    let marker = folder.to_string_lossy().into_owned();
    let mut most = 0;
    wait::expect("the chain's end", || {
        most = most.max(processes(&marker));
        let state = Request::get(&gateway.url_of("/readyz")).send().json();
        state["servers"]["me"]["status"] != "starting"
    });
    assert!(most <= HOPS + 2, "{most} processes at once");
    if data_of_children.is_none() {
        assert_loop_seen(&gateway, "me");
    }
    assert_honest_server_works(&gateway);
    drop(gateway);
    wait::expect("the end of every process of the chain", || processes(&marker) == 0);
}

/// A gateway that starts itself as a subprocess: the child sees whose it is, and ends.
#[test]
fn case_40_a_gateway_does_not_start_itself() {
    assert_chain_is_short(None);
}

/// The same where the child has a key of its own, so that it cannot know its parent: the chain is cut at the next one.
#[test]
fn case_40_a_gateway_does_not_start_itself_under_another_key() {
    assert_chain_is_short(Some("other-data"));
}
