//! Which filter suits a frame: entropy of the planes of a few of its lines.

use super::layout::Layout;
use super::lines::Lines;
use super::planes::Filter;
use super::predict::{Lane, Predictor, begin, residuals};

/// Lines looked at, at most.
const NUM_LINES: usize = 12;

/// Predictors to try, and which share of the cost before a later one must at most have to be preferred.
pub(super) struct Candidates {
    predictors: &'static [Predictor],
    share: f32,
}

/// For LZ4: the cheapest to decode.
pub(super) const FOR_LZ4: Candidates = Candidates {
    predictors: &[Predictor::Left],
    share: 1.0,
};

/// For zstd.
#[cfg(feature = "native")]
pub(super) const FOR_ZSTD: Candidates = Candidates {
    predictors: &[Predictor::Med, Predictor::Left],
    share: 1.0,
};

/// For bit packing: what is rebuilt several times faster may be a little longer. In noise, which most of a CT is, the
/// sample above is nearly as good as the median.
pub(super) const FOR_PACKING: Candidates = Candidates {
    predictors: &[Predictor::Above, Predictor::Med],
    share: 0.97,
};

/// The filter to use out of `candidates`, with or without colour differences, or `None` where the bytes as they are
/// promise less than any prediction (masks, palettes, noise).
pub(super) fn choose(layout: &Layout, frame: &[u8], candidates: &Candidates) -> Option<Filter> {
    match layout.bytes_per_sample {
        1 => choose_lane::<u8>(layout, frame, candidates),
        2 => choose_lane::<i16>(layout, frame, candidates),
        _ => choose_lane::<i32>(layout, frame, candidates),
    }
}

fn choose_lane<T: Lane>(layout: &Layout, frame: &[u8], candidates: &Candidates) -> Option<Filter> {
    let mut best: Option<Filter> = None;
    let mut lowest = cost_unpredicted::<T>(layout, frame);
    for &predictor in candidates.predictors {
        for green_difference in [false, true] {
            if green_difference && layout.components != 3 {
                continue;
            }
            let filter = Filter {
                predictor,
                green_difference,
            };
            let cost = cost::<T>(layout, filter, frame);
            let is_same_predictor = best.is_none_or(|best| best.predictor == predictor);
            let share = if is_same_predictor { 1.0 } else { candidates.share };
            if cost < lowest * share {
                lowest = cost;
                best = Some(filter);
            }
        }
    }
    best
}

/// Lines spread evenly over the frame, each with the one above it.
fn lines(layout: &Layout) -> impl Iterator<Item = usize> + use<> {
    let candidates = layout.rows.saturating_sub(1);
    let count = candidates.min(NUM_LINES);
    let rows = layout.rows;
    (0..count).map(move |i| 1 + (2 * i + 1) * (rows - 1) / (2 * count))
}

/// Estimated bits of the sampled lines under `filter`.
fn cost<T: Lane>(layout: &Layout, filter: Filter, frame: &[u8]) -> f32 {
    let mut buffers = Lines::<T>::new(layout, filter);
    let mut bytes = vec![0; layout.columns * T::BYTES];
    let mut bits = 0.0;
    // The second component costs the same with and without differences.
    for component in 0..layout.components {
        let mut histograms = vec![Histogram::new(); T::BYTES];
        for row in lines(layout) {
            buffers.load(frame, component, row - 1);
            std::mem::swap(&mut buffers.previous, &mut buffers.current);
            buffers.load(frame, component, row);
            begin(&mut buffers.previous, &mut buffers.current);
            residuals(
                filter.predictor,
                &buffers.previous,
                &buffers.current,
                &mut buffers.residuals,
            );
            T::split(&buffers.residuals, &mut bytes, layout.columns, 0);
            for (histogram, plane) in histograms.iter_mut().zip(bytes.chunks_exact(layout.columns)) {
                histogram.count(plane);
            }
        }
        bits += histograms.iter().map(Histogram::bits).sum::<f32>();
    }
    bits
}

/// Estimated bits of the sampled lines as they are.
fn cost_unpredicted<T: Lane>(layout: &Layout, frame: &[u8]) -> f32 {
    let line_length = layout.columns * layout.components * T::BYTES;
    let mut histograms = vec![Histogram::new(); T::BYTES];
    let mut bytes = vec![0; layout.columns];
    for row in lines(layout) {
        // By position, also for planar frames: only the statistics of bytes matter.
        let line = &frame[row * line_length..][..line_length];
        for (place, histogram) in histograms.iter_mut().enumerate() {
            for part in line.chunks(layout.columns * T::BYTES) {
                bytes
                    .iter_mut()
                    .zip(part.chunks_exact(T::BYTES))
                    .for_each(|(byte, sample)| *byte = sample[place]);
                histogram.count(&bytes);
            }
        }
    }
    histograms.iter().map(Histogram::bits).sum()
}

/// Counts of byte values.
#[derive(Clone)]
struct Histogram([u32; 256]);

impl Histogram {
    fn new() -> Self {
        Self([0; 256])
    }

    fn count(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0[usize::from(byte)] += 1;
        }
    }

    /// Order-0 entropy of what was counted, in bits.
    fn bits(&self) -> f32 {
        let total: u32 = self.0.iter().sum();
        let sum: f32 = self
            .0
            .iter()
            .filter(|&&n| n > 1)
            .map(|&n| n as f32 * (n as f32).log2())
            .sum();
        if total == 0 {
            0.0
        } else {
            total as f32 * (total as f32).log2() - sum
        }
    }
}

#[cfg(all(test, feature = "native"))]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_their_images() {
        let layout = Layout {
            rows: 64,
            columns: 64,
            components: 1,
            bytes_per_sample: 1,
            planar: false,
            big_endian: false,
            signed: false,
        };
        let check = |sample: fn(usize, usize) -> u8, expected: Option<Predictor>| {
            let frame: Vec<u8> = (0..64 * 64).map(|i| sample(i / 64, i % 64)).collect();
            assert_eq!(
                choose(&layout, &frame, &FOR_ZSTD).map(|filter| filter.predictor),
                expected
            );
        };
        check(
            |row, column| (row * row / 16 + column * column / 16) as u8,
            Some(Predictor::Med),
        );
        // Each line jumps, within a line it is smooth.
        check(|row, column| ((row * 7919) % 251 + column) as u8, Some(Predictor::Left));
        // Two values without order.
        check(
            |row, column| {
                if (row * 31 + column * 17) * 2654435761 % 5 > 2 {
                    200
                } else {
                    3
                }
            },
            None,
        );
    }
}
