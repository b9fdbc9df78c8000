//! Codes and tokens: whose they are, how often they are used, and when they end.

use std::sync::Arc;

use http::{Method, header};

use super::super::ask;
use super::{APP, Browser, IDP, Stage, config, form};
use crate::config::{Agent, ClientCredential, Config, Match, SignOn, SignOnGrant, SubjectType, Transport};
use crate::names::ServerName;
use crate::secrets::{Part, SecretText};
use crate::testing::{Fleet, gateway_with, modern, server};
use crate::upstream::lock;

#[test]
fn a_code_is_its_clients_and_fits_its_verifier() {
    let stage = Stage::new();
    let code = stage.code(&Stage::request(APP, &[]));
    let check = |otherwise: &[(&str, &str)]| {
        let answered = stage.redeem(&code, otherwise);
        assert_eq!(answered.header("cache-control"), "no-store");
        format!("{} {}: {}", answered.status, answered.json("error"), answered.json("error_description"))
    };
    insta::assert_snapshot!(check(&[("client_id", "")]), @"401 invalid_client: the request does not say which client it is of");
    insta::assert_snapshot!(check(&[("client_id", "https://app.example/other.json")]), @"400 invalid_grant: the code is another client's");
    insta::assert_snapshot!(check(&[("code_verifier", "")]), @"400 invalid_request: `code_verifier` is missing");
    insta::assert_snapshot!(check(&[("code_verifier", &"x".repeat(43))]), @"400 invalid_grant: `code_verifier` does not fit the challenge");
    insta::assert_snapshot!(check(&[("redirect_uri", "https://evil.example/cb")]), @"400 invalid_grant: `redirect_uri` is not the one that the code was sent to");
    insta::assert_snapshot!(check(&[("resource", "https://gw.test/mcp/servers/a")]), @"400 invalid_target: `resource` is not what the user has allowed access to");
    insta::assert_snapshot!(check(&[("grant_type", "password")]), @"400 unsupported_grant_type: `grant_type` must be authorization_code or refresh_token");
    insta::assert_snapshot!(check(&[("grant_type", "")]), @"400 invalid_request: `grant_type` is missing");
    insta::assert_snapshot!(check(&[("code", "x")]), @"400 invalid_grant: the code is none of ours, or it is over");
    assert_eq!(stage.redeem(&code, &[]).status, 200, "none of that has used it up");
    let late = stage.code(&Stage::request(APP, &[]));
    stage.pass(60);
    assert_eq!(stage.redeem(&late, &[]).json("error"), "invalid_grant");
}

#[test]
fn what_is_used_twice_ends_its_family() {
    let stage = Stage::new();
    let code = stage.code(&Stage::request(APP, &[]));
    let first = stage.redeem(&code, &[]).json("refresh_token");
    let second = stage.refresh(&first).json("refresh_token");
    let third = stage.refresh(&second).json("refresh_token");
    assert!(!third.is_empty());
    let again = stage.refresh(&first);
    insta::assert_snapshot!(again.text, @r#"{"error":"invalid_grant","error_description":"it was used before; the user has to sign in again"}"#);
    assert_eq!(stage.refresh(&third).json("error"), "invalid_grant", "the living one has ended too");
    let code = stage.code(&Stage::request(APP, &[]));
    let token = stage.redeem(&code, &[]).json("refresh_token");
    assert_eq!(stage.redeem(&code, &[]).json("error"), "invalid_grant");
    assert_eq!(
        stage.refresh(&token).json("error"),
        "invalid_grant",
        "what came from a code that is used twice has"
    );
    let other = stage.code(&Stage::request(APP, &[]));
    let token = stage.redeem(&other, &[]).json("refresh_token");
    assert_eq!(stage.refresh(&token).status, 200, "another family goes on");
}

#[test]
fn a_refresh_whose_answer_was_lost_is_asked_for_again() {
    let stage = Stage::new();
    let first = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]).json("refresh_token");
    let lost = stage.refresh(&first).json("refresh_token");
    stage.pass(29);
    let again = stage.refresh(&first);
    assert_eq!(again.status, 200, "its answer was lost");
    let next = stage.refresh(&again.json("refresh_token")).json("refresh_token");
    assert!(!next.is_empty());
    assert_eq!(
        stage.refresh(&lost).json("error"),
        "invalid_grant",
        "what was lost and is found is somebody else's"
    );
    insta::assert_snapshot!(stage.refresh(&next).text, @r#"{"error":"invalid_grant","error_description":"it counts no more; the user has to sign in again"}"#);
}

#[test]
fn a_refresh_token_is_not_used_again_later_nor_a_third_time_nor_once_the_next_was() {
    let stage = Stage::new();
    let first = || stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]).json("refresh_token");
    let late = first();
    let next = stage.refresh(&late).json("refresh_token");
    stage.pass(30);
    assert_eq!(stage.refresh(&late).json("error"), "invalid_grant");
    assert_eq!(stage.refresh(&next).json("error"), "invalid_grant");
    let thrice = first();
    stage.refresh(&thrice);
    let next = stage.refresh(&thrice).json("refresh_token");
    assert_eq!(stage.refresh(&thrice).json("error"), "invalid_grant");
    assert_eq!(stage.refresh(&next).json("error"), "invalid_grant");
    let passed = first();
    let next = stage.refresh(&passed).json("refresh_token");
    let living = stage.refresh(&next).json("refresh_token");
    assert_eq!(stage.refresh(&passed).json("error"), "invalid_grant");
    assert_eq!(stage.refresh(&living).json("error"), "invalid_grant");
}

#[test]
fn a_family_ends_a_day_after_its_sign_in() {
    let stage = Stage::new();
    let mut token = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]).json("refresh_token");
    for _ in 0..23 {
        stage.pass(60 * 60);
        token = stage.refresh(&token).json("refresh_token");
        assert!(!token.is_empty());
    }
    stage.pass(60 * 60);
    assert_eq!(stage.refresh(&token).json("error"), "invalid_grant");
}

#[test]
fn a_client_gives_its_tokens_back() {
    let stage = Stage::new();
    let tokens = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    let revoke = |client: &str, token: &str| {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let answered = stage.send(
            Method::POST,
            "/oauth/revoke",
            &[kind],
            form(&[("client_id", client), ("token", token)]),
        );
        format!("{} {}", answered.status, answered.text)
    };
    let refresh = tokens.json("refresh_token");
    assert_eq!(revoke("https://app.example/other.json", &refresh), "200 ", "it is not that client's");
    assert_eq!(revoke(APP, "unknown"), "200 ");
    insta::assert_snapshot!(revoke(APP, ""), @r#"400 {"error":"invalid_request","error_description":"`token` is missing"}"#);
    insta::assert_snapshot!(revoke(APP, &tokens.json("access_token")), @r#"400 {"error":"unsupported_token_type","error_description":"access tokens cannot be revoked: they end after ten minutes; revoke the refresh token"}"#);
    let next = stage.refresh(&refresh).json("refresh_token");
    assert_eq!(revoke(APP, &next), "200 ");
    assert_eq!(stage.refresh(&next).json("error"), "invalid_grant");
}

#[test]
fn an_access_token_opens_its_endpoint_and_no_other() {
    let stage = Stage::new();
    let narrow = "https://gw.test/mcp/servers/a";
    let code = stage.code(&Stage::request(APP, &[("resource", narrow)]));
    let token = stage.redeem(&code, &[("resource", narrow)]).json("access_token");
    assert_eq!(stage.list_at("/mcp/servers/a", &token), "200 tools");
    assert!(stage.list("pca_x").starts_with("401"));
    assert!(stage.list(&token).starts_with("401"), "it is not for everything");
    let wide = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    assert_eq!(stage.list_at("/mcp/servers/a", &wide.json("access_token")), "200 tools");
    let refresh = wide.json("refresh_token");
    for other in
        [&refresh, &refresh.replace("pcr_", "pca_"), &wide.json("access_token").replace("pca_", "pcr_")]
    {
        assert!(stage.list(other).starts_with("401"), "what is for something else is no access token");
    }
}

#[test]
fn another_policy_has_people_sign_in_again() {
    let stage = Stage::new();
    let tokens = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    let mut next = config(|_| ());
    next.servers = stage.gateway.snapshot().config.servers.clone();
    let also = Agent {
        name: "ops".into(),
        matches: vec![Match::Claim("groups".into(), "ops".into())],
        ..Agent::allowing_everything()
    };
    next.policy.agents.push(Arc::new(also));
    stage.gateway.reload(next);
    assert!(stage.list(&tokens.json("access_token")).starts_with("401"));
    assert_eq!(stage.refresh(&tokens.json("refresh_token")).json("error"), "invalid_grant");
    let tokens = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    assert_eq!(stage.list(&tokens.json("access_token")), "200 tools");
    let mut next = config(|_| ());
    next.servers = stage.gateway.snapshot().config.servers.clone();
    next.auth.issuers[0].keys = Some(format!("{IDP}/jwks"));
    stage.gateway.reload(next);
    assert!(stage.list(&tokens.json("access_token")).starts_with("401"), "it is another provider");
    assert_eq!(stage.refresh(&tokens.json("refresh_token")).json("error"), "invalid_grant");
    let tokens = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    assert_eq!(stage.list(&tokens.json("access_token")), "200 tools");
    let mut next = config(|_| ());
    next.auth.sign_in = None;
    stage.gateway.reload(next);
    assert!(stage.list(&tokens.json("access_token")).starts_with("401"), "nobody stands in any more");
}

#[test]
fn any_instance_goes_on_where_another_began_and_one_that_cannot_tell_what_was_used_does_not() {
    let (host, provider) = Stage::host();
    let fleet = Fleet::new(&host, |host| gateway_with(host, &["a"], config(|_| ())));
    let mut stage = Stage { host, gateway: fleet.function(), provider };
    let mut browser = Browser::default();
    let page = stage.get(&mut browser, &Stage::request(APP, &[]));
    stage.gateway = fleet.function();
    let agreed = stage.agree(&mut browser, &page);
    stage.gateway = fleet.function();
    let back = stage.at_provider(&agreed);
    let code = stage.get(&mut browser, &back).query()["code"].clone();
    stage.gateway = fleet.function();
    let token = stage.redeem(&code, &[]).json("refresh_token");
    stage.gateway = fleet.function();
    assert_eq!(stage.redeem(&code, &[]).json("error"), "invalid_grant", "another instance has seen its use");
    assert_eq!(stage.refresh(&token).json("error"), "invalid_grant");
    let code = stage.code(&Stage::request(APP, &[]));
    stage.host.store().fail(Some("is away"));
    let refused = stage.redeem(&code, &[]);
    assert_eq!((refused.status, refused.json("error")), (503, "temporarily_unavailable".into()));
    stage.host.store().fail(None);
    stage.gateway = fleet.isolate();
    assert_eq!(stage.redeem(&code, &[]).status, 200, "it was not used, and isolates sign people in too");
    stage.gateway = fleet.alone();
    let answered = stage.get(&mut browser, &Stage::request(APP, &[]));
    insta::assert_snapshot!(answered.text, @r#"{"error":"temporarily_unavailable","error_description":"this host cannot note which tokens were used, and so signs nobody in"}"#);
}

#[test]
fn case_35_an_id_token_that_is_not_of_this_sign_in_signs_nobody_in() {
    for (name, value) in [
        ("nonce", "\"another\""),
        ("aud", "\"another\""),
        ("aud", "[\"portcullis\",\"another\"]"),
        ("iss", "\"https://idp.test/\""),
        ("key", ""),
    ] {
        let stage = Stage::new();
        lock(&stage.provider.claims).insert(name, value.into());
        let mut browser = Browser::default();
        let page = stage.get(&mut browser, &Stage::request(APP, &[]));
        let agreed = stage.agree(&mut browser, &page);
        let back = stage.at_provider(&agreed);
        let query = stage.get(&mut browser, &back).query();
        assert_eq!((&*query["error"], query.get("code")), ("server_error", None), "{name} {value}");
    }
}

/// A configuration before which somebody signs in, with a server that is used on their behalf.
fn acting(stage: &Stage) -> Config {
    let mut next = config(|_| ());
    next.servers = stage.gateway.snapshot().config.servers.clone();
    let mut own = server("https://b.test/mcp");
    let Transport::Http(endpoint) = &mut own.transport else { panic!("is reached by HTTP") };
    endpoint.sign_on = Some(SignOn {
        // What is known to be an ID token is said to be that, whatever stands here.
        grant: SignOnGrant::TokenExchange { subject: SubjectType::AccessToken, audience: None },
        client_id: "portcullis".into(),
        credential: ClientCredential::Secret(SecretText::new(vec![Part::Text("s3cret &".into())])),
        scopes: None,
        issuer: Some(IDP.into()),
        token_auth: None,
        resource: None,
    });
    next.servers.insert(ServerName::parse("b").expect("a name"), own);
    next
}

#[test]
fn whoever_signed_in_here_is_acted_for_by_their_id_token() {
    let stage = Stage::new();
    let before = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    stage.gateway.reload(acting(&stage));
    let call = |token: &str| {
        let mut request = modern("1", "tools/call", r#""name":"b__echo""#);
        let bearer = format!("Bearer {token}").parse().expect("ASCII");
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request.headers_mut().insert(header::HOST, "gw.test".parse().expect("ASCII"));
        ask(&stage.host, &stage.gateway, request)
    };
    let told = call(&before.json("access_token"));
    assert!(told.contains("this caller has not: sign in"), "it was kept of nobody then: {told}");
    let tokens = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    let made = lock(&stage.provider.made).last().cloned().expect("an ID token");
    let shown = tokens.text.contains(&made) || tokens.json("access_token").contains(&made[..20]);
    assert!(!shown, "nobody can read it");
    assert!(call(&tokens.json("access_token")).contains("\"content\""));
    // Another instance knows it as well, by what comes after.
    stage.gateway.reload(config(|_| ()));
    stage.gateway.reload(acting(&stage));
    let next = stage.refresh(&tokens.json("refresh_token"));
    assert!(call(&next.json("access_token")).contains("\"content\""));
    stage.gateway.reload(config(|_| ()));
    stage.gateway.reload(acting(&stage));
    // A minute is allowed for clocks that differ.
    stage.pass(361);
    let told = call(&next.json("access_token"));
    assert!(told.contains("is over (it has expired): the user signs in again"), "{told}");
}
