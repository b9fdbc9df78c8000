//! Variables: what a server waits for, what it gets, and that it gets nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Request;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::callers::{Caller, DOORS, Door, OPEN, file_of, fixture, fixture_with, folder, reason};

const WAITS: &str = "waits for input: not set, or empty, in the environment: ";

fn remote(upstream: &Upstream, headers: &Value) -> Value {
    json!({ "type": "streamable-http", "url": upstream.url(), "headers": headers })
}

/// A variable as a server's process sees it.
fn seen(gateway: &Gateway, server: &str, name: &str) -> Value {
    let answered =
        Caller::anybody(gateway, Door::Session).call(&format!("{server}__env"), &json!({ "name": name }));
    answered.expect("the tool is there")["structuredContent"]["value"].take()
}

/// The headers that a server sees.
fn headers_at(caller: &mut Caller, server: &str) -> Value {
    let answered = caller.call(&format!("{server}__whoami"), &json!({})).expect("the tool is there");
    answered["structuredContent"]["headers"].clone()
}

fn needy(upstream: &Upstream) -> Value {
    json!({
        "fine": fixture(),
        "process": fixture_with(&json!({
            "ONE": { "fromEnv": "LACK_ONE" }, "TWO": { "fromSecret": "LACK_TWO" },
            "THREE": { "fromEnv": "HAVE" }, "FOUR": { "fromEnv": "BLANK" },
        })),
        "remote": remote(upstream, &json!({
            "Authorization": "Bearer {{LACK_TOKEN}}", "X-Pair": "{{LACK_A}}-{{HAVE}}-{{LACK_B}}",
            "X-Key": { "fromSecret": "LACK_KEY" },
        })),
    })
}

#[test]
fn all_that_a_server_waits_for_is_named_at_once_and_the_others_are_served() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let gateway = folder(&needy(&upstream), OPEN).env("HAVE", "x").env("BLANK", " ").start();
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        assert_eq!(caller.servers(), ["fine"], "{door:?}");
        assert!(caller.call("process__echo", &json!({})).is_err(), "{door:?}");
    }
    let ends = |server: &str, names: &str| {
        let reason = reason(&gateway, server);
        assert!(reason.ends_with(&format!("{WAITS}{names}")), "{reason}");
    };
    ends("process", "BLANK, LACK_ONE, LACK_TWO");
    ends("remote", "LACK_A, LACK_B, LACK_KEY, LACK_TOKEN");
    let checked = gateway.cli(&["check"]);
    let said = checked.stdout + &checked.stderr;
    assert!(said.contains("LACK_A, LACK_B, LACK_KEY, LACK_TOKEN"), "{said}");
}

#[test]
fn a_server_is_served_once_it_has_all() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let servers = |token: &Value, key: &Value| {
        file_of(&json!({ "remote": remote(&upstream, &json!({ "Authorization": token, "X-Key": key })) }))
    };
    let (lacks, literal) = (json!({ "fromEnv": "LACK" }), json!("given"));
    let gateway = folder(&json!({ "fine": fixture() }), OPEN).start();
    gateway.write("mcpx/mcp.json", &servers(&json!("Bearer {{LACK_TOKEN}}"), &lacks));
    wait::expect("it waits for both", || reason(&gateway, "remote").ends_with("LACK, LACK_TOKEN"));
    gateway.write("mcpx/mcp.json", &servers(&json!("Bearer given"), &lacks));
    wait::expect("it waits for one", || reason(&gateway, "remote").ends_with(": LACK"));
    gateway.write("mcpx/mcp.json", &servers(&json!("Bearer given"), &literal));
    for door in DOORS {
        let mut caller = Caller::anybody(&gateway, door);
        wait::expect("it is served", || caller.servers() == ["remote"]);
        let headers = headers_at(&mut caller, "remote");
        assert_eq!((&headers["authorization"], &headers["x-key"]), (&json!("Bearer given"), &literal));
    }
    let ready = Request::get(&gateway.url_of("/readyz")).send().json();
    assert_eq!(ready["status"], "OK", "{ready}");
}

#[test]
fn templates_and_references_become_what_the_environment_has() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let mut builder = folder(&needy(&upstream), OPEN).env("HAVE", "have").env("BLANK", "blank");
    for name in ["LACK_ONE", "LACK_TWO", "LACK_TOKEN", "LACK_A", "LACK_B", "LACK_KEY"] {
        builder = builder.env(name, &name.to_lowercase());
    }
    let gateway = builder.start();
    let mut caller = Caller::anybody(&gateway, Door::Session);
    assert_eq!(caller.servers(), ["fine", "process", "remote"]);
    let headers = headers_at(&mut caller, "remote");
    assert_eq!(headers["authorization"], "Bearer lack_token");
    assert_eq!(headers["x-pair"], "lack_a-have-lack_b");
    assert_eq!(headers["x-key"], "lack_key");
    let values = ["ONE", "TWO", "THREE", "FOUR"].map(|name| seen(&gateway, "process", name));
    assert_eq!(values, ["lack_one", "lack_two", "have", "blank"].map(Value::from));
}

#[test]
fn what_is_null_or_empty_is_not_set() {
    let upstream = Upstream::fixture(&["--era", "dual"]);
    let servers = json!({
        "process": fixture_with(&json!({ "NULL": null, "EMPTY": "", "BLANK": "  ", "SET": "x", "LANG": null })),
        "remote": remote(&upstream, &json!({ "X-Null": null, "X-Empty": "", "X-Set": "x" })),
    });
    let gateway = folder(&servers, OPEN).env("NULL", "hidden").env("EMPTY", "hidden").start();
    for name in ["NULL", "EMPTY", "BLANK"] {
        assert_eq!(seen(&gateway, "process", name), Value::Null, "{name}");
    }
    assert_eq!(seen(&gateway, "process", "SET"), "x");
    let headers = headers_at(&mut Caller::anybody(&gateway, Door::Session), "remote");
    let values = ["x-null", "x-empty", "x-set"].map(|name| headers[name].clone());
    assert_eq!(values, [Value::Null, Value::Null, json!("x")], "{headers}");
}

#[test]
fn a_process_sees_what_it_is_given_and_a_safe_base() {
    let given = json!({ "GIVEN": "yes", "COPIED": { "fromEnv": "SECRET" }, "LANG": "xx_XX" });
    let servers = json!({ "one": fixture_with(&given), "two": fixture() });
    let gateway = folder(&servers, OPEN)
        .env("SECRET", "hidden")
        .env("AUTH_KEY", "hidden")
        .env("AWS_SECRET_ACCESS_KEY", "hidden")
        .env("LANG", "yy_YY")
        .env("STDIO_INHERIT_PROCESS_ENV", "true")
        .start();
    let of_one = ["GIVEN", "COPIED", "LANG"].map(|name| seen(&gateway, "one", name));
    assert_eq!(of_one, ["yes", "hidden", "xx_XX"].map(Value::from), "what is configured comes first");
    assert_eq!(seen(&gateway, "two", "LANG"), "yy_YY");
    assert!(seen(&gateway, "two", "PATH").is_string());
    for name in ["SECRET", "AUTH_KEY", "AWS_SECRET_ACCESS_KEY", "STDIO_INHERIT_PROCESS_ENV"] {
        for server in ["one", "two"] {
            assert_eq!(seen(&gateway, server, name), Value::Null, "{server}: {name}");
        }
    }
    for name in ["GIVEN", "COPIED"] {
        assert_eq!(seen(&gateway, "two", name), Value::Null, "another server's {name}");
    }
}

/// The program named `docker` here only notes what it is asked to do, and is the server itself.
#[test]
fn a_container_gets_its_variables_by_name_before_its_image() {
    let bin = toolbox::scratch();
    let docker = bin.path().join("docker");
    let script = format!(
        "#!/bin/sh\necho \"$@\" > '{}/asked'\nexec '{}' --stdio\n",
        bin.path().display(),
        toolbox::fixture().display()
    );
    fs::write(&docker, script).expect("the test's folder can be written to");
    fs::set_permissions(&docker, Permissions::from_mode(0o755)).expect("the test's file is its own");
    let servers = json!({ "boxed": {
        "command": "docker", "args": ["run", "-i", "--rm", "some/image"],
        "env": { "PLAIN": "x", "TOKEN": { "fromSecret": "SECRET" }, "UNSET": null },
    } });
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap_or_default());
    let gateway = folder(&servers, OPEN).env("PATH", &path).env("SECRET", "hidden").start();
    assert_eq!(seen(&gateway, "boxed", "TOKEN"), "hidden");
    let asked = fs::read_to_string(bin.path().join("asked")).expect("it was started");
    assert_eq!(
        asked, "run -i --rm -e PLAIN -e TOKEN some/image\n",
        "no value is seen in the list of processes"
    );
}
