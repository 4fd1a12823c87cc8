//! Headers: metadata (DICOM JSON), transcoding, the stored form, and templates.

use std::hint::black_box;

use bytes::Bytes;
use septum_benches::inputs::split_file;
use septum_benches::measure::{Case, Runner, Work};
use septum_core::codec::{compress_with_template, decompress_with_template};
use septum_core::dicom::transcode::{PixelPatch, to_explicit_little};
use septum_core::dicom::{HeaderBytes, SplitInstance};
use septum_engine::headers::metadata_of;
use septum_testkit::{StudySpec, TransferSyntax};

pub(crate) fn run(runner: &mut Runner) {
    let mut implicit = StudySpec::ct(2, 31);
    implicit.transfer_syntax = TransferSyntax::ImplicitLittleEndian;
    for (input, spec) in [
        ("ct", StudySpec::ct(2, 30)),
        ("ct-implicit", implicit),
        ("us", StudySpec::ultrasound_cine(1, 32)),
    ] {
        let splits: Vec<SplitInstance> = spec
            .instances()
            .map(|instance| split_file(&Bytes::from(instance.bytes)).expect("a sound file").0)
            .collect();
        let split = splits.last().expect("at least one instance");
        metadata(runner, input, split);
        transcode(runner, input, split);
        stored_form(runner, input, split);
        if let [first, second] = &splits[..] {
            template(runner, input, &first.header.encode(), &second.header.encode());
        }
    }
}

fn metadata(runner: &mut Runner, input: &str, split: &SplitInstance) {
    let attributes = metadata_of(&split.start, &split.header).attributes;
    let text = serde_json::to_vec(&attributes).expect("serialises");
    let name = format!("header/metadata/{input}");
    runner.compare(
        Case {
            name: &name,
            floor: "serialise ready JSON",
            work: Work::Items(1, "instances"),
        },
        || format!("{} bytes → {}", split.header.len(), text.len()),
        || {
            let attributes = metadata_of(&split.start, black_box(&split.header)).attributes;
            black_box(serde_json::to_vec(&attributes).expect("serialises"));
        },
        || {
            black_box(serde_json::to_vec(black_box(&attributes)).expect("serialises"));
        },
    );
}

fn transcode(runner: &mut Runner, input: &str, split: &SplitInstance) {
    let (before, after) = (split.header.elements_before(), split.header.elements_after());
    let name = format!("header/transcode/{input}");
    runner.compare(
        Case {
            name: &name,
            floor: "memcpy",
            work: Work::Items(1, "instances"),
        },
        || format!("{} bytes", before.len() + after.len()),
        || {
            let header = to_explicit_little(&before, &after, split.start.encoding.into(), &PixelPatch::default());
            black_box(header.expect("readable"));
        },
        || {
            black_box((black_box(&before).to_vec(), black_box(&after).to_vec()));
        },
    );
}

fn stored_form(runner: &mut Runner, input: &str, split: &SplitInstance) {
    let stored = Bytes::from(split.header.encode());
    let work = Work::Bytes(stored.len() as u64);
    let name = format!("header/stored-form/{input}");
    runner.compare(
        Case {
            name: &name,
            floor: "memcpy",
            work,
        },
        || format!("{} bytes", stored.len()),
        || {
            let header = HeaderBytes::decode(black_box(&stored)).expect("ours");
            black_box(header.encode());
        },
        || {
            black_box(black_box(&stored).to_vec());
        },
    );
}

fn template(runner: &mut Runner, input: &str, template: &[u8], header: &[u8]) {
    let compressed = compress_with_template(Some(template), header);
    let alone = compress_with_template(None, header);
    let note = || format!("{} → {} bytes, {} alone", header.len(), compressed.len(), alone.len());
    let work = Work::Bytes(header.len() as u64);
    let names = ["compress", "decompress"].map(|way| format!("header/template-{way}/{input}"));
    runner.compare(
        Case {
            name: &names[0],
            floor: "LZ4 alone",
            work,
        },
        note,
        || {
            black_box(compress_with_template(Some(template), black_box(header)));
        },
        || {
            black_box(lz4_flex::block::compress(black_box(header)));
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
            let back = decompress_with_template(Some(template), black_box(&compressed), header.len());
            black_box(back.expect("ours"));
        },
        || {
            black_box(black_box(header).to_vec());
        },
    );
}
