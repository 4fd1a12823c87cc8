//! Lossless codecs of stored frames, and of header bytes against a template.
//!
//! Owns the wire ids of codecs and the payload formats behind them. A stored frame is a codec id (kept by the pixel
//! record, not in the payload) and a payload:
//!
//! | id | codec | payload |
//! |---|---|---|
//! | 0 | [`Codec::Raw`] | the frame |
//! | 1 | [`Codec::Lz4`] | LZ4 block of the frame |
//! | 2 | [`Codec::Lz4Planes`] | filter byte, LZ4 block of the byte planes (of the frame where the filter is none) |
//! | 3 | [`Codec::ZstdPlanes`] | filter byte, zstd frame (RFC 8878) of the same |
//! | 4 | [`Codec::Htj2k`] | a bare HTJ2K codestream (ITU-T T.814), reversible; viewers get it as it lies |
//! | 5 | [`Codec::Packed`] | filter byte, bit-packed residuals (module `packed`) |
//! | 6 | [`Codec::JpegLs`] | a bare JPEG-LS codestream (ITU-T T.87), lossless; viewers get it as it lies |
//!
//! The filter byte and the order of the planes are told in the module `planes`. Neither payload repeats the decoded
//! length or the frame shape: the caller keeps both and sealing binds them.
//!
//! Invariants:
//! - What [`encode`] returns decodes to the very bytes it was given; that was proved on the finished payload before it
//!   returned (invariant 4). A codec that fails the proof is not used.
//! - [`decode`] gives exactly the length asked for or an error, never panics, and takes memory in proportion to the
//!   length asked for, whatever the payload claims.
//! - No parallelism here: callers hand frames to their own thread pool. Each thread keeps one compression context.

mod bitpack;
mod choose;
mod entropy;
mod error;
#[cfg(feature = "native")]
mod htj2k;
#[cfg(feature = "native")]
mod interchange;
#[cfg(feature = "native")]
mod jpegls;
mod layout;
mod lines;
mod packed;
mod planes;
mod predict;
#[cfg(feature = "native")]
mod rle;
mod template;

use crate::frame_shape::FrameShape;
use std::fmt;

pub use error::CodecError;
#[cfg(feature = "native")]
pub use interchange::Interchange;
pub use template::{compress_with_template, decompress_with_template};

use layout::Layout;
use planes::{FILTER_NONE, Filter, from_planes, planes_restore, to_planes};

/// Longest frame that is compressed, in bytes; longer ones are stored [`Codec::Raw`].
pub const FRAME_LENGTH_MAX: usize = 1 << 30;

/// How a stored frame is encoded. The numbers are on disk for ever.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// The frame as it came.
    Raw = 0,
    /// One LZ4 block.
    Lz4 = 1,
    /// Prediction, byte planes, LZ4: fast, and portable to WebAssembly.
    Lz4Planes = 2,
    /// Prediction, byte planes, zstd. Needs the `native` feature.
    ZstdPlanes = 3,
    /// High-Throughput JPEG 2000, lossless: a bare codestream of transfer syntax 1.2.840.10008.1.2.4.201. Needs the
    /// `native` feature.
    Htj2k = 4,
    /// Prediction and bit packing: the fastest, and portable to WebAssembly. Samples of 8 or 16 bits.
    Packed = 5,
    /// JPEG-LS, lossless: a bare codestream of transfer syntax 1.2.840.10008.1.2.4.80. Needs the `native` feature.
    JpegLs = 6,
}

impl From<Codec> for u8 {
    fn from(codec: Codec) -> Self {
        codec as u8
    }
}

impl TryFrom<u8> for Codec {
    type Error = CodecError;

    fn try_from(id: u8) -> Result<Self, CodecError> {
        match id {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Lz4),
            2 => Ok(Self::Lz4Planes),
            3 => Ok(Self::ZstdPlanes),
            4 => Ok(Self::Htj2k),
            5 => Ok(Self::Packed),
            6 => Ok(Self::JpegLs),
            _ => Err(CodecError::UnknownCodec(id)),
        }
    }
}

/// How much work a frame is worth at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Much is under way: prediction and bit packing, or LZ4 where that cannot be.
    Pressure,
    /// Before an acknowledgement, at ordinary load.
    Acknowledge,
    /// In the background, or when idle: the form that viewers take as it lies.
    Dense,
}

/// A frame's payload and the codec that reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// How to decode `bytes`.
    pub codec: Codec,
    /// The payload.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({:?}, {} bytes)", self.codec, self.bytes.len())
    }
}

/// Encodes `frame` without loss.
///
/// `shape` tells how samples lie; without it, or where it disagrees with the frame's length, or for samples that are
/// not 8, 16 or 32 bits, the frame is compressed as opaque bytes. The codec is the tier's, or a plainer one where that
/// one gains nothing: [`Tier::Dense`] gives [`Codec::Htj2k`] or [`Codec::JpegLs`] only for grey, palette or
/// three-component frames of 8 or 16 Bits Allocated whose samples stay within Bits Stored, and only if it is at most
/// 5 % larger than the acknowledge-tier form and not larger than the frame; otherwise it gives the acknowledge-tier
/// form. Without the `native` feature every tier is [`Tier::Pressure`].
///
/// Takes up to about four times the frame's length in memory while it runs. Never fails: what cannot be proved
/// lossless, or saves less than 1/64, is returned [`Codec::Raw`].
pub fn encode(tier: Tier, shape: Option<&FrameShape>, frame: &[u8]) -> Encoded {
    let encoded = match tier {
        _ if frame.len() > FRAME_LENGTH_MAX => None,
        Tier::Pressure => encode_packed(shape, frame),
        #[cfg(feature = "native")]
        Tier::Acknowledge => encode_zstd(shape, frame),
        #[cfg(feature = "native")]
        Tier::Dense => encode_dense(shape, frame),
        #[cfg(not(feature = "native"))]
        Tier::Acknowledge | Tier::Dense => encode_packed(shape, frame),
    };
    encoded.unwrap_or_else(|| Encoded {
        codec: Codec::Raw,
        bytes: frame.to_vec(),
    })
}

/// Decodes a payload made by [`encode`] into exactly `decoded_length` bytes.
///
/// `shape` must be the one given to `encode`. Bounded by `decoded_length` in memory (twice, with prediction). Meant for
/// our own, unsealed and hence authentic payloads; damaged ones give an error or, as any bytes may be a valid payload
/// of some frame, other bytes. [`Codec::Htj2k`] and [`Codec::JpegLs`] run C++ code: streams from outside are for the
/// sandboxed decoder, not for this function.
pub fn decode(
    codec: Codec,
    shape: Option<&FrameShape>,
    encoded: &[u8],
    decoded_length: usize,
) -> Result<Vec<u8>, CodecError> {
    if codec != Codec::Raw && decoded_length > FRAME_LENGTH_MAX {
        return Err(CodecError::TooLong(decoded_length));
    }
    match codec {
        Codec::Raw if encoded.len() == decoded_length => Ok(encoded.to_vec()),
        Codec::Raw => Err(CodecError::Length {
            expected: decoded_length,
        }),
        Codec::Lz4 => entropy::lz4_decompress(codec, encoded, decoded_length),
        Codec::Lz4Planes => decode_planes(codec, shape, encoded, decoded_length),
        Codec::Packed => decode_packed(shape, encoded, decoded_length),
        #[cfg(feature = "native")]
        Codec::ZstdPlanes => decode_planes(codec, shape, encoded, decoded_length),
        #[cfg(feature = "native")]
        Codec::Htj2k => Interchange::Htj2k.decode(shape, encoded, decoded_length),
        #[cfg(feature = "native")]
        Codec::JpegLs => Interchange::JpegLs.decode(shape, encoded, decoded_length),
        #[cfg(not(feature = "native"))]
        Codec::ZstdPlanes | Codec::Htj2k | Codec::JpegLs => Err(CodecError::Unavailable(codec)),
    }
}

/// Whether `encoded` is worth having instead of `frame`.
fn is_worth(encoded: &[u8], frame: &[u8]) -> bool {
    encoded.len() + frame.len() / 64 < frame.len()
}

fn encode_packed(shape: Option<&FrameShape>, frame: &[u8]) -> Option<Encoded> {
    let layout = Layout::of(shape, frame.len()).filter(|layout| layout.bytes_per_sample <= 2);
    let Some(layout) = layout else {
        return encode_lz4(shape, frame);
    };
    let packed = choose::choose(&layout, frame, &choose::FOR_PACKING)
        .and_then(|filter| packed::encode(&layout, filter, frame))
        .filter(|bytes| is_worth(bytes, frame));
    match packed {
        Some(bytes) => Some(Encoded {
            codec: Codec::Packed,
            bytes,
        }),
        None => encode_lz4(shape, frame),
    }
}

fn encode_lz4(shape: Option<&FrameShape>, frame: &[u8]) -> Option<Encoded> {
    let layout = Layout::of(shape, frame.len());
    let filter = layout
        .as_ref()
        .and_then(|layout| choose::choose(layout, frame, &choose::FOR_LZ4));
    let encoded = match (layout, filter) {
        (Some(layout), Some(filter)) => encode_planes(Codec::Lz4Planes, Some((&layout, filter)), frame),
        _ => {
            let mut bytes = Vec::new();
            entropy::lz4_compress(frame, &mut bytes);
            let proved = decode(Codec::Lz4, None, &bytes, frame.len()).is_ok_and(|decoded| decoded == frame);
            proved.then_some(Encoded {
                codec: Codec::Lz4,
                bytes,
            })
        }
    };
    encoded.filter(|encoded| is_worth(&encoded.bytes, frame))
}

#[cfg(feature = "native")]
fn encode_zstd(shape: Option<&FrameShape>, frame: &[u8]) -> Option<Encoded> {
    let layout = Layout::of(shape, frame.len());
    let filter = layout
        .as_ref()
        .and_then(|layout| choose::choose(layout, frame, &choose::FOR_ZSTD));
    encode_planes(Codec::ZstdPlanes, layout.as_ref().zip(filter), frame)
        .filter(|encoded| is_worth(&encoded.bytes, frame))
}

#[cfg(feature = "native")]
fn encode_dense(shape: Option<&FrameShape>, frame: &[u8]) -> Option<Encoded> {
    let acknowledged = encode_zstd(shape, frame);
    let length = acknowledged.as_ref().map_or(frame.len(), |encoded| encoded.bytes.len());
    shape
        .and_then(|shape| encode_interchange(shape, frame))
        .filter(|encoded| encoded.bytes.len() <= (length + length / 20).min(frame.len()))
        .or(acknowledged)
}

/// The form that viewers take: HTJ2K, which is decoded much faster, or JPEG-LS for grey and palette frames of a byte a
/// sample, such as ultrasound has, where that is smaller.
#[cfg(feature = "native")]
fn encode_interchange(shape: &FrameShape, frame: &[u8]) -> Option<Encoded> {
    let encode = |interchange: Interchange| {
        Some(Encoded {
            codec: interchange.codec()?,
            bytes: interchange.encode(shape, frame)?,
        })
    };
    let htj2k = encode(Interchange::Htj2k);
    if (shape.samples_per_pixel, shape.bits_allocated) != (1, 8) {
        return htj2k;
    }
    htj2k
        .into_iter()
        .chain(encode(Interchange::JpegLs))
        .min_by_key(|encoded| encoded.bytes.len())
}

/// Filters, compresses and proves; `None` if the proof fails.
fn encode_planes(codec: Codec, filter: Option<(&Layout, Filter)>, frame: &[u8]) -> Option<Encoded> {
    let mut bytes = vec![filter.map_or(FILTER_NONE, |(_, filter)| filter.id())];
    if let Some((layout, filter)) = filter {
        let mut planes = vec![0; frame.len()];
        to_planes(layout, filter, frame, &mut planes);
        compress(codec, &planes, true, &mut bytes)?;
    } else {
        compress(codec, frame, false, &mut bytes)?;
    }
    let (_, payload) = bytes.split_first()?;
    let decompressed = decompress(codec, payload, frame.len()).ok()?;
    let proved = match filter {
        Some((layout, filter)) => planes_restore(layout, filter, &decompressed, frame),
        None => decompressed == frame,
    };
    proved.then_some(Encoded { codec, bytes })
}

fn decode_planes(
    codec: Codec,
    shape: Option<&FrameShape>,
    encoded: &[u8],
    decoded_length: usize,
) -> Result<Vec<u8>, CodecError> {
    let (&id, payload) = encoded.split_first().ok_or(CodecError::Truncated)?;
    let layout = Layout::of(shape, decoded_length);
    let filter = Filter::from_id(id, layout.as_ref())?;
    let filter = match (layout, filter) {
        (Some(layout), Some(filter)) => Some((layout, filter)),
        (None, Some(_)) => return Err(CodecError::Shape { decoded_length }),
        (_, None) => None,
    };
    let planes = decompress(codec, payload, decoded_length)?;
    let Some((layout, filter)) = filter else {
        return Ok(planes);
    };
    let mut frame = vec![0; decoded_length];
    from_planes(&layout, filter, &planes, &mut frame);
    Ok(frame)
}

fn decode_packed(shape: Option<&FrameShape>, encoded: &[u8], decoded_length: usize) -> Result<Vec<u8>, CodecError> {
    let &id = encoded.first().ok_or(CodecError::Truncated)?;
    let layout = Layout::of(shape, decoded_length).ok_or(CodecError::Shape { decoded_length })?;
    let filter = Filter::from_id(id, Some(&layout))?.ok_or(CodecError::UnknownFilter(id))?;
    let mut frame = vec![0; decoded_length];
    packed::decode(&layout, filter, encoded, &mut frame).ok_or(CodecError::Malformed(Codec::Packed))?;
    Ok(frame)
}

#[cfg_attr(
    not(feature = "native"),
    expect(unused_variables, reason = "LZ4 has nothing to tune")
)]
fn compress(codec: Codec, bytes: &[u8], residuals: bool, out: &mut Vec<u8>) -> Option<()> {
    match codec {
        #[cfg(feature = "native")]
        Codec::ZstdPlanes => entropy::zstd_compress(bytes, residuals, out),
        _ => {
            entropy::lz4_compress(bytes, out);
            Some(())
        }
    }
}

fn decompress(codec: Codec, encoded: &[u8], length: usize) -> Result<Vec<u8>, CodecError> {
    match codec {
        #[cfg(feature = "native")]
        Codec::ZstdPlanes => entropy::zstd_decompress(codec, encoded, length),
        _ => entropy::lz4_decompress(codec, encoded, length),
    }
}

#[cfg(test)]
mod tests;
