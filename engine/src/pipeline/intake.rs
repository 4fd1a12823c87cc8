//! The pipeline's mouth: one [`Intake`] an instance, fed with the bytes of its Part 10 stream.
//!
//! The intake owns the parsing state between steps; dropping it at any time takes everything of the instance back: its
//! permits, its tickets, its appended runs (dead bytes that compaction reclaims).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use septum_core::dicom::{InstanceStart, SplitEvent, SplitLimits, Splitter};
use septum_core::ids::{PixelSetId, SplitId, VersionId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Handoffs;
use super::budget::Budget;
use super::messages::{Input, InstanceContext, Parse, Source, StoreOutcome};
use super::ticket::{Flow, Pending, Receipt, receipt};
use crate::accounts::Namespace;
use crate::error::{EngineError, Result};
use crate::quarantine::Head;
use crate::services::Services;

async fn note_panic(services: &Services, head: &Head) {
    if let Err(error) = services.quarantine.note_panic(&services.catalog_ledger, head).await {
        tracing::error!(%error, "a poisonous input could not be quarantined");
    }
}

/// Where the parsing of one instance stands.
pub struct Progress {
    /// Cuts header from pixels.
    pub splitter: Splitter,
    /// Where the instance is to go.
    pub namespace: Arc<Namespace>,
    /// Who sent it.
    pub source: Source,
    /// When it was admitted.
    pub admitted: Instant,
    /// Its version.
    pub version: VersionId,
    /// Its pixel set.
    pub pixel_set: PixelSetId,
    /// Binds its halves.
    pub split: SplitId,
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
    pub flow: Arc<Flow>,
    /// Memory permits.
    pub budget: Budget,
    /// Answers the sender.
    pub receipt: Receipt,
}

/// One instance on its way in.
pub struct Intake {
    services: Arc<Services>,
    head: Head,
    handoffs: Arc<Handoffs>,
    progress: Option<Box<Progress>>,
    pending: Pending,
    start: Option<Arc<InstanceStart>>,
    _turn: OwnedSemaphorePermit,
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
        let progress = Progress {
            splitter: Splitter::new(limits),
            namespace,
            source,
            admitted: Instant::now(),
            version: VersionId::random(),
            pixel_set: PixelSetId::random(),
            split: SplitId::random(),
            instance: None,
            events: Vec::new(),
            units: Vec::new(),
            units_bytes: 0,
            first_unit: 0,
            flow: Arc::default(),
            budget,
            receipt,
        };
        Self {
            services,
            head: Head::default(),
            handoffs,
            progress: Some(Box::new(progress)),
            pending,
            start: None,
            _turn: turn,
        }
    }

    /// Feeds the next bytes. An error is final: the instance is refused or failed.
    pub async fn push(&mut self, bytes: Bytes) -> Result<()> {
        if !self.head.is_full() {
            self.head.push(&bytes);
            if self.head.is_full() {
                self.check_poison()?;
            }
        }
        self.step(Input::Bytes(bytes)).await
    }

    fn check_poison(&self) -> Result<()> {
        if self.services.quarantine.holds(&self.head) {
            Err(EngineError::Quarantined)
        } else {
            Ok(())
        }
    }

    /// The stream is complete: waits until the instance is durable, or learns why it is not.
    pub async fn finish(mut self) -> (Option<Arc<InstanceStart>>, Result<StoreOutcome>) {
        if !self.head.is_full()
            && let Err(error) = self.check_poison()
        {
            return (self.start, Err(error));
        }
        if let Err(error) = self.step(Input::End).await {
            return (self.start, Err(error));
        }
        let outcome = self.pending.outcome().await;
        if matches!(outcome, Err(EngineError::Panicked)) {
            note_panic(&self.services, &self.head).await;
        }
        (self.start, outcome)
    }

    /// The instance's identity, once its header was read.
    pub fn start(&self) -> Option<&Arc<InstanceStart>> {
        self.start.as_ref()
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
        if let Some(instance) = progress.as_ref().and_then(|progress| progress.instance.as_ref()) {
            self.start.get_or_insert_with(|| Arc::clone(&instance.start));
        }
        self.progress = progress;
        Ok(())
    }
}
