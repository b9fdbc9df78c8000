//! The program `portcullis`. What it does is in the crate beside it; with this one all crates become one program, at the level
//! that this one is compiled at.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis::main()
}
