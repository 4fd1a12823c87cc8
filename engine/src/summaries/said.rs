//! What a study's instances say of the study and its series.
//!
//! Invariant: every value of a summary is one that a current instance says, and whatever a current instance says has a
//! value; where instances differ, the first to say something is right, unless a newer version of one says otherwise
//! (invariant 5). The one exception is [`StudySummary::is_behind`], until [`Gathering`] has heard all of them again.

use septum_core::dicom::json::{series_attributes, study_attributes};
use serde_json::{Map, Value};

use crate::records::{SeriesSummary, StudySummary};

const MODALITY: &str = "00080060";

/// Adds what a new instance says to its study's summary: what is known stays, what is new is added. Tells whether
/// anything of the study itself may have changed.
pub fn absorb(
    summary: &mut StudySummary,
    attributes: &Map<String, Value>,
    series_uid: &str,
    sop_class_uid: &str,
) -> bool {
    let mut is_study_changed = merge(&mut summary.attributes, study_attributes(attributes));
    let series = match summary.series.iter().position(|series| series.series_uid == series_uid) {
        Some(at) => &mut summary.series[at],
        None => {
            is_study_changed = true;
            summary.series.push(SeriesSummary {
                series_uid: series_uid.to_owned(),
                attributes: Map::new(),
                num_instances: 0,
                sop_classes: Vec::new(),
                modalities: Vec::new(),
            });
            let last = summary.series.len() - 1;
            &mut summary.series[last]
        }
    };
    is_study_changed |= merge(&mut series.attributes, series_attributes(attributes));
    series.num_instances += 1;
    is_study_changed |= add(&mut series.modalities, modality(attributes));
    is_study_changed |= add(&mut series.sop_classes, sop_class_uid);
    is_study_changed
}

/// A newer version of an instance that is in the summary: its word goes. What only the version before it said cannot be
/// told apart from what others say, but where there are no others; then the summary is behind. Tells whether anything
/// changed.
pub fn supersede(
    summary: &mut StudySummary,
    attributes: &Map<String, Value>,
    series_uid: &str,
    sop_class_uid: &str,
) -> bool {
    let is_alone = summary
        .series
        .iter()
        .map(|series| u64::from(series.num_instances))
        .sum::<u64>()
        <= 1;
    let (mut is_changed, mut is_behind) = overrule(&mut summary.attributes, study_attributes(attributes), is_alone);
    if let Some(series) = summary.series.iter_mut().find(|series| series.series_uid == series_uid) {
        let is_alone = series.num_instances <= 1;
        let outcome = overrule(&mut series.attributes, series_attributes(attributes), is_alone);
        is_changed |= outcome.0;
        is_behind |= outcome.1;
        for (known, new) in [
            (&mut series.modalities, modality(attributes)),
            (&mut series.sop_classes, sop_class_uid),
        ] {
            if is_alone && known.iter().any(|known| known != new) {
                known.clear();
            }
            is_changed |= add(known, new);
            is_behind |= known.iter().any(|known| known != new);
        }
    }
    summary.is_behind |= is_behind;
    is_changed
}

fn modality(attributes: &Map<String, Value>) -> &str {
    let values = attributes.get(MODALITY).and_then(|attribute| attribute.get("Value"));
    let first = values.and_then(|values| values.get(0)).and_then(Value::as_str);
    first.unwrap_or_default()
}

fn add(known: &mut Vec<String>, new: &str) -> bool {
    let is_new = !new.is_empty() && !known.iter().any(|known| known == new);
    if is_new {
        known.push(new.to_owned());
    }
    is_new
}

fn has_value(attribute: &Value) -> bool {
    attribute.get("Value").is_some()
}

fn merge(known: &mut Map<String, Value>, new: Map<String, Value>) -> bool {
    let mut is_changed = false;
    for (tag, value) in new {
        if !known.get(&tag).is_some_and(has_value) {
            is_changed |= known.insert(tag, value.clone()).is_none_or(|old| old != value);
        }
    }
    is_changed
}

/// Whether anything changed, and whether something stays that perhaps nobody says any more.
fn overrule(known: &mut Map<String, Value>, new: Map<String, Value>, is_alone: bool) -> (bool, bool) {
    if is_alone {
        let is_changed = *known != new;
        *known = new;
        return (is_changed, false);
    }
    let is_said = |tag: &String| new.get(tag).is_some_and(has_value);
    let is_behind = known.iter().any(|(tag, value)| has_value(value) && !is_said(tag));
    let mut is_changed = false;
    for (tag, value) in new {
        if has_value(&value) || !known.get(&tag).is_some_and(has_value) {
            is_changed |= known.insert(tag, value.clone()).is_none_or(|old| old != value);
        }
    }
    (is_changed, is_behind)
}

/// A summary made anew of what all current instances say. What was known stays where one of them still says it.
pub struct Gathering {
    before: StudySummary,
    study: Heard,
    series: Vec<(Heard, Vec<String>, Vec<String>)>,
}

impl Gathering {
    /// Starts from what a summary says.
    pub fn new(before: StudySummary) -> Self {
        let series = before.series.iter().map(|_| Default::default()).collect();
        Self {
            before,
            study: Heard::default(),
            series,
        }
    }

    /// Adds what an instance says, of the series of that number.
    pub fn hear(&mut self, number: usize, attributes: &Map<String, Value>, sop_class_uid: &str) {
        self.study.hear(&self.before.attributes, study_attributes(attributes));
        let known = self.before.series.get(number).map(|series| &series.attributes);
        if let (Some(known), Some((heard, modalities, sop_classes))) = (known, self.series.get_mut(number)) {
            heard.hear(known, series_attributes(attributes));
            add(modalities, modality(attributes));
            add(sop_classes, sop_class_uid);
        }
    }

    /// The summary, once all were heard.
    pub fn finish(self) -> StudySummary {
        let mut summary = self.before;
        summary.attributes = self.study.finish();
        for (series, (heard, modalities, sop_classes)) in summary.series.iter_mut().zip(self.series) {
            series.attributes = heard.finish();
            (series.modalities, series.sop_classes) = (modalities, sop_classes);
        }
        summary.is_behind = false;
        summary
    }
}

/// What is said, and of it what was known before.
#[derive(Default)]
struct Heard {
    known: Map<String, Value>,
    first: Map<String, Value>,
}

impl Heard {
    fn hear(&mut self, before: &Map<String, Value>, mut said: Map<String, Value>) {
        said.retain(|tag, value| {
            let is_known = has_value(value) && before.get(tag) == Some(&*value);
            if is_known && !self.known.contains_key(tag) {
                self.known.insert(tag.clone(), value.clone());
            }
            !is_known
        });
        merge(&mut self.first, said);
    }

    fn finish(self) -> Map<String, Value> {
        let mut all = self.first;
        all.extend(self.known);
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    const SR: &str = "1.2.840.10008.5.1.4.1.1.88.11";

    fn instance(attributes: &[(&str, &str)]) -> Map<String, Value> {
        let member = |(tag, value): &(&str, &str)| {
            let values = if value.is_empty() {
                json!({"vr": "LO"})
            } else {
                json!({"vr": "LO", "Value": [value]})
            };
            ((*tag).to_owned(), values)
        };
        attributes.iter().map(member).collect()
    }

    fn of(instances: &[Map<String, Value>]) -> StudySummary {
        let mut summary = StudySummary::default();
        for attributes in instances {
            absorb(&mut summary, attributes, "1.1", CT);
        }
        summary
    }

    fn text<'a>(attributes: &'a Map<String, Value>, tag: &str) -> Option<&'a str> {
        attributes.get(tag)?["Value"][0].as_str()
    }

    #[test]
    fn the_first_to_say_something_is_right_about_it() {
        let summary = of(&[
            instance(&[("00081030", "first"), ("00100010", "")]),
            instance(&[("00081030", "second"), ("00100010", "name"), ("00080060", "CT")]),
        ]);
        assert_eq!(text(&summary.attributes, "00081030"), Some("first"));
        assert_eq!(text(&summary.attributes, "00100010"), Some("name"));
        assert_eq!((summary.series[0].num_instances, summary.is_behind), (2, false));
    }

    #[test]
    fn a_newer_version_s_word_goes() {
        let before = instance(&[
            ("00081030", "first"),
            ("00080050", "A1"),
            ("0008103E", "s1"),
            ("00080060", "CT"),
        ]);
        let after = instance(&[("00081030", "second"), ("0008103E", "s2"), ("00080060", "MR")]);
        // Alone: nothing of what was stays.
        let mut summary = of(std::slice::from_ref(&before));
        assert!(supersede(&mut summary, &after, "1.1", SR));
        assert!(!supersede(&mut summary, &after, "1.1", SR), "once is enough");
        assert_eq!(summary.attributes, study_attributes(&after));
        assert_eq!(summary.series[0].attributes, series_attributes(&after));
        assert_eq!(summary.series[0].sop_classes, [SR]);
        assert_eq!(
            (&*summary.series[0].modalities, summary.is_behind),
            (&["MR".to_owned()][..], false)
        );
        // Beside another one: that may say what the newer version says no more.
        let mut summary = of(&[before.clone(), before]);
        assert!(supersede(&mut summary, &after, "1.1", CT));
        assert_eq!(text(&summary.attributes, "00081030"), Some("second"));
        assert_eq!(text(&summary.attributes, "00080050"), Some("A1"));
        assert_eq!(summary.series[0].modalities, ["CT", "MR"]);
        assert_eq!((summary.series[0].num_instances, summary.is_behind), (2, true));
    }

    #[test]
    fn where_nothing_is_left_out_nothing_is_behind() {
        let instances = [("first", "CT"), ("second", "CT")]
            .map(|(text, modality)| instance(&[("00081030", text), ("00080060", modality)]));
        let mut summary = of(&[instances[0].clone(), instances[0].clone()]);
        assert!(supersede(&mut summary, &instances[1], "1.1", CT));
        assert!(!summary.is_behind);
    }

    #[test]
    fn what_nobody_says_any_more_goes_when_all_were_heard() {
        let known = of(&[instance(&[
            ("00081030", "second"),
            ("00080050", "A1"),
            ("0008103E", "s1"),
            ("00080060", "MR"),
        ])]);
        let mut gathering = Gathering::new(StudySummary {
            is_behind: true,
            ..known
        });
        gathering.hear(
            0,
            &instance(&[("00081030", "first"), ("0008103E", "s3"), ("00080060", "CT")]),
            CT,
        );
        gathering.hear(
            0,
            &instance(&[("00081030", "second"), ("0008103E", ""), ("00080060", "SR")]),
            SR,
        );
        let summary = gathering.finish();
        assert_eq!(
            text(&summary.attributes, "00081030"),
            Some("second"),
            "one still says it"
        );
        assert!(!summary.attributes.contains_key("00080050"));
        let series = &summary.series[0];
        assert_eq!(text(&series.attributes, "0008103E"), Some("s3"));
        assert_eq!(
            (text(&series.attributes, MODALITY), &*series.sop_classes),
            (Some("CT"), &[CT.to_owned(), SR.to_owned()][..])
        );
        assert_eq!(
            (&*series.modalities, summary.is_behind),
            (&["CT".to_owned(), "SR".to_owned()][..], false)
        );
    }
}
