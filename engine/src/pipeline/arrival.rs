//! Long values of instances that are not committed yet.
//!
//! Each unit of a long value is committed to the PHI journal by itself, with a row that says it is on its way; the
//! commit of the instance takes those rows away and names the objects. If the instance never commits, whatever holds its
//! [`Arrival`] drops it, and a sweep frees the objects; at a start there are no instances on their way, so all such rows
//! go.
//!
//! | row | key | value |
//! |---|---|---|
//! | arriving | version ‖ number of the unit, big endian | object id |

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use septum_core::ids::{ObjectId, VersionId};
use septum_storage::RowKind;

use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::records::{decode, encode, key};
use crate::services::Services;

/// Rows taken away in one commit.
const PAGE_ROWS: usize = 256;

/// Instances with long values that were given up.
#[derive(Default)]
pub struct Abandoned(Mutex<Vec<(usize, VersionId)>>);

impl Abandoned {
    fn list(&self) -> MutexGuard<'_, Vec<(usize, VersionId)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Frees what given up instances left behind; what cannot be freed now is tried again.
    pub async fn sweep(&self, services: &Services) {
        let all = std::mem::take(&mut *self.list());
        for (shard, version) in all {
            if let Err(error) = free(services, shard, key::all_arriving(version)).await {
                tracing::error!(%error, shard, "long values that were given up could not be freed; it is tried again");
                self.list().push((shard, version));
            }
        }
    }
}

/// Frees what instances on their way left behind when the process ended. Call it before anything is taken in.
pub async fn resume(services: &Services) {
    for shard in 0..services.ledgers.len() {
        if let Err(error) = free(services, shard, RowKind::Arriving.key(&[])).await {
            tracing::error!(%error, shard, "long values that never arrived could not be freed");
        }
    }
}

async fn free(services: &Services, shard: usize, prefix: Vec<u8>) -> Result<()> {
    let ledger = &services.ledgers[shard];
    loop {
        let rows = ledger.shard().scan(&prefix, None, PAGE_ROWS)?;
        if rows.is_empty() {
            return Ok(());
        }
        let free = |staging: &mut Staging<'_>| {
            staging.use_reserve();
            for (row_key, _) in rows {
                // As it is now: the instance may have been committed since the scan.
                if let Some(object) = staging.get(&row_key)? {
                    staging.free([decode::<ObjectId>(&object, "arriving row")?]);
                    staging.delete(row_key);
                }
            }
            Ok(())
        };
        ledger.commit(free).await?;
    }
}

/// Stages a unit of an instance on its way.
pub fn stage(staging: &mut Staging<'_>, version: VersionId, index: u32, object: ObjectId, bytes: bytes::Bytes) {
    staging.put(key::arriving(version, index), encode(&object));
    staging.object(object, bytes);
}

/// An instance with long values on its way: held by it and by each unit that is under way. When the last of them lets
/// go before it is settled, the units are freed.
pub struct Arrival {
    services: Arc<Services>,
    shard: usize,
    version: VersionId,
    is_settled: AtomicBool,
}

impl Arrival {
    /// An instance of which a first unit is about to be committed.
    pub fn new(services: Arc<Services>, shard: usize, version: VersionId) -> Arc<Self> {
        Arc::new(Self {
            services,
            shard,
            version,
            is_settled: AtomicBool::new(false),
        })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.is_settled.load(Ordering::Acquire) {
            self.services.abandoned.list().push((self.shard, self.version));
        }
    }
}

/// The long values of an instance that is about to be committed.
#[derive(Default)]
pub struct Values {
    objects: Vec<ObjectId>,
    arrival: Option<Arc<Arrival>>,
}

impl Values {
    /// The objects of all units, in order.
    pub fn new(objects: Vec<ObjectId>, arrival: Option<Arc<Arrival>>) -> Self {
        Self { objects, arrival }
    }

    /// The objects of all units, in order.
    pub fn objects(&self) -> &[ObjectId] {
        &self.objects
    }

    /// Stages that the units have arrived: whoever commits the instance names their objects from now on.
    pub fn stage_arrived(&self, staging: &mut Staging<'_>, version: VersionId) -> Result<()> {
        for index in 0..self.objects.len() {
            let index = u32::try_from(index).map_err(|_| EngineError::Corrupt("number of value units"))?;
            staging.delete(key::arriving(version, index));
        }
        Ok(())
    }

    /// The instance is committed.
    pub fn settle(self) {
        if let Some(arrival) = self.arrival {
            arrival.is_settled.store(true, Ordering::Release);
        }
    }
}
