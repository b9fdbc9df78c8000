//! Access control: rules as data, and one decision.
//!
//! **Lists, calls and explanations ask the same [`Rules::decide`].** What a rule is about is resolved when a
//! configuration comes into force; what a condition comes to is asked for when something is decided.

mod bounds;
mod condition;
mod explain;
mod glob;
mod rules;

pub(crate) use bounds::Bounds;
pub use condition::{Arguments, CallerFacts, Condition, ConditionError, Facts, Undecided};
pub use explain::{Considered, Judgement, Side, Verdict};
pub use glob::Glob;
pub use rules::{Acl, Decision, Denial, Rules, Target, Truth};
