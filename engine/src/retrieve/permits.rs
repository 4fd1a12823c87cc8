//! Byte permits of the read path, apart from those of ingest: neither side can starve the other (invariant 6).
//!
//! A unit's bytes hold permits for as long as anybody holds the bytes, so a slow client holds its own few pieces and no
//! more. No piece costs more than a quarter of the pool: one held back, one queued, one being sent and one being read
//! always fit. Permits for a piece are taken at once: who holds some of them and waits for more could wait for ever.
//!
//! A piece that is much more than it costs would cross the limit all the same, so what must be whole in memory has one of
//! its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{EngineError, Result};
use crate::services::now_ms;

/// Permits are counted in units of this many bytes.
const GRAIN_BYTES: usize = 1024;

/// Most bytes that are handed out as one piece, such as a frame, and never more than the pool has.
const WHOLE_BYTES_MAX: u64 = 256 << 20;

/// How long a read waits for its turn.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The pool.
pub struct ReadPermits {
    permits: Arc<Semaphore>,
    num_grains: usize,
    last_ms: AtomicI64,
}

/// Permits for one unit.
pub struct ReadPermit {
    _permits: OwnedSemaphorePermit,
}

struct Held {
    bytes: Bytes,
    _permit: ReadPermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ReadPermits {
    /// A pool of `memory_bytes`.
    pub fn new(memory_bytes: usize) -> Self {
        let num_grains = (memory_bytes / GRAIN_BYTES).max(4);
        Self {
            permits: Arc::new(Semaphore::new(num_grains)),
            num_grains,
            last_ms: AtomicI64::new(0),
        }
    }

    /// Whether somebody read within that time: background work stands back.
    pub fn were_asked_within(&self, time: Duration) -> bool {
        let age_ms = now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed));
        u128::try_from(age_ms).is_ok_and(|age_ms| age_ms < time.as_millis())
    }

    /// Refuses what is too long to be whole in memory.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`], saying so.
    pub fn check_whole(&self, bytes: u64) -> Result<()> {
        let limit = WHOLE_BYTES_MAX.min((self.num_grains * GRAIN_BYTES) as u64);
        if bytes <= limit {
            return Ok(());
        }
        Err(EngineError::NotAcceptable(format!(
            "a frame of {bytes} bytes is not sent in one piece, which has {limit} at most: ask for the whole instance"
        )))
    }

    /// Waits for permits for `bytes`.
    pub async fn acquire(&self, bytes: u64) -> Result<ReadPermit> {
        self.last_ms.store(now_ms(), Ordering::Relaxed);
        let grains = usize::try_from(bytes.div_ceil(GRAIN_BYTES as u64)).unwrap_or(usize::MAX);
        let grains = u32::try_from(grains.clamp(1, self.num_grains / 4)).unwrap_or(u32::MAX);
        match tokio::time::timeout(TIMEOUT, Arc::clone(&self.permits).acquire_many_owned(grains)).await {
            Ok(Ok(permits)) => Ok(ReadPermit { _permits: permits }),
            Ok(Err(_)) | Err(_) => Err(EngineError::Overloaded { retry_after_seconds: 5 }),
        }
    }
}

impl ReadPermit {
    /// Ties the permits to the bytes: they come back with the last slice.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _permit: self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_the_pool_and_have_a_limit() {
        let small = ReadPermits::new(64 * GRAIN_BYTES);
        assert!(small.check_whole(64 * 1024).is_ok());
        assert!(matches!(
            small.check_whole(64 * 1024 + 1),
            Err(EngineError::NotAcceptable(reason)) if reason.contains("65537") && reason.contains("65536")
        ));
        let large = ReadPermits::new(1 << 30);
        assert!(large.check_whole(WHOLE_BYTES_MAX).is_ok());
        assert!(large.check_whole(WHOLE_BYTES_MAX + 1).is_err());
    }

    #[tokio::test]
    async fn permits_come_back_with_the_last_slice() {
        let pool = ReadPermits::new(64 * GRAIN_BYTES);
        let permit = pool.acquire(1 << 40).await.expect("a quarter is always given");
        assert_eq!(pool.permits.available_permits(), 48);
        let bytes = permit.hold(Bytes::from_static(b"abc"));
        let slice = bytes.slice(1..);
        drop(bytes);
        assert_eq!(pool.permits.available_permits(), 48);
        assert_eq!(&slice[..], b"bc");
        drop(slice);
        assert_eq!(pool.permits.available_permits(), 64);
    }
}
