//! Byte permits: what keeps memory flat however much arrives.
//!
//! A pixel byte exists up to three times on its way (as received, encoded, sealed), so it costs [`PEAK_FACTOR`] permits.
//! An instance draws permits as its bytes arrive; a run takes its share along and gives it back when it is appended.
//!
//! Nobody can starve: an instance that gathers more than [`SMALL_BYTES_MAX`] needs the *large* permit first, of which
//! there are only as many as still fit when every other instance holds its small share. So whoever holds it can always
//! finish its unit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{EngineError, Result};
use crate::telemetry::Telemetry;

/// Copies of a pixel byte that exist at the same time.
const PEAK_FACTOR: usize = 3;

/// What an instance may gather without the large permit.
const SMALL_BYTES_MAX: usize = 1024 * 1024;

/// What an instance may gather with it: the longest unit and a chunk.
const LARGE_BYTES_MAX: usize = 65 * 1024 * 1024;

/// Permits are counted in units of this many bytes: a semaphore counts no more than fits a `u32` at once.
const GRAIN_BYTES: usize = 1024;

/// All permits.
pub struct Pool {
    permits: Arc<Semaphore>,
    large: Arc<Semaphore>,
    num_grains: usize,
    telemetry: Arc<Telemetry>,
}

/// What one instance holds.
pub struct Budget {
    pool: Arc<Pool>,
    held: Option<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
    gathered_bytes: usize,
    timeout: Duration,
}

/// A run's share; comes back when dropped.
pub struct Share {
    _permits: Option<OwnedSemaphorePermit>,
    _large: Option<OwnedSemaphorePermit>,
}

fn grains(bytes: usize) -> usize {
    (bytes * PEAK_FACTOR).div_ceil(GRAIN_BYTES)
}

impl Pool {
    /// A pool of `memory_bytes`; at least one large instance always fits beside `concurrent_instances` small ones.
    pub fn new(memory_bytes: usize, concurrent_instances: usize, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let small = grains(SMALL_BYTES_MAX) * concurrent_instances;
        let large = grains(LARGE_BYTES_MAX);
        let num_grains = (memory_bytes / GRAIN_BYTES).max(small + large);
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(num_grains)),
            large: Arc::new(Semaphore::new((num_grains - small) / large)),
            num_grains,
            telemetry,
        })
    }

    /// An empty budget whose waits end after `timeout`.
    pub fn open(self: &Arc<Self>, timeout: Duration) -> Budget {
        Budget {
            pool: Arc::clone(self),
            held: None,
            large: None,
            gathered_bytes: 0,
            timeout,
        }
    }

    /// Bytes' worth of permits that are out.
    pub fn bytes_out(&self) -> usize {
        (self.num_grains - self.permits.available_permits()) * GRAIN_BYTES
    }
}

impl Budget {
    /// Draws permits for `bytes` more.
    pub async fn draw(&mut self, bytes: usize) -> Result<()> {
        let overloaded = EngineError::Overloaded { retry_after_seconds: 5 };
        let pool = Arc::clone(&self.pool);
        let draw = async {
            if self.large.is_none() && self.gathered_bytes + bytes > SMALL_BYTES_MAX {
                self.large = Arc::clone(&pool.large).acquire_owned().await.ok();
            }
            let num = u32::try_from(grains(bytes)).unwrap_or(u32::MAX);
            Arc::clone(&pool.permits).acquire_many_owned(num).await.ok()
        };
        let Ok(Some(permits)) = tokio::time::timeout(self.timeout, draw).await else {
            return Err(overloaded);
        };
        match &mut self.held {
            Some(held) => held.merge(permits),
            None => self.held = Some(permits),
        }
        self.gathered_bytes += bytes;
        let free = pool.permits.available_permits() * GRAIN_BYTES;
        pool.telemetry
            .memory_permits_bytes
            .set(i64::try_from(free).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Gives a run of `bytes` its share. The large permit goes along, so that the next large unit waits until this one
    /// is appended.
    pub fn share(&mut self, bytes: usize) -> Share {
        self.gathered_bytes = self.gathered_bytes.saturating_sub(bytes);
        let permits = self.held.as_mut().and_then(|held| {
            let num = grains(bytes).min(held.num_permits());
            held.split(num)
        });
        let large = if self.gathered_bytes <= SMALL_BYTES_MAX {
            self.large.take()
        } else {
            None
        };
        Share {
            _permits: permits,
            _large: large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_comes_back_and_a_large_unit_always_fits() {
        let telemetry = Telemetry::new().expect("metrics register");
        let pool = Pool::new(0, 4, telemetry);
        let mut small: Vec<Budget> = (0..4).map(|_| pool.open(Duration::from_millis(50))).collect();
        for budget in &mut small {
            budget.draw(SMALL_BYTES_MAX).await.expect("small shares always fit");
        }
        let (first, rest) = small.split_at_mut(1);
        first[0]
            .draw(LARGE_BYTES_MAX - SMALL_BYTES_MAX)
            .await
            .expect("one large unit fits beside all small ones");
        assert!(
            rest[0].draw(1024 * 1024).await.is_err(),
            "a second large one has to wait"
        );
        let share = first[0].share(LARGE_BYTES_MAX);
        drop(share);
        rest[0]
            .draw(1024 * 1024)
            .await
            .expect("now it is the second one's turn");
        drop(small);
        assert_eq!(pool.bytes_out(), 0);
    }
}
