//! `portcullis`: the gateway on a laptop or server, and the commands around it. The program itself is `program/`, which calls
//! [`main`] and nothing else: all that is here is compiled to be small, and the program as a whole to be fast.

mod approvals;
mod audit;
mod cli;
mod commands;
mod connections;
mod data;
mod database;
mod demo;
mod evaluate;
mod families;
mod history;
mod host;
mod hosting;
mod http;
mod init;
mod instances;
mod keyring;
mod keys;
mod live;
mod logging;
mod moment;
mod mounted;
mod observer;
mod otlp;
mod process;
mod records;
mod secrets;
mod source;
mod store;
mod versions;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
use anyhow::Context as _;
use clap::Parser as _;
use tokio::runtime::Runtime;

/// Does what the command line says.
pub fn main() -> ExitCode {
    hosting::sandbox::run(std::env::args_os());
    let cli = cli::Cli::parse();
    if let Some(cli::Command::Bridge(_)) = &cli.command {
        match as_entry_point() {
            Ok(None) => {}
            Ok(Some(code)) => return code,
            Err(error) => {
                commands::complain(&error);
                return ExitCode::from(1);
            }
        }
    }
    if let Some(cli::Command::Inside(args)) = &cli.command
        && let Some(process) = args.beside
        && let Err(error) = hosting::enter_network(process)
    {
        commands::complain(&error.context("the server's network cannot be entered"));
        return ExitCode::from(1);
    }
    if let Some(outcome) = without_threads(&cli) {
        return exit_code(outcome);
    }
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
    exit_code(outcome)
}

fn exit_code(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            commands::complain(&error);
            ExitCode::from(1)
        }
    }
}

/// Prepares for being what a container runs, before there is a second thread. Returns how the program proper has ended, where
/// this process was to stand before it.
fn as_entry_point() -> anyhow::Result<Option<ExitCode>> {
    // The environment may hold credentials that the server, which is the same user, is not to have.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false).context("cannot keep others from reading this process")?;
    if init::is_first() {
        return init::stand_before().map(Some);
    }
    init::let_signals_arrive().map(|()| None)
}

/// Runs a command that a process with threads cannot.
#[cfg(target_os = "linux")]
fn without_threads(cli: &cli::Cli) -> Option<anyhow::Result<ExitCode>> {
    match &cli.command {
        Some(cli::Command::GateSockets(args)) => Some(commands::gate::hand_over(args)),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn without_threads(_: &cli::Cli) -> Option<anyhow::Result<ExitCode>> {
    None
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
