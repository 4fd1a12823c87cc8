//! Frames and whole instances in the forms of the dense tier: High-Throughput JPEG 2000 and JPEG-LS, both lossless
//! (PS3.5 sections 8.2 and A.4).
//!
//! Frames that lie on disk as such codestreams go out as they lie; others are encoded on the way, with the same proof as
//! at ingest. An instance has one fragment a frame behind an empty Basic Offset Table. HTJ2K transforms three components
//! (YBR_RCT), and either way the samples must be RGB.

use std::sync::Arc;

use bytes::Bytes;
use dicom_core::{Tag, VR};
use septum_core::codec::Interchange;
use septum_core::dicom::transcode::{PixelHeader, PixelPatch, file_meta, to_explicit_little};
use septum_core::dicom::{HeaderBytes, PixelElement};
use tokio::sync::mpsc;

use super::envelope::Envelope;
use super::frames::check_readable;
use super::stream::{InstanceStream, PIECES_AHEAD, Sender, send};
use super::{InstanceRef, PixelReader, Values};
use crate::error::{EngineError, Result};
use crate::records::{VersionRecord, unit_shape};
use crate::services::Services;

/// An item of so many bytes (PS3.5 section 7.5).
fn item(length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_le_bytes();
    [0xFE, 0xFF, 0x00, 0xE0, a, b, c, d]
}

/// Sequence Delimitation Item.
const DELIMITER: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];

/// Whether an instance has such a form, as far as can be told without its samples.
pub fn is_possible(record: &VersionRecord, interchange: Interchange) -> bool {
    let described = record.pixels.as_ref().filter(|_| check_readable(record).is_ok());
    described.is_some_and(|pixels| {
        let photometric = pixels.photometric.trim_end();
        !pixels.encapsulated
            && pixels.element == PixelElement::Pixel
            && unit_shape(pixels).is_some_and(|shape| {
                interchange.suits(&shape) && (shape.samples_per_pixel == 1 || photometric == "RGB")
            })
    })
}

/// The form that a transfer syntax means, if an instance has it as far as can be told without its samples.
pub fn of(transfer_syntax_uid: &str, record: &VersionRecord) -> Option<Interchange> {
    Interchange::of(transfer_syntax_uid).filter(|interchange| is_possible(record, *interchange))
}

/// Starts streaming an instance.
///
/// # Errors
/// [`EngineError::NotAcceptable`] where its first frame has no codestream.
pub(super) async fn open(
    services: &Arc<Services>,
    instance: &InstanceRef,
    header: &HeaderBytes,
    pixels: Option<PixelReader>,
    interchange: Interchange,
) -> Result<InstanceStream> {
    let record = &instance.record;
    let Some(pixels) = pixels.filter(|_| is_possible(record, interchange)) else {
        return Err(no_codestream());
    };
    let first = made_frame(services, &pixels, interchange, 0).await?;
    let is_colour = pixels
        .record()
        .description
        .shape
        .is_some_and(|shape| shape.samples_per_pixel == 3);
    let values = Values::new(services, instance, header)?;
    let patch = PixelPatch {
        pixel: Some(PixelHeader {
            tag: Tag(0x7FE0, 0x0010),
            vr: VR::OB,
            length: None,
        }),
        photometric_interpretation: is_colour.then(|| interchange.photometric_of_rgb().to_owned()),
        planar_configuration: is_colour.then_some(0),
        long_values: values.all().to_vec(),
        ..PixelPatch::default()
    };
    let written = to_explicit_little(
        &header.elements_before(),
        &header.elements_after(),
        record.encoding.into(),
        &patch,
    )
    .map_err(|_| EngineError::NotAcceptable("the header cannot be re-encoded".to_owned()))?;
    let syntax = interchange.transfer_syntax_uid();
    let meta = file_meta(syntax, &record.sop_class_uid, &record.instance_uid);
    let envelope = Envelope::new(instance, meta, written, values)?;
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let services = Arc::clone(services);
    tokio::spawn(async move {
        if let Err(error) = send_all(&services, &sender, &envelope, &pixels, interchange, first).await {
            tracing::error!(%error, "an instance broke off while it was sent");
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(InstanceStream::new(syntax.to_owned(), None, pieces))
}

async fn send_all(
    services: &Arc<Services>,
    sender: &Sender,
    envelope: &Envelope,
    pixels: &PixelReader,
    interchange: Interchange,
    first: Bytes,
) -> Result<()> {
    if envelope.send_before(sender).await?.is_err() || send(sender, Bytes::copy_from_slice(&item(0))).await.is_err() {
        return Ok(());
    }
    let mut frame = Some(first);
    for index in 0..pixels.record().layout.num_frames() {
        let frame = match frame.take() {
            Some(first) => first,
            None => made_frame(services, pixels, interchange, index).await?,
        };
        for piece in fragment(frame)? {
            if send(sender, piece).await.is_err() {
                return Ok(());
            }
        }
    }
    if send(sender, Bytes::from_static(&DELIMITER)).await.is_ok() {
        let _ = envelope.send_after(sender).await?;
    }
    Ok(())
}

/// A codestream as an item, padded to an even length.
fn fragment(frame: Bytes) -> Result<[Bytes; 3]> {
    let length = u32::try_from(frame.len().next_multiple_of(2)).map_err(|_| no_codestream())?;
    let head = Bytes::copy_from_slice(&item(length));
    let padding: &[u8] = if frame.len() % 2 == 1 { &[0] } else { &[] };
    Ok([head, frame, Bytes::from_static(padding)])
}

/// One frame as a codestream, by index from 0, if it already lies on disk as one; else it jumps the densify queue.
pub async fn lying_frame(
    services: &Arc<Services>,
    pixels: &PixelReader,
    interchange: Interchange,
    index: u32,
) -> Result<Option<Bytes>> {
    let layout = &pixels.record().layout;
    let range = layout.frame_range(index).ok_or(EngineError::NotFound)?;
    let units = layout.units_of(range.bytes.clone());
    if units.len() == 1 && layout.unit_range(units.start) == Some(range.bytes) {
        let permit = services
            .read_permits
            .acquire(2 * layout.unit_length(units.start))
            .await?;
        let (codec, bytes) = pixels.unit_encoded(units.start).await?;
        if codec == interchange.codec() {
            return Ok(Some(permit.hold(bytes)));
        }
    }
    services.densify.hasten(pixels.pixel_set());
    Ok(None)
}

/// One frame as a codestream, by index from 0, made now where none lies on disk.
///
/// # Errors
/// [`EngineError::NotAcceptable`] where its samples have none.
pub async fn made_frame(
    services: &Arc<Services>,
    pixels: &PixelReader,
    interchange: Interchange,
    index: u32,
) -> Result<Bytes> {
    if let Some(codestream) = lying_frame(services, pixels, interchange, index).await? {
        return Ok(codestream);
    }
    let shape = unit_shape(&pixels.record().description).ok_or_else(no_codestream)?;
    // The frame, its samples in the coder, the codestream, and what proves it.
    let permit = services
        .read_permits
        .acquire(4 * pixels.record().layout.unit_length(index))
        .await?;
    let frame = pixels.unit_plain(index).await?;
    let made = services.compute.run(move || interchange.encode(&shape, &frame)).await?;
    made.map(|codestream| permit.hold(codestream.into()))
        .ok_or_else(no_codestream)
}

fn no_codestream() -> EngineError {
    EngineError::NotAcceptable("the pixels of this instance have no form in the transfer syntax asked for".to_owned())
}
