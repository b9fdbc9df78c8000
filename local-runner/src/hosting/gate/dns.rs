//! Messages of DNS (RFC 1035): what is asked, and the few kinds of answers that the gate gives.
//!
//! **No question leaves the machine**: an answer is made from the question alone, so that no name carries anything out. What
//! is no question, is cut off or has more than one question is not answered at all.

use std::net::Ipv4Addr;

/// The longest message that is looked at, in bytes: with what may follow the question.
pub(crate) const LONGEST: usize = 4096;
/// How long whoever asks may remember an address, in seconds.
const TTL: u32 = 60;
/// The longest name, as it is sent.
const NAME: usize = 255;

/// The type of a question for an address of the older kind.
pub(crate) const A: u16 = 1;

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question<'m> {
    /// The name in lower case, without the last dot; what is no plain character of a name is escaped.
    pub(crate) name: String,
    /// The type of what is asked for.
    pub(crate) kind: u16,
    head: [u8; 4],
    /// As it was asked.
    raw: &'m [u8],
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name has this address.
    Address(Ipv4Addr),
    /// The name is there, and has nothing of this type.
    Nothing,
    /// There is no such name.
    NoName,
    /// That kind of question is not answered.
    NotAnswered,
    /// It cannot be said now.
    Failure,
}

impl<'m> Question<'m> {
    /// Reads a question; nothing where a message is none that is answered.
    pub(crate) fn parse(message: &'m [u8]) -> Option<Self> {
        let (head, rest) = message.split_at_checked(12)?;
        let is_question = head[2] & 0x80 == 0;
        if !is_question || head[4..6] != [0, 1] || head[6..8] != [0, 0] {
            return None;
        }
        let (name, length) = read_name(rest)?;
        let fixed = rest.get(length..length + 4)?;
        let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
        let class = u16::from_be_bytes([fixed[2], fixed[3]]);
        let is_plain = head[2] & 0x78 == 0 && class == 1;
        Some(Self {
            name,
            // What is no plain question of the internet is none about an address.
            kind: if is_plain { kind } else { 0 },
            head: [head[0], head[1], head[2], head[3]],
            raw: &rest[..length + 4],
        })
    }

    /// Tells whether it is a kind of question that is answered.
    pub(crate) fn is_plain(&self) -> bool {
        // Neither everything that there is, nor copies of zones.
        self.kind != 0 && self.kind < 250 || self.kind > 255
    }

    /// Returns the answer as a message.
    pub(crate) fn answer(&self, answer: Answer) -> Vec<u8> {
        let code = match answer {
            Answer::Address(_) | Answer::Nothing => 0,
            Answer::Failure => 2,
            Answer::NoName => 3,
            Answer::NotAnswered => 4,
        };
        let answers = u8::from(matches!(answer, Answer::Address(_)));
        let [high, low, flags, _] = self.head;
        // A response of the same kind; recursion is there.
        let mut message = vec![high, low, 0x80 | flags & 0x79, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0];
        message.extend_from_slice(self.raw);
        if let Answer::Address(address) = answer {
            // The name of the question, its type, the internet.
            message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
            message.extend_from_slice(&TTL.to_be_bytes());
            message.extend_from_slice(&[0, 4]);
            message.extend_from_slice(&address.octets());
        }
        message
    }
}

/// Reads a name, and returns how many bytes it took.
fn read_name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        // A pointer: there is nothing before a question that it could point to.
        if length > 63 || at + length + 1 > NAME {
            return None;
        }
        let label = bytes.get(at + 1..=at + length)?;
        at += length + 1;
        if length == 0 {
            return Some((name, at));
        }
        if !name.is_empty() {
            name.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' => name.extend(['\\', char::from(byte)]),
                b'!'..=b'~' => name.push(char::from(byte.to_ascii_lowercase())),
                other => {
                    name.push('\\');
                    name.extend(
                        [other / 100, other / 10 % 10, other % 10].map(|digit| char::from(b'0' + digit)),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AAAA: u16 = 28;

    /// A question with one name, as resolvers send it, and what follows it there.
    fn asked(name: &str, kind: u16, after: &[u8]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!after.is_empty())];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(after);
        message
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let option = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
        let message = asked("Api.TEST", A, &option);
        let question = Question::parse(&message).unwrap();
        assert_eq!((question.name.as_str(), question.kind), ("api.test", A));
        assert!(question.is_plain());
        let answer = question.answer(Answer::Address(Ipv4Addr::new(28, 0, 0, 1)));
        // Its letters come back as they were asked.
        insta::assert_snapshot!(hex(&answer), @"abcd818000010001000000000341706904544553540000010001c00c000100010000003c00041c000001");
        insta::assert_snapshot!(hex(&question.answer(Answer::NoName)), @"abcd818300010000000000000341706904544553540000010001");
    }

    #[test]
    fn what_is_no_plain_question_is_not_answered() {
        for kind in [251, 252, 255] {
            assert!(!Question::parse(&asked("api.test", kind, &[])).unwrap().is_plain(), "{kind}");
        }
        for kind in [A, AAAA, 16, 65, 257] {
            assert!(Question::parse(&asked("api.test", kind, &[])).unwrap().is_plain(), "{kind}");
        }
        let mut status = asked("api.test", A, &[]);
        status[2] |= 0x10;
        assert!(!Question::parse(&status).unwrap().is_plain());
        let mut chaos = asked("version.bind", 16, &[]);
        *chaos.last_mut().unwrap() = 3;
        assert!(!Question::parse(&chaos).unwrap().is_plain());
    }

    #[test]
    fn what_is_cut_off_or_no_question_is_dropped() {
        let message = asked("api.test", A, &[]);
        for length in 0..message.len() {
            assert_eq!(Question::parse(&message[..length]), None, "{length}");
        }
        let mut reply = message.clone();
        reply[2] |= 0x80;
        assert_eq!(Question::parse(&reply), None);
        let mut two = message.clone();
        two[5] = 2;
        assert_eq!(Question::parse(&two), None);
        let mut pointer = message.clone();
        pointer[12] = 0xc0;
        assert_eq!(Question::parse(&pointer), None);
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(".");
        assert_eq!(Question::parse(&asked(&long, A, &[])), None);
        let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(Question::parse(&asked(&longest, A, &[])).unwrap().name, longest);
    }

    #[test]
    fn a_label_cannot_look_like_two() {
        let mut message = asked("evilXtest", A, &[]);
        message[17] = b'.';
        assert_eq!(Question::parse(&message).unwrap().name, "evil\\.test");
        message[17] = b'\n';
        assert_eq!(Question::parse(&message).unwrap().name, "evil\\010test");
    }
}
