//! What must hold for any bytes: the targets that `fuzz/` explores, and that the tests replay with what was found.
//!
//! **Each target compares with something independent** (`serde_json`, a document, the way back), so that a wrong answer
//! is found like a panic.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::Memory;
use crate::config::{self, Problem, Source};
use crate::pieces::Pieces;
use crate::ports::{Clock as _, Entropy};
use crate::relay::{Broken, Edits, Finished, Splice};
use crate::session::{Purpose, Sealer, ServerRequest, Session};
use crate::sorted::SortedSet;
use crate::wire::json::{Json, MAX_DEPTH, Object};
use crate::wire::message::{self, Message};

/// What is appended to a result, and what a relayed error's code becomes.
const APPENDED: &[(&str, &str)] = &[("resultType", "\"complete\""), ("ttlMs", "0")];
const REPLACED: (&str, &str) = ("-32002", "-32602");
/// The answers of the relay's target are to this request.
const ASKED: &str = "5";
const AGENT: &str = "\"agent\"";

/// A message as it comes in: what is taken for JSON is JSON, and what is taken for a message says the same to
/// `serde_json`, which sees no key twice.
pub fn envelope(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    let is_json = text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let json = match Json::check(data) {
        Ok(json) => json,
        Err(malformed) => {
            let is_deep = data.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() > MAX_DEPTH as usize;
            assert!(!is_json || is_deep, "JSON was refused: {malformed}");
            assert!(malformed.at <= data.len());
            return;
        }
    };
    assert!(is_json, "what is not JSON was accepted");
    let members = members(json.text());
    match message::parse(json) {
        Ok(message) => {
            let Some(members) = members else { return };
            assert!(are_unique(&members), "a key of the envelope stands twice");
            assert_same(&message, &members);
        }
        Err(rejected) => {
            assert!(rejected.id.is_none_or(|id| Json::check(id.as_bytes()).is_ok()));
            assert!(!members.is_some_and(|members| is_plain_request(&members)), "a request was refused");
        }
    }
}

/// An answer on its way back: what comes out does not depend on how it was cut, and is what a document makes of it.
/// The first byte chooses the edits, the next two how long the pieces are.
pub fn relay(data: &[u8]) {
    let [choice, first, second, text @ ..] = data else { return };
    let edits = || edits(choice % 2 == 0);
    let whole = relayed(edits(), std::iter::once(text));
    assert_eq!(relayed(edits(), cut(text, *first, *second)), whole, "cut another way");
    assert_eq!(relayed(edits(), text.chunks(1)), whole, "cut into bytes");
    let Some(document) = answer(text) else { return };
    match whole {
        Ok((out, Finished::Answer)) => {
            let out: Value = serde_json::from_slice(&out).expect("an answer that was JSON is JSON");
            assert_eq!(out, edited(document, &edits()));
        }
        other => panic!("an answer was not relayed: {other:?}"),
    }
}

/// Tokens: what was not sealed here opens to nothing, what was opens to what it was, for its purpose only, and only
/// untouched.
pub fn seal(data: &[u8]) {
    let sealer = Sealer::new(&[1; 32], &[[2; 32]]);
    let host = Memory::new(|_| super::json_answer(500, ""));
    let purposes = [Purpose::Session, Purpose::ServerRequest, Purpose::RequestState, Purpose::Task];
    if let Ok(token) = std::str::from_utf8(data) {
        assert!(purposes.iter().all(|purpose| sealer.open(*purpose, token).is_none()), "forged");
    }
    let index = data.first().map_or(0, |byte| usize::from(*byte));
    let purpose = purposes[index % purposes.len()];
    let token = sealer.seal(&Fixed(data), purpose, data);
    let is_short = token.len() <= if purpose == Purpose::RequestState { 1 << 20 } else { 8 << 10 };
    assert_eq!(sealer.open(purpose, &token).as_deref(), is_short.then_some(data));
    assert_eq!(sealer.open(purposes[(index + 1) % purposes.len()], &token), None, "for another purpose");
    assert_eq!(Sealer::new(&[2; 32], &[]).open(purpose, &token), None, "by another key");
    let mut touched = token.clone().into_bytes();
    let at = index * 7 % touched.len();
    touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
    let touched = String::from_utf8(touched).expect("the alphabet is ASCII");
    assert_eq!(sealer.open(purpose, &touched), None, "touched at {at}");
    let session = Session::open(&token, &sealer, &host, "/mcp", &super::anybody());
    assert!(session.is_none_or(|session| purpose == Purpose::Session && session.expires > host.now()));
    let request = ServerRequest::open(&token, &sealer, 7);
    assert!(request.is_none_or(|request| purpose == Purpose::ServerRequest && request.session == 7));
}

/// A configuration: every problem stands in the text, what is refused says why, and a foreign file means the same once
/// it is written natively. The first byte chooses the file's name.
pub fn config(data: &[u8]) {
    let [choice, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let paths = ["p.yaml", "p.json", ".vscode/mcp.json", "p"];
    let path = paths[usize::from(*choice) % paths.len()];
    let source = [Source { path: path.to_owned(), text: text.to_owned() }];
    let variables = |name: &str| name.len().is_multiple_of(2).then(|| "value".to_owned());
    let parsed = config::parse(&source, &variables);
    parsed.problems.iter().for_each(|problem| assert_within(problem, text));
    let broken: SortedSet<_> = parsed.problems.iter().filter_map(|problem| problem.server.clone()).collect();
    for name in parsed.config.broken.keys() {
        assert!(broken.contains(name), "{name:?} is left out, and no problem says why");
    }
    let imported = config::import(&source);
    imported.problems.iter().for_each(|problem| assert_within(problem, text));
    if imported.servers().next().is_none() {
        return;
    }
    let written = Source { path: paths[0].to_owned(), text: config::to_yaml(&imported) };
    let again = config::parse(std::slice::from_ref(&written), &variables);
    assert_eq!(again.config.servers, parsed.config.servers, "written as {}", written.text);
}

/// An edit of a configuration: whatever the text is, it is refused or changed, and what was set is what is read. The
/// first byte chooses the file's name, the second the path.
#[cfg(feature = "control")]
pub fn edit(data: &[u8]) {
    let [choice, place, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let paths = ["p.yaml", "p.json", ".vscode/mcp.json", "p"];
    let name = paths[usize::from(*choice) % paths.len()];
    let sources = [Source { path: name.to_owned(), text: text.to_owned() }];
    let places = ["servers.a", "servers.b", "groups.a", "agents.a.allow", "auth.required"];
    let path = || places[usize::from(*place) % places.len()].split('.').map(str::to_owned).collect();
    let value = serde_json::json!({"url": "https://a.example/mcp", "headers": {"X-A": "b: #"}});
    if let Ok(edited) = config::edit(&sources, &config::Edit::Set { path: path(), value: value.clone() }) {
        let again = config::edit(&edited, &config::Edit::Set { path: path(), value });
        assert_eq!(again.as_ref(), Ok(&edited), "the same edit changes something again");
        let removed = config::edit(&edited, &config::Edit::Remove { path: path() });
        if let Ok(removed) = removed {
            let nothing = config::edit(&removed, &config::Edit::Remove { path: path() });
            assert!(nothing.is_err(), "it was removed, and is still there: {}", removed[0].text);
        }
    }
    if let Ok(removed) = config::edit(&sources, &config::Edit::Remove { path: path() }) {
        assert_ne!(removed, sources, "what was removed is still there");
    }
}

/// The members of an object as another parser reads them, duplicates included; nothing where it cannot.
fn members(text: &str) -> Option<Vec<(String, Value)>> {
    Some(serde_json::from_str::<Members>(text).ok()?.0)
}

struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn are_unique(members: &[(String, Value)]) -> bool {
    members.iter().map(|(key, _)| key).collect::<SortedSet<_>>().len() == members.len()
}

fn get<'m>(members: &'m [(String, Value)], key: &str) -> Option<&'m Value> {
    members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// Compares what was read with what another parser reads.
fn assert_same(message: &Message<'_>, members: &[(String, Value)]) {
    let (id, method, params) = match message {
        Message::Request { id, method, params } => (Some(*id), Some(method), Some(params)),
        Message::Notification { method, params } => (None, Some(method), Some(params)),
        Message::Response { id, .. } => (Some(*id).filter(|id| id.text() != "null"), None, None),
    };
    let id = id.map(|id| serde_json::from_str::<Value>(id.text()).expect("an id is JSON"));
    assert_eq!(id.as_ref(), get(members, "id").filter(|id| !id.is_null()));
    assert_eq!(method.map(AsRef::as_ref), get(members, "method").and_then(Value::as_str));
    assert_eq!(get(members, "jsonrpc"), Some(&Value::from("2.0")));
    for (key, value) in params.into_iter().flat_map(Object::iter) {
        let value = serde_json::from_str::<Value>(value.text()).ok();
        assert_eq!(
            value.as_ref(),
            get(members, "params").and_then(|params| params.get(key.as_ref())),
            "{key}"
        );
    }
}

/// Tells whether there is nothing about a request that could be refused.
fn is_plain_request(members: &[(String, Value)]) -> bool {
    let id = get(members, "id");
    are_unique(members)
        && get(members, "jsonrpc").is_some_and(|version| version == "2.0")
        && get(members, "method").is_some_and(Value::is_string)
        && id.is_none_or(|id| id.is_string() || id.is_u64() || id.is_i64())
        && !members.iter().any(|(key, _)| key == "params")
}

fn edits(appends: bool) -> Edits {
    Edits {
        expected_id: ASKED.to_owned(),
        id: AGENT.to_owned(),
        append: if appends { APPENDED } else { &[] },
        omit: (!appends).then_some(|key, first| key == b"gone" || (key == b"object" && first != b'{')),
        replaced: &[],
        replace: None,
        error: |error| error.replace(REPLACED.0, REPLACED.1),
    }
}

fn relayed<'c>(edits: Edits, chunks: impl Iterator<Item = &'c [u8]>) -> Result<(Bytes, Finished), Broken> {
    let mut splice = Splice::new(edits);
    let mut out = Pieces::default();
    for chunk in chunks {
        splice.push(&Bytes::copy_from_slice(chunk), &mut out)?;
    }
    Ok((out.into_whole().into_bytes(), splice.finish()?))
}

/// Cuts a text into pieces of two lengths by turns.
fn cut(text: &[u8], first: u8, second: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    let mut lengths = [first, second].into_iter().cycle();
    std::iter::from_fn(move || {
        let length = usize::from(lengths.next()?).clamp(1, rest.len().max(1));
        let (piece, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(piece)
    })
}

/// Reads an answer to the request, of which it is certain what it says: no key stands twice, and none is escaped.
fn answer(text: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(text).ok()?;
    let document: Value = serde_json::from_str(text).ok()?;
    let envelope = members(text)?;
    let inner = Json::check(text.as_bytes())
        .ok()?
        .get("result")
        .map_or(Vec::new(), |result| members(result.text()).unwrap_or_default());
    let is_certain = are_unique(&envelope) && are_unique(&inner) && !text.contains("\\u");
    let is_answer = get(&envelope, "id").is_some_and(|id| *id == 5 && id.is_u64())
        && get(&envelope, "method").is_none()
        && (get(&envelope, "result").is_some() != get(&envelope, "error").is_some())
        && get(&envelope, "error").is_none_or(Value::is_object);
    (is_certain && is_answer).then_some(document)
}

/// Makes the same changes in a document.
fn edited(mut document: Value, edits: &Edits) -> Value {
    document["id"] = "agent".into();
    if let Some(error) = document.get_mut("error") {
        let text = error.to_string().replace(REPLACED.0, REPLACED.1);
        *error = serde_json::from_str(&text).unwrap_or_default();
    }
    if let Some(Value::Object(result)) = document.get_mut("result") {
        for (name, value) in edits.append {
            result
                .entry((*name).to_owned())
                .or_insert_with(|| serde_json::from_str(value).expect("appended members are JSON"));
        }
        if edits.omit.is_some() {
            result.retain(|key, value| key != "gone" && (key != "object" || value.is_object()));
        }
    }
    document
}

/// Randomness that is chosen.
struct Fixed<'a>(&'a [u8]);

impl Entropy for Fixed<'_> {
    fn fill(&self, buffer: &mut [u8]) {
        for (to, from) in buffer.iter_mut().zip(self.0.iter().cycle()) {
            *to = *from;
        }
    }
}

/// A problem's place is one where an editor can put its cursor.
fn assert_within(problem: &Problem, text: &str) {
    // A carriage return alone ends a line of YAML as well.
    let text = text.replace("\r\n", "\n");
    let lines: Vec<_> = text.split(['\n', '\r']).collect();
    let line = problem.line as usize;
    assert!((1..=lines.len()).contains(&line), "line {line} of {}: {problem}", lines.len());
    let columns = lines[line - 1].chars().count() + 1;
    assert!((1..=columns).contains(&(problem.column as usize)), "column beyond {columns}: {problem}");
}
