//! The audit trail over the paths of those who run the gateway.

use http::{Method, Request};

use super::*;
use crate::audit::{Chain, Decision, Entry, Writing};
use crate::config::Config;
use crate::front::admin::AdminKey;
use crate::front::gate::Exposure;
use crate::gateway::{Options, SealKeys};

/// So many lines of a chain; every third entry was denied.
fn lines(count: u64) -> Vec<String> {
    let mut chain = Chain::default();
    let entry = |id: u64| Entry {
        time: 1_785_196_800_000 + id * 1000,
        method: "tools/call",
        decision: if id.is_multiple_of(3) { Decision::Denied } else { Decision::Allowed },
        ..Entry::default()
    };
    (1..=count).map(|_| chain.add(|id, prev| entry(id).line(id, prev, &Writing::default()))).collect()
}

fn stage(lines: Option<Vec<String>>, admin_key: Option<&str>) -> (Memory, Gateway<Memory>) {
    let host = Memory::new(modern_server);
    host.keep_trail();
    if let Some(lines) = lines {
        host.read_trail(lines);
    }
    let options = Options {
        config: Config::default(),
        seal_keys: SealKeys { first: [1; 32], others: Vec::new() },
        exposure: Exposure::Loopback,
        started_by: Vec::new(),
        admin_key: admin_key.and_then(AdminKey::new),
        managed: crate::control::Managed::ByFiles("a file".into()),
    };
    let gateway = Gateway::start(host.clone(), options).unwrap();
    (host, gateway)
}

fn read(stage: &(Memory, Gateway<Memory>), method: Method, path: &str, key: &str) -> String {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    ask(&stage.0, &stage.1, request.body(Body::default()).unwrap())
}

fn ids(answer: &str) -> String {
    let ids = answer.split("\"id\":").skip(1).map(|rest| rest.split(',').next().unwrap_or_default());
    let cursor =
        answer.split("\"cursor\":").nth(1).map_or("-", |rest| rest.split(['}', ',']).next().unwrap_or("-"));
    format!("{} on {cursor}", ids.collect::<Vec<_>>().join(" "))
}

#[test]
fn pages_are_what_was_asked_for() {
    let stage = stage(Some(lines(8)), Some("k"));
    let check = |query: &str| ids(&read(&stage, Method::GET, &format!("/admin/v1/audit{query}"), "k"));
    insta::assert_snapshot!(check(""), @"8 7 6 5 4 3 2 1 on -");
    insta::assert_snapshot!(check("?limit=3"), @r#"8 7 6 on "5""#);
    insta::assert_snapshot!(check("?limit=3&cursor=5"), @r#"5 4 3 on "2""#);
    insta::assert_snapshot!(check("?limit=3&cursor=2"), @"2 1 on -");
    insta::assert_snapshot!(check("?limit=3&order=oldest&cursor=5"), @"7 8 on -");
    insta::assert_snapshot!(check("?decision=denied&limit=1"), @r#"6 on "5""#);
    insta::assert_snapshot!(check("?until=2026-07-28T00:00:03Z"), @"2 1 on -");
}

#[test]
fn everything_is_exported_page_by_page() {
    let all = lines(2500);
    let stage = stage(Some(all.clone()), Some("k"));
    let answer = read(&stage, Method::GET, "/admin/v1/audit/export", "k");
    assert_eq!(answer, format!("200 application/jsonl; charset=utf-8 {}\n", all.join("\n")));
    let denied = read(&stage, Method::GET, "/admin/v1/audit/export?decision=denied", "k");
    assert_eq!(denied.lines().count(), 833);
}

#[test]
fn chains_are_checked() {
    let mut all = lines(3);
    let check = |lines: &[String], query: &str| {
        let stage = stage(Some(lines.to_vec()), Some("k"));
        read(&stage, Method::GET, &format!("/admin/v1/audit/verify{query}"), "k")
    };
    let whole = check(&all, "");
    assert!(whole.contains(r#""writer":"test","whole":true,"entries":3,"first":1,"last":3"#), "{whole}");
    all.remove(1);
    insta::assert_snapshot!(check(&all, ""), @r#"200 application/json {"writers":[{"writer":"test","whole":false,"breach":"line 2, entry 2: was removed, with everything up to entry 2"}]}"#);
    insta::assert_snapshot!(check(&all, "?agent=x"), @r#"400 application/problem+json {"type":"about:blank","title":"Bad Request","status":400,"code":"malformed","detail":"cursor: is the only parameter of this path","errors":[{"field":"cursor","message":"is the only parameter of this path"}]}"#);
}

#[test]
fn what_cannot_be_read_is_said() {
    let check = |lines: Option<Vec<String>>, method: Method, path: &str| {
        read(&stage(lines, Some("k")), method, &format!("/admin/v1/audit{path}"), "k")
    };
    insta::assert_snapshot!(check(None, Method::GET, ""), @r#"404 application/problem+json {"type":"about:blank","title":"Not Found","status":404,"code":"no-trail","detail":"this gateway keeps no audit trail that it could read"}"#);
    insta::assert_snapshot!(check(Some(lines(1)), Method::GET, "?limit=x"), @r#"400 application/problem+json {"type":"about:blank","title":"Bad Request","status":400,"code":"malformed","detail":"limit: expected a number from 1 to 1000","errors":[{"field":"limit","message":"expected a number from 1 to 1000"}]}"#);
    insta::assert_snapshot!(check(Some(lines(1)), Method::GET, "?cursor=x"), @r#"400 application/problem+json {"type":"about:blank","title":"Bad Request","status":400,"code":"malformed","detail":"cursor: is none of this trail","errors":[{"field":"cursor","message":"is none of this trail"}]}"#);
    insta::assert_snapshot!(check(Some(vec![String::new()]), Method::GET, "/export"), @r#"503 application/problem+json {"type":"about:blank","title":"Service Unavailable","status":503,"code":"trail","detail":"the audit trail cannot be read: the disk is gone"}"#);
    insta::assert_snapshot!(check(Some(lines(1)), Method::POST, ""), @"405  ");
}

#[test]
fn an_export_that_breaks_off_does_not_look_whole() {
    let mut all = lines(1500);
    all[1200].clear();
    let (host, gateway) = stage(Some(all), Some("k"));
    let request = Request::get("/admin/v1/audit/export").header(header::HOST, "localhost");
    let request = request.header(header::AUTHORIZATION, "Bearer k").body(Body::default()).unwrap();
    let collected = host.run(async { gateway.serve(request).await.into_body().collect(usize::MAX).await });
    assert!(collected.unwrap_err().to_string().contains("the disk is gone"));
}

#[test]
fn nobody_reads_the_trail_without_the_credential() {
    let open = stage(Some(lines(1)), Some("k"));
    let closed = stage(Some(lines(1)), None);
    for path in ["/admin/v1/audit", "/admin/v1/audit/export", "/admin/v1/audit/verify"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(read(&open, Method::GET, path, "other"), @r#"401 application/problem+json {"type":"about:blank","title":"Unauthorized","status":401,"code":"unauthorized","detail":"needs the admin credential as a bearer token"}"#);
            insta::assert_snapshot!(read(&closed, Method::GET, path, "k"), @r#"404 application/json {"error":"not found; the MCP endpoint is /mcp"}"#);
        }
    }
    for path in ["/admin/v1/audit/", "/admin/v1/audit/export/x", "/admin/v1/Audit"] {
        assert!(read(&open, Method::GET, path, "k").starts_with("404 application/problem+json"), "{path}");
    }
}
