//! `/study/report/detail` and `/report/*`: an account's studies as a table, to be fetched as a ZIP file.
//!
//! A report holds patient data, so it is in memory alone, for whoever asked for it: until four hours after it was made or
//! ten minutes after it was fetched. It shows what a list would show the same caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use septum_core::ids::{ObjectId, UserId};
use serde_json::{Map, Value};

use super::ask::Ask;
use super::dispatch::form_of;
use super::fault::{Fault, Outcome};
use super::reply::Reply;
use super::study_list;
use crate::app::App;
use crate::auth::Presented;
use crate::http::problem::Problem;
use crate::http::query_pairs;
use crate::http::zip::ZipWriter;

/// Where reports are fetched, behind the base.
pub const PATH: &str = "/report/zip";
/// Rows of a report where nothing else is asked for.
const ROWS: usize = 30_000;
/// Most rows that may be asked for.
const ROWS_MAX: usize = 200_000;
/// How long a report is kept.
const KEPT: Duration = Duration::from_secs(4 * 3600);
/// How long one is kept that was fetched.
const KEPT_FETCHED: Duration = Duration::from_secs(600);
/// Reports of one user at a time, and bytes of all.
const PER_USER_MAX: usize = 5;
const BYTES_MAX: usize = 128 << 20;

/// What a report says of each study.
const COLUMNS: [&str; 20] = [
    "uuid",
    "study_uid",
    "phi_namespace_name",
    "patient_name",
    "patientid",
    "patient_birth_date",
    "patient_sex",
    "study_date",
    "study_time",
    "accession_number",
    "modality",
    "study_description",
    "referring_physician",
    "image_count",
    "source",
    "study_status",
    "must_approve",
    "phantom",
    "created",
    "updated",
];

struct Report {
    owner: UserId,
    file: Bytes,
    made: Instant,
    fetched: Option<Instant>,
}

impl Report {
    fn is_over(&self) -> bool {
        let is_old = self.made.elapsed() >= KEPT;
        is_old || self.fetched.is_some_and(|fetched| fetched.elapsed() >= KEPT_FETCHED)
    }
}

/// The reports that can be fetched.
#[derive(Default)]
pub struct Reports(Mutex<HashMap<ObjectId, Report>>);

impl Reports {
    fn kept(&self) -> MutexGuard<'_, HashMap<ObjectId, Report>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, report| !report.is_over());
        kept
    }

    /// Keeps a report; `None` while there is no room. Of a user's reports the oldest goes.
    fn keep(&self, owner: UserId, file: Bytes) -> Option<ObjectId> {
        let mut kept = self.kept();
        let of_owner = kept.iter().filter(|(_, report)| report.owner == owner);
        if of_owner.clone().count() >= PER_USER_MAX
            && let Some(oldest) = of_owner.min_by_key(|(_, report)| report.made).map(|(id, _)| *id)
        {
            kept.remove(&oldest);
        }
        let bytes: usize = kept.values().map(|report| report.file.len()).sum();
        if bytes.saturating_add(file.len()) > BYTES_MAX {
            return None;
        }
        let id = ObjectId::random();
        let made = Instant::now();
        kept.insert(
            id,
            Report {
                owner,
                file,
                made,
                fetched: None,
            },
        );
        Some(id)
    }

    fn has(&self, id: ObjectId, owner: UserId) -> bool {
        self.kept().get(&id).is_some_and(|report| report.owner == owner)
    }

    fn fetch(&self, id: ObjectId, owner: UserId) -> Option<Bytes> {
        let mut kept = self.kept();
        let report = kept.get_mut(&id).filter(|report| report.owner == owner)?;
        report.fetched.get_or_insert_with(Instant::now);
        Some(report.file.clone())
    }
}

fn id_of(text: &str) -> Option<ObjectId> {
    super::ask::uuid(text).map(ObjectId::from_bytes)
}

/// `/study/report/detail`.
pub async fn detail(ask: &Ask) -> Outcome {
    let failed = || Fault::new("REPORT_ERROR");
    let most = match ask.parameters.integer("limit")? {
        None => ROWS,
        Some(limit) => usize::try_from(limit).map_err(|_| failed())?.min(ROWS_MAX),
    };
    let (account, namespace) = ask.account()?;
    let rows = study_list::of_account(ask, account.id).await?;
    if rows.len() > most {
        return Err(failed());
    }
    ask.audit_namespace(namespace).await?;
    let file = zipped(&table(&rows));
    let id = ask.app.reports.keep(ask.principal()?.user, file).ok_or_else(failed)?;
    Ok(Reply::of("report_id", id.to_string()))
}

/// `/report/status`: a report is whole as soon as it has an id.
pub async fn status(ask: &Ask) -> Outcome {
    let id = id_of(ask.required("report_id")).ok_or_else(Fault::not_found)?;
    if ask.app.reports.has(id, ask.principal()?.user) {
        Ok(Reply::of("percent", 100))
    } else {
        Err(Fault::not_found())
    }
}

/// `/report/zip`: a file and no JSON, so no row of the table.
pub async fn zip(app: Arc<App>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let start = Instant::now();
    let mut response = match fetched(&app, &request, payload).await {
        Ok(file) => HttpResponse::Ok()
            .content_type("application/zip")
            .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"report.zip\""))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(file),
        Err(Fault::Error { token: "NOT_FOUND", .. }) => {
            Problem::from(septum_engine::EngineError::NotFound).into_response()
        }
        Err(fault) => fault.into_response(),
    };
    crate::dispatch::complete(&app, &request, &mut response);
    crate::dispatch::note(&app, "v3_report_zip", response.status(), start);
    response
}

async fn fetched(app: &App, request: &HttpRequest, payload: web::Payload) -> Outcome<Bytes> {
    let form = form_of(app, request, payload).await?;
    let given: Vec<(String, String)> = query_pairs(request).into_iter().chain(form).collect();
    let of = |name: &str| {
        let found = given.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    let presented = Presented {
        sid: of("sid"),
        request: Some(request),
    };
    let signed_in = app
        .authenticator
        .signed_in(&presented, app.client_address(request))
        .await;
    let signed_in = signed_in.map_err(|problem| match problem.status() {
        StatusCode::UNAUTHORIZED => Fault::Unauthenticated,
        _ => Fault::Problem(problem),
    })?;
    let signed_in = signed_in.filter(|signed_in| !signed_in.principal.suspended);
    let user = signed_in.ok_or(Fault::Unauthenticated)?.principal.user;
    let id = of("report_id").and_then(id_of).ok_or_else(Fault::not_found)?;
    app.reports.fetch(id, user).ok_or_else(Fault::not_found)
}

/// One cell (RFC 4180). What a spreadsheet would take for a formula begins with an apostrophe.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => return value.to_string(),
    };
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

fn table(rows: &[Map<String, Value>]) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for row in rows {
        let cells: Vec<String> = COLUMNS.iter().map(|column| cell(row.get(*column))).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

fn zipped(text: &str) -> Bytes {
    let mut writer = ZipWriter::default();
    let mut file = writer.open("report.csv").to_vec();
    file.extend(writer.content(text.as_bytes()));
    file.extend(writer.close());
    file.extend(writer.finish());
    file.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_are_no_formulas() {
        let row = json!({"patient_name": "A, \"B\"", "patientid": "=1+1", "image_count": -3});
        let row = row.as_object().cloned().expect("an object");
        let text = table(&[row]);
        let line = text.lines().nth(1).expect("a row");
        assert_eq!(line, ",,,\"A, \"\"B\"\"\",'=1+1,,,,,,,,,-3,,,,,,");
    }

    #[test]
    fn reports_are_their_owners_and_few() {
        let reports = Reports::default();
        let (one, other) = (UserId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
        let first = reports.keep(one, Bytes::from_static(b"a")).expect("room");
        assert_eq!(reports.fetch(first, other), None);
        assert_eq!(reports.fetch(first, one), Some(Bytes::from_static(b"a")));
        for _ in 0..PER_USER_MAX {
            reports.keep(one, Bytes::from_static(b"b")).expect("room");
        }
        assert!(!reports.has(first, one), "the oldest goes");
        assert!(reports.keep(other, vec![0; BYTES_MAX].into()).is_none());
    }
}
