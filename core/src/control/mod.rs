//! The control plane: how a gateway is configured from elsewhere, and who has keys to it.
//!
//! Handlers are pure: a request and what the store holds come in, what to store or to answer comes out. Only
//! `flow/control.rs` waits for the store.

mod kept;

pub use kept::{Appended, Kept, NoStore, Revision, Revoked, Stamp, StoreError, digest};
