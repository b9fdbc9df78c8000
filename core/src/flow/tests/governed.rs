//! A control plane and the gateways that it governs, and somebody in between who sees and changes everything on the way.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode, header};
use serde_json::Value;

use super::{ask, modern_server};
use crate::control::fleet::{SIGNATURE, text_of};
use crate::error::Unreachable;
use crate::flow::Governed;
use crate::gateway::Gateway;
use crate::oauth::PublicKey;
use crate::ports::{Clock as _, Entropy as _, Host as _};
use crate::testing::{ADMIN_KEY, Answer, Memory, gateway, modern, post, signature};
use crate::upstream::lock;

const ONE: &str = "version: 1\nservers:\n  a: { url: http://a.test/mcp }\n";
const TWO: &str = "version: 1\nservers:\n  b: { url: http://b.test/mcp }\n";
const URL: &str = "https://control.test";

type Change<T> = Box<dyn FnMut(&mut T) + Send>;

/// What is on the way to the control plane: every request with its answer, and who changes them.
#[derive(Default)]
struct Way {
    seen: Vec<(http::Request<Bytes>, Response<Vec<Bytes>>)>,
    on_request: Option<Change<http::Request<Bytes>>>,
    on_answer: Option<Change<Response<Vec<Bytes>>>>,
    is_down: bool,
}

#[derive(Clone)]
struct Plane {
    host: Memory,
    gateway: Gateway<Memory>,
    way: Arc<Mutex<Way>>,
}

struct Member {
    host: Memory,
    gateway: Gateway<Memory>,
}

impl Plane {
    fn new() -> Self {
        let host = Memory::new(modern_server);
        let gateway = gateway(&host, &["old"]);
        Self { host, gateway, way: Arc::default() }
    }

    /// Brings a request there and back.
    fn pass(&self, request: &http::Request<Bytes>) -> Answer {
        let mut request = request.clone();
        let mut way = lock(&self.way);
        if way.is_down {
            return Err(Unreachable::new("control", "does not answer"));
        }
        if let Some(change) = &mut way.on_request {
            change(&mut request);
        }
        let mut answer = self.serve(&request);
        way.seen.push((request, answer.clone()));
        if let Some(change) = &mut way.on_answer {
            change(&mut answer);
        }
        Ok(answer)
    }

    fn serve(&self, request: &http::Request<Bytes>) -> Response<Vec<Bytes>> {
        let mut asked = post(request.body().clone(), &[]);
        *asked.method_mut() = request.method().clone();
        *asked.uri_mut() = request.uri().path_and_query().expect("a path").as_str().parse().expect("a path");
        for name in [header::AUTHORIZATION, HeaderName::from_static(SIGNATURE)] {
            if let Some(value) = request.headers().get(&name) {
                asked.headers_mut().insert(name, value.clone());
            }
        }
        let (head, body) = self.host.run(self.gateway.serve(asked)).into_parts();
        let body = self.host.run(body.collect(usize::MAX)).expect("a whole body");
        Response::from_parts(head, vec![body])
    }

    fn admin(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        admin(&self.host, &self.gateway, method, path, body)
    }

    fn push(&self, text: &str) {
        let (status, said) = self.admin(Method::PUT, "config", text);
        assert!(status == 200 || status == 201, "{status} {said}");
    }

    fn token(&self, body: &str) -> String {
        let (status, said) = self.admin(Method::POST, "enrolments", body);
        assert_eq!(status, 201, "{said}");
        said["token"].as_str().expect("a token").to_owned()
    }

    /// A gateway that is in no fleet; `number` tells its entropy from others'.
    fn stranger(&self, number: usize) -> Member {
        let plane = self.clone();
        let host = Memory::new(move |request| match request.uri().host() {
            Some("control.test") => plane.pass(request),
            _ => modern_server(request),
        });
        host.fill(&mut vec![0; 8000 * number]);
        let gateway = gateway(&host, &["own"]);
        Member { host, gateway }
    }

    fn member(&self, number: usize, enrolment: &str) -> Member {
        let member = self.stranger(number);
        let joined = member.join(&self.token(enrolment));
        assert_eq!(joined, Ok(()));
        member
    }

    fn last(&self) -> (http::Request<Bytes>, Response<Vec<Bytes>>) {
        lock(&self.way).seen.last().cloned().expect("a request")
    }
}

fn admin(host: &Memory, gateway: &Gateway<Memory>, method: Method, path: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let mut request = post(body.to_owned(), &[]);
    *request.method_mut() = method;
    *request.uri_mut() = format!("/admin/v1/{path}").parse().expect("a path");
    let headers = request.headers_mut();
    headers.insert(header::AUTHORIZATION, bearer.parse().expect("ASCII"));
    if path == "config" {
        headers.insert(header::CONTENT_TYPE, "application/yaml".parse().expect("ASCII"));
        headers.insert(header::IF_MATCH, "*".parse().expect("ASCII"));
    }
    let reply = host.run(gateway.serve(request));
    let status = reply.status().as_u16();
    let body = host.run(reply.into_body().collect(usize::MAX)).expect("a whole body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

impl Member {
    fn join(&self, token: &str) -> Result<(), String> {
        self.host.run(self.gateway.join(URL, token, "local")).map(drop).map_err(|why| why.0)?;
        self.gateway.governed_by(URL);
        Ok(())
    }

    fn pull(&self) -> Result<Governed, String> {
        self.host.run(self.gateway.pull(0)).map_err(|(why, _)| why.0)
    }

    fn report(&self) -> Result<(), String> {
        self.host.run(self.gateway.report(None)).map_err(|why| why.0)
    }

    fn servers(&self) -> Vec<String> {
        self.gateway.snapshot().servers.keys().map(ToString::to_string).collect()
    }
}

#[test]
fn a_gateway_joins_and_serves_what_it_is_given() {
    let plane = Plane::new();
    plane.push(ONE);
    let (_, key) = plane.admin(Method::POST, "keys", r#"{"agent":"coder"}"#);
    let member = plane.member(1, r#"{"name":"eu-1","labels":{"ring":"early"}}"#);
    assert_eq!(member.servers(), ["own"]);
    assert_eq!(member.pull(), Ok(Governed::InForce(1)));
    assert_eq!(member.servers(), ["a"]);
    assert_eq!(member.pull(), Ok(Governed::Same));
    let (_, keys) = admin(&member.host, &member.gateway, Method::GET, "keys", "");
    assert_eq!(keys["keys"][0]["id"], key["id"]);
    plane.push(TWO);
    plane.admin(Method::DELETE, &format!("keys/{}", key["id"].as_str().expect("an id")), "");
    assert_eq!(member.pull(), Ok(Governed::InForce(2)));
    assert_eq!(member.servers(), ["b"]);
    let (_, keys) = admin(&member.host, &member.gateway, Method::GET, "keys", "");
    assert_eq!(keys["keys"][0]["state"], "revoked");
    let (status, said) = admin(&member.host, &member.gateway, Method::PUT, "config", ONE);
    assert_eq!((status, &said["code"]), (409, &"governed".into()));
    assert_eq!(member.report(), Ok(()));
    let (_, said) = plane.admin(Method::GET, "gateways", "");
    let known = &said["items"][0];
    assert_eq!(
        (&known["name"], &known["state"], &known["version"]),
        (&"eu-1".into(), &"current".into(), &2.into())
    );
    assert_eq!(known["servers"][0]["name"], "b");
    // Going back is something newer, too.
    plane.admin(Method::POST, "config/rollback", r#"{"to":1}"#);
    assert_eq!(member.pull(), Ok(Governed::InForce(3)));
    assert_eq!(member.servers(), ["a"]);
}

#[test]
fn with_the_control_plane_down_a_gateway_goes_on() {
    let plane = Plane::new();
    plane.push(ONE);
    let member = plane.member(1, r#"{"name":"one"}"#);
    assert_eq!(member.pull(), Ok(Governed::InForce(1)));
    lock(&plane.way).is_down = true;
    assert!(member.pull().is_err() && member.report().is_err());
    assert!(ask(&member.host, &member.gateway, modern("1", "tools/list", "")).contains("a__echo"));
    lock(&plane.way).is_down = false;
    plane.push(TWO);
    assert_eq!(member.pull(), Ok(Governed::InForce(2)));
}

#[test]
fn what_one_gateway_cannot_serve_it_refuses_and_says_so() {
    let plane = Plane::new();
    plane.push(ONE);
    let member = plane.member(1, r#"{"name":"one"}"#);
    assert_eq!(member.pull(), Ok(Governed::InForce(1)));
    // The control plane's program may be another, which takes what this one does not.
    let store = plane.host.configurations().expect("it keeps them").clone();
    let text = "a: [".to_owned();
    let stamp = crate::control::Stamp {
        version: 2,
        at: 1,
        by: "another".into(),
        note: String::new(),
        digest: crate::control::digest(&text),
    };
    plane.host.run(store.append(crate::control::Revision { stamp, text })).expect("it is written");
    let pulled = member.pull();
    assert!(matches!(pulled, Ok(Governed::Refused(2, _))), "{pulled:?}");
    assert_eq!(member.servers(), ["a"]);
    assert_eq!(member.report(), Ok(()));
    let (_, said) = plane.admin(Method::GET, "gateways", "");
    assert_eq!(said["items"][0]["state"], "refused");
    assert!(said["items"][0]["refused"].as_str().is_some_and(|why| !why.is_empty()), "{said}");
}

#[test]
fn a_token_is_used_once_and_not_for_long() {
    let plane = Plane::new();
    plane.push(ONE);
    let token = plane.token(r#"{"name":"one"}"#);
    assert_eq!(plane.stranger(1).join(&token), Ok(()));
    insta::assert_snapshot!(plane.stranger(2).join(&token).unwrap_err(), @"https://control.test answers: the enrolment token is not valid, or no longer");
    let (status, said) = plane.admin(Method::POST, "enrolments", r#"{"name":"one"}"#);
    assert_eq!((status, &said["code"]), (409, &"name".into()));
    let withdrawn = plane.token(r#"{"name":"two"}"#);
    let id = plane.admin(Method::GET, "enrolments", "").1["items"][0]["id"].clone();
    assert_eq!(
        plane.admin(Method::DELETE, &format!("enrolments/{}", id.as_str().expect("an id")), "").0,
        200
    );
    assert!(plane.stranger(2).join(&withdrawn).is_err());
    let late = plane.token(r#"{"name":"three"}"#);
    plane.host.run(plane.host.sleep(std::time::Duration::from_hours(2)));
    assert!(plane.stranger(2).join(&late).is_err());
    assert_eq!(plane.admin(Method::GET, "enrolments", "").1["items"], Value::Array(Vec::new()));
    // That of another fleet, and nothing at all.
    let other = Plane::new();
    other.host.fill(&mut [0; 800]);
    let foreign = other.token(r#"{"name":"one"}"#);
    assert!(plane.stranger(2).join(&foreign).is_err());
    assert!(plane.stranger(2).join("pce_x").is_err());
    let member = plane.member(3, r#"{"name":"four"}"#);
    assert!(member.join(&plane.token(r#"{"name":"five"}"#)).is_err(), "it is in a fleet already");
}

#[test]
fn nobody_in_between_enrols_instead() {
    let plane = Plane::new();
    plane.push(ONE);
    let token = plane.token(r#"{"name":"one"}"#);
    // Another key in the place of the gateway's own.
    lock(&plane.way).on_request = Some(Box::new(|request| {
        let mut said: Value = serde_json::from_slice(request.body()).expect("JSON");
        said["key"] = text_of(&[9; 32]).into();
        *request.body_mut() = said.to_string().into();
    }));
    let member = plane.stranger(1);
    assert!(member.join(&token).is_err());
    lock(&plane.way).on_request = None;
    // Another control plane's answer, signed by its own key.
    lock(&plane.way).on_answer = Some(Box::new(|answer| {
        let mut said: Value = serde_json::from_slice(&answer.body()[0]).expect("JSON");
        said["key"] = text_of(&[9; 32]).into();
        let body = said.to_string();
        let message = format!("portcullis fleet enrolment 1\n{body}");
        let signed = signature(&PublicKey::Ed25519([9; 32]), message.as_bytes());
        answer.headers_mut().insert(SIGNATURE, text_of(&signed).parse().expect("ASCII"));
        *answer.body_mut() = vec![body.into()];
    }));
    insta::assert_snapshot!(member.join(&token).unwrap_err(), @"https://control.test is not the control plane that made this token");
    assert!(member.pull().is_err(), "it is in no fleet");
    let sent = lock(&plane.way).seen.iter().map(|(request, _)| request.body().clone()).collect::<Vec<_>>();
    let seed = token.split('.').nth(1).expect("a seed");
    assert!(sent.iter().all(|body| !String::from_utf8_lossy(body).contains(seed)), "a token is never sent");
}

#[test]
fn what_is_forged_replayed_or_for_another_is_not_taken() {
    let plane = Plane::new();
    plane.push(ONE);
    let (member, other) = (plane.member(1, r#"{"name":"one"}"#), plane.member(2, r#"{"name":"two"}"#));
    assert_eq!(member.pull(), Ok(Governed::InForce(1)));
    let first = plane.last().1;
    plane.push(TWO);
    assert_eq!(other.pull(), Ok(Governed::InForce(2)));
    let foreign = plane.last().1;
    let put = |answer: Response<Vec<Bytes>>| {
        lock(&plane.way).on_answer = Some(Box::new(move |real| *real = answer.clone()));
        let refused = member.pull().unwrap_err();
        assert_eq!(member.servers(), ["a"]);
        refused
    };
    insta::assert_snapshot!(put(foreign), @"what came from https://control.test is for another gateway");
    let mut forged = first.clone();
    let said = String::from_utf8(forged.body()[0].to_vec()).expect("UTF-8").replace("a.test", "evil.test");
    *forged.body_mut() = vec![said.replace("\"number\":1", "\"number\":9").into()];
    insta::assert_snapshot!(put(forged.clone()), @"what came from https://control.test is not signed by the control plane's key");
    forged.headers_mut().remove(SIGNATURE);
    insta::assert_snapshot!(put(forged), @"what came from https://control.test is not signed by the control plane's key");
    lock(&plane.way).on_answer = None;
    assert_eq!(member.pull(), Ok(Governed::InForce(2)));
    lock(&plane.way).on_answer = Some(Box::new(move |real| *real = first.clone()));
    insta::assert_snapshot!(member.pull().unwrap_err(), @"what came from https://control.test is older than what is in force");
    assert_eq!(member.servers(), ["b"]);
}

#[test]
fn a_proof_counts_once_for_one_request() {
    let plane = Plane::new();
    plane.push(ONE);
    let member = plane.member(1, r#"{"name":"one"}"#);
    assert_eq!(member.pull(), Ok(Governed::InForce(1)));
    let (asked, answered) = plane.last();
    assert_eq!(answered.status(), 200);
    assert_eq!(plane.serve(&asked).status(), 401, "it was used");
    member.report().expect("it is told");
    let (told, _) = plane.last();
    assert_eq!(plane.serve(&told).status(), 401, "it was used");
    // A proof of something else, and one that was never seen but is old.
    lock(&plane.way).on_request = Some(Box::new(|request| *request.body_mut() = "{}".into()));
    assert!(member.report().is_err());
    lock(&plane.way).on_request = Some(Box::new(|request| {
        *request.uri_mut() = format!("{URL}/fleet/v1/snapshot?version=0").parse().expect("a URL");
    }));
    assert!(member.pull().is_err());
    lock(&plane.way).on_request = None;
    plane.host.run(plane.host.sleep(std::time::Duration::from_mins(3)));
    assert!(member.pull().is_err(), "its clock is behind");
    member.host.run(member.host.sleep(std::time::Duration::from_mins(3)));
    assert_eq!(member.pull(), Ok(Governed::Same));
    // Who is no longer in the fleet learns nothing more.
    let id = plane.admin(Method::GET, "gateways", "").1["items"][0]["id"].clone();
    assert_eq!(plane.admin(Method::DELETE, &format!("gateways/{}", id.as_str().expect("an id")), "").0, 200);
    plane.push(TWO);
    insta::assert_snapshot!(member.pull().unwrap_err(), @"https://control.test answers: this is no gateway of the fleet");
    assert_eq!(member.servers(), ["a"], "it goes on with what it has");
}

#[test]
fn a_version_goes_out_in_stages_and_back() {
    let plane = Plane::new();
    plane.push(ONE);
    let canary = plane.member(1, r#"{"name":"canary"}"#);
    let early = plane.member(2, r#"{"name":"eu-1","labels":{"ring":"early"}}"#);
    let last = plane.member(3, r#"{"name":"eu-2"}"#);
    let all = || {
        [&canary, &early, &last].map(|member| {
            member.pull().expect("it is given");
            member.servers().concat()
        })
    };
    assert_eq!(all(), ["a", "a", "a"]);
    let plan = r#"{"stages":[{"gateways":["canary"]},{"labels":{"ring":"early"}}],"note":"try it"}"#;
    let (status, said) = plane.admin(Method::POST, "rollouts", plan);
    assert_eq!((status, &said["version"], &said["state"]), (201, &2.into(), &"open".into()));
    let path = |step: &str| format!("rollouts/{}/{step}", said["id"].as_str().expect("an id"));
    assert_eq!(plane.admin(Method::POST, &path("promote"), "").0, 409, "it is not pushed yet");
    assert_eq!(plane.admin(Method::POST, "rollouts", plan).0, 409);
    plane.push(TWO);
    assert_eq!(all(), ["b", "a", "a"]);
    assert_eq!(plane.admin(Method::POST, &path("promote"), "").1["reached"], 2);
    assert_eq!(all(), ["b", "b", "a"]);
    assert_eq!(plane.admin(Method::POST, &path("abort"), "").1["state"], "aborted");
    assert_eq!(all(), ["a", "a", "a"]);
    assert_eq!(plane.admin(Method::POST, &path("promote"), "").0, 404);
    let (_, again) =
        plane.admin(Method::POST, "rollouts", r#"{"version":2,"stages":[{"gateways":["canary"]}]}"#);
    assert_eq!(all(), ["b", "a", "a"]);
    let id = again["id"].as_str().expect("an id");
    let (_, said) = plane.admin(Method::POST, &format!("rollouts/{id}/promote"), r#"{"all":true}"#);
    assert_eq!((&said["state"], &said["ended_by"]), (&"promoted".into(), &"admin".into()));
    assert_eq!(all(), ["b", "b", "b"]);
    let (_, listed) = plane.admin(Method::GET, "rollouts?limit=1", "");
    assert_eq!(
        (listed["items"].as_array().map(Vec::len), &listed["next"]),
        (Some(1), &listed["items"][0]["id"])
    );
    let (_, rest) =
        plane.admin(Method::GET, &format!("rollouts?cursor={}", listed["next"].as_str().expect("an id")), "");
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next"]), (Some(1), &Value::Null));
}

#[test]
fn without_a_fleet_there_is_nothing_there() {
    let plane = Plane::new();
    let request =
        http::Request::get(format!("{URL}/fleet/v1/snapshot")).body(Bytes::new()).expect("a request");
    assert_eq!(plane.serve(&request).status(), 404);
    plane.token(r#"{"name":"one"}"#);
    assert_eq!(plane.serve(&request).status(), 401);
    // A governed gateway governs nobody.
    plane.gateway.governed_by("https://above.test");
    assert_eq!(plane.serve(&request).status(), 404);
}

/// Lines of a trail of that many entries.
fn lines(many: usize) -> Vec<String> {
    let mut chain = crate::audit::Chain::default();
    let entry = |id, prev: &str| {
        let entry = crate::audit::Entry { gateway: "one".into(), method: "ping", ..Default::default() };
        entry.line(id, prev, &crate::audit::Writing::default())
    };
    (0..many).map(|_| chain.add(entry)).collect()
}

#[test]
fn a_trail_is_forwarded_once_and_stands_under_whose_it_is() {
    let plane = Plane::new();
    plane.push(ONE);
    plane.host.read_trail(lines(1));
    let (one, two) = (plane.member(1, r#"{"name":"one"}"#), plane.member(2, r#"{"name":"two"}"#));
    one.host.read_trail(lines(5));
    // Whatever its lines say, they are its own.
    two.host.read_trail(lines(3));
    let shown = |query: &str| {
        plane.host.run(plane.host.sleep(std::time::Duration::from_secs(2)));
        let (status, said) = plane.admin(Method::GET, &format!("audit{query}"), "");
        assert_eq!(status, 200, "{said}");
        said["entries"].as_array().map_or(0, Vec::len)
    };
    let send = |member: &Member, mut sent| member.host.run(member.gateway.send_trail(&mut sent));
    lock(&plane.way).on_answer = Some(Box::new(|answer| {
        // It was taken, and nobody is told.
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    }));
    assert!(send(&one, Some(None)).is_err());
    lock(&plane.way).on_answer = None;
    assert_eq!(shown("?gateway=one"), 5);
    assert_eq!(send(&one, None), Ok(false));
    assert_eq!(send(&one, Some(None)), Ok(false), "it was taken before");
    assert_eq!(shown("?gateway=one"), 5);
    assert_eq!(send(&two, None), Ok(false));
    let counts = ["", "?gateway=", "?gateway=one", "?gateway=two", "?gateway=three"].map(shown);
    assert_eq!(counts, [9, 1, 5, 3, 0]);
    let (_, said) = plane.admin(Method::GET, "audit/verify", "");
    let all: Vec<_> = said["writers"].as_array().into_iter().flatten().collect();
    assert_eq!(all.len(), 3, "{said}");
    assert!(all.iter().all(|one| one["whole"] == true), "{said}");
    let (mut newest, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, said) = plane.admin(Method::GET, &format!("audit?limit=2{cursor}"), "");
        newest.push(said["gateways"].clone());
        let Some(next) = said["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(newest.iter().flat_map(|page| page.as_array().into_iter().flatten()).count(), 9, "{newest:?}");
}

#[test]
fn what_was_refused_is_tried_once_more_by_a_gateway_that_begins_anew() {
    use crate::control::Strangers;
    let plane = Plane::new();
    plane.push(ONE);
    let member = plane.member(1, r#"{"name":"one"}"#);
    let begins = |strangers| {
        let gateway = gateway(&member.host, &["own"]);
        gateway.governed_by(URL);
        if let crate::control::Managed::ByStore(known) = &mut *lock(&gateway.0.managed) {
            known.strangers = strangers;
        }
        gateway
    };
    let pull = |gateway: &Gateway<Memory>| member.host.run(gateway.pull(0)).map_err(|(why, _)| why.0);
    for _ in 0..2 {
        let gateway = begins(Strangers::KeptOut);
        assert!(matches!(pull(&gateway), Ok(Governed::Refused(1, _))));
        assert_eq!(pull(&gateway), Ok(Governed::Same), "nothing has changed since");
    }
    let gateway = begins(Strangers::Admitted);
    assert_eq!(pull(&gateway), Ok(Governed::InForce(1)));
    assert_eq!(pull(&gateway), Ok(Governed::Same));
    assert_eq!(member.host.run(gateway.membership()).unwrap().unwrap().refused, None);
}
