//! MCPX's files: `mcp.json`, whose servers may wait for input, and `app.yaml` of both generations.
//!
//! **What cannot be understood refuses the file or takes one server down; it never widens what is allowed.** Names of
//! servers are compared as MCPX does, without case, but everywhere; so they are kept in the form that it shows.
//!
//! [`servers`] reads the one file, [`app`] the other, [`resolve`] turns it into what a native file says, and [`write`]
//! writes that natively.

mod app;
mod extensions;
mod groups;
mod permissions;
mod resolve;
mod servers;
mod static_oauth;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

pub(super) use app::read as read_app;
pub(super) use resolve::{Purpose, Resolved, resolve};
pub(super) use servers::{looks_like_one, read as read_servers};
pub(super) use write::sections;

use super::item::At;
use super::policy::Origin;
use super::problem::Place;
use extensions::Child;
use groups::ToolGroup;
use permissions::Permissions;
use static_oauth::{Client, StaticOAuth};

/// What an `app.yaml` says, before it is known which servers there are.
#[derive(Debug, Clone, Default)]
pub(super) struct App {
    permissions: Option<Permissions>,
    groups: Vec<ToolGroup>,
    children: Vec<Child>,
    /// The servers that are not to be served, as they are written.
    inactive: Vec<At<String>>,
    auth: Option<app::AuthEntry>,
    /// What signs in at servers.
    clients: StaticOAuth,
}

impl App {
    /// Returns the client that signs in at the server at a URL; nothing where none does.
    pub(super) fn client_of(&self, url: &str) -> Option<&Client> {
        self.clients.client_of(url)
    }

    /// Returns where the file says that a server is not to be served; nothing where it does not.
    pub(super) fn inactive(&self, server: &str) -> Option<&Place> {
        let mut inactive = self.inactive.iter();
        inactive.find(|name| server_key(&name.value) == server_key(server)).map(|name| &name.place)
    }
}

/// Returns a server's name in the form in which names are compared, and which is a server's name here as well wherever
/// that is possible: without spaces around it, in lower case, with `_` for what the name of a server cannot have.
fn server_key(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    name.trim().to_lowercase().chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn origin(file: &Arc<str>, place: &Place) -> Origin {
    Origin { file: file.clone(), line: place.at.line, field: place.field.clone() }
}
