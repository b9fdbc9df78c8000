//! Moments as RFC 3339 writes them, in UTC, to the millisecond (calendar arithmetic after Howard Hinnant's
//! `civil_from_days` and `days_from_civil`).

use std::fmt::Write as _;

const DAY: u64 = 86_400_000;

/// Appends a moment, which is milliseconds since the Unix epoch.
pub(super) fn write_time(out: &mut String, millis: u64) {
    let (days, of_day) = (millis / DAY, millis % DAY);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    write_day(out, days);
    let mut text = *b"T00:00:00.000Z";
    for (at, number) in [(1, hour), (4, minute), (7, second), (10, milli / 10)] {
        text[at..at + 2].copy_from_slice(&two(number));
    }
    text[12] = digit(milli);
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

/// Returns the two last decimal digits.
fn two(number: u64) -> [u8; 2] {
    [digit(number / 10), digit(number)]
}

/// Returns the last decimal digit.
fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// Returns the text of a moment, which is milliseconds since the Unix epoch.
pub fn time_text(millis: u64) -> String {
    let mut out = String::with_capacity(24);
    write_time(&mut out, millis);
    out
}

/// Returns the text of the day, in UTC, that a moment belongs to.
pub fn day(millis: u64) -> String {
    let mut out = String::with_capacity(10);
    write_day(&mut out, millis / DAY);
    out
}

/// Parses `2026-07-28` or `2026-07-28T12:00:00Z`, with a fraction of a second or without; nothing where it is neither,
/// is no date, or lies before 1970.
pub fn parse_time(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut of_day = time.split(':');
    let hour = number(of_day.next()?, 2)?;
    let minute = number(of_day.next()?, 2)?;
    let second = number(of_day.next().unwrap_or("00"), 2)?;
    let fraction: String = fraction.chars().chain("00".chars()).take(3).collect();
    let milli = number(&fraction, 3)?;
    let is_over = parts.next().is_some() || of_day.next().is_some();
    if is_over || hour > 23 || minute > 59 || second > 60 || !(1..=12).contains(&month) {
        return None;
    }
    let millis = days(year, month, day)? * DAY + hour * 3_600_000 + minute * 60_000 + second * 1000 + milli;
    (self::day(millis) == date || second == 60).then_some(millis)
}

/// A moment, as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// In milliseconds since the Unix epoch.
    At(u64),
    /// So many milliseconds ago.
    Ago(u64),
}

impl Moment {
    /// What is said of a text that is no moment.
    pub const EXPECTED: &str = "expected a date such as 2026-07-28, a moment such as 2026-07-28T12:00:00Z, or a time ago \
                                such as 24h";

    /// Parses a moment: a date, a moment in UTC, or how long ago it is in `s`, `m`, `h` or `d`.
    pub fn parse(text: &str) -> Option<Self> {
        parse_time(text).map(Self::At).or_else(|| {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => DAY,
                _ => return None,
            };
            Some(Self::Ago(number.parse::<u64>().ok()?.checked_mul(unit)?))
        })
    }

    /// Returns the moment in milliseconds since the Unix epoch.
    pub fn before(self, now: u64) -> u64 {
        match self {
            Self::At(moment) => moment,
            Self::Ago(past) => now.saturating_sub(past),
        }
    }
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Years begin in March here, so that the leap day is the last of its year, and come in eras of 400.
fn write_day(out: &mut String, day: u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let (month, next_year) = if from_march < 10 { (from_march + 3, 0) } else { (from_march - 9, 1) };
    let year = era * 400 + year_of_era + next_year;
    if year > 9999 {
        let _ = write!(out, "{}", year / 10_000);
    }
    let mut text = *b"0000-00-00";
    for (at, number) in [(0, year / 100), (2, year), (5, month), (8, day)] {
        text[at..at + 2].copy_from_slice(&two(number));
    }
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

/// Returns the days from the Unix epoch to a date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, from_march) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        let check = |text: &str, millis| {
            assert_eq!((parse_time(text), time_text(millis)), (Some(millis), text.to_owned()));
        };
        check("1970-01-01T00:00:00.000Z", 0);
        check("2024-02-29T23:59:59.999Z", 1_709_251_199_999);
        check("2100-03-01T00:00:00.001Z", 4_107_542_400_001);
        assert_eq!(parse_time("2024-02-29"), parse_time("2024-02-29T00:00:00Z"));
        assert_eq!(parse_time("2024-02-29T01:02"), None);
        for bad in ["", "2023-02-29", "2024-13-01", "1969-12-31", "2024-01-01T24:00:00Z", "2024-1-1", "x"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(millis in 0..4_000_000_000_000_u64) {
            prop_assert_eq!(parse_time(&time_text(millis)), Some(millis));
        }
    }
}
