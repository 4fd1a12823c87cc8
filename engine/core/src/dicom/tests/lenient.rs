//! Every leniency has a name, every refusal a reason; and how pixels are cut into units and frames.

use super::super::builder::{Builder, PIXEL_DATA};
use super::*;
use bytes::Buf;

const EXPLICIT: Encoding = Encoding::ExplicitLittle;
const UNDEFINED: u32 = u32::MAX;

fn identified() -> Builder {
    Builder::identified(EXPLICIT)
}

/// An image of 4 × 4 bytes without its pixel data.
fn image(frames: &str) -> Builder {
    identified().image(4, 4, 8, frames)
}

fn check(name: &str, file: &[u8], expected: &[Warning]) -> Whole {
    let whole = round_trip(file, &[usize::MAX]).unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
    assert_eq!(whole.instance.warnings, expected, "{name}");
    for chunks in [&[1][..], &[7, 1, 300]] {
        let other = round_trip(file, chunks).unwrap();
        assert_eq!(other.instance.warnings, expected, "{name}, in pieces");
        assert!(other.units == whole.units, "{name}, in pieces");
        assert_eq!(other.instance.layout, whole.instance.layout, "{name}, in pieces");
    }
    whole
}

fn check_plain(name: &str, dataset: Builder, expected: &[Warning]) -> Whole {
    check(name, &dataset.plain_file(), expected)
}

#[test]
fn sound_objects_have_no_warning() {
    for encoding in [Encoding::ImplicitLittle, EXPLICIT, Encoding::ExplicitBig] {
        let image = Builder::identified(encoding)
            .image(4, 4, 16, "2")
            .element(PIXEL_DATA, b"OW", &[7; 64]);
        let whole = check_plain("native", image, &[]);
        let start = &whole.instance.start;
        assert_eq!(start.identity.study.as_str(), "1.2.3.5");
        assert_eq!(start.identity.patient_id, b"PAT1");
        assert_eq!(start.encoding, encoding);
        let pixels = start.pixels.as_ref().unwrap();
        let shape = pixels.shape.unwrap();
        assert_eq!(
            (shape.rows, shape.bits_allocated, shape.big_endian),
            (4, 16, encoding.is_big_endian())
        );
        assert_eq!(
            (pixels.num_frames, pixels.unit, pixels.photometric.as_str()),
            (2, UnitKind::Frame, "MONOCHROME2")
        );
        assert_eq!(whole.units.len(), 2);
    }
    check_plain("no pixels", identified(), &[]);
}

#[test]
fn leniencies_have_names() {
    use Warning as W;
    let pixels = |builder: Builder| builder.element(PIXEL_DATA, b"OB", &[1; 16]);
    let whole = pixels(image("1"));
    let meta = |file: &[u8], at: usize, byte: u8| {
        let mut file = file.to_vec();
        file[at] = byte;
        file
    };
    let file = whole.plain_file();
    check("no preamble", &file[132..], &[W::NoPreamble]);
    check(
        "bare dataset",
        &whole.bytes,
        &[W::NoPreamble, W::NoFileMeta, W::TransferSyntaxGuessed],
    );
    check("group length", &meta(&file, 140, 9), &[W::FileMetaGroupLength]);
    check("unknown syntax", &whole.file("1.2.3"), &[W::UnknownTransferSyntax]);
    check(
        "implicit inside",
        &whole.file(TransferSyntax::IMPLICIT_LITTLE),
        &[W::EncodingContradictsTransferSyntax],
    );
    let big = Builder::identified(Encoding::ExplicitBig);
    check(
        "big inside",
        &big.file(TransferSyntax::EXPLICIT_LITTLE),
        &[W::EncodingContradictsTransferSyntax],
    );
    check(
        "native",
        &whole.file("1.2.840.10008.1.2.4.50"),
        &[W::NativeUnderEncapsulated],
    );
    check_plain(
        "odd",
        identified().element((0x0020, 0x0011), b"IS", b"1"),
        &[W::OddLength],
    );
    check_plain(
        "order",
        identified().element((0x0008, 0x0060), b"CS", b"OT"),
        &[W::TagsOutOfOrder],
    );
    let twice = identified().element((0x0020, 0x000E), b"UI", b"1.2.3.9\0");
    assert_eq!(
        check_plain("twice", twice, &[W::DuplicateTag])
            .instance
            .start
            .identity
            .series
            .as_str(),
        "1.2.3.9"
    );
    let zeros = identified().element((0x0020, 0x000E), b"UI", b"1.02.3.9");
    check_plain("zeros", zeros, &[W::DuplicateTag, W::NonConformantUid]);
    let unknown = identified().raw(b"\x21\x00\x01\x10ZZ\0\0\x02\0\0\0ab");
    check_plain("unknown VR", unknown, &[W::UnknownValueRepresentation]);
    let open = identified()
        .header((0x0040, 0x0275), b"SQ", UNDEFINED)
        .item(UNDEFINED)
        .element((8, 0x60), b"CS", b"OT");
    let open = check_plain("open", open, &[W::MissingDelimiters]);
    assert!(
        open.instance
            .header
            .elements()
            .ends_with(b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0")
    );
    let stray = pixels(image("1")).sequence_end();
    let stray = check_plain("stray", stray, &[W::StrayDelimiter]);
    assert!(stray.instance.header.elements_after().is_empty());
    check_plain("junk", pixels(image("1")).raw(b"junk behind"), &[W::TrailingBytes]);
    check_plain("zeros behind", pixels(image("1")).raw(&[0; 40]), &[W::TrailingBytes]);
    check_plain("zeros behind a report", identified().raw(&[0; 40]), &[W::TrailingBytes]);
    check_plain(
        "second",
        pixels(pixels(image("1"))),
        &[W::DuplicateTag, W::SecondPixelElement],
    );
    check_plain("undescribed", pixels(identified()), &[W::MissingPixelDescription]);
    check_plain("frames", pixels(image("-1")), &[W::BadNumberOfFrames]);
    check_plain("short", pixels(image("9")), &[W::PixelsShorterThanDescribed]);
    check_plain(
        "long",
        image("1").element(PIXEL_DATA, b"OB", &[1; 40]),
        &[W::PixelsLongerThanDescribed],
    );
    check_plain("padded", image("1").element(PIXEL_DATA, b"OB", &[1; 17]), &[]);
    check_plain(
        "empty",
        image("1").element(PIXEL_DATA, b"OB", &[]),
        &[W::EmptyPixelData],
    );
    check_plain("absent", image("1"), &[W::MissingPixelData]);
    let early = image("1");
    let late = Builder::new(EXPLICIT).raw(&early.bytes[identified().bytes.len()..]);
    let late = pixels(late).raw(&identified().bytes);
    check_plain("pixels first", late, &[W::PixelsBeforeIdentity, W::TagsOutOfOrder]);
}

#[test]
fn unknown_values_of_undefined_length_are_shown_with_a_length() {
    let implicit = Builder::new(Encoding::ImplicitLittle)
        .item(UNDEFINED)
        .element((8, 0x60), b"CS", b"OT")
        .item_end()
        .sequence_end();
    let explicit = Builder::new(EXPLICIT)
        .item(UNDEFINED)
        .element((8, 0x60), b"CS", b"OT")
        .item_end()
        .sequence_end();
    for (inside, warnings) in [(&implicit, vec![]), (&explicit, vec![Warning::ExplicitInsideUnknown])] {
        let dataset = identified()
            .header((0x0021, 0x1010), b"UN", UNDEFINED)
            .raw(&inside.bytes);
        let whole = check_plain("UN", dataset, &warnings);
        let shown = identified().element((0x0021, 0x1010), b"UN", &inside.bytes);
        assert_eq!(whole.instance.header.elements(), shown.bytes);
    }
    let fragments = Builder::new(EXPLICIT).item(0).item(2).raw(b"ab").sequence_end();
    let dataset = identified()
        .header((0x0021, 0x1010), b"OB", UNDEFINED)
        .raw(&fragments.bytes);
    let whole = check_plain("OB", dataset, &[Warning::UndefinedLengthValue]);
    let shown = identified().element((0x0021, 0x1010), b"OB", &fragments.bytes);
    assert_eq!(whole.instance.header.elements(), shown.bytes);
}

#[test]
fn an_icon_stays_in_the_header() {
    let icon = identified()
        .header((0x0088, 0x0200), b"SQ", UNDEFINED)
        .item(UNDEFINED)
        .fragments(&[], &[b"icon"])
        .item_end()
        .sequence_end();
    assert!(check_plain("icon", icon, &[]).units.is_empty());
}

#[test]
fn native_pixels_are_cut_as_documented() {
    let check =
        |rows, columns, bits, frames: &str, length: usize, warnings: &[Warning], unit, lengths: &[usize], table| {
            let pixels: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let dataset = identified()
                .image(rows, columns, bits, frames)
                .element(PIXEL_DATA, b"OW", &pixels);
            let whole = round_trip(&dataset.plain_file(), &[100_000]).unwrap();
            assert_eq!(whole.instance.warnings, warnings);
            assert_eq!(whole.instance.start.pixels.unwrap().unit, unit);
            assert_eq!(whole.units.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
            let layout = whole.instance.layout.unwrap();
            let last = layout
                .num_frames()
                .checked_sub(1)
                .and_then(|last| layout.frame_range(last));
            assert_eq!(
                (layout.num_frames(), last.map(|range| (range.bytes, range.bit_offset))),
                table
            );
        };
    use UnitKind::{Block, Frame};
    check(4, 4, 8, "3", 48, &[], Frame, &[16, 16, 16], (3, Some((32..48, 0))));
    check(3, 3, 8, "1", 10, &[], Frame, &[9, 1], (1, Some((0..9, 0))));
    check(3, 3, 1, "3", 4, &[], Block, &[4], (3, Some((2..4, 2))));
    check(4, 4, 1, "2", 4, &[], Frame, &[2, 2], (2, Some((2..4, 0))));
    check(
        4,
        4,
        8,
        "2000",
        32_000,
        &[],
        Block,
        &[32_000],
        (2000, Some((31_984..32_000, 0))),
    );
    check(
        4,
        4,
        8,
        "4",
        48,
        &[Warning::PixelsShorterThanDescribed],
        Block,
        &[48],
        (0, None),
    );
    check(
        4,
        4,
        12,
        "1",
        24,
        &[Warning::MissingPixelDescription],
        Block,
        &[24],
        (0, None),
    );
    let mib = 1 << 20;
    check(
        4,
        4,
        12,
        "1",
        mib + 2,
        &[Warning::MissingPixelDescription],
        Block,
        &[mib, 2],
        (0, None),
    );
}

#[test]
fn subsampled_colour_is_not_what_its_shape_says() {
    let mut dataset = image("1").bytes;
    let at = dataset
        .windows(12)
        .position(|window| window == b"MONOCHROME2 ")
        .unwrap();
    dataset[at..at + 12].copy_from_slice(b"YBR_FULL_422");
    dataset[at - 10] = 3;
    for (length, shaped) in [(32_usize, false), (48, true)] {
        let file = Builder::new(EXPLICIT)
            .raw(&dataset)
            .element(PIXEL_DATA, b"OB", &vec![1; length])
            .plain_file();
        let whole = check("4:2:2", &file, &[]);
        assert_eq!(whole.instance.start.pixels.unwrap().shape.is_some(), shaped);
        assert_eq!(whole.units.len(), 1);
    }
}

#[test]
fn encapsulated_framing_comes_back() {
    use Warning as W;
    let syntax = "1.2.840.10008.1.2.4.50";
    let file = |dataset: Builder| dataset.file(syntax);
    let two: &[&[u8]] = &[b"abcd", b"ef"];
    let start = || image("2").header(PIXEL_DATA, b"OB", UNDEFINED);
    let fragments = |builder: Builder| builder.item(4).raw(b"abcd").item(2).raw(b"ef");
    check("plain", &file(image("2").fragments(&[], two)), &[]);
    check(
        "table",
        &file(image("2").fragments(&[0, 0, 0, 0, 12, 0, 0, 0], two)),
        &[],
    );
    check(
        "bad table",
        &file(image("2").fragments(&[0, 0, 0, 0, 13, 0, 0, 0], two)),
        &[W::BadOffsetTable],
    );
    check(
        "odd table",
        &file(image("2").fragments(&[1, 2, 3], two)),
        &[W::BadOffsetTable],
    );
    check("empty", &file(image("2").fragments(&[], &[])), &[W::FramesNotLocated]);
    check("too few", &file(image("3").fragments(&[], two)), &[W::FramesNotLocated]);
    check("empty fragment", &file(image("2").fragments(&[], &[b"", b"ab"])), &[]);
    check("open", &file(fragments(start().item(0))), &[W::MissingPixelDelimiter]);
    let followed = fragments(start().item(0)).element((0xFFFC, 0xFFFC), b"OB", &[0; 6]);
    check("element follows", &file(followed), &[W::MissingPixelDelimiter]);
    let long = fragments(start().item(0)).header((0xFFFE, 0xE0DD), b"  ", 7);
    check("delimiter with a length", &file(long), &[W::PixelDelimiterLength]);
    let bare = start()
        .item(4)
        .raw(b"\xFF\xD8ab")
        .item(2)
        .raw(b"\xFF\xD9")
        .sequence_end();
    let whole = check("no table", &file(bare), &[W::MissingOffsetTable]);
    assert_eq!(whole.units, [&b"\xFF\xD8ab"[..], b"\xFF\xD9"]);
    let tiny = start().item(2).raw(b"\xFF\xD8").item(2).raw(b"\xFF\xD9").sequence_end();
    check("no table, tiny", &file(tiny), &[W::MissingOffsetTable]);
    let ends: &[&[u8]] = &[b"ab", b"c\xFF\xD9\0", b"de", b"\xFF\xD9"];
    let whole = check("end markers", &file(image("2").fragments(&[], ends)), &[]);
    assert_eq!(whole.instance.layout.unwrap().frame_range(1).unwrap().bytes, 6..10);
    let extended = [0_u64, 22]
        .iter()
        .flat_map(|offset| offset.to_le_bytes())
        .collect::<Vec<_>>();
    let extended = image("2")
        .element((0x7FE0, 1), b"OV", &extended)
        .fragments(&[], &[b"abcd", b"ef", b"gh"]);
    let whole = check("extended table", &file(extended), &[]);
    assert_eq!(whole.instance.layout.unwrap().frame_range(1).unwrap().bytes, 6..8);
    check(
        "video",
        &image("9").fragments(&[0; 4], two).file("1.2.840.10008.1.2.4.102"),
        &[],
    );
    check(
        "under native",
        &image("2").fragments(&[], two).plain_file(),
        &[W::EncapsulatedUnderNative],
    );
    check(
        "big endian",
        &Builder::identified(Encoding::ExplicitBig)
            .image(4, 4, 8, "2")
            .fragments(&[0, 0, 0, 0, 0, 0, 0, 12], two)
            .plain_file(),
        &[W::EncapsulatedUnderNative],
    );
}

#[test]
fn long_fragments_are_cut() {
    let fragment = vec![5; (8 << 20) + 3];
    let dataset = image("1").fragments(&[], &[&fragment]);
    let whole = round_trip(&dataset.file("1.2.840.10008.1.2.4.90"), &[1 << 16]).unwrap();
    assert_eq!(whole.units.iter().map(Bytes::len).collect::<Vec<_>>(), [8 << 20, 3]);
    assert_eq!(
        whole.instance.layout.unwrap().frame_range(0).unwrap().bytes,
        0..(8 << 20) + 3
    );
}

#[test]
fn deflated_datasets_are_inflated() {
    use std::io::Write as _;
    let dataset = image("1").element(PIXEL_DATA, b"OB", &[1; 16]);
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    raw.write_all(&dataset.bytes).unwrap();
    let raw = raw.finish().unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&dataset.bytes).unwrap();
    let zlib = zlib.finish().unwrap();
    let file = |body: &[u8]| Builder::new(EXPLICIT).raw(body).file(TransferSyntax::DEFLATED);
    let whole = check("deflated", &file(&raw), &[]);
    assert_eq!(merge(&whole).1, dataset.bytes);
    check("padded", &file(&[&raw[..], &[0]].concat()), &[]);
    check(
        "bytes behind",
        &file(&[&raw[..], b"junk"].concat()),
        &[Warning::BytesAfterDeflate],
    );
    check("zlib", &file(&zlib), &[Warning::ZlibWrapped]);
    let cut = split(&file(&raw[..raw.len() - 3]), &[9], SplitLimits::default());
    assert!(matches!(
        cut.err().map(|r| r.kind),
        Some(RejectionKind::Truncated { .. })
    ));
}

#[test]
fn what_cannot_be_identified_or_bounded_is_refused() {
    use RejectionKind as K;
    let check = |name: &str, file: &[u8], expected: fn(&K) -> bool, reason: u16| {
        for chunks in [&[usize::MAX][..], &[1]] {
            let rejection = split(file, chunks, SplitLimits::default())
                .err()
                .unwrap_or_else(|| panic!("{name} passed"));
            assert!(expected(&rejection.kind), "{name}: {rejection:?}");
            assert_eq!(rejection.reason.code(), reason, "{name}");
        }
    };
    let plain = |name: &str, dataset: Builder, expected: fn(&K) -> bool, reason| {
        check(name, &dataset.plain_file(), expected, reason);
    };
    check("nothing", b"", |k| *k == K::NotDicom, 0xC000);
    check(
        "text",
        b"Dear sir, please find attached the pictures of the patient.",
        |k| *k == K::NotDicom,
        0xC000,
    );
    plain(
        "no identity",
        Builder::new(EXPLICIT).element((8, 0x60), b"CS", b"OT"),
        |k| *k == K::MissingIdentity,
        0xA900,
    );
    let path = identified().element((0x0020, 0x000E), b"UI", b"../../etc/passwd");
    plain("path", path, |k| *k == K::BadUid, 0xC000);
    let class = identified().element((0x0008, 0x0016), b"UI", b"1.2.840.10008.1.3.10");
    plain("directory", class, |k| *k == K::UnsupportedSopClass, 0x0122);
    let item = identified().header((0x40, 0x275), b"SQ", 12).item(99).raw(&[0; 4]);
    plain(
        "item too long",
        item,
        |k| matches!(k, K::LengthBeyondEnd { .. }),
        0xC000,
    );
    let nested = identified()
        .header((0x40, 0x275), b"SQ", 20)
        .item(12)
        .header((8, 0x60), b"UT", 5)
        .raw(&[0; 5]);
    plain(
        "element too long",
        nested,
        |k| matches!(k, K::LengthBeyondEnd { .. }),
        0xC000,
    );
    let short = identified()
        .header((0x40, 0x275), b"SQ", 4)
        .raw(&[0xFE, 0xFF, 0, 0xE0])
        .element((0x40, 0x280), b"ST", b"ab");
    plain(
        "item header too long",
        short,
        |k| matches!(k, K::LengthBeyondEnd { .. }),
        0xC000,
    );
    let no_item = identified()
        .header((0x40, 0x275), b"SQ", UNDEFINED)
        .element((8, 0x60), b"CS", b"OT");
    plain("no item", no_item, |k| *k == K::BadSequence, 0xC000);
    plain("item outside", identified().item(0), |k| *k == K::BadSequence, 0xC000);
    plain(
        "cut value",
        identified().header((8, 0x60), b"CS", 2).raw(b"O"),
        |k| *k == K::Truncated { missing_bytes: 1 },
        0xC000,
    );
    plain(
        "cut header",
        identified().raw(&[8, 0, 0x60, 0, b'C']),
        |k| matches!(k, K::Truncated { .. }),
        0xC000,
    );
    let cut = image("1").header(PIXEL_DATA, b"OB", 16).raw(&[0; 15]);
    plain("cut pixels", cut, |k| *k == K::Truncated { missing_bytes: 1 }, 0xC000);
    let cut = image("1")
        .header(PIXEL_DATA, b"OB", UNDEFINED)
        .item(0)
        .item(9)
        .raw(&[0; 8]);
    plain("cut fragment", cut, |k| *k == K::Truncated { missing_bytes: 1 }, 0xC000);
    let open = image("1").header(PIXEL_DATA, b"OB", UNDEFINED).item(0).item(UNDEFINED);
    plain("fragment without length", open, |k| *k == K::BadFragment, 0xC000);
    let other = image("1")
        .element(PIXEL_DATA, b"OB", &[0; 16])
        .element((0x0010, 0x0020), b"LO", b"PAT2");
    plain("another patient", other, |k| *k == K::AmbiguousIdentity, 0xC000);
}

#[test]
fn a_known_length_refuses_at_once() {
    let file = image("1").header(PIXEL_DATA, b"OB", 1000).plain_file();
    let mut splitter = Splitter::new(SplitLimits::default()).with_expected_length(Some(file.len() as u64 + 16));
    let rejection = splitter.push(file.into(), &mut Vec::new()).unwrap_err();
    let kind = RejectionKind::LengthBeyondEnd {
        claimed_bytes: 1000,
        remaining_bytes: 16,
    };
    assert_eq!((rejection.kind, rejection.tag), (kind, Some(PIXEL_DATA)));
    assert_eq!(splitter.push(Bytes::new(), &mut Vec::new()), Err(rejection));
}

#[test]
fn units_within_one_push_are_not_copied() {
    let file = Bytes::from(image("2").element(PIXEL_DATA, b"OB", &[9; 32]).plain_file());
    let inside = |bytes: &Bytes| file.as_ptr_range().contains(&bytes.as_ptr());
    for sections in [false, true] {
        let mut splitter = Splitter::new(SplitLimits::default());
        let (mut events, mut rest) = (Vec::new(), file.clone());
        // A first piece ends with the header or somewhere in the pixels; what it leaves goes in with the others.
        let first = if sections { file.len() - 10 } else { file.len() - 32 };
        let mut piece = file.slice(..first);
        splitter.push_section(&mut piece, &mut events).unwrap();
        rest.advance(first - piece.len());
        assert_eq!(rest.len(), 32, "the header and nothing more");
        splitter.push(rest, &mut events).unwrap();
        assert!(
            events
                .iter()
                .all(|event| !matches!(event, SplitEvent::Unit(unit) if !inside(&unit.bytes)))
        );
        assert_eq!(events.len(), 3);
        let whole = splitter.finish(&mut events).unwrap();
        assert_eq!(
            whole.dataset_digest,
            split(&file, &[], SplitLimits::default())
                .unwrap()
                .instance
                .dataset_digest
        );
    }
}
