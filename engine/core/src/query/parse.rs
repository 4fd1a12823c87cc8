//! From the parameters of a request to a [`Query`].

use dicom_core::VR;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;

use super::condition::{Condition, Options};
use super::error::Name;
use super::{INCLUDE_MAX, Include, Level, NAME_BYTES_MAX, PATH_TAGS_MAX, PREDICATES_MAX, Predicate, Query, QueryError};
use super::{VALUE_BYTES_MAX, level_of};

/// Date attributes and the time attributes that complete them.
const DATE_AND_TIME: [(u32, u32); 9] = [
    (0x0008_0012, 0x0008_0013),
    (0x0008_0020, 0x0008_0030),
    (0x0008_0021, 0x0008_0031),
    (0x0008_0022, 0x0008_0032),
    (0x0008_0023, 0x0008_0033),
    (0x0010_0030, 0x0010_0032),
    (0x0040_0002, 0x0040_0003),
    (0x0040_0244, 0x0040_0245),
    (0x0040_0250, 0x0040_0251),
];

pub(super) fn parse(level: Level, pairs: impl Iterator<Item = (String, String)>) -> Result<Query, QueryError> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    let mut included: Option<Vec<u32>> = Some(Vec::new());
    let (mut limit, mut offset, mut options) = (Once(None), Once(None), Options::default());
    let (mut fuzzy, mut empty_value, mut multiple_value) = (Once(None), Once(None), Once(None));

    for (name, value) in pairs {
        if name.len() > NAME_BYTES_MAX {
            return Err(QueryError::UnknownParameter(Name::new(&name)));
        }
        // `includefield` may hold many names; the number of names has its own limit.
        if value.len() > VALUE_BYTES_MAX * if name == "includefield" { 16 } else { 1 } {
            return Err(QueryError::TooLong(Name::new(&name)));
        }
        match name.as_str() {
            "limit" => limit.set(&name, whole_number(&name, &value)?)?,
            "offset" => offset.set(&name, whole_number(&name, &value)?)?,
            "fuzzymatching" => fuzzy.set(&name, truth(&name, &value)?)?,
            "emptyvaluematching" => empty_value.set(&name, truth(&name, &value)?)?,
            "multiplevaluematching" => multiple_value.set(&name, truth(&name, &value)?)?,
            "includefield" => include(&mut included, &value)?,
            "accept" | "charset" => {}
            _ if attributes.len() == PREDICATES_MAX => return Err(QueryError::TooManyPredicates),
            _ => attributes.push((name, value)),
        }
    }

    options.fuzzy = fuzzy.0.unwrap_or(false);
    options.empty_value = empty_value.0.unwrap_or(false);
    options.multiple_value = multiple_value.0.unwrap_or(false);
    let mut predicates: Vec<Predicate> = Vec::with_capacity(attributes.len());
    for (name, value) in attributes {
        let new = predicate(level, &name, &value, options)?;
        match predicates.iter_mut().find(|predicate| predicate.path == new.path) {
            None => predicates.push(new),
            // A repeated UID parameter is one list; nothing else can repeat with one meaning.
            Some(Predicate {
                condition: Condition::Uid(uids),
                ..
            }) => match new.condition {
                Condition::Uid(more) => uids.extend(more),
                _ => return Err(QueryError::Duplicate(Name::new(&name))),
            },
            Some(_) => return Err(QueryError::Duplicate(Name::new(&name))),
        }
    }
    combine_dates_and_times(&mut predicates);

    let include = match included {
        None => Include::All,
        Some(mut tags) => {
            tags.sort_unstable();
            tags.dedup();
            Include::Tags(tags)
        }
    };
    let (limit, offset) = (limit.0, offset.0.unwrap_or(0));
    Ok(Query {
        level,
        predicates,
        include,
        limit,
        offset,
        fuzzy: options.fuzzy,
        fixed: None,
    })
}

/// An option that may be given once.
struct Once<T>(Option<T>);

impl<T> Once<T> {
    fn set(&mut self, name: &str, value: T) -> Result<(), QueryError> {
        match self.0.replace(value) {
            None => Ok(()),
            Some(_) => Err(QueryError::Duplicate(Name::new(name))),
        }
    }
}

fn whole_number(name: &str, value: &str) -> Result<usize, QueryError> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        .then(|| value.parse().ok())
        .flatten()
        .ok_or_else(|| QueryError::Value {
            parameter: Name::new(name),
            expected: "a whole number",
        })
}

fn truth(name: &str, value: &str) -> Result<bool, QueryError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(QueryError::Value {
            parameter: Name::new(name),
            expected: "true or false",
        }),
    }
}

fn include(included: &mut Option<Vec<u32>>, value: &str) -> Result<(), QueryError> {
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name == "all" {
            *included = None;
        }
        let Some(tags) = included else { return Ok(()) };
        // Of a nested attribute the whole sequence goes out.
        let (path, _) = attribute_path(name).ok_or(QueryError::UnknownIncludeField)?;
        if tags.len() == INCLUDE_MAX {
            return Err(QueryError::TooManyIncludeFields);
        }
        tags.extend(path.first());
    }
    Ok(())
}

fn predicate(level: Level, name: &str, value: &str, options: Options) -> Result<Predicate, QueryError> {
    let (path, vr) = attribute_path(name).ok_or_else(|| QueryError::UnknownParameter(Name::new(name)))?;
    if path.first().is_some_and(|&tag| level_of(tag) > level) {
        return Err(QueryError::BelowLevel(Name::new(name)));
    }
    let condition = Condition::parse(vr, value, options).map_err(|expected| QueryError::Value {
        parameter: Name::new(name),
        expected,
    })?;
    let keys = path.iter().map(|tag| format!("{tag:08X}")).collect();
    Ok(Predicate {
        path,
        keys,
        vr,
        condition,
    })
}

/// The tags of a path with dots, and the VR of the last one. All but the last must be sequences.
fn attribute_path(name: &str) -> Option<(Vec<u32>, VR)> {
    let mut path = Vec::new();
    let mut last = None;
    for step in name.split('.') {
        if path.len() == PATH_TAGS_MAX || last.is_some_and(|vr| vr != VR::SQ) {
            return None;
        }
        let (tag, vr) = attribute(step)?;
        path.push(tag);
        last = Some(vr);
    }
    Some((path, last?))
}

/// A keyword or eight hexadecimal digits. Private attributes are text; other attributes that the dictionary
/// does not know are refused.
fn attribute(step: &str) -> Option<(u32, VR)> {
    if step.len() == 8 && step.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let number = u32::from_str_radix(step, 16).ok()?;
        let tag = dicom_core::Tag((number >> 16) as u16, number as u16);
        return match StandardDataDictionary.by_tag(tag) {
            _ if tag.0 <= 0x0002 || tag.1 == 0 => None,
            _ if tag.0 % 2 == 1 => Some((number, VR::LO)),
            Some(entry) => Some((number, entry.vr().relaxed())),
            None => None,
        };
    }
    let entry = StandardDataDictionary.by_name(step)?;
    let tag = entry.tag();
    let number = u32::from(tag.0) << 16 | u32::from(tag.1);
    (tag.0 > 0x0002 && tag.1 != 0).then(|| (number, entry.vr().relaxed()))
}

/// A date range and a time range on the two attributes of a pair mean one range of moments.
fn combine_dates_and_times(predicates: &mut [Predicate]) {
    let mut at = 0;
    while let Some(predicate) = predicates.get(at) {
        at += 1;
        let Condition::Date(dates) = predicate.condition else {
            continue;
        };
        let Some((date_tag, parents)) = predicate.path.split_last() else {
            continue;
        };
        let Some((_, time_tag)) = DATE_AND_TIME.iter().find(|(date, _)| date == date_tag) else {
            continue;
        };
        let time_path = [parents, &[*time_tag]].concat();
        let Some(position) = predicates.iter().position(|other| other.path == time_path) else {
            continue;
        };
        let Condition::Time(times) = predicates[position].condition else {
            continue;
        };
        if dates.is_range && times.is_range {
            let time_tag = *time_tag;
            predicates[at - 1].condition = Condition::DateAndTime { dates, times, time_tag };
            // The time predicate stays for the projection, yet restricts nothing by itself.
            predicates[position].condition = Condition::Universal;
        }
    }
}
