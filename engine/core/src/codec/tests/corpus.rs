//! Real frames: each native one of the shared corpus, through every tier.

use super::*;
use std::path::PathBuf;

struct Frame {
    modality: String,
    shape: FrameShape,
    bytes: Vec<u8>,
}

/// The first frame of each file in a native little endian transfer syntax, as far as the manifest tells its geometry.
fn frames() -> Option<Vec<Frame>> {
    let root = std::env::var_os("SEPTUM_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let manifest = std::fs::read_to_string(root.join("manifest.csv")).ok()?;
    let mut frames = Vec::new();
    for line in manifest.lines().skip(1).filter(|line| !line.starts_with("bad/")) {
        let fields: Vec<&str> = line.split(',').collect();
        let &[
            path,
            _,
            _,
            _,
            modality,
            syntax,
            rows,
            columns,
            _,
            allocated,
            stored,
            signed,
            photometric,
            ..,
        ] = &fields[..]
        else {
            continue;
        };
        let numbers = (
            rows.parse(),
            columns.parse(),
            allocated.parse::<u16>(),
            stored.parse::<u16>(),
        );
        let (Ok(rows), Ok(columns), Ok(allocated), Ok(stored)) = numbers else {
            continue;
        };
        if !matches!(syntax, "1.2.840.10008.1.2" | "1.2.840.10008.1.2.1") || stored == 0 {
            continue;
        }
        let samples = if matches!(photometric, "RGB" | "YBR_FULL") {
            3
        } else {
            1
        };
        let mut shape = shape(rows, columns, samples, allocated, stored);
        shape.signed = signed == "1";
        let Ok(file) = std::fs::read(root.join(path)) else {
            continue;
        };
        shape.planar = file.windows(10).any(|w| w == b"\x28\x00\x06\x00US\x02\x00\x01\x00");
        let Some(tag) = file.windows(4).rposition(|w| w == [0xE0, 0x7F, 0x10, 0x00]) else {
            continue;
        };
        let start = tag + if syntax.ends_with(".2.1") { 12 } else { 8 };
        let Some(length) = shape.frame_length() else { continue };
        if let Some(bytes) = file.get(start..start + length as usize) {
            frames.push(Frame {
                modality: modality.to_owned(),
                shape,
                bytes: bytes.to_vec(),
            });
        }
    }
    Some(frames)
}

#[test]
fn real_frames_come_back() {
    let Some(frames) = frames() else {
        println!("no corpus, nothing to do");
        return;
    };
    for tier in TIERS {
        let mut stored = [0_usize; 7];
        let mut total = 0;
        for frame in &frames {
            let encoded = check_round_trip(tier, Some(&frame.shape), &frame.bytes);
            stored[usize::from(u8::from(encoded.codec))] += 1;
            total += encoded.bytes.len();
        }
        let original: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        println!(
            "{tier:?}: {} frames, {original} bytes, ratio {:.2}, by codec {stored:?}",
            frames.len(),
            original as f64 / total as f64
        );
    }
    assert!(frames.len() > 100, "{} frames", frames.len());
}

/// `cargo test --release -- --ignored --nocapture measure`
#[test]
#[ignore = "a measurement"]
fn measure() {
    use std::time::{Duration, Instant};
    let Some(frames) = frames() else { return };
    type Belongs = fn(&Frame) -> bool;
    let groups: [(&str, Belongs); 5] = [
        ("CT 16 bit", |f| {
            f.modality == "CT" && f.shape.bits_allocated == 16 && f.bytes.len() > 100_000
        }),
        ("MR 16 bit", |f| {
            f.modality == "MR" && f.shape.bits_allocated == 16 && f.bytes.len() > 30_000
        }),
        ("CR, DX", |f| {
            matches!(f.modality.as_str(), "CR" | "DX") && f.shape.bits_allocated == 16
        }),
        ("grey 8 bit", |f| {
            f.shape.samples_per_pixel == 1 && f.shape.bits_allocated == 8 && f.bytes.len() > 100_000
        }),
        ("RGB", |f| f.shape.samples_per_pixel == 3 && f.bytes.len() > 100_000),
    ];
    for (name, belongs) in groups {
        let group: Vec<&Frame> = frames.iter().filter(|f| belongs(f)).collect();
        let bytes: usize = group.iter().map(|f| f.bytes.len()).sum();
        for tier in TIERS {
            let (mut encoding, mut decoding) = (Duration::MAX, Duration::MAX);
            let mut stored = 0;
            for _ in 0..3 {
                let start = Instant::now();
                let encoded: Vec<Encoded> = group.iter().map(|f| encode(tier, Some(&f.shape), &f.bytes)).collect();
                encoding = encoding.min(start.elapsed());
                stored = encoded.iter().map(|e| e.bytes.len()).sum();
                let start = Instant::now();
                for (f, e) in group.iter().zip(&encoded) {
                    assert_eq!(
                        decode(e.codec, Some(&f.shape), &e.bytes, f.bytes.len()).unwrap().len(),
                        f.bytes.len()
                    );
                }
                decoding = decoding.min(start.elapsed());
            }
            let speed = |duration: Duration| bytes as f64 / 1e6 / duration.as_secs_f64();
            println!(
                "{name} ({} frames, {bytes} bytes) {tier:?}: ratio {:.2}, encode and prove {:.0} MB/s, decode {:.0} MB/s",
                group.len(),
                bytes as f64 / stored.max(1) as f64,
                speed(encoding),
                speed(decoding)
            );
        }
    }
}
