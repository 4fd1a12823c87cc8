//! Byte permits: what keeps memory flat however much arrives.
//!
//! A pixel byte exists up to three times on its way (as received, encoded, sealed), so it costs [`PEAK_FACTOR`] permits.
//! An instance draws permits as its bytes arrive; a run takes its share along and gives it back when it is appended.
//!
//! Nobody can starve: an instance that gathers more than [`SMALL_BYTES_MAX`] reserves room for its whole unit first, out
//! of what is left when every other instance holds its small share. So whoever has a reservation can always finish its
//! unit, and as many large units gather at the same time as fit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{EngineError, Result};
use crate::telemetry::Telemetry;

/// Copies of a pixel byte that exist at the same time.
const PEAK_FACTOR: usize = 3;

/// What an instance may gather without a reservation.
const SMALL_BYTES_MAX: usize = 256 * 1024;

/// What an instance may gather with one: the longest unit and a chunk.
const LARGE_BYTES_MAX: usize = 65 * 1024 * 1024;

/// Permits are counted in units of this many bytes: a semaphore counts no more than fits a `u32` at once.
const GRAIN_BYTES: usize = 1024;

/// All permits.
pub struct Pool {
    permits: Arc<Semaphore>,
    reservations: Arc<Semaphore>,
    num_grains: usize,
    telemetry: Arc<Telemetry>,
}

/// What one instance holds.
pub struct Budget {
    pool: Arc<Pool>,
    held: Option<OwnedSemaphorePermit>,
    reserved: Option<OwnedSemaphorePermit>,
    gathered_bytes: usize,
    timeout: Duration,
}

/// A run's share; comes back when dropped.
pub struct Share {
    pool: Arc<Pool>,
    permits: Option<OwnedSemaphorePermit>,
    reserved: Option<OwnedSemaphorePermit>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.permits = None;
        self.reserved = None;
        self.pool.show();
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.held = None;
        self.reserved = None;
        self.pool.show();
    }
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
        let pool = Arc::new(Self {
            permits: Arc::new(Semaphore::new(num_grains)),
            reservations: Arc::new(Semaphore::new(num_grains - small)),
            num_grains,
            telemetry,
        });
        pool.show();
        pool
    }

    /// An empty budget whose waits end after `timeout`.
    pub fn open(self: &Arc<Self>, timeout: Duration) -> Budget {
        Budget {
            pool: Arc::clone(self),
            held: None,
            reserved: None,
            gathered_bytes: 0,
            timeout,
        }
    }

    fn show(&self) {
        let free = self.permits.available_permits() * GRAIN_BYTES;
        self.telemetry
            .memory_permits_bytes
            .set(i64::try_from(free).unwrap_or(i64::MAX));
    }

    /// Bytes' worth of permits that are out.
    pub fn bytes_out(&self) -> usize {
        (self.num_grains - self.permits.available_permits()) * GRAIN_BYTES
    }
}

impl Budget {
    /// Draws permits for `bytes` more of a unit that will have `unit_bytes`, where that is known.
    pub async fn draw(&mut self, bytes: usize, unit_bytes: Option<u64>) -> Result<()> {
        let overloaded = EngineError::Overloaded { retry_after_seconds: 5 };
        let pool = Arc::clone(&self.pool);
        let gathered_bytes = self.gathered_bytes + bytes;
        let draw = async {
            if self.reserved.is_none() && gathered_bytes > SMALL_BYTES_MAX {
                let unit = unit_bytes
                    .and_then(|unit| usize::try_from(unit).ok())
                    .unwrap_or(LARGE_BYTES_MAX);
                let room = unit.saturating_add(gathered_bytes).min(LARGE_BYTES_MAX);
                let num = u32::try_from(grains(room)).unwrap_or(u32::MAX);
                self.reserved = Arc::clone(&pool.reservations).acquire_many_owned(num).await.ok();
            }
            // Counted from the whole, so that rounding does not add up over thousands of pieces.
            let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let num = u32::try_from(grains(gathered_bytes).saturating_sub(held)).unwrap_or(u32::MAX);
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
        pool.show();
        Ok(())
    }

    /// Gives a run of `bytes` its share. A reservation goes along, so that the next large unit waits until this one is
    /// appended.
    pub fn share(&mut self, bytes: usize) -> Share {
        self.gathered_bytes = self.gathered_bytes.saturating_sub(bytes);
        let keep = grains(self.gathered_bytes);
        let permits = self
            .held
            .as_mut()
            .and_then(|held| held.split(held.num_permits().saturating_sub(keep)));
        let reserved = if self.gathered_bytes <= SMALL_BYTES_MAX {
            self.reserved.take()
        } else {
            None
        };
        Share {
            pool: Arc::clone(&self.pool),
            permits,
            reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn everything_comes_back_and_a_large_unit_always_fits() {
        let telemetry = Telemetry::new().expect("metrics register");
        let pool = Pool::new(0, 4, telemetry);
        let mut small: Vec<Budget> = (0..4).map(|_| pool.open(Duration::from_millis(50))).collect();
        for budget in &mut small {
            budget
                .draw(SMALL_BYTES_MAX, None)
                .await
                .expect("small shares always fit");
        }
        let (first, rest) = small.split_at_mut(1);
        first[0]
            .draw(LARGE_BYTES_MAX - SMALL_BYTES_MAX, None)
            .await
            .expect("one large unit fits beside all small ones");
        assert!(rest[0].draw(MIB, None).await.is_err(), "a second large one has to wait");
        let share = first[0].share(LARGE_BYTES_MAX);
        drop(share);
        rest[0].draw(MIB, None).await.expect("now it is the second one's turn");
        drop(small);
        assert_eq!(pool.bytes_out(), 0);
    }

    #[tokio::test]
    async fn units_of_known_size_reserve_no_more_than_they_need() {
        let pool = Pool::new(0, 4, Telemetry::new().expect("metrics register"));
        let mut budgets: Vec<Budget> = (0..4).map(|_| pool.open(Duration::from_millis(50))).collect();
        for budget in &mut budgets {
            budget
                .draw(MIB, Some(8 * MIB as u64))
                .await
                .expect("four units of 8 MiB gather side by side");
        }
    }

    #[tokio::test]
    async fn rounding_does_not_add_up() {
        let pool = Pool::new(0, 1, Telemetry::new().expect("metrics register"));
        let mut budget = pool.open(Duration::from_millis(50));
        for _ in 0..1_000_000 {
            budget.draw(1, None).await.expect("a byte at a time");
            drop(budget.share(1));
        }
        assert_eq!(pool.bytes_out(), 0);
    }
}
