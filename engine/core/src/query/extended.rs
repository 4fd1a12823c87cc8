//! Extended attributes: those of instances that an administrator has searches by, beyond the columns of studies.
//!
//! What is kept of an instance is the part of its dataset that decides a predicate on the attribute, so that matching is
//! the same function as everywhere: [`super::matches_all`] says of the part what it says of the whole.

use dicom_core::VR;
use serde_json::{Map, Value as Json};

use super::condition::Condition;
use super::matching::items;
use super::private::{self, Step};
use super::{Level, Predicate, Query, attribute, normalized};

/// VRs that no query has a value of.
const NEVER_MATCHED: [VR; 6] = [VR::OB, VR::OD, VR::OF, VR::OL, VR::OV, VR::OW];

/// Specific Character Set, Timezone Offset From UTC, Retrieve URL: they say how to read, and are not searched by.
const NEVER_SEARCHED: [u32; 3] = [0x0008_0005, 0x0008_0201, 0x0008_1190];

/// Why an attribute cannot be an extended one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtendedAttributeError {
    /// The name is none, or the path leads through something that is no sequence.
    #[error("the path names no attribute: use a keyword or eight hexadecimal digits, and dots into sequences")]
    Unknown,
    /// It is a sequence.
    #[error("the path ends at a sequence: name an attribute of its items")]
    Sequence,
    /// It is of a study or series.
    #[error("studies and series are searched by this attribute without a row of its own")]
    BuiltIn,
    /// It has no value that a query can name.
    #[error("an attribute of this kind cannot be matched")]
    Unmatched,
    /// A private attribute without the one who made it.
    #[error("a private attribute needs its private creator")]
    CreatorMissing,
    /// A private creator that is none.
    #[error("a private creator is text without wildcards, and goes with private attributes only")]
    CreatorUnfit,
}

/// An attribute of instances, perhaps a private one or one in a sequence.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtendedAttribute {
    steps: Vec<Step>,
    vr: VR,
}

impl ExtendedAttribute {
    /// Reads a path as `includefield` takes it; `creator` is who made the private attributes in it.
    ///
    /// # Errors
    /// Where the attribute cannot be searched by, or is without a row of its own.
    pub fn parse(path: &str, creator: Option<&str>) -> Result<Self, ExtendedAttributeError> {
        let (tags, vr) = attribute::path(path).ok_or(ExtendedAttributeError::Unknown)?;
        let outermost = tags.first().copied().unwrap_or_default();
        if tags.iter().any(|&tag| private::is_creator(tag)) {
            return Err(ExtendedAttributeError::Unmatched);
        }
        if vr == VR::SQ {
            return Err(ExtendedAttributeError::Sequence);
        }
        if Predicate::level_of_tag(outermost) != Level::Instance {
            return Err(ExtendedAttributeError::BuiltIn);
        }
        if NEVER_MATCHED.contains(&vr) || tags.iter().any(|tag| NEVER_SEARCHED.contains(tag)) {
            return Err(ExtendedAttributeError::Unmatched);
        }
        let mut steps: Vec<Step> = tags.iter().copied().map(Step::new).collect();
        let is_private = tags.iter().any(|&tag| private::is_private(tag));
        match creator.map(|creator| normalized(creator.trim())) {
            None if is_private => return Err(ExtendedAttributeError::CreatorMissing),
            None => {}
            Some(creator) => {
                if !is_private || creator.is_empty() || creator.contains(['*', '?', '\\']) {
                    return Err(ExtendedAttributeError::CreatorUnfit);
                }
                let creators: Vec<(Vec<u32>, String)> = (0..tags.len())
                    .filter_map(|at| {
                        let path = tags[..at].iter().copied().chain([private::creator_of(tags[at])?]);
                        Some((path.collect(), creator.to_string()))
                    })
                    .collect();
                private::bind(&mut steps, &creators);
            }
        }
        Ok(Self { steps, vr })
    }

    /// The one that a predicate is on.
    #[cfg(test)]
    pub(super) fn of(predicate: &Predicate) -> Self {
        Self {
            steps: predicate.steps.clone(),
            vr: predicate.vr,
        }
    }

    /// Its path of tags with dots.
    pub fn path(&self) -> String {
        let keys: Vec<_> = self.steps.iter().map(Step::key).collect();
        keys.join(".")
    }

    /// Its VR by the dictionary, LO where that depends on the instance.
    pub fn vr(&self) -> String {
        self.vr.to_string().to_owned()
    }

    /// Whether what is kept decides a predicate. Of a date that goes with a time, or with a time zone, it does not.
    pub fn covers(&self, predicate: &Predicate) -> bool {
        let needs_more = matches!(
            predicate.condition,
            Condition::DateAndTime { .. } | Condition::InZone { .. }
        );
        !needs_more && predicate.steps == self.steps
    }

    /// Whether a query shows it.
    pub fn is_shown_by(&self, query: &Query) -> bool {
        let is_matched = || query.predicates.iter().any(|predicate| predicate.steps == self.steps);
        query.include == super::Include::All || query.include_paths.contains(&self.steps) || is_matched()
    }

    /// The part of a dataset that decides predicates on it.
    pub fn part_of(&self, attributes: &Map<String, Json>) -> Map<String, Json> {
        part(&self.steps, attributes)
    }
}

impl std::fmt::Debug for ExtendedAttribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExtendedAttribute({})", self.path())
    }
}

/// Recurses along the path, which is short.
fn part(steps: &[Step], attributes: &Map<String, Json>) -> Map<String, Json> {
    let mut out = Map::new();
    let Some((step, rest)) = steps.split_first() else {
        return out;
    };
    for (key, attribute) in attributes.iter().filter(|(key, _)| step.names(key, attributes)) {
        let kept = if rest.is_empty() {
            attribute.clone()
        } else {
            sequence(rest, attribute)
        };
        out.insert(key.clone(), kept);
        let creator = u32::from_str_radix(key, 16).ok().and_then(private::creator_of);
        let creator = creator.map(|creator| format!("{creator:08X}"));
        if let Some((key, creator)) = creator.and_then(|key| Some((key.clone(), attributes.get(&key)?))) {
            out.insert(key, creator.clone());
        }
    }
    out
}

/// A sequence with the wanted part of each item. Items that are alike count once: one of them must match.
fn sequence(steps: &[Step], attribute: &Json) -> Json {
    let mut out = Map::new();
    if let Some(vr) = attribute.get("vr") {
        out.insert("vr".to_owned(), vr.clone());
    }
    let mut kept: Vec<Json> = Vec::new();
    for item in items(attribute) {
        let item = item
            .as_object()
            .map_or(Json::Null, |item| Json::Object(part(steps, item)));
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    if !kept.is_empty() {
        out.insert("Value".to_owned(), kept.into());
    }
    Json::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::matches_all;
    use serde_json::json;

    fn parse(path: &str, creator: Option<&str>) -> Result<String, ExtendedAttributeError> {
        ExtendedAttribute::parse(path, creator).map(|attribute| attribute.path())
    }

    #[test]
    fn names() {
        use ExtendedAttributeError as Error;
        for (path, creator, expected) in [
            ("ImageComments", None, Ok("00204000")),
            ("00204000", None, Ok("00204000")),
            ("00091001", Some("ACME"), Ok("00091001")),
            ("00081140.ReferencedSOPInstanceUID", None, Ok("00081140.00081155")),
            ("00091001.00091002", Some("ACME"), Ok("00091001.00091002")),
            ("Nonsense", None, Err(Error::Unknown)),
            ("00081140", None, Err(Error::Sequence)),
            ("PatientName", None, Err(Error::BuiltIn)),
            ("Modality", None, Err(Error::BuiltIn)),
            ("Manufacturer", None, Err(Error::BuiltIn)),
            ("PixelData", None, Err(Error::Unmatched)),
            ("00090010", Some("ACME"), Err(Error::Unmatched)),
            ("00091001", None, Err(Error::CreatorMissing)),
            ("00091001", Some("A*"), Err(Error::CreatorUnfit)),
            ("ImageComments", Some("ACME"), Err(Error::CreatorUnfit)),
        ] {
            assert_eq!(parse(path, creator), expected.map(str::to_owned), "{path}");
        }
    }

    #[test]
    fn parts_of_private_attributes_have_their_creators() {
        let attribute = ExtendedAttribute::parse("00091001", Some("ACME")).expect("sound");
        let instance = json!({
            "00080070": {"vr": "LO", "Value": ["X"]},
            "00090010": {"vr": "LO", "Value": ["OTHER"]},
            "00090011": {"vr": "LO", "Value": ["ACME"]},
            "00091001": {"vr": "LO", "Value": ["not ours"]},
            "00091101": {"vr": "LO", "Value": ["ours"]},
        });
        let part = attribute.part_of(instance.as_object().expect("an object"));
        assert_eq!(part.keys().collect::<Vec<_>>(), ["00090011", "00091101"]);
        for (text, is_covered, is_match) in [
            ("00090010=ACME&00091001=ours", true, true),
            ("00090010=ACME&00091001=other", true, false),
            ("00091001=ours", false, false),
        ] {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let query = Query::parse(Level::Study, pairs).expect("sound");
            let covered: Vec<_> = query.predicates.iter().filter(|on| attribute.covers(on)).collect();
            assert_eq!(!covered.is_empty(), is_covered, "{text}");
            assert!(!is_covered || matches_all(covered, &part) == is_match, "{text}");
        }
    }
}
