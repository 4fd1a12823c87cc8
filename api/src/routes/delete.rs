//! DELETE of a study, series or instance: for ever (invariant 9). Septum's own extension of DICOMweb.

use actix_web::HttpResponse;
use septum_engine::erase;
use septum_engine::retrieve::StudyRef;

use crate::call::Call;
use crate::http::problem::Answer;
use crate::v3;

/// `DELETE …/studies/{study}`.
pub(super) async fn study(call: Call) -> Answer {
    let (namespace, _) = call.study()?;
    let found = StudyRef::find(call.services(), &namespace, &call.study_uid()?)?;
    v3::erase_study(call.services(), &namespace, found, &call.source()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `DELETE …/series/{series}`.
pub(super) async fn series(call: Call) -> Answer {
    let (namespace, _) = call.study()?;
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
    let (namespace, _) = call.study()?;
    let (study, series, instance) = (call.study_uid()?, call.series_uid()?, call.instance_uid()?);
    erase::instance(call.services(), &namespace, &study, &series, &instance, &call.source()).await?;
    Ok(HttpResponse::NoContent().finish())
}
