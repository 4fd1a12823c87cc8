//! DELETE of a study, series or instance: for ever (invariant 9). Septum's own extension of DICOMweb.

use actix_web::HttpResponse;
use septum_engine::erase;
use septum_engine::retrieve::StudyRef;

use crate::call::Call;
use crate::http::problem::{Answer, Problem};
use crate::v3;

/// `DELETE …/studies/{study}`.
pub(super) async fn study(call: Call) -> Answer {
    let (namespace, _) = call.study()?;
    let found = StudyRef::find(call.services(), &namespace, &call.study_uid()?)?;
    call.may_change()?;
    v3::erase_study(call.services(), &namespace, found, &call.source()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `DELETE …/series/{series}`.
pub(super) async fn series(call: Call) -> Answer {
    let (namespace, study) = call.study()?;
    if let Err(problem) = call.may_change() {
        // What is not there is "not found", whatever the client knows of it.
        let series_uid = call.series_uid()?;
        let mut instances = study.instances(call.services(), Some(series_uid.as_str()));
        instances.next().ok_or_else(Problem::not_found)??;
        return Err(problem);
    }
    erase::series(
        call.services(),
        &namespace,
        &call.study_uid()?,
        &call.series_uid()?,
        &call.source(),
    )
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `DELETE …/instances/{instance}`, all its versions.
pub(super) async fn instance(call: Call) -> Answer {
    let (namespace, found) = call.study()?;
    let (study, series, instance) = (call.study_uid()?, call.series_uid()?, call.instance_uid()?);
    if let Err(problem) = call.may_change() {
        found.instance(call.services(), &series, &instance, None)?;
        return Err(problem);
    }
    erase::instance(call.services(), &namespace, &study, &series, &instance, &call.source()).await?;
    Ok(HttpResponse::NoContent().finish())
}
