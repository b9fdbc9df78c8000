//! An engine for containers as the tests start it, for whoever measures: `container-engine podman|docker`. Says in a line of
//! JSON where it listens, and what the hostile server's image is called; ends with its input.
#![allow(clippy::print_stdout, reason = "whoever has started it reads where it listens")]

use std::io;
use std::process::ExitCode;

use portcullis_tests::engine::Engine;
use serde_json::json;

fn main() -> ExitCode {
    let engine = match std::env::args().nth(1).as_deref() {
        Some("podman") => Engine::podman(),
        Some("docker") => Engine::docker(),
        _ => return ExitCode::from(2),
    };
    println!("{}", json!({ "address": engine.address(), "image": engine.hostile() }));
    let ended = io::copy(&mut io::stdin(), &mut io::sink());
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
