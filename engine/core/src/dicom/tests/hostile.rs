//! Bombs, lying lengths, and mutations: a clean answer in bounded memory, never a panic (invariant 6).

use std::time::{Duration, Instant};

use dicom_encoding::transfer_syntax::TransferSyntaxIndex as _;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::super::builder::{Builder, PIXEL_DATA};
use super::*;

const UNDEFINED: u32 = u32::MAX;

fn refuse(file: &[u8], limits: SplitLimits) -> RejectionKind {
    let start = Instant::now();
    let rejection = split(file, &[65_536], limits).err().expect("refused");
    assert!(start.elapsed() < Duration::from_secs(5), "{rejection}");
    rejection.kind
}

fn identified(encoding: Encoding) -> Builder {
    Builder::identified(encoding)
}

#[test]
fn deep_nesting_is_refused() {
    for encoding in [
        Encoding::ImplicitLittle,
        Encoding::ExplicitLittle,
        Encoding::ExplicitBig,
    ] {
        // Inside a value of VR UN the encoding is Implicit VR Little Endian, whatever it is outside.
        let unknown = if encoding.is_big_endian() {
            RejectionKind::BadSequence
        } else {
            RejectionKind::TooDeep
        };
        for (vr, expected) in [(b"SQ", RejectionKind::TooDeep), (b"UN", unknown)] {
            let mut dataset = identified(encoding);
            for _ in 0..100_000 {
                dataset = dataset.header((0x0040, 0x0275), vr, UNDEFINED).item(UNDEFINED);
            }
            assert_eq!(refuse(&dataset.plain_file(), SplitLimits::default()), expected);
        }
        // Of defined lengths, found in Implicit VR by the dictionary.
        let mut inner = Builder::new(encoding);
        for _ in 0..65 {
            let item = Builder::new(encoding).item(inner.bytes.len() as u32).raw(&inner.bytes);
            inner = Builder::new(encoding).element((0x0040, 0x0275), b"SQ", &item.bytes);
        }
        assert_eq!(
            refuse(
                &identified(encoding).raw(&inner.bytes).plain_file(),
                SplitLimits::default()
            ),
            RejectionKind::TooDeep
        );
    }
}

#[test]
fn the_deepest_allowed_nesting_can_be_read() {
    let mut dataset = identified(Encoding::ExplicitLittle);
    for _ in 0..64 {
        dataset = dataset.header((0x0040, 0x0275), b"SQ", UNDEFINED).item(UNDEFINED);
    }
    for _ in 0..64 {
        dataset = dataset.item_end().sequence_end();
    }
    let whole = round_trip(&dataset.plain_file(), &[100]).unwrap();
    read(&whole).unwrap();
}

#[test]
fn lying_lengths_allocate_nothing() {
    use RejectionKind as K;
    let limits = SplitLimits::default();
    let dataset = identified(Encoding::ExplicitLittle);
    let text = dataset
        .clone()
        .header((0x0040, 0xA160), b"UT", 0xFFFF_FFFE)
        .plain_file();
    assert_eq!(
        refuse(&text, limits),
        K::Truncated {
            missing_bytes: 0xFFFF_FFFE
        }
    );
    let limits = SplitLimits {
        instance_bytes_max: 1 << 30,
        ..limits
    };
    let pixels = dataset.clone().header(PIXEL_DATA, b"OB", 0xFFFF_FFFE).plain_file();
    assert_eq!(refuse(&pixels, limits), K::InstanceTooLarge);
    let fragment = dataset
        .clone()
        .header(PIXEL_DATA, b"OB", UNDEFINED)
        .item(0)
        .item(0xFFFF_FFFE)
        .plain_file();
    assert_eq!(refuse(&fragment, limits), K::InstanceTooLarge);
    let table = dataset
        .clone()
        .header(PIXEL_DATA, b"OB", UNDEFINED)
        .item(0x3FFF_FFF0)
        .raw(&[0; 9])
        .plain_file();
    assert_eq!(refuse(&table, limits), K::HeaderTooLarge);
    let meta = Builder::new(Encoding::ExplicitLittle)
        .raw(&[0; 128])
        .raw(b"DICM")
        .header((2, 1), b"OB", 0xFFFF_FFF0);
    assert_eq!(refuse(&[&meta.bytes[..], &[0; 64]].concat(), limits), K::HeaderTooLarge);
}

#[test]
fn limits_hold() {
    use RejectionKind as K;
    let limits = SplitLimits {
        instance_bytes_max: 100_000,
        header_bytes_max: 20_000,
        elements_max: 100,
        fragments_max: 10,
        ..SplitLimits::default()
    };
    let dataset = || identified(Encoding::ExplicitLittle);
    let many = (0..200).fold(dataset(), |d, i| d.element((0x0041, i), b"LO", b""));
    assert_eq!(refuse(&many.plain_file(), limits), K::TooManyElements);
    let items = (0..200).fold(dataset().header((0x40, 0x275), b"SQ", UNDEFINED), |d, _| d.item(0));
    assert_eq!(refuse(&items.plain_file(), limits), K::TooManyElements);
    let values = (0..10).fold(dataset(), |d, i| d.element((0x0041, i), b"OB", &[0; 4000]));
    assert_eq!(refuse(&values.plain_file(), limits), K::HeaderTooLarge);
    let fragments = dataset().fragments(&[], &[b"ab".as_slice(); 11]);
    assert_eq!(refuse(&fragments.plain_file(), limits), K::TooManyFragments);
    let long = dataset().fragments(&[], &[&[0; 60_000], &[0; 60_000]]);
    assert_eq!(refuse(&long.plain_file(), limits), K::InstanceTooLarge);
    let junk = dataset().element(PIXEL_DATA, b"OB", &[0; 16]).raw(&[0; 30_000]);
    assert_eq!(refuse(&junk.plain_file(), limits), K::HeaderTooLarge);
    let unidentified = Builder::new(Encoding::ExplicitLittle)
        .element((8, 0x60), b"CS", b"OT")
        .element(PIXEL_DATA, b"OB", &[0; 30_000]);
    assert_eq!(refuse(&unidentified.plain_file(), limits), K::MissingIdentity);
}

#[test]
fn a_deflate_bomb_is_refused() {
    use std::io::Write as _;
    let dataset = identified(Encoding::ExplicitLittle).header(PIXEL_DATA, b"OB", 200 << 20);
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflated.write_all(&dataset.bytes).unwrap();
    for _ in 0..200 {
        deflated.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let file = Builder::new(Encoding::ExplicitLittle)
        .raw(&deflated.finish().unwrap())
        .file(TransferSyntax::DEFLATED);
    let mut splitter = Splitter::new(SplitLimits::default());
    let (mut events, mut payload) = (Vec::new(), 0);
    let rejection = file.chunks(1000).find_map(|chunk| {
        let result = splitter.push(Bytes::copy_from_slice(chunk), &mut events);
        for event in events.drain(..) {
            if let SplitEvent::Unit(unit) = event {
                payload += unit.bytes.len();
            }
        }
        result.err()
    });
    assert_eq!(rejection.unwrap().kind, RejectionKind::InflateBomb);
    assert!(payload <= 4 << 20, "{payload} bytes were inflated first");
}

/// Reads the shown elements with dicom-object.
fn read(whole: &Whole) -> Result<InMemDicomObject, dicom_object::ReadError> {
    let elements = whole.instance.header.elements();
    let uid = TransferSyntax::of_encoding(whole.instance.start.encoding);
    let syntax = TransferSyntaxRegistry.get(uid.uid()).unwrap();
    InMemDicomObject::read_dataset_with_ts(&elements[..], syntax)
}

/// A small, fast, fixed generator (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for encoding in [
        Encoding::ImplicitLittle,
        Encoding::ExplicitLittle,
        Encoding::ExplicitBig,
    ] {
        let nested = identified(encoding)
            .header((0x0040, 0x0275), b"SQ", UNDEFINED)
            .item(UNDEFINED)
            .header((0x0040, 0x0008), b"SQ", 18)
            .item(10)
            .element((8, 0x100), b"SH", b"AB")
            .item_end()
            .sequence_end()
            .header((0x0041, 0x1010), b"UN", UNDEFINED)
            .item(0)
            .sequence_end();
        seeds.push(
            nested
                .clone()
                .image(4, 4, 8, "2")
                .element(PIXEL_DATA, b"OB", &[1; 32])
                .plain_file(),
        );
        seeds.push(
            nested
                .fragments(&[0; 4], &[b"abcd", b"efgh"])
                .element((0xFFFC, 0xFFFC), b"OB", &[0; 4])
                .plain_file(),
        );
    }
    if let Some(corpus) = super::corpus::corpus() {
        let mut paths = Vec::new();
        super::corpus::files(&corpus, &mut paths);
        seeds.extend(
            paths
                .iter()
                .filter_map(|path| std::fs::read(path).ok())
                .filter(|bytes| (1..4000).contains(&bytes.len())),
        );
    }
    seeds
}

#[test]
fn mutations_never_panic_and_merge_exactly() {
    let mut random = Random(0x5EED_0001);
    let seeds = seeds();
    let (mut accepted, mut readable, start) = (0, 0, Instant::now());
    let mut total = 0;
    while total < 20_000 && start.elapsed() < Duration::from_secs(8) {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            match random.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..(at + random.below(16)).min(bytes.len()), [])),
                2 => drop(bytes.splice(
                    at..at,
                    [
                        0xFE,
                        0xFF,
                        [0x00, 0x0D, 0xDD][random.below(3)],
                        0xE0,
                        0xFF,
                        0xFF,
                        0xFF,
                        0xFF,
                    ],
                )),
                3 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xFF),
                _ => bytes[at] = random.below(256) as u8,
            }
            if bytes.is_empty() {
                break;
            }
        }
        total += 1;
        let chunk = 1 + random.below(900);
        if let Ok(whole) = round_trip(&bytes, &[chunk]) {
            accepted += 1;
            readable += usize::from(read(&whole).is_ok());
        }
    }
    println!(
        "{total} mutations, {accepted} accepted, of these {readable} read by dicom-object, {:?}",
        start.elapsed()
    );
    assert!(total >= 2000 && accepted > 100);
}
