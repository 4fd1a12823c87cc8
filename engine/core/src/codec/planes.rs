//! Byte planes: a frame as predicted residuals, ordered so that a byte-wise entropy coder does well.
//!
//! Layout, for a frame of `c` components of `n` samples of `b` bytes: `c * b` planes of `n` bytes each, component by
//! component, in each the least significant byte first, in each the samples in scan order. The same length as the
//! frame's. Planes depend on sample *values* only: interleaved, planar and big endian forms of one image have the
//! same planes.
//!
//! Filter byte, the first of every predicted payload: `0x00` no prediction (what follows is the frame as it is, not
//! planes), `0x01` left, `0x02` MED, `0x03` above (in the first line: left); plus `0x10` where the first and third of three components are differences from
//! the second (green), which is what makes grey-looking colour cheap.

use super::error::CodecError;
use super::layout::Layout;
use super::lines::{Lines, Sink, Source};
use super::predict::{Lane, Predictor};

const LEFT: u8 = 0x01;
const MED: u8 = 0x02;
const ABOVE: u8 = 0x03;
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
            Predictor::Above => ABOVE,
        };
        predictor | if self.green_difference { GREEN_DIFFERENCE } else { 0 }
    }

    /// How the samples of a line are predicted: nothing lies above the first.
    pub(super) fn predictor_of(self, row: usize) -> Predictor {
        match self.predictor {
            Predictor::Above if row == 0 => Predictor::Left,
            predictor => predictor,
        }
    }

    /// Reads a filter byte; `Ok(None)` is no prediction. Refuses unknown bytes, and colour differences where there
    /// are not three components.
    pub(super) fn from_id(id: u8, layout: Option<&Layout>) -> Result<Option<Self>, CodecError> {
        let predictor = match id & !GREEN_DIFFERENCE {
            FILTER_NONE if id == FILTER_NONE => return Ok(None),
            LEFT => Predictor::Left,
            MED => Predictor::Med,
            ABOVE => Predictor::Above,
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
    fn run<T: Lane>(layout: &Layout, filter: Filter, frame: &[u8], planes: &mut [u8]) {
        Lines::<T>::new(layout, filter).predict(frame, &mut Planes::new(layout, planes));
    }
    match layout.bytes_per_sample {
        1 => run::<u8>(layout, filter, frame, planes),
        2 => run::<i16>(layout, filter, frame, planes),
        _ => run::<i32>(layout, filter, frame, planes),
    }
}

/// Inverse of [`to_planes`].
pub(super) fn from_planes(layout: &Layout, filter: Filter, planes: &[u8], frame: &mut [u8]) {
    fn run<T: Lane>(layout: &Layout, filter: Filter, planes: &[u8], frame: &mut [u8]) {
        // Planes are as long as the frame, so none of their lines is missing.
        let _ = Lines::<T>::new(layout, filter).rebuild(&mut Planes::new(layout, planes), frame);
    }
    match layout.bytes_per_sample {
        1 => run::<u8>(layout, filter, planes, frame),
        2 => run::<i16>(layout, filter, planes, frame),
        _ => run::<i32>(layout, filter, planes, frame),
    }
}

/// Whether [`from_planes`] would rebuild exactly `frame`.
pub(super) fn planes_restore(layout: &Layout, filter: Filter, planes: &[u8], frame: &[u8]) -> bool {
    fn run<T: Lane>(layout: &Layout, filter: Filter, planes: &[u8], frame: &[u8]) -> bool {
        Lines::<T>::new(layout, filter).would_rebuild(&mut Planes::new(layout, planes), frame)
    }
    planes.len() == frame.len()
        && match layout.bytes_per_sample {
            1 => run::<u8>(layout, filter, planes, frame),
            2 => run::<i16>(layout, filter, planes, frame),
            _ => run::<i32>(layout, filter, planes, frame),
        }
}

/// Planes being written or read.
struct Planes<B> {
    bytes: B,
    /// Samples of a component: bytes of a plane.
    samples: usize,
    /// Where the component's planes begin.
    start: usize,
    /// Samples of the component that are done.
    done: usize,
}

impl<B> Planes<B> {
    fn new(layout: &Layout, bytes: B) -> Self {
        Self {
            bytes,
            samples: layout.component_samples(),
            start: 0,
            done: 0,
        }
    }

    fn begin_component<T: Lane>(&mut self, component: usize) {
        self.start = component * self.samples * T::BYTES;
        self.done = 0;
    }
}

impl<T: Lane> Sink<T> for Planes<&mut [u8]> {
    fn begin(&mut self, component: usize) {
        self.begin_component::<T>(component);
    }

    fn line(&mut self, residuals: &[T]) {
        let region = &mut self.bytes[self.start..][..self.samples * T::BYTES];
        T::split(residuals, region, self.samples, self.done);
        self.done += residuals.len();
    }

    fn end(&mut self) {}
}

impl<T: Lane> Source<T> for Planes<&[u8]> {
    fn begin(&mut self, component: usize) {
        self.begin_component::<T>(component);
    }

    fn line(&mut self, residuals: &mut [T]) -> Option<()> {
        let region = &self.bytes[self.start..][..self.samples * T::BYTES];
        T::join(residuals, region, self.samples, self.done);
        self.done += residuals.len();
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters(layout: &Layout) -> Vec<Filter> {
        let mut filters = Vec::new();
        for predictor in [Predictor::Left, Predictor::Med, Predictor::Above] {
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
        check(0x03, filter(Predictor::Above, false));
        check(0x04, Err(CodecError::UnknownFilter(0x04)));
        check(0x22, Err(CodecError::UnknownFilter(0x22)));
    }
}
