//! Tests of the splitter and the merger together.

mod corpus;
mod generated;
mod hostile;
mod lenient;
mod long_values;

use bytes::Bytes;

use super::*;

/// A split object, all units kept.
pub(super) struct Whole {
    pub(super) instance: SplitInstance,
    pub(super) units: Vec<Bytes>,
    pub(super) value_units: Vec<Bytes>,
}

/// Splits `bytes`, pushed in pieces of the given lengths (the last one repeats).
pub(super) fn split(bytes: &[u8], chunks: &[usize], limits: SplitLimits) -> Result<Whole, Rejection> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut splitter = Splitter::new(limits);
    let (mut units, mut value_units, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    let mut identity = None;
    let mut take = |events: &mut Vec<SplitEvent>| {
        for event in events.drain(..) {
            match event {
                SplitEvent::Identified(who) => {
                    assert!(starts.is_empty() && identity.is_none(), "once, before the start");
                    identity = Some(*who);
                }
                SplitEvent::ValueUnit(unit) => {
                    assert!(
                        identity.is_some() || !starts.is_empty(),
                        "nothing goes out before it is known whose it is"
                    );
                    assert_eq!(unit.index as usize, value_units.len());
                    value_units.push(unit.bytes);
                }
                SplitEvent::Started(start) => {
                    assert!(identity.as_ref().is_none_or(|who| *who == start.identity));
                    assert!(units.is_empty(), "the start comes first");
                    starts.push(*start);
                }
                SplitEvent::Unit(unit) => {
                    assert_eq!(unit.index as usize, units.len());
                    units.push(unit.bytes);
                }
            }
        }
    };
    let mut events = Vec::new();
    let mut at = 0;
    let mut chunks = chunks.iter().copied();
    let mut chunk = usize::MAX;
    while at < bytes.len() {
        chunk = chunks.next().unwrap_or(chunk);
        let end = at.saturating_add(chunk.max(1)).min(bytes.len());
        splitter.push(bytes.slice(at..end), &mut events)?;
        take(&mut events);
        at = end;
    }
    let instance = splitter.finish(&mut events)?;
    take(&mut events);
    assert_eq!(starts, std::slice::from_ref(&instance.start), "one start");
    assert_eq!(instance.start.pixels.is_some(), instance.layout.is_some());
    Ok(Whole {
        instance,
        units,
        value_units,
    })
}

/// Puts an object together again: file prefix and dataset.
pub(super) fn merge(whole: &Whole) -> (Vec<u8>, Vec<u8>) {
    let header = HeaderBytes::decode(&whole.instance.header.encode().into()).unwrap();
    assert_eq!(header, whole.instance.header);
    let layout = whole.instance.layout.as_ref().map(|layout| {
        let read = postcard::from_bytes::<PixelLayout>(&postcard::to_allocvec(layout).unwrap()).unwrap();
        assert_eq!(&read, layout);
        read
    });
    let mut merger = Merger::new(&header, layout.as_ref()).unwrap();
    let mut dataset = Vec::new();
    while let Some(piece) = merger.next_piece() {
        match piece {
            Piece::Bytes(bytes) => {
                assert!(!bytes.is_empty());
                dataset.extend_from_slice(&bytes);
            }
            Piece::Unit(index) => dataset.extend_from_slice(&whole.units[index as usize]),
            Piece::ValueUnit(index) => dataset.extend_from_slice(&whole.value_units[index as usize]),
        }
    }
    assert_eq!(merger.dataset_length(), dataset.len() as u64);
    (merger.file_prefix().to_vec(), dataset)
}

/// Splits and merges, and checks all that must hold of an accepted object.
pub(super) fn round_trip(bytes: &[u8], chunks: &[usize]) -> Result<Whole, Rejection> {
    let whole = split(bytes, chunks, SplitLimits::default())?;
    let (prefix, dataset) = merge(&whole);
    let instance = &whole.instance;
    assert_eq!(blake3::hash(&dataset).as_bytes(), &instance.dataset_digest);
    assert_eq!(dataset.len() as u64, instance.dataset_length);
    assert_eq!(bytes.len() as u64, instance.file_length);
    if instance.start.transfer_syntax.is_deflated() {
        assert!(bytes.starts_with(&prefix));
    } else {
        assert!([prefix, dataset].concat() == bytes, "merge is not exact");
    }
    let lengths: Vec<usize> = instance
        .header
        .long_values()
        .flat_map(|value| (0..value.num_units()).map(|index| value.unit_length(index) as usize))
        .collect();
    assert_eq!(whole.value_units.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
    let payload = whole.units.concat();
    let Some(layout) = &instance.layout else {
        assert!(whole.units.is_empty());
        return Ok(whole);
    };
    assert_eq!(layout.num_units() as usize, whole.units.len());
    assert_eq!(layout.payload_length(), payload.len() as u64);
    for (index, unit) in (0..).zip(&whole.units) {
        assert_eq!(layout.unit_length(index), unit.len() as u64);
        let range = layout.unit_range(index).unwrap();
        assert_eq!(layout.units_of(range), index..index + 1);
    }
    for frame in (0..layout.num_frames()).take(100) {
        let range = layout.frame_range(frame).unwrap();
        assert!(range.bytes.end <= layout.payload_length());
    }
    Ok(whole)
}
