//! Finding what somebody has done to a chain of lines: the first place where it does not hold.
//!
//! **It finds what somebody does to lines who does not make all later ones anew.** Who can write everything here can make
//! everything anew: against that helps only what is kept elsewhere, the hash that is told here or a copy.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Head, Link, digest};

/// What a chain is that holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verified {
    /// How many lines there are.
    pub entries: u64,
    /// The number of the first, and of the last.
    pub reach: (u64, u64),
    /// The hash of the last line: whoever notes it elsewhere can tell later that nothing before was made anew.
    pub hash: String,
    /// The lines in which the gateway itself says that entries were lost.
    pub remarks: Vec<u64>,
}

/// The first place where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("line {line}, entry {entry}: {fault}")]
pub struct Breach {
    /// The line, counted from 1 over all files.
    pub line: u64,
    /// The number of the entry that is concerned.
    pub entry: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It is not what it was.
    Altered,
    /// It is not there, and nor are the others up to that number.
    Removed(u64),
    /// It stands elsewhere.
    Reordered,
    /// It is not there, nor is anything after it, up to that number.
    Truncated(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered => f.write_str("was altered"),
            Self::Removed(last) => write!(f, "was removed, with everything up to entry {last}"),
            Self::Reordered => f.write_str("is not in its place"),
            Self::Truncated(last) => {
                write!(
                    f,
                    "is missing, as is everything up to the last one, entry {last}: the end was cut off"
                )
            }
        }
    }
}

/// Reads lines, without their line breaks, from the first that is kept to the last, and finds the first place where they
/// are not what was written. **The head has to be read before the lines** where they are still being written.
pub fn verify<L: AsRef<[u8]>>(
    lines: impl IntoIterator<Item = L>,
    head: Option<&Head>,
) -> Result<Verified, Breach> {
    let mut verifier = Verifier::new(head.cloned());
    for line in lines {
        verifier.push(line.as_ref());
    }
    verifier.finish()
}

/// A check of a chain whose lines come one after the other. It can be written down between two of them, and taken up
/// again elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verifier {
    head: Option<Head>,
    chain: Chain,
    line: u64,
    verified: Verified,
    /// The last line that came. It is judged once the next one is there, which vouches for it.
    pending: Option<Seen>,
    breach: Option<Breach>,
    /// Whether the first line that comes is believed to be the first that is kept.
    begins_anywhere: bool,
}

/// What is left of a line that has been read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    link: Option<Link>,
    hash: String,
    is_remark: bool,
}

impl Verifier {
    /// Begins with the first line that the head says is kept.
    pub fn new(head: Option<Head>) -> Self {
        let first = head.as_ref().map_or_else(|| Head::default().first, |head| head.first.clone());
        Self {
            chain: Chain { last: first.id.saturating_sub(1), hash: first.prev },
            head,
            line: 0,
            verified: Verified { reach: (first.id, 0), ..Verified::default() },
            pending: None,
            breach: None,
            begins_anywhere: false,
        }
    }

    /// Begins with whatever line comes first: those before it are no longer kept.
    pub fn from_what_is_kept(head: Option<Head>) -> Self {
        Self { begins_anywhere: true, ..Self::new(head) }
    }

    /// Takes the next line, without its line break.
    pub fn push(&mut self, line: &[u8]) {
        let seen = Seen::of(line);
        if self.breach.is_none() {
            if self.begins_anywhere
                && let Some(link) = &seen.link
            {
                self.chain = Chain { last: link.id.saturating_sub(1), hash: link.prev.clone() };
                self.verified.reach.0 = link.id;
            }
            self.begins_anywhere = false;
            let before = self.pending.take();
            self.breach = before.and_then(|before| self.take(&before, Some(&seen)).err());
        }
        match &mut self.breach {
            // It may stand further down.
            Some(breach) if matches!(breach.fault, Fault::Removed(_)) && seen.is(breach.entry) => {
                breach.fault = Fault::Reordered;
            }
            Some(_) => {}
            None => self.pending = Some(seen),
        }
    }

    /// Says what the chain is, or the first place where it does not hold.
    pub fn finish(mut self) -> Result<Verified, Breach> {
        if let Some(last) = self.pending.take()
            && self.breach.is_none()
        {
            self.breach = self.take(&last, None).err();
        }
        if let Some(breach) = self.breach {
            return Err(breach);
        }
        let last = self.head.map_or(0, |head| head.chain.last);
        if last > self.chain.last {
            let (line, entry) = (self.line + 1, self.chain.last + 1);
            return Err(Breach { line, entry, fault: Fault::Truncated(last) });
        }
        let reach = (self.verified.reach.0, self.chain.last);
        Ok(Verified { reach, hash: self.chain.hash, ..self.verified })
    }

    fn take(&mut self, line: &Seen, next: Option<&Seen>) -> Result<(), Breach> {
        self.line += 1;
        let expected = self.chain.last + 1;
        let fault = |entry, fault| Err(Breach { line: self.line, entry, fault });
        let Some(place) = &line.link else { return fault(expected, Fault::Altered) };
        let head = self.head.as_ref().map(|head| &head.chain);
        // Whoever comes next, or the head, vouches for this line.
        let next = next.and_then(|next| next.link.as_ref());
        let is_vouched_for = next.is_some_and(|next| next.prev == line.hash)
            || head.is_some_and(|head| head.last == place.id && head.hash == line.hash);
        if place.id > expected {
            return if is_vouched_for || place.prev != self.chain.hash {
                fault(expected, Fault::Removed(place.id - 1))
            } else {
                fault(expected, Fault::Altered)
            };
        }
        if place.id < expected {
            let follows = place.prev == self.chain.hash;
            return fault(place.id, if follows { Fault::Altered } else { Fault::Reordered });
        }
        if place.prev != self.chain.hash {
            let before = self.line > 1 && is_vouched_for;
            return Err(Breach {
                line: self.line - u64::from(before),
                entry: expected - u64::from(before),
                fault: Fault::Altered,
            });
        }
        if head.is_some_and(|head| head.last == place.id && head.hash != line.hash) {
            return fault(expected, Fault::Altered);
        }
        if line.is_remark {
            self.verified.remarks.push(place.id);
        }
        self.verified.entries += 1;
        self.chain = Chain { last: place.id, hash: line.hash.clone() };
        Ok(())
    }
}

impl Seen {
    fn of(line: &[u8]) -> Self {
        let is_remark = line.windows(METHOD.len()).any(|part| part == METHOD);
        Self { link: Link::read(line), hash: digest(line), is_remark }
    }

    fn is(&self, id: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.id == id)
    }
}

/// How a line of the gateway about its own trail is known. Nobody else can write it: quotes within a text are escaped.
const METHOD: &[u8] = b"\"method\":\"audit/";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Entry, Writing};

    fn lines(count: usize) -> (Vec<Vec<u8>>, Head) {
        let mut head = Head::default();
        let entry = |n: usize| Entry { time: n as u64, method: "tools/list", ..Entry::default() };
        let lines = (0..count).map(|n| {
            let line = head.chain.add(|id, prev| entry(n).line(id, prev, &Writing::default()));
            line.into_bytes()
        });
        (lines.collect(), head)
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Vec<Vec<u8>>), expected: &str) {
        let (mut all, head) = lines(6);
        change(&mut all);
        let found =
            verify(&all, Some(&head)).map_or_else(|breach| breach.to_string(), |v| format!("{:?}", v.reach));
        assert_eq!(found, expected);
    }

    fn alter(line: &mut [u8]) {
        let at = line.windows(4).position(|part| part == b"list").unwrap();
        line[at] = b'L';
    }

    #[test]
    fn what_was_done_to_a_chain_is_told() {
        check(|_| (), "(1, 6)");
        check(|all| alter(&mut all[0]), "line 1, entry 1: was altered");
        check(|all| alter(&mut all[2]), "line 3, entry 3: was altered");
        check(|all| alter(&mut all[4]), "line 5, entry 5: was altered");
        check(|all| alter(&mut all[5]), "line 6, entry 6: was altered");
        check(|all| drop(all.remove(0)), "line 1, entry 1: was removed, with everything up to entry 1");
        check(|all| drop(all.drain(2..4)), "line 3, entry 3: was removed, with everything up to entry 4");
        check(|all| all.swap(1, 4), "line 2, entry 2: is not in its place");
        check(|all| all.swap(4, 5), "line 5, entry 5: is not in its place");
        check(|all| all.insert(3, all[1].clone()), "line 4, entry 2: is not in its place");
        let cut =
            "line 5, entry 5: is missing, as is everything up to the last one, entry 6: the end was cut off";
        check(|all| all.truncate(4), cut);
        check(
            Vec::clear,
            "line 1, entry 1: is missing, as is everything up to the last one, entry 6: the end was cut off",
        );
        check(|all| all.push(b"not a line".to_vec()), "line 7, entry 7: was altered");
    }

    #[test]
    fn lines_after_the_head_and_before_what_is_kept_are_no_breach() {
        let (all, head) = lines(6);
        let early = Chain { last: 4, hash: digest(&all[3]) };
        assert!(verify(&all, Some(&Head { chain: early, ..head.clone() })).is_ok());
        let first = Link::read(&all[2]).unwrap();
        assert_eq!(verify(&all[2..], Some(&Head { first, ..head.clone() })).unwrap().entries, 4);
        let mut verifier = Verifier::from_what_is_kept(Some(head));
        all[2..].iter().for_each(|line| verifier.push(line));
        assert_eq!(verifier.finish().unwrap().reach, (3, 6));
    }

    #[test]
    fn what_the_gateway_says_of_its_trail_is_told() {
        let mut chain = Chain::default();
        let own = Entry::own(0, "audit/lost", "3 entries".into());
        let quoting = Entry { error: Some("\"method\":\"audit/lost\"".into()), ..Entry::default() };
        let all = [own, quoting].map(|e| chain.add(|id, prev| e.line(id, prev, &Writing::default())));
        assert_eq!(verify(all, None).unwrap().remarks, [1]);
    }

    proptest! {
        #[test]
        fn a_check_can_be_taken_up_elsewhere(at in 0..5_usize, other in 0..5_usize, paused in 0..5_usize) {
            let (mut all, head) = lines(5);
            all.swap(at, other);
            let mut verifier = Verifier::new(Some(head.clone()));
            for (index, line) in all.iter().enumerate() {
                if index == paused {
                    let text = serde_json::to_string(&verifier).unwrap();
                    verifier = serde_json::from_str(&text).unwrap();
                }
                verifier.push(line);
            }
            prop_assert_eq!(verifier.finish(), verify(&all, Some(&head)));
        }

        #[test]
        fn any_altered_byte_is_found(line in 0..5_usize, at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
            let (mut all, head) = lines(5);
            let at = at.index(all[line].len());
            all[line][at] ^= bits;
            let breach = verify(&all, Some(&head)).unwrap_err();
            prop_assert!(breach.line.abs_diff(line as u64 + 1) <= 1, "{breach}");
        }

        #[test]
        fn any_removed_line_is_found(line in 0..5_usize) {
            let (mut all, head) = lines(5);
            all.remove(line);
            let breach = verify(&all, Some(&head)).unwrap_err();
            prop_assert_eq!(breach.entry, line as u64 + 1);
        }

        #[test]
        fn any_two_swapped_lines_are_found(one in 0..5_usize, other in 0..5_usize) {
            prop_assume!(one != other);
            let (mut all, head) = lines(5);
            all.swap(one, other);
            let breach = verify(&all, Some(&head)).unwrap_err();
            prop_assert_eq!((breach.entry, breach.fault), (one.min(other) as u64 + 1, Fault::Reordered));
        }
    }
}
