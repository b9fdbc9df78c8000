//! What is held of signing in at one server: the token, where it came from, and what went wrong. Pure.
//!
//! **A token is used until shortly before it expires, and made anew one at a time.** An authorization server that fails is left
//! alone for a while, ever longer; what a token still opens goes on being opened. **What single calls want besides is held
//! against no other call.**

use std::sync::Arc;

use super::{AuthorizationServer, Scopes, Token};
use crate::error::Unreachable;
use crate::upstream::pauses::BEFORE_A_SERVER;

/// How long before it expires a token is made anew, at most, in milliseconds, and which part of its life at most.
const AHEAD: u64 = 60_000;
const PART: u64 = 5;
/// How many sets of scopes are held that were asked for in vain. Where all of them still count, no other is asked for.
const MOST_IN_VAIN: usize = 16;

/// Where a server's tokens are made, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) authorization: AuthorizationServer,
    /// What the server is called there; nothing where that is not said.
    pub(crate) resource: Option<String>,
}

/// What a request to a server carries.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) token: Token,
    /// Which one in a row it is.
    pub(crate) number: u64,
}

/// What there is to say without asking anybody.
#[derive(Debug)]
pub(crate) enum Known {
    /// A token that is good.
    Good(Access),
    /// A token that is still good, and soon will not be.
    Ageing(Access),
    /// None that is good.
    Nothing,
    /// None, and it is too early to ask for one again.
    Trouble(Unreachable),
}

/// Scopes that were asked for besides, in vain.
#[derive(Debug)]
struct InVain {
    scopes: Scopes,
    /// Until when they are not asked for again, in milliseconds since the Unix epoch.
    until: u64,
    failures: u32,
    error: Unreachable,
}

/// What is held of signing in at one server.
#[derive(Debug, Default)]
pub(crate) struct Held {
    access: Option<Access>,
    /// When the token is made anew, and when it expires, in milliseconds since the Unix epoch.
    due: u64,
    until: u64,
    way: Option<Arc<Way>>,
    /// The scopes that were asked for last.
    scopes: Scopes,
    numbers: u64,
    failures: u32,
    trouble: Option<(u64, Unreachable)>,
    in_vain: Vec<InVain>,
    /// How often in a row a server refused a token that had just been made, the last of these tokens, and until when that is
    /// no reason for another.
    refusals: u32,
    refused: u64,
    quiet_until: u64,
}

impl Held {
    /// Returns what the next request to the server carries.
    pub(crate) fn known(&self, now: u64) -> Known {
        match (&self.access, &self.trouble) {
            (Some(access), _) if now < self.due => Known::Good(access.clone()),
            (Some(access), Some((until, _))) if now < self.until && now < *until => {
                Known::Good(access.clone())
            }
            (Some(access), _) if now < self.until => Known::Ageing(access.clone()),
            (_, Some((until, error))) if now < *until => Known::Trouble(error.clone()),
            _ => Known::Nothing,
        }
    }

    /// Returns what there is after the server has refused the token of that number, or a request without one; where it wants
    /// scopes, only what was asked for with them.
    pub(crate) fn known_after(&self, number: u64, wanted: Option<&Scopes>, now: u64) -> Known {
        let is_wider = wanted.is_none_or(|wanted| self.scopes.cover(wanted));
        match (&self.access, &self.trouble) {
            (Some(access), _) if access.number > number && is_wider => Known::Good(access.clone()),
            (_, Some((until, error))) if now < *until => Known::Trouble(error.clone()),
            _ => Known::Nothing,
        }
    }

    /// Tells whether a refusal is no reason for another token for now: the last one made for one was refused as well.
    pub(crate) fn is_quiet(&self, now: u64) -> bool {
        now < self.quiet_until
    }

    /// Takes note that the server has refused the token of that number, which was made because it had refused another. Many
    /// who are refused with one token at once count as one.
    pub(crate) fn refused(&mut self, number: u64, now: u64) {
        if number > self.refused {
            self.refused = number;
            self.quiet_until = now + BEFORE_A_SERVER.millis_after(self.refusals);
            self.refusals = self.refusals.saturating_add(1);
        }
    }

    /// Takes note that another token has helped. That ends no wait which another call has begun.
    pub(crate) fn helped(&mut self) {
        self.refusals = 0;
    }

    /// Returns why it is too early to ask for scopes besides.
    pub(crate) fn in_vain(&self, wanted: &Scopes, now: u64) -> Option<&Unreachable> {
        let mut waits = self.in_vain.iter().filter(|one| now < one.until);
        let same = waits.clone().find(|one| one.scopes == *wanted);
        same.or_else(|| waits.nth(MOST_IN_VAIN - 1)).map(|one| &one.error)
    }

    /// Takes note that scopes were asked for besides in vain, and why. What is held otherwise is as good as before.
    pub(crate) fn failed_besides(&mut self, wanted: Scopes, error: Unreachable, now: u64) {
        let before = self.in_vain.iter().position(|one| one.scopes == wanted);
        let failures = before.map_or(0, |at| self.in_vain.remove(at).failures);
        if self.in_vain.len() >= MOST_IN_VAIN {
            self.in_vain.remove(0);
        }
        let until = now + BEFORE_A_SERVER.millis_after(failures);
        self.in_vain.push(InVain { scopes: wanted, until, failures: failures.saturating_add(1), error });
    }

    /// Returns where tokens were made last.
    pub(crate) fn way(&self) -> Option<Arc<Way>> {
        self.way.clone()
    }

    /// Returns the scopes that were asked for last.
    pub(crate) fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Returns the token that is held, for whoever takes it out of texts.
    pub(crate) fn token(&self) -> Option<&Token> {
        self.access.as_ref().map(|access| &access.token)
    }

    /// Takes a token, how it was made and for which scopes.
    pub(crate) fn made(&mut self, token: Token, way: Arc<Way>, scopes: Scopes, now: u64) -> Access {
        self.numbers += 1;
        // One whose end is not known is used until it is refused.
        let life = token.good_for;
        self.until = life.map_or(u64::MAX, |life| now.saturating_add(life));
        self.due = life.map_or(u64::MAX, |life| self.until - AHEAD.min(life / PART));
        let access = Access { token, number: self.numbers };
        self.access = Some(access.clone());
        self.in_vain.retain(|one| !scopes.cover(&one.scopes));
        (self.way, self.scopes) = (Some(way), scopes);
        (self.failures, self.trouble) = (0, None);
        access
    }

    /// Takes note that there is no token, and why. Where tokens are made is found out anew next time.
    pub(crate) fn failed(&mut self, error: Unreachable, now: u64) {
        self.trouble = Some((now + BEFORE_A_SERVER.millis_after(self.failures), error));
        self.failures = self.failures.saturating_add(1);
        self.way = None;
    }

    /// Takes note that what is signed in with may be another: it is tried at once.
    pub(crate) fn changed(&mut self) {
        (self.failures, self.trouble) = (0, None);
        (self.refusals, self.quiet_until) = (0, 0);
        self.in_vain.clear();
    }
}

#[cfg(test)]
mod tests {

    use super::super::Named;
    use super::*;
    use crate::secrets::Secret;

    fn made(held: &mut Held, value: &str, good_for: Option<u64>, now: u64) -> u64 {
        let text = br#"{"issuer":"https://i.example","token_endpoint":"https://i.example/t"}"#;
        let authorization =
            AuthorizationServer::read(text, "https://i.example", Named::Here).expect("metadata");
        let resource = Some("https://a.example/mcp".to_owned());
        let value = Secret::new(value.into()).unwrap();
        let token = Token { value, refresh: None, good_for, scopes: None };
        held.made(token, Arc::new(Way { authorization, resource }), Scopes::default(), now).number
    }

    fn shown(known: Known) -> String {
        match known {
            Known::Good(access) => access.token.value.reveal().to_owned(),
            Known::Ageing(access) => format!("{}, soon another", access.token.value.reveal()),
            Known::Nothing => "ask".into(),
            Known::Trouble(error) => error.message,
        }
    }

    fn check(held: &Held, now: u64) -> String {
        shown(held.known(now))
    }

    fn trouble() -> Unreachable {
        Unreachable::new("a", "cannot be signed in at")
    }

    #[test]
    fn a_token_is_made_anew_before_it_expires() {
        let mut held = Held::default();
        assert_eq!(check(&held, 0), "ask");
        made(&mut held, "t1", Some(3_600_000), 1000);
        assert_eq!(check(&held, 1000 + 3_540_000 - 1), "t1");
        assert_eq!(check(&held, 1000 + 3_540_000), "t1, soon another");
        assert_eq!(check(&held, 1000 + 3_600_000), "ask");
        made(&mut held, "t2", Some(10_000), 0);
        assert_eq!(check(&held, 7_999), "t2", "a short life is not used up by this");
        assert_eq!(check(&held, 8_000), "t2, soon another");
        made(&mut held, "t3", None, 0);
        assert_eq!(check(&held, u64::MAX - 1), "t3");
        made(&mut held, "t4", Some(0), 5);
        assert_eq!(check(&held, 5), "ask");
    }

    #[test]
    fn who_fails_is_left_alone_ever_longer() {
        let mut held = Held::default();
        held.failed(trouble(), 0);
        assert_eq!(check(&held, 999), "cannot be signed in at");
        assert_eq!(check(&held, 1000), "ask");
        held.failed(trouble(), 1000);
        assert_eq!(check(&held, 2999), "cannot be signed in at");
        assert_eq!(check(&held, 3000), "ask");
        held.changed();
        held.failed(trouble(), 0);
        assert_eq!(check(&held, 1000), "ask", "as if for the first time");
        made(&mut held, "t", Some(100_000), 1000);
        held.failed(trouble(), 90_000);
        assert_eq!(check(&held, 90_999), "t", "it is still good");
        assert_eq!(check(&held, 91_000), "t, soon another");
        assert_eq!(check(&held, 101_000), "ask");
        assert!(held.way().is_none(), "and where is asked anew");
    }

    #[test]
    fn a_refused_token_is_made_anew_once() {
        let mut held = Held::default();
        let first = made(&mut held, "t1", None, 0);
        assert_eq!(shown(held.known_after(first, None, 0)), "ask");
        let second = made(&mut held, "t2", None, 0);
        assert_eq!(shown(held.known_after(first, None, 0)), "t2", "somebody else has asked");
        assert_eq!(shown(held.known_after(second, None, 0)), "ask");
        assert!(!held.is_quiet(0));
        held.refused(second, 0);
        assert!(held.is_quiet(999) && !held.is_quiet(1000));
        held.refused(second, 999);
        assert!(!held.is_quiet(1000), "many with one token are one");
        held.refused(second + 1, 1000);
        held.helped();
        assert!(held.is_quiet(2999) && !held.is_quiet(3000), "a wait lasts whatever helps others");
        held.refused(second + 2, 3000);
        assert!(held.is_quiet(3999) && !held.is_quiet(4000), "and is the first again");
        held.changed();
        assert!(!held.is_quiet(3000));
        held.failed(trouble(), 0);
        assert_eq!(shown(held.known_after(second, None, 0)), "cannot be signed in at");
    }

    #[test]
    fn a_newer_token_is_taken_where_it_is_asked_for_with_what_is_wanted() {
        let mut held = Held::default();
        let first = made(&mut held, "t1", None, 0);
        let way = held.way().expect("a way");
        let token = held.token().expect("a token").clone();
        held.made(token, way, Scopes::parse("x"), 0);
        assert_eq!(shown(held.known_after(first, Some(&Scopes::parse("x")), 0)), "t1");
        assert_eq!(shown(held.known_after(first, Some(&Scopes::parse("y")), 0)), "ask");
        assert_eq!(shown(held.known_after(first, None, 0)), "t1");
    }

    #[test]
    fn scopes_that_are_asked_for_in_vain_are_nobody_elses_trouble() {
        let mut held = Held::default();
        made(&mut held, "t1", None, 0);
        let check = |held: &Held, scopes: &str, now| held.in_vain(&Scopes::parse(scopes), now).is_some();
        held.failed_besides(Scopes::parse("x"), trouble(), 0);
        assert!(check(&held, "x", 999) && !check(&held, "x", 1000) && !check(&held, "y", 0));
        held.failed_besides(Scopes::parse("x"), trouble(), 1000);
        assert!(check(&held, "x", 2999) && !check(&held, "x", 3000));
        assert_eq!(shown(held.known(0)), "t1");
        assert!(held.way().is_some());
        for n in 1..MOST_IN_VAIN {
            assert!(!check(&held, "new", 2000), "{n}");
            held.failed_besides(Scopes::parse(&n.to_string()), trouble(), 2000);
        }
        assert!(check(&held, "new", 2000), "who is refused that often is not asked with ever new scopes");
        assert!(!check(&held, "new", 3000));
        held.changed();
        assert!(!check(&held, "1", 2000));
    }
}
