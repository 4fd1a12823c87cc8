//! Which attributes of a result go out (PS3.18 tables 10.6.3-3 to 10.6.3-5).

use serde_json::{Map, Value as Json};

use super::matching::{item_matches, items};
use super::private::{self, Step};
use super::{Include, Level, Predicate, Query};

/// Attributes of every result: character set, availability, time zone, address.
const EVERY: [u32; 4] = [0x0008_0005, 0x0008_0056, 0x0008_0201, 0x0008_1190];

/// The required ones, and Study Description, which every study list shows.
const STUDY: [u32; 14] = [
    0x0008_0020,
    0x0008_0030,
    0x0008_0050,
    0x0008_0061,
    0x0008_0090,
    0x0008_1030,
    0x0010_0010,
    0x0010_0020,
    0x0010_0030,
    0x0010_0040,
    0x0020_000D,
    0x0020_0010,
    0x0020_1206,
    0x0020_1208,
];

/// The required ones, and Series Date and Time.
const SERIES: [u32; 10] = [
    0x0008_0021,
    0x0008_0031,
    0x0008_0060,
    0x0008_103E,
    0x0020_000E,
    0x0020_0011,
    0x0020_1209,
    0x0040_0244,
    0x0040_0245,
    0x0040_0275,
];

const INSTANCE: [u32; 7] = [
    0x0008_0016,
    0x0008_0018,
    0x0020_0013,
    0x0028_0008,
    0x0028_0010,
    0x0028_0011,
    0x0028_0100,
];

/// The tags, group × 65536 + element, of the attributes that every result of a level has, whatever was asked for.
pub fn required_attributes(level: Level) -> &'static [u32] {
    match level {
        Level::Study => &STUDY,
        Level::Series => &SERIES,
        Level::Instance => &INSTANCE,
    }
}

/// What a query wants of one sequence or dataset: a way that its attributes were asked for.
#[derive(Clone, Copy)]
struct Wish<'a> {
    steps: &'a [Step],
    /// Of a condition, what its items must fulfil.
    predicate: Option<&'a Predicate>,
}

pub(super) fn project(query: &Query, attributes: &Map<String, Json>) -> Map<String, Json> {
    if query.include == Include::All {
        return attributes.clone();
    }
    let shows = |level: Level| query.level >= level && query.fixed.is_none_or(|fixed| fixed < level);
    // The identifiers always go out, so that a result can be told from its attributes alone.
    let is_identifier = |tag: u32| match tag {
        0x0020_000D => true,
        0x0020_000E => query.level >= Level::Series,
        _ => false,
    };
    let is_required = |tag: u32| {
        EVERY.contains(&tag)
            || is_identifier(tag)
            || (shows(Level::Study) && STUDY.contains(&tag))
            || (shows(Level::Series) && SERIES.contains(&tag))
            || (shows(Level::Instance) && INSTANCE.contains(&tag))
    };
    let included = query.include_paths.iter().map(|steps| Wish { steps, predicate: None });
    let matched = query.predicates.iter().map(|predicate| Wish {
        steps: &predicate.steps,
        predicate: Some(predicate),
    });
    let wishes: Vec<Wish<'_>> = included.chain(matched).collect();
    dataset(&wishes, 0, attributes, attributes, is_required)
}

/// The wanted attributes of a dataset or an item. Recurses along paths, which are short.
fn dataset(
    wishes: &[Wish<'_>],
    depth: usize,
    attributes: &Map<String, Json>,
    root: &Map<String, Json>,
    is_required: impl Fn(u32) -> bool,
) -> Map<String, Json> {
    let mut out = Map::new();
    let mut creators: Vec<String> = Vec::new();
    for (key, attribute) in attributes {
        let Ok(tag) = u32::from_str_radix(key, 16) else {
            continue;
        };
        let on_it = |wish: &&Wish<'_>| wish.steps.get(depth).is_some_and(|step| step.names(key, attributes));
        let whole = |wish: &Wish<'_>| wish.steps.len() == depth + 1;
        let here: Vec<Wish<'_>> = wishes.iter().filter(on_it).copied().collect();
        if is_required(tag) || here.iter().any(whole) {
            out.insert(key.clone(), attribute.clone());
        } else if !here.is_empty() {
            out.insert(key.clone(), sequence(&here, depth + 1, attribute, root));
        } else {
            continue;
        }
        if let Some(creator) = private::creator_of(tag) {
            creators.push(format!("{creator:08X}"));
        }
    }
    // A private attribute means nothing without its creator.
    for key in creators {
        if let Some(creator) = attributes.get(&key) {
            out.insert(key, creator.clone());
        }
    }
    out
}

/// The items of a sequence that the query's conditions on it match, with the wanted attributes only (PS3.4 section
/// C.2.2.2.6).
fn sequence(wishes: &[Wish<'_>], depth: usize, attribute: &Json, root: &Map<String, Json>) -> Json {
    let predicates: Vec<&Predicate> = wishes.iter().filter_map(|wish| wish.predicate).collect();
    let restricting: Vec<&Predicate> = predicates
        .into_iter()
        .filter(|predicate| !predicate.is_universal())
        .collect();
    let matching = items(attribute)
        .iter()
        .filter_map(Json::as_object)
        .filter(|item| item_matches(&restricting, depth, item, root));
    let shown: Vec<Json> = matching
        .map(|item| Json::Object(dataset(wishes, depth, item, root, |_| false)))
        .collect();
    let mut out = Map::new();
    if let Some(vr) = attribute.get("vr") {
        out.insert("vr".to_owned(), vr.clone());
    }
    if !shown.is_empty() {
        out.insert("Value".to_owned(), shown.into());
    }
    Json::Object(out)
}
