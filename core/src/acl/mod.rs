//! Access control: rules as data, and one decision.

mod condition;
mod glob;

pub use condition::{Condition, ConditionError};
pub use glob::Glob;
