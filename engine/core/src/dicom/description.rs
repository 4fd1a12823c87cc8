//! From attribute values to an identity and a pixel description. Checked arithmetic only: all numbers are hostile.

use super::instance::{Identity, PixelDescription, PixelElement, UnitKind};
use super::layout::FrameTable;
use super::rejection::{Rejection, RejectionKind};
use super::slots::{Slot, trim};
use super::transfer_syntax::{Encoding, TransferSyntax};
use super::vr::u16_of;
use super::warning::{Warning, Warnings};
use crate::frame_shape::FrameShape;
use crate::ids::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid, Uid, UidError};

/// Longest native frame that is one unit, in bytes.
const FRAME_UNIT_BYTES_MAX: u64 = 64 << 20;
/// Frames shorter than this are not worth a unit each, unless they are few.
const FRAME_UNIT_BYTES_MIN: u64 = 64;
/// How many frames are few.
const FEW_FRAMES: u32 = 1024;
/// Length of a unit that is no frame, in bytes.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

/// SOP classes without patient and study: PS3.4 table GG.3-1, and Media Storage Directory (PS3.4 annex I, a DICOMDIR).
const NON_PATIENT: [(&str, &str); 10] = [
    ("1.2.840.10008.1.3.10", "Media Storage Directory Storage"),
    ("1.2.840.10008.5.1.4.38.1", "Hanging Protocol Storage"),
    ("1.2.840.10008.5.1.4.39.1", "Color Palette Storage"),
    ("1.2.840.10008.5.1.4.43.1", "Generic Implant Template Storage"),
    ("1.2.840.10008.5.1.4.44.1", "Implant Assembly Template Storage"),
    ("1.2.840.10008.5.1.4.45.1", "Implant Template Group Storage"),
    ("1.2.840.10008.5.1.4.1.1.200.1", "CT Defined Procedure Protocol Storage"),
    ("1.2.840.10008.5.1.4.1.1.200.3", "Protocol Approval Storage"),
    ("1.2.840.10008.5.1.4.1.1.200.7", "XA Defined Procedure Protocol Storage"),
    ("1.2.840.10008.5.1.4.1.1.201.1", "Inventory Storage"),
];

/// UID and name of the SOP classes that are refused.
pub fn refused_sop_classes() -> &'static [(&'static str, &'static str)] {
    &NON_PATIENT
}

/// Whether a class is one of objects without patient and study.
pub(super) fn is_non_patient(class: &[u8]) -> bool {
    NON_PATIENT.iter().any(|(uid, _)| uid.as_bytes() == class)
}

/// Reads the identity. `value` gives raw values; `meta_class` is Media Storage SOP Class UID, which tells a directory.
pub(super) fn identity<'a>(
    value: impl Fn(Slot) -> Option<&'a [u8]>,
    meta_class: Option<&str>,
    warnings: &mut Warnings,
) -> Result<Identity, Rejection> {
    let raw = |slot| trim(value(slot).unwrap_or_default()).to_vec();
    let class = value(Slot::SopClass).map(trim).filter(|class| !class.is_empty());
    let class = class.or(meta_class.map(str::as_bytes)).unwrap_or_default();
    if is_non_patient(class) {
        return Err(Rejection::new(
            RejectionKind::UnsupportedSopClass,
            Some(Slot::SopClass.tag()),
            0,
        ));
    }
    let mut uid = |slot: Slot| {
        let reject = |kind| Rejection::new(kind, Some(slot.tag()), 0);
        let text =
            std::str::from_utf8(trim(value(slot).unwrap_or_default())).map_err(|_| reject(RejectionKind::BadUid))?;
        let uid = Uid::parse(text).map_err(|error| match error {
            UidError::Empty => reject(RejectionKind::MissingIdentity),
            UidError::TooLong(_) | UidError::Character(_) => reject(RejectionKind::BadUid),
        })?;
        if !uid.is_conformant() {
            warnings.add(Warning::NonConformantUid);
        }
        Ok::<_, Rejection>(text)
    };
    let bad = |slot: Slot| move |_| Rejection::new(RejectionKind::BadUid, Some(slot.tag()), 0);
    Ok(Identity {
        study: StudyInstanceUid::parse(uid(Slot::Study)?).map_err(bad(Slot::Study))?,
        series: SeriesInstanceUid::parse(uid(Slot::Series)?).map_err(bad(Slot::Series))?,
        instance: SopInstanceUid::parse(uid(Slot::SopInstance)?).map_err(bad(Slot::SopInstance))?,
        sop_class: Uid::parse(uid(Slot::SopClass)?).map_err(bad(Slot::SopClass))?,
        patient_id: raw(Slot::PatientId),
        issuer_of_patient_id: raw(Slot::IssuerOfPatientId),
        specific_character_set: raw(Slot::SpecificCharacterSet),
    })
}

/// How the payload will be cut.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) description: PixelDescription,
    /// Bytes of a native unit.
    pub(super) unit_length: u64,
    /// The frame table of native pixels.
    pub(super) frames: FrameTable,
}

/// Describes the pixels; `length` is the pixel element's, `None` if undefined.
pub(super) fn plan<'a>(
    value: impl Fn(Slot) -> Option<&'a [u8]>,
    element: PixelElement,
    length: Option<u32>,
    encoding: Encoding,
    syntax: &TransferSyntax,
    warnings: &mut Warnings,
) -> Plan {
    let number = |slot| value(slot).and_then(|bytes| u16_of(bytes, encoding));
    let encapsulated = length.is_none();
    if syntax.is_known() {
        match (syntax.is_encapsulated(), encapsulated) {
            (true, false) => warnings.add(Warning::NativeUnderEncapsulated),
            (false, true) => warnings.add(Warning::EncapsulatedUnderNative),
            _ => {}
        }
    }
    let num_frames = num_frames(value(Slot::NumberOfFrames), warnings);
    let photometric = trim(value(Slot::Photometric).unwrap_or_default());
    let photometric: String = photometric
        .iter()
        .take(16)
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .map(|byte| char::from(*byte))
        .collect();

    let bits_allocated = match element {
        PixelElement::Pixel => number(Slot::BitsAllocated),
        PixelElement::Float => Some(32),
        PixelElement::Double => Some(64),
    };
    let shape = shape(&number, bits_allocated, encoding, warnings);
    if shape.is_none() {
        warnings.add(Warning::MissingPixelDescription);
    }
    let mut plan = Plan {
        description: PixelDescription {
            element,
            shape,
            num_frames,
            photometric,
            encapsulated,
            unit: UnitKind::Block,
        },
        unit_length: BLOCK_BYTES,
        frames: FrameTable::None,
    };
    match length {
        None => plan.description.unit = UnitKind::Fragment,
        Some(0) => warnings.add(Warning::EmptyPixelData),
        Some(length) => plan_native(&mut plan, u64::from(length), warnings),
    }
    plan
}

fn plan_native(plan: &mut Plan, length: u64, warnings: &mut Warnings) {
    let description = &mut plan.description;
    let Some(shape) = description.shape else { return };
    let num_frames = description.num_frames;
    let samples = match description.photometric.as_str() {
        // PS3.3 section C.7.6.3.1.2: two luminance samples share one pair of colour differences.
        "YBR_FULL_422" | "YBR_PARTIAL_422" if shape.samples_per_pixel == 3 => 2,
        _ => u64::from(shape.samples_per_pixel),
    };
    let bits = u64::from(shape.rows)
        .checked_mul(u64::from(shape.columns))
        .and_then(|pixels| pixels.checked_mul(samples))
        .and_then(|samples| samples.checked_mul(u64::from(shape.bits_allocated)));
    let total = bits.and_then(|bits| bits.checked_mul(u64::from(num_frames)));
    let (Some(bits), Some(total)) = (bits, total) else {
        description.shape = None;
        return warnings.add(Warning::PixelsShorterThanDescribed);
    };
    let total_bytes = total.div_ceil(8);
    if total_bytes > length {
        description.shape = None;
        return warnings.add(Warning::PixelsShorterThanDescribed);
    }
    if samples != u64::from(shape.samples_per_pixel) {
        // Some writers say 4:2:2 and store three full samples all the same.
        let full = shape
            .frame_length()
            .and_then(|bytes| bytes.checked_mul(u64::from(num_frames)));
        if full.is_some_and(|full| full <= length) {
            return plan_frames(plan, full.unwrap_or(0) / u64::from(num_frames) * 8, length, warnings);
        }
        description.shape = None;
    }
    plan_frames(plan, bits, length, warnings);
}

fn plan_frames(plan: &mut Plan, bits_per_frame: u64, length: u64, warnings: &mut Warnings) {
    let num_frames = plan.description.num_frames;
    plan.frames = FrameTable::Native {
        bits_per_frame,
        num_frames,
    };
    if length - (bits_per_frame * u64::from(num_frames)).div_ceil(8) > 1 {
        warnings.add(Warning::PixelsLongerThanDescribed);
    }
    let bytes = bits_per_frame / 8;
    let worth = bytes >= FRAME_UNIT_BYTES_MIN || length.div_ceil(bytes.max(1)) <= u64::from(FEW_FRAMES);
    if bits_per_frame.is_multiple_of(8) && bytes <= FRAME_UNIT_BYTES_MAX && worth {
        plan.unit_length = bytes;
        plan.description.unit = UnitKind::Frame;
    }
}

fn shape(
    number: &impl Fn(Slot) -> Option<u16>,
    bits_allocated: Option<u16>,
    encoding: Encoding,
    warnings: &mut Warnings,
) -> Option<FrameShape> {
    let rows = u32::from(number(Slot::Rows)?);
    let columns = u32::from(number(Slot::Columns)?);
    let samples_per_pixel = number(Slot::SamplesPerPixel).unwrap_or(1);
    let bits_allocated = bits_allocated?;
    if rows == 0 || columns == 0 || samples_per_pixel == 0 || !matches!(bits_allocated, 1 | 8 | 16 | 32 | 64) {
        return None;
    }
    let mut bits_stored = number(Slot::BitsStored).unwrap_or(bits_allocated);
    let mut high_bit = number(Slot::HighBit).unwrap_or(bits_stored.saturating_sub(1));
    if bits_stored == 0 || bits_stored > bits_allocated || high_bit >= bits_allocated || high_bit + 1 < bits_stored {
        warnings.add(Warning::OddBits);
        (bits_stored, high_bit) = (bits_allocated, bits_allocated - 1);
    }
    Some(FrameShape {
        rows,
        columns,
        samples_per_pixel,
        bits_allocated,
        bits_stored,
        high_bit,
        signed: number(Slot::PixelRepresentation) == Some(1),
        planar: samples_per_pixel > 1 && number(Slot::PlanarConfiguration) == Some(1),
        big_endian: encoding.is_big_endian(),
    })
}

fn num_frames(value: Option<&[u8]>, warnings: &mut Warnings) -> u32 {
    let text = trim(value.unwrap_or_default());
    if text.is_empty() {
        return 1;
    }
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.trim().parse::<i64>().ok());
    match number.and_then(|number| u32::try_from(number).ok()) {
        Some(number) if number > 0 => number,
        _ => {
            warnings.add(Warning::BadNumberOfFrames);
            1
        }
    }
}
