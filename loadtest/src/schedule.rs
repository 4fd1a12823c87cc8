//! When requests are to begin.
//!
//! *Open*: arrivals follow a fixed rate, whatever the server does; latency counts from the intended begin, so that a server
//! that stalls is charged for everybody who would have come meanwhile (no coordinated omission). *Closed*: each client sends
//! its next request when it has the answer to the last; the figure of interest is then throughput.

use std::time::Duration;

use clap::ValueEnum;
use septum_testkit::random::Random;

/// How arrivals of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// One every 1/rate seconds.
    Even,
    /// Independent of each other (exponential gaps), as many users together are.
    Poisson,
}

/// What decides when a request begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pacing {
    /// As fast as the answers come.
    Closed,
    /// At a rate of its own.
    Open {
        /// Requests in a second, above 0.
        rate: f64,
        /// How they are spread.
        arrivals: Arrivals,
        /// Seed of the gaps.
        seed: u64,
    },
}

impl Pacing {
    /// Intended begins of `num_requests` requests, counted from the start and never falling; `None` for a closed loop.
    pub(crate) fn begins(self, num_requests: usize) -> Option<Vec<Duration>> {
        let Self::Open { rate, arrivals, seed } = self else {
            return None;
        };
        let mut random = Random::new(seed, 0xA881);
        let mut at = 0.0_f64;
        let begins = (0..num_requests).map(|index| match arrivals {
            Arrivals::Even => Duration::from_secs_f64(index as f64 / rate),
            Arrivals::Poisson => {
                // 1 - unit() is above 0, so the logarithm is finite.
                at -= f64::from(1.0 - random.unit()).ln() / rate;
                Duration::from_secs_f64(at)
            }
        });
        Some(begins.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(arrivals: Arrivals, rate: f64, count: usize) -> Vec<Duration> {
        let pacing = Pacing::Open {
            rate,
            arrivals,
            seed: 3,
        };
        pacing.begins(count).unwrap()
    }

    #[test]
    fn even_arrivals_keep_their_distance() {
        let got = begins(Arrivals::Even, 4.0, 5);
        let expected: Vec<_> = [0, 250, 500, 750, 1000].map(Duration::from_millis).to_vec();
        assert_eq!(got, expected);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let got = begins(Arrivals::Poisson, 100.0, 20_000);
        assert!(got.is_sorted());
        let seconds = got.last().unwrap().as_secs_f64();
        assert!((seconds - 200.0).abs() < 6.0, "{seconds}");
        // Of exponential gaps 1/e = 36.8 % are longer than the mean.
        let num_long = got
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > Duration::from_millis(10))
            .count();
        assert!((7000..7700).contains(&num_long), "{num_long}");
        assert_eq!(got, begins(Arrivals::Poisson, 100.0, 20_000));
    }

    #[test]
    fn a_closed_loop_has_no_begins() {
        assert_eq!(Pacing::Closed.begins(3), None);
    }
}
