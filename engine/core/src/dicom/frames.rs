//! Which fragments make which frame: PS3.5 section A.4, from the most to the least reliable witness.

use super::layout::FrameTable;

/// What is known about encapsulated pixel data when it ends.
#[derive(Debug, Default)]
pub(super) struct FrameEvidence<'a> {
    /// Number of Frames (0028,0008).
    pub(super) num_frames: u32,
    /// Lengths of the fragments.
    pub(super) fragments: &'a [u32],
    /// The Basic Offset Table's offsets, if it can be read.
    pub(super) basic_offsets: Vec<u64>,
    /// Extended Offset Table (7FE0,0001)'s offsets.
    pub(super) extended_offsets: Vec<u64>,
    /// Fragments that end with an end-of-image marker, ascending.
    pub(super) image_ends: &'a [u32],
    /// The payload is one video stream.
    pub(super) video: bool,
}

/// Assigns fragments to frames.
pub(super) fn locate_frames(evidence: &FrameEvidence<'_>) -> FrameTable {
    let num_frames = evidence.num_frames as usize;
    let num_fragments = evidence.fragments.len();
    if evidence.video || num_fragments == 0 || num_fragments < num_frames {
        return FrameTable::None;
    }
    if num_fragments == num_frames {
        return FrameTable::FragmentEach;
    }
    [&evidence.basic_offsets, &evidence.extended_offsets]
        .into_iter()
        .filter(|offsets| offsets.len() == num_frames)
        .find_map(|offsets| runs_of_offsets(offsets, evidence.fragments))
        .or_else(|| (num_frames == 1).then(|| vec![0]))
        .or_else(|| runs_of_image_ends(num_frames, evidence))
        .map_or(FrameTable::None, FrameTable::Runs)
}

/// The first fragments of frames that start at these offsets, counted from the first fragment's item tag.
fn runs_of_offsets(offsets: &[u64], fragments: &[u32]) -> Option<Vec<u32>> {
    let mut runs = Vec::new();
    let mut wanted = offsets.iter().copied().peekable();
    let mut offset = 0_u64;
    for (index, length) in (0..).zip(fragments) {
        if wanted.next_if_eq(&offset).is_some() {
            runs.push(index);
        }
        offset += 8 + u64::from(*length);
    }
    (wanted.peek().is_none() && runs.first() == Some(&0)).then_some(runs)
}

/// The first fragments of frames that end with these fragments.
fn runs_of_image_ends(num_frames: usize, evidence: &FrameEvidence<'_>) -> Option<Vec<u32>> {
    let (last, others) = evidence.image_ends.split_last()?;
    let complete = evidence.image_ends.len() == num_frames && *last as usize + 1 == evidence.fragments.len();
    complete.then(|| std::iter::once(0).chain(others.iter().map(|end| end + 1)).collect())
}

/// The 32-bit or 64-bit offsets of a table; empty if its length does not fit.
pub(super) fn read_offsets(table: &[u8], bytes_each: usize, big_endian: bool) -> Vec<u64> {
    if !table.len().is_multiple_of(bytes_each) {
        return Vec::new();
    }
    let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    table
        .chunks_exact(bytes_each)
        .map(|chunk| {
            if big_endian {
                chunk.iter().fold(0, digit)
            } else {
                chunk.iter().rev().fold(0, digit)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        num_frames: u32,
        fragments: &[u32],
        basic: &[u64],
        extended: &[u64],
        image_ends: &[u32],
        expected: FrameTable,
    ) {
        let evidence = FrameEvidence {
            num_frames,
            fragments,
            basic_offsets: basic.to_vec(),
            extended_offsets: extended.to_vec(),
            image_ends,
            video: false,
        };
        assert_eq!(locate_frames(&evidence), expected, "{evidence:?}");
        assert_eq!(
            locate_frames(&FrameEvidence {
                video: true,
                ..evidence
            }),
            FrameTable::None
        );
    }

    #[test]
    fn frames_are_located() {
        use FrameTable::{FragmentEach, None, Runs};
        check(2, &[4, 6], &[], &[], &[], FragmentEach);
        check(2, &[4, 6], &[0, 99], &[], &[], FragmentEach);
        check(2, &[4, 6, 2], &[0, 12], &[], &[], Runs(vec![0, 1]));
        check(2, &[4, 6, 2], &[0, 26], &[0, 12], &[], Runs(vec![0, 2]));
        check(2, &[4, 6, 2], &[0, 27], &[0, 12], &[], Runs(vec![0, 1]));
        check(2, &[4, 6, 2], &[12, 0], &[], &[], None);
        check(2, &[4, 6, 2], &[12, 26], &[], &[], None);
        check(2, &[4, 6, 2], &[0], &[], &[1, 2], Runs(vec![0, 2]));
        check(2, &[4, 6, 2], &[], &[], &[0, 1], None);
        check(2, &[4, 6, 2], &[], &[], &[0, 1, 2], None);
        check(1, &[4, 6, 2], &[], &[], &[], Runs(vec![0]));
        check(1, &[], &[], &[], &[], None);
        check(3, &[4, 6], &[], &[], &[], None);
        check(u32::MAX, &[4, 6], &[], &[], &[], None);
    }

    #[test]
    fn offsets_are_read_in_both_orders() {
        assert_eq!(read_offsets(&[1, 0, 0, 0, 0, 1, 0, 0], 4, false), [1, 256]);
        assert_eq!(read_offsets(&[0, 0, 0, 1], 4, true), [1]);
        assert_eq!(read_offsets(&[0, 1, 0, 0, 0, 0, 0, 0], 8, false), [256]);
        assert_eq!(read_offsets(&[0; 5], 4, false), [0; 0]);
    }
}
