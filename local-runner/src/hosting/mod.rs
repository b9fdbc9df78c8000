//! Servers that the gateway hosts.

#[cfg(target_os = "linux")]
pub(crate) mod gate;
