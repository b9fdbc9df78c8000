//! Durations, sizes and rates as they are written: a whole number and a unit.

use std::time::Duration;

use super::policy::Rate;

/// What a duration looks like.
pub(super) const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h)$";

/// What a size looks like, where it is a text.
pub(super) const SIZE_PATTERN: &str = "^[0-9]+ ?(B|KB|KiB|MB|MiB|GB|GiB)?$";

/// What a rate looks like.
pub(super) const RATE_PATTERN: &str = "^[0-9]+/(s|m|h|d)$";

/// What a number of days looks like.
pub(super) const DAYS_PATTERN: &str = "^[0-9]+d$";

/// Parses a duration such as `30s`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Writes a duration so that [`parse_duration`] reads it back, to the millisecond.
pub(super) fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis != 0 && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

/// Parses a size such as `8MiB`, or a number of bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes = match unit.trim_start() {
        "" | "B" => 1,
        "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// Writes a size so that [`parse_size`] reads it back.
pub(super) fn format_size(bytes: u64) -> String {
    for (unit, length) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes != 0 && bytes.is_multiple_of(length) {
            return format!("{}{unit}", bytes / length);
        }
    }
    format!("{bytes}B")
}

/// Parses a rate such as `60/m`.
pub(super) fn parse_rate(text: &str) -> Option<Rate> {
    let (number, unit) = split(text)?;
    let period = match unit {
        "/s" => Duration::from_secs(1),
        "/m" => Duration::from_mins(1),
        "/h" => Duration::from_hours(1),
        "/d" => Duration::from_hours(24),
        _ => return None,
    };
    Some(Rate { count: u32::try_from(number).ok()?, period })
}

/// Parses a number of days such as `30d`.
pub(super) fn parse_days(text: &str) -> Option<u32> {
    let (number, unit) = split(text)?;
    u32::try_from(number).ok().filter(|_| unit == "d")
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_mins(2)));
        for wrong in
            ["", "30", "s", "-1s", "1.5s", "30 s", "1d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_back() {
        for millis in [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }

    #[test]
    fn sizes_are_binary_or_decimal() {
        assert_eq!(parse_size("8MiB"), Some(8 << 20));
        assert_eq!(parse_size("8 MB"), Some(8_000_000));
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("8mib"), None);
        assert_eq!(parse_size("99999999999GiB"), None);
    }

    #[test]
    fn rates_are_of_a_second_a_minute_an_hour_or_a_day() {
        let rate = |text| parse_rate(text).map(|rate| (rate.count, rate.period.as_secs()));
        assert_eq!(rate("5/s"), Some((5, 1)));
        assert_eq!(rate("60/m"), Some((60, 60)));
        assert_eq!(rate("1/h"), Some((1, 3600)));
        assert_eq!(rate("7/d"), Some((7, 86_400)));
        for wrong in ["", "5", "/m", "5/", "5 /m", "5/ms", "5/m ", "-5/m", "4294967296/s"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_are_whole() {
        assert_eq!(parse_days("30d"), Some(30));
        for wrong in ["", "d", "30", "30h", "1.5d", "30 d", "4294967296d"] {
            assert_eq!(parse_days(wrong), None, "{wrong}");
        }
    }
}
