//! The pipeline's mouth: one [`Intake`] an instance, fed with the bytes of its Part 10 stream.
//!
//! The intake owns the parsing state between steps; dropping it at any time takes everything of the instance back: its
//! permits, its tickets, its appended runs (dead bytes that compaction reclaims).

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use septum_core::dicom::{InstanceStart, SplitEvent, SplitLimits, Splitter, UnitKind, VALUE_UNIT_BYTES};
use septum_core::ids::{ObjectId, PixelSetId, SplitId, VersionId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Handoffs;
use super::arrival::Arrival;
use super::budget::Budget;
use super::messages::{Input, InstanceContext, More, Parse, Parsed, RUN_BYTES_MAX, Source, StoreKind, StoreOutcome};
use super::ticket::{Flow, Pending, Receipt, RunFlow, receipt};
use crate::accounts::Namespace;
use crate::error::{EngineError, ErrorKind, Result};
use crate::quarantine::Head;
use crate::services::Services;
use crate::studies::StudyHandle;

async fn note_panic(services: &Services, head: &Head) {
    if let Err(error) = services.quarantine.note_panic(&services.catalog_ledger, head).await {
        tracing::error!(%error, "a poisonous input could not be quarantined");
    }
}

/// Where the parsing of one instance stands.
pub struct Progress {
    /// Cuts header from pixels; gone once the end was seen.
    pub splitter: Option<Splitter>,
    /// Where the instance is to go.
    pub namespace: Arc<Namespace>,
    /// Who sent it.
    pub source: Source,
    /// The study it must belong to, where the sender named one.
    pub study_uid: Option<String>,
    /// What its header says, for the sender's answer also when the instance is refused later.
    pub started: Arc<OnceLock<Arc<InstanceStart>>>,
    /// When it was admitted.
    pub admitted: Instant,
    /// Whether more follow in its request.
    pub more: More,
    /// Its version.
    pub version: VersionId,
    /// Its pixel set.
    pub pixel_set: PixelSetId,
    /// Binds its halves.
    pub split: SplitId,
    /// Known once the identity was read.
    pub study: Option<Arc<StudyHandle>>,
    /// Known once the header was read.
    pub instance: Option<InstanceContext>,
    /// Events not yet looked at.
    pub events: Vec<SplitEvent>,
    /// Units gathered for the next run.
    pub units: Vec<Bytes>,
    /// Their length.
    pub units_bytes: usize,
    /// Index of the first gathered unit.
    pub first_unit: u32,
    /// Runs under way.
    pub flow: Arc<RunFlow>,
    /// Units of long values under way.
    pub value_flow: Arc<Flow<ObjectId>>,
    /// Frees them if the instance never commits.
    pub arrival: Option<Arc<Arrival>>,
    /// Bytes that permits were drawn for.
    pub drawn_bytes: u64,
    /// Bytes that permits were drawn for and that the splitter left for the next piece.
    pub drawn_ahead_bytes: usize,
    /// Bytes of all units so far.
    pub given_bytes: u64,
    /// Memory permits.
    pub budget: Budget,
    /// Answers the sender.
    pub receipt: Receipt,
}

impl Progress {
    /// How long the unit being gathered will be at most, where that is known.
    pub fn unit_bytes(&self) -> Option<u64> {
        let Some(instance) = &self.instance else {
            // Inside a long value in front of the pixels.
            return self.study.as_ref().map(|_| 2 * u64::from(VALUE_UNIT_BYTES));
        };
        let pixels = instance.start.pixels.as_ref()?;
        Some(match pixels.unit {
            UnitKind::Frame => pixels.shape?.frame_length()?.max(RUN_BYTES_MAX as u64),
            UnitKind::Block | UnitKind::Fragment => 2 * RUN_BYTES_MAX as u64,
        })
    }
}

/// One instance on its way in.
pub struct Intake {
    services: Arc<Services>,
    head: Head,
    handoffs: Arc<Handoffs>,
    progress: Option<Box<Progress>>,
    pending: Option<Pending>,
    concluded: bool,
    started: Arc<OnceLock<Arc<InstanceStart>>>,
    /// Given back once all bytes are placed: what waits for its sync then holds a header's worth of memory.
    turn: Option<OwnedSemaphorePermit>,
}

impl Intake {
    pub(super) fn new(
        services: Arc<Services>,
        handoffs: Arc<Handoffs>,
        namespace: Arc<Namespace>,
        source: Source,
        limits: SplitLimits,
        budget: Budget,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        let (receipt, pending) = receipt();
        let started: Arc<OnceLock<Arc<InstanceStart>>> = Arc::default();
        let progress = Progress {
            splitter: Some(Splitter::new(limits)),
            namespace,
            source,
            study_uid: None,
            started: Arc::clone(&started),
            admitted: Instant::now(),
            more: More::default(),
            version: VersionId::random(),
            pixel_set: PixelSetId::random(),
            split: SplitId::random(),
            study: None,
            instance: None,
            events: Vec::new(),
            units: Vec::new(),
            units_bytes: 0,
            first_unit: 0,
            flow: Arc::default(),
            value_flow: Arc::default(),
            arrival: None,
            drawn_bytes: 0,
            drawn_ahead_bytes: 0,
            given_bytes: 0,
            budget,
            receipt,
        };
        Self {
            services,
            head: Head::default(),
            handoffs,
            progress: Some(Box::new(progress)),
            pending: Some(pending),
            concluded: false,
            started,
            turn: Some(turn),
        }
    }

    /// Refuses the instance with [`EngineError::Conflict`] when it turns out to belong to another study. Call it before
    /// the first bytes.
    pub fn require_study(&mut self, study_uid: &str) {
        if let Some(progress) = &mut self.progress {
            progress.study_uid = Some(study_uid.to_owned());
        }
    }

    /// Tells of the request that the instance came in. Call it before the first bytes.
    pub fn in_request(&mut self, more: More) {
        if let Some(progress) = &mut self.progress {
            progress.more = more;
        }
    }

    /// Feeds the next bytes. An error is final: the instance is refused or failed.
    pub async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.look_at(&bytes)?;
        self.step(Input::Bytes(bytes)).await
    }

    fn look_at(&mut self, bytes: &Bytes) -> Result<()> {
        if !self.head.is_full() {
            self.head.push(bytes);
            if self.head.is_full() {
                self.check_poison()?;
            }
        }
        Ok(())
    }

    fn check_poison(&self) -> Result<()> {
        if self.services.quarantine.holds(&self.head) {
            Err(EngineError::Quarantined)
        } else {
            Ok(())
        }
    }

    /// The stream is complete: waits until the instance is durable, or learns why it is not.
    pub async fn finish(self) -> (Option<Arc<InstanceStart>>, Result<StoreOutcome>) {
        self.finish_with(Bytes::new()).await
    }

    /// As [`Self::finish`], with the last bytes of the stream.
    pub async fn finish_with(mut self, last: Bytes) -> (Option<Arc<InstanceStart>>, Result<StoreOutcome>) {
        let outcome = self.conclude(last).await;
        let word = match &outcome {
            Ok(outcome) => match outcome.kind {
                StoreKind::Stored => "stored",
                StoreKind::Duplicate => "duplicate",
                StoreKind::Version => "version",
                StoreKind::Held => "held",
            },
            Err(error) if error.kind() == ErrorKind::Rejected => "rejected",
            Err(_) => "failed",
        };
        self.concluded = true;
        self.services.telemetry.instances.with_label_values(&[word]).inc();
        (self.start().cloned(), outcome)
    }

    async fn conclude(&mut self, last: Bytes) -> Result<StoreOutcome> {
        self.look_at(&last)?;
        if !self.head.is_full() {
            self.check_poison()?;
        }
        self.step(Input::End(last)).await?;
        self.turn = None;
        let pending = self.pending.take().ok_or(EngineError::PipelineRestarted)?;
        let outcome = pending.outcome().await;
        if matches!(outcome, Err(EngineError::Panicked)) {
            note_panic(&self.services, &self.head).await;
        }
        outcome
    }

    /// The instance's identity, once its header was read.
    pub fn start(&self) -> Option<&Arc<InstanceStart>> {
        self.started.get()
    }

    async fn step(&mut self, input: Input) -> Result<()> {
        let progress = self.progress.take().ok_or(EngineError::PipelineRestarted)?;
        let (reply, replied) = oneshot::channel();
        self.handoffs.parser.hand_over(Parse { progress, input, reply }).await?;
        let progress = match replied.await.unwrap_or(Err(EngineError::PipelineRestarted)) {
            Err(EngineError::Panicked) => {
                note_panic(&self.services, &self.head).await;
                return Err(EngineError::Panicked);
            }
            progress => progress?,
        };
        match progress {
            Parsed::Part(progress) => self.progress = Some(progress),
            Parsed::Whole(_) => {}
        }
        Ok(())
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // Refused or failed on the way, or given up by its sender.
        if !self.concluded {
            self.services
                .telemetry
                .instances
                .with_label_values(&["abandoned"])
                .inc();
        }
    }
}
