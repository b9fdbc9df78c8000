//! The platform: a Worker's clock, randomness, fetch, and its events.
//!
//! **The only place where what JavaScript lends is called `Send`**: a Worker has one thread.

mod answer;
mod edge;
mod event;
mod glue;
mod objects;
mod sent;

pub(crate) use answer::{Leaving, answer, request};
pub(crate) use edge::Edge;
pub(crate) use event::Event;
pub(crate) use glue::Asked;
pub(crate) use objects::publish;
