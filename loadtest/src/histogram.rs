//! A histogram of latencies with bounded relative error (the bucketing of HdrHistogram, Gil Tene).
//!
//! Values are microseconds. Below 256 every value has its own bucket; above, each power of two is cut into 128 buckets, so
//! that a reported quantile is at most 1/128 above the true one and never below it. Memory depends on the largest value
//! only, which makes one histogram for each client and kind of request cheap; [`Histogram::merge`] adds them up.

use std::time::Duration;

use serde::Serialize;

/// Values below `2^EXACT_BITS` are kept exactly.
const EXACT_BITS: u32 = 8;
const EXACT: usize = 1 << EXACT_BITS;
const PER_OCTAVE: usize = EXACT / 2;

/// Counts of microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    num_values: u64,
    sum_us: u64,
    max_us: u64,
}

/// What a histogram says, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Arithmetic mean.
    pub(crate) mean_ms: f64,
    /// Half of the requests took no longer.
    pub(crate) p50_ms: f64,
    /// Nine of ten took no longer.
    pub(crate) p90_ms: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99_ms: f64,
    /// 999 of 1,000 took no longer.
    pub(crate) p999_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(EXACT_BITS);
    if shift == 0 {
        return value as usize;
    }
    let mantissa = (value >> shift) as usize; // in PER_OCTAVE..EXACT
    EXACT + (shift as usize - 1) * PER_OCTAVE + mantissa - PER_OCTAVE
}

/// The largest value that falls into a bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < EXACT {
        return bucket as u64;
    }
    let shift = (bucket - EXACT) / PER_OCTAVE + 1;
    let mantissa = ((bucket - EXACT) % PER_OCTAVE + PER_OCTAVE) as u128;
    u64::try_from(((mantissa + 1) << shift) - 1).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Adds one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        self.record_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    fn record_us(&mut self, value: u64) {
        let bucket = bucket(value);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.num_values += 1;
        self.sum_us = self.sum_us.saturating_add(value);
        self.max_us = self.max_us.max(value);
    }

    /// Adds all values of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, count) in self.counts.iter_mut().zip(&other.counts) {
            *own += count;
        }
        self.num_values += other.num_values;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The nearest-rank quantile in microseconds; 0 without values.
    fn quantile_us(&self, share: f64) -> u64 {
        let rank = ((share * self.num_values as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(bucket).min(self.max_us);
            }
        }
        self.max_us
    }

    /// The usual quantiles.
    pub(crate) fn latency(&self) -> Latency {
        let at = |share| self.quantile_us(share) as f64 / 1e3;
        Latency {
            mean_ms: self.sum_us as f64 / self.num_values.max(1) as f64 / 1e3,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.max_us as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record_us(*value));
        histogram
    }

    #[test]
    fn small_values_are_exact_and_nothing_is_zero() {
        assert_eq!(Histogram::default().latency(), Latency::default());
        let histogram = of(&(1..=200).collect::<Vec<_>>());
        let got: Vec<u64> = [0.0, 0.5, 0.99, 1.0]
            .iter()
            .map(|q| histogram.quantile_us(*q))
            .collect();
        assert_eq!(got, [1, 100, 198, 200]);
    }

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for value in (0..100_000).chain([1 << 40, u64::MAX - 1]) {
            let here = bucket(value);
            assert!(upper_bound(here) >= value);
            assert!(here == 0 || upper_bound(here - 1) < value);
        }
        assert_eq!(upper_bound(bucket(u64::MAX)), u64::MAX);
    }

    proptest! {
        #[test]
        fn quantiles_agree_with_a_sorted_list(
            values in proptest::collection::vec(prop_oneof![0_u64..1000, 0_u64..100_000_000], 1..400),
            share in 0.0_f64..=1.0,
        ) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = ((share * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted[rank - 1];
            let got = of(&values).quantile_us(share);
            prop_assert!(got >= exact && got <= exact + exact / 128 + 1, "{got} for {exact}");
        }

        #[test]
        fn merging_equals_recording_everything(
            one in proptest::collection::vec(0_u64..1 << 40, 0..50),
            other in proptest::collection::vec(0_u64..1 << 40, 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }
    }
}
