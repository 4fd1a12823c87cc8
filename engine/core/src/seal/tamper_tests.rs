//! Everything an attacker with write access to a store can do to sealed bytes: each must be refused.

use proptest::prelude::*;

use super::context::OBJECT_HEADER_BYTES;
use super::suite::TAG_BYTES;
use super::*;
use crate::ids::{ObjectId, PixelSetId, VersionId};

const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

fn suites() -> impl Iterator<Item = Suite> {
    Suite::ALL.into_iter().filter(|suite| suite.is_available())
}

fn context() -> ObjectContext {
    ObjectContext {
        part: Part::Pixel,
        pixel_set: PixelSetId::from_bytes([1; 16]),
        version: VersionId::from_bytes([2; 16]),
        object: ObjectId::from_bytes([3; 16]),
    }
}

fn key() -> DataKey {
    DataKey::from_bytes([4; 32])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sealed(sealer: &ObjectSealer, frame: u32, plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal_frame(frame, plaintext, &mut out).unwrap();
    assert_eq!(out.len(), ObjectSealer::sealed_length(plaintext.len()));
    out
}

#[test]
fn golden() {
    for suite in suites() {
        let sealer = ObjectSealer::with_salt(suite, &key(), &context(), [5; 32]).unwrap();
        let frame = sealed(&sealer, 6, b"sixteen pixels..");
        let (header, text) = match suite {
            Suite::XChaCha20Poly1305 => (
                "5350544f010102000303030303030303030303030303030305050505050505050505050505050505050505050505050505050505050505058cc46c75cce8912e30aee1376ed32bb041931e30d83341d727108fcfc72072c0",
                "ba401c2fbd06d3f07456ee357af7643c65e9185dac32e2b631434e55fbda7e13",
            ),
            Suite::Aes256Gcm => (
                "5350544f01020200030303030303030303030303030303030505050505050505050505050505050505050505050505050505050505050505164e1cd2b0f8af78db62ac610e00f37d25c9c2ef20dc6673a6880148796f71eb",
                "2d9a1de1ca63fc0e243eb84900d6f913a5ca8b9b454c87a0b2db2f463056f3b6",
            ),
        };
        assert_eq!(hex(sealer.header()), header, "{suite:?}");
        assert_eq!(hex(&frame), text, "{suite:?}");
        let opener = ObjectOpener::new(&key(), sealer.header(), &context()).unwrap();
        assert_eq!(opener.suite(), suite);
        assert_eq!(opener.open_frame(6, &frame).unwrap(), b"sixteen pixels..");
    }
}

#[test]
fn frames_of_every_awkward_length_round_trip() {
    for suite in suites() {
        let sealer = ObjectSealer::new(suite, &key(), &context()).unwrap();
        let opener = ObjectOpener::new(&key(), sealer.header(), &context()).unwrap();
        for (frame, length) in [
            0,
            1,
            15,
            16,
            17,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            3 * CHUNK_BYTES,
        ]
        .into_iter()
        .enumerate()
        {
            let plaintext: Vec<u8> = (0..length).map(|index| ((index * 31) >> 3) as u8).collect();
            let sealed = sealed(&sealer, frame as u32, &plaintext);
            assert_eq!(
                opener.open_frame(frame as u32, &sealed).unwrap(),
                plaintext,
                "{suite:?} {length}"
            );
        }
    }
}

#[test]
fn a_frame_number_is_sealed_once() {
    let sealer = ObjectSealer::new(Suite::default(), &key(), &context()).unwrap();
    let mut out = Vec::new();
    sealer.seal_frame(3, b"one", &mut out).unwrap();
    let before = out.clone();
    let object = context().object;
    assert_eq!(
        sealer.seal_frame(3, b"two", &mut out),
        Err(SealError::FrameSpent { object, frame: 3 })
    );
    assert_eq!(out, before);
}

#[test]
fn every_flipped_bit_of_header_and_frame_is_refused() {
    for suite in suites() {
        let record = seal_record(suite, &key(), &context(), b"a small record").unwrap();
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = open_record(&key(), &context(), &changed).expect_err("a flipped bit is refused");
            let expected = match bit / 8 {
                0..4 => matches!(error, SealError::Magic),
                4 => matches!(error, SealError::UnknownVersion(_)),
                5 => matches!(error, SealError::UnknownSuite(_) | SealError::Key),
                6..24 => matches!(error, SealError::Context),
                24..OBJECT_HEADER_BYTES => matches!(error, SealError::Key),
                _ => matches!(error, SealError::Tampered { frame: 0, chunk: 0, .. }),
            };
            assert!(expected, "{suite:?}, bit {bit}: {error:?}");
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for suite in suites() {
        let record = seal_record(suite, &key(), &context(), b"a small record").unwrap();
        for length in 0..record.len() {
            assert!(
                open_record(&key(), &context(), &record[..length]).is_err(),
                "{suite:?} {length}"
            );
        }
        let mut longer = record;
        longer.push(0);
        assert!(open_record(&key(), &context(), &longer).is_err());

        let sealer = ObjectSealer::new(suite, &key(), &context()).unwrap();
        let frame = sealed(&sealer, 0, &vec![9; 3 * CHUNK_BYTES]);
        let opener = ObjectOpener::new(&key(), sealer.header(), &context()).unwrap();
        for num_chunks in 0..3 {
            // Cut exactly at a chunk: only the last flag tells.
            assert!(
                opener.open_frame(0, &frame[..num_chunks * SEALED_CHUNK_BYTES]).is_err(),
                "{num_chunks} chunks"
            );
        }
        let mut extended = frame.clone();
        extended.extend_from_slice(&frame[..SEALED_CHUNK_BYTES]);
        assert!(opener.open_frame(0, &extended).is_err());
    }
}

#[test]
fn swapped_chunks_frames_and_objects_are_refused() {
    for suite in suites() {
        let sealer = ObjectSealer::new(suite, &key(), &context()).unwrap();
        let opener = ObjectOpener::new(&key(), sealer.header(), &context()).unwrap();
        let frame = sealed(&sealer, 0, &vec![9; 3 * CHUNK_BYTES]);
        let chunks: Vec<&[u8]> = frame.chunks(SEALED_CHUNK_BYTES).collect();
        for order in [
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
            [0, 0, 2],
            [0, 1, 1],
            [2, 2, 2],
        ] {
            let changed = order.map(|index| chunks[index]).concat();
            assert!(opener.open_frame(0, &changed).is_err(), "{suite:?} {order:?}");
        }
        let frames: Vec<Vec<u8>> = (1..5).map(|frame| sealed(&sealer, frame, b"equal content")).collect();
        for (place, frame) in (1..5).flat_map(|place| frames.iter().enumerate().map(move |(i, f)| (place, (i + 1, f))))
        {
            assert_eq!(opener.open_frame(place, frame.1).is_ok(), place as usize == frame.0);
        }
        // The same object sealed anew has another key: neither frames nor headers mix.
        let again = ObjectSealer::new(suite, &key(), &context()).unwrap();
        let object = context().object;
        let expected = SealError::Tampered {
            object,
            frame: 1,
            chunk: 0,
        };
        assert_eq!(
            opener.open_frame(1, &sealed(&again, 1, b"equal content")),
            Err(expected)
        );
        let mut mixed = *sealer.header();
        mixed[24..56].copy_from_slice(&again.header()[24..56]);
        assert_eq!(
            ObjectOpener::new(&key(), &mixed, &context()).unwrap_err(),
            SealError::Key
        );
    }
}

#[test]
fn the_wrong_key_or_context_is_refused() {
    for suite in suites() {
        let sealer = ObjectSealer::new(suite, &key(), &context()).unwrap();
        let refused = |key: &DataKey, context: &ObjectContext| {
            ObjectOpener::new(key, sealer.header(), context).expect_err("refused")
        };
        assert_eq!(refused(&DataKey::random(), &context()), SealError::Key);
        let object = ObjectContext {
            object: ObjectId::random(),
            ..context()
        };
        assert_eq!(refused(&key(), &object), SealError::Context);
        assert_eq!(
            refused(
                &key(),
                &ObjectContext {
                    version: VersionId::random(),
                    ..context()
                }
            ),
            SealError::Key
        );
        assert_eq!(
            refused(
                &key(),
                &ObjectContext {
                    pixel_set: PixelSetId::random(),
                    ..context()
                }
            ),
            SealError::Key
        );
        for part in Part::ALL.into_iter().filter(|part| *part != Part::Pixel) {
            assert_eq!(
                refused(&key(), &ObjectContext { part, ..context() }),
                SealError::Context
            );
        }
    }
}

#[test]
fn a_refused_frame_leaves_nothing_behind() {
    let sealer = ObjectSealer::new(Suite::default(), &key(), &context()).unwrap();
    let opener = ObjectOpener::new(&key(), sealer.header(), &context()).unwrap();
    let mut frame = sealed(&sealer, 0, &vec![0xee; 2 * CHUNK_BYTES]);
    *frame.last_mut().unwrap() ^= 1;
    let mut out = b"before".to_vec();
    assert!(opener.open_frame_into(0, &frame, &mut out).is_err());
    assert_eq!(out, b"before");
}

#[cfg(not(feature = "native"))]
#[test]
fn a_suite_that_is_not_there_is_named() {
    let error = seal_record(Suite::Aes256Gcm, &key(), &context(), b"").unwrap_err();
    assert_eq!(error, SealError::Unavailable(Suite::Aes256Gcm));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_round_trip(plaintext in proptest::collection::vec(any::<u8>(), 0..2000), aes: bool) {
        let suite = if aes && Suite::Aes256Gcm.is_available() { Suite::Aes256Gcm } else { Suite::default() };
        let sealed = seal_record(suite, &key(), &context(), &plaintext).unwrap();
        prop_assert_eq!(open_record(&key(), &context(), &sealed).unwrap(), plaintext);
    }

    #[test]
    fn garbage_never_opens(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open_record(&key(), &context(), &garbage).is_err());
    }
}

#[test]
fn sealers_and_openers_cross_threads_and_keys_wipe_themselves() {
    fn crosses<T: Send + Sync>() {}
    fn wipes<T: zeroize::ZeroizeOnDrop>() {}
    crosses::<ObjectSealer>();
    crosses::<ObjectOpener>();
    wipes::<DataKey>();
}

/// Prints MB/s of both suites: `cargo test --release -- --ignored throughput --nocapture`.
#[test]
#[ignore = "a measurement"]
fn throughput() {
    for suite in suites() {
        for frame_bytes in [512 * 1024, 8 * 1024 * 1024] {
            let plaintext = vec![0x5a; frame_bytes];
            let num_frames = (256 * 1024 * 1024 / frame_bytes) as u32;
            let sealer = ObjectSealer::new(suite, &key(), &context()).unwrap();
            let mut out = Vec::with_capacity(ObjectSealer::sealed_length(frame_bytes));
            let start = std::time::Instant::now();
            for frame in 0..num_frames {
                out.clear();
                sealer.seal_frame(frame, &plaintext, &mut out).unwrap();
            }
            let sealing = start.elapsed().as_secs_f64();
            let opener = ObjectOpener::new(&key(), sealer.header(), &context()).unwrap();
            let mut back = Vec::with_capacity(frame_bytes);
            let start = std::time::Instant::now();
            for _ in 0..num_frames {
                back.clear();
                opener.open_frame_into(num_frames - 1, &out, &mut back).unwrap();
            }
            let opening = start.elapsed().as_secs_f64();
            let megabytes = f64::from(num_frames) * frame_bytes as f64 / 1e6;
            println!(
                "{}, frames of {frame_bytes} bytes: seal {:.0} MB/s, open {:.0} MB/s",
                suite.name(),
                megabytes / sealing,
                megabytes / opening
            );
        }
    }
    let index_key = IndexKey::new(key());
    for (what, work) in [
        (
            "seal_record of 200 bytes",
            &(|| drop(seal_record(Suite::default(), &key(), &context(), &[1; 200]))) as &dyn Fn(),
        ),
        ("token", &|| {
            std::hint::black_box(token(
                &index_key,
                TokenDomain::Study,
                crate::ids::NamespaceId::from_bytes([1; 16]),
                &[1; 40],
            ));
        }),
    ] {
        let start = std::time::Instant::now();
        (0..100_000).for_each(|_| work());
        println!("{what}: {:.2} µs", start.elapsed().as_secs_f64() * 10.0);
    }
}
