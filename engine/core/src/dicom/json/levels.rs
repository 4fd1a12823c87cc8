//! Which attributes describe the study, the series and the instance (PS3.18 tables 10.6.3-3 to 10.6.3-5, and the
//! Patient, Clinical Trial, General Study, Patient Study and General Series modules of PS3.3 annexes C.7.1 to C.7.3; of
//! the Patient Demographic and Visit Status modules of annex C.3 what lists are filtered by).

use serde_json::{Map, Value as Json};

/// A level of the Study Root information model (PS3.4 section C.6.2.1), patient attributes included in `Study`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// One study.
    Study,
    /// One series.
    Series,
    /// One SOP instance.
    Instance,
}

/// Attributes of patient and study, those that are computed included; sorted.
const STUDY: &[u32] = &[
    0x0008_0020,
    0x0008_0030,
    0x0008_0050,
    0x0008_0051,
    0x0008_0061,
    0x0008_0062,
    0x0008_0063,
    0x0008_0090,
    0x0008_0096,
    0x0008_009C,
    0x0008_009D,
    0x0008_1030,
    0x0008_1032,
    0x0008_1048,
    0x0008_1049,
    0x0008_1060,
    0x0008_1062,
    0x0008_1080,
    0x0008_1084,
    0x0008_1110,
    0x0008_1120,
    0x0010_0010,
    0x0010_0020,
    0x0010_0021,
    0x0010_0022,
    0x0010_0024,
    0x0010_0026,
    0x0010_0027,
    0x0010_0028,
    0x0010_0030,
    0x0010_0032,
    0x0010_0033,
    0x0010_0034,
    0x0010_0035,
    0x0010_0040,
    0x0010_0200,
    0x0010_0212,
    0x0010_0213,
    0x0010_0214,
    0x0010_0215,
    0x0010_0216,
    0x0010_0217,
    0x0010_0218,
    0x0010_0219,
    0x0010_0221,
    0x0010_0222,
    0x0010_0223,
    0x0010_0229,
    0x0010_1000,
    0x0010_1001,
    0x0010_1002,
    0x0010_1005,
    0x0010_1010,
    0x0010_1020,
    0x0010_1021,
    0x0010_1022,
    0x0010_1023,
    0x0010_1024,
    0x0010_1030,
    0x0010_1040,
    0x0010_1060,
    0x0010_1081,
    0x0010_1090,
    0x0010_1100,
    0x0010_2000,
    0x0010_2110,
    0x0010_2150,
    0x0010_2152,
    0x0010_2154,
    0x0010_2160,
    0x0010_2180,
    0x0010_21A0,
    0x0010_21B0,
    0x0010_21C0,
    0x0010_21D0,
    0x0010_21F0,
    0x0010_2201,
    0x0010_2202,
    0x0010_2203,
    0x0010_2292,
    0x0010_2293,
    0x0010_2294,
    0x0010_2295,
    0x0010_2296,
    0x0010_2297,
    0x0010_2298,
    0x0010_2299,
    0x0010_4000,
    0x0012_0010,
    0x0012_0020,
    0x0012_0021,
    0x0012_0030,
    0x0012_0031,
    0x0012_0040,
    0x0012_0042,
    0x0012_0050,
    0x0012_0051,
    0x0012_0052,
    0x0012_0053,
    0x0012_0062,
    0x0012_0063,
    0x0012_0064,
    0x0012_0081,
    0x0012_0082,
    0x0012_0083,
    0x0020_000D,
    0x0020_0010,
    0x0020_1070,
    0x0020_1200,
    0x0020_1206,
    0x0020_1208,
    0x0032_000A,
    0x0032_0034,
    0x0032_1033,
    0x0032_1034,
    0x0032_1060,
    0x0032_1064,
    0x0038_0010,
    0x0038_0014,
    0x0038_0060,
    0x0038_0062,
    0x0038_0064,
    0x0038_0300,
    0x0038_0400,
    0x0038_0500,
    0x0040_1012,
];

/// Attributes of the series, those that are computed included; sorted.
const SERIES: &[u32] = &[
    0x0008_0021,
    0x0008_0031,
    0x0008_0060,
    0x0008_0064,
    0x0008_0068,
    0x0008_0070,
    0x0008_0080,
    0x0008_0081,
    0x0008_0082,
    0x0008_1010,
    0x0008_103E,
    0x0008_103F,
    0x0008_1040,
    0x0008_1041,
    0x0008_1050,
    0x0008_1052,
    0x0008_1070,
    0x0008_1072,
    0x0008_1090,
    0x0008_1111,
    0x0008_1115,
    0x0008_1250,
    0x0010_2210,
    0x0012_0060,
    0x0012_0071,
    0x0012_0072,
    0x0018_0015,
    0x0018_0026,
    0x0018_1000,
    0x0018_1016,
    0x0018_1018,
    0x0018_1019,
    0x0018_1020,
    0x0018_1030,
    0x0018_5100,
    0x0020_000E,
    0x0020_0011,
    0x0020_0052,
    0x0020_0060,
    0x0020_1040,
    0x0020_1209,
    0x0028_0108,
    0x0028_0109,
    0x0040_0244,
    0x0040_0245,
    0x0040_0250,
    0x0040_0251,
    0x0040_0253,
    0x0040_0254,
    0x0040_0260,
    0x0040_0275,
    0x0040_0280,
    0x0040_0555,
    0x0040_A491,
    0x0040_A493,
    0x0040_A496,
    0x0050_0004,
];

/// Further attributes of the instance summary; sorted.
const INSTANCE: &[u32] = &[
    0x0008_0005,
    0x0008_0008,
    0x0008_0012,
    0x0008_0013,
    0x0008_0016,
    0x0008_0018,
    0x0008_0022,
    0x0008_0023,
    0x0008_002A,
    0x0008_0032,
    0x0008_0033,
    0x0008_0056,
    0x0008_0201,
    0x0008_1190,
    0x0008_3001,
    0x0018_0050,
    0x0018_1164,
    0x0020_0012,
    0x0020_0013,
    0x0020_0032,
    0x0020_0037,
    0x0020_4000,
    0x0028_0002,
    0x0028_0004,
    0x0028_0008,
    0x0028_0010,
    0x0028_0011,
    0x0028_0030,
    0x0028_0100,
    0x0028_0101,
    0x0028_0103,
    0x0028_1050,
    0x0028_1051,
    0x0028_2110,
    0x0040_A043,
    0x0042_0010,
    0x0042_0012,
    0x0070_0080,
    0x0070_0081,
    0x0070_0082,
    0x0070_0083,
    0x0070_0084,
];

/// Attributes that belong to every level: the character set of the list, the time zone, availability and address.
const EVERY: &[u32] = &[0x0008_0005, 0x0008_0056, 0x0008_0201, 0x0008_1190];

/// The highest level that an attribute describes: `Study` for patient and study attributes, `Series` likewise,
/// `Instance` for all others. `tag` is group × 65536 + element.
pub fn level_of(tag: u32) -> Level {
    if STUDY.binary_search(&tag).is_ok() {
        Level::Study
    } else if SERIES.binary_search(&tag).is_ok() {
        Level::Series
    } else {
        Level::Instance
    }
}

fn select(attributes: &Map<String, Json>, lists: &[&[u32]]) -> Map<String, Json> {
    let is_wanted = |key: &str| {
        u32::from_str_radix(key, 16).is_ok_and(|tag| lists.iter().any(|list| list.binary_search(&tag).is_ok()))
    };
    attributes
        .iter()
        .filter(|(key, _)| is_wanted(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The attributes of patient and study, for a study's summary.
pub fn study_attributes(attributes: &Map<String, Json>) -> Map<String, Json> {
    select(attributes, &[STUDY, EVERY])
}

/// The attributes of the series, and Study Instance UID, for a series' summary.
pub fn series_attributes(attributes: &Map<String, Json>) -> Map<String, Json> {
    select(attributes, &[SERIES, EVERY, &[0x0020_000D]])
}

/// The attributes of the instance that a list of instances shows, with Study and Series Instance UID.
pub fn instance_attributes(attributes: &Map<String, Json>) -> Map<String, Json> {
    select(attributes, &[INSTANCE, EVERY, &[0x0020_000D, 0x0020_000E]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_disjoint() {
        for list in [STUDY, SERIES, INSTANCE, EVERY] {
            assert!(list.is_sorted_by(|a, b| a < b));
        }
        for tag in SERIES.iter().chain(INSTANCE) {
            assert_ne!(level_of(*tag), Level::Study, "{tag:08X}");
        }
        assert!(INSTANCE.iter().all(|&tag| level_of(tag) == Level::Instance));
    }

    #[test]
    fn levels_are_selected() {
        let json = serde_json::json!({"00100010": 1, "00080060": 2, "00200013": 3, "00090010": 4, "0020000D": 5, "00080005": 6});
        let attributes = json.as_object().expect("an object");
        let keys = |map: Map<String, Json>| map.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(keys(study_attributes(attributes)), "00080005 00100010 0020000D");
        assert_eq!(keys(series_attributes(attributes)), "00080005 00080060 0020000D");
        assert_eq!(keys(instance_attributes(attributes)), "00080005 0020000D 00200013");
    }
}
