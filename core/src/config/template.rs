//! References to variables in texts: `${NAME}`, or `${NAME:-text}` with a text for when it is not set.
//!
//! Where a secret may stand, `${secret:NAME}` is one. `$$` is one dollar sign, and a dollar sign before anything else stands for itself.
//! **The gateway's own variables (`PORTCULLIS_...`) are never handed on.**

use crate::secrets::{NotAName, Part as Filled, SecretName, SecretText};

/// What a reference to a secret begins with.
const SECRET: &str = "secret:";

/// What a text is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text as it is.
    Literal(&'t str),
    /// What stands between `${` and `}`.
    Reference(&'t str),
}

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unexpanded {
    /// A variable is not set.
    #[error("the environment variable {0} is not set")]
    Missing(String),
    /// A variable is one of the gateway's own.
    #[error("{0} belongs to the gateway itself, which hands none of its own variables on")]
    Own(String),
    /// What stands in the braces is no name.
    #[error("`${{` begins a reference to a variable such as ${{NAME}}, and what follows is none")]
    Malformed,
    /// A value holds a NUL character.
    #[error("the value of {0} contains a NUL character")]
    Nul(String),
    /// What stands behind `secret:` is no name.
    #[error("`${{secret:` begins a reference to a secret; {0}")]
    NoSecret(NotAName),
    /// A secret stands where none may.
    #[error("a secret can stand in `headers`, `auth` and `env` alone, where nobody is shown it")]
    NotHere,
}

/// Splits a text of a native file; `None` where a `${` is not closed.
pub(super) fn split(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        if let Some(beyond) = after.strip_prefix('$') {
            parts.push(Part::Literal(&rest[..=at]));
            rest = beyond;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = inner.find('}')?;
            parts.push(Part::Literal(&rest[..at]));
            parts.push(Part::Reference(&inner[..end]));
            rest = &inner[end + 1..];
        } else {
            parts.push(Part::Literal(&rest[..=at]));
            rest = after;
        }
    }
    parts.push(Part::Literal(rest));
    Some(parts)
}

/// Writes a text so that it stands for itself, given what comes after it.
pub(super) fn escape(literal: &str, reference_follows: Follows) -> String {
    let mut escaped = String::with_capacity(literal.len());
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        escaped.push(c);
        let ambiguous = match chars.peek() {
            Some(next) => matches!(next, '$' | '{'),
            None => reference_follows == Follows::Reference,
        };
        if c == '$' && ambiguous {
            escaped.push('$');
        }
    }
    escaped
}

/// What comes after a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Reference,
    Nothing,
}

/// Splits a reference into the variable's name and the text for when it is not set.
pub(super) fn variable(reference: &str) -> Option<(&str, Option<&str>)> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    is_variable_name(name).then_some((name, default))
}

/// Returns whether a text can name an environment variable everywhere: `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A text whose variables are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expanded {
    /// All of it is known.
    Plain(String),
    /// Secrets are part of it.
    Secret(SecretText),
}

/// Writes a reference to a secret.
pub(super) fn secret_reference(name: &SecretName) -> String {
    format!("${{{SECRET}{name}}}")
}

/// Returns the names of the secrets in a text of a native file.
pub(super) fn secrets_in(text: &str) -> impl Iterator<Item = SecretName> {
    let name = |part| match part {
        Part::Reference(reference) => SecretName::parse(reference.strip_prefix(SECRET)?).ok(),
        Part::Literal(_) => None,
    };
    split(text).unwrap_or_default().into_iter().filter_map(name)
}

/// Replaces the references in a text, none of which may be to a secret.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Unexpanded> {
    match expand_with_secrets(text, lookup)? {
        Expanded::Plain(expanded) => Ok(expanded),
        Expanded::Secret(_) => Err(Unexpanded::NotHere),
    }
}

/// Replaces the references to variables in a text. Secrets stay names.
pub(super) fn expand_with_secrets(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, Unexpanded> {
    let (mut parts, mut plain) = (Vec::new(), String::new());
    for part in split(text).ok_or(Unexpanded::Malformed)? {
        match part {
            Part::Literal(literal) => plain.push_str(literal),
            Part::Reference(reference) => {
                if let Some(name) = reference.strip_prefix(SECRET) {
                    let name = SecretName::parse(name).map_err(Unexpanded::NoSecret)?;
                    parts.push(Filled::Text(std::mem::take(&mut plain)));
                    parts.push(Filled::Secret(name));
                } else {
                    let (name, default) = variable(reference).ok_or(Unexpanded::Malformed)?;
                    plain.push_str(&value_of(name, default, lookup)?);
                }
            }
        }
    }
    if parts.is_empty() {
        return Ok(Expanded::Plain(plain));
    }
    parts.push(Filled::Text(plain));
    parts.retain(|part| !matches!(part, Filled::Text(text) if text.is_empty()));
    Ok(Expanded::Secret(SecretText::new(parts)))
}

fn value_of(
    name: &str,
    default: Option<&str>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Unexpanded> {
    if name.to_ascii_uppercase().starts_with("PORTCULLIS_") {
        return Err(Unexpanded::Own(name.to_owned()));
    }
    match lookup(name).or_else(|| default.map(str::to_owned)) {
        None => Err(Unexpanded::Missing(name.to_owned())),
        Some(value) if value.contains('\0') => Err(Unexpanded::Nul(name.to_owned())),
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let lookup = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "DOLLAR" => Some("${A}$$".to_owned()),
            "NUL" => Some("a\0b".to_owned()),
            _ => None,
        };
        expand(text, &lookup).unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn references_are_replaced() {
        insta::assert_snapshot!(check("x${A}y${A}"), @"xoneyone");
        insta::assert_snapshot!(check("${B:-two}"), @"two");
        insta::assert_snapshot!(check("${A:-two}"), @"one");
        insta::assert_snapshot!(check("${B:-}."), @".");
    }

    #[test]
    fn other_dollars_stand_for_themselves() {
        insta::assert_snapshot!(check("$HOME costs 5$"), @"$HOME costs 5$");
        insta::assert_snapshot!(check("$${A} $$$$"), @"${A} $$");
        insta::assert_snapshot!(check("$$${A}"), @"$one");
    }

    #[test]
    fn values_are_not_expanded_again() {
        insta::assert_snapshot!(check("${DOLLAR}"), @"${A}$$");
    }

    #[test]
    fn what_cannot_be_expanded_is_named() {
        insta::assert_snapshot!(check("${B}"), @"error: the environment variable B is not set");
        insta::assert_snapshot!(check("${NUL}"), @"error: the value of NUL contains a NUL character");
        insta::assert_snapshot!(check("${PORTCULLIS_SEAL_KEY}"), @"error: PORTCULLIS_SEAL_KEY belongs to the gateway itself, which hands none of its own variables on");
        insta::assert_snapshot!(check("${A"), @"error: `${` begins a reference to a variable such as ${NAME}, and what follows is none");
        insta::assert_snapshot!(check("${}"), @"error: `${` begins a reference to a variable such as ${NAME}, and what follows is none");
    }

    /// Shows the parts of a text, secrets in brackets.
    fn parts(text: &str) -> String {
        let lookup = |name: &str| (name == "A").then(|| "one".to_owned());
        match expand_with_secrets(text, &lookup) {
            Err(error) => format!("error: {error}"),
            Ok(Expanded::Plain(text)) => text,
            Ok(Expanded::Secret(text)) => {
                let shown = |part: &Filled| match part {
                    Filled::Text(text) => text.clone(),
                    Filled::Secret(name) => format!("[{name}]"),
                };
                text.parts().iter().map(shown).collect::<Vec<_>>().join("|")
            }
        }
    }

    #[test]
    fn secrets_stay_names() {
        insta::assert_snapshot!(parts("Bearer ${secret:prod/github} $${x} ${A}"), @"Bearer |[prod/github]| ${x} one");
        insta::assert_snapshot!(parts("${secret:a}${secret:b-1}"), @"[a]|[b-1]");
        insta::assert_snapshot!(parts("$${secret:a}"), @"${secret:a}");
        insta::assert_snapshot!(parts("${secret:a:-b}"), @"error: `${secret:` begins a reference to a secret; expected the name of a secret: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, the first a letter or a digit, no `..`");
        insta::assert_snapshot!(check("x${secret:a}"), @"error: a secret can stand in `headers`, `auth` and `env` alone, where nobody is shown it");
        let named: Vec<_> =
            secrets_in("${secret:a}-${B}-$${secret:c}-${secret:d}").map(String::from).collect();
        assert_eq!(named, ["a", "d"]);
        assert_eq!(parts(&secret_reference(&SecretName::parse("a.b").unwrap())), "[a.b]");
    }

    #[test]
    fn escaped_texts_stand_for_themselves() {
        for text in ["", "$", "$$", "${A}", "a$b", "$$${A}$", "{$", "$x$$${"] {
            assert_eq!(check(&escape(text, Follows::Nothing)), text);
            assert_eq!(check(&format!("{}${{A}}", escape(text, Follows::Reference))), format!("{text}one"));
        }
    }
}
