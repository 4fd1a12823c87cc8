//! RLE Lossless (PS3.5 annex G): a header of 16 longs, then one PackBits segment for each byte of a sample, of each
//! component, most significant first.
//!
//! Samples come by pixel in little endian order, and are given back so. Runs end with their row (section G.3.1).

use crate::frame_shape::FrameShape;

const HEADER_BYTES: usize = 64;
const SEGMENTS_MAX: usize = 15;
/// Longest run, literal or repeated.
const RUN_MAX: usize = 128;

/// Whether frames of `shape` have so few bytes a pixel that they fit the header.
pub(super) fn suits(shape: &FrameShape) -> bool {
    let bytes_per_sample = usize::from(shape.bits_allocated / 8);
    usize::from(shape.samples_per_pixel) * bytes_per_sample <= SEGMENTS_MAX
}

/// Where the bytes of each segment lie in a pixel.
fn offsets(shape: &FrameShape) -> impl Iterator<Item = usize> + use<> {
    let (samples, bytes) = (
        usize::from(shape.samples_per_pixel),
        usize::from(shape.bits_allocated / 8),
    );
    (0..samples).flat_map(move |sample| (0..bytes).rev().map(move |byte| sample * bytes + byte))
}

/// The frame of samples; `None` where it is too long for the header.
pub(super) fn encode(shape: &FrameShape, samples: &[u8]) -> Option<Vec<u8>> {
    let columns = usize::try_from(shape.columns).ok().filter(|columns| *columns > 0)?;
    let stride = offsets(shape).count();
    let mut out = vec![0; HEADER_BYTES];
    out[..4].copy_from_slice(&u32::try_from(stride).ok()?.to_le_bytes());
    let mut plane = Vec::with_capacity(samples.len() / stride.max(1));
    for (index, offset) in offsets(shape).enumerate() {
        let start = u32::try_from(out.len()).ok()?;
        out.get_mut(4 * (index + 1)..4 * (index + 2))?
            .copy_from_slice(&start.to_le_bytes());
        plane.clear();
        plane.extend(samples.iter().skip(offset).step_by(stride));
        for row in plane.chunks(columns) {
            pack(row, &mut out);
        }
        if out.len() % 2 == 1 {
            out.push(0);
        }
    }
    Some(out)
}

fn pack(row: &[u8], out: &mut Vec<u8>) {
    let run_at = |at: usize| {
        let rest = row[at..].iter().take(RUN_MAX);
        rest.take_while(|&&byte| byte == row[at]).count()
    };
    let mut at = 0;
    while at < row.len() {
        let run = run_at(at);
        if run >= 2 {
            out.extend([(257 - run) as u8, row[at]]);
            at += run;
            continue;
        }
        let start = at;
        // A run of two inside literals saves nothing.
        while at < row.len() && at - start < RUN_MAX && run_at(at) < 3 {
            at += 1;
        }
        out.push((at - start - 1) as u8);
        out.extend_from_slice(&row[start..at]);
    }
}

/// The samples of a frame, `length` bytes of them; `None` where it is none of that shape.
pub(super) fn decode(shape: &FrameShape, frame: &[u8], length: usize) -> Option<Vec<u8>> {
    let long = |index: usize| -> Option<usize> {
        let bytes = frame.get(4 * index..4 * index + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let stride = offsets(shape).count();
    if long(0)? != stride || stride == 0 || !length.is_multiple_of(stride) {
        return None;
    }
    let mut out = vec![0; length];
    for (index, offset) in offsets(shape).enumerate() {
        let end = if index + 1 < stride {
            long(index + 2)?
        } else {
            frame.len()
        };
        let segment = frame.get(long(index + 1)?.max(HEADER_BYTES)..end)?;
        unpack(segment, out.iter_mut().skip(offset).step_by(stride))?;
    }
    Some(out)
}

/// Fills `places`; `None` where the segment has less.
fn unpack<'a>(segment: &[u8], mut places: impl ExactSizeIterator<Item = &'a mut u8>) -> Option<()> {
    let mut rest = segment;
    while places.len() > 0 {
        let (&control, behind) = rest.split_first()?;
        match usize::from(control) {
            RUN_MAX => rest = behind,
            literal @ 0..RUN_MAX => {
                let (bytes, behind) = behind.split_at_checked(literal + 1)?;
                places.by_ref().zip(bytes).for_each(|(place, byte)| *place = *byte);
                rest = behind;
            }
            run => {
                let (&byte, behind) = behind.split_first()?;
                places.by_ref().take(257 - run).for_each(|place| *place = byte);
                rest = behind;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(columns: u32, rows: u32, samples_per_pixel: u16, bits_allocated: u16) -> FrameShape {
        FrameShape {
            rows,
            columns,
            samples_per_pixel,
            bits_allocated,
            bits_stored: bits_allocated,
            high_bit: bits_allocated - 1,
            signed: false,
            planar: false,
            big_endian: false,
        }
    }

    proptest! {
        #[test]
        fn frames_come_back(
            columns in 1_u32..300,
            rows in 1_u32..4,
            samples in 1_u16..=3,
            bytes in 1_u16..=2,
            text in "[ab]{1,40}|[abcdefg]{100,300}|a{1,200}b",
        ) {
            let shape = shape(columns, rows, samples, 8 * bytes);
            let length = shape.frame_length().expect("whole bytes") as usize;
            let frame: Vec<u8> = text.bytes().cycle().take(length).collect();
            let encoded = encode(&shape, &frame).expect("small");
            prop_assert_eq!(encoded.len() % 2, 0);
            prop_assert_eq!(decode(&shape, &encoded, length), Some(frame));
        }

        #[test]
        fn anything_may_be_read(frame in prop::collection::vec(any::<u8>(), 0..200), count in 0_u8..4) {
            let mut frame = frame;
            if let Some(first) = frame.first_chunk_mut::<4>() {
                *first = [count, 0, 0, 0];
            }
            let _ = decode(&shape(5, 5, 1, 16), &frame, 50);
        }
    }

    #[test]
    fn segments_are_most_significant_first_and_runs_end_with_their_row() {
        let frame = encode(&shape(2, 2, 1, 16), &[0x34, 0x12, 0x34, 0x12, 0x34, 0x12, 0x34, 0x12]).expect("small");
        assert_eq!(&frame[..12], &[2, 0, 0, 0, 64, 0, 0, 0, 68, 0, 0, 0]);
        assert_eq!(&frame[64..], &[255, 0x12, 255, 0x12, 255, 0x34, 255, 0x34]);
        assert!(!suits(&shape(2, 2, 3, 64)) && suits(&shape(2, 2, 3, 32)));
    }
}
