//! Conditions of rules.

use std::sync::Arc;

/// An expression that a rule depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(Arc<str>);

impl Condition {
    /// Returns the expression as it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Tells whether it refers to arguments.
    pub fn reads_arguments(&self) -> bool {
        self.0.contains("args")
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(text.into())
    }
}
