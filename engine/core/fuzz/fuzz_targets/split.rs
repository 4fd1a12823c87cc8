//! Splitter and merger: whatever is accepted comes out byte for byte, and how the stream was cut makes no difference
//! (invariants 4 and 6).
//!
//! Input: one byte for the size of the pieces, then the stream.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use septum_core::dicom::{Merger, Piece, Rejection, SplitEvent, SplitInstance, SplitLimits, Splitter};

fn limits() -> SplitLimits {
    SplitLimits {
        instance_bytes_max: 4 << 20,
        header_bytes_max: 1 << 20,
        elements_max: 20_000,
        fragments_max: 10_000,
        ..SplitLimits::default()
    }
}

fn split(stream: &Bytes, piece_bytes: usize) -> Result<(SplitInstance, Vec<Bytes>), Rejection> {
    let mut splitter = Splitter::new(limits());
    let mut events = Vec::new();
    let mut rest = stream.clone();
    while !rest.is_empty() {
        splitter.push(rest.split_to(piece_bytes.min(rest.len())), &mut events)?;
    }
    let split = splitter.finish(&mut events)?;
    let mut started = 0;
    let mut units = Vec::new();
    for event in events {
        match event {
            // Inputs are far shorter than one.
            SplitEvent::Identified(_) | SplitEvent::ValueUnit(_) => unreachable!("a long value"),
            SplitEvent::Started(_) => {
                started += 1;
                assert!(units.is_empty(), "the start comes before all units");
            }
            SplitEvent::Unit(unit) => {
                assert_eq!(unit.index as usize, units.len());
                units.push(unit.bytes);
            }
        }
    }
    assert!(started <= 1);
    Ok((split, units))
}

fn merge(split: &SplitInstance, units: &[Bytes]) -> Vec<u8> {
    let mut merger = Merger::new(&split.header, split.layout.as_ref()).expect("halves of one instance");
    let mut out = merger.file_prefix().to_vec();
    let start = out.len();
    let length = merger.dataset_length();
    while let Some(piece) = merger.next_piece() {
        match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(&bytes),
            Piece::Unit(index) => out.extend_from_slice(&units[index as usize]),
            Piece::ValueUnit(_) => unreachable!("a long value"),
        }
    }
    assert_eq!((out.len() - start) as u64, length);
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&pieces, stream)) = data.split_first() else {
        return;
    };
    let stream = Bytes::copy_from_slice(stream);
    let piece_bytes = match pieces {
        0..=127 => usize::from(pieces) + 1,
        _ => usize::from(pieces) * 37,
    };
    let whole = split(&stream, usize::MAX);
    let cut = split(&stream, piece_bytes);
    match (&whole, &cut) {
        (Ok((whole, whole_units)), Ok((cut, cut_units))) => {
            assert_eq!(whole.header, cut.header);
            assert_eq!(whole.start, cut.start);
            assert_eq!(whole.dataset_digest, cut.dataset_digest);
            assert_eq!(whole.warnings, cut.warnings);
            assert_eq!(whole_units.concat(), cut_units.concat());
            let merged = merge(whole, whole_units);
            assert_eq!(merged, merge(cut, cut_units));
            if !whole.start.transfer_syntax.is_deflated() {
                assert_eq!(merged, stream, "what goes in comes out");
            }
            if let Some(layout) = &whole.layout {
                assert_eq!(
                    layout.payload_length(),
                    whole_units.iter().map(|unit| unit.len() as u64).sum::<u64>()
                );
                for frame in 0..layout.num_frames().min(1000) {
                    let range = layout.frame_range(frame);
                    assert!(range.is_none_or(|range| range.bytes.end <= layout.payload_length()));
                }
            }
        }
        // Where a stream is refused may differ by piece; that it is refused may not.
        (Err(_), Err(_)) => {}
        _ => panic!("cutting a stream decides whether it is accepted"),
    }
});
