//! What becomes of one argument on its way to the server, however many variants have a say in it.

use regex_lite::Regex;

use super::value::{Number, same};
use crate::config::{Argument, ItemKind};
use crate::wire::json::{Json, quote};

/// The most values that a refusal names.
const NAMED: usize = 20;

/// What becomes of one argument.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// The name that the server knows it by.
    pub(super) server: Box<str>,
    /// The name that callers know it by.
    pub(super) shown: Box<str>,
    pub(super) value: Value,
    pub(super) checks: Vec<Check>,
}

/// Where the value comes from. Values are JSON texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// From the caller.
    Callers,
    /// From the caller, or else this.
    Default(Box<str>),
    /// It is always this.
    Fixed(Box<str>),
}

/// What a value must be.
#[derive(Debug, Clone)]
pub(super) enum Check {
    /// One of these, which are JSON texts.
    OneOf(Vec<String>),
    /// A text in which this is found.
    Pattern(Regex),
    /// A number that is no less.
    Minimum(String),
    /// A number that is no more.
    Maximum(String),
}

impl Rule {
    /// Makes the rule of an argument that nothing is said about.
    pub(super) fn new(name: &str) -> Self {
        Self { server: name.into(), shown: name.into(), value: Value::Callers, checks: Vec::new() }
    }

    /// Adds what one variant says of the argument, after what those say that it is made from.
    pub(super) fn add(&mut self, kind: ItemKind, said: &Argument) -> Result<(), String> {
        self.checks.extend(checks(kind, said)?);
        if let Some(name) = said.rename.as_ref().filter(|_| said.fix.is_none()) {
            self.shown = name.as_str().into();
        }
        match (&said.fix, &said.default) {
            (Some(fixed), _) => self.value = Value::Fixed(valid(kind, fixed)?.into()),
            (None, Some(default)) => self.value = Value::Default(valid(kind, default)?.into()),
            (None, None) => {}
        }
        let (Value::Fixed(value) | Value::Default(value)) = &self.value else { return Ok(()) };
        match self.broken(kind, Json::known(value)) {
            Some(check) => Err(format!("its value is not allowed: it must be {}", check.expected())),
            None => Ok(()),
        }
    }

    /// Returns the first check that a value does not pass.
    pub(super) fn broken(&self, kind: ItemKind, value: Json<'_>) -> Option<&Check> {
        self.checks.iter().find(|check| !check.holds(kind, value))
    }

    /// Tells whether the server gets the fixed value, whatever the caller sends.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.value, Value::Fixed(_))
    }

    /// Tells whether anything but a description was said of the argument.
    pub(super) fn matters(&self) -> bool {
        self.server != self.shown || self.value != Value::Callers || !self.checks.is_empty()
    }
}

impl Check {
    fn holds(&self, kind: ItemKind, value: Json<'_>) -> bool {
        let number = || match kind {
            // Arguments of prompts are texts.
            ItemKind::Prompt => value.as_str().and_then(|text| Number::of_text(&text)),
            _ => Number::of(value),
        };
        match self {
            Self::OneOf(values) => values.iter().any(|one| same(Json::known(one), value)),
            Self::Pattern(pattern) => value.as_str().is_some_and(|text| pattern.is_match(&text)),
            Self::Minimum(bound) => number().is_some_and(|n| Number::of_text(bound).is_some_and(|b| n >= b)),
            Self::Maximum(bound) => number().is_some_and(|n| Number::of_text(bound).is_some_and(|b| n <= b)),
        }
    }

    /// Says what a value must be, after "must be".
    pub(super) fn expected(&self) -> String {
        match self {
            Self::OneOf(values) => {
                let more = if values.len() > NAMED { ", ..." } else { "" };
                let named: Vec<_> = values.iter().take(NAMED).map(String::as_str).collect();
                format!("one of {}{more}", named.join(", "))
            }
            Self::Pattern(pattern) => format!("a text that matches {}", quote(pattern.as_str())),
            Self::Minimum(bound) => format!("a number that is at least {bound}"),
            Self::Maximum(bound) => format!("a number that is at most {bound}"),
        }
    }
}

/// Reads the restrictions of one argument.
fn checks(kind: ItemKind, said: &Argument) -> Result<Vec<Check>, String> {
    let mut checks = Vec::new();
    if let Some(values) = &said.one_of {
        let values: Result<Vec<_>, _> = values.iter().map(|value| valid(kind, value)).collect();
        checks.push(Check::OneOf(values?));
    }
    if let Some(pattern) = &said.pattern {
        let pattern = Regex::new(pattern).map_err(|error| format!("{pattern:?} is no pattern: {error}"))?;
        checks.push(Check::Pattern(pattern));
    }
    if let Some(bound) = said.minimum {
        checks.push(Check::Minimum(number(bound)?));
    }
    if let Some(bound) = said.maximum {
        checks.push(Check::Maximum(number(bound)?));
    }
    Ok(checks)
}

/// Returns a bound as JSON text.
pub(super) fn number(bound: f64) -> Result<String, String> {
    let bound = Some(bound).filter(|bound| bound.is_finite()).ok_or("a bound must be a finite number")?;
    Ok(bound.to_string())
}

/// Returns a value of the configuration as the server gets it: JSON, and for a prompt a text.
pub(super) fn valid(kind: ItemKind, value: &str) -> Result<String, String> {
    let json = Json::check(value.as_bytes()).map_err(|error| format!("a value is no JSON: {error}"))?;
    match kind {
        ItemKind::Prompt if json.as_str().is_none() => Ok(quote(json.text())),
        _ => Ok(json.text().to_owned()),
    }
}
