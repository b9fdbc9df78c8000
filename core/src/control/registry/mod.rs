//! The registry of servers, in the shape of the MCP Registry's API: what is in it, who sees what of it, what becomes of what is
//! published, and how it comes from another registry. Pure.
//!
//! **What is approved is a server.json as it was shown**: where another registry changes it, the change waits for a review of its
//! own, and what was approved stays as it is.

pub(crate) mod entry;
pub(crate) mod identities;
pub(crate) mod list;
pub(crate) mod own;
mod shape;
pub(crate) mod translate;
mod version;

pub use shape::{Wrong, wrongs};

/// What every path of its API begins with.
pub(crate) const ROOT: &str = "/v0.1/";
