//! Brings subsampled components to full size. Ratios of 2 use the triangle filter of the Independent JPEG Group's library
//! ("fancy upsampling", with its alternating rounding), others repeat samples.

/// A component's sampling factor and the largest one of the frame, in one direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) own: usize,
    pub(crate) max: usize,
}

impl Ratio {
    fn is(self, factor: usize) -> bool {
        self.own * factor == self.max
    }
}

/// The size of a subsampled component.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Samples between rows, whole blocks.
    pub(crate) stride: usize,
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Returns `rows` by `columns` samples without padding.
pub(crate) fn to_full(
    samples: Vec<u16>,
    size: Size,
    (horizontal, vertical): (Ratio, Ratio),
    rows: usize,
    columns: usize,
) -> Vec<u16> {
    let line = |row: usize| &samples[row * size.stride..row * size.stride + size.columns];
    let mut full = Vec::with_capacity(rows * columns);
    // The library filters no component of one or two samples' width.
    let wide = horizontal.is(2) && size.columns > 2;
    if horizontal.is(1) && vertical.is(1) {
        (0..rows).for_each(|row| full.extend_from_slice(&line(row)[..columns]));
    } else if wide && vertical.is(1) {
        let mut out = vec![0; 2 * size.columns];
        for row in 0..rows {
            let input = line(row);
            widen(|column| 4 * i32::from(input[column]), size.columns, 4, (4, 8), &mut out);
            full.extend_from_slice(&out[..columns]);
        }
    } else if (wide || horizontal.is(1)) && vertical.is(2) {
        let mut out = vec![0; 2 * size.columns];
        for row in 0..rows {
            let (near, is_lower) = (row / 2, row % 2 == 1);
            let far = if is_lower {
                (near + 1).min(size.rows - 1)
            } else {
                near.saturating_sub(1)
            };
            let (near, far) = (line(near), line(far));
            let sum = |column: usize| 3 * i32::from(near[column]) + i32::from(far[column]);
            if wide {
                widen(sum, size.columns, 4, (8, 7), &mut out);
                full.extend_from_slice(&out[..columns]);
            } else {
                let bias = if is_lower { 2 } else { 1 };
                full.extend((0..columns).map(|column| ((sum(column) + bias) >> 2) as u16));
            }
        }
    } else {
        for row in 0..rows {
            let input = line((row * vertical.own / vertical.max).min(size.rows - 1));
            full.extend(
                (0..columns).map(|column| input[(column * horizontal.own / horizontal.max).min(size.columns - 1)]),
            );
        }
    }
    full
}

/// Doubles one line of values that are scaled by 4: each output is 3/4 of the nearer and 1/4 of the farther neighbour.
/// `bias` rounds the left and the right output of a pair.
fn widen(value: impl Fn(usize) -> i32, count: usize, scale: i32, bias: (i32, i32), out: &mut [u16]) {
    for index in 0..count {
        let own = value(index);
        let left = if index == 0 {
            own * scale
        } else {
            3 * own + value(index - 1)
        };
        let right = if index + 1 == count {
            own * scale
        } else {
            3 * own + value(index + 1)
        };
        out[2 * index] = ((left + bias.0) >> 4) as u16;
        out[2 * index + 1] = ((right + bias.1) >> 4) as u16;
    }
}
