//! What is taken out, and what stays.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

/// What must never be left, by what it is. Written in two parts: none of it is anybody's.
const PLANTED: [(&str, &str, &str); 16] = [
    ("AWS", "AKIA", "IOSFODNN7EXAMPLE"),
    ("AWS session", "ASIA", "IOSFODNN7EXAMPLE"),
    ("GitHub", "ghp_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
    ("GitHub fine-grained", "github_pat_", "11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123456789"),
    ("GitLab", "glpat-", "aBcDeFgHiJkLmNoPqRsT"),
    ("Google", "AIza", "SyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v"),
    ("Google OAuth", "ya29.", "a0AfH6SMBx1y2z3a4b5c6d7e8f9g0h"),
    ("Slack", "xoxb-", "123456789012-1234567890123-aBcDeFgHiJkL"),
    ("Stripe", "sk_live_", "51H8aBcDeFgHiJkLmNoPqRsTu"),
    ("Anthropic", "sk-ant-", "api03-aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"),
    ("OpenAI", "sk-proj-", "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"),
    ("Azure", "abc8Q~", "dEfGhIjKlMnOpQrStUvWxYz0123456789abc"),
    ("ours", "pck_", "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"),
    ("JWT", "eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLWl0"),
    ("npm", "npm_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
    ("Hugging Face", "hf_", "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"),
];

fn planted(index: usize) -> String {
    let (_, first, second) = PLANTED[index];
    format!("{first}{second}")
}

fn json(text: &str) -> String {
    let mut out = String::new();
    Redactor::default().write_json(&mut out, text);
    out
}

fn check(text: &str, expected: &str) {
    assert_eq!(Redactor::default().text(text), expected);
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "",
        "list the issues of task-force-alpha-with-a-long-name",
        "https://example.com/a/b?c=d#e and mail@example.com",
        "the tokens: none",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91IHRvZGF5Pw==",
        "disk-usage: 50 %, eyJ is how tokens begin; AKIA too",
    ] {
        let kept = Redactor::default().text(text).into_owned();
        assert!(kept == text || text.contains("tokens: "), "{text:?} became {kept:?}");
    }
    assert_eq!(
        json(r#"{"max_tokens":100,"token_count":5,"name":"x","a":[1.50,true,null,{}]}"#),
        r#"{"max_tokens":100,"token_count":5,"name":"x","a":[1.50,true,null,{}]}"#
    );
}

#[test]
fn secrets_go_and_what_is_around_them_stays() {
    for (index, (what, ..)) in PLANTED.iter().enumerate() {
        let secret = planted(index);
        assert_eq!(
            Redactor::default().text(&format!("see {secret}, please")),
            "see [redacted], please",
            "{what}"
        );
    }
    check("Authorization: Bearer abc.def-123456", "Authorization: Bearer [redacted]");
    check("use basic dXNlcjpwYXNz now", "use basic [redacted] now");
    check("postgres://me:hunter2@db/x", "postgres://[redacted]@db/x");
    check("a=1&api_key=hunter2&b=2", "a=1&api_key=[redacted]&b=2");
    check("PASSWORD='hunter 2' x", "PASSWORD='[redacted]' x");
    check(r#"{\"client_secret\": \"hunter2\"}"#, r#"{\"client_secret\": \"[redacted]\"}"#);
    check("AccountName=a;AccountKey=aGVsbG8=;E=x", "AccountName=a;AccountKey=[redacted];E=x");
}

#[test]
fn blocks_of_pem_go_whole() {
    let block =
        |label: &str| format!("-----BEGIN {label}-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END {label}-----");
    check(&format!("a {} b", block(&["RSA PRIVATE", "KEY"].join(" "))), "a [redacted] b");
    check(&format!("a {} b", block("CERTIFICATE")), "a [redacted] b");
    let torn = block("EC PARAMETERS").replace("-----END", "...");
    check(&format!("a {torn}"), "a [redacted]");
}

#[test]
fn members_that_say_so_hold_secrets_whatever_these_are() {
    let check = |text: &str, expected: &str| assert_eq!(json(text), expected);
    check(r#"{"passWord": "x", "b": 1}"#, r#"{"passWord":"[redacted]","b":1}"#);
    check(r#"{"API-Key": {"a": ["x"]}, "pin": 1234}"#, r#"{"API-Key":"[redacted]","pin":"[redacted]"}"#);
    check(r#"{"access_token": ["x"], "secret": null}"#, r#"{"access_token":"[redacted]","secret":null}"#);
    check(r#"{"p\u0061ssword": "x"}"#, r#"{"password":"[redacted]"}"#);
    check(r#"[{"name": "DB_PASSWORD", "value": "x"}]"#, r#"[{"name":"DB_PASSWORD","value":"[redacted]"}]"#);
    check("\"a\\nb\"", r#""a\u000ab""#);
    check("no json", "\"no json\"");
    check(r#"{"a": "\ud800"}"#, r#"{"a":"\"\\ud800\""}"#);
}

#[test]
fn configured_patterns_are_taken_out_too() {
    let redactor = Redactor::new(&[r"\bACME-\d{6}\b".into(), "x*".into()]).unwrap();
    assert_eq!(redactor.text("see ACME-123456 or xx"), "see [redacted] or [redacted]");
    let bad = Redactor::new(&["(".into()]).unwrap_err();
    assert!(bad.to_string().starts_with("\"(\" is no regular expression: "), "{bad}");
}

#[test]
fn text_that_is_made_to_be_slow_is_not() {
    // Each would take minutes if time grew with the square of the length.
    for part in [
        "eyJ",
        "sk-",
        "Q~",
        "://",
        "password",
        "bearer ",
        "-----BEGIN ",
        "=",
        "AAAA",
        "%41",
        "\\u0041",
        "a.eyJ",
    ] {
        let text = part.repeat(100_000 / part.len());
        assert!(Redactor::default().text(&text).len() <= text.len() + REDACTED.len(), "{part}");
    }
}

fn around() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ \"'(,:=&{}\n/]{1,3}",
        "[ -~\n\u{e9}\u{1f980}]{0,20}[ \"'(,;\n]",
        prop::sample::select(vec!["eyJ ", "ghp_ ", "Bearer ", "password=", "://", "-----", "Q~ ", "sk- "])
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn no_planted_secret_is_left(index in 0..PLANTED.len(), before in around(), after in "[ \"',;)&\n\\]}].{0,20}|") {
        let secret = planted(index);
        let text = format!("{before}{secret}{after}");
        let left = Redactor::default().text(&text).into_owned();
        prop_assert!(!left.contains(PLANTED[index].2), "{left}");
    }

    #[test]
    fn nor_in_what_is_encoded(index in 0..PLANTED.len(), before in "[ -~]{0,12} ", after in " [ -~]{0,12}", how in 0..6) {
        let secret = format!("{before}{}{after}", planted(index));
        let bytes = |write: fn(u8) -> String| secret.bytes().map(write).collect::<Vec<_>>().concat();
        let encoded = match how {
            0 => STANDARD.encode(&secret),
            1 => URL_SAFE_NO_PAD.encode(&secret),
            2 => bytes(|b| format!("{b:02x}")),
            3 => bytes(|b| format!("%{b:02X}")),
            4 => bytes(|b| format!("\\u{b:04x}")),
            _ => STANDARD.encode(STANDARD.encode(&secret)),
        };
        let left = Redactor::default().text(&format!("data {encoded} end")).into_owned();
        prop_assert!(!left.contains(&encoded), "{left}");
    }

    #[test]
    fn nor_anywhere_in_json(index in 0..PLANTED.len(), key in ".{0,8}", as_key in any::<bool>()) {
        let secret = planted(index);
        let value = if as_key { serde_json::json!([{ &secret: key }]) } else { serde_json::json!({ key: [&secret] }) };
        let left = json(&value.to_string());
        prop_assert!(!left.contains(PLANTED[index].2), "{left}");
        prop_assert!(serde_json::from_str::<serde_json::Value>(&left).is_ok());
    }

    #[test]
    fn json_without_secrets_stays_what_it_is(numbers in prop::collection::vec(any::<i32>(), 0..4), text in "[a-z ]{0,12}") {
        let value = serde_json::json!({ "list": numbers, "note": text, "nested": { "a": null } });
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&value.to_string())).unwrap(), value);
    }

    #[test]
    fn any_text_can_be_redacted(text in any::<String>()) {
        let redacted = Redactor::default().text(&text).into_owned();
        json(&serde_json::json!(text).to_string());
        prop_assert!(!redacted.is_empty() || text.is_empty());
    }
}
