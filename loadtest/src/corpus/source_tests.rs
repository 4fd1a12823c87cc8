//! Sources from phantoms and, where the test corpus is at hand, from real images.

use super::*;
use septum_testkit::{StudyKind, StudySpec};

fn phantom(kind: StudyKind) -> Source {
    Source::parse(&StudySpec::new(kind, 5).instance(0).bytes).unwrap()
}

fn copy(source: &Source, number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let study = StudyIdentity::of(1, 0);
    source.append(
        &mut out,
        &study,
        &StudyIdentity::instance(1, 0, number),
        number,
        u64::from(number),
    );
    out
}

fn ratio(tier: Tier, shape: &FrameShape, frames: &[&[u8]]) -> f64 {
    let native: usize = frames.iter().map(|frame| frame.len()).sum();
    let compressed: usize = frames
        .iter()
        .map(|frame| encode(tier, Some(shape), frame).bytes.len())
        .sum();
    native as f64 / compressed as f64
}

/// Copies compress like the original in every tier, within 4 %.
fn check_ratio(source: &Source) {
    let pixels = source.pixels();
    let copies: Vec<_> = (0..6).map(|number| copy(source, number)).collect();
    for (one, other) in copies.iter().zip(&copies[1..]) {
        assert_ne!(one[pixels.clone()], other[pixels.clone()]);
    }
    let frame_bytes = source.shape.frame_length().unwrap() as usize;
    let first = |data: &'_ [u8]| pixels.start..(pixels.start + frame_bytes).min(data.len());
    for tier in [Tier::Acknowledge, Tier::Dense] {
        let original = ratio(tier, &source.shape, &[&source.data[first(&source.data)]]);
        let frames: Vec<&[u8]> = copies.iter().map(|copy| &copy[first(copy)]).collect();
        let got = ratio(tier, &source.shape, &frames);
        assert!(
            (got / original - 1.0).abs() < 0.04,
            "{tier:?}: {got} for {original}, {:?}",
            source.shape
        );
    }
}

#[test]
fn copies_of_phantoms_compress_like_the_phantom() {
    check_ratio(&phantom(StudyKind::Ct {
        slices: 9,
        rows: 256,
        columns: 256,
    }));
    check_ratio(&phantom(StudyKind::Mr {
        slices: 9,
        rows: 256,
        columns: 256,
    }));
    check_ratio(&phantom(StudyKind::UltrasoundCine {
        frames: 2,
        rows: 240,
        columns: 320,
    }));
}

#[test]
fn copies_of_real_images_compress_like_them() {
    let corpus = std::env::var_os("SEPTUM_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        std::path::PathBuf::from,
    );
    let series = corpus.join("series");
    if !series.is_dir() {
        eprintln!("no test corpus (set SEPTUM_CORPUS): not checked on real images");
        return;
    }
    for name in [
        "ct-ge-hispeed-28/01.dcm",
        "ct-ge-hispeed-28/14.dcm",
        "ct-ge-hispeed-28/28.dcm",
        "mr-dti-classic-siemens-skyra/001.dcm",
        "mr-ge-signa-fse-20/brain_010.dcm",
        "pet-mr-tcia/1.dcm",
    ] {
        check_ratio(&Source::open(&series.join(name)).unwrap());
    }
}

#[test]
fn copies_carry_their_identity_and_are_sources_again() {
    let source = phantom(StudyKind::Ct {
        slices: 3,
        rows: 64,
        columns: 48,
    });
    let data = copy(&source, 41);
    assert_eq!(data.len(), source.len());
    let places = element::top_level(&data, 132).unwrap();
    let text = |tag| String::from_utf8(trimmed(value(&data, &places, tag).unwrap()).to_vec()).unwrap();
    let study = StudyIdentity::of(1, 0);
    assert_eq!(text((0x20, 0xD)), study.study);
    assert_eq!(text((0x10, 0x10)), study.name);
    assert_eq!(text((0x10, 0x20)), study.patient_id);
    assert_eq!(text((0x8, 0x20)), study.date);
    assert_eq!(text((0x20, 0x13)), "42");
    assert_eq!(text((2, 3)), text((0x8, 0x18)));
    assert!(places.iter().skip(1).map(|place| place.tag).is_sorted());
    let again = Source::parse(&data).unwrap();
    assert_eq!(
        (again.len(), again.pixels(), again.dataset_at()),
        (source.len(), source.pixels(), source.dataset_at())
    );
}

#[test]
fn many_frames_are_one_object() {
    let source = phantom(StudyKind::Ct {
        slices: 3,
        rows: 32,
        columns: 48,
    });
    let many = source.multi_frame(10).unwrap();
    assert_eq!(many.num_frames(), 10);
    assert_eq!(many.pixels().len(), 10 * 32 * 48 * 2);
    let frames: std::collections::HashSet<_> = many.frames().collect();
    assert!(frames.len() > 8);
    let color = phantom(StudyKind::UltrasoundCine {
        frames: 1,
        rows: 24,
        columns: 32,
    });
    assert!(matches!(color.multi_frame(2), Err(SourceError::NoPixels)));
}

#[test]
fn what_is_no_image_is_refused() {
    assert!(matches!(Source::parse(b"hello"), Err(SourceError::NotDicom)));
    let mut spec = StudySpec::new(
        StudyKind::Ct {
            slices: 1,
            rows: 16,
            columns: 16,
        },
        1,
    );
    spec.transfer_syntax = septum_testkit::part10::RLE_LOSSLESS;
    assert!(matches!(
        Source::parse(&spec.instance(0).bytes),
        Err(SourceError::NoPixels)
    ));
}
