//! How far a family has come: which of its generations may be used, and what is noted then.
//!
//! **Of a family at most one token that was not used can be, at any time.** The one that was used last may be used once more
//! for a moment, where the answer to its use was lost; what had been made of it then ends unused.

use std::fmt;

/// How long the refresh token that was used last may be used once more, in milliseconds.
const GRACE: u64 = 30_000;

/// What is noted of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Which generation was used, or was made to no purpose, and until when that one may be used once more.
    Used(u32, u64),
    /// None of its generations can be used any more.
    Ended,
}

/// What the use of a generation comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It may be used once this is noted, and the next generation is this one.
    Right(Noted, u32),
    /// Somebody has a copy of it: the family ends, which is to be noted.
    Copied,
    /// Its family has ended before.
    Late,
}

impl Noted {
    /// Reads a note. One that says nothing is taken for the worst.
    pub(crate) fn parse(text: &str) -> Self {
        let used = || {
            let (generation, again) = text.split_once(' ')?;
            Some(Self::Used(generation.parse().ok()?, again.parse().ok()?))
        };
        used().unwrap_or(Self::Ended)
    }

    /// Decides on the use of a generation.
    pub(crate) fn using(noted: Option<Self>, generation: u32, now: u64) -> Use {
        let fresh =
            Use::Right(Self::Used(generation, now.saturating_add(GRACE)), generation.saturating_add(1));
        match noted {
            // A code has no grace: whoever lost its answer asks for another (RFC 6749 §4.1.2).
            None if generation == 0 => Use::Right(Self::Used(0, 0), 1),
            // The note of its use is gone, and with it whether it was the last.
            None | Some(Self::Ended) => Use::Late,
            Some(Self::Used(last, _)) if generation == last.saturating_add(1) => fresh,
            Some(Self::Used(last, again)) if generation == last && now < again => {
                let skipped = last.saturating_add(1);
                Use::Right(Self::Used(skipped, 0), skipped.saturating_add(1))
            }
            Some(Self::Used(..)) => Use::Copied,
        }
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(generation, again) => write!(f, "{generation} {again}"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn check(noted: &str, generation: u32, now: u64) -> String {
        let noted = Some(noted).filter(|noted| !noted.is_empty()).map(Noted::parse);
        match Noted::using(noted, generation, now) {
            Use::Right(noted, next) => format!("next {next}, noted {noted}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn generations_follow_one_another() {
        insta::assert_snapshot!(check("", 0, NOW), @"next 1, noted 0 0");
        insta::assert_snapshot!(check("0 0", 1, NOW), @"next 2, noted 1 1030000");
        insta::assert_snapshot!(check("1 1030000", 2, NOW), @"next 3, noted 2 1030000");
        insta::assert_snapshot!(check("0 0", 0, NOW), @"Copied");
        insta::assert_snapshot!(check("2 1030000", 1, NOW), @"Copied");
        insta::assert_snapshot!(check("2 1030000", 4, NOW), @"Copied");
    }

    #[test]
    fn an_answer_that_was_lost_is_made_up_for_once() {
        insta::assert_snapshot!(check("2 1030000", 2, 1_029_999), @"next 4, noted 3 0");
        insta::assert_snapshot!(check("2 1030000", 2, 1_030_000), @"Copied");
        insta::assert_snapshot!(check("3 0", 2, NOW), @"Copied");
        insta::assert_snapshot!(check("3 0", 3, NOW), @"Copied");
        insta::assert_snapshot!(check("3 0", 4, NOW), @"next 5, noted 4 1030000");
    }

    #[test]
    fn what_ended_or_is_noted_nowhere_stays_ended() {
        for noted in ["ended", "x", "1", "1 x", "-1 0", "4294967296 0"] {
            assert_eq!(check(noted, 1, NOW), "Late", "{noted}");
        }
        assert_eq!(check("", 1, NOW), "Late");
        assert_eq!(Noted::parse(&Noted::Ended.to_string()), Noted::Ended);
        assert_eq!(Noted::parse(&Noted::Used(7, 8).to_string()), Noted::Used(7, 8));
    }

    proptest! {
        /// However tokens are copied and used, one at most is alive that was not used, and a second use is either within the
        /// grace or the end.
        #[test]
        fn no_copy_is_used_unnoticed(uses in prop::collection::vec((0_u32..12, 0_u64..50_000), 1..60)) {
            let (mut noted, mut now, mut given) = (None, NOW, vec![0]);
            let mut used: Vec<(u32, u64)> = Vec::new();
            for (which, passes) in uses {
                now += passes;
                let generation = given[which as usize % given.len()];
                match Noted::using(noted, generation, now) {
                    Use::Right(next, made) => {
                        let before = used.iter().filter(|(other, _)| *other == generation);
                        prop_assert!(before.clone().count() <= 1, "three uses of one");
                        prop_assert!(before.clone().all(|(_, at)| now - at < GRACE && generation > 0));
                        prop_assert!(!given.contains(&made), "no two tokens are alike");
                        used.push((generation, now));
                        given.push(made);
                        noted = Some(next);
                    }
                    Use::Copied => {
                        prop_assert!(given.iter().any(|other| *other > generation), "only what is behind is a copy");
                        noted = Some(Noted::Ended);
                    }
                    Use::Late => prop_assert_eq!(noted, Some(Noted::Ended)),
                }
                let later = now + GRACE;
                let alive = given.iter().filter(|one| matches!(Noted::using(noted, **one, later), Use::Right(..)));
                prop_assert!(alive.count() <= 1);
            }
        }
    }
}
