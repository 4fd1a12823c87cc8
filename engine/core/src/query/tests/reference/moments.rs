//! Dates, times and moments as numbers, in the plainest way.

/// The ends of a range; a value alone is both. Offsets from UTC in the tests are positive.
pub(super) fn ends(text: &str) -> (Option<&str>, Option<&str>) {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let end = |text: &'_ str| !text.trim().is_empty();
    (
        Some(from.trim()).filter(|text| end(text)),
        Some(to.trim()).filter(|text| end(text)),
    )
}

pub(super) fn offset(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits: i64 = text[1..].parse().ok()?;
    let minutes = digits / 100 * 60 + digits % 100;
    Some(if text.starts_with('-') { -minutes } else { minutes })
}

/// Days since the year 1.
pub(super) fn day(text: &str) -> Option<i64> {
    let digits = text.replace('.', "");
    if digits.len() != 8 {
        return None;
    }
    let (year, month, day) = (
        digits[..4].parse().ok()?,
        digits[4..6].parse::<usize>().ok()?,
        digits[6..].parse::<i64>().ok()?,
    );
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let years: i64 = (1..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let lengths = [
        31,
        if is_leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let months: i64 = (0..month - 1).map(|month| lengths[month]).sum();
    Some(years + months + day)
}

/// Microseconds of the day that a time means first, or last.
pub(super) fn clock(text: &str, last: bool) -> Option<i64> {
    let digits = text.replace(['.', ':'], "");
    if digits.len() % 2 == 1 && digits.len() < 6 || digits.chars().any(|letter| !letter.is_ascii_digit()) {
        return None;
    }
    let fill = if last { "235959999999" } else { "000000000000" };
    let digits = format!("{digits}{}", &fill[digits.len()..]);
    let part = |from: usize, to: usize| digits[from..to].parse::<i64>().expect("digits");
    Some(((part(0, 2) * 60 + part(2, 4)) * 60 + part(4, 6)) * 1_000_000 + part(6, 12))
}

/// Microseconds since the year 1, in UTC, that a moment means first, or last.
pub(super) fn moment(text: &str, default_minutes: i64, last: bool) -> i64 {
    let (local, minutes) = match text.find('+') {
        Some(at) => (&text[..at], offset(&text[at..]).expect("an offset")),
        None => (text, default_minutes),
    };
    let digits = local.replace('.', "");
    let fill = if last {
        "99991231235959999999"
    } else {
        "00000101000000000000"
    };
    let digits = format!("{digits}{}", &fill[digits.len()..]);
    let time = clock(&digits[8..], last).expect("a time");
    day(&digits[..8]).expect("a date") * 86_400_000_000 + time - minutes * 60_000_000
}
