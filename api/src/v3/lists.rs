//! Lists: filters, sorting and paging, the same for every kind of object.
//!
//! A list says which of its fields may be filtered and sorted by; no other is looked at. Conditions are all ANDed.

use std::cmp::Ordering;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::fault::{Fault, Outcome};
use super::parameters::Parameters;
use super::reply::Reply;
use super::times;

/// Rows of a page where the client does not say.
const ROWS_DEFAULT: usize = 100;
/// Most rows of a page.
pub const ROWS_MAX: usize = 5000;
/// Most conditions in one call.
const CONDITIONS_MAX: usize = 64;

/// How a field's values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// As text.
    Text,
    /// As text; patterns whatever the case.
    Name,
    /// As dates, with hyphens or without.
    Date,
    /// As numbers; flags too.
    Number,
    /// As moments.
    Time,
    /// As text; of several values, parted by backslashes, one is enough.
    List,
    /// Stands for several fields: each word must be somewhere in them, whatever the case.
    Words(&'static [&'static str]),
}

/// The fields that a list may be filtered and sorted by.
pub type Fields = &'static [(&'static str, Compare)];

/// What a condition asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `equals`, `in`.
    In,
    /// `not_equals`.
    NotIn,
    /// `like`, with `%`.
    Like,
    /// `gt`.
    Greater,
    /// `ge`.
    GreaterOrEqual,
    /// `lt`.
    Less,
    /// `le`.
    LessOrEqual,
}

/// One condition on one field.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The field.
    pub field: String,
    /// How its values compare.
    pub compare: Compare,
    /// What is asked.
    pub condition: Condition,
    /// Whether a row without the field passes.
    pub or_null: bool,
    /// With what it is compared; several for lists.
    pub values: Vec<String>,
    zone: TimeZone,
}

impl Filter {
    /// A field has just that value.
    pub fn equals(field: &str, value: &str) -> Self {
        Self {
            field: field.to_owned(),
            compare: Compare::Text,
            condition: Condition::In,
            or_null: false,
            values: vec![value.to_owned()],
            zone: TimeZone::UTC,
        }
    }
}

/// What a list is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Conditions, all of which must hold.
    pub filters: Vec<Filter>,
    /// What to sort by: field, how it compares, descending; the most important first.
    pub sort: Vec<(String, Compare, bool)>,
    /// Rows of a page.
    pub rows: usize,
    /// The page, from 1.
    pub number: usize,
}

fn condition(name: &str) -> Option<(Condition, bool)> {
    Some(match name {
        "equals" | "in" => (Condition::In, false),
        "equals_or_null" | "in_or_null" => (Condition::In, true),
        "not_equals" => (Condition::NotIn, false),
        "not_equals_or_null" => (Condition::NotIn, true),
        "like" => (Condition::Like, false),
        "gt" => (Condition::Greater, false),
        "ge" => (Condition::GreaterOrEqual, false),
        "lt" => (Condition::Less, false),
        "le" => (Condition::LessOrEqual, false),
        _ => return None,
    })
}

fn compare_of(fields: Fields, name: &str) -> Option<Compare> {
    if name.starts_with("customfield-") {
        return Some(Compare::Text);
    }
    fields
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, compare)| *compare)
}

impl Wanted {
    /// Reads `filter.*`, `sort_by` and `page.*`. `saved` holds the pairs of a saved filter, without `filter.` before them;
    /// `user_zone` comes before `filter.tz`.
    ///
    /// # Errors
    /// `INVALID_FIELD`, `INVALID_CONDITION`, `INVALID_SORT_FIELD`, `INVALID_SORT_ORDER`, `INVALID_INTEGER`.
    pub fn read(
        parameters: &Parameters,
        saved: &[(String, String)],
        fields: Fields,
        user_zone: Option<&str>,
    ) -> Outcome<Self> {
        let asked = match parameters.text("filter.tz") {
            Some(text) => Some(times::zone(text).ok_or_else(|| Fault::about("INVALID_CONDITION", "tz"))?),
            None => None,
        };
        let zone = user_zone.and_then(times::zone).or(asked).unwrap_or(TimeZone::UTC);
        let mut filters = Vec::new();
        let saved = saved.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in parameters.starting("filter.").chain(saved) {
            if name == "tz" {
                continue;
            }
            let (field, asked) = name
                .rsplit_once('.')
                .ok_or_else(|| Fault::about("INVALID_CONDITION", name))?;
            let field = without_table(fields, field);
            let compare = compare_of(fields, field).ok_or_else(|| Fault::about("INVALID_FIELD", field))?;
            let (condition, or_null) = condition(asked).ok_or_else(|| Fault::about("INVALID_CONDITION", asked))?;
            let values = if asked.starts_with("in") {
                list(value).ok_or_else(|| Fault::about("INVALID_CONDITION", field))?
            } else {
                vec![value.to_owned()]
            };
            if compare == Compare::Time && values.iter().any(|value| times::read(value, &zone).is_none()) {
                return Err(Fault::about("INVALID_CONDITION", field));
            }
            filters.push(Filter {
                field: field.to_owned(),
                compare,
                condition,
                or_null,
                values,
                zone: zone.clone(),
            });
        }
        if filters.len() > CONDITIONS_MAX {
            return Err(Fault::new("INVALID_CONDITION"));
        }
        let sort = parameters.text("sort_by").map(|text| sort(text, fields)).transpose()?;
        let number = |name, default: usize, most| -> Outcome<usize> {
            let asked = parameters.integer(name)?.unwrap_or(default as i64);
            usize::try_from(asked)
                .ok()
                .filter(|asked| (1..=most).contains(asked))
                .ok_or_else(|| Fault::about("INVALID_INTEGER", name))
        };
        Ok(Self {
            filters,
            sort: sort.unwrap_or_default(),
            rows: number("page.rows", ROWS_DEFAULT, ROWS_MAX)?,
            number: number("page.number", 1, 1_000_000)?,
        })
    }

    /// How many rows come before the page.
    pub fn skipped(&self) -> usize {
        self.rows * (self.number - 1)
    }

    /// Whether a row fulfils all conditions.
    pub fn matches(&self, row: &Map<String, Value>) -> bool {
        self.filters.iter().all(|filter| filter.matches(row))
    }

    /// Which of two rows comes first.
    pub fn order(&self, one: &Map<String, Value>, other: &Map<String, Value>) -> Ordering {
        for (field, compare, descending) in &self.sort {
            let ordering = compared(*compare, value_of(one, field), value_of(other, field));
            let ordering = if *descending { ordering.reverse() } else { ordering };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    }

    /// The page asked for out of all rows.
    pub fn page(&self, name: &str, mut rows: Vec<Map<String, Value>>) -> Reply {
        rows.retain(|row| self.matches(row));
        rows.sort_by(|one, other| self.order(one, other));
        self.page_in_order(name, rows)
    }

    /// The page asked for out of rows that match and are in order, of which those behind the page may be missing but one.
    pub fn page_in_order(&self, name: &str, rows: Vec<Map<String, Value>>) -> Reply {
        let has_more = rows.len() > self.skipped().saturating_add(self.rows);
        let page: Vec<Value> = rows
            .into_iter()
            .skip(self.skipped())
            .take(self.rows)
            .map(Value::Object)
            .collect();
        self.reply(name, page, has_more)
    }

    /// A page that was cut out already.
    pub fn reply(&self, name: &str, page: Vec<Value>, has_more: bool) -> Reply {
        Reply::of(name, page).with(
            "page",
            json!({"more": u8::from(has_more), "rows": self.rows, "number": self.number}),
        )
    }
}

/// A field without the name of its table, which may stand before it: `Study.patient_name`.
fn without_table(fields: Fields, field: &str) -> &str {
    match field.split_once('.') {
        Some((_, rest)) if compare_of(fields, field).is_none() && compare_of(fields, rest).is_some() => rest,
        _ => field,
    }
}

fn sort(text: &str, fields: Fields) -> Outcome<Vec<(String, Compare, bool)>> {
    text.split(',')
        .map(|part| {
            let part = part.trim();
            let (field, order) = part.rsplit_once('-').unwrap_or((part, ""));
            let named = if compare_of(fields, part).is_some() {
                part
            } else {
                field
            };
            let compare = compare_of(fields, named).ok_or_else(|| Fault::about("INVALID_SORT_FIELD", named))?;
            match order {
                "asc" => Ok((field.to_owned(), compare, false)),
                "desc" => Ok((field.to_owned(), compare, true)),
                _ => Err(Fault::about("INVALID_SORT_ORDER", named)),
            }
        })
        .collect()
}

fn list(text: &str) -> Option<Vec<String>> {
    let list: Vec<Value> = serde_json::from_str(text).ok()?;
    Some(list.iter().map(shown).collect())
}

/// A value as text: what filters compare with.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => u8::from(*flag).to_string(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A member of a list as text: of a tag, its word.
fn word(member: &Value) -> String {
    shown(member.get("tag").unwrap_or(member))
}

/// A field of a row; a custom field by its id.
fn value_of<'a>(row: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    let value = match field.strip_prefix("customfield-") {
        Some(id) => {
            let list = row.get("customfields")?.as_array()?;
            let named = list
                .iter()
                .find(|one| one.get("uuid").and_then(Value::as_str) == Some(id));
            named?.get("value")
        }
        None => row.get(field),
    };
    value.filter(|value| !value.is_null() && value.as_str() != Some(""))
}

fn compared(compare: Compare, one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) if compare == Compare::Number => number(&shown(one)).total_cmp(&number(&shown(other))),
        (Some(one), Some(other)) => shown(one).to_lowercase().cmp(&shown(other).to_lowercase()),
        // As in SQL, what is missing comes last.
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (None, None) => Ordering::Equal,
    }
}

fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or(f64::NAN)
}

impl Filter {
    /// Whether a row fulfils the condition.
    pub fn matches(&self, row: &Map<String, Value>) -> bool {
        if let Compare::Words(fields) = self.compare {
            return self.values.iter().any(|value| has_words(row, fields, value));
        }
        let Some(value) = value_of(row, &self.field) else {
            return self.or_null || (self.condition == Condition::In && self.values.iter().any(String::is_empty));
        };
        let several = match value {
            Value::Array(list) => Some(list.iter().map(word).collect::<Vec<_>>()),
            Value::String(text) if self.compare == Compare::List => Some(text.split('\\').map(str::to_owned).collect()),
            _ => None,
        };
        let texts = several.unwrap_or_else(|| vec![shown(value)]);
        match self.condition {
            Condition::In => texts.iter().any(|text| self.is_one_of(text)),
            Condition::NotIn => !texts.iter().any(|text| self.is_one_of(text)),
            Condition::Like => texts
                .iter()
                .any(|text| self.values.iter().any(|pattern| self.is_like(text, pattern))),
            Condition::Greater => self.any_ordered(&texts, |ordering| ordering == Ordering::Greater),
            Condition::GreaterOrEqual => self.any_ordered(&texts, |ordering| ordering != Ordering::Less),
            Condition::Less => self.any_ordered(&texts, |ordering| ordering == Ordering::Less),
            Condition::LessOrEqual => self.any_ordered(&texts, |ordering| ordering != Ordering::Greater),
        }
    }

    fn is_like(&self, text: &str, pattern: &str) -> bool {
        match self.compare {
            Compare::Name => is_like(&text.to_lowercase(), &pattern.to_lowercase()),
            _ => is_like(text, pattern),
        }
    }

    fn is_one_of(&self, text: &str) -> bool {
        self.values
            .iter()
            .any(|value| self.ordering(text, value) == Some(Ordering::Equal))
    }

    fn any_ordered(&self, texts: &[String], wanted: impl Fn(Ordering) -> bool) -> bool {
        texts.iter().any(|text| {
            let mut orderings = self.values.iter().filter_map(|value| self.ordering(text, value));
            orderings.any(&wanted)
        })
    }

    fn ordering(&self, text: &str, value: &str) -> Option<Ordering> {
        match self.compare {
            Compare::Text | Compare::Name | Compare::List | Compare::Words(_) => Some(text.cmp(value)),
            Compare::Date => Some(text.replace('-', "").cmp(&value.replace('-', ""))),
            Compare::Number => number(text).partial_cmp(&number(value)),
            Compare::Time => {
                let stored = times::read(text, &TimeZone::UTC)?.ms;
                let asked = times::read(value, &self.zone)?;
                let stored = if asked.to_the_second {
                    stored.div_euclid(1000) * 1000
                } else {
                    stored
                };
                Some(stored.cmp(&asked.ms))
            }
        }
    }
}

/// Whether each word is somewhere in these fields.
fn has_words(row: &Map<String, Value>, fields: &[&str], words: &str) -> bool {
    let texts = fields.iter().filter_map(|field| row.get(*field)).map(shown);
    let texts: Vec<String> = texts.map(|text| text.to_lowercase()).collect();
    let mut words = words.split_whitespace();
    words.all(|word| texts.iter().any(|text| text.contains(&word.to_lowercase())))
}

/// `%` stands for any characters. Linear in the text for each piece of the pattern.
pub fn is_like(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('%');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
