//! Pages against the attributes that their rows were made from.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::super::tests::{attributes, parse, query_text, study};
use super::*;
use crate::query::Level;

fn row(key: u8, attributes: &Map<String, Json>) -> Row {
    Row::from_attributes([key; 32], attributes)
}

#[test]
fn page_bytes_are_golden() {
    let mut page = Page::new();
    page.upsert(&row(7, &study()).that_came(5)).expect("room");
    let fields: [&str; 12] = [
        "müller^jürgen=山田^太郎",
        "MRN17",
        "A-1",
        "Thorax nativ",
        "20200115",
        "103015.5",
        "CT\u{1E}SR",
        "",
        "",
        "1.2.3",
        "1950.01.02",
        "",
    ];
    let mut expected = vec![1, 1, 0];
    expected.extend([7; 32]);
    expected.extend(5_u64.to_le_bytes());
    for field in fields {
        expected.extend((field.len() as u16).to_le_bytes());
        expected.extend(field.as_bytes());
    }
    assert_eq!(page.encode(), expected);
    assert_eq!(Page::decode(&expected), Ok(page));
    expected[0] = 9;
    assert_eq!(Page::decode(&expected), Err(PageError::Version(9)));
}

#[test]
fn rows_come_and_go() {
    let mut page = Page::new();
    for key in 0..ROWS_MAX {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&(key as u16).to_le_bytes());
        page.upsert(&Row::from_attributes(bytes, &study())).expect("room");
    }
    assert_eq!(page.upsert(&row(0xEE, &study())), Err(PageError::Full));
    page.upsert(&Row::from_attributes([0; 32], &Map::new()))
        .expect("replaces");
    assert_eq!(
        (page.num_rows(), page.field(0, Column::PatientId)),
        (ROWS_MAX, Some(""))
    );
    page.upsert(&row(1, &study()).that_came(9)).expect_err("full");
    assert!(page.remove(&[0; 32]) && !page.remove(&[0; 32]));
    page.upsert(&row(0xEE, &study()).that_came(9)).expect("room");
    assert_eq!((page.came_ms(0), page.came_ms(ROWS_MAX - 1)), (0, 9));
    assert!(page.remove(&[0xEE; 32]));
    assert_eq!(
        (page.num_rows(), page.field(0, Column::PatientId)),
        (ROWS_MAX - 1, Some("MRN17"))
    );
    assert!(page.byte_size() > page.encode().len() / 2);
}

#[test]
fn long_fields_leave_the_decision_to_the_study() {
    let mut attributes = study();
    attributes["00100020"] = json!({"vr": "LO", "Value": ["x".repeat(FIELD_BYTES_MAX + 1)]});
    let mut page = Page::new();
    page.upsert(&row(1, &attributes)).expect("room");
    page.upsert(&row(2, &study())).expect("room");
    let page = Page::decode(&page.encode()).expect("sound");
    let query = parse(Level::Study, "PatientID=y").expect("fine");
    let (compiled, others) = CompiledPredicates::new(&query.predicates);
    assert!(others.is_empty());
    assert_eq!(page.scan(&compiled).collect::<Vec<_>>(), [0]);
    assert_eq!((page.is_exact(0), page.is_exact(1)), (false, true));
}

#[test]
fn the_longest_patients_there_are_fit_a_page() {
    let mut attributes = study();
    let long = |length: usize| json!({"vr": "LO", "Value": ["x".repeat(length)]});
    for (tag, length) in [("00100020", 4000), ("00081030", 4090), ("00200010", 3000)] {
        attributes.insert(tag.to_owned(), long(length));
    }
    let mut page = Page::new();
    for key in 0..ROWS_MAX {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&(key as u16).to_le_bytes());
        page.upsert(&Row::from_attributes(bytes, &attributes)).expect("room");
    }
    assert!(page.encode().len() <= (2 << 20) + ROWS_MAX * (32 + 8 + 2 * NUM_COLUMNS) + 3);
    let kept =
        [Column::StudyId, Column::PatientId, Column::StudyDescription].map(|column| page.field(0, column).is_some());
    assert_eq!((kept, page.is_exact(0)), ([true, false, false], false));
    assert_eq!(page.field(0, Column::StudyDate), Some("20200115"));
}

proptest! {
    #[test]
    fn pages_answer_like_queries(studies in prop::collection::vec(attributes(), 0..20), query in query_text()) {
        let mut page = Page::new();
        for (number, study) in studies.iter().enumerate() {
            page.upsert(&row(number as u8, study)).expect("room");
        }
        let page = Page::decode(&page.encode()).expect("sound");
        let query = parse(Level::Study, &query).expect("a sound query");
        let (compiled, others) = CompiledPredicates::new(&query.predicates);
        prop_assert!(others.is_empty());
        let expected: Vec<_> = (0..studies.len()).filter(|&number| query.matches(&studies[number])).collect();
        prop_assert_eq!(page.scan(&compiled).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pages_follow_their_rows(changes in prop::collection::vec((0..6_u8, prop::option::of(attributes())), 0..20)) {
        let mut page = Page::new();
        let mut model = std::collections::BTreeMap::new();
        for (key, change) in changes {
            match change {
                Some(attributes) => {
                    page.upsert(&row(key, &attributes)).expect("room");
                    model.insert(key, attributes);
                }
                None => prop_assert_eq!(page.remove(&[key; 32]), model.remove(&key).is_some()),
            }
        }
        prop_assert_eq!(page.num_rows(), model.len());
        let decoded = Page::decode(&page.encode());
        prop_assert_eq!(decoded.as_ref(), Ok(&page));
        for (key, attributes) in model {
            let mut alone = Page::new();
            alone.upsert(&row(key, &attributes)).expect("room");
            let place = page.find(&[key; 32]).expect("there");
            for column in Column::ALL {
                prop_assert_eq!(page.field(place, column), alone.field(0, column));
            }
        }
    }

    #[test]
    fn damaged_pages_are_refused(mut bytes in Just({
        let mut page = Page::new();
        page.upsert(&row(1, &study())).expect("room");
        page.upsert(&row(2, &study())).expect("room");
        page.encode()
    }), at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len());
        prop_assert!(Page::decode(&bytes[..cut]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(page) = Page::decode(&bytes) {
            prop_assert_eq!(page.encode(), bytes);
        }
    }
}

#[test]
fn literals_are_found_in_their_own_rows_alone() {
    let mut page = Page::new();
    // Where one value ends and the next begins there is more text than in either.
    let names = ["xa", "aay", "", "baab", "ab", "aa"];
    for (number, name) in names.iter().enumerate() {
        let attributes = json!({"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}});
        let attributes = attributes.as_object().expect("an object");
        page.upsert(&Row::from_attributes([number as u8; 32], attributes))
            .expect("room");
    }
    for (query, expected) in [
        ("*aa*", vec![1, 3, 5]),
        ("aa*", vec![1, 5]),
        ("*ab", vec![3, 4]),
        ("aa", vec![5]),
        ("*aab*", vec![3]),
        ("*xaa*", vec![]),
        ("a?y", vec![1]),
    ] {
        let parsed = parse(Level::Study, &format!("PatientName={query}")).expect("fine");
        let (compiled, _) = CompiledPredicates::new(&parsed.predicates);
        assert_eq!(page.scan(&compiled).collect::<Vec<_>>(), expected, "{query}");
    }
}

#[test]
fn long_heaps_keep_their_ends() {
    let mut page = Page::new();
    let name = |number: usize| format!("{number:03}{}", "n".repeat(number % 4000));
    for number in 0..ROWS_MAX {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&(number as u16).to_le_bytes());
        let value = if number < 3 { String::new() } else { name(number) };
        let attributes = json!({"00100020": {"vr": "LO", "Value": [value]}});
        let attributes = attributes.as_object().expect("an object");
        page.upsert(&Row::from_attributes(bytes, attributes)).expect("room");
    }
    let page = Page::decode(&page.encode()).expect("sound");
    assert_eq!(page.field(2, Column::PatientId), Some(""));
    for number in 3..ROWS_MAX {
        assert_eq!(page.field(number, Column::PatientId), Some(name(number).as_str()));
    }
}
