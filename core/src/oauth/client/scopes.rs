//! Scopes (RFC 6749 §3.3): which are asked for, and how they come together.

use std::fmt;

use crate::sorted::SortedSet;
use crate::wire::json::Json;

/// The most scopes of one request, and the longest, in bytes.
const MOST: usize = 100;
const LONGEST: usize = 256;

/// Some scopes, in an order of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scopes(SortedSet<String>);

impl Scopes {
    /// Takes those of these texts that are scopes, up to the most that are asked for.
    pub(crate) fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let scopes = texts.into_iter().filter(|text| is_scope(text)).take(MOST);
        Self(scopes.map(str::to_owned).collect())
    }

    /// Reads the scopes of a parameter, between spaces.
    pub(crate) fn parse(text: &str) -> Self {
        Self::new(text.split(' '))
    }

    /// Reads a list of a document; nothing where it is none.
    pub(crate) fn read(list: Json<'_>) -> Option<Self> {
        let texts: Vec<_> = list.is_array().then(|| list.elements().filter_map(Json::as_str).collect())?;
        Some(Self::new(texts.iter().map(AsRef::as_ref)))
    }

    /// Returns them as texts.
    pub(crate) fn to_vec(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether all of these are among them.
    pub(crate) fn cover(&self, others: &Self) -> bool {
        others.0.is_subset(&self.0)
    }

    /// Returns them together with others: what was asked for, and what is asked for besides (step-up).
    /// Where that is too much, nothing is given up of what was asked for.
    pub(crate) fn with(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(others.0.difference(&self.0)).take(MOST).cloned().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
    }
}

/// Tells whether a text is a scope (RFC 6749, appendix A.4).
pub(crate) fn is_scope(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_come_together() {
        let check = |text: &str, others: &str| Scopes::parse(text).with(&Scopes::parse(others)).to_string();
        assert_eq!(check("b a  b", ""), "a b");
        assert_eq!(check("tickets.read", "tickets.write tickets.read"), "tickets.read tickets.write");
        assert_eq!(check("a\"b c\\d \u{e4} \u{7f} ok", ""), "ok");
        assert_eq!(check(&"x".repeat(LONGEST + 1), ""), "");
        let many: Vec<_> = (0..2 * MOST).map(|n| n.to_string()).collect();
        assert_eq!(Scopes::parse(&many.join(" ")).0.len(), MOST);
        let full = Scopes::parse(&many[..MOST].join(" "));
        assert_eq!(full.with(&Scopes::parse("! zz")), full);
        assert!(Scopes::parse("a b").cover(&Scopes::parse("b")));
        assert!(!Scopes::parse("a b").cover(&Scopes::parse("c")));
    }
}
