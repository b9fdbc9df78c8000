//! Writes the JSON Schema of the configuration, which `docs/portcullis.schema.json` is.
#![allow(clippy::print_stdout, reason = "what is written is what it is for")]

fn main() {
    println!("{:#}", portcullis_core::config::schema());
}
