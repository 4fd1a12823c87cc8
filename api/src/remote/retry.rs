//! What an HTTP status means for the import, and how long to wait.

use std::time::Duration;

/// Longest wait between attempts, whatever the server asks for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Longest wait of our own accord.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What a status means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The body says what became of each instance (PS3.18 table 10.5.3-1).
    Answered,
    /// Try again later.
    Busy,
    /// Too much at once: try with less.
    TooLarge,
    /// Something in the batch displeases the server: find out what.
    Rejected,
    /// Nothing more can be sent; why.
    Fatal(String),
}

/// Judges a status of the store transaction.
pub(crate) fn judge(status: u16) -> Judgement {
    let fatal = |text: &str| Judgement::Fatal(format!("{text} (HTTP {status})"));
    match status {
        200 | 202 | 409 => Judgement::Answered,
        408 | 425 | 429 | 502 | 503 | 504 => Judgement::Busy,
        413 => Judgement::TooLarge,
        401 => fatal("the server does not accept these credentials: give --user and SEPTUM_PASSWORD"),
        403 => fatal("this user may not store here"),
        404 | 405 | 410 => fatal("there is no DICOMweb store service at this address"),
        507 => fatal("the server has no space left"),
        300..=399 => fatal("the server answers with a redirection, which is not followed: give its final address"),
        _ => Judgement::Rejected,
    }
}

/// How long to wait before attempt number `attempt + 1`: what the server asks for, else `base` doubled each time, at
/// most 30 s, less up to a quarter by chance, so that many clients do not return at once.
pub(crate) fn wait(attempt: u32, base: Duration, retry_after: Option<Duration>) -> Duration {
    if let Some(asked) = retry_after {
        return asked.min(WAIT_MAX);
    }
    let full = base.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX);
    let mut byte = [0];
    // Without randomness the full wait does as well.
    let _ = getrandom::fill(&mut byte);
    full - full / 4 * u32::from(byte[0]) / 255
}

/// Reads Retry-After (RFC 9110 section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = time::OffsetDateTime::parse(value, &time::format_description::well_known::Rfc2822).ok()?;
    Some(
        (date - time::OffsetDateTime::now_utc())
            .try_into()
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements() {
        for status in [200, 202, 409] {
            assert_eq!(judge(status), Judgement::Answered);
        }
        for status in [429, 503] {
            assert_eq!(judge(status), Judgement::Busy);
        }
        for status in [301, 401, 403, 404, 507] {
            assert!(matches!(judge(status), Judgement::Fatal(_)), "{status}");
        }
        for status in [400, 415, 500] {
            assert_eq!(judge(status), Judgement::Rejected);
        }
    }

    #[test]
    fn waits() {
        let base = Duration::from_millis(100);
        for attempt in [0, 3, 40, u32::MAX] {
            let full = base.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX);
            let wait = wait(attempt, base, None);
            assert!(wait <= full && wait >= full * 3 / 4, "{attempt}: {wait:?}");
        }
        assert_eq!(wait(0, base, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(wait(0, base, Some(Duration::from_secs(9999))), WAIT_MAX);
    }

    #[test]
    fn retry_after_forms() {
        assert_eq!(retry_after("12"), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }
}
