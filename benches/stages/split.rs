//! Cutting instances in two, and putting them together, against copying their bytes and against hashing them once.

use std::hint::black_box;

use bytes::Bytes;
use septum_benches::inputs::split_file;
use septum_benches::measure::{Case, Runner, Work};
use septum_core::dicom::{Merger, Piece, SplitLimits, Splitter};
use septum_testkit::part10::RLE_LOSSLESS;
use septum_testkit::{StudySpec, TinyInstance};

pub(crate) fn run(runner: &mut Runner) {
    let mut rle = StudySpec::ultrasound_cine(8, 21);
    rle.transfer_syntax = RLE_LOSSLESS;
    let inputs = [
        ("ct", StudySpec::ct(1, 20).instance(0).bytes),
        ("cine-8-frames", StudySpec::ultrasound_cine(8, 21).instance(0).bytes),
        ("cine-8-frames-rle", rle.instance(0).bytes),
        (
            "tiny-2000-frames",
            TinyInstance::new(22).pixels(16, 16, 2000, 16).build().bytes,
        ),
    ];
    for (input, file) in inputs {
        let file = Bytes::from(file);
        for (chunk_bytes, whole) in [(256 << 10, false), (usize::MAX, true)] {
            let name = format!("split/{}/{input}", if whole { "whole" } else { "256-kib-pieces" });
            let case = Case {
                name: &name,
                floor: "memcpy",
                work: Work::Bytes(file.len() as u64),
            };
            runner.compare(case, || size(&file), || split(&file, chunk_bytes), || copy(&file));
        }
        let name = format!("split/against-hash/{input}");
        let case = Case {
            name: &name,
            floor: "BLAKE3 once",
            work: Work::Bytes(file.len() as u64),
        };
        let hash = || {
            black_box(blake3::hash(black_box(&file)));
        };
        runner.compare(case, || size(&file), || split(&file, 256 << 10), hash);
        let (split, units) = split_file(&file).expect("a sound file");
        let merge = || {
            let mut out = Vec::with_capacity(file.len());
            let mut merger = Merger::new(&split.header, split.layout.as_ref()).expect("one instance");
            out.extend_from_slice(&merger.file_prefix());
            while let Some(piece) = merger.next_piece() {
                match piece {
                    Piece::Bytes(bytes) => out.extend_from_slice(&bytes),
                    Piece::Unit(index) => out.extend_from_slice(&units[index as usize]),
                    // The inputs have no long values.
                    Piece::ValueUnit(_) => {}
                }
            }
            assert_eq!(black_box(out).len(), file.len());
        };
        let name = format!("split/merge/{input}");
        let case = Case {
            name: &name,
            floor: "memcpy",
            work: Work::Bytes(file.len() as u64),
        };
        runner.compare(case, || size(&file), merge, || copy(&file));
    }
}

fn size(file: &[u8]) -> String {
    format!("{} KiB", file.len() >> 10)
}

fn split(file: &Bytes, chunk_bytes: usize) {
    let mut splitter = Splitter::new(SplitLimits::default());
    let mut events = Vec::new();
    let mut rest = file.clone();
    while !rest.is_empty() {
        splitter
            .push(rest.split_to(chunk_bytes.min(rest.len())), &mut events)
            .expect("a sound file");
        // The next stage would take them.
        black_box(&events);
        events.clear();
    }
    black_box(splitter.finish(&mut events).expect("a sound file"));
}

fn copy(bytes: &[u8]) {
    black_box(black_box(bytes).to_vec());
}
