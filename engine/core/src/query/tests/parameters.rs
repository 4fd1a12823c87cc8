//! Options, included attributes, levels and order (PS3.18 sections 8.3.4 and 10.6).

use serde_json::{Value as Json, json};

use super::super::{Include, Level, Query, Window, split_by_level};
use super::{dataset, pairs, parse};

#[test]
fn included_items_show_what_was_asked_for() {
    // C.2.2.2.6: a sequence of matching items with the requested attributes.
    let all = dataset(json!({
        "00101002": {"vr": "SQ", "Value": [
            {"00100020": {"vr": "LO", "Value": ["X1"]}, "00100021": {"vr": "LO", "Value": ["A"]}},
            {"00100020": {"vr": "LO", "Value": ["X2"]}, "00100021": {"vr": "LO", "Value": ["B"]}}]},
    }));
    let shown = |query: &str| {
        let query = parse(Level::Study, query).expect("a legal query");
        query
            .project(&all)
            .get("00101002")
            .map(|sequence| sequence["Value"].clone())
    };
    let id = |id: &str| json!({"00100020": {"vr": "LO", "Value": [id]}});
    assert_eq!(shown(""), None);
    assert_eq!(
        shown("includefield=OtherPatientIDsSequence").as_ref(),
        Some(&all["00101002"]["Value"])
    );
    assert_eq!(shown("00101002=").as_ref(), Some(&all["00101002"]["Value"]));
    assert_eq!(
        shown("includefield=OtherPatientIDsSequence.PatientID"),
        Some(json!([id("X1"), id("X2")]))
    );
    assert_eq!(shown("00101002.PatientID=X2"), Some(json!([id("X2")])));
    assert_eq!(
        shown("00101002.00100021=B&includefield=00101002.00100020")
            .as_ref()
            .map(|v| v.as_array().map(Vec::len)),
        Some(Some(1))
    );
    assert_eq!(shown("includefield=all").as_ref(), Some(&all["00101002"]["Value"]));
}

#[test]
fn options() {
    // PS3.18 section 8.3.4.
    let query = parse(
        Level::Study,
        "limit=0&offset=7&fuzzymatching=true&includefield=all&includefield=StudyDate&=",
    );
    let query = query.expect("a legal query");
    assert_eq!((query.limit, query.offset, query.fuzzy), (Some(0), 7, true));
    assert_eq!(query.include, Include::All);
    let query = parse(
        Level::Study,
        "includefield=&includefield=00100020, StudyDate,00101002.00100020",
    )
    .expect("fine");
    assert_eq!(query.include, Include::Tags(vec![0x0008_0020, 0x0010_0020]));
    let query = parse(
        Level::Instance,
        "PatientName=secret&00090010=secret&00091001=secret&orderby=PatientID",
    )
    .expect("fine");
    assert!(!format!("{query:?}").contains("secret"));
    let message = |query: &str| parse(Level::Study, query).expect_err("refused").to_string();
    for (query, expected) in [
        ("limit=x", "query parameter limit is not a whole number"),
        ("limit=", "query parameter limit is not a whole number"),
        ("limit=+1", "query parameter limit is not a whole number"),
        ("limit=1.5", "query parameter limit is not a whole number"),
        ("offset=-1", "query parameter offset is not a whole number"),
        ("offset=1&offset=2", "query parameter offset is given more than once"),
        ("fuzzymatching=1", "query parameter fuzzymatching is not true or false"),
        (
            "emptyvaluematching=",
            "query parameter emptyvaluematching is not true or false",
        ),
        (
            "multiplevaluematching=TRUE",
            "query parameter multiplevaluematching is not true or false",
        ),
        (
            "includefield=StudyDate,Nonsense",
            "includefield names an unknown attribute Nonsense",
        ),
        ("includefield=ALL", "includefield names an unknown attribute ALL"),
        ("studydate=20200101", "unknown query parameter studydate"),
        (
            "RetrieveURL=x",
            "query parameter RetrieveURL is not an attribute that can be matched",
        ),
        (
            "PixelData=x",
            "query parameter PixelData is not an attribute that can be matched",
        ),
        (
            "orderby=StudyDate,Nonsense",
            "orderby names Nonsense, which is not an attribute to sort by",
        ),
        (
            "orderby=-OtherPatientIDsSequence",
            "orderby names OtherPatientIDsSequence, which is not an attribute to sort by",
        ),
        (
            "orderby=Modality",
            "orderby names Modality, which does not describe what is searched for",
        ),
        (
            "orderby=StudyDate&orderby=StudyTime",
            "query parameter orderby is given more than once",
        ),
    ] {
        assert_eq!(message(query), expected);
    }
    assert_eq!(
        message(&format!("orderby={}", ["StudyDate"; 9].join(","))),
        "more than 8 attributes in orderby"
    );
}

#[test]
fn levels_are_looked_at_as_deep_as_needed() {
    let deepest = |query: &str| {
        let query = parse(Level::Study, query).expect("a legal query");
        split_by_level(&query).deepest()
    };
    assert_eq!(deepest("PatientID=1&ModalitiesInStudy=CT&Modality=*"), Level::Study);
    assert_eq!(deepest("InstanceAvailability=ONLINE"), Level::Study);
    assert_eq!(
        deepest("SpecificCharacterSet=ISO_IR 100&TimezoneOffsetFromUTC=+0100"),
        Level::Study
    );
    assert_eq!(deepest("Modality=CT"), Level::Series);
    assert_eq!(
        deepest("RequestAttributesSequence.ScheduledProcedureStepID=1"),
        Level::Series
    );
    assert_eq!(deepest("Modality=CT&SOPInstanceUID=1.2"), Level::Instance);
    assert_eq!(deepest("00090010=ACME"), Level::Instance);
}

#[test]
fn results_are_in_order() {
    let study = |uid: &str, name: &str, date: &str, weight: Json| {
        dataset(json!({
            "0020000D": {"vr": "UI", "Value": [uid]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
            "00080020": {"vr": "DA", "Value": [date]},
            "00101030": {"vr": "DS", "Value": [weight]},
        }))
    };
    let studies = [
        study("1.4", "Ärmel^A", "20200101", json!(9)),
        study("1.3", "zebra", "", json!("10.5")),
        study("1.2", "Ast", "20210101", Json::Null),
        study("1.1", "ARMEL^A", "20200101", json!("many")),
    ];
    let sorted = |order: &str| {
        let pairs = pairs(&format!("orderby={order}"));
        let query = Query::parse(Level::Study, pairs.into_iter()).expect("a legal query");
        let mut window = Window::new(0, 10);
        for study in &studies {
            window.offer(query.order_key(study), || {
                study["0020000D"]["Value"][0].as_str().expect("a UID").to_owned()
            });
        }
        window.finish().0.join(" ")
    };
    for (order, expected) in [
        ("", "1.2 1.1 1.4 1.3"),
        ("StudyDate", "1.1 1.4 1.2 1.3"),
        ("-StudyDate", "1.2 1.1 1.4 1.3"),
        ("-00080020,-StudyInstanceUID", "1.2 1.4 1.1 1.3"),
        ("PatientName", "1.1 1.4 1.2 1.3"),
        ("+PatientName", "1.1 1.4 1.2 1.3"),
        ("-PatientName", "1.3 1.2 1.1 1.4"),
        ("PatientWeight", "1.4 1.3 1.1 1.2"),
        ("-PatientWeight", "1.3 1.4 1.1 1.2"),
        ("StudyInstanceUID", "1.1 1.2 1.3 1.4"),
        ("AccessionNumber", "1.1 1.2 1.3 1.4"),
    ] {
        assert_eq!(sorted(order), expected, "{order}");
    }
}

#[test]
fn windows_keep_what_they_show() {
    let query = parse(Level::Study, "orderby=StudyID").expect("a legal query");
    let key = |id: usize| {
        query.order_key(&dataset(
            json!({"00200010": {"vr": "SH", "Value": [format!("{id:03}")]}}),
        ))
    };
    for (offset, limit) in [
        (0, 0),
        (0, 5),
        (3, 4),
        (95, 10),
        (100, 1),
        (0, usize::MAX),
        (usize::MAX, 1),
    ] {
        let mut window = Window::new(offset, limit);
        let mut num_made = 0;
        for id in (0..100).rev() {
            window.offer(key(id), || {
                num_made += 1;
                id
            });
        }
        assert_eq!(window.num_offered(), 100);
        let expected: Vec<usize> = (0..100).skip(offset).take(limit).collect();
        assert_eq!(
            window.finish(),
            (expected, offset.saturating_add(limit) < 100),
            "{offset} {limit}"
        );
        assert_eq!(num_made, 100, "each was the smallest yet");
    }
    let mut window = Window::new(0, 2);
    for number in 0..5 {
        window.offer(key(1), || number);
    }
    assert_eq!(window.finish(), (vec![0, 1], true), "equal ones stay in their order");
}
