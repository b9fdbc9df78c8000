//! The control plane: how a gateway is configured from elsewhere, and who has keys to it.
//!
//! Everything here is pure: a request and what the store holds come in, what to store or to answer comes out. Only
//! `flow/control.rs` waits for the store. **Without an admin credential none of it is there.**

#[cfg(feature = "control")]
pub(crate) mod activity;
pub(crate) mod answer;
pub(crate) mod approvals;
#[cfg(feature = "control")]
pub(crate) mod console;
#[cfg(feature = "control")]
pub(crate) mod cookie;
pub(crate) mod decide;
#[cfg(feature = "control")]
pub(crate) mod difference;
mod document;
#[cfg(feature = "control")]
pub(crate) mod evaluation;
#[cfg(feature = "control")]
pub mod fleet;
#[cfg(feature = "control")]
pub(crate) mod inventory;
mod kept;
#[cfg(feature = "control")]
pub(crate) mod listing;
pub(crate) mod operations;
#[cfg(feature = "control")]
pub mod registry;
#[cfg(feature = "control")]
pub(crate) mod repeated;
pub(crate) mod request;
#[cfg(feature = "control")]
pub(crate) mod scim;
pub(crate) mod secrets;
#[cfg(feature = "control")]
pub(crate) mod session;
#[cfg(feature = "control")]
pub(crate) mod settings;
#[cfg(feature = "control")]
pub(crate) mod theirs;
#[cfg(feature = "control")]
pub(crate) mod trial;
#[cfg(feature = "control")]
pub(crate) mod unchanged;
pub(crate) mod who;

pub use answer::{described, key as described_key};
#[cfg(feature = "control")]
pub use console::Asset;
pub use decide::{InStore, Managed, Means, Strangers, begin, understand, understand_files, understand_text};
#[cfg(feature = "control")]
pub use document::Ahead;
pub use document::{Document, Malformed, with_approvals};
#[cfg(feature = "control")]
pub use evaluation::REPORTS;
pub use kept::{Appended, Kept, Revision, Revoked, Stamp, StoreError, digest};
#[cfg(feature = "control")]
pub use operations::page::page as admin_page;
pub use secrets::described as described_secret;
pub use who::Role;
