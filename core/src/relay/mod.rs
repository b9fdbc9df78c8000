//! Rewriting answers while they stream; no machine here waits for anything.

mod scanner;
mod splice;

pub(crate) use splice::{Broken, Edits, Finished, Replace, Splice};
