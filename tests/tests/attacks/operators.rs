//! Cases 8, 31 and 34 at the control plane: whoever is signed in at the console is talked into nothing by another site or another's
//! client, and reaches what is theirs.

use portcullis_tests::browser::Browser;
use portcullis_tests::http::{Request, Response};
use portcullis_tests::stand_in::of;
use serde_json::{Value, json};

use super::governors::{Governor, as_admin, governed_by};

const CHALLENGE: &str = "Wkk7QXBRuHO9ED7lZJWtCeCZ1E0kcYBquDrmTCtUtFU";
const FOREIGN: [&str; 3] = ["https://evil.example", "null", "http://127.0.0.1.evil.example"];

/// The cookies that an answer sets to something.
fn sessions_of(response: &Response) -> Vec<String> {
    let cookies = response.all("set-cookie").filter(|cookie| cookie.contains("session="));
    cookies.filter(|cookie| !cookie.contains("session=;")).map(str::to_owned).collect()
}

/// An attacker's client in the browser of somebody who is signed in at the console, and at the provider.
#[test]
fn case_08_a_session_at_the_console_agrees_to_no_client() {
    let front = governed_by("admin");
    let governor = Governor::of(&front, "admin");
    let metadata = json!({
        "client_name": "Your own agent",
        "redirect_uris": ["https://evil.example/callback"],
        "token_endpoint_auth_method": "none",
    });
    let registered = Request::post(&format!("{}/oauth/register", front.origin)).json(&metadata).send();
    let client = of(&registered.json(), "client_id");
    let asks = format!(
        "/oauth/authorize?response_type=code&client_id={client}&redirect_uri=https%3A%2F%2Fevil.example%2Fcallback\
         &state=mine&code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    for _ in 0..2 {
        let page = governor.with("GET", &asks, &Value::Null).send();
        assert_eq!((page.status, page.header("location")), (200, None), "nobody is sent on without a word");
        assert!(
            page.header("content-security-policy").is_some_and(|csp| csp.contains("frame-ancestors 'none'"))
        );
    }
    let consent = governor.with("POST", "/oauth/consent", &Value::Null);
    let consent = consent.header("Content-Type", "application/x-www-form-urlencoded").body("decision=allow");
    let refused = consent.send();
    assert!(refused.status >= 400 && refused.header("location").is_none(), "{}", refused.status);
}

/// Somebody's sign-in ends in the browser that began it, and leads nowhere but into the console.
#[test]
fn case_08_a_sign_in_at_the_console_is_for_the_browser_that_began_it() {
    let front = governed_by("admin");
    let begin = format!("{}/console/sign-in?to=/console/", front.origin);
    let mut attacker = Browser::default();
    let back = attacker.stopped_at(&begin, &format!("{}/oauth/signed-in", front.origin));
    // The attacker's sign-in, ended in a victim's browser, would have the victim work in the attacker's name.
    let planted = Request::get(&back).send();
    assert_eq!(sessions_of(&planted), [""; 0], "{}", planted.status);
    let victim = Governor::of(&front, "admin");
    let planted = Request::get(&back).header("Cookie", &victim.cookies).send();
    assert_eq!(sessions_of(&planted), [""; 0], "{}", planted.status);
    assert_eq!(victim.ask("GET", "/admin/v1/me", &Value::Null).status, 200, "their own goes on");
    for to in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
    ] {
        let to = to.replace('/', "%2F").replace(':', "%3A").replace('\\', "%5C");
        let mut browser = Browser::default();
        let begin = format!("{}/console/sign-in?to={to}", front.origin);
        let back = browser.stopped_at(&begin, &format!("{}/oauth/signed-in", front.origin));
        let end = Request::get(&back).header("Cookie", browser.cookies(&front.origin)).send();
        assert_eq!(sessions_of(&end).len(), 1, "{to}: {}", end.status);
        let text = format!("{} {}", end.header("location").unwrap_or_default().to_owned(), end.text());
        assert!(!text.contains("evil.example") && !text.contains("javascript:"), "{to}: {text}");
    }
}

/// What is another's is answered as what is not there, under whatever id a member asks for it.
#[test]
fn case_31_a_member_reaches_nothing_of_others() {
    let front = governed_by("member");
    let key = |agent: &str| {
        let made = as_admin(&front, "POST", "/admin/v1/keys", &json!({ "agent": agent })).send();
        assert_eq!(made.status, 201);
        of(&made.json(), "id")
    };
    let foreign = [key("engineer"), key("default")];
    let by_key = Request::post(&format!("{}/console/sign-in", front.origin)).header("Origin", &front.origin);
    let by_key = by_key.header("X-Portcullis-Console", "1").json(&json!({ "key": "the admin's key" })).send();
    assert!(by_key.status < 300, "{}", by_key.status);
    let sessions = as_admin(&front, "GET", "/admin/v1/sessions", &Value::Null).send().json();
    let session = of(&sessions["items"][0], "id");
    let member = Governor::of(&front, "member");
    let own = member.ask("POST", "/admin/v1/keys", &json!({ "agent": "engineer" }));
    assert_eq!(own.status, 201);
    let own = of(&own.json(), "id");
    let told = |method: &str, path: &str| {
        let response = member.ask(method, path, &Value::Null);
        (response.status, response.text())
    };
    let pairs = [
        ("DELETE", "keys", foreign[0].clone()),
        ("DELETE", "keys", foreign[1].clone()),
        ("DELETE", "sessions", session),
        ("DELETE", "instances", "key:x".into()),
        ("DELETE", "connections", "user:corp:somebody".into()),
        ("GET", "agents", "default".into()),
        ("GET", "servers", "hidden".into()),
    ];
    for (method, what, id) in pairs {
        let there = told(method, &format!("/admin/v1/{what}/{id}"));
        // The same with another id, which nobody has.
        let guessed: String = id.chars().rev().collect();
        let guessed = told(method, &format!("/admin/v1/{what}/{guessed}"));
        assert_eq!(there.0, 404, "{method} {what} {id}: {there:?}");
        assert_eq!(
            there.1.replace(&id, ""),
            guessed.1.replace(&id.chars().rev().collect::<String>(), ""),
            "{what}"
        );
    }
    for (method, path) in [
        ("GET", "/admin/v1/config"),
        ("PUT", "/admin/v1/config"),
        ("GET", "/admin/v1/secrets"),
        ("PUT", "/admin/v1/secrets/idp"),
        ("GET", "/admin/v1/audit/verify"),
        ("GET", "/admin/v1/gateways"),
        ("POST", "/admin/v1/enrolments"),
    ] {
        assert_eq!(told(method, path).0, 403, "{method} {path}");
    }
    assert_eq!(member.ask("POST", "/admin/v1/keys", &json!({ "agent": "default" })).status, 404);
    let listed = member.ask("GET", "/admin/v1/keys", &Value::Null).json();
    assert_eq!((listed["keys"].as_array().map(Vec::len), &listed["keys"][0]["id"]), (Some(1), &json!(own)));
    let all = as_admin(&front, "GET", "/admin/v1/keys", &Value::Null).send().json();
    let valid = all["keys"].as_array().into_iter().flatten().filter(|key| key["state"] == "valid").count();
    assert_eq!(valid, 3, "nothing was revoked: {all}");
}

/// What a browser adds by itself does nothing, and no page of another site's shows or reads what is here.
#[test]
fn case_34_another_site_governs_nothing() {
    let front = governed_by("admin");
    let governor = Governor::of(&front, "admin");
    let keys = || as_admin(&front, "GET", "/admin/v1/keys", &Value::Null).send().json();
    let before = keys();
    let writes = [
        ("POST", "/admin/v1/keys", json!({ "agent": "default" })),
        ("PUT", "/admin/v1/secrets/evil", json!({ "value": "evil" })),
        ("DELETE", "/admin/v1/secrets/idp", Value::Null),
        (
            "POST",
            "/admin/v1/servers",
            json!({ "name": "x", "settings": { "url": "https://evil.example/mcp" } }),
        ),
        ("POST", "/v0.1/publish", json!({ "name": "evil.example/x", "version": "1.0.0" })),
        ("POST", "/console/sign-out", Value::Null),
    ];
    for (method, path, body) in &writes {
        for origin in FOREIGN.into_iter().map(Some).chain([None]) {
            for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
                let request = governor.bare(method, path).header("Content-Type", kind).body(body.to_string());
                let request = match origin {
                    Some(origin) => request.header("Origin", origin).header("X-Portcullis-Console", "1"),
                    None => request.header("Sec-Fetch-Site", "cross-site"),
                };
                let refused = request.send();
                assert!(
                    matches!(refused.status, 401 | 403),
                    "{method} {path} {origin:?}: {}",
                    refused.status
                );
                assert_eq!(refused.header("access-control-allow-origin"), None);
            }
        }
    }
    for path in ["/admin/v1/keys?agent=default", "/admin/v1/secrets/evil?value=x", "/console/sign-out"] {
        let looked = governor.bare("GET", path).send();
        assert!(looked.status == 200 || looked.status >= 400, "{path}: {}", looked.status);
    }
    for path in ["/console/", "/console/keys", "/admin/v1/me"] {
        let foreign = governor.bare("GET", path).header("Origin", FOREIGN[0]).send();
        assert_eq!(foreign.header("access-control-allow-origin"), None, "{path}");
        let page = governor.bare("GET", path).send();
        let policy = page.header("content-security-policy").unwrap_or_default();
        assert!(path.starts_with("/admin") || policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
    // Nor is a victim's browser signed in as somebody else by another site.
    let planted = Request::post(&format!("{}/console/sign-in", front.origin)).header("Origin", FOREIGN[0]);
    let planted =
        planted.header("X-Portcullis-Console", "1").json(&json!({ "key": "the admin's key" })).send();
    assert_eq!((planted.status, sessions_of(&planted)), (403, Vec::new()));
    assert_eq!(keys(), before);
    let secrets = as_admin(&front, "GET", "/admin/v1/secrets", &Value::Null).send().text();
    assert!(secrets.contains("\"idp\"") && !secrets.contains("evil"), "{secrets}");
    assert_eq!(governor.ask("GET", "/admin/v1/me", &Value::Null).status, 200, "they are signed in still");
    assert_eq!(governor.ask("POST", "/admin/v1/keys", &json!({ "agent": "default" })).status, 201);
}
