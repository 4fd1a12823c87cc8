//! Parser: feeds the splitter, finds the study, closes runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use septum_core::dicom::{Identity, InstanceStart, SplitEvent, SplitInstance};

use super::Handoffs;
use super::actor::Stage;
use super::arrival::{Arrival, Values};
use super::handoff::Credit;
use super::intake::Progress;
use super::messages::{
    CompressWork, Density, FrameRun, Input, InstanceContext, InstanceEnded, Parse, Parsed, RUN_BYTES_MAX, ValueWork,
};
use crate::error::{EngineError, Result};
use crate::records::unit_shape;
use crate::services::Services;
use crate::studies::StudyHandle;

/// While nothing tells how long the unit will be that these bytes belong to, so many are looked at in one piece: more
/// would have to reserve memory for the longest unit there may be, and instances would wait for one another.
const UNKNOWN_BYTES_MAX: usize = 64 << 10;

/// The stage.
pub struct Parser {
    services: Arc<Services>,
    handoffs: Arc<Handoffs>,
}

impl Parser {
    /// Over what all stages share.
    pub fn new(services: Arc<Services>, handoffs: Arc<Handoffs>) -> Self {
        Self { services, handoffs }
    }

    /// Feeds bytes to the splitter, and hands on what comes of them.
    async fn feed(&self, mut progress: Box<Progress>, mut bytes: Bytes) -> Result<Box<Progress>> {
        while !bytes.is_empty() {
            let piece = match progress.unit_bytes() {
                Some(_) => bytes.len(),
                None => bytes.len().min(UNKNOWN_BYTES_MAX),
            };
            let taken;
            (progress, taken) = self.feed_piece(progress, bytes.slice(..piece)).await?;
            // Of a piece with the header's end, what lies behind it goes in again with what follows: a unit that lies
            // within one piece is a slice of it.
            bytes.advance(taken);
        }
        Ok(progress)
    }

    /// Returns how many of the bytes were taken.
    async fn feed_piece(&self, mut progress: Box<Progress>, mut bytes: Bytes) -> Result<(Box<Progress>, usize)> {
        let unit_bytes = progress.unit_bytes();
        let given = bytes.len();
        progress
            .budget
            .draw(given.saturating_sub(progress.drawn_ahead_bytes), unit_bytes)
            .await?;
        let start = Instant::now();
        let mut left = 0;
        let mut progress = pure(progress, |progress| match &mut progress.splitter {
            Some(splitter) => {
                splitter.push_section(&mut bytes, &mut progress.events)?;
                left = bytes.len();
                Ok(())
            }
            None => Err(EngineError::PipelineRestarted),
        })?;
        progress.drawn_ahead_bytes = progress.drawn_ahead_bytes.max(given) - (given - left);
        let taken = given - left;
        let received = taken as u64;
        self.services.telemetry.observe_stage(Self::NAME, start);
        self.services
            .telemetry
            .ingest_bytes
            .with_label_values(&["received"])
            .inc_by(received);
        progress.drawn_bytes += received;
        progress.given_bytes += progress.events.iter().map(event_bytes).sum::<u64>();
        let surplus = progress.given_bytes.saturating_sub(progress.drawn_bytes);
        if surplus > 0 {
            // A deflated stream gives more than it took.
            progress.drawn_bytes += surplus;
            let surplus = usize::try_from(surplus).map_err(|_| EngineError::Corrupt("unit length"))?;
            progress.budget.draw(surplus, unit_bytes).await?;
        }
        self.drain(&mut progress).await?;
        Ok((progress, taken))
    }

    async fn advance(&self, mut progress: Box<Progress>, input: Input) -> Result<Parsed> {
        if let Some(failure) = progress.flow.failure() {
            return Err(failure);
        }
        match input {
            Input::Bytes(bytes) => Ok(Parsed::Part(self.feed(progress, bytes).await?)),
            Input::End(bytes) => {
                if !bytes.is_empty() {
                    progress = self.feed(progress, bytes).await?;
                }
                let splitter = progress.splitter.take().ok_or(EngineError::PipelineRestarted)?;
                let events = &mut progress.events;
                let split = catch_unwind(AssertUnwindSafe(|| splitter.finish(events)));
                let split = split.map_err(|_| EngineError::Panicked)??;
                self.drain(&mut progress).await?;
                if !progress.units.is_empty() {
                    self.emit(&mut progress).await?;
                }
                let progress = *progress;
                let instance = progress.instance.ok_or(EngineError::Corrupt("splitter's events"))?;
                let start = Arc::clone(&instance.start);
                let placed = progress.flow.all_placed().await?;
                check_complete(&split, &placed)?;
                let values = Values::new(progress.value_flow.all_placed().await?, progress.arrival);
                let num_units: u32 = split.header.long_values().map(|value| value.num_units()).sum();
                if values.objects().len() != num_units as usize {
                    return Err(EngineError::Corrupt("number of value units"));
                }
                let ended = InstanceEnded {
                    instance,
                    split: Box::new(split),
                    placed,
                    values,
                    receipt: progress.receipt,
                    budget: progress.budget,
                };
                self.handoffs.compressor.hand_over(CompressWork::Ended(ended)).await?;
                Ok(Parsed::Whole(start))
            }
        }
    }

    /// Looks at what the splitter found: the study once, then units into runs.
    async fn drain(&self, progress: &mut Progress) -> Result<()> {
        for event in std::mem::take(&mut progress.events) {
            match event {
                SplitEvent::Identified(identity) => {
                    self.study(progress, &identity).await?;
                }
                SplitEvent::ValueUnit(unit) => {
                    let share = progress.budget.share(unit.bytes.len());
                    let study = Arc::clone(
                        progress
                            .study
                            .as_ref()
                            .ok_or(EngineError::Corrupt("splitter's events"))?,
                    );
                    let arrival = progress
                        .arrival
                        .get_or_insert_with(|| Arrival::new(Arc::clone(&self.services), study.shard, progress.version));
                    let work = ValueWork {
                        study,
                        version: progress.version,
                        index: unit.index,
                        bytes: unit.bytes,
                        arrival: Arc::clone(arrival),
                        ticket: progress.value_flow.ticket(),
                        share,
                    };
                    self.handoffs.compressor.hand_over(CompressWork::Value(work)).await?;
                }
                SplitEvent::Started(start) => {
                    let start: Arc<InstanceStart> = Arc::from(start);
                    let _ = progress.started.set(Arc::clone(&start));
                    let study = self.study(progress, &start.identity).await?;
                    progress.instance = Some(InstanceContext {
                        study,
                        version: progress.version,
                        pixel_set: progress.pixel_set,
                        split: progress.split,
                        start,
                        source: progress.source.clone(),
                        admitted: progress.admitted,
                        more: progress.more.clone(),
                        density: Density::default(),
                    });
                }
                SplitEvent::Unit(unit) => {
                    progress.units_bytes += unit.bytes.len();
                    progress.units.push(unit.bytes);
                    if progress.units_bytes >= RUN_BYTES_MAX {
                        self.emit(progress).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The study that the instance goes into, found once.
    async fn study(&self, progress: &mut Progress, identity: &Identity) -> Result<Arc<StudyHandle>> {
        if let Some(study) = &progress.study {
            return Ok(Arc::clone(study));
        }
        require_study(progress.study_uid.as_deref(), identity)?;
        let study = self.services.studies.resolve(&progress.namespace, identity).await?;
        progress.study = Some(Arc::clone(&study));
        Ok(study)
    }

    async fn emit(&self, progress: &mut Progress) -> Result<()> {
        let instance = progress
            .instance
            .as_ref()
            .ok_or(EngineError::Corrupt("splitter's events"))?;
        let units = std::mem::take(&mut progress.units);
        let num_units = u32::try_from(units.len()).map_err(|_| EngineError::Corrupt("number of units"))?;
        let share = progress.budget.share(std::mem::take(&mut progress.units_bytes));
        let run = close_run(instance, progress.first_unit, units, progress.flow.ticket(), share);
        progress.first_unit += num_units;
        self.handoffs.compressor.hand_over(CompressWork::Run(run)).await
    }
}

/// The study that the sender named is the instance's own.
fn require_study(wanted: Option<&str>, identity: &Identity) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != identity.study.as_str() => Err(EngineError::Conflict(
            "the instance belongs to another study than the address names",
        )),
        _ => Ok(()),
    }
}

fn close_run(
    instance: &InstanceContext,
    first_unit: u32,
    units: Vec<bytes::Bytes>,
    ticket: super::ticket::RunTicket,
    share: super::budget::Share,
) -> FrameRun {
    let pixels = instance.start.pixels.as_ref();
    FrameRun {
        instance: instance.clone(),
        first_unit,
        units,
        shape: pixels.and_then(unit_shape),
        native: pixels.is_some_and(|pixels| !pixels.encapsulated),
        ticket,
        share,
    }
}

fn event_bytes(event: &SplitEvent) -> u64 {
    match event {
        SplitEvent::Identified(_) | SplitEvent::Started(_) => 0,
        SplitEvent::Unit(unit) => unit.bytes.len() as u64,
        SplitEvent::ValueUnit(unit) => unit.bytes.len() as u64,
    }
}

/// Every unit of the layout is in a run, or the merge would not be exact.
fn check_complete(split: &SplitInstance, placed: &[(crate::records::Run, septum_storage::Placed)]) -> Result<()> {
    let expected = split.layout.as_ref().map_or(0, |layout| layout.num_units() as usize);
    let mut next = 0;
    for (run, _) in placed {
        if run.first_unit as usize != next {
            return Err(EngineError::Corrupt("order of runs"));
        }
        next += run.units.len();
    }
    if next == expected {
        Ok(())
    } else {
        Err(EngineError::Corrupt("number of units"))
    }
}

/// Runs a pure step on the state; a panic fails this instance alone.
fn pure(mut progress: Box<Progress>, step: impl FnOnce(&mut Progress) -> Result<()>) -> Result<Box<Progress>> {
    match catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "failpoints")]
        if let Some(Some(user)) = fail::eval("pipeline::split", |user| user) {
            assert!(user != progress.source.user.to_string(), "planted");
        }
        step(&mut progress)
    })) {
        Ok(Ok(())) => Ok(progress),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(EngineError::Panicked),
    }
}

impl Stage for Parser {
    type Work = Parse;
    const NAME: &'static str = "parser";

    async fn work(self: Arc<Self>, work: Parse, credit: Credit) {
        let Parse { progress, input, reply } = work;
        let outcome = self.advance(progress, input).await;
        drop(credit);
        // An intake that was dropped meanwhile has already given up on the instance.
        let _ = reply.send(outcome);
    }
}
