//! Servers that act for their users: what one user's is, has and tells is no other's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header;

use super::fleet::{changing_server, hear_of_change};
use super::*;
use crate::config::{Auth, Config, Consent, ConsentBy, Pkce, Transport, Whose};
use crate::identity::KeyRing;
use crate::names::ServerName;
use crate::ports::Clock as _;
use crate::testing::{Fleet, gateway_with, json_answer, key, server};

fn config() -> Config {
    let mut mine = server("http://mine.test/mcp");
    let Transport::Http(endpoint) = &mut mine.transport else { panic!("is reached by HTTP") };
    endpoint.consent = Some(Consent {
        whose: Whose::User,
        client: None,
        scopes: None,
        issuer: None,
        resource: None,
        parameters: Vec::new(),
        by: ConsentBy::Code(Pkce::Stated),
    });
    let all = [("a", server("http://a.test/mcp")), ("mine", mine)];
    let servers = all.map(|(name, settings)| (ServerName::parse(name).expect("a name"), settings)).into();
    // Where others can come, nobody is somebody only because they are at this machine.
    let public_url = Some("https://gw.test".parse().expect("a URL"));
    let gateway = crate::config::Gateway { public_url, ..crate::config::Gateway::default() };
    Config { servers, gateway, auth: Auth { required: false, ..Auth::default() }, ..Config::default() }
}

fn start(host: &Memory) -> Gateway<Memory> {
    let gateway = gateway_with(host, &[], Config::default());
    gateway.reload(config());
    set_keys(gateway)
}

fn set_keys(gateway: Gateway<Memory>) -> Gateway<Memory> {
    let records = [1, 2].map(|number| {
        let mut record = key(number).1;
        record.agent = "default".into();
        record
    });
    gateway.set_keys(KeyRing::new(records));
    gateway
}

fn of(number: u8, mut request: http::Request<Body>) -> http::Request<Body> {
    let bearer = format!("Bearer {}", key(number).0.reveal());
    request.headers_mut().insert(header::AUTHORIZATION, bearer.parse().expect("ASCII"));
    request
}

/// A server whose one tool is called after how often its tools were listed.
fn counting_server() -> impl FnMut(&http::Request<Bytes>) -> Answer {
    let mut listings = 0;
    move |request| {
        let (method, id) = method_and_id(request);
        if method != "tools/list" || !request.uri().to_string().contains("mine") {
            return modern_server(request);
        }
        listings += 1;
        let tools = format!(
            r#"{{"tools":[{{"name":"of{listings}","inputSchema":{{"type":"object"}}}}],"resultType":"complete","ttlMs":60000}}"#
        );
        result(&id, &tools)
    }
}

fn listed(host: &Memory, gateway: &Gateway<Memory>, request: http::Request<Body>) -> Vec<String> {
    let answer = ask(host, gateway, request);
    let names = answer.split("\"name\":\"").skip(1);
    names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

fn list() -> http::Request<Body> {
    modern("1", "tools/list", "")
}

#[test]
fn what_a_server_lists_for_one_user_no_other_sees() {
    let fleet_host = Memory::new(counting_server());
    let fleet = Fleet::new(&fleet_host, start);
    let process_host = Memory::new(counting_server());
    let process = start(&process_host);
    for (host, gateway) in
        [(&process_host, process), (&fleet_host, fleet.isolate()), (&fleet_host, fleet.function())]
    {
        let gateway = set_keys(gateway);
        let first = listed(host, &gateway, of(1, list()));
        let second = listed(host, &gateway, of(2, list()));
        assert_eq!((&*first[0], &*second[0], first.len()), ("a__echo", "a__echo", 2));
        assert_ne!(first, second);
        assert_eq!(listed(host, &gateway, of(1, list())), first, "it is read once");
        assert_eq!(listed(host, &gateway, of(2, list())), second);
        assert_eq!(listed(host, &gateway, list()), ["a__echo"], "nobody has none");
        let call = |number: u8, name: &str| {
            let params = format!(r#""name":"{name}""#);
            ask(host, &gateway, of(number, modern("1", "tools/call", &params)))
        };
        assert!(call(1, &first[1]).starts_with("200"), "{}", call(1, &first[1]));
        assert!(call(2, &first[1]).contains("Unknown tool"), "{}", call(2, &first[1]));
    }
}

#[test]
fn a_server_of_a_users_own_that_was_not_read_yet_is_not_said_to_have_no_such_tool() {
    let is_away = Arc::new(AtomicBool::new(true));
    let heeding = is_away.clone();
    let host = Memory::new(move |request: &http::Request<Bytes>| {
        let is_mine = request.uri().to_string().contains("mine");
        let is_away = is_mine && heeding.load(Ordering::Relaxed);
        if is_away { json_answer(503, "away") } else { modern_server(request) }
    });
    let gateway = start(&host);
    let call = || ask(&host, &gateway, of(1, modern("1", "tools/call", r#""name":"mine__echo""#)));
    let told = call();
    assert!(told.contains("mine") && told.contains("503"), "{told}");
    is_away.store(false, Ordering::Relaxed);
    host.run(host.sleep(Duration::from_secs(1)));
    let went = call();
    assert!(went.contains("\"content\""), "{went}");
}

#[test]
fn a_session_with_a_server_is_one_users() {
    let host = Memory::new(legacy_server(0));
    let gateway = start(&host);
    let mut sessions = Vec::new();
    for number in [1, 2, 1, 2] {
        ask(&host, &gateway, of(number, list()));
        let name = gateway.0.users.servers().into_iter().map(|server| {
            let session =
                server.shared.current.load_full().and_then(|established| established.session.clone());
            (server.user.clone(), session)
        });
        sessions = name.collect();
    }
    let [(one, of_one), (two, of_two)] = &sessions[..] else { panic!("{sessions:?}") };
    assert!(one != two && of_one.is_some() && of_two.is_some() && of_one != of_two, "{sessions:?}");
}

#[test]
fn a_user_hears_of_its_own_servers_changes() {
    let mut changes = changing_server();
    let host = Memory::new(move |request: &http::Request<Bytes>| {
        if request.uri().to_string().contains("mine") { changes(request) } else { modern_server(request) }
    });
    let gateway = start(&host);
    assert_eq!(listed(&host, &gateway, of(1, list())).len(), 2);
    hear_of_change(&host, &gateway, |request| of(1, request));
    assert_eq!(listed(&host, &gateway, of(1, list())), ["a__echo", "mine__echo", "mine__more"]);
}

#[test]
fn the_servers_of_users_who_are_gone_are_let_go() {
    let host = Memory::new(modern_server);
    let gateway = start(&host);
    ask(&host, &gateway, of(1, list()));
    let first = gateway.0.users.servers();
    assert_eq!(first.len(), 1);
    host.run(host.sleep(Duration::from_mins(11)));
    ask(&host, &gateway, of(2, list()));
    let left: Vec<_> =
        gateway.0.users.servers().into_iter().filter_map(|server| server.user.clone()).collect();
    assert_eq!(left.len(), 1);
    assert_ne!(left[0], first[0].user.clone().expect("a user's"));
    assert!(first[0].shared.given_up.has_fired());
}

/// Servers that are hosted for each agent, and for each identity.
#[cfg(feature = "hosting")]
#[test]
fn an_agent_has_one_instance_whoever_speaks_for_it() {
    use crate::config::{Agent, Command, Hosting, Per};
    use crate::identity::{AuthKind, Identity};
    let host = Memory::new(modern_server);
    let mut all = config();
    for (name, per) in [("mine", Per::Identity), ("ours", Per::Agent)] {
        let hosting = Some(Box::new(Hosting { per, ..Hosting::default() }));
        let mut settings = server("http://x.test/mcp");
        settings.transport = Transport::Stdio(Command { program: "x".into(), hosting, ..Command::default() });
        all.servers.insert(ServerName::parse(name).expect("a name"), settings);
    }
    let gateway = gateway_with(&host, &[], Config::default());
    gateway.reload(all.clone());
    let of = |principal: Option<&str>, agent: &str| {
        let default = &gateway.snapshot().config.policy.default;
        let agent = Arc::new(Agent { name: agent.into(), ..Agent::clone(default) });
        let principal = principal.map(Into::into);
        let auth = AuthKind::ApiKey;
        let who = Identity { agent, principal, auth, client: None, tag: None, bearer: None };
        let snapshot = gateway.snapshot_of(&who);
        assert!(Arc::ptr_eq(&snapshot, &gateway.snapshot_of(&who)), "it is made once");
        let instance = |name: &str| snapshot.servers[name].clone();
        (instance("mine"), instance("ours"), instance("a"))
    };
    let same = |one: &Arc<crate::upstream::Server>, other| Arc::ptr_eq(one, other);
    let ((mine, ours, shared), (others, again, _)) = (of(Some("key:1"), "x"), of(Some("key:2"), "x"));
    assert!(!same(&mine, &others) && same(&ours, &again));
    let (as_another, apart, everybodys) = of(Some("key:1"), "y");
    assert!(same(&mine, &as_another) && !same(&ours, &apart) && same(&shared, &everybodys));
    let (nobodys, strangers, _) = of(None, "x");
    assert!(nobodys.is_stand_in() && same(&strangers, &ours));
    assert_eq!(ours.user.as_deref(), Some("agent:x"));
    assert!(gateway.server(&ours.key()).is_some_and(|found| same(&found, &ours)));
    // It stays through another configuration that says the same of it, and goes with it.
    all.gateway.page_size = 7;
    gateway.reload(all.clone());
    assert!(same(&of(Some("key:3"), "x").1, &ours) && !ours.shared.given_up.has_fired());
    gateway.reload(config());
    assert!(ours.shared.given_up.has_fired() && apart.shared.given_up.has_fired());
}

#[test]
fn another_configuration_keeps_what_is_equal() {
    let host = Memory::new(counting_server());
    let gateway = start(&host);
    let before = listed(&host, &gateway, of(1, list()));
    let mut other = config();
    other.gateway.page_size = 7;
    gateway.reload(other);
    assert_eq!(listed(&host, &gateway, of(1, list())), before);
    let mut moved = config();
    moved.servers.values_mut().for_each(|server| server.timeout = Duration::from_secs(9));
    let own = gateway.0.users.servers();
    gateway.reload(moved);
    assert!(own[0].shared.given_up.has_fired());
    assert_ne!(listed(&host, &gateway, of(1, list())), before, "other settings begin anew");
    gateway.reload(Config { servers: [].into(), ..config() });
    assert_eq!(gateway.0.users.servers().len(), 0);
}

/// Attack case 18, for some users only: what was approved is what one of them was shown.
#[test]
fn who_is_shown_something_else_than_was_approved_is_served_nothing_of_it() {
    let host = Memory::new(counting_server());
    let gateway = start(&host);
    let before = listed(&host, &gateway, of(1, list()));
    assert!(before.contains(&"mine__of1".to_owned()), "{before:?}");
    let theirs = gateway.0.users.servers();
    let server = theirs.iter().find(|server| server.name.as_str() == "mine").expect("it is theirs");
    let seen = server.seen().expect("it was read");
    let approval = crate::approval::Approval::of_all(&server.launch(), 1, &seen);
    let approvals = [(server.name.clone(), Arc::new(approval))].into_iter().collect();
    gateway.reload(Config { approvals, ..config() });
    assert_eq!(listed(&host, &gateway, of(1, list())), before);
    let other = listed(&host, &gateway, of(2, list()));
    assert!(!other.is_empty() && other.iter().all(|name| !name.starts_with("mine__of")), "{other:?}");
}
