//! Study fields that a caller's roles hide.
//!
//! Where attributes are shown one by one (metadata, search results), hidden ones are taken out, and nothing can be found or
//! sorted by them. Where datasets go out as they are, or come together anew out of what they say, nothing can be taken
//! out: those routes are closed to whoever has a hidden field there. Pixels stay open; annotations that are burned into
//! pictures do without what is hidden.

use std::sync::Arc;

use septum_core::access::{FieldRight, Principal};
use septum_core::dicom::json::read_stored;
use septum_core::ids::NamespaceId;
use septum_core::query::Query;
use septum_engine::accounts::Namespace;
use serde_json::{Map, Value};

/// Fields, and the attributes that say the same, group × 65536 + element.
const ATTRIBUTES: [(&str, &[u32]); 9] = [
    (
        "patient_name",
        &[0x0010_0010, 0x0010_1001, 0x0010_1005, 0x0010_1060, 0x0040_A123],
    ),
    ("patientid", &[0x0010_0020, 0x0010_1000, 0x0010_1002, 0x0010_0021]),
    ("study_description", &[0x0008_1030, 0x0008_1032]),
    ("accession_number", &[0x0008_0050, 0x0008_0051]),
    ("modality", &[0x0008_0060, 0x0008_0061]),
    ("referring_physician", &[0x0008_0090, 0x0008_0096, 0x0008_009C]),
    ("patient_sex", &[0x0010_0040]),
    (
        "study_date",
        &[0x0008_0020, 0x0008_0021, 0x0008_0022, 0x0008_0023, 0x0008_002A],
    ),
    ("patient_birth_date", &[0x0010_0030, 0x0010_1010]),
];

/// Routes that show nothing of a dataset but pixels, or attributes out of which hidden ones are taken.
const OPEN: [&str; 30] = [
    "retrieve_study_metadata",
    "retrieve_series_metadata",
    "retrieve_instance_metadata",
    "retrieve_frames",
    "render_instance",
    "render_frames",
    "render_series",
    "render_study",
    "thumbnail_of_instance",
    "thumbnail_of_frames",
    "thumbnail_of_series",
    "thumbnail_of_study",
    "list_versions",
    "search_studies",
    "search_series",
    "search_instances",
    "store",
    "describe_service",
    "open_viewer",
    "list_namespaces",
    "v3_upload_image",
    "v3_wrap",
    "v3_multipart_initiate",
    "v3_multipart_part",
    "v3_multipart_complete",
    "v3_count",
    "v3_frame",
    "v3_thumbnail",
    "v3_diagnostic",
    "v3_tiff",
];

/// Actions of the routes that are about studies at all.
const ABOUT_STUDIES: [&str; 5] = ["study.", "series.", "instance.", "attachment.", "exception."];

/// Whether a route hands out what hidden fields cannot be taken out of.
pub fn is_closed(route: &str, action: &str) -> bool {
    ABOUT_STUDIES.iter().any(|start| action.starts_with(start))
        && !OPEN.contains(&route)
        && !route.contains("delete")
        && !route.starts_with("commit")
}

/// The attributes that are hidden in one namespace.
#[derive(Debug, Clone, Default)]
pub struct Hidden(Arc<[u32]>);

impl Hidden {
    /// What a user's roles hide.
    pub fn of(principal: &Principal, namespace: NamespaceId) -> Self {
        let rights = principal.fields(namespace);
        let hidden = ATTRIBUTES
            .iter()
            .filter(|(field, _)| rights.of(field) == FieldRight::Hidden);
        Self(hidden.flat_map(|(_, tags)| tags.iter().copied()).collect())
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their tags, group × 65536 + element.
    pub fn tags(&self) -> Arc<[u32]> {
        Arc::clone(&self.0)
    }

    /// Takes hidden attributes out of a dataset, DICOM JSON Model.
    pub fn strip(&self, attributes: &mut Map<String, Value>) {
        for tag in self.0.iter() {
            attributes.remove(&format!("{tag:08X}"));
        }
    }

    /// The same of a dataset as text; one that is none is not shown.
    pub fn stripped(&self, text: String) -> String {
        if self.is_empty() {
            return text;
        }
        match read_stored::<Map<String, Value>>(&text) {
            Ok(mut attributes) => {
                self.strip(&mut attributes);
                Value::Object(attributes).to_string()
            }
            Err(_) => "{}".to_owned(),
        }
    }

    /// Whether a search asks about hidden attributes, or is sorted by them.
    pub fn concerns(&self, query: &Query) -> bool {
        let mut asked = query.predicates.iter().filter(|predicate| !predicate.is_universal());
        asked.any(|predicate| self.0.contains(&predicate.tag()))
            || query.order.iter().any(|key| self.0.contains(&key.tag()))
    }
}

/// Those of `namespaces` in which a search asks about nothing hidden.
pub fn searched(principal: &Principal, namespaces: &[Arc<Namespace>], query: &Query) -> Vec<Arc<Namespace>> {
    let is_open = |namespace: &&Arc<Namespace>| !Hidden::of(principal, namespace.id).concerns(query);
    namespaces.iter().filter(is_open).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use septum_core::access::{FieldRights, Rights, STUDY_FIELDS};
    use septum_core::dicom::json::Level;
    use septum_core::ids::UserId;
    use serde_json::json;

    fn hidden(fields: &[&str]) -> Hidden {
        let namespace = NamespaceId::from_bytes([1; 16]);
        let mut principal = Principal::new(UserId::from_bytes([2; 16]), "a");
        let mut rights = FieldRights::default();
        for field in fields {
            assert!(rights.set(field, FieldRight::Hidden));
        }
        principal.add(
            namespace,
            &Rights {
                fields: rights,
                ..Rights::default()
            },
        );
        Hidden::of(&principal, namespace)
    }

    #[test]
    fn every_field_has_attributes() {
        for field in STUDY_FIELDS {
            assert!(!hidden(&[field]).is_empty(), "{field}");
        }
        assert!(hidden(&[]).is_empty());
    }

    #[test]
    fn hidden_attributes_are_taken_out_and_not_asked_about() {
        let hidden = hidden(&["patient_name"]);
        let text = json!({"00100010": {"vr": "PN"}, "00100020": {"vr": "LO"}}).to_string();
        assert_eq!(hidden.stripped(text), r#"{"00100020":{"vr":"LO"}}"#);
        for (text, expected) in [
            ("PatientName=A*", true),
            ("PatientID=7", false),
            ("orderby=PatientName", true),
            ("", false),
        ] {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let query = Query::parse(Level::Study, pairs).expect("a sound query");
            assert_eq!(hidden.concerns(&query), expected, "{text}");
        }
    }

    #[test]
    fn datasets_as_they_are_are_closed() {
        for (route, action, expected) in [
            ("retrieve_instance", "instance.read", true),
            ("retrieve_bulk_data", "instance.read-bulk-data", true),
            ("v3_download", "study.download", true),
            ("v3_study_phi", "study.read-metadata", true),
            ("retrieve_study_metadata", "study.read-metadata", false),
            ("retrieve_frames", "instance.read-frames", false),
            ("list_accounts", "account.list", false),
        ] {
            assert_eq!(is_closed(route, action), expected, "{route}");
        }
    }
}
