//! What a version of the configuration holds: the files of a folder, and overlays for single identities, as one text.
//!
//! **Names are names, not paths**: a document is written to somebody's folder when it is pulled.

use serde::Serialize;

use super::Revision;
use crate::config::Source;
use crate::sorted::SortedMap;
use crate::wire::json::{Json, Object};

/// The name of a file that comes without one.
const NATIVE: &str = "portcullis.yaml";
/// The most files, and the most overlays.
const MOST: usize = 1000;

/// A configuration as it is pushed, kept and pulled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Document {
    /// What a configuration's folder holds: `portcullis.yaml`, an `mcpServers` file, or `mcp.json` and `app.yaml`.
    pub files: SortedMap<String, String>,
    /// What holds for one identity only, by whom it is for.
    #[serde(skip_serializing_if = "SortedMap::is_empty")]
    pub overlays: SortedMap<String, String>,
    /// What servers were approved to say, by their names: never part of what is pushed or pulled.
    #[serde(skip_serializing_if = "SortedMap::is_empty")]
    pub approvals: SortedMap<String, String>,
    /// What the registry has approved, by `NAME/VERSION`: likewise.
    #[serde(skip_serializing_if = "SortedMap::is_empty")]
    pub listed: SortedMap<String, String>,
    /// Another version, which some agents have already: never part of what is pushed, and of what is pulled.
    #[cfg(feature = "control")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead>,
}

/// A version that some agents have before all others.
#[cfg(feature = "control")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ahead {
    /// Which version.
    pub version: u64,
    /// The agents.
    pub agents: Vec<String>,
    /// What it says.
    pub document: Box<Document>,
}

/// Why something is no document: the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Malformed {
    /// The field, such as `files`.
    pub field: String,
    /// What was expected.
    pub message: String,
}

impl Malformed {
    pub(super) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

impl Document {
    /// Returns the document of one native file.
    pub fn native(text: &str) -> Self {
        Self { files: SortedMap::from([(NATIVE.to_owned(), text.to_owned())]), ..Self::default() }
    }

    /// Reads what a store keeps: a document, or the text of one native file, as somebody may have put it there by hand.
    pub fn read(text: &str) -> Result<Self, Malformed> {
        let Some(object) = Json::check(text.as_bytes()).ok().filter(|json| json.get("files").is_some())
        else {
            return Ok(Self::native(text));
        };
        let object = members(object, "the document")?;
        let approvals =
            object.get("approvals").map_or(Ok(SortedMap::new()), |json| texts(json, "approvals"))?;
        let listed = object.get("listed").map_or(Ok(SortedMap::new()), |json| texts(json, "listed"))?;
        let document = Self { approvals, listed, ..Self::of(&object)? };
        #[cfg(feature = "control")]
        let document = Self { ahead: object.get("ahead").map(Ahead::of).transpose()?, ..document };
        Ok(document)
    }

    /// Reads what a store keeps; what is no document is one native file, whatever it says.
    pub(crate) fn kept(text: &str) -> Self {
        Self::read(text).unwrap_or_else(|_| Self::native(text))
    }

    /// Takes a document from the members of a JSON object.
    pub(super) fn of(object: &Object<'_>) -> Result<Self, Malformed> {
        let files = object.get("files").ok_or_else(|| Malformed::new("files", "is missing"))?;
        let files = texts(files, "files")?;
        let overlays = object.get("overlays").map_or(Ok(SortedMap::new()), |json| texts(json, "overlays"))?;
        if files.is_empty() {
            return Err(Malformed::new("files", "there is no file"));
        }
        if let Some(name) = files.keys().find(|name| !is_file_name(name)) {
            let message =
                "a file's name is one to 100 letters, digits, `.`, `_` and `-`, and does not begin with `.`";
            return Err(Malformed::new(&format!("files[{name:?}]"), message));
        }
        if files.len().max(overlays.len()) > MOST {
            return Err(Malformed::new("files", format!("there are more than {MOST} files or overlays")));
        }
        Ok(Self { files, overlays, ..Self::default() })
    }

    /// Takes over the approvals of the version before: whoever pushes files, or goes back to them, says nothing of those.
    pub(crate) fn keep_approvals(&mut self, newest: Option<&Revision>) {
        let before = newest.map(|newest| Self::kept(&newest.text)).unwrap_or_default();
        (self.approvals, self.listed) = (before.approvals, before.listed);
    }

    /// Returns the text that a store keeps.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts by name are JSON")
    }

    /// Returns the files as they are read together.
    pub fn sources(&self) -> Vec<Source> {
        let source = |(path, text): (&String, &String)| Source { path: path.clone(), text: text.clone() };
        self.files.iter().map(source).collect()
    }
}

#[cfg(feature = "control")]
impl Ahead {
    fn of(json: Json<'_>) -> Result<Self, Malformed> {
        let wanted = |message: &str| Malformed::new("ahead", message);
        let object = members(json, "ahead")?;
        let version = object.get("version").and_then(Json::as_u64);
        let agents = object.get("agents").filter(|agents| agents.is_array());
        let name = |name: Json<'_>| name.as_str().map(std::borrow::Cow::into_owned);
        let agents = agents.and_then(|agents| agents.elements().map(name).collect::<Option<Vec<_>>>());
        let document = object.get("document").ok_or_else(|| wanted("has no document"))?;
        let document = Document { ahead: None, ..Document::read(document.text())? };
        Ok(Self {
            version: version.ok_or_else(|| wanted("expected the number of a version"))?,
            agents: agents.ok_or_else(|| wanted("expected a list of agents"))?,
            document: Box::new(document),
        })
    }
}

/// Returns a text that came into a store by other means than a push, with the approvals of the version before.
pub fn with_approvals(text: String, before: Option<&Revision>) -> String {
    let Some(mut document) = Document::read(&text)
        .ok()
        .filter(|document| document.approvals.is_empty() && document.listed.is_empty())
    else {
        return text;
    };
    document.keep_approvals(before);
    if document.approvals.is_empty() && document.listed.is_empty() { text } else { document.to_text() }
}

/// Returns the members of a JSON object, each key once.
pub(super) fn members<'a>(json: Json<'a>, what: &str) -> Result<Object<'a>, Malformed> {
    if !json.is_object() {
        return Err(Malformed::new(what, "expected a JSON object"));
    }
    json.object()
        .map_err(|duplicate| Malformed::new(what, format!("the key {:?} stands there twice", duplicate.0)))
}

fn texts(json: Json<'_>, field: &str) -> Result<SortedMap<String, String>, Malformed> {
    let object = members(json, field)?;
    let mut texts = SortedMap::new();
    for (key, value) in object.iter() {
        let text =
            value.as_str().ok_or_else(|| Malformed::new(&format!("{field}[{key:?}]"), "expected a text"))?;
        texts.insert(key.to_string(), text.into_owned());
    }
    Ok(texts)
}

fn is_file_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=100).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str) -> String {
        Document::read(text).map_or_else(|error| error.to_string(), |document| document.to_text())
    }

    #[test]
    fn documents_are_read() {
        insta::assert_snapshot!(check("version: 1\n"), @r#"{"files":{"portcullis.yaml":"version: 1\n"}}"#);
        insta::assert_snapshot!(check(r#"{"version": 1}"#), @r#"{"files":{"portcullis.yaml":"{\"version\": 1}"}}"#);
        insta::assert_snapshot!(check(r#"{"overlays":{"agent:a":"x"},"files":{"b":"","a":"1"}}"#), @r#"{"files":{"a":"1","b":""},"overlays":{"agent:a":"x"}}"#);
    }

    #[test]
    fn what_is_put_into_a_store_changes_no_approval() {
        let before = |text: &str| Revision {
            stamp: super::super::Stamp {
                version: 1,
                at: 1,
                by: "a".into(),
                note: String::new(),
                digest: String::new(),
            },
            text: text.into(),
        };
        let approved = before(r#"{"files":{"a":"1"},"approvals":{"s":"x"}}"#);
        insta::assert_snapshot!(with_approvals("version: 1\n".into(), Some(&approved)), @r#"{"files":{"portcullis.yaml":"version: 1\n"},"approvals":{"s":"x"}}"#);
        insta::assert_snapshot!(with_approvals("version: 1".into(), Some(&before("version: 1"))), @"version: 1");
        insta::assert_snapshot!(with_approvals(r#"{"files":{}}"#.into(), Some(&approved)), @r#"{"files":{}}"#);
    }

    #[test]
    fn what_is_none_is_refused_with_its_field() {
        insta::assert_snapshot!(check(r#"{"files":{}}"#), @"files: there is no file");
        insta::assert_snapshot!(check(r#"{"files":[]}"#), @"files: expected a JSON object");
        insta::assert_snapshot!(check(r#"{"files":{"a":1}}"#), @r#"files["a"]: expected a text"#);
        insta::assert_snapshot!(check(r#"{"files":{"a":"1","a":"2"}}"#), @r#"files: the key "a" stands there twice"#);
        for path in ["../a", "a/b", "/a", "a\\\\b", ".a", "", "a\\nb", "ä"] {
            let refused = check(&format!(r#"{{"files":{{"{path}":"x"}}}}"#));
            assert!(refused.contains("a file's name is"), "{path}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn a_document_is_read_back(
            files in prop::collection::btree_map("[a-z0-9][a-z0-9._-]{0,20}", "\\PC{0,40}", 1..4),
            overlays in prop::collection::btree_map("\\PC{0,20}", "\\PC{0,40}", 0..4),
            approvals in prop::collection::btree_map("\\PC{0,20}", "\\PC{0,40}", 0..4),
        ) {
            let approvals: SortedMap<_, _> = approvals.into_iter().collect();
            let document = Document { files: files.into_iter().collect(), overlays: overlays.into_iter().collect(), approvals: approvals.clone(), listed: approvals, ..Document::default() };
            prop_assert_eq!(Document::read(&document.to_text()), Ok(document.clone()));
            #[cfg(feature = "control")]
            {
                let ahead = Ahead { version: 7, agents: vec!["coder".into()], document: Box::new(document.clone()) };
                let both = Document { ahead: Some(ahead), ..document };
                prop_assert_eq!(Document::read(&both.to_text()), Ok(both));
            }
        }
    }
}
