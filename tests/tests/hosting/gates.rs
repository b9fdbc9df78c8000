//! The gates of hosted servers: those of containers, how wide one is, and what is counted of it.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::hosting::hostile;
use portcullis_tests::http::Request;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::json;

use super::Stage;
use super::places::Place;

/// An admin credential.
const ADMIN: &str = "an-admin-key-of-the-tests-that-is-long-enough";

/// How wide a gate is stands in the configuration, and what passes it is counted.
#[test]
fn what_hosted_servers_reach_is_capped_and_counted() {
    let listen = |answer: Vec<u8>| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(&answer);
            }
        });
        port
    };
    let (small, large) = (listen(b"x".repeat(100)), listen(b"x".repeat(4096)));
    let place = |port: u16| json!({ "to": format!("127.0.0.1:{port}"), "private": true });
    let host = json!({
        "backend": "bubblewrap",
        "network": [place(small), place(large)],
        "egress": { "bytes": "1KiB", "connections": 8 },
    });
    let server = json!({ "command": [hostile()], "host": host });
    let config = json!({ "version": 1, "servers": { "s": server } });
    let gateway = Gateway::with(&config.to_string()).env("PORTCULLIS_ADMIN_KEY", ADMIN).start();
    let agent = Agent::modern(gateway.url());
    for port in [small, large, 9] {
        agent.call("s__connect", &json!({ "host": "127.0.0.1", "port": port }));
    }
    let metrics = || {
        Request::get(&gateway.url_of("/metrics"))
            .header("authorization", format!("Bearer {ADMIN}"))
            .send()
            .text()
    };
    let told = wait::until(PATIENCE, || {
        let metrics = metrics();
        [
            "portcullis_egress_attempts{portcullis_server=\"s\",decision=\"allowed\"} 1",
            "portcullis_egress_attempts{portcullis_server=\"s\",decision=\"denied\"} 2",
            "# TYPE portcullis_egress_bytes gauge",
        ]
        .iter()
        .all(|line| metrics.contains(line))
        .then_some(metrics)
    });
    let told = told.unwrap_or_else(|| panic!("{}{}", metrics(), gateway.log()));
    let bytes =
        told.lines().find_map(|line| line.strip_prefix("portcullis_egress_bytes{portcullis_server=\"s\"} "));
    assert!(bytes.is_some_and(|bytes| bytes.parse::<u64>().is_ok_and(|bytes| bytes >= 100)), "{told}");
    let recorded = || gateway.cli(&["audit", "query", "--method", "egress", "--json"]).stdout;
    let is_recorded = || recorded().contains("one connection may carry 1024 bytes").then_some(());
    assert!(wait::until(PATIENCE, is_recorded).is_some(), "{}", recorded());
}

/// The network of a container is behind the gate as that of a sandbox is.
fn containers_have_gates(place: &Place) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let accepted = std::thread::spawn(move || listener.accept().is_ok());
    let stage =
        Stage::at(place, &json!({ "network": [{ "to": format!("127.0.0.1:{port}"), "private": true }] }));
    let reached = stage.tries("connect", &json!({ "host": "127.0.0.1", "port": port }));
    assert_eq!(reached, "connected", "{}", stage.gateway.log());
    assert!(accepted.join().expect("a connection"), "it comes from the gateway");
    for (deed, to) in [
        ("connect", json!({ "host": "198.51.100.7", "port": 8 })),
        ("connect", json!({ "host": "127.0.0.1", "port": 9 })),
        ("udp", json!({ "host": "198.51.100.7", "port": 9 })),
        ("connect", json!({ "host": "denied.example", "port": 443 })),
    ] {
        let said = stage.tries(deed, &to);
        assert!(said != "connected" && !said.is_empty(), "{to}: {said}");
    }
    let recorded = || {
        let ran = stage.gateway.cli(&["audit", "query", "--method", "egress", "--json"]);
        ["198.51.100.7", "denied.example", &format!("127.0.0.1:{port}")]
            .iter()
            .all(|place| ran.stdout.contains(*place))
            .then_some(ran.stdout)
    };
    let recorded = wait::until(wait::PATIENCE, recorded).expect("each attempt is recorded");
    assert!(recorded.contains("denied") && recorded.contains("allowed"), "{recorded}");
}

#[test]
fn containers_of_podman_have_gates() {
    containers_have_gates(&Place::podman());
}

#[test]
fn containers_of_docker_have_gates() {
    containers_have_gates(&Place::docker());
}
