//! The registry before somebody who wants more than is theirs, and before another registry that is not to be trusted.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, header};
use serde_json::{Value, json};

use super::{Caller, names};
use crate::body::{Body, Reply};
use crate::control::operations::{Does, Governing, Place};
use crate::control::who::{Operator, Role};
use crate::gateway::Gateway;
use crate::testing::{ADMIN_KEY, Answer, Memory, TestTrail, gateway};

const CONFIG: &str = "\
version: 1 # by hand
registry: { publish: [ana, bob] } # who publishes
agents:
  ana: { allow: [one] }
  bob: { allow: [two] }
servers:
  one: { url: http://one.test/mcp } # the first
  two: { url: http://two.test/mcp }
";

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
    trail: Arc<TestTrail>,
    /// What the other registry has: entries as its list has them.
    other: Arc<Mutex<Vec<Value>>>,
}

/// An answer: its status and its body.
type Answered = (u16, Value);

impl Stage {
    fn new(config: &str) -> Self {
        let other: Arc<Mutex<Vec<Value>>> = Arc::default();
        let told = other.clone();
        let host = Memory::new(move |request: &Request<Bytes>| -> Answer {
            let is_list = request.uri().path() == "/v0.1/servers";
            let page = json!({ "servers": *told.lock().unwrap(), "metadata": { "count": 1 } }).to_string();
            let (status, text) = if is_list { (200, page) } else { (404, String::new()) };
            crate::testing::json_answer(status, text)
        });
        let trail = host.keep_trail();
        let gateway = gateway(&host, &["old"]);
        let stage = Self { host, gateway, trail, other };
        let pushed =
            stage.send(Method::PUT, "/admin/v1/config", ADMIN_KEY, &json!({ "files": { "p.yaml": config } }));
        assert_eq!(pushed.0, 201, "{}", pushed.1);
        stage
    }

    fn read(&self, reply: Reply) -> Answered {
        let status = reply.status().as_u16();
        let body = self.host.run(reply.into_body().collect(usize::MAX)).expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn send(&self, method: Method, path: &str, credential: &str, body: &Value) -> Answered {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:9");
        let request = request.header(header::IF_MATCH, "*").header(header::CONTENT_TYPE, "application/json");
        let request = match credential {
            "" => request,
            _ => request.header(header::AUTHORIZATION, format!("Bearer {credential}")),
        };
        let request = request.body(Body::Full(Bytes::from(text).into())).expect("a request");
        self.read(self.host.run(self.gateway.serve(request)))
    }

    fn get(&self, path: &str, credential: &str) -> Answered {
        self.send(Method::GET, path, credential, &Value::Null)
    }

    /// Asks at the registry's door as somebody who has signed in.
    fn signed_in(&self, role: Role, method: &str, path: &str, body: &'static str) -> Answered {
        let by =
            Operator { role, agents: vec!["ana".into()], session: Some("s".into()), ..Operator::admin() };
        let place = Place::find(path).expect("a path");
        let does = place.operation(method).expect("an operation").does;
        let Does::Govern(Governing::Listing(does)) = does else { panic!("not one of the registry's") };
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:9");
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let names = names(&place.values).expect("names");
        let body = Body::Full(Bytes::from_static(body.as_bytes()).into());
        let done = self.gateway.at_registry_for(&head, body, (does, &names), Caller::Governor(by));
        let reply = self.host.run(done).unwrap_or_else(|fault| fault.reply());
        self.read(reply)
    }

    fn key(&self, agent: &str) -> String {
        let made = self.send(Method::POST, "/admin/v1/keys", ADMIN_KEY, &json!({ "agent": agent }));
        made.1["key"].as_str().expect("a key").to_owned()
    }

    fn publish(&self, credential: &str, server: &Value) -> Answered {
        self.send(Method::POST, "/v0.1/publish", credential, server)
    }

    /// What the reviewer is shown of an entry.
    fn reviewed(&self, key: &str) -> Value {
        let all = self.get("/admin/v1/registry?limit=1000", ADMIN_KEY).1;
        let is_it = |item: &&Value| format!("{}/{}", text(&item["name"]), text(&item["version"])) == key;
        all["items"].as_array().expect("a list").iter().find(is_it).cloned().unwrap_or_default()
    }

    fn approve(&self, name: &str, mut said: Value) -> Answered {
        if said["digest"].is_null() {
            said["digest"] = self.reviewed(&format!("{name}/1.0.0"))["digest"].clone();
        }
        let path = format!("/admin/v1/registry/{}/1.0.0/approve", name.replace('/', "%2F"));
        self.send(Method::POST, &path, ADMIN_KEY, &said)
    }

    fn import(&self) -> Answered {
        let said = json!({ "url": "https://other.test" });
        self.send(Method::POST, "/admin/v1/registry/imports", ADMIN_KEY, &said)
    }

    /// What strict mode knows: entries and what they approve.
    fn listed(&self) -> String {
        let listed = &self.gateway.snapshot().config.listed;
        let text = format!("{listed:?}");
        text.split("identities: ").skip(1).filter_map(|rest| rest.split(']').next()).collect()
    }

    fn text(&self) -> String {
        let version = self.get("/admin/v1/config", ADMIN_KEY).1;
        text(&version["files"]["p.yaml"]).to_owned()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn entry(name: &str, url: &str) -> Value {
    let remotes = json!([{ "type": "streamable-http", "url": url }]);
    json!({ "name": name, "version": "1.0.0", "description": "d", "remotes": remotes })
}

fn path(name: &str, rest: &str) -> String {
    format!("/v0.1/servers/{}{rest}", name.replace('/', "%2F"))
}

/// The names of a page.
fn shown(page: &Value) -> Vec<&str> {
    page["servers"].as_array().expect("a list").iter().map(|one| text(&one["server"]["name"])).collect()
}

#[test]
fn each_role_reads_what_it_sees_and_writes_where_it_may() {
    let stage = Stage::new(CONFIG);
    assert_eq!(stage.publish(ADMIN_KEY, &entry("a.example/x", "https://x.test/mcp")).0, 200);
    let own = ["local.portcullis/one", "local.portcullis/two", "a.example/x"];
    for role in Role::ALL {
        let seen = stage.signed_in(role, "GET", "/v0.1/servers", "");
        let seen = shown(&seen.1).into_iter().filter(|name| own.contains(name)).count();
        assert_eq!(seen, if role == Role::Member { 1 } else { 3 }, "{role:?}");
        let one = stage.signed_in(role, "GET", "/v0.1/servers/a.example%2Fx/versions/latest", "");
        assert_eq!(one.0, if role == Role::Member { 404 } else { 200 }, "{role:?}");
        let may = matches!(role, Role::Admin | Role::Operator);
        let version = "/v0.1/servers/a.example%2Fx/versions/1.0.0";
        let status = r#"{"status":"active"}"#;
        let server = r#"{"name":"b.example/y","version":"1.0.0","description":"d"}"#;
        for (method, path, body) in [
            ("POST", "/v0.1/publish", server),
            ("PATCH", &*format!("{version}/status"), status),
            ("PATCH", "/v0.1/servers/a.example%2Fx/status", status),
            ("DELETE", version, ""),
        ] {
            stage.trail.take();
            let done = stage.signed_in(role, method, path, body);
            assert_eq!(done.0, if may { 200 } else { 403 }, "{method} {path} as {role:?}: {}", done.1);
            let told = stage.trail.take();
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].method.starts_with(method) && told[0].principal.is_some(), "{told:?}");
        }
        stage.signed_in(Role::Admin, "PATCH", &format!("{version}/status"), status);
    }
}

/// Whose it is not, by whatever name it is asked for, is told what is told of things that are not there.
#[test]
fn foreign_entries_are_as_those_that_are_not_there() {
    let stage = Stage::new(CONFIG);
    let (ana, bob) = (stage.key("ana"), stage.key("bob"));
    assert_eq!(stage.publish("", &entry("a.example/x", "https://x.test/mcp")).0, 401);
    assert_eq!(stage.publish(&ana, &entry("a.example/x", "https://x.test/mcp")).0, 200);
    let nobody = |path: &str, method: Method, said: &Value, key: &str| {
        let foreign = stage.send(method.clone(), path, key, said);
        let none = stage.send(method.clone(), &path.replace("example", "nowhere"), key, said);
        assert_eq!(foreign.0, 404, "{method} {path}: {}", foreign.1);
        assert_eq!(foreign, none, "{method} {path}");
    };
    let version = path("a.example/x", "/versions/1.0.0");
    let status = json!({ "status": "deprecated" });
    // It waits for its review: nobody reads it yet, who published it included.
    for key in [&ana, &bob] {
        nobody(&version, Method::GET, &Value::Null, key);
        nobody(&path("a.example/x", "/versions"), Method::GET, &Value::Null, key);
    }
    nobody(&version, Method::DELETE, &Value::Null, &bob);
    nobody(&format!("{version}/status"), Method::PATCH, &status, &bob);
    nobody(&path("a.example/x", "/status"), Method::PATCH, &status, &bob);
    // Another's version is not taken over either, and says nothing more than that it is taken.
    assert_eq!(stage.publish(&bob, &entry("a.example/x", "https://y.test/mcp")).0, 400);
    assert_eq!(stage.approve("a.example/x", json!({})).0, 200);
    nobody(&version, Method::GET, &Value::Null, &bob);
    // An agent sees what it may reach, and is told of the rest what is told of nothing.
    let foreign = path("local.portcullis/two", "/versions/latest");
    assert_eq!(stage.get(&foreign, &bob).0, 200);
    assert_eq!(shown(&stage.get("/v0.1/servers", &ana).1), ["local.portcullis/one"]);
    let none = stage.get(&path("local.portcullis/none", "/versions/latest"), &ana);
    assert_eq!((stage.get(&foreign, &ana), none.0), (none.clone(), 404));
    // What an admin deleted its publisher does not bring back.
    assert_eq!(stage.send(Method::DELETE, &version, ADMIN_KEY, &Value::Null).0, 200);
    let back = json!({ "status": "active" });
    assert_eq!(stage.send(Method::PATCH, &format!("{version}/status"), &ana, &back).0, 403);
    assert_eq!(stage.listed(), "");
    // No key of an agent opens the admin API.
    assert_eq!(stage.get("/admin/v1/registry", &ana).0, 401);
}

#[test]
fn cursors_lead_through_what_is_seen_and_nowhere_else() {
    let stage = Stage::new(CONFIG);
    let (ana, names) = (stage.key("ana"), ["a.example/a", "b.example/b", "c.example/c", "d.example/d"]);
    for name in names {
        assert_eq!(
            stage.publish(ADMIN_KEY, &entry(name, &format!("https://{}.test/mcp", &name[..1]))).0,
            200
        );
    }
    let whole = stage.get("/v0.1/servers?limit=100", ADMIN_KEY).1;
    assert_eq!(shown(&whole).len(), names.len() + 2);
    for (list, items) in [("/v0.1/servers", "servers"), ("/admin/v1/registry", "items")] {
        for limit in 1..=6 {
            let (mut all, mut asked) = (Vec::new(), format!("{list}?limit={limit}"));
            loop {
                let page = stage.get(&asked, ADMIN_KEY).1;
                all.extend(
                    page[items].as_array().expect("a list").iter().map(|one| one["server"]["name"].clone()),
                );
                let next = page["next"].as_str().or_else(|| page["metadata"]["nextCursor"].as_str());
                let Some(next) = next else { break };
                asked = format!("{list}?limit={limit}&cursor={next}");
            }
            let count = all.len();
            all.dedup();
            assert_eq!(
                (all.len(), count),
                if items == "items" { (4, 4) } else { (6, 6) },
                "{list} by {limit}"
            );
        }
        for odd in ["%2e%2e", "YQ", "a%20b", "////"] {
            assert_eq!(stage.get(&format!("{list}?cursor={odd}"), ADMIN_KEY).0, 400, "{list} {odd}");
        }
    }
    // A cursor is a place in the order, not a way to somewhere: with an admin's, an agent sees what it sees.
    let page = stage.get("/v0.1/servers?limit=2", ADMIN_KEY).1;
    let next = text(&page["metadata"]["nextCursor"]).to_owned();
    let seen = stage.get(&format!("/v0.1/servers?cursor={next}"), &ana).1;
    assert_eq!(shown(&seen), ["local.portcullis/one"]);
    // It still leads on where what it names has gone.
    stage.send(Method::DELETE, &path("b.example/b", "/versions/1.0.0"), ADMIN_KEY, &Value::Null);
    let rest = stage.get(&format!("/v0.1/servers?cursor={next}&limit=1"), ADMIN_KEY).1;
    assert_eq!(shown(&rest), ["c.example/c"]);
}

/// What another registry says becomes nothing that runs or is served before somebody has seen exactly that.
#[test]
fn what_another_registry_changes_waits_and_names_nothing_that_runs() {
    let stage = Stage::new(CONFIG);
    let official = json!({ "io.modelcontextprotocol.registry/official": { "status": "active", "updatedAt": "2026-01-01T00:00:00Z" } });
    let says = |servers: &[Value]| {
        let items = servers.iter().map(|server| json!({ "server": server, "_meta": official }));
        *stage.other.lock().unwrap() = items.collect();
    };
    let weather = entry("com.example/weather", "https://weather.test/mcp");
    says(std::slice::from_ref(&weather));
    assert_eq!(stage.import().1["pending"], 1);
    assert_eq!(stage.approve("com.example/weather", json!({ "digest": "other" })).0, 412);
    assert_eq!(stage.approve("com.example/weather", json!({})).0, 200);
    assert_eq!(stage.listed(), r#"["url:https://weather.test/mcp""#);
    // The same version with another address, an image without a digest, and a name that could be taken for another.
    let evil = entry("com.example/weather", "https://evil.test/mcp");
    let image = json!({ "name": "com.example/image", "version": "1.0.0", "description": "d", "packages": [
        { "registryType": "oci", "identifier": "example/image:latest", "transport": { "type": "stdio" } },
    ] });
    let typo = entry("com.examp1e/weather", "https://typo.test/mcp");
    says(&[evil.clone(), image, typo]);
    assert_eq!(stage.import().1["pending"], 3);
    assert_eq!(stage.listed(), r#"["url:https://weather.test/mcp""#, "what was approved still counts");
    let changed = stage.reviewed("com.example/weather/1.0.0");
    assert_eq!(
        (&changed["server"], &changed["proposed"], &changed["review"]),
        (&weather, &evil, &json!("pending"))
    );
    assert_eq!(stage.approve("com.example/image", json!({})).1["identities"], json!([]));
    assert_eq!(stage.reviewed("com.examp1e/weather/1.0.0")["resembles"], "com.example/weather");
    // What is deleted there stops counting here.
    let gone = json!({ "io.modelcontextprotocol.registry/official": { "status": "deleted" } });
    *stage.other.lock().unwrap() = vec![json!({ "server": weather, "_meta": gone })];
    assert_eq!(stage.import().0, 200);
    assert!(!stage.listed().contains("weather"), "{}", stage.listed());
}

#[test]
fn an_approved_server_is_added_and_nothing_else_of_the_text_changes() {
    let strict = CONFIG.replace("publish: [ana, bob]", "publish: [ana, bob], strict: false");
    let stage = Stage::new(&strict);
    let ana = stage.key("ana");
    let mut weather = entry("com.example/weather", "https://weather.test/mcp");
    weather["remotes"][0]["headers"] =
        json!([{ "name": "X-Key", "isSecret": true }, { "name": "X-Env", "value": "${HOME}" }]);
    assert_eq!(stage.publish(&ana, &weather).0, 200);
    let before = (stage.text(), stage.reviewed("com.example/weather/1.0.0"));
    for (add, status) in [(json!("one"), 409), (json!("ONE"), 409), (json!("a/b"), 400), (json!(7), 400)] {
        assert_eq!(stage.approve("com.example/weather", json!({ "add": add })).0, status, "{add}");
    }
    assert_eq!(
        (stage.text(), stage.reviewed("com.example/weather/1.0.0")),
        before,
        "nothing was approved for it"
    );
    let added = stage.approve("com.example/weather", json!({ "add": "weather" }));
    assert_eq!(added.0, 200, "{}", added.1);
    let after = stage.text();
    assert!(after.starts_with(strict.trim_end()), "{after}");
    insta::assert_snapshot!(&after[strict.len()..], @r#"  weather: { url: "https://weather.test/mcp", headers: { X-Key: { secret: x-key } } }"#);
    assert!(stage.gateway.snapshot().servers.keys().any(|name| name.as_str() == "weather"));
    assert_eq!(stage.listed(), r#"["url:https://weather.test/mcp""#);
}

/// What a server.json has a program be started with is no way to another program.
#[test]
fn an_entry_that_would_run_something_else_is_not_added() {
    let stage = Stage::new(CONFIG);
    let package = json!({
        "registryType": "npm", "identifier": "@example/a", "version": "1.0.0", "transport": { "type": "stdio" },
        "runtimeHint": "sh", "runtimeArguments": [{ "type": "positional", "value": "-c" }],
        "environmentVariables": [{ "name": "NODE_OPTIONS", "value": "--require /x" }],
    });
    let server =
        json!({ "name": "a.example/a", "version": "1.0.0", "description": "d", "packages": [package] });
    assert_eq!(stage.publish(&stage.key("ana"), &server).0, 200);
    let settings = &stage.reviewed("a.example/a/1.0.0")["settings"];
    assert!(settings.get("command").is_none() && settings.get("args").is_none(), "{settings}");
    let refused = stage.approve("a.example/a", json!({ "add": "a" }));
    assert_eq!(refused.0, 422, "{}", refused.1);
    assert!(refused.1.to_string().contains("NODE_OPTIONS"), "{}", refused.1);
    assert_eq!(stage.reviewed("a.example/a/1.0.0")["review"], "pending");
}

#[test]
fn what_runs_is_approved_after_it_was_evaluated_and_found_not_dangerous() {
    let stage = Stage::new("version: 1\nregistry: { require_evaluation: true }\n");
    let package = json!({ "registryType": "npm", "identifier": "weather", "version": "1.0.0", "transport": { "type": "stdio" } });
    let server = json!({ "name": "a.example/weather", "version": "1.0.0", "description": "Weather", "packages": [package] });
    let published = stage.send(Method::POST, "/v0.1/publish", ADMIN_KEY, &server);
    assert_eq!(published.0, 200, "{}", published.1);
    let waiting = stage.reviewed("a.example/weather/1.0.0");
    assert_eq!(
        waiting["review"], "pending",
        "an admin's publishing approves nothing that nobody has watched"
    );
    let approve = |digest: &Value| {
        let path = "/admin/v1/registry/a.example%2Fweather/1.0.0/approve";
        stage.send(Method::POST, path, ADMIN_KEY, &json!({ "digest": digest }))
    };
    let digest = &waiting["digest"];
    let refused = approve(digest);
    assert_eq!((refused.0, &refused.1["code"]), (409, &json!("not-evaluated")), "{}", refused.1);
    assert_eq!(approve(&json!("another")).0, 412);

    let report = |at: &str, verdict: &str| {
        let report = json!({ "format": 1, "server": "weather", "identity": "npm:weather@1.0.0", "at": at, "verdict": verdict, "risks": [] });
        stage.send(Method::PUT, "/admin/v1/evaluations/weather", ADMIN_KEY, &report)
    };
    assert_eq!(report("2026-01-01T00:00:00Z", "dangerous").0, 200);
    let refused = approve(digest).1["detail"].to_string();
    assert!(refused.contains("was found dangerous"), "{refused}");
    assert_eq!(report("2026-01-02T00:00:00Z", "review").0, 200);
    assert_eq!(stage.reviewed("a.example/weather/1.0.0")["evaluations"][0]["verdict"], "review");
    let approved = approve(digest);
    assert_eq!((approved.0, &approved.1["review"]), (200, &json!("approved")), "{}", approved.1);
    assert_eq!(stage.get("/admin/v1/evaluations/weather", ADMIN_KEY).1["verdict"], "review");
    assert_eq!(stage.get("/admin/v1/evaluations/other", ADMIN_KEY).0, 404);
    assert_eq!(stage.get("/admin/v1/evaluations", ADMIN_KEY).1["items"][0]["server"], "weather");

    let remote = json!({ "name": "a.example/far", "version": "1.0.0", "description": "Elsewhere", "remotes": [
        { "type": "streamable-http", "url": "https://far.example/mcp" }] });
    assert_eq!(stage.send(Method::POST, "/v0.1/publish", ADMIN_KEY, &remote).0, 200);
    assert_eq!(
        stage.reviewed("a.example/far/1.0.0")["review"],
        "approved",
        "nobody can watch what runs elsewhere"
    );
    let added = stage.approve(
        "a.example/far",
        json!({ "digest": stage.reviewed("a.example/far/1.0.0")["approved_digest"], "add": "far" }),
    );
    assert_eq!(added.0, 200, "{}", added.1);
    let text = stage.text();
    assert!(text.contains("far") && text.contains("required: true"), "its definitions are pinned: {text}");
}
