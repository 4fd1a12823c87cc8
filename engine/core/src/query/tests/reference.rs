//! A search as the standard's text says it (PS3.4 section C.2.2.2, PS3.18 sections 8.3.4 and 10.6), without a thought
//! of speed and without any of the code that it is compared with: it walks every instance with everything known about
//! it, keeps those that match, and folds them up to the level searched.

mod answer;
mod moments;
mod names;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

pub(super) use answer::search;
use moments::{clock, day, ends, moment, offset};

pub(super) type Dataset = Map<String, Json>;

/// Keyword, tag, VR and level of everything that the tests ask for.
pub(super) const DICTIONARY: [(&str, &str, &str, u8); 31] = [
    ("SpecificCharacterSet", "00080005", "CS", 0),
    ("InstanceAvailability", "00080056", "CS", 0),
    ("TimezoneOffsetFromUTC", "00080201", "SH", 0),
    ("StudyDate", "00080020", "DA", 0),
    ("StudyTime", "00080030", "TM", 0),
    ("AccessionNumber", "00080050", "SH", 0),
    ("ModalitiesInStudy", "00080061", "CS", 0),
    ("StudyDescription", "00081030", "LO", 0),
    ("PatientName", "00100010", "PN", 0),
    ("PatientID", "00100020", "LO", 0),
    ("PatientBirthDate", "00100030", "DA", 0),
    ("OtherPatientNames", "00101001", "PN", 0),
    ("OtherPatientIDsSequence", "00101002", "SQ", 0),
    ("PatientWeight", "00101030", "DS", 0),
    ("StudyInstanceUID", "0020000D", "UI", 0),
    ("NumberOfStudyRelatedSeries", "00201206", "IS", 0),
    ("NumberOfStudyRelatedInstances", "00201208", "IS", 0),
    ("Modality", "00080060", "CS", 1),
    ("SeriesDescription", "0008103E", "LO", 1),
    ("SeriesInstanceUID", "0020000E", "UI", 1),
    ("SeriesNumber", "00200011", "IS", 1),
    ("RequestAttributesSequence", "00400275", "SQ", 1),
    ("ScheduledProcedureStepID", "00400009", "SH", 1),
    ("RequestedProcedureID", "00401001", "SH", 1),
    ("IssuerOfPatientID", "00100021", "LO", 0),
    ("ImageType", "00080008", "CS", 2),
    ("SOPInstanceUID", "00080018", "UI", 2),
    ("InstanceNumber", "00200013", "IS", 2),
    ("AcquisitionDateTime", "0008002A", "DT", 2),
    ("ContentDate", "00080023", "DA", 2),
    ("ContentTime", "00080033", "TM", 2),
];

/// Tag and VR of a name, by the table above; private elements are text.
fn attribute(name: &str) -> (String, &'static str) {
    let known = DICTIONARY
        .iter()
        .find(|(keyword, tag, ..)| *keyword == name || *tag == name);
    known.map_or((name.to_owned(), "LO"), |(_, tag, vr, _)| ((*tag).to_owned(), vr))
}

fn is_private(tag: &str) -> bool {
    matches!(tag.as_bytes()[3], b'1' | b'3' | b'5' | b'7' | b'9' | b'B' | b'D' | b'F')
}

fn is_creator(tag: &str) -> bool {
    is_private(tag) && &tag[4..6] == "00"
}

/// One condition: the path of tags, the VR of the last, and the value as it was sent.
#[derive(Clone)]
struct Key {
    path: Vec<String>,
    vr: &'static str,
    value: String,
}

/// A request's parameters, sorted out.
#[derive(Default)]
pub(super) struct Request {
    keys: Vec<Key>,
    is_fuzzy: bool,
    has_empty: bool,
    has_multiple: bool,
    zone_minutes: Option<i64>,
    includes: Vec<String>,
    order: Vec<(bool, String)>,
    limit: Option<usize>,
    offset: usize,
}

impl Request {
    pub(super) fn new(pairs: &[(String, String)]) -> Self {
        let mut request = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "fuzzymatching" => request.is_fuzzy = value == "true",
                "emptyvaluematching" => request.has_empty = value == "true",
                "multiplevaluematching" => request.has_multiple = value == "true",
                "includefield" => request.includes.extend(value.split(',').map(str::to_owned)),
                "limit" => request.limit = value.parse().ok(),
                "offset" => request.offset = value.parse().expect("a number"),
                "orderby" => {
                    let one = |name: &str| match name.strip_prefix('-') {
                        Some(name) => (true, name.to_owned()),
                        None => (false, name.to_owned()),
                    };
                    request.order = value.split(',').map(one).collect();
                }
                "TimezoneOffsetFromUTC" => {
                    request.zone_minutes = offset(value);
                    request.add(name, "");
                }
                _ => request.add(name, value),
            }
        }
        request
    }

    fn add(&mut self, name: &str, value: &str) {
        let path: Vec<String> = name.split('.').map(|step| attribute(step).0).collect();
        let vr = name
            .split('.')
            .map(|step| attribute(step).1)
            .next_back()
            .expect("a step");
        match self.keys.iter_mut().find(|key| key.path == path) {
            Some(key) => key.value = format!("{}\\{value}", key.value),
            None => self.keys.push(Key {
                path,
                vr,
                value: value.to_owned(),
            }),
        }
    }

    /// C.2.2.2: an instance with everything known about it.
    pub(super) fn holds(&self, dataset: &Dataset) -> bool {
        let zone = texts(dataset, "00080201").first().and_then(|text| offset(text));
        self.dataset_holds(&self.keys.iter().collect::<Vec<_>>(), 0, dataset, zone)
    }

    fn dataset_holds(&self, keys: &[&Key], depth: usize, dataset: &Dataset, zone: Option<i64>) -> bool {
        let mut sequences: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
        for key in keys {
            if key.path.len() > depth + 1 {
                if !self.is_universal(key) {
                    sequences.entry(&key.path[depth]).or_default().push(key);
                }
            } else if !self.leaf_holds(key, keys, &key.path[depth], dataset, zone) {
                return false;
            }
        }
        // C.2.2.2.6: all item keys match for at least one of the items.
        sequences.iter().all(|(tag, keys)| {
            let items = items(dataset, tag);
            let holds = |item: &Dataset| self.dataset_holds(keys, depth + 1, item, zone);
            if items.is_empty() {
                holds(&Map::new())
            } else {
                items.iter().any(holds)
            }
        })
    }

    /// C.2.2.2.3.
    fn is_universal(&self, key: &Key) -> bool {
        let is_list = key.vr == "CS" && !self.has_multiple;
        let all_stars = |text: &str| text.trim().chars().all(|letter| letter == '*');
        let members = || key.value.split(['\\', ',']).filter(|member| !member.trim().is_empty());
        all_stars(&key.value)
            || (is_list && (members().next().is_none() || members().any(all_stars)))
            || matches!(key.path.last().map(String::as_str), Some("00080005" | "00080201"))
    }

    fn leaf_holds(&self, key: &Key, all: &[&Key], tag: &str, dataset: &Dataset, zone: Option<i64>) -> bool {
        if self.is_universal(key) {
            return true;
        }
        let value = key.value.trim();
        // C.2.2.2.5.4: a time that is combined with a date is looked at from the date's side.
        if all
            .iter()
            .any(|date| is_pair(date, key) && same_form(date.value.trim(), value))
        {
            return true;
        }
        let found = self.attributes(key, tag, dataset);
        // C.2.2.2.7.
        if self.has_empty && value == "\"\"" {
            return found.iter().all(|(tag, dataset)| {
                let attribute = &dataset[tag];
                texts(dataset, tag).is_empty()
                    && items(dataset, tag).is_empty()
                    && attribute.get("InlineBinary").is_none()
            });
        }
        found.iter().any(|(tag, dataset)| {
            let stored = dataset[tag]["vr"].as_str().expect("a VR").to_owned();
            let vr = if is_private(tag) { stored.as_str() } else { key.vr };
            self.values_hold(key, all, vr, value, &texts(dataset, tag), dataset, zone)
        })
    }

    /// PS3.5 section 7.8.1: a private attribute is found by its creator, when the request names it.
    fn attributes<'a>(&self, key: &Key, tag: &str, dataset: &'a Dataset) -> Vec<(String, &'a Dataset)> {
        let names = self.creators(&key.path, tag);
        let there = |tag: &str| dataset.contains_key(tag).then(|| (tag.to_owned(), dataset));
        if names.is_empty() {
            return there(tag).into_iter().collect();
        }
        let mut found = Vec::new();
        for block in 0x10..=0xFF {
            let creator = format!("{}00{block:02X}", &tag[..4]);
            if texts(dataset, &creator)
                .first()
                .is_some_and(|name| names.contains(name))
            {
                let tag = match is_creator(tag) {
                    true => creator,
                    false => format!("{}{block:02X}{}", &tag[..4], &tag[6..]),
                };
                found.extend(there(&tag));
            }
        }
        found
    }

    /// The creator that the request names for a private tag.
    fn creators(&self, path: &[String], tag: &str) -> Vec<String> {
        if !is_private(tag) {
            return Vec::new();
        }
        let wanted = match is_creator(tag) {
            true => tag.to_owned(),
            false => format!("{}00{}", &tag[..4], &tag[4..6]),
        };
        let same =
            |key: &&Key| key.path[..key.path.len() - 1] == path[..path.len() - 1] && key.path.last() == Some(&wanted);
        let exact = |key: &&Key| !key.value.trim().is_empty() && !key.value.contains(['*', '?', '"']);
        let names = self.keys.iter().filter(same).filter(exact);
        names.map(|key| key.value.trim().to_owned()).collect()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a plain list of what matters is easiest to check"
    )]
    fn values_hold(
        &self,
        key: &Key,
        all: &[&Key],
        vr: &str,
        value: &str,
        values: &[String],
        dataset: &Dataset,
        zone: Option<i64>,
    ) -> bool {
        let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(value));
        let members = |separators: &[char]| -> Vec<String> {
            let members = value.split(separators).map(|member| member.trim().to_owned());
            members.filter(|member| !member.is_empty()).collect()
        };
        match vr {
            // C.2.2.2.2.
            "UI" => members(&['\\', ',']).iter().any(|uid| any(&|value| value == uid)),
            "CS" if self.has_multiple => members(&['\\', ','])
                .iter()
                .filter(|m| *m != "*")
                .all(|member| any(&|value| like(member, value))),
            "CS" => members(&['\\', ','])
                .iter()
                .any(|member| any(&|value| like(member, value))),
            // C.2.2.2.8: each and every value of the key.
            "PN" if self.has_multiple && value.contains('\\') => members(&['\\'])
                .iter()
                .all(|member| any(&|value| self.name_holds(member, value))),
            "PN" => any(&|found| self.name_holds(value, found)),
            "AE" | "LO" | "SH" | "UC" if self.has_multiple && value.contains('\\') => {
                members(&['\\']).iter().all(|member| any(&|value| like(member, value)))
            }
            "AE" | "LO" | "SH" | "UC" | "LT" | "ST" | "UT" | "UR" | "UN" => any(&|found| like(value, found)),
            "IS" | "DS" => {
                let wanted: f64 = match value.parse() {
                    Ok(number) => number,
                    Err(_) => return false,
                };
                any(&|found| found.parse() == Ok(wanted))
            }
            "DA" | "TM" | "DT" => self.time_holds(key, all, vr, values, dataset, zone),
            _ => false,
        }
    }

    /// C.2.2.2.5, with the zone of the query (if it has one) and of the instance.
    fn time_holds(
        &self,
        key: &Key,
        all: &[&Key],
        vr: &str,
        values: &[String],
        dataset: &Dataset,
        zone: Option<i64>,
    ) -> bool {
        let value = key.value.trim();
        let birth = key.path.last().is_some_and(|tag| tag.as_str() == "00100030");
        let minutes = match (self.zone_minutes, zone) {
            (Some(query), Some(own)) if !birth => query - own,
            _ => 0,
        };
        let shift = minutes * 60_000_000;
        let day_us = 86_400_000_000_i64;
        if vr == "DT" {
            let default = self.zone_minutes.unwrap_or(0);
            let own = match self.zone_minutes {
                Some(query) => zone.unwrap_or(query),
                None => 0,
            };
            let (from, to) = ends(value);
            let low = from.map_or(i64::MIN, |text| moment(text, default, false));
            let high = to.map_or(i64::MAX, |text| moment(text, default, true));
            return values
                .iter()
                .any(|text| (low..=high).contains(&moment(text, own, false)));
        }
        if vr == "TM" {
            let (from, to) = ends(value);
            let low = from.map_or(0, |text| clock(text, false).expect("a time"));
            let high = to.map_or(day_us, |text| clock(text, true).expect("a time"));
            let of_day = values.iter().filter_map(|text| clock(text, false));
            return of_day
                .map(|time| (time + shift).rem_euclid(day_us))
                .any(|time| (low..=high).contains(&time));
        }
        let (from, to) = ends(value);
        let clocks = match key.path.last().map(String::as_str) {
            Some("00080020") => texts(dataset, "00080030"),
            Some("00080023") => texts(dataset, "00080033"),
            _ => Vec::new(),
        };
        let time_key = all
            .iter()
            .find(|other| is_pair(key, other))
            .filter(|time| same_form(value, time.value.trim()));
        values.iter().enumerate().any(|(number, text)| {
            let Some(date) = day(text) else { return false };
            let time = clocks.get(number).and_then(|text| clock(text, false));
            match (time_key, time) {
                (Some(time_key), Some(time)) => {
                    let (first, last) = ends(time_key.value.trim());
                    let low = from.zip(first).map_or(i64::MIN, |(d, t)| {
                        day(d).expect("a date") * day_us + clock(t, false).expect("a time")
                    });
                    let high = to.zip(last).map_or(i64::MAX, |(d, t)| {
                        day(d).expect("a date") * day_us + clock(t, true).expect("a time")
                    });
                    (low..=high).contains(&(date * day_us + time + shift))
                }
                _ => {
                    let date = time.map_or(date, |time| (date * day_us + time + shift).div_euclid(day_us));
                    from.is_none_or(|from| day(from).expect("a date") <= date)
                        && to.is_none_or(|to| date <= day(to).expect("a date"))
                }
            }
        })
    }
}

/// C.2.2.2.4.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern_letters, mut text_letters) = (pattern.chars(), text.chars());
    match (pattern_letters.next(), text_letters.next()) {
        (None, None) => true,
        (Some('*'), next) => {
            like(pattern_letters.as_str(), text) || (next.is_some() && like(pattern, text_letters.as_str()))
        }
        (Some(wanted), Some(found)) => {
            (wanted == '?' || wanted == found) && like(pattern_letters.as_str(), text_letters.as_str())
        }
        _ => false,
    }
}

fn is_pair(date: &Key, time: &Key) -> bool {
    let pairs = [("00080020", "00080030"), ("00080023", "00080033")];
    let (Some(date), Some(time)) = (date.path.last(), time.path.last()) else {
        return false;
    };
    pairs.contains(&(date.as_str(), time.as_str()))
}

/// Both are ranges, and open at the same end or at none.
fn same_form(left: &str, right: &str) -> bool {
    let form = |text: &str| text.contains('-').then(|| (text.starts_with('-'), text.ends_with('-')));
    form(left).is_some() && form(left) == form(right)
}

fn items<'a>(dataset: &'a Dataset, tag: &str) -> Vec<Dataset> {
    let attribute: Option<&'a Json> = dataset.get(tag).filter(|attribute| attribute["vr"] == "SQ");
    let values = attribute.and_then(|attribute| attribute["Value"].as_array());
    values
        .into_iter()
        .flatten()
        .map(|item| item.as_object().expect("an item").clone())
        .collect()
}

/// Values that are not empty, as text; names with `=` between groups. The one value of unknown VR in the tests is `AB`.
fn texts(dataset: &Dataset, tag: &str) -> Vec<String> {
    if dataset
        .get(tag)
        .is_some_and(|attribute| attribute["InlineBinary"] == "QUI=")
    {
        return vec!["AB".to_owned()];
    }
    let values = dataset.get(tag).and_then(|attribute| attribute["Value"].as_array());
    let text = |value: &Json| match value {
        Json::String(text) => text.trim().to_owned(),
        Json::Number(number) => number.to_string(),
        Json::Object(name) if name.contains_key("Alphabetic") || name.contains_key("Ideographic") => {
            let group = |group: &str| name.get(group).and_then(Json::as_str).unwrap_or_default();
            let name = format!("{}={}", group("Alphabetic"), group("Ideographic"));
            if name.chars().all(|letter| "=^ ".contains(letter)) {
                String::new()
            } else {
                name
            }
        }
        _ => String::new(),
    };
    values
        .into_iter()
        .flatten()
        .map(text)
        .filter(|text| !text.is_empty())
        .collect()
}
