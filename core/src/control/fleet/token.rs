//! Enrolment tokens: what somebody carries from the control plane to a gateway, once.
//!
//! **A token is never sent.** It holds the seed of a key, by which the gateway signs what it enrols with; the control plane
//! keeps only the other half. So whoever is between the two can neither use it nor put another gateway in the place of this
//! one. It also says by which key the control plane is known.

use std::fmt;

use super::{bytes_of, text_of};
use crate::ports::Entropy;

/// What a token begins with.
const PREFIX: &str = "pce_";
/// How many digits an enrolment's id has.
const ID: usize = 16;

/// An enrolment token.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// The enrolment's id.
    pub id: String,
    /// The seed of the key that enrols.
    pub(crate) seed: [u8; 32],
    /// The fingerprint of the control plane's key.
    pub fleet: String,
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentToken({})", self.id)
    }
}

/// Returns a random id.
pub(crate) fn new_id(entropy: &impl Entropy) -> String {
    let mut number = [0; 8];
    entropy.fill(&mut number);
    format!("{:016x}", u64::from_be_bytes(number))
}

/// Tells whether a text can be an id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl EnrolmentToken {
    /// Makes one for a control plane of that fingerprint.
    pub(crate) fn generate(entropy: &impl Entropy, fleet: String) -> Self {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        Self { id: new_id(entropy), seed, fleet }
    }

    /// Reads a token; nothing where the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().strip_prefix(PREFIX)?.split('.');
        let (id, seed, fleet) = (parts.next()?, parts.next()?, parts.next()?);
        let fleet: [u8; 32] = bytes_of(fleet)?;
        let sound = is_id(id) && parts.next().is_none();
        let fleet = fleet.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        sound.then_some(Self { id: id.to_owned(), seed: bytes_of(seed)?, fleet })
    }

    /// Returns the token as it is handed on.
    pub(crate) fn reveal(&self) -> String {
        let pair = |at: usize| u8::from_str_radix(self.fleet.get(at..at + 2).unwrap_or("0"), 16).unwrap_or(0);
        let fleet: Vec<_> = (0..64).step_by(2).map(pair).collect();
        format!("{PREFIX}{}.{}.{}", self.id, text_of(&self.seed), text_of(&fleet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;

    #[test]
    fn tokens_are_read_back_and_nothing_else_is_one() {
        let token = EnrolmentToken::generate(
            &Memory::new(|_| crate::testing::json_answer(404, "")),
            super::super::fingerprint(&[3; 32]),
        );
        let text = token.reveal();
        assert_eq!(EnrolmentToken::parse(&format!("  {text}\n")), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&text[21..40]), "it is not to be logged");
        for odd in
            [&text[1..], &text[..text.len() - 1], &format!("{text}.x"), &text.replace("pce_", "pck_"), ""]
        {
            assert_eq!(EnrolmentToken::parse(odd), None, "{odd}");
        }
    }
}
