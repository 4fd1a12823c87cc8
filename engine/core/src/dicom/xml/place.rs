//! Numbered values, and private attributes whose block is to be found.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use dicom_core::Tag;
use serde_json::{Map, Value as Json, json};

use super::names::{is_creator, is_in_block, key_of, parse_tag};

/// The values of one attribute, by their `number` from 1; gaps are filled later.
#[derive(Default)]
pub(super) struct Numbered {
    values: Vec<Option<Json>>,
}

impl Numbered {
    /// Values and gaps so far.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Where a value of this `number` goes; without one, behind the last. `None` if it is 0 or the place is taken.
    pub(super) fn place(&self, number: Option<usize>) -> Option<usize> {
        let place = match number {
            Some(number) => number.checked_sub(1)?,
            None => self.values.len(),
        };
        let is_taken = self.values.get(place).is_some_and(Option::is_some);
        (!is_taken).then_some(place)
    }

    /// Puts a value where [`Self::place`] said. The caller has bounded the place.
    pub(super) fn put(&mut self, place: usize, value: Json) {
        if place >= self.values.len() {
            self.values.resize_with(place + 1, || None);
        }
        self.values[place] = Some(value);
    }

    /// All values, gaps as `gap`; without any value that says something, none.
    pub(super) fn into_values(self, gap: &Json) -> Vec<Json> {
        if let [Some(Json::Null)] = self.values[..] {
            return Vec::new();
        }
        self.values
            .into_iter()
            .map(|value| value.unwrap_or_else(|| gap.clone()))
            .collect()
    }
}

/// One dataset while it is read.
#[derive(Default)]
pub(super) struct Dataset {
    map: Map<String, Json>,
    /// Attributes whose tag has block 00, with their creator.
    without_block: Vec<(Tag, String, Json)>,
}

impl Dataset {
    /// Adds an attribute; `false` if it is there already.
    pub(super) fn add(&mut self, tag: Tag, creator: Option<String>, attribute: Json) -> bool {
        match creator {
            Some(creator) if tag.0 % 2 == 1 && tag.1 <= 0x00FF => {
                self.without_block.push((tag, creator, attribute));
                true
            }
            _ => self.map.insert(key_of(tag), attribute).is_none(),
        }
    }

    /// The dataset with every private attribute in its block: the first that its creator reserved in the group, else
    /// the first free one, which is reserved for it. `None` if an attribute occurs twice or no block is free.
    pub(super) fn finish(mut self) -> Option<Map<String, Json>> {
        if self.without_block.is_empty() {
            return Some(self.map);
        }
        let (mut reserved, mut used) = (HashMap::new(), HashSet::new());
        for (key, attribute) in &self.map {
            let tag = parse_tag(key)?;
            if is_creator(tag) {
                used.insert((tag.0, tag.1));
                if let Some(name) = attribute.get("Value").and_then(|values| values.get(0)?.as_str()) {
                    let first = reserved.entry((tag.0, name.to_owned())).or_insert(tag.1);
                    *first = tag.1.min(*first);
                }
            } else if is_in_block(tag) {
                used.insert((tag.0, tag.1 >> 8));
            }
        }
        for (tag, creator, attribute) in self.without_block {
            let group = tag.0;
            let block = match reserved.entry((group, creator)) {
                Entry::Occupied(block) => *block.get(),
                Entry::Vacant(vacant) => {
                    let block = (0x0010..=0x00FF).find(|block| !used.contains(&(group, *block)))?;
                    let reservation = json!({"vr": "LO", "Value": [vacant.key().1]});
                    self.map.insert(key_of(Tag(group, block)), reservation);
                    used.insert((group, block));
                    *vacant.insert(block)
                }
            };
            let key = key_of(Tag(group, (block << 8) | tag.1));
            if self.map.insert(key, attribute).is_some() {
                return None;
            }
        }
        Some(self.map)
    }
}
