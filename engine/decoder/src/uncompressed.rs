//! Frames that are no more than stored or deflated: Encapsulated Uncompressed Explicit VR Little Endian (PS3.5 section
//! A.4.11) and Deflated Image Frame Compression (PS3.5 section A.4.13, RFC 1951).

use crate::decode::{CodecError, FrameLayout, Output};
use crate::error::Damage;
use std::io::Read;

/// The first `length` bytes; what follows is padding.
pub(crate) fn cut(frame: &[u8], layout: &FrameLayout, length: usize) -> Result<Output, CodecError> {
    let samples = frame.get(..length).ok_or(Damage::Truncated)?.to_vec();
    Ok(Output {
        samples,
        photometric: None,
        planar: layout.planar,
    })
}

/// Inflates at most `length` bytes: a bomb costs no more than the frame it claims to be.
pub(crate) fn inflate(frame: &[u8], layout: &FrameLayout, length: usize) -> Result<Output, CodecError> {
    let limit = u64::try_from(length).map_err(|_| Damage::Shape)?;
    let mut samples = Vec::new();
    let mut inflater = flate2::read::DeflateDecoder::new(frame).take(limit);
    match inflater.read_to_end(&mut samples) {
        Ok(num_bytes) if num_bytes == length => Ok(Output {
            samples,
            photometric: None,
            planar: layout.planar,
        }),
        Ok(_) => Err(Damage::Truncated.into()),
        Err(_) => Err(Damage::CodedData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LAYOUT: FrameLayout = FrameLayout {
        rows: 10,
        columns: 10,
        samples_per_pixel: 1,
        bits_allocated: 8,
        bits_stored: 8,
        high_bit: 7,
        signed: false,
        planar: false,
    };

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("writes to memory");
        encoder.finish().expect("writes to memory")
    }

    #[test]
    fn inflates_exactly_one_frame() {
        let check = |frame: Vec<u8>, expected: Result<usize, Damage>| {
            let outcome = inflate(&frame, &LAYOUT, 100).map(|output| output.samples.len());
            assert_eq!(outcome, expected.map_err(CodecError::Damaged));
        };
        check(deflated(&[7; 100]), Ok(100));
        let mut padded = deflated(&[7; 100]);
        padded.push(0);
        check(padded, Ok(100));
        check(deflated(&[7; 99]), Err(Damage::Truncated));
        check(deflated(&[7; 1_000_000]), Ok(100));
        check(vec![0xFF; 8], Err(Damage::CodedData));
        let whole = deflated(&(0..100).collect::<Vec<u8>>());
        check(whole[..whole.len() - 20].to_vec(), Err(Damage::CodedData));
    }
}
