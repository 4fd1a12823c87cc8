//! Times as the interface writes and reads them: stored in UTC, `2020-01-02 03:04:05.123456+00`.

use jiff::civil;
use jiff::tz::{Offset, TimeZone};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const WRITTEN: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]+00");

/// Milliseconds since 1970 as text; nothing for times before there were any.
pub fn written(ms: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    time.format(WRITTEN).ok()
}

/// A time in a filter: milliseconds since 1970, and whether it says parts of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub ms: i64,
    /// Compares to the second only, where it does not say more.
    pub to_the_second: bool,
}

/// Reads `YYYY-MM-DD`, `YYYYMMDD` or either with ` hh:mm:ss[.uuuuuu]`, in a zone. An offset written behind is not looked
/// at, as the interface has it.
pub fn read(text: &str, zone: &TimeZone) -> Option<Moment> {
    let text = text.trim();
    let (date, rest) = match text.find([' ', 'T']) {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    let clock = match rest.find(['+', '-', 'Z']) {
        Some(at) => &rest[..at],
        None => rest,
    };
    let date = read_date(date)?;
    let (time, fraction) = read_time(clock)?;
    // A time that a change of clocks skips or repeats is read as it was before the change.
    let time = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible();
    Some(Moment {
        ms: time.ok()?.as_millisecond(),
        to_the_second: !fraction,
    })
}

fn read_date(text: &str) -> Option<civil::Date> {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, month, day) = (&digits[..4], &digits[4..6], &digits[6..]);
    civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

fn read_time(text: &str) -> Option<(civil::Time, bool)> {
    if text.is_empty() {
        return Some((civil::Time::midnight(), false));
    }
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let digits: String = fraction.chars().take(6).collect();
    let micro = if digits.is_empty() {
        0
    } else {
        let scale = 10_i32.pow(6 - u32::try_from(digits.len()).ok()?);
        digits.parse::<i32>().ok()?.checked_mul(scale)?
    };
    let time = civil::Time::new(hour, minute, second, micro * 1000).ok()?;
    Some((time, !digits.is_empty()))
}

/// A zone by its offset, `+03:00`, `-4:00`, `+0530`, or by the name of a place, `Europe/Moscow`.
pub fn zone(text: &str) -> Option<TimeZone> {
    let text = text.trim();
    if matches!(text, "GMT" | "Z") {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return TimeZone::get(text).ok(),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() <= 2 => (rest, "0"),
        None => rest.split_at_checked(rest.len().checked_sub(2)?)?,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if !(0..=14).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some(offset.to_time_zone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_their_zone() {
        assert_eq!(
            written(1_577_934_245_123).as_deref(),
            Some("2020-01-02 03:04:05.123000+00")
        );
        assert_eq!(written(0).as_deref(), Some("1970-01-01 00:00:00.000000+00"));
    }

    #[test]
    fn times_are_read_in_their_zone() {
        let utc = "UTC";
        let moment = |ms, to_the_second| Some(Moment { ms, to_the_second });
        for (text, zone, expected) in [
            ("2020-01-02", utc, moment(1_577_923_200_000, true)),
            ("20200102", utc, moment(1_577_923_200_000, true)),
            ("2020-01-02 03:04:05", utc, moment(1_577_934_245_000, true)),
            ("2020-01-02 03:04:05.123", utc, moment(1_577_934_245_123, false)),
            ("2020-01-02 03:04:05.123456+00", utc, moment(1_577_934_245_123, false)),
            ("2020-01-02 06:04:05", "+03:00", moment(1_577_934_245_000, true)),
            // In winter and in summer time, and in the hour that there is twice.
            ("2020-01-02 06:04:05", "Europe/Moscow", moment(1_577_934_245_000, true)),
            ("2020-01-02 04:04:05", "Europe/Berlin", moment(1_577_934_245_000, true)),
            ("2020-07-02 05:04:05", "Europe/Berlin", moment(1_593_659_045_000, true)),
            ("2020-10-25 02:30:00", "Europe/Berlin", moment(1_603_585_800_000, true)),
            ("2020-13-02", utc, None),
            ("soon", utc, None),
            ("", utc, None),
        ] {
            let zone = super::zone(zone).expect("a zone");
            assert_eq!(read(text, &zone), expected, "{text}");
        }
    }

    #[test]
    fn zones_are_offsets() {
        for (text, seconds) in [
            ("+03:00", Some(10_800)),
            ("-4:00", Some(-14_400)),
            ("+0530", Some(19_800)),
            ("-12", Some(-43_200)),
            ("UTC", Some(0)),
            ("+99:00", None),
            ("Nowhere/City", None),
            ("", None),
        ] {
            let found = zone(text).and_then(|zone| zone.to_fixed_offset().ok());
            assert_eq!(found.map(Offset::seconds), seconds, "{text}");
        }
    }
}
