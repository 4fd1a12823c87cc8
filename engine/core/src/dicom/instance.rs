//! What the splitter finds in a stream: who it is about, how its pixels lie, and the two halves.

use std::fmt;

use bytes::Bytes;

use super::header_bytes::HeaderBytes;
use super::layout::PixelLayout;
use super::transfer_syntax::{Encoding, TransferSyntax};
use super::warning::Warning;
use crate::frame_shape::FrameShape;
use crate::ids::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid, Uid};

/// The attributes that say which instance this is and whom it is about. Patient data: `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Study Instance UID (0020,000D).
    pub study: StudyInstanceUid,
    /// Series Instance UID (0020,000E).
    pub series: SeriesInstanceUid,
    /// SOP Instance UID (0008,0018).
    pub instance: SopInstanceUid,
    /// SOP Class UID (0008,0016).
    pub sop_class: Uid,
    /// Patient ID (0010,0020), raw bytes without surrounding spaces and NUL; empty when absent.
    pub patient_id: Vec<u8>,
    /// Issuer of Patient ID (0010,0021), likewise.
    pub issuer_of_patient_id: Vec<u8>,
    /// Specific Character Set (0008,0005), likewise: what the two above are encoded in.
    pub specific_character_set: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Which element holds the pixels (PS3.3 section C.7.6.3 and C.7.6.24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum PixelElement {
    /// Pixel Data (7FE0,0010).
    Pixel,
    /// Float Pixel Data (7FE0,0008): 32-bit floats.
    Float,
    /// Double Float Pixel Data (7FE0,0009): 64-bit floats.
    Double,
}

impl PixelElement {
    /// The element of a tag.
    pub const fn of_tag(tag: (u16, u16)) -> Option<Self> {
        match tag {
            (0x7FE0, 0x0010) => Some(Self::Pixel),
            (0x7FE0, 0x0008) => Some(Self::Float),
            (0x7FE0, 0x0009) => Some(Self::Double),
            _ => None,
        }
    }

    /// The element's tag.
    pub const fn tag(self) -> (u16, u16) {
        match self {
            Self::Pixel => (0x7FE0, 0x0010),
            Self::Float => (0x7FE0, 0x0008),
            Self::Double => (0x7FE0, 0x0009),
        }
    }
}

/// What one unit of the pixel payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum UnitKind {
    /// One native frame. After the last frame, padding and surplus follow in units of at most a frame's length.
    Frame,
    /// A block of 1 MiB (the last one shorter) of native pixel data that cannot or need not be cut into frames.
    Block,
    /// One fragment of encapsulated pixel data, or 8 MiB of a longer one.
    Fragment,
}

/// How the pixels of an instance are described, as known when the pixel element starts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PixelDescription {
    /// The element that holds the pixels.
    pub element: PixelElement,
    /// The shape of each native or decoded frame. `None` when the description is missing or senseless, or where native
    /// frames are not what it says (4:2:2 subsampled colour, payload shorter than described). Where it is `Some` and
    /// `unit` is [`UnitKind::Frame`], the first `num_frames` units are `FrameShape::frame_length` bytes each.
    pub shape: Option<FrameShape>,
    /// Number of Frames (0028,0008), at least 1.
    pub num_frames: u32,
    /// Photometric Interpretation (0028,0004); empty when absent.
    pub photometric: String,
    /// The payload is encapsulated (PS3.5 section A.4).
    pub encapsulated: bool,
    /// What units are.
    pub unit: UnitKind,
}

/// What is known when the pixel element starts, or at the end of an instance without pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceStart {
    /// Who it is.
    pub identity: Identity,
    /// The transfer syntax that the file meta names, or a guess.
    pub transfer_syntax: TransferSyntax,
    /// How the elements really are encoded; differs from the transfer syntax's only with
    /// [`Warning::EncodingContradictsTransferSyntax`].
    pub encoding: Encoding,
    /// The pixels, if there are any.
    pub pixels: Option<PixelDescription>,
}

/// A piece of the pixel payload.
#[derive(Clone, PartialEq, Eq)]
pub struct PixelUnit {
    /// Counts from 0.
    pub index: u32,
    /// The unit's bytes: a slice of the pushed bytes, or assembled from several pushes.
    pub bytes: Bytes,
}

impl fmt::Debug for PixelUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PixelUnit({}, {} bytes)", self.index, self.bytes.len())
    }
}

/// A piece of a long value (see [`super::LongValue`]). Patient data: `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct ValueUnit {
    /// Counts from 0 over all long values.
    pub index: u32,
    /// The unit's bytes.
    pub bytes: Bytes,
}

impl fmt::Debug for ValueUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueUnit({}, {} bytes)", self.index, self.bytes.len())
    }
}

/// What the splitter gives while a stream is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitEvent {
    /// Before the first value unit, where one comes in front of the pixels: who it is.
    Identified(Box<Identity>),
    /// Once, before all units of pixels.
    Started(Box<InstanceStart>),
    /// The next unit of the pixels.
    Unit(PixelUnit),
    /// The next unit of a long value.
    ValueUnit(ValueUnit),
}

/// An instance after its last byte: everything but the units.
#[derive(Debug, Clone)]
pub struct SplitInstance {
    /// What was known at the start.
    pub start: InstanceStart,
    /// Everything but the pixel payload, verbatim.
    pub header: HeaderBytes,
    /// How the payload is framed. `None`: no pixels.
    pub layout: Option<PixelLayout>,
    /// BLAKE3 of the dataset: all bytes after the file meta, inflated if they were deflated.
    pub dataset_digest: [u8; 32],
    /// Length of the dataset in bytes.
    pub dataset_length: u64,
    /// Length of the stream as pushed, in bytes.
    pub file_length: u64,
    /// Leniencies granted.
    pub warnings: Vec<Warning>,
}
