//! The audit trail over the paths of those who run the gateway.

use http::Method;

use super::recorded::{Stage, lines};
use crate::audit::Entry;

/// So many lines of a chain; every third entry was denied.
fn entries(count: u64) -> Vec<String> {
    lines(count, |_| Entry::default())
}

fn ids(answer: &str) -> String {
    let ids = answer.split("\"id\":").skip(1).map(|rest| rest.split(',').next().unwrap_or_default());
    let cursor =
        answer.split("\"cursor\":").nth(1).map_or("-", |rest| rest.split(['}', ',']).next().unwrap_or("-"));
    format!("{} on {cursor}", ids.collect::<Vec<_>>().join(" "))
}

#[test]
fn pages_are_what_was_asked_for() {
    let stage = Stage::of(Some(entries(8)));
    let check = |query: &str| ids(&stage.ask(Method::GET, &format!("audit{query}"), "k"));
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
    let all = entries(2500);
    let stage = Stage::of(Some(all.clone()));
    let answer = stage.ask(Method::GET, "audit/export", "k");
    assert_eq!(answer, format!("200 application/jsonl; charset=utf-8 {}\n", all.join("\n")));
    let denied = stage.ask(Method::GET, "audit/export?decision=denied", "k");
    assert_eq!(denied.lines().count(), 833);
}

#[test]
fn chains_are_checked() {
    let mut all = entries(3);
    let check = |lines: &[String], query: &str| {
        Stage::of(Some(lines.to_vec())).ask(Method::GET, &format!("audit/verify{query}"), "k")
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
        Stage::of(lines).ask(method, &format!("audit{path}"), "k")
    };
    insta::assert_snapshot!(check(None, Method::GET, ""), @r#"404 application/problem+json {"type":"about:blank","title":"Not Found","status":404,"code":"no-trail","detail":"this gateway keeps no audit trail that it could read"}"#);
    insta::assert_snapshot!(check(Some(entries(1)), Method::GET, "?limit=x"), @r#"400 application/problem+json {"type":"about:blank","title":"Bad Request","status":400,"code":"malformed","detail":"limit: expected a number from 1 to 1000","errors":[{"field":"limit","message":"expected a number from 1 to 1000"}]}"#);
    insta::assert_snapshot!(check(Some(entries(1)), Method::GET, "?cursor=x"), @r#"400 application/problem+json {"type":"about:blank","title":"Bad Request","status":400,"code":"malformed","detail":"cursor: is none of this trail","errors":[{"field":"cursor","message":"is none of this trail"}]}"#);
    insta::assert_snapshot!(check(Some(vec![String::new()]), Method::GET, "/export"), @r#"503 application/problem+json {"type":"about:blank","title":"Service Unavailable","status":503,"code":"trail","detail":"the audit trail cannot be read: the disk is gone"}"#);
    insta::assert_snapshot!(check(Some(entries(1)), Method::POST, ""), @"405  ");
}

#[test]
fn an_export_that_breaks_off_does_not_look_whole() {
    let mut all = entries(1500);
    all[1200].clear();
    let stage = Stage::of(Some(all));
    let reply = stage.read("audit/export", &[]);
    let collected = stage.host.run(reply.into_body().collect(usize::MAX));
    assert!(collected.unwrap_err().to_string().contains("the disk is gone"));
}

#[test]
fn nobody_reads_the_trail_without_the_credential() {
    let open = Stage::of(Some(entries(1)));
    let closed = Stage::with(Some(entries(1)), None);
    for path in ["audit", "audit/export", "audit/verify"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(open.ask(Method::GET, path, "other"), @r#"401 application/problem+json {"type":"about:blank","title":"Unauthorized","status":401,"code":"unauthorized","detail":"needs the admin credential as a bearer token"}"#);
            insta::assert_snapshot!(closed.ask(Method::GET, path, "k"), @r#"404 application/json {"error":"not found; the MCP endpoint is /mcp"}"#);
        }
    }
    for path in ["audit/", "audit/export/x", "Audit"] {
        assert!(open.ask(Method::GET, path, "k").starts_with("404 application/problem+json"), "{path}");
    }
}
