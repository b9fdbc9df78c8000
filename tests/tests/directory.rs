//! An identity provider writes who is there (SCIM), tried by a program that we did not write, and who leaves has no access.

use std::process::Command;

use portcullis_tests::agent::Agent;
use portcullis_tests::browser::Browser;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::StandIn;
use portcullis_tests::toolbox;
use serde_json::{Value, json};

const ADMIN: &str = "Bearer the admin's key";
const TOKEN: &str = "Bearer the directory's token";

/// A gateway whose provider writes to its directory; people of the group `Platform` there are operators.
fn provisioned() -> StandIn {
    let roles = json!({ "operator": [{ "group": "Platform" }] });
    let scim = json!({ "token": { "secret": "scim" } });
    let console = json!({ "sign_in": true, "roles": roles, "members": true, "scim": scim });
    let front = StandIn::governed(Provider::behind, &console);
    let secret = Request::new("PUT", &format!("{}/admin/v1/secrets/scim", front.origin));
    let set = secret.header("Authorization", ADMIN).json(&json!({ "value": "the directory's token" })).send();
    assert!(set.status < 300, "{}", set.text());
    front
}

fn scim(front: &StandIn, method: &str, path: &str, body: &Value) -> Response {
    let request = Request::new(method, &format!("{}/scim/v2/{path}", front.origin));
    request.header("Authorization", TOKEN).json(body).send()
}

#[test]
fn the_rfcs_are_kept_as_others_read_them() {
    let front = provisioned();
    let mut command = Command::new(toolbox::scim());
    command.args(["--url", &format!("{}/scim/v2", front.origin)]);
    command.env("SCIM_CLI_HEADERS", format!("Authorization: {TOKEN}")).args(["test", "--verbose"]);
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong: Vec<_> =
        said.lines().filter(|line| line.starts_with("ERROR") || line.starts_with("CRITICAL")).collect();
    let right = said.lines().filter(|line| line.starts_with("SUCCESS")).count();
    assert_eq!(wrong, [""; 0], "{said}");
    assert!(right > 50, "it tried little: {said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Signs somebody in at the console; answers their cookies.
fn sign_in(front: &StandIn) -> String {
    let mut browser = Browser::default();
    browser.visit(&format!("{}/console/sign-in?to=/console/", front.origin));
    browser.cookies(&front.origin)
}

/// A request as a page of the console sends it.
fn as_console(front: &StandIn, cookies: &str, method: &str, path: &str) -> Request {
    let request = Request::new(method, &format!("{}{path}", front.origin)).header("Cookie", cookies);
    request.header("Sec-Fetch-Site", "same-origin").header("X-Portcullis-Console", "1")
}

/// Has the provider say of a user whether they are there.
fn set_active(front: &StandIn, id: &str, is_active: bool) {
    let patch = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "Replace", "path": "active", "value": is_active }],
    });
    assert_eq!(scim(front, "PATCH", &format!("Users/{id}"), &patch).status, 200);
}

#[test]
fn who_leaves_the_company_is_out() {
    let front = provisioned();
    let sign_in = || sign_in(&front);
    let me = |cookies: &str| as_console(&front, cookies, "GET", "/admin/v1/me").send();
    let cookies = sign_in();
    let said = me(&cookies).json();
    assert_eq!(said["role"], "member", "{said}");
    let subject =
        said["principal"].as_str().and_then(|who| who.strip_prefix("user:corp:")).expect("a user").to_owned();
    let user =
        scim(&front, "POST", "Users", &json!({ "userName": "ann@example.com", "externalId": subject }))
            .json();
    let id = user["id"].as_str().expect("an id");
    let group = json!({ "displayName": "Platform", "members": [{ "value": id }] });
    assert_eq!(scim(&front, "POST", "Groups", &group).status, 201);
    assert_eq!(me(&cookies).json()["role"], "operator");
    set_active(&front, id, false);
    assert_eq!(me(&cookies).status, 401, "the session has ended");
    assert_eq!(me(&sign_in()).status, 401, "and there is no other");
    let found = scim(&front, "GET", "Users?filter=userName%20eq%20%22Ann@example.com%22", &json!({})).json();
    assert_eq!(
        (&found["totalResults"], &found["Resources"][0]["active"]),
        (&json!(1), &json!(false)),
        "{found}"
    );
}

#[test]
fn a_key_leaves_with_who_made_it() {
    let front = provisioned();
    let cookies = sign_in(&front);
    let me = as_console(&front, &cookies, "GET", "/admin/v1/me").send().json();
    let principal = me["principal"].as_str().expect("a user").to_owned();
    let subject = principal.strip_prefix("user:corp:").expect("a user of the provider's");
    let user = json!({ "userName": "ann@example.com", "externalId": subject });
    let user = scim(&front, "POST", "Users", &user).json();
    let id = user["id"].as_str().expect("an id");
    let engineer = json!({ "agent": "engineer" });
    let own = as_console(&front, &cookies, "POST", "/admin/v1/keys").json(&engineer).send().json();
    assert_eq!(own["owner"], principal, "{own}");
    let companys = Request::post(&format!("{}/admin/v1/keys", front.origin)).header("Authorization", ADMIN);
    let companys = companys.json(&engineer).send().json();
    assert_eq!(companys["owner"], Value::Null, "{companys}");
    let listed = as_console(&front, &cookies, "GET", "/admin/v1/keys").send().json();
    assert_eq!((listed["keys"].as_array().map(Vec::len), &listed["keys"][0]["id"]), (Some(1), &own["id"]));
    let [own, companys] = [own, companys]
        .map(|key| Agent::modern(front.gateway.url()).bearer(key["key"].as_str().expect("a key")));
    let statuses = || [&own, &companys].map(|agent| agent.post("tools/list", json!({})).send().status);
    assert_eq!(statuses(), [200, 200]);
    let listens = json!({ "notifications": { "toolsListChanged": true } });
    let stream = own.post("subscriptions/listen", listens).send();
    assert!(stream.is_stream());
    set_active(&front, id, false);
    assert_eq!(statuses(), [403, 200]);
    // This comes to an end only because the stream does.
    stream.events().for_each(drop);
    set_active(&front, id, true);
    assert_eq!(statuses(), [200, 200], "they are there again");
    assert_eq!(scim(&front, "DELETE", &format!("Users/{id}"), &Value::Null).status, 204);
    assert_eq!(statuses(), [403, 200]);
}
