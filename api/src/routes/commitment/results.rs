//! Results that can be had again for a while: in memory, bounded, the oldest go first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use septum_core::ids::{Uid, UserId};

/// How long a result is kept.
const KEPT: Duration = Duration::from_secs(3600);
/// Most results that are kept.
const RESULTS_MAX: usize = 256;
/// Longest result that is kept, in bytes of JSON.
const RESULT_BYTES_MAX: usize = 256 << 10;

/// A result.
struct Result {
    user: UserId,
    transaction: Uid,
    since: Instant,
    /// JSON text; `None` where it is too long to be kept.
    text: Option<Arc<str>>,
}

/// Results that can be had again.
#[derive(Default)]
pub struct Commitments(Mutex<VecDeque<Result>>);

impl Commitments {
    /// The result of a transaction: `None` for an unknown one.
    pub(super) fn get(&self, user: UserId, transaction: &Uid) -> Option<Option<Arc<str>>> {
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while results.front().is_some_and(|result| result.since.elapsed() > KEPT) {
            results.pop_front();
        }
        results
            .iter()
            .find(|result| result.user == user && result.transaction == *transaction)
            .map(|result| result.text.clone())
    }

    /// Notes the result of a transaction.
    pub(super) fn put(&self, user: UserId, transaction: Uid, text: &str) {
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() >= RESULTS_MAX {
            results.pop_front();
        }
        results.push_back(Result {
            user,
            transaction,
            since: Instant::now(),
            text: (text.len() <= RESULT_BYTES_MAX).then(|| text.into()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_bounded_and_their_owners() {
        let (results, user) = (Commitments::default(), UserId::random());
        let uid = |number: usize| Uid::parse(&format!("1.2.{number}")).expect("a UID");
        for number in 0..=RESULTS_MAX {
            results.put(user, uid(number), "{}");
        }
        assert_eq!(results.get(user, &uid(0)), None);
        assert_eq!(results.get(user, &uid(1)), Some(Some("{}".into())));
        assert_eq!(results.get(UserId::random(), &uid(1)), None);
        results.put(user, uid(1000), &"x".repeat(RESULT_BYTES_MAX + 1));
        assert_eq!(results.get(user, &uid(1000)), Some(None));
    }
}
