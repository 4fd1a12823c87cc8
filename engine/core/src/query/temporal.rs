//! Dates, times and moments, and ranges of them (PS3.5 section 6.2, PS3.4 section C.2.2.2.5).

/// Inclusive bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range<T> {
    pub(super) from: T,
    pub(super) to: T,
    pub(super) form: Form,
}

/// How a range was written (PS3.4 section C.2.2.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// One value, no hyphen.
    Single,
    /// `a-b`
    Between,
    /// `-b`
    UpTo,
    /// `a-`
    From,
}

impl<T: PartialOrd> Range<T> {
    pub(super) fn contains(&self, value: &T) -> bool {
        self.from <= *value && *value <= self.to
    }
}

pub(super) const DAY_US: u64 = 86_400_000_000;

/// Digits only, all of them.
fn number(text: &str) -> Option<u32> {
    (!text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn year_month_day(year: &str, month: &str, day: &str) -> Option<u32> {
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(year * 10_000 + month * 100 + day)
}

/// A date as the number YYYYMMDD. Reads `YYYYMMDD`, and `YYYY.MM.DD` and `YYYY-MM-DD` as old writers left it.
pub(super) fn date(text: &str) -> Option<u32> {
    let text = text.trim();
    if !text.is_ascii() {
        return None;
    }
    match text.len() {
        8 => year_month_day(&text[..4], &text[4..6], &text[6..]),
        10 if matches!((&text[4..5], &text[7..8]), ("." | "-", "." | "-")) => {
            year_month_day(&text[..4], &text[5..7], &text[8..])
        }
        _ => None,
    }
}

/// `YYYYMMDD`, `YYYYMMDD-`, `-YYYYMMDD` or `YYYYMMDD-YYYYMMDD`.
pub(super) fn date_range(text: &str) -> Option<Range<u32>> {
    let one = |text: &str| if text.trim().len() == 8 { date(text) } else { None };
    match text.split_once('-') {
        None => one(text).map(|date| Range {
            from: date,
            to: date,
            form: Form::Single,
        }),
        Some((from, to)) => bounds(from, to, 0, u32::MAX, one, one),
    }
}

fn bounds<T>(
    from: &str,
    to: &str,
    lowest: T,
    highest: T,
    lower: impl Fn(&str) -> Option<T>,
    upper: impl Fn(&str) -> Option<T>,
) -> Option<Range<T>> {
    let (from, to) = (from.trim(), to.trim());
    let form = match (from.is_empty(), to.is_empty()) {
        (true, true) => return None,
        (true, false) => Form::UpTo,
        (false, true) => Form::From,
        (false, false) => Form::Between,
    };
    let from = if from.is_empty() { lowest } else { lower(from)? };
    let to = if to.is_empty() { highest } else { upper(to)? };
    Some(Range { from, to, form })
}

/// The first and the last microsecond of the day that a time could mean. Reads `HH`, `HHMM`, `HHMMSS` and
/// `HHMMSS.F` to `HHMMSS.FFFFFF`, with colons as old writers left them.
pub(super) fn time(text: &str) -> Option<(u64, u64)> {
    let text = text.trim().replace(':', "");
    let (clock, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if !clock.is_ascii() || !matches!(clock.len(), 2 | 4 | 6) || (!fraction.is_empty() && clock.len() != 6) {
        return None;
    }
    let part = |at: usize, max: u32| match clock.get(at..at + 2) {
        None => Some(0),
        Some(digits) => number(digits).filter(|&value| value <= max).map(u64::from),
    };
    let seconds = part(0, 23)? * 3600 + part(2, 59)? * 60 + part(4, 60)?;
    if fraction.is_empty() {
        let precision_s = [3600, 60, 1][clock.len() / 2 - 1];
        return Some((seconds * 1_000_000, (seconds + precision_s) * 1_000_000 - 1));
    }
    if fraction.len() > 6 {
        return None;
    }
    let unit = 10_u64.pow(6 - fraction.len() as u32);
    let first = seconds * 1_000_000 + u64::from(number(fraction)?) * unit;
    Some((first, first + unit - 1))
}

/// A time or a range of times, in microseconds since midnight.
pub(super) fn time_range(text: &str) -> Option<Range<u64>> {
    match text.split_once('-') {
        None => time(text).map(|(from, to)| Range {
            from,
            to,
            form: Form::Single,
        }),
        Some((from, to)) => bounds(from, to, 0, u64::MAX, |t| Some(time(t)?.0), |t| Some(time(t)?.1)),
    }
}

/// Days since 1970-01-01 in the Gregorian calendar, by Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The microsecond since 1970 at which a day (YYYYMMDD) starts, in its own time zone.
pub(super) fn day_start_us(date: u32) -> i64 {
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    days(year.into(), month.into(), day.into()) * DAY_US as i64
}

/// An offset from UTC, in minutes: `+HHMM` or `-HHMM`, -1200 to +1400 (PS3.5 section 6.2). A plus sign that a form's
/// encoding turned into a space may be missing.
pub(super) fn offset_minutes(text: &str) -> Option<i32> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.len() != 4 || !digits.is_ascii() {
        return None;
    }
    let (hours, minutes) = (number(&digits[..2])?, number(&digits[2..])?);
    let offset = sign * i32::try_from(hours * 60 + minutes).ok()?;
    (minutes < 60 && (-720..=840).contains(&offset)).then_some(offset)
}

/// The first and the last microsecond since 1970 that a DT value could mean. `default_minutes` is the offset from UTC
/// of a value that names none.
pub(super) fn moment(text: &str, default_minutes: i32) -> Option<(i64, i64)> {
    let text = text.trim();
    if !text.is_ascii() {
        return None;
    }
    let (local, minutes) = match text.rfind(['+', '-', ' ']) {
        Some(at) if at >= 4 => (&text[..at], offset_minutes(&text[at..])?),
        _ => (text, default_minutes),
    };
    let offset_s = i64::from(minutes) * 60;
    let (date, clock) = local.split_at(local.len().min(8));
    if !matches!(date.len(), 4 | 6 | 8) {
        return None;
    }
    let part = |at: usize, length: usize, missing: u32| match date.get(at..at + length) {
        None => Some(missing),
        Some(digits) => number(digits),
    };
    let (year, month, day) = (
        i64::from(part(0, 4, 0)?),
        i64::from(part(4, 2, 1)?),
        i64::from(part(6, 2, 1)?),
    );
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let first_day = days(year, month, day);
    let next_day = match date.len() {
        4 => days(year + 1, 1, 1),
        6 => days(year + month / 12, month % 12 + 1, 1),
        _ => first_day + 1,
    };
    let (first, last) = if clock.is_empty() {
        (0, (next_day - first_day) as u64 * DAY_US - 1)
    } else {
        time(clock)?
    };
    let start = first_day * DAY_US as i64 - offset_s * 1_000_000;
    Some((start + first as i64, start + last as i64))
}

/// A moment or a range of moments, in microseconds since 1970; `default_minutes` as for [`moment`].
pub(super) fn moment_range(text: &str, default_minutes: i32) -> Option<Range<i64>> {
    let text = text.trim();
    let moment = |text: &str| moment(text, default_minutes);
    match range_hyphen(text) {
        None => moment(text).map(|(from, to)| Range {
            from,
            to,
            form: Form::Single,
        }),
        Some(at) => {
            let (from, to) = (&text[..at], &text[at + 1..]);
            bounds(
                from,
                to,
                i64::MIN,
                i64::MAX,
                |t| Some(moment(t)?.0),
                |t| Some(moment(t)?.1),
            )
        }
    }
}

/// The hyphen that makes a range. A hyphen with four digits up to 1200 behind it, and no more digits, is an offset
/// from UTC (PS3.5 section 6.2: offsets go from -1200 to +1400), unless nothing stands before it.
fn range_hyphen(text: &str) -> Option<usize> {
    text.bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'-')
        .map(|(at, _)| at)
        .find(|&at| {
            let digits: String = text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
            let is_offset = at >= 4 && digits.len() == 4 && digits.parse::<u32>().is_ok_and(|offset| offset <= 1200);
            !is_offset
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (text, expected) in [
            ("20200131", Some((20200131, 20200131))),
            ("20200101-20200131", Some((20200101, 20200131))),
            ("-20200131", Some((0, 20200131))),
            ("20200101-", Some((20200101, u32::MAX))),
            ("-", None),
            ("", None),
            ("2020", None),
            ("20201301", None),
            ("2020-01-01", None),
            ("202001é", None),
        ] {
            assert_eq!(date_range(text).map(|r| (r.from, r.to)), expected, "{text}");
        }
        assert_eq!(
            (date("2020.01.31"), date("2020-01-31"), date("2020/01/31")),
            (Some(20200131), Some(20200131), None)
        );
    }

    #[test]
    fn times() {
        const S: u64 = 1_000_000;
        for (text, expected) in [
            ("10", Some((36_000 * S, 39_600 * S - 1))),
            ("1030", Some((37_800 * S, 37_860 * S - 1))),
            ("103001", Some((37_801 * S, 37_802 * S - 1))),
            ("103001.5", Some((37_801 * S + 500_000, 37_801 * S + 599_999))),
            ("10:30:01.123456", Some((37_801 * S + 123_456, 37_801 * S + 123_456))),
            ("24", None),
            ("1", None),
            ("10.5", None),
            ("103001.", Some((37_801 * S, 37_802 * S - 1))),
            ("103001.1234567", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        assert_eq!(
            time_range("10-11").map(|r| (r.from, r.to)),
            Some((36_000 * S, 43_200 * S - 1))
        );
        assert_eq!(time_range("-").map(|r| r.from), None);
    }

    #[test]
    fn moments() {
        const S: i64 = 1_000_000;
        for (text, expected) in [
            ("19700101000000", Some((0, S - 1))),
            ("19700101000000+0100", Some((-3600 * S, -3600 * S + S - 1))),
            ("19700101000000-0100", Some((3600 * S, 3600 * S + S - 1))),
            ("1970", Some((0, 365 * 86_400 * S - 1))),
            ("197002", Some((31 * 86_400 * S, 59 * 86_400 * S - 1))),
            ("196912", Some((-31 * 86_400 * S, -1))),
            ("20000301", Some((951_868_800 * S, 951_955_200 * S - 1))),
            ("19700101-19700102", Some((0, 2 * 86_400 * S - 1))),
            ("-1970", Some((i64::MIN, 365 * 86_400 * S - 1))),
            ("1970-", Some((0, i64::MAX))),
            ("1970-1970", Some((0, 365 * 86_400 * S - 1))),
            (
                "19700101000000-0100-19700101000000-0100",
                Some((3600 * S, 3600 * S + S - 1)),
            ),
            ("197013", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(moment_range(text, 0).map(|r| (r.from, r.to)), expected, "{text}");
        }
        assert_eq!(moment("19700101010000", 60), Some((0, S - 1)));
        assert_eq!(
            moment("19700101010000 0100", 0),
            Some((0, S - 1)),
            "a decoded plus sign"
        );
        assert_eq!(day_start_us(19700102), 86_400 * S);
    }

    #[test]
    fn offsets() {
        for (text, expected) in [
            ("+0100", Some(60)),
            (" 0530 ", Some(330)),
            ("-1200", Some(-720)),
            ("+1400", Some(840)),
            ("+1401", None),
            ("-1201", None),
            ("+0060", None),
            ("+100", None),
            ("+01é", None),
            ("", None),
        ] {
            assert_eq!(offset_minutes(text), expected, "{text}");
        }
    }
}
