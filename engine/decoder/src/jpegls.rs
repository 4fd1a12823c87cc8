//! JPEG-LS, lossless and near-lossless (ITU-T T.87), by CharLS.

use crate::decode::{CodecError, FrameLayout, Output};
use crate::error::Damage;
use crate::samples::Packer;

/// What the marker segments say of the decoded buffer.
struct Header {
    rows: u32,
    columns: u32,
    precision: u32,
    num_components: u16,
    /// Components come one after the other (interleave mode 0).
    by_plane: bool,
}

/// Decodes one frame into interleaved samples.
pub(crate) fn decode(frame: &[u8], layout: &FrameLayout) -> Result<Output, CodecError> {
    let header = parse(frame)?;
    if (header.rows, header.columns) != (layout.rows, layout.columns) {
        return Err(Damage::Dimensions.into());
    }
    if header.num_components != layout.samples_per_pixel {
        return Err(Damage::Components.into());
    }
    let packer = Packer::new(layout, header.precision)?;
    // At the end of its input CharLS 2.4 counts up to 2^31 made-up zero bits, at a marker it stops: so there is a marker.
    let closed = [frame, &[0xFF, 0xD9]].concat();
    // One instance a frame: CharLS refuses to decode twice with one.
    let bytes = charls::CharLS::default()
        .decode(&closed)
        .map_err(|_| Damage::CodedData)?;
    let stored_bytes = if header.precision <= 8 { 1 } else { 2 };
    let num_samples = layout.num_samples();
    if bytes.len() != num_samples * stored_bytes {
        return Err(Damage::CodedData.into());
    }
    let value = |index: usize| match stored_bytes {
        1 => i32::from(bytes[index]),
        _ => i32::from(u16::from_ne_bytes([bytes[2 * index], bytes[2 * index + 1]])),
    };
    let num_components = usize::from(header.num_components);
    let num_pixels = num_samples / num_components;
    let samples = if header.by_plane && num_components > 1 {
        packer.pack((0..num_samples).map(|index| value(index % num_components * num_pixels + index / num_components)))
    } else {
        packer.pack((0..num_samples).map(value))
    };
    Ok(Output {
        samples,
        photometric: None,
        planar: false,
    })
}

/// Reads segments up to the first scan header.
fn parse(frame: &[u8]) -> Result<Header, CodecError> {
    let mut rest = frame.strip_prefix(&[0xFF, 0xD8]).ok_or(Damage::Header)?;
    let mut header = None;
    loop {
        let [0xFF, marker, tail @ ..] = rest else {
            return Err(Damage::Header.into());
        };
        if *marker == 0xFF {
            rest = &rest[1..];
            continue;
        }
        let length = tail
            .first_chunk::<2>()
            .map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)));
        let body = tail.get(2..length).ok_or(Damage::Truncated)?;
        match (marker, body) {
            (
                0xF7,
                [
                    precision,
                    rows_high,
                    rows_low,
                    columns_high,
                    columns_low,
                    num_components,
                    ..,
                ],
            ) => {
                header = Some(Header {
                    rows: u32::from(u16::from_be_bytes([*rows_high, *rows_low])),
                    columns: u32::from(u16::from_be_bytes([*columns_high, *columns_low])),
                    precision: u32::from(*precision),
                    num_components: u16::from(*num_components),
                    by_plane: false,
                });
            }
            (0xDA, [num_components, parameters @ ..]) => {
                let mut header: Header = header.ok_or(Damage::Header)?;
                // After the component selectors: NEAR, ILV, point transform.
                let interleave = parameters
                    .get(2 * usize::from(*num_components) + 1)
                    .ok_or(Damage::Header)?;
                header.by_plane = *interleave == 0;
                return Ok(header);
            }
            // Another process of JPEG under a JPEG-LS transfer syntax.
            (0xC0..=0xC3, _) => return Err(CodecError::Unsupported),
            _ => {}
        }
        rest = &tail[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_streams_are_refused_at_once() {
        let stream = [
            0xFF, 0xD8, 0xFF, 0xF7, 0x00, 0x0B, 0x08, 0x00, 0x2D, 0x00, 0x0A, 0x01, 0x01, 0x11, 0x00, 0xFF, 0xDA, 0x00,
            0x08, 0x01, 0x01, 0x00, 0x02, 0x00, 0x00, 0x57, 0xFD, 0xFF, 0x7F, 0x00, 0x00, 0x00, 0x71, 0xFF, 0x7F, 0xE0,
        ];
        let layout = FrameLayout {
            rows: 45,
            columns: 10,
            samples_per_pixel: 1,
            bits_allocated: 8,
            bits_stored: 8,
            high_bit: 7,
            signed: false,
            planar: false,
        };
        let started = std::time::Instant::now();
        for length in 0..=stream.len() {
            assert!(
                matches!(decode(&stream[..length], &layout), Err(CodecError::Damaged(_))),
                "{length}"
            );
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(2));
    }
}
