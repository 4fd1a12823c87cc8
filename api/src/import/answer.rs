//! The Store Instances Response (PS3.18 section 10.5.3, table 10.5.3-1) and its reasons (PS3.18 section I.2.2).

use std::collections::HashMap;

use serde_json::Value;

/// What the server says of the instances of one request.
#[derive(Default)]
pub(super) struct Answer {
    /// Stored instances by SOP Instance UID, with Warning Reason (0008,1196).
    pub(super) stored: HashMap<String, Option<u16>>,
    /// Failed instances by SOP Instance UID.
    pub(super) failed: HashMap<String, Failure>,
    /// Failures that name no instance.
    pub(super) failed_unnamed: Vec<Failure>,
}

/// Why an instance failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Failure Reason (0008,1197).
    pub(super) reason: u16,
    /// Error Comment (0000,0902): what the server says besides.
    pub(super) comment: Option<String>,
}

/// Most characters of a server's comment that are shown.
const COMMENT_CHARS_MAX: usize = 300;

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    /// Stored; with a Warning Reason.
    Stored(Option<u16>),
    /// Failed.
    Failed(&'a Failure),
    /// The server does not mention it.
    Unmentioned,
}

impl Answer {
    /// Reads DICOM JSON (PS3.18 annex F). `None` when the body is not a response dataset.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let root: Value = serde_json::from_slice(body).ok()?;
        let dataset = match &root {
            Value::Array(datasets) => datasets.first()?,
            other => other,
        };
        let items = |tag: &str| dataset.get(tag).and_then(|e| e.get("Value")).and_then(Value::as_array);
        let (stored, failed) = (items("00081199"), items("00081198"));
        let names_study = dataset.get("00081190").is_some();
        if stored.is_none() && failed.is_none() && !names_study {
            return None;
        }
        let mut answer = Self::default();
        for item in stored.into_iter().flatten() {
            if let Some(uid) = text(item, "00081155") {
                answer.stored.insert(uid, number(item, "00081196"));
            }
        }
        for item in failed.into_iter().flatten() {
            let failure = Failure {
                reason: number(item, "00081197").unwrap_or(0x0110),
                comment: text(item, "00000902").map(|comment| shown(&comment)),
            };
            match text(item, "00081155") {
                Some(uid) => drop(answer.failed.insert(uid, failure)),
                None => answer.failed_unnamed.push(failure),
            }
        }
        Some(answer)
    }

    /// The fate of a file with the UID. A file that was sent alone needs no UID: what the answer says is about it.
    pub(super) fn fate(&self, sop_instance_uid: Option<&str>, is_alone: bool) -> Fate<'_> {
        if let Some(uid) = sop_instance_uid {
            if let Some(failure) = self.failed.get(uid) {
                return Fate::Failed(failure);
            }
            if let Some(&warning) = self.stored.get(uid) {
                return Fate::Stored(warning);
            }
        }
        if is_alone {
            if let Some(failure) = self.failed.values().chain(&self.failed_unnamed).next() {
                return Fate::Failed(failure);
            }
            if let Some(&warning) = self.stored.values().next() {
                return Fate::Stored(warning);
            }
        }
        Fate::Unmentioned
    }
}

/// A comment as it may stand on a terminal.
fn shown(comment: &str) -> String {
    let comment = comment.chars().take(COMMENT_CHARS_MAX);
    comment.map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

fn first<'a>(item: &'a Value, tag: &str) -> Option<&'a Value> {
    item.get(tag)?.get("Value")?.get(0)
}

fn text(item: &Value, tag: &str) -> Option<String> {
    let text = first(item, tag)?.as_str()?.trim_end_matches(['\0', ' ']);
    (!text.is_empty()).then(|| text.to_string())
}

fn number(item: &Value, tag: &str) -> Option<u16> {
    let value = first(item, tag)?;
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())?;
    u16::try_from(number).ok()
}

/// Whether trying again may help: Refused: Out of Resources.
pub(super) fn is_temporary(reason: u16) -> bool {
    matches!(reason, 0xA700..=0xA7FF)
}

/// Warning Reason of a server that had the instance already: Duplicate SOP instance (PS3.7 section C.5.6).
pub(super) const WARNING_DUPLICATE: u16 = 0x0111;

/// A Failure Reason in words.
pub(super) fn describe(reason: u16) -> &'static str {
    match reason {
        0x0106 => "invalid attribute value",
        0x0110 => "processing failure",
        0x0111 => "another instance with this UID is stored already",
        0x0112 => "no such instance",
        0x0117 => "invalid SOP Instance UID",
        0x0118 => "no such SOP class",
        0x0119 => "class and instance conflict",
        0x0122 => "SOP class not supported",
        0x0124 => "not authorised",
        0x0131 => "transfer syntax not supported",
        0x0213 => "resource limitation",
        0xA700..=0xA7FF => "out of resources",
        0xA900..=0xA9FF => "data set does not match SOP class",
        0xC122 => "transfer syntax not supported",
        0xC000..=0xCFFF => "cannot be understood",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
        "00081190": {"vr": "UR", "Value": ["https://h/studies/1"]},
        "00081199": {"vr": "SQ", "Value": [
            {"00081150": {"vr": "UI", "Value": ["1.2"]}, "00081155": {"vr": "UI", "Value": ["1.1"]}},
            {"00081155": {"vr": "UI", "Value": ["1.2"]}, "00081196": {"vr": "US", "Value": [45056]}}]},
        "00081198": {"vr": "SQ", "Value": [
            {"00081155": {"vr": "UI", "Value": ["1.3"]}, "00081197": {"vr": "US", "Value": [43264]},
             "00000902": {"vr": "LO", "Value": ["(0008,0018) at offset 7 \u001b[31m"]}},
            {"00081197": {"vr": "US", "Value": [49152]}}]}}"#;

    #[test]
    fn fates() {
        let answer = Answer::parse(ANSWER.as_bytes()).expect("parses");
        let [one, other] = [290, 272].map(|reason| Failure { reason, comment: None });
        let commented = Failure {
            reason: 0xA900,
            comment: Some("(0008,0018) at offset 7 \u{FFFD}[31m".into()),
        };
        for (uid, is_alone, expected) in [
            (Some("1.1"), false, Fate::Stored(None)),
            (Some("1.2"), false, Fate::Stored(Some(0xB000))),
            (Some("1.3"), false, Fate::Failed(&commented)),
            (Some("1.4"), false, Fate::Unmentioned),
        ] {
            assert_eq!(answer.fate(uid, is_alone), expected, "{uid:?}");
        }
        let check_alone = |body: &str, expected| {
            assert_eq!(
                Answer::parse(body.as_bytes()).expect("parses").fate(None, true),
                expected,
                "{body}"
            );
        };
        check_alone(
            r#"{"00081198":{"Value":[{"00081197":{"Value":[290]}}]}}"#,
            Fate::Failed(&one),
        );
        check_alone(
            r#"[{"00081198":{"Value":[{"00081197":{"Value":["272"]}}]}}]"#,
            Fate::Failed(&other),
        );
        check_alone(
            r#"{"00081199":{"Value":[{"00081155":{"Value":["1.9"]}}]}}"#,
            Fate::Stored(None),
        );
        check_alone(r#"{"00081199":{"Value":[]}}"#, Fate::Unmentioned);
    }

    #[test]
    fn what_is_not_a_response() {
        for body in ["", "{}", "[]", "<html>", r#"{"message":"hello"}"#, "null", "7"] {
            assert!(Answer::parse(body.as_bytes()).is_none(), "{body}");
        }
    }
}
