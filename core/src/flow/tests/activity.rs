//! What goes through the gateway, as those who govern are told.

use super::control::sorted;
use super::recorded::{Stage, lines};
use crate::audit::Entry;
use crate::identity::AuthKind;

/// So many calls, a second after each other; every third was refused.
fn calls(count: u64) -> Vec<String> {
    lines(count, |id| Entry {
        agent: Some("ana".into()),
        principal: Some(format!("key:{}", id % 2).into()),
        auth: AuthKind::ApiKey,
        server: (!id.is_multiple_of(3)).then(|| "a".into()),
        is_error: Some(id == 5),
        duration: std::time::Duration::from_millis(id),
        ..Entry::default()
    })
}

fn asked(lines: Option<Vec<String>>, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let stage = Stage::of(lines);
    stage.text(stage.read(path, headers))
}

fn json(path: &str) -> String {
    let (_, said) = asked(Some(calls(8)), path, &[]);
    sorted(serde_json::from_str(&said).expect("JSON")).to_string()
}

#[test]
fn calls_are_counted_from_the_trail() {
    insta::assert_snapshot!(json("statistics?since=2026-07-28T00:00:03Z"), @r#"{"agents":[{"calls":4,"denied":2,"errors":1,"name":"ana","p50_ms":5.0,"p95_ms":8.0}],"gateways":[],"servers":[{"calls":4,"denied":0,"errors":1,"name":"a","p50_ms":5.0,"p95_ms":8.0}],"since":"2026-07-28T00:00:03.000Z"}"#);
    insta::assert_snapshot!(json("statistics?since=soon"), @r#"{"code":"malformed","detail":"since: expected a date such as 2026-07-28, a moment such as 2026-07-28T12:00:00Z, or a time ago such as 24h","errors":[{"field":"since","message":"expected a date such as 2026-07-28, a moment such as 2026-07-28T12:00:00Z, or a time ago such as 24h"}],"status":400,"title":"Bad Request","type":"about:blank"}"#);
    assert_eq!(asked(None, "statistics", &[]).0, 404, "there is no trail");
}

#[test]
fn whoever_was_there_is_listed_in_parts() {
    insta::assert_snapshot!(json("identities?since=2026-07-28T00:00:00Z&limit=1"), @r#"{"items":[{"agent":"ana","auth":"api_key","calls":3,"last_seen":"2026-07-28T00:00:08.000Z","principal":"key:0"}],"next":"a2V5OjAKYW5hCmFwaV9rZXk","since":"2026-07-28T00:00:00.000Z"}"#);
}

#[test]
fn a_stream_tells_what_comes_and_ends() {
    let told = |headers: &[(&str, &str)]| {
        let (status, text) = asked(Some(calls(8)), "live", headers);
        let data = |line: &str| {
            let data =
                line.strip_prefix("data: ").map(|data| sorted(serde_json::from_str(data).expect("JSON")));
            data.map_or_else(|| line.to_owned(), |data| format!("data: {data}"))
        };
        format!("{status}\n{}", text.lines().map(data).collect::<Vec<_>>().join("\n"))
    };
    insta::assert_snapshot!(told(&[]), @"
    200
    retry: 250
    id: 7

    : keep-alive

    : keep-alive

    : keep-alive

    : keep-alive
    ");
    insta::assert_snapshot!(told(&[("last-event-id", "3")]), @r#"
    200
    retry: 250
    id: 3

    event: traffic
    id: 7
    data: {"at":"2027-01-15T08:00:01.000Z","edges":[{"agent":"ana","calls":0,"denied":1,"errors":0,"ms_sum":0.0,"server":""},{"agent":"ana","calls":3,"denied":0,"errors":1,"ms_sum":20.0,"server":"a"}]}

    : keep-alive

    : keep-alive

    : keep-alive
    "#);
    assert_eq!(told(&[("last-event-id", "of another trail")]), told(&[]));
}
