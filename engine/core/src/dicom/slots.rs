//! Where the values lie that the splitter needs, of elements on the outermost level.

use std::ops::Range;

/// Number of [`Slot`]s.
const NUM_SLOTS: usize = 19;

/// An attribute that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Slot {
    SpecificCharacterSet,
    SopClass,
    SopInstance,
    PatientId,
    IssuerOfPatientId,
    Study,
    Series,
    SamplesPerPixel,
    Photometric,
    PlanarConfiguration,
    NumberOfFrames,
    Rows,
    Columns,
    BitsAllocated,
    BitsStored,
    HighBit,
    PixelRepresentation,
    ExtendedOffsetTable,
    ExtendedOffsetTableLengths,
}

/// The attributes that identify an instance.
pub(super) const IDENTITY: [Slot; 7] = [
    Slot::SopClass,
    Slot::SopInstance,
    Slot::Study,
    Slot::Series,
    Slot::PatientId,
    Slot::IssuerOfPatientId,
    Slot::SpecificCharacterSet,
];

const TAGS: [(Slot, (u16, u16)); 19] = [
    (Slot::SpecificCharacterSet, (0x0008, 0x0005)),
    (Slot::SopClass, (0x0008, 0x0016)),
    (Slot::SopInstance, (0x0008, 0x0018)),
    (Slot::PatientId, (0x0010, 0x0020)),
    (Slot::IssuerOfPatientId, (0x0010, 0x0021)),
    (Slot::Study, (0x0020, 0x000D)),
    (Slot::Series, (0x0020, 0x000E)),
    (Slot::SamplesPerPixel, (0x0028, 0x0002)),
    (Slot::Photometric, (0x0028, 0x0004)),
    (Slot::PlanarConfiguration, (0x0028, 0x0006)),
    (Slot::NumberOfFrames, (0x0028, 0x0008)),
    (Slot::Rows, (0x0028, 0x0010)),
    (Slot::Columns, (0x0028, 0x0011)),
    (Slot::BitsAllocated, (0x0028, 0x0100)),
    (Slot::BitsStored, (0x0028, 0x0101)),
    (Slot::HighBit, (0x0028, 0x0102)),
    (Slot::PixelRepresentation, (0x0028, 0x0103)),
    (Slot::ExtendedOffsetTable, (0x7FE0, 0x0001)),
    (Slot::ExtendedOffsetTableLengths, (0x7FE0, 0x0002)),
];

impl Slot {
    /// The attribute's tag.
    pub(super) fn tag(self) -> (u16, u16) {
        TAGS.iter()
            .find(|(slot, _)| *slot == self)
            .map_or((0, 0), |(_, tag)| *tag)
    }
}

/// Places of values in the bytes of a section.
#[derive(Debug, Default)]
pub(super) struct Slots([Option<Range<usize>>; NUM_SLOTS]);

impl Slots {
    /// Remembers a value if its tag has a slot; the last one counts. Returns whether there was one before.
    pub(super) fn set(&mut self, tag: (u16, u16), range: Range<usize>) -> bool {
        if !matches!(tag.0, 0x0008 | 0x0010 | 0x0020 | 0x0028 | 0x7FE0) {
            return false;
        }
        match TAGS.iter().find(|(_, known)| *known == tag) {
            Some((slot, _)) => self.0[*slot as usize].replace(range).is_some(),
            None => false,
        }
    }

    /// Whether the values of a tag are remembered.
    pub(super) fn knows(tag: (u16, u16)) -> bool {
        TAGS.iter().any(|(_, known)| *known == tag)
    }

    /// The value of an attribute, raw.
    pub(super) fn get<'a>(&self, slot: Slot, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(self.0[slot as usize].clone()?)
    }

    /// Whether all UIDs that identify an instance have been seen.
    pub(super) fn has_identity(&self) -> bool {
        IDENTITY[..4].iter().all(|slot| self.0[*slot as usize].is_some())
    }
}

/// A value without surrounding spaces and NUL.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = value.iter().position(|byte| !padding(byte)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !padding(byte))
        .map_or(start, |last| last + 1);
    &value[start..end]
}
