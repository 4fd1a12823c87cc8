//! Values of many MiB outside the pixel element: raw data in private elements, encapsulated documents.
//!
//! Such a value is not kept among the header bytes. It is cut out where the stream has it and goes on in *value units*,
//! so that an instance of any size passes through a fixed budget (invariant 6). Units are numbered from 0 over all long
//! values of an instance, in the order of the stream. Only values on the outermost level are cut out, only once the
//! instance is identified, and never those that the splitter itself reads.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::rejection::Tag;

/// Bytes of a value unit; the last one of a value is shorter. Values no longer than this stay in the header bytes.
pub const VALUE_UNIT_BYTES: u32 = 8 << 20;

/// A value that was cut out of the header bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongValue {
    /// Whose value it is.
    pub tag: Tag,
    /// The VR that the element names; none in Implicit VR.
    pub vr: Option<[u8; 2]>,
    /// Where it belongs in the header bytes: right behind the element's header.
    pub at: u32,
    /// Bytes.
    pub length: u32,
}

impl LongValue {
    /// Number of its units.
    pub fn num_units(&self) -> u32 {
        self.length.div_ceil(VALUE_UNIT_BYTES)
    }

    /// Length of its unit at `index`, counted from its own first, in bytes.
    pub fn unit_length(&self, index: u32) -> u32 {
        self.length
            .saturating_sub(index.saturating_mul(VALUE_UNIT_BYTES))
            .min(VALUE_UNIT_BYTES)
    }
}

/// The units of the value at `index` among an instance's long values.
pub fn units_of<'a>(values: impl IntoIterator<Item = &'a LongValue>, index: usize) -> Range<u32> {
    let mut first = 0_u32;
    for (at, value) in values.into_iter().enumerate() {
        let end = first.saturating_add(value.num_units());
        if at == index {
            return first..end;
        }
        first = end;
    }
    first..first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_each_other() {
        let value = |length| LongValue {
            tag: (0x0029, 0x1010),
            vr: None,
            at: 0,
            length,
        };
        let values = [value(VALUE_UNIT_BYTES + 1), value(3 * VALUE_UNIT_BYTES)];
        assert_eq!(units_of(&values, 0), 0..2);
        assert_eq!(units_of(&values, 1), 2..5);
        assert_eq!(units_of(&values, 2), 5..5);
        assert_eq!(values[0].unit_length(0), VALUE_UNIT_BYTES);
        assert_eq!(values[0].unit_length(1), 1);
        assert_eq!(values[0].unit_length(2), 0);
        assert_eq!(values[1].unit_length(2), VALUE_UNIT_BYTES);
    }
}
