//! Two trails read as one: the control plane's own, and what gateways forward to it.
//!
//! **Nothing is left out and nothing comes twice**: of each trail is taken what comes first in the order that is asked for, and
//! none goes beyond what is known of the other. Between the two, lines are ordered by their times.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::audit::{Order, Row};

/// What cursors of both trails begin with.
const PREFIX: &str = "fleet.";

/// How far a trail was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Reached {
    /// Not at all.
    #[default]
    Start,
    /// To that cursor.
    At(String),
    /// To its end.
    End,
}

impl Reached {
    /// Returns the cursor to ask with.
    pub(crate) fn cursor(&self) -> Option<String> {
        match self {
            Self::At(cursor) => Some(cursor.clone()),
            Self::Start | Self::End => None,
        }
    }
}

/// How far both trails were read: the control plane's own one, and what was forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Both(pub(crate) Reached, pub(crate) Reached);

impl Both {
    pub(crate) fn to_cursor(&self) -> String {
        let text = serde_json::to_vec(self).expect("texts are JSON");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(text))
    }

    /// Reads a cursor; one of before there was a fleet is of the control plane's own trail. Nothing where it is none.
    pub(crate) fn parse(cursor: Option<&str>) -> Option<Self> {
        let Some(cursor) = cursor else { return Some(Self::default()) };
        let Some(text) = cursor.strip_prefix(PREFIX) else {
            return Some(Self(Reached::At(cursor.to_owned()), Reached::Start));
        };
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

/// What was read of one trail: when its lines were, and whether more follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Side {
    pub(crate) times: Vec<u64>,
    pub(crate) goes_on: bool,
}

impl Side {
    pub(crate) fn of<'l>(lines: impl IntoIterator<Item = &'l String>, goes_on: bool) -> Self {
        // A line that is none stands where the one before it does.
        let mut last = 0;
        let time = |line: &String| {
            last = Row::read(line).map_or(last, |row| row.searched().time);
            last
        };
        Self { times: lines.into_iter().map(time).collect(), goes_on }
    }
}

/// Returns of which of two trails each next line is, at most that many: `true` for the second. It ends where a trail would have
/// to be read further first.
pub(crate) fn merged(one: &Side, other: &Side, order: Order, most: usize) -> Vec<bool> {
    let (mut at, mut at_other) = (0, 0);
    let mut taken = Vec::new();
    while taken.len() < most {
        let is_other = match (one.times.get(at), other.times.get(at_other)) {
            (Some(one), Some(other)) if order == Order::Newest => other > one,
            (Some(one), Some(other)) => other < one,
            (Some(_), None) if !other.goes_on => false,
            (None, Some(_)) if !one.goes_on => true,
            _ => break,
        };
        taken.push(is_other);
        *(if is_other { &mut at_other } else { &mut at }) += 1;
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cursors_are_read() {
        let both = Both(Reached::At("a.b~c".into()), Reached::End);
        assert_eq!(Both::parse(Some(&both.to_cursor())), Some(both));
        assert_eq!(Both::parse(None), Some(Both::default()));
        assert_eq!(Both::parse(Some("7")), Some(Both(Reached::At("7".into()), Reached::Start)));
        assert_eq!(Both::parse(Some("fleet.?")), None);
    }

    proptest! {
        #[test]
        fn lines_come_in_their_order_and_none_before_what_is_not_known(
            mut one in prop::collection::vec(0..9u64, 0..9),
            mut other in prop::collection::vec(0..9u64, 0..9),
            goes_on in any::<[bool; 2]>(),
            most in 0..20usize,
        ) {
            one.sort_unstable();
            other.sort_unstable();
            let sides = [(one.clone(), goes_on[0]), (other.clone(), goes_on[1])];
            let [one_side, other_side] = sides.map(|(times, goes_on)| Side { times, goes_on });
            let taken = merged(&one_side, &other_side, Order::Oldest, most);
            let (mut ones, mut others) = (one.iter(), other.iter());
            let times: Vec<_> =
                taken.iter().map(|is_other| *(if *is_other { &mut others } else { &mut ones }).next().unwrap()).collect();
            prop_assert!(times.is_sorted());
            if goes_on == [false, false] {
                prop_assert_eq!(times.len(), most.min(one.len() + other.len()));
            }
            if goes_on[0] && taken.len() < most && !one.is_empty() {
                prop_assert!(ones.len() == 0 || others.len() == 0);
                prop_assert!(times.iter().all(|time| *time <= one[one.len() - 1]));
            }
        }
    }
}
