use bytes::Bytes;

use super::*;

const ENCODINGS: [Encoding; 3] = [
    Encoding::ExplicitLittle,
    Encoding::ImplicitLittle,
    Encoding::ExplicitBig,
];

fn header(encoding: Encoding, elements: &[(Tag, VR, &[u8])], pixel_header: bool) -> HeaderBytes {
    let mut before = Vec::new();
    for (tag, vr, value) in elements {
        put(&mut before, encoding, *tag, *vr, value);
    }
    let mut length = 0;
    if pixel_header {
        let start = before.len();
        put(&mut before, encoding, tags::PIXEL_DATA, VR::OW, b"");
        length = u8::try_from(before.len() - start).expect("short");
    }
    HeaderBytes {
        preamble_and_meta: Bytes::from_static(b"meta"),
        before: before.into(),
        after: Bytes::from_static(b"after"),
        trailing: Bytes::new(),
        pixel_header_length: length,
        edits_before: Vec::new(),
        edits_after: Vec::new(),
        long_before: Vec::new(),
        long_after: Vec::new(),
    }
}

fn correction(values: &[(Tag, &str)]) -> Correction {
    let mut correction = Correction {
        at: "20260102030405".into(),
        system: "here".into(),
        ..Correction::default()
    };
    for (tag, value) in values {
        correction.set(*tag, value).expect("a value");
    }
    correction
}

fn read(header: &HeaderBytes, encoding: Encoding) -> Header {
    let read = Header::from_bytes(header.elements_before(), encoding.into()).expect("readable");
    assert_eq!(read.unread_bytes(), 0);
    read
}

/// The items of Original Attributes Sequence, and what each says was there.
fn history_of(read: &Header) -> Vec<Vec<(Tag, String)>> {
    let items = |element: &super::super::attributes::Element| match &element.value {
        Value::Items(items) => items.clone(),
        _ => panic!("no sequence"),
    };
    let sequence = read.get(tags::ORIGINAL_ATTRIBUTES_SEQUENCE).expect("a history");
    items(sequence)
        .iter()
        .map(|item| {
            let text = |tag| {
                let element = item.get(tag).expect("there");
                let text = element.text(&CharacterSets::default()).unwrap_or_default();
                text.trim().to_owned()
            };
            assert_eq!(text(tags::MODIFYING_SYSTEM), "here");
            assert_eq!(text(tags::REASON_FOR_THE_ATTRIBUTE_MODIFICATION), "CORRECT");
            let modified = items(item.get(tags::MODIFIED_ATTRIBUTES_SEQUENCE).expect("what was modified"));
            assert_eq!(modified.len(), 1);
            let elements = modified[0].elements().iter();
            elements
                .map(|element| {
                    (
                        element.tag,
                        element
                            .text(&CharacterSets::default())
                            .expect("a text")
                            .trim()
                            .to_owned(),
                    )
                })
                .collect()
        })
        .collect()
}

#[test]
fn a_value_is_exchanged_and_the_rest_is_as_it_was() {
    for encoding in ENCODINGS {
        let private = (Tag(0x0009, 0x1001), VR::UN, &b"\x01\x02\x03\x04"[..]);
        let old = header(
            encoding,
            &[
                (tags::SOP_INSTANCE_UID, VR::UI, b"1.2.3\0"),
                private,
                (tags::PATIENT_NAME, VR::PN, b"Wrong^Name"),
                (tags::PATIENT_ID, VR::LO, b"1"),
            ],
            true,
        );
        let correction = correction(&[
            (tags::PATIENT_NAME, "Right^Name"),
            (tags::PATIENT_SEX, "O"),
            (tags::PATIENT_ID, "1"),
        ]);
        let new = corrected(&old, encoding, &correction)
            .expect("corrects")
            .expect("differs");
        let now = read(&new, encoding);
        assert_eq!(now.text(tags::PATIENT_NAME).as_deref(), Some("Right^Name"));
        assert_eq!(now.text(tags::PATIENT_SEX).as_deref(), Some("O"));
        assert_eq!(history_of(&now), [[(tags::PATIENT_NAME, "Wrong^Name".to_owned())]]);
        let order: Vec<Tag> = now.dataset().elements().iter().map(|element| element.tag).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(
            new.before[..14 + 8 + 8],
            old.before[..14 + 8 + 8],
            "what is before stays"
        );
        let tail = usize::from(old.pixel_header_length);
        assert_eq!(
            new.before[new.before.len() - tail..],
            old.before[old.before.len() - tail..]
        );
        assert_eq!(
            (&new.after, &new.preamble_and_meta),
            (&old.after, &old.preamble_and_meta)
        );
        assert_eq!(
            corrected(&new, encoding, &correction).expect("reads"),
            None,
            "it says so already"
        );
    }
}

#[test]
fn earlier_corrections_stay_told() {
    for encoding in ENCODINGS {
        let first = header(encoding, &[(tags::PATIENT_NAME, VR::PN, b"One")], false);
        let to = |old: &HeaderBytes, name: &str| {
            let made = corrected(old, encoding, &correction(&[(tags::PATIENT_NAME, name)]));
            made.expect("corrects").expect("differs")
        };
        let third = to(&to(&first, "Two"), "");
        let now = read(&third, encoding);
        assert_eq!(now.text(tags::PATIENT_NAME).unwrap_or_default(), "");
        assert!(now.get(tags::PATIENT_NAME).is_some(), "there, and empty");
        let name = |text: &str| vec![(tags::PATIENT_NAME, text.to_owned())];
        assert_eq!(history_of(&now), [name("One"), name("Two")]);
    }
}

#[test]
fn characters_are_written_in_the_sets_of_the_instance() {
    let encoding = Encoding::ExplicitLittle;
    let of = |set: &[u8], name: &[u8], wanted: &str| {
        let old = header(
            encoding,
            &[
                (tags::SPECIFIC_CHARACTER_SET, VR::CS, set),
                (tags::PATIENT_NAME, VR::PN, name),
            ],
            false,
        );
        corrected(&old, encoding, &correction(&[(tags::PATIENT_NAME, wanted)]))
    };
    for (set, name, wanted) in [
        (&b"ISO_IR 100"[..], &b"J\xE9r\xF4me"[..], "Zoë"),
        (b"ISO_IR 192", b"Zoe", "王^小東"),
        // Nothing said so far: it is Unicode from now on.
        (b"", b"Zoe", "Zoë"),
    ] {
        let new = of(set, name, wanted).expect("corrects").expect("differs");
        assert_eq!(read(&new, encoding).text(tags::PATIENT_NAME).as_deref(), Some(wanted));
    }
    let lacking = Err(CorrectionError::Character(tags::PATIENT_NAME));
    assert_eq!(of(b"ISO_IR 100", b"Zoe", "王"), lacking);
    // Bytes that nobody named cannot be called UTF-8.
    assert_eq!(of(b"", b"J\xE9r", "Zoë"), lacking);
}

#[test]
fn values_are_of_their_vr() {
    let mut correction = Correction::default();
    for (tag, good, bad) in [
        (tags::PATIENT_BIRTH_DATE, "20240229", "2024-02-29"),
        (tags::STUDY_DATE, "", "20241301"),
        (tags::STUDY_TIME, "235960.123", "250000"),
        (tags::PATIENT_SEX, "M", "male"),
        (tags::PATIENT_AGE, "045Y", "45"),
        (tags::PATIENT_SIZE, "1.80", "tall"),
        (tags::ACCESSION_NUMBER, "1234567890123456", "12345678901234567"),
        (tags::PATIENT_NAME, "A^B=C^D", "A\nB"),
        (Tag(0x0010, 0x1000), "a\\b", "a\u{1b}b"),
    ] {
        assert_eq!(correction.set(tag, good), Ok(()), "{tag}");
        assert!(
            matches!(correction.set(tag, bad), Err(CorrectionError::Value(..))),
            "{tag}"
        );
    }
    assert_eq!(
        correction.set(tags::ROWS, "1"),
        Err(CorrectionError::NotText(tags::ROWS))
    );
}

#[test]
fn long_values_keep_their_places() {
    let encoding = Encoding::ExplicitLittle;
    let mut old = header(encoding, &[(tags::PATIENT_NAME, VR::PN, b"Short")], false);
    let mut before = old.before.to_vec();
    // An element whose value was cut out: its header says how long it is.
    before.extend_from_slice(&[0x42, 0x00, 0x11, 0x00, b'O', b'B', 0, 0, 0, 0, 0, 1]);
    old.long_before = vec![LongValue {
        tag: (0x0042, 0x0011),
        vr: Some(*b"OB"),
        at: u32::try_from(before.len()).expect("small"),
        length: 1 << 24,
    }];
    put(&mut before, encoding, Tag(0x0042, 0x0012), VR::LO, b"behind");
    old.before = before.into();
    let made = corrected(&old, encoding, &correction(&[(tags::PATIENT_NAME, "A longer name")]));
    let new = made.expect("corrects").expect("differs");
    let at = new.long_before[0].at as usize;
    assert_eq!(new.before[at - 12..at - 8], [0x42, 0x00, 0x11, 0x00]);
    assert_eq!(new.before[at..at + 4], [0x42, 0x00, 0x12, 0x00]);
}

#[test]
fn what_is_torn_is_not_corrected() {
    let encoding = Encoding::ExplicitLittle;
    let whole = header(
        encoding,
        &[
            (tags::PATIENT_NAME, VR::PN, b"Wrong^Name"),
            (tags::PATIENT_ID, VR::LO, b"17"),
        ],
        false,
    );
    for length in 1..whole.before.len() {
        let torn = whole.with_before(whole.before.slice(..length), Vec::new());
        // Whatever comes of it, it does not panic.
        let _ = corrected(&torn, encoding, &correction(&[(tags::PATIENT_NAME, "Right")]));
    }
}
