//! Packed frames: centred residuals of a frame, folded to small numbers and bit-packed block by block.
//!
//! Payload: the filter byte (module `planes`; never "no prediction"), then the components in the order in which they can
//! be decoded: green first where the others refer to it. Each is the residuals of its samples in scan order, the centre
//! taken away and *folded* (0, -1, 1, -2, … become 0, 1, 2, 3, …), in blocks (module `bitpack`); the last block of a
//! component is filled up with zeros. Samples of 8 or 16 bits; nothing follows the last block.
//!
//! A third of the acknowledge tier's work and less, for payloads that are a tenth longer.

use super::bitpack::{self, BLOCK, BLOCK_BYTES_MAX};
use super::layout::Layout;
use super::lines::{Lines, Sink, Source};
use super::planes::Filter;
use super::predict::Lane;

/// A lane whose residuals can be packed.
pub(super) trait Fold: Lane {
    /// Folds centred residuals.
    fn fold(residuals: &[Self], folded: &mut [u16]);
    /// Inverse of [`Fold::fold`].
    fn unfold(folded: &[u16], residuals: &mut [Self]);
}

impl Fold for u8 {
    fn fold(residuals: &[Self], folded: &mut [u16]) {
        for (folded, &residual) in folded.iter_mut().zip(residuals) {
            let sign = ((residual as i8) >> 7) as u8;
            *folded = u16::from(residual.wrapping_add(residual) ^ sign);
        }
    }

    fn unfold(folded: &[u16], residuals: &mut [Self]) {
        for (residual, &folded) in residuals.iter_mut().zip(folded) {
            *residual = ((folded >> 1) ^ (folded & 1).wrapping_neg()) as u8;
        }
    }
}

impl Fold for i16 {
    fn fold(residuals: &[Self], folded: &mut [u16]) {
        for (folded, &residual) in folded.iter_mut().zip(residuals) {
            let residual = residual.sub(Self::CENTRE);
            *folded = (residual.wrapping_add(residual) ^ (residual >> 15)) as u16;
        }
    }

    fn unfold(folded: &[u16], residuals: &mut [Self]) {
        for (residual, &folded) in residuals.iter_mut().zip(folded) {
            *residual = (((folded >> 1) ^ (folded & 1).wrapping_neg()) as i16).add(Self::CENTRE);
        }
    }
}

/// The payload of `frame`; `None` where its samples cannot be packed, or the payload fails the proof.
pub(super) fn encode(layout: &Layout, filter: Filter, frame: &[u8]) -> Option<Vec<u8>> {
    match layout.bytes_per_sample {
        1 => encode_lane::<u8>(layout, filter, frame),
        2 => encode_lane::<i16>(layout, filter, frame),
        _ => None,
    }
}

/// Decodes a payload into `frame`, which has the layout's length; `None` where it is damaged.
pub(super) fn decode(layout: &Layout, filter: Filter, payload: &[u8], frame: &mut [u8]) -> Option<()> {
    match layout.bytes_per_sample {
        1 => decode_lane::<u8>(layout, filter, payload, frame),
        2 => decode_lane::<i16>(layout, filter, payload, frame),
        _ => None,
    }
}

fn encode_lane<T: Fold>(layout: &Layout, filter: Filter, frame: &[u8]) -> Option<Vec<u8>> {
    let num_blocks = layout.components * layout.component_samples().div_ceil(BLOCK);
    let mut packer = Packer {
        out: Vec::with_capacity(1 + num_blocks * BLOCK_BYTES_MAX),
        waiting: vec![0; layout.columns + BLOCK],
        num_waiting: 0,
    };
    packer.out.push(filter.id());
    Lines::<T>::new(layout, filter).predict(frame, &mut packer);
    let mut unpacker = Unpacker::new(layout, packer.out.get(1..)?);
    let proved = Lines::<T>::new(layout, filter).would_rebuild(&mut unpacker, frame) && unpacker.payload.is_empty();
    proved.then_some(packer.out)
}

fn decode_lane<T: Fold>(layout: &Layout, filter: Filter, payload: &[u8], frame: &mut [u8]) -> Option<()> {
    let mut unpacker = Unpacker::new(layout, payload.get(1..)?);
    Lines::<T>::new(layout, filter).rebuild(&mut unpacker, frame)?;
    unpacker.payload.is_empty().then_some(())
}

struct Packer {
    out: Vec<u8>,
    /// Folded residuals that do not fill a block yet; room for a line behind them.
    waiting: Vec<u16>,
    num_waiting: usize,
}

impl<T: Fold> Sink<T> for Packer {
    fn begin(&mut self, _: usize) {
        self.num_waiting = 0;
    }

    fn line(&mut self, residuals: &[T]) {
        let end = self.num_waiting + residuals.len();
        T::fold(residuals, &mut self.waiting[self.num_waiting..end]);
        let (blocks, rest) = self.waiting[..end].as_chunks();
        for block in blocks {
            bitpack::put(block, &mut self.out);
        }
        self.num_waiting = rest.len();
        self.waiting.copy_within(end - self.num_waiting..end, 0);
    }

    fn end(&mut self) {
        if self.num_waiting > 0 {
            self.waiting[self.num_waiting..BLOCK].fill(0);
            if let Some(block) = self.waiting.first_chunk() {
                bitpack::put(block, &mut self.out);
            }
        }
    }
}

struct Unpacker<'a> {
    payload: &'a [u8],
    /// Unpacked and not yet asked for, from `start` to `end`.
    ready: Vec<u16>,
    start: usize,
    end: usize,
}

impl<'a> Unpacker<'a> {
    fn new(layout: &Layout, payload: &'a [u8]) -> Self {
        Self {
            payload,
            ready: vec![0; layout.columns + 2 * BLOCK],
            start: 0,
            end: 0,
        }
    }
}

impl<T: Fold> Source<T> for Unpacker<'_> {
    fn begin(&mut self, _: usize) {
        (self.start, self.end) = (0, 0);
    }

    fn line(&mut self, residuals: &mut [T]) -> Option<()> {
        self.ready.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        while self.end < residuals.len() {
            let block = self.ready.get_mut(self.end..)?.first_chunk_mut()?;
            bitpack::take(&mut self.payload, block)?;
            self.end += BLOCK;
        }
        T::unfold(&self.ready[..residuals.len()], residuals);
        self.start = residuals.len();
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        // What fills up the last block is zeros, so that a frame has one form.
        self.ready[self.start..self.end]
            .iter()
            .all(|&fill| fill == 0)
            .then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::predict::Predictor;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn residuals_fold_to_small_numbers() {
        fn check<T: Fold + std::fmt::Debug>(residuals: &[T], expected: &[u16]) {
            let mut folded = vec![0; residuals.len()];
            T::fold(residuals, &mut folded);
            assert_eq!(folded, expected);
            let mut back = vec![T::default(); residuals.len()];
            T::unfold(&folded, &mut back);
            assert_eq!(back, residuals);
        }
        check::<u8>(&[0, 255, 1, 254, 127, 128], &[0, 1, 2, 3, 254, 255]);
        check::<i16>(&[0x80, 0x7F, 0x81, i16::MAX, i16::MIN], &[0, 1, 2, 0xFEFE, 0xFF00]);
    }

    prop_compose! {
        fn framed()(
            (rows, columns, components, bytes_per_sample) in (1_usize..6, 1_usize..300, 1_usize..4, 1_usize..3),
            [planar, big_endian, signed] in any::<[bool; 3]>(),
            keep in any::<u8>(),
        )(
            frame in prop::collection::vec(any::<u8>(), rows * columns * components * bytes_per_sample),
            layout in Just(Layout {
                rows, columns, components, bytes_per_sample,
                planar: planar && components > 1, big_endian, signed,
            }),
            keep in Just(keep),
        ) -> (Layout, Vec<u8>) {
            (layout, frame.into_iter().map(|byte| byte & keep).collect())
        }
    }

    proptest! {
        #[test]
        fn any_frame_comes_back((layout, frame) in framed()) {
            for predictor in [Predictor::Left, Predictor::Med, Predictor::Above] {
                for green_difference in [false, true] {
                    if green_difference && layout.components != 3 {
                        continue;
                    }
                    let filter = Filter { predictor, green_difference };
                    let payload = encode(&layout, filter, &frame).expect("it is proved");
                    let mut back = vec![0; frame.len()];
                    prop_assert_eq!(decode(&layout, filter, &payload, &mut back), Some(()));
                    prop_assert_eq!(&back, &frame);
                    let longer = [&payload[..], &[0]].concat();
                    prop_assert_eq!(decode(&layout, filter, &longer, &mut back), None);
                    prop_assert_eq!(decode(&layout, filter, &payload[..payload.len() - 1], &mut back), None);
                }
            }
        }
    }
}
