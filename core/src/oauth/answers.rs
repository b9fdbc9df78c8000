//! What issuers have said of tokens that say nothing by themselves: for a moment, and of so many. Pure.
//!
//! A refusal is kept for a shorter moment, and apart: whoever makes tokens up takes no room from anybody. A token is known by
//! its hash alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Claims, Unfit};

/// How long an answer counts, in milliseconds; a token that ends before that counts until then.
const LONGEST: u64 = 30_000;
/// How long a refusal counts, in milliseconds.
const REFUSED: u64 = 5_000;
/// Of how many tokens answers are kept, and refusals.
const MOST: usize = 2_000;

/// A token, as the answers know it: the issuer that is asked, and the hash of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token of an issuer.
    pub(crate) fn of(issuer: &str, token: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(issuer.as_bytes());
        hash.update([0]);
        hash.update(token.as_bytes());
        Self(hash.finalize().into())
    }
}

/// Answers of issuers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    good: Moments<Arc<str>>,
    refused: Moments<Unfit>,
}

/// What is kept of tokens, and until when.
type Moments<T> = BTreeMap<TokenHash, (u64, T)>;

impl Answers {
    /// Returns what was said of a token, as long as that counts.
    pub(crate) fn known(&self, token: TokenHash, now: u64) -> Option<Arc<str>> {
        self.good.get(&token).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    /// Returns why a token was refused a moment ago.
    pub(crate) fn refused(&self, token: TokenHash, now: u64) -> Option<Unfit> {
        self.refused.get(&token).filter(|(until, _)| now < *until).map(|(_, unfit)| *unfit)
    }

    /// Keeps what was said of a token. Where too many are known, it is not kept.
    pub(crate) fn keep(&mut self, token: TokenHash, answer: Arc<str>, claims: &Claims, now: u64) {
        let until = claims.expires.min(now.saturating_add(LONGEST));
        note(&mut self.good, token, (until, answer), now);
    }

    /// Keeps that a token was refused.
    pub(crate) fn refuse(&mut self, token: TokenHash, unfit: Unfit, now: u64) {
        note(&mut self.refused, token, (now.saturating_add(REFUSED), unfit), now);
    }

    /// Forgets them all.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn note<T>(moments: &mut Moments<T>, token: TokenHash, moment: (u64, T), now: u64) {
    if moments.len() >= MOST {
        moments.retain(|_, (until, _)| now < *until);
    }
    if moments.len() < MOST {
        moments.insert(token, moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::Expected;

    const NOW: u64 = 1_800_000_000_000;

    fn claims(expires: u64) -> Claims {
        let payload = format!(r#"{{"iss":"i","sub":"me","aud":"a","exp":{}}}"#, expires / 1000 - 60);
        let audiences = ["a".to_owned()];
        let expected = Expected { issuer: "i", audience_claim: "aud", audiences: &audiences, now: NOW };
        Claims::read(&payload, &expected).expect("it is taken")
    }

    fn check(expires: u64, at: u64) -> bool {
        let (mut answers, token) = (Answers::default(), TokenHash::of("i", "token"));
        answers.keep(token, "x".into(), &claims(expires), NOW);
        answers.known(token, at).is_some()
    }

    #[test]
    fn an_answer_counts_for_a_moment_and_never_longer_than_its_token() {
        assert!(check(NOW + 600_000, NOW + LONGEST - 1));
        assert!(!check(NOW + 600_000, NOW + LONGEST));
        assert!(check(NOW + 5_000, NOW + 4_999));
        assert!(!check(NOW + 5_000, NOW + 5_000));
        let mut answers = Answers::default();
        answers.keep(TokenHash::of("i", "token"), "x".into(), &claims(NOW + 600_000), NOW);
        assert_eq!(answers.known(TokenHash::of("j", "token"), NOW), None, "another issuer said nothing");
        answers.forget();
        assert_eq!(answers.known(TokenHash::of("i", "token"), NOW), None);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let (mut answers, claims) = (Answers::default(), claims(NOW + 600_000));
        for number in 0..MOST + 5 {
            answers.keep(TokenHash::of("i", &number.to_string()), "x".into(), &claims, NOW);
        }
        assert_eq!(answers.good.len(), MOST);
        answers.refuse(TokenHash::of("i", "made-up"), Unfit::Expired, NOW);
        assert_eq!(answers.refused(TokenHash::of("i", "made-up"), NOW + REFUSED - 1), Some(Unfit::Expired));
        assert_eq!(answers.refused(TokenHash::of("i", "made-up"), NOW + REFUSED), None);
        let later = NOW + LONGEST;
        answers.keep(TokenHash::of("i", "later"), "x".into(), &claims, later);
        assert_eq!(answers.good.len(), 1, "what counts no more makes room");
    }
}
