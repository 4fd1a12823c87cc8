use super::*;
use proptest::prelude::*;

mod corpus;

const TIERS: [Tier; 3] = [Tier::Pressure, Tier::Acknowledge, Tier::Dense];

fn shape(rows: u32, columns: u32, samples_per_pixel: u16, bits_allocated: u16, bits_stored: u16) -> FrameShape {
    FrameShape {
        rows,
        columns,
        samples_per_pixel,
        bits_allocated,
        bits_stored,
        high_bit: bits_stored - 1,
        signed: false,
        planar: false,
        big_endian: false,
    }
}

/// A smooth 16-bit image.
fn ramp(rows: u32, columns: u32) -> Vec<u8> {
    (0..rows * columns)
        .flat_map(|i| ((i / columns * 5 + i % columns * 3) as u16).to_le_bytes())
        .collect()
}

/// A smooth 32-bit image.
fn ramp32(rows: u32, columns: u32) -> Vec<u8> {
    (0..rows * columns)
        .flat_map(|i| (i / columns * 5 + i % columns * 3).to_le_bytes())
        .collect()
}

fn check_round_trip(tier: Tier, shape: Option<&FrameShape>, frame: &[u8]) -> Encoded {
    let encoded = encode(tier, shape, frame);
    assert!(
        encoded.bytes.len() <= frame.len().max(1),
        "{tier:?} {shape:?} {encoded:?}"
    );
    let decoded = decode(encoded.codec, shape, &encoded.bytes, frame.len());
    assert!(
        decoded.is_ok_and(|decoded| decoded == frame),
        "{tier:?} {shape:?} {encoded:?}"
    );
    encoded
}

#[test]
fn wire_ids() {
    let codecs = [
        Codec::Raw,
        Codec::Lz4,
        Codec::Lz4Planes,
        Codec::ZstdPlanes,
        Codec::Htj2k,
        Codec::Packed,
        Codec::JpegLs,
    ];
    for (id, codec) in (0_u8..).zip(codecs) {
        assert_eq!(u8::from(codec), id);
        assert_eq!(Codec::try_from(id), Ok(codec));
    }
    assert_eq!(Codec::try_from(7), Err(CodecError::UnknownCodec(7)));
}

#[test]
fn golden_payloads_decode() {
    // 2 x 4 samples of 16 bits: 1 2 3 4 / 2 3 4 5.
    let shape = shape(2, 4, 1, 16, 12);
    let frame: Vec<u8> = [1_u16, 2, 3, 4, 2, 3, 4, 5]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let check = |codec, payload: &[u8]| {
        assert_eq!(
            decode(codec, Some(&shape), payload, frame.len()).as_ref(),
            Ok(&frame),
            "{codec:?}"
        );
    };
    check(Codec::Raw, &frame);
    // Literals only: token 15 and one more length byte.
    check(Codec::Lz4, &[&[0xF0, 1][..], &frame].concat());
    // Left: unsigned values have their top bit flipped, so the first residual is 1 - 0x8000; each is centred by 0x80.
    let left = [
        0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0,
    ];
    check(Codec::Lz4Planes, &[&[0x01, 0xF0, 1][..], &left].concat());
    check(Codec::Lz4Planes, &[&[0x00, 0xF0, 1][..], &frame].concat());
    // MED: nothing is left of the second line but its first sample.
    let med = [
        0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0,
    ];
    check(Codec::Lz4Planes, &[&[0x02, 0xF0, 1][..], &med].concat());
    // The first residual is 1 - 0x8000, folded 0xFFFD, whatever the predictor; the others are 1, folded 2.
    for filter in [0x01, 0x02, 0x03] {
        check(Codec::Packed, &golden_packed(filter, [0xFFFD, 2, 2, 2, 2, 2, 2, 2]));
    }
    #[cfg(feature = "native")]
    {
        // Magic, descriptor (single segment, one byte of size), size 16, one last raw block of 16 bytes.
        let zstd = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 16, 0x81, 0, 0];
        check(Codec::ZstdPlanes, &[&[0x02][..], &zstd, &med].concat());
        check(Codec::Htj2k, &GOLDEN_HTJ2K);
        check(Codec::JpegLs, &GOLDEN_JPEG_LS);
    }
}

/// A payload of one block of full width: eight numbers are the first words of the eight lanes.
fn golden_packed(filter: u8, numbers: [u16; 8]) -> Vec<u8> {
    let mut payload = vec![filter, 16];
    payload.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    payload.resize(2 + 256, 0);
    payload
}

/// Made by CharLS 2.4 of the same samples.
#[cfg(feature = "native")]
#[rustfmt::skip]
const GOLDEN_JPEG_LS: [u8; 34] = [
    0xFF, 0xD8, 0xFF, 0xF7, 0x00, 0x0B, 0x0C, 0x00, 0x02, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00, 0xFF, 0xDA,
    0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x41, 0x83, 0x06, 0x18, 0x50, 0x20, 0x84, 0xFF, 0xD9,
];

#[cfg(feature = "native")]
#[rustfmt::skip]
const GOLDEN_HTJ2K: [u8; 117] = [
    0xFF, 0x4F, 0xFF, 0x51, 0x00, 0x29, 0x40, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x0B, 0x01, 0x01, 0xFF, 0x50, 0x00,
    0x08, 0x00, 0x02, 0x00, 0x00, 0x00, 0x07, 0xFF, 0x52, 0x00, 0x0C, 0x00, 0x02, 0x00, 0x01, 0x00,
    0x01, 0x04, 0x04, 0x40, 0x01, 0xFF, 0x5C, 0x00, 0x07, 0x20, 0x70, 0x70, 0x70, 0x78, 0xFF, 0x90,
    0x00, 0x0A, 0x00, 0x00, 0x00, 0x00, 0x00, 0x25, 0x00, 0x01, 0xFF, 0x93, 0xC0, 0x01, 0x30, 0xFB,
    0x7F, 0x00, 0xC2, 0x34, 0x00, 0xC0, 0x01, 0x24, 0x00, 0x12, 0x00, 0xFE, 0x00, 0x23, 0x00, 0xFC,
    0x00, 0xE3, 0x00, 0xFF, 0xD9,
];

#[test]
fn tiers_choose_their_codecs() {
    let check = |tier, shape: Option<&FrameShape>, frame: &[u8], expected| {
        assert_eq!(
            check_round_trip(tier, shape, frame).codec,
            expected,
            "{tier:?} {shape:?}"
        );
    };
    let (ramp, ramp_shape) = (ramp(64, 64), shape(64, 64, 1, 16, 12));
    let noise = blake3_noise(8192);
    check(Tier::Pressure, Some(&ramp_shape), &ramp, Codec::Packed);
    let wide = FrameShape {
        bits_allocated: 32,
        columns: 32,
        ..ramp_shape
    };
    check(Tier::Pressure, Some(&wide), &ramp32(64, 32), Codec::Lz4Planes);
    check(Tier::Pressure, None, &[7; 8192], Codec::Lz4);
    check(Tier::Pressure, Some(&ramp_shape), &noise, Codec::Raw);
    check(Tier::Pressure, None, &[], Codec::Raw);
    check(Tier::Acknowledge, None, &[], Codec::Raw);
    #[cfg(feature = "native")]
    {
        check(Tier::Acknowledge, Some(&ramp_shape), &ramp, Codec::ZstdPlanes);
        check(Tier::Acknowledge, None, &ramp, Codec::ZstdPlanes);
        check(Tier::Acknowledge, Some(&ramp_shape), &ramp[1..], Codec::ZstdPlanes);
        check(Tier::Acknowledge, Some(&ramp_shape), &noise, Codec::Raw);
    }
    #[cfg(not(feature = "native"))]
    {
        check(Tier::Acknowledge, Some(&ramp_shape), &ramp, Codec::Packed);
        check(Tier::Dense, Some(&ramp_shape), &ramp, Codec::Packed);
        for codec in [Codec::ZstdPlanes, Codec::Htj2k, Codec::JpegLs] {
            assert_eq!(
                decode(codec, Some(&ramp_shape), &[0], 1),
                Err(CodecError::Unavailable(codec))
            );
        }
    }
}

/// Smooth with some noise: what HTJ2K is for.
#[cfg(feature = "native")]
fn image(shape: &FrameShape) -> Vec<u8> {
    let noise = blake3_noise(shape.frame_length().unwrap() as usize);
    let mask = (1_u32 << shape.bits_stored) - 1;
    let pixels = shape.rows * shape.columns;
    let samples = u32::from(shape.samples_per_pixel);
    let at = |pixel: u32, component: u32| {
        let (row, column) = (pixel / shape.columns, pixel % shape.columns);
        let noise = u32::from(noise[pixel as usize] & if shape.bits_stored > 8 { 31 } else { 7 });
        let value = (row * column / 512 + row / 4 + noise + component * 5) & mask;
        let middle = 1 << (shape.bits_stored - 1);
        if shape.signed {
            value.wrapping_sub(middle)
        } else {
            value
        }
    };
    let values: Vec<u32> = if shape.planar {
        (0..pixels * samples).map(|i| at(i % pixels, i / pixels)).collect()
    } else {
        (0..pixels * samples).map(|i| at(i / samples, i % samples)).collect()
    };
    let put = |value: u32| match (shape.bits_allocated, shape.big_endian) {
        (8, _) => vec![value as u8],
        (_, false) => (value as u16).to_le_bytes().to_vec(),
        (_, true) => (value as u16).to_be_bytes().to_vec(),
    };
    values.into_iter().flat_map(put).collect()
}

#[cfg(feature = "native")]
#[test]
fn frames_are_bare_codestreams_where_possible() {
    use Interchange::{Htj2k, JpegLs};
    // Whether the codestream is small enough to be chosen depends on the image; here it is whether there is one.
    let check = |shape: FrameShape, expected: &[Interchange]| {
        let frame = image(&shape);
        check_round_trip(Tier::Dense, Some(&shape), &frame);
        let rle = Interchange::Rle.encode(&shape, &frame);
        assert_eq!(rle.is_some(), Interchange::Rle.suits(&shape), "{shape:?}");
        for interchange in [Htj2k, JpegLs] {
            let codestream = interchange.encode(&shape, &frame);
            assert_eq!(
                codestream.is_some(),
                expected.contains(&interchange),
                "{interchange:?} {shape:?}"
            );
            let Some(codestream) = codestream else { continue };
            let precision = match interchange {
                Htj2k => septum_htj2k::inspect(&codestream).unwrap().bit_depth,
                // Start of image, start of frame, its length, precision (T.87, C.2.2).
                _ => codestream[6],
            };
            assert_eq!(u16::from(precision), shape.bits_stored);
            let start: [u8; 4] = match interchange {
                Htj2k => [0xFF, 0x4F, 0xFF, 0x51],
                _ => [0xFF, 0xD8, 0xFF, 0xF7],
            };
            assert_eq!(codestream[..4], start);
            assert!(
                interchange.decode(Some(&shape), &codestream, frame.len()).unwrap() == frame,
                "{interchange:?} {shape:?}"
            );
        }
    };
    let both: &[Interchange] = &[Htj2k, JpegLs];
    let unless = |no_jpegls: bool| if no_jpegls { &both[..1] } else { both };
    for signed in [false, true] {
        let signed = |shape: FrameShape| FrameShape { signed, ..shape };
        let grey = signed(shape(128, 160, 1, 16, 12));
        let big_endian = FrameShape {
            big_endian: true,
            ..grey
        };
        check(grey, unless(grey.signed));
        check(big_endian, unless(grey.signed));
        check(signed(shape(128, 160, 1, 16, 16)), both);
        check(signed(shape(128, 160, 1, 16, 8)), unless(true));
        check(FrameShape { high_bit: 14, ..grey }, &[]);
        check(signed(shape(128, 160, 1, 8, 8)), both);
        check(signed(shape(128, 160, 1, 8, 7)), unless(grey.signed));
        check(signed(shape(128, 160, 1, 8, 1)), unless(true));
    }
    for planar in [false, true] {
        for (bits_allocated, bits_stored, big_endian) in [(8, 8, false), (16, 16, false), (16, 10, true)] {
            let colour = FrameShape {
                planar,
                big_endian,
                ..shape(128, 160, 3, bits_allocated, bits_stored)
            };
            check(colour, both);
        }
    }
    let words_of_bytes = FrameShape {
        big_endian: true,
        ..shape(128, 160, 1, 8, 8)
    };
    check(words_of_bytes, &[]);
    check(shape(128, 160, 4, 8, 8), &[]);
}

#[cfg(feature = "native")]
#[test]
fn grey_bytes_take_the_smaller_codestream() {
    let check = |shape: FrameShape| {
        let frame = image(&shape);
        let lengths = [Interchange::Htj2k, Interchange::JpegLs]
            .map(|interchange| interchange.encode(&shape, &frame).unwrap().len());
        let encoded = check_round_trip(Tier::Dense, Some(&shape), &frame);
        assert_eq!(encoded.codec, Codec::JpegLs, "{lengths:?}");
        assert_eq!(encoded.bytes.len(), lengths[1]);
        assert!(lengths[1] < lengths[0]);
    };
    check(shape(128, 160, 1, 8, 8));
    check(shape(128, 160, 1, 8, 6));
    // Viewers decode HTJ2K faster: longer samples and colour stay with it.
    let colour = shape(128, 160, 3, 8, 8);
    assert_ne!(encode(Tier::Dense, Some(&colour), &image(&colour)).codec, Codec::JpegLs);
}

#[cfg(feature = "native")]
#[test]
fn bits_above_bits_stored_keep_the_acknowledge_form() {
    let shape = shape(128, 160, 1, 16, 12);
    let mut frame = image(&shape);
    assert_eq!(check_round_trip(Tier::Dense, Some(&shape), &frame).codec, Codec::Htj2k);
    frame[8191] |= 0x80;
    assert_eq!(
        check_round_trip(Tier::Dense, Some(&shape), &frame).codec,
        Codec::ZstdPlanes
    );
    // Negative samples without sign extension are such bits, too.
    let signed = FrameShape { signed: true, ..shape };
    let frame: Vec<u8> = image(&shape)
        .as_chunks::<2>()
        .0
        .iter()
        .flat_map(|b| [b[0], b[1] | 0x08])
        .collect();
    assert_eq!(
        check_round_trip(Tier::Dense, Some(&signed), &frame).codec,
        Codec::ZstdPlanes
    );
}

#[cfg(feature = "native")]
#[test]
fn a_codestream_of_another_image_is_refused() {
    for interchange in [Interchange::Htj2k, Interchange::JpegLs] {
        check_refusals(interchange);
    }
}

#[cfg(feature = "native")]
fn check_refusals(interchange: Interchange) {
    let small = shape(128, 160, 1, 16, 16);
    let payload = interchange.encode(&small, &image(&small)).unwrap();
    let length = small.frame_length().unwrap() as usize;
    let codec = interchange.codec().unwrap();
    let malformed = Err(CodecError::Malformed(codec));
    let check = |shape: Option<&FrameShape>, payload: &[u8], length, expected: Result<Vec<u8>, CodecError>| {
        assert_eq!(decode(codec, shape, payload, length), expected, "{codec:?}");
    };
    check(
        None,
        &payload,
        length,
        Err(CodecError::Shape { decoded_length: length }),
    );
    check(
        Some(&small),
        &payload,
        length + 2,
        Err(CodecError::Shape {
            decoded_length: length + 2,
        }),
    );
    check(
        Some(&FrameShape {
            rows: 160,
            columns: 128,
            ..small
        }),
        &payload,
        length,
        malformed.clone(),
    );
    check(Some(&shape(128, 160, 1, 16, 15)), &payload, length, malformed.clone());
    check(Some(&small), &payload[1..], length, malformed.clone());
    check(Some(&small), &payload[..100], length, malformed.clone());
    check(Some(&small), &[], length, malformed);
}

#[test]
fn damaged_payloads_are_refused() {
    let shape = shape(64, 64, 1, 16, 12);
    let frame = ramp(64, 64);
    let check = |codec, shape: Option<&FrameShape>, payload: &[u8], length, expected| {
        assert_eq!(decode(codec, shape, payload, length), Err(expected), "{codec:?}");
    };
    let packed = encode(Tier::Pressure, Some(&shape), &frame).bytes;
    let codec = Codec::Packed;
    let malformed = CodecError::Malformed(codec);
    check(codec, Some(&shape), &[], frame.len(), CodecError::Truncated);
    check(codec, Some(&shape), &[0], frame.len(), CodecError::UnknownFilter(0));
    check(codec, Some(&shape), &packed[..packed.len() - 1], frame.len(), malformed);
    check(
        codec,
        Some(&shape),
        &[&packed[..], &[0]].concat(),
        frame.len(),
        malformed,
    );
    check(codec, Some(&shape), &[2, 17], frame.len(), malformed);
    check(
        codec,
        None,
        &packed,
        frame.len(),
        CodecError::Shape {
            decoded_length: frame.len(),
        },
    );
    let encoded = encode_lz4(Some(&shape), &frame)
        .map(|encoded| encoded.bytes)
        .unwrap_or_default();
    let codec = Codec::Lz4Planes;
    check(codec, Some(&shape), &[], frame.len(), CodecError::Truncated);
    check(codec, Some(&shape), &[0x04], frame.len(), CodecError::UnknownFilter(4));
    check(
        codec,
        Some(&shape),
        &[0x12, 0],
        frame.len(),
        CodecError::UnknownFilter(0x12),
    );
    check(
        codec,
        None,
        &encoded,
        frame.len(),
        CodecError::Shape {
            decoded_length: frame.len(),
        },
    );
    check(
        codec,
        Some(&shape),
        &encoded,
        8190,
        CodecError::Shape { decoded_length: 8190 },
    );
    check(
        codec,
        Some(&shape),
        &encoded[..encoded.len() - 1],
        frame.len(),
        CodecError::Malformed(codec),
    );
    check(
        codec,
        Some(&shape),
        &encoded,
        usize::MAX,
        CodecError::TooLong(usize::MAX),
    );
    check(
        Codec::Raw,
        None,
        &[0; 4],
        usize::MAX,
        CodecError::Length { expected: usize::MAX },
    );
    check(Codec::Lz4, None, &[0x10, 7], 2, CodecError::Length { expected: 2 });
    #[cfg(feature = "native")]
    {
        let codec = Codec::ZstdPlanes;
        let encoded = encode(Tier::Acknowledge, None, &frame).bytes;
        check(
            codec,
            None,
            &encoded,
            frame.len() + 1,
            CodecError::Length {
                expected: frame.len() + 1,
            },
        );
        check(codec, None, &encoded, frame.len() - 1, CodecError::Malformed(codec));
        check(
            codec,
            None,
            &encoded[..encoded.len() - 1],
            frame.len(),
            CodecError::Malformed(codec),
        );
    }
}

#[test]
fn nothing_shows_samples() {
    let encoded = Encoded {
        codec: Codec::Raw,
        bytes: vec![65; 3],
    };
    assert_eq!(format!("{encoded:?}"), "Encoded(Raw, 3 bytes)");
}

fn blake3_noise(length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

prop_compose! {
    /// Any shape, and bytes that are its length or nearly so: noise, few values or smooth.
    fn shaped_frame()(
        (rows, columns, samples_per_pixel) in (1_u32..24, 1_u32..24, 1_u16..5),
        bits_allocated in prop::sample::select(vec![1_u16, 8, 16, 32, 64]),
        bits_missing in 0_u16..8,
        [signed, planar, big_endian] in any::<[bool; 3]>(),
        noise in any::<u8>(),
        off in prop::sample::select(vec![0_usize, 0, 0, 0, 1]),
    )(
        bytes in prop::collection::vec(
            any::<u8>(),
            (rows * columns * u32::from(samples_per_pixel * bits_allocated)).div_ceil(8) as usize + off,
        ),
        (rows, columns, samples_per_pixel, bits_allocated) in Just((rows, columns, samples_per_pixel, bits_allocated)),
        bits_stored in Just(bits_allocated.saturating_sub(bits_missing).max(1)),
        (signed, planar, big_endian, noise) in Just((signed, planar, big_endian, noise)),
    ) -> (FrameShape, Vec<u8>) {
        let shape = shape(rows, columns, samples_per_pixel, bits_allocated, bits_stored);
        let frame = bytes.iter().enumerate().map(|(i, b)| (b & noise).wrapping_add((i / 2 % 7) as u8)).collect();
        (FrameShape { signed, planar, big_endian, ..shape }, frame)
    }
}

proptest! {
    #[test]
    fn any_frame_comes_back((shape, frame) in shaped_frame()) {
        for tier in TIERS {
            check_round_trip(tier, Some(&shape), &frame);
            check_round_trip(tier, None, &frame);
        }
    }

    /// Never a panic, and never another length than asked for. (HTJ2K is left out: its decoder is not for damaged
    /// input, see the module's text.)
    #[test]
    fn mutated_payloads_are_harmless(
        (shape, frame) in shaped_frame(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for tier in [Tier::Pressure, Tier::Acknowledge] {
            let Encoded { codec, mut bytes } = encode(tier, Some(&shape), &frame);
            for (at, value) in &mutations {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
            }
            for payload in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)]] {
                for codec in [codec, Codec::Lz4, Codec::Lz4Planes, Codec::ZstdPlanes, Codec::Packed] {
                    if let Ok(decoded) = decode(codec, Some(&shape), payload, frame.len()) {
                        prop_assert_eq!(decoded.len(), frame.len());
                    }
                }
            }
        }
    }
}
