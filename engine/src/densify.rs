//! The dense tier: what was acknowledged in a fast form is made small, and ready for viewers, in the background.
//!
//! A pixel set waits as a `densify` row from its commit on, so a restart forgets none. The worker takes one when ingest
//! and readers are idle, re-encodes its frames (verified by the codec before anything is dropped), seals them as new objects and swaps
//! the pixel record in one commit that lets the old objects go. The PHI side is not touched.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use septum_core::codec::{Codec, Tier, decode as decode_frame, encode as encode_frame};
use septum_core::ids::{ObjectId, PixelSetId, StudyId, StudyKeyId};
use septum_storage::Placed;
use septum_storage::RowKind;
use tokio::sync::Notify;

use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::pipeline::sealer::seal_run;
use crate::records::{PixelRow, Run, RunUnit, decode, encode, key, pixel_record_context, run_context, unit_shape};
use crate::retrieve::PixelReader;
use crate::services::Services;
use crate::telemetry::Telemetry;

/// How long the worker leaves ingest alone after it saw work in the pipeline.
const YIELD: Duration = Duration::from_millis(100);

/// How long after a read the worker leaves the processor to readers.
const READ_QUIET: Duration = Duration::from_millis(250);

/// How long it leaves the processor to readers who never stop: what they read waits for it.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// A pixel set that waits.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Whose shard.
    pub shard: usize,
    /// The study it belongs to.
    pub study: StudyId,
    /// Its keys.
    pub keys: StudyKeyId,
    /// The pixel set.
    pub pixel_set: PixelSetId,
}

/// Everything that waits.
pub struct DensifyQueue {
    waiting: Mutex<VecDeque<Candidate>>,
    arrived: Notify,
    telemetry: Arc<Telemetry>,
}

fn row(study: StudyId, pixel_set: PixelSetId) -> Vec<u8> {
    RowKind::Densify.key(&[study.as_bytes(), pixel_set.as_bytes()])
}

/// Stages that a pixel set waits.
pub fn stage(staging: &mut Staging<'_>, study: StudyId, keys: StudyKeyId, pixel_set: PixelSetId) {
    staging.put(row(study, pixel_set), encode(&keys));
}

/// Stages that it waits no more.
pub fn unstage(staging: &mut Staging<'_>, study: StudyId, pixel_set: PixelSetId) {
    staging.delete(row(study, pixel_set));
}

impl DensifyQueue {
    /// An empty queue.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            telemetry,
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Candidate>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a pixel set at the end.
    pub fn push(&self, candidate: Candidate) {
        let mut waiting = self.waiting();
        waiting.push_back(candidate);
        self.telemetry
            .densify_queue
            .set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        drop(waiting);
        self.arrived.notify_one();
    }

    /// A reader asked for it: it goes to the front.
    pub fn hasten(&self, pixel_set: PixelSetId) {
        let mut waiting = self.waiting();
        if let Some(index) = waiting.iter().position(|candidate| candidate.pixel_set == pixel_set)
            && let Some(candidate) = waiting.remove(index)
        {
            waiting.push_front(candidate);
        }
    }

    fn pop(&self) -> Option<Candidate> {
        let mut waiting = self.waiting();
        let candidate = waiting.pop_front();
        self.telemetry
            .densify_queue
            .set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        candidate
    }

    /// Pixel sets that wait.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds what waited when the server stopped. A damaged shard's are left out.
    pub fn reload(&self, services: &Services) {
        let prefix = RowKind::Densify.key(&[]);
        for (shard, ledger) in services.ledgers.iter().enumerate() {
            for row in crate::scan::rows(ledger.shard(), prefix.clone()) {
                match row.and_then(|(key, value)| candidate(shard, &key[prefix.len()..], &value)) {
                    Ok(candidate) => self.push(candidate),
                    Err(error) => tracing::error!(%error, shard, "a pixel set that waits could not be found"),
                }
            }
        }
    }
}

fn candidate(shard: usize, ids: &[u8], keys: &[u8]) -> Result<Candidate> {
    let corrupt = || EngineError::Corrupt("densify row");
    let id = |range: std::ops::Range<usize>| -> Result<[u8; 16]> {
        ids.get(range).and_then(|id| id.try_into().ok()).ok_or_else(corrupt)
    };
    Ok(Candidate {
        shard,
        study: StudyId::from_bytes(id(0..16)?),
        keys: decode(keys, "densify row")?,
        pixel_set: PixelSetId::from_bytes(id(16..32)?),
    })
}

/// Works through the queue for ever; `busy` tells whether ingest has work.
pub async fn run(services: Arc<Services>, busy: impl Fn() -> bool) {
    loop {
        let arrived = services.densify.arrived.notified();
        let begin = Instant::now();
        let is_read = || services.read_permits.were_asked_within(READ_QUIET) && begin.elapsed() < READ_PATIENCE;
        while busy() || is_read() {
            tokio::time::sleep(YIELD).await;
        }
        let Some(candidate) = services.densify.pop() else {
            arrived.await;
            continue;
        };
        let start = Instant::now();
        match densify(&services, &candidate).await {
            Ok(()) | Err(EngineError::NotFound) => {}
            Err(error) => tracing::error!(%error, "a pixel set could not be densified; it stays as it is"),
        }
        services.telemetry.observe_stage("densify", start);
    }
}

/// Makes one pixel set dense. [`EngineError::NotFound`] when it is gone.
pub async fn densify(services: &Arc<Services>, candidate: &Candidate) -> Result<()> {
    let Candidate {
        shard,
        study,
        keys,
        pixel_set,
    } = candidate;
    let ledger = &services.ledgers[*shard];
    let pixels_key = key::pixels(*study, *pixel_set);
    let before = ledger.shard().get(&pixels_key)?.ok_or(EngineError::NotFound)?;
    let keys = services.keyring.study(*keys)?;
    let reader = PixelReader::open(services, *shard, *study, Arc::clone(&keys), *pixel_set)?;
    let mut record = reader.record().clone();
    let mut all_placed = Vec::new();
    let (mut bytes_before, mut bytes_after) = (0, 0);
    if !record.dense {
        for run in &mut record.runs {
            let (dense, placed) = densify_run(services, &reader, run).await?;
            bytes_before += run.units.iter().map(|unit| u64::from(unit.encoded_length)).sum::<u64>();
            bytes_after += dense
                .units
                .iter()
                .map(|unit| u64::from(unit.encoded_length))
                .sum::<u64>();
            *run = dense;
            all_placed.push(placed);
        }
        record.dense = true;
    }
    let objects = record.runs.iter().map(|run| run.object).collect();
    let suite = services.keyring.suite();
    let sealed =
        septum_core::seal::seal_record(suite, &keys.pixel, &pixel_record_context(*pixel_set), &encode(&record))?;
    let after = encode(&PixelRow { objects, sealed });
    ledger
        .commit(|staging| {
            let old = staging.get(&pixels_key)?.ok_or(EngineError::NotFound)?;
            if old != before {
                return Err(EngineError::NotFound);
            }
            let old: PixelRow = decode(&old, "pixel row")?;
            if !all_placed.is_empty() {
                staging.free(old.objects);
                staging.place(all_placed);
                staging.put(pixels_key.clone(), after);
            }
            unstage(staging, *study, *pixel_set);
            Ok(())
        })
        .await?;
    reader.forget();
    let counters = &services.telemetry.densify_bytes;
    counters.with_label_values(&["before"]).inc_by(bytes_before);
    counters.with_label_values(&["after"]).inc_by(bytes_after);
    Ok(())
}

async fn densify_run(services: &Arc<Services>, reader: &PixelReader, run: &Run) -> Result<(Run, Placed)> {
    let mut units = Vec::with_capacity(run.units.len());
    for index in 0..run.units.len() {
        let index = run.first_unit + u32::try_from(index).map_err(|_| EngineError::Corrupt("pixel record"))?;
        units.push((
            reader.unit_encoded(index).await?,
            reader.record().layout.unit_length(index),
        ));
    }
    let record = reader.record();
    let shape = unit_shape(&record.description);
    let object = ObjectId::random();
    let context = run_context(object, record.version, reader.pixel_set());
    let (suite, keys) = (services.keyring.suite(), Arc::clone(reader.keys()));
    let first_unit = run.first_unit;
    let (bytes, units) = services
        .compute
        .spread(move || -> Result<_> {
            let dense = units
                .into_par_iter()
                .map(|((codec, bytes), length)| {
                    let length = usize::try_from(length).map_err(|_| EngineError::Corrupt("unit length"))?;
                    let plain = match codec {
                        Codec::Raw => bytes.to_vec(),
                        _ => decode_frame(codec, shape.as_ref(), &bytes, length)
                            .map_err(|_| EngineError::Corrupt("frame"))?,
                    };
                    let encoded = encode_frame(Tier::Dense, shape.as_ref(), &plain);
                    Ok(encoded)
                })
                .collect::<Result<Vec<_>>>()?;
            let plain: Vec<&[u8]> = dense.iter().map(|unit| unit.bytes.as_slice()).collect();
            let bytes = seal_run(suite, &keys.pixel, &context, &plain)?;
            let units = dense
                .iter()
                .map(|unit| {
                    let encoded_length =
                        u32::try_from(unit.bytes.len()).map_err(|_| EngineError::Corrupt("unit length"))?;
                    Ok(RunUnit {
                        codec: unit.codec.into(),
                        encoded_length,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            Ok((bytes, units))
        })
        .await??;
    let placed = services.ledgers[reader.shard()]
        .shard()
        .put_batch(vec![(object, bytes)])
        .await?;
    let placed = placed.into_iter().next().ok_or(EngineError::Corrupt("placed object"))?;
    Ok((
        Run {
            object,
            first_unit,
            units,
        },
        placed,
    ))
}
