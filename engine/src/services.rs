//! What every part of the engine shares, wired once.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use septum_core::codec::Tier;
use septum_decoder::DecoderPool;
use septum_storage::Store;

use crate::accounts::Accounts;
use crate::columns::Columns;
use crate::compute::Compute;
use crate::copy::Copies;
use crate::densify::DensifyQueue;
use crate::extended::Extended;
use crate::folding::Folding;
use crate::keyring::Keyring;
use crate::ledger::Ledger;
use crate::patients::Patients;
use crate::pipeline::arrival::Abandoned;
use crate::quarantine::Quarantine;
use crate::retrieve::permits::ReadPermits;
use crate::retrieve::pixels::PixelCaches;
use crate::stability::Stability;
use crate::standing::LateArrivals;
use crate::studies::Studies;
use crate::summaries::Summaries;
use crate::telemetry::Telemetry;
use crate::templates::Templates;

/// Choices that hold for a whole run of the server.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The codec tier of ingest.
    pub tier: Tier,
    /// Pixels are made dense: in the background, or at once where nothing else is to be done.
    pub densify: bool,
}

/// The parts.
pub struct Services {
    /// Durable facts.
    pub store: Arc<Store>,
    /// Keys in use.
    pub keyring: Arc<Keyring>,
    /// Accounts, namespaces, users.
    pub accounts: Arc<Accounts>,
    /// The CPU pool.
    pub compute: Compute,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// Patient keys that were merged.
    pub patients: Arc<Patients>,
    /// Studies that instances are on their way into.
    pub studies: Studies,
    /// Header templates.
    pub templates: Templates,
    /// Study summaries, opened.
    pub summaries: Summaries,
    /// The searchable fields of studies.
    pub columns: Columns,
    /// The attributes that searches are extended by.
    pub extended: Extended,
    /// Stable studies to fold.
    pub folding: Folding,
    /// One writer a shard, in the order of [`Store::shards`].
    pub ledgers: Vec<Ledger>,
    /// The catalogue's writer.
    pub catalog_ledger: Arc<Ledger>,
    /// Byte permits of the read path.
    pub read_permits: ReadPermits,
    /// Opened pixel records.
    pub pixel_caches: PixelCaches,
    /// Decodes foreign frames in sandboxed children.
    pub decoder: Arc<DecoderPool>,
    /// Pixel sets that wait for the dense tier.
    pub densify: DensifyQueue,
    /// Studies that are not stable yet.
    pub stability: Stability,
    /// Corrected studies into which something was stored.
    pub late_arrivals: LateArrivals,
    /// Copies of studies being made.
    pub copies: Copies,
    /// Instances with long values that were given up.
    pub abandoned: Abandoned,
    /// Inputs that are poison.
    pub quarantine: Quarantine,
    /// Choices.
    pub settings: Settings,
}

/// Milliseconds since 1970; 0 on a clock before that.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
