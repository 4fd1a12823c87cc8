//! The rows and sealed records the engine keeps, and how their keys are built.
//!
//! Rows lie in the index of the shard that owns the study. What a row shows in the clear is random ids and blind index
//! tokens; everything about a patient is inside a `sealed` field. Values are postcard behind a format version byte; an
//! unknown version is refused with its number.
//!
//! | row | key | value |
//! |---|---|---|
//! | study | namespace ‖ study token ‖ storage namespace | [`StudyRow`] |
//! | exception | namespace ‖ study token ‖ patient token | [`StudyRow`] held apart (invariant 10) |
//! | series | study id ‖ series token | [`SeriesRow`] |
//! | instance | study id ‖ series token ‖ instance token | [`InstanceRow`] |
//! | version | study id ‖ version id | [`VersionRow`] |
//! | pixel record | study id ‖ pixel set id | [`PixelRow`] |
//! | pixel use | study id ‖ pixel set id | how many other studies use it ([`crate::pixel_use`]) |
//! | metadata | study id ‖ series token ‖ instance token | [`MetadataRow`]: DICOM JSON of the current version |
//! | folded metadata | study id ‖ series token | [`FoldedRow`]: the same of many instances together |
//! | columns | namespace ‖ page id | [`ColumnsRow`] |
//! | extended | study id | [`crate::extended`]: what its instances say of extended attributes |
//! | lookup | namespace ‖ attribute ‖ token ‖ study row key from the token on | empty |
//! | unfolded | as the study row | empty; present until columns and series metadata are folded |
//! | frozen | as the study row | empty; present while nothing may change the study ([`crate::freeze`]) |
//! | unstable | as the study row | time of the last commit; present until the study is stable |
//!
//! A study row's namespace is where its PHI is seen, its storage namespace where its pixels were stored: they differ for
//! a share, which is a second row on the same pixels.

use bytes::Bytes;
use septum_core::codec::Codec;
use septum_core::dicom::{Encoding, PixelDescription, PixelLayout, UnitKind};
use septum_core::frame_shape::FrameShape;
use septum_core::ids::{NamespaceId, ObjectId, PixelSetId, SplitId, StudyId, StudyKeyId, UserId, VersionId};
use septum_core::seal::{ObjectContext, Part, Token};
use septum_storage::RowKind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{EngineError, Result};
use crate::standing::Standing;

/// The format version every value starts with. It counts what releases wrote, and there was none yet: until then rows
/// change without a new number, and stores of unreleased builds are made anew.
const FORMAT_VERSION: u8 = 1;

/// A record as stored.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let start = vec![FORMAT_VERSION];
    #[expect(
        clippy::expect_used,
        reason = "our records hold nothing that postcard cannot write, and memory grows"
    )]
    postcard::to_extend(record, start).expect("records serialise")
}

/// Reads a stored record; `what` names its kind in the error.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, body)) => postcard::from_bytes(body).map_err(|_| EngineError::Corrupt(what)),
        Some((version, _)) => {
            tracing::error!(what, version, "unknown record format version");
            Err(EngineError::Corrupt(what))
        }
        None => Err(EngineError::Corrupt(what)),
    }
}

/// A study in one namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StudyRow {
    /// The study's own random id.
    pub study: StudyId,
    /// Names its data keys.
    pub keys: StudyKeyId,
    /// Token of the patient key it belongs to.
    pub patient: Token,
    /// Grows by one with each change of the summary.
    pub revision: u64,
    /// The page of columns that holds it, once folded.
    pub page: Option<ObjectId>,
    /// Sealed [`StudySummary`].
    pub sealed: Vec<u8>,
}

/// What searches and lists need of a study; PHI, always sealed at rest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StudySummary {
    /// Study Instance UID.
    pub study_uid: String,
    /// Patient and study level attributes, DICOM JSON Model.
    pub attributes: Map<String, Value>,
    /// The series, in order of arrival.
    pub series: Vec<SeriesSummary>,
    /// When the first instance was committed here, milliseconds since 1970.
    pub first_commit_ms: i64,
    /// When the last instance was committed, milliseconds since 1970.
    pub last_commit_ms: i64,
    /// Bytes of the datasets of its current instances, as they were sent.
    pub dataset_bytes: u64,
    /// Where it comes from, where it was shared.
    pub shared: Option<Shared>,
    /// Others have shares of it, or had: what changes in it is to be shown there ([`crate::follow`]).
    pub has_shares: bool,
    /// What was corrected in it.
    pub standing: Option<Standing>,
    /// An instance was replaced that may have been the only one to say something that stands here still: what current
    /// instances say is gathered anew when the study is folded.
    pub is_behind: bool,
}

/// Where a share comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The namespace it was shared from.
    pub from: NamespaceId,
    /// Who shared it.
    pub by: UserId,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// What they said about it.
    pub message: String,
    /// The sender's study as it was, and the revision it had.
    pub seen: (StudyId, u64),
    /// What the receiver deleted: it does not come back by itself.
    pub removed: Vec<VersionId>,
}

/// What searches and lists need of a series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeriesSummary {
    /// Series Instance UID.
    pub series_uid: String,
    /// Series level attributes, DICOM JSON Model.
    pub attributes: Map<String, Value>,
    /// Instances that are current.
    pub num_instances: u32,
    /// Distinct SOP Class UIDs.
    pub sop_classes: Vec<String>,
    /// Distinct modalities of the instances: a series has one by the standard, some have more.
    #[serde(default)]
    pub modalities: Vec<String>,
}

/// A series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeriesRow {
    /// The sealed [`Template`] that headers of this series are compressed against.
    pub template: ObjectId,
}

/// The template of a series: the header and metadata of its first instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Template {
    /// Encoded header bytes.
    pub header: Vec<u8>,
    /// Metadata as JSON text.
    pub metadata: Vec<u8>,
}

/// An instance: every version of it, oldest first; the last is current.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct InstanceRow {
    /// Version ids, oldest first.
    pub versions: Vec<VersionId>,
    /// So many of the first are originals: a correction came after them, and seeing them needs a permission of its own.
    pub num_originals: u32,
}

impl InstanceRow {
    /// The versions that no correction came after, oldest first.
    pub fn without_originals(&self) -> &[VersionId] {
        let num_originals = usize::try_from(self.num_originals).unwrap_or(usize::MAX);
        self.versions.get(num_originals..).unwrap_or_default()
    }
}

/// Metadata of one instance's current version, not folded yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum MetadataRow {
    /// Sealed in the row.
    Inline(Vec<u8>),
    /// Sealed in an object of its own, being large.
    Object(ObjectId),
}

/// Longer sealed metadata than this, in bytes, is an object of its own.
const INLINE_METADATA_BYTES_MAX: usize = 256 << 10;

impl MetadataRow {
    /// The row of sealed metadata, and the object it names where the metadata is large.
    pub fn of(sealed: Vec<u8>) -> (Self, Option<(ObjectId, Bytes)>) {
        if sealed.len() <= INLINE_METADATA_BYTES_MAX {
            return (Self::Inline(sealed), None);
        }
        let object = ObjectId::random();
        (Self::Object(object), Some((object, sealed.into())))
    }
}

/// Metadata of many instances of a series, folded into objects.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FoldedRow {
    /// The sealed [`MetadataBlock`]s, in order.
    pub blocks: Vec<ObjectId>,
    /// Instances in all of them.
    pub num_instances: u32,
}

/// Metadata of some instances of a series; PHI, always sealed at rest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MetadataBlock {
    /// Instance tokens and the length of their JSON text in bytes, in order.
    pub entries: Vec<(Token, u32)>,
    /// The texts one after the other, zstd.
    pub compressed: Vec<u8>,
}

/// A page of columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ColumnsRow {
    /// Names the key it is sealed with: of its own, so that taking a study out destroys what the page said of it.
    pub keys: StudyKeyId,
    /// Grows by one with each change.
    pub revision: u64,
    /// Sealed page of [`septum_core::query::columns`].
    pub sealed: Vec<u8>,
}

/// One version of one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionRow {
    /// The sealed header object.
    pub header: ObjectId,
    /// The template its header is compressed against, or none where it stands alone.
    pub template: Option<ObjectId>,
    /// Its pixels, where it has any.
    pub pixel_set: Option<PixelSetId>,
    /// The study whose row says where the pixels lie, where that is another one ([`crate::pixel_use`]).
    pub pixel_study: Option<StudyId>,
    /// The sealed units of its long values, in order.
    pub values: Vec<ObjectId>,
    /// Sealed [`VersionRecord`].
    pub sealed: Vec<u8>,
}

/// What is known of one version; PHI, always sealed at rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Equal to the split id inside the pixel record, or the halves do not belong together.
    pub split: SplitId,
    /// Study Instance UID.
    pub study_uid: String,
    /// Series Instance UID.
    pub series_uid: String,
    /// SOP Instance UID.
    pub instance_uid: String,
    /// SOP Class UID.
    pub sop_class_uid: String,
    /// Transfer Syntax UID it came in.
    pub transfer_syntax_uid: String,
    /// How its elements are really encoded, which a few senders name wrongly.
    pub encoding: Encoding,
    /// BLAKE3 of the dataset (inflated where it came deflated).
    pub dataset_digest: [u8; 32],
    /// Length of the dataset in bytes.
    pub dataset_length: u64,
    /// Length of the encoded header bytes before compression.
    pub header_length: u64,
    /// How its pixels are described.
    pub pixels: Option<PixelDescription>,
    /// Acknowledged at, milliseconds since 1970.
    pub received_ms: i64,
    /// Names of the leniencies it needed.
    pub warnings: Vec<String>,
    /// Where it was made by correcting an earlier version.
    pub correction: Option<CorrectionNote>,
}

/// Who corrected something, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectionNote {
    /// The version that was corrected.
    pub of: VersionId,
    /// Who.
    pub by: UserId,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Why, in their own words.
    pub reason: String,
}

/// Where the pixels lie: the only record that densifying and re-sealing swap.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PixelRow {
    /// The objects that hold the runs, in order: what deletion frees.
    pub objects: Vec<ObjectId>,
    /// Sealed [`PixelRecord`].
    pub sealed: Vec<u8>,
}

/// The pixel half's description of itself; nothing in it names anybody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PixelRecord {
    /// See [`VersionRecord::split`].
    pub split: SplitId,
    /// The version the objects are bound to.
    pub version: VersionId,
    /// Framing and frame table.
    pub layout: PixelLayout,
    /// Shape, number of frames, photometric interpretation.
    pub description: PixelDescription,
    /// The runs, by first unit.
    pub runs: Vec<Run>,
    /// The dense tier was made, or tried and found not to help.
    pub dense: bool,
}

/// One sealed object with a run of consecutive units.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The object.
    pub object: ObjectId,
    /// Index of its first unit.
    pub first_unit: u32,
    /// Its units in order.
    pub units: Vec<RunUnit>,
}

/// One unit inside a run's object.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RunUnit {
    /// A [`Codec`] by its number.
    pub codec: u8,
    /// Bytes in the codec's form, before sealing.
    pub encoded_length: u32,
}

impl RunUnit {
    /// The codec, if this build knows it.
    pub fn codec(self) -> Result<Codec> {
        Codec::try_from(self.codec).map_err(|_| EngineError::Corrupt("pixel record"))
    }
}

/// How one unit lies in memory for the codecs: a whole native frame, or nothing known.
pub fn unit_shape(description: &PixelDescription) -> Option<FrameShape> {
    description.shape.filter(|_| description.unit == UnitKind::Frame)
}

/// Key builders, one for each row kind.
pub mod key {
    use super::{NamespaceId, ObjectId, PixelSetId, RowKind, StudyId, Token, VersionId};

    /// Bytes of a study row's key before the study token.
    pub const STUDY_PREFIX_BYTES: usize = 17;

    /// Bytes of the key of a series' folded metadata: longer ones are of single instances.
    pub const FOLDED_BYTES: usize = 33;

    /// A study.
    pub fn study(namespace: NamespaceId, study: &Token, storage: NamespaceId) -> Vec<u8> {
        RowKind::Study.key(&[namespace.as_bytes(), study.as_bytes(), storage.as_bytes()])
    }

    /// Every study of one UID in a namespace: its own, and shares from others.
    pub fn studies_of(namespace: NamespaceId, study: &Token) -> Vec<u8> {
        RowKind::Study.key(&[namespace.as_bytes(), study.as_bytes()])
    }

    /// The row of another kind that goes with a study row.
    pub fn beside(kind: RowKind, study_row_key: &[u8]) -> Vec<u8> {
        kind.key(&[&study_row_key[1..]])
    }

    /// A page of columns.
    pub fn columns(namespace: NamespaceId, page: ObjectId) -> Vec<u8> {
        RowKind::Columns.key(&[namespace.as_bytes(), page.as_bytes()])
    }

    /// Every page of columns of a namespace.
    pub fn all_columns(namespace: NamespaceId) -> Vec<u8> {
        RowKind::Columns.key(&[namespace.as_bytes()])
    }

    /// Every study of a namespace with an attribute of that token.
    pub fn lookups(namespace: NamespaceId, attribute: u8, token: &Token) -> Vec<u8> {
        RowKind::Lookup.key(&[namespace.as_bytes(), &[attribute], token.as_bytes()])
    }

    /// Folded metadata of a series.
    pub fn folded(study: StudyId, series: &Token) -> Vec<u8> {
        RowKind::Metadata.key(&[study.as_bytes(), series.as_bytes()])
    }

    /// Every study of a namespace.
    pub fn studies(namespace: NamespaceId) -> Vec<u8> {
        RowKind::Study.key(&[namespace.as_bytes()])
    }

    /// A study held apart because its patient differs.
    pub fn exception(namespace: NamespaceId, study: &Token, patient: &Token) -> Vec<u8> {
        RowKind::Exception.key(&[namespace.as_bytes(), study.as_bytes(), patient.as_bytes()])
    }

    /// Every exception of a namespace.
    pub fn exceptions(namespace: NamespaceId) -> Vec<u8> {
        RowKind::Exception.key(&[namespace.as_bytes()])
    }

    /// One unit of the long values of a version that is not committed yet.
    pub fn arriving(version: VersionId, index: u32) -> Vec<u8> {
        RowKind::Arriving.key(&[version.as_bytes(), &index.to_be_bytes()])
    }

    /// Every unit of the long values of a version that is not committed yet.
    pub fn all_arriving(version: VersionId) -> Vec<u8> {
        RowKind::Arriving.key(&[version.as_bytes()])
    }

    /// A series.
    pub fn series(study: StudyId, series: &Token) -> Vec<u8> {
        RowKind::Series.key(&[study.as_bytes(), series.as_bytes()])
    }

    /// Every series of a study.
    pub fn all_series(study: StudyId) -> Vec<u8> {
        RowKind::Series.key(&[study.as_bytes()])
    }

    /// An instance.
    pub fn instance(study: StudyId, series: &Token, instance: &Token) -> Vec<u8> {
        RowKind::Instance.key(&[study.as_bytes(), series.as_bytes(), instance.as_bytes()])
    }

    /// Every instance of a series.
    pub fn instances(study: StudyId, series: &Token) -> Vec<u8> {
        RowKind::Instance.key(&[study.as_bytes(), series.as_bytes()])
    }

    /// Every instance of a study.
    pub fn all_instances(study: StudyId) -> Vec<u8> {
        RowKind::Instance.key(&[study.as_bytes()])
    }

    /// A version.
    pub fn version(study: StudyId, version: VersionId) -> Vec<u8> {
        RowKind::Version.key(&[study.as_bytes(), version.as_bytes()])
    }

    /// Every version of a study.
    pub fn versions(study: StudyId) -> Vec<u8> {
        RowKind::Version.key(&[study.as_bytes()])
    }

    /// A pixel record.
    pub fn pixels(study: StudyId, pixel_set: PixelSetId) -> Vec<u8> {
        RowKind::PixelRecord.key(&[study.as_bytes(), pixel_set.as_bytes()])
    }

    /// How many other studies use a pixel set.
    pub fn pixel_use(study: StudyId, pixel_set: PixelSetId) -> Vec<u8> {
        RowKind::PixelUse.key(&[study.as_bytes(), pixel_set.as_bytes()])
    }

    /// Every pixel record of a study.
    pub fn all_pixels(study: StudyId) -> Vec<u8> {
        RowKind::PixelRecord.key(&[study.as_bytes()])
    }

    /// Metadata of an instance's current version.
    pub fn metadata(study: StudyId, series: &Token, instance: &Token) -> Vec<u8> {
        RowKind::Metadata.key(&[study.as_bytes(), series.as_bytes(), instance.as_bytes()])
    }

    /// Metadata of a whole series.
    pub fn series_metadata(study: StudyId, series: &Token) -> Vec<u8> {
        RowKind::Metadata.key(&[study.as_bytes(), series.as_bytes()])
    }

    /// What a study's instances say of extended attributes.
    pub fn extended(study: StudyId) -> Vec<u8> {
        RowKind::Extended.key(&[study.as_bytes()])
    }

    /// Metadata of a whole study.
    pub fn study_metadata(study: StudyId) -> Vec<u8> {
        RowKind::Metadata.key(&[study.as_bytes()])
    }
}

fn context(object: ObjectId, version: VersionId, pixel_set: PixelSetId, part: Part) -> ObjectContext {
    ObjectContext {
        pixel_set,
        object,
        version,
        part,
    }
}

const NO_PIXELS: PixelSetId = PixelSetId::from_bytes([0; 16]);
const NO_VERSION: VersionId = VersionId::from_bytes([0; 16]);

/// What a study's summary is bound to.
pub fn summary_context(study: StudyId) -> ObjectContext {
    context(
        ObjectId::from_bytes(*study.as_bytes()),
        NO_VERSION,
        NO_PIXELS,
        Part::Record,
    )
}

/// What a series' template is bound to.
pub fn template_context(object: ObjectId) -> ObjectContext {
    context(object, NO_VERSION, NO_PIXELS, Part::Template)
}

/// What a header object is bound to.
pub fn header_context(object: ObjectId, version: VersionId) -> ObjectContext {
    context(object, version, NO_PIXELS, Part::Phi)
}

/// What a unit of the long values is bound to: its place among them too.
pub fn value_context(object: ObjectId, version: VersionId, index: u32) -> ObjectContext {
    let mut place = *b"septum value\0\0\0\0";
    place[12..].copy_from_slice(&index.to_be_bytes());
    context(object, version, PixelSetId::from_bytes(place), Part::Phi)
}

/// What a version record is bound to.
pub fn version_context(version: VersionId) -> ObjectContext {
    context(
        ObjectId::from_bytes(*version.as_bytes()),
        version,
        NO_PIXELS,
        Part::Record,
    )
}

/// What an instance's metadata is bound to: its place in the study, so that entries cannot be swapped.
pub fn metadata_context(study: StudyId, series: &Token, instance: &Token) -> ObjectContext {
    context(
        ObjectId::from_bytes(*instance.as_bytes()),
        VersionId::from_bytes(*series.as_bytes()),
        PixelSetId::from_bytes(*study.as_bytes()),
        Part::Metadata,
    )
}

/// What a block of folded metadata is bound to.
pub fn block_context(study: StudyId, series: &Token, object: ObjectId) -> ObjectContext {
    context(
        object,
        VersionId::from_bytes(*series.as_bytes()),
        PixelSetId::from_bytes(*study.as_bytes()),
        Part::Metadata,
    )
}

/// What a page of columns is bound to.
pub fn columns_context(namespace: NamespaceId, page: ObjectId) -> ObjectContext {
    ObjectContext::without_pixels(Part::Record, *namespace.as_bytes(), page)
}

/// What a pixel record is bound to.
pub fn pixel_record_context(pixel_set: PixelSetId) -> ObjectContext {
    context(
        ObjectId::from_bytes(*pixel_set.as_bytes()),
        NO_VERSION,
        pixel_set,
        Part::Record,
    )
}

/// What a run's object is bound to.
pub fn run_context(object: ObjectId, version: VersionId, pixel_set: PixelSetId) -> ObjectContext {
    context(object, version, pixel_set, Part::Pixel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_versions_are_refused() {
        let row = InstanceRow {
            versions: vec![VersionId::random()],
            num_originals: 0,
        };
        let mut bytes = encode(&row);
        assert_eq!(
            decode::<InstanceRow>(&bytes, "instance").map(|r| r.versions).ok(),
            Some(row.versions)
        );
        bytes[0] = 2;
        assert!(decode::<InstanceRow>(&bytes, "instance").is_err());
        assert!(decode::<InstanceRow>(&[], "instance").is_err());
    }
}
