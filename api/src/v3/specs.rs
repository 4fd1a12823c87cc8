//! What the objects that are nothing but fields consist of.

use septum_core::access::Permission;
use septum_engine::accounts::documents::Kind;
use serde_json::{Map, Value};

use super::custom_fields;
use super::fault::{Fault, Outcome};
use super::lists::{self, Compare};
use super::values::{self, Fields, Holds, is_email};

/// Whose such objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// An account's.
    Account,
    /// A study's.
    Study,
    /// One user's own.
    User,
}

/// One kind of object.
pub struct Spec {
    /// How the paths of its calls start.
    pub prefix: &'static str,
    /// Its documents.
    pub kind: Kind,
    /// What its list is called in answers.
    pub list: &'static str,
    /// Whose they are.
    pub whose: Whose,
    /// Its fields.
    pub fields: Fields,
    /// Fields that are shown and not set.
    pub more: &'static [&'static str],
    /// What its list may be filtered and sorted by.
    pub filters: lists::Fields,
    /// The name of the object that custom fields may be of.
    pub custom: Option<&'static str>,
    /// A field of which no two may have the same value.
    pub unique: Option<&'static str>,
    /// The permission to see it, where `…_only_own` narrows it.
    pub view: Option<Permission>,
    /// Reading it is audited.
    pub is_patient_data: bool,
    /// What must hold of its fields.
    pub check: fn(&Map<String, Value>) -> Outcome<()>,
}

use Compare::{Number, Text as AsText, Time};
use Holds::{Flag, Integer, Json, Text};

fn anything(_: &Map<String, Value>) -> Outcome<()> {
    Ok(())
}

const OBJECTS: [&str; 10] = [
    "Study",
    "Account",
    "Group",
    "Location",
    "Patient",
    "Order",
    "User_account",
    "Case",
    "Destination",
    "Radreport",
];
const TYPES: [&str; 12] = [
    "text",
    "number",
    "date",
    "memo",
    "select",
    "multiselect",
    "radio",
    "checkbox",
    "search",
    "bool",
    "email",
    "phone",
];

fn custom_field(body: &Map<String, Value>) -> Outcome<()> {
    if !OBJECTS.contains(&values::text(body, "object")) {
        return Err(Fault::new("INVALID_OBJECT"));
    }
    let kind = values::text(body, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        return Err(Fault::new("INVALID_TYPE"));
    }
    if body.get("options").is_some_and(|options| !options.is_array()) {
        return Err(Fault::new("INVALID_OPTIONS"));
    }
    let tag = values::text(body, "dicom_tag");
    if tag.is_empty() {
        let loads = values::is_set(body, "load_dicom_tag");
        return if loads {
            Err(Fault::new("NO_DICOM_TAG_DEFINED"))
        } else {
            Ok(())
        };
    }
    if values::text(body, "object") != "Study" {
        return Err(Fault::new("INVALID_DICOM_TAG_OBJECT"));
    }
    if custom_fields::attribute(tag).is_none() {
        return Err(Fault::new("INVALID_DICOM_TAG"));
    }
    Ok(())
}

fn filter(body: &Map<String, Value>) -> Outcome<()> {
    match body.get("configuration") {
        None | Some(Value::Object(_) | Value::Array(_)) => Ok(()),
        Some(_) => Err(Fault::new("INVALID_CONFIG")),
    }
}

fn patient(body: &Map<String, Value>) -> Outcome<()> {
    let texts = ["email", "alt_email"].map(|name| values::text(body, name));
    if texts.iter().any(|text| !text.is_empty() && !is_email(text)) {
        return Err(Fault::new("INVALID_EMAIL"));
    }
    Ok(())
}

/// Every kind.
pub const SPECS: &[Spec] = &[
    Spec {
        prefix: "customfield/",
        kind: Kind::CustomField,
        list: "customfields",
        whose: Whose::Account,
        fields: &[
            ("name", Text),
            ("object", Text),
            ("type", Text),
            ("capture_on_share_code", Flag),
            ("capture_on_destination_search", Flag),
            ("display_order", Integer),
            ("wrapped_dicom_only", Flag),
            ("dicom_only", Flag),
            ("required", Flag),
            ("options", Json),
            ("hl7_segment", Text),
            ("hl7_field", Text),
            ("hl7_component", Text),
            ("load_hl7", Text),
            ("load_hl7_filter", Text),
            ("dicom_tag", Text),
            ("other_dicom_tags", Json),
            ("load_dicom_tag", Flag),
            ("dicom_tag_ignore_empty", Flag),
            ("load_from_sr", Text),
            ("field_flag", Text),
            ("ui_json", Json),
            ("load_order", Integer),
            ("other_customfield_id", Text),
            ("other_customfield_no_overwrite_with_blank", Flag),
            ("other_customfield_no_refresh_on_reshare", Flag),
        ],
        more: &[],
        filters: &[
            ("uuid", AsText),
            ("name", AsText),
            ("object", AsText),
            ("type", AsText),
            ("created", Time),
            ("display_order", Number),
            ("required", Number),
        ],
        custom: None,
        unique: None,
        view: None,
        is_patient_data: false,
        check: custom_field,
    },
    Spec {
        prefix: "filter/",
        kind: Kind::Filter,
        list: "filters",
        whose: Whose::User,
        fields: &[
            ("name", Text),
            ("type", Text),
            ("configuration", Json),
            ("account_id", Text),
            ("tier_parent_id", Text),
        ],
        more: &[],
        filters: &[("uuid", AsText), ("name", AsText), ("type", AsText), ("created", Time)],
        custom: None,
        unique: None,
        view: None,
        is_patient_data: true,
        check: filter,
    },
    Spec {
        prefix: "annotation/",
        kind: Kind::Annotation,
        list: "annotations",
        whose: Whose::Study,
        fields: &[
            ("series_uid", Text),
            ("instance_uid", Text),
            ("frame_number", Integer),
            ("json", Json),
            ("stamp", Flag),
        ],
        more: &["study_id"],
        filters: super::documents::COMMON,
        custom: None,
        unique: None,
        view: Some(Permission::AnnotationView),
        is_patient_data: true,
        check: anything,
    },
    Spec {
        prefix: "keyimage/",
        kind: Kind::KeyImage,
        list: "images",
        whose: Whose::Study,
        fields: &[
            ("series_uid", Text),
            ("instance_uid", Text),
            ("frame_number", Integer),
            ("version", Text),
        ],
        more: &["study_id"],
        filters: super::documents::COMMON,
        custom: None,
        unique: None,
        view: None,
        is_patient_data: true,
        check: anything,
    },
    Spec {
        prefix: "study/comment/",
        kind: Kind::Comment,
        list: "comments",
        whose: Whose::Study,
        fields: &[("body", Text)],
        more: &["study_id"],
        filters: super::documents::COMMON,
        custom: None,
        unique: None,
        view: None,
        is_patient_data: true,
        check: anything,
    },
    Spec {
        prefix: "patient/",
        kind: Kind::Patient,
        list: "patients",
        whose: Whose::Account,
        fields: &[
            ("name", Text),
            ("first", Text),
            ("last", Text),
            ("mrn", Text),
            ("sex", Text),
            ("birth_date", Text),
            ("email", Text),
            ("mobile_phone", Text),
            ("alt_email", Text),
            ("alt_mobile_phone", Text),
            ("event_share", Flag),
            ("event_new_report", Flag),
        ],
        more: &[],
        filters: &[
            ("uuid", AsText),
            ("name", AsText),
            ("first", AsText),
            ("last", AsText),
            ("mrn", AsText),
            ("sex", AsText),
            ("birth_date", AsText),
            ("email", AsText),
            ("mobile_phone", AsText),
            ("created", Time),
        ],
        custom: Some("Patient"),
        unique: Some("mrn"),
        view: None,
        is_patient_data: true,
        check: patient,
    },
    Spec {
        prefix: "order/",
        kind: Kind::Order,
        list: "orders",
        whose: Whose::Account,
        fields: &[
            ("patientid", Text),
            ("patient_name", Text),
            ("accession_number", Text),
            ("patient_sex", Text),
            ("patient_birth_date", Text),
            ("referring_physician", Text),
            ("sending_facility", Text),
        ],
        more: &["sps"],
        filters: &[
            ("uuid", AsText),
            ("patientid", AsText),
            ("patient_name", AsText),
            ("accession_number", AsText),
            ("patient_sex", AsText),
            ("patient_birth_date", AsText),
            ("referring_physician", AsText),
            ("sending_facility", AsText),
            ("created", Time),
        ],
        custom: Some("Order"),
        unique: None,
        view: None,
        is_patient_data: true,
        check: anything,
    },
    Spec {
        prefix: "anonymization/",
        kind: Kind::Anonymization,
        list: "anonymization_profiles",
        whose: Whose::Account,
        fields: &[("name", Text), ("rules", Json)],
        more: &[],
        filters: &[("uuid", AsText), ("name", AsText), ("created", Time)],
        custom: None,
        unique: None,
        view: None,
        is_patient_data: false,
        check: |body| match body.get("rules") {
            None | Some(Value::Object(_)) => Ok(()),
            Some(_) => Err(Fault::new("NOT_HASH")),
        },
    },
];
