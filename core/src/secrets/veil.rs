//! Taking the values of secrets out of a text that somebody else has worded.

use std::borrow::Cow;
use std::fmt;

use super::Secret;
use crate::audit::REDACTED;
use crate::sorted;

/// Shorter values are not looked for, in bytes: they are part of many words.
const TELLING: usize = 4;

/// The secrets that somebody was given and may repeat.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Veil(Vec<Secret>);

/// Shows how many there are.
impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Veil({})", self.0.len())
    }
}

impl Veil {
    /// Makes one over these values.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let telling = secrets.into_iter().filter(|secret| secret.reveal().len() >= TELLING);
        let mut secrets: Vec<_> = telling.cloned().collect();
        // One may be part of another.
        sorted::sort_by(&mut secrets, |one, other| other.reveal().len().cmp(&one.reveal().len()));
        Self(secrets)
    }

    /// Returns a text without the values.
    pub fn over<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, secret| {
            if text.contains(secret.reveal()) {
                Cow::Owned(text.replace(secret.reveal(), REDACTED))
            } else {
                text
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secrets: &[&str], text: &str) -> String {
        let secrets: Vec<_> = secrets.iter().map(|text| Secret::new((*text).to_owned()).unwrap()).collect();
        Veil::new(&secrets).over(text).into_owned()
    }

    #[test]
    fn values_are_taken_out_the_longer_ones_first() {
        insta::assert_snapshot!(check(&["hunter2"], "a hunter2, a hunter2!"), @"a [redacted], a [redacted]!");
        insta::assert_snapshot!(check(&["hunter2", "hunter2-long"], "hunter2-long hunter2"), @"[redacted] [redacted]");
        insta::assert_snapshot!(check(&["abc"], "abc is too short"), @"abc is too short");
        assert!(matches!(Veil::default().over("nothing"), Cow::Borrowed("nothing")));
    }
}
