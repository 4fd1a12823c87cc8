//! One pass over a frame, line by line: samples into centred residuals and back.
//!
//! Where residuals go to and come from is a [`Sink`]'s and a [`Source`]'s: byte planes, or packed blocks.

use super::layout::Layout;
use super::planes::Filter;
use super::predict::{Lane, Pair, Predictor, begin, residuals, restore, restore_med_pair, restores};

/// Takes the residuals of each component's lines in turn.
pub(super) trait Sink<T> {
    /// The lines of this component come next.
    fn begin(&mut self, component: usize);
    /// The next line.
    fn line(&mut self, residuals: &[T]);
    /// That was the component's last line.
    fn end(&mut self);
}

/// Gives the residuals of each component's lines in turn; `None` where there are not enough.
pub(super) trait Source<T> {
    /// The lines of this component are wanted next.
    fn begin(&mut self, component: usize);
    /// The next line.
    fn line(&mut self, residuals: &mut [T]) -> Option<()>;
    /// That was the component's last line.
    fn end(&mut self) -> Option<()>;
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

    /// Gives the residuals of `frame` to `sink`.
    pub(super) fn predict(mut self, frame: &[u8], sink: &mut impl Sink<T>) {
        for component in self.components() {
            sink.begin(component);
            self.begin_component();
            for row in 0..self.layout.rows {
                self.load(frame, component, row);
                begin(&mut self.previous, &mut self.current);
                residuals(
                    self.filter.predictor_of(row),
                    &self.previous,
                    &self.current,
                    &mut self.residuals,
                );
                sink.line(&self.residuals);
                std::mem::swap(&mut self.previous, &mut self.current);
            }
            sink.end();
        }
    }

    /// Inverse of [`Lines::predict`]; `None` where `source` does not hold a frame.
    pub(super) fn rebuild(mut self, source: &mut impl Source<T>, frame: &mut [u8]) -> Option<()> {
        let (columns, rows) = (self.layout.columns, self.layout.rows);
        let num_paired = if self.filter.predictor == Predictor::Med {
            rows / 2 * 2
        } else {
            0
        };
        let mut lower = vec![T::default(); columns + 1];
        let mut lower_residuals = vec![T::default(); columns];
        for component in self.components() {
            source.begin(component);
            self.begin_component();
            for row in (0..num_paired).step_by(2) {
                source.line(&mut self.residuals)?;
                source.line(&mut lower_residuals)?;
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
                source.line(&mut self.residuals)?;
                begin(&mut self.previous, &mut self.current);
                restore(
                    self.filter.predictor_of(row),
                    &self.previous,
                    &mut self.current,
                    &self.residuals,
                );
                self.store(frame, component, row);
                std::mem::swap(&mut self.previous, &mut self.current);
            }
            source.end()?;
        }
        Some(())
    }

    /// Whether [`Lines::rebuild`] would give exactly `frame`, at several times its speed: see [`restores`] for why this
    /// is as strong as decoding and comparing.
    pub(super) fn would_rebuild(mut self, source: &mut impl Source<T>, frame: &[u8]) -> bool {
        for component in self.components() {
            source.begin(component);
            self.begin_component();
            for row in 0..self.layout.rows {
                if source.line(&mut self.residuals).is_none() {
                    return false;
                }
                self.load(frame, component, row);
                begin(&mut self.previous, &mut self.current);
                let predictor = self.filter.predictor_of(row);
                if !restores(predictor, &self.previous, &self.current, &self.residuals) {
                    return false;
                }
                std::mem::swap(&mut self.previous, &mut self.current);
            }
            if source.end().is_none() {
                return false;
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
