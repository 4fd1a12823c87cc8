//! How single fields of a study may be used.

use std::collections::BTreeMap;

/// What a role says of one field.
///
/// Ordered from the widest to the narrowest; where roles differ, the narrowest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub enum FieldRight {
    /// Read and write.
    #[default]
    #[serde(rename = "F")]
    Full,
    /// Read and write, and it must not be left empty.
    #[serde(rename = "R")]
    Required,
    /// Read.
    #[serde(rename = "O")]
    ReadOnly,
    /// Neither.
    #[serde(rename = "H")]
    Hidden,
}

impl FieldRight {
    /// The letter in roles.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Full => "F",
            Self::Required => "R",
            Self::ReadOnly => "O",
            Self::Hidden => "H",
        }
    }

    /// The right of a letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "F" => Some(Self::Full),
            "R" => Some(Self::Required),
            "O" => Some(Self::ReadOnly),
            "H" => Some(Self::Hidden),
            _ => None,
        }
    }
}

/// The fields of a study that have rights of their own; custom fields come beside them.
pub const STUDY_FIELDS: [&str; 9] = [
    "patient_name",
    "patientid",
    "study_description",
    "accession_number",
    "modality",
    "referring_physician",
    "patient_sex",
    "study_date",
    "patient_birth_date",
];

/// Starts the name of a custom field's right, before the field's id.
pub const CUSTOM_FIELD: &str = "customfield_";

/// Rights by field. What is not named is [`FieldRight::Full`].
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct FieldRights(BTreeMap<String, FieldRight>);

impl FieldRights {
    /// Whether there is a right for a field of this name: one of [`STUDY_FIELDS`] or a custom field.
    pub fn is_field(name: &str) -> bool {
        STUDY_FIELDS.contains(&name) || name.strip_prefix(CUSTOM_FIELD).is_some_and(|id| !id.is_empty())
    }

    /// What is said of a field.
    pub fn of(&self, field: &str) -> FieldRight {
        self.0.get(field).copied().unwrap_or_default()
    }

    /// Says something of a field; `false` where it is none.
    pub fn set(&mut self, field: &str, right: FieldRight) -> bool {
        if !Self::is_field(field) {
            return false;
        }
        self.0.insert(field.to_owned(), right);
        true
    }

    /// Takes another role's rights into account.
    pub fn narrow(&mut self, other: &Self) {
        for (field, &right) in &other.0 {
            let narrowed = self.of(field).max(right);
            self.0.insert(field.clone(), narrowed);
        }
    }

    /// What is said, by field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, FieldRight)> {
        self.0.iter().map(|(field, &right)| (field.as_str(), right))
    }
}
