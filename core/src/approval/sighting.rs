//! What a server said of itself at some time, for a log of everything that servers ever said.

use std::sync::Arc;

use super::{fingerprint, hex};
use crate::audit;
use crate::catalog::{Kind, Offer};
use crate::wire::json::quote;

/// What a server says, and to whom.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The server's name.
    pub server: String,
    /// Whom it acts for, where it acts for one principal alone.
    pub principal: Option<Arc<str>>,
    /// When its lists were read, in milliseconds since the Unix epoch.
    pub at: u64,
    offer: Arc<Offer>,
}

/// One thing that a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The list it stands in, such as `tools`; or `instructions`.
    pub kind: &'static str,
    /// Its name, or its URI.
    pub name: String,
    /// What it is bound by, in hexadecimal digits.
    pub digest: String,
    /// The whole of it, as JSON text.
    pub text: String,
}

impl Sighting {
    pub(crate) fn new(server: &str, principal: Option<Arc<str>>, offer: Arc<Offer>) -> Self {
        Self { server: server.to_owned(), principal, at: offer.read, offer }
    }

    /// Walks everything that it says.
    pub fn definitions(&self) -> impl Iterator<Item = Definition> {
        let instructions = self.offer.introduction.instructions.iter().map(|text| Definition {
            kind: "instructions",
            name: String::new(),
            digest: audit::digest(text.as_bytes()),
            text: quote(text),
        });
        let items = Kind::ALL.into_iter().flat_map(|kind| {
            self.offer.items(kind).iter().map(move |item| Definition {
                kind: kind.member(),
                name: item.name.clone(),
                digest: hex(&fingerprint(kind, &item.text)),
                text: item.text.to_string(),
            })
        });
        instructions.chain(items)
    }
}
