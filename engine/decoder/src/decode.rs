//! One compressed frame to native samples: picks the codec by transfer syntax and checks its result against the
//! attributes. Pure: no threads, no files, no processes, so that it runs under the strictest system-call filter.
//!
//! Invariant: an answer always holds exactly the number of bytes that the request's shape implies, or is an error.

use crate::error::{Damage, DecodeError};
use crate::{jpeg, jpeg2000, jpegls, jpegxl, rle, uncompressed};
use serde::{Deserialize, Serialize};

/// Largest native frame that is decoded, in bytes. A child's address space is the tighter bound for most codecs.
pub const MAX_FRAME_BYTES: u64 = 1 << 30;

/// The Image Pixel attributes (PS3.3 section C.7.6.3) that decoding needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameLayout {
    /// Rows (0028,0010), 1 to 65535.
    pub rows: u32,
    /// Columns (0028,0011), 1 to 65535.
    pub columns: u32,
    /// Samples per Pixel (0028,0002), 1 to 4.
    pub samples_per_pixel: u16,
    /// Bits Allocated (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits Stored (0028,0101).
    pub bits_stored: u16,
    /// High Bit (0028,0102).
    pub high_bit: u16,
    /// Pixel Representation (0028,0103) is 1: two's complement.
    pub signed: bool,
    /// Planar Configuration (0028,0006) is 1: colour by plane. Matters to the uncompressed syntaxes only.
    pub planar: bool,
}

impl FrameLayout {
    /// Bytes of one native frame; frames of 1-bit samples are rounded up to whole bytes. `None` where an attribute is
    /// out of its range or the frame exceeds [`MAX_FRAME_BYTES`].
    pub fn frame_length(&self) -> Option<usize> {
        if !(1..=65535).contains(&self.rows) || !(1..=65535).contains(&self.columns) {
            return None;
        }
        if !(1..=4).contains(&self.samples_per_pixel) || !matches!(self.bits_allocated, 1 | 8 | 16 | 32 | 64) {
            return None;
        }
        let bits = u64::from(self.rows)
            .checked_mul(u64::from(self.columns))?
            .checked_mul(u64::from(self.samples_per_pixel))?
            .checked_mul(u64::from(self.bits_allocated))?;
        let length = bits.div_ceil(8);
        if length > MAX_FRAME_BYTES {
            None
        } else {
            usize::try_from(length).ok()
        }
    }

    /// Samples of one frame.
    pub(crate) fn num_samples(&self) -> usize {
        self.rows as usize * self.columns as usize * usize::from(self.samples_per_pixel)
    }

    /// Bytes of one sample in the decoded frame; 1-bit samples count as 1.
    pub(crate) fn sample_bytes(&self) -> usize {
        usize::from(self.bits_allocated.div_ceil(8))
    }
}

/// One frame to decode.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeRequest {
    /// Transfer Syntax UID (0002,0010), without padding.
    pub transfer_syntax: String,
    /// The frame's attributes.
    pub layout: FrameLayout,
    /// Photometric Interpretation (0028,0004), without padding.
    pub photometric: String,
    /// The frame's fragments (PS3.5 section A.4), concatenated.
    pub frame: Vec<u8>,
}

impl std::fmt::Debug for DecodeRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the pixels.
        formatter
            .debug_struct("DecodeRequest")
            .field("transfer_syntax", &self.transfer_syntax)
            .field("layout", &self.layout)
            .field("photometric", &self.photometric)
            .field("frame_bytes", &self.frame.len())
            .finish()
    }
}

/// A decoded frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Native samples, little endian, padded to Bits Allocated; two's complement values are sign-extended.
    pub samples: Vec<u8>,
    /// Photometric Interpretation of `samples`: differs from the request's where decoding undid a colour transform.
    pub photometric: String,
    /// The samples are stored by plane.
    pub planar: bool,
    /// Samples per Pixel of `samples`.
    pub samples_per_pixel: u16,
    /// Bits Allocated of `samples`.
    pub bits_allocated: u16,
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Decoded")
            .field("sample_bytes", &self.samples.len())
            .field("photometric", &self.photometric)
            .field("planar", &self.planar)
            .field("samples_per_pixel", &self.samples_per_pixel)
            .field("bits_allocated", &self.bits_allocated)
            .finish()
    }
}

/// The family of codecs a transfer syntax belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Native,
    Encapsulated,
    DeflatedFrame,
    Rle,
    Jpeg,
    JpegLs,
    Jpeg2000,
    JpegXl,
}

fn codec_of(transfer_syntax: &str) -> Option<Codec> {
    Some(match transfer_syntax.strip_prefix("1.2.840.10008.1.2")? {
        "" | ".1" | ".1.99" => Codec::Native,
        ".1.98" => Codec::Encapsulated,
        ".8.1" => Codec::DeflatedFrame,
        ".5" => Codec::Rle,
        // .52 to .56 and .58 to .66 are retired, but the process is in the stream and decodes the same way.
        ".4.50" | ".4.51" | ".4.52" | ".4.53" | ".4.54" | ".4.55" | ".4.56" | ".4.57" | ".4.58" | ".4.70" => {
            Codec::Jpeg
        }
        ".4.80" | ".4.81" => Codec::JpegLs,
        ".4.90" | ".4.91" | ".4.201" | ".4.202" | ".4.203" => Codec::Jpeg2000,
        ".4.110" | ".4.111" | ".4.112" => Codec::JpegXl,
        _ => return None,
    })
}

/// Whether [`decode`] has a codec for this transfer syntax. Explicit VR Big Endian is not one: its frames need no
/// decoder, only a byte swap.
pub fn is_supported(transfer_syntax: &str) -> bool {
    codec_of(transfer_syntax).is_some()
}

/// What a codec hands back: interleaved or planar samples, already packed.
pub(crate) struct Output {
    pub(crate) samples: Vec<u8>,
    pub(crate) photometric: Option<&'static str>,
    pub(crate) planar: bool,
}

/// Decodes one frame in this thread.
///
/// # Errors
/// [`DecodeError::Unsupported`] and [`DecodeError::Damaged`] only.
///
/// Streams from outside belong into a child process ([`crate::DecoderPool`]): some codecs are C or C++.
pub fn decode(request: &DecodeRequest) -> Result<Decoded, DecodeError> {
    let unsupported = || DecodeError::Unsupported {
        transfer_syntax: request.transfer_syntax.clone(),
    };
    let codec = codec_of(&request.transfer_syntax).ok_or_else(unsupported)?;
    let layout = &request.layout;
    let length = layout.frame_length().ok_or(Damage::Shape)?;
    let frame = request.frame.as_slice();
    let outcome = match codec {
        Codec::Native | Codec::Encapsulated => uncompressed::cut(frame, layout, length),
        Codec::DeflatedFrame => uncompressed::inflate(frame, layout, length),
        Codec::Rle => rle::decode(frame, layout),
        Codec::Jpeg => jpeg::decode_frame(frame, layout, &request.photometric),
        Codec::JpegLs => jpegls::decode(frame, layout),
        Codec::Jpeg2000 => jpeg2000::decode(frame, layout, &request.photometric),
        Codec::JpegXl => {
            let keeps_colour = request.transfer_syntax.ends_with(".110");
            jpegxl::decode(frame, layout, &request.photometric, keeps_colour)
        }
    };
    let output = match outcome {
        Ok(output) => output,
        Err(CodecError::Damaged(damage)) => return Err(damage.into()),
        Err(CodecError::Unsupported) => return Err(unsupported()),
    };
    if output.samples.len() != length {
        return Err(Damage::Truncated.into());
    }
    Ok(Decoded {
        samples: output.samples,
        photometric: output
            .photometric
            .map_or_else(|| request.photometric.clone(), str::to_owned),
        planar: output.planar,
        samples_per_pixel: layout.samples_per_pixel,
        bits_allocated: layout.bits_allocated,
    })
}

/// A codec's error, before the transfer syntax is known to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodecError {
    Damaged(Damage),
    Unsupported,
}

impl From<Damage> for CodecError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(rows: u32, columns: u32, samples: u16, bits: u16) -> FrameLayout {
        FrameLayout {
            rows,
            columns,
            samples_per_pixel: samples,
            bits_allocated: bits,
            bits_stored: bits,
            high_bit: bits.saturating_sub(1),
            signed: false,
            planar: false,
        }
    }

    #[test]
    fn frame_lengths() {
        let check =
            |shape: FrameLayout, expected: Option<usize>| assert_eq!(shape.frame_length(), expected, "{shape:?}");
        check(layout(2, 3, 1, 8), Some(6));
        check(layout(2, 3, 3, 16), Some(36));
        check(layout(3, 3, 1, 1), Some(2));
        check(layout(0, 3, 1, 8), None);
        check(layout(2, 70000, 1, 8), None);
        check(layout(2, 3, 0, 8), None);
        check(layout(2, 3, 5, 8), None);
        check(layout(2, 3, 1, 12), None);
        check(layout(65535, 65535, 1, 8), None);
        check(layout(65535, 65535, 4, 64), None);
    }

    #[test]
    fn unknown_transfer_syntaxes_are_unsupported() {
        for uid in [
            "",
            "1.2.840.10008.1.2.2",
            "1.2.840.10008.1.2.4.100",
            "1.2.840.10008.1.2.99.99",
            "1.2.3",
        ] {
            assert!(!is_supported(uid));
            let request = DecodeRequest {
                transfer_syntax: uid.into(),
                layout: layout(1, 1, 1, 8),
                photometric: "MONOCHROME2".into(),
                frame: vec![0],
            };
            assert_eq!(
                decode(&request),
                Err(DecodeError::Unsupported {
                    transfer_syntax: uid.into()
                })
            );
        }
    }

    #[test]
    fn native_is_the_identity() {
        let mut request = DecodeRequest {
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            layout: layout(1, 3, 1, 16),
            photometric: "MONOCHROME2".into(),
            frame: vec![1, 2, 3, 4, 5, 6],
        };
        assert_eq!(
            decode(&request).map(|decoded| decoded.samples),
            Ok(vec![1, 2, 3, 4, 5, 6])
        );
        request.frame.pop();
        assert_eq!(decode(&request), Err(DecodeError::Damaged(Damage::Truncated)));
    }
}
