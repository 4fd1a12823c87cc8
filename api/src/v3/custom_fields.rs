//! Custom fields: what accounts add to studies, orders, patients and their own parts. The definitions are documents of
//! the account; the values lie with what they describe.

use septum_core::access::{CUSTOM_FIELD, FieldRight, FieldRights};
use septum_core::ids::{AccountId, DocumentId};
use septum_engine::accounts::documents::{Document, Kind};
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::values as fields_of;

/// Where values lie in an object's own fields.
const KEY: &str = "customfields";

/// The values among an object's own fields, by the custom field's id.
pub fn values(of: &Map<String, Value>) -> Option<&Map<String, Value>> {
    of.get(KEY).and_then(Value::as_object)
}

/// The definitions for a kind of object, in the order in which they are shown.
///
/// # Errors
/// Where they cannot be read.
pub fn definitions(ask: &Ask, account: AccountId, object: &str) -> Outcome<Vec<Document>> {
    let all = ask.accounts().documents.list(Kind::CustomField, account.as_bytes())?;
    let mut of_object: Vec<_> = all
        .into_iter()
        .filter(|field| field.body.get("object").and_then(Value::as_str) == Some(object))
        .collect();
    let place = |field: &Document| field.body.get("display_order").and_then(Value::as_i64).unwrap_or(0);
    of_object.sort_by_key(|field| (place(field), field.created_ms, field.id));
    Ok(of_object)
}

/// The fields of an object with their values: a list, every field of the account's for such objects once.
///
/// # Errors
/// Where the definitions cannot be read.
pub fn shown(ask: &Ask, account: AccountId, object: &str, given: Option<&Map<String, Value>>) -> Outcome<Value> {
    Ok(with_values(&definitions(ask, account, object)?, given))
}

/// Fields with their values.
pub fn with_values(fields: &[Document], given: Option<&Map<String, Value>>) -> Value {
    with_loaded(fields, given, |_| Value::Null)
}

/// Fields with their values: those that nobody gave are loaded from the study, where the field is mapped to one of its
/// attributes and `load_dicom_tag` says so. `loaded` is given the attribute as eight digits.
pub fn with_loaded(fields: &[Document], given: Option<&Map<String, Value>>, loaded: impl Fn(&str) -> Value) -> Value {
    fields
        .iter()
        .map(|field| {
            let id = field.id.to_string();
            let value = given.and_then(|given| given.get(&id)).cloned();
            let value = value.or_else(|| loads(&field.body).map(|tag| loaded(&tag)));
            let value = value.unwrap_or(Value::Null);
            let of = |name: &str| field.body.get(name).cloned().unwrap_or(Value::Null);
            json!({
                "uuid": id,
                "name": of("name"),
                "type": of("type"),
                "value": value,
                "options": of("options"),
                "required": of("required"),
                "dicom_tag": of("dicom_tag"),
                "display_order": of("display_order"),
            })
        })
        .collect()
}

/// The attribute that a field loads its values from.
fn loads(definition: &Map<String, Value>) -> Option<String> {
    let text = fields_of::text(definition, "dicom_tag");
    attribute(text).filter(|_| fields_of::is_set(definition, "load_dicom_tag"))
}

/// The eight digits of an attribute that is written `(0008,1030)`.
pub fn attribute(text: &str) -> Option<String> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (group, element) = inner.split_once(',')?;
    let is_part = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_part(group) && is_part(element)).then(|| format!("{group}{element}").to_uppercase())
}

/// Takes `customfield-UUID` parameters over into an object's own fields.
///
/// # Errors
/// `INVALID_CUSTOMFIELD` with a list of what is wrong.
pub fn take(ask: &Ask, account: AccountId, object: &str, into: &mut Map<String, Value>) -> Outcome<()> {
    take_with(ask, account, object, &FieldRights::default(), into)
}

/// [`take`] where roles say who may write which field.
///
/// # Errors
/// As [`take`]; `NOT_PERMITTED` and `MISSING_FIELDS` as [`may_write`].
pub fn take_with(
    ask: &Ask,
    account: AccountId,
    object: &str,
    rights: &FieldRights,
    into: &mut Map<String, Value>,
) -> Outcome<()> {
    for (name, value) in ask.parameters.starting("customfield-") {
        let id = uuid(name).map(|id| DocumentId::from_bytes(id).to_string());
        let right = id.map_or(FieldRight::Full, |id| rights.of(&format!("{CUSTOM_FIELD}{id}")));
        may_write(right, &format!("customfield-{name}"), value)?;
    }
    let mut wrong = Vec::new();
    let mut kept = values(into).cloned().unwrap_or_default();
    for (name, value) in ask.parameters.starting("customfield-") {
        match check(ask, account, object, name, value) {
            Ok((id, Some(value))) => {
                kept.insert(id.to_string(), value);
            }
            Ok((id, None)) => {
                kept.remove(&id.to_string());
            }
            Err(why) => wrong.push(json!({"customfield": name, "error": why})),
        }
    }
    if wrong.is_empty() {
        into.insert(KEY.to_owned(), kept.into());
        Ok(())
    } else {
        Err(Fault::about("INVALID_CUSTOMFIELD", wrong))
    }
}

/// Whether a field with this right may be given this value.
///
/// # Errors
/// `NOT_PERMITTED` about a field that may not be written; `MISSING_FIELDS` where one that is required would be empty.
pub fn may_write(right: FieldRight, field: &str, value: &str) -> Outcome<()> {
    match right {
        FieldRight::Hidden | FieldRight::ReadOnly => Err(Fault::about("NOT_PERMITTED", field)),
        FieldRight::Required if value.is_empty() => Err(Fault::about("MISSING_FIELDS", vec![field])),
        _ => Ok(()),
    }
}

fn check(
    ask: &Ask,
    account: AccountId,
    object: &str,
    name: &str,
    value: &str,
) -> Result<(DocumentId, Option<Value>), &'static str> {
    let id = DocumentId::from_bytes(uuid(name).ok_or("NOT_FOUND")?);
    let field = ask
        .accounts()
        .documents
        .get(Kind::CustomField, id)
        .ok()
        .filter(|field| field.account == account)
        .ok_or("NOT_FOUND")?;
    let of = |name: &str| field.body.get(name).and_then(Value::as_str).unwrap_or_default();
    if of("object") != object {
        return Err("INVALID_OBJECT");
    }
    if value.is_empty() {
        return Ok((id, None));
    }
    let options = field.body.get("options").and_then(Value::as_array);
    let is_option = |value: &str| {
        options.is_none_or(|options| options.is_empty() || options.iter().any(|one| one.as_str() == Some(value)))
    };
    match of("type") {
        "number" if value.parse::<f64>().is_err() => Err("INVALID_VALUE"),
        "date" if super::times::read(value, &jiff::tz::TimeZone::UTC).is_none() => Err("INVALID_VALUE"),
        "select" | "radio" if !is_option(value) => Err("INVALID_VALUE"),
        _ => Ok((id, Some(value.into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_written_in_parentheses() {
        assert_eq!(attribute("(0008,103e)").as_deref(), Some("0008103E"));
        for text in [
            "",
            "00081030",
            "(0008,10)",
            "(0008,10300)",
            "(0008;1030)",
            "(000x,1030)",
        ] {
            assert_eq!(attribute(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_loaded_only_where_that_is_said() {
        let definition = |load: u8| {
            let body = json!({"dicom_tag": "(0008,1030)", "load_dicom_tag": load});
            body.as_object().cloned().unwrap_or_default()
        };
        assert_eq!(loads(&definition(1)).as_deref(), Some("00081030"));
        assert_eq!(loads(&definition(0)), None);
    }
}
