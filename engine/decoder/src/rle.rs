//! RLE Lossless (PS3.5 annex G): a 64-byte header of segment offsets, then one PackBits-coded byte plane a segment, for
//! each sample the most significant byte first. 8, 16 and 32 bits, any number of samples that fits 15 segments; frames of
//! 1-bit samples are one segment of packed bytes.

use crate::decode::{CodecError, FrameLayout, Output};
use crate::error::Damage;

const HEADER_BYTES: usize = 64;

/// Decodes one frame into interleaved (colour by pixel) samples.
pub(crate) fn decode(frame: &[u8], layout: &FrameLayout) -> Result<Output, CodecError> {
    if !matches!(layout.bits_allocated, 1 | 8 | 16 | 32) || (layout.bits_allocated == 1 && layout.samples_per_pixel > 1)
    {
        return Err(CodecError::Unsupported);
    }
    let header = frame.get(..HEADER_BYTES).ok_or(Damage::Truncated)?;
    let words: Vec<usize> = header
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes) as usize)
        .collect();
    let sample_bytes = layout.sample_bytes();
    let samples_per_pixel = usize::from(layout.samples_per_pixel);
    let num_segments = sample_bytes * samples_per_pixel;
    let (&stated, offsets) = words.split_first().ok_or(Damage::Header)?;
    if stated != num_segments || num_segments > offsets.len() {
        return Err(Damage::Components.into());
    }
    let pixel_bytes = num_segments;
    let mut num_pixels = layout.rows as usize * layout.columns as usize;
    if layout.bits_allocated == 1 {
        num_pixels = num_pixels.div_ceil(8);
    }
    let mut samples = vec![0; num_pixels.checked_mul(pixel_bytes).ok_or(Damage::Shape)?];
    for segment in 0..num_segments {
        let start = offsets[segment];
        let end = if segment + 1 < num_segments {
            offsets[segment + 1]
        } else {
            frame.len()
        };
        if start < HEADER_BYTES || start > end {
            return Err(Damage::Header.into());
        }
        let coded = frame.get(start..end).ok_or(Damage::Truncated)?;
        let sample = segment / sample_bytes;
        // Little endian: the most significant byte, coded first, comes last.
        let first = sample * sample_bytes + (sample_bytes - 1 - segment % sample_bytes);
        unpack_bits(coded, &mut samples, first, pixel_bytes, num_pixels)?;
    }
    Ok(Output {
        samples,
        photometric: None,
        planar: false,
    })
}

/// Writes `count` bytes of one PackBits stream to `out[first]`, `out[first + step]`, …; surplus coded bytes are padding.
fn unpack_bits(coded: &[u8], out: &mut [u8], first: usize, step: usize, count: usize) -> Result<(), Damage> {
    let mut targets = out.iter_mut().skip(first).step_by(step).take(count);
    let mut left = count;
    let mut position = 0;
    while left > 0 {
        let control = *coded.get(position).ok_or(Damage::Truncated)?;
        position += 1;
        match control {
            0..=127 => {
                let run = (usize::from(control) + 1).min(left);
                let literal = coded.get(position..position + run).ok_or(Damage::Truncated)?;
                // The literal leads: a zip asks its first side first, and would lose a target at the end.
                literal
                    .iter()
                    .zip(targets.by_ref())
                    .for_each(|(byte, target)| *target = *byte);
                position += usize::from(control) + 1;
                left -= run;
            }
            // Reserved; skipped by everyone.
            128 => {}
            129..=255 => {
                let run = (257 - usize::from(control)).min(left);
                let byte = *coded.get(position).ok_or(Damage::Truncated)?;
                targets.by_ref().take(run).for_each(|target| *target = byte);
                position += 1;
                left -= run;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(rows: u32, columns: u32, samples_per_pixel: u16, bits_allocated: u16) -> FrameLayout {
        FrameLayout {
            rows,
            columns,
            samples_per_pixel,
            bits_allocated,
            bits_stored: bits_allocated,
            high_bit: bits_allocated - 1,
            signed: false,
            planar: false,
        }
    }

    /// A plain encoder: runs of three and more, else literals.
    fn encode(samples: &[u8], samples_per_pixel: usize, sample_bytes: usize) -> Vec<u8> {
        let pixel_bytes = samples_per_pixel * sample_bytes;
        let mut body = Vec::new();
        let mut header = vec![pixel_bytes as u32];
        for segment in 0..pixel_bytes {
            header.push((HEADER_BYTES + body.len()) as u32);
            let first = segment / sample_bytes * sample_bytes + (sample_bytes - 1 - segment % sample_bytes);
            let plane: Vec<u8> = samples.iter().skip(first).step_by(pixel_bytes).copied().collect();
            for run in plane.chunk_by(|a, b| a == b) {
                for part in run.chunks(128) {
                    if part.len() >= 3 {
                        body.extend([(257 - part.len()) as u8, part[0]]);
                    } else {
                        body.push(part.len() as u8 - 1);
                        body.extend(part);
                    }
                }
            }
            if body.len() % 2 == 1 {
                body.push(0);
            }
        }
        header.resize(16, 0);
        let mut frame: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        frame.extend(body);
        frame
    }

    proptest! {
        #[test]
        fn round_trips(bytes in proptest::collection::vec(0u8..4, 96), sample_bytes in prop_oneof![Just(1usize), Just(2), Just(4)],
            samples_per_pixel in prop_oneof![Just(1usize), Just(3)]) {
            let num_pixels = 96 / (sample_bytes * samples_per_pixel);
            let shape = layout(1, num_pixels as u32, samples_per_pixel as u16, 8 * sample_bytes as u16);
            let frame = encode(&bytes, samples_per_pixel, sample_bytes);
            let output = decode(&frame, &shape).map(|output| output.samples);
            prop_assert_eq!(output, Ok(bytes));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, &layout(4, 4, 1, 16));
        }
    }

    #[test]
    fn broken_streams_are_refused() {
        let check = |frame: &[u8], expected: Damage| {
            assert_eq!(
                decode(frame, &layout(2, 2, 1, 8)).map(|output| output.samples),
                Err(expected.into())
            );
        };
        let whole = encode(&[1, 2, 3, 4], 1, 1);
        check(&whole[..63], Damage::Truncated);
        check(&whole[..66], Damage::Truncated);
        let mut two_segments = whole.clone();
        two_segments[0] = 2;
        check(&two_segments, Damage::Components);
        let mut far = whole.clone();
        far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        check(&far, Damage::Header);
        let mut near = whole;
        near[4] = 0;
        check(&near, Damage::Header);
    }
}
