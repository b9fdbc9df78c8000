//! How long is waited before something is tried again: each time twice as long, up to a longest wait. Pure.

use std::time::Duration;

/// Waits that grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
}

/// The waits before a server is turned to again: 1 s, 2 s, 4 s ... 60 s.
pub(crate) const BEFORE_A_SERVER: Pauses = Pauses::new(Duration::from_secs(1), Duration::from_mins(1));

impl Pauses {
    /// Returns waits from `first` to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the wait that comes after so many others.
    pub(crate) fn after(self, others: u32) -> Duration {
        self.first.saturating_mul(2u32.saturating_pow(others)).min(self.longest)
    }

    /// Returns the same in milliseconds.
    pub(crate) fn millis_after(self, others: u32) -> u64 {
        u64::try_from(self.after(others).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_twice_as_long_up_to_the_longest() {
        let seconds: Vec<_> = (0..8).map(|others| BEFORE_A_SERVER.after(others).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(BEFORE_A_SERVER.millis_after(u32::MAX), 60_000);
    }
}
