//! Which regions of which images a request means: JSON by series and by image.
//!
//! Regions stand at study, series or instance level; of those that match an image, the highest level that has any counts.

use std::collections::HashMap;

use septum_engine::derive::paint::{Colour, Region};
use serde::Deserialize;

use super::error::{Answer, Kind, StorageError};

/// Most regions of one request.
const REGIONS_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

#[derive(Default, Deserialize)]
struct Level {
    regions: Option<Vec<Area>>,
    region: Option<Area>,
    #[serde(default)]
    series: HashMap<String, Level>,
    #[serde(default)]
    instances: HashMap<String, Level>,
}

impl Level {
    fn own(&self) -> Option<Vec<Region>> {
        let region = |area: &Area| Region {
            x: area.x,
            y: area.y,
            width: area.width,
            height: area.height,
        };
        match (&self.regions, &self.region) {
            (Some(regions), _) => Some(regions.iter().map(region).collect()),
            (None, Some(one)) => Some(vec![region(one)]),
            (None, None) => None,
        }
    }

    fn count(&self) -> usize {
        let own = self.regions.as_ref().map_or(0, Vec::len) + usize::from(self.region.is_some());
        let below = self.series.values().chain(self.instances.values());
        own + below.map(Self::count).sum::<usize>()
    }
}

/// The regions of a request.
pub(super) struct Regions(Level);

impl Regions {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400 where it is not the documented JSON, or names no region at all.
    pub(super) fn parse(body: &[u8]) -> Answer<Self> {
        let level: Level = serde_json::from_slice(body).map_err(|_| StorageError::from(Kind::JsonDeserialize))?;
        match level.count() {
            0 => Err(StorageError::new(Kind::BadRequest, "there is no region")),
            1..=REGIONS_MAX => Ok(Self(level)),
            _ => Err(StorageError::new(Kind::BadRequest, "there are too many regions")),
        }
    }

    /// The regions of an image; none where it stays as it is.
    pub(super) fn of(&self, series_uid: &str, image_uid: &str) -> Vec<Region> {
        let series = self.0.series.get(series_uid);
        let instance = series.and_then(|series| series.instances.get(image_uid));
        self.0
            .own()
            .or_else(|| series.and_then(Level::own))
            .or_else(|| instance.and_then(Level::own))
            .unwrap_or_default()
    }
}

/// A colour: `#rrggbb`, or nine digits, three for each of red, green and blue; a checkerboard where there is none.
pub(super) fn colour(text: Option<&str>) -> Option<Colour> {
    let Some(text) = text else {
        return Some(Colour::Checkerboard);
    };
    let (digits, length, radix) = match text.strip_prefix('#') {
        Some(digits) => (digits, 2, 16),
        None if text.len() == 6 => (text, 2, 16),
        None => (text, 3, 10),
    };
    if digits.len() != 3 * length || !digits.is_ascii() {
        return None;
    }
    let part = |at: usize| u8::from_str_radix(&digits[at * length..(at + 1) * length], radix).ok();
    Some(Colour::Rgb([part(0)?, part(1)?, part(2)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x_of(regions: &Regions, series: &str, image: &str) -> Vec<u32> {
        regions.of(series, image).iter().map(|region| region.x).collect()
    }

    #[test]
    fn the_highest_level_counts() {
        let text = br#"{"series": {
            "1": {"regions": [{"x": 1, "y": 2, "width": 3, "height": 4}],
                  "instances": {"1.1": {"regions": [{"x": 9, "y": 2, "width": 3, "height": 4}]}}},
            "2": {"instances": {"2.1": {"region": {"x": 5, "y": 2, "width": 3, "height": 4}}}}}}"#;
        let regions = Regions::parse(text).expect("regions");
        assert_eq!(x_of(&regions, "1", "1.1"), [1]);
        assert_eq!(x_of(&regions, "2", "2.1"), [5]);
        assert!(x_of(&regions, "2", "2.2").is_empty() && x_of(&regions, "3", "1.1").is_empty());
    }

    #[test]
    fn what_is_no_region_is_refused() {
        for (body, kind) in [
            ("", Kind::JsonDeserialize),
            ("[]", Kind::JsonDeserialize),
            ("{}", Kind::BadRequest),
            (
                r#"{"regions": [{"x": -1, "y": 0, "width": 1, "height": 1}]}"#,
                Kind::JsonDeserialize,
            ),
        ] {
            assert_eq!(
                Regions::parse(body.as_bytes()).err().map(|error| error.kind()),
                Some(kind),
                "{body}"
            );
        }
    }

    #[test]
    fn colours() {
        for (text, expected) in [
            (None, Some(Colour::Checkerboard)),
            (Some("#0a0B0c"), Some(Colour::Rgb([10, 11, 12]))),
            (Some("121197149"), Some(Colour::Rgb([121, 197, 149]))),
            (Some("121297149"), None),
            (Some("red"), None),
        ] {
            assert_eq!(colour(text), expected);
        }
    }
}
