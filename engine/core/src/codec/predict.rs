//! Prediction of one scan line from itself and the one above: left, above and MED (the median edge detector of JPEG-LS,
//! ITU-T T.87 section A.4.1), on wrapping integers.
//!
//! A line buffer holds `columns + 1` samples; index 0 is the border in front of the first sample. [`begin`] sets the
//! borders so that the first sample is predicted by the one above, and in the first line (above: all zero) both
//! filters predict from the left.
//!
//! Residuals are *centred*: a constant is added so that small negative and positive residuals share their upper bytes
//! (all zero), which is what makes byte planes compress.
//!
//! 16- and 32-bit samples are held as signed integers because SSE2, the baseline of x86-64, has minimum and maximum
//! for i16 and u8 only; unsigned samples get their top bit flipped on the way in, which keeps their order.

/// An integer that samples are predicted as.
pub(super) trait Lane: Copy + PartialEq + Ord + Default {
    /// Bytes of a sample.
    const BYTES: usize;
    /// What centres a residual.
    const CENTRE: Self;
    /// Flips order between signed and unsigned reading.
    const TOP_BIT: Self;
    /// Whether the integer type's own order is that of signed samples.
    const SIGNED_ORDER: bool;

    /// Wrapping sum.
    fn add(self, other: Self) -> Self;
    /// Wrapping difference.
    fn sub(self, other: Self) -> Self;
    /// Exclusive or.
    fn xor(self, other: Self) -> Self;
    /// Inclusive or.
    fn or(self, other: Self) -> Self;
    /// From the first `BYTES` of `bytes`, little endian; shorter input reads as zero.
    fn from_le(bytes: &[u8]) -> Self;
    /// From the first `BYTES` of `bytes`, big endian; shorter input reads as zero.
    fn from_be(bytes: &[u8]) -> Self;
    /// Into the first `BYTES` of `bytes`, little endian.
    fn put_le(self, bytes: &mut [u8]);
    /// Into the first `BYTES` of `bytes`, big endian.
    fn put_be(self, bytes: &mut [u8]);
    /// [`med`] for a loop in which each prediction waits for the last: in wider registers, where the processor has
    /// minimum and maximum without branches. The same value.
    fn med_serial(a: Self, b: Self, c: Self) -> Self;
    /// Splits `line` over byte planes of the same number of samples each, least significant first.
    fn split(line: &[Self], planes: &mut [u8], plane_length: usize, offset: usize);
    /// Inverse of [`Lane::split`].
    fn join(line: &mut [Self], planes: &[u8], plane_length: usize, offset: usize);
}

macro_rules! lane {
    ($type:ty, $wide:ty, $bytes:literal, $centre:expr, $signed_order:literal, |$line:ident, $planes:ident, $length:ident, $offset:ident| $split:block, $join:block) => {
        impl Lane for $type {
            const BYTES: usize = $bytes;
            const CENTRE: Self = $centre;
            const TOP_BIT: Self = 1 << (<$type>::BITS - 1);
            const SIGNED_ORDER: bool = $signed_order;

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline(always)]
            fn from_le(bytes: &[u8]) -> Self {
                bytes.first_chunk().map_or(0, |b| Self::from_le_bytes(*b))
            }
            #[inline(always)]
            fn from_be(bytes: &[u8]) -> Self {
                bytes.first_chunk().map_or(0, |b| Self::from_be_bytes(*b))
            }
            #[inline(always)]
            fn put_le(self, bytes: &mut [u8]) {
                if let Some(b) = bytes.first_chunk_mut() {
                    *b = self.to_le_bytes();
                }
            }
            #[inline(always)]
            fn put_be(self, bytes: &mut [u8]) {
                if let Some(b) = bytes.first_chunk_mut() {
                    *b = self.to_be_bytes();
                }
            }
            #[inline(always)]
            fn med_serial(a: Self, b: Self, c: Self) -> Self {
                let (a, b, c) = (<$wide>::from(a), <$wide>::from(b), <$wide>::from(c));
                (a + (b - c)).max(a.min(b)).min(a.max(b)) as Self
            }
            fn split($line: &[Self], $planes: &mut [u8], $length: usize, $offset: usize) $split
            fn join($line: &mut [Self], $planes: &[u8], $length: usize, $offset: usize) $join
        }
    };
}

lane!(
    u8,
    i32,
    1,
    0,
    false,
    |line, planes, _length, offset| {
        planes[offset..offset + line.len()].copy_from_slice(line);
    },
    {
        line.copy_from_slice(&planes[offset..offset + line.len()]);
    }
);

lane!(
    i16,
    i32,
    2,
    0x80,
    true,
    |line, planes, length, offset| {
        let (low, high) = planes.split_at_mut(length);
        let low = low[offset..offset + line.len()].iter_mut();
        let high = high[offset..offset + line.len()].iter_mut();
        for ((low, high), &sample) in low.zip(high).zip(line) {
            *low = sample as u8;
            *high = (sample as u16 >> 8) as u8;
        }
    },
    {
        let (low, high) = planes.split_at(length);
        let low = &low[offset..offset + line.len()];
        let high = &high[offset..offset + line.len()];
        for ((sample, &low), &high) in line.iter_mut().zip(low).zip(high) {
            *sample = (u16::from(low) | u16::from(high) << 8) as i16;
        }
    }
);

lane!(
    i32,
    i64,
    4,
    0x0080_8080,
    true,
    |line, planes, length, offset| {
        for (plane, shift) in planes.chunks_exact_mut(length).zip([0, 8, 16, 24]) {
            for (byte, &sample) in plane[offset..offset + line.len()].iter_mut().zip(line) {
                *byte = (sample as u32 >> shift) as u8;
            }
        }
    },
    {
        line.fill(0);
        for (plane, shift) in planes.chunks_exact(length).zip([0, 8, 16, 24]) {
            for (sample, &byte) in line.iter_mut().zip(&plane[offset..]) {
                *sample |= (u32::from(byte) << shift) as i32;
            }
        }
    }
);

/// How a sample is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    /// The sample to the left.
    Left,
    /// Median of left, above, and left + above - corner.
    Med,
    /// The sample above. Rebuilt many samples at a time, because none waits for the one before it.
    Above,
}

/// Sets the borders of `current` before its samples are known: see the module's text.
pub(super) fn begin<T: Lane>(previous: &mut [T], current: &mut [T]) {
    let above = previous.get(1).copied().unwrap_or_default();
    if let (Some(corner), Some(border)) = (previous.first_mut(), current.first_mut()) {
        *corner = above;
        *border = above;
    }
}

/// The median of `a`, `b` and `a + b - c`, in wrapping arithmetic without a wider type: clamping `c` between `a` and
/// `b` first leaves a sum that fits.
#[inline(always)]
fn med<T: Lane>(a: T, b: T, c: T) -> T {
    a.add(b).sub(c.min(a.max(b)).max(a.min(b)))
}

/// Centred residuals of the line `current` into `residuals` (`columns` long).
pub(super) fn residuals<T: Lane>(predictor: Predictor, previous: &[T], current: &[T], residuals: &mut [T]) {
    let columns = residuals.len();
    let (left, samples) = (&current[..columns], &current[1..=columns]);
    match predictor {
        Predictor::Left => {
            for ((r, &x), &a) in residuals.iter_mut().zip(samples).zip(left) {
                *r = x.sub(a).add(T::CENTRE);
            }
        }
        Predictor::Med => {
            let (corner, above) = (&previous[..columns], &previous[1..=columns]);
            for ((((r, &x), &a), &b), &c) in residuals.iter_mut().zip(samples).zip(left).zip(above).zip(corner) {
                *r = x.sub(med(a, b, c)).add(T::CENTRE);
            }
        }
        Predictor::Above => {
            for ((r, &x), &b) in residuals.iter_mut().zip(samples).zip(&previous[1..=columns]) {
                *r = x.sub(b).add(T::CENTRE);
            }
        }
    }
}

/// Rebuilds the samples of `current` behind its border from centred residuals.
pub(super) fn restore<T: Lane>(predictor: Predictor, previous: &[T], current: &mut [T], residuals: &[T]) {
    let columns = residuals.len();
    let mut a = current[0];
    let samples = &mut current[1..=columns];
    match predictor {
        Predictor::Left => {
            for (x, &r) in samples.iter_mut().zip(residuals) {
                a = a.add(r.sub(T::CENTRE));
                *x = a;
            }
        }
        Predictor::Med => {
            let (corner, above) = (&previous[..columns], &previous[1..=columns]);
            for (((x, &r), &b), &c) in samples.iter_mut().zip(residuals).zip(above).zip(corner) {
                a = r.sub(T::CENTRE).add(T::med_serial(a, b, c));
                *x = a;
            }
        }
        Predictor::Above => {
            for ((x, &r), &b) in samples.iter_mut().zip(residuals).zip(&previous[1..=columns]) {
                *x = b.add(r.sub(T::CENTRE));
            }
        }
    }
}

/// Two lines that are one below the other, and their residuals.
pub(super) struct Pair<'a, T> {
    pub(super) upper: &'a mut [T],
    pub(super) lower: &'a mut [T],
    pub(super) upper_residuals: &'a [T],
    pub(super) lower_residuals: &'a [T],
}

/// [`begin`] and [`restore`] with MED for two lines at once, the lower one sample behind the upper: two chains of
/// dependent steps that the processor runs side by side.
pub(super) fn restore_med_pair<T: Lane>(above: &mut [T], pair: Pair<'_, T>) {
    let Pair {
        upper,
        lower,
        upper_residuals,
        lower_residuals,
    } = pair;
    begin(above, upper);
    let (columns, Some(&first)) = (upper_residuals.len(), upper_residuals.first()) else {
        return;
    };
    // The sample above and left of the first both count as the one above it, for either line.
    let mut a = first.sub(T::CENTRE).add(upper[0]);
    upper[1] = a;
    lower[0] = a;
    let mut lower_a = a;
    // Behind the upper line: the sample above the lower's next one, and the one before that.
    let (mut lower_b, mut lower_c) = (a, a);
    let above = above[1..columns].iter().zip(&above[2..=columns]);
    let upper_steps = upper[2..=columns].iter_mut().zip(&upper_residuals[1..]);
    let lower_steps = lower[1..columns].iter_mut().zip(lower_residuals);
    for (((&c, &b), (x, &r)), (lower_x, &lower_r)) in above.zip(upper_steps).zip(lower_steps) {
        a = r.sub(T::CENTRE).add(T::med_serial(a, b, c));
        *x = a;
        lower_a = lower_r.sub(T::CENTRE).add(T::med_serial(lower_a, lower_b, lower_c));
        *lower_x = lower_a;
        (lower_c, lower_b) = (lower_b, a);
    }
    lower[columns] = lower_residuals[columns - 1]
        .sub(T::CENTRE)
        .add(T::med_serial(lower_a, lower_b, lower_c));
}

/// Whether [`restore`] would rebuild exactly `current` from `residuals`.
///
/// `restore` computes each sample from its residual and samples that it rebuilt before. If those equal the original,
/// the original may stand in for them; so when each sample of the original equals its residual plus the prediction
/// *from the original*, induction over the scan order gives that `restore` rebuilds all of it. Without the dependency
/// of each sample on the last this runs many samples at a time.
pub(super) fn restores<T: Lane>(predictor: Predictor, previous: &[T], current: &[T], residuals: &[T]) -> bool {
    let columns = residuals.len();
    let (left, samples) = (&current[..columns], &current[1..=columns]);
    // Folding differences instead of leaving early keeps the loop free of branches.
    let mut difference = T::default();
    match predictor {
        Predictor::Left => {
            for ((&r, &x), &a) in residuals.iter().zip(samples).zip(left) {
                difference = difference.or(a.add(r.sub(T::CENTRE)).xor(x));
            }
        }
        Predictor::Med => {
            let (corner, above) = (&previous[..columns], &previous[1..=columns]);
            for ((((&r, &x), &a), &b), &c) in residuals.iter().zip(samples).zip(left).zip(above).zip(corner) {
                difference = difference.or(r.sub(T::CENTRE).add(med(a, b, c)).xor(x));
            }
        }
        Predictor::Above => {
            for ((&r, &x), &b) in residuals.iter().zip(samples).zip(&previous[1..=columns]) {
                difference = difference.or(r.sub(T::CENTRE).add(b).xor(x));
            }
        }
    }
    difference == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn med_is_the_median() {
        let check = |a: i16, b: i16, c: i16| {
            let mut three = [i32::from(a), i32::from(b), i32::from(a) + i32::from(b) - i32::from(c)];
            three.sort_unstable();
            assert_eq!(i32::from(med(a, b, c)), three[1], "a {a}, b {b}, c {c}");
            assert_eq!(i16::med_serial(a, b, c), med(a, b, c));
        };
        let values = [i16::MIN, i16::MIN + 1, -300, -1, 0, 1, 2, 299, i16::MAX - 1, i16::MAX];
        for a in values {
            for b in values {
                for c in values {
                    check(a, b, c);
                }
            }
        }
    }

    #[test]
    fn residuals_of_a_known_line() {
        let check = |predictor, expected: [u8; 3]| {
            let (mut previous, mut current) = ([0, 10, 20, 30], [0, 12, 21, 33]);
            begin(&mut previous, &mut current);
            let mut found = [0_u8; 3];
            residuals(predictor, &previous, &current, &mut found);
            assert_eq!(found, expected);
            assert!(restores(predictor, &previous, &current, &found));
            let mut rebuilt = [current[0], 0, 0, 0];
            restore(predictor, &previous, &mut rebuilt, &found);
            assert_eq!(rebuilt, current);
            found[2] ^= 1;
            assert!(!restores(predictor, &previous, &current, &found));
        };
        check(Predictor::Left, [2, 9, 12]);
        check(Predictor::Med, [2, 1, 3]);
        check(Predictor::Above, [2, 1, 3]);
    }

    #[test]
    fn planes_of_each_lane_come_back() {
        fn check<T: Lane + std::fmt::Debug>(line: &[T], expected: &[u8]) {
            let mut planes = vec![0; line.len() * T::BYTES];
            T::split(line, &mut planes, line.len(), 0);
            assert_eq!(planes, expected);
            let mut back = vec![T::default(); line.len()];
            T::join(&mut back, &planes, line.len(), 0);
            assert_eq!(back, line);
        }
        check::<u8>(&[1, 255], &[1, 255]);
        check::<i16>(&[0x0102, -2], &[0x02, 0xFE, 0x01, 0xFF]);
        check::<i32>(&[0x0102_0304, -1], &[4, 0xFF, 3, 0xFF, 2, 0xFF, 1, 0xFF]);
    }
}
