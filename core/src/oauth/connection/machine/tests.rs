//! The machine alone, and several of them before a provider that revokes what is used twice.

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000_000;
const HOUR: u64 = 3600;

fn token(text: &str) -> Token {
    Token::new(text.into()).unwrap()
}

fn granted(access: &str, refresh: Option<&str>, lifetime: Option<u64>) -> Granted {
    Granted { access: token(access), refresh: refresh.map(token), lifetime, scopes: None }
}

fn connection(refresh: Option<&str>, lifetime: Option<u64>) -> State {
    State::connected(&granted("a1", refresh, lifetime), 5, NOW)
}

/// Says what is decided, so many milliseconds after the consent.
fn said(state: &State, after: u64, refused: Option<&str>) -> String {
    match state.decide(NOW + after, 1, refused.map(token).as_ref()) {
        Decision::Use(token) => format!("use {}", token.reveal()),
        Decision::Refresh(_, attempt) => format!("refresh with {}", attempt.token.reveal()),
        Decision::Wait(until) => format!("wait until {}", until - NOW),
        Decision::Later(until) => format!("later than {}", until - NOW),
        Decision::Ask(reason) => format!("ask: {reason:?}"),
    }
}

/// Has somebody take the lease, so many milliseconds after the consent.
fn leased(state: &State, after: u64, by: u64) -> (State, Attempt) {
    match state.decide(NOW + after, by, Some(&token("a1"))) {
        Decision::Refresh(next, attempt) => (*next, attempt),
        other => panic!("{other:?}"),
    }
}

fn failed() -> Outcome {
    Outcome::Failed("500".into())
}

#[test]
fn a_token_is_used_until_the_next_one_is_due() {
    let check = |after: u64| said(&connection(Some("r1"), Some(HOUR)), after, None);
    assert_eq!(check(0), "use a1");
    assert_eq!(check(3_539_999), "use a1");
    assert_eq!(check(3_540_000), "refresh with r1", "a minute ahead");
    assert_eq!(check(9_999_999), "refresh with r1");
    assert_eq!(said(&connection(Some("r1"), Some(10)), 7_999, None), "use a1");
    assert_eq!(said(&connection(Some("r1"), Some(10)), 8_000, None), "refresh with r1", "the last fifth");
    assert_eq!(said(&connection(Some("r1"), None), u64::MAX - NOW, None), "use a1");
    assert_eq!(said(&connection(Some("r1"), Some(u64::MAX)), u64::MAX / 2, None), "use a1");
}

#[test]
fn without_a_refresh_token_it_is_used_to_its_end_and_then_its_user_is_asked() {
    let check = |after: u64| said(&connection(None, Some(HOUR)), after, None);
    assert_eq!(check(3_599_999), "use a1");
    assert_eq!(check(3_600_000), "ask: Ended");
    assert_eq!(said(&connection(None, None), 0, Some("a1")), "ask: Ended");
}

#[test]
fn what_a_server_refuses_is_refreshed_before_its_end() {
    let state = connection(Some("r1"), Some(HOUR));
    assert_eq!(said(&state, 0, Some("a1")), "refresh with r1");
    assert_eq!(said(&state, 0, Some("a0")), "use a1", "it was another one");
    let (state, _) = leased(&state, 0, 1);
    assert_eq!(said(&state, 10, Some("a1")), "wait until 30000");
    assert_eq!(said(&state, 10, None), "use a1", "it goes on being used meanwhile");
}

#[test]
fn a_lease_is_respected_until_it_lapses_whatever_clocks_say() {
    let (state, _) = leased(&connection(Some("r1"), Some(HOUR)), 4_000_000, 1);
    assert_eq!(said(&state, 4_000_000, None), "wait until 4030000");
    assert_eq!(said(&state, 4_029_999, None), "wait until 4030000");
    assert_eq!(said(&state, 4_030_000, None), "refresh with r1", "it is taken over");
    assert_eq!(said(&state, 3_990_000, None), "wait until 4030000", "by a clock that is behind");
    assert_eq!(said(&state, 3_700_000, None), "refresh with r1", "by one that is wrong");
}

#[test]
fn new_tokens_take_the_place_of_old_ones() {
    let (state, attempt) = leased(&connection(Some("r1"), Some(HOUR)), 4_000_000, 1);
    let check = |granted: Granted| {
        let next = state.settle(&attempt, &Outcome::Granted(granted), NOW + 4_001_000).unwrap();
        let refresh = leased(&State { ..next.clone() }, 9_000_000, 2).1.token.reveal().to_owned();
        format!("{}; then {refresh}", said(&next, 4_001_000, None))
    };
    assert_eq!(check(granted("a2", Some("r2"), Some(HOUR))), "use a2; then r2");
    assert_eq!(check(granted("a2", None, Some(HOUR))), "use a2; then r1", "the old one goes on to count");
    let narrowed = Granted { scopes: Some(vec!["read".into()]), ..granted("a2", None, None) };
    let next = state.settle(&attempt, &Outcome::Granted(narrowed), NOW).unwrap();
    assert_eq!(next.scopes, ["read"]);
}

#[test]
fn only_the_providers_own_no_needs_consent() {
    let (state, attempt) = leased(&connection(Some("r1"), Some(HOUR)), 4_000_000, 1);
    let settle = |outcome| state.settle(&attempt, &outcome, NOW + 4_001_000).unwrap();
    assert_eq!(said(&settle(Outcome::Revoked), 4_001_000, None), "ask: Revoked");
    assert_eq!(said(&settle(failed()), 4_001_000, None), "later than 4002000");
    assert_eq!(said(&settle(failed()), 4_002_000, None), "refresh with r1");
}

#[test]
fn pauses_double_up_to_a_minute_and_end_with_success() {
    let (mut state, mut after, mut pauses) = (connection(Some("r1"), Some(HOUR)), 4_000_000, Vec::new());
    for by in 0..9 {
        let (next, attempt) = leased(&state, after, by);
        state = next.settle(&attempt, &failed(), NOW + after).unwrap();
        let Decision::Later(until) = state.decide(NOW + after, 99, None) else { panic!() };
        pauses.push((until - NOW - after) / 1000);
        after = until - NOW;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let (next, attempt) = leased(&state, after, 10);
    state =
        next.settle(&attempt, &Outcome::Granted(granted("a1", Some("r2"), Some(1))), NOW + after).unwrap();
    let (next, attempt) = leased(&state, after + 2000, 11);
    state = next.settle(&attempt, &failed(), NOW + after + 2000).unwrap();
    assert_eq!(said(&state, after + 2000, None), format!("later than {}", after + 3000));
}

#[test]
fn who_comes_late_changes_nothing_but_by_new_tokens() {
    let (first, late) = leased(&connection(Some("r1"), Some(HOUR)), 4_000_000, 1);
    let (second, other) = leased(&first, 4_040_000, 2);
    let new = Outcome::Granted(granted("a2", Some("r2"), Some(HOUR)));
    let at = NOW + 4_041_000;
    assert_eq!(second.settle(&late, &Outcome::Revoked, at), None);
    assert_eq!(second.settle(&late, &failed(), at), None);
    let settled = second.settle(&late, &new, at).unwrap();
    assert_eq!(said(&settled, 4_041_000, None), "use a2");
    assert_eq!(said(&settled, 4_041_000, Some("a2")), "wait until 4070000", "the other's lease stays");
    let ended = settled.settle(&other, &Outcome::Revoked, at).unwrap();
    assert_eq!(said(&ended, 4_041_000, None), "use a2", "a no for the old one says nothing of the new");
    assert_eq!(said(&ended, 4_041_000, Some("a2")), "refresh with r2");
    let broken = second.settle(&other, &Outcome::Revoked, at).unwrap();
    assert_eq!(said(&broken.settle(&late, &new, at).unwrap(), 4_041_000, None), "use a2");
    let anew = State::connected(&granted("a3", Some("r3"), None), 6, at);
    assert_eq!(anew.settle(&late, &new, at), None, "the user has consented anew meanwhile");
}

#[test]
fn what_is_sealed_comes_back_and_nothing_shows_a_token() {
    let (state, attempt) = leased(&connection(Some("s3cret"), Some(HOUR)), 4_000_000, 1);
    let bytes = state.to_bytes();
    assert_eq!(State::from_bytes(&bytes), Some(state.clone()));
    assert_eq!(State::from_bytes(&bytes[1..]), None, "another form");
    assert!(!format!("{state:?}{attempt:?}").contains("s3cret"));
}

/// A provider that gives another refresh token each time, and revokes everything where one is used twice.
struct Provider {
    generation: u64,
    is_revoked: bool,
    in_flight: usize,
}

impl Provider {
    /// Tells whether the server takes an access token.
    fn takes(&self, access: &Token) -> bool {
        !self.is_revoked && access.reveal() == format!("a{}", self.generation)
    }

    fn refresh(&mut self, presented: &Token) -> Outcome {
        if self.is_revoked || presented.reveal() != format!("r{}", self.generation) {
            self.is_revoked = true;
            return Outcome::Revoked;
        }
        self.generation += 1;
        let (access, refresh) = (format!("a{}", self.generation), format!("r{}", self.generation));
        Outcome::Granted(granted(&access, Some(&refresh), Some(HOUR)))
    }
}

/// What an instance is doing.
enum Doing {
    Nothing,
    Writing { read: u64, next: Box<State>, attempt: Attempt },
    Leased(Attempt),
    Asking(Attempt, Outcome),
    Answered(Attempt, Outcome),
}

#[derive(Debug, Clone)]
enum Event {
    Step(usize),
    Crash(usize),
    /// The provider answers 500, or its answer is lost on the way; an instance's next step asks it.
    Fails(usize),
    Lost(usize),
    Pass(u64),
}

struct World {
    now: u64,
    nonce: u64,
    version: u64,
    state: State,
    provider: Provider,
    instances: Vec<Doing>,
    /// Whether something has happened after which a provider may rightly say no.
    is_disturbed: bool,
}

impl World {
    fn new(instances: usize) -> Self {
        let provider = Provider { generation: 1, is_revoked: false, in_flight: 0 };
        let state = State::connected(&granted("a1", Some("r1"), Some(HOUR)), 5, NOW);
        let instances = (0..instances).map(|_| Doing::Nothing).collect();
        let now = NOW + 4_000_000;
        Self { now, nonce: 0, version: 1, state, provider, instances, is_disturbed: false }
    }

    fn write(&mut self, read: u64, next: State) -> bool {
        let is_expected = read == self.version;
        if is_expected {
            self.version += 1;
            self.state = next;
        }
        is_expected
    }

    fn step(&mut self, at: usize, ask: impl FnOnce(&mut Provider, &Token) -> Outcome) {
        self.nonce += 1;
        let now = self.now;
        self.instances[at] = match std::mem::replace(&mut self.instances[at], Doing::Nothing) {
            Doing::Nothing => match self.state.decide(now, self.nonce, None) {
                Decision::Refresh(next, attempt) => Doing::Writing { read: self.version, next, attempt },
                _ => Doing::Nothing,
            },
            Doing::Writing { read, next, attempt } => {
                self.is_disturbed |= matches!(self.state.phase, Phase::Refreshing { .. });
                if self.write(read, *next) { Doing::Leased(attempt) } else { Doing::Nothing }
            }
            Doing::Leased(attempt) if attempt.left(now) == 0 => Doing::Answered(attempt, failed()),
            Doing::Leased(attempt) => {
                self.provider.in_flight += 1;
                assert_eq!(self.provider.in_flight, 1, "two refreshes at a time");
                let outcome = ask(&mut self.provider, &attempt.token);
                Doing::Asking(attempt, outcome)
            }
            Doing::Asking(attempt, outcome) => {
                self.provider.in_flight -= 1;
                Doing::Answered(attempt, outcome)
            }
            Doing::Answered(attempt, outcome) => {
                if let Some(next) = self.state.settle(&attempt, &outcome, now) {
                    self.write(self.version, next);
                }
                Doing::Nothing
            }
        };
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(at) => self.step(at, Provider::refresh),
            Event::Fails(at) => self.step(at, |_, _| failed()),
            Event::Lost(at) => {
                self.is_disturbed = true;
                self.step(at, |provider, token| {
                    provider.refresh(token);
                    failed()
                });
            }
            Event::Crash(at) => {
                self.is_disturbed = true;
                let before = std::mem::replace(&mut self.instances[at], Doing::Nothing);
                self.provider.in_flight -= usize::from(matches!(before, Doing::Asking(..)));
            }
            Event::Pass(millis) => {
                self.now += millis;
                // Nobody waits longer than it may.
                for doing in &mut self.instances {
                    *doing = match std::mem::replace(doing, Doing::Nothing) {
                        Doing::Asking(attempt, _) if attempt.left(self.now) == 0 => {
                            self.is_disturbed = true;
                            self.provider.in_flight -= 1;
                            Doing::Answered(attempt, failed())
                        }
                        other => other,
                    };
                }
            }
        }
    }

    /// Has one more instance call, with a provider that answers; returns how that ends.
    fn ends(&mut self) -> String {
        let mut refused = None;
        self.instances.push(Doing::Nothing);
        let at = self.instances.len() - 1;
        for _ in 0..50 {
            match self.state.decide(self.now, 0, refused.as_ref()) {
                Decision::Use(access) if self.provider.takes(&access) => return "called".into(),
                Decision::Use(access) => refused = Some(access),
                Decision::Wait(until) | Decision::Later(until) => self.happen(Event::Pass(until - self.now)),
                Decision::Ask(_) => return "asked".into(),
                Decision::Refresh(next, attempt) => {
                    self.write(self.version, *next);
                    self.instances[at] = Doing::Leased(attempt);
                    while !matches!(self.instances[at], Doing::Nothing) {
                        self.step(at, Provider::refresh);
                    }
                }
            }
        }
        "stuck".into()
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let of = 0..4usize;
    let event = prop_oneof![
        8 => of.clone().prop_map(Event::Step),
        1 => of.clone().prop_map(Event::Crash),
        1 => of.clone().prop_map(Event::Fails),
        1 => of.prop_map(Event::Lost),
        2 => (0..35_000u64).prop_map(Event::Pass),
        1 => Just(Event::Pass(3_600_000)),
    ];
    prop::collection::vec(event, 0..60)
}

fn calm_events() -> impl Strategy<Value = Vec<Event>> {
    let of = 0..4usize;
    let event = prop_oneof![
        8 => of.clone().prop_map(Event::Step),
        1 => of.prop_map(Event::Fails),
        2 => (0..500u64).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_crashes_a_user_can_call_or_is_asked(events in events()) {
        let mut world = World::new(4);
        for event in events {
            world.happen(event);
        }
        // Those who are left are gone, too.
        world.instances.clear();
        world.provider.in_flight = 0;
        let end = world.ends();
        prop_assert!(end == "called" || end == "asked", "{}", end);
    }

    #[test]
    fn nobody_is_asked_where_nothing_was_lost(events in calm_events()) {
        let mut world = World::new(4);
        for event in events {
            world.happen(event);
        }
        // Those who are left come to their end; whoever has come too late with a write begins anew.
        for at in 0..4 {
            for _ in 0..6 {
                world.happen(Event::Step(at));
            }
        }
        prop_assert!(!world.provider.is_revoked);
        prop_assert_eq!(world.ends(), "called");
    }
}
