//! The fields that objects have beside what the engine knows of them: read from parameters, shown in answers.

use serde_json::{Map, Value, json};

use super::fault::{Fault, Outcome};
use super::parameters::Parameters;
use super::reply::flag;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Text.
    Text,
    /// 1 or 0.
    Flag,
    /// A whole number.
    Integer,
    /// Any JSON.
    Json,
}

/// Names of fields and what they hold.
pub type Fields = &'static [(&'static str, Holds)];

use Holds::{Flag, Integer, Json, Text};

/// What accounts, groups and locations have in common.
pub const NAMESPACE: Fields = &[
    ("must_approve", Flag),
    ("must_approve_upload", Flag),
    ("must_approve_harvest", Flag),
    ("must_approve_move", Flag),
    ("no_share", Flag),
    ("share_code", Text),
    ("share_description", Text),
    ("share_settings", Json),
    ("share_via_gateway", Flag),
    ("hl7_template", Text),
    ("search_threshold", Integer),
];

/// What accounts have beside.
pub const ACCOUNT: Fields = &[
    ("vanity", Text),
    ("password_expire", Integer),
    ("session_expire", Integer),
    ("can_request", Flag),
    ("css", Text),
    ("vendor", Text),
    ("site_management_account_id", Text),
];

/// What users have.
pub const USER: Fields = &[
    ("mobile_phone", Text),
    ("share_code", Text),
    ("share_description", Text),
    ("time_zone", Text),
    ("pin_required", Flag),
    ("allowed_login_brands", Text),
    ("npi", Text),
    ("terms_md5", Text),
    ("privacy_md5", Text),
    ("indicator_md5", Text),
    ("public_key", Text),
    ("ui_json", Json),
];

/// What memberships of an account have.
pub const MEMBER: Fields = &[
    ("account_email", Text),
    ("account_alias", Text),
    ("account_login", Text),
    ("password_reset", Flag),
    ("epic_user", Text),
    ("session_expire", Integer),
    ("max_sessions", Integer),
    ("sso_only", Flag),
    ("set_default_organization", Flag),
    ("no_physician_alias_share", Flag),
];

/// Which notices a user or member gets.
pub const EVENTS: [&str; 22] = [
    "event_approve",
    "event_case_assignment",
    "event_harvest",
    "event_incoming_study_request",
    "event_link",
    "event_link_mine",
    "event_message",
    "event_new_report",
    "event_node",
    "event_query_add",
    "event_query_edit",
    "event_report_remove",
    "event_share",
    "event_shared",
    "event_status_change",
    "event_study_comment",
    "event_thin_study_fail",
    "event_thin_study_success",
    "event_upload",
    "event_upload_fail",
    "event_user_account_locked",
    "event_join",
];

/// Takes given fields over; an empty value takes a field away.
///
/// # Errors
/// `INVALID_FLAG`, `INVALID_INTEGER`, `INVALID_JSON` about the field.
pub fn take(parameters: &Parameters, fields: Fields, into: &mut Map<String, Value>) -> Outcome<()> {
    for &(name, holds) in fields {
        if parameters.given(name).is_none() {
            continue;
        }
        let value = match holds {
            Text => parameters.text(name).map(Value::from),
            Flag => parameters.flag(name)?.map(flag),
            Integer => parameters.integer(name)?.map(Value::from),
            Json => parameters.json(name)?,
        };
        match value {
            Some(value) => into.insert(name.to_owned(), value),
            None => into.remove(name),
        };
    }
    Ok(())
}

/// Takes given notices over.
///
/// # Errors
/// `INVALID_FLAG` about the notice.
pub fn take_events(parameters: &Parameters, into: &mut Map<String, Value>) -> Outcome<()> {
    for name in EVENTS {
        if let Some(value) = parameters.flag(name)? {
            into.insert(name.to_owned(), flag(value));
        }
    }
    Ok(())
}

/// Shows fields: flags that were never set as 0, all else as null.
pub fn show(fields: Fields, from: &Map<String, Value>, into: &mut Map<String, Value>) {
    for &(name, holds) in fields {
        let unset = || if holds == Flag { json!(0) } else { Value::Null };
        into.insert(name.to_owned(), from.get(name).cloned().unwrap_or_else(unset));
    }
}

/// Shows notices.
pub fn show_events(from: &Map<String, Value>, into: &mut Map<String, Value>) {
    for name in EVENTS {
        into.insert(name.to_owned(), from.get(name).cloned().unwrap_or(json!(0)));
    }
}

/// Takes `settings` and `setting_NAME` over. `__DELETE__` takes one away.
///
/// # Errors
/// `INVALID_JSON` and `NOT_HASH` about `settings`.
pub fn take_settings(parameters: &Parameters, into: &mut Map<String, Value>) -> Outcome<()> {
    let given = match parameters.json("settings")? {
        None => Map::new(),
        Some(Value::Object(hash)) => hash,
        Some(_) => return Err(Fault::about("INVALID_JSON", "settings")),
    };
    let single = parameters
        .starting("setting_")
        .map(|(name, value)| (name.to_owned(), Value::from(value)));
    for (name, value) in given.into_iter().chain(single) {
        if value.as_str() == Some("__DELETE__") {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
    Ok(())
}

/// A field that is text; empty where it is none.
pub fn text<'a>(from: &'a Map<String, Value>, name: &str) -> &'a str {
    from.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a flag is set.
pub fn is_set(from: &Map<String, Value>, name: &str) -> bool {
    from.get(name).and_then(Value::as_i64) == Some(1)
}

/// Whether a setting is on, however it was written.
pub fn is_on(settings: &Map<String, Value>, name: &str) -> bool {
    match settings.get(name) {
        Some(Value::Bool(on)) => *on,
        Some(Value::String(text)) => text == "1",
        Some(value) => value.as_i64() == Some(1),
        None => false,
    }
}

/// Whether a text may be an e-mail address.
pub fn is_email(text: &str) -> bool {
    let parts = text.split_once('@');
    parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        && text.len() <= 254
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Parameters::new(pairs).expect("few")
    }

    #[test]
    fn fields_are_taken_and_shown() {
        let mut kept = Map::new();
        let given = parameters(&[("must_approve", "1"), ("share_code", "A"), ("search_threshold", "7")]);
        take(&given, NAMESPACE, &mut kept).expect("well-formed");
        take(&parameters(&[("share_code", "")]), NAMESPACE, &mut kept).expect("well-formed");
        let mut shown = Map::new();
        show(NAMESPACE, &kept, &mut shown);
        assert_eq!(shown["must_approve"], json!(1));
        assert_eq!(shown["no_share"], json!(0));
        assert_eq!(shown["share_code"], Value::Null);
        assert_eq!(shown["search_threshold"], json!(7));
        assert!(take(&parameters(&[("no_share", "x")]), NAMESPACE, &mut kept).is_err());
    }

    #[test]
    fn settings_are_merged() {
        let mut kept = Map::new();
        let given = parameters(&[("settings", "{\"a\":1,\"b\":2}"), ("setting_c", "3")]);
        take_settings(&given, &mut kept).expect("well-formed");
        take_settings(&parameters(&[("setting_a", "__DELETE__")]), &mut kept).expect("well-formed");
        assert_eq!(Value::Object(kept.clone()), json!({"b": 2, "c": "3"}));
        assert!(take_settings(&parameters(&[("settings", "1")]), &mut kept).is_err());
    }

    #[test]
    fn addresses_have_two_sides() {
        for (text, expected) in [
            ("a@b", true),
            ("a", false),
            ("@b", false),
            ("a@", false),
            ("a b@c", false),
        ] {
            assert_eq!(is_email(text), expected, "{text}");
        }
    }
}
