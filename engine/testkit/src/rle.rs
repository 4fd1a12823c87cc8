//! RLE Lossless (PS3.5 annex G): a header of 16 longs, then one PackBits segment for each byte plane, most
//! significant first.

/// Encodes one frame. `pixels` holds `samples` samples of `bytes_per_sample` little-endian bytes a pixel,
/// interleaved. `row_pixels` pixels make a row; runs end with the row (PS3.5 section G.3.1).
///
/// At most 15 byte planes fit (`samples × bytes_per_sample`); what is beyond is left out.
pub fn encode_frame(pixels: &[u8], row_pixels: usize, samples: usize, bytes_per_sample: usize) -> Vec<u8> {
    let stride = samples * bytes_per_sample;
    let mut header = [0u32; 16];
    let mut body = Vec::with_capacity(pixels.len() / 2);
    let planes = (0..samples).flat_map(|s| (0..bytes_per_sample).rev().map(move |b| s * bytes_per_sample + b));
    for (index, offset) in planes.take(15).enumerate() {
        header[0] += 1;
        header[index + 1] = 64 + body.len() as u32;
        let plane: Vec<u8> = pixels.iter().copied().skip(offset).step_by(stride.max(1)).collect();
        for row in plane.chunks(row_pixels.max(1)) {
            pack_bits(row, &mut body);
        }
        if body.len() % 2 == 1 {
            body.push(0);
        }
    }
    let mut out: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    out.append(&mut body);
    out
}

fn pack_bits(row: &[u8], out: &mut Vec<u8>) {
    let run_at = |at: usize| row[at..].iter().take(128).take_while(|&&b| b == row[at]).count();
    let mut at = 0;
    while at < row.len() {
        let run = run_at(at);
        if run >= 2 {
            out.push((257 - run) as u8);
            out.push(row[at]);
            at += run;
        } else {
            let start = at;
            while at < row.len() && at - start < 128 && run_at(at) < 3 {
                at += 1;
            }
            out.push((at - start - 1) as u8);
            out.extend_from_slice(&row[start..at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpack(mut bytes: &[u8], length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < length {
            let control = bytes[0];
            match control {
                0..=127 => {
                    let n = usize::from(control) + 1;
                    out.extend_from_slice(&bytes[1..=n]);
                    bytes = &bytes[n + 1..];
                }
                128 => bytes = &bytes[1..],
                129..=255 => {
                    out.extend(std::iter::repeat_n(bytes[1], 257 - usize::from(control)));
                    bytes = &bytes[2..];
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn packed_rows_unpack(row in proptest::collection::vec(0u8..3, 1..700)) {
            let mut packed = Vec::new();
            pack_bits(&row, &mut packed);
            prop_assert_eq!(unpack(&packed, row.len()), row);
        }
    }

    #[test]
    fn planes_are_most_significant_first() {
        let frame = encode_frame(&[0x34, 0x12, 0x34, 0x12], 2, 1, 2);
        assert_eq!(&frame[..12], &[2, 0, 0, 0, 64, 0, 0, 0, 66, 0, 0, 0]);
        assert_eq!(&frame[64..], &[255, 0x12, 255, 0x34]);
    }
}
