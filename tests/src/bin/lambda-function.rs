//! A Lambda function behind a function URL, on this machine: `lambda-function SETTINGS`, the settings as JSON text.
#![allow(clippy::print_stdout, reason = "whoever has started it reads where it listens")]

use std::process::ExitCode;

use portcullis_tests::function::{Function, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = std::env::args().nth(1).unwrap_or_default();
    let settings: Settings = match serde_json::from_str(&settings) {
        Ok(settings) => settings,
        Err(error) => {
            println!("lambda-function: the settings are wrong: {error}");
            return ExitCode::from(2);
        }
    };
    let (function, port) = Function::listen(settings).await;
    println!("the function's URL: http://127.0.0.1:{port}/mcp");
    function.serve().await;
    ExitCode::SUCCESS
}
