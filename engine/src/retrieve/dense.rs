//! A whole instance in the dense tier's own form: High-Throughput JPEG 2000, lossless (PS3.5 sections 8.2 and A.4).
//!
//! One fragment a frame behind an empty Basic Offset Table. Frames that lie on disk as codestreams go out as they lie;
//! others are encoded on the way, with the same proof as at ingest. Three components are transformed (YBR_RCT), which
//! only Photometric Interpretation RGB allows.

use std::sync::Arc;

use bytes::Bytes;
use dicom_core::{Tag, VR};
use septum_core::codec;
use septum_core::dicom::transcode::{PixelHeader, PixelPatch, file_meta, to_explicit_little};
use septum_core::dicom::{HeaderBytes, PixelElement};
use tokio::sync::mpsc;

use super::envelope::Envelope;
use super::frames::{HTJ2K_LOSSLESS, dense_frame};
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

/// Whether an instance has this form, as far as can be told without its samples.
pub fn is_possible(record: &VersionRecord) -> bool {
    record.pixels.as_ref().is_some_and(|pixels| {
        let photometric = pixels.photometric.trim_end();
        !pixels.encapsulated
            && pixels.element == PixelElement::Pixel
            && unit_shape(pixels)
                .is_some_and(|shape| codec::has_htj2k(&shape) && (shape.samples_per_pixel == 1 || photometric == "RGB"))
    })
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
) -> Result<InstanceStream> {
    let record = &instance.record;
    let Some(pixels) = pixels.filter(|_| is_possible(record)) else {
        return Err(no_codestream());
    };
    let first = codestream(services, &pixels, 0).await?;
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
        photometric_interpretation: is_colour.then(|| "YBR_RCT".to_owned()),
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
    let meta = file_meta(HTJ2K_LOSSLESS, &record.sop_class_uid, &record.instance_uid);
    let envelope = Envelope::new(instance, meta, written, values)?;
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let services = Arc::clone(services);
    tokio::spawn(async move {
        if let Err(error) = send_all(&services, &sender, &envelope, &pixels, first).await {
            tracing::error!(%error, "an instance broke off while it was sent");
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(InstanceStream::new(HTJ2K_LOSSLESS.to_owned(), None, pieces))
}

async fn send_all(
    services: &Arc<Services>,
    sender: &Sender,
    envelope: &Envelope,
    pixels: &PixelReader,
    first: Bytes,
) -> Result<()> {
    if envelope.send_before(sender).await?.is_err() || send(sender, Bytes::copy_from_slice(&item(0))).await.is_err() {
        return Ok(());
    }
    let mut frame = Some(first);
    for index in 0..pixels.record().layout.num_frames() {
        let frame = match frame.take() {
            Some(first) => first,
            None => codestream(services, pixels, index).await?,
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

/// A frame's codestream, made now where none lies on disk.
async fn codestream(services: &Arc<Services>, pixels: &PixelReader, index: u32) -> Result<Bytes> {
    if let Some(codestream) = dense_frame(services, pixels, index).await? {
        return Ok(codestream);
    }
    let shape = unit_shape(&pixels.record().description).ok_or_else(no_codestream)?;
    // The frame, its samples in the coder, the codestream, and what proves it.
    let permit = services
        .read_permits
        .acquire(4 * pixels.record().layout.unit_length(index))
        .await?;
    let frame = pixels.unit_plain(index).await?;
    let made = services.compute.run(move || codec::htj2k(&shape, &frame)).await?;
    made.map(|codestream| permit.hold(codestream.into()))
        .ok_or_else(no_codestream)
}

fn no_codestream() -> EngineError {
    EngineError::NotAcceptable("the pixels of this instance have no form in High-Throughput JPEG 2000".to_owned())
}
