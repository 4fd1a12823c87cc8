//! Every file of the corpus: split and merged in several chunkings, or refused for a reason that is listed here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

pub(super) fn corpus() -> Option<PathBuf> {
    let path = std::env::var_os("SEPTUM_CORPUS").map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if !path.is_dir() {
        println!("no corpus, nothing tested");
        return None;
    }
    Some(path)
}

pub(super) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if !matches!(
            path.extension().and_then(|e| e.to_str()),
            Some("json" | "md" | "csv" | "hl7" | "txt")
        ) {
            found.push(path);
        }
    }
    found.sort();
}

/// Splits a file in several chunkings, which must all tell the same.
fn check_file(path: &Path) -> Result<Whole, Rejection> {
    let bytes = std::fs::read(path).unwrap();
    let whole = round_trip(&bytes, &[usize::MAX]);
    let mut chunkings: Vec<&[usize]> = vec![&[1000], &[131, 1, 1, 7, 3, 65_536]];
    if bytes.len() < 20_000 {
        chunkings.extend::<[&[usize]; 2]>([&[1], &[13]]);
    }
    for chunks in chunkings {
        let other = round_trip(&bytes, chunks);
        match (&whole, &other) {
            (Ok(whole), Ok(other)) => {
                assert_eq!(whole.instance.header, other.instance.header, "{}", path.display());
                assert_eq!(whole.instance.layout, other.instance.layout);
                assert_eq!(whole.instance.warnings, other.instance.warnings);
                assert!(whole.units == other.units);
            }
            (Err(whole), Err(other)) => assert_eq!(whole.kind, other.kind, "{}", path.display()),
            _ => panic!("{}: {:?} but {:?}", path.display(), whole.err(), other.err()),
        }
    }
    whole
}

/// Broken files of which it is known what they must be answered with; all others must be accepted or refused for want of
/// an identity.
const REFUSED: &[(&str, &str)] = &[
    ("bad/dcm4che/3gb-bulk-data-truncated", "BadUid"),
    ("bad/generated/deflate_bomb_60MB.dcm", "InflateBomb"),
    ("bad/generated/deflate_corrupt.dcm", "BadDeflate"),
    ("bad/generated/element_length_4gb.dcm", "Truncated"),
    ("bad/generated/empty.dcm", "NotDicom"),
    ("bad/generated/encaps_fragment_length_huge.dcm", "Truncated"),
    ("bad/generated/gzip_wrapped.dcm.gz", "NotDicom"),
    ("bad/generated/html_error_page.dcm", "NotDicom"),
    ("bad/generated/item_longer_than_sequence.dcm", "LengthBeyondEnd"),
    ("bad/generated/nested_500_undefined.dcm", "TooDeep"),
    ("bad/generated/one_byte_short.dcm", "Truncated"),
    ("bad/generated/pixel_length_2gb.dcm", "Truncated"),
    ("bad/generated/preamble_only.dcm", "NotDicom"),
    ("bad/generated/text_file.dcm", "NotDicom"),
    ("bad/generated/truncated_in_header.dcm", "Truncated"),
    ("bad/generated/truncated_in_meta.dcm", "Truncated"),
    ("bad/generated/truncated_in_pixels.dcm", "Truncated"),
    ("bad/generated/uid_path_traversal.dcm", "BadUid"),
    ("bad/generated/uid_too_long.dcm", "BadUid"),
    // Read as an unknown VR with a 32-bit length, as PS3.5 section 7.1.2 says, which then goes beyond the end.
    ("bad/generated/vr_lowercase.dcm", "Truncated"),
    ("bad/generated/vr_unknown_ZZ.dcm", "Truncated"),
    ("bad/pydicom/MR_truncated.dcm", "Truncated"),
    ("bad/pydicom/bad_sequence.dcm", "BadUid"),
    ("bad/pydicom/no_meta.dcm", "NotDicom"),
    ("bad/pydicom/rtplan_truncated.dcm", "Truncated"),
    // A directory whose records do not fit their items.
    ("dicomdir/pydicom-cd/DICOMDIR-nooffset", "UnsupportedSopClass"),
];

#[test]
fn every_corpus_file_splits_and_merges() {
    let Some(corpus) = corpus() else { return };
    let mut paths = Vec::new();
    files(&corpus, &mut paths);
    let mut num_accepted = 0;
    let mut refused = BTreeMap::<String, usize>::new();
    let mut warned = BTreeMap::<&str, usize>::new();
    for path in &paths {
        let name = path.strip_prefix(&corpus).unwrap().display().to_string();
        let expected = REFUSED.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        match check_file(path) {
            Ok(whole) => {
                assert_eq!(expected, None, "{name} was accepted");
                num_accepted += 1;
                for warning in &whole.instance.warnings {
                    *warned.entry(warning.name()).or_default() += 1;
                }
            }
            Err(rejection) => {
                let kind = format!("{:?}", rejection.kind);
                let kind = kind.split(' ').next().unwrap_or_default();
                match expected {
                    Some(expected) => assert_eq!(kind, expected, "{name}: {rejection}"),
                    None => assert!(
                        matches!(kind, "MissingIdentity" | "UnsupportedSopClass"),
                        "{name}: {rejection}"
                    ),
                }
                *refused.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
    println!(
        "{num_accepted} of {} files split and merged; warnings {warned:?}; refused {refused:?}",
        paths.len()
    );
}
