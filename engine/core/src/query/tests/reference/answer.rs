//! The list of results: levels, order, pages, and the attributes that go out (PS3.18 section 10.6.3.3).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::moments::{clock, day, moment, offset};
use super::{Dataset, Key, Request, attribute, is_creator, is_private, items, texts};

/// A level's attributes and those of the levels above, by the UIDs that name the result.
type Entities = BTreeMap<Vec<String>, Dataset>;

/// The answer to a request: for each study the attributes, and its series likewise, and their instances.
pub(in crate::query::tests) fn search(
    archive: &[crate::query::tests::archive::Study],
    level: u8,
    fixed: u8,
    pairs: &[(String, String)],
) -> (Vec<Dataset>, bool) {
    let request = Request::new(pairs);
    let mut entities = Entities::new();
    for study in archive {
        for series in &study.series {
            for instance in &series.instances {
                let upper = [study.attributes(), series.attributes()];
                let mut everything = instance.clone();
                let mut known = Map::new();
                for (upper, number) in upper.iter().zip(0..) {
                    everything.extend(upper.clone());
                    if number <= level {
                        known.extend(upper.clone());
                    }
                }
                if level == 2 {
                    known = everything.clone();
                }
                if request.holds(&everything) {
                    let uids = ["0020000D", "0020000E", "00080018"][..=usize::from(level)].iter();
                    let uids = uids.map(|tag| texts(&everything, tag)[0].clone()).collect();
                    entities.insert(uids, known);
                }
            }
        }
    }
    let mut sorted: Vec<(Vec<String>, Dataset)> = entities.into_iter().collect();
    let order = match request.order.is_empty() {
        false => request.order.clone(),
        true => {
            let default = [
                "-StudyDate",
                "-00080030",
                "StudyInstanceUID",
                "SeriesNumber",
                "SeriesInstanceUID",
                "InstanceNumber",
            ];
            let wanted = [3, 5, 6][usize::from(level)];
            let one = |name: &str| (name.starts_with('-'), name.trim_start_matches('-').to_owned());
            default[..wanted].iter().map(|name| one(name)).collect()
        }
    };
    sorted.sort_by(|left, right| {
        for (is_descending, name) in &order {
            let order = compare(name, &left.1, &right.1, *is_descending);
            if order.is_ne() {
                return order;
            }
        }
        left.0.cmp(&right.0)
    });
    let num_found = sorted.len();
    let limit = request.limit.unwrap_or(usize::MAX);
    let page = sorted.into_iter().skip(request.offset).take(limit);
    let page: Vec<_> = page.map(|(_, dataset)| request.shown(level, fixed, &dataset)).collect();
    let truncated = num_found > request.offset.saturating_add(limit);
    (page, truncated)
}

/// Missing last, either way.
fn compare(name: &str, left: &Dataset, right: &Dataset, is_descending: bool) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (mut tags, vr) = (
        name.split('.').map(|step| attribute(step).0),
        name.split('.').map(|step| attribute(step).1).next_back(),
    );
    let (first, second) = (tags.next().expect("a tag"), tags.next());
    let value = |dataset: &Dataset| match &second {
        None => texts(dataset, &first).first().cloned(),
        Some(second) => items(dataset, &first)
            .first()
            .and_then(|item| texts(item, second).first().cloned()),
    };
    let number = |text: String| -> Option<f64> {
        match vr {
            Some("DA") => day(&text).map(|day| day as f64),
            Some("TM") => clock(&text, false).map(|time| time as f64),
            Some("DT") => Some(moment(&text, 0, false) as f64),
            _ => text.parse().ok(),
        }
    };
    let fold = |text: String| text.to_lowercase().replace('ä', "a").replace('ü', "u");
    let order = if matches!(vr, Some("DA" | "TM" | "DT" | "IS" | "DS")) {
        match (value(left).and_then(number), value(right).and_then(number)) {
            (Some(left), Some(right)) => left.partial_cmp(&right).expect("numbers"),
            (left, right) => return right.is_some().cmp(&left.is_some()),
        }
    } else {
        let plain = |name: String| {
            let groups: Vec<&str> = name.split('=').map(|group| group.trim_end_matches('^')).collect();
            groups.join("=").trim_end_matches('=').to_owned()
        };
        let text =
            |dataset: &Dataset| value(dataset).map(|text| fold(if vr == Some("PN") { plain(text) } else { text }));
        match (text(left), text(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (left, right) => return right.is_some().cmp(&left.is_some()),
        }
    };
    match order {
        Ordering::Equal => Ordering::Equal,
        order if is_descending => order.reverse(),
        order => order,
    }
}

impl Request {
    /// PS3.18 section 10.6.3.3: what a result shows.
    fn shown(&self, level: u8, fixed: u8, dataset: &Dataset) -> Dataset {
        if self.includes.iter().any(|name| name == "all") {
            return dataset.clone();
        }
        let mut shown = Map::new();
        // `fixed` is the number of levels that the path names.
        let rows = |row: u8| level >= row && fixed <= row;
        let tables = [
            (true, "00080005 00080056 00080201 0020000D"),
            (
                rows(0),
                "00080020 00080030 00080050 00080061 00081030 00100010 00100020 00100030 00201206 00201208",
            ),
            (rows(1), "00080060 0008103E 00200011 00400275 00201209"),
            (level >= 1, "0020000E"),
            (rows(2), "00080018 00200013"),
        ];
        let mut wanted: Vec<String> = Vec::new();
        for (is_shown, tags) in tables {
            if is_shown {
                wanted.extend(tags.split(' ').map(str::to_owned));
            }
        }
        let included = self
            .includes
            .iter()
            .map(|name| name.split('.').map(|step| attribute(step).0).collect::<Vec<_>>());
        let paths: Vec<Vec<String>> = included.chain(self.keys.iter().map(|key| key.path.clone())).collect();
        for path in &paths {
            if path.len() == 1 {
                let key = Key {
                    path: path.clone(),
                    vr: "LO",
                    value: String::new(),
                };
                wanted.extend(self.attributes(&key, &path[0], dataset).into_iter().map(|(tag, _)| tag));
            }
        }
        for tag in wanted.clone() {
            if is_private(&tag) && !is_creator(&tag) {
                wanted.push(format!("{}00{}", &tag[..4], &tag[4..6]));
            }
        }
        for tag in wanted {
            if let Some(attribute) = dataset.get(&tag) {
                shown.insert(tag, attribute.clone());
            }
        }
        // C.2.2.2.6: matching items, with the requested attributes only.
        let zone = texts(dataset, "00080201").first().and_then(|text| offset(text));
        for path in paths.iter().filter(|path| path.len() == 2) {
            if shown.contains_key(&path[0]) || !dataset.contains_key(&path[0]) {
                continue;
            }
            let inside: Vec<&Key> = self
                .keys
                .iter()
                .filter(|key| key.path.len() == 2 && key.path[0] == path[0])
                .collect();
            let tags: Vec<&String> = paths
                .iter()
                .filter(|other| other.len() == 2 && other[0] == path[0])
                .map(|other| &other[1])
                .collect();
            let matching = items(dataset, &path[0])
                .into_iter()
                .filter(|item| self.dataset_holds(&inside, 1, item, zone));
            let cut: Vec<Json> = matching
                .map(|item| Json::Object(item.into_iter().filter(|(tag, _)| tags.contains(&tag)).collect()))
                .collect();
            let sequence = if cut.is_empty() {
                json!({"vr": "SQ"})
            } else {
                json!({"vr": "SQ", "Value": cut})
            };
            shown.insert(path[0].clone(), sequence);
        }
        shown
    }
}
