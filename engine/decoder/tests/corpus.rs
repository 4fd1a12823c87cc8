//! Every compressed file of the test corpus decodes, in sandboxed children, to known bytes.
//!
//! `corpus.csv` lists path, frame index and FNV-1a hash of the decoded samples. The hashes are those of this decoder, taken
//! when its samples had been compared with others': lossless ones are equal to pydicom's or to the uncompressed original;
//! lossy JPEG to libjpeg-turbo's (8 bits, up to 1 off where pydicom converts colour) or GDCM's (12 bits); lossy JPEG 2000 and
//! near-lossless JPEG-LS to pydicom's; JPEG recompressed as JPEG XL to the original JPEG; lossy JPEG XL within 1 of libjxl's.
#![cfg(unix)]

use dicom_core::value::Value;
use dicom_object::{FileDicomObject, InMemDicomObject, open_file};
use septum_decoder::{DecodeError, DecodeRequest, DecoderPool, FrameLayout, PoolLimits};
use std::path::{Path, PathBuf};

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SEPTUM_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

fn pool() -> DecoderPool {
    DecoderPool::new(
        vec![env!("CARGO_BIN_EXE_decode-child-for-tests").into()],
        2,
        PoolLimits::default(),
    )
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    })
}

fn number(object: &InMemDicomObject, name: &str) -> Option<u32> {
    object.element_by_name(name).ok()?.to_int().ok()
}

/// One frame of a file whose fragments are frames, or which has one frame.
fn request(object: &FileDicomObject<InMemDicomObject>, frame: usize) -> Option<DecodeRequest> {
    let bits_allocated = number(object, "BitsAllocated")? as u16;
    let bits_stored = number(object, "BitsStored")? as u16;
    let layout = FrameLayout {
        rows: number(object, "Rows")?,
        columns: number(object, "Columns")?,
        samples_per_pixel: number(object, "SamplesPerPixel")? as u16,
        bits_allocated,
        bits_stored,
        high_bit: number(object, "HighBit")? as u16,
        signed: number(object, "PixelRepresentation")? == 1,
        planar: number(object, "PlanarConfiguration") == Some(1),
    };
    let photometric = object
        .element_by_name("PhotometricInterpretation")
        .ok()?
        .to_str()
        .ok()?
        .trim()
        .to_owned();
    let Value::PixelSequence(sequence) = object.element_by_name("PixelData").ok()?.value() else {
        return None;
    };
    let one_frame = number(object, "NumberOfFrames").is_none_or(|count| count <= 1);
    let frame = if one_frame {
        sequence.fragments().concat()
    } else {
        sequence.fragments().get(frame)?.clone()
    };
    let transfer_syntax = object.meta().transfer_syntax().trim_end_matches('\0').to_owned();
    Some(DecodeRequest {
        transfer_syntax,
        layout,
        photometric,
        frame,
    })
}

#[test]
fn known_files_decode_to_known_bytes() {
    let Some(corpus) = corpus() else {
        println!("no corpus: nothing checked");
        return;
    };
    let pool = pool();
    let mut num_checked = 0;
    let mut failures = Vec::new();
    for line in include_str!("corpus.csv").lines() {
        let mut fields = line.split(',');
        let (Some(path), Some(frame), Some(expected)) = (fields.next(), fields.next(), fields.next()) else {
            panic!("malformed line");
        };
        let object = open_file(corpus.join(path)).ok();
        let request = object.and_then(|object| request(&object, frame.parse().ok()?));
        let outcome = request.map(|request| pool.decode(&request));
        match outcome {
            Some(Ok(decoded)) if format!("{:016x}", hash(&decoded.samples)) == expected => num_checked += 1,
            Some(Ok(_)) => failures.push(format!("{path}: other bytes")),
            Some(Err(error)) => failures.push(format!("{path}: {error}")),
            None => failures.push(format!("{path}: not readable")),
        }
    }
    println!("{num_checked} frames checked");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(num_checked > 100);
}

#[test]
fn broken_files_are_refused() {
    let Some(corpus) = corpus() else {
        println!("no corpus: nothing checked");
        return;
    };
    let pool = pool();
    for name in [
        "jpeg_garbage_stream.dcm",
        "rle_bad_header.dcm",
        "encaps_zero_fragments.dcm",
    ] {
        let object = open_file(corpus.join("bad/generated").join(name)).expect("opens");
        let request = request(&object, 0).expect("has attributes");
        let outcome = pool.decode(&request);
        assert!(matches!(outcome, Err(DecodeError::Damaged(_))), "{name}: {outcome:?}");
    }
}
