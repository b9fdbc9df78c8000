//! Patterns for names: `*` stands for any text, `?` for one character; everything else for itself.

/// A pattern. What it matches never takes longer than the product of both lengths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob(Box<str>);

impl Glob {
    /// Makes a pattern of a text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the pattern that everything matches.
    pub fn everything() -> Self {
        Self::new("*")
    }

    /// Tells whether everything matches.
    pub fn is_everything(&self) -> bool {
        &*self.0 == "*"
    }

    /// Tells whether the pattern is a name: nothing in it stands for anything else.
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether a text matches, letter by letter.
    pub fn matches(&self, text: &str) -> bool {
        matches(&self.0, text, |a, b| a == b)
    }

    /// Tells whether a text matches where the case of letters does not matter.
    pub fn matches_without_case(&self, text: &str) -> bool {
        matches(&self.0, text, |a, b| a == b || a.to_lowercase().eq(b.to_lowercase()))
    }
}

/// Walks both texts; a mismatch goes back to the last `*` only, which is enough (it may always take one more).
fn matches(pattern: &str, text: &str, same: impl Fn(char, char) -> bool) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut star = None;
    loop {
        let (mut next_pattern, mut next_text) = (pattern.clone(), text.clone());
        match (next_pattern.next(), next_text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((next_pattern.clone(), text.clone()));
                pattern = next_pattern;
                continue;
            }
            (Some(p), Some(t)) if p == '?' || same(p, t) => {
                (pattern, text) = (next_pattern, next_text);
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = &mut star else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (after.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_others() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything/at all", true),
            ("get_*", "get_issue", true),
            ("get_*", "forget_issue", false),
            ("*_issue", "get_issue_issue", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a.c", "abc", false),
            ("[a]", "a", false),
            ("é?", "éü", true),
            ("Get_*", "get_x", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
        }
        assert!(Glob::new("Get_*").matches_without_case("gEt_x"));
    }

    proptest! {
        #[test]
        fn an_exact_pattern_matches_itself_alone(name in "[a-z_/:.\\\\]{0,12}", other in "[a-z_/:.\\\\]{0,12}") {
            let glob = Glob::new(&name);
            prop_assert!(glob.is_exact() && glob.matches(&name));
            prop_assert_eq!(glob.matches(&other), name == other);
        }

        #[test]
        fn a_pattern_agrees_with_the_obvious_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn obvious(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        obvious(rest, text) || text.split_first().is_some_and(|(_, tail)| obvious(pattern, tail))
                    }
                    (Some((p, rest)), Some((t, tail))) => (*p == b'?' || p == t) && obvious(rest, tail),
                    _ => false,
                }
            }
            prop_assert_eq!(Glob::new(&pattern).matches(&text), obvious(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
