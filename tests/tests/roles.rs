//! What each role may do with the admin API of a gateway that runs: every operation, asked for by everybody; and that a member is
//! told of what is theirs alone.

use std::cell::Cell;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_tests::agent::Agent;
use portcullis_tests::browser::Browser;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::{StandIn, of};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{toolbox, wait};
use serde_json::{Value, json};

/// The expected status of each operation, by who asks.
const MATRIX: &str = include_str!("roles/matrix.txt");

const ADMIN: &str = "Bearer the admin's key";

/// A gateway that is governed by people of every role.
struct Stage {
    front: StandIn,
    _server: Upstream,
}

/// Who asks: by the admin credential, as somebody who has signed in, or without a word.
#[derive(Clone)]
enum Who {
    Key,
    Person(String),
    Nobody,
}

impl Stage {
    fn new() -> Self {
        let server = Upstream::fixture(&[]);
        let holder = |group: &str| json!([{ "claim": { "groups": group } }]);
        let (admin, operator, auditor) = (holder("admins"), holder("operators"), holder("auditors"));
        let roles = json!({ "admin": admin, "operator": operator, "auditor": auditor });
        let console = json!({ "sign_in": true, "roles": roles, "members": true });
        let servers = json!({ "up": { "url": server.url() } });
        Self { front: StandIn::governed_remotely(Provider::behind, &servers, &console), _server: server }
    }

    /// Has somebody sign in.
    fn signs_in(&self, name: &str) -> Who {
        self.front.provider.comes(name);
        let mut browser = Browser::default();
        browser.visit(&format!("{}/console/sign-in?to=/console/", self.front.origin));
        Who::Person(browser.cookies(&self.front.origin))
    }

    fn request(&self, who: &Who, method: &str, path: &str) -> Request {
        let request = Request::new(method, &format!("{}{path}", self.front.origin));
        match who {
            Who::Key => request.header("Authorization", ADMIN),
            Who::Person(cookies) => request
                .header("Cookie", cookies)
                .header("Origin", &self.front.origin)
                .header("X-Portcullis-Console", "1"),
            Who::Nobody => request,
        }
    }

    fn get(&self, who: &Who, path: &str) -> Response {
        self.request(who, "GET", &format!("/admin/v1/{path}")).send()
    }

    /// Makes a key for the agent that members are let in as.
    fn key(&self, who: &Who) -> (String, String) {
        let request = self.request(who, "POST", "/admin/v1/keys").json(&json!({ "agent": "engineer" }));
        let made = request.send().json();
        (of(&made, "id"), of(&made, "key"))
    }

    /// A token of the provider by which somebody is let in.
    fn token(&self, name: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let audience = format!("{}/mcp", self.front.origin);
        let payload = json!({ "sub": name, "aud": audience, "exp": now + 300, "groups": ["eng"] });
        self.front
            .provider
            .sign(&json!({ "header": { "alg": "RS256", "typ": "at+jwt" }, "payload": payload }))
    }

    /// Calls a tool with a credential, in these words.
    fn call(&self, credential: &str, words: &str) {
        let agent = Agent::modern(self.front.gateway.url()).bearer(credential);
        let said = agent.call("up__echo", &json!({ "text": words }));
        assert!(said.to_string().contains(words), "{said}");
    }
}

/// Each operation of the description, with what stands for it in the matrix.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().expect("methods").keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    methods.collect()
}

/// A path of that pattern, which leads to what nobody has, or to the version that there is.
fn path_of(pattern: &str) -> String {
    let mut path = pattern.replace("/config/versions/{version}", "/config/versions/1");
    while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
        path.replace_range(from..=to, "none");
    }
    path
}

/// Nothing is changed by it: what is named is not there, and what would be made is not said.
#[test]
fn every_role_may_do_what_the_matrix_says_and_nothing_else() {
    let stage = Stage::new();
    let people = ["ada", "otto", "aude", "ann"].map(|name| stage.signs_in(name));
    let everybody: Vec<_> = [Who::Key].into_iter().chain(people.clone()).chain([Who::Nobody]).collect();
    for (who, role) in people.iter().zip(["admin", "operator", "auditor", "member"]) {
        assert_eq!(stage.get(who, "me").json()["role"], role);
    }
    let status = |who: &Who, method: &str, path: &str| {
        let request = stage.request(who, method, path);
        let request =
            if method == "GET" { request } else { request.header("If-Match", "*").json(&json!({})) };
        request.send().status.to_string()
    };
    let document = stage.get(&Who::Key, "openapi.json").json();
    let rows = operations(&document).into_iter().map(|(method, pattern)| {
        let path = path_of(&pattern);
        let cells: Vec<_> = everybody.iter().map(|who| status(who, &method, &path)).collect();
        format!("{} {method} {pattern}", cells.join(" "))
    });
    let mut found: Vec<_> = rows.collect();
    found.sort_by(|one, other| one[24..].cmp(&other[24..]));
    let expected: Vec<_> = MATRIX.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let missing: Vec<_> = expected.iter().filter(|row| !found.iter().any(|found| found == *row)).collect();
    let other: Vec<_> = found.iter().filter(|row| !expected.contains(&&***row)).collect();
    assert!(missing.is_empty() && other.is_empty(), "expected {missing:#?}, found {other:#?}");
    assert_eq!(found.len(), expected.len(), "each operation has one row");
}

/// The words of the calls that a member is told of: the digest of the arguments stands for them.
fn entries(stage: &Stage, who: &Who, query: &str) -> Vec<Value> {
    let page = stage.get(who, &format!("audit?method=tools/call{query}"));
    assert_eq!(page.status, 200);
    page.json()["entries"].as_array().expect("entries").clone()
}

fn principals(entries: &[Value]) -> Vec<&str> {
    let mut all: Vec<_> =
        entries.iter().map(|entry| entry["principal"].as_str().unwrap_or_default()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn a_member_is_told_of_their_own_calls_and_of_no_others() {
    let stage = Stage::new();
    let [ann, bob] = ["ann", "bob"].map(|name| stage.signs_in(name));
    let ((own, key), (foreign, other), (nobodys, shared)) =
        (stage.key(&ann), stage.key(&bob), stage.key(&Who::Key));
    for (credential, words) in [
        (&key, "by a key of Ann's"),
        (&other, "by a key of Bob's"),
        (&shared, "by a key of nobody's"),
        (&stage.token("ann"), "by Ann"),
        (&stage.token("bob"), "by Bob"),
    ] {
        stage.call(credential, words);
    }
    wait::expect("all calls to be recorded", || entries(&stage, &Who::Key, "").len() == 5);
    let of_ann = [format!("key:{own}"), "user:corp:ann".into()];
    let mine = entries(&stage, &ann, "");
    assert_eq!(principals(&mine), of_ann, "{mine:?}");
    assert_eq!(mine.len(), 2);
    assert!(mine.iter().all(|entry| entry.get("id").is_none() && entry.get("prev").is_none()), "{mine:?}");
    // Whatever they ask, it is not more.
    let tries = [
        "&agent=engineer",
        "&server=up",
        "&tool=up__echo",
        "&decision=allowed",
        "&since=1h",
        "&order=oldest",
    ];
    for query in tries {
        assert_eq!(principals(&entries(&stage, &ann, query)), of_ann, "{query}");
    }
    for path in ["audit?cursor=1", "audit?cursor=9999", "audit?principal=key", "audit/export?cursor=1"] {
        assert_eq!(stage.get(&ann, path).status, 400, "{path}");
    }
    let theirs = stage.get(&bob, "audit?limit=1").json();
    let cursor = theirs["cursor"].as_str().expect("there is more");
    assert_eq!(stage.get(&ann, &format!("audit?cursor={cursor}")).status, 400, "it is Bob's");
    assert_eq!(stage.get(&ann, "audit/verify").status, 403);
    let exported = stage.get(&ann, "audit/export").text();
    let foreign =
        [format!("key:{foreign}"), format!("key:{nobodys}"), "user:corp:bob".into(), "\"admin\"".into()];
    assert!(
        exported.contains(&of_ann[0]) && !foreign.iter().any(|other| exported.contains(other)),
        "{exported}"
    );
    let counted = stage.get(&ann, "statistics").json();
    assert_eq!(
        (&counted["servers"][0]["calls"], &counted["agents"][0]["calls"]),
        (&json!(2), &json!(2)),
        "{counted}"
    );
    let all = stage.get(&Who::Key, "statistics").json();
    assert_eq!(all["servers"][0]["calls"], 5, "{all}");
    let seen = stage.get(&ann, "identities").json();
    assert_eq!(principals(seen["items"].as_array().expect("items")), of_ann, "{seen}");
}

/// Reads the stream of somebody until it tells of traffic, which others cause meanwhile; returns the event's data.
fn watched(stage: &Stage, who: &Who, cause: impl Fn()) -> Value {
    let response = stage.get(who, "live");
    assert_eq!((response.status, response.is_stream()), (200, true));
    let mut events = response.events();
    let opening = events.next().expect("a stream begins with where it is");
    assert!(opening.id.is_some() && opening.event.is_none() && opening.data.is_empty(), "{opening:?}");
    cause();
    let told = events.find(|event| event.event.is_some()).expect("something went through");
    assert_eq!((told.event.as_deref(), told.id.is_some()), (Some("traffic"), true));
    told.json()
}

/// Checks values against a schema of the description, by a program that we did not write.
fn check(document: &Value, schema: &str, values: &[Value]) {
    let folder = toolbox::scratch();
    let path = folder.path().join("values.json");
    let rooted =
        json!({ "$ref": format!("#/components/schemas/{schema}"), "components": document["components"] });
    std::fs::write(&path, json!([rooted, values]).to_string()).expect("it can be written");
    let checks = "import json, sys, jsonschema_rs\nschema, values = json.load(open(sys.argv[1]))\n\
                  it = jsonschema_rs.validator_for(schema)\nassert values\n\
                  for value in values: it.validate(value)\n\
                  assert not it.is_valid({**values[0], 'edges': 1})\n";
    let python = toolbox::schemathesis().with_file_name("python");
    let ran = Command::new(python).args(["-c", checks]).arg(&path).output().expect("it can be started");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn what_goes_through_is_told_to_every_role_as_it_is_described() {
    let stage = Stage::new();
    let people = ["ada", "otto", "aude", "ann", "bob"].map(|name| stage.signs_in(name));
    let [.., ann, _] = &people;
    let (_, key) = stage.key(ann);
    let count = Cell::new(0);
    let call = || {
        count.set(count.get() + 1);
        stage.call(&key, &format!("call {}", count.get()));
    };
    let mut told = Vec::new();
    for who in [&Who::Key, &people[0], &people[1], &people[2], ann] {
        let said = watched(&stage, who, call);
        assert_eq!(
            (&said["edges"][0]["agent"], &said["edges"][0]["server"]),
            (&json!("engineer"), &json!("up"))
        );
        told.push(said);
    }
    // Bob is told of his own call, and not of Ann's before it.
    let (_, bobs) = stage.key(&people[4]);
    let said = watched(&stage, &people[4], || {
        call();
        wait::expect("the call to be recorded", || entries(&stage, ann, "").len() == count.get());
        stage.call(&bobs, "by Bob");
    });
    assert_eq!(said["edges"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(said["edges"][0]["calls"], 1, "{said}");
    told.push(said);
    check(&stage.get(ann, "openapi.json").json(), "Traffic", &told);
}
