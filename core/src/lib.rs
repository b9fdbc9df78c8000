//! Portcullis, an MCP gateway: everything that decides.
//!
//! # The mental model
//!
//! Agents talk to one URL. Behind it stand any number of MCP servers. Both doors speak every revision of the protocol;
//! inside there is only the stateless one: **one request in, notifications while it runs, one answer out**.
//!
//! A host (a program for some platform) implements the [`ports`], makes a [`Gateway`] from a [`config::Config`], and
//! hands it each HTTP request as an [`http::Request`] of a [`body::Body`]. What comes back is the answer, whole or
//! streaming. Hosts decide nothing about MCP and nothing about HTTP.
//!
//! ```text
//! http::Request -> gate -> era -> plan -> ask one server -> splice -> http::Response
//!                                   \-> answer from the view
//! ```
//!
//! [`Gateway::serve`] is where to start reading. It waits for what it needs and asks pure functions what to do; the
//! flows are the only code here that waits. Each server has a keeper that knows what it offers and a link that knows
//! how to speak to it; what an endpoint shows is merged when something changes, not while an agent waits.
//!
//! # What this crate refuses to know
//!
//! The time, randomness, the environment, files, sockets and any runtime. It builds for `wasm32-unknown-unknown`.

pub mod acl;
mod approval;
pub mod audit;
pub mod body;
pub mod calendar;
pub mod config;
pub mod control;
pub mod error;
pub mod explain;
pub mod identity;
pub mod metrics;
pub mod names;
pub mod oauth;
pub mod observe;
pub mod pipe;
pub mod ports;
pub mod secrets;

mod catalog;
mod customize;
mod dialogue;
mod endpoint;
mod flow;
mod front;
mod gateway;
mod hub;
mod limits;
mod listing;
mod pieces;
mod plan;
pub mod quota;
mod relay;
mod route;
mod screen;
mod session;
mod shape;
#[cfg(feature = "control")]
pub mod simulate;
pub mod sorted;
mod streams;
mod succession;
mod tasks;
mod upstream;
mod users;
mod wire;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use approval::{Approval, Approvals, Definition, Sighting};
pub use catalog::inspect;
pub use flow::{Drawers, Looked, Messenger, NOBODY, NoToken, Rest, Wanted, refuse_lines, serve_lines};
#[cfg(feature = "control")]
pub use flow::{Governed, NotGoverned};
pub use front::admin::AdminKey;
pub use front::gate::Exposure;
pub use gateway::{Gateway, Options, Readiness, SealKeys};
pub use succession::Changes;
