//! On which terms the platform answers a request: until when, and whether as a stream.

use http::Extensions;

use crate::ports::{Place, Undivided, Until};

/// The longest that an answer ends before the platform ends it, in milliseconds.
const BEFORE: u64 = 1000;

/// The terms on which a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Terms {
    /// When the answer has to have ended, in milliseconds since the Unix epoch.
    pub(crate) until: Option<u64>,
    /// How large the answer may be, in bytes, where it has to be one document.
    pub(crate) undivided: Option<usize>,
    /// What agents are told of without asking.
    pub(crate) told: Told,
}

/// What agents can be told of without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Told {
    /// Whatever they once asked to be told of.
    #[default]
    Everything,
    /// What a request asks for whose stream carries it: nothing is remembered from request to request.
    OnItsStream,
    /// Nothing.
    Nothing,
}

impl Terms {
    /// Returns the terms of a request that comes at `now` with what the host says of it. `has_owners` tells whether what
    /// outlives the request is held somewhere.
    pub(crate) fn of(
        extensions: &Extensions,
        place: Place,
        has_owners: impl FnOnce() -> bool,
        now: u64,
    ) -> Self {
        let undivided = extensions.get::<Undivided>().map(|undivided| undivided.0);
        let ends = extensions.get::<Until>().map(|until| until.0);
        let told = match (undivided, place) {
            (None, Place::Function) => Told::OnItsStream,
            (None, _) if has_owners() => Told::Everything,
            _ => Told::Nothing,
        };
        // What has little time gets most of it.
        let until = ends.map(|ends| ends - (ends.saturating_sub(now) / 4).min(BEFORE));
        Self { until, undivided, told }
    }

    /// Tells whether the platform leaves the answer to the gateway.
    pub(crate) fn are_none(&self) -> bool {
        self.until.is_none() && self.undivided.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(until: Option<u64>, undivided: Option<usize>, place: Place, owners: bool) -> Terms {
        let mut extensions = Extensions::new();
        until.map(|until| extensions.insert(Until(until)));
        undivided.map(|most| extensions.insert(Undivided(most)));
        Terms::of(&extensions, place, || owners, 10_000)
    }

    #[test]
    fn an_answer_ends_a_moment_before_its_time() {
        let until = |ends| terms(Some(ends), None, Place::Function, false).until;
        assert_eq!(
            [until(910_000), until(12_000), until(10_000), until(5)].map(Option::unwrap),
            [909_000, 11_500, 10_000, 5]
        );
        assert!(terms(None, None, Place::Process, true).are_none());
    }

    #[test]
    fn who_is_told_what_depends_on_who_holds_it() {
        let told = |undivided, place, owners| terms(None, undivided, place, owners).told;
        assert_eq!(told(None, Place::Process, true), Told::Everything);
        assert_eq!(told(None, Place::Isolate, true), Told::Everything);
        assert_eq!(told(None, Place::Isolate, false), Told::Nothing);
        assert_eq!(told(None, Place::Function, false), Told::OnItsStream);
        assert_eq!(told(Some(9), Place::Function, false), Told::Nothing);
    }
}
