//! Conditions of rules: expressions in CEL over a call's arguments, its caller and the time.
//!
//! **What evaluating may cost is bounded before it begins**: an expression is short and flat, its loops do not nest, and
//! of the arguments only what it reads is converted, up to a size. **Nothing that it can say makes it panic**: what the
//! evaluator has no answer for is refused when the expression is read. Whether doubt allows or denies is decided elsewhere.

mod facts;
mod reads;

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelString;
use cel::common::value::{CowVal, Val as _};
use cel::parser::{ParseErrors, PrattParser};
use cel::{Context, Env, ExecutionError, Value};

use facts::Known;
pub use facts::{Arguments, CallerFacts, Facts};
use reads::Reads;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 2_000;
/// The deepest nesting. A level takes 3 KB of the stack, 50 KB where nothing is optimised.
const MAX_DEPTH: u16 = 24;

/// An expression that a rule depends on.
#[derive(Clone)]
pub struct Condition(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    expression: IdedExpr,
    reads: Reads,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct ConditionError {
    /// The line within the expression, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// Why it could not be told whether a condition holds. Never repeats what an argument is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// It reads arguments where there are none yet.
    #[error("the arguments are not known")]
    NoArguments,
    /// The arguments are something else.
    #[error("the arguments are not an object")]
    NotAnObject,
    /// An object within them has two members of one name, of which the server may take either.
    #[error("the arguments have two members of one name")]
    Duplicate,
    /// More than a condition reads.
    #[error("the arguments are larger than a condition reads: {0}")]
    TooLarge(&'static str),
    /// A text with half a character, or a number that no number can hold.
    #[error("the arguments have {0}")]
    Unreadable(&'static str),
    /// What it reads is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// It cannot be evaluated.
    #[error("{0}")]
    Failed(String),
    /// It comes to something else.
    #[error("it comes to a value of type {0}, not to true or false")]
    NotBoolean(String),
}

impl Condition {
    /// Parses an expression, and refuses whatever it does not know.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        if text.len() > MAX_LENGTH {
            return Err(ConditionError::at(text, 0, format!("it is longer than {MAX_LENGTH} bytes")));
        }
        let expression = PrattParser::new()
            .max_recursion_depth(MAX_DEPTH)
            .parse(text)
            .map_err(|errors| ConditionError::first(text, errors))?;
        let reads = Reads::of(&expression).map_err(|problem| {
            let offset =
                problem.place.as_deref().and_then(|name| reads::find(text, name)).unwrap_or_default();
            ConditionError::at(text, offset, problem.what)
        })?;
        Ok(Self(Arc::new(Parsed { text: text.into(), expression, reads })))
    }

    /// Returns the expression as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Tells whether it refers to arguments.
    pub fn reads_arguments(&self) -> bool {
        self.0.reads.arguments()
    }

    /// Tells whether it holds.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Undecided> {
        let Parsed { expression, reads, .. } = &*self.0;
        let known = Known::new(facts, reads)?;
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&known);
        // Not `resolve_val`, which would be compiled into each of its callers.
        match Value::resolve(expression, &context).map_err(|error| self.undecided(error))? {
            Value::Bool(truth) => Ok(truth),
            other => Err(Undecided::NotBoolean(other.type_of().to_string())),
        }
    }

    /// Says why evaluation failed, in words that are not the arguments'.
    fn undecided(&self, error: ExecutionError) -> Undecided {
        match error {
            // A key may be what an argument is; where it stands in the expression, it gives nothing away.
            ExecutionError::NoSuchKey(key) if self.text().contains(key.as_str()) => {
                Undecided::Missing(format!("`{key}`"))
            }
            ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => {
                Undecided::Missing("something that it reads".to_owned())
            }
            ExecutionError::UndeclaredReference(name) => Undecided::Missing(format!("`{name}`")),
            ExecutionError::NoSuchOverload(error) => {
                let what = error.function().trim_matches(['_', '@']);
                Undecided::Failed(format!(
                    "`{what}` does not apply to {}",
                    error.argument_types().join(" and ")
                ))
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                Undecided::Failed("it divides by zero".to_owned())
            }
            ExecutionError::Overflow(..) => Undecided::Failed("a number becomes too large".to_owned()),
            _ => Undecided::Failed("it meets values of a type that it does not expect".to_owned()),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self::parse(text).expect("a condition")
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text()).finish()
    }
}

impl ConditionError {
    /// Makes an error at an offset in bytes.
    fn at(text: &str, offset: usize, what: String) -> Self {
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, what }
    }

    /// Takes the first error that has a place. The parser counts columns in bytes, and gives its own limit no place.
    fn first(text: &str, errors: ParseErrors) -> Self {
        let errors = errors.errors;
        if errors.iter().any(|error| error.msg.contains("recursion limit")) {
            return Self::at(text, 0, reads::too_deep());
        }
        let error = errors.iter().find(|error| error.pos.0 > 0).or(errors.first());
        let Some(error) = error else { return Self::at(text, 0, "it cannot be read".to_owned()) };
        let line = usize::try_from(error.pos.0).unwrap_or_default().max(1);
        let bytes = usize::try_from(error.pos.1).unwrap_or_default().saturating_sub(1);
        let column = text.split('\n').nth(line - 1).and_then(|line| line.get(..bytes)).unwrap_or_default();
        let what = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
        Self {
            line,
            column: column.chars().count() + 1,
            what: what.replace("'<EOF>'", "the end").replace("<EOF>", "the end"),
        }
    }
}

/// The functions that expressions may call.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::default().with_optional_support(false).with_stdlib();
    env.add_member_overload(
        "lowerAscii",
        "string_lower_ascii",
        CelString::cel_type().to_owned(),
        vec![],
        lower_ascii,
    )
    .expect("the only one of its name");
    Arc::new(env)
});

fn lower_ascii<'b, 'v>(values: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = values.first().and_then(|value| value.downcast_ref::<CelString<'_>>());
    let text = text.ok_or_else(ExecutionError::missing_argument_or_target)?;
    Ok(CowVal::owned(CelString::from(text.inner().to_ascii_lowercase())))
}

#[cfg(test)]
mod tests;
