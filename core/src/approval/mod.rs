//! Approvals: what a server was approved to say of what it offers, and what becomes of what it says since. Pure.
//!
//! **An approval binds every definition** (tools, prompts, resources, templates, with all that stands in them), the
//! instructions, and what the server is reached by. **What differs is held back when a list is read, once**; no request asks
//! whether it does. Without an approval nothing is compared.

mod canonical;
mod diff;
mod launch;
mod pin;
mod sighting;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

pub(crate) use canonical::{Fingerprint, fingerprint};
pub(crate) use diff::{Difference, differences};
pub(crate) use launch::{described, launch};
pub(crate) use pin::{Change, Held, Pinned, pin};

pub use sighting::{Definition, Sighting};

use crate::audit;
use crate::catalog::{Item, Kind, Offer, Room, read_page};
use crate::names::ServerName;
use crate::sorted::{self, SortedMap};
use crate::upstream::lock;
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;

/// What a server was approved to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approval {
    /// The digest of what it is reached by.
    pub(crate) launch: String,
    /// When it was approved last, in milliseconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) instructions: Option<String>,
    /// The definitions, each list in the order of its names.
    lists: [Vec<Item>; 4],
}

impl Approval {
    /// Approves that a server is reached by this, and whatever `before` has of definitions.
    pub(crate) fn of_launch(launch: &str, at: u64, before: Option<&Self>) -> Self {
        Self { launch: launch.to_owned(), at, ..before.cloned().unwrap_or_default() }
    }

    /// Approves everything that a server says.
    pub(crate) fn of_all(launch: &str, at: u64, seen: &Offer) -> Self {
        let mut approval = Self::of_launch(launch, at, None);
        approval.instructions.clone_from(&seen.introduction.instructions);
        for kind in Kind::ALL {
            approval.set_items(kind, seen.items(kind).to_vec());
        }
        approval
    }

    /// Approves one tool as a server has it now; one that it no longer has is forgotten.
    pub(crate) fn of_tool(
        launch: &str,
        at: u64,
        (before, seen): (Option<&Self>, &Offer),
        tool: &str,
    ) -> Self {
        let mut approval = Self::of_launch(launch, at, before);
        let mut tools = std::mem::take(&mut approval.lists[Kind::Tools as usize]);
        tools.retain(|item| item.name != tool);
        tools.extend(seen.items(Kind::Tools).iter().find(|item| item.name == tool).cloned());
        approval.set_items(Kind::Tools, tools);
        approval
    }

    fn set_items(&mut self, kind: Kind, mut items: Vec<Item>) {
        sorted::sort_by(&mut items, |one, other| one.name.cmp(&other.name));
        self.lists[kind as usize] = items;
    }

    /// Returns the definitions of one list, in the order of their names.
    pub(crate) fn items(&self, kind: Kind) -> &[Item] {
        &self.lists[kind as usize]
    }

    /// Returns the definition of that name.
    pub(crate) fn item(&self, kind: Kind, name: &str) -> Option<&Item> {
        let items = self.items(kind);
        items.binary_search_by(|item| item.name.as_str().cmp(name)).ok().map(|place| &items[place])
    }

    /// Returns the text that is kept.
    pub fn to_text(&self) -> String {
        let mut out = ObjectWriter::with_capacity(1024);
        out.string("launch", &self.launch);
        out.member("at", &self.at.to_string());
        if let Some(instructions) = &self.instructions {
            out.member("instructions", &quote(instructions));
        }
        for kind in Kind::ALL.into_iter().filter(|kind| !self.items(*kind).is_empty()) {
            out.member(kind.member(), &texts(self.items(kind)));
        }
        out.finish()
    }

    /// Reads such a text.
    ///
    /// # Errors
    ///
    /// Says what is wrong with one that is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let json = Json::check(text.as_bytes()).map_err(|error| error.to_string())?;
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(std::borrow::Cow::into_owned);
        let mut approval = Self {
            launch: text("launch").ok_or("`launch` is missing")?,
            at: json.get("at").and_then(Json::as_u64).unwrap_or_default(),
            instructions: text("instructions"),
            ..Self::default()
        };
        for kind in Kind::ALL.into_iter().filter(|kind| json.get(kind.member()).is_some()) {
            let (items, skipped) = read_page(kind, json, &mut BTreeSet::new(), &mut Room::endless())?;
            if let Some(skipped) = skipped.first() {
                return Err(skipped.to_string());
            }
            approval.set_items(kind, items);
        }
        Ok(approval)
    }
}

/// What servers were approved to say. Clones are the same: where a host keeps approvals, they change while a configuration is in
/// force.
#[derive(Debug, Clone, Default)]
pub struct Approvals(Arc<Mutex<SortedMap<ServerName, Arc<Approval>>>>);

impl PartialEq for Approvals {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *lock(&self.0) == *lock(&other.0)
    }
}

impl FromIterator<(ServerName, Arc<Approval>)> for Approvals {
    fn from_iter<I: IntoIterator<Item = (ServerName, Arc<Approval>)>>(approvals: I) -> Self {
        Self(Arc::new(Mutex::new(approvals.into_iter().collect())))
    }
}

impl Approvals {
    /// Returns what a server was approved to say.
    pub(crate) fn of(&self, server: &ServerName) -> Option<Arc<Approval>> {
        lock(&self.0).get(server).cloned()
    }

    /// Returns all there are, by server.
    pub fn all(&self) -> Vec<(ServerName, Arc<Approval>)> {
        lock(&self.0).iter().map(|(server, approval)| (server.clone(), approval.clone())).collect()
    }

    /// Approves what a server says in place of what was approved before, or nothing any more.
    pub(crate) fn set(&self, server: ServerName, approval: Option<Arc<Approval>>) {
        let mut all = lock(&self.0);
        match approval {
            Some(approval) => all.insert(server, approval),
            None => all.remove(&server),
        };
    }

    /// Takes over what others have.
    pub(crate) fn become_as(&self, others: Self) {
        if !Arc::ptr_eq(&self.0, &others.0) {
            let others = std::mem::take(&mut *lock(&others.0));
            *lock(&self.0) = others;
        }
    }
}

/// Returns items as a JSON array.
pub(crate) fn texts(items: &[Item]) -> String {
    let texts: Vec<&str> = items.iter().map(|item| &*item.text).collect();
    format!("[{}]", texts.join(","))
}

/// Returns the digest of everything that a server says, and of what it is reached by: what somebody approves who was shown it.
pub(crate) fn digest(launch: &str, seen: &Offer) -> String {
    let mut said = format!("{launch}\n");
    let mut take = |what: &str, name: &str, digest: &str| {
        for part in [what, " ", &quote(name), " ", digest, "\n"] {
            said.push_str(part);
        }
    };
    if let Some(instructions) = &seen.introduction.instructions {
        take("instructions", "", &audit::digest(instructions.as_bytes()));
    }
    let in_order = Approval::of_all("", 0, seen);
    for kind in Kind::ALL {
        for item in in_order.items(kind) {
            take(kind.member(), &item.name, &hex(&fingerprint(kind, &item.text)));
        }
    }
    audit::digest(said.as_bytes())
}

/// Writes a digest in hexadecimal digits.
pub(crate) fn hex(digest: &Fingerprint) -> String {
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::handshake::Introduction;
    use crate::wire::version::Version;

    /// An offer of these tools, each a name and a description.
    pub(super) fn offer(tools: &[(&str, &str)]) -> Offer {
        let introduction = Introduction {
            capabilities: r#"{"tools":{}}"#.into(),
            info: None,
            instructions: Some("Be quick.".into()),
        };
        let mut offer = Offer::new(Version::MODERN, introduction, 1);
        let tool = |(name, description): &(&str, &str)| Item {
            name: (*name).into(),
            text: format!(
                r#"{{"name":"{name}","description":"{description}","inputSchema":{{"type":"object"}}}}"#
            )
            .into(),
            parameters: Vec::new(),
        };
        offer.set_items(Kind::Tools, tools.iter().map(tool).collect());
        offer
    }

    #[test]
    fn an_approval_is_read_back() {
        let approval = Approval::of_all("abc", 17, &offer(&[("b", "B"), ("a", "A")]));
        assert_eq!(Approval::read(&approval.to_text()), Ok(approval.clone()));
        insta::assert_snapshot!(approval.to_text(), @r#"{"launch":"abc","at":17,"instructions":"Be quick.","tools":[{"name":"a","description":"A","inputSchema":{"type":"object"}},{"name":"b","description":"B","inputSchema":{"type":"object"}}]}"#);
        let bad = |text: &str| Approval::read(text).unwrap_err();
        insta::assert_snapshot!(bad("{}"), @"`launch` is missing");
        insta::assert_snapshot!(bad(r#"{"launch":"","tools":[{"name":"a"}]}"#), @r#"Tools item "a" is left out: `inputSchema` is not an object schema"#);
        insta::assert_snapshot!(bad(r#"{"launch":"","tools":7}"#), @"answered tools/list without a list of tools");
    }

    #[test]
    fn one_tool_is_approved_alone() {
        let before = Approval::of_all("x", 1, &offer(&[("a", "A"), ("b", "B")]));
        let seen = offer(&[("c", "C"), ("a", "A2"), ("b", "B2")]);
        let names = |approval: &Approval| {
            let names = approval
                .items(Kind::Tools)
                .iter()
                .map(|item| format!("{} {}", item.name, item.text.contains('2')));
            names.collect::<Vec<_>>().join(", ")
        };
        let of = |tool: &str| Approval::of_tool("x", 2, (Some(&before), &seen), tool);
        assert_eq!(names(&of("a")), "a true, b false");
        assert_eq!(names(&of("c")), "a false, b false, c false");
        assert_eq!(names(&Approval::of_tool("x", 2, (Some(&before), &offer(&[])), "a")), "b false");
        assert_eq!(names(&Approval::of_tool("x", 2, (None, &seen), "b")), "b true");
    }

    #[test]
    fn what_was_shown_is_named_by_everything_in_it() {
        let one = offer(&[("a", "A"), ("b", "B")]);
        let same = offer(&[("b", "B"), ("a", "A")]);
        assert_eq!(digest("x", &one), digest("x", &same));
        let mut silent = offer(&[("a", "A"), ("b", "B")]);
        silent.introduction.instructions = None;
        for other in [offer(&[("a", "A")]), offer(&[("a", "A"), ("b", "B ")]), silent] {
            assert_ne!(digest("x", &one), digest("x", &other));
        }
        assert_ne!(digest("x", &one), digest("y", &one));
    }
}
