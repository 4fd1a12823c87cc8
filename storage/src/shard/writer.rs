//! The committer of a shard: one thread, group commit.
//!
//! While one group is synced, the queue fills; all that is queued then forms the next group. A group of commits that
//! nobody hears of before later ones ([`CommitBatch::may_wait`]) waits for those a moment (module `group`); any other commit
//! is written at once. The steps of a group, each with a fail point before it:
//!
//! 1. `storage::append`: journal objects and one batch record are appended to the journal (page cache);
//! 2. `storage::fsync_pixels` and `storage::fsync_journal`: in parallel;
//! 3. `storage::apply`: one write to the index, unsynced, with the applied mark;
//! 4. `storage::ack`: staged rows leave the overlay, proofs go out.
//!
//! A full disk in step 1 fails the group, and every commit staged before the failure was known, because those may be
//! built upon rows that never came to be. A failure in step 2 or 3 poisons the shard: the batch may or may not be
//! there after a restart. A full disk in step 3 is waited out: the batch is durable already.

use super::alongside::Alongside;
use super::core::{Applied, Core};
use super::group::gather;
use super::pixels::Gather;
use crate::batch::{BatchBody, CommitBatch, CommitProof, Location, Placed, Row, running_hash};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{FileHeader, RECORD_HEADER_BYTES, RecordHeader, RecordKind};
use crate::metrics::Stage;
use crate::segment::{SegmentFile, now_ms};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use septum_core::ids::ObjectId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Commits that can wait; more are answered [`StorageError::Overloaded`].
pub(crate) const QUEUE_COMMITS: usize = 4096;
/// A queued commit.
pub(crate) struct Queued {
    pub(crate) batch: CommitBatch,
    pub(crate) sequence: u64,
    pub(crate) generation: u64,
    pub(crate) reply: oneshot::Sender<Result<CommitProof>>,
}

/// What compaction asks the committer to carry over; filtered against the current state before it is written.
#[derive(Default)]
pub(crate) struct Carry {
    /// Rows of an old segment: kept if they are still current.
    pub(crate) rows: Vec<Row>,
    /// Journal objects with their old place: kept if they still lie there.
    pub(crate) objects: Vec<(ObjectId, Bytes, Location)>,
    /// Pixel objects named in an old segment: kept if they still lie there.
    pub(crate) placed: Vec<(ObjectId, Location)>,
    /// Pixel objects written anew, with their old place: taken if they still lie there.
    pub(crate) moves: Vec<(Placed, Location)>,
    /// Objects freed in an old segment: kept if the object is gone and an older segment may name it.
    pub(crate) freed: Vec<ObjectId>,
    /// Storage's own rows, taken as they are.
    pub(crate) internal_rows: Vec<Row>,
    /// Whether deletions and frees may be forgotten, because no older segment exists.
    pub(crate) forget_deletions: bool,
}

/// Work for the committer.
pub(crate) enum Message {
    /// A commit.
    Commit(Box<Queued>),
    /// Compaction's.
    Carry(Box<Carry>, Sender<Result<CommitProof>>),
    /// Drain what was queued before and end.
    Close,
}

/// The committer's own state.
pub(crate) struct Writer {
    pub(crate) core: Arc<Core>,
    pub(crate) journal: Option<Arc<SegmentFile>>,
    pub(crate) next_segment: u32,
    pub(crate) journal_segment_bytes: u64,
    pub(crate) batch: u64,
    pub(crate) hash: [u8; 32],
    pub(super) alongside: Alongside,
}

/// Everything one batch record will say, and the bytes that go with it.
#[derive(Default)]
struct Draft {
    rows: Vec<Row>,
    objects: Vec<(ObjectId, Bytes)>,
    placed: Vec<Placed>,
    carried: Vec<(ObjectId, Location)>,
    freed: Vec<ObjectId>,
    may_use_reserve: bool,
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.objects.is_empty()
            && self.placed.is_empty()
            && self.carried.is_empty()
            && self.freed.is_empty()
    }
}

impl Writer {
    /// Runs until closed or until all senders are gone.
    pub(crate) fn run(mut self, receiver: &Receiver<Message>) {
        let mut held: Option<Message> = None;
        loop {
            let message = match held.take() {
                Some(message) => message,
                None => match receiver.recv() {
                    Ok(message) => message,
                    Err(_) => return,
                },
            };
            match message {
                Message::Close => return,
                Message::Carry(carry, reply) => {
                    let result = self.carry(*carry);
                    let _ = reply.send(result);
                }
                Message::Commit(first) => {
                    let (group, other) = gather(receiver, *first);
                    held = other;
                    self.group(group);
                }
            }
        }
    }

    fn group(&mut self, group: Vec<Queued>) {
        let start = self.core.observer.start();
        let generation = crate::lock(&self.core.overlay).generation;
        let mut draft = Draft {
            may_use_reserve: true,
            ..Draft::default()
        };
        let mut waiting = Vec::with_capacity(group.len());
        for queued in group {
            if queued.generation != generation {
                let _ = queued.reply.send(Err(StorageError::EarlierCommitFailed));
                continue;
            }
            draft.rows.extend(queued.batch.rows);
            draft.objects.extend(queued.batch.objects);
            draft.placed.extend(queued.batch.placed);
            draft.freed.extend(queued.batch.freed);
            draft.may_use_reserve &= queued.batch.may_use_reserve;
            waiting.push((queued.sequence, queued.reply));
        }
        let Some((last_sequence, _)) = waiting.last() else {
            return;
        };
        let last_sequence = *last_sequence;
        let result = self.commit(draft);
        match &result {
            Ok(_) => {
                let mut overlay = crate::lock(&self.core.overlay);
                overlay.rows.retain(|_, (sequence, _)| *sequence > last_sequence);
            }
            Err(_) => {
                let mut overlay = crate::lock(&self.core.overlay);
                overlay.rows.clear();
                overlay.generation += 1;
            }
        }
        self.core.observer.finish(Stage::Group, start, waiting.len() as u64);
        for (_, reply) in waiting {
            let _ = reply.send(result.clone());
        }
    }

    /// Keeps of an old segment what is still true, and commits that.
    fn carry(&mut self, carry: Carry) -> Result<CommitProof> {
        let core = Arc::clone(&self.core);
        core.readable()?;
        let mut draft = Draft {
            may_use_reserve: true,
            rows: carry.internal_rows,
            ..Draft::default()
        };
        for row in carry.rows {
            let keep = match &row {
                Row::Put { key, value } => core.index.get(key)?.as_deref() == Some(value),
                Row::Delete { key } => !carry.forget_deletions && core.index.get(key)?.is_none(),
            };
            if keep {
                draft.rows.push(row);
            }
        }
        for (id, bytes, old) in carry.objects {
            if core.locate(&id)? == Some(old) {
                draft.objects.push((id, bytes));
            }
        }
        for (id, old) in carry.placed {
            if core.locate(&id)? == Some(old) {
                draft.carried.push((id, old));
            }
        }
        for (placed, old) in carry.moves {
            if core.locate(&placed.id)? == Some(old) {
                draft.placed.push(placed);
            }
        }
        if !carry.forget_deletions {
            for id in carry.freed {
                if core.locate(&id)?.is_none() {
                    draft.freed.push(id);
                }
            }
        }
        if draft.is_empty() {
            return Ok(CommitProof {
                shard: core.shard,
                batch: self.batch,
            });
        }
        self.commit(draft)
    }

    fn commit(&mut self, mut draft: Draft) -> Result<CommitProof> {
        self.core.writable()?;
        let reserve = self.core.ensure_reserve();
        if !draft.may_use_reserve {
            reserve?;
        }
        let (body, applied, journal) = match self.append(&mut draft) {
            Err(StorageError::NoSpace) if draft.may_use_reserve && self.core.release_reserve() => {
                self.append(&mut draft)
            }
            other => other,
        }?;
        self.sync(&draft.placed, &journal)?;
        self.batch = applied.batch;
        self.hash = applied.hash;
        self.apply(&body, applied)?;
        fail::fail_point!("storage::ack", |_| Err(self.core.poison()));
        Ok(CommitProof {
            shard: self.core.shard,
            batch: applied.batch,
        })
    }

    /// Step 1. On error nothing is left behind.
    fn append(&mut self, draft: &mut Draft) -> Result<(BatchBody, Applied, Arc<SegmentFile>)> {
        fail::fail_point!("storage::append", |_| Err(StorageError::NoSpace));
        let start = self.core.observer.start();
        let journal = self.segment()?;
        let mut gather = Gather::default();
        let mut objects = Vec::with_capacity(draft.objects.len());
        for (id, bytes) in &draft.objects {
            let header = RecordHeader {
                kind: RecordKind::Object,
                id: *id.as_bytes(),
                offset: journal.end() + gather.len_bytes(),
                sequence: 0,
                body_bytes: bytes.len() as u64,
                body_checksum: crc32c::crc32c(bytes),
            };
            let location = Location {
                kind: SegmentKind::Journal,
                segment: journal.id.segment,
                offset: header.offset,
                total_bytes: RECORD_HEADER_BYTES + header.body_bytes,
            };
            gather.copy(&header.encode(&journal.id));
            gather.push(bytes);
            objects.push((*id, location));
        }
        let placed = draft.placed.iter().map(|placed| (placed.id, placed.location));
        let body = BatchBody {
            previous_hash: self.hash,
            time_ms: now_ms(),
            rows: std::mem::take(&mut draft.rows),
            placed: placed.chain(draft.carried.iter().copied()).collect(),
            objects,
            freed: draft.freed.clone(),
        };
        let bytes = body.encode();
        let offset = journal.end() + gather.len_bytes();
        let header = RecordHeader {
            kind: RecordKind::Batch,
            id: [0; 16],
            offset,
            sequence: self.batch + 1,
            body_bytes: bytes.len() as u64,
            body_checksum: crc32c::crc32c(&bytes),
        };
        let header_bytes = header.encode(&journal.id);
        let hash = running_hash(&header_bytes, &bytes);
        gather.copy(&header_bytes);
        gather.push(&bytes.into());
        let len_bytes = gather.len_bytes();
        let end = journal.end() + len_bytes;
        if let Err(error) = self.core.checked(gather.append_to(&journal)) {
            draft.rows = body.rows;
            return Err(error);
        }
        self.core.observer.finish(Stage::AppendJournal, start, len_bytes);
        let applied = Applied {
            batch: self.batch + 1,
            hash,
            segment: journal.id.segment,
            offset,
            end,
        };
        Ok((body, applied, journal))
    }

    /// The open journal segment, a new one if it is full.
    fn segment(&mut self) -> Result<Arc<SegmentFile>> {
        if let Some(journal) = &self.journal
            && journal.end() < self.journal_segment_bytes
        {
            return Ok(Arc::clone(journal));
        }
        let header = FileHeader {
            id: self.core.files.id(SegmentKind::Journal, self.next_segment),
            replaces: 0,
            created_ms: now_ms(),
            first_batch: self.batch + 1,
            previous_hash: self.hash,
        };
        let directory = self.core.files.directory(SegmentKind::Journal)?;
        let journal = Arc::new(
            self.core
                .checked(SegmentFile::create(&*self.core.vfs, directory, header))?,
        );
        self.next_segment += 1;
        self.journal = Some(Arc::clone(&journal));
        Ok(journal)
    }

    /// Step 2.
    fn sync(&self, placed: &[Placed], journal: &SegmentFile) -> Result<()> {
        let core = &self.core;
        let mut pixels: Vec<Arc<SegmentFile>> = Vec::new();
        for placed in placed {
            let end = placed.location.offset + placed.location.total_bytes;
            if !placed.segment.is_synced(end) && !pixels.iter().any(|file| Arc::ptr_eq(file, &placed.segment)) {
                pixels.push(Arc::clone(&placed.segment));
            }
        }
        let sync_journal = || -> Result<()> {
            fail::fail_point!("storage::fsync_journal", |_| Err(StorageError::Poisoned {
                shard: core.shard
            }));
            let start = core.observer.start();
            journal.sync()?;
            core.observer.finish(Stage::SyncJournal, start, 1);
            Ok(())
        };
        let (journal_result, pixels_result) = if pixels.is_empty() {
            (sync_journal(), Ok(()))
        } else {
            let (observer, shard) = (core.observer.clone(), core.shard);
            let sync_pixels = move || -> Result<()> {
                fail::fail_point!("storage::fsync_pixels", |_| Err(StorageError::Poisoned { shard }));
                let start = observer.start();
                pixels.iter().try_for_each(|file| file.sync())?;
                observer.finish(Stage::SyncPixels, start, pixels.len() as u64);
                Ok(())
            };
            let lost = || Err(StorageError::Poisoned { shard });
            self.alongside.both(sync_journal, sync_pixels, lost)
        };
        pixels_result.and(journal_result).map_err(|_| core.poison())
    }

    /// Step 3. The batch is durable, so a full disk is waited out and anything else poisons.
    fn apply(&self, body: &BatchBody, applied: Applied) -> Result<()> {
        fail::fail_point!("storage::apply", |_| Err(self.core.poison()));
        let core = &self.core;
        let start = core.observer.start();
        let (batch, changes) = core.plan(body, &applied).map_err(|_| core.poison())?;
        let mut told = Instant::now();
        loop {
            match core.index.write(&batch) {
                Ok(()) => break,
                Err(StorageError::NoSpace) => {
                    core.release_reserve();
                    if told.elapsed() > Duration::from_secs(10) {
                        tracing::warn!(shard = core.shard, "the index waits for disk space");
                        told = Instant::now();
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => {
                    tracing::error!(shard = core.shard, %error, "the index refused a durable batch");
                    return Err(core.poison());
                }
            }
        }
        core.settle(changes, applied);
        core.observer.finish(Stage::ApplyIndex, start, batch.len() as u64);
        Ok(())
    }
}

impl CommitBatch {
    /// Bytes that the journal will need, roughly.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.rows.iter().map(Row::encoded_bytes).sum::<usize>()
            + self.objects.iter().map(|(_, bytes)| bytes.len() + 101).sum::<usize>()
            + self.placed.len() * 37
            + self.freed.len() * 16
    }
}
