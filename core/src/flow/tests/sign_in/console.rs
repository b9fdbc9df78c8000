//! Those who govern sign in at the console, and what a session is good for: its own console, and nothing else.
#![cfg(feature = "control")]

mod directory;

use serde_json::Value;

use super::*;
use crate::config::{Console, ConsoleSignIn, Holder};
use crate::control::Role;
use crate::front::admin::AdminKey;
use crate::testing::ADMIN_KEY;

const CONSOLE: [(&str, &str); 3] =
    [("sec-fetch-site", "same-origin"), ("origin", OWN), ("x-portcullis-console", "1")];
const SESSION: &str = "__Host-portcullis-session";

fn governed(roles: &[(Role, &str)], members: bool) -> Config {
    let mut config = config(|_| ());
    let client = config.auth.sign_in.clone().expect("a client");
    let holder = |value: &str| vec![Holder::Claim("groups".into(), value.into())];
    config.console = Console {
        sign_in: Some(ConsoleSignIn { client, is_shared: true }),
        roles: roles.iter().map(|(role, value)| (*role, holder(value))).collect(),
        members,
        ..Console::default()
    };
    config
}

impl Stage {
    /// Has a browser with its cookies ask for something, as from a page of the console's own.
    fn ask(&self, browser: &mut Browser, method: Method, target: &str, body: &str) -> Answered {
        self.ask_from(browser, (method, target), &CONSOLE, body)
    }

    fn ask_from(
        &self,
        browser: &mut Browser,
        (method, target): (Method, &str),
        page: &[(&'static str, &str)],
        body: &str,
    ) -> Answered {
        let cookies: Vec<_> = browser.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let own = [("cookie", &*cookies), ("content-type", "application/json")];
        let answered = self.send(method, target, &[&own, page].concat(), body.to_owned());
        for cookie in answered.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("ASCII");
            assert!(
                cookie.starts_with("__Host-") && cookie.contains("HttpOnly") && cookie.contains("Secure")
            );
            assert!(!cookie.starts_with(SESSION) || cookie.contains("SameSite=Strict"), "{cookie}");
            let (name, rest) = cookie.split_once('=').expect("a pair");
            let value = rest.split(';').next().expect("a value");
            if cookie.contains("Max-Age=0") {
                browser.0.remove(name);
            } else {
                browser.0.insert(name.to_owned(), value.to_owned());
            }
        }
        answered
    }

    /// Signs in at the provider.
    fn sign_in(&self, browser: &mut Browser, to: &str) -> Answered {
        let at = self.ask_from(browser, (Method::GET, &format!("/console/sign-in{to}")), &[], "");
        assert_eq!(at.status, 302, "{at:?}");
        let back = self.at_provider(&at);
        self.ask_from(browser, (Method::GET, &back), &[], "")
    }

    fn by_key(&self, browser: &mut Browser, key: &str) -> Answered {
        self.ask(browser, Method::POST, "/console/sign-in", &format!(r#"{{"key":"{key}"}}"#))
    }

    /// Returns who a browser is to the control plane, and in which role.
    fn whoami(&self, browser: &mut Browser) -> String {
        let answered = self.ask(browser, Method::GET, "/admin/v1/sessions", "");
        if answered.status != 200 {
            return format!("{}", answered.status);
        }
        let said: Value = serde_json::from_str(&answered.text).expect("JSON");
        let current = said["items"].as_array().expect("a list").iter().find(|item| item["current"] == true);
        current
            .map_or("nobody".into(), |item| format!("{} {}", item["principal"], item["role"]))
            .replace('"', "")
    }

    /// Returns the ids of the sessions that a browser may see.
    fn sessions(&self, browser: &mut Browser) -> Vec<String> {
        let answered = self.ask(browser, Method::GET, "/admin/v1/sessions", "");
        let said: Value = serde_json::from_str(&answered.text).expect("JSON");
        let ids = said["items"].as_array().expect("a list").iter();
        ids.map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[test]
fn who_signs_in_governs_in_their_role() {
    let stage = Stage::with(governed(&[(Role::Auditor, "eng"), (Role::Admin, "platform")], false));
    let mut browser = Browser::default();
    assert_eq!(stage.whoami(&mut browser), "401");
    let welcome = stage.sign_in(&mut browser, "?to=/console/servers?q%3D1");
    assert_eq!((welcome.status, welcome.onward().as_str()), (200, "https://gw.test/console/servers?q=1"));
    assert_eq!(welcome.header("x-frame-options"), "DENY");
    assert!(welcome.header("content-security-policy").contains("frame-ancestors 'none'"));
    let id = browser.0[SESSION].clone();
    assert!(!welcome.text.contains(&id) && id.len() == 43);
    assert_eq!(stage.whoami(&mut browser), "user:corp:ann auditor");
    // What the role may not do is refused.
    assert_eq!(stage.ask(&mut browser, Method::POST, "/admin/v1/config/rollback", "{}").status, 403);
    // What counts is the configuration in force.
    stage.gateway.reload(governed(&[(Role::Admin, "eng")], false));
    assert_eq!(stage.whoami(&mut browser), "user:corp:ann admin");
    stage.gateway.reload(governed(&[(Role::Admin, "platform")], true));
    assert_eq!(stage.whoami(&mut browser), "user:corp:ann member");
    stage.gateway.reload(governed(&[(Role::Admin, "platform")], false));
    assert_eq!(stage.whoami(&mut browser), "401");
    let mut config = governed(&[(Role::Admin, "eng")], false);
    if let Some(sign_in) = &mut config.console.sign_in {
        sign_in.client.client_id = "another".into();
    }
    stage.gateway.reload(config);
    assert_eq!(stage.whoami(&mut browser), "401", "it was another client that they signed in by");
}

#[test]
fn who_has_no_role_is_not_let_in() {
    let stage = Stage::with(governed(&[(Role::Admin, "platform")], false));
    let trail = stage.host.keep_trail();
    let mut browser = Browser::default();
    let page = stage.sign_in(&mut browser, "");
    assert_eq!(
        page.said(),
        "403 You are signed in, and have no role here. Ask whoever runs this gateway for one."
    );
    assert!(!browser.0.contains_key(SESSION));
    let entries = trail.take();
    let told = entries.iter().map(|entry| {
        format!(
            "{} {:?} {} {}",
            entry.method,
            entry.principal,
            entry.decision.as_str(),
            entry.error.as_deref().unwrap_or_default()
        )
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"GET /oauth/signed-in Some("user:corp:ann") denied has no role, and members are not let in"#);
}

#[test]
fn only_the_browser_that_began_a_sign_in_ends_it() {
    let stage = Stage::with(governed(&[(Role::Admin, "eng")], false));
    let mut attacker = Browser::default();
    let at = stage.ask_from(&mut attacker, (Method::GET, "/console/sign-in"), &[], "");
    let back = stage.at_provider(&at);
    // Another browser, without cookies or with its own, is not signed in as whoever began.
    let mut victim = Browser::default();
    assert_eq!(stage.ask_from(&mut victim, (Method::GET, &back), &[], "").status, 403);
    stage.ask_from(&mut victim, (Method::GET, "/console/sign-in"), &[], "");
    assert_eq!(stage.ask_from(&mut victim, (Method::GET, &back), &[], "").status, 403);
    assert!(!victim.0.contains_key(SESSION));
    // Nor does a sign-in for the console come to anything where the console has a client of its own meanwhile.
    let mut config = governed(&[(Role::Admin, "eng")], false);
    if let Some(sign_in) = &mut config.console.sign_in {
        sign_in.is_shared = false;
    }
    stage.gateway.reload(config);
    assert_eq!(stage.ask_from(&mut attacker, (Method::GET, &back), &[], "").status, 403);
    assert!(!attacker.0.contains_key(SESSION));
    // What somebody signs in for elsewhere makes no session.
    let agents = Stage::with(governed(&[(Role::Admin, "eng")], false));
    agents.code(&Stage::request(APP, &[]));
    let held = agents.host.run(crate::ports::RecordStore::page(agents.host.store(), "session", None, 10));
    assert_eq!(held.expect("a page"), []);
}

#[test]
fn another_name_of_the_gateway_begins_no_sign_in() {
    let stage = Stage::with(governed(&[(Role::Admin, "eng")], false));
    let mut request = http::Request::get("/console/sign-in?to=/console/x")
        .body(Body::Full(Bytes::new().into()))
        .expect("a request");
    request.headers_mut().insert(header::HOST, "127.0.0.1:4000".parse().expect("ASCII"));
    let reply = stage.host.run(stage.gateway.serve(request));
    let location = reply.headers().get(header::LOCATION).expect("a way on");
    assert_eq!(location, "https://gw.test/console/sign-in?to=/console/x");
    assert!(!reply.headers().contains_key(header::SET_COOKIE));
}

#[test]
fn a_session_counts_for_the_console_alone() {
    let stage = Stage::with(governed(&[(Role::Admin, "eng")], false));
    let mut browser = Browser::default();
    stage.sign_in(&mut browser, "");
    let own = stage.sessions(&mut browser);
    let target = format!("/admin/v1/sessions/{}", own[0]);
    let mut refused = |method: Method, page: &[(&'static str, &str)]| {
        stage.ask_from(&mut browser, (method, &target), page, "").status
    };
    // Another site's form, another origin of the same site, an old browser, a page without the header.
    for page in [
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.test"), CONSOLE[2]][..],
        &[("sec-fetch-site", "same-site"), ("origin", "https://app.gw.test"), CONSOLE[2]],
        &[("origin", "null"), CONSOLE[2]],
        &[CONSOLE[2]],
        &CONSOLE[..2],
        &[],
    ] {
        assert_eq!(refused(Method::DELETE, page), 403, "{page:?}");
    }
    assert_eq!(refused(Method::GET, &CONSOLE), 405);
    let get = |browser: &mut Browser, page: &[(&'static str, &str)]| {
        stage.ask_from(browser, (Method::GET, "/admin/v1/sessions"), page, "")
    };
    assert_eq!(get(&mut browser, &[("sec-fetch-site", "cross-site")]).status, 403);
    let read = get(&mut browser, &CONSOLE);
    assert_eq!((read.status, read.header("access-control-allow-credentials")), (200, ""));
    assert_eq!(stage.ask_from(&mut browser, (Method::GET, "/console/sign-out"), &[], "").status, 405);
    assert_eq!(stage.sessions(&mut browser), own, "nothing of that has ended it");
    // The data path does not know it, and neither does whoever presents something else.
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for target in ["/mcp", "/sse", "/messages"] {
        assert_eq!(stage.ask(&mut browser, Method::POST, target, call).status, 401, "{target}");
    }
    let both = [&CONSOLE[..], &[("authorization", "Bearer wrong")]].concat();
    assert_eq!(stage.ask_from(&mut browser, (Method::GET, "/admin/v1/sessions"), &both, "").status, 401);
    // Its digest, which others see, is no id; nor is what is longer.
    for id in [&*own[0], "x", &format!("{}a", browser.0[SESSION])] {
        let mut other = Browser(SortedMap::from([(SESSION.to_owned(), id.to_owned())]));
        assert_eq!(stage.whoami(&mut other), "401");
    }
    assert_eq!(stage.ask(&mut browser, Method::POST, "/console/sign-out", "").status, 204);
    assert_eq!((stage.whoami(&mut browser), browser.0.contains_key(SESSION)), ("401".into(), false));
}

#[test]
fn a_session_ends_by_itself() {
    let mut config = governed(&[(Role::Admin, "eng")], false);
    config.console.session = Duration::from_mins(5);
    let stage = Stage::with(config);
    let mut browser = Browser::default();
    stage.sign_in(&mut browser, "");
    stage.host.run(stage.host.sleep(Duration::from_secs(299)));
    assert_eq!(stage.whoami(&mut browser), "user:corp:ann admin");
    stage.host.run(stage.host.sleep(Duration::from_secs(2)));
    assert_eq!(stage.whoami(&mut browser), "401");
}

#[test]
fn nobody_ends_the_sessions_of_others_but_an_admin() {
    let stage = Stage::with(governed(&[], true));
    let (mut member, mut admin) = (Browser::default(), Browser::default());
    stage.sign_in(&mut member, "");
    assert_eq!(stage.by_key(&mut admin, ADMIN_KEY).status, 200);
    let all = stage.sessions(&mut admin);
    let own = stage.sessions(&mut member);
    assert_eq!((all.len(), own.len()), (2, 1), "a member sees their own");
    let others = all.iter().find(|id| **id != own[0]).expect("another");
    let end = |browser: &mut Browser, id: &str| {
        stage.ask(browser, Method::DELETE, &format!("/admin/v1/sessions/{id}"), "").status
    };
    // That there is one is not told: it is as one that there is not.
    let (foreign, unknown) = (end(&mut member, others), end(&mut member, &"a".repeat(43)));
    assert_eq!((foreign, unknown), (404, 404));
    stage.gateway.reload(governed(&[(Role::Auditor, "eng")], false));
    assert_eq!(stage.sessions(&mut member).len(), 2, "an auditor sees all");
    assert_eq!(end(&mut member, others), 403);
    assert_eq!(end(&mut admin, &own[0]), 204);
    assert_eq!(stage.whoami(&mut member), "401");
    assert_eq!(end(&mut admin, &own[0]), 404);
}

#[test]
fn the_admin_credential_signs_in_when_all_else_fails() {
    let stage = Stage::with(governed(&[], false));
    let trail = stage.host.keep_trail();
    stage.provider.is_away.store(true, Ordering::Relaxed);
    let mut browser = Browser::default();
    assert_eq!(stage.by_key(&mut browser, "wrong").status, 401);
    assert_eq!(stage.ask_from(&mut browser, (Method::POST, "/console/sign-in"), &[], "{}").status, 403);
    assert_eq!(stage.ask(&mut browser, Method::POST, "/console/sign-in", "{").status, 400);
    assert_eq!(stage.by_key(&mut browser, ADMIN_KEY).status, 200);
    let first = browser.0[SESSION].clone();
    assert_eq!(stage.whoami(&mut browser), "admin admin");
    // Whoever signs in again has another id, and the one before counts no more.
    assert_eq!(stage.by_key(&mut browser, ADMIN_KEY).status, 200);
    assert_ne!(browser.0[SESSION], first);
    let mut before = Browser(SortedMap::from([(SESSION.to_owned(), first)]));
    assert_eq!(stage.whoami(&mut before), "401");
    let entries = trail.take();
    let told = entries.iter().filter(|entry| entry.method.contains("console")).map(|entry| {
        format!("{} {:?} {:?} {}", entry.method, entry.principal, entry.auth, entry.decision.as_str())
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
    POST /console/sign-in Some("admin") Admin denied
    POST /console/sign-in Some("admin") Admin allowed
    POST /console/sign-in Some("admin") Admin allowed
    "#);
    // It is tried so often and no more.
    let tries: Vec<_> = (0..12).map(|_| stage.by_key(&mut Browser::default(), "wrong")).collect();
    let last = tries.last().expect("one");
    assert_eq!((last.status, last.header("retry-after").is_empty()), (429, false));
    assert_eq!(stage.by_key(&mut Browser::default(), ADMIN_KEY).status, 429);
    // With another credential, who signed in by the one before is nobody.
    stage.gateway.set_admin_key(AdminKey::new("another"));
    assert_eq!(stage.whoami(&mut browser), "401");
    stage.gateway.set_admin_key(None);
    assert_eq!(stage.by_key(&mut Browser::default(), ADMIN_KEY).status, 404);
    stage.gateway.reload(config(|_| ()));
    assert_eq!(stage.by_key(&mut Browser::default(), ADMIN_KEY).status, 404);
    assert_eq!(stage.whoami(&mut browser), "404", "there is no control plane");
}

#[test]
fn a_page_is_told_which_ways_in_there_are() {
    let ways = |stage: &Stage| {
        let page = [("accept", "application/json")];
        let told = stage.send(Method::GET, "/console/sign-in", &page, String::new());
        format!("{} {}", told.status, told.text)
    };
    let stage = Stage::with(governed(&[], false));
    stage.gateway.set_admin_key(AdminKey::new(ADMIN_KEY));
    assert_eq!(ways(&stage), r#"200 {"provider":true,"admin_key":true}"#);
    stage.gateway.set_admin_key(None);
    assert_eq!(ways(&stage), r#"200 {"provider":true,"admin_key":false}"#);
    stage.gateway.set_admin_key(AdminKey::new(ADMIN_KEY));
    stage.gateway.reload(config(|_| ()));
    assert_eq!(ways(&stage), r#"200 {"provider":false,"admin_key":true}"#);
}
