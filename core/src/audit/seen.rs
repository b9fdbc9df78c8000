//! Which messages of a source have been taken, in little room: a source numbers them, and they come nearly in order.

use std::collections::BTreeMap;

/// The numbers that have been taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The beginnings and ends of runs of numbers; no two touch.
    runs: BTreeMap<u64, u64>,
}

impl Seen {
    /// Takes a number; tells whether it is new.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let before = self.runs.range(..=number).next_back().map(|(first, last)| (*first, *last));
        let (first, follows) = match before {
            Some((_, last)) if number <= last => return false,
            Some((first, last)) if last + 1 == number => (first, true),
            _ => (number, false),
        };
        let after = number.checked_add(1).and_then(|next| self.runs.remove(&next));
        debug_assert!(follows || first == number, "a run begins where it did, or here");
        self.runs.insert(first, after.unwrap_or(number));
        true
    }

    /// Returns the runs as text: `1-7,9`.
    pub(super) fn to_text(&self) -> String {
        let run = |(first, last): (&u64, &u64)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        self.runs.iter().map(run).collect::<Vec<_>>().join(",")
    }

    /// Reads what [`Seen::to_text`] has written; nothing where it is something else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut seen = Self::default();
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            seen.runs.insert(first.parse().ok()?, last.parse().ok()?);
        }
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_comes_in_order_takes_no_room() {
        let mut seen = Seen::default();
        assert!([1, 2, 3, 7, 5, 6].into_iter().all(|number| seen.insert(number)));
        assert_eq!(seen.to_text(), "1-3,5-7");
        assert!(!seen.insert(2) && seen.insert(4));
        assert_eq!(seen.to_text(), "1-7");
        assert!(seen.insert(u64::MAX) && !seen.insert(u64::MAX) && seen.insert(0));
        assert_eq!(Seen::parse("1-x"), None);
    }

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(0..40_u64, 0..80)) {
            let (mut seen, mut set) = (Seen::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(seen.insert(number), set.insert(number));
                seen = Seen::parse(&seen.to_text()).unwrap();
            }
        }
    }
}
