//! Portcullis as a Cloudflare Worker: what the platform gives to core. What is decided, core decides.
//!
//! `exports` is what the platform calls; `isolate` is the gateway of an isolate, `plane` who governs it; `host` implements the ports.

#![cfg(target_arch = "wasm32")]

mod bindings;
pub mod exports;
mod host;
mod isolate;
mod json;
mod logging;
#[cfg_attr(not(feature = "control"), path = "no_plane.rs")]
mod plane;
