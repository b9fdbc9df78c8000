//! The egress gate: what a hosted server may reach of the network, and what it tried to.
//!
//! A sandbox has a network of its own from which nothing leads out. In it every address is local (`netlink.rs`), and the
//! sockets that take what is sent there (`sockets.rs`) are served from outside, by the gateway (`serve.rs`). It answers for
//! names with addresses that stand for them (`dns.rs`, `names.rs`), decides on every connection (`policy.rs`,
//! `addresses.rs`, `hello.rs`), makes those that may be itself (`connection.rs`), and tells of every attempt (`seen.rs`),
//! also of those that the sandbox's kernel refused (`refused.rs`).
//!
//! **A program in the sandbox need not know of it**: it needs no proxy, no certificate and no setting. **What is not named is
//! denied, and what is denied is told.**

mod addresses;
mod attempt;
mod connection;
mod dns;
mod enter;
mod hello;
mod inside;
mod names;
mod netlink;
mod policy;
mod refused;
mod seen;
mod serve;
mod sockets;

pub(crate) use enter::{hand_over_sockets_of, sockets_of};
pub(crate) use inside::{hand_over, let_start, sockets_from};
pub(crate) use policy::{Policy, Target};
pub(crate) use seen::{Recorder, Said, Seen, Witness};
pub(crate) use serve::{Caps, Gate};
pub(crate) use sockets::Sockets;
