//! An instance made of its metadata: DICOM JSON Model (PS3.18 annex F) and bulk data to a Part 10 stream (PS3.10).
//!
//! Owns what STOW-RS needs for metadata with bulk data (PS3.18 section 10.5): the order in which bytes and bulk parts
//! follow each other in the stream. No bulk byte passes through here: [`from_json`] answers with [`Piece`]s, and
//! whoever holds the parts copies them in between, so that a part of any size needs no memory.
//!
//! Rules of the stream:
//! - Explicit VR Little Endian, or the transfer syntax of the compressed pixels (PS3.18 table 8.7.3-5, [`media_type`]);
//! - elements stand sorted by tag on every level; group 0002, group lengths and delimiters in the metadata are dropped;
//!   so are offset tables (7FE0,0001), (7FE0,0002), (7FE0,0003): they described pixels as they were once cut;
//! - Specific Character Set becomes `ISO_IR 192`, since JSON is UTF-8; where it was absent and all text is ASCII, it
//!   stays absent. Text in bulk data is taken to be UTF-8 likewise;
//! - odd values are padded: text with a space, UIDs and bytes with NUL (PS3.5 section 6.2);
//! - a value too long for its VR's 16-bit length becomes UN (PS3.5 section 6.2.2, note 6);
//! - encapsulated pixels have an empty Basic Offset Table, and one fragment a part (PS3.5 section A.4).
//!
//! Invariant 6: depth and number of elements are bounded; memory is that of the metadata, once. Errors name the path
//! of tags and item numbers, as in `54000100/0/54001010`, never a value.

mod bulk;
mod error;
pub mod media_type;
pub(super) mod value;
pub(super) mod write;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use serde_json::{Map, Value as Json};

use super::attributes::{DEPTH_MAX, ELEMENTS_MAX};
use super::transcode::file_meta;
use super::transfer_syntax::TransferSyntax;
use crate::ids::Uid;

pub use bulk::{BulkEncoding, BulkPart, BulkPiece, BulkShape, Piece, fragment_header};
pub use error::{FromJsonError, FromJsonErrorKind, FromJsonWarning};
pub(super) use write::Stream;

/// How lengths of sequences and items are written (PS3.5 section 7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SequenceLengths {
    /// Defined lengths; a sequence around bulk data of unknown length, or longer than 4 GiB, gets an undefined one.
    #[default]
    Defined,
    /// Undefined lengths, closed by delimiters.
    Undefined,
}

/// A Part 10 stream, ready to be written.
#[derive(Clone)]
pub struct JsonInstance {
    /// The stream in order, preamble and file meta information first.
    pub pieces: Vec<Piece>,
    /// Transfer Syntax UID (0002,0010).
    pub transfer_syntax: String,
    /// Length of the whole stream in bytes; `None` when a bulk part's length is unknown.
    pub length_bytes: Option<u64>,
    /// What was changed or left out, each name once.
    pub warnings: Vec<FromJsonWarning>,
}

impl std::fmt::Debug for JsonInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "JsonInstance({} pieces, {:?} bytes)",
            self.pieces.len(),
            self.length_bytes
        )
    }
}

/// Makes a Part 10 stream of `metadata`. `resolve` says how the bytes behind a `BulkDataURI` are encoded and how many
/// they are; `None` when there are none. It is asked once an attribute, in the order of the stream.
///
/// # Errors
/// All are the sender's fault; [`FromJsonError::reason`] has the failure reason. SOP Class and SOP Instance UID must be
/// in the metadata.
pub fn from_json(
    metadata: &Map<String, Json>,
    resolve: &mut dyn FnMut(&str) -> Option<BulkPart>,
    sequence_lengths: SequenceLengths,
) -> Result<JsonInstance, FromJsonError> {
    let sop_class = uid(metadata, tags::SOP_CLASS_UID)?;
    let sop_instance = uid(metadata, tags::SOP_INSTANCE_UID)?;
    let mut encoder = Encoder::new(resolve, sequence_lengths);
    encoder.dataset(metadata, 0)?;
    let Encoder {
        stream,
        warnings,
        transfer_syntax,
        ..
    } = encoder;
    let transfer_syntax = transfer_syntax.unwrap_or_else(|| TransferSyntax::EXPLICIT_LITTLE.to_owned());
    let meta = file_meta(&transfer_syntax, sop_class.as_str(), sop_instance.as_str());
    let length_bytes = stream.length_bytes().map(|length| length + meta.len() as u64);
    Ok(JsonInstance {
        pieces: stream.into_pieces(meta),
        transfer_syntax,
        length_bytes,
        warnings,
    })
}

/// Writes the elements of `metadata`, none of which may be bulk data, in Explicit VR Little Endian.
pub(super) fn elements(metadata: &Map<String, Json>) -> Result<Vec<u8>, FromJsonError> {
    let mut no_bulk = |_: &str| None;
    let mut encoder = Encoder::new(&mut no_bulk, SequenceLengths::Defined);
    encoder.dataset(metadata, 0)?;
    Ok(encoder.stream.into_bytes())
}

fn uid(metadata: &Map<String, Json>, tag: Tag) -> Result<Uid, FromJsonError> {
    let key = format!("{:04X}{:04X}", tag.0, tag.1);
    let element = metadata.get(&key).or_else(|| metadata.get(&key.to_lowercase()));
    let error = |kind| FromJsonError::new(key.clone(), kind);
    let text = element.and_then(|element| element.get("Value")?.get(0)?.as_str());
    let text = text.ok_or_else(|| error(FromJsonErrorKind::MissingIdentity))?;
    Uid::parse(text).map_err(|_| error(FromJsonErrorKind::BadUid))
}

struct Encoder<'a> {
    resolve: &'a mut dyn FnMut(&str) -> Option<BulkPart>,
    sequence_lengths: SequenceLengths,
    stream: Stream,
    path: String,
    num_elements: u32,
    /// Of the compressed pixels that were met.
    transfer_syntax: Option<String>,
    warnings: Vec<FromJsonWarning>,
}

impl<'a> Encoder<'a> {
    fn new(resolve: &'a mut dyn FnMut(&str) -> Option<BulkPart>, sequence_lengths: SequenceLengths) -> Self {
        Self {
            resolve,
            sequence_lengths,
            stream: Stream::default(),
            path: String::new(),
            num_elements: 0,
            transfer_syntax: None,
            warnings: Vec::new(),
        }
    }

    fn error<T>(&self, kind: FromJsonErrorKind) -> Result<T, FromJsonError> {
        Err(FromJsonError::new(self.path.clone(), kind))
    }

    fn warn(&mut self, warning: FromJsonWarning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Recurses as deep as items nest, at most [`DEPTH_MAX`].
    fn dataset(&mut self, dataset: &Map<String, Json>, depth: u16) -> Result<(), FromJsonError> {
        for (tag, element) in self.sorted(dataset, depth)? {
            let parent_length = self.path.len();
            if parent_length > 0 {
                self.path.push('/');
            }
            self.path.push_str(&format!("{:04X}{:04X}", tag.0, tag.1));
            self.num_elements += 1;
            if self.num_elements > ELEMENTS_MAX {
                return self.error(FromJsonErrorKind::TooManyElements);
            }
            match element {
                Some(element) => self.element(tag, element, depth)?,
                None => self.stream.element(tag, VR::CS, b"ISO_IR 192"),
            }
            self.path.truncate(parent_length);
        }
        Ok(())
    }

    /// The elements to be written, sorted; `None` stands for the Specific Character Set of the whole.
    fn sorted<'j>(
        &mut self,
        dataset: &'j Map<String, Json>,
        depth: u16,
    ) -> Result<Vec<(Tag, Option<&'j Json>)>, FromJsonError> {
        let mut elements = Vec::with_capacity(dataset.len());
        for (key, element) in dataset {
            let Some(tag) = parse_tag(key) else {
                return self.error(FromJsonErrorKind::BadTag);
            };
            match tag {
                Tag(0x0000..=0x0002 | 0xFFFE, _) => self.warn(FromJsonWarning::NotOfTheDataset),
                Tag(_, 0) => self.warn(FromJsonWarning::GroupLength),
                Tag(0x7FE0, 0x0001..=0x0003) => self.warn(FromJsonWarning::OffsetTable),
                tags::SPECIFIC_CHARACTER_SET if element.get("Value").is_some() => {
                    if element["Value"]
                        .as_array()
                        .is_none_or(|sets| sets[..] != ["ISO_IR 192"])
                    {
                        self.warn(FromJsonWarning::CharacterSet);
                    }
                    elements.push((tag, None));
                }
                _ => elements.push((tag, Some(element))),
            }
        }
        let has_set = |elements: &[(Tag, Option<&Json>)]| elements.iter().any(|(_, element)| element.is_none());
        if depth == 0 && !has_set(&elements) && value::has_extended_text(dataset, DEPTH_MAX) {
            elements.retain(|(tag, _)| *tag != tags::SPECIFIC_CHARACTER_SET);
            elements.push((tags::SPECIFIC_CHARACTER_SET, None));
        }
        elements.sort_by_key(|(tag, _)| *tag);
        if elements.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return self.error(FromJsonErrorKind::DuplicateTag);
        }
        Ok(elements)
    }

    fn element(&mut self, tag: Tag, element: &Json, depth: u16) -> Result<(), FromJsonError> {
        let Some(element) = element.as_object() else {
            return self.error(FromJsonErrorKind::NotAnObject);
        };
        let vr = element.get("vr").and_then(Json::as_str).map(str::as_bytes);
        let vr = vr.and_then(|vr| VR::from_binary(vr.try_into().ok()?));
        let Some(vr) = vr else {
            return self.error(FromJsonErrorKind::BadVr);
        };
        let [values, inline, uri] = ["Value", "InlineBinary", "BulkDataURI"].map(|member| element.get(member));
        match (values, inline, uri) {
            (None, None, None) => self.values(tag, vr, &[], depth),
            (Some(Json::Array(values)), None, None) => self.values(tag, vr, values, depth),
            (None, Some(Json::String(text)), None) if vr != VR::SQ => match value::base64(text) {
                Some(bytes) => {
                    self.check_native(tag)?;
                    self.plain(tag, vr, &bytes);
                    Ok(())
                }
                None => self.error(FromJsonErrorKind::BadBase64),
            },
            (None, None, Some(Json::String(uri))) if vr != VR::SQ => self.bulk(tag, vr, uri),
            (Some(Json::Array(_)) | None, Some(Json::String(_)) | None, Some(Json::String(_)) | None)
                if vr != VR::SQ =>
            {
                self.error(FromJsonErrorKind::SeveralValues)
            }
            _ => self.error(FromJsonErrorKind::BadValue),
        }
    }

    fn values(&mut self, tag: Tag, vr: VR, values: &[Json], depth: u16) -> Result<(), FromJsonError> {
        if vr == VR::SQ {
            return self.sequence(tag, values, depth);
        }
        match value::encode(vr, values) {
            Some(value) => {
                if value.is_rounded {
                    self.warn(FromJsonWarning::DecimalRounded);
                }
                self.plain(tag, vr, &value.bytes);
                Ok(())
            }
            None => self.error(FromJsonErrorKind::BadValue),
        }
    }

    fn plain(&mut self, tag: Tag, vr: VR, bytes: &[u8]) {
        if write::becomes_unknown(vr, bytes.len() as u64) {
            self.warn(FromJsonWarning::LongValueAsUnknown);
        }
        self.stream.element(tag, vr, bytes);
    }

    fn sequence(&mut self, tag: Tag, items: &[Json], depth: u16) -> Result<(), FromJsonError> {
        if depth >= DEPTH_MAX {
            return self.error(FromJsonErrorKind::TooDeep);
        }
        let defined = self.sequence_lengths == SequenceLengths::Defined || items.is_empty();
        let sequence = self.stream.open_sequence(tag);
        let parent_length = self.path.len();
        for (number, item) in items.iter().enumerate() {
            self.path.push_str(&format!("/{number}"));
            self.num_elements += 1;
            if self.num_elements > ELEMENTS_MAX {
                return self.error(FromJsonErrorKind::TooManyElements);
            }
            let open = self.stream.open_item();
            match item {
                Json::Object(item) => self.dataset(item, depth + 1)?,
                Json::Null => {}
                _ => return self.error(FromJsonErrorKind::NotAnObject),
            }
            self.stream.close(open, defined);
            self.path.truncate(parent_length);
        }
        self.stream.close(sequence, defined);
        Ok(())
    }
}

/// Eight hexadecimal digits.
pub(super) fn parse_tag(text: &str) -> Option<Tag> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(text, 16).ok()?;
    Some(Tag((number >> 16) as u16, number as u16))
}

#[cfg(test)]
mod tests;
