//! Rewriting answers while they stream; no machine here waits for anything.

mod pieces;
mod scanner;
mod splice;

pub(crate) use pieces::Pieces;
pub(crate) use splice::{Broken, Edits, Finished, Splice};
