//! Searching: predicates against attributes, and against column pages, beside a plain comparison of ready text.

use std::hint::black_box;

use septum_benches::measure::{Case, Runner, Work};
use septum_core::query::columns::{CompiledPredicates, Page, ROW_KEY_BYTES, ROWS_MAX, Row};
use septum_core::query::{Level, Query};
use serde_json::{Map, Value, json};

/// A study as the floor sees it.
struct Plain {
    name: String,
    id: String,
    date: String,
}

type Search = (&'static str, &'static str, &'static str, fn(&Plain) -> bool);

/// Name of the comparison, parameter, value, and what the least possible work for it is.
const SEARCHES: [Search; 5] = [
    ("name-prefix", "PatientName", "MÜLLER^AN*", |study| {
        study.name.starts_with("müller^an")
    }),
    ("name-infix", "PatientName", "*ann*", |study| study.name.contains("ann")),
    ("description-infix", "StudyDescription", "*no such thing*", |study| {
        study.name.contains("no such thing")
    }),
    ("patient-id", "PatientID", "MRN0001234", |study| {
        study.id == "MRN0001234"
    }),
    ("date-range", "StudyDate", "20200101-20200131", |study| {
        ("20200101"..="20200131").contains(&study.date.as_str())
    }),
];

pub(crate) fn run(runner: &mut Runner) {
    let num_studies = runner.size(32, 4) * ROWS_MAX;
    let studies: Vec<Map<String, Value>> = (0..num_studies).map(study).collect();
    let plain: Vec<Plain> = studies.iter().map(plain_of).collect();
    let mut pages = Vec::new();
    for (number, rows) in studies.chunks(ROWS_MAX).enumerate() {
        let mut page = Page::new();
        for (row, study) in rows.iter().enumerate() {
            let mut key = [0; ROW_KEY_BYTES];
            key[..8].copy_from_slice(&((number * ROWS_MAX + row) as u64).to_le_bytes());
            page.upsert(&Row::from_attributes(key, study)).expect("room");
        }
        pages.push(page);
    }
    let work = Work::Items(num_studies as u64, "rows");
    for (search, parameter, value, test) in SEARCHES {
        let pairs = [(parameter.to_owned(), value.to_owned())];
        let query = Query::parse(Level::Study, pairs.into_iter()).expect("a sound query");
        let (compiled, others) = CompiledPredicates::new(&query.predicates);
        assert!(others.is_empty(), "pages can decide it");
        let by_attributes = || studies.iter().filter(|study| query.matches(study)).count();
        let by_pages = || pages.iter().map(|page| page.scan(&compiled).count()).sum::<usize>();
        let found = by_pages();
        assert_eq!(found, by_attributes(), "both ways give the same answer");
        let note = || format!("{found} of {num_studies}");
        let floor = || {
            black_box(black_box(&plain).iter().filter(|study| test(study)).count());
        };
        let name = format!("query/scan-pages/{search}");
        let case = Case {
            name: &name,
            floor: "compare ready text",
            work,
        };
        runner.compare(case, note, || _ = black_box(by_pages()), floor);
        let name = format!("query/match-attributes/{search}");
        let case = Case {
            name: &name,
            floor: "compare ready text",
            work,
        };
        runner.compare(case, note, || _ = black_box(by_attributes()), floor);
    }
    encoded_pages(runner, &pages, work);
}

/// Pages lie on disk sealed: reading one in costs this, once it is opened.
fn encoded_pages(runner: &mut Runner, pages: &[Page], work: Work) {
    let encoded: Vec<Vec<u8>> = pages.iter().map(Page::encode).collect();
    let num_bytes: usize = encoded.iter().map(Vec::len).sum();
    runner.compare(
        Case {
            name: "query/decode-pages",
            floor: "memcpy",
            work,
        },
        || format!("{} bytes a row", num_bytes / (pages.len() * ROWS_MAX)),
        || {
            encoded
                .iter()
                .for_each(|bytes| drop(black_box(Page::decode(black_box(bytes)).expect("ours"))))
        },
        || {
            encoded
                .iter()
                .for_each(|bytes| drop(black_box(black_box(bytes).to_vec())))
        },
    );
}

fn study(number: usize) -> Map<String, Value> {
    const FAMILY: [&str; 7] = ["Müller", "Nowak", "García", "Smith", "Ivanova", "Yamada", "O'Brien"];
    const GIVEN: [&str; 9] = [
        "Anna", "Jürgen", "María", "Johann", "Olga", "Tarō", "Siobhán", "Andrea", "Wei",
    ];
    const DESCRIPTION: [&str; 4] = ["CT Thorax nativ", "MR Knee left", "US Abdomen", "Screening mammography"];
    let pick = |from: &'static [&'static str], salt: usize| from[((number * 2_654_435_761) >> salt) % from.len()];
    let name = format!("{}^{}^{}", pick(&FAMILY, 5), pick(&GIVEN, 9), number % 97);
    let date = format!(
        "20{:02}{:02}{:02}",
        number % 25,
        1 + number / 7 % 12,
        1 + number / 3 % 28
    );
    let modality = ["CT", "MR", "US", "MG"][number % 4];
    let json = json!({
        "00080020": {"vr": "DA", "Value": [date]},
        "00080030": {"vr": "TM", "Value": [format!("{:02}1530", number % 24)]},
        "00080050": {"vr": "SH", "Value": [format!("ACC{number:07}")]},
        "00080061": {"vr": "CS", "Value": [modality]},
        "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Referrer^Rita"}]},
        "00081030": {"vr": "LO", "Value": [pick(&DESCRIPTION, 7)]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
        "00100020": {"vr": "LO", "Value": [format!("MRN{number:07}")]},
        "00100030": {"vr": "DA", "Value": ["19500102"]},
        "00100040": {"vr": "CS", "Value": ["O"]},
        "0020000D": {"vr": "UI", "Value": [format!("1.2.826.0.1.3680043.10.{number}")]},
        "00200010": {"vr": "SH", "Value": [format!("{number}")]},
    });
    json.as_object().cloned().unwrap_or_default()
}

fn plain_of(study: &Map<String, Value>) -> Plain {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Plain {
        name: text(&study["00100010"]["Value"][0]["Alphabetic"]).to_lowercase(),
        id: text(&study["00100020"]["Value"][0]),
        date: text(&study["00080020"]["Value"][0]),
    }
}
