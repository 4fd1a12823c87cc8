//! The ingest pipeline: supervised actors with credits between them. The only module that names `actix`.
//!
//! ```text
//!  Intake ──1 each──► Parser ──16──► Compressor ──16──► Sealer ──32──► Committer[shard]
//!    ▲                                                                    │
//!    └────────────────────────── Receipt ◄─────────── CommitProof ◄───────┘
//! ```
//!
//! - One file an actor: [`parser`], [`compressor`], [`sealer`], [`committer`]; what flows between them is in [`messages`].
//! - actix queues are not trusted to bound anything: a message carries a *credit* of the stage it goes to, and the stage
//!   gives it back once it has handed its own result on ([`handoff`]). Credits flow one way, so no cycle can wait on
//!   itself.
//! - actix does not restart a panicked actor: [`supervisor`] ends the whole generation on the first panic or missed
//!   heartbeat and starts a new one, downstream first. Whatever was inside drops its [`ticket`]s, and a dropped ticket
//!   *is* the failure its client hears.
//! - Memory: pixel bytes hold byte permits from the parser until they are appended ([`budget`]).

pub mod actor;
pub mod arrival;
pub mod budget;
pub mod committer;
pub mod compressor;
pub mod decision;
pub mod handoff;
pub mod intake;
pub mod messages;
pub mod parser;
pub mod sealer;
pub mod supervisor;
pub mod ticket;

use std::sync::Arc;
use std::time::Duration;

use septum_core::dicom::SplitLimits;
use tokio::sync::Semaphore;

use crate::accounts::Namespace;
use crate::error::{EngineError, Result};
use crate::services::Services;
use handoff::Handoff;
use intake::Intake;
use messages::{CommitWork, CompressWork, Parse, SealWork, Source};
use supervisor::Supervisor;

/// Credits of each stage; the parser has one for each instance on its way, so that none waits for another's memory.
const COMPRESSOR_CREDITS: usize = 16;
const SEALER_CREDITS: usize = 16;
const COMMITTER_CREDITS: usize = 32;

/// The ways into each stage, the same for every generation.
pub struct Handoffs {
    /// Into the parser.
    pub parser: Handoff<Parse>,
    /// Into the compressor.
    pub compressor: Handoff<CompressWork>,
    /// Into the sealer.
    pub sealer: Handoff<SealWork>,
    /// Into each shard's committer.
    pub committers: Vec<Handoff<CommitWork>>,
}

impl Handoffs {
    /// Credits of all stages that are out right now: about as many instances are under way.
    pub fn num_out(&self) -> usize {
        self.parser.num_out()
            + self.compressor.num_out()
            + self.sealer.num_out()
            + self.committers.iter().map(Handoff::num_out).sum::<usize>()
    }
}

/// How much the pipeline takes at once.
#[derive(Debug, Clone)]
pub struct PipelineLimits {
    /// Limits of one instance.
    pub split: SplitLimits,
    /// Instances on their way at the same time.
    pub concurrent_instances: usize,
    /// Memory permits for pixel bytes in all their forms.
    pub memory_bytes: usize,
    /// How long an instance waits for its turn before its sender hears "later".
    pub admission_timeout: Duration,
    /// Pipeline generations allowed to end within a minute before the server goes unready.
    pub restarts_per_minute_max: usize,
}

/// The pipeline's front.
pub struct Pipeline {
    services: Arc<Services>,
    handoffs: Arc<Handoffs>,
    limits: PipelineLimits,
    admission: Arc<Semaphore>,
    budget: Arc<budget::Pool>,
    supervisor: Supervisor,
}

impl Pipeline {
    /// Starts the first generation.
    pub fn start(services: Arc<Services>, limits: PipelineLimits) -> Result<Self> {
        let telemetry = &services.telemetry;
        let handoffs = Arc::new(Handoffs {
            parser: Handoff::new("parser", limits.concurrent_instances.max(1), telemetry),
            compressor: Handoff::new("compressor", COMPRESSOR_CREDITS, telemetry),
            sealer: Handoff::new("sealer", SEALER_CREDITS, telemetry),
            committers: services
                .store
                .shards()
                .iter()
                .map(|_| Handoff::new("committer", COMMITTER_CREDITS, telemetry))
                .collect(),
        });
        let budget = budget::Pool::new(limits.memory_bytes, limits.concurrent_instances, Arc::clone(telemetry));
        let supervisor = Supervisor::start(
            Arc::clone(&services),
            Arc::clone(&handoffs),
            limits.restarts_per_minute_max,
        )?;
        Ok(Self {
            services,
            handoffs,
            admission: Arc::new(Semaphore::new(limits.concurrent_instances)),
            budget,
            supervisor,
            limits,
        })
    }

    /// Admits one instance, waiting for its turn at most the configured time.
    pub async fn admit(&self, namespace: Arc<Namespace>, source: Source) -> Result<Intake> {
        if !self.supervisor.is_ready() {
            return Err(EngineError::Overloaded {
                retry_after_seconds: 30,
            });
        }
        let turn = tokio::time::timeout(
            self.limits.admission_timeout,
            Arc::clone(&self.admission).acquire_owned(),
        );
        match turn.await {
            Ok(Ok(turn)) => Ok(Intake::new(
                Arc::clone(&self.services),
                Arc::clone(&self.handoffs),
                namespace,
                source,
                self.limits.split,
                self.budget.open(self.limits.admission_timeout),
                turn,
            )),
            Ok(Err(_)) => Err(EngineError::PipelineRestarted),
            Err(_) => Err(EngineError::Overloaded { retry_after_seconds: 5 }),
        }
    }

    /// False once too many generations ended in a minute, or after [`Pipeline::stop`].
    pub fn is_ready(&self) -> bool {
        self.supervisor.is_ready()
    }

    /// Credits that are out right now: 0 when the pipeline is idle.
    pub fn num_credits_out(&self) -> usize {
        self.handoffs.num_out()
    }

    /// Memory permits that are out right now, in bytes.
    pub fn budget_bytes_out(&self) -> usize {
        self.budget.bytes_out()
    }

    /// Generations started so far.
    pub fn generation(&self) -> u64 {
        self.supervisor.generation()
    }

    /// Takes nothing new, waits until what is inside is through or `deadline` passes, then stops the actors.
    pub async fn stop(&self, deadline: Duration) {
        let all = u32::try_from(self.limits.concurrent_instances).unwrap_or(u32::MAX);
        let drained = tokio::time::timeout(deadline, self.admission.acquire_many(all)).await;
        if drained.is_err() {
            tracing::warn!("the pipeline did not drain in time; what was inside is reported as failed");
        }
        self.admission.close();
        self.supervisor.stop();
    }
}
