//! No word leaves the machine that nobody asked for: MCPX reports to its vendor unless that is switched off.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use portcullis_tests::gateway::Gateway;
use serde_json::json;

use super::callers::{Caller, DOORS, OPEN, file_of, fixture, folder, two_servers};

/// The columns of the kernel's tables of sockets.
const REMOTE: usize = 2;
const INODE: usize = 9;

/// The far ends of a process's sockets, as the kernel writes them.
fn far_ends(gateway: &mut Gateway) -> BTreeSet<String> {
    let id = gateway.process().id();
    let links = fs::read_dir(format!("/proc/{id}/fd")).expect("it runs").flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: BTreeSet<_> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ends = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let columns: Vec<_> = line.split_whitespace().collect();
            if sockets.contains(columns[INODE]) {
                ends.insert(format!("{table} {}", columns[REMOTE]));
            }
        }
    }
    ends
}

/// Loopback, or nobody yet.
fn is_near(end: &str) -> bool {
    end.starts_with("tcp 0100007F:") || end == "tcp 00000000:0000"
}

#[test]
fn nothing_is_sent_anywhere() {
    let vendor = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    let address = vendor.local_addr().expect("a bound listener has an address");
    let proxy = format!("http://{address}");
    let mut builder = folder(&two_servers(), OPEN)
        .env("LUNAR_TELEMETRY", "true")
        .env("LOKI_HOST", &address.to_string())
        .env("HUB_WS_URL", &format!("ws://{address}"))
        .env("INSTANCE_KEY", "x");
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"] {
        builder = builder.env(name, &proxy);
    }
    let mut gateway = builder.start();
    let mut ends = far_ends(&mut gateway);
    let mut callers = DOORS.map(|door| Caller::anybody(&gateway, door));
    for caller in &mut callers {
        caller.tools();
        assert!(caller.call("files__echo", &json!({})).is_ok());
        assert!(caller.call("files__nope", &json!({})).is_err());
        ends.extend(far_ends(&mut gateway));
    }
    gateway.write("mcpx/mcp.json", &file_of(&json!({ "other": fixture() })));
    portcullis_tests::wait::expect("the edit", || Caller::anybody(&gateway, DOORS[0]).servers() == ["other"]);
    ends.extend(far_ends(&mut gateway));
    drop(callers);
    gateway.process().stop();
    assert!(ends.contains("tcp 00000000:0000"), "it listens: {ends:?}");
    assert!(ends.iter().any(|end| end.starts_with("tcp 0100007F:")), "an agent is connected: {ends:?}");
    assert!(ends.iter().all(|end| is_near(end)), "{ends:?}");
    vendor.set_nonblocking(true).expect("a listener can be told");
    let called = vendor.accept().map_err(|error| error.kind());
    assert!(matches!(called, Err(ErrorKind::WouldBlock)), "somebody calls home: {called:?}");
}
