//! Dates and times in a time zone (PS3.4 section C.2.2.2.5, PS3.3 section C.12.1.1.8).
//!
//! A query with `TimezoneOffsetFromUTC` gives its dates and times in that zone. The dates and times of a dataset are
//! in the zone that its own Timezone Offset From UTC (0008,0201) names; without one they are taken as they stand. A
//! date moves only together with the time that belongs to it, and birth dates never move.

use serde_json::{Map, Value as Json};

use super::condition::Condition;
use super::temporal::{self, DAY_US};

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

/// The attribute with the time that completes a date.
pub(super) fn time_of_date(date_tag: u32) -> Option<u32> {
    DATE_AND_TIME
        .iter()
        .find(|(date, _)| *date == date_tag)
        .map(|&(_, time)| time)
}

/// Puts a condition on dates and times into the query's zone; leaves all others as they are.
pub(super) fn in_zone(condition: Condition, tag: u32, zone_minutes: i32) -> Condition {
    let is_birth = tag >> 16 == 0x0010;
    match condition {
        Condition::Date(_) | Condition::Time(_) | Condition::DateAndTime { .. } if is_birth => condition,
        Condition::Date(_) if time_of_date(tag).is_none() => condition,
        Condition::Date(_) | Condition::Time(_) | Condition::Moment(_) | Condition::DateAndTime { .. } => {
            Condition::InZone {
                zone_minutes,
                time_tag: time_of_date(tag),
                inner: Box::new(condition),
            }
        }
        _ => condition,
    }
}

/// The zone of a dataset's dates and times, in minutes from UTC.
pub(super) fn of_dataset(attributes: &Map<String, Json>) -> Option<i32> {
    let attribute = attributes.get("00080201")?;
    temporal::offset_minutes(attribute.get("Value")?.get(0)?.as_str()?)
}

/// Whether one value matches a condition in a zone. `shift_minutes` moves the dataset's clock to the query's; `time`
/// completes a date; `own_minutes` is the offset of moments that name none.
pub(super) fn matches(
    inner: &Condition,
    value: &str,
    time: Option<&str>,
    shift_minutes: i32,
    own_minutes: i32,
) -> bool {
    let shift_us = i64::from(shift_minutes) * 60_000_000;
    match inner {
        Condition::Moment(range) => {
            temporal::moment(value, own_minutes).is_some_and(|(first, _)| range.contains(&first))
        }
        Condition::Time(range) => temporal::time(value).is_some_and(|(first, _)| {
            let moved = (first as i64 + shift_us).rem_euclid(DAY_US as i64);
            range.contains(&(moved as u64))
        }),
        Condition::Date(dates) => match moved(value, time, shift_us) {
            Some(moment) => {
                let to = if dates.to == u32::MAX {
                    i64::MAX
                } else {
                    temporal::day_start_us(dates.to) + DAY_US as i64 - 1
                };
                (start(dates.from)..=to).contains(&moment)
            }
            None => inner.matches_value(value),
        },
        Condition::DateAndTime { dates, times, .. } => match moved(value, time, shift_us) {
            Some(moment) => {
                let from = start(dates.from).saturating_add_unsigned(times.from);
                let to = if dates.to == u32::MAX {
                    i64::MAX
                } else {
                    temporal::day_start_us(dates.to).saturating_add_unsigned(times.to)
                };
                (from..=to).contains(&moment)
            }
            None => inner.matches_date_and_time(value, None),
        },
        _ => inner.matches_value(value),
    }
}

fn start(date: u32) -> i64 {
    if date == 0 {
        i64::MIN
    } else {
        temporal::day_start_us(date)
    }
}

fn moved(date: &str, time: Option<&str>, shift_us: i64) -> Option<i64> {
    let (time, _) = temporal::time(time?)?;
    Some(temporal::day_start_us(temporal::date(date)?) + time as i64 + shift_us)
}
