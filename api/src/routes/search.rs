//! QIDO-RS (PS3.18 section 10.6): studies, series, instances, at every level. 204 without a body where nothing matches
//! (PS3.18 table 10.6.3-1).

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use septum_core::query::{Level, Query};
use septum_engine::accounts::Namespace;
use septum_engine::retrieve::metadata::with_study_address;
use septum_engine::search::{Item, Scope, search};
use serde_json::{Value, json};

use super::dicom_type::{Writer, dicom_type};
use crate::call::Call;
use crate::hidden::{self, Hidden};
use crate::http::problem::{Answer, Problem};
use crate::http::query_pairs;

/// Said where studies cannot be read that may match: an answer without them must not pass for whole.
const LACKING: &str = "299 septum \"Some studies are damaged and cannot be searched; results may be missing\"";

/// `GET …/studies`.
pub(super) async fn studies(call: Call) -> Answer {
    run(call, Level::Study).await
}

/// `GET …/series` and `…/studies/{study}/series`.
pub(super) async fn series(call: Call) -> Answer {
    run(call, Level::Series).await
}

/// `GET …/instances`, also of a study or series.
pub(super) async fn instances(call: Call) -> Answer {
    run(call, Level::Instance).await
}

async fn run(call: Call, level: Level) -> Answer {
    let media_type = dicom_type(&call)?;
    let scope = Scope {
        study_uid: if call.path("study").is_empty() {
            None
        } else {
            Some(call.study_uid()?)
        },
        series_uid: call.series_uid_if_any()?,
        each_of_a_uid: false,
    };
    let pairs = query_pairs(&call.request).into_iter();
    let mut query = Query::parse(level, pairs).map_err(|error| Problem::bad_request(error.to_string()))?;
    if scope.series_uid.is_some() {
        query = query.with_fixed(Level::Series);
    } else if scope.study_uid.is_some() {
        query = query.with_fixed(Level::Study);
    }
    let most = call.app.search_results_max;
    query.limit = Some(query.limit.unwrap_or(most).min(most));
    call.audit_namespaces().await?;
    let searched = hidden::searched(&call.principal, &call.namespaces, &query);
    let found = search(call.services(), &searched, scope, &query).await?;
    let is_lacking = call.services().columns.leaves_out(&searched);
    if found.items.is_empty() {
        let mut response = HttpResponse::NoContent();
        response.insert_header((header::VARY, "Accept"));
        if is_lacking {
            response.insert_header((header::WARNING, LACKING));
        }
        return Ok(response.finish());
    }
    let services: HashMap<_, String> = call
        .namespaces
        .iter()
        .map(|namespace| (namespace.id, call.service_url(namespace)))
        .collect();
    let (mut writer, mut body) = (Writer::new(media_type), Vec::new());
    for item in found.items {
        let base = services.get(&item.namespace).map_or("", String::as_str);
        let (study_url, url) = (format!("{base}/studies/{}", item.study_uid), retrieve_url(base, &item));
        let mut attributes = item.attributes;
        Hidden::of(&call.principal, item.namespace).strip(&mut attributes);
        attributes.insert("00081190".to_owned(), json!({"vr": "UR", "Value": [url]}));
        let text = with_study_address(&Value::Object(attributes).to_string(), &study_url);
        writer.push(&text, &mut body)?;
    }
    body.extend_from_slice(&writer.close());
    let mut response = HttpResponse::Ok();
    response
        .content_type(writer.content_type())
        .insert_header((header::VARY, "Accept"));
    if found.truncated {
        // PS3.18 section 8.3.4.4.
        response.insert_header((
            header::WARNING,
            "299 septum \"There are more results; ask for them with offset\"",
        ));
    }
    if is_lacking {
        response.append_header((header::WARNING, LACKING));
    }
    Ok(response.body(body))
}

/// Where a result can be had.
fn retrieve_url(service_url: &str, item: &Item) -> String {
    let mut url = format!("{service_url}/studies/{}", item.study_uid);
    if let Some(series) = &item.series_uid {
        url.push_str("/series/");
        url.push_str(series);
        if let Some(instance) = &item.instance_uid {
            url.push_str("/instances/");
            url.push_str(instance);
        }
    }
    url
}

/// The addresses of namespaces' services, for problems that leave the choice to the client.
pub(super) fn service_urls(call: &Call, namespaces: &[Arc<Namespace>]) -> Vec<String> {
    namespaces.iter().map(|namespace| call.service_url(namespace)).collect()
}
