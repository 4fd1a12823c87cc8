//! The engine as a whole: everything opened, wired and kept running.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use septum_core::codec::Tier;
use septum_core::dicom::SplitLimits;
use septum_core::seal::Suite;
use septum_decoder::{DecoderPool, PoolLimits};
use septum_storage::vfs::RealVfs;
use septum_storage::{Health, PoisonHook, Store, StoreConfig};
use tokio::task::JoinHandle;

use crate::accounts::Accounts;
use crate::audit_log::{self, AuditLog};
use crate::columns::Columns;
use crate::compute::Compute;
use crate::copy::Copies;
use crate::densify::{self, DensifyQueue};
use crate::erase;
use crate::error::Result;
use crate::extended::{self, Extended};
use crate::folding::Folding;
use crate::keyring::{Keyring, root_key};
use crate::ledger::Ledger;
use crate::maintenance;
use crate::observe::StorageObserver;
use crate::patients::Patients;
use crate::pipeline::arrival::{self, Abandoned};
use crate::pipeline::{Pipeline, PipelineLimits};
use crate::quarantine::Quarantine;
use crate::retrieve::permits::ReadPermits;
use crate::retrieve::pixels::PixelCaches;
use crate::services::{Services, Settings};
use crate::stability::Stability;
use crate::standing::LateArrivals;
use crate::studies::Studies;
use crate::summaries::Summaries;
use crate::telemetry::Telemetry;
use crate::templates::Templates;

/// How often stable studies are looked for and space is reclaimed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last owners of the store may take to let go of it.
const OWNERS_TIMEOUT: Duration = Duration::from_secs(5);

/// Erasures that failed are tried again once in so many sweeps.
const RESUME_EVERY_SWEEPS: u64 = 30;

/// Bytes that one sweep may rewrite to reclaim space.
const COMPACT_BYTES_PER_SWEEP: u64 = 32 * 1024 * 1024;

/// The process's exit code after a failed sync (EX_IOERR): a restart reads what is true.
const EXIT_POISONED: i32 = 74;

/// Everything the engine is told.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// The PHI side.
    pub phi_root: PathBuf,
    /// The pixel side.
    pub pixel_root: PathBuf,
    /// Wrapped keys.
    pub key_root: PathBuf,
    /// The root key.
    pub root_key_file: PathBuf,
    /// Shards, fixed when the store is made.
    pub shards: u16,
    /// The suite new objects are sealed with.
    pub suite: Suite,
    /// The codec tier of ingest.
    pub tier: Tier,
    /// Limits of one instance.
    pub split: SplitLimits,
    /// Memory permits of the pipeline, in bytes.
    pub memory_bytes: usize,
    /// Memory permits of the read path, in bytes.
    pub read_memory_bytes: usize,
    /// Instances on their way at the same time.
    pub concurrent_instances: usize,
    /// How long an instance waits for its turn.
    pub admission_timeout: Duration,
    /// Pipeline restarts within a minute before the server goes unready.
    pub restarts_per_minute_max: usize,
    /// Threads of the CPU pool, 0 for one a core.
    pub compute_threads: usize,
    /// A study without news for this long is stable.
    pub stable_after: Duration,
    /// Whether the dense tier is made.
    pub densify: bool,
    /// The command that runs a decoder child.
    pub decoder_command: Vec<OsString>,
    /// Decoder children.
    pub decoder_children: usize,
    /// Make what is missing: the first start.
    pub create: bool,
    /// End the process when a sync failed (the disk may have lost what it took): only a restart reads what is true.
    pub exit_on_poison: bool,
}

/// The running engine.
pub struct Archive {
    /// The parts.
    pub services: Arc<Services>,
    /// The way in.
    pub pipeline: Arc<Pipeline>,
    /// Reads and denials.
    pub audit: AuditLog,
    is_draining: AtomicBool,
    tasks: Vec<JoinHandle<()>>,
}

impl Archive {
    /// Opens the store, finishes what a crash interrupted and starts the pipeline.
    pub async fn open(config: ArchiveConfig) -> Result<Arc<Self>> {
        let telemetry = Telemetry::new().map_err(|error| crate::error::EngineError::File {
            what: "metrics registry",
            source: std::io::Error::other(error),
        })?;
        telemetry
            .build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), config.suite.name()])
            .set(1.0);
        let store_config = store_config(&config, &telemetry);
        let store = tokio::task::spawn_blocking(move || Store::open(store_config, Arc::new(RealVfs)))
            .await
            .map_err(|_| crate::error::EngineError::Panicked)??;
        let root = root_key(&config.root_key_file, config.create)?;
        let keyring = Keyring::open(Arc::clone(&store), root, config.suite).await?;
        let catalog_ledger = Arc::new(Ledger::new(Arc::clone(store.catalog()), Arc::clone(&telemetry)));
        let accounts = Accounts::open(Arc::clone(&catalog_ledger), Arc::clone(&keyring)).await?;
        let patients = Arc::new(Patients::open(Arc::clone(&catalog_ledger), Arc::clone(&keyring))?);
        let ledgers = store
            .shards()
            .iter()
            .map(|shard| Ledger::new(Arc::clone(shard), Arc::clone(&telemetry)))
            .collect();
        let decoder = DecoderPool::new(
            config.decoder_command.clone(),
            config.decoder_children,
            PoolLimits::default(),
        );
        let services = Arc::new(Services {
            quarantine: Quarantine::open(&catalog_ledger, Arc::clone(&keyring))?,
            catalog_ledger,
            compute: Compute::new(config.compute_threads, Arc::clone(&telemetry))?,
            studies: Studies::new(Arc::clone(&store), Arc::clone(&keyring), Arc::clone(&patients)),
            patients,
            templates: Templates::new(Arc::clone(&store)),
            summaries: Summaries::new(Arc::clone(&keyring)),
            columns: Columns::default(),
            folding: Folding::default(),
            extended: Extended::default(),
            read_permits: ReadPermits::new(config.read_memory_bytes),
            pixel_caches: PixelCaches::default(),
            decoder: Arc::new(decoder),
            densify: DensifyQueue::new(Arc::clone(&telemetry)),
            stability: Stability::new(config.stable_after),
            late_arrivals: LateArrivals::default(),
            copies: Copies::default(),
            abandoned: Abandoned::default(),
            settings: Settings {
                tier: config.tier,
                densify: config.densify,
            },
            ledgers,
            store,
            keyring,
            accounts,
            telemetry,
        });
        erase::resume(&services).await;
        arrival::resume(&services).await;
        services.extended.reload(&services)?;
        services.stability.reload(&services);
        services.columns.reload(&services);
        services.folding.reload(&services);
        let pipeline = Arc::new(Pipeline::start(
            Arc::clone(&services),
            PipelineLimits {
                split: config.split,
                concurrent_instances: config.concurrent_instances,
                memory_bytes: config.memory_bytes,
                admission_timeout: config.admission_timeout,
                restarts_per_minute_max: config.restarts_per_minute_max,
            },
        )?);
        let mut tasks = vec![
            tokio::spawn(audit_log::keep_signing(Arc::clone(&services))),
            tokio::spawn(sweep(Arc::clone(&services))),
        ];
        let busy = Arc::clone(&pipeline);
        tasks.push(tokio::spawn(extended::run(Arc::clone(&services), move || {
            busy.num_credits_out() > 0
        })));
        if config.densify {
            services.densify.reload(&services);
            let busy = Arc::clone(&pipeline);
            tasks.push(tokio::spawn(densify::run(Arc::clone(&services), move || {
                busy.num_credits_out() > 0
            })));
        }
        show_sizes(&services);
        for outcome in [
            "stored",
            "duplicate",
            "version",
            "held",
            "rejected",
            "failed",
            "abandoned",
        ] {
            // A series that is not there yet cannot be watched.
            services.telemetry.instances.with_label_values(&[outcome]).inc_by(0);
        }
        for outcome in ["queued", "sent", "retried", "dropped"] {
            services.telemetry.mail.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(Arc::new(Self {
            audit: AuditLog::start(Arc::clone(&services)),
            is_draining: AtomicBool::new(false),
            services,
            pipeline,
            tasks,
        }))
    }

    /// Whether requests can be taken. Without the catalogue nothing can: the audit log lies in it.
    pub fn is_ready(&self) -> bool {
        let store = &self.services.store;
        !self.is_draining.load(Ordering::Acquire)
            && self.pipeline.is_ready()
            && store
                .shards()
                .iter()
                .chain([store.catalog()])
                .all(|shard| matches!(shard.health(), Health::Healthy))
    }

    /// Says from now on that no requests can be taken, so that nobody sends new ones; those under way go on.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// All metrics as Prometheus reads them.
    pub fn metrics(&self) -> Vec<u8> {
        let telemetry = &self.services.telemetry;
        telemetry.ready.set(if self.is_ready() { 1.0 } else { 0.0 });
        telemetry.encode()
    }

    /// Takes nothing new, finishes what is inside within `deadline`, closes the store.
    pub async fn shutdown(self: Arc<Self>, deadline: Duration) {
        self.drain();
        self.pipeline.stop(deadline).await;
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Err(error) = audit_log::sign_checkpoint(&self.services).await {
            tracing::warn!(%error, "no last audit checkpoint");
        }
        let store = Arc::clone(&self.services.store);
        drop(self);
        // RocksDB's threads must end before the process does, so the last owner of the store is waited for.
        let started = Instant::now();
        while Arc::strong_count(&store) > 1 && started.elapsed() < OWNERS_TIMEOUT {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let closed = tokio::task::spawn_blocking(move || {
            store.close();
            drop(store);
        });
        if closed.await.is_err() {
            tracing::error!("closing the store panicked");
        }
    }
}

fn store_config(config: &ArchiveConfig, telemetry: &Arc<Telemetry>) -> StoreConfig {
    let exit_on_poison = config.exit_on_poison;
    let hook = move |shard: u16| {
        tracing::error!(shard, "a sync failed: what the disk holds is unknown");
        if exit_on_poison {
            std::process::exit(EXIT_POISONED);
        }
    };
    StoreConfig {
        shards: config.shards,
        create: config.create,
        metrics: Some(Arc::new(StorageObserver::new(Arc::clone(telemetry)))),
        on_poison: Some(PoisonHook(Arc::new(hook))),
        ..StoreConfig::new(&config.phi_root, &config.pixel_root, &config.key_root)
    }
}

/// Declares studies stable, gives space back, shows sizes.
async fn sweep(services: Arc<Services>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    let mut rounds = 0_u64;
    loop {
        interval.tick().await;
        services.late_arrivals.sweep(&services).await;
        services.stability.sweep(&services).await;
        services.folding.sweep(&services).await;
        services.abandoned.sweep(&services).await;
        show_sizes(&services);
        rounds += 1;
        if rounds.is_multiple_of(RESUME_EVERY_SWEEPS) {
            erase::resume(&services).await;
        }
        for shard in services.store.shards().iter().chain([services.store.catalog()]) {
            if let Err(error) = maintenance::compact(shard, COMPACT_BYTES_PER_SWEEP).await {
                tracing::error!(%error, "space could not be reclaimed");
            }
        }
    }
}

fn show_sizes(services: &Services) {
    let (mut phi, mut pixel) = (0, 0);
    for shard in services.store.shards().iter().chain([services.store.catalog()]) {
        let stats = shard.stats();
        phi += stats.journal_bytes;
        pixel += stats.pixel_bytes;
    }
    let bytes = &services.telemetry.storage_bytes;
    bytes
        .with_label_values(&["phi"])
        .set(i64::try_from(phi).unwrap_or(i64::MAX));
    bytes
        .with_label_values(&["pixel"])
        .set(i64::try_from(pixel).unwrap_or(i64::MAX));
}
