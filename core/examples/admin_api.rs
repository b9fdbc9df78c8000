//! Writes the page about the admin API, which `docs/admin-api.md` is.
#![allow(clippy::print_stdout, reason = "what is written is what it is for")]

fn main() {
    print!("{}", portcullis_core::control::admin_page());
}
