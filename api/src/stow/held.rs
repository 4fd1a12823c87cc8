//! The memory that store requests together may hold until their instances are complete (invariant 6).
//!
//! Nothing here waits: a request that cannot have its share fails what it was for, so that requests that each hold
//! something never wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shares are counted in units of this, in bytes.
const UNIT_BYTES: u64 = 1 << 10;

/// The memory of all requests.
#[derive(Debug, Clone)]
pub struct Held {
    units: Arc<Semaphore>,
    total_bytes: u64,
}

impl Held {
    /// So many bytes for all together, at most 1 TiB.
    pub fn new(total_bytes: u64) -> Self {
        let num_units = usize::try_from(total_bytes / UNIT_BYTES).unwrap_or(usize::MAX);
        Self {
            units: Arc::new(Semaphore::new(num_units.min(1 << 30))),
            total_bytes,
        }
    }

    /// All there is, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// An empty share.
    pub fn share(&self) -> Share {
        Share {
            units: Arc::clone(&self.units),
            permit: None,
            bytes: 0,
        }
    }
}

/// What is held for one thing; dropped with it.
#[derive(Debug)]
pub struct Share {
    units: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    bytes: u64,
}

impl Share {
    /// Holds more. False, and nothing changes, where that is not to be had now.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let grown = self.bytes.saturating_add(bytes);
        let has = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) as u64;
        let missing = grown.div_ceil(UNIT_BYTES).saturating_sub(has);
        if missing > 0 {
            let Ok(missing) = u32::try_from(missing) else {
                return false;
            };
            let Ok(more) = Arc::clone(&self.units).try_acquire_many_owned(missing) else {
                return false;
            };
            match &mut self.permit {
                Some(permit) => permit.merge(more),
                none => *none = Some(more),
            }
        }
        self.bytes = grown;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_come_back() {
        let held = Held::new(10 << 10);
        let (mut one, mut other) = (held.share(), held.share());
        assert!(one.grow(1) && one.grow(1023), "one unit");
        assert!(other.grow(9 << 10));
        assert!(!one.grow(1) && one.grow(0));
        drop(other);
        assert!(one.grow(9 << 10) && !one.grow(1));
        drop(one);
        assert!(held.share().grow(10 << 10));
        assert!(!held.share().grow(u64::MAX));
    }
}
