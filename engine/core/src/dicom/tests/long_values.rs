//! Values that are cut out of the header, go on in units and come back in their place.

use super::super::attributes::Header;
use super::super::builder::{Builder, PIXEL_DATA};
use super::super::transcode::{PixelPatch, to_explicit_little};
use super::*;

const RAW: (u16, u16) = (0x0029, 0x1010);
const BEHIND: (u16, u16) = (0x7FE1, 0x1010);
const LONG: usize = VALUE_UNIT_BYTES as usize + 5;

fn value(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect()
}

fn object(encoding: Encoding) -> Builder {
    Builder::identified(encoding)
        .element(RAW, b"OB", &value(LONG, 1))
        .element((0x0029, 0x1011), b"OB", b"ab")
        .image(4, 4, 8, "1")
        .element(PIXEL_DATA, b"OW", &[7; 16])
        .element(BEHIND, b"OB", &value(2 * LONG, 2))
        .element((0x7FE1, 0x1011), b"OB", b"cd")
}

#[test]
fn long_values_pass_in_units_and_come_back() {
    for encoding in [
        Encoding::ImplicitLittle,
        Encoding::ExplicitLittle,
        Encoding::ExplicitBig,
    ] {
        let file = object(encoding).plain_file();
        for chunks in [&[usize::MAX][..], &[300_007], &[1, 7, 64 << 10]] {
            let whole = round_trip(&file, chunks).unwrap();
            let header = &whole.instance.header;
            assert!(header.before.len() + header.after.len() < 1024, "nothing long stays");
            let tags: Vec<_> = header
                .long_values()
                .map(|value| (value.tag, value.length as usize))
                .collect();
            assert_eq!(tags, [(RAW, LONG), (BEHIND, 2 * LONG)]);
            assert_eq!(whole.value_units.len(), 2 + 3);
            assert_eq!(whole.units, [Bytes::from_static(&[7; 16])]);
        }
    }
}

#[test]
fn the_header_reads_as_if_they_were_empty() {
    for encoding in [
        Encoding::ImplicitLittle,
        Encoding::ExplicitLittle,
        Encoding::ExplicitBig,
    ] {
        let whole = round_trip(&object(encoding).plain_file(), &[usize::MAX]).unwrap();
        let header = &whole.instance.header;
        let read = Header::from_bytes(header.elements(), encoding.into()).unwrap();
        assert_eq!(read.unread_bytes(), 0);
        let patch = PixelPatch {
            long_values: header.long_values().copied().collect(),
            ..PixelPatch::default()
        };
        let copy = to_explicit_little(
            &header.elements_before(),
            &header.elements_after(),
            encoding.into(),
            &patch,
        )
        .unwrap();
        let mut dataset = copy.before.clone();
        for place in copy.long_before.iter().rev() {
            let units = units_of(header.long_values(), place.index);
            let bytes = whole.value_units[units.start as usize..units.end as usize].concat();
            dataset.splice(place.at..place.at, bytes);
        }
        let read = Header::from_bytes(dataset.into(), super::super::attributes::Encoding::ExplicitLittle).unwrap();
        assert_eq!(read.unread_bytes(), 0);
        for (tag, length) in [(RAW, LONG), (BEHIND, 2 * LONG)] {
            let element = read.dataset().get(dicom_core::Tag(tag.0, tag.1)).unwrap();
            assert_eq!(
                element.little_endian_bytes().len(),
                length.next_multiple_of(2),
                "{encoding:?}"
            );
        }
    }
}

#[test]
fn what_the_splitter_reads_or_cannot_place_stays_in_the_header() {
    for (name, file) in [
        (
            "before the identity",
            Builder::new(Encoding::ExplicitLittle).element((0x0007, 0x1010), b"OB", &value(LONG + 1, 3)),
        ),
        (
            "no longer than a unit",
            Builder::identified(Encoding::ExplicitLittle).element(RAW, b"OB", &value(VALUE_UNIT_BYTES as usize, 3)),
        ),
    ] {
        let file = match name {
            "before the identity" => {
                let mut bytes = file.plain_file();
                // The dataset of an identified object behind it.
                let identified = Builder::identified(Encoding::ExplicitLittle).plain_file();
                let meta = Builder::new(Encoding::ExplicitLittle).plain_file().len();
                bytes.extend_from_slice(&identified[meta..]);
                bytes
            }
            _ => file.plain_file(),
        };
        let whole = round_trip(&file, &[100_000]).unwrap();
        assert_eq!(whole.instance.header.long_values().count(), 0, "{name}");
        assert!(whole.value_units.is_empty(), "{name}");
    }
}

#[test]
fn they_count_against_no_header_limit_but_must_end() {
    let limits = SplitLimits {
        header_bytes_max: 4096,
        ..SplitLimits::default()
    };
    let file = object(Encoding::ExplicitLittle).plain_file();
    assert!(split(&file, &[1 << 20], limits).is_ok());
    let cut = &file[..LONG / 2];
    let rejection = split(cut, &[1 << 20], limits).err().unwrap();
    assert!(matches!(rejection.kind, RejectionKind::Truncated { .. }), "{rejection}");
    assert_eq!(rejection.tag, Some(RAW));
}

#[test]
fn an_identity_that_changes_behind_one_is_refused() {
    let file = Builder::identified(Encoding::ExplicitLittle)
        .element(RAW, b"OB", &value(LONG + 1, 1))
        .element((0x0010, 0x0020), b"LO", b"SOMEBODY ELSE ");
    let rejection = split(&file.plain_file(), &[1 << 20], SplitLimits::default())
        .err()
        .unwrap();
    assert_eq!(rejection.kind, RejectionKind::AmbiguousIdentity);
}
