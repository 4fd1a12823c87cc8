//! All versions of an instance: a corrected resend keeps the older ones readable (invariant 5).

use actix_web::HttpResponse;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::call::Call;
use crate::http::problem::Answer;

/// `GET …/instances/{instance}/versions`: newest first; the first one is current.
pub(super) async fn list(call: Call) -> Answer {
    let (namespace, study) = call.study()?;
    let (series_uid, instance_uid) = (call.series_uid()?, call.instance_uid()?);
    call.audit_study(&study).await?;
    let (series, instance) = (study.series_token(&series_uid), study.instance_token(&instance_uid));
    let services = call.services();
    let address = format!(
        "{}/studies/{}/series/{series_uid}/instances/{instance_uid}",
        call.service_url(&namespace),
        call.study_uid()?
    );
    let mut versions = Vec::new();
    for (index, version) in study
        .versions(services, &series, &instance)?
        .into_iter()
        .rev()
        .enumerate()
    {
        let found = study.version(services, series, instance, version)?;
        let correction = found.record.correction.as_ref().map(|note| {
            json!({"of": note.of.to_string(), "by": note.by.to_string(), "at": rfc3339(note.at_ms), "reason": note.reason})
        });
        versions.push(json!({
            "version": version.to_string(),
            "current": index == 0,
            "received": rfc3339(found.record.received_ms),
            "transferSyntax": found.record.transfer_syntax_uid,
            "warnings": found.record.warnings,
            "correction": correction,
            "original": study.is_original(services, &found)?,
            "url": format!("{address}?version={version}"),
        }));
    }
    Ok(HttpResponse::Ok().json(json!({ "versions": versions })))
}

/// Milliseconds since 1970 as text (RFC 3339).
pub(super) fn rfc3339(time_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_text() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(i64::MAX), "");
    }
}
