//! What is a server.json here is what the official schema says is one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

static SCHEMA: std::sync::LazyLock<jsonschema::Validator> = std::sync::LazyLock::new(|| {
    let schema = include_str!("../../../../tests/fixtures/server.schema.json");
    // `demands` says what a URL is.
    let options = jsonschema::options().should_validate_formats(false);
    options.build(&serde_json::from_str(schema).unwrap()).unwrap()
});

fn whole() -> Value {
    json!({
        "$schema": "https://static.example.com/server.schema.json",
        "name": "com.example/weather_2",
        "title": "Weather",
        "description": "Tells the weather",
        "version": "1.0.2",
        "websiteUrl": "https://example.com",
        "repository": { "url": "https://example.com/git", "source": "example", "id": "1", "subfolder": "a/b" },
        "icons": [{ "src": "https://example.com/i.png", "mimeType": "image/png", "sizes": ["48x48", "any"], "theme": "dark" }],
        "packages": [
            {
                "registryType": "npm", "identifier": "@example/weather", "version": "1.0.2",
                "fileSha256": "a".repeat(64), "runtimeHint": "npx", "transport": { "type": "stdio" },
                "runtimeArguments": [{ "type": "positional", "value": "-y" }],
                "packageArguments": [
                    { "type": "named", "name": "--port", "default": "1", "format": "number", "isRepeated": false },
                    { "type": "positional", "valueHint": "path", "choices": ["a", "b"] }
                ],
                "environmentVariables": [{ "name": "KEY", "isRequired": true, "isSecret": true, "description": "k" }]
            },
            { "registryType": "oci", "identifier": "a/b", "transport": { "type": "sse", "url": "http://{host}/sse" } }
        ],
        "remotes": [{
            "type": "streamable-http", "url": "https://{tenant}.example.com/mcp",
            "headers": [{ "name": "Authorization", "value": "Bearer {k}", "variables": { "k": { "isSecret": true } } }],
            "variables": { "tenant": { "default": "a", "isRequired": true } }
        }],
        "_meta": { PUBLISHER: { "tool": "t" }, "com.example": 1 }
    })
}

/// Returns every place of a value, as a JSON pointer.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            places(value, &format!("{at}/{key}"), into);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), into));
        }
        _ => {}
    }
}

fn odd_values() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "a",
        "a/b",
        "a/b/c",
        "A.b-c/D_e",
        "a b/c",
        "latest",
        "^1.2.3",
        "1.x",
        "stdio",
        "sse",
        "streamable-http",
        "positional",
        "named",
        "https://",
        "https://a",
        "http://a b",
        "{x}",
        "{1x}",
        "{x}/ y",
        "{}",
        "ftp://a",
        "any",
        "1x2",
        "1x2x3",
        "x2",
        "light",
        "image/png",
        "number",
        "\u{feff}",
        "{x}\u{feff}",
        "https://a\u{85}",
        "é/é",
        "a\n/b",
    ];
    prop_oneof![
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        prop::sample::select(vec![0_usize, 1, 2, 3, 64, 100, 101, 200, 201, 255, 256])
            .prop_map(|count| "é".repeat(count).into()),
        prop::sample::select(vec![64_usize, 63]).prop_map(|count| "f".repeat(count).into()),
        prop::sample::select(vec![
            Value::Null,
            json!(true),
            json!(1),
            json!(1.5),
            json!([]),
            json!({}),
            json!([1]),
            json!({ "type": "stdio" }),
            json!({ "name": "a" }),
            json!([{ "type": "named", "name": "a" }]),
            json!({ "type": "sse", "url": "https://a" }),
            json!([{ "type": "positional", "value": "a", "variables": { "v": 1 } }]),
        ]),
    ]
}

#[test]
fn the_whole_example_is_one() {
    assert_eq!(wrongs(&whole()), []);
    assert!(SCHEMA.is_valid(&whole()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_what_the_schema_says(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(odd_values())), 1..4)
    ) {
        let mut server = whole();
        for (place, change) in changes {
            let mut all = Vec::new();
            places(&server, "", &mut all);
            let at = place.get(&all).clone();
            if let Some(value) = change {
                *server.pointer_mut(&at).unwrap() = value;
                continue;
            }
            let (above, key) = at.rsplit_once('/').unwrap_or_default();
            let key = key.replace("~1", "/").replace("~0", "~");
            match server.pointer_mut(above) {
                Some(Value::Object(members)) => drop(members.remove(&key)),
                Some(Value::Array(items)) => drop(key.parse().map(|index: usize| items.remove(index))),
                _ => {}
            }
        }
        let ours = shape(&server);
        prop_assert_eq!(ours.is_empty(), SCHEMA.is_valid(&server), "{}\n{:?}", server, ours);
    }
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let check = |pointer: &str, value: Value| {
        let mut server = whole();
        *server.pointer_mut(pointer).unwrap() = value;
        let lines: Vec<_> =
            wrongs(&server).iter().map(|wrong| format!("{}: {}", wrong.field, wrong.message)).collect();
        lines.join("; ")
    };
    insta::assert_snapshot!(check("/name", json!("weather")), @"name: expected NAMESPACE/NAME of letters, digits, `.`, `-`, and in the name `_`");
    insta::assert_snapshot!(check("/version", json!("^1.0")), @"version: expected one version such as 1.0.2, not a range and not `latest`");
    insta::assert_snapshot!(check("/version", json!("1.0/../x")), @"version: expected one version such as 1.0.2, not a range and not `latest`");
    insta::assert_snapshot!(check("/packages/0/transport", json!({ "type": "pipe" })), @"packages[0].transport.url: is missing; packages[0].transport.type: expected one of stdio, streamable-http, sse");
    insta::assert_snapshot!(check("/packages/0/version", json!("1.x")), @"packages[0].version: expected one version, not a range");
    insta::assert_snapshot!(check("/remotes/0/url", json!("file:///etc/passwd")), @"remotes[0].url: expected a URL with http or https");
    insta::assert_snapshot!(check("/icons/0/src", json!("http://a.example/i.png")), @"icons[0].src: expected a URL with https");
    insta::assert_snapshot!(check("/websiteUrl", json!("javascript:alert(1)")), @"websiteUrl: expected a URL with http or https");
}
