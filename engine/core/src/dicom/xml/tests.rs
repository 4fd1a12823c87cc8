//! Golden documents, refusals and round trips.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(map) => map,
        _ => panic!("an object"),
    }
}

fn read(document: &str) -> Result<Json, XmlError> {
    from_xml(document.as_bytes(), &XmlLimits::default()).map(Json::Object)
}

/// What stands inside the root element.
fn body(json: Json) -> String {
    let xml = to_xml(&object(json)).expect("writable");
    let start = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel \
        xmlns=\"http://dicom.nema.org/PS3.19/models/NativeDICOM\" xml:space=\"preserve\">";
    let body = xml
        .strip_prefix(start)
        .and_then(|xml| xml.strip_suffix("</NativeDicomModel>\n"));
    body.expect("declaration and root").to_owned()
}

#[test]
fn golden() {
    let check = |json: Json, expected: &str| {
        assert_eq!(body(json.clone()), expected);
        assert_eq!(
            read(&format!("<NativeDicomModel>{expected}</NativeDicomModel>")),
            Ok(json)
        );
    };
    check(json!({}), "");
    check(
        json!({"00080060": {"vr": "CS", "Value": ["CT"]}, "00080061": {"vr": "CS"}}),
        "<DicomAttribute tag=\"00080060\" vr=\"CS\" keyword=\"Modality\"><Value number=\"1\">CT</Value></DicomAttribute>\
         <DicomAttribute tag=\"00080061\" vr=\"CS\" keyword=\"ModalitiesInStudy\"/>",
    );
    check(
        json!({"00080008": {"vr": "CS", "Value": ["A", null, "B"]}}),
        "<DicomAttribute tag=\"00080008\" vr=\"CS\" keyword=\"ImageType\"><Value number=\"1\">A</Value>\
         <Value number=\"2\"/><Value number=\"3\">B</Value></DicomAttribute>",
    );
    check(
        json!({"00100010": {"vr": "PN", "Value": [
            {"Alphabetic": "Doe^Jane^^Dr^III^x", "Ideographic": "山^"}, null, {"Phonetic": "^b"}]}}),
        "<DicomAttribute tag=\"00100010\" vr=\"PN\" keyword=\"PatientName\"><PersonName number=\"1\">\
         <Alphabetic><FamilyName>Doe</FamilyName><GivenName>Jane</GivenName><NamePrefix>Dr</NamePrefix>\
         <NameSuffix>III^x</NameSuffix></Alphabetic>\
         <Ideographic><FamilyName>山</FamilyName><GivenName></GivenName></Ideographic></PersonName>\
         <PersonName number=\"2\"/><PersonName number=\"3\"><Phonetic><GivenName>b</GivenName></Phonetic></PersonName>\
         </DicomAttribute>",
    );
    check(
        json!({"00280010": {"vr": "US", "Value": [513]}, "00280030": {"vr": "DS", "Value": [0.5, 100, "x"]},
            "0040A30A": {"vr": "FD", "Value": [1e-7, "NaN", "-Infinity"]}}),
        "<DicomAttribute tag=\"00280010\" vr=\"US\" keyword=\"Rows\"><Value number=\"1\">513</Value></DicomAttribute>\
         <DicomAttribute tag=\"00280030\" vr=\"DS\" keyword=\"PixelSpacing\"><Value number=\"1\">0.5</Value>\
         <Value number=\"2\">100</Value><Value number=\"3\">x</Value></DicomAttribute>\
         <DicomAttribute tag=\"0040A30A\" vr=\"FD\" keyword=\"NumericValue\"><Value number=\"1\">1e-7</Value>\
         <Value number=\"2\">NaN</Value><Value number=\"3\">-Infinity</Value></DicomAttribute>",
    );
    check(
        json!({"00204000": {"vr": "LT", "Value": [" <a> & \"b\"\r\n\tc "]}}),
        "<DicomAttribute tag=\"00204000\" vr=\"LT\" keyword=\"ImageComments\"><Value number=\"1\"> &lt;a&gt; &amp; \
         &quot;b&quot;&#13;&#10;&#9;c </Value></DicomAttribute>",
    );
    check(
        json!({"00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, {}]}}),
        "<DicomAttribute tag=\"00081140\" vr=\"SQ\" keyword=\"ReferencedImageSequence\"><Item number=\"1\">\
         <DicomAttribute tag=\"00081155\" vr=\"UI\" keyword=\"ReferencedSOPInstanceUID\"><Value number=\"1\">1.2</Value>\
         </DicomAttribute></Item><Item number=\"2\"></Item></DicomAttribute>",
    );
    check(
        json!({"00420011": {"vr": "OB", "InlineBinary": "JVBERg=="},
            "7FE00010": {"vr": "OW", "BulkDataURI": "{BULK}/7FE00010?a=1&b=\"2\""}}),
        "<DicomAttribute tag=\"00420011\" vr=\"OB\" keyword=\"EncapsulatedDocument\"><InlineBinary>JVBERg==\
         </InlineBinary></DicomAttribute><DicomAttribute tag=\"7FE00010\" vr=\"OW\" keyword=\"PixelData\">\
         <BulkData uri=\"{BULK}/7FE00010?a=1&amp;b=&quot;2&quot;\"/></DicomAttribute>",
    );
    // Blocks: the first of a creator, a second of the same one, and one that nobody reserved.
    check(
        json!({"00090010": {"vr": "LO", "Value": ["A&B"]}, "00090011": {"vr": "LO", "Value": ["A&B"]},
            "00091001": {"vr": "SS", "Value": [1]}, "00091101": {"vr": "SS", "Value": [2]},
            "00091201": {"vr": "SS", "Value": [3]}}),
        "<DicomAttribute tag=\"00090010\" vr=\"LO\"><Value number=\"1\">A&amp;B</Value></DicomAttribute>\
         <DicomAttribute tag=\"00090011\" vr=\"LO\"><Value number=\"1\">A&amp;B</Value></DicomAttribute>\
         <DicomAttribute tag=\"00090001\" vr=\"SS\" privateCreator=\"A&amp;B\"><Value number=\"1\">1</Value>\
         </DicomAttribute><DicomAttribute tag=\"00091101\" vr=\"SS\" privateCreator=\"A&amp;B\"><Value number=\"1\">2\
         </Value></DicomAttribute><DicomAttribute tag=\"00091201\" vr=\"SS\"><Value number=\"1\">3</Value>\
         </DicomAttribute>",
    );
}

#[test]
fn what_others_write_is_read() {
    let check = |body: &str, expected: Json| {
        let document =
            format!("\u{FEFF}<?xml version=\"1.0\"?>\n<n:NativeDicomModel xmlns:n='x'>\n{body}\n</n:NativeDicomModel>");
        assert_eq!(read(&document), Ok(expected), "{body}");
    };
    // Prefixes, white space between elements, comments, CDATA, character references, lower case, no numbers.
    check(
        "<n:DicomAttribute n:tag='0020000d' vr='UI' keyword='?'>\n <!-- a --><Value>1<![CDATA[.2]]>&#x2e;3</Value>\n\
         <Value>4</Value></n:DicomAttribute>",
        json!({"0020000D": {"vr": "UI", "Value": ["1.2.3", "4"]}}),
    );
    // Numbers out of order and with gaps.
    check(
        "<DicomAttribute tag='00080008' vr='CS'><Value number='3'>C</Value><Value number='1'>A</Value></DicomAttribute>",
        json!({"00080008": {"vr": "CS", "Value": ["A", null, "C"]}}),
    );
    check(
        "<DicomAttribute tag='00081140' vr='SQ'><Item number='2'/></DicomAttribute>",
        json!({"00081140": {"vr": "SQ", "Value": [{}, {}]}}),
    );
    check(
        "<DicomAttribute tag='00080008' vr='CS'><Value number='1'/></DicomAttribute>",
        json!({"00080008": {"vr": "CS"}}),
    );
    check(
        "<DicomAttribute tag='00420011' vr='OB'><BulkData uuid='a-b'/></DicomAttribute>",
        json!({"00420011": {"vr": "OB", "BulkDataURI": "urn:uuid:a-b"}}),
    );
    check(
        "<DicomAttribute tag='00420011' vr='OB'><InlineBinary>\n  JVBE\n  Rg==\n</InlineBinary></DicomAttribute>",
        json!({"00420011": {"vr": "OB", "InlineBinary": "JVBERg=="}}),
    );
    // A private attribute before its creator, and ones whose creator is never reserved.
    check(
        "<DicomAttribute tag='00090001' vr='SS' privateCreator='B'><Value>1</Value></DicomAttribute>\
         <DicomAttribute tag='00090010' vr='LO'><Value>A</Value></DicomAttribute>\
         <DicomAttribute tag='00090011' vr='LO'><Value>B</Value></DicomAttribute>\
         <DicomAttribute tag='00090001' vr='SS' privateCreator='C'/><DicomAttribute tag='00090002' vr='SS' privateCreator='C'/>",
        json!({"00090010": {"vr": "LO", "Value": ["A"]}, "00090011": {"vr": "LO", "Value": ["B"]},
            "00090012": {"vr": "LO", "Value": ["C"]}, "00091101": {"vr": "SS", "Value": [1]},
            "00091201": {"vr": "SS"}, "00091202": {"vr": "SS"}}),
    );
    check(
        "<DicomAttribute tag='00281201' vr='FL'><Value>INF</Value><Value>0.10000000149011612</Value></DicomAttribute>",
        json!({"00281201": {"vr": "FL", "Value": ["Infinity", 0.10000000149011612]}}),
    );
}

#[test]
fn a_refusal_says_where() {
    use XmlErrorKind as Kind;
    let check = |document: &str, path: &str, kind: Kind| {
        let error = read(document).expect_err(document);
        assert_eq!((error.path.as_str(), error.kind), (path, kind), "{document}");
    };
    let inside =
        |body: &str, path: &str, kind: Kind| check(&format!("<NativeDicomModel>{body}</NativeDicomModel>"), path, kind);
    check("", "", Kind::Malformed);
    check("<NativeDicomModel>", "", Kind::Malformed);
    check("<NativeDicomModel></Other>", "", Kind::Malformed);
    check("<NativeDicomModel/><NativeDicomModel/>", "", Kind::Unexpected);
    check("x<NativeDicomModel/>", "", Kind::Unexpected);
    check("<html/>", "", Kind::Unexpected);
    check("<!DOCTYPE a [<!ENTITY b \"c\">]><NativeDicomModel/>", "", Kind::Entity);
    inside("<Value/>", "", Kind::Unexpected);
    inside("x", "", Kind::Unexpected);
    inside("<DicomAttribute vr='CS'/>", "", Kind::BadTag);
    inside("<DicomAttribute tag='0008' vr='CS'/>", "", Kind::BadTag);
    inside("<DicomAttribute tag='00080060'/>", "", Kind::BadVr);
    inside("<DicomAttribute tag='00080060' vr='cs'/>", "", Kind::BadVr);
    let cs = |body: &str, kind: Kind| {
        inside(
            &format!("<DicomAttribute tag='00080060' vr='CS'>{body}</DicomAttribute>"),
            "00080060",
            kind,
        )
    };
    cs("x", Kind::Unexpected);
    cs("<Item/>", Kind::Unexpected);
    cs("<PersonName/>", Kind::Unexpected);
    cs("<Value><b/></Value>", Kind::Unexpected);
    cs("<Value>&b;</Value>", Kind::Entity);
    cs("<Value>&#0;</Value>", Kind::Malformed);
    cs("<Value number='0'/>", Kind::BadNumber);
    cs("<Value number='x'/>", Kind::BadNumber);
    cs("<Value number='2'/><Value number='2'/>", Kind::BadNumber);
    cs("<Value number='18446744073709551615'/>", Kind::TooManyValues);
    cs("<Value number='2000001'/>", Kind::TooManyValues);
    cs("<Value/><InlineBinary/>", Kind::SeveralValues);
    cs("<BulkData uri='a'/><Value/>", Kind::SeveralValues);
    cs("<BulkData/>", Kind::NoAddress);
    inside(
        "<DicomAttribute tag='00081140' vr='SQ'><Item/><Item><DicomAttribute tag='00080060' vr='CS'><b/></DicomAttribute>\
         </Item></DicomAttribute>",
        "00081140/1/00080060",
        Kind::Unexpected,
    );
    inside(
        "<DicomAttribute tag='00080060' vr='CS'/><DicomAttribute tag='00080060' vr='CS'/>",
        "",
        Kind::DuplicateTag,
    );
    let nested = |depth: usize| {
        let (start, end) = (
            "<DicomAttribute tag='00081140' vr='SQ'><Item>",
            "</Item></DicomAttribute>",
        );
        let document = format!(
            "<NativeDicomModel>{}{}</NativeDicomModel>",
            start.repeat(depth),
            end.repeat(depth)
        );
        read(&document).map_err(|error| error.kind)
    };
    let deepest = nested(64).expect("readable");
    assert!(to_xml(&object(deepest)).is_ok());
    assert_eq!(nested(65), Err(Kind::TooDeep));
    assert_eq!(nested(100_000), Err(Kind::TooDeep));
    let limits = XmlLimits {
        document_bytes_max: 10,
        ..XmlLimits::default()
    };
    assert_eq!(from_xml(&[b' '; 11], &limits).map_err(|e| e.kind), Err(Kind::TooLong));
    assert_eq!(from_xml(b"<\xFF>", &limits).map_err(|e| e.kind), Err(Kind::NotUtf8));
    let limits = XmlLimits {
        values_max: 3,
        ..XmlLimits::default()
    };
    let values = b"<NativeDicomModel><DicomAttribute tag='00080060' vr='CS'><Value/><Value/><Value/></DicomAttribute></NativeDicomModel>";
    let error = from_xml(values, &limits).expect_err("too many");
    assert_eq!((error.path.as_str(), error.kind), ("00080060", Kind::TooManyValues));
    assert_eq!(
        error.to_string(),
        "at offset 81, attribute 00080060: the document has too many values"
    );
}

#[test]
fn only_the_json_model_is_written() {
    let check = |json: Json| assert_eq!(to_xml(&object(json)), Err(WriteError::NotDicomJson));
    check(json!({"PatientID": {"vr": "LO"}}));
    check(json!({"00100020": {}}));
    check(json!({"00100020": {"vr": "L\""}}));
    check(json!({"00100020": {"vr": "LO", "Value": [[]]}}));
    check(json!({"00100010": {"vr": "PN", "Value": ["a"]}}));
    check(json!({"00081140": {"vr": "SQ", "Value": ["a"]}}));
    check(json!({"00100020": {"vr": "LO", "Value": "a"}}));
    let mut deep = json!({});
    for _ in 0..65 {
        deep = json!({"00081140": {"vr": "SQ", "Value": [deep]}});
    }
    assert_eq!(to_xml(&object(deep)), Err(WriteError::TooDeep));
}

/// Text that XML can hold and JSON values have: not empty, for empty is `null`.
fn text() -> impl Strategy<Value = String> {
    "[ -~\t\n\r\u{85}\u{A0}-\u{2030}\u{4E00}-\u{4E10}\u{1F600}]{1,12}"
}

fn values(one: impl Strategy<Value = Json> + 'static) -> BoxedStrategy<Vec<Json>> {
    let one = prop_oneof![9 => one, 1 => Just(Json::Null)];
    // A lone `null` is an empty attribute.
    proptest::collection::vec(one, 0..4)
        .prop_filter("not only null", |v| v[..] != [Json::Null])
        .boxed()
}

fn attribute(vr: &'static str, values: Vec<Json>) -> Json {
    if values.is_empty() {
        json!({"vr": vr})
    } else {
        json!({"vr": vr, "Value": values})
    }
}

fn any_attribute() -> impl Strategy<Value = Json> {
    let finite = any::<f64>().prop_filter("finite", |number| number.is_finite());
    let group = || {
        proptest::collection::vec("[a-z &<]{0,3}", 1..7)
            .prop_map(|c| c.join("^"))
            .prop_filter("some", |t| !t.is_empty())
    };
    let name = proptest::collection::btree_map(
        prop_oneof![Just("Alphabetic"), Just("Ideographic"), Just("Phonetic")],
        group(),
        1..3,
    );
    prop_oneof![
        values(text().prop_map(Json::from)).prop_map(|v| attribute("LO", v)),
        values(any::<u16>().prop_map(Json::from)).prop_map(|v| attribute("US", v)),
        values((-(1_i64 << 53)..1 << 53).prop_map(Json::from)).prop_map(|v| attribute("SV", v)),
        values(finite.clone().prop_map(Json::from)).prop_map(|v| attribute("FD", v)),
        values(
            finite
                .prop_filter("no integer", |f| f.fract() != 0.0)
                .prop_map(Json::from)
        )
        .prop_map(|v| attribute("DS", v)),
        values(any::<i32>().prop_map(Json::from)).prop_map(|v| attribute("IS", v)),
        values(name.prop_map(|name| json!(name))).prop_map(|v| attribute("PN", v)),
        "[A-Za-z0-9+/]{0,8}".prop_map(|binary| json!({"vr": "OB", "InlineBinary": binary})),
        text().prop_map(|uri| json!({"vr": "OB", "BulkDataURI": uri})),
    ]
}

fn dataset() -> impl Strategy<Value = Json> {
    let tag = || {
        prop_oneof![
            (8_u16..0x60, 1_u16..0x20).prop_map(|(group, element)| (group * 2, element)),
            (0_u16..2, 0x1000_u16..0x1300).prop_map(|(group, element)| (9 + group * 2, element)),
        ]
        .prop_map(|(group, element)| format!("{group:04X}{element:04X}"))
    };
    let creators = || {
        let key = (0_u16..2, 0x10_u16..0x13).prop_map(|(group, block)| format!("{:04X}{block:04X}", 9 + group * 2));
        let name = "[AB]|a <&\">".prop_map(|name| json!({"vr": "LO", "Value": [name]}));
        proptest::collection::btree_map(key, name, 0..5)
    };
    let leaf = (
        creators(),
        proptest::collection::btree_map(tag(), any_attribute(), 0..6),
    );
    let leaf = leaf.prop_map(|(a, b)| json!(a.into_iter().chain(b).collect::<Map<_, _>>()));
    leaf.prop_recursive(3, 24, 3, move |inner| {
        let sequence = proptest::collection::vec(inner, 0..3).prop_map(|items| attribute("SQ", items));
        let either = prop_oneof![3 => any_attribute(), 1 => sequence];
        (creators(), proptest::collection::btree_map(tag(), either, 0..6))
            .prop_map(|(a, b)| json!(a.into_iter().chain(b).collect::<Map<_, _>>()))
    })
}

proptest! {
    #[test]
    fn json_comes_back(json in dataset()) {
        let xml = to_xml(&object(json.clone())).expect("writable");
        prop_assert_eq!(read(&xml), Ok(json));
    }

    #[test]
    fn nothing_panics(document in "(<(/?(NativeDicomModel|DicomAttribute|Value|Item|PersonName|b)( (tag|vr|number)='[0-9A-Z]{0,8}')?|!--|!DOCTYPE|/?)>?|&[a-z#0-9]{0,3};?|[a-z ]){0,24}") {
        let _ = read(&document);
        let _ = read(&format!("<NativeDicomModel><DicomAttribute tag='00080060' vr='SQ'>{document}"));
    }
}

#[test]
fn the_whole_corpus_comes_back() {
    use crate::dicom::attributes::Header;
    use crate::dicom::json::{JsonOptions, to_json};

    let path = std::env::var_os("SEPTUM_CORPUS").map(std::path::PathBuf::from);
    let path = path.unwrap_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if !path.is_dir() {
        println!("no corpus, nothing tested");
        return;
    }
    let (mut num_same, mut folders) = (0, vec![path.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry").path();
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let bytes = std::fs::read(&entry).expect("readable");
            let Ok(whole) = crate::dicom::tests::split(&bytes, &[usize::MAX], Default::default()) else {
                continue;
            };
            let encoding = whole.instance.start.encoding.into();
            let Ok(header) = Header::from_bytes(whole.instance.header.elements(), encoding) else {
                continue;
            };
            let json = to_json(&header, &JsonOptions::default());
            let xml = to_xml(&json).expect("writable");
            let again = from_xml(xml.as_bytes(), &XmlLimits::default()).expect("readable");
            assert!(again == json, "{}", entry.display());
            num_same += 1;
        }
    }
    println!("{num_same} headers came back");
}
