//! New instances made of stored ones: under other UIDs, with regions obscured, or cut down to a region.
//!
//! A derived instance is a Part 10 stream that goes through the pipeline like any other. Where the pixels are kept, they
//! are bit for bit what is stored (invariant 4), encapsulated ones in their transfer syntax, others in Explicit VR Little
//! Endian. Where they change, they are decoded and come out native. Memory is bounded by a frame, whatever the instance.

pub mod paint;

use std::sync::Arc;

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::{CharacterSets, Header};
use septum_core::dicom::edit::{Edits, edited};
use septum_core::dicom::transcode::{PixelHeader, file_meta};
use septum_core::dicom::{HeaderBytes, InstanceStart, Merger, Piece, PixelElement};
use septum_core::frame_shape::FrameShape;
use tokio::sync::mpsc;

use crate::accounts::Namespace;
use crate::error::{EngineError, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::messages::{Source, StoreOutcome};
use crate::retrieve::envelope::Envelope;
use crate::retrieve::frames::{EXPLICIT_LITTLE, Frames};
use crate::retrieve::stream::{header_of, patch_of, pixels_of};
use crate::retrieve::{InstanceRef, PixelReader, Values};
use crate::services::Services;
use paint::{Colour, Region, Samples};

/// Pieces made ahead of the pipeline.
const PIECES_AHEAD: usize = 2;

/// What happens to the pixels.
#[derive(Debug, Clone)]
pub enum PixelChange {
    /// Nothing.
    Keep,
    /// Regions are obscured in every frame.
    Obscure(Vec<Region>, Colour),
    /// Every frame is cut down to a region.
    Crop(Region),
}

/// What a derived instance differs in.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its attributes.
    pub edits: Edits,
    /// Its pixels.
    pub pixels: PixelChange,
}

/// A derived instance as a Part 10 stream.
pub struct Derived {
    pieces: mpsc::Receiver<Result<Bytes>>,
}

impl Derived {
    /// The next piece; an error breaks the stream off.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.pieces.recv().await
    }

    /// Stores it, and waits until it is durable.
    ///
    /// # Errors
    /// Where it cannot be read or stored.
    pub async fn store(
        mut self,
        pipeline: &Pipeline,
        namespace: &Arc<Namespace>,
        source: &Source,
    ) -> Result<(Option<Arc<InstanceStart>>, StoreOutcome)> {
        let mut intake = pipeline.admit(Arc::clone(namespace), source.clone()).await?;
        while let Some(piece) = self.next().await {
            intake.push(piece?).await?;
        }
        let (start, outcome) = intake.finish().await;
        Ok((start, outcome?))
    }
}

/// Starts making an instance.
///
/// # Errors
/// [`EngineError::NotAcceptable`] where the header cannot be re-encoded, or pixels that are to change cannot be decoded or
/// painted.
pub async fn open(services: &Arc<Services>, instance: &InstanceRef, recipe: Recipe) -> Result<Derived> {
    let header = header_of(services, instance).await?;
    let pixels = pixels_of(services, instance)?;
    let is_encapsulated = instance
        .record
        .pixels
        .as_ref()
        .is_some_and(|pixels| pixels.encapsulated);
    match (pixels, recipe.pixels) {
        (Some(pixels), PixelChange::Keep) if is_encapsulated => {
            encapsulated(services, instance, &header, pixels, &recipe.edits)
        }
        (Some(pixels), PixelChange::Keep) => {
            let frames = Frames::native(services, pixels, instance).await?;
            let length = frames.native_length()?;
            let start = begin(
                services,
                instance,
                &header,
                &recipe.edits,
                Some((patch_pixel(&frames)?, length)),
            )?;
            Ok(native(start, frames, Ok, false))
        }
        (Some(pixels), change) => {
            let frames = Frames::native(services, pixels, instance).await?;
            changed(services, instance, &header, frames, recipe.edits, change)
        }
        (None, _) => {
            let start = begin(services, instance, &header, &recipe.edits, None)?;
            let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
            tokio::spawn(async move {
                let body = async {
                    if start.send_before(&sender).await?.is_ok() {
                        let _ = start.send_after(&sender).await?;
                    }
                    Ok::<(), EngineError>(())
                };
                if let Err(error) = body.await {
                    let _ = sender.send(Err(error)).await;
                }
            });
            Ok(Derived { pieces })
        }
    }
}

fn begin(
    services: &Arc<Services>,
    instance: &InstanceRef,
    header: &HeaderBytes,
    edits: &Edits,
    pixel: Option<(PixelHeader, u64)>,
) -> Result<Envelope> {
    let payload_length = pixel.map_or(0, |(_, length)| length);
    let pixel = match pixel {
        Some((pixel, length)) => Some(PixelHeader {
            length: Some(
                u32::try_from(length.next_multiple_of(2))
                    .ok()
                    .filter(|length| *length != u32::MAX)
                    .ok_or_else(|| EngineError::NotAcceptable("the decoded pixels exceed 4 GiB".to_owned()))?,
            ),
            ..pixel
        }),
        None => None,
    };
    Ok(start(services, instance, header, edits, pixel, EXPLICIT_LITTLE)?.around(payload_length))
}

fn start(
    services: &Arc<Services>,
    instance: &InstanceRef,
    header: &HeaderBytes,
    edits: &Edits,
    pixel: Option<PixelHeader>,
    transfer_syntax_uid: &str,
) -> Result<Envelope> {
    let record = &instance.record;
    let values = Values::new(services, instance, header)?;
    let made = edited(
        &header.elements_before(),
        &header.elements_after(),
        record.encoding.into(),
        values.all(),
        edits,
        pixel,
    )
    .map_err(|_| EngineError::NotAcceptable("the header cannot be re-encoded".to_owned()))?;
    let named = |tag, known: &str| match edits.value(tag).map(std::str::from_utf8) {
        Some(Ok(uid)) => uid.to_owned(),
        _ => known.to_owned(),
    };
    let sop_class = named(tags::SOP_CLASS_UID, &record.sop_class_uid);
    let sop_instance = named(tags::SOP_INSTANCE_UID, &record.instance_uid);
    let meta = file_meta(transfer_syntax_uid, &sop_class, &sop_instance);
    Envelope::new(instance, meta, made, values)
}

fn patch_pixel(frames: &Frames) -> Result<PixelHeader> {
    patch_of(frames)?.pixel.ok_or(EngineError::Corrupt("pixel description"))
}

fn encapsulated(
    services: &Arc<Services>,
    instance: &InstanceRef,
    header: &HeaderBytes,
    pixels: PixelReader,
    edits: &Edits,
) -> Result<Derived> {
    let pixel = PixelHeader {
        tag: tags::PIXEL_DATA,
        vr: VR::OB,
        length: None,
    };
    let syntax = instance.record.transfer_syntax_uid.clone();
    let start = start(services, instance, header, edits, Some(pixel), &syntax)?;
    // The framing alone.
    let mut framing = header.clone();
    (framing.before, framing.after, framing.trailing) = (Bytes::new(), Bytes::new(), Bytes::new());
    (framing.long_before, framing.long_after) = (Vec::new(), Vec::new());
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    tokio::spawn(async move {
        let body = async {
            let layout = pixels.record().layout.clone();
            let mut merger =
                Merger::new(&framing, Some(&layout)).map_err(|_| EngineError::Corrupt("header and pixel layout"))?;
            if start.send_before(&sender).await?.is_err() {
                return Ok(());
            }
            while let Some(piece) = merger.next_piece() {
                let bytes = match piece {
                    Piece::Bytes(bytes) => bytes,
                    Piece::Unit(index) => pixels.unit(index).await?,
                    Piece::ValueUnit(_) => return Err(EngineError::Corrupt("long values")),
                };
                if !bytes.is_empty() && sender.send(Ok(bytes)).await.is_err() {
                    return Ok(());
                }
            }
            let _ = start.send_after(&sender).await?;
            Ok::<(), EngineError>(())
        };
        if let Err(error) = body.await {
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(Derived { pieces })
}

/// Sends native pixels: whole frames through `change`, or the payload as it comes.
fn native(
    start: Envelope,
    frames: Frames,
    change: impl Fn(Bytes) -> Result<Bytes> + Send + Sync + 'static,
    by_frame: bool,
) -> Derived {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    tokio::spawn(async move {
        let body = async {
            if start.send_before(&sender).await?.is_err() {
                return Ok(());
            }
            let mut step = 0;
            loop {
                let piece = if by_frame {
                    match step < frames.num_frames() {
                        true => Some(change(frames.native_frame(step).await?)?),
                        false => None,
                    }
                } else {
                    frames.native_piece(step).await?
                };
                let Some(piece) = piece else { break };
                if !piece.is_empty() && sender.send(Ok(piece)).await.is_err() {
                    return Ok(());
                }
                step += 1;
            }
            let _ = start.send_after(&sender).await?;
            Ok::<(), EngineError>(())
        };
        if let Err(error) = body.await {
            let _ = sender.send(Err(error)).await;
        }
    });
    Derived { pieces }
}

fn changed(
    services: &Arc<Services>,
    instance: &InstanceRef,
    header: &HeaderBytes,
    frames: Frames,
    mut edits: Edits,
    change: PixelChange,
) -> Result<Derived> {
    let unpaintable = || EngineError::NotAcceptable("the pixels of this instance cannot be painted".to_owned());
    let description = frames.description();
    let mut shape: FrameShape = description.shape.ok_or_else(unpaintable)?;
    let mut photometric = description.photometric.clone();
    if description.element != PixelElement::Pixel || frames.num_frames() == 0 {
        return Err(unpaintable());
    }
    if let Some(decoded) = frames.decoded() {
        shape.samples_per_pixel = decoded.samples_per_pixel;
        shape.planar = decoded.planar;
        shape.bits_allocated = decoded.bits_allocated;
        shape.high_bit = shape.bits_stored.saturating_sub(1);
        photometric.clone_from(&decoded.photometric);
        edits.short(tags::SAMPLES_PER_PIXEL, decoded.samples_per_pixel);
        edits.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, &decoded.photometric);
        edits.short(tags::BITS_ALLOCATED, decoded.bits_allocated);
        edits.short(tags::HIGH_BIT, shape.high_bit);
        if decoded.samples_per_pixel > 1 {
            edits.short(tags::PLANAR_CONFIGURATION, u16::from(decoded.planar));
        }
    }
    let samples = Samples::new(shape, &photometric).ok_or_else(unpaintable)?;
    let attributes = Header::from_bytes(header.elements(), instance.record.encoding.into())
        .map_err(|_| EngineError::NotAcceptable("the header of this instance cannot be read".to_owned()))?;
    derivation(&mut edits, &attributes, &change);
    let frame_bytes = shape.frame_length().ok_or_else(unpaintable)?;
    let pixel = patch_pixel(&frames)?;
    let length = |frame_bytes: u64| {
        frame_bytes
            .checked_mul(frames.num_frames().into())
            .ok_or_else(unpaintable)
    };
    match change {
        PixelChange::Crop(region) => {
            let region = region
                .clipped(shape.columns, shape.rows)
                .ok_or_else(|| EngineError::NotAcceptable("the region lies outside of the image".to_owned()))?;
            if attributes.get(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).is_some() {
                return Err(EngineError::NotAcceptable(
                    "frames that each have a place of their own are not cropped".to_owned(),
                ));
            }
            let cropped = FrameShape {
                rows: region.height,
                columns: region.width,
                ..shape
            };
            move_position(&mut edits, &attributes, region);
            edits.short(tags::ROWS, region.height as u16);
            edits.short(tags::COLUMNS, region.width as u16);
            let payload = length(cropped.frame_length().ok_or_else(unpaintable)?)?;
            let start = begin(services, instance, header, &edits, Some((pixel, payload)))?;
            let crop = move |frame: Bytes| {
                samples
                    .cropped(&frame, region)
                    .map(Bytes::from)
                    .ok_or(EngineError::Corrupt("frame length"))
            };
            Ok(native(start, frames, crop, true))
        }
        PixelChange::Obscure(regions, colour) => {
            let start = begin(services, instance, header, &edits, Some((pixel, length(frame_bytes)?)))?;
            let obscure = move |frame: Bytes| {
                let mut frame = frame.to_vec();
                samples.obscure(&mut frame, &regions, colour);
                Ok(Bytes::from(frame))
            };
            Ok(native(start, frames, obscure, true))
        }
        PixelChange::Keep => Err(unpaintable()),
    }
}

/// Says how the image came about (PS3.3 section C.7.6.1), and leaves out what shows the pixels that are gone.
fn derivation(edits: &mut Edits, attributes: &Header, change: &PixelChange) {
    let values = texts(attributes, tags::IMAGE_TYPE);
    let mut image_type = vec!["DERIVED".to_owned()];
    image_type.extend(values.into_iter().skip(1));
    if image_type.len() == 1 {
        image_type.push("SECONDARY".to_owned());
    }
    edits.text(tags::IMAGE_TYPE, VR::CS, &image_type.join("\\"));
    let description = match change {
        PixelChange::Crop(_) => "Cropped to a region",
        _ => "Regions obscured",
    };
    edits.text(tags::DERIVATION_DESCRIPTION, VR::ST, description);
    edits.remove(tags::ICON_IMAGE_SEQUENCE);
    edits.remove(tags::SMALLEST_IMAGE_PIXEL_VALUE);
    edits.remove(tags::LARGEST_IMAGE_PIXEL_VALUE);
    edits.remove_overlays();
    if matches!(change, PixelChange::Crop(_)) {
        edits.remove(tags::SEQUENCE_OF_ULTRASOUND_REGIONS);
    }
}

/// All values of a top-level text attribute.
fn texts(attributes: &Header, tag: dicom_core::Tag) -> Vec<String> {
    let text = attributes
        .get(tag)
        .and_then(|element| element.text(&CharacterSets::default()));
    text.map(|text| text.split('\\').map(|value| value.trim().to_owned()).collect())
        .unwrap_or_default()
}

/// Image Position (Patient) is of the first pixel (PS3.3 section C.7.6.2.1.1): it moves with the region's corner.
fn move_position(edits: &mut Edits, attributes: &Header, region: Region) {
    let numbers = |tag| -> Option<Vec<f64>> {
        texts(attributes, tag)
            .iter()
            .map(|text| text.parse::<f64>().ok().filter(|value| value.is_finite()))
            .collect()
    };
    let (Some(position), Some(orientation), Some(spacing)) = (
        numbers(tags::IMAGE_POSITION_PATIENT),
        numbers(tags::IMAGE_ORIENTATION_PATIENT),
        numbers(tags::PIXEL_SPACING),
    ) else {
        return;
    };
    let (Ok(position), Ok(orientation), Ok(spacing)) = (
        <[f64; 3]>::try_from(position),
        <[f64; 6]>::try_from(orientation),
        <[f64; 2]>::try_from(spacing),
    ) else {
        return;
    };
    let along_row = f64::from(region.x) * spacing[1];
    let down_column = f64::from(region.y) * spacing[0];
    let moved: Vec<String> = (0..3)
        .map(|axis| {
            let value = position[axis] + orientation[axis] * along_row + orientation[axis + 3] * down_column;
            decimal_string(value)
        })
        .collect();
    edits.text(tags::IMAGE_POSITION_PATIENT, VR::DS, &moved.join("\\"));
}

/// A number in at most 16 characters (PS3.5 section 6.2, DS).
fn decimal_string(value: f64) -> String {
    for digits in (0..=10).rev() {
        let text = format!("{value:.digits$}");
        if text.len() <= 16 {
            return text;
        }
    }
    format!("{value:.8e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_are_short() {
        for (value, expected) in [(1.5, "1.5000000000"), (-123_456.789, "-123456.78900000")] {
            assert_eq!(decimal_string(value), expected);
        }
        assert!(decimal_string(1e300).len() <= 16);
    }
}
