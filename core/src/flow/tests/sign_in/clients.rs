//! Clients that register themselves, and what they are told of the authorization server.

use base64::Engine as _;
use http::{Method, StatusCode};

use super::{APP, Browser, CALLBACK, OWN, Stage, VERIFIER, config, form};
use crate::config::{Auth, Config};

#[test]
fn a_client_registers_itself_and_proves_who_it_is_as_it_said() {
    let stage = Stage::new();
    let metadata = |method: &str| {
        format!(
            r#"{{"client_name":"Old","redirect_uris":["{CALLBACK}"],"token_endpoint_auth_method":"{method}","grant_types":["authorization_code","refresh_token"],"application_type":"web"}}"#
        )
    };
    let shown = stage.register(&metadata("none"));
    assert_eq!(shown.status, 201);
    let id = shown.json("client_id");
    insta::assert_snapshot!(shown.text.replace(&id, "ID"), @r#"{"client_id":"ID","client_id_issued_at":1800000000,"client_name":"Old","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"]}"#);
    let code = stage.code(&Stage::request(&id, &[]));
    assert_eq!(stage.redeem(&code, &[("client_id", &id)]).status, 200);

    let by_post = stage.register(&metadata("client_secret_post"));
    let (id, secret) = (by_post.json("client_id"), by_post.json("client_secret"));
    let code = stage.code(&Stage::request(&id, &[]));
    let post = |secret: &str| {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", &*id),
            ("client_secret", secret),
            ("code", &*code),
            ("code_verifier", VERIFIER),
        ];
        stage.token(&pairs)
    };
    assert_eq!(
        (post("").json("error"), post("x").json("error")),
        ("invalid_client".into(), "invalid_client".into())
    );
    assert_eq!(post(&shown.json("client_id")).json("error"), "invalid_client");
    assert_eq!(post(&secret).status, 200);

    let by_basic = stage.register(&format!(r#"{{"redirect_uris":["{CALLBACK}"]}}"#));
    assert_eq!(by_basic.json("token_endpoint_auth_method"), "client_secret_basic");
    let (id, secret) = (by_basic.json("client_id"), by_basic.json("client_secret"));
    let code = stage.code(&Stage::request(&id, &[]));
    let basic = |secret: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", &*format!("Basic {pair}")),
        ];
        let body =
            form(&[("grant_type", "authorization_code"), ("code", &code), ("code_verifier", VERIFIER)]);
        stage.send(Method::POST, "/oauth/token", &headers, body)
    };
    let wrong = basic("x");
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, "Basic realm=\"portcullis\""));
    assert_eq!(basic(&secret).status, 200);
    stage.pass(366 * 24 * 60 * 60);
    insta::assert_snapshot!(stage.get(&mut Browser::default(), &Stage::request(&id, &[])).said(), @"400 the client is not known here, or its registration has ended");
    assert_eq!(basic(&secret).json("error"), "invalid_client");
}

#[test]
fn what_a_client_must_not_say_of_itself_is_refused() {
    let stage = Stage::new();
    let check = |body: &str| stage.register(body).text;
    insta::assert_snapshot!(check("x"), @r#"{"error":"invalid_client_metadata","error_description":"the body is no JSON object"}"#);
    insta::assert_snapshot!(check("{}"), @r#"{"error":"invalid_redirect_uri","error_description":"`redirect_uris` must have 1 to 10 URIs"}"#);
    insta::assert_snapshot!(check(r#"{"redirect_uris":["http://app.example/cb"]}"#), @r#"{"error":"invalid_redirect_uri","error_description":"a redirect URI is https, unless it is on `127.0.0.1`, `[::1]` or `localhost`"}"#);
    insta::assert_snapshot!(check(r#"{"redirect_uris":["https://a.example"],"token_endpoint_auth_method":"tls_client_auth"}"#), @r#"{"error":"invalid_client_metadata","error_description":"`token_endpoint_auth_method` must be none, client_secret_basic or client_secret_post"}"#);
    insta::assert_snapshot!(check(r#"{"redirect_uris":["https://a.example"],"grant_types":["client_credentials"]}"#), @r#"{"error":"invalid_client_metadata","error_description":"`grant_types` must have authorization_code"}"#);
    insta::assert_snapshot!(check(r#"{"redirect_uris":["https://a.example"],"response_types":["token"]}"#), @r#"{"error":"invalid_client_metadata","error_description":"`response_types` must have code"}"#);
    let text = stage.send(Method::POST, "/oauth/register", &[], "{}".into()).text;
    insta::assert_snapshot!(text, @r#"{"error":"invalid_client_metadata","error_description":"Content-Type must be application/json"}"#);
}

#[test]
fn a_policy_says_which_clients_may_ask() {
    let stage =
        Stage::with(config(|own| own.allow = vec![crate::acl::Glob::new("https://*.example/client.json")]));
    assert_eq!(stage.get(&mut Browser::default(), &Stage::request(APP, &[])).status, 200);
    let not_allowed = "400 this gateway&#39;s policy does not allow this client";
    let check = |client: &str| stage.get(&mut Browser::default(), &Stage::request(client, &[])).said();
    assert_eq!(check("https://app.example/lies.json"), not_allowed);
    assert_eq!(check("https://evil.test/.example/client.json"), not_allowed);
    assert_eq!(
        stage.register(&format!(r#"{{"redirect_uris":["{CALLBACK}"]}}"#)).json("error"),
        "invalid_redirect_uri"
    );
    let open = Stage::new();
    let id = open.register(&format!(r#"{{"redirect_uris":["{CALLBACK}"]}}"#)).json("client_id");
    assert_eq!(check(&id), not_allowed, "one that registered before the policy was");
}

#[test]
fn the_metadata_say_what_there_is() {
    let stage = Stage::new();
    let get = |path: &str| stage.send(Method::GET, path, &[], String::new());
    let answered = get("/.well-known/oauth-authorization-server");
    insta::assert_snapshot!(answered.text, @r#"{"issuer":"https://gw.test","authorization_endpoint":"https://gw.test/oauth/authorize","token_endpoint":"https://gw.test/oauth/token","registration_endpoint":"https://gw.test/oauth/register","revocation_endpoint":"https://gw.test/oauth/revoke","scopes_supported":["mcp:use"],"response_types_supported":["code"],"response_modes_supported":["query"],"grant_types_supported":["authorization_code","refresh_token"],"token_endpoint_auth_methods_supported":["none","client_secret_basic","client_secret_post"],"revocation_endpoint_auth_methods_supported":["none","client_secret_basic","client_secret_post"],"code_challenge_methods_supported":["S256"],"authorization_response_iss_parameter_supported":true,"client_id_metadata_document_supported":true}"#);
    assert_eq!(get("/.well-known/oauth-authorization-server/mcp").text, answered.text);
    assert_eq!(get("/.well-known/oauth-authorization-server/other").status, 404);
    assert_eq!(get("/.well-known/openid-configuration").status, 404);
    let own = get("/.well-known/oauth-protected-resource/mcp").text;
    assert!(own.contains(r#""authorization_servers":["https://gw.test"]"#), "{own}");
    let preflight = stage.send(Method::OPTIONS, "/oauth/token", &[("origin", OWN)], String::new());
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, "POST"));
    assert_eq!(preflight.header("access-control-allow-origin"), OWN);
    assert_eq!(get("/oauth/token").status, 405);
    let without =
        Stage::with(Config { auth: Auth { sign_in: None, ..config(|_| ()).auth }, ..config(|_| ()) });
    for path in ["/.well-known/oauth-authorization-server", "/oauth/authorize", "/oauth/signed-in"] {
        let answered = without.send(Method::GET, path, &[], String::new());
        assert_eq!(answered.status, StatusCode::NOT_FOUND.as_u16(), "{path}");
    }
}
