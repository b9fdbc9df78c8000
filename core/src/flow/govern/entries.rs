//! Writes of single entries: a server, a group, a variant, an agent.
//!
//! **A write is the next version of the configuration**: one entry of its files is another, comments and all else stay, and the whole
//! is examined as if it were pushed. So it is attributed, and can be gone back on.

use http::StatusCode;

use super::super::control::{Asked, NextVersion};
use super::inventory::{decoded, is_same, missing};
use crate::body::Reply;
use crate::config::{Edit, Section, Source, Written, edit, written};
use crate::control::Document;
use crate::control::answer::Fault;
use crate::control::operations::Writing;
use crate::control::request::{Condition, NewEntry};
use crate::control::settings::restored;
use crate::gateway::Gateway;
use crate::ports::Host;

/// How often a version is written that somebody else was quicker with, where that is no matter.
const ATTEMPTS: usize = 5;

/// What is to be written of one entry.
struct Change {
    section: Section,
    name: String,
    /// Nothing where it is to be removed.
    settings: Option<serde_json::Value>,
    is_new: bool,
    note: String,
}

impl<H: Host> Gateway<H> {
    pub(super) async fn write_entry(&self, does: Writing, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (store, strangers) = self.stored()?;
        let condition = match does {
            Writing::Add(_) => Condition::of(asked.headers)?.unwrap_or(Condition::Any),
            Writing::Set(_) | Writing::Remove(_) => Condition::required(asked.headers)?,
        };
        let change = Change::read(does, asked)?;
        let mut attempts = 0;
        let reply = loop {
            let newest = store.newest().await?;
            let before = newest.as_ref().map_or_else(first, |newest| Document::kept(&newest.text));
            let document = change.made_in(before)?;
            let next = NextVersion { document, note: change.note.clone(), by: asked.operator };
            let done = self.store(store, (newest, condition, strangers), next).await;
            attempts += 1;
            match done {
                // Somebody else was quicker: their version is built on.
                Err(fault)
                    if fault.status == StatusCode::PRECONDITION_FAILED
                        && condition == Condition::Any
                        && attempts < ATTEMPTS => {}
                done => break done?,
            }
        };
        let mut reply = reply;
        *reply.status_mut() = if change.is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(reply)
    }
}

/// Returns what a gateway begins with that has no configuration yet.
fn first() -> Document {
    Document::native("version: 1\n")
}

impl Change {
    fn read(does: Writing, asked: &Asked<'_>) -> Result<Self, Fault> {
        let (Writing::Add(section) | Writing::Set(section) | Writing::Remove(section)) = does;
        let (verb, entry) = match does {
            Writing::Add(_) => ("added", Some(NewEntry::read(asked.headers, &asked.body, true)?)),
            Writing::Set(_) => ("changed", Some(NewEntry::read(asked.headers, &asked.body, false)?)),
            Writing::Remove(_) => ("removed", None),
        };
        let named = entry.as_ref().and_then(|entry| entry.name.clone());
        let name = named.map_or_else(|| decoded(asked), Ok)?;
        let what = section.key().trim_end_matches('s');
        let (settings, note) = entry.map_or((None, None), |entry| (Some(entry.settings), entry.note));
        let note = note.unwrap_or_else(|| format!("{verb} the {what} {name}"));
        Ok(Self { section, name, settings, is_new: matches!(does, Writing::Add(_)), note })
    }

    /// Makes the change in what a version says.
    fn made_in(&self, before: Document) -> Result<Document, Fault> {
        let sources = before.sources();
        let edit_of = self.edit(&sources)?;
        let changed = edit(&sources, &edit_of).map_err(|why| Fault::not_edited(&why))?;
        let files = changed.into_iter().map(|Source { path, text }| (path, text)).collect();
        Ok(Document { files, ..before })
    }

    fn edit(&self, sources: &[Source]) -> Result<Edit, Fault> {
        let all = written(sources, self.section);
        let known = all.iter().find(|of| is_same(&of.name, &self.name));
        let nameless = || match self.section {
            Section::Variants => Fault::field("name", "expected `SERVER/NAME`"),
            _ => Fault::field("name", "this can be no name"),
        };
        match (known, self.is_new) {
            (Some(_), true) => {
                let detail = format!("{} is there already: change it with PUT", self.name);
                return Err(Fault::new(StatusCode::CONFLICT, "exists", detail));
            }
            (None, false) => return Err(self.missing()),
            _ => {}
        }
        let name = known.map_or(&*self.name, |known| &*known.name);
        let path = self.section.path(name).ok_or_else(nameless)?;
        let Some(settings) = self.settings.clone() else { return Ok(Edit::Remove { path }) };
        let value = restored(settings, known.map(|Written { settings, .. }| settings))?;
        Ok(Edit::Set { path, value })
    }

    fn missing(&self) -> Fault {
        missing(match self.section {
            Section::Servers => "server",
            Section::Agents => "agent",
            Section::Groups | Section::Variants => "entry",
        })
    }
}
