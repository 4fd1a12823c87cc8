//! What flows between the stages. Every message is bounded: a chunk, a run of at most [`RUN_BYTES_MAX`], or a header.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use septum_core::codec::{Codec, Tier};
use septum_core::dicom::{InstanceStart, SplitInstance};
use septum_core::frame_shape::FrameShape;
use septum_core::ids::{NamespaceId, ObjectId, PixelSetId, SplitId, UserId, VersionId};
use septum_storage::Placed;
use tokio::sync::oneshot;

use super::arrival::{Arrival, Values};
use super::budget::{Budget, Share};
use super::intake::Progress;
use super::ticket::{Receipt, RunTicket, Ticket};
use crate::error::Result;
use crate::records::{MetadataRow, Run, RunUnit, VersionRecord};
use crate::studies::StudyHandle;
use crate::templates::LoadedTemplate;

/// A run closes when it has this many payload bytes.
pub const RUN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Who sent an instance, for the audit log.
#[derive(Debug, Clone)]
pub struct Source {
    /// The user.
    pub user: UserId,
    /// The client's address.
    pub address: Option<IpAddr>,
}

/// What became of an instance that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// New.
    Stored,
    /// The same bytes were there already; nothing was written twice.
    Duplicate,
    /// The SOP Instance UID was there with other content: stored as the newest version.
    Version,
    /// The study UID belongs to another patient: stored apart, in the exception list.
    Held,
}

/// The good news of one instance.
#[derive(Debug, Clone)]
pub struct StoreOutcome {
    /// What became of it.
    pub kind: StoreKind,
    /// Its version.
    pub version: VersionId,
    /// The namespace it went into.
    pub namespace: NamespaceId,
    /// Where it is held, for [`StoreKind::Held`]: the exception's id.
    pub exception: Option<String>,
    /// Names of the leniencies it needed.
    pub warnings: Vec<String>,
}

/// Input of the parser.
pub enum Input {
    /// The next bytes of the Part 10 stream.
    Bytes(Bytes),
    /// The last bytes, perhaps none: the stream ends behind them.
    End(Bytes),
}

/// A step of parsing; the state comes back through `reply` until the stream ends.
pub struct Parse {
    /// Where parsing stands.
    pub progress: Box<Progress>,
    /// What comes next.
    pub input: Input,
    /// How far it came, or why the instance is refused or failed.
    pub reply: oneshot::Sender<Result<Parsed>>,
}

/// How far a step of parsing came.
pub enum Parsed {
    /// There is more to come: the state back.
    Part(Box<Progress>),
    /// The end went down the pipeline; this is what it was.
    Whole(Arc<InstanceStart>),
}

/// Whether more instances follow in the request that an instance came in: its sender hears of none before all are
/// through, so its commit may share their sync.
#[derive(Debug, Clone, Default)]
pub struct More(Arc<AtomicBool>);

impl More {
    /// More follow, until [`More::end`].
    pub fn begin() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// That was the last one.
    pub fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether more follow; never where nobody said so.
    pub fn follows(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether the pixels of an instance are as dense as they get: then nothing is left to be done in the background.
#[derive(Debug, Clone, Default)]
pub struct Density(Arc<AtomicBool>);

impl Density {
    /// Units were encoded in that tier.
    pub fn note(&self, tier: Tier) {
        if tier != Tier::Dense {
            self.0.store(true, Ordering::Release);
        }
    }

    /// Whether all of them were encoded in the dense tier.
    pub fn is_full(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

/// What all parts of one instance share.
#[derive(Clone)]
pub struct InstanceContext {
    /// The study it goes into.
    pub study: Arc<StudyHandle>,
    /// Its version.
    pub version: VersionId,
    /// Its pixel set.
    pub pixel_set: PixelSetId,
    /// Binds its halves.
    pub split: SplitId,
    /// What its header says.
    pub start: Arc<InstanceStart>,
    /// Who sent it.
    pub source: Source,
    /// When its first byte was admitted.
    pub admitted: Instant,
    /// Whether more follow in its request.
    pub more: More,
    /// How its pixels are encoded.
    pub density: Density,
}

/// A run of consecutive units as received.
pub struct FrameRun {
    /// Whose.
    pub instance: InstanceContext,
    /// Index of the first unit.
    pub first_unit: u32,
    /// The units.
    pub units: Vec<Bytes>,
    /// How a unit lies in memory, where a unit is one native frame.
    pub shape: Option<FrameShape>,
    /// Units are native: worth compressing.
    pub native: bool,
    /// Answers for it.
    pub ticket: RunTicket,
    /// Memory permits.
    pub share: Share,
}

/// A unit of a long value, as received and then compressed.
pub struct ValueWork {
    /// The study it goes into.
    pub study: Arc<StudyHandle>,
    /// The version of the instance.
    pub version: VersionId,
    /// Its number among the instance's.
    pub index: u32,
    /// Its bytes.
    pub bytes: Bytes,
    /// Keeps it from being freed.
    pub arrival: Arc<Arrival>,
    /// Answers for it.
    pub ticket: Ticket<ObjectId>,
    /// Memory permits.
    pub share: Share,
}

/// All of an instance but its runs, which are placed already, and the units of its long values.
pub struct InstanceEnded {
    /// Memory permits of its header; they come back when it is committed.
    pub budget: Budget,
    /// Whose.
    pub instance: InstanceContext,
    /// The header and the layout.
    pub split: Box<SplitInstance>,
    /// The runs, in order.
    pub placed: Vec<(Run, Placed)>,
    /// Its long values.
    pub values: Values,
    /// Answers for it.
    pub receipt: Receipt,
}

/// Work of the compressor.
pub enum CompressWork {
    /// Pixels.
    Run(FrameRun),
    /// A unit of a long value.
    Value(ValueWork),
    /// Header.
    Ended(InstanceEnded),
}

/// A unit in its codec's form.
pub struct EncodedUnit {
    /// The codec.
    pub codec: Codec,
    /// The bytes.
    pub bytes: Bytes,
}

/// A run in its codecs' forms.
pub struct EncodedRun {
    /// Whose.
    pub instance: InstanceContext,
    /// Index of the first unit.
    pub first_unit: u32,
    /// The units.
    pub units: Vec<EncodedUnit>,
    /// Answers for it.
    pub ticket: RunTicket,
    /// Memory permits.
    pub share: Share,
}

/// An instance whose header is compressed and whose metadata is made.
pub struct CompressedInstance {
    /// Memory permits of its header; they come back when it is committed.
    pub budget: Budget,
    /// Whose.
    pub instance: InstanceContext,
    /// The layout and digests; header bytes are gone.
    pub record: VersionRecord,
    /// Framing and frame table, where there are pixels.
    pub split: Box<SplitInstance>,
    /// The header against `template`.
    pub header: Vec<u8>,
    /// Its metadata against `template`, with its length before compression in front.
    pub metadata: Vec<u8>,
    /// Metadata as a JSON object, for summaries.
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// What `header` and `metadata` refer to.
    pub template: Option<Arc<LoadedTemplate>>,
    /// What becomes the series' template when it has none yet.
    pub new_template: Option<Vec<u8>>,
    /// The runs, in order.
    pub placed: Vec<(Run, Placed)>,
    /// Its long values.
    pub values: Values,
    /// Answers for it.
    pub receipt: Receipt,
}

/// Work of the sealer.
pub enum SealWork {
    /// Pixels.
    Run(EncodedRun),
    /// A unit of a long value.
    Value(ValueWork),
    /// Header.
    Ended(Box<CompressedInstance>),
}

/// A sealed run.
pub struct SealedRun {
    /// The object's id.
    pub object: ObjectId,
    /// The object's bytes.
    pub bytes: Bytes,
    /// Index of the first unit.
    pub first_unit: u32,
    /// Its units.
    pub units: Vec<RunUnit>,
    /// Answers for it.
    pub ticket: RunTicket,
    /// Memory permits.
    pub share: Share,
}

/// An instance of which nothing is in the clear but what the decision needs.
pub struct SealedInstance {
    /// Memory permits of its header; they come back when it is committed.
    pub budget: Budget,
    /// Whose.
    pub instance: InstanceContext,
    /// What the decision compares and summarises.
    pub record: VersionRecord,
    /// Metadata attributes, for summaries.
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Sealed [`VersionRecord`].
    pub sealed_record: Vec<u8>,
    /// Sealed header object.
    pub header: (ObjectId, Bytes),
    /// The template the header refers to.
    pub template: Option<ObjectId>,
    /// A sealed template for a series that has none.
    pub new_template: Option<(ObjectId, Bytes)>,
    /// Its metadata row.
    pub metadata: MetadataRow,
    /// The object that the metadata row names, if it is large.
    pub metadata_object: Option<(ObjectId, Bytes)>,
    /// Sealed pixel record and the objects it names.
    pub pixels: Option<(Vec<ObjectId>, Vec<u8>)>,
    /// Placed pixel objects.
    pub placed: Vec<Placed>,
    /// Its long values.
    pub values: Values,
    /// Payload bytes and sealed bytes, for the ratio.
    pub payload_bytes: u64,
    /// See `payload_bytes`.
    pub stored_bytes: u64,
    /// Answers for it.
    pub receipt: Receipt,
}

impl SealedInstance {
    /// Whether its pixels are to be made denser in the background.
    pub fn waits_for_density(&self) -> bool {
        let is_native = self.record.pixels.as_ref().is_some_and(|pixels| !pixels.encapsulated);
        is_native && !self.instance.density.is_full()
    }
}

/// A sealed unit of a long value.
pub struct SealedValue {
    /// The version of the instance.
    pub version: VersionId,
    /// Its number among the instance's.
    pub index: u32,
    /// The object's id.
    pub object: ObjectId,
    /// The object's bytes.
    pub bytes: Bytes,
    /// Keeps it from being freed.
    pub arrival: Arc<Arrival>,
    /// Answers for it.
    pub ticket: Ticket<ObjectId>,
    /// Memory permits.
    pub share: Share,
}

/// Work of a committer.
pub enum CommitWork {
    /// Append pixels.
    Run(SealedRun),
    /// Keep a unit of a long value.
    Value(SealedValue),
    /// Commit the instance.
    Ended(Box<SealedInstance>),
}
