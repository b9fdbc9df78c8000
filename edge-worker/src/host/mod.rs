//! The platform: a Worker's clock, randomness, fetch, and its events.
//!
//! **The only place where what JavaScript lends is called `Send`**: a Worker has one thread.

mod answer;
mod audit;
mod configurations;
mod connections;
mod counts;
mod edge;
mod event;
mod families;
mod glue;
#[cfg(feature = "control")]
mod instances;
mod notebook;
mod objects;
#[cfg(feature = "control")]
mod records;
mod scribe;
mod secrets;
#[cfg(feature = "control")]
mod seed;
mod sent;
mod streams;
mod told;
mod trail;

pub(crate) use answer::{Leaving, answer, request};
pub(crate) use audit::deliver;
pub(crate) use configurations::{CONFIGURATION, KEYS, Ledger, read_all};
pub(crate) use edge::Edge;
pub(crate) use event::Event;
pub(crate) use glue::{Asked, Storage};
pub(crate) use notebook::{Notes, moment};
pub(crate) use objects::{CATALOG, EDITION, publish};
pub(crate) use scribe::Scribe;
pub(crate) use streams::{Streams, refuse};
pub(crate) use told::settled;
