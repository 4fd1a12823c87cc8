//! What must hold for the values of one attribute.
//!
//! Conditions look at values in *comparable form*: text trimmed and [`normalized`], names as [`super::name::comparable`] makes them,
//! numbers as JSON writes them. Both the JSON model and the column pages hand out that form, so both give the same
//! answer.

use dicom_core::VR;

use super::fold::normalized;
use super::name::NamePattern;
use super::temporal::{self, Range};
use super::wildcard::Pattern;

#[derive(Clone, PartialEq)]
pub(super) enum Condition {
    /// Everything, absent attributes included.
    Universal,
    /// No value, or only empty ones (PS3.4 section C.2.2.2.7).
    Empty,
    /// One of these patterns.
    Text(Vec<Pattern>),
    /// One of these UIDs, sorted.
    Uid(Vec<String>),
    Name(NamePattern),
    Number {
        number: f64,
        text: String,
    },
    Date(Range<u32>),
    Time(Range<u64>),
    Moment(Range<i64>),
    /// A range of moments over the date attribute and its time attribute in the same dataset.
    DateAndTime {
        dates: Range<u32>,
        times: Range<u64>,
        time_tag: u32,
    },
    /// Each of these by one value or another (PS3.4 section C.2.2.2.8).
    Each(Vec<Self>),
    /// A date, time, moment or range of them in a time zone, in minutes from UTC; see [`super::zone`].
    InZone {
        zone_minutes: i32,
        /// Of a date, the attribute with the time.
        time_tag: Option<u32>,
        inner: Box<Self>,
    },
    /// The value of a private attribute: what it means depends on the VR that each instance gives.
    ByStoredVr {
        value: String,
        options: Options,
    },
}

impl Condition {
    /// Reads a query's value. `Err` says what the value should have been.
    pub(super) fn parse(vr: VR, value: &str, options: Options) -> Result<Self, &'static str> {
        let value = &*normalized(value.trim());
        if value.bytes().all(|byte| byte == b'*') {
            return Ok(Self::Universal);
        }
        if options.empty_value && value == "\"\"" {
            return Ok(Self::Empty);
        }
        if options.multiple_value
            && let Some(each) = Self::each(vr, value, options)
        {
            return each;
        }
        match vr {
            VR::CS => Ok(Self::text(value.split(['\\', ',']))),
            VR::AE | VR::LO | VR::SH | VR::UC | VR::LT | VR::ST | VR::UT | VR::UR => {
                Ok(Self::Text(vec![Pattern::new(value)]))
            }
            VR::AS => Ok(Self::Text(vec![Pattern::Exact(value.to_owned())])),
            VR::AT => match u32::from_str_radix(value, 16) {
                Ok(_) if value.len() == 8 => Ok(Self::Text(vec![Pattern::Exact(value.to_uppercase())])),
                _ => Err("eight hexadecimal digits"),
            },
            VR::PN => Ok(Self::Name(NamePattern::new(value, options.fuzzy))),
            VR::UI => {
                let uids = value.split(['\\', ',']).map(str::trim).filter(|uid| !uid.is_empty());
                let uids: Result<Vec<_>, _> = uids
                    .map(|uid| crate::ids::Uid::parse(uid).map(|uid| uid.as_str().to_owned()))
                    .collect();
                match uids {
                    Ok(mut uids) if !uids.is_empty() => {
                        uids.sort_unstable();
                        uids.dedup();
                        Ok(Self::Uid(uids))
                    }
                    _ => Err("a UID or a list of UIDs"),
                }
            }
            VR::DA => temporal::date_range(value)
                .map(Self::Date)
                .ok_or("a date or a range of dates (YYYYMMDD)"),
            VR::TM => temporal::time_range(value)
                .map(Self::Time)
                .ok_or("a time or a range of times (HHMMSS)"),
            VR::DT => temporal::moment_range(value, options.zone_minutes.unwrap_or(0))
                .map(Self::Moment)
                .ok_or("a date and time or a range of them"),
            VR::IS | VR::DS | VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV | VR::FL | VR::FD => {
                match value.parse::<f64>() {
                    Ok(number) if number.is_finite() => Ok(Self::Number {
                        number,
                        text: value.to_owned(),
                    }),
                    _ => Err("a number"),
                }
            }
            VR::SQ => Err("the path of an attribute inside the sequence"),
            _ => Err("an attribute that can be matched"),
        }
    }

    /// The value of a private attribute.
    pub(super) fn parse_private(value: &str, options: Options) -> Self {
        match Self::parse(VR::LO, value, options) {
            Ok(condition @ (Self::Universal | Self::Empty)) => condition,
            _ => Self::ByStoredVr {
                value: value.trim().to_owned(),
                options: Options {
                    zone_minutes: None,
                    ..options
                },
            },
        }
    }

    /// Several values that must all be there. `None` when there is just one, or when the VR has no such matching.
    fn each(vr: VR, value: &str, options: Options) -> Option<Result<Self, &'static str>> {
        let is_separator = |letter: char| letter == '\\' || (letter == ',' && vr == VR::CS);
        let can_list = matches!(
            vr,
            VR::AE | VR::AS | VR::AT | VR::CS | VR::LO | VR::PN | VR::SH | VR::UC
        );
        if !can_list || !value.contains(is_separator) {
            return None;
        }
        let one_by_one = Options {
            multiple_value: false,
            empty_value: false,
            ..options
        };
        let conditions = value
            .split(is_separator)
            .map(|value| Self::parse(vr, value, one_by_one));
        let conditions: Result<Vec<_>, _> = conditions
            .filter(|condition| *condition != Ok(Self::Universal))
            .collect();
        Some(conditions.map(|conditions| match conditions.is_empty() {
            true => Self::Universal,
            false => Self::Each(conditions),
        }))
    }

    fn text<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let values: Vec<_> = values.map(str::trim).filter(|value| !value.is_empty()).collect();
        // A list with a member that matches everything, or with none, restricts nothing.
        if values.is_empty() || values.iter().any(|value| value.bytes().all(|byte| byte == b'*')) {
            return Self::Universal;
        }
        Self::Text(values.into_iter().map(Pattern::new).collect())
    }

    /// Whether an attribute without any value matches.
    pub(super) fn matches_empty(&self) -> bool {
        matches!(self, Self::Universal | Self::Empty)
    }

    /// Whether an attribute with these values, in comparable form and none of them empty, matches. Conditions that
    /// look at more than one attribute have ways of their own.
    pub(super) fn matches_values<'a>(&self, mut values: impl Iterator<Item = &'a str> + Clone) -> bool {
        match self {
            Self::Each(conditions) => conditions
                .iter()
                .all(|condition| values.clone().any(|value| condition.matches_value(value))),
            _ => {
                let Some(first) = values.next() else {
                    return self.matches_empty();
                };
                self.matches_value(first) || values.any(|value| self.matches_value(value))
            }
        }
    }

    /// Whether one value, not empty and in comparable form, matches.
    pub(super) fn matches_value(&self, value: &str) -> bool {
        match self {
            Self::Universal => true,
            Self::Empty => false,
            Self::Text(patterns) => patterns.iter().any(|pattern| pattern.matches(value)),
            Self::Uid(uids) => uids.binary_search_by(|uid| uid.as_str().cmp(value)).is_ok(),
            Self::Name(pattern) => pattern.matches(value),
            Self::Number { number, text } => value == text || value.parse().is_ok_and(|value: f64| value == *number),
            Self::Date(range) => temporal::date(value).is_some_and(|date| range.contains(&date)),
            Self::Time(range) => temporal::time(value).is_some_and(|(first, _)| range.contains(&first)),
            Self::Moment(range) => temporal::moment(value, 0).is_some_and(|(first, _)| range.contains(&first)),
            Self::DateAndTime { dates, .. } => temporal::date(value).is_some_and(|date| dates.contains(&date)),
            Self::Each(conditions) => conditions.iter().all(|condition| condition.matches_value(value)),
            Self::InZone { inner, .. } => inner.matches_value(value),
            Self::ByStoredVr { value: wanted, options } => {
                Self::parse(VR::LO, wanted, *options).is_ok_and(|condition| condition.matches_value(value))
            }
        }
    }

    /// Whether a date and the time that goes with it lie in the range of moments. Without a readable time the whole
    /// day counts.
    pub(super) fn matches_date_and_time(&self, date: &str, time: Option<&str>) -> bool {
        let Self::DateAndTime { dates, times, .. } = self else {
            return self.matches_value(date);
        };
        let Some(date) = temporal::date(date).filter(|date| dates.contains(date)) else {
            return false;
        };
        let Some((time, _)) = time.and_then(temporal::time) else {
            return true;
        };
        (date, time) >= (dates.from, times.from) && (date, time) <= (dates.to, times.to)
    }

    pub(super) fn exact_values(&self) -> Option<Vec<&str>> {
        match self {
            Self::Uid(uids) => Some(uids.iter().map(String::as_str).collect()),
            Self::Text(patterns) => patterns
                .iter()
                .map(|pattern| match pattern {
                    Pattern::Exact(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => None,
        }
    }
}

/// Query parameters that change how values are read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) fuzzy: bool,
    pub(super) empty_value: bool,
    pub(super) multiple_value: bool,
    /// The time zone of the query's dates and times, in minutes from UTC.
    pub(super) zone_minutes: Option<i32>,
}
