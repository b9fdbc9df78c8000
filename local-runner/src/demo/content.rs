//! What there is to read: a prompt, resources, a resource template, and completions for their arguments.

use serde_json::{Value, json};

use super::rpc::{Failure, Params};

const ABOUT: &str = include_str!("about.md");
const LOGO: &str = include_str!("logo.svg");

const PROMPT: &str = "explain_portcullis";
const AUDIENCE: &str = "audience";
const AUDIENCES: [&str; 5] =
    ["a developer", "a manager", "a security team", "an operator", "someone new to MCP"];

const GREETING: &str = "demo://greeting/{name}";
const GREETING_PREFIX: &str = "demo://greeting/";
const NAME: &str = "name";
const NAMES: [&str; 6] = ["Ada", "Alan", "Barbara", "Edsger", "Grace", "Margaret"];
/// The longest name that is greeted, in characters.
const NAME_LIMIT: usize = 100;

/// A resource that is always the same.
struct Resource {
    uri: &'static str,
    name: &'static str,
    title: &'static str,
    description: &'static str,
    mime_type: &'static str,
    text: &'static str,
}

const RESOURCES: [Resource; 2] = [
    Resource {
        uri: "demo://about",
        name: "about",
        title: "About this server",
        description: "What this server offers, and what stands in front of it.",
        mime_type: "text/markdown",
        text: ABOUT,
    },
    Resource {
        uri: "demo://logo",
        name: "logo",
        title: "Logo",
        description: "A portcullis, drawn.",
        mime_type: "image/svg+xml",
        text: LOGO,
    },
];

/// What can be completed: a reference's type, its key and value, the argument, and the known values.
struct Completion {
    kind: &'static str,
    key: &'static str,
    target: &'static str,
    argument: &'static str,
    values: &'static [&'static str],
}

const COMPLETIONS: [Completion; 2] = [
    Completion { kind: "ref/prompt", key: "name", target: PROMPT, argument: AUDIENCE, values: &AUDIENCES },
    Completion { kind: "ref/resource", key: "uri", target: GREETING, argument: NAME, values: &NAMES },
];

/// Returns the prompts as `prompts/list` has them.
pub(super) fn prompts() -> Vec<Value> {
    vec![json!({
        "name": PROMPT,
        "title": "Explain Portcullis",
        "description": "Asks for an explanation of the gateway in front of this server.",
        "arguments": [{
            "name": AUDIENCE,
            "title": "Audience",
            "description": "Whom to explain it to; a developer where absent.",
            "required": false,
        }],
    })]
}

/// Answers `prompts/get`.
pub(super) fn prompt(params: &Params) -> Result<Value, Failure> {
    match string(params, "name")? {
        PROMPT => {}
        name => return Err(Failure::invalid_params(format!("there is no prompt {name:?}"))),
    }
    let audience = match params.get("arguments").map(|arguments| &arguments[AUDIENCE]) {
        None | Some(Value::Null) => AUDIENCES[0],
        Some(Value::String(audience)) => audience,
        Some(_) => return Err(Failure::invalid_params(format!("`{AUDIENCE}` must be a string"))),
    };
    let text = format!(
        "Explain to {audience}, in a few plain sentences, what Portcullis does for agents and for the servers \
         behind it. Build on the attached text, then suggest one thing to try with this server's tools."
    );
    Ok(json!({
        "description": "Explains the gateway in front of this server.",
        "messages": [
            { "role": "user", "content": { "type": "text", "text": text } },
            { "role": "user", "content": { "type": "resource", "resource": contents(&RESOURCES[0]) } },
        ],
    }))
}

/// Returns the resources as `resources/list` has them.
pub(super) fn resources() -> Vec<Value> {
    let describe = |resource: &Resource| {
        json!({
            "uri": resource.uri,
            "name": resource.name,
            "title": resource.title,
            "description": resource.description,
            "mimeType": resource.mime_type,
            "size": resource.text.len(),
        })
    };
    RESOURCES.iter().map(describe).collect()
}

/// Returns the resource templates as `resources/templates/list` has them.
pub(super) fn templates() -> Vec<Value> {
    vec![json!({
        "uriTemplate": GREETING,
        "name": "greeting",
        "title": "Greeting",
        "description": "A greeting for whoever is named.",
        "mimeType": "text/plain",
    })]
}

/// Answers `resources/read`.
pub(super) fn read(params: &Params) -> Result<Value, Failure> {
    let uri = string(params, "uri")?;
    let contents = match RESOURCES.iter().find(|resource| resource.uri == uri) {
        Some(resource) => contents(resource),
        None => greeting(uri).ok_or_else(|| Failure::unknown_resource(uri))?,
    };
    Ok(json!({ "contents": [contents] }))
}

/// Answers `completion/complete`.
pub(super) fn complete(params: &Params) -> Result<Value, Failure> {
    let (Some(reference), Some(argument)) = (params.get("ref"), params.get("argument")) else {
        return Err(Failure::invalid_params("`ref` and `argument` must be objects"));
    };
    let known = COMPLETIONS.iter().find(|known| {
        reference["type"] == known.kind
            && reference[known.key] == known.target
            && argument["name"] == known.argument
    });
    let known = known.ok_or_else(|| Failure::invalid_params("there is no such argument to complete"))?;
    let Some(typed) = argument["value"].as_str() else {
        return Err(Failure::invalid_params("the argument's `value` must be a string"));
    };
    let typed = typed.to_lowercase();
    let values: Vec<_> =
        known.values.iter().filter(|value| value.to_lowercase().starts_with(&typed)).collect();
    Ok(json!({ "completion": { "values": values, "total": values.len(), "hasMore": false } }))
}

fn string<'a>(params: &'a Params, key: &str) -> Result<&'a str, Failure> {
    let value = params.get(key).and_then(Value::as_str);
    value.ok_or_else(|| Failure::invalid_params(format!("`{key}` must be a string")))
}

fn contents(resource: &Resource) -> Value {
    json!({ "uri": resource.uri, "mimeType": resource.mime_type, "text": resource.text })
}

/// Reads the template, where the URI fits it.
fn greeting(uri: &str) -> Option<Value> {
    let name = percent_decoded(uri.strip_prefix(GREETING_PREFIX)?)?;
    let fits = (1..=NAME_LIMIT).contains(&name.chars().count()) && !name.contains(char::is_control);
    fits.then(|| {
        json!({ "uri": uri, "mimeType": "text/plain", "text": format!("Hello, {name}! The gate is open.\n") })
    })
}

/// Decodes one path segment.
fn percent_decoded(segment: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                decoded.push(hex(*high)? << 4 | hex(*low)?);
                after
            }
            (b'%' | b'/' | b'?' | b'#', _) => return None,
            (byte, after) => {
                decoded.push(*byte);
                after
            }
        };
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_pass_by_value, reason = "cases are written in place")]

    use super::*;

    #[test]
    fn reads_resources() {
        assert!(text("demo://about").unwrap().starts_with("# "));
        assert!(text("demo://logo").unwrap().starts_with("<svg"));
        for resource in resources() {
            let read = text(resource["uri"].as_str().unwrap()).unwrap();
            assert_eq!(resource["size"], read.len());
        }
    }

    #[test]
    fn greets() {
        assert_eq!(text("demo://greeting/Ada").unwrap(), "Hello, Ada! The gate is open.\n");
        assert_eq!(text("demo://greeting/J%C3%BCrgen%20B").unwrap(), "Hello, Jürgen B! The gate is open.\n");
        let long = "x".repeat(101);
        for name in ["", "a/b", "a?b", "%", "%4", "%zz", "%ff", "%0a", &long] {
            assert_eq!(text(&format!("{GREETING_PREFIX}{name}")), None, "{name}");
        }
    }

    #[test]
    fn prompts_for_an_audience() {
        let ask = |arguments: Value| {
            prompt(json!({ "name": PROMPT, "arguments": arguments }).as_object().unwrap()).unwrap()["messages"][0]
                ["content"]["text"]
                .to_string()
        };
        assert!(ask(json!({})).contains("Explain to a developer,"));
        assert!(ask(json!({ "audience": "a cat" })).contains("Explain to a cat,"));
        assert!(prompt(json!({ "name": "other" }).as_object().unwrap()).is_err());
        let wrong = json!({ "name": PROMPT, "arguments": { "audience": 7 } });
        assert!(prompt(wrong.as_object().unwrap()).is_err());
    }

    #[test]
    fn completes() {
        check(json!({ "type": "ref/resource", "uri": GREETING }), "name", "a", &["Ada", "Alan"]);
        check(json!({ "type": "ref/resource", "uri": GREETING }), "name", "", &NAMES);
        check(json!({ "type": "ref/prompt", "name": PROMPT }), "audience", "an", &["an operator"]);
        check(json!({ "type": "ref/prompt", "name": PROMPT }), "audience", "x", &[]);
    }

    #[test]
    fn completes_nothing_unknown() {
        let prompt = json!({ "type": "ref/prompt", "name": PROMPT });
        for params in [
            json!({}),
            json!({ "ref": prompt, "argument": { "name": "other", "value": "" } }),
            json!({ "ref": prompt, "argument": { "name": "audience" } }),
            json!({ "ref": { "type": "ref/resource", "uri": "demo://about" }, "argument": { "name": "name", "value": "" } }),
        ] {
            assert!(complete(params.as_object().unwrap()).is_err(), "{params}");
        }
    }

    fn check(reference: Value, argument: &str, typed: &str, expected: &[&str]) {
        let params = json!({ "ref": reference, "argument": { "name": argument, "value": typed } });
        let result = complete(params.as_object().unwrap()).unwrap();
        assert_eq!(result["completion"]["values"], json!(expected));
    }

    fn text(uri: &str) -> Option<String> {
        let result = read(json!({ "uri": uri }).as_object().unwrap()).ok()?;
        result["contents"][0]["text"].as_str().map(str::to_owned)
    }
}
