//! Explicit lookup tables: LUT Descriptor and LUT Data (PS3.3 sections C.11.1.1 and C.11.2.1.1).

use dicom_core::{Tag, VR};
use septum_core::dicom::attributes::Dataset;

use crate::attributes::bytes;
use crate::error::RenderError;

/// The three values of a LUT Descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// 1 to 65536.
    pub(crate) num_entries: usize,
    /// The input that the first entry stands for.
    pub(crate) first: i32,
    /// Bits of an entry as declared; 8 to 16 in sound objects.
    pub(crate) bits: u16,
}

impl Descriptor {
    /// Reads the descriptor. Some writers give its second value as US although it is negative: where inputs can be
    /// negative, a value above 32767 is taken as negative.
    pub(crate) fn read(dataset: &Dataset, tag: Tag, negative_inputs: bool) -> Result<Self, RenderError> {
        let element = dataset.get(tag).ok_or(RenderError::attribute(tag))?;
        let bytes = element.little_endian_bytes();
        let &[entries, first, bits, ..] = bytes.as_chunks::<2>().0 else {
            return Err(RenderError::attribute(tag));
        };
        let first = u16::from_le_bytes(first);
        Ok(Self {
            num_entries: match u16::from_le_bytes(entries) {
                0 => 65536,
                entries => entries.into(),
            },
            first: if element.vr == VR::SS || negative_inputs {
                i32::from(first as i16)
            } else {
                first.into()
            },
            bits: u16::from_le_bytes(bits),
        })
    }
}

/// Entries as they stand in LUT Data: words, or bytes where there is only one byte an entry. Data that end early are
/// read as far as they go.
pub(crate) fn entries(data: &[u8], descriptor: Descriptor) -> Vec<u16> {
    let wanted = descriptor.num_entries;
    if data.len() < 2 * wanted && descriptor.bits <= 8 {
        return data.iter().take(wanted).map(|&byte| byte.into()).collect();
    }
    let words = data.as_chunks().0.iter().take(wanted);
    words.map(|&word| u16::from_le_bytes(word)).collect()
}

/// A table of at least one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LookupTable {
    first: i32,
    entries: Vec<u16>,
    /// Greatest value that an entry can have.
    max: u16,
}

impl LookupTable {
    /// Reads the table of a LUT sequence's item.
    pub(crate) fn read(item: &Dataset, negative_inputs: bool) -> Result<Self, RenderError> {
        use dicom_dictionary_std::tags::{LUT_DATA, LUT_DESCRIPTOR};
        let descriptor = Descriptor::read(item, LUT_DESCRIPTOR, negative_inputs)?;
        let data = bytes(item, LUT_DATA).ok_or(RenderError::attribute(LUT_DATA))?;
        Self::new(descriptor, entries(&data, descriptor)).ok_or(RenderError::attribute(LUT_DATA))
    }

    fn new(descriptor: Descriptor, entries: Vec<u16>) -> Option<Self> {
        let greatest = *entries.iter().max()?;
        let used = u16::BITS - greatest.leading_zeros();
        let bits = match u32::from(descriptor.bits) {
            // Some radiography systems declare 16 bits for entries of 12 or fewer: at face value the image were black.
            16 if (1..=12).contains(&used) => used.max(8),
            bits => bits.clamp(used.max(1), 16),
        };
        Some(Self {
            first: descriptor.first,
            entries,
            max: u16::MAX >> (16 - bits),
        })
    }

    /// The entry for an input; the first or last one outside of the table's range.
    pub(crate) fn entry(&self, input: f64) -> f64 {
        // `as` saturates, and takes NaN to 0.
        let index = (input.round() - f64::from(self.first)) as usize;
        self.entries
            .get(index)
            .or(self.entries.last())
            .copied()
            .unwrap_or(0)
            .into()
    }

    /// The entry for an input, from 0 to 1.
    pub(crate) fn level(&self, input: f64) -> f64 {
        self.entry(input) / f64::from(self.max)
    }

    /// The table over the whole range of inputs: 0 stands for the first entry and 1 for the last (PS3.3 section C.11.4).
    pub(crate) fn level_of_level(&self, level: f64) -> f64 {
        let index = level * (self.entries.len() - 1) as f64;
        self.level(index + f64::from(self.first))
    }

    /// The least and the greatest entry there can be.
    pub(crate) fn range(&self) -> (f64, f64) {
        (0.0, self.max.into())
    }
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::tags;

    use super::*;
    use crate::testing::{element, header, words};

    fn table(descriptor: Vec<u8>, data: Vec<u8>, negative: bool) -> Result<LookupTable, RenderError> {
        LookupTable::read(header(&[descriptor, data]).dataset(), negative)
    }

    #[test]
    fn tables_are_read() {
        let check = |vr: &[u8; 2], descriptor: [u16; 3], data: &[u16], negative: bool, inputs: &[(f64, f64)]| {
            let descriptor = words(tags::LUT_DESCRIPTOR, vr, &descriptor);
            let table = table(descriptor, words(tags::LUT_DATA, b"OW", data), negative).expect("readable");
            for &(input, expected) in inputs {
                assert_eq!(table.entry(input), expected, "{input}");
            }
        };
        let data = [10, 20, 30, 65535];
        check(
            b"US",
            [4, 0, 16],
            &data,
            false,
            &[(-5., 10.), (0., 10.), (1.4, 20.), (3., 65535.), (99., 65535.)],
        );
        check(
            b"SS",
            [4, 0xFFFF, 16],
            &data,
            false,
            &[(-1., 10.), (0., 20.), (f64::NAN, 10.)],
        );
        check(b"US", [4, 0xFFFF, 16], &data, false, &[(0., 10.), (65536., 20.)]);
        check(b"US", [4, 0xFFFF, 16], &data, true, &[(0., 20.)]);
        // Fewer entries than declared.
        check(b"US", [0, 0, 16], &data, false, &[(7., 65535.)]);
        // One byte an entry, two in a word.
        check(b"US", [4, 0, 8], &[0x0201, 0x0403], false, &[(0., 1.), (3., 4.)]);
        check(b"US", [2, 0, 8], &[0x0001, 0x0003], false, &[(0., 1.), (1., 3.)]);
    }

    #[test]
    fn declared_bits_are_believed_unless_absurd() {
        let check = |bits: u16, greatest: u16, expected: f64| {
            let descriptor = words(tags::LUT_DESCRIPTOR, b"US", &[2, 0, bits]);
            let table = table(descriptor, words(tags::LUT_DATA, b"US", &[0, greatest]), false).expect("readable");
            assert_eq!(table.range(), (0.0, expected));
        };
        check(8, 100, 255.);
        check(12, 100, 4095.);
        check(10, 4000, 4095.);
        check(16, 60000, 65535.);
        check(16, 4095, 4095.);
        check(16, 0, 65535.);
        check(0, 255, 255.);
        check(99, 255, 65535.);
    }

    #[test]
    fn missing_parts_are_named() {
        let data = words(tags::LUT_DATA, b"US", &[1]);
        let error = table(words(tags::LUT_DESCRIPTOR, b"US", &[1, 0]), data, false);
        assert_eq!(error, Err(RenderError::attribute(tags::LUT_DESCRIPTOR)));
        let descriptor = words(tags::LUT_DESCRIPTOR, b"US", &[1, 0, 8]);
        let error = table(descriptor, element(tags::LUT_DATA, b"OW", b""), false);
        assert_eq!(error, Err(RenderError::attribute(tags::LUT_DATA)));
    }
}
