//! The tools: what each is called, takes and does.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value, json};

use super::rpc::{Failure, Params};
use crate::moment::{Moment, Offset};

const SIDES_LIMIT: u64 = 1000;
const COUNT_LIMIT: u64 = 100;

struct Tool {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    repeats: Repeats,
    input: fn() -> Value,
    output: Option<fn() -> Value>,
    run: fn(Value) -> Result<Output, String>,
}

/// Whether the same call has the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Alike,
    Differently,
}

/// What a tool answers.
#[derive(Debug, PartialEq)]
enum Output {
    Text(String),
    Structured(Value),
}

const TOOLS: [Tool; 5] = [
    Tool {
        name: "add",
        title: "Add two numbers",
        description: "Adds two numbers and returns their sum.",
        repeats: Repeats::Alike,
        input: || {
            schema(
                json!({
                    "a": { "type": "number", "description": "The first number." },
                    "b": { "type": "number", "description": "The second number." },
                }),
                &["a", "b"],
            )
        },
        output: Some(|| schema(json!({ "sum": { "type": "number" } }), &["sum"])),
        run: add,
    },
    Tool {
        name: "current_time",
        title: "Current time",
        description: "Returns the current time in RFC 3339, in UTC or at an offset from it.",
        repeats: Repeats::Differently,
        input: || {
            schema(
                json!({ "offset": {
                    "type": "string",
                    "description": "The offset from UTC, such as \"+02:00\" or \"-05:30\".",
                    "pattern": "^(Z|[+-][0-9]{2}:[0-9]{2})$",
                    "default": "Z",
                } }),
                &[],
            )
        },
        output: Some(|| {
            schema(
                json!({
                    "time": { "type": "string", "format": "date-time" },
                    "unix": { "type": "integer", "description": "Seconds since 1970-01-01 00:00 UTC." },
                }),
                &["time", "unix"],
            )
        }),
        run: current_time,
    },
    Tool {
        name: "echo",
        title: "Echo",
        description: "Returns the message it is given.",
        repeats: Repeats::Alike,
        input: || {
            schema(json!({ "message": { "type": "string", "description": "What to return." } }), &["message"])
        },
        output: None,
        run: echo,
    },
    Tool {
        name: "roll_dice",
        title: "Roll dice",
        description: "Rolls one die or several and returns each roll and their total.",
        repeats: Repeats::Differently,
        input: || {
            schema(
                json!({
                    "sides": integer("How many sides each die has.", 2, SIDES_LIMIT, 6),
                    "count": integer("How many dice to roll.", 1, COUNT_LIMIT, 1),
                }),
                &[],
            )
        },
        output: Some(|| {
            schema(
                json!({
                    "rolls": { "type": "array", "items": { "type": "integer" } },
                    "total": { "type": "integer" },
                }),
                &["rolls", "total"],
            )
        }),
        run: roll_dice,
    },
    Tool {
        name: "word_count",
        title: "Count words",
        description: "Counts the words, characters, lines and UTF-8 bytes of a text.",
        repeats: Repeats::Alike,
        input: || {
            schema(json!({ "text": { "type": "string", "description": "The text to measure." } }), &["text"])
        },
        output: Some(|| {
            let count = json!({ "type": "integer", "minimum": 0 });
            schema(
                json!({ "words": count, "characters": count, "lines": count, "bytes": count }),
                &["words", "characters", "lines", "bytes"],
            )
        }),
        run: word_count,
    },
];

/// Returns the tools as `tools/list` has them, by name.
pub(super) fn list() -> Vec<Value> {
    TOOLS.iter().map(describe).collect()
}

/// Answers `tools/call`. Arguments that a tool does not take are its own error, so that a model can correct them.
pub(super) fn call(params: &Params) -> Result<Value, Failure> {
    let Some(name) = params.get("name").and_then(Value::as_str) else {
        return Err(Failure::invalid_params("`name` must be a string"));
    };
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == name) else {
        return Err(Failure::invalid_params(format!("there is no tool {name:?}")));
    };
    let arguments = match params.get("arguments") {
        None => json!({}),
        Some(arguments @ Value::Object(_)) => arguments.clone(),
        Some(_) => return Err(Failure::invalid_params("`arguments` must be an object")),
    };
    Ok(match (tool.run)(arguments) {
        Ok(Output::Text(text)) => json!({ "content": [text_block(&text)] }),
        // The text is for clients that know no structured content.
        Ok(Output::Structured(value)) => {
            json!({ "content": [text_block(&value.to_string())], "structuredContent": value })
        }
        Err(problem) => json!({ "content": [text_block(&problem)], "isError": true }),
    })
}

fn describe(tool: &Tool) -> Value {
    let mut described = json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": (tool.input)(),
        "annotations": {
            "title": tool.title,
            "readOnlyHint": true,
            "destructiveHint": false,
            "idempotentHint": tool.repeats == Repeats::Alike,
            "openWorldHint": false,
        },
    });
    if let Some(output) = tool.output {
        described["outputSchema"] = output();
    }
    described
}

fn schema(properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object", "additionalProperties": false });
    schema["properties"] = properties;
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn integer(description: &str, minimum: u64, maximum: u64, default: u64) -> Value {
    json!({
        "type": "integer",
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "default": default,
    })
}

fn text_block(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn parse<T: DeserializeOwned>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|error| format!("The arguments do not fit: {error}."))
}

fn within(name: &str, value: u64, minimum: u64, maximum: u64) -> Result<u64, String> {
    match value {
        value if (minimum..=maximum).contains(&value) => Ok(value),
        _ => Err(format!("`{name}` must be between {minimum} and {maximum}, not {value}.")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    message: String,
}

fn echo(arguments: Value) -> Result<Output, String> {
    parse(arguments).map(|Echo { message }| Output::Text(message))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    a: Number,
    b: Number,
}

fn add(arguments: Value) -> Result<Output, String> {
    let Add { a, b } = parse(arguments)?;
    let whole = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b)).map(Number::from);
    let sum = whole.or_else(|| Number::from_f64(a.as_f64()? + b.as_f64()?));
    let sum = sum.ok_or_else(|| format!("The sum of {a} and {b} is too large."))?;
    Ok(Output::Structured(json!({ "sum": sum })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CurrentTime {
    offset: Option<String>,
}

fn current_time(arguments: Value) -> Result<Output, String> {
    let CurrentTime { offset } = parse(arguments)?;
    let offset = offset.as_deref().unwrap_or("Z");
    let offset = Offset::parse(offset)
        .ok_or_else(|| format!("`offset` must look like \"+02:00\", at most 23:59, not {offset:?}."))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = Moment::at(since.as_secs(), offset);
    Ok(Output::Structured(json!({ "time": moment.to_string(), "unix": since.as_secs() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollDice {
    sides: Option<u64>,
    count: Option<u64>,
}

fn roll_dice(arguments: Value) -> Result<Output, String> {
    let RollDice { sides, count } = parse(arguments)?;
    let sides = within("sides", sides.unwrap_or(6), 2, SIDES_LIMIT)?;
    let count = within("count", count.unwrap_or(1), 1, COUNT_LIMIT)?;
    let chance = RandomState::new();
    let rolls: Vec<u64> = (0..count).map(|roll| chance.hash_one(roll) % sides + 1).collect();
    let total: u64 = rolls.iter().sum();
    Ok(Output::Structured(json!({ "rolls": rolls, "total": total })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WordCount {
    text: String,
}

fn word_count(arguments: Value) -> Result<Output, String> {
    let WordCount { text } = parse(arguments)?;
    Ok(Output::Structured(json!({
        "words": text.split_whitespace().count(),
        "characters": text.chars().count(),
        "lines": text.lines().count(),
        "bytes": text.len(),
    })))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_pass_by_value, reason = "cases are written in place")]

    use super::*;

    #[test]
    fn every_tool_is_described() {
        let tools = list();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert!(names.is_sorted());
        for tool in &tools {
            assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
            assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
            assert!(!tool["description"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn answers() {
        check("add", json!({ "a": 2, "b": 40 }), json!({ "sum": 42 }));
        check("add", json!({ "a": 0.5, "b": 1 }), json!({ "sum": 1.5 }));
        check("add", json!({ "a": i64::MAX, "b": 1 }), json!({ "sum": 9_223_372_036_854_775_808.0 }));
        check(
            "word_count",
            json!({ "text": "one  two\nthrée" }),
            json!({ "words": 3, "characters": 14, "lines": 2, "bytes": 15 }),
        );
        check(
            "word_count",
            json!({ "text": "" }),
            json!({ "words": 0, "characters": 0, "lines": 0, "bytes": 0 }),
        );
    }

    #[test]
    fn echoes() {
        let result = ask("echo", &json!({ "message": "hi\n\"you\"" })).unwrap();
        assert_eq!(result, json!({ "content": [{ "type": "text", "text": "hi\n\"you\"" }] }));
    }

    #[test]
    fn structured_answers_have_what_their_schema_requires() {
        let arguments = json!({ "add": { "a": 1, "b": 2 }, "word_count": { "text": "x" } });
        for tool in &TOOLS {
            let arguments = arguments.get(tool.name).cloned().unwrap_or_else(|| json!({}));
            let Some(output) = tool.output else { continue };
            let result = ask(tool.name, &arguments).unwrap();
            for key in output()["required"].as_array().unwrap() {
                assert!(result["structuredContent"].get(key.as_str().unwrap()).is_some(), "{result}");
            }
        }
    }

    #[test]
    fn dice_stay_within_their_sides() {
        let result = ask("roll_dice", &json!({ "sides": 2, "count": 100 })).unwrap();
        let rolls = result["structuredContent"]["rolls"].as_array().unwrap().clone();
        assert_eq!(rolls.len(), 100);
        assert!(rolls.iter().all(|roll| (1..=2).contains(&roll.as_u64().unwrap())));
        let total: u64 = rolls.iter().filter_map(Value::as_u64).sum();
        assert_eq!(result["structuredContent"]["total"], total);
    }

    #[test]
    fn tells_the_time() {
        let result = ask("current_time", &json!({ "offset": "+05:30" })).unwrap();
        assert!(result["structuredContent"]["time"].as_str().unwrap().ends_with("+05:30"));
    }

    #[test]
    fn says_what_is_wrong_with_arguments() {
        check_problem("echo", json!({}), "The arguments do not fit: missing field `message`.");
        check_problem(
            "echo",
            json!({ "message": "x", "mesage": "y" }),
            "The arguments do not fit: unknown field `mesage`, expected `message`.",
        );
        check_problem("roll_dice", json!({ "sides": 1 }), "`sides` must be between 2 and 1000, not 1.");
        check_problem("roll_dice", json!({ "count": 101 }), "`count` must be between 1 and 100, not 101.");
        check_problem(
            "current_time",
            json!({ "offset": "CET" }),
            "`offset` must look like \"+02:00\", at most 23:59, not \"CET\".",
        );
        check_problem("add", json!({ "a": 1e308, "b": 1e308 }), "The sum of 1e+308 and 1e+308 is too large.");
    }

    #[test]
    fn refuses_what_is_no_call() {
        for params in [
            json!({}),
            json!({ "name": "no_such_tool" }),
            json!({ "name": 7 }),
            json!({ "name": "echo", "arguments": [] }),
        ] {
            assert!(call(params.as_object().unwrap()).is_err(), "{params}");
        }
    }

    fn check(tool: &str, arguments: Value, expected: Value) {
        let result = ask(tool, &arguments).unwrap();
        assert_eq!(result["structuredContent"], expected, "{arguments}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected, "the same as text");
        assert!(result.get("isError").is_none());
    }

    fn check_problem(tool: &str, arguments: Value, expected: &str) {
        let result = ask(tool, &arguments).unwrap();
        assert_eq!(result["content"][0]["text"], expected, "{arguments}");
        assert_eq!(result["isError"], true);
    }

    fn ask(tool: &str, arguments: &Value) -> Result<Value, Failure> {
        call(json!({ "name": tool, "arguments": arguments }).as_object().unwrap())
    }
}
