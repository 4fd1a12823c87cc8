//! A whole instance as a Part 10 stream, bounded in memory whatever its size.
//!
//! The *original* is merged from its halves and checked against the digest kept at ingest before its last piece leaves
//! (invariant 4); a stream that fails the check breaks off, so nobody takes it for whole. The *native* form is Explicit
//! VR Little Endian: byte order and VR form changed where needed, foreign compressed frames decoded by the sandboxed
//! children.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use dicom_core::{Tag, VR};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use septum_core::codec::Interchange;
use septum_core::dicom::transcode::{PixelHeader, PixelPatch, file_meta, to_explicit_little};
use septum_core::dicom::{Encoding, HeaderBytes, Merger, Piece, PixelDescription, PixelElement, TransferSyntax};
use septum_core::seal::open_record;
use tokio::sync::mpsc;

use super::envelope::Envelope;
use super::frames::{EXPLICIT_LITTLE, Frames, check_readable};
use super::{InstanceRef, PixelReader, Values, interchange};
use crate::error::{EngineError, Result};
use crate::records::header_context;
use crate::services::Services;

/// Pieces made ahead of the client.
pub(super) const PIECES_AHEAD: usize = 2;

/// Which form of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The transfer syntax it came in.
    Original,
    /// Explicit VR Little Endian, pixels decoded.
    Native,
    /// A form of the dense tier: [`super::interchange`].
    Interchange(Interchange),
}

/// A stream under way.
pub struct InstanceStream {
    /// The transfer syntax of what is sent.
    pub transfer_syntax_uid: String,
    /// Its length in bytes, where it is known beforehand.
    pub length: Option<u64>,
    pieces: mpsc::Receiver<Result<Bytes>>,
}

impl InstanceStream {
    pub(super) fn new(transfer_syntax_uid: String, length: Option<u64>, pieces: mpsc::Receiver<Result<Bytes>>) -> Self {
        Self {
            transfer_syntax_uid,
            length,
            pieces,
        }
    }

    /// Whether all of it has been read, though not all been taken.
    pub fn is_read(&self) -> bool {
        self.pieces.is_closed()
    }

    /// The next piece; an error breaks the stream off.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.pieces.recv().await
    }
}

/// Opens an instance's header bytes.
pub async fn header_of(services: &Arc<Services>, instance: &InstanceRef) -> Result<HeaderBytes> {
    let plain = encoded_header(services, instance).await?;
    HeaderBytes::decode(&plain.into()).map_err(|_| EngineError::Corrupt("header"))
}

/// Opens an instance's header bytes in their encoded form.
pub async fn encoded_header(services: &Arc<Services>, instance: &InstanceRef) -> Result<Vec<u8>> {
    let shard = instance.study.stored_in(services);
    let keys = &instance.study.keys;
    let sealed = shard.read_object(instance.row.header, None).await?;
    let template = match instance.row.template {
        Some(object) => Some(services.templates.load(shard, object, keys).await?),
        None => None,
    };
    let context = header_context(instance.row.header, instance.version);
    let length = usize::try_from(instance.record.header_length).map_err(|_| EngineError::Corrupt("header length"))?;
    let keys = Arc::clone(keys);
    services
        .compute
        .upon(length, move || {
            let compressed = open_record(&keys.phi, &context, &sealed)?;
            let template = template.as_ref().map(|loaded| loaded.template.header.as_slice());
            septum_core::codec::decompress_with_template(template, &compressed, length)
                .map_err(|_| EngineError::Corrupt("header"))
        })
        .await?
}

/// Opens an instance's pixels, checking that the halves belong together.
pub fn pixels_of(services: &Arc<Services>, instance: &InstanceRef) -> Result<Option<PixelReader>> {
    let Some(pixel_set) = instance.row.pixel_set else {
        return Ok(None);
    };
    let study = &instance.study;
    let stored_with = instance.row.pixel_study.unwrap_or(study.id());
    let mut reader = PixelReader::open(services, study.shard, stored_with, Arc::clone(&study.keys), pixel_set)?;
    if instance.row.pixel_study.is_some() {
        reader = reader.lent();
    }
    if reader.record().split != instance.record.split {
        return Err(EngineError::Corrupt("binding of pixels to their header"));
    }
    Ok(Some(reader))
}

/// Starts streaming an instance. An instance that cannot be had in the form is refused here, before the first byte.
pub async fn open(services: &Arc<Services>, instance: &InstanceRef, form: Form) -> Result<InstanceStream> {
    let header = header_of(services, instance).await?;
    let pixels = pixels_of(services, instance)?;
    if let Form::Interchange(interchange) = form {
        return interchange::open(services, instance, &header, pixels, interchange).await;
    }
    if form == Form::Native {
        check_readable(&instance.record)?;
    }
    let stored = TransferSyntax::of(&instance.record.transfer_syntax_uid);
    let is_native_already = instance.record.encoding == Encoding::ExplicitLittle;
    let encapsulated = instance
        .record
        .pixels
        .as_ref()
        .is_some_and(|pixels| pixels.encapsulated);
    if form == Form::Original || (is_native_already && !encapsulated) {
        let deflate = form == Form::Original && stored.is_deflated();
        // The first unit is read before the answer begins, so that damage found there is an error and not a torn stream.
        let first = match &pixels {
            Some(pixels) if pixels.record().layout.num_units() > 0 => Some(pixels.unit(0).await?),
            _ => None,
        };
        let values = Values::new(services, instance, &header)?;
        return Ok(original(instance, header, values, pixels, first, form, deflate));
    }
    native(services, instance, header, pixels).await
}

fn original(
    instance: &InstanceRef,
    header: HeaderBytes,
    values: Values,
    pixels: Option<PixelReader>,
    first: Option<Bytes>,
    form: Form,
    deflate: bool,
) -> InstanceStream {
    let record = Arc::clone(&instance.record);
    let uid = if form == Form::Original {
        record.transfer_syntax_uid.clone()
    } else {
        EXPLICIT_LITTLE.to_owned()
    };
    let prefix = if uid == record.transfer_syntax_uid {
        prefix_of(&header)
    } else {
        None
    };
    let prefix = prefix.unwrap_or_else(|| file_meta(&uid, &record.sop_class_uid, &record.instance_uid).into());
    let length = (!deflate).then(|| prefix.len() as u64 + record.dataset_length);
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let original = Original {
        header,
        values,
        pixels,
        first,
        record,
        deflate,
    };
    tokio::spawn(async move {
        let outcome = original.send(&sender, prefix).await;
        if let Err(error) = outcome {
            tracing::error!(%error, "an instance broke off while it was sent");
            let _ = sender.send(Err(error)).await;
        }
    });
    InstanceStream::new(uid, length, pieces)
}

/// Preamble and file meta as they came, the preamble zeroed unless it is the other half of a TIFF (PS3.10 section 7.1).
fn prefix_of(header: &HeaderBytes) -> Option<Bytes> {
    let stored = &header.preamble_and_meta;
    if stored.get(128..132)? != b"DICM" {
        return None;
    }
    if stored.starts_with(b"II*\0") || stored.starts_with(b"MM\0*") {
        return Some(stored.clone());
    }
    let mut prefix = stored.to_vec();
    prefix[..128].fill(0);
    Some(prefix.into())
}

/// Where pieces go.
pub(crate) type Sender = mpsc::Sender<Result<Bytes>>;

/// Sends a piece; a client that went away ends the stream quietly.
pub(super) async fn send(sender: &Sender, piece: Bytes) -> std::result::Result<(), Gone> {
    if piece.is_empty() {
        return Ok(());
    }
    sender.send(Ok(piece)).await.map_err(|_| Gone)
}

/// Nobody listens any more.
pub(crate) struct Gone;

/// What an instance is merged from as it was received.
struct Original {
    header: HeaderBytes,
    values: Values,
    pixels: Option<PixelReader>,
    /// The first unit, where it was read already.
    first: Option<Bytes>,
    record: Arc<crate::records::VersionRecord>,
    deflate: bool,
}

impl Original {
    async fn send(self, sender: &Sender, prefix: Bytes) -> Result<()> {
        let Self {
            header,
            values,
            pixels,
            mut first,
            record,
            deflate,
        } = self;
        let layout = pixels.as_ref().map(|pixels| pixels.record().layout.clone());
        let mut merger =
            Merger::new(&header, layout.as_ref()).map_err(|_| EngineError::Corrupt("header and pixel layout"))?;
        if send(sender, prefix).await.is_err() {
            return Ok(());
        }
        let mut digest = blake3::Hasher::new();
        let mut deflater = deflate.then(|| DeflateEncoder::new(Vec::new(), Compression::default()));
        let mut held: Option<Bytes> = None;
        while let Some(piece) = merger.next_piece() {
            let bytes = match (piece, &pixels) {
                (Piece::Bytes(bytes), _) => bytes,
                (Piece::Unit(index), Some(pixels)) => match first.take() {
                    Some(unit) if index == 0 => unit,
                    _ => pixels.unit(index).await?,
                },
                (Piece::Unit(_), None) => return Err(EngineError::Corrupt("pixel layout")),
                (Piece::ValueUnit(number), _) => values.unit(number).await?,
            };
            digest.update(&bytes);
            let bytes = match &mut deflater {
                Some(deflater) => deflated(deflater, &bytes)?,
                None => bytes,
            };
            // The last byte waits for the check; a copy of it, so that no unit is kept for it.
            let cut = bytes.len().saturating_sub(1);
            let tail = Bytes::copy_from_slice(&bytes[cut..]);
            let earlier = if tail.is_empty() { None } else { held.replace(tail) };
            for piece in earlier.into_iter().chain([bytes.slice(..cut)]) {
                if send(sender, piece).await.is_err() {
                    return Ok(());
                }
            }
        }
        if *digest.finalize().as_bytes() != record.dataset_digest {
            return Err(EngineError::Corrupt("dataset digest"));
        }
        let mut last = held.map(|bytes| bytes.to_vec()).unwrap_or_default();
        if let Some(deflater) = deflater {
            let rest = deflater.finish().map_err(|source| EngineError::File {
                what: "deflate",
                source,
            })?;
            last.extend(rest);
            if last.len() % 2 == 1 {
                // PS3.5 section A.5: padded to an even length.
                last.push(0);
            }
        }
        let _ = send(sender, last.into()).await;
        Ok(())
    }
}

/// BLAKE3 of the dataset that a header, long values and pixels make, and its length in bytes.
///
/// # Errors
/// Where something of it cannot be read.
pub async fn digest_of(header: &HeaderBytes, values: &Values, pixels: Option<&PixelReader>) -> Result<([u8; 32], u64)> {
    let layout = pixels.map(|pixels| pixels.record().layout.clone());
    let mut merger =
        Merger::new(header, layout.as_ref()).map_err(|_| EngineError::Corrupt("header and pixel layout"))?;
    let mut digest = blake3::Hasher::new();
    while let Some(piece) = merger.next_piece() {
        let bytes = match (piece, pixels) {
            (Piece::Bytes(bytes), _) => bytes,
            (Piece::Unit(index), Some(pixels)) => pixels.unit(index).await?,
            (Piece::Unit(_), None) => return Err(EngineError::Corrupt("pixel layout")),
            (Piece::ValueUnit(number), _) => values.unit(number).await?,
        };
        digest.update(&bytes);
    }
    Ok((*digest.finalize().as_bytes(), digest.count()))
}

fn deflated(deflater: &mut DeflateEncoder<Vec<u8>>, bytes: &[u8]) -> Result<Bytes> {
    let failed = |source| EngineError::File {
        what: "deflate",
        source,
    };
    deflater.write_all(bytes).map_err(failed)?;
    Ok(std::mem::take(deflater.get_mut()).into())
}

async fn native(
    services: &Arc<Services>,
    instance: &InstanceRef,
    header: HeaderBytes,
    pixels: Option<PixelReader>,
) -> Result<InstanceStream> {
    let frames = match pixels {
        Some(pixels) => Some(Frames::native(services, pixels, instance).await?),
        None => None,
    };
    let (mut patch, payload_length) = match &frames {
        Some(frames) => (patch_of(frames)?, frames.native_length()?),
        None => (PixelPatch::default(), 0),
    };
    let values = Values::new(services, instance, &header)?;
    patch.long_values = values.all().to_vec();
    if let Some(pixel) = &mut patch.pixel {
        let even = payload_length.next_multiple_of(2);
        pixel.length = Some(
            u32::try_from(even)
                .ok()
                .filter(|length| *length != u32::MAX)
                .ok_or_else(|| EngineError::NotAcceptable("the decoded pixels exceed 4 GiB".to_owned()))?,
        );
    }
    let written = to_explicit_little(
        &header.elements_before(),
        &header.elements_after(),
        instance.record.encoding.into(),
        &patch,
    )
    .map_err(|_| EngineError::NotAcceptable("the header cannot be re-encoded".to_owned()))?;
    let record = &instance.record;
    let meta = file_meta(EXPLICIT_LITTLE, &record.sop_class_uid, &record.instance_uid);
    let envelope = Envelope::new(instance, meta, written, values)?.around(payload_length);
    let length = envelope.length() + payload_length;
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    tokio::spawn(async move {
        let body = async {
            if envelope.send_before(&sender).await?.is_err() {
                return Ok(());
            }
            if let Some(frames) = frames {
                let mut step = 0;
                while let Some(bytes) = frames.native_piece(step).await? {
                    if send(&sender, bytes).await.is_err() {
                        return Ok(());
                    }
                    step += 1;
                }
            }
            let _ = envelope.send_after(&sender).await?;
            Ok::<(), EngineError>(())
        };
        if let Err(error) = body.await {
            tracing::error!(%error, "an instance broke off while it was sent");
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(InstanceStream::new(EXPLICIT_LITTLE.to_owned(), Some(length), pieces))
}

/// What the native form of frames changes in a header.
pub fn patch_of(frames: &Frames) -> Result<PixelPatch> {
    let description: &PixelDescription = frames.description();
    let (tag, vr) = match description.element {
        PixelElement::Pixel => {
            let deep = frames.bits_allocated() > 8;
            (Tag(0x7FE0, 0x0010), if deep { VR::OW } else { VR::OB })
        }
        PixelElement::Float => (Tag(0x7FE0, 0x0008), VR::OF),
        PixelElement::Double => (Tag(0x7FE0, 0x0009), VR::OD),
    };
    let mut patch = PixelPatch {
        pixel: Some(PixelHeader { tag, vr, length: None }),
        ..PixelPatch::default()
    };
    if let Some(decoded) = frames.decoded() {
        patch.samples_per_pixel = Some(decoded.samples_per_pixel);
        patch.photometric_interpretation = Some(decoded.photometric.clone());
        patch.planar_configuration = (decoded.samples_per_pixel > 1).then_some(u16::from(decoded.planar));
        patch.bits_allocated = Some(decoded.bits_allocated);
    }
    Ok(patch)
}
