//! The requests that load consists of, and when an answer counts.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Serialize;

use crate::http::{Answer, Sink};

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// STOW-RS (PS3.18 10.5).
    Store,
    /// One frame in the stored codec (PS3.18 10.4).
    Frame,
    /// One frame, native.
    FrameNative,
    /// An instance in its original transfer syntax.
    Instance,
    /// Metadata of a series.
    Metadata,
    /// A whole study in its original transfer syntax.
    Study,
    /// QIDO-RS (PS3.18 10.6).
    Search,
    /// DELETE of a study: not in PS3.18, offered by most archives.
    Delete,
}

impl Kind {
    /// As it is called in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Frame => "frame",
            Self::FrameNative => "native frame",
            Self::Instance => "instance",
            Self::Metadata => "metadata",
            Self::Study => "study",
            Self::Search => "search",
            Self::Delete => "delete",
        }
    }

    /// HTTP method.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Store => "POST",
            Self::Delete => "DELETE",
            _ => "GET",
        }
    }

    /// Accept header.
    pub(crate) fn accept(self) -> &'static str {
        match self {
            Self::Frame => "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
            Self::FrameNative => {
                "multipart/related; type=\"application/octet-stream\"; transfer-syntax=1.2.840.10008.1.2.1"
            }
            Self::Instance | Self::Study => "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
            Self::Store | Self::Metadata | Self::Search => "application/dicom+json",
            Self::Delete => "*/*",
        }
    }

    /// Whether the answer's body is looked at.
    pub(crate) fn sink(self) -> Sink {
        match self {
            Self::Store | Self::Search => Sink::Keep,
            _ => Sink::Discard,
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// What it does.
    pub(crate) kind: Kind,
    /// Path below the base address, with query.
    pub(crate) path: String,
    /// Instances it concerns, as numbers of the plan's set: those that are sent, or deleted; empty for reads.
    pub(crate) instances: Range<usize>,
    /// Bytes that what it moves has in native form; 0 where nothing with pixels is moved.
    pub(crate) native_bytes: u64,
}

impl Request {
    /// A read or search.
    pub(crate) fn read(kind: Kind, path: String, native_bytes: u64) -> Self {
        Self {
            kind,
            path,
            instances: 0..0,
            native_bytes,
        }
    }
}

/// Whether an answer is what was asked for; otherwise a short word for what is wrong. No answer's content is quoted.
pub(crate) fn judge(kind: Kind, answer: &Answer, body: &[u8]) -> Result<(), String> {
    let good = match kind {
        Kind::Store => matches!(answer.status, 200 | 202),
        Kind::Delete => matches!(answer.status, 200 | 202 | 204),
        _ => answer.status == 200,
    };
    match kind {
        _ if !good => Err(format!("status {}", answer.status)),
        // Every search of ours has results: none is a wrong answer, and a quick one.
        Kind::Search if num_results(body) == 0 => Err("no results".into()),
        Kind::Delete | Kind::Store | Kind::Search => Ok(()),
        _ if answer.num_bytes == 0 => Err("empty".into()),
        _ => Ok(()),
    }
}

fn num_results(body: &[u8]) -> usize {
    serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(body).map_or(0, |results| results.len())
}

/// SOP Instance UIDs (0008,1155) in the Referenced SOP Sequence (0008,1199) of a store response (PS3.18 10.5.3).
pub(crate) fn acknowledged(body: &[u8]) -> Vec<String> {
    let parsed: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let items = parsed["00081199"]["Value"]
        .as_array()
        .map_or(&[] as &[_], Vec::as_slice);
    items
        .iter()
        .filter_map(|item| Some(item["00081155"]["Value"][0].as_str()?.to_owned()))
        .collect()
}

/// Why instances were refused, by the Failure Reason (0008,1197) of a store response: a status code (PS3.4 B.2.3), which names
/// no patient. `unknown` where the answer gives none.
pub(crate) fn refusals(body: &[u8]) -> BTreeSet<String> {
    let parsed: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let items = parsed["00081198"]["Value"]
        .as_array()
        .map_or(&[] as &[_], Vec::as_slice);
    let reason = |item: &serde_json::Value| {
        let code = item["00081197"]["Value"][0].as_u64();
        code.map_or_else(|| "unknown".to_owned(), |code| format!("{code:04X}H"))
    };
    items.iter().map(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_instances_are_named() {
        let check = |body: &str, expected: &[&str]| assert_eq!(acknowledged(body.as_bytes()), expected, "{body}");
        let item = r#"{"00081155":{"vr":"UI","Value":["1.2"]}}"#;
        check(
            &format!(r#"{{"00081199":{{"vr":"SQ","Value":[{item},{{}}]}}}}"#),
            &["1.2"],
        );
        check(&format!(r#"{{"00081198":{{"vr":"SQ","Value":[{item}]}}}}"#), &[]);
        check("", &[]);
        check("[]", &[]);
        let refused = r#"{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[42752]}},{}]}}"#;
        assert_eq!(
            refusals(refused.as_bytes()).into_iter().collect::<Vec<_>>(),
            ["A700H", "unknown"]
        );
        assert!(refusals(b"").is_empty());
    }

    #[test]
    fn answers_are_judged() {
        let check = |kind, status, body: &str, expected: Result<(), &str>| {
            let answer = Answer {
                status,
                content_type: String::new(),
                num_bytes: body.len() as u64,
            };
            assert_eq!(judge(kind, &answer, body.as_bytes()), expected.map_err(String::from));
        };
        check(Kind::Frame, 200, "x", Ok(()));
        check(Kind::Frame, 200, "", Err("empty"));
        check(Kind::Frame, 204, "", Err("status 204"));
        check(Kind::Search, 200, "[{},{}]", Ok(()));
        check(Kind::Search, 200, "[]", Err("no results"));
        check(Kind::Search, 204, "", Err("status 204"));
        check(Kind::Delete, 204, "", Ok(()));
        check(Kind::Store, 202, "", Ok(()));
        check(Kind::Store, 409, "", Err("status 409"));
    }
}
