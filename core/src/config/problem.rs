//! What is wrong with a configuration, where it stands, and what to do about it.
//!
//! **A problem never repeats the value of an environment variable, a header, an argument or a URL.** Keys and the
//! values of plain settings are repeated, escaped and cut.

use std::fmt;

use super::node::Position;
use super::policy::Origin;
use crate::sorted;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is refused.
    Error,
    /// Something is served, yet perhaps not as it was meant.
    Warning,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The path of the field, such as `servers.time.command`; empty where the whole document is meant.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The server that is left out because of it, where no more than that one is.
    pub server: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {severity}: ", self.file, self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Puts problems in the order in which they stand in their file.
pub(in crate::config) fn in_order(problems: &mut [Problem]) {
    sorted::sort_by(problems, |one, other| (one.line, one.column).cmp(&(other.line, other.column)));
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) at: Position,
    pub(super) field: String,
}

/// The problems of one file, as they are found.
#[derive(Debug)]
pub(super) struct Report<'a> {
    file: &'a str,
    server: Option<String>,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Self { file, server: None, problems: Vec::new() }
    }

    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.add(Severity::Error, place, message.into());
    }

    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.add(Severity::Warning, place, message.into());
    }

    /// Adds to the latest problem what to do about it.
    pub(super) fn hint(&mut self, hint: impl Into<String>) {
        if let Some(latest) = self.problems.last_mut() {
            latest.hint = Some(hint.into());
        }
    }

    /// Returns a place as the policy remembers it.
    pub(super) fn origin(&self, place: &Place) -> Origin {
        Origin { file: self.file.into(), line: place.at.line, field: place.field.clone() }
    }

    /// Runs `read`, whose errors take `server` down and nothing else, and returns the first of them.
    pub(super) fn confine<T>(
        &mut self,
        server: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> (T, Option<String>) {
        let before = self.problems.len();
        let outer = self.server.replace(server.to_owned());
        let result = read(self);
        self.server = outer;
        (result, self.first_error_since(before))
    }

    /// Returns a mark for [`Self::excuse_since`].
    pub(super) fn mark(&self) -> usize {
        self.problems.len()
    }

    /// Turns the errors since a mark into warnings: they are about a server that is not served anyway.
    pub(super) fn excuse_since(&mut self, mark: usize) {
        for problem in self.problems.iter_mut().skip(mark) {
            problem.severity = Severity::Warning;
        }
    }

    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems
    }

    fn first_error_since(&self, start: usize) -> Option<String> {
        let error = self.problems[start..].iter().find(|problem| problem.severity == Severity::Error)?;
        Some(format!("{}: {}", error.field, error.message))
    }

    fn add(&mut self, severity: Severity, place: &Place, message: String) {
        self.problems.push(Problem {
            severity,
            file: self.file.to_owned(),
            line: place.at.line,
            column: place.at.column,
            field: place.field.clone(),
            message,
            hint: None,
            server: self.server.clone(),
        });
    }
}

/// Quotes a text from a file so that it is safe to show: escaped, and cut at 40 characters.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
