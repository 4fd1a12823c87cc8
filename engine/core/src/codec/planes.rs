//! Byte planes: a frame as predicted residuals, ordered so that a byte-wise entropy coder does well.
//!
//! Layout, for a frame of `c` components of `n` samples of `b` bytes: `c * b` planes of `n` bytes each, component by
//! component, in each the least significant byte first, in each the samples in scan order. The same length as the
//! frame's. Planes depend on sample *values* only: interleaved, planar and big endian forms of one image have the
//! same planes.
//!
//! Filter byte, the first of every predicted payload: `0x00` no prediction (what follows is the frame as it is, not
//! planes), `0x01` left, `0x02` MED; plus `0x10` where the first and third of three components are differences from
//! the second (green), which is what makes grey-looking colour cheap.

use super::error::CodecError;
use super::layout::Layout;
use super::predict::{Lane, Pair, Predictor, begin, residuals, restore, restore_med_pair, restores};

const LEFT: u8 = 0x01;
const MED: u8 = 0x02;
const GREEN_DIFFERENCE: u8 = 0x10;

/// A filter that turns a frame into planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) predictor: Predictor,
    /// Components 0 and 2 of three are stored as differences from component 1.
    pub(super) green_difference: bool,
}

/// Filter byte of a payload without prediction.
pub(super) const FILTER_NONE: u8 = 0x00;

impl Filter {
    /// The filter byte.
    pub(super) fn id(self) -> u8 {
        let predictor = match self.predictor {
            Predictor::Left => LEFT,
            Predictor::Med => MED,
        };
        predictor | if self.green_difference { GREEN_DIFFERENCE } else { 0 }
    }

    /// Reads a filter byte; `Ok(None)` is no prediction. Refuses unknown bytes, and colour differences where there
    /// are not three components.
    pub(super) fn from_id(id: u8, layout: Option<&Layout>) -> Result<Option<Self>, CodecError> {
        let predictor = match id & !GREEN_DIFFERENCE {
            FILTER_NONE if id == FILTER_NONE => return Ok(None),
            LEFT => Predictor::Left,
            MED => Predictor::Med,
            _ => return Err(CodecError::UnknownFilter(id)),
        };
        let green_difference = id & GREEN_DIFFERENCE != 0;
        if green_difference && layout.is_some_and(|layout| layout.components != 3) {
            return Err(CodecError::UnknownFilter(id));
        }
        Ok(Some(Self {
            predictor,
            green_difference,
        }))
    }
}

/// Turns `frame` into planes. `frame` has the layout's length, `planes` becomes as long.
pub(super) fn to_planes(layout: &Layout, filter: Filter, frame: &[u8], planes: &mut [u8]) {
    match layout.bytes_per_sample {
        1 => Lines::<u8>::new(layout, filter).predict(frame, planes),
        2 => Lines::<i16>::new(layout, filter).predict(frame, planes),
        _ => Lines::<i32>::new(layout, filter).predict(frame, planes),
    }
}

/// Inverse of [`to_planes`].
pub(super) fn from_planes(layout: &Layout, filter: Filter, planes: &[u8], frame: &mut [u8]) {
    match layout.bytes_per_sample {
        1 => Lines::<u8>::new(layout, filter).rebuild(planes, frame),
        2 => Lines::<i16>::new(layout, filter).rebuild(planes, frame),
        _ => Lines::<i32>::new(layout, filter).rebuild(planes, frame),
    }
}

/// Whether [`from_planes`] would rebuild exactly `frame`, at several times its speed: see
/// [`restores`] for why this is as strong as decoding and comparing.
pub(super) fn planes_restore(layout: &Layout, filter: Filter, planes: &[u8], frame: &[u8]) -> bool {
    planes.len() == frame.len()
        && match layout.bytes_per_sample {
            1 => Lines::<u8>::new(layout, filter).would_rebuild(planes, frame),
            2 => Lines::<i16>::new(layout, filter).would_rebuild(planes, frame),
            _ => Lines::<i32>::new(layout, filter).would_rebuild(planes, frame),
        }
}

/// Line buffers of one pass over a frame.
pub(super) struct Lines<'a, T> {
    layout: &'a Layout,
    filter: Filter,
    /// Border and samples of the line above.
    pub(super) previous: Vec<T>,
    /// Border and samples of the line at hand.
    pub(super) current: Vec<T>,
    green: Vec<T>,
    /// Centred residuals of the line at hand.
    pub(super) residuals: Vec<T>,
}

impl<'a, T: Lane> Lines<'a, T> {
    pub(super) fn new(layout: &'a Layout, filter: Filter) -> Self {
        let columns = layout.columns;
        Self {
            layout,
            filter,
            previous: vec![T::default(); columns + 1],
            current: vec![T::default(); columns + 1],
            green: vec![T::default(); if filter.green_difference { columns } else { 0 }],
            residuals: vec![T::default(); columns],
        }
    }

    /// Components in the order in which they can be decoded: green first where the others refer to it.
    fn components(&self) -> impl Iterator<Item = usize> + use<T> {
        let (green_difference, components) = (self.filter.green_difference, self.layout.components);
        (0..components).map(move |index| match (green_difference, index) {
            (true, 0) => 1,
            (true, 1) => 0,
            _ => index,
        })
    }

    fn is_difference(&self, component: usize) -> bool {
        self.filter.green_difference && component != 1
    }

    /// Fills `current` behind its border with the values to predict of a line.
    pub(super) fn load(&mut self, frame: &[u8], component: usize, row: usize) {
        let samples = &mut self.current[1..];
        load(self.layout, frame, component, row, samples);
        if self.is_difference(component) {
            load(self.layout, frame, 1, row, &mut self.green);
            for (sample, &green) in self.current[1..].iter_mut().zip(&self.green) {
                *sample = order_difference(sample.sub(green));
            }
        }
    }

    fn store(&mut self, frame: &mut [u8], component: usize, row: usize) {
        if self.is_difference(component) {
            load(self.layout, frame, 1, row, &mut self.green);
            // The residual buffer is free by now.
            for ((out, &sample), &green) in self.residuals.iter_mut().zip(&self.current[1..]).zip(&self.green) {
                *out = order_difference(sample).add(green);
            }
            store(self.layout, frame, component, row, &self.residuals);
        } else {
            store(self.layout, frame, component, row, &self.current[1..]);
        }
    }

    fn begin_component(&mut self) {
        self.previous.fill(T::default());
        self.current.fill(T::default());
    }

    fn predict(mut self, frame: &[u8], planes: &mut [u8]) {
        let samples = self.layout.component_samples();
        for component in self.components() {
            let region = &mut planes[component * samples * T::BYTES..][..samples * T::BYTES];
            self.begin_component();
            for row in 0..self.layout.rows {
                self.load(frame, component, row);
                begin(&mut self.previous, &mut self.current);
                residuals(
                    self.filter.predictor,
                    &self.previous,
                    &self.current,
                    &mut self.residuals,
                );
                T::split(&self.residuals, region, samples, row * self.layout.columns);
                std::mem::swap(&mut self.previous, &mut self.current);
            }
        }
    }

    fn rebuild(mut self, planes: &[u8], frame: &mut [u8]) {
        let (samples, columns, rows) = (self.layout.component_samples(), self.layout.columns, self.layout.rows);
        let num_paired = if self.filter.predictor == Predictor::Med {
            rows / 2 * 2
        } else {
            0
        };
        let mut lower = vec![T::default(); columns + 1];
        let mut lower_residuals = vec![T::default(); columns];
        for component in self.components() {
            let region = &planes[component * samples * T::BYTES..][..samples * T::BYTES];
            self.begin_component();
            for row in (0..num_paired).step_by(2) {
                T::join(&mut self.residuals, region, samples, row * columns);
                T::join(&mut lower_residuals, region, samples, (row + 1) * columns);
                let pair = Pair {
                    upper: &mut self.current,
                    lower: &mut lower,
                    upper_residuals: &self.residuals,
                    lower_residuals: &lower_residuals,
                };
                restore_med_pair(&mut self.previous, pair);
                self.store(frame, component, row);
                std::mem::swap(&mut self.current, &mut lower);
                self.store(frame, component, row + 1);
                std::mem::swap(&mut self.previous, &mut self.current);
            }
            for row in num_paired..rows {
                T::join(&mut self.residuals, region, samples, row * columns);
                begin(&mut self.previous, &mut self.current);
                restore(
                    self.filter.predictor,
                    &self.previous,
                    &mut self.current,
                    &self.residuals,
                );
                self.store(frame, component, row);
                std::mem::swap(&mut self.previous, &mut self.current);
            }
        }
    }

    fn would_rebuild(mut self, planes: &[u8], frame: &[u8]) -> bool {
        let samples = self.layout.component_samples();
        for component in self.components() {
            let region = &planes[component * samples * T::BYTES..][..samples * T::BYTES];
            self.begin_component();
            for row in 0..self.layout.rows {
                T::join(&mut self.residuals, region, samples, row * self.layout.columns);
                self.load(frame, component, row);
                begin(&mut self.previous, &mut self.current);
                if !restores(self.filter.predictor, &self.previous, &self.current, &self.residuals) {
                    return false;
                }
                std::mem::swap(&mut self.previous, &mut self.current);
            }
        }
        true
    }
}

/// Differences wrap around zero: gives them the order in which zero lies in the middle. Its own inverse.
#[inline(always)]
fn order_difference<T: Lane>(difference: T) -> T {
    if T::SIGNED_ORDER {
        difference
    } else {
        difference.xor(T::TOP_BIT)
    }
}

/// What to flip in a stored sample so that the lane's order is the numeric one.
fn order_bias<T: Lane>(layout: &Layout) -> T {
    if layout.signed == T::SIGNED_ORDER {
        T::default()
    } else {
        T::TOP_BIT
    }
}

fn load<T: Lane>(layout: &Layout, frame: &[u8], component: usize, row: usize, line: &mut [T]) {
    let bytes = &frame[layout.line(component, row)];
    let bias = order_bias::<T>(layout);
    // A constant step lets the compiler vectorise, or at least drop the bounds checks.
    match (layout.stride(), layout.big_endian) {
        (1, false) => load_step(bytes, T::BYTES, line, |b| T::from_le(b).xor(bias)),
        (1, true) => load_step(bytes, T::BYTES, line, |b| T::from_be(b).xor(bias)),
        (3, false) => load_step(bytes, 3 * T::BYTES, line, |b| T::from_le(b).xor(bias)),
        (stride, false) => load_step(bytes, stride * T::BYTES, line, |b| T::from_le(b).xor(bias)),
        (stride, true) => load_step(bytes, stride * T::BYTES, line, |b| T::from_be(b).xor(bias)),
    }
}

#[inline(always)]
fn load_step<T: Lane>(bytes: &[u8], step: usize, line: &mut [T], read: impl Fn(&[u8]) -> T) {
    // All but the last chunk are whole.
    let mut chunks = bytes.chunks_exact(step);
    for (sample, chunk) in line.iter_mut().zip(&mut chunks) {
        *sample = read(chunk);
    }
    if let (Some(last), false) = (line.last_mut(), chunks.remainder().is_empty()) {
        *last = read(chunks.remainder());
    }
}

fn store<T: Lane>(layout: &Layout, frame: &mut [u8], component: usize, row: usize, line: &[T]) {
    let bytes = &mut frame[layout.line(component, row)];
    let bias = order_bias::<T>(layout);
    match (layout.stride(), layout.big_endian) {
        (1, false) => store_step(bytes, T::BYTES, line, |s, b| s.xor(bias).put_le(b)),
        (1, true) => store_step(bytes, T::BYTES, line, |s, b| s.xor(bias).put_be(b)),
        (3, false) => store_step(bytes, 3 * T::BYTES, line, |s, b| s.xor(bias).put_le(b)),
        (stride, false) => store_step(bytes, stride * T::BYTES, line, |s, b| s.xor(bias).put_le(b)),
        (stride, true) => store_step(bytes, stride * T::BYTES, line, |s, b| s.xor(bias).put_be(b)),
    }
}

#[inline(always)]
fn store_step<T: Lane>(bytes: &mut [u8], step: usize, line: &[T], write: impl Fn(T, &mut [u8])) {
    let mut chunks = bytes.chunks_exact_mut(step);
    for (&sample, chunk) in line.iter().zip(&mut chunks) {
        write(sample, chunk);
    }
    let remainder = chunks.into_remainder();
    if let (Some(&last), false) = (line.last(), remainder.is_empty()) {
        write(last, remainder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters(layout: &Layout) -> Vec<Filter> {
        let mut filters = Vec::new();
        for predictor in [Predictor::Left, Predictor::Med] {
            for green_difference in [false, true] {
                if layout.components == 3 || !green_difference {
                    filters.push(Filter {
                        predictor,
                        green_difference,
                    });
                }
            }
        }
        filters
    }

    proptest! {
        #[test]
        fn planes_come_back(
            (layout, frame) in (1_usize..9, 1_usize..20, 1_usize..5, prop::sample::select(vec![1_usize, 2, 4]), any::<[bool; 3]>())
                .prop_flat_map(|(rows, columns, components, bytes_per_sample, [planar, big_endian, signed])| {
                    let planar = planar && components > 1;
                    let layout = Layout { rows, columns, components, bytes_per_sample, planar, big_endian, signed };
                    (Just(layout), prop::collection::vec(any::<u8>(), rows * columns * components * bytes_per_sample))
                }),
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            for filter in filters(&layout) {
                let mut planes = vec![0; frame.len()];
                to_planes(&layout, filter, &frame, &mut planes);
                let mut back = vec![0; frame.len()];
                from_planes(&layout, filter, &planes, &mut back);
                prop_assert_eq!(&back, &frame);
                prop_assert!(planes_restore(&layout, filter, &planes, &frame));
                // The quick check agrees with a real decode also when the planes are wrong.
                planes[flip.0.index(frame.len())] ^= flip.1;
                from_planes(&layout, filter, &planes, &mut back);
                prop_assert_eq!(planes_restore(&layout, filter, &planes, &frame), back == frame);
                prop_assert_eq!(Filter::from_id(filter.id(), Some(&layout)), Ok(Some(filter)));
            }
        }
    }

    #[test]
    fn planes_follow_values_not_storage() {
        let little = Layout {
            rows: 2,
            columns: 2,
            components: 3,
            bytes_per_sample: 2,
            planar: false,
            big_endian: false,
            signed: true,
        };
        let values: Vec<u16> = (0..12).map(|i| i * 1000 + 7).collect();
        let interleaved: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let swapped: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        let by_plane: Vec<u8> = (0..12)
            .map(|i| values[i % 4 * 3 + i / 4])
            .flat_map(|v| v.to_le_bytes())
            .collect();
        for filter in filters(&little) {
            let planes_of = |layout: Layout, frame: &[u8]| {
                let mut planes = vec![0; frame.len()];
                to_planes(&layout, filter, frame, &mut planes);
                planes
            };
            let expected = planes_of(little, &interleaved);
            assert_eq!(
                planes_of(
                    Layout {
                        big_endian: true,
                        ..little
                    },
                    &swapped
                ),
                expected
            );
            assert_eq!(planes_of(Layout { planar: true, ..little }, &by_plane), expected);
        }
    }

    #[test]
    fn filter_bytes() {
        let check = |id, expected| assert_eq!(Filter::from_id(id, None), expected);
        let filter = |predictor, green_difference| {
            Ok(Some(Filter {
                predictor,
                green_difference,
            }))
        };
        check(0x00, Ok(None));
        check(0x01, filter(Predictor::Left, false));
        check(0x02, filter(Predictor::Med, false));
        check(0x12, filter(Predictor::Med, true));
        check(0x10, Err(CodecError::UnknownFilter(0x10)));
        check(0x03, Err(CodecError::UnknownFilter(0x03)));
        check(0x22, Err(CodecError::UnknownFilter(0x22)));
    }
}
