//! What servers offer: the items of their lists, kept as the text they came in.

mod annotation;
pub mod inspect;
mod introduce;
mod merged;
#[cfg(test)]
mod properties;
pub(crate) mod shared;
mod template;
mod unknown;
mod view;
mod views;

use annotation::parameters;
pub(crate) use annotation::{Parameter, same_value};
use inspect::Suspects;
pub(crate) use merged::Route;
pub(crate) use template::Template;
pub use unknown::UnknownName;
pub(crate) use unknown::unknown_names;
pub(crate) use view::{Found, Listed, Scope, View};
pub(crate) use views::{Looking, Views};
#[cfg(any(test, feature = "testing"))]
pub(crate) use views::{Lookout, look};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::sorted::SortedSet;
use crate::upstream::handshake::{Introduction, shorten};
use crate::wire::json::{Json, push_string};
use crate::wire::message::ObjectWriter;
use crate::wire::version::{Era, Version};

/// The lists that a server may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// Returns the method that lists items of this kind.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// Returns the member of the result that holds the items.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// Returns the member of an item that names it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// Returns what tells an item from those of other lists.
    pub(crate) fn known_as(self, name: &str) -> String {
        [self.member(), name].join(" ")
    }

    /// Returns the capability that a server with this list declares.
    pub(crate) fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }
}

/// The capabilities whose lists can change, in the order of [`Listed`].
pub(crate) const CAPABILITIES: [&str; 3] = ["tools", "prompts", "resources"];

/// One item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// What names it: a tool's or prompt's name, a resource's URI, a template's.
    pub(crate) name: String,
    /// The whole item, as JSON text.
    pub(crate) text: Box<str>,
    /// The arguments that a stateless request repeats in headers.
    pub(crate) parameters: Vec<Parameter>,
}

/// Everything that one server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) version: Version,
    pub(crate) introduction: Introduction,
    lists: [Vec<Item>; 4],
    /// How long the lists may be taken for current, in milliseconds.
    pub(crate) ttl: u64,
    /// When the lists were read, in milliseconds since the Unix epoch.
    pub(crate) read: u64,
    /// What is suspicious about its texts, once they have been inspected.
    pub(crate) suspects: Arc<Suspects>,
    /// Items that are here for their names alone, and not served.
    pub(crate) withheld: SortedSet<String>,
}

impl Offer {
    /// Makes an offer without items.
    pub(crate) fn new(version: Version, introduction: Introduction, read: u64) -> Self {
        Self {
            version,
            introduction,
            lists: Default::default(),
            ttl: u64::MAX,
            read,
            suspects: Arc::default(),
            withheld: SortedSet::new(),
        }
    }

    /// Returns the items of one list.
    pub(crate) fn items(&self, kind: Kind) -> &[Item] {
        &self.lists[kind as usize]
    }

    /// Tells whether another offer lists the same.
    pub(crate) fn lists_as(&self, other: &Self) -> bool {
        self.lists == other.lists
    }

    /// Sets the items of one list.
    pub(crate) fn set_items(&mut self, kind: Kind, items: Vec<Item>) {
        self.lists[kind as usize] = items;
    }

    /// Tells whether an item is here for its name alone.
    pub(crate) fn withholds(&self, kind: Kind, name: &str) -> bool {
        !self.withheld.is_empty() && self.withheld.contains(&kind.known_as(name))
    }

    /// Inspects its texts; where they are those of the offer before, what was found then holds.
    pub(crate) fn inspect(&mut self, before: Option<&Self>) {
        let is_same = |before: &&Self| {
            before.lists == self.lists && before.introduction.instructions == self.introduction.instructions
        };
        self.suspects = match before.filter(is_same) {
            Some(before) => before.suspects.clone(),
            None => Arc::new(Suspects::of(self)),
        };
    }

    /// Returns a capability that the server declared, as JSON.
    pub(crate) fn capability(&self, name: &str) -> Option<Json<'_>> {
        capability(&self.introduction, name)
    }

    /// Tells whether the lists are older than they may be.
    pub(crate) fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.read) > self.ttl
    }
}

/// Tells whether a server has said that it tells of changes.
pub(crate) fn tells_of_changes(introduction: &Introduction, version: Version) -> bool {
    CAPABILITIES.into_iter().any(|name| {
        capability(introduction, name).is_some_and(|capability| {
            let set = |key: &str| capability.get(key).and_then(Json::as_bool) == Some(true);
            set("listChanged") || (set("subscribe") && version.era() == Era::Legacy)
        })
    })
}

/// Returns a declared capability, as JSON.
pub(crate) fn capability<'i>(introduction: &'i Introduction, name: &str) -> Option<Json<'i>> {
    Json::check(introduction.capabilities.as_bytes()).ok()?.get(name).filter(|c| c.is_object())
}

/// Why an item is left out of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} item {:?} is left out: {why}", shorten(name))]
pub(crate) struct Skipped {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) why: String,
}

/// Reads one page of a list. Items that no client could use are left out, each with its reason; of two with the same
/// name (`seen` holds those of earlier pages) the first stays. No more are looked at than there is `room` for.
pub(crate) fn read_page(
    kind: Kind,
    result: Json<'_>,
    seen: &mut BTreeSet<String>,
    room: &mut Room,
) -> Result<(Vec<Item>, Vec<Skipped>), String> {
    let list = result.get(kind.member()).filter(|l| l.is_array());
    let list =
        list.ok_or_else(|| format!("answered {} without a list of {}", kind.method(), kind.member()))?;
    let (mut items, mut skipped) = (Vec::new(), Vec::new());
    for element in list.elements() {
        if !room.takes(element.text().len()) {
            break;
        }
        let name = element.get(kind.key()).and_then(Json::as_str).unwrap_or_default().into_owned();
        let problem = if name.is_empty() {
            Err(format!("`{}` is missing", kind.key()))
        } else if !seen.insert(name.clone()) {
            Err("it is listed twice".into())
        } else {
            read_parameters(kind, element)
        };
        match problem {
            Ok(parameters) => items.push(Item { name, text: element.text().into(), parameters }),
            Err(why) => skipped.push(Skipped { kind, name, why }),
        }
    }
    Ok((items, skipped))
}

/// How much of a list is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// How many items more.
    pub(crate) items: usize,
    /// How many bytes more.
    pub(crate) bytes: usize,
}

impl Room {
    /// Room for whatever comes.
    pub(crate) fn endless() -> Self {
        Self { items: usize::MAX, bytes: usize::MAX }
    }

    /// Takes room for an item of this length; once there is none for one, there is none for any.
    fn takes(&mut self, length: usize) -> bool {
        let left = (self.items.checked_sub(1), self.bytes.checked_sub(length));
        self.items = left.0.filter(|_| left.1.is_some()).unwrap_or(0);
        self.bytes = left.1.unwrap_or(0);
        left.0.is_some() && left.1.is_some()
    }

    /// Tells whether nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        self.items == 0
    }
}

/// Returns the arguments that a tool of this text wants repeated in headers.
pub(crate) fn parameters_of(tool: &str) -> Result<Vec<Parameter>, String> {
    let json = Json::check(tool.as_bytes()).map_err(|error| error.to_string())?;
    read_parameters(Kind::Tools, json)
}

fn read_parameters(kind: Kind, item: Json<'_>) -> Result<Vec<Parameter>, String> {
    if kind != Kind::Tools {
        return Ok(Vec::new());
    }
    let schema = item.get("inputSchema").filter(|s| s.is_object());
    let schema = schema.filter(|s| s.get("type").and_then(Json::as_str).as_deref() == Some("object"));
    parameters(schema.ok_or("`inputSchema` is not an object schema")?)
}

/// Returns an item's text with another value for one of its members, everything else as it is.
pub(crate) fn replace_member(item: &str, key: &str, value: &str) -> String {
    let json = Json::check(item.as_bytes()).expect("items are kept as checked JSON");
    let mut out = Vec::with_capacity(item.len() + value.len() + 16);
    out.push(b'{');
    for (index, (name, old)) in json.members().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(&mut out, &name);
        out.push(b':');
        if name == key {
            push_string(&mut out, value);
        } else {
            out.extend_from_slice(old.text().as_bytes());
        }
    }
    out.push(b'}');
    String::from_utf8(out).expect("only text was appended")
}

/// Returns an item's text without one of its members, everything else as it is.
pub(crate) fn without_member(item: &str, key: &str) -> String {
    let json = Json::check(item.as_bytes()).expect("items are kept as checked JSON");
    let mut out = ObjectWriter::with_capacity(item.len());
    for (name, value) in json.members().filter(|(name, _)| name != key) {
        out.member(&name, value.text());
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, result: &str) -> String {
        let json = Json::check(result.as_bytes()).unwrap();
        match read_page(kind, json, &mut BTreeSet::new(), &mut Room::endless()) {
            Ok((items, skipped)) => {
                let names: Vec<_> = items.into_iter().map(|i| i.name).collect();
                let skipped: Vec<_> = skipped.iter().map(ToString::to_string).collect();
                format!("{names:?} {skipped:?}")
            }
            Err(error) => error,
        }
    }

    #[test]
    fn one_bad_item_harms_only_itself() {
        insta::assert_snapshot!(check(Kind::Tools, r#"{"tools":[{"name":"a","inputSchema":{"type":"object"}},{"name":"b"},{"inputSchema":{}},{"name":"a","inputSchema":{"type":"object"}},{"name":"c","inputSchema":{"type":"array"}}]}"#),
            @r#"["a"] ["Tools item \"b\" is left out: `inputSchema` is not an object schema", "Tools item \"\" is left out: `name` is missing", "Tools item \"a\" is left out: it is listed twice", "Tools item \"c\" is left out: `inputSchema` is not an object schema"]"#);
        insta::assert_snapshot!(check(Kind::Resources, r#"{"resources":[{"uri":"a:b"}]}"#), @r#"["a:b"] []"#);
        insta::assert_snapshot!(check(Kind::Prompts, "{}"), @"answered prompts/list without a list of prompts");
    }

    #[test]
    fn replacing_keeps_everything_else() {
        assert_eq!(
            replace_member(r#"{ "z" : 1.0, "name":"a", "é": {"name":"a"} }"#, "name", "s__a"),
            r#"{"z":1.0,"name":"s__a","é":{"name":"a"}}"#
        );
    }
}
