//! Moments in RFC 3339.

use std::fmt;

use portcullis_core::calendar::{DAY, date};

/// An offset from UTC, less than a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    minutes: i64,
}

impl Offset {
    /// Parses `Z` or `+hh:mm`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "Z" {
            return Some(Self { minutes: 0 });
        }
        let (sign, digits) = match text.as_bytes().split_first()? {
            (b'+', digits) => (1, digits),
            (b'-', digits) => (-1, digits),
            _ => return None,
        };
        let [h1, h2, b':', m1, m2] = digits else { return None };
        let (hours, minutes) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?);
        (hours < 24 && minutes < 60).then_some(Self { minutes: sign * (hours * 60 + minutes) })
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.minutes {
            0 => return f.write_str("Z"),
            1.. => '+',
            _ => '-',
        };
        let minutes = self.minutes.abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A moment as clocks at an offset show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since 1970-01-01 00:00 at the offset.
    local: i64,
    offset: Offset,
}

impl Moment {
    /// Makes the moment so many seconds after 1970-01-01 00:00 UTC.
    pub(crate) fn at(unix_seconds: u64, offset: Offset) -> Self {
        // No clock shows what an `i64` cannot hold.
        let utc = i64::try_from(unix_seconds).unwrap_or_default();
        Self { local: utc.saturating_add(offset.minutes * 60), offset }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.local.div_euclid(DAY));
        let second = self.local.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{}", self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders() {
        check(0, "Z", "1970-01-01T00:00:00Z");
        check(951_782_400, "Z", "2000-02-29T00:00:00Z");
        check(951_868_799, "Z", "2000-02-29T23:59:59Z");
        check(951_868_800, "Z", "2000-03-01T00:00:00Z");
        check(1_785_196_800, "Z", "2026-07-28T00:00:00Z");
        check(4_107_542_400, "Z", "2100-03-01T00:00:00Z");
    }

    #[test]
    fn renders_at_an_offset() {
        check(0, "+05:30", "1970-01-01T05:30:00+05:30");
        check(0, "-00:01", "1969-12-31T23:59:00-00:01");
        check(0, "+00:00", "1970-01-01T00:00:00Z");
    }

    #[test]
    fn refuses_what_is_no_offset() {
        for text in ["", "z", "+2:00", "+0200", "02:00", "+24:00", "+00:60", "+aa:bb", "+02:00 ", "+é:00"] {
            assert_eq!(Offset::parse(text), None, "{text}");
        }
    }

    fn check(seconds: u64, offset: &str, expected: &str) {
        let moment = Moment::at(seconds, Offset::parse(offset).unwrap());
        assert_eq!(moment.to_string(), expected);
    }
}
