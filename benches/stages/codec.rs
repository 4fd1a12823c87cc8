//! Every tier's codec by image class: encoding, with its proof, against the bare coder on the same bytes; decoding
//! against memcpy.

use std::hint::black_box;

use septum_benches::inputs::{ImageClass, image_classes};
use septum_benches::measure::{Case, Runner, Work};
use septum_core::codec::{Codec, Encoded, Tier, decode, encode};
use septum_core::frame_shape::FrameShape;
use septum_htj2k::{Image, Options, Samples};

const TIERS: [(&str, Tier); 3] = [
    ("pressure", Tier::Pressure),
    ("acknowledge", Tier::Acknowledge),
    ("dense", Tier::Dense),
];

pub(crate) fn run(runner: &mut Runner) {
    let classes = image_classes(runner.size(8 << 20, 1 << 20) as u64);
    for class in &classes {
        for (tier_name, tier) in TIERS {
            measure(runner, class, tier_name, tier);
        }
    }
}

fn measure(runner: &mut Runner, class: &ImageClass, tier_name: &str, tier: Tier) {
    let names = ["encode", "decode"].map(|way| format!("codec/{tier_name}/{way}/{}", class.name));
    if !names.iter().any(|name| runner.options().wants(name)) {
        return;
    }
    let encoded: Vec<Encoded> = class
        .frames
        .iter()
        .map(|(shape, frame)| encode(tier, Some(shape), frame))
        .collect();
    let num_encoded: u64 = encoded.iter().map(|encoded| encoded.bytes.len() as u64).sum();
    let note = || {
        let first = encoded.first().map_or(Codec::Raw, |encoded| encoded.codec);
        format!(
            "{:.2}:1, {first:?}",
            class.num_bytes() as f64 / num_encoded.max(1) as f64
        )
    };
    let work = Work::Bytes(class.num_bytes());
    let floor = match tier {
        Tier::Pressure => "LZ4 alone",
        Tier::Acknowledge => "zstd level 1 alone",
        Tier::Dense => "HTJ2K alone, unproved",
    };
    let mut zstd = zstd::bulk::Compressor::new(1).expect("a zstd context");
    runner.compare(
        Case {
            name: &names[0],
            floor,
            work,
        },
        note,
        || {
            for (shape, frame) in &class.frames {
                black_box(encode(tier, Some(shape), black_box(frame)));
            }
        },
        || {
            for (shape, frame) in &class.frames {
                match tier {
                    Tier::Pressure => drop(black_box(lz4_flex::block::compress(black_box(frame)))),
                    Tier::Acknowledge => drop(black_box(zstd.compress(black_box(frame)))),
                    Tier::Dense => drop(black_box(htj2k(shape, black_box(frame)))),
                }
            }
        },
    );
    runner.compare(
        Case {
            name: &names[1],
            floor: "memcpy",
            work,
        },
        note,
        || {
            for ((shape, frame), encoded) in class.frames.iter().zip(&encoded) {
                let decoded = decode(encoded.codec, Some(shape), black_box(&encoded.bytes), frame.len());
                black_box(decoded.expect("our own payload"));
            }
        },
        || {
            for (_, frame) in &class.frames {
                black_box(black_box(frame).to_vec());
            }
        },
    );
}

/// The bare encoder.
fn htj2k(shape: &FrameShape, frame: &[u8]) -> Option<Vec<u8>> {
    let image = Image {
        width: shape.columns,
        height: shape.rows,
        components: shape.samples_per_pixel,
        bit_depth: u8::try_from(shape.bits_stored).ok()?,
        signed: shape.signed,
    };
    let bytes_per_sample = usize::from(shape.bits_allocated / 8);
    let samples = Samples {
        bytes: frame,
        bytes_per_sample,
        planar: shape.planar,
    };
    septum_htj2k::encode(&image, samples, Options::default()).ok()
}
