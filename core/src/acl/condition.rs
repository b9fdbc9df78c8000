//! Conditions of rules.

use std::sync::Arc;

/// An expression that a rule depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(Arc<str>);

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression is empty")]
pub struct ConditionError;

impl Condition {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        if text.trim().is_empty() { Err(ConditionError) } else { Ok(Self(text.into())) }
    }

    /// Returns the expression as it was written.
    pub fn text(&self) -> &str {
        &self.0
    }
}
