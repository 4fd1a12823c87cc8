use super::*;
use proptest::prelude::*;

/// Reproducible noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Samples of `image`: a gradient with `noise` bits of noise on it, within the bit depth.
fn samples(image: &Image, bytes_per_sample: usize, noise: u32, seed: u64) -> Vec<u8> {
    let mut random = Noise(seed);
    let mask = (1_u64 << image.bit_depth) - 1;
    (0..image.num_samples())
        .flat_map(|index| {
            let value = (index * 3 + (random.next() & ((1 << noise) - 1))) & mask;
            let shift = 64 - u32::from(image.bit_depth);
            let value = if image.signed {
                ((value << shift) as i64 >> shift) as u64
            } else {
                value
            };
            value.to_le_bytes().into_iter().take(bytes_per_sample)
        })
        .collect()
}

/// Encodes, decodes and compares in the form that `decode` gives.
fn check_round_trip(image: Image, bytes_per_sample: usize, noise: u32, options: Options) -> Vec<u8> {
    let original = samples(&image, bytes_per_sample, noise, 7);
    let given = Samples {
        bytes: &original,
        bytes_per_sample,
        planar: false,
    };
    let codestream = encode(&image, given, options).unwrap_or_else(|e| panic!("{image:?}: {e}"));
    assert_eq!(inspect(&codestream), Ok(image));
    let (found, decoded) = decode(&codestream, image.decoded_length()).unwrap();
    assert_eq!(found, image);
    let narrow = bytes_per_sample == 2 && image.bit_depth <= 8;
    let expected = if narrow {
        original.iter().step_by(2).copied().collect()
    } else {
        original
    };
    assert!(
        decoded == expected,
        "{image:?}, {bytes_per_sample} bytes, {noise} bits of noise"
    );
    codestream
}

#[test]
fn depths_signs_and_sizes_come_back() {
    for (width, height) in [
        (1, 1),
        (1, 7),
        (9, 1),
        (2, 2),
        (3, 5),
        (64, 64),
        (65, 63),
        (200, 31),
        (1, 3000),
        (300, 257),
    ] {
        for bit_depth in [1, 2, 7, 8, 10, 12, 15, 16] {
            for signed in [false, true] {
                for components in [1, 3] {
                    let image = Image {
                        width,
                        height,
                        components,
                        bit_depth,
                        signed,
                    };
                    for noise in [0, 3, 16] {
                        check_round_trip(image, 2, noise, Options::default());
                        if bit_depth <= 8 {
                            check_round_trip(image, 1, noise, Options::default());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn extremes_come_back() {
    for signed in [false, true] {
        for components in [1, 3] {
            let image = Image {
                width: 67,
                height: 41,
                components,
                bit_depth: 16,
                signed,
            };
            let length = image.decoded_length() as usize;
            for fill in [0x00, 0xFF, 0x80] {
                // Alternating smallest and largest values: the largest wavelet coefficients.
                let bytes: Vec<u8> = (0..length).map(|i| if i / 2 % 2 == 0 { fill } else { !fill }).collect();
                let given = Samples {
                    bytes: &bytes,
                    bytes_per_sample: 2,
                    planar: false,
                };
                let codestream = encode(&image, given, Options::default()).unwrap();
                assert!(decode(&codestream, length as u64).unwrap().1 == bytes);
            }
        }
    }
}

#[test]
fn planar_equals_interleaved() {
    let image = Image {
        width: 33,
        height: 20,
        components: 3,
        bit_depth: 8,
        signed: false,
    };
    let interleaved = samples(&image, 1, 4, 3);
    let planar: Vec<u8> = (0..3)
        .flat_map(|c| interleaved[c..].iter().step_by(3).copied())
        .collect();
    let encode = |bytes, planar| {
        encode(
            &image,
            Samples {
                bytes,
                bytes_per_sample: 1,
                planar,
            },
            Options::default(),
        )
    };
    assert_eq!(encode(&planar, true).unwrap(), encode(&interleaved, false).unwrap());
}

#[test]
fn lowest_resolution_is_at_most_64() {
    let check = |width: u32, height, expected| {
        let image = Image {
            width,
            height,
            components: 1,
            bit_depth: 8,
            signed: false,
        };
        let levels = num_decompositions(&image);
        assert_eq!(levels, expected, "{width} x {height}");
        assert!(width.div_ceil(1 << levels) <= 64 && height.div_ceil(1 << levels) <= 64);
    };
    check(1, 1, 0);
    check(64, 64, 5);
    check(512, 512, 5);
    check(2048, 2048, 5);
    check(2049, 2000, 6);
    check(65_535, 1, 10);
    check(5000, 4000, 7);
}

#[test]
fn tile_part_lengths_are_told() {
    let image = Image {
        width: 100,
        height: 80,
        components: 3,
        bit_depth: 8,
        signed: false,
    };
    let plain = check_round_trip(image, 1, 5, Options::default());
    let told = check_round_trip(
        image,
        1,
        5,
        Options {
            tile_part_lengths: true,
        },
    );
    assert_eq!(told.len(), plain.len() + 12);
    let at = told.windows(2).position(|w| w == [0xFF, 0x55]).unwrap();
    let tile_part = plain.len() - at - 2;
    assert_eq!(told[at..at + 8], [0xFF, 0x55, 0, 10, 0, 0x60, 0, 0]);
    assert_eq!(told[at + 8..at + 12], (tile_part as u32).to_be_bytes());
    assert_eq!([&told[..at], &told[at + 12..]].concat(), plain);
}

#[test]
fn main_header_is_what_the_transfer_syntax_asks_for() {
    let image = Image {
        width: 512,
        height: 512,
        components: 1,
        bit_depth: 12,
        signed: true,
    };
    let codestream = check_round_trip(image, 2, 4, Options::default());
    let at = codestream.windows(2).position(|w| w == [0xFF, 0x52]).unwrap();
    let cod = &codestream[at + 2..];
    // Lcod 12, no precincts or SOP/EPH; RPCL (2); one layer; no colour transform; 5 levels; 64 x 64 blocks;
    // HT code blocks; reversible 5/3.
    assert_eq!(cod[..12], [0, 12, 0, 2, 0, 1, 0, 5, 4, 4, 0x40, 1]);
}

#[test]
fn what_is_wrong_is_said() {
    let image = Image {
        width: 4,
        height: 4,
        components: 1,
        bit_depth: 12,
        signed: false,
    };
    let check = |image: Image, bytes: &[u8], bytes_per_sample, expected: Error| {
        let given = Samples {
            bytes,
            bytes_per_sample,
            planar: false,
        };
        assert_eq!(encode(&image, given, Options::default()), Err(expected));
    };
    check(image, &[0xFF; 32], 2, Error::SampleRange);
    check(image, &[0; 31], 2, Error::SamplesLength);
    check(image, &[0; 16], 1, Error::BitDepth);
    check(image, &[0; 64], 4, Error::SamplesLength);
    check(Image { bit_depth: 0, ..image }, &[0; 32], 2, Error::BitDepth);
    check(Image { bit_depth: 17, ..image }, &[0; 32], 2, Error::BitDepth);
    check(Image { width: 0, ..image }, &[], 2, Error::Dimensions);
    check(Image { width: 65_536, ..image }, &[], 2, Error::Dimensions);
    check(
        Image {
            width: 65_535,
            height: 65_535,
            ..image
        },
        &[],
        2,
        Error::Dimensions,
    );
    check(
        Image { components: 2, ..image },
        &[0; 64],
        2,
        Error::Unsupported("number of components"),
    );
    // -1 is not sign-extended 12-bit 0x0FFF.
    check(
        Image { signed: true, ..image },
        &[0xFF, 0x0F].repeat(16),
        2,
        Error::SampleRange,
    );

    let bytes = samples(&image, 2, 3, 1);
    let codestream = encode(
        &image,
        Samples {
            bytes: &bytes,
            bytes_per_sample: 2,
            planar: false,
        },
        Options::default(),
    );
    let codestream = codestream.unwrap();
    assert_eq!(decode(&codestream, 31), Err(Error::Limit { claimed: 32, limit: 31 }));
    assert_eq!(decode(b"", 100), Err(Error::NotHtj2k));
    assert_eq!(decode(&codestream[..30], 100), Err(Error::NotHtj2k));
    let Err(Error::Library(message)) = decode(&codestream[..60], 100) else {
        panic!("a cut codestream was taken")
    };
    assert!(message.contains("ojph_"), "{message}");
    let mut huge = codestream.clone();
    huge[8..16].fill(0xFF);
    assert_eq!(decode(&huge, u64::MAX), Err(Error::Dimensions));
    let mut tiled = codestream;
    tiled[8..16].copy_from_slice(&[0, 0, 0xFF, 0, 0, 0, 0xFF, 0]);
    assert_eq!(
        decode(&tiled, u64::MAX),
        Err(Error::Unsupported("more than 4096 tiles"))
    );
}

#[test]
fn threads_do_not_disturb_each_other() {
    std::thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || {
                let image = Image {
                    width: 90,
                    height: 50 + seed,
                    components: 1,
                    bit_depth: 12,
                    signed: false,
                };
                let bytes = samples(&image, 2, 6, seed.into());
                for _ in 0..10 {
                    let given = Samples {
                        bytes: &bytes,
                        bytes_per_sample: 2,
                        planar: false,
                    };
                    let codestream = encode(&image, given, Options::default()).unwrap();
                    assert!(decode(&codestream, 1 << 20).unwrap().1 == bytes);
                    assert!(matches!(decode(&codestream[..70], 1 << 20), Err(Error::Library(_))));
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_small_image_comes_back(
        width in 1_u32..40,
        height in 1_u32..40,
        three in any::<bool>(),
        bit_depth in 1_u8..=16,
        signed in any::<bool>(),
        noise in 0_u32..=16,
        tile_part_lengths in any::<bool>(),
    ) {
        let image = Image { width, height, components: if three { 3 } else { 1 }, bit_depth, signed };
        check_round_trip(image, 2, noise, Options { tile_part_lengths });
    }
}

/// Codestreams of another encoder, in files of the shared corpus: each decodes to its own claim.
#[test]
fn foreign_codestreams_decode() {
    let corpus = std::env::var_os("SEPTUM_CORPUS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        std::path::PathBuf::from,
    );
    let Ok(files) = std::fs::read_dir(corpus.join("derived-ts")) else {
        println!("no corpus, nothing to do");
        return;
    };
    let mut num_decoded = 0;
    for file in files
        .flatten()
        .filter(|f| f.file_name().to_string_lossy().starts_with("htj2k"))
    {
        let bytes = std::fs::read(file.path()).unwrap();
        let start = bytes.windows(4).position(|w| w == [0xFF, 0x4F, 0xFF, 0x51]).unwrap();
        // The fragment ends where the next item or the delimiter begins.
        let end = bytes[start..]
            .windows(4)
            .position(|w| w[..3] == [0xFE, 0xFF, 0x00] || w == [0xFE, 0xFF, 0xDD, 0xE0]);
        let codestream = &bytes[start..start + end.unwrap()];
        let (image, samples) = decode(codestream, 1 << 20).unwrap();
        assert_eq!(samples.len() as u64, image.decoded_length());
        let given = Samples {
            bytes: &samples,
            bytes_per_sample: 2,
            planar: false,
        };
        let ours = encode(&image, given, Options::default()).unwrap();
        assert!(decode(&ours, 1 << 20).unwrap().1 == samples);
        num_decoded += 1;
    }
    println!("{num_decoded} codestreams decoded");
    assert!(num_decoded > 0);
}
