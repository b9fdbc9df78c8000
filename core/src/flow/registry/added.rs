//! A server of an approved entry, put into the configuration: one entry more in its text, and nothing else in it changed.
//!
//! **Nothing is replaced**: where there is a server of that name, none is added.

use http::StatusCode;
use serde_json::{Value, json};

use crate::config::{Edit, edit};
use crate::control::answer::Fault;
use crate::control::registry::entry::{Entry, Status, digest};
use crate::control::registry::{identities, translate};
use crate::control::{Document, understand};
use crate::gateway::Gateway;
use crate::listing::Approved;
use crate::names::ServerName;
use crate::ports::Host;

/// A server that is to be added.
#[derive(Debug, Clone)]
pub(super) struct Added {
    name: String,
    settings: Value,
}

impl Added {
    /// Reads what a review says is to be added of an entry: `add`, the name that the server gets. Of one that is pinned every
    /// definition has to be approved before it is served.
    pub(super) fn read(said: &Value, entry: &Entry, is_pinned: bool) -> Result<Option<Self>, Fault> {
        if said.is_null() {
            return Ok(None);
        }
        let name = said.as_str().and_then(|name| ServerName::parse(name).ok());
        let name = name.ok_or_else(|| Fault::field("add", "expected the name that the server gets"))?;
        if entry.status == Status::Deleted {
            return Err(Fault::field("add", "the entry was deleted"));
        }
        let settings = translate::settings(entry.approvable().unwrap_or(&entry.server));
        let mut settings = settings.ok_or_else(|| {
            Fault::field("add", "the entry has neither a remote nor a package that could be served")
        })?;
        if is_pinned {
            // It serves what was approved of its definitions, and nothing before that.
            settings["approval"] = json!({ "required": true });
        }
        Ok(Some(Self { name: name.to_string(), settings }))
    }
}

impl<H: Host> Gateway<H> {
    /// Refuses where a server cannot be added, before anything is approved for it.
    pub(super) async fn may_be_added(&self, entry: &Entry, added: &Added) -> Result<(), Fault> {
        let (store, strangers) = self.stored()?;
        let Some(newest) = store.newest().await? else { return Ok(()) };
        let mut document = Document::kept(&newest.text);
        let server = entry.approvable().unwrap_or(&entry.server);
        let approved = Approved { digest: digest(server), identities: identities::of(server) };
        document.listed.insert(entry.key(), approved.to_text());
        self.add_to(&mut document, added)?;
        self.examined(&document, strangers).await.map(|_| ())
    }

    /// Adds a server to the files of a document.
    pub(super) fn add_to(&self, document: &mut Document, added: &Added) -> Result<(), Fault> {
        let sources = document.sources();
        let path = vec!["servers".to_owned(), added.name.clone()];
        let (_, strangers) = self.stored()?;
        let known = self.means(strangers, |means| understand(document, means)).config.servers;
        let is_there = known.keys().any(|name| name.as_str().eq_ignore_ascii_case(&added.name))
            || edit(&sources, &Edit::Remove { path: path.clone() }).is_ok();
        if is_there {
            let detail = format!("there is a server {:?} already", added.name);
            return Err(Fault::new(StatusCode::CONFLICT, "taken", detail));
        }
        let files = edit(&sources, &Edit::Set { path, value: added.settings.clone() });
        let files =
            files.map_err(|error| Fault::new(StatusCode::CONFLICT, "not-edited", error.to_string()))?;
        document.files = files.into_iter().map(|file| (file.path, file.text)).collect();
        Ok(())
    }
}
