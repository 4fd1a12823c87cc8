//! Private attributes (PS3.5 section 7.8.1).
//!
//! A private attribute `ggggeexx` lies in the block `ee` that the creator in `gggg00ee` has reserved, and instances
//! may reserve different blocks for one creator. A query that gives the creator too, as PS3.18 section 8.3.4.1 wants,
//! is answered by creator and last two digits, whichever block an instance uses; one that does not, by the tag as it
//! stands. The creator must be given exactly, without wildcards.

use base64::Engine;
use dicom_core::VR;
use serde_json::{Map, Value as Json};

use super::condition::{Condition, Options};
use super::matching::comparable_values;
use super::{PRIVATE_UN_BYTES_MAX, Predicate};

/// One tag of a path.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Group × 65536 + element.
    pub(super) tag: u32,
    /// The same as key of the JSON model.
    key: String,
    /// The creator, of a private attribute whose creator the query names; of the creator's own element likewise.
    creator: Option<String>,
}

impl Step {
    pub(super) fn new(tag: u32) -> Self {
        Self {
            tag,
            key: format!("{tag:08X}"),
            creator: None,
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether this attribute of a dataset is the one that the step names.
    pub(super) fn names(&self, key: &str, attributes: &Map<String, Json>) -> bool {
        match &self.creator {
            None => self.key == key,
            Some(_) => {
                let is_like =
                    key.get(..4) == self.key.get(..4) && (is_creator(self.tag) || key.get(6..) == self.key.get(6..));
                is_like && keys_at(attributes, self).any(|found| found == key)
            }
        }
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key)
    }
}

/// Whether a tag lies in a group where senders may keep what they want.
pub(super) fn is_private(tag: u32) -> bool {
    tag >> 16 & 1 == 1
}

/// Whether a tag is one of the elements `0010` to `00FF` in which creators name themselves.
pub(super) fn is_creator(tag: u32) -> bool {
    is_private(tag) && (0x0010..=0x00FF).contains(&(tag & 0xFFFF))
}

/// The element that names the creator of a private attribute.
pub(super) fn creator_of(tag: u32) -> Option<u32> {
    (is_private(tag) && tag & 0xFFFF >= 0x1000).then_some(tag & 0xFFFF_0000 | tag >> 8 & 0xFF)
}

/// Lets the private attributes of a query find their creators among its predicates. `paths` may be those of the
/// predicates or of included attributes; `creators` are (path of the creator's element, creator).
pub(super) fn bind(steps: &mut [Step], creators: &[(Vec<u32>, String)]) {
    for at in 0..steps.len() {
        let tag = steps[at].tag;
        let wanted = if is_creator(tag) { Some(tag) } else { creator_of(tag) };
        let Some(wanted) = wanted else { continue };
        let path: Vec<u32> = steps[..at].iter().map(|step| step.tag).chain([wanted]).collect();
        let found = creators.iter().find(|(creator, _)| *creator == path);
        steps[at].creator = found.map(|(_, name)| name.clone());
    }
}

/// The creators that predicates name exactly.
pub(super) fn creators(predicates: &[Predicate]) -> Vec<(Vec<u32>, String)> {
    let creator = |predicate: &Predicate| {
        let path: Vec<u32> = predicate.steps.iter().map(|step| step.tag).collect();
        let is_creator = path.last().is_some_and(|&tag| is_creator(tag));
        match predicate.condition.exact_values() {
            Some(names) if is_creator && names.len() == 1 => Some((path, names[0].to_owned())),
            _ => None,
        }
    };
    predicates.iter().filter_map(creator).collect()
}

/// The attributes of a dataset that a step names: one at most, but for creators that have several blocks.
pub(super) fn attributes_at<'a>(attributes: &'a Map<String, Json>, step: &'a Step) -> impl Iterator<Item = &'a Json> {
    let direct = step.creator.is_none().then(|| attributes.get(&step.key)).flatten();
    let by_creator = step.creator.is_some().then(|| keys_at(attributes, step));
    let by_creator = by_creator.into_iter().flatten().filter_map(|key| attributes.get(&key));
    direct.into_iter().chain(by_creator)
}

/// The keys of the attributes of a private creator.
fn keys_at<'a>(attributes: &'a Map<String, Json>, step: &'a Step) -> impl Iterator<Item = String> + 'a {
    let group = &step.key[..4];
    let is_creator_key = move |key: &str| key.len() == 8 && key.starts_with(group) && key.get(4..6) == Some("00");
    let blocks = attributes.iter().filter(move |(key, attribute)| {
        is_creator_key(key)
            && comparable_values(Some(attribute), VR::LO).first().map(|name| &**name) == step.creator.as_deref()
    });
    blocks.map(move |(key, _)| match is_creator(step.tag) {
        true => key.clone(),
        false => format!("{group}{}{}", &key[6..], &step.key[6..]),
    })
}

/// Whether a private attribute matches a query's value by the VR that it is stored with. Values of unknown VR are
/// compared as text as long as they are short.
pub(super) fn matches(attribute: &Json, value: &str, options: Options) -> bool {
    let vr = attribute.get("vr").and_then(Json::as_str).unwrap_or_default();
    let as_text = |text: &str| {
        Condition::parse(VR::LO, value, options).is_ok_and(|condition| {
            let values = text.split('\\').map(str::trim).filter(|value| !value.is_empty());
            condition.matches_values(values)
        })
    };
    if let Some(encoded) = attribute.get("InlineBinary").and_then(Json::as_str) {
        if vr != "UN" || encoded.len() > PRIVATE_UN_BYTES_MAX {
            return false;
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .unwrap_or_default();
        return str::from_utf8(&bytes).is_ok_and(|text| as_text(text.trim_end_matches(['\0', ' '])));
    }
    let Ok(vr) = vr.parse::<VR>() else { return false };
    let values = comparable_values(Some(attribute), vr);
    if values.is_empty() {
        return false;
    }
    Condition::parse(vr, value, options)
        .is_ok_and(|condition| condition.matches_values(values.iter().map(|value| &**value)))
}
