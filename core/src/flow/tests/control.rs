//! The admin API: what a push, a way back and a key come to, and that nothing else happens.

use http::{HeaderName, Method, header};
use serde_json::Value;

use super::{ask, modern_server};
use crate::body::Body;
use crate::control::{Managed, Revision, Stamp, digest};
use crate::flow::Looked;
use crate::gateway::Gateway;
use crate::ports::ConfigStore as _;
use crate::sorted::SortedMap;
use crate::testing::{ADMIN_KEY, Memory, gateway, modern, post};
use crate::upstream::lock;

const ONE: &str = "version: 1\nservers:\n  a: { url: http://a.test/mcp }\n";
const TWO: &str = "version: 1\nservers:\n  b: { url: http://b.test/mcp }\n";

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
}

/// A request and its answer: the status, the entity tag, and the body.
struct Answered {
    status: u16,
    tag: String,
    body: String,
}

impl Stage {
    fn new() -> Self {
        let host = Memory::new(modern_server);
        let gateway = gateway(&host, &["old"]);
        Self { host, gateway }
    }

    fn send(&self, method: Method, path: &str, headers: &[(HeaderName, &str)], body: &str) -> Answered {
        let bearer = format!("Bearer {ADMIN_KEY}");
        let mut request = post(body.to_owned(), &[]);
        *request.method_mut() = method;
        *request.uri_mut() = format!("/admin/v1/{path}").parse().expect("a path");
        request.headers_mut().insert(header::AUTHORIZATION, bearer.parse().expect("ASCII"));
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().expect("a header value"));
        }
        self.answer(request)
    }

    fn answer(&self, request: http::Request<Body>) -> Answered {
        let reply = self.host.run(self.gateway.serve(request));
        let tag = reply.headers().get(header::ETAG).map_or("", |tag| tag.to_str().expect("ASCII")).to_owned();
        let status = reply.status().as_u16();
        let body = self.host.run(reply.into_body().collect(usize::MAX)).expect("a whole body");
        // The order of members is that of the build.
        let json = serde_json::from_slice(&body).map(sorted);
        let body = json.map_or_else(|_| String::from_utf8_lossy(&body).into_owned(), |json| json.to_string());
        Answered { status, tag, body }
    }

    fn push(&self, condition: &str, text: &str) -> Answered {
        let headers = [(header::IF_MATCH, condition), (header::CONTENT_TYPE, "application/yaml")];
        self.send(Method::PUT, "config", &headers, text)
    }

    fn json(&self, method: Method, path: &str, body: &str) -> Answered {
        self.send(method, path, &[], body)
    }

    /// The servers in force.
    fn servers(&self) -> Vec<String> {
        self.gateway.snapshot().servers.keys().map(ToString::to_string).collect()
    }

    fn revision(version: u64, text: &str) -> Revision {
        let stamp = Stamp { version, at: 1, by: "another".into(), note: String::new(), digest: digest(text) };
        Revision { stamp, text: text.to_owned() }
    }
}

pub(super) fn sorted(json: Value) -> Value {
    match json {
        Value::Object(members) => {
            let members: SortedMap<_, _> =
                members.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            members.into_iter().collect()
        }
        Value::Array(elements) => elements.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[test]
fn what_is_pushed_is_in_force_and_kept() {
    let stage = Stage::new();
    let empty = stage.json(Method::GET, "config", "");
    assert_eq!((empty.status, &*empty.tag), (200, "\"0\""));
    assert!(empty.body.contains(r#""files":{}"#), "{}", empty.body);
    let first = stage.push("\"0\"", ONE);
    assert_eq!((first.status, &*first.tag), (201, "\"1\""), "{}", first.body);
    assert_eq!(stage.servers(), ["a"]);
    insta::assert_snapshot!(first.body, @r#"{"at":"2027-01-15T08:00:00.000Z","by":"admin","changed":true,"digest":"940e2d907e17cc7a2e590976a74b41c109542a74d4d9127ca6a348f9babd3ed1","note":"","problems":[],"version":1}"#);
    assert!(ask(&stage.host, &stage.gateway, modern("1", "tools/list", "")).contains("a__echo"));
    let second = stage.push("\"1\"", TWO);
    assert_eq!((second.status, &*second.tag), (200, "\"2\""));
    assert_eq!(stage.servers(), ["b"]);
    let shown = stage.json(Method::GET, "config", "");
    assert_eq!(shown.tag, "\"2\"");
    insta::assert_snapshot!(shown.body, @r#"{"at":"2027-01-15T08:00:00.000Z","by":"admin","digest":"ef4a6fc87710bc9cf56072829c1887bc349c5ea192708584e4225ca134e4c5cc","files":{"portcullis.yaml":"version: 1\nservers:\n  b: { url: http://b.test/mcp }\n"},"note":"","overlays":{},"version":2}"#);
    assert_eq!(stage.json(Method::GET, "config/versions/1", "").tag, "\"1\"");
    assert_eq!(stage.json(Method::GET, "config/versions/3", "").status, 404);
    let unchanged = [(header::IF_NONE_MATCH, "\"2\"")];
    assert_eq!(stage.send(Method::GET, "config", &unchanged, "").status, 304);
    assert_eq!(stage.gateway.version_in_force(), Some((2, None)));
}

#[test]
fn a_write_that_builds_on_something_else_changes_nothing() {
    let stage = Stage::new();
    stage.push("*", ONE);
    let conflict = stage.push("\"0\"", TWO);
    assert_eq!((conflict.status, &*conflict.tag), (412, "\"1\""));
    insta::assert_snapshot!(conflict.body, @r#"{"code":"conflict","detail":"version 1 is in force, which the request does not build on: look at it first","status":412,"title":"Precondition Failed","type":"about:blank","version":1}"#);
    let unconditional = stage.send(Method::PUT, "config", &[(header::CONTENT_TYPE, "application/yaml")], TWO);
    assert_eq!(unconditional.status, 428);
    assert_eq!(stage.servers(), ["a"]);
    let again = stage.push("\"0\"", ONE);
    assert_eq!((again.status, &*again.tag), (200, "\"1\""), "an answer that was lost can be asked for again");
    assert!(again.body.contains(r#""changed":false"#));
}

#[test]
fn what_has_an_error_is_not_stored() {
    let stage = Stage::new();
    stage.push("*", ONE);
    for bad in [
        "version: 2",
        "version: 1\nservers: { a: { url: nope } }",
        "version: 1\nservers: { a: { command: x } }",
        "a: [",
    ] {
        let refused = stage.push("*", bad);
        assert_eq!(refused.status, 422, "{bad}: {}", refused.body);
        assert!(refused.body.contains(r#""line":"#), "{}", refused.body);
        assert_eq!(stage.servers(), ["a"]);
    }
    insta::assert_snapshot!(stage.push("*", "version: 1\nservers:\n  a: { command: x }\n").body, @r#"{"code":"invalid-configuration","detail":"the configuration has an error; nothing has changed","errors":[{"column":17,"field":"servers.a.command","file":"portcullis.yaml","hint":"run it with Portcullis on a machine of yours (`portcullis serve`), and put that gateway's URL here: `url: https://GATEWAY/mcp/servers/NAME`, with a key of its own in `headers`","line":3,"message":"this gateway's host starts no programs, so that a server cannot be a `command` here","severity":"error"}],"status":422,"title":"Unprocessable Entity","type":"about:blank"}"#);
    assert_eq!(stage.host.run(stage.host.store().newest()).unwrap().unwrap().stamp.version, 1);
    let headers = [(header::CONTENT_TYPE, "application/yaml")];
    let checked = stage.send(Method::POST, "config/check", &headers, "version: 2");
    assert_eq!(checked.status, 200);
    insta::assert_snapshot!(checked.body, @r#"{"problems":[{"column":10,"field":"version","file":"portcullis.yaml","hint":null,"line":1,"message":"expected version 1, found \"2\"","severity":"error"}],"valid":false}"#);
    assert!(stage.send(Method::POST, "config/check", &headers, TWO).body.contains(r#""valid":true"#));
    assert_eq!(stage.servers(), ["a"], "to check is not to push");
}

#[test]
fn a_way_back_is_a_version_of_its_own() {
    let stage = Stage::new();
    stage.push("*", ONE);
    stage.push("*", TWO);
    let back = stage.json(Method::POST, "config/rollback", r#"{"to":1}"#);
    assert_eq!((back.status, &*back.tag), (200, "\"3\""));
    assert_eq!(stage.servers(), ["a"]);
    let versions = stage.json(Method::GET, "config/versions?limit=2", "").body;
    assert!(
        versions.contains(r#""note":"back to version 1""#) && versions.contains(r#""next":2"#),
        "{versions}"
    );
    let rest = stage.json(Method::GET, "config/versions?before=2", "").body;
    assert!(rest.contains(r#""next":null"#) && rest.contains(r#""version":1"#), "{rest}");
    assert_eq!(stage.json(Method::POST, "config/rollback", r#"{"to":9}"#).status, 404);
    let outdated = [(header::IF_MATCH, "\"2\"")];
    assert_eq!(stage.send(Method::POST, "config/rollback", &outdated, r#"{"to":2}"#).status, 412);
}

#[test]
fn versions_and_drafts_are_compared() {
    let stage = Stage::new();
    let draft = |from: &str, text: &str| {
        let body = format!("{{{from}\"files\":{{\"portcullis.yaml\":{}}}}}", Value::from(text));
        stage.json(Method::POST, "config/diff", &body)
    };
    let first = draft("", ONE);
    insta::assert_snapshot!(first.body, @r#"{"changes":[{"kind":"added","name":"a","what":"server"}],"files":[{"name":"portcullis.yaml","unified":"@@ -0,0 +1,3 @@\n+version: 1\n+servers:\n+  a: { url: http://a.test/mcp }\n"}]}"#);
    stage.push("*", ONE);
    stage.push("*", TWO);
    insta::assert_snapshot!(draft("", TWO).body, @r#"{"changes":[],"files":[]}"#);
    let forth = draft("\"from\":1,", TWO);
    insta::assert_snapshot!(forth.body, @r#"{"changes":[{"kind":"removed","name":"a","what":"server"},{"kind":"added","name":"b","what":"server"}],"files":[{"name":"portcullis.yaml","unified":"@@ -1,3 +1,3 @@\n version: 1\n servers:\n-  a: { url: http://a.test/mcp }\n+  b: { url: http://b.test/mcp }\n"}]}"#);
    assert_eq!(stage.json(Method::GET, "config/versions/1/diff", "").body, forth.body);
    let back = stage.json(Method::GET, "config/versions/2/diff?to=1", "").body;
    assert!(back.contains(r#""kind":"removed","name":"b","what":"server""#), "{back}");
    assert_eq!(draft("", "servers: [").status, 200, "what could not be served can be compared");
    assert_eq!(draft("\"from\":7,", TWO).status, 404);
    for path in ["config/versions/1/diff?to=7", "config/versions/7/diff", "config/versions/x/diff"] {
        assert_eq!(stage.json(Method::GET, path, "").status, 404, "{path}");
    }
    assert_eq!(stage.json(Method::GET, "config/versions/1/diff?to=x", "").status, 400);
    assert_eq!(stage.servers(), ["b"], "to compare is not to push");
}

#[test]
fn keys_are_made_and_revoked() {
    let stage = Stage::new();
    let made = stage.json(Method::POST, "keys", r#"{"agent":"default","comment":"a laptop"}"#);
    assert_eq!(made.status, 201, "{}", made.body);
    let said: Value = serde_json::from_str(&made.body).unwrap();
    let (id, secret) = (said["id"].as_str().unwrap(), said["key"].as_str().unwrap());
    let status = || {
        let mut request = modern("1", "tools/list", "");
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
        stage.answer(request).status
    };
    assert_eq!(status(), 200);
    let shown = stage.json(Method::GET, "keys", "").body;
    assert!(shown.contains(id) && !shown.contains(secret) && shown.contains(r#""state":"valid""#), "{shown}");
    let revoked = stage.json(Method::DELETE, &format!("keys/{id}"), "");
    assert!(revoked.status == 200 && revoked.body.contains(r#""state":"revoked""#), "{}", revoked.body);
    assert_eq!(status(), 401);
    assert_eq!(stage.json(Method::DELETE, &format!("keys/{id}"), "").status, 200);
    assert_eq!(stage.json(Method::DELETE, "keys/0000000000", "").status, 404);
    assert_eq!(stage.json(Method::POST, "keys", r#"{"agent":"a","expires":"2001-01-01"}"#).status, 400);
}

#[test]
fn strangers_get_nothing() {
    let stage = Stage::new();
    for (method, path) in
        [(Method::GET, "config"), (Method::PUT, "config"), (Method::GET, "keys"), (Method::GET, "x")]
    {
        let mut request = post("", &[]);
        *request.method_mut() = method;
        *request.uri_mut() = format!("/admin/v1/{path}").parse().unwrap();
        let refused = stage.answer(request);
        assert_eq!(refused.status, 401);
        assert!(refused.body.contains(r#""code":"unauthorized""#));
    }
    assert_eq!(stage.json(Method::GET, "elsewhere", "").status, 404);
    assert_eq!(stage.json(Method::DELETE, "config", "").status, 405);
}

#[test]
fn a_gateway_of_files_takes_no_other_configuration() {
    let stage = Stage::new();
    *lock(&stage.gateway.0.managed) = Managed::ByFiles("portcullis.yaml".into());
    let refused = stage.push("*", ONE);
    assert_eq!((refused.status, stage.servers()), (409, vec!["old".to_owned()]));
    insta::assert_snapshot!(refused.body, @r#"{"code":"configured-by-files","detail":"this gateway serves portcullis.yaml: change that file, or start the gateway with `--config remote` to configure it from elsewhere","status":409,"title":"Conflict","type":"about:blank"}"#);
    assert_eq!(stage.json(Method::GET, "config", "").status, 409);
    assert_eq!(stage.gateway.look_again(&Stage::revision(1, ONE)), Looked::Same);
    assert_eq!(stage.json(Method::GET, "keys", "").status, 200, "its keys lie in the store all the same");
}

#[test]
fn a_store_that_fails_changes_nothing() {
    let stage = Stage::new();
    stage.host.store().fail(Some("is away"));
    for (method, path, body) in [(Method::GET, "config", ""), (Method::POST, "keys", r#"{"agent":"a"}"#)] {
        let failed = stage.json(method, path, body);
        assert!(failed.status == 503 && failed.body.contains("is away"), "{}", failed.body);
    }
    assert_eq!((stage.push("*", ONE).status, stage.servers()), (503, vec!["old".to_owned()]));
}

#[test]
fn what_another_instance_wrote_comes_into_force_unless_it_is_bad() {
    let stage = Stage::new();
    let look = |version, text: &str| match stage.gateway.look_again(&Stage::revision(version, text)) {
        Looked::Same => "same",
        Looked::InForce(..) => "in force",
        Looked::Refused(_) => "refused",
    };
    assert_eq!((look(3, ONE), look(3, ONE)), ("in force", "same"));
    assert_eq!(look(2, TWO), "same", "never back");
    assert_eq!((look(4, "version: 2"), look(4, "version: 2")), ("refused", "same"));
    assert_eq!(stage.servers(), ["a"]);
    let mut request = post("", &[]);
    (*request.method_mut(), *request.uri_mut()) = (Method::GET, http::Uri::from_static("/readyz"));
    let ready: Value = serde_json::from_str(&stage.answer(request).body).unwrap();
    assert_eq!(ready["configuration"]["status"], "refused");
    insta::assert_snapshot!(ready["configuration"]["reason"].as_str().unwrap(), @r#"portcullis.yaml:1:10: error: version: expected version 1, found "2""#);
    assert_eq!(
        look(5, "version: 1\nservers: { a: { url: http://a.test/mcp }, c: { url: nope } }"),
        "in force"
    );
    assert_eq!(stage.gateway.version_in_force(), Some((5, None)));
    assert_eq!(look(5, TWO), "in force", "somebody has put another text in its place");
}
