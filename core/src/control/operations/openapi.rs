//! The `OpenAPI` document of the admin API, made from the table of operations.

use serde_json::{Map, Value, json};

use super::described::Condition;
use super::notation::schema;
use super::{Does, Governing, Last, Operation, Reach, all, schemas};
use crate::control::who::Role;

/// What every operation may be refused with, and why.
const REFUSALS: [(u16, &str); 13] = [
    (400, "The request is malformed: `errors` names the fields."),
    (401, "The admin credential, or a session, is missing or wrong."),
    (403, "The role may not do this, or the request came to a host that this gateway is not."),
    (404, "There is no such thing here, or none that the caller may see."),
    (405, "Another method is answered there: `Allow` names it."),
    (409, "It cannot be done as things are."),
    (412, "The condition does not hold."),
    (413, "The body is too large."),
    (415, "The body is of another kind."),
    (422, "What it says is not possible: `errors` names the places."),
    (428, "A condition is needed."),
    (429, "It was tried too often: `Retry-After` says when to try again."),
    (503, "A store or a server does not answer."),
];

/// Returns the document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for one in all() {
        let path = paths.entry(one.pattern()).or_insert_with(|| json!({}));
        path[one.method().to_ascii_lowercase()] = operation(one);
    }
    let named = schemas::ALL.iter().copied().flatten();
    let named: Map<_, _> = named.map(|(name, text)| ((*name).to_owned(), kind(text))).collect();
    let refusals: Map<_, _> =
        REFUSALS.iter().map(|(status, says)| (status.to_string(), refusal(says))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Governs an MCP gateway. Who may do what is said of each operation in `x-roles`; what a member \
                            may do with what is theirs alone is marked `x-own`.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "admin": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": named,
            "responses": refusals,
            "securitySchemes": {
                "admin": { "type": "http", "scheme": "bearer", "description": "the admin credential" },
                "session": { "type": "apiKey", "in": "cookie", "name": "__Host-portcullis-session" },
            },
        },
    })
}

fn kind(notation: &str) -> Value {
    schema(notation).expect("a test reads every notation of the table")
}

fn refusal(says: &str) -> Value {
    let fault = json!({ "schema": { "$ref": "#/components/schemas/Fault" } });
    // What is refused before it is known what is asked is refused as on every path.
    json!({ "description": says, "content": { "application/problem+json": fault, "application/json": { "schema": {} } } })
}

fn operation(one: &Operation) -> Value {
    let description = &one.description;
    let mut said = json!({
        "operationId": id(one.does),
        "summary": sentence(description.says),
        "tags": [tag(one.pattern())],
        "parameters": parameters(one),
        "responses": responses(one),
    });
    let reaches = |reach| Role::ALL.into_iter().filter(move |role| one.audience.reach(*role) == Some(reach));
    said["x-roles"] = reaches(Reach::All).map(Role::as_str).collect();
    let own: Vec<_> = reaches(Reach::Own).map(Role::as_str).collect();
    if !own.is_empty() {
        said["x-own"] = own.into();
    }
    if let Some(body) = description.takes {
        let mut content = json!({ "application/json": { "schema": kind(body) } });
        if description.yaml {
            content["application/yaml"] = json!({ "schema": { "type": "string" } });
        }
        said["requestBody"] = json!({ "required": true, "content": content });
    }
    said
}

/// Names an operation for programs that are made from the document.
pub(super) fn id(does: Does) -> String {
    let name = match does {
        Does::Govern(Governing::Fleet(order)) => format!("{order:?}"),
        Does::Govern(Governing::Reviewing(does)) => format!("{does:?}"),
        Does::Govern(Governing::Listing(does)) => format!("{does:?}"),
        Does::Govern(Governing::Writing(does)) => format!("{does:?}").replace(['(', ')'], ""),
        Does::Govern(does) => format!("{does:?}"),
        other => format!("{other:?}"),
    };
    let (first, rest) = name.split_at(1);
    first.to_ascii_lowercase() + rest
}

fn sentence(says: &str) -> String {
    let (first, rest) = says.split_at(1);
    format!("{}{rest}.", first.to_ascii_uppercase())
}

fn tag(pattern: &str) -> &str {
    pattern.trim_start_matches(super::ROOT).trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn parameters(one: &Operation) -> Vec<Value> {
    let mut all = Vec::new();
    let mut names = one.pattern().split('{').skip(1).filter_map(|rest| rest.split_once('}')).peekable();
    while let Some((name, _)) = names.next() {
        let is_number = names.peek().is_none() && one.last == Last::Number;
        let schema = if is_number {
            json!({ "type": "integer", "minimum": 0 })
        } else {
            json!({ "type": "string", "minLength": 1 })
        };
        all.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    for param in one.description.query {
        let (name, says) = (param.name, sentence(param.says));
        all.push(json!({ "name": name, "in": "query", "description": says, "schema": kind(param.kind) }));
    }
    let mut header = |name: &str, says: &str| {
        all.push(
            json!({ "name": name, "in": "header", "description": says, "schema": { "type": "string" } }),
        );
    };
    if one.method() == "POST" && one.audience != super::Audience::Outside {
        header("Idempotency-Key", "Has the request done once: the answer is given again for a day.");
    }
    if is_tagged(one) {
        header("If-None-Match", "The `ETag` of an answer that is known: it is not said again.");
    }
    match one.description.condition {
        Condition::None => {}
        Condition::Heeded => header("If-Match", "The `ETag` that the request builds on, or `*`."),
        Condition::Needed => header("If-Match", "The `ETag` that the request builds on, or `*`; needed."),
    }
    all
}

/// Tells whether an answer has a tag by which it is known.
fn is_tagged(one: &Operation) -> bool {
    let is_document = |(_, what): &(u16, &str)| !what.is_empty() && !what.contains('/');
    one.method() == "GET"
        && one.audience != super::Audience::Outside
        && one.description.answers.iter().any(is_document)
}

fn responses(one: &Operation) -> Value {
    let mut said = Map::new();
    for (status, answer) in one.description.answers {
        let described = match *answer {
            "" => json!({ "description": "Done; there is nothing more to say." }),
            media if media.contains('/') => {
                json!({ "description": "Done.", "content": { media: { "schema": { "type": "string" } } } })
            }
            notation => json!({
                "description": "Done.",
                "content": { "application/json": { "schema": kind(notation) } },
            }),
        };
        said.insert(status.to_string(), described);
    }
    if is_tagged(one) {
        let tag = json!({ "description": "What an answer is known by.", "schema": { "type": "string" } });
        said["200"]["headers"] = json!({ "ETag": tag });
        said.insert("304".into(), json!({ "description": "It is as it was when it had this `ETag`." }));
    }
    for (status, _) in REFUSALS {
        said.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    Value::Object(said)
}
