//! The chain of lines: each names the hash of the one before, and a record beside them says how far they reach.
//!
//! The chain finds what somebody does to lines who does not make all later ones anew. Who can write everything here can
//! make everything anew: against that helps only what is kept elsewhere, the hash that `verify` tells or a copy.

use std::fmt;

use crate::wire::json::Json;

/// What the first line names in place of a hash.
pub const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How long the text of a [`Head`] is, in bytes: always the same, so that it is replaced in place.
const HEAD: usize = 320;

/// Returns the hash of a line without its line break: SHA-256, in hexadecimal digits.
pub fn digest(line: &[u8]) -> String {
    super::entry::sha256(line)
}

/// What a line says of its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, counted from 1.
    pub id: u64,
    /// The hash of the line before.
    pub prev: String,
}

impl Link {
    /// Reads a line; nothing where it is none.
    pub fn read(line: &[u8]) -> Option<Self> {
        let json = Json::check(line).ok().filter(|json| json.is_object())?;
        Some(Self { id: json.get("id")?.as_u64()?, prev: json.get("prev")?.as_str()?.into_owned() })
    }
}

/// Where a chain is: what its next line has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The number of the last line; 0 where there is none.
    pub last: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { last: 0, hash: FIRST.to_owned() }
    }
}

impl Chain {
    /// Appends the next line to `out`, where `write` writes it from its number and the hash of the line before.
    pub fn append(&mut self, out: &mut String, write: impl FnOnce(&mut String, u64, &str)) {
        let start = out.len();
        write(out, self.last + 1, &self.hash);
        self.last += 1;
        self.hash = digest(&out.as_bytes()[start..]);
    }
}

/// The record kept beside the lines: without it nobody could tell that the last ones are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The first line that is still kept.
    pub first: Link,
    /// How far the chain reaches.
    pub chain: Chain,
}

impl Default for Head {
    fn default() -> Self {
        Self { first: Link { id: 1, prev: FIRST.to_owned() }, chain: Chain::default() }
    }
}

impl Head {
    /// Returns the record's text, which is always equally long.
    pub fn to_text(&self) -> String {
        let Self { first, chain } = self;
        let text = format!(
            "{{\"first\":{},\"first_prev\":\"{}\",\"last\":{},\"hash\":\"{}\"}}",
            first.id, first.prev, chain.last, chain.hash
        );
        format!("{text:width$}\n", width = HEAD - 1)
    }

    /// Reads the record; nothing where it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let json = Json::check(text).ok()?;
        let number = |key| json.get(key).and_then(Json::as_u64);
        let hash = |key| json.get(key).and_then(Json::as_str).filter(|hash| hash.len() == FIRST.len());
        Some(Self {
            first: Link { id: number("first")?, prev: hash("first_prev")?.into_owned() },
            chain: Chain { last: number("last")?, hash: hash("hash")?.into_owned() },
        })
    }
}

/// What a chain is that holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let mut lines = lines.into_iter();
    let first = head.map_or_else(|| Head::default().first, |head| head.first.clone());
    let mut reader = Reader {
        chain: Chain { last: first.id.saturating_sub(1), hash: first.prev },
        head,
        line: 0,
        verified: Verified { reach: (first.id, 0), ..Verified::default() },
    };
    let mut current = lines.next();
    while let Some(line) = current {
        let next = lines.next();
        if let Err(breach) = reader.take(line.as_ref(), next.as_ref().map(AsRef::as_ref)) {
            return Err(match breach.fault {
                // It may stand further down.
                Fault::Removed(_) if next.into_iter().chain(lines).any(|line| is(&line, breach.entry)) => {
                    Breach { fault: Fault::Reordered, ..breach }
                }
                _ => breach,
            });
        }
        current = next;
    }
    reader.finish()
}

fn is(line: &impl AsRef<[u8]>, id: u64) -> bool {
    Link::read(line.as_ref()).is_some_and(|link| link.id == id)
}

struct Reader<'h> {
    chain: Chain,
    head: Option<&'h Head>,
    line: u64,
    verified: Verified,
}

impl Reader<'_> {
    fn take(&mut self, line: &[u8], next: Option<&[u8]>) -> Result<(), Breach> {
        self.line += 1;
        let expected = self.chain.last + 1;
        let fault = |entry, fault| Err(Breach { line: self.line, entry, fault });
        let Some(place) = Link::read(line) else { return fault(expected, Fault::Altered) };
        let hash = digest(line);
        // Whoever comes next, or the head, vouches for this line.
        let is_vouched_for = next.and_then(Link::read).is_some_and(|next| next.prev == hash)
            || self.head.is_some_and(|head| head.chain.last == place.id && head.chain.hash == hash);
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
        if self.head.is_some_and(|head| head.chain.last == place.id && head.chain.hash != hash) {
            return fault(expected, Fault::Altered);
        }
        if line.windows(METHOD.len()).any(|part| part == METHOD) {
            self.verified.remarks.push(place.id);
        }
        self.verified.entries += 1;
        self.chain = Chain { last: place.id, hash };
        Ok(())
    }

    fn finish(self) -> Result<Verified, Breach> {
        let last = self.head.map_or(0, |head| head.chain.last);
        if last > self.chain.last {
            let (line, entry) = (self.line + 1, self.chain.last + 1);
            return Err(Breach { line, entry, fault: Fault::Truncated(last) });
        }
        let reach = (self.verified.reach.0, self.chain.last);
        Ok(Verified { reach, hash: self.chain.hash, ..self.verified })
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
            let mut line = String::new();
            head.chain
                .append(&mut line, |out, id, prev| entry(n).write(out, (id, prev), &Writing::default()));
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
        assert_eq!(verify(&all[2..], Some(&Head { first, ..head })).unwrap().entries, 4);
    }

    #[test]
    fn the_head_keeps_its_length() {
        let (_, head) = lines(3);
        for head in [Head::default(), head] {
            assert_eq!(head.to_text().len(), HEAD);
            assert_eq!(Head::parse(head.to_text().as_bytes()), Some(head));
        }
        assert_eq!(Head::parse(b"{}"), None);
    }

    #[test]
    fn what_the_gateway_says_of_its_trail_is_told() {
        let mut chain = Chain::default();
        let own = Entry::own(0, "audit/lost", "3 entries".into());
        let quoting = Entry { error: Some("\"method\":\"audit/lost\"".into()), ..Entry::default() };
        let all = [own, quoting].map(|e| {
            let mut line = String::new();
            chain.append(&mut line, |out, id, prev| e.write(out, (id, prev), &Writing::default()));
            line
        });
        assert_eq!(verify(all, None).unwrap().remarks, [1]);
    }

    proptest! {
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
