//! TIFF 6.0, baseline: one strip, uncompressed, little endian.

use crate::error::RenderError;

const FAILED: RenderError = RenderError::Encoding("TIFF");

/// Types of values (TIFF 6.0 section 2).
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;

/// Encodes samples, little endian, pixel by pixel: grey (one a pixel) or RGB (three).
///
/// # Errors
/// [`RenderError::Encoding`] for pictures of 4 GiB and more.
pub(crate) fn tiff(
    width: usize,
    height: usize,
    channels: usize,
    bits: u16,
    samples: &[u8],
) -> Result<Vec<u8>, RenderError> {
    let number = |value: usize| u32::try_from(value).map_err(|_| FAILED);
    const NUM_ENTRIES: u16 = 11;
    // Header, directory, then what does not fit into its entry: the bits of three samples, and two resolutions.
    let directory_end = 8 + 2 + u32::from(NUM_ENTRIES) * 12 + 4;
    let (bits_at, resolution_at) = (directory_end, directory_end + 8);
    let data_at = resolution_at + 8;
    let length = number(samples.len())?;
    data_at.checked_add(length).ok_or(FAILED)?;
    let is_grey = channels == 1;
    let mut out = Vec::with_capacity(data_at as usize + samples.len());
    out.extend_from_slice(b"II*\0");
    out.extend_from_slice(&8_u32.to_le_bytes());
    out.extend_from_slice(&NUM_ENTRIES.to_le_bytes());
    let mut entry = |tag: u16, kind: u16, count: u32, value: u32| {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    };
    entry(256, LONG, 1, number(width)?);
    entry(257, LONG, 1, number(height)?);
    if is_grey {
        entry(258, SHORT, 1, bits.into());
    } else {
        entry(258, SHORT, 3, bits_at);
    }
    // No compression; black is zero, or RGB.
    entry(259, SHORT, 1, 1);
    entry(262, SHORT, 1, if is_grey { 1 } else { 2 });
    entry(273, LONG, 1, data_at);
    entry(277, SHORT, 1, number(channels)?);
    entry(278, LONG, 1, number(height)?);
    entry(279, LONG, 1, length);
    entry(282, RATIONAL, 1, resolution_at);
    entry(283, RATIONAL, 1, resolution_at);
    out.extend_from_slice(&0_u32.to_le_bytes());
    for value in [bits, bits, bits, 0] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&72_u32.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(samples);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_leads_to_the_samples() {
        for (channels, bits, samples) in [
            (1, 8, vec![1, 2]),
            (3, 8, vec![1, 2, 3, 4, 5, 6]),
            (1, 16, vec![1, 0, 2, 0]),
        ] {
            let bytes = tiff(2, 1, channels, bits, &samples).expect("small");
            let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let mut tags = Vec::new();
            let mut place = (0, 0);
            for index in 0..usize::from(short(8)) {
                let at = 10 + 12 * index;
                tags.push(short(at));
                match short(at) {
                    273 => place.0 = long(at + 8) as usize,
                    279 => place.1 = long(at + 8) as usize,
                    _ => {}
                }
            }
            assert!(tags.is_sorted(), "entries stand in order");
            assert_eq!(&bytes[place.0..place.0 + place.1], samples);
            assert_eq!(place.0 + place.1, bytes.len());
        }
    }
}
