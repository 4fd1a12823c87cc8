//! Frames as clients ask for them: as stored, or decoded to native samples.
//!
//! A frame that the client takes as it was received is never decoded. Foreign streams are decoded in the sandboxed
//! children only; the first frame is decoded up front, so that a syntax nothing here decodes is refused before the first
//! byte leaves. A frame is one piece, so it has a limit ([`super::permits`]).

use std::sync::Arc;

use bytes::Bytes;
use septum_core::dicom::transcode::swap_samples;
use septum_core::dicom::{Encoding, PixelDescription, TransferSyntax};
use septum_core::frame_shape::FrameShape;
use septum_decoder::{DecodeError, DecodeRequest, Decoded, FrameLayout};

use super::permits::ReadPermit;
use super::stream::header_of;
use super::{InstanceRef, PixelReader};
use crate::error::{EngineError, Result};
use crate::records::VersionRecord;
use crate::services::Services;

/// Explicit VR Little Endian.
pub const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";

/// Frames of one instance in native form.
pub struct Frames {
    services: Arc<Services>,
    pixels: PixelReader,
    transfer_syntax_uid: String,
    /// Bytes of the words that are turned around, 1 for none.
    word_bytes: usize,
    first: Option<First>,
}

/// The first decoded frame. It goes without permits: a request has one at most, and would else hold permits while it
/// waits for more.
struct First {
    /// Without its samples.
    decoded: Decoded,
    samples: Bytes,
}

/// Bytes of big endian payload that are turned around in one step: whole words of any length.
const TURN_BYTES: u64 = 1 << 20;

impl Frames {
    /// Native frames of an instance's pixel set.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] when its frames cannot be told apart or decoded.
    pub async fn native(services: &Arc<Services>, pixels: PixelReader, instance: &InstanceRef) -> Result<Self> {
        let record = &instance.record;
        check_readable(record)?;
        let word_bytes = word_bytes(services, &pixels, instance).await?;
        let mut frames = Self {
            services: Arc::clone(services),
            transfer_syntax_uid: record.transfer_syntax_uid.clone(),
            word_bytes,
            pixels,
            first: None,
        };
        if frames.description().encapsulated && frames.num_frames() > 0 {
            let (mut decoded, _permit) = frames.decode(0).await?;
            let samples = std::mem::take(&mut decoded.samples).into();
            frames.first = Some(First { decoded, samples });
        } else if frames.description().encapsulated {
            return Err(EngineError::NotAcceptable(
                "the frames of this instance cannot be told apart".to_owned(),
            ));
        }
        Ok(frames)
    }

    /// How the stored pixels are described.
    pub fn description(&self) -> &PixelDescription {
        &self.pixels.record().description
    }

    /// What decoded frames look like, where decoding was needed; without samples.
    pub fn decoded(&self) -> Option<&Decoded> {
        self.first.as_ref().map(|first| &first.decoded)
    }

    /// Bits Allocated of the native form.
    pub fn bits_allocated(&self) -> u16 {
        match (&self.first, self.description().shape) {
            (Some(first), _) => first.decoded.bits_allocated,
            (None, Some(shape)) => shape.bits_allocated,
            (None, None) => 8,
        }
    }

    /// Frames that can be served one by one.
    pub fn num_frames(&self) -> u32 {
        self.pixels.record().layout.num_frames()
    }

    /// Bytes of all native frames together.
    pub fn native_length(&self) -> Result<u64> {
        match &self.first {
            Some(first) => (first.samples.len() as u64)
                .checked_mul(u64::from(self.num_frames()))
                .ok_or(EngineError::Corrupt("number of frames")),
            None => Ok(self.pixels.record().layout.payload_length()),
        }
    }

    /// The native pixel payload in pieces, 0, 1, …; `None` at the end.
    pub async fn native_piece(&self, step: u32) -> Result<Option<Bytes>> {
        if self.first.is_some() {
            if step >= self.num_frames() {
                return Ok(None);
            }
            return self.native_frame(step).await.map(Some);
        }
        if self.word_bytes > 1 {
            // Units need not end where words do.
            let at = u64::from(step) * TURN_BYTES;
            let piece = self.native_bytes(at, at + TURN_BYTES).await?;
            return Ok((!piece.is_empty()).then_some(piece));
        }
        if step >= self.pixels.record().layout.num_units() {
            return Ok(None);
        }
        self.pixels.unit(step).await.map(Some)
    }

    /// Bytes of the native payload from `at` on, at most to `end`: at least one where there are any, as many as are
    /// cheap to get together.
    pub async fn native_bytes(&self, at: u64, end: u64) -> Result<Bytes> {
        let end = end.min(self.native_length()?);
        if at >= end {
            return Ok(Bytes::new());
        }
        if let Some(first) = &self.first {
            let frame_bytes = first.samples.len() as u64;
            let index = u32::try_from(at / frame_bytes).map_err(|_| EngineError::Corrupt("number of frames"))?;
            let frame = self.native_frame(index).await?;
            let start = at % frame_bytes;
            let stop = frame_bytes.min(start + (end - at));
            return Ok(frame.slice(start as usize..stop as usize));
        }
        if self.word_bytes == 1 {
            return self.pixels.payload_from(at, end).await;
        }
        self.turned(at, end.min(at + TURN_BYTES)).await
    }

    /// Bytes of a payload that needs no decoding, little endian.
    async fn turned(&self, at: u64, end: u64) -> Result<Bytes> {
        if self.word_bytes == 1 {
            return self.pixels.payload(at..end).await;
        }
        // Whole words, however long they are, so that they can be turned.
        let whole = (at & !7)..(end.saturating_add(7) & !7).min(self.pixels.record().layout.payload_length());
        let start = (at - whole.start) as usize..(end - whole.start) as usize;
        let permit = self.pixels.permit(&whole, whole.end - whole.start).await?;
        let mut bytes = self.pixels.gather(whole).await?.to_vec();
        swap_samples(&mut bytes, self.word_bytes);
        Ok(permit.hold(Bytes::from(bytes).slice(start)))
    }

    /// Whether a frame can be had by [`Self::native_frame`] for its length.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where it is too long to be one piece.
    pub fn check(&self, index: u32) -> Result<()> {
        match self.first {
            // It was decoded under the same limit.
            Some(_) => Ok(()),
            None => check_stored(&self.services, &self.pixels, index),
        }
    }

    /// One native frame, by index from 0.
    pub async fn native_frame(&self, index: u32) -> Result<Bytes> {
        if let Some(first) = &self.first {
            if index == 0 {
                return Ok(first.samples.clone());
            }
            let (decoded, permit) = self.decode(index).await?;
            if decoded.samples.len() != first.samples.len() || decoded.photometric != first.decoded.photometric {
                return Err(EngineError::Decode("frames differ in form".to_owned()));
            }
            return Ok(permit.hold(decoded.samples.into()));
        }
        let range = self
            .pixels
            .record()
            .layout
            .frame_range(index)
            .ok_or(EngineError::NotFound)?;
        let bytes = self.turned(range.bytes.start, range.bytes.end).await?;
        if range.bit_offset > 0 || range.num_bits.is_some_and(|bits| bits % 8 != 0) {
            return Ok(aligned(&bytes, range.bit_offset, range.num_bits.unwrap_or(0)));
        }
        Ok(bytes)
    }

    async fn decode(&self, index: u32) -> Result<(Decoded, ReadPermit)> {
        let range = self.pixels.record().layout.frame_range(index);
        let range = range.ok_or(EngineError::NotFound)?.bytes;
        let shape = self
            .description()
            .shape
            .ok_or_else(|| EngineError::NotAcceptable("the instance does not describe its pixels".to_owned()))?;
        let permit = self.pixels.permit(&range, decoded_bytes(&shape)).await?;
        let request = DecodeRequest {
            transfer_syntax: self.transfer_syntax_uid.clone(),
            layout: layout_of(&shape),
            photometric: self.description().photometric.clone(),
            frame: self.pixels.gather(range).await?.to_vec(),
        };
        let decoder = Arc::clone(&self.services.decoder);
        // A decode may wait for a child for seconds: not on the CPU pool, not on an async thread.
        let decoded = tokio::task::spawn_blocking(move || decoder.decode(&request))
            .await
            .map_err(|_| EngineError::Panicked)?;
        let decoded = decoded.map_err(|error| match error {
            DecodeError::NotStarted(kind) => EngineError::File {
                what: "decoder process",
                source: std::io::Error::from(kind),
            },
            // Nothing here decodes it: the client may still have the original.
            error => EngineError::NotAcceptable(error.to_string()),
        })?;
        Ok((decoded, permit))
    }
}

/// Whether the pixels of an instance can be anything but what they came as.
///
/// # Errors
/// [`EngineError::NotAcceptable`] where its transfer syntax is unknown, so that nobody can tell what they mean, or has them
/// elsewhere.
pub fn check_readable(record: &VersionRecord) -> Result<()> {
    let syntax = TransferSyntax::of(&record.transfer_syntax_uid);
    let reason = if syntax.has_pixels_elsewhere() {
        "by its transfer syntax the pixels of this instance are not in it"
    } else if record.pixels.is_some() && !syntax.has_readable_pixels() {
        "the pixels of this instance are in a transfer syntax that is unknown here"
    } else {
        return Ok(());
    };
    Err(EngineError::NotAcceptable(reason.to_owned()))
}

/// Bytes of a decoded frame.
fn decoded_bytes(shape: &FrameShape) -> u64 {
    let samples = u64::from(shape.rows)
        .saturating_mul(shape.columns.into())
        .saturating_mul(shape.samples_per_pixel.into());
    samples.saturating_mul(u64::from(shape.bits_allocated.div_ceil(8)))
}

/// What big endian payload is made of: samples, or for samples of a byte under VR OW, words of two (PS3.5 section A.3).
async fn word_bytes(services: &Arc<Services>, pixels: &PixelReader, instance: &InstanceRef) -> Result<usize> {
    let description = &pixels.record().description;
    if instance.record.encoding != Encoding::ExplicitBig || description.encapsulated {
        return Ok(1);
    }
    let sample_bytes = description
        .shape
        .map_or(1, |shape| usize::from(shape.bits_allocated / 8));
    if sample_bytes > 1 {
        return Ok(sample_bytes);
    }
    let is_in_words = header_of(services, instance).await?.pixel_vr() == Some(*b"OW");
    Ok(if is_in_words { 2 } else { 1 })
}

fn layout_of(shape: &FrameShape) -> FrameLayout {
    FrameLayout {
        rows: shape.rows,
        columns: shape.columns,
        samples_per_pixel: shape.samples_per_pixel,
        bits_allocated: shape.bits_allocated,
        bits_stored: shape.bits_stored,
        high_bit: shape.high_bit,
        signed: shape.signed,
        planar: shape.planar,
    }
}

/// Whether a frame can be had by [`stored_frame`] for its length.
///
/// # Errors
/// [`EngineError::NotAcceptable`] where it is too long to be one piece.
pub fn check_stored(services: &Services, pixels: &PixelReader, index: u32) -> Result<()> {
    let range = pixels.record().layout.frame_range(index).ok_or(EngineError::NotFound)?;
    services.read_permits.check_whole(range.bytes.end - range.bytes.start)
}

/// One frame as it was received, by index from 0: native bytes or its fragments concatenated.
pub async fn stored_frame(pixels: &PixelReader, index: u32) -> Result<Bytes> {
    let range = pixels.record().layout.frame_range(index).ok_or(EngineError::NotFound)?;
    let bytes = pixels.payload(range.bytes.clone()).await?;
    match range.num_bits {
        Some(num_bits) if num_bits % 8 != 0 => Ok(aligned(&bytes, range.bit_offset, num_bits)),
        _ => Ok(bytes),
    }
}

/// Bits out of a packed payload, moved to start at a byte (1-bit samples, lowest bit first).
fn aligned(bytes: &[u8], bit_offset: u8, num_bits: u64) -> Bytes {
    let length = usize::try_from(num_bits.div_ceil(8)).unwrap_or(0);
    let mut frame = Vec::with_capacity(length);
    for index in 0..length {
        let low = bytes.get(index).copied().unwrap_or(0) >> bit_offset;
        let high = match bit_offset {
            0 => 0,
            offset => bytes.get(index + 1).copied().unwrap_or(0) << (8 - offset),
        };
        frame.push(low | high);
    }
    let surplus = (length as u64 * 8 - num_bits) as u32;
    if let Some(last) = frame.last_mut() {
        *last &= 0xFF_u8.checked_shr(surplus).unwrap_or(0);
    }
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_frames_are_moved_to_a_byte() {
        for (bytes, offset, bits, expected) in [
            (vec![0b1010_1010], 0, 8, vec![0b1010_1010]),
            (vec![0b1111_0000, 0b0000_1111], 4, 8, vec![0xFF]),
            (vec![0b1111_0000, 0b0000_0001], 4, 5, vec![0b1_1111]),
            (vec![0xFF], 0, 3, vec![0b111]),
        ] {
            assert_eq!(aligned(&bytes, offset, bits), expected);
        }
    }
}
