//! A text of a configuration, parts of which are secrets that have a name.

use std::fmt;

use http::HeaderValue;
use zeroize::Zeroizing;

use super::SecretName;
use crate::sorted::SortedSet;

/// A text with secrets in it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Vec<Part>);

/// A part of such a text.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it is. It may come from a variable, and so be no less secret.
    Text(String),
    /// The value of a secret.
    Secret(SecretName),
}

/// Shows names alone.
impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl SecretText {
    /// Makes a text of its parts.
    pub fn new(parts: Vec<Part>) -> Self {
        Self(parts)
    }

    /// Returns its parts.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Returns the names of its secrets.
    pub fn names(&self) -> SortedSet<&SecretName> {
        let parts = self.0.iter();
        parts.filter_map(|part| if let Part::Secret(name) = part { Some(name) } else { None }).collect()
    }

    /// Returns the whole text with these values.
    pub(crate) fn filled<'v>(&self, value_of: impl Fn(&SecretName) -> &'v str) -> Zeroizing<String> {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Secret(name) => value_of(name),
        });
        let parts: Vec<_> = parts.collect();
        // Of its whole length from the start: what grows leaves copies behind.
        let mut whole = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
        for part in parts {
            whole.push_str(part);
        }
        whole
    }
}

/// Makes a header's value of a text; nothing where a header cannot have it.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii())?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> SecretName {
        SecretName::parse(name).unwrap()
    }

    #[test]
    fn a_text_is_filled_and_shows_names_alone() {
        let parts = vec![
            Part::Text("Bearer ".into()),
            Part::Secret(name("b")),
            Part::Text("-t0ken-".into()),
            Part::Secret(name("a")),
        ];
        let text = SecretText::new(parts);
        let filled = text.filled(|name| if name.as_str() == "a" { "one" } else { "two" });
        assert_eq!(*filled, "Bearer two-t0ken-one");
        insta::assert_snapshot!(format!("{text:?}"), @r#"[SecretName("a"), SecretName("b")]"#);
    }

    #[test]
    fn what_a_header_cannot_have_is_no_value() {
        assert!(header_value("a b").is_some_and(|value| value.is_sensitive()));
        for odd in ["a\r\nb", "ä", "a\nb", "\u{7f}"] {
            assert_eq!(header_value(odd), None, "{odd:?}");
        }
    }
}
