//! From the parameters of a request to a [`Query`].

use dicom_core::VR;

use super::attribute;
use super::condition::{Condition, Options};
use super::error::Name;
use super::order::{self, SortKey};
use super::private::{self, Step};
use super::temporal::{self, Form};
use super::zone;
use super::{
    INCLUDE_MAX, Include, Level, NAME_BYTES_MAX, NAMES_BYTES_MAX, PREDICATES_MAX, Predicate, Query, QueryError,
    UIDS_BYTES_MAX, UIDS_MAX, VALUE_BYTES_MAX,
};

/// Parameters whose value may list many attributes; how many has a limit of its own.
const LISTS: [&str; 2] = ["includefield", "orderby"];

/// Specific Character Set says how a query is encoded (PS3.4 section C.2.2.2), Timezone Offset From UTC what its times
/// mean: both are never matched.
const NEVER_MATCHED: [u32; 2] = [0x0008_0005, TIME_ZONE];
const TIME_ZONE: u32 = 0x0008_0201;
const RETRIEVE_URL: u32 = 0x0008_1190;

/// What a query says besides its attributes.
#[derive(Default)]
struct Settings {
    limit: Option<usize>,
    offset: Option<usize>,
    fuzzy: Option<bool>,
    empty_value: Option<bool>,
    multiple_value: Option<bool>,
    order: Option<Vec<SortKey>>,
}

/// An attribute with its value.
struct Match {
    name: String,
    path: Vec<u32>,
    vr: VR,
    value: String,
}

pub(super) fn parse(level: Level, pairs: impl Iterator<Item = (String, String)>) -> Result<Query, QueryError> {
    let mut matches: Vec<Match> = Vec::new();
    let mut num_matches = 0;
    let mut included: Option<Vec<Vec<u32>>> = Some(Vec::new());
    let mut settings = Settings::default();
    for (name, value) in pairs {
        if name.len() > NAME_BYTES_MAX {
            return Err(QueryError::UnknownParameter(Name::new(&name)));
        }
        let bytes_max = match attribute::path(&name) {
            _ if LISTS.contains(&name.as_str()) => NAMES_BYTES_MAX,
            Some((_, VR::UI)) => UIDS_BYTES_MAX,
            _ => VALUE_BYTES_MAX,
        };
        if value.len() > bytes_max {
            let parameter = Name::new(&name);
            return Err(QueryError::TooLong { parameter, bytes_max });
        }
        match name.as_str() {
            "limit" => once(&mut settings.limit, &name, whole_number(&name, &value)?)?,
            "offset" => once(&mut settings.offset, &name, whole_number(&name, &value)?)?,
            "fuzzymatching" => once(&mut settings.fuzzy, &name, truth(&name, &value)?)?,
            "emptyvaluematching" => once(&mut settings.empty_value, &name, truth(&name, &value)?)?,
            "multiplevaluematching" => once(&mut settings.multiple_value, &name, truth(&name, &value)?)?,
            "orderby" => once(&mut settings.order, &name, order::parse(level, &value)?)?,
            "includefield" => include(&mut included, &value)?,
            "accept" | "charset" => {}
            // Some clients write `?&limit=1`.
            "" if value.is_empty() => {}
            _ => {
                num_matches += 1;
                if num_matches > PREDICATES_MAX {
                    return Err(QueryError::TooManyPredicates);
                }
                add(&mut matches, name, value)?;
            }
        }
    }

    let zone = matches
        .iter()
        .find(|found| found.path == [TIME_ZONE] && !found.value.trim().is_empty());
    let options = Options {
        fuzzy: settings.fuzzy.unwrap_or(false),
        empty_value: settings.empty_value.unwrap_or(false),
        multiple_value: settings.multiple_value.unwrap_or(false),
        zone_minutes: zone.map(zone_minutes).transpose()?,
    };
    let predicates = matches.into_iter().map(|found| predicate(found, options));
    let mut predicates = predicates.collect::<Result<Vec<_>, _>>()?;
    combine_dates_and_times(&mut predicates);
    if let Some(zone_minutes) = options.zone_minutes {
        for predicate in &mut predicates {
            let tag = predicate.steps.last().map_or(0, |step| step.tag);
            let condition = std::mem::replace(&mut predicate.condition, Condition::Universal);
            predicate.condition = zone::in_zone(condition, tag, zone_minutes);
        }
    }
    let creators = private::creators(&predicates);
    for predicate in &mut predicates {
        private::bind(&mut predicate.steps, &creators);
    }

    let (include, nested) = included_fields(included);
    let nested = nested.into_iter().map(|path| {
        let mut steps: Vec<Step> = path.into_iter().map(Step::new).collect();
        private::bind(&mut steps, &creators);
        steps
    });
    Ok(Query {
        level,
        predicates,
        include,
        limit: settings.limit,
        offset: settings.offset.unwrap_or(0),
        fuzzy: options.fuzzy,
        order: settings.order.unwrap_or_default(),
        fixed: None,
        latest_first: false,
        include_paths: nested.collect(),
    })
}

/// Keeps an attribute. A repeated UID or code string is one list; nothing else can repeat with one meaning.
fn add(matches: &mut Vec<Match>, name: String, value: String) -> Result<(), QueryError> {
    let Some((path, vr)) = attribute::path(&name) else {
        return Err(QueryError::UnknownParameter(Name::new(&name)));
    };
    match matches.iter_mut().find(|found| found.path == path) {
        None => matches.push(Match { name, path, vr, value }),
        Some(found) if matches!(vr, VR::UI | VR::CS) => {
            found.value.push('\\');
            found.value.push_str(&value);
        }
        Some(_) => return Err(QueryError::Duplicate(Name::new(&name))),
    }
    Ok(())
}

/// Sets an option that may be given once.
fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), QueryError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(QueryError::Duplicate(Name::new(name))),
    }
}

fn whole_number(name: &str, value: &str) -> Result<usize, QueryError> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| value.parse().ok()).flatten();
    number.ok_or_else(|| wrong(name, "a whole number"))
}

fn truth(name: &str, value: &str) -> Result<bool, QueryError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(name, "true or false")),
    }
}

fn wrong(name: &str, expected: &'static str) -> QueryError {
    QueryError::Value {
        parameter: Name::new(name),
        expected,
    }
}

fn zone_minutes(zone: &Match) -> Result<i32, QueryError> {
    let minutes = temporal::offset_minutes(&zone.value);
    minutes.ok_or_else(|| wrong(&zone.name, "an offset from UTC (+HHMM or -HHMM)"))
}

/// Takes in the names of one `includefield`. `all` beats all others, which the standard forbids beside it.
fn include(included: &mut Option<Vec<Vec<u32>>>, value: &str) -> Result<(), QueryError> {
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name == "all" {
            *included = None;
        }
        let Some(paths) = included else { return Ok(()) };
        let Some((path, _)) = attribute::path(name) else {
            return Err(QueryError::UnknownIncludeField(Name::new(name)));
        };
        if paths.len() == INCLUDE_MAX {
            return Err(QueryError::TooManyIncludeFields);
        }
        paths.push(path);
    }
    Ok(())
}

/// Whole attributes, and the paths of all.
fn included_fields(included: Option<Vec<Vec<u32>>>) -> (Include, Vec<Vec<u32>>) {
    let Some(mut paths) = included else {
        return (Include::All, Vec::new());
    };
    paths.sort_unstable();
    paths.dedup();
    let whole = paths.iter().filter(|path| path.len() == 1).flatten().copied();
    (Include::Tags(whole.collect()), paths)
}

fn predicate(found: Match, options: Options) -> Result<Predicate, QueryError> {
    let tag = found.path.last().copied().unwrap_or_default();
    if found.vr == VR::UI && found.value.split(['\\', ',']).count() > UIDS_MAX {
        return Err(QueryError::TooManyUids(Name::new(&found.name)));
    }
    let condition = if NEVER_MATCHED.contains(&tag) {
        Ok(Condition::Universal)
    } else if private::is_private(tag) && !private::is_creator(tag) {
        Ok(Condition::parse_private(&found.value, options))
    } else {
        Condition::parse(found.vr, &found.value, options)
    };
    let condition = match condition {
        // The address is not kept anywhere: it is made up for each answer.
        Ok(condition) if tag == RETRIEVE_URL && condition != Condition::Universal => {
            Err("an attribute that can be matched")
        }
        condition => condition,
    };
    Ok(Predicate {
        steps: found.path.iter().copied().map(Step::new).collect(),
        vr: found.vr,
        condition: condition.map_err(|expected| wrong(&found.name, expected))?,
    })
}

/// A date range and a time range of one form on the two attributes of a pair mean one range of moments (PS3.4 section
/// C.2.2.2.5.4; PS3.18 asks for this always).
fn combine_dates_and_times(predicates: &mut [Predicate]) {
    for at in 0..predicates.len() {
        let Condition::Date(dates) = predicates[at].condition else {
            continue;
        };
        let Some((date, parents)) = predicates[at].steps.split_last() else {
            continue;
        };
        let Some(time_tag) = zone::time_of_date(date.tag) else {
            continue;
        };
        let is_time = |steps: &[Step]| {
            steps
                .split_last()
                .is_some_and(|(time, others)| time.tag == time_tag && others == parents)
        };
        let Some(position) = predicates.iter().position(|other| is_time(&other.steps)) else {
            continue;
        };
        let Condition::Time(times) = predicates[position].condition else {
            continue;
        };
        if dates.form == times.form && dates.form != Form::Single {
            predicates[at].condition = Condition::DateAndTime { dates, times, time_tag };
            // The time predicate stays for the projection, yet restricts nothing by itself.
            predicates[position].condition = Condition::Universal;
        }
    }
}
