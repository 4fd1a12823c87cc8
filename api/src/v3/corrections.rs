//! Patient and study data of stored studies, corrected by `/study/set`.
//!
//! Each field given is the value of an attribute; the engine makes of it a newer version of every instance
//! ([`septum_engine::correct`]). Who may only look at a field may not correct it.

use std::sync::Arc;

use dicom_core::Tag;
use septum_core::access::{Permission, Traits};
use septum_core::dicom::correct::{Correction, CorrectionError};
use septum_engine::accounts::Namespace;
use septum_engine::{EngineError, correct, freeze};
use serde_json::Value;

use super::ask::Ask;
use super::custom_fields::may_write;
use super::fault::{Fault, Outcome};
use super::study_id::StudyName;
use super::study_record::{PHI, Stored, notes};
use super::values;

/// Longest reason, in characters.
const REASON_CHARACTERS_MAX: usize = 1_024;

/// The account's setting that a reason must be given.
const REASON_SETTING: &str = "study_edit_reason";

/// The patient and study fields that a call gives.
pub fn given(ask: &Ask) -> Vec<(&'static str, &'static str, &str)> {
    let fields = PHI.into_iter();
    fields
        .filter_map(|(field, tag)| Some((field, tag, ask.parameters.given(field)?)))
        .collect()
}

/// Corrects a stored study by the fields that the call gives.
///
/// # Errors
/// `NOT_PERMITTED`; `MISSING_FIELDS` without a reason where the account wants one; `INVALID_VALUE` about a field;
/// `LOCKED` where the study was frozen meanwhile.
pub async fn apply(ask: &Ask, name: &StudyName, namespace: &Arc<Namespace>, stored: &Stored) -> Outcome<()> {
    let given = given(ask);
    if given.is_empty() {
        return Ok(());
    }
    let notes = notes(ask, name)?;
    let is_noted = |field| notes.as_ref().is_some_and(|notes| values::is_set(&notes.body, field));
    if ask.parameters.is_set("use_upload_permission")? {
        let _granted = ask.authorize(Permission::StudyUpload, name.phi)?;
    } else {
        let traits = Traits {
            own: true,
            approved: Some(!is_noted("must_approve")),
            frozen: false,
        };
        let _granted = ask.authorize_one(Permission::StudyEdit, name.phi, traits)?;
    }
    let rights = ask.principal()?.fields(name.phi);
    let mut correction = Correction::default();
    for (field, tag, value) in given {
        may_write(rights.of(field), field, value)?;
        let value = unpunctuated(field, value);
        let tag = attribute(field, tag, stored)?;
        let set = correction.set(tag, &value);
        set.map_err(|_: CorrectionError| Fault::about("INVALID_VALUE", field))?;
    }
    let reason = reason(ask, namespace)?;
    let found = name.find(ask.services(), namespace)?;
    let source = ask.source()?;
    let corrected = correct::study(ask.services(), namespace, found, correction, reason, &source).await;
    match corrected {
        Err(EngineError::NotAcceptable(why)) => Err(Fault::about("NOT_AVAILABLE", why)),
        Err(EngineError::Conflict(freeze::FROZEN)) => Err(Fault::new("LOCKED")),
        corrected => Ok(corrected?),
    }
}

/// The attribute of a field. A study's modality is that of its series, where they have one and the same.
fn attribute(field: &str, tag: &str, stored: &Stored) -> Outcome<Tag> {
    let number = |text: &str| u32::from_str_radix(text, 16).map_err(|_| Fault::about("INVALID_VALUE", field));
    if field != "modality" {
        let number = number(tag)?;
        return Ok(Tag((number >> 16) as u16, (number & 0xFFFF) as u16));
    }
    let modalities = stored
        .attributes
        .get(tag)
        .and_then(|attribute| attribute["Value"].as_array());
    if modalities.is_some_and(|modalities| modalities.len() > 1) {
        return Err(Fault::about("NOT_AVAILABLE", field));
    }
    Ok(dicom_dictionary_std::tags::MODALITY)
}

/// Dates and times as people write them, as DICOM does.
fn unpunctuated(field: &str, value: &str) -> String {
    match field {
        "study_date" | "patient_birth_date" => value.replace(['-', '/'], ""),
        "study_time" | "patient_birth_time" => value.replace(':', ""),
        _ => value.to_owned(),
    }
}

fn reason(ask: &Ask, namespace: &Namespace) -> Outcome<String> {
    let reason = ask.parameters.text("reason").unwrap_or_default().trim();
    if reason.is_empty() {
        let account = ask.accounts().account(namespace.account)?;
        let is_wanted = account.settings.get(REASON_SETTING);
        let is_wanted = is_wanted.is_some_and(|wanted| !matches!(wanted, Value::Null) && wanted != 0 && wanted != "0");
        if is_wanted && !account.personal {
            return Err(Fault::about("MISSING_FIELDS", vec!["reason"]));
        }
    }
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        return Err(Fault::about("INVALID_VALUE", "reason"));
    }
    Ok(reason.to_owned())
}
