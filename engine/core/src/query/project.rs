//! Which attributes of a result go out (PS3.18 tables 10.6.3-3 to 10.6.3-5).

use serde_json::{Map, Value as Json};

use super::{Include, Level, Query};

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

pub(super) fn project(query: &Query, attributes: &Map<String, Json>) -> Map<String, Json> {
    let Include::Tags(included) = &query.include else {
        return attributes.clone();
    };
    let shows = |level: Level| query.level >= level && query.fixed.is_none_or(|fixed| fixed < level);
    // The identifiers always go out, so that a result can be told from its attributes alone.
    let is_identifier = |tag: u32| match tag {
        0x0020_000D => true,
        0x0020_000E => query.level >= Level::Series,
        _ => false,
    };
    let is_wanted = |tag: u32| {
        EVERY.contains(&tag)
            || is_identifier(tag)
            || (shows(Level::Study) && STUDY.contains(&tag))
            || (shows(Level::Series) && SERIES.contains(&tag))
            || (shows(Level::Instance) && INSTANCE.contains(&tag))
            || included.binary_search(&tag).is_ok()
            || query.predicates.iter().any(|predicate| predicate.tag() == tag)
    };
    attributes
        .iter()
        .filter(|(key, _)| u32::from_str_radix(key, 16).is_ok_and(is_wanted))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
