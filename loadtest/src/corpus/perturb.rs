//! A frame made different without becoming easier or harder to compress.
//!
//! The copy is mirrored, turned by whole rows, and changed in its lowest bit here and there, only where the neighbours
//! differ by more than that bit: there the lowest bit is noise already and another value of it carries no more
//! information, whereas flat areas (air, burnt-in masks) stay flat.

use septum_core::frame_shape::FrameShape;
use septum_testkit::random::Random;

/// Neighbours that differ by less belong to a flat area.
const ACTIVITY: i32 = 4;

/// How one frame lies in memory, reduced to what is moved.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    planes: usize,
    rows: usize,
    row_bytes: usize,
    pixel_bytes: usize,
    sample_bytes: usize,
}

impl Geometry {
    /// `None` for frames that are not of whole bytes or not of 8 or 16 bits a sample.
    fn of(shape: &FrameShape) -> Option<Self> {
        let sample_bytes = match shape.bits_allocated {
            8 => 1,
            16 => 2,
            _ => return None,
        };
        let samples = usize::from(shape.samples_per_pixel);
        let (planes, in_pixel) = if shape.planar { (samples, 1) } else { (1, samples) };
        let pixel_bytes = in_pixel * sample_bytes;
        let (rows, columns) = (shape.rows as usize, shape.columns as usize);
        (rows > 0 && columns > 0 && samples > 0).then_some(Self {
            planes,
            rows,
            row_bytes: columns * pixel_bytes,
            pixel_bytes,
            sample_bytes,
        })
    }
}

/// Whether frames of this shape can be perturbed.
pub(crate) fn can_be_perturbed(shape: &FrameShape) -> bool {
    Geometry::of(shape).is_some() && shape.frame_length().is_some()
}

/// Appends a copy of `frame` to `out`. `mean_gap` is the mean distance in samples between places that are looked at for a
/// change of the lowest bit; 0 changes none. A frame that [`can_be_perturbed`] denies, or of a wrong length, is copied.
pub(crate) fn append(out: &mut Vec<u8>, frame: &[u8], shape: &FrameShape, mean_gap: u32, random: &mut Random) {
    let base = out.len();
    let geometry =
        Geometry::of(shape).filter(|geometry| geometry.planes * geometry.rows * geometry.row_bytes == frame.len());
    let Some(geometry) = geometry else {
        out.extend_from_slice(frame);
        return;
    };
    let choice = random.next_u64();
    let (mirror_rows, mirror_columns) = (choice & 1 == 1, choice & 2 == 2);
    let turned = random.below(u32::try_from(geometry.rows).unwrap_or(u32::MAX)) as usize;
    for plane in frame.chunks_exact(geometry.rows * geometry.row_bytes) {
        for index in 0..geometry.rows {
            let row = (index + turned) % geometry.rows;
            let row = if mirror_rows { geometry.rows - 1 - row } else { row };
            let bytes = &plane[row * geometry.row_bytes..(row + 1) * geometry.row_bytes];
            if !mirror_columns {
                out.extend_from_slice(bytes);
            } else if geometry.pixel_bytes == 2 {
                out.extend(bytes.as_chunks::<2>().0.iter().rev().flatten());
            } else {
                out.extend(bytes.rchunks_exact(geometry.pixel_bytes).flatten());
            }
        }
    }
    if mean_gap > 0 {
        change_lowest_bits(&mut out[base..], geometry, mean_gap, random);
    }
}

fn change_lowest_bits(frame: &mut [u8], geometry: Geometry, mean_gap: u32, random: &mut Random) {
    let sample = |frame: &[u8], at: usize| match geometry.sample_bytes {
        2 => i32::from(i16::from_le_bytes([frame[at], frame[at + 1]])),
        _ => i32::from(frame[at]),
    };
    let mut at = geometry.pixel_bytes;
    while at + geometry.pixel_bytes + geometry.sample_bytes <= frame.len() {
        let before = sample(frame, at - geometry.pixel_bytes);
        let behind = sample(frame, at + geometry.pixel_bytes);
        let own = sample(frame, at);
        // Not at extremes either: a full-scale value is often clipped and then no noise.
        if (before - behind).abs() >= ACTIVITY && (before - own).abs() >= ACTIVITY && own != 0 && own != 255 {
            frame[at] ^= 1;
        }
        at += geometry.sample_bytes * (1 + random.below(2 * mean_gap - 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: u32, columns: u32, samples_per_pixel: u16, bits: u16, planar: bool) -> FrameShape {
        FrameShape {
            rows,
            columns,
            samples_per_pixel,
            bits_allocated: bits,
            bits_stored: bits,
            high_bit: bits - 1,
            signed: false,
            planar,
            big_endian: false,
        }
    }

    #[test]
    fn without_noise_the_samples_are_the_same_ones() {
        for (samples, bits, planar) in [(1, 8, false), (1, 16, false), (3, 8, false), (3, 8, true)] {
            let shape = shape(6, 5, samples, bits, planar);
            let frame: Vec<u8> = (0..shape.frame_length().unwrap() as usize).map(|at| at as u8).collect();
            let mut seen = std::collections::HashSet::new();
            for stream in 0..200 {
                let mut copy = Vec::new();
                append(&mut copy, &frame, &shape, 0, &mut Random::new(1, stream));
                let sorted = |bytes: &[u8]| {
                    let pixel = usize::from(if planar { 1 } else { samples } * bits / 8);
                    let mut pixels: Vec<_> = bytes.chunks_exact(pixel).map(<[u8]>::to_vec).collect();
                    pixels.sort();
                    pixels
                };
                assert_eq!(sorted(&copy), sorted(&frame));
                seen.insert(copy);
            }
            // Four ways to mirror, six rows to begin with.
            assert_eq!(seen.len(), 24);
        }
    }

    #[test]
    fn flat_areas_stay_flat_and_noise_changes_by_one() {
        let shape = shape(64, 64, 1, 16, false);
        let mut random = Random::new(5, 0);
        let mut frame = vec![0_u8; 64 * 64 * 2];
        for at in (64 * 32..64 * 64).map(|sample| sample * 2) {
            frame[at..at + 2].copy_from_slice(&(1000 + random.below(64) as u16).to_le_bytes());
        }
        let mut plain = Vec::new();
        append(&mut plain, &frame, &shape, 0, &mut Random::new(9, 9));
        let mut noisy = Vec::new();
        append(&mut noisy, &frame, &shape, 3, &mut Random::new(9, 9));
        let different: Vec<_> = plain.iter().zip(&noisy).filter(|(one, other)| one != other).collect();
        assert!(different.len() > 300, "{}", different.len());
        assert!(different.iter().all(|(one, other)| *one ^ *other == 1));
        let num_flat = |bytes: &[u8]| bytes.chunks_exact(2).filter(|sample| *sample == [0, 0]).count();
        assert_eq!(num_flat(&plain), num_flat(&noisy));
    }

    #[test]
    fn frames_of_another_kind_are_copied() {
        let frame = [1, 2, 3];
        let mut copy = Vec::new();
        append(&mut copy, &frame, &shape(8, 8, 1, 32, false), 4, &mut Random::new(1, 1));
        append(&mut copy, &frame, &shape(8, 8, 1, 8, false), 4, &mut Random::new(1, 1));
        assert_eq!(copy, [1, 2, 3, 1, 2, 3]);
    }
}
