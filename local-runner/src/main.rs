//! `portcullis`: the gateway on a laptop or server, and the commands around it.

mod audit;
mod cli;
mod commands;
mod connections;
mod data;
mod database;
mod demo;
mod evaluate;
mod families;
mod host;
mod hosting;
mod http;
mod keyring;
mod keys;
mod live;
mod logging;
mod moment;
mod observer;
mod otlp;
mod pace;
mod process;
mod secrets;
mod source;
mod store;
mod versions;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    hosting::sandbox::run(std::env::args_os());
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = run(&runtime, cli);
            // A read of standard input that is still going on must not keep the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            commands::complain(&error);
            ExitCode::from(1)
        }
    }
}

fn run(runtime: &Runtime, cli: cli::Cli) -> anyhow::Result<ExitCode> {
    let telemetry =
        if cli.serves() { runtime.block_on(async { otlp::Telemetry::from_environment() }) } else { Ok(None) };
    logging::init(cli.log_level(), telemetry.as_ref().ok().and_then(|t| t.as_ref()?.logs()));
    let telemetry = telemetry?;
    let outcome = runtime.block_on(commands::run(cli, telemetry.clone()));
    if let Some(telemetry) = telemetry {
        telemetry.shut_down();
    }
    outcome
}
