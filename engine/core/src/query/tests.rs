//! Parameters to answers, and searches against a reference that is written from the standard's text.

mod archive;
mod parameters;
mod reference;
mod tables;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

fn dataset(json: Json) -> Map<String, Json> {
    json.as_object().cloned().expect("an object")
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    });
    pairs.collect()
}

pub(super) fn parse(level: Level, text: &str) -> Result<Query, QueryError> {
    Query::parse(level, pairs(text).into_iter())
}

pub(super) fn study() -> Map<String, Json> {
    let json = json!({
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20200115"]},
        "00080030": {"vr": "TM", "Value": ["103015.5"]},
        "00080050": {"vr": "SH", "Value": ["A-1"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00080090": {"vr": "PN"},
        "00081030": {"vr": "LO", "Value": ["Thorax nativ"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jürgen", "Ideographic": "山田^太郎"}]},
        "00100020": {"vr": "LO", "Value": ["MRN17"]},
        "00100030": {"vr": "DA", "Value": ["1950.01.02"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "00201206": {"vr": "IS", "Value": [2]},
        "00101002": {"vr": "SQ", "Value": [
            {"00100020": {"vr": "LO", "Value": ["X1"]}, "00100021": {"vr": "LO", "Value": ["HospA"]}},
            {"00100020": {"vr": "LO", "Value": ["X2"]}, "00100021": {"vr": "LO", "Value": ["HospB"]}}]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00101030": {"vr": "DS", "Value": [70.5]},
        "0008002A": {"vr": "DT", "Value": ["20200115103015"]},
        "00091001": {"vr": "LO", "Value": ["private"]},
    });
    json.as_object().cloned().expect("an object")
}

#[test]
fn queries_match_as_the_standard_says() {
    let study = study();
    for (query, expected) in [
        ("", true),
        ("PatientID=MRN17", true),
        ("00100020=MRN17", true),
        ("0010002 0=MRN17", false),
        ("PatientID=mrn17", false),
        ("PatientID=MRN*", true),
        ("PatientID=*N1?", true),
        ("PatientID=MRN1", false),
        ("PatientName=müller*", true),
        ("PatientName=MULLER*", false),
        ("PatientName=MULLER*&fuzzymatching=true", true),
        ("PatientName=jurgen mul&fuzzymatching=true", true),
        ("PatientName=山田*", true),
        ("StudyInstanceUID=1.2.3", true),
        ("StudyInstanceUID=1.2.4,1.2.3", true),
        ("StudyInstanceUID=1.2.4\\1.2.3", true),
        ("StudyInstanceUID=1.2.4&StudyInstanceUID=1.2.3", true),
        ("StudyInstanceUID=1.2", false),
        ("StudyDate=20200115", true),
        ("StudyDate=20200101-20200131", true),
        ("StudyDate=-20200114", false),
        ("StudyDate=20200115-", true),
        ("StudyTime=10", true),
        ("StudyTime=1030-1031", true),
        ("StudyTime=103016-", false),
        // One range of moments: noon of the 14th to nine o'clock of the 16th.
        ("StudyDate=20200114-20200116&StudyTime=1200-0900", true),
        ("StudyDate=20200115-20200116&StudyTime=1200-0900", false),
        ("StudyDate=20200115&StudyTime=1200-", false),
        ("PatientBirthDate=19500102", true),
        ("ModalitiesInStudy=SR", true),
        ("ModalitiesInStudy=MR\\CT", true),
        ("ModalitiesInStudy=MR,US", false),
        ("NumberOfStudyRelatedSeries=2", true),
        ("NumberOfStudyRelatedSeries=02.0", true),
        ("NumberOfStudyRelatedSeries=3", false),
        ("PatientWeight=70.50", true),
        ("ReferringPhysicianName=", true),
        ("ReferringPhysicianName=*", true),
        ("ReferringPhysicianName=a*", false),
        ("StudyID=", true),
        ("StudyID=x", false),
        ("StudyID=\"\"&emptyvaluematching=true", true),
        ("PatientID=\"\"&emptyvaluematching=true", false),
        ("StudyDescription=*nativ*", true),
        ("StudyDescription=a\\Thorax nativ", false),
        ("StudyDescription=a\\Thorax nativ&multiplevaluematching=true", false),
        ("OtherPatientIDsSequence.PatientID=X2", true),
        ("00101002.00100020=X3", false),
        (
            "OtherPatientIDsSequence.PatientID=X2&OtherPatientIDsSequence.IssuerOfPatientID=HospB",
            true,
        ),
        (
            "OtherPatientIDsSequence.PatientID=X1&OtherPatientIDsSequence.IssuerOfPatientID=HospB",
            false,
        ),
        ("OtherPatientIDsSequence=", true),
    ] {
        let found = parse(Level::Study, query).map(|query| query.matches(&study));
        assert_eq!(found.unwrap_or(false), expected, "{query}");
    }
    for (query, expected) in [
        ("Modality=CT", true),
        ("AcquisitionDateTime=2020", true),
        ("AcquisitionDateTime=202001151030-202001151031", true),
        ("AcquisitionDateTime=20200116-", false),
        ("00091001=priv*", true),
    ] {
        assert_eq!(
            parse(Level::Instance, query).map(|query| query.matches(&study)),
            Ok(expected),
            "{query}"
        );
    }
}

#[test]
fn wrong_queries_are_refused_by_name() {
    let name = Name::for_test;
    let value = |parameter: &str, expected| QueryError::Value {
        parameter: name(parameter),
        expected,
    };
    let many: String = (0..65).map(|n| format!("0009{:04X}=x&", 0x1000 + n)).collect();
    for (query, expected) in [
        ("Foo=1", QueryError::UnknownParameter(name("Foo"))),
        ("00100000=1", QueryError::UnknownParameter(name("00100000"))),
        ("00020010=1", QueryError::UnknownParameter(name("00020010"))),
        ("Müller^J=1", QueryError::UnknownParameter(name("(unprintable)"))),
        (
            "PatientID.PatientName=1",
            QueryError::UnknownParameter(name("PatientID.PatientName")),
        ),
        ("PatientID=1&00100020=2", QueryError::Duplicate(name("00100020"))),
        ("limit=1&limit=1", QueryError::Duplicate(name("limit"))),
        ("limit=-1", value("limit", "a whole number")),
        ("offset=", value("offset", "a whole number")),
        ("limit=99999999999999999999", value("limit", "a whole number")),
        ("fuzzymatching=yes", value("fuzzymatching", "true or false")),
        (
            "StudyDate=2020",
            value("StudyDate", "a date or a range of dates (YYYYMMDD)"),
        ),
        (
            "StudyDate=202001*",
            value("StudyDate", "a date or a range of dates (YYYYMMDD)"),
        ),
        (
            "StudyTime=25",
            value("StudyTime", "a time or a range of times (HHMMSS)"),
        ),
        (
            "StudyInstanceUID=1.2.*",
            value("StudyInstanceUID", "a UID or a list of UIDs"),
        ),
        (
            "NumberOfStudyRelatedSeries=many",
            value("NumberOfStudyRelatedSeries", "a number"),
        ),
        (
            "OtherPatientIDsSequence=x",
            value(
                "OtherPatientIDsSequence",
                "the path of an attribute inside the sequence",
            ),
        ),
        ("includefield=Foo", QueryError::UnknownIncludeField(name("Foo"))),
    ] {
        assert_eq!(parse(Level::Study, query).map(|_| ()), Err(expected), "{query}");
    }
    assert_eq!(parse(Level::Instance, &many).err(), Some(QueryError::TooManyPredicates));
    let long = format!("PatientID={}", "x".repeat(VALUE_BYTES_MAX + 1));
    assert_eq!(
        parse(Level::Study, &long).err(),
        Some(QueryError::TooLong {
            parameter: name("PatientID"),
            bytes_max: VALUE_BYTES_MAX
        })
    );
    let error = parse(Level::Study, "StudyDate=secret").expect_err("not a date");
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[test]
fn results_show_what_was_asked_for() {
    let study = study();
    let keys = |query: Query| query.project(&study).keys().cloned().collect::<Vec<_>>().join(" ");
    let required =
        "00080005 00080020 00080030 00080050 00080061 00080090 00081030 00100010 00100020 00100030 0020000D 00201206";
    assert_eq!(keys(parse(Level::Study, "").expect("fine")), required);
    let with_more = parse(
        Level::Study,
        "includefield=00080060,PatientWeight&includefield=StudyDate",
    )
    .expect("fine");
    assert_eq!(
        with_more.include,
        Include::Tags(vec![0x0008_0020, 0x0008_0060, 0x0010_1030])
    );
    assert_eq!(keys(with_more).split(' ').count(), 14);
    let all = parse(Level::Study, "includefield=all&limit=10&offset=20").expect("fine");
    assert_eq!((all.limit, all.offset, &all.include), (Some(10), 20, &Include::All));
    assert_eq!(all.project(&study), study);
    let series = parse(Level::Series, "PatientWeight=70.5")
        .expect("fine")
        .with_fixed(Level::Study);
    assert_eq!(keys(series), "00080005 00080060 00101030 0020000D");
}

#[test]
fn predicates_are_split_by_level() {
    let text =
        "PatientID=1&Modality=CT&InstanceNumber=3&StudyDate=*&RequestAttributesSequence.ScheduledProcedureStepID=4";
    let query = parse(Level::Instance, text).expect("fine");
    let levels = split_by_level(&query);
    let tags = |predicates: &[Predicate]| predicates.iter().map(Predicate::tag).collect::<Vec<_>>();
    assert_eq!(tags(&levels.study), [0x0010_0020]);
    assert_eq!(tags(&levels.series), [0x0008_0060, 0x0040_0275]);
    assert_eq!(tags(&levels.instance), [0x0020_0013]);
    assert_eq!(levels.study[0].exact_values(), Some(vec!["1"]));
    assert!(levels.series[1].is_nested() && levels.series[1].exact_values().is_none());
}

/// Few letters, so that things match now and then.
pub(super) fn attributes() -> impl Strategy<Value = Map<String, Json>> {
    let text = "[aAbß ]{0,4}";
    let texts = prop::collection::vec(prop_oneof![text.prop_map(Json::from), Just(Json::Null)], 0..3);
    let date = prop_oneof!["2020010[1-4]", "1999", "2020\\.01\\.0[1-3]"];
    let time = prop_oneof!["0[0-3]", "0[0-3]30", "0[0-3]3015\\.[0-9]{1,6}", "x"];
    let name = ("[aAäb]{0,2}\\^[aAäb]{0,2}", "[山田]{0,2}")
        .prop_map(|(alphabetic, ideographic)| json!({"Alphabetic": alphabetic, "Ideographic": ideographic}));
    let uid = "1\\.[1-3]";
    let modalities = prop::collection::vec("CT|MR|SR", 0..3);
    (
        texts.clone(),
        texts,
        prop::option::of(date),
        prop::option::of(time),
        prop::option::of(name),
        uid,
        modalities,
    )
        .prop_map(|(id, description, date, time, name, uid, modalities)| {
            let json = json!({
                "00100020": {"vr": "LO", "Value": id},
                "00081030": {"vr": "LO", "Value": description},
                "00080020": {"vr": "DA", "Value": Vec::from_iter(date)},
                "00080030": {"vr": "TM", "Value": Vec::from_iter(time)},
                "00100010": {"vr": "PN", "Value": Vec::from_iter(name)},
                "0020000D": {"vr": "UI", "Value": [uid]},
                "00080061": {"vr": "CS", "Value": modalities},
            });
            json.as_object().cloned().expect("an object")
        })
}

pub(super) fn query_text() -> impl Strategy<Value = String> {
    let date = "2020010[1-4]";
    let dates = prop_oneof![
        date.prop_map(String::from),
        (date, date).prop_map(|(a, b)| format!("{a}-{b}")),
        date.prop_map(|a| format!("-{a}")),
        date.prop_map(|a| format!("{a}-")),
    ];
    let times = prop_oneof!["0[0-3]-0[0-3]", "0[0-3]30-", "-0[0-3]30", "0[0-3]"];
    let one = |name: &'static str, values: BoxedStrategy<String>| {
        prop::option::of(values)
            .prop_map(move |value| value.map(|value| format!("{name}={value}&")).unwrap_or_default())
    };
    let all = (
        one("PatientID", "[aAbß*?]{0,3}".boxed()),
        one("StudyDescription", "[ab*? ]{0,3}".boxed()),
        one("StudyDate", dates.boxed()),
        one("StudyTime", times.boxed()),
        one("PatientName", "[aAäb*?^山]{0,3}".boxed()),
        one("StudyInstanceUID", "1\\.[1-3](,1\\.[1-3])?".boxed()),
        one("ModalitiesInStudy", "CT|M\\*|SR\\\\MR|\\?R".boxed()),
        any::<bool>(),
    );
    all.prop_map(|(a, b, c, d, e, f, g, fuzzy)| format!("{a}{b}{c}{d}{e}{f}{g}fuzzymatching={fuzzy}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn matching_equals_the_reference(study in attributes(), query in query_text()) {
        let query = query.split('&').filter(|pair| !pair.starts_with("PatientName")).collect::<Vec<_>>().join("&");
        let parsed = parse(Level::Study, &query).expect("a sound query");
        let reference = reference::Request::new(&pairs(&query));
        prop_assert_eq!(parsed.matches(&study), reference.holds(&study));
    }

    #[test]
    fn rows_sort_like_their_studies(
        studies in prop::collection::vec(attributes(), 1..6),
        order in "|-?(PatientName|StudyDate|00100020)(,-?(StudyTime|ModalitiesInStudy|StudyInstanceUID))?",
    ) {
        let query = parse(Level::Study, &format!("orderby={order}")).expect("a sound query");
        let mut page = columns::Page::new();
        for (number, study) in studies.iter().enumerate() {
            page.upsert(&columns::Row::from_attributes([number as u8; 32], study)).expect("room");
        }
        for (number, study) in studies.iter().enumerate() {
            prop_assert_eq!(query.order_key_of_row(&page, number), Some(query.order_key(study)));
            for other in &studies {
                let last = query.order_key(other);
                prop_assert!(!query.is_row_behind(&page, number, &last) || query.order_key(study) > last);
            }
        }
        let other = parse(Level::Study, "orderby=PatientWeight").expect("a sound query");
        prop_assert_eq!(other.order_key_of_row(&page, 0), None);
    }

    #[test]
    fn wildcards_equal_the_reference(pattern in "[ab*?]{0,8}", text in "[abü]{0,8}") {
        prop_assert_eq!(wildcard::Pattern::new(&pattern).matches(&text), reference::like(&pattern, &text));
    }

    #[test]
    fn anything_may_be_asked(name in "[A-Za-z0-9.]{0,20}|StudyDate|AcquisitionDateTime|StudyTime", value in "\\PC{0,20}|[0-9+:.-]{0,24}") {
        let zone = ("TimezoneOffsetFromUTC".to_owned(), "-0730".to_owned());
        let creator = ("00090010".to_owned(), "x".to_owned());
        for more in [vec![], vec![zone], vec![creator]] {
            let pairs = [(name.clone(), value.clone())].into_iter().chain(more);
            if let Ok(query) = Query::parse(Level::Instance, pairs) {
                query.matches(&study());
                query.project(&study());
                query.order_key(&study());
            }
        }
    }
}

#[test]
fn lists_of_uids_may_be_long() {
    let study = study();
    let uid = |number: usize| format!("1.2.840.113619.2.55.3.604688119.971.1234567890.{number:012}");
    let list = |count: usize| (1..count).map(|number| uid(number) + ",").collect::<String>() + "1.2.3";
    let query = format!("StudyInstanceUID={}", list(UIDS_MAX));
    assert!(query.len() > 32 * VALUE_BYTES_MAX);
    assert!(parse(Level::Study, &query).expect("a sound query").matches(&study));
    assert!(
        !parse(Level::Study, &query.replace("1.2.3", &uid(0)))
            .expect("a sound query")
            .matches(&study)
    );
    let parameter = || Name::for_test("StudyInstanceUID");
    for query in [
        format!("StudyInstanceUID={}", list(UIDS_MAX + 1)),
        format!("StudyInstanceUID={}&StudyInstanceUID=1.2", list(UIDS_MAX)),
    ] {
        assert_eq!(
            parse(Level::Study, &query).err(),
            Some(QueryError::TooManyUids(parameter()))
        );
    }
    let query = format!("StudyInstanceUID={}", "1".repeat(UIDS_BYTES_MAX + 1));
    let bytes_max = UIDS_BYTES_MAX;
    let expected = QueryError::TooLong {
        parameter: parameter(),
        bytes_max,
    };
    assert_eq!(parse(Level::Study, &query).err(), Some(expected));
}

#[test]
fn letters_match_composed_or_not() {
    let of = |name: &str, description: &str| {
        dataset(json!({
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
            "00081030": {"vr": "LO", "Value": [description]},
        }))
    };
    let composed = of("\u{C4}neas^Ren\u{E9}", "Sch\u{E4}del");
    let decomposed = of("A\u{308}neas^Rene\u{301}", "Scha\u{308}del");
    for study in [composed, decomposed] {
        for (query, expected) in [
            ("PatientName=\u{C4}neas*", true),
            ("PatientName=A\u{308}neas*", true),
            ("PatientName=a\u{308}NEAS^ren\u{E9}", true),
            ("PatientName=?neas*", true),
            ("PatientName=Aneas*", false),
            ("StudyDescription=Scha\u{308}del", true),
            ("StudyDescription=Sch\u{E4}*", true),
            ("StudyDescription=Sch?del", true),
            ("StudyDescription=Schadel", false),
        ] {
            let query = parse(Level::Study, query).expect("a sound query");
            assert_eq!(query.matches(&study), expected, "{query:?}");
            let mut page = columns::Page::new();
            page.upsert(&columns::Row::from_attributes([1; 32], &study))
                .expect("room");
            let (compiled, others) = columns::CompiledPredicates::new(&query.predicates);
            assert_eq!((page.scan(&compiled).count(), others.len()), (usize::from(expected), 0));
        }
    }
}
