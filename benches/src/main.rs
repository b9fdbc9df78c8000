//! Measures the gateway: counts the instructions of its hot paths, and loads a running one. Linux only: processor time
//! and memory are read from `/proc`. See docs/performance.md.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to people")]

mod count;
mod load;
mod proxy;
mod stub;

use std::net::SocketAddr;

use clap::Parser;

/// What to do.
#[derive(Parser)]
enum Command {
    /// Count the instructions of the hot paths under valgrind and compare them with what is on record
    Count(count::Options),
    /// Take one hot path some times; `count` runs this
    Path {
        /// Its name
        name: String,
        /// How often
        times: usize,
    },
    /// Serve a small MCP server
    Stub(stub::Options),
    /// Pass everything on and decide nothing: what a gateway costs at least
    Proxy {
        /// The address to listen on
        listen: SocketAddr,
        /// The origin to pass everything on to
        origin: String,
    },
    /// Load a server or a gateway and print what each request cost
    Load(load::Options),
}

fn main() -> anyhow::Result<()> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match Command::parse() {
        Command::Count(options) => count::run(&options),
        Command::Path { name, times } => count::take(&name, times),
        Command::Stub(options) => runtime()?.block_on(stub::run(options)),
        Command::Proxy { listen, origin } => {
            tokio::runtime::Runtime::new()?.block_on(proxy::run(listen, origin))
        }
        Command::Load(options) => runtime()?.block_on(load::run(options)),
    }
}
