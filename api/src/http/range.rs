//! Range requests (RFC 9110 section 14): one range of bytes.

use std::ops::Range;

use actix_web::HttpRequest;
use actix_web::http::{Method, header};

/// What part of a representation is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All of it: no range, one that is not understood, or of another version.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Nothing of it: 416.
    Nothing,
}

/// What a request asks for of `length` bytes whose validator is `etag`.
pub fn asked(request: &HttpRequest, length: u64, etag: &str) -> Asked {
    // Section 14.2: for GET alone.
    if request.method() != Method::GET {
        return Asked::Whole;
    }
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(header::RANGE) else {
        return Asked::Whole;
    };
    if text(header::IF_RANGE).is_some_and(|known| !is_same(known.trim(), etag)) {
        return Asked::Whole;
    }
    parse(range, length)
}

/// Parts of one whole may only be put together under a strong validator (section 13.1.5).
fn is_same(known: &str, etag: &str) -> bool {
    known == etag && !etag.starts_with("W/")
}

fn parse(range: &str, length: u64) -> Asked {
    let Some((first, last)) = range
        .trim()
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        text.bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| text.parse::<u64>())
    };
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(Ok(0)) => Asked::Nothing,
            Some(Ok(_)) if length == 0 => Asked::Nothing,
            Some(Ok(suffix)) => Asked::Part(length.saturating_sub(suffix)..length),
            _ => Asked::Whole,
        },
        (first, last) => {
            let end = if last.is_empty() {
                Some(Ok(u64::MAX))
            } else {
                number(last)
            };
            match (number(first), end) {
                (Some(Ok(first)), Some(Ok(last))) if first > last => Asked::Whole,
                (Some(Ok(first)), Some(Ok(_))) if first >= length => Asked::Nothing,
                (Some(Ok(first)), Some(Ok(last))) => Asked::Part(first..last.saturating_add(1).min(length)),
                _ => Asked::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_whole_have_a_strong_validator() {
        for (known, etag, expected) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "W/\"a\"", false),
            ("\"a\"", "W/\"a\"", false),
            ("W/\"a\"", "\"a\"", false),
            ("\"b\"", "\"a\"", false),
            ("Thu, 01 Jan 2026 00:00:00 GMT", "\"a\"", false),
        ] {
            assert_eq!(is_same(known, etag), expected, "{known} {etag}");
        }
    }

    #[test]
    fn ranges_are_understood() {
        for (range, expected) in [
            ("bytes=0-9", Asked::Part(0..10)),
            ("bytes=90-", Asked::Part(90..100)),
            ("bytes=90-1000", Asked::Part(90..100)),
            ("bytes=-5", Asked::Part(95..100)),
            ("bytes=-500", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("frames=1-2", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
        ] {
            assert_eq!(parse(range, 100), expected, "{range}");
        }
        assert_eq!(parse("bytes=-5", 0), Asked::Nothing);
        assert_eq!(parse("bytes=0-", 0), Asked::Nothing);
    }
}
