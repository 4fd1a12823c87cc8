//! How often one address may fail to sign in: a bucket of attempts that fills again slowly.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Instant;

/// Failures in a row before attempts are refused.
const BURST: f64 = 20.0;
/// Attempts that come back each second.
const REFILL_PER_SECOND: f64 = 0.2;
/// Addresses kept in mind.
const ADDRESSES_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Limiter {
    failures: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

/// Of an IPv6 address the network of 64 bits counts: one host has all of it.
fn bucket_of(address: Option<IpAddr>) -> IpAddr {
    match address {
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V6(v6)) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        Some(v4) => v4,
    }
}

fn level(entry: (f64, Instant), now: Instant) -> f64 {
    (entry.0 - now.duration_since(entry.1).as_secs_f64() * REFILL_PER_SECOND).max(0.0)
}

impl Limiter {
    pub(super) fn may_try(&self, address: Option<IpAddr>) -> bool {
        let failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures
            .get(&bucket_of(address))
            .is_none_or(|entry| level(*entry, Instant::now()) < BURST)
    }

    pub(super) fn note_failure(&self, address: Option<IpAddr>) {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, entry| level(*entry, now) > 0.0);
            if failures.len() >= ADDRESSES_MAX {
                failures.clear();
            }
        }
        let entry = failures.entry(bucket_of(address)).or_insert((0.0, now));
        *entry = (level(*entry, now) + 1.0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_down_by_address() {
        let limiter = Limiter::default();
        let address = |text: &str| Some(text.parse().expect("an address"));
        for _ in 0..21 {
            limiter.note_failure(address("2001:db8::1"));
        }
        assert!(!limiter.may_try(address("2001:db8::2")));
        assert!(limiter.may_try(address("2001:db8:0:1::1")));
        assert!(limiter.may_try(address("192.0.2.1")));
        assert!(limiter.may_try(None));
    }
}
