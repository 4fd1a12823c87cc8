//! The order of results: `orderby`, and what holds without it.
//!
//! `orderby` is our extension to PS3.18: a list of attributes, most important first, each with `-` before it for
//! descending, as in `orderby=-StudyDate,PatientName`. Attributes are named as everywhere else, paths into sequences
//! included; they must describe what is searched for or a level above. Of several values the first counts. Names
//! and text are compared without case and diacritics, numbers as numbers, dates and times as moments. Results without
//! a readable value come last either way. Results that are equal are sorted by Study, Series and SOP Instance UID, so
//! that pages are stable (PS3.18 section 8.3.4.4.1).

use std::borrow::Cow;
use std::cmp::Ordering;

use dicom_core::VR;
use serde_json::{Map, Value as Json};

use super::columns::{Column, Page, SEPARATOR};
use super::error::Name;
use super::fold::{lower, without_diacritics};
use super::matching::{comparable_values, items};
use super::private::is_private;
use super::{Level, ORDER_MAX, Predicate, Query, QueryError, attribute, temporal};

const STUDY_UID: &str = "0020000D";
const SERIES_UID: &str = "0020000E";
const INSTANCE_UID: &str = "00080018";

/// An attribute to sort by.
#[derive(Clone, PartialEq, Eq)]
pub struct SortKey {
    path: Vec<u32>,
    keys: Vec<String>,
    vr: VR,
    is_descending: bool,
}

impl SortKey {
    fn new(path: Vec<u32>, vr: VR, is_descending: bool) -> Self {
        let keys = path.iter().map(|tag| format!("{tag:08X}")).collect();
        Self {
            path,
            keys,
            vr,
            is_descending,
        }
    }

    /// The attribute's tag, of a nested one that of the outermost sequence; group × 65536 + element.
    pub fn tag(&self) -> u32 {
        self.path.first().copied().unwrap_or_default()
    }

    /// Whether large values come first.
    pub fn is_descending(&self) -> bool {
        self.is_descending
    }

    /// The highest level that the attribute describes.
    pub fn level(&self) -> Level {
        Predicate::level_of_tag(self.tag())
    }

    fn field(&self, attributes: &Map<String, Json>) -> Field {
        self.field_of(self.first_value(attributes).as_deref())
    }

    /// The field for a value in comparable form.
    fn field_of(&self, value: Option<&str>) -> Field {
        match value.and_then(|value| self.sort_value(value)) {
            None => Field::Missing,
            Some(value) if self.is_descending => Field::Descending(value),
            Some(value) => Field::Ascending(value),
        }
    }

    fn first_value(&self, attributes: &Map<String, Json>) -> Option<String> {
        let (last, parents) = self.keys.split_last()?;
        let mut dataset = attributes;
        for parent in parents {
            dataset = items(dataset.get(parent)?).first()?.as_object()?;
        }
        let values = comparable_values(dataset.get(last), self.vr);
        values.first().map(|value| value.to_string())
    }

    fn sort_value(&self, value: &str) -> Option<SortValue> {
        match self.vr {
            VR::DA => temporal::date(value).map(|date| SortValue::Moment(date.into())),
            VR::TM => temporal::time(value).map(|(first, _)| SortValue::Moment(first as i64)),
            VR::DT => temporal::moment(value, 0).map(|(first, _)| SortValue::Moment(first)),
            VR::IS | VR::DS | VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV | VR::FL | VR::FD => {
                let number: f64 = value.parse().ok()?;
                number.is_finite().then_some(SortValue::Number(number))
            }
            VR::UI | VR::AT => Some(SortValue::Text(value.to_owned())),
            _ => Some(SortValue::Text(without_diacritics(&lower(value)).into_owned())),
        }
    }
}

impl std::fmt::Debug for SortKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.is_descending { "-" } else { "" };
        write!(f, "SortKey({sign}{})", self.keys.join("."))
    }
}

/// Where a result stands: smaller comes first. Made by [`super::Query::order_key`]; keys of one query compare.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderKey {
    fields: Vec<Field>,
    uids: [String; 3],
}

impl std::fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OrderKey({} fields)", self.fields.len())
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Field {
    Ascending(SortValue),
    Descending(SortValue),
    Missing,
}

impl Ord for Field {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Missing, Self::Missing) => Ordering::Equal,
            (Self::Missing, _) => Ordering::Greater,
            (_, Self::Missing) => Ordering::Less,
            (Self::Descending(left), Self::Descending(right)) => right.cmp(left),
            (Self::Ascending(left) | Self::Descending(left), Self::Ascending(right) | Self::Descending(right)) => {
                left.cmp(right)
            }
        }
    }
}

impl PartialOrd for Field {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Values of one attribute are all of one kind.
#[derive(Clone)]
enum SortValue {
    Moment(i64),
    Number(f64),
    Text(String),
}

impl Ord for SortValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Moment(left), Self::Moment(right)) => left.cmp(right),
            // Zero has two signs.
            (Self::Number(left), Self::Number(right)) => (left + 0.0).total_cmp(&(right + 0.0)),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Moment(_), _) | (Self::Number(_), Self::Text(_)) => Ordering::Less,
            _ => Ordering::Greater,
        }
    }
}

impl PartialOrd for SortValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SortValue {}

/// Reads the value of `orderby`.
pub(super) fn parse(level: Level, value: &str) -> Result<Vec<SortKey>, QueryError> {
    let mut keys: Vec<SortKey> = Vec::new();
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let (name, is_descending) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name.strip_prefix('+').unwrap_or(name), false),
        };
        let unknown = || QueryError::UnknownOrder(Name::new(name));
        let (path, vr) = attribute::path(name).ok_or_else(unknown)?;
        let has_no_order = matches!(
            vr,
            VR::SQ | VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN
        );
        if has_no_order || path.iter().any(|&tag| is_private(tag)) {
            return Err(unknown());
        }
        let key = SortKey::new(path, vr, is_descending);
        if key.level() > level {
            return Err(QueryError::OrderBelowLevel(Name::new(name)));
        }
        if keys.len() == ORDER_MAX {
            return Err(QueryError::TooManyOrders);
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Newest study first; in a study by Series Number, in a series by Instance Number.
fn default_keys(level: Level) -> Vec<SortKey> {
    let mut keys = vec![
        SortKey::new(vec![0x0008_0020], VR::DA, true),
        SortKey::new(vec![0x0008_0030], VR::TM, true),
        SortKey::new(vec![0x0020_000D], VR::UI, false),
    ];
    if level >= Level::Series {
        keys.push(SortKey::new(vec![0x0020_0011], VR::IS, false));
        keys.push(SortKey::new(vec![0x0020_000E], VR::UI, false));
    }
    if level >= Level::Instance {
        keys.push(SortKey::new(vec![0x0020_0013], VR::IS, false));
    }
    keys
}

pub(super) fn order_key(query: &Query, attributes: &Map<String, Json>) -> OrderKey {
    let uid = |key: &str| {
        let values = comparable_values(attributes.get(key), VR::UI);
        values.first().map(|uid| uid.to_string()).unwrap_or_default()
    };
    OrderKey {
        fields: keys(query).iter().map(|key| key.field(attributes)).collect(),
        uids: [uid(STUDY_UID), uid(SERIES_UID), uid(INSTANCE_UID)],
    }
}

/// Whether a row of a column page surely comes behind a key: by the attribute that counts most alone, so that most rows of
/// a large archive need no key of their own.
pub(super) fn is_row_behind(query: &Query, page: &Page, row: usize, last: &OrderKey) -> bool {
    let (Some(key), Some(last)) = (query.order.first(), last.fields.first()) else {
        return false;
    };
    let [tag] = key.path[..] else { return false };
    let Some(field) = Column::of_tag(tag).and_then(|column| page.field(row, column)) else {
        return false;
    };
    let value = field.split(SEPARATOR).next().filter(|value| !value.is_empty());
    match (value, last) {
        // As the field would be compared, without making it.
        (Some(value), Field::Ascending(SortValue::Text(last)) | Field::Descending(SortValue::Text(last)))
            if value.is_ascii() && !matches!(key.vr, VR::UI | VR::AT) =>
        {
            let order = value.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(last.bytes());
            order
                == if key.is_descending {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
        }
        (value, last) => key.field_of(value) > *last,
    }
}

/// The same from a row of a column page, when it holds all that a study search is sorted by.
pub(super) fn order_key_of_row(query: &Query, page: &Page, row: usize) -> Option<OrderKey> {
    if query.level != Level::Study {
        return None;
    }
    let first = |column: Column| {
        let field = page.field(row, column)?;
        Some(field.split(SEPARATOR).next().filter(|value| !value.is_empty()))
    };
    let field = |key: &SortKey| match key.path[..] {
        [tag] => Some(key.field_of(first(Column::of_tag(tag)?)?)),
        _ => None,
    };
    let study_uid = first(Column::StudyInstanceUid)?.unwrap_or_default().to_owned();
    Some(OrderKey {
        fields: keys(query).iter().map(field).collect::<Option<_>>()?,
        uids: [study_uid, String::new(), String::new()],
    })
}

fn keys(query: &Query) -> Cow<'_, [SortKey]> {
    match &query.order[..] {
        [] => Cow::Owned(default_keys(query.level)),
        keys => Cow::Borrowed(keys),
    }
}
