//! Users who connect their accounts at servers: the whole way, and what attackers would do on it.

mod devices;
mod doubles;

use std::sync::{Arc, Mutex};

use http::{Method, header};
use url::Url;

use self::doubles::Doubles;
use super::*;
use crate::config::{Auth, Config, Source, parse};
use crate::identity::KeyRing;
use crate::ports::Clock as _;
use crate::sorted::SortedMap;
use crate::testing::{gateway_with, key, modern_with};
use crate::upstream::lock;

const OWN: &str = "https://gw.test";
const ABLE: &str = r#"{"elicitation":{"form":{},"url":{}}}"#;

struct Stage {
    host: Memory,
    gateway: Gateway<Memory>,
    doubles: Arc<Mutex<Doubles>>,
}

/// A browser, with the cookies that it was given.
#[derive(Default)]
struct Browser(SortedMap<String, String>);

/// A page: its status, its text, and where it leads on.
struct Page {
    /// What its URL begins with.
    origin: String,
    status: u16,
    text: String,
    onward: Option<String>,
    /// After how many seconds it is asked for again.
    refresh: Option<String>,
}

impl Page {
    fn title(&self) -> String {
        let title = self.text.split("<title>").nth(1).and_then(|rest| rest.split('<').next());
        format!("{} {}", self.status, title.unwrap_or_default())
    }

    fn form(&self) -> String {
        let form = self.text.split("name=\"form\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        form.unwrap_or_else(|| panic!("no form: {}", self.text)).to_owned()
    }

    /// Has the authorization server agree; returns where it sends the browser.
    fn consent(&self, doubles: &Mutex<Doubles>, iss: &str) -> String {
        let onward = self.onward.as_ref().unwrap_or_else(|| panic!("it ends here: {}", self.text));
        let url = Url::parse(onward).expect("a URL");
        let query: SortedMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(url.path(), "/auth", "{url}");
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["resource"], "https://mine.test/mcp");
        let mut doubles = lock(doubles);
        doubles.seen.push(format!("authorize {} as {}", query["scope"], query["client_id"]));
        let code = format!("code-{}", doubles.seen.len());
        doubles.challenges.insert(code.clone(), format!("{} {}", query["code_challenge"], query["scope"]));
        let mut back = Url::parse(&query["redirect_uri"]).expect("a URL");
        back.query_pairs_mut().extend_pairs([("code", &*code), ("state", &query["state"])]);
        if !iss.is_empty() {
            back.query_pairs_mut().append_pair("iss", iss);
        }
        back.into()
    }
}

impl Stage {
    fn new() -> Self {
        Self::with(&format!("gateway: {{ public_url: '{OWN}' }}"), "")
    }

    /// A stage with these settings of the gateway, and of how users sign in.
    fn with(gateway: &str, oauth: &str) -> Self {
        let yaml = format!(
            "version: 1\n{gateway}\nservers:\n  a: {{ url: 'https://a.test/mcp' }}\n  \
             mine: {{ url: 'https://mine.test/mcp', auth: {{ oauth: {{ {oauth} }} }} }}\n"
        );
        let parsed = parse(&[Source { path: "p.yaml".into(), text: yaml }], &|_| None);
        let config = Config { auth: Auth { required: false, ..Auth::default() }, ..parsed.config };
        let doubles = Arc::new(Mutex::new(Doubles::default()));
        let answering = doubles.clone();
        let host = Memory::new(move |request: &http::Request<Bytes>| lock(&answering).answer(request));
        let gateway = gateway_with(&host, &[], Config::default());
        gateway.reload(config);
        let records = [1, 2].map(|number| {
            let mut record = key(number).1;
            record.agent = "default".into();
            record
        });
        gateway.set_keys(KeyRing::new(records));
        Self { host, gateway, doubles }
    }

    fn ask(&self, number: u8, method: &'static str, params: &str, capabilities: &str) -> String {
        let mut request = modern_with("1", method, params, capabilities);
        let bearer = format!("Bearer {}", key(number).0.reveal());
        request.headers_mut().insert(header::AUTHORIZATION, bearer.parse().expect("ASCII"));
        ask(&self.host, &self.gateway, request)
    }

    fn call(&self, number: u8, name: &str, more: &str) -> String {
        self.ask(number, "tools/call", &format!("\"name\":\"{name}\"{more}"), ABLE)
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.doubles).seen)
    }

    fn send(&self, browser: &mut Browser, request: http::request::Builder, body: String) -> Page {
        let cookies: Vec<_> = browser.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let origin =
            request.uri_ref().map(|uri| uri.to_string().splitn(4, '/').take(3).collect::<Vec<_>>().join("/"));
        let origin = origin.expect("a URL");
        let host = request.uri_ref().and_then(|uri| Some(uri.authority()?.to_string())).expect("a host");
        let request = request
            .header(header::HOST, host)
            .header(header::COOKIE, cookies.join("; "))
            .body(Body::Full(body.into()))
            .expect("a request");
        let reply = self.host.run(Box::pin(self.gateway.serve(request)));
        let (head, body) = reply.into_parts();
        for cookie in head.headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().expect("ASCII").split(';').next().expect("a pair").to_owned();
            let (name, value) = text.split_once('=').expect("a pair");
            browser.0.insert(name.to_owned(), value.to_owned());
        }
        let text = self.host.run(body.collect(usize::MAX)).expect("a body");
        let text_of = |name: &str| head.headers.get(name).map(|value| value.to_str().expect("ASCII"));
        let (at_once, later) = match text_of("refresh") {
            Some(refresh) if refresh.contains("url=") => (refresh.strip_prefix("0;url="), None),
            later => (text_of("location"), later),
        };
        Page {
            origin,
            status: head.status.as_u16(),
            text: String::from_utf8(text.to_vec()).expect("text"),
            onward: at_once.map(str::to_owned),
            refresh: later.map(str::to_owned),
        }
    }

    fn open(&self, browser: &mut Browser, url: &str) -> Page {
        self.send(browser, http::Request::get(url), String::new())
    }

    /// Sends the form of a page with an API key.
    fn submit(&self, browser: &mut Browser, page: &Page, number: u8) -> Page {
        self.press(browser, page, &format!("key={}&decision=connect", key(number).0.reveal()))
    }

    /// Sends the form of a page with these fields.
    fn press(&self, browser: &mut Browser, page: &Page, fields: &str) -> Page {
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(format!("{}/connect/mine", page.origin))
            .header(header::ORIGIN, &page.origin)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(browser, request, format!("form={}&{fields}", page.form()))
    }

    /// Connects as the user of that key, from the link in an answer.
    fn connect(&self, number: u8, answer: &str) {
        let mut browser = Browser::default();
        let page = self.open(&mut browser, &link(answer));
        let back = self.submit(&mut browser, &page, number).consent(&self.doubles, "https://as.test");
        let page = self.open(&mut browser, &back);
        assert_eq!(page.title(), "200 Connected", "{}", page.text);
    }
}

fn between<'t>(text: &'t str, before: &str) -> &'t str {
    let found = text.split(before).nth(1).and_then(|rest| rest.split(['"', ' ', '\\']).next());
    found.unwrap_or_else(|| panic!("no {before} in {text}"))
}

fn link(answer: &str) -> String {
    format!("{OWN}/connect/mine?ticket={}", between(answer, "/connect/mine?ticket="))
}

/// The retry of a call whose user has agreed to visit the page.
fn accepted(answer: &str) -> String {
    let state = between(answer, "\"requestState\":\"");
    format!(r#","inputResponses":{{"connect":{{"action":"accept"}}}},"requestState":"{state}""#)
}

#[test]
fn a_user_is_sent_to_connect_and_the_call_goes_on() {
    let stage = Stage::new();
    let asked = stage.call(1, "mine__echo", "");
    assert!(
        asked.contains(r#""inputRequests":{"connect":{"method":"elicitation/create","params":{"mode":"url""#),
        "{asked}"
    );
    stage.seen();
    stage.connect(1, &asked);
    let went = stage.call(1, "mine__echo", &accepted(&asked));
    assert!(went.contains("\"content\"") && !went.contains("input_required"), "{went}");
    let seen = stage.seen();
    assert!(
        seen[0].starts_with("register ")
            && seen[0].contains(r#""redirect_uris":["https://gw.test/oauth/callback"]"#),
        "{seen:?}"
    );
    assert_eq!(
        seen[1..],
        [
            "authorize offline_access read as gateway-1",
            "token by authorization_code for https://mine.test/mcp",
            "call with t0k3n-1"
        ]
    );
    let other = stage.call(2, "mine__echo", "");
    assert!(other.contains("input_required"), "it is nobody else's: {other}");
    stage.connect(2, &other);
    assert!(stage.call(2, "mine__echo", "").contains("\"content\""));
    let seen = stage.seen();
    assert_eq!(seen.last().map(String::as_str), Some("call with t0k3n-2"));
    assert!(!seen.iter().any(|seen| seen.starts_with("register")), "it is registered once: {seen:?}");
}

#[test]
fn nobody_connects_for_somebody_else() {
    let stage = Stage::new();
    let asked = stage.call(1, "mine__echo", "");
    let mut victim = Browser::default();
    let page = stage.open(&mut victim, &link(&asked));
    let refused = stage.submit(&mut victim, &page, 2);
    assert_eq!(refused.title(), "403 Connect your account?");
    assert!(refused.text.contains("not the credential") && refused.onward.is_none());
    let mut other = Browser::default();
    assert_eq!(stage.submit(&mut other, &page, 1).title(), "400 This cannot be connected", "another browser");
    let changed = link(&asked).replace("ticket=", "ticket=A");
    assert_eq!(stage.open(&mut victim, &changed).title(), "400 This cannot be connected");
    let foreign = http::Request::post(format!("{OWN}/connect/mine"))
        .header(header::ORIGIN, "https://evil.test")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = format!("form={}&key={}", page.form(), key(1).0.reveal());
    assert_eq!(stage.send(&mut victim, foreign, body).status, 403);
    assert!(stage.call(1, "mine__echo", "").contains("input_required"), "nothing was connected");
}

#[test]
fn only_the_browser_that_began_can_end_it_and_only_once() {
    let stage = Stage::new();
    let asked = stage.call(1, "mine__echo", "");
    let mut browser = Browser::default();
    let page = stage.open(&mut browser, &link(&asked));
    let page = stage.submit(&mut browser, &page, 1);
    let back = page.consent(&stage.doubles, "https://as.test");
    stage.seen();
    for (mut other, url) in [
        (Browser::default(), back.clone()),
        (Browser(browser.0.clone()), back.replace("state=", "state=x")),
        (Browser(browser.0.clone()), format!("{back}&state=x")),
    ] {
        assert_eq!(stage.open(&mut other, &url).title(), "400 This cannot be connected", "{url}");
    }
    assert_eq!(stage.seen(), [""; 0], "nobody was asked");
    assert_eq!(stage.open(&mut browser, &back).title(), "200 Connected");
    assert_eq!(stage.open(&mut browser, &back).title(), "502 This cannot be connected", "the code is used");
}

#[test]
fn an_answer_of_another_issuer_is_not_taken() {
    for iss in ["https://evil.test", "https://as.test/", ""] {
        let stage = Stage::new();
        let asked = stage.call(1, "mine__echo", "");
        let mut browser = Browser::default();
        let page = stage.open(&mut browser, &link(&asked));
        let back = stage.submit(&mut browser, &page, 1).consent(&stage.doubles, iss);
        stage.seen();
        assert_eq!(stage.open(&mut browser, &back).title(), "502 This cannot be connected", "{iss:?}");
        assert_eq!(stage.seen(), [""; 0], "the code goes to nobody");
    }
}

#[test]
fn no_browser_is_sent_where_a_server_has_no_business_to_send_it() {
    for (from, to) in [
        ("https://as.test/auth", "javascript:alert(1)"),
        ("https://as.test/auth", "http://as.test/auth"),
        ("\"https://as.test\"]", "\"http://169.254.169.254\"]"),
        ("\"https://as.test\"]", "\"https://10.0.0.7\"]"),
        ("\"issuer\":\"https://as.test\"", "\"issuer\":\"https://other.test\""),
        ("https://as.test/token", "https://127.0.0.1/token"),
        ("[\"S256\"]", "[\"plain\"]"),
    ] {
        let stage = Stage::new();
        let mut browser = Browser::default();
        let asked = stage.call(1, "mine__echo", "");
        lock(&stage.doubles).instead.push((from, to));
        // Who grants is known for a while; the page of another instance finds out anew.
        stage.host.run(stage.host.sleep(std::time::Duration::from_mins(11)));
        let page = stage.open(&mut browser, &link(&asked));
        stage.seen();
        let page = stage.submit(&mut browser, &page, 1);
        assert_eq!(page.title(), "502 This cannot be connected", "{to}: {}", page.text);
        assert_eq!(stage.seen(), [""; 0], "{to}");
    }
}

#[test]
fn an_agent_is_told_in_the_way_that_it_can_pass_on() {
    let stage = Stage::new();
    let told = stage.ask(1, "tools/call", r#""name":"mine__echo""#, "{}");
    assert!(told.contains("\"isError\":true") && told.contains("Ask the user to open this page"), "{told}");
    stage.connect(1, &told);
    assert!(!stage.ask(1, "tools/call", r#""name":"mine__echo""#, "{}").contains("isError\":true"));
    let declined = {
        let asked = stage.call(2, "mine__echo", "");
        stage.call(2, "mine__echo", &accepted(&asked).replace("accept", "decline"))
    };
    assert!(declined.contains("did not agree"), "{declined}");
}

#[test]
fn what_is_not_connected_lists_how_to_connect_it() {
    let stage = Stage::new();
    let listed = stage.ask(1, "tools/list", "", "{}");
    assert!(listed.contains("\"a__echo\"") && listed.contains("\"mine__connect\""), "{listed}");
    assert!(!listed.contains("\"mine__echo\""), "{listed}");
    assert!(listed.contains("\"ttlMs\":0,"), "it is not kept: {listed}");
    let asked = stage.call(1, "mine__connect", "");
    assert!(asked.contains("input_required"), "{asked}");
    stage.connect(1, &asked);
    let done = stage.call(1, "mine__connect", &accepted(&asked));
    assert!(done.contains("is connected. List the tools again.") || done.contains("Unknown tool"), "{done}");
    let listed = stage.ask(1, "tools/list", "", "{}");
    assert!(listed.contains("\"mine__echo\"") && !listed.contains("\"mine__connect\""), "{listed}");
    assert!(!listed.contains("\"ttlMs\":0,"), "{listed}");
    let other = stage.ask(2, "tools/list", "", "{}");
    assert!(other.contains("\"mine__connect\"") && !other.contains("\"mine__echo\""), "{other}");
}

#[test]
fn a_token_that_is_refused_is_renewed_once_and_then_its_user_is_asked() {
    let stage = Stage::new();
    stage.connect(1, &stage.call(1, "mine__echo", ""));
    assert!(stage.call(1, "mine__echo", "").contains("\"content\""));
    lock(&stage.doubles).refused.push("t0k3n-1".into());
    stage.seen();
    assert!(stage.call(1, "mine__echo", "").contains("\"content\""));
    assert_eq!(stage.seen(), ["token by refresh_token for https://mine.test/mcp", "call with t0k3n-2"]);
    lock(&stage.doubles).refused.extend(["t0k3n-2".into(), "t0k3n-3".into()]);
    let asked = stage.call(1, "mine__echo", "");
    assert!(asked.contains("input_required"), "{asked}");
    assert_eq!(stage.seen(), ["token by refresh_token for https://mine.test/mcp"]);
    assert!(stage.call(1, "mine__echo", "").contains("input_required"));
    assert_eq!(stage.seen(), [""; 0], "the provider is left alone");
    stage.connect(1, &asked);
    assert!(stage.call(1, "mine__echo", &accepted(&asked)).contains("\"content\""));
}

#[test]
fn a_call_that_needs_more_asks_for_that_besides() {
    let stage = Stage::new();
    stage.connect(1, &stage.call(1, "mine__echo", ""));
    lock(&stage.doubles).needs = Some("write");
    stage.seen();
    let asked = stage.call(1, "mine__echo", "");
    assert!(asked.contains("input_required"), "{asked}");
    stage.connect(1, &asked);
    assert_eq!(stage.seen()[0], "authorize offline_access read write as gateway-1");
    assert!(stage.call(1, "mine__echo", &accepted(&asked)).contains("\"content\""));
}

#[test]
fn nobody_without_a_name_has_connections_where_others_can_come() {
    let stage = Stage::new();
    let told = ask(&stage.host, &stage.gateway, modern("1", "tools/call", r#""name":"mine__echo""#));
    assert!(told.contains("nobody knows who calls"), "{told}");
    let page = stage.open(&mut Browser::default(), &format!("{OWN}/connect/mine"));
    assert!(page.text.contains("Your API key"), "{}", page.text);
}

#[test]
fn at_a_gateway_of_this_machine_alone_its_user_presses_a_button() {
    let stage = Stage::with("", "");
    let own = "http://127.0.0.1:7332";
    stage.gateway.set_address(own);
    let anonymous = |more: &str| {
        let params = format!("\"name\":\"mine__echo\"{more}");
        ask(&stage.host, &stage.gateway, modern_with("1", "tools/call", &params, ABLE))
    };
    let asked = anonymous("");
    let link =
        format!("/connect/mine?ticket={}", between(&asked, "http://127.0.0.1:7332/connect/mine?ticket="));
    let mut browser = Browser::default();
    let elsewhere = stage.open(&mut browser, &format!("http://localhost:7332{link}"));
    assert_eq!(elsewhere.status, 302, "a browser comes back to the gateway's one name alone");
    let page = stage.open(&mut browser, &format!("{own}{link}"));
    assert!(!page.text.contains("password"), "{}", page.text);
    let page = stage.press(&mut browser, &page, "decision=connect");
    let back = page.consent(&stage.doubles, "https://as.test");
    assert!(back.starts_with("http://127.0.0.1:7332/oauth/callback?"), "{back}");
    assert_eq!(stage.open(&mut browser, &back).title(), "200 Connected");
    assert!(anonymous(&accepted(&asked)).contains("\"content\""));
}

#[test]
fn one_account_serves_everybody_once_an_admin_has_connected_it() {
    let stage = Stage::with(&format!("gateway: {{ public_url: '{OWN}' }}"), "for: everyone");
    let told = stage.call(1, "mine__echo", "");
    assert!(told.contains("Unknown tool"), "it lists nothing before: {told}");
    let mut browser = Browser::default();
    let page = stage.open(&mut browser, &format!("{OWN}/connect/mine"));
    assert!(page.text.contains("The admin key of this gateway"), "{}", page.text);
    let refused = stage.submit(&mut browser, &page, 1);
    assert_eq!(refused.title(), "403 Connect your account?", "an agent's key is not the admin's");
    let page =
        stage.press(&mut browser, &page, &format!("key={}&decision=connect", crate::testing::ADMIN_KEY));
    let back = page.consent(&stage.doubles, "https://as.test");
    assert_eq!(stage.open(&mut browser, &back).title(), "200 Connected");
    stage.host.run(stage.host.sleep(std::time::Duration::from_secs(1)));
    stage.seen();
    assert!(stage.call(1, "mine__echo", "").contains("\"content\""));
    assert!(stage.call(2, "mine__echo", "").contains("\"content\""));
    assert_eq!(stage.seen(), ["call with t0k3n-1", "call with t0k3n-1"]);
}

#[test]
fn who_disconnects_is_connected_no_more_and_the_provider_is_told() {
    let stage = Stage::new();
    lock(&stage.doubles).instead.push((
        "\"registration_endpoint\"",
        "\"revocation_endpoint\":\"https://as.test/revoke\",\"registration_endpoint\"",
    ));
    stage.connect(1, &stage.call(1, "mine__echo", ""));
    stage.connect(2, &stage.call(2, "mine__echo", ""));
    assert!(stage.call(1, "mine__echo", "").contains("\"content\""));
    stage.seen();
    let mut browser = Browser::default();
    let page = stage.open(&mut browser, &format!("{OWN}/connect/mine"));
    let fields = format!("key={}&decision=disconnect", key(1).0.reveal());
    assert_eq!(stage.press(&mut browser, &page, &fields).title(), "200 Disconnected");
    assert_eq!(
        stage.seen(),
        ["elsewhere: https://as.test/revoke", "elsewhere: https://as.test/revoke"],
        "of both tokens"
    );
    assert!(stage.call(1, "mine__echo", "").contains("input_required"));
    assert!(stage.call(2, "mine__echo", "").contains("\"content\""), "the other's stays");
}

#[test]
fn who_runs_the_gateway_sees_who_is_connected_and_ends_that_and_sees_no_token() {
    let stage = Stage::new();
    stage.connect(1, &stage.call(1, "mine__echo", ""));
    let admin = |method: &str, path: &str| {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{OWN}/admin/v1/connections{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", crate::testing::ADMIN_KEY));
        let page = stage.send(&mut Browser::default(), request, String::new());
        (page.status, page.text)
    };
    let (status, listed) = admin("GET", "");
    let principal = between(&listed, "\"principal\":\"").to_owned();
    assert!(status == 200 && principal.starts_with("key:"), "{listed}");
    assert!(
        listed.contains("\"server\":\"mine\"") && listed.contains("\"standing\":\"connected\""),
        "{listed}"
    );
    assert!(
        !listed.contains("t0k3n") && !listed.contains("refresh-") && !listed.contains("gateway-1"),
        "{listed}"
    );
    assert_eq!(listed.matches("\"issuer\"").count(), 1, "the gateway's registration is nobody's: {listed}");
    assert_eq!(admin("DELETE", &format!("/{principal}")).0, 200);
    assert_eq!(admin("DELETE", &format!("/{principal}")).0, 404);
    assert!(stage.call(1, "mine__echo", "").contains("input_required"));
}

#[test]
fn case_10_what_one_issuer_gave_goes_to_no_other_that_the_server_comes_to_name() {
    let stage = Stage::new();
    stage.connect(1, &stage.call(1, "mine__echo", ""));
    assert!(stage.call(1, "mine__echo", "").contains("\"content\""));
    lock(&stage.doubles).instead.push(("\"https://as.test\"]", "\"https://other.test\"]"));
    lock(&stage.doubles).refused.push("t0k3n-1".into());
    // Who grants is known for a while; then it is found out anew.
    stage.host.run(stage.host.sleep(std::time::Duration::from_mins(11)));
    stage.seen();
    let answer = stage.call(1, "mine__echo", "");
    assert!(!answer.contains("\"content\":[]"), "{answer}");
    let seen = stage.seen();
    assert!(seen.iter().any(|seen| seen.contains("other.test")), "{seen:?}");
    assert!(
        !seen.iter().any(|seen| seen.starts_with("token by") || seen.starts_with("call with")),
        "{seen:?}"
    );
}

#[test]
fn an_issuer_that_does_not_say_how_codes_are_bound_is_used_where_the_configuration_answers_for_it() {
    let check = |oauth: &str| {
        let stage = Stage::with(&format!("gateway: {{ public_url: '{OWN}' }}"), oauth);
        lock(&stage.doubles).instead.push(("code_challenge_methods_supported", "x"));
        let mut browser = Browser::default();
        let page = stage.open(&mut browser, &link(&stage.call(1, "mine__echo", "")));
        let page = stage.submit(&mut browser, &page, 1);
        // The challenge goes along all the same.
        let back = page.onward.is_some().then(|| page.consent(&stage.doubles, "https://as.test"));
        back.map_or(page, |back| stage.open(&mut browser, &back))
    };
    let refused = check("");
    assert_eq!(refused.title(), "502 This cannot be connected");
    assert!(refused.text.contains("set `auth.oauth.pkce: assumed`"), "{}", refused.text);
    assert_eq!(check("pkce: assumed").title(), "200 Connected");
}
