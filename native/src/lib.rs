//! What hosts that run on tokio have in common: HTTP to servers and from agents, the clock, randomness.
//!
//! It knows nothing of where such a host runs, nor of MCP.

mod client;
mod front;
mod guard;
mod local;
mod pace;
mod signatures;
mod signing;

use std::time::{SystemTime, UNIX_EPOCH};

pub use client::HttpClient;
pub use front::{Answer, serve_connection};
pub use guard::is_public;
pub use local::{ask_local, serve_local};
pub use signatures::verifies;
pub use signing::{sign, sign_with_seed};

/// Returns milliseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Fills `buffer` with unpredictable bytes of the system's.
pub fn randomize(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the system has randomness");
}
