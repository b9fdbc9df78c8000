//! What settings are shown as: without what may be a secret that somebody has written into them.
//!
//! **A reference is shown, a value that a telling name has is not**, nor what has the form of a credential. What is not shown stays
//! as it is when the settings are written back as they were shown.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::{Map, Value};

use super::answer::Fault;
use crate::audit::{REDACTED, Redactor, names_secret};

/// Headers whose values say nothing about anybody.
const PLAIN_HEADERS: [&str; 4] = ["accept", "accept-language", "content-type", "user-agent"];

/// Returns settings as they are shown.
pub(crate) fn shown(settings: &Value) -> Value {
    show(settings, &Around::default())
}

/// What stands around a value.
#[derive(Debug, Clone, Copy, Default)]
struct Around<'v> {
    /// The key of the map that it is in.
    map: &'v str,
    /// Its own key, or the word before it in a list.
    name: &'v str,
}

fn show(value: &Value, around: &Around<'_>) -> Value {
    match value {
        Value::String(text) => show_text(text, around).into(),
        Value::Array(items) => {
            let mut before = "";
            let mut all = Vec::with_capacity(items.len());
            for item in items {
                all.push(show(item, &Around { name: before, ..*around }));
                before = item
                    .as_str()
                    .filter(|word| word.starts_with('-') && !word.contains('='))
                    .unwrap_or_default();
            }
            all.into()
        }
        Value::Object(members) => {
            let inner = |(key, value): (&String, &Value)| {
                (key.clone(), show(value, &Around { map: around.name, name: key }))
            };
            Value::Object(members.iter().map(inner).collect())
        }
        other if around.map == "env" && names_secret(around.name) && !other.is_null() => REDACTED.into(),
        other => other.clone(),
    }
}

fn show_text(text: &str, around: &Around<'_>) -> String {
    if let Some(rest) = beside_references(text) {
        // What is looked up is no secret; what stands beside it may be.
        let is_plain = matches!(Redactor::default().text(&rest), Cow::Borrowed(_));
        return if is_plain { text.to_owned() } else { REDACTED.to_owned() };
    }
    let is_secret = match around.map {
        "headers" => !PLAIN_HEADERS.contains(&&*around.name.to_ascii_lowercase()),
        "env" | "args" => names_secret(around.name),
        _ => around.name.starts_with('-') && names_secret(around.name) || around.name == "client_secret",
    };
    if is_secret {
        return REDACTED.into();
    }
    match text.split_once('=') {
        Some((name, _)) if name.starts_with('-') && names_secret(name) => format!("{name}={REDACTED}"),
        _ => without_query(&Redactor::default().text(text)),
    }
}

/// Returns what of a text is no reference; nothing where it has none.
fn beside_references(text: &str) -> Option<String> {
    let (first, mut rest) = text.split_once("${")?;
    let mut beside = first.to_owned();
    while let Some((_, after)) = rest.split_once('}') {
        let (text, next) = after.split_once("${").unwrap_or((after, ""));
        beside.push_str(text);
        rest = next;
    }
    Some(beside)
}

/// Returns a URL without values of its query that telling names have; any other text as it is.
fn without_query(text: &str) -> String {
    let Some((before, query)) = text.split_once('?').filter(|(before, _)| before.contains("://")) else {
        return text.to_owned();
    };
    let show = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if value != REDACTED && names_secret(name) || is_key(pair) => {
            format!("{}={REDACTED}", pair.split('=').next().unwrap_or_default())
        }
        _ => pair.to_owned(),
    };
    format!("{before}?{}", query.split('&').map(show).collect::<Vec<_>>().join("&"))
}

fn is_key(pair: &str) -> bool {
    matches!(pair.split('=').next(), Some("key" | "k" | "code"))
}

/// Returns settings with what was not shown put back from the settings that they replace.
pub(crate) fn restored(new: Value, old: Option<&Value>) -> Result<Value, Fault> {
    let shown = old.map(shown);
    restore(new, old, shown.as_ref(), "settings")
}

fn restore(new: Value, old: Option<&Value>, shown: Option<&Value>, field: &str) -> Result<Value, Fault> {
    match new {
        Value::String(text) if text.contains(REDACTED) => match (old, shown) {
            (Some(old), Some(Value::String(shown))) if *shown == text => Ok(old.clone()),
            _ => Err(unknown(field)),
        },
        Value::Array(items) => {
            let at = |whole: Option<&Value>, index: usize| whole.and_then(|whole| whole.get(index)).cloned();
            let item = |(index, item)| {
                let field = format!("{field}[{index}]");
                restore(item, at(old, index).as_ref(), at(shown, index).as_ref(), &field)
            };
            items.into_iter().enumerate().map(item).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        Value::Object(members) => {
            let mut all = Map::new();
            for (key, value) in members {
                let (old, shown) =
                    (old.and_then(|old| old.get(&key)), shown.and_then(|shown| shown.get(&key)));
                let value = restore(value, old, shown, &format!("{field}.{key}"))?;
                all.insert(key, value);
            }
            Ok(all.into())
        }
        other => Ok(other),
    }
}

fn unknown(field: &str) -> Fault {
    let message = format!(
        "what `{REDACTED}` stands for is not known here; write the value, or a reference such as `${{secret:NAME}}`"
    );
    Fault::field(field, &message).with_status(StatusCode::UNPROCESSABLE_ENTITY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let settings = json!({
            "url": "https://ana:pw1234567@a.example/mcp?api_key=abc&page=2",
            "headers": { "X-Key": "abc", "Authorization": "Bearer ${secret:k}", "Accept": "x/y" },
            "env": { "API_TOKEN": "abc", "TZ": "UTC", "PASSWORD": 1234 },
            "command": ["run", "--token", "abc", "--secret=abc", "--port", "80"],
            "args": ["--api-key", "abc"],
            "auth": { "oauth": { "client_secret": "abc", "client_id": "us" } },
            "match": [{ "api_key": "coder" }],
            "timeout": "30s",
        });
        let shown = shown(&settings);
        let expected = json!({
            "url": "https://[redacted]@a.example/mcp?api_key=[redacted]&page=2",
            "headers": { "X-Key": REDACTED, "Authorization": "Bearer ${secret:k}", "Accept": "x/y" },
            "env": { "API_TOKEN": REDACTED, "TZ": "UTC", "PASSWORD": REDACTED },
            "command": ["run", "--token", REDACTED, "--secret=[redacted]", "--port", "80"],
            "args": ["--api-key", REDACTED],
            "auth": { "oauth": { "client_secret": REDACTED, "client_id": "us" } },
            "match": [{ "api_key": "coder" }],
            "timeout": "30s",
        });
        assert_eq!(shown, expected);
        assert_eq!(restored(shown, Some(&settings)).map_err(|fault| fault.detail), Ok(settings));
    }

    #[test]
    fn what_was_not_shown_cannot_be_written_elsewhere() {
        let old = json!({ "headers": { "X-Key": "abc" } });
        let check = |new: Value| restored(new, Some(&old)).map_err(|fault| fault.detail);
        insta::assert_snapshot!(check(json!({ "headers": { "X-Other": REDACTED } })).unwrap_err(), @"settings.headers.X-Other: what `[redacted]` stands for is not known here; write the value, or a reference such as `${secret:NAME}`");
        insta::assert_snapshot!(check(json!({ "args": [REDACTED] })).unwrap_err(), @"settings.args[0]: what `[redacted]` stands for is not known here; write the value, or a reference such as `${secret:NAME}`");
        assert_eq!(
            check(json!({ "headers": { "X-Key": "new" } })),
            Ok(json!({ "headers": { "X-Key": "new" } }))
        );
    }
}
