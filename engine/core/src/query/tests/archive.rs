//! Random small archives, random legal queries, and the answers of both sides.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::super::{ExtendedAttribute, Level, Predicate, Query, Window, matches_all, split_by_level};
use super::reference::{self, Dataset};

#[derive(Debug, Clone)]
pub(super) struct Study {
    own: Dataset,
    pub(super) series: Vec<Series>,
}

#[derive(Debug, Clone)]
pub(super) struct Series {
    own: Dataset,
    pub(super) instances: Vec<Dataset>,
}

impl Study {
    /// What is known of patient and study, computed attributes included.
    pub(super) fn attributes(&self) -> Dataset {
        let mut modalities: Vec<Json> = Vec::new();
        for modality in self
            .series
            .iter()
            .filter_map(|series| series.own["00080060"]["Value"].get(0))
        {
            if !modalities.contains(modality) {
                modalities.push(modality.clone());
            }
        }
        let num_instances: usize = self.series.iter().map(|series| series.instances.len()).sum();
        let mut all = self.own.clone();
        all.insert("00080061".into(), json!({"vr": "CS", "Value": modalities}));
        all.insert("00080056".into(), json!({"vr": "CS", "Value": ["ONLINE"]}));
        all.insert("00201206".into(), json!({"vr": "IS", "Value": [self.series.len()]}));
        all.insert("00201208".into(), json!({"vr": "IS", "Value": [num_instances]}));
        all
    }
}

impl Series {
    pub(super) fn attributes(&self) -> Dataset {
        let mut all = self.own.clone();
        all.insert("00201209".into(), json!({"vr": "IS", "Value": [self.instances.len()]}));
        all
    }
}

/// A value, an empty attribute, or none at all.
fn maybe(
    tag: &'static str,
    vr: &'static str,
    values: BoxedStrategy<Vec<Json>>,
) -> BoxedStrategy<Option<(String, Json)>> {
    let some = values.prop_map(move |values| Some((tag.to_owned(), json!({"vr": vr, "Value": values}))));
    let empty = Just(Some((tag.to_owned(), json!({"vr": vr}))));
    prop_oneof![6 => some, 1 => empty, 1 => Just(None)].boxed()
}

fn all_of(attributes: Vec<BoxedStrategy<Option<(String, Json)>>>) -> BoxedStrategy<Dataset> {
    attributes
        .prop_map(|attributes| attributes.into_iter().flatten().collect())
        .boxed()
}

fn texts(pattern: &'static str, most: usize) -> BoxedStrategy<Vec<Json>> {
    prop::collection::vec(pattern.prop_map(Json::from), 1..=most).boxed()
}

fn names(most: usize) -> BoxedStrategy<Vec<Json>> {
    let name = (
        "[Dd]oe|Müller|Mueller|O'Doe|",
        "(\\^(Jo|Jürgen|Anna))?(\\^)?",
        "|山田\\^太郎",
    );
    let name = name.prop_map(
        |(family, given, ideographic)| match (format!("{family}{given}"), ideographic) {
            (alphabetic, ideographic) if ideographic.is_empty() => json!({"Alphabetic": alphabetic}),
            (alphabetic, ideographic) => json!({"Alphabetic": alphabetic, "Ideographic": ideographic}),
        },
    );
    prop::collection::vec(name, 1..=most).boxed()
}

fn numbers() -> BoxedStrategy<Vec<Json>> {
    prop_oneof![(1..4).prop_map(Json::from), Just(json!("007")), Just(json!(2.5))]
        .prop_map(|n| vec![n])
        .boxed()
}

fn sequence(tag: &'static str, first: &'static str, second: &'static str) -> BoxedStrategy<Option<(String, Json)>> {
    let item = all_of(vec![
        maybe(first, "SH", texts("[AB]", 1)),
        maybe(second, "LO", texts("[AB]", 1)),
    ]);
    let items = prop::collection::vec(item.prop_map(Json::Object), 1..3);
    maybe(tag, "SQ", items.boxed())
}

const DATES: &str = "2020010[1-3]|2020\\.01\\.02|191[89]1231|x";
const TIMES: &str = "0[0-3]|0[0-3]30|0[0-3]3015\\.5|233000|[0-2]3:15|x";

fn study_attributes() -> BoxedStrategy<Dataset> {
    all_of(vec![
        maybe("00080020", "DA", texts(DATES, 1)),
        maybe("00080030", "TM", texts(TIMES, 1)),
        maybe("00080050", "SH", texts("A|AB|a", 1)),
        maybe("00080201", "SH", texts("\\+0100|-0500|\\+0000", 1)),
        maybe("00081030", "LO", texts("[aAbß?]{1,3} ?", 1)),
        maybe("00100010", "PN", names(1)),
        maybe("00100020", "LO", texts("[aAb]{1,2}", 1)),
        maybe("00100030", "DA", texts(DATES, 1)),
        maybe("00101001", "PN", names(2)),
        maybe("00101030", "DS", numbers()),
        sequence("00101002", "00100020", "00100021"),
    ])
}

fn series_attributes() -> BoxedStrategy<Dataset> {
    all_of(vec![
        prop_oneof!["CT", "MR", "SR"]
            .prop_map(|m| Some(("00080060".into(), json!({"vr": "CS", "Value": [m]}))))
            .boxed(),
        maybe("0008103E", "LO", texts("[aAb]{1,2}", 1)),
        maybe("00200011", "IS", numbers()),
        sequence("00400275", "00400009", "00401001"),
    ])
}

/// A private element of a creator, in one of two blocks.
fn private() -> BoxedStrategy<Dataset> {
    let element = |block: &str, value: Json| match value {
        Json::Number(number) => (format!("0009{block}01"), json!({"vr": "DS", "Value": [number]})),
        Json::Null => (format!("0009{block}01"), json!({"vr": "UN", "InlineBinary": "QUI="})),
        text => (format!("0009{block}01"), json!({"vr": "LO", "Value": [text]})),
    };
    let value = prop_oneof!["[AB]{1,2}".prop_map(Json::from), Just(json!(7)), Just(Json::Null)];
    let block = prop::option::of(("ACME|OTHER", value));
    (block.clone(), block)
        .prop_map(move |(first, second)| {
            let mut all = Map::new();
            for (block, found) in [("10", first), ("11", second)] {
                if let Some((creator, value)) = found {
                    all.insert(format!("000900{block}"), json!({"vr": "LO", "Value": [creator]}));
                    all.extend([element(block, value)]);
                }
            }
            all
        })
        .boxed()
}

fn instance_attributes() -> BoxedStrategy<Dataset> {
    let public = all_of(vec![
        maybe("00080008", "CS", texts("ORIGINAL|DERIVED|AXIAL", 3)),
        maybe(
            "0008002A",
            "DT",
            texts("20200101|2020010[12]0[0-3]|202001020030\\+0100|20200102013000\\.5", 1),
        ),
        maybe("00080023", "DA", texts(DATES, 2)),
        maybe("00080033", "TM", texts("0[0-3]|0[0-3]30", 2)),
        maybe("00200013", "IS", numbers()),
    ]);
    (public, private())
        .prop_map(|(mut public, private)| {
            public.extend(private);
            public
        })
        .boxed()
}

/// A series and its instances, without UIDs yet.
type RawSeries = (Dataset, Vec<Dataset>);

fn archive() -> impl Strategy<Value = Vec<Study>> {
    let instances = prop::collection::vec(instance_attributes(), 1..3);
    let series = prop::collection::vec((series_attributes(), instances), 1..3);
    prop::collection::vec((study_attributes(), series), 1..5).prop_map(|studies| {
        let uid = |tag: &str, uid: String| (tag.to_owned(), json!({"vr": "UI", "Value": [uid]}));
        let study = |(number, (mut own, series)): (usize, (Dataset, Vec<RawSeries>))| {
            own.extend([uid("0020000D", format!("1.{number}"))]);
            let series = series.into_iter().enumerate().map(|(at, (mut own, instances))| {
                own.extend([uid("0020000E", format!("2.{number}.{at}"))]);
                let instances = instances.into_iter().enumerate().map(|(i, mut instance)| {
                    instance.extend([uid("00080018", format!("3.{number}.{at}.{i}"))]);
                    instance.extend([uid("0020000E", format!("2.{number}.{at}"))]);
                    instance
                });
                Series {
                    own,
                    instances: instances.collect(),
                }
            });
            let series = series.collect();
            Study { own, series }
        };
        studies.into_iter().enumerate().map(study).collect()
    })
}

/// A name, as keyword or tag, with values that are legal for it.
fn condition() -> BoxedStrategy<(String, String)> {
    let dates = "2020010[1-3]|2020010[1-3]-|-2020010[1-3]|20200101-2020010[1-3]|19181231-20200102";
    let times = "0[0-3]|0[0-3]30-|-0[0-3]30|0[0-2]-0[23]30|22-233000";
    let moments =
        "2020|20200101|20200102013000\\.5|2020010200-|-202001020030|2020010101-2020010202|202001020030\\+0100-";
    let text = "[aAbß*?]{0,3}|\"\"";
    let name = "[Dd]oe|Doe\\^Jo|D\\?e\\*|doe\\^\\*|\\*ue\\*|Muller|Müller\\^Jürgen|mueller|jo doe|anna|odoe|山田\\*|=山田\\^太郎|\\*|\"\"|Doe\\*=|ürg";
    let modality = "CT|MR|C\\*|CT,MR|MR\\\\CT|\\?R|\"\"|CT\\\\\\*|";
    let small = "[AB]|[AB*]{0,2}|\"\"";
    let number = "1|2|2\\.50|7|007|\"\"|";
    let list: Vec<(&str, &str)> = vec![
        ("StudyDate", dates),
        ("00080020", dates),
        ("StudyTime", times),
        ("PatientBirthDate", dates),
        ("AccessionNumber", "A|A\\*|a|\\?B|A\\\\AB"),
        ("ModalitiesInStudy", modality),
        ("StudyDescription", text),
        ("00081030", text),
        ("PatientName", name),
        ("OtherPatientNames", name),
        ("OtherPatientNames", "doe\\*\\\\m\\*|Doe\\\\Doe"),
        ("PatientID", text),
        ("PatientWeight", number),
        ("NumberOfStudyRelatedSeries", "[12]"),
        ("OtherPatientIDsSequence", "|\\*"),
        ("OtherPatientIDsSequence.PatientID", small),
        ("00101002.00100021", small),
        ("StudyInstanceUID", "1\\.[01]|1\\.0,1\\.2|1\\.1\\\\1\\.2|"),
        ("Modality", modality),
        ("SeriesDescription", text),
        ("SeriesNumber", number),
        ("SeriesInstanceUID", "2\\.0\\.0|2\\.0\\.1,2\\.1\\.0"),
        ("RequestAttributesSequence.ScheduledProcedureStepID", small),
        ("00400275.00401001", small),
        ("ImageType", "DERIVED|AXIAL\\\\ORIGINAL|ORIGINAL,AXIAL|\\*|\"\""),
        ("SOPInstanceUID", "3\\.0\\.0\\.0|3\\.0\\.1\\.0,3\\.1\\.0\\.1"),
        ("InstanceNumber", number),
        ("AcquisitionDateTime", moments),
        ("ContentDate", dates),
        ("ContentTime", times),
        ("00090010", "ACME|OTHER|\\*|AC\\*|\"\""),
        ("00091001", "A|A\\*|7|7\\.0|\"\"|"),
        ("00091101", "A|A\\*|7|\"\""),
        ("InstanceAvailability", "ONLINE|OFFLINE"),
        ("SpecificCharacterSet", "ISO_IR 100"),
        ("TimezoneOffsetFromUTC", "\\+0100|-0500"),
    ];
    let one =
        |(name, values): (&'static str, &'static str)| values.prop_map(move |value| (name.to_owned(), value)).boxed();
    prop::strategy::Union::new(list.into_iter().map(one)).boxed()
}

/// Legal parameters: no attribute twice, but for UIDs and code strings.
fn request() -> impl Strategy<Value = Vec<(String, String)>> {
    let conditions = prop::collection::vec(condition(), 0..3);
    let zones = prop::option::weighted(0.2, Just(("TimezoneOffsetFromUTC".to_owned(), "+0100".to_owned())));
    let pair = prop::option::weighted(
        0.3,
        prop_oneof![
            (
                "2020010[12]-|-2020010[12]|20200101-2020010[23]",
                "0[0-3]-|-0[0-3]30|02-01|0[0-2]-0[23]"
            )
                .prop_map(|(date, time)| vec![("StudyDate".to_owned(), date), ("StudyTime".to_owned(), time)]),
            ("[AB]\\*?", "ACME|OTHER").prop_map(|(value, creator)| {
                vec![("00091001".to_owned(), value), ("00090010".to_owned(), creator)]
            }),
            ("[AB]", "[AB]").prop_map(|(step, procedure)| vec![
                ("RequestAttributesSequence.ScheduledProcedureStepID".to_owned(), step),
                ("RequestAttributesSequence.RequestedProcedureID".to_owned(), procedure),
            ]),
        ],
    );
    let include = "all|StudyDate,ImageType|00091001|00090010,00091001|OtherPatientIDsSequence\\.PatientID|OtherPatientIDsSequence|00400275\\.00400009";
    let order = "-?(StudyDate|PatientName|PatientID|PatientWeight|ModalitiesInStudy|00080030|StudyInstanceUID|OtherPatientIDsSequence\\.PatientID|PatientBirthDate)(,-?(AccessionNumber|NumberOfStudyRelatedSeries))?";
    let option = |name: &'static str, values: &'static str, weight: f64| {
        prop::option::weighted(weight, values.prop_map(move |value| (name.to_owned(), value)))
    };
    let options = (
        option("fuzzymatching", "true|false", 0.4),
        option("emptyvaluematching", "true|false", 0.5),
        option("multiplevaluematching", "true|false", 0.4),
        option("includefield", include, 0.4),
        option("orderby", order, 0.4),
        option("limit", "[0-4]", 0.3),
        option("offset", "[0-2]", 0.3),
    );
    (conditions, zones, pair, options).prop_map(|(conditions, zone, pair, (a, b, c, d, e, f, g))| {
        let options = [a, b, c, d, e, f, g].into_iter().flatten();
        let mut pairs: Vec<(String, String)> = pair.unwrap_or_default();
        pairs.extend(conditions);
        pairs.extend(zone);
        pairs.extend(options);
        legal(pairs)
    })
}

fn legal(pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    let has_empty = pairs
        .iter()
        .any(|(name, value)| name == "emptyvaluematching" && value == "true");
    let mut seen: Vec<String> = Vec::new();
    let mut kept = Vec::new();
    for (name, value) in pairs {
        let known = |step: &str| {
            let found = reference::DICTIONARY
                .iter()
                .find(|(keyword, tag, ..)| *keyword == step || *tag == step);
            found.map_or((step.to_owned(), "LO"), |(_, tag, vr, _)| ((*tag).to_owned(), vr))
        };
        let path: Vec<_> = name.split('.').map(known).collect();
        let vr = path.last().expect("a step").1;
        let path: Vec<_> = path.into_iter().map(|(tag, _)| tag).collect();
        let path = path.join(".");
        let is_list = matches!(vr, "UI" | "CS") && !value.contains('"');
        let is_legal_value = has_empty || !value.contains('"') || matches!(vr, "LO" | "SH" | "PN" | "CS");
        if is_legal_value && (!seen.contains(&path) || is_list) {
            if !seen.contains(&path) || !value.is_empty() {
                kept.push((name, value));
            }
            seen.push(path);
        }
    }
    kept
}

/// A search as the engine makes it: study predicates first, then those of series, then those of instances.
fn search(archive: &[Study], query: &Query) -> (Vec<Dataset>, bool) {
    let parts = split_by_level(query);
    let deepest = parts.deepest().max(query.level);
    let mut window = Window::new(query.offset, query.limit.unwrap_or(usize::MAX));
    let mut offer = |map: Dataset| window.offer(query.order_key(&map), || query.project(&map));
    let all = |predicates: &[Predicate], map: &Dataset| matches_all(predicates, map);
    for study in archive {
        let study_map = study.attributes();
        if !all(&parts.study, &study_map) {
            continue;
        }
        // What is kept of extended attributes must not lose a result.
        let instances = || study.series.iter().flat_map(|series| &series.instances);
        let is_ruled_out = |predicate: &Predicate| {
            let extended = ExtendedAttribute::of(predicate);
            let mut parts = instances().map(|instance| extended.part_of(instance));
            extended.covers(predicate) && !parts.any(|part| matches_all([predicate], &part))
        };
        if parts.instance.iter().any(is_ruled_out) {
            continue;
        }
        let mut study_matches = deepest == Level::Study;
        for series in study.series.iter().filter(|_| deepest > Level::Study) {
            let mut series_map = study_map.clone();
            series_map.extend(series.attributes());
            if !all(&parts.series, &series_map) {
                continue;
            }
            let mut series_matches = deepest == Level::Series;
            for instance in series.instances.iter().filter(|_| deepest > Level::Series) {
                let mut map = instance.clone();
                map.extend(series_map.clone());
                if all(&parts.instance, &map) {
                    series_matches = true;
                    if query.level == Level::Instance {
                        offer(map);
                    }
                }
            }
            study_matches |= series_matches;
            if series_matches && query.level == Level::Series {
                offer(series_map);
            }
        }
        if study_matches && query.level == Level::Study {
            offer(study_map);
        }
    }
    window.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// The same answers as the standard's text, at every level, for any legal combination of parameters.
    #[test]
    fn searches_equal_the_reference(archive in archive(), pairs in request(), level in 0..3_u8, fixed in 0..3_u8) {
        let fixed = fixed.min(level);
        let levels = [Level::Study, Level::Series, Level::Instance];
        let mut query = Query::parse(levels[usize::from(level)], pairs.iter().cloned()).expect("a legal query");
        // `fixed` is the number of levels that the path names.
        if let Some(at) = fixed.checked_sub(1) {
            query = query.with_fixed(levels[usize::from(at)]);
        }
        let (expected, expected_more) = reference::search(&archive, level, fixed, &pairs);
        let (found, more) = search(&archive, &query);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(more, expected_more);
    }
}
