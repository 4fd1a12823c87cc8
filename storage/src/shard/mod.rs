//! A shard: one index, one PHI journal, one set of pixel segments, one committer thread.
//!
//! The catalogue is a shard without pixels. See [`writer`](self) for the steps of a commit; the journal is the truth,
//! the index a cache.

mod alongside;
mod compact;
pub(crate) mod core;
mod group;
pub(crate) mod journal;
mod pixels;
pub(crate) mod recovery;
mod writer;

pub use self::core::{Health, PoisonHook};
pub use compact::CompactReport;
pub use pixels::Pieces;
pub use recovery::RecoveryReport;

use self::core::{Applied, Core, Overlay, StatMap};
use self::pixels::PixelAppender;
use self::writer::{Message, QUEUE_COMMITS, Queued, Writer};
use crate::batch::{COMMIT_BYTES_MAX, CommitBatch, CommitProof, KEY_BYTES_MAX, Placed, VALUE_BYTES_MAX};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{RECORD_HEADER_BYTES, RecordKind};
use crate::index::{Index, IndexOpener, Pair};
use crate::keys::{FIRST_ROW_BYTE, prefix_end};
use crate::metrics::{Observer, Stage};
use crate::segment::FileCache;
use crate::vfs::Vfs;
use bytes::Bytes;
use crossbeam_channel::{Sender, TrySendError, bounded};
use septum_core::ids::ObjectId;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Everything a shard needs to open.
pub(crate) struct ShardConfig {
    pub(crate) shard: u16,
    pub(crate) store: [u8; 16],
    pub(crate) vfs: Arc<dyn Vfs>,
    /// Holds `journal/` and `index/`.
    pub(crate) directory: PathBuf,
    /// Holds the pixel segments; `None` for the catalogue.
    pub(crate) pixels: Option<PathBuf>,
    pub(crate) opener: IndexOpener,
    pub(crate) observer: Observer,
    pub(crate) on_poison: Option<PoisonHook>,
    pub(crate) pixel_segment_bytes: u64,
    pub(crate) journal_segment_bytes: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) read_only: bool,
    /// Throw the index away and rebuild it.
    pub(crate) rebuild: bool,
}

impl ShardConfig {
    /// The shared state over an index, not recovered yet.
    pub(crate) fn core(&self, index: Arc<dyn Index>, stats: StatMap) -> Core {
        let journal = self.directory.join("journal");
        let files = FileCache::new(
            Arc::clone(&self.vfs),
            self.store,
            self.shard,
            self.pixels.clone(),
            journal,
        );
        let has_reserve = self.vfs.exists(&self.directory.join("reserve")).unwrap_or(false);
        Core {
            shard: self.shard,
            store: self.store,
            vfs: Arc::clone(&self.vfs),
            directory: self.directory.clone(),
            index,
            files,
            observer: self.observer.clone(),
            on_poison: self.on_poison.clone(),
            poisoned: AtomicBool::new(false),
            health: Health::Healthy,
            overlay: Mutex::new(Overlay::default()),
            stats: Mutex::new(stats),
            applied: Mutex::new(Applied::default()),
            removal: Mutex::new(()),
            reserve_bytes: if self.read_only { 0 } else { self.reserve_bytes },
            has_reserve: AtomicBool::new(has_reserve),
        }
    }
}

/// One shard. All methods may be called from any thread.
#[derive(Debug)]
pub struct Shard {
    core: Arc<Core>,
    pixels: Option<Arc<PixelAppender>>,
    sender: Mutex<Option<Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    report: RecoveryReport,
    compacting: Mutex<()>,
    examined: compact::Examined,
}

/// Figures of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// The last durable batch.
    pub last_batch: u64,
    /// Segments known to the index.
    pub num_pixel_segments: u64,
    /// Committed bytes in pixel segments.
    pub pixel_bytes: u64,
    /// Of these, bytes of live objects.
    pub pixel_live_bytes: u64,
    /// Live pixel objects.
    pub num_pixel_objects: u64,
    /// Journal segments known to the index.
    pub num_journal_segments: u64,
    /// Committed bytes in journal segments.
    pub journal_bytes: u64,
    /// Of these, bytes of live objects.
    pub journal_live_object_bytes: u64,
    /// Commits waiting for the committer.
    pub num_queued: u64,
    /// Rows of commits in flight.
    pub num_staged_rows: u64,
}

/// A commit on its way. Resolves once durable; dropping it does not undo the commit.
#[derive(Debug)]
#[must_use = "only the ticket tells whether the commit is durable"]
pub struct CommitTicket(Ticket);

#[derive(Debug)]
enum Ticket {
    Refused(Option<StorageError>),
    Waiting(oneshot::Receiver<Result<CommitProof>>),
}

impl Future for CommitTicket {
    type Output = Result<CommitProof>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ticket::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(StorageError::Closed))),
            Ticket::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|answer| answer.unwrap_or(Err(StorageError::Closed))),
        }
    }
}

impl CommitTicket {
    /// Waits on a thread that is not asynchronous.
    ///
    /// # Errors
    /// As [`Shard::commit`].
    pub fn wait(self) -> Result<CommitProof> {
        match self.0 {
            Ticket::Refused(error) => Err(error.unwrap_or(StorageError::Closed)),
            Ticket::Waiting(receiver) => receiver.blocking_recv().unwrap_or(Err(StorageError::Closed)),
        }
    }
}

fn check_key(key: &[u8]) -> Result<()> {
    match key.first() {
        Some(first) if *first >= FIRST_ROW_BYTE => Ok(()),
        _ => Err(StorageError::ReservedKey),
    }
}

/// Runs blocking work off the asynchronous threads, where there are any.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(handle) => handle.spawn_blocking(work).await.unwrap_or(Err(StorageError::Closed)),
        Err(_) => work(),
    }
}

impl Shard {
    /// Opens the shard. An index that turns out to be damaged on the way is made anew from the journal.
    pub(crate) fn open(mut config: ShardConfig) -> Result<Arc<Self>> {
        match Self::open_once(&config) {
            Err(StorageError::Index { message, .. }) if !config.read_only && !config.rebuild => {
                tracing::error!(shard = config.shard, %message, "the index is damaged; rebuilding it from the journal");
                config.rebuild = true;
                Self::open_once(&config)
            }
            other => other,
        }
    }

    fn open_once(config: &ShardConfig) -> Result<Arc<Self>> {
        let index_directory = config.directory.join("index");
        let (index, rebuild) = if config.rebuild && !config.read_only {
            let reason = "asked for, or found damaged while opening".to_owned();
            (config.opener.recreate(&index_directory, config.shard)?, Some(reason))
        } else {
            recovery::open_index(&config.opener, &index_directory, config.shard, config.read_only)?
        };
        let stats = recovery::load_stats(&*index, config.shard)?;
        let mut core = config.core(index, stats);
        let recovered = recovery::recover(&core, rebuild, config.read_only)?;
        core.health = recovered.health;
        if config.read_only && matches!(core.health, Health::Healthy) {
            core.health = Health::ReadOnly("opened read-only".into());
        }
        if matches!(core.health, Health::Healthy) {
            config.opener.forget_damaged(&index_directory);
            // A full disk must not keep the shard from starting.
            let _ = core.ensure_reserve();
        }
        let core = Arc::new(core);
        let applied = *crate::lock(&core.applied);
        let writer = Writer {
            core: Arc::clone(&core),
            journal: recovered.journal,
            next_segment: recovered.next_journal,
            journal_segment_bytes: config.journal_segment_bytes,
            batch: applied.batch,
            hash: applied.hash,
            alongside: alongside::Alongside::start(config.shard),
        };
        let pixels = config.pixels.as_ref().map(|_| {
            Arc::new(PixelAppender::new(
                config.pixel_segment_bytes,
                recovered.pixels,
                recovered.next_pixels,
            ))
        });
        let (sender, receiver) = bounded(QUEUE_COMMITS);
        let thread = std::thread::Builder::new()
            .name(format!("commit-{}", config.shard))
            .spawn(move || writer.run(&receiver))
            .map_err(StorageError::io("start the committer"))?;
        Ok(Arc::new(Self {
            core,
            pixels,
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            report: recovered.report,
            compacting: Mutex::new(()),
            examined: compact::Examined::default(),
        }))
    }

    /// The shard's number; [`crate::CATALOG_SHARD`] for the catalogue.
    pub fn id(&self) -> u16 {
        self.core.shard
    }

    /// Whether the shard can be used.
    pub fn health(&self) -> Health {
        match self.core.readable() {
            Err(error) => Health::Failed(error),
            Ok(()) => self.core.health.clone(),
        }
    }

    /// What opening it found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// A durable row.
    ///
    /// # Errors
    /// [`StorageError::ReservedKey`] for a key of storage's own; [`StorageError::Index`] if the index is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        self.core.readable()?;
        self.core.index.get(key)
    }

    /// A row as it will be once the commits in flight are durable. For the one that builds the next commit; never
    /// answer a reader from it.
    ///
    /// # Errors
    /// As [`Shard::get`].
    pub fn get_staged(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        self.core.readable()?;
        if let Some((_, value)) = crate::lock(&self.core.overlay).rows.get(key) {
            return Ok(value.clone());
        }
        self.core.index.get(key)
    }

    /// Raised when staged rows were thrown away, because a commit in flight failed. See
    /// [`CommitBatch::generation`].
    pub fn generation(&self) -> u64 {
        crate::lock(&self.core.overlay).generation
    }

    /// Durable rows whose key starts with `prefix`, ascending, from the key `from` (included; append a zero byte to
    /// the last key of a page to go on), at most `limit`.
    ///
    /// # Errors
    /// As [`Shard::get`].
    pub fn scan(&self, prefix: &[u8], from: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>> {
        check_key(prefix)?;
        self.core.readable()?;
        let start = from.filter(|from| *from > prefix).unwrap_or(prefix);
        self.core.index.scan(start, prefix_end(prefix).as_deref(), limit)
    }

    /// Appends pixel objects to the open pixel segment, at once and in order; all or none. Not durable: name the
    /// result in a commit. Up to 1 GiB each; memory is what the caller holds.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`] on a full disk (nothing remains), [`StorageError::NoPixels`] on the catalogue.
    pub async fn put_batch<B: Into<Pieces>>(&self, objects: Vec<(ObjectId, B)>) -> Result<Vec<Placed>> {
        let pixels = Arc::clone(self.pixels.as_ref().ok_or(StorageError::NoPixels)?);
        let objects: Vec<(ObjectId, Pieces)> = objects.into_iter().map(|(id, bytes)| (id, bytes.into())).collect();
        let core = Arc::clone(&self.core);
        off_thread(move || pixels.append(&core, objects)).await
    }

    /// As [`Shard::put_batch`], on the calling thread.
    ///
    /// # Errors
    /// As [`Shard::put_batch`].
    pub fn put_batch_blocking<B: Into<Pieces>>(&self, objects: Vec<(ObjectId, B)>) -> Result<Vec<Placed>> {
        let pixels = self.pixels.as_ref().ok_or(StorageError::NoPixels)?;
        pixels.append(
            &self.core,
            objects.into_iter().map(|(id, bytes)| (id, bytes.into())).collect(),
        )
    }

    /// Stages the rows, in call order, and queues the commit. Never blocks.
    pub fn submit(&self, batch: CommitBatch) -> CommitTicket {
        match self.try_submit(batch) {
            Ok(receiver) => CommitTicket(Ticket::Waiting(receiver)),
            Err(error) => CommitTicket(Ticket::Refused(Some(error))),
        }
    }

    fn try_submit(&self, batch: CommitBatch) -> Result<oneshot::Receiver<Result<CommitProof>>> {
        self.core.writable()?;
        self.check(&batch)?;
        let staged: Vec<_> = batch
            .rows
            .iter()
            .map(|row| (row.key().to_vec(), row.value().map(<[u8]>::to_vec)))
            .collect();
        let (reply, receiver) = oneshot::channel();
        let sender = crate::lock(&self.sender).clone().ok_or(StorageError::Closed)?;
        // Staging and queueing are one step, so that the overlay and the journal have the same order.
        let mut overlay = crate::lock(&self.core.overlay);
        if batch
            .generation
            .is_some_and(|generation| generation != overlay.generation)
        {
            return Err(StorageError::EarlierCommitFailed);
        }
        overlay.next_sequence += 1;
        let (sequence, generation) = (overlay.next_sequence, overlay.generation);
        let queued = Queued {
            batch,
            sequence,
            generation,
            reply,
        };
        sender
            .try_send(Message::Commit(Box::new(queued)))
            .map_err(|error| match error {
                TrySendError::Full(_) => StorageError::Overloaded,
                TrySendError::Disconnected(_) => StorageError::Closed,
            })?;
        overlay
            .rows
            .extend(staged.into_iter().map(|(key, value)| (key, (sequence, value))));
        Ok(receiver)
    }

    fn check(&self, batch: &CommitBatch) -> Result<()> {
        let too_large = |what, size: usize, limit: usize| {
            if size <= limit {
                return Ok(());
            }
            Err(StorageError::TooLarge {
                what,
                size: size as u64,
                limit: limit as u64,
            })
        };
        for row in &batch.rows {
            check_key(row.key())?;
            too_large("a key", row.key().len(), KEY_BYTES_MAX)?;
            too_large("a value", row.value().map_or(0, <[u8]>::len), VALUE_BYTES_MAX)?;
        }
        too_large("a commit", batch.weight_bytes(), COMMIT_BYTES_MAX)?;
        if batch
            .placed
            .iter()
            .any(|placed| placed.shard != self.core.shard || placed.segment.id.store != self.core.store)
        {
            return Err(StorageError::Identity(
                "a placed object belongs to another shard".into(),
            ));
        }
        Ok(())
    }

    /// Makes the batch durable on both roots and visible, or neither.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`], [`StorageError::EarlierCommitFailed`], [`StorageError::Overloaded`]: nothing
    /// happened, a repeat may succeed. [`StorageError::Poisoned`], [`StorageError::Closed`]: unknown until restart.
    pub async fn commit(&self, batch: CommitBatch) -> Result<CommitProof> {
        self.submit(batch).await
    }

    /// Reads a committed object, or the bytes `range` of it. Header and id are always checked, the body's checksum
    /// when all of it is read.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] only if no such object is committed; [`StorageError::Corrupt`] if it is and cannot
    /// be read; [`StorageError::Range`].
    pub async fn read_object(&self, id: ObjectId, range: Option<Range<u64>>) -> Result<Bytes> {
        let core = Arc::clone(&self.core);
        off_thread(move || read(&core, id, range)).await
    }

    /// As [`Shard::read_object`], on the calling thread.
    ///
    /// # Errors
    /// As [`Shard::read_object`].
    pub fn read_object_blocking(&self, id: ObjectId, range: Option<Range<u64>>) -> Result<Bytes> {
        read(&self.core, id, range)
    }

    /// Length of a committed object in bytes, `None` if there is none.
    ///
    /// # Errors
    /// As [`Shard::get`].
    pub fn object_bytes(&self, id: ObjectId) -> Result<Option<u64>> {
        self.core.readable()?;
        Ok(self.core.locate(&id)?.map(|location| location.body_bytes()))
    }

    /// Figures for metrics.
    pub fn stats(&self) -> ShardStats {
        let mut figures = ShardStats {
            last_batch: crate::lock(&self.core.applied).batch,
            ..ShardStats::default()
        };
        for ((kind, _), stat) in crate::lock(&self.core.stats).iter() {
            if *kind == SegmentKind::Pixels {
                figures.num_pixel_segments += 1;
                figures.pixel_bytes += stat.end;
                figures.pixel_live_bytes += stat.live_bytes;
                figures.num_pixel_objects += stat.live_objects;
            } else {
                figures.num_journal_segments += 1;
                figures.journal_bytes += stat.end;
                figures.journal_live_object_bytes += stat.live_bytes;
            }
        }
        figures.num_queued = crate::lock(&self.sender)
            .as_ref()
            .map_or(0, |sender| sender.len() as u64);
        figures.num_staged_rows = crate::lock(&self.core.overlay).rows.len() as u64;
        figures
    }

    /// Finishes queued commits, ends the committer and closes the index. Later calls that write fail.
    pub fn close(&self) {
        if let Some(sender) = crate::lock(&self.sender).take() {
            let _ = sender.send(Message::Close);
        }
        if let Some(thread) = crate::lock(&self.thread).take() {
            let _ = thread.join();
            self.core.index.close();
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.close();
    }
}

fn read(core: &Core, id: ObjectId, range: Option<Range<u64>>) -> Result<Bytes> {
    let start = core.observer.start();
    let mut tried = None;
    let bytes = loop {
        core.readable()?;
        let location = core.locate(&id)?.ok_or(StorageError::NotFound)?;
        // Compaction may move the object and remove the segment between the two steps: look again, and believe
        // damage only where the object still is.
        match read_at(core, &id, &location, range.clone()) {
            Err(error) if error.is_corrupt() && tried != Some(location) => tried = Some(location),
            other => break other?,
        }
    };
    core.observer.finish(Stage::ReadObject, start, bytes.len() as u64);
    Ok(bytes)
}

fn read_at(core: &Core, id: &ObjectId, location: &crate::batch::Location, range: Option<Range<u64>>) -> Result<Bytes> {
    let segment = core.segment_of(location)?;
    let wrong = |header: &crate::format::RecordHeader| header.kind != RecordKind::Object || header.id != *id.as_bytes();
    let Some(range) = range else {
        let (header, body) = segment.read_record(location.offset, Some(location.total_bytes))?;
        if wrong(&header) {
            return Err(segment.id.corrupt(location.offset, "another object"));
        }
        return Ok(body);
    };
    if range.start > range.end || range.end > location.body_bytes() {
        return Err(StorageError::Range {
            end: range.end,
            length: location.body_bytes(),
        });
    }
    let header = segment.read_header(location.offset)?;
    if wrong(&header) || header.total_bytes() != location.total_bytes {
        return Err(segment.id.corrupt(location.offset, "another object"));
    }
    let mut buffer = vec![0; (range.end - range.start) as usize];
    segment.read_into(&mut buffer, location.offset + RECORD_HEADER_BYTES + range.start)?;
    Ok(buffer.into())
}
