//! One table for each type of matching (PS3.4 section C.2.2.2).

use serde_json::{Value as Json, json};

use super::super::{Level, QueryError};
use super::{dataset, parse};

/// Whether an instance with just these attributes matches.
fn check(attributes: &Json, query: &str, expected: bool) {
    let found = parse(Level::Instance, query).map(|query| query.matches(&dataset(attributes.clone())));
    assert_eq!(found, Ok(expected), "{query} {attributes}");
}

fn check_all(attributes: Json, table: &[(&str, bool)]) {
    for (query, expected) in table {
        check(&attributes, query, *expected);
    }
}

#[test]
fn single_values() {
    // C.2.2.2.1: case-sensitive but for names; spaces around do not count (PS3.5 section 6.2).
    let json = json!({
        "00100020": {"vr": "LO", "Value": ["Ab 1 "]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^John^^^"}]},
        "00201206": {"vr": "IS", "Value": [7]},
        "00101030": {"vr": "DS", "Value": ["070.0"]},
        "00101010": {"vr": "AS", "Value": ["070Y"]},
        "00281050": {"vr": "DS", "Value": [40, 400]},
        "00280009": {"vr": "AT", "Value": ["0018106A"]},
        "00204000": {"vr": "LT", "Value": ["a\\b"]},
    });
    check_all(
        json,
        &[
            ("PatientID=Ab 1", true),
            ("PatientID= Ab 1 ", true),
            ("PatientID=ab 1", false),
            ("PatientID=Ab", false),
            ("PatientName=DOE^JOHN", true),
            ("PatientName=doe^john^^", true),
            ("PatientName=doe", false),
            ("NumberOfStudyRelatedSeries=7", true),
            ("NumberOfStudyRelatedSeries=+7", true),
            ("NumberOfStudyRelatedSeries=007", true),
            ("PatientWeight=70", true),
            ("PatientAge=070Y", true),
            ("PatientAge=70Y", false),
            ("WindowCenter=400", true),
            ("WindowCenter=4", false),
            ("FrameIncrementPointer=0018106a", true),
            ("ImageComments=a\\b", true),
        ],
    );
}

#[test]
fn lists_of_uids() {
    // C.2.2.2.2, and the comma of PS3.18 section 8.3.4.1.
    let json = json!({"00080062": {"vr": "UI", "Value": ["1.2", "1.3"]}, "0020000D": {"vr": "UI", "Value": ["1.5"]}});
    check_all(
        json,
        &[
            ("StudyInstanceUID=1.5", true),
            ("StudyInstanceUID=1.4,1.5", true),
            ("StudyInstanceUID=1.4\\1.5", true),
            ("StudyInstanceUID=1.4&0020000D=1.5", true),
            ("StudyInstanceUID=1.4&StudyInstanceUID=", false),
            ("StudyInstanceUID=1.4,1.6", false),
            ("StudyInstanceUID=1", false),
            ("SOPClassesInStudy=1.3", true),
            // A list of UIDs stays one with Multiple Value Matching.
            ("SOPClassesInStudy=1.3\\1.4&multiplevaluematching=true", true),
        ],
    );
}

#[test]
fn universal() {
    // C.2.2.2.3: absent and empty attributes match too. C.2.2.2: the character set is never matched.
    let json = json!({"00100020": {"vr": "LO"}, "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}});
    check_all(
        json,
        &[
            ("", true),
            ("PatientID=", true),
            ("PatientID=*", true),
            ("PatientName=*", true),
            ("StudyDate=", true),
            ("StudyDate=*", true),
            ("StudyInstanceUID=", true),
            ("OtherPatientIDsSequence=", true),
            ("OtherPatientIDsSequence.PatientID=", true),
            ("PixelData=", true),
            ("SpecificCharacterSet=ISO_IR 100", true),
            ("TimezoneOffsetFromUTC=+0100", true),
            ("PatientID=?*", false),
        ],
    );
}

#[test]
fn wildcards() {
    // C.2.2.2.4: `*` is any text, none included, `?` one character; not for UI, DA, numbers.
    let json = json!({
        "00080050": {"vr": "SH", "Value": ["A.1-ü"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "AXIAL"]},
    });
    check_all(
        json,
        &[
            ("AccessionNumber=A*", true),
            ("AccessionNumber=*ü", true),
            ("AccessionNumber=?.?-?", true),
            ("AccessionNumber=A.1-ü*", true),
            ("AccessionNumber=A.1-ü?", false),
            ("AccessionNumber=a*", false),
            ("AccessionNumber=.*", false),
            ("Modality=C?", true),
            ("ImageType=*IMA*", true),
            ("ImageType=X*,AX*", true),
        ],
    );
    for query in [
        "StudyInstanceUID=1.*",
        "StudyDate=2020*",
        "InstanceNumber=1*",
        "AcquisitionDateTime=2020*",
    ] {
        assert!(
            matches!(parse(Level::Instance, query), Err(QueryError::Value { .. })),
            "{query}"
        );
    }
}

#[test]
fn ranges() {
    // C.2.2.2.5.1 to C.2.2.2.5.3.
    let json = json!({
        "00080020": {"vr": "DA", "Value": ["20200115"]},
        "00080030": {"vr": "TM", "Value": ["103015.25"]},
        "0008002A": {"vr": "DT", "Value": ["20200115103015+0100"]},
        "00080023": {"vr": "DA", "Value": ["nonsense"]},
    });
    check_all(
        json,
        &[
            ("StudyDate=20200115", true),
            ("StudyDate=20200101-20200115", true),
            ("StudyDate=20200115-20200115", true),
            ("StudyDate=20200116-", false),
            ("StudyDate=-20200115", true),
            ("StudyDate= 20200101 - 20200131 ", true),
            ("StudyTime=1030", true),
            ("StudyTime=103015.25", true),
            ("StudyTime=103015.26-", false),
            ("StudyTime=-1030", true),
            ("StudyTime=-1029", false),
            ("StudyTime=10-11", true),
            ("AcquisitionDateTime=20200115", true),
            ("AcquisitionDateTime=20200115093015", true),
            ("AcquisitionDateTime=20200115103015+0100", true),
            ("AcquisitionDateTime=20200115103015 0100", true),
            ("AcquisitionDateTime=20200115083015-0100", true),
            ("AcquisitionDateTime=2020011510-", false),
            ("AcquisitionDateTime=2020011509-2020011510", true),
            ("AcquisitionDateTime=-20200115103014+0100", false),
            ("AcquisitionDateTime=20200115083014-0100-20200115083016-0100", true),
            ("ContentDate=20200101-", false),
            ("SeriesDate=-20200101", false),
        ],
    );
}

#[test]
fn combined_ranges() {
    // C.2.2.2.5.4: ranges of one form on date and time are one range of moments, others are two ranges.
    let json = json!({
        "00080020": {"vr": "DA", "Value": ["20200115"]}, "00080030": {"vr": "TM", "Value": ["0800"]},
        "00080021": {"vr": "DA", "Value": ["20200115"]},
        "00080023": {"vr": "DA", "Value": ["20200101", "20200115"]}, "00080033": {"vr": "TM", "Value": ["09", "10"]},
    });
    check_all(
        json,
        &[
            ("StudyDate=20200114-20200116&StudyTime=1200-0900", true),
            ("StudyDate=20200115-20200116&StudyTime=1200-0900", false),
            ("StudyDate=20200114-&StudyTime=1200-", true),
            ("StudyDate=20200115-&StudyTime=1200-", false),
            ("StudyDate=-20200115&StudyTime=-0900", true),
            ("StudyDate=-20200115&StudyTime=-0700", false),
            // Not of one form.
            ("StudyDate=20200114-&StudyTime=1200-1300", false),
            ("StudyDate=20200114-20200116&StudyTime=-0900", true),
            ("StudyDate=20200115&StudyTime=0700-0900", true),
            // Without a time the whole day counts.
            ("SeriesDate=20200115-20200116&SeriesTime=1200-0900", true),
            // Times go with their dates.
            ("ContentDate=20200115-20200115&ContentTime=10-11", true),
            ("ContentDate=20200101-20200101&ContentTime=10-11", false),
        ],
    );
}

#[test]
fn time_zones() {
    // C.2.2.2.5 and PS3.3 section C.12.1.1.8: the query's dates and times are in the zone that it names.
    let json = json!({
        "00080201": {"vr": "SH", "Value": ["-0500"]},
        "00080020": {"vr": "DA", "Value": ["20200115"]}, "00080030": {"vr": "TM", "Value": ["2200"]},
        "00080021": {"vr": "DA", "Value": ["20200115"]},
        "00100030": {"vr": "DA", "Value": ["19500102"]}, "00100032": {"vr": "TM", "Value": ["2300"]},
        "0008002A": {"vr": "DT", "Value": ["20200115220000"]},
        "0040A730": {"vr": "SQ", "Value": [{"0040A032": {"vr": "DT", "Value": ["20200115220000+0000"]}}]},
    });
    check_all(
        json.clone(),
        &[
            ("StudyDate=20200115&StudyTime=22", true),
            ("StudyDate=20200115&TimezoneOffsetFromUTC=+0100", false),
            ("StudyDate=20200116&TimezoneOffsetFromUTC=+0100", true),
            ("StudyDate=20200116&TimezoneOffsetFromUTC= 0100", true),
            ("StudyTime=04&00080201=+0100", true),
            ("StudyTime=22&00080201=+0100", false),
            ("StudyDate=20200116-20200116&StudyTime=0300-0500&00080201=+0100", true),
            ("StudyDate=20200116-20200116&StudyTime=0430-0500&00080201=+0100", false),
            ("StudyDate=-20200116&StudyTime=-03&00080201=+0100", false),
            // A date without a time cannot move, a birth date must not.
            ("SeriesDate=20200115&00080201=+0100", true),
            ("PatientBirthDate=19500102&PatientBirthTime=23&00080201=+0100", true),
            ("AcquisitionDateTime=20200116&00080201=+0100", true),
            ("AcquisitionDateTime=20200116035959+0100-&00080201=-1200", true),
            ("ContentSequence.ObservationDateTime=2020011523&00080201=+0100", true),
        ],
    );
    let mut unknown = json;
    unknown.as_object_mut().expect("an object").remove("00080201");
    check_all(
        unknown,
        &[
            ("StudyDate=20200115&TimezoneOffsetFromUTC=+0100", true),
            ("AcquisitionDateTime=2020011522&TimezoneOffsetFromUTC=+0100", true),
        ],
    );
    assert!(parse(Level::Study, "TimezoneOffsetFromUTC=CET").is_err());
}

#[test]
fn sequences() {
    // C.2.2.2.6: all item keys must match in one item.
    let json = json!({
        "00400275": {"vr": "SQ", "Value": [
            {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["P1"]},
             "00321064": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}]}},
            {"00400009": {"vr": "SH", "Value": ["S2"]}, "00401001": {"vr": "SH"}},
        ]},
        "00101002": {"vr": "SQ"},
        "00091010": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["Q"]}}]},
    });
    check_all(
        json,
        &[
            ("RequestAttributesSequence.ScheduledProcedureStepID=S2", true),
            ("00400275.00400009=S2", true),
            ("RequestAttributesSequence.00400009=S?", true),
            ("00400275.00400009=S1&00400275.00401001=P1", true),
            ("00400275.00400009=S2&00400275.00401001=P1", false),
            ("00400275.00400009=S2&00400275.00401001=", true),
            (
                "00400275.00400009=S2&00400275.00401001=\"\"&emptyvaluematching=true",
                true,
            ),
            (
                "00400275.00400009=S1&00400275.00401001=\"\"&emptyvaluematching=true",
                false,
            ),
            ("00400275.RequestedProcedureCodeSequence.CodeValue=X", true),
            ("00400275.00321064.00080100=X&00400275.00400009=S2", false),
            ("OtherPatientIDsSequence.PatientID=*", true),
            ("OtherPatientIDsSequence.PatientID=1", false),
            ("00091010.PatientID=Q", true),
        ],
    );
}

#[test]
fn empty_values() {
    // C.2.2.2.7: absent or without value; PS3.18 section 8.3.4.5 switches it.
    let json = json!({
        "00100010": {"vr": "PN"},
        "00100020": {"vr": "LO", "Value": [" ", null]},
        "00100030": {"vr": "DA", "Value": ["20200101"]},
        "00101001": {"vr": "PN", "Value": [{"Alphabetic": "^"}]},
        "00101002": {"vr": "SQ"},
        "00400275": {"vr": "SQ", "Value": [{}]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "x"},
    });
    check_all(
        json,
        &[
            ("PatientName=\"\"&emptyvaluematching=true", true),
            ("PatientID=\"\"&emptyvaluematching=true", true),
            ("PatientBirthDate=\"\"&emptyvaluematching=true", false),
            ("StudyDate=\"\"&emptyvaluematching=true", true),
            ("OtherPatientNames=\"\"&emptyvaluematching=true", true),
            ("OtherPatientIDsSequence=\"\"&emptyvaluematching=true", true),
            ("RequestAttributesSequence=\"\"&emptyvaluematching=true", false),
            ("PixelData=\"\"&emptyvaluematching=true", false),
            ("00091001=\"\"&emptyvaluematching=true", true),
            ("PatientID=\"\"", false),
            ("PatientID=\"\"&emptyvaluematching=false", false),
        ],
    );
    assert!(parse(Level::Study, "StudyDate=\"\"").is_err());
}

#[test]
fn multiple_values() {
    // C.2.2.2.8: each and every value of the key, in any order; other values may be there.
    let json = json!({
        "00080061": {"vr": "CS", "Value": ["PT", "CT", "SR"]},
        "00101000": {"vr": "LO", "Value": ["A", "B"]},
        "00101001": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jo"}, {"Alphabetic": "Roe"}]},
    });
    check_all(
        json,
        &[
            ("ModalitiesInStudy=CT\\PT&multiplevaluematching=true", true),
            ("ModalitiesInStudy=CT,PT&multiplevaluematching=true", true),
            ("ModalitiesInStudy=CT\\MR&multiplevaluematching=true", false),
            (
                "ModalitiesInStudy=CT&ModalitiesInStudy=MR&multiplevaluematching=true",
                false,
            ),
            ("ModalitiesInStudy=CT&multiplevaluematching=true", true),
            // Without it the standard leaves the meaning open: any of the list.
            ("ModalitiesInStudy=CT\\MR", true),
            ("ModalitiesInStudy=CT&ModalitiesInStudy=MR", true),
            ("ModalitiesInStudy=US,MR", false),
            ("OtherPatientIDs=B\\A&multiplevaluematching=true", true),
            ("OtherPatientIDs=B\\C&multiplevaluematching=true", false),
            ("OtherPatientIDs=B\\A", false),
            ("OtherPatientNames=roe\\doe*&multiplevaluematching=true", true),
            ("OtherPatientNames=roe\\doe&multiplevaluematching=true", false),
            (
                "OtherPatientNames=roe\\jo&multiplevaluematching=true&fuzzymatching=true",
                true,
            ),
        ],
    );
}

#[test]
fn private_attributes() {
    // PS3.5 section 7.8.1: the block is the instance's choice, the creator tells.
    let json = json!({
        "00090010": {"vr": "LO", "Value": ["OTHER"]}, "00091001": {"vr": "LO", "Value": ["wrong"]},
        "00090011": {"vr": "LO", "Value": ["ACME"]}, "00091101": {"vr": "DS", "Value": [2.5]},
        "00091102": {"vr": "UN", "InlineBinary": "SGVsbG8g"}, "00091103": {"vr": "OB", "InlineBinary": "SGVsbG8g"},
        "00091104": {"vr": "DA", "Value": ["20200101"]},
    });
    check_all(
        json.clone(),
        &[
            ("00091001=wrong", true),
            ("00091101=2.50", true),
            ("00090010=ACME&00091001=2.5", true),
            ("00090010=ACME&00091001=wrong", false),
            ("00090010=OTHER&00091001=wrong", true),
            ("00090020=ACME&00092001=2.5", true),
            ("00090010=ACME", true),
            ("00090010=NONE", false),
            ("00090010=A*", false),
            ("00090011=A*&00091101=2.5", true),
            ("00091102=Hel*", true),
            ("00091102=", true),
            ("00091103=Hello", false),
            ("00091104=20191231-", true),
            ("00091104=x", false),
            ("00091105=x", false),
        ],
    );
    let all = dataset(json);
    let keys = |query: &str| {
        let query = parse(Level::Instance, query).expect("a legal query");
        query.project(&all).keys().cloned().collect::<Vec<_>>().join(" ")
    };
    // PS3.18 section 10.6.3.3: with the creator's element.
    assert_eq!(keys("includefield=00091101"), "00090011 00091101");
    assert_eq!(keys("includefield=00091001&00090010=ACME"), "00090011 00091101");
    assert_eq!(keys("00090010=ACME&00091001=2.5"), "00090011 00091101");
    assert_eq!(keys("00091102="), "00090011 00091102");
    assert_eq!(keys("includefield=00092001"), "");
}
