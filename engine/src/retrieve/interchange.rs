//! Frames and whole instances as codestreams: High-Throughput JPEG 2000, JPEG-LS and RLE, all of them lossless (PS3.5
//! sections 8.2 and A.4).
//!
//! Frames that lie on disk as such codestreams go out as they lie; others are encoded on the way, with the same proof as
//! at ingest: native ones as they are, foreign codestreams once they are decoded. An instance has one fragment a frame
//! behind an empty Basic Offset Table. HTJ2K transforms three components (YBR_RCT), which must be RGB.
//!
//! What was compressed with loss stays so: such an instance is encoded only where its Lossy Image Compression (0028,2110)
//! says it, since its transfer syntax no longer would.

use std::sync::Arc;

use bytes::Bytes;
use dicom_core::{Tag, VR};
use septum_core::codec::Interchange;
use septum_core::dicom::attributes::Header;
use septum_core::dicom::transcode::{PixelHeader, PixelPatch, file_meta, to_explicit_little};
use septum_core::dicom::{HeaderBytes, PixelElement};
use septum_core::frame_shape::FrameShape;
use tokio::sync::mpsc;

use super::envelope::Envelope;
use super::frames::{Frames, check_readable};
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
        let shape = if pixels.encapsulated {
            let is_decodable = septum_decoder::is_supported(&record.transfer_syntax_uid);
            pixels.shape.filter(|_| is_decodable)
        } else {
            unit_shape(pixels)
        };
        let photometric = pixels.photometric.trim_end();
        let is_made_rgb = pixels.encapsulated
            && (matches!(photometric, "YBR_RCT" | "YBR_ICT") || is_lossy_jpeg(&record.transfer_syntax_uid));
        pixels.element == PixelElement::Pixel
            && shape.is_some_and(|shape| {
                let is_grey = shape.samples_per_pixel == 1;
                interchange.suits(&shape) && (is_grey || is_made_rgb || interchange.takes_colour(photometric))
            })
    })
}

/// JPEG with loss, whose colours are decoded to RGB.
fn is_lossy_jpeg(transfer_syntax_uid: &str) -> bool {
    matches!(transfer_syntax_uid, "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51")
}

/// Whether the transfer syntax alone may be what says that something was lost.
fn may_be_lossy(transfer_syntax_uid: &str) -> bool {
    is_lossy_jpeg(transfer_syntax_uid)
        || matches!(
            transfer_syntax_uid.strip_prefix("1.2.840.10008.1.2.4."),
            Some("81" | "91" | "93" | "111" | "112" | "203")
        )
}

/// Refuses to leave an instance that was compressed with loss without anything that says so.
fn check_loss_is_told(record: &VersionRecord, header: &HeaderBytes) -> Result<()> {
    if !may_be_lossy(&record.transfer_syntax_uid) {
        return Ok(());
    }
    let header = Header::from_bytes(header.elements(), record.encoding.into())
        .map_err(|_| EngineError::NotAcceptable("the header cannot be re-encoded".to_owned()))?;
    match header.text(Tag(0x0028, 0x2110)).as_deref().map(str::trim) {
        Some("01") => Ok(()),
        // These may be lossless too, and say so.
        Some("00") if !is_lossy_jpeg(&record.transfer_syntax_uid) => Ok(()),
        _ => Err(EngineError::NotAcceptable(
            "the instance may be compressed with loss, and its Lossy Image Compression (0028,2110) does not say so"
                .to_owned(),
        )),
    }
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
    let pixels = pixels.ok_or_else(no_codestream)?;
    check_loss_is_told(record, header)?;
    let coder = Coder::open(services, &pixels, instance, interchange).await?;
    let first = coder.frame(0).await?;
    let values = Values::new(services, instance, header)?;
    let patch = PixelPatch {
        long_values: values.all().to_vec(),
        ..coder.patch()
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
    tokio::spawn(async move {
        if let Err(error) = send_all(&sender, &envelope, &coder, first).await {
            tracing::error!(%error, "an instance broke off while it was sent");
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(InstanceStream::new(syntax.to_owned(), None, pieces))
}

async fn send_all(sender: &Sender, envelope: &Envelope, coder: &Coder, first: Bytes) -> Result<()> {
    if envelope.send_before(sender).await?.is_err() || send(sender, Bytes::copy_from_slice(&item(0))).await.is_err() {
        return Ok(());
    }
    let mut frame = Some(first);
    for index in 0..coder.pixels.record().layout.num_frames() {
        let frame = match frame.take() {
            Some(first) => first,
            None => coder.frame(index).await?,
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
    let Some(wanted) = interchange
        .codec()
        .filter(|_| !pixels.record().description.encapsulated)
    else {
        return Ok(None);
    };
    let layout = &pixels.record().layout;
    let range = layout.frame_range(index).ok_or(EngineError::NotFound)?;
    let units = layout.units_of(range.bytes.clone());
    if units.len() == 1 && layout.unit_range(units.start) == Some(range.bytes) {
        let permit = services
            .read_permits
            .acquire(2 * layout.unit_length(units.start))
            .await?;
        let (codec, bytes) = pixels.unit_encoded(units.start).await?;
        if codec == wanted {
            return Ok(Some(permit.hold(bytes)));
        }
    }
    services.densify.hasten(pixels.pixel_set());
    Ok(None)
}

/// Gives the frames of an instance as codestreams, made now where none lie on disk.
pub struct Coder {
    services: Arc<Services>,
    pixels: PixelReader,
    interchange: Interchange,
    /// What native frames look like.
    shape: FrameShape,
    photometric: String,
    /// Of a foreign codestream: its frames once decoded.
    decoded: Option<Frames>,
}

impl Coder {
    /// Looks at the first frame, where it must be decoded.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where the instance has no such form.
    pub async fn open(
        services: &Arc<Services>,
        pixels: &PixelReader,
        instance: &InstanceRef,
        interchange: Interchange,
    ) -> Result<Self> {
        let description = &pixels.record().description;
        if !is_possible(&instance.record, interchange) {
            return Err(no_codestream());
        }
        let (mut coder, shape) = (
            Self {
                services: Arc::clone(services),
                pixels: pixels.clone(),
                interchange,
                shape: description.shape.ok_or_else(no_codestream)?,
                photometric: description.photometric.trim_end().to_owned(),
                decoded: None,
            },
            unit_shape(description),
        );
        if !description.encapsulated {
            coder.shape = shape.ok_or_else(no_codestream)?;
            return Ok(coder);
        }
        let frames = Frames::native(services, pixels.clone(), instance).await?;
        let decoded = frames.decoded().ok_or_else(no_codestream)?;
        coder.shape = FrameShape {
            samples_per_pixel: decoded.samples_per_pixel,
            bits_allocated: decoded.bits_allocated,
            planar: decoded.planar,
            big_endian: false,
            ..coder.shape
        };
        coder.photometric = decoded.photometric.trim_end().to_owned();
        coder.decoded = Some(frames);
        if coder.shape.samples_per_pixel == 3 && !interchange.takes_colour(&coder.photometric) {
            return Err(no_codestream());
        }
        Ok(coder)
    }

    /// The transfer syntax of what comes.
    pub fn transfer_syntax_uid(&self) -> &'static str {
        self.interchange.transfer_syntax_uid()
    }

    /// What the form changes in a header.
    fn patch(&self) -> PixelPatch {
        let is_colour = self.shape.samples_per_pixel == 3;
        let photometric = match self.photometric.as_str() {
            "RGB" => self.interchange.photometric_of_rgb(),
            other => other,
        };
        let is_decoded = self.decoded.is_some();
        PixelPatch {
            pixel: Some(PixelHeader {
                tag: Tag(0x7FE0, 0x0010),
                vr: VR::OB,
                length: None,
            }),
            samples_per_pixel: is_decoded.then_some(self.shape.samples_per_pixel),
            photometric_interpretation: is_colour.then(|| photometric.to_owned()),
            planar_configuration: is_colour.then_some(0),
            bits_allocated: is_decoded.then_some(self.shape.bits_allocated),
            ..PixelPatch::default()
        }
    }

    /// One frame, by index from 0.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where its samples have no such form.
    pub async fn frame(&self, index: u32) -> Result<Bytes> {
        if let Some(codestream) = lying_frame(&self.services, &self.pixels, self.interchange, index).await? {
            return Ok(codestream);
        }
        let (services, interchange, shape) = (&self.services, self.interchange, self.shape);
        // The frame, its samples in the coder, the codestream, and what proves it.
        let cost = 4 * shape.frame_length().ok_or_else(no_codestream)?;
        let (permit, frame) = match &self.decoded {
            Some(frames) => {
                // A copy: what is decoded holds permits, and nobody waits for more while holding some.
                let frame = Bytes::copy_from_slice(&frames.native_frame(index).await?);
                (services.read_permits.acquire(cost).await?, frame)
            }
            None => {
                let permit = services.read_permits.acquire(cost).await?;
                (permit, self.pixels.unit_plain(index).await?)
            }
        };
        let made = services.compute.run(move || interchange.encode(&shape, &frame)).await?;
        made.map(|codestream| permit.hold(codestream.into()))
            .ok_or_else(no_codestream)
    }
}

fn no_codestream() -> EngineError {
    EngineError::NotAcceptable("the pixels of this instance have no form in the transfer syntax asked for".to_owned())
}
