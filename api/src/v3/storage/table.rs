//! The table of the storage API. Nothing is reachable that is not a row here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::http::Method;
use septum_core::access::Permission;

use super::{
    BASE, attachments, attributes, copies, delete, download, frames, instance, multipart, schema, upload, wrap,
};
use crate::call::Call;
use crate::dispatch::Entry;
use crate::http::problem::Problem;
use crate::routes::{Reach, Route};

/// A row: a route, and what is said of it.
pub(super) struct Row {
    /// How it is routed.
    pub(super) route: Route,
    /// Its query parameters, parted by spaces; `sid` and `phi_namespace` go without saying.
    pub(super) parameters: &'static str,
    /// What it answers.
    pub(super) answer: &'static str,
}

/// A handler whose errors come out in the storage API's form.
macro_rules! handler {
    ($handler:path) => {
        |entry: Entry| {
            Box::pin(async move {
                let call: Call = match entry {
                    Entry::Call(call) => *call,
                    Entry::Public(_) => return Err(Problem::not_found()),
                };
                let headers = call.request.headers().clone();
                let answer: super::error::Answer = $handler(call).await;
                Ok(answer.unwrap_or_else(|error| error.into_response(&headers)))
            })
        }
    };
}

macro_rules! rows {
    ($($method:ident $path:literal, $name:literal, $permission:expr, $action:literal, $parameters:literal, $answer:literal,
       $handler:path;)+) => {
        vec![$(row(Method::$method, $path, $name, $permission, $action, $parameters, $answer, handler!($handler))),+]
    };
}

#[expect(clippy::too_many_arguments, reason = "the columns of one table")]
fn row(
    method: Method,
    path: &str,
    name: &'static str,
    permission: Permission,
    action: &'static str,
    parameters: &'static str,
    answer: &'static str,
    handler: fn(Entry) -> futures_util::future::LocalBoxFuture<'static, crate::http::problem::Answer>,
) -> Row {
    let path = path
        .replace("{I}", "/study/{namespace}/{study}/image/{image}/version/{version}")
        .replace("{S}", "/study/{namespace}/{study}");
    Row {
        route: Route {
            name,
            method,
            path: format!("{BASE}{path}"),
            permission,
            // Which of the caller's namespaces is meant, the handler's scope tells.
            reach: Reach::Union,
            action,
            handler,
        },
        parameters,
        answer,
    }
}

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    rows! {
        POST "/namespace/{namespace}/image", "v3_upload_image", Permission::StudyUpload, "study.store",
            "study_uid", "stores the DICOM file that is the body: study_uid, image_uid, image_version, namespace, attr", upload::image;
        POST "/namespace/{namespace}/wrap", "v3_wrap", Permission::StudyUpload, "study.store",
            "tags render_wrapped_pdf", "makes a DICOM instance of a PDF, JPEG, PNG or MP4 file", wrap::wrap;
        GET "/multipart/initiate", "v3_multipart_initiate", Permission::StudyUpload, "upload.begin",
            "", "upload_uuid", multipart::initiate;
        POST "/multipart/{upload}", "v3_multipart_part", Permission::StudyUpload, "upload.part",
            "", "takes a part whose length and CRC-32 the headers name", multipart::part;
        POST "/multipart/{upload}/complete", "v3_multipart_complete", Permission::StudyUpload, "study.store",
            "namespace endpoint study_uid tags render_wrapped_pdf", "stores the parts put together", multipart::complete;
        GET "{S}/schema", "v3_schema", Permission::StudyView, "study.read-schema",
            "extended attachments_only", "series, images and attachments", schema::schema;
        GET "{S}/count", "v3_count", Permission::StudyView, "study.read-schema",
            "images_only attachments_only count_files", "image_count and attachment_count", schema::count;
        GET "{S}/tag", "v3_study_tag", Permission::StudyView, "study.read-metadata", "", "PHI as tags", attributes::tag_of_study;
        GET "{S}/phi", "v3_study_phi", Permission::StudyView, "study.read-metadata", "", "PHI by field", attributes::phi_of_study;
        GET "{S}/json", "v3_study_json", Permission::StudyView, "study.read-metadata",
            "groups include_tags exclude_unnamed all_dicom_values series_uid", "all tags of all images", attributes::of_study;
        GET "{I}/phi", "v3_image_phi", Permission::StudyView, "instance.read-metadata", "", "PHI by field", attributes::phi_of_image;
        GET "{I}/attribute", "v3_image_attribute", Permission::StudyView, "instance.read-metadata",
            "groups include_tags exclude_unnamed", "tags", attributes::of_image;
        GET "{I}/json", "v3_image_json", Permission::StudyView, "instance.read-metadata",
            "groups include_tags exclude_unnamed all_dicom_values", "tags", attributes::of_image;
        GET "{I}", "v3_image", Permission::StudyView, "instance.read", "pretranscode transfer_syntax", "the DICOM file", instance::dicom;
        GET "{I}/dicom", "v3_image", Permission::StudyView, "instance.read", "pretranscode transfer_syntax", "the DICOM file", instance::dicom;
        GET "{I}/frame/{frame}", "v3_frame", Permission::StudyView, "instance.render",
            "depth quality size", "JPEG", frames::frame;
        GET "{I}/frame/{frame}/thumbnail", "v3_thumbnail", Permission::StudyView, "instance.render", "depth", "JPEG", frames::thumbnail;
        GET "{I}/frame/{frame}/diagnostic", "v3_diagnostic", Permission::StudyView, "instance.render",
            "depth size", "PNG of 16 bits with stored values where the frame is grey", frames::diagnostic;
        GET "{I}/frame/{frame}/tiff", "v3_tiff", Permission::StudyView, "instance.render", "depth size", "TIFF", frames::tiff;
        GET "{I}/pdf", "v3_pdf", Permission::StudyView, "instance.read", "", "the PDF inside; 415 where there is none", instance::pdf;
        GET "{I}/video", "v3_video", Permission::StudyView, "instance.read", "reencode_video", "the video inside; 415 where there is none", instance::video;
        GET "{I}/cadsr", "v3_cad_sr", Permission::StudyView, "instance.read", "", "an empty list", instance::cad_sr;
        DELETE "{S}", "v3_delete_study", Permission::StudyDelete, "study.delete", "keep_attachments", "202", delete::study;
        DELETE "{S}/image/{image}", "v3_delete_image", Permission::StudyDeleteImage, "instance.delete", "", "202, all versions are gone", delete::image;
        DELETE "{S}/images", "v3_delete_images", Permission::StudyDeleteImage, "instance.delete", "", "202; the body is a list of image UIDs", delete::images;
        DELETE "{S}/cache", "v3_delete_cache", Permission::StudyView, "study.clear-cache", "", "202", delete::cache;
        POST "{S}/attachment", "v3_post_attachment", Permission::StudyReportUpload, "attachment.store",
            "wrap_images wrap_html_as_pdf synchronous_wrap static_ids return_html", "202: id, version", attachments::post;
        GET "{S}/attachment/latest", "v3_latest_attachment", Permission::StudyReportView, "attachment.read", "", "the newest attachment", attachments::latest;
        GET "{S}/attachment/latest/{file}", "v3_latest_attachment", Permission::StudyReportView, "attachment.read", "", "the newest attachment", attachments::latest;
        GET "{S}/attachment/{attachment}/version/{version}", "v3_attachment", Permission::StudyReportView, "attachment.read", "", "the attachment", attachments::get;
        GET "{S}/attachment/{attachment}/version/{version}/{file}", "v3_attachment", Permission::StudyReportView, "attachment.read", "", "the attachment", attachments::get;
        DELETE "{S}/attachment/{attachment}/version/{version}", "v3_delete_attachment", Permission::StudyReportDelete, "attachment.delete", "", "202", attachments::delete;
        POST "{S}/attachment/{attachment}/version/{version}/image", "v3_attachment_image", Permission::StudyReportUpload, "study.store",
            "static_ids", "202: the image made of it", attachments::image;
        GET "{S}/download", "v3_download", Permission::StudyDownload, "study.download",
            "bundle series_uid image_uid flat_directory exclude_viewer stop_on_failure anonymize_tags include_wrapped_dicoms roche_directory",
            "a ZIP file or disc image", download::download;
        POST "{S}/download", "v3_download", Permission::StudyDownload, "study.download",
            "bundle series_uid image_uid flat_directory exclude_viewer stop_on_failure anonymize_tags include_wrapped_dicoms roche_directory",
            "the same, with the parameters in a form", download::download;
        POST "{S}/split", "v3_split", Permission::StudySplit, "study.split",
            "to_namespace series_uid delete_series_from_original", "the UID of the new study", copies::split;
        GET "{S}/merge", "v3_merge", Permission::StudyMerge, "study.merge",
            "secondary_study_uid series_uids delete_secondary_study", "202", copies::merge;
        POST "{S}/clone", "v3_clone", Permission::StudyClone, "study.clone",
            "new_image_uids new_series_uids to_namespace", "the UID of the new study", copies::clone;
        POST "{S}/anonymize", "v3_anonymize", Permission::StudyEdit, "study.anonymize",
            "to_namespace new_study_uid keep_image_uids color", "the UID of the new study", copies::anonymize;
        POST "{S}/crop", "v3_crop", Permission::StudyEdit, "study.crop",
            "to_namespace new_study_uid keep_image_uids", "the UID of the new study", copies::crop;
        POST "{S}/rt", "v3_create_rt", Permission::StudyUpload, "study.store", "", "406: structure sets are not made here", not_here::structure_set;
        POST "{S}/hl7/{hl7}/sr", "v3_hl7_to_sr", Permission::StudyUpload, "study.store", "", "404: no HL7 reports are known here", not_here::report;
        GET "/dicomweb/{namespace}/studies/{study}/metadata", "v3_study_metadata", Permission::StudyView, "study.read-metadata",
            "", "DICOM JSON", attributes::metadata_of_study;
        GET "/dicomweb/{namespace}/studies/{study}/series/{series}/metadata", "v3_series_metadata", Permission::StudyView, "series.read-metadata",
            "", "DICOM JSON", attributes::metadata_of_study;
        GET "/dicomweb/{namespace}/studies/{study}/series/{series}/instances/{image}/metadata", "v3_instance_metadata", Permission::StudyView,
            "instance.read-metadata", "", "DICOM JSON, one object", attributes::metadata_of_image;
    }
});

/// What is documented elsewhere and cannot be had here.
mod not_here {
    use super::super::error::{Answer, Kind, StorageError};
    use super::super::scope;
    use crate::call::Call;

    pub(super) async fn structure_set(call: Call) -> Answer {
        scope::study(&call).await?;
        Err(StorageError::new(
            Kind::NotAcceptable,
            "structure sets are not made here",
        ))
    }

    pub(super) async fn report(call: Call) -> Answer {
        scope::study(&call).await?;
        Err(StorageError::new(
            Kind::DownstreamNotAvailable,
            "there is no HL7 report of this id",
        ))
    }
}

static BY_PATH: LazyLock<Vec<(&'static str, Vec<&'static Route>)>> = LazyLock::new(|| {
    let mut paths: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for row in all() {
        paths.entry(row.route.path.as_str()).or_default().push(&row.route);
    }
    // "latest" is no attachment's id: plain parts of a path come before variables.
    let mut paths: Vec<_> = paths.into_iter().collect();
    paths.sort_by_key(|(path, _)| path.replace('{', "~"));
    paths
});

/// Every row.
pub(super) fn all() -> &'static [Row] {
    &TABLE
}

/// The routes of each path.
pub(super) fn by_path() -> &'static [(&'static str, Vec<&'static Route>)] {
    &BY_PATH
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rows_are_distinct_and_described() {
        let mut seen = HashSet::new();
        for row in all() {
            let route = &row.route;
            assert!(
                seen.insert((route.method.clone(), route.path.as_str())),
                "{} twice",
                route.path
            );
            assert!(!row.answer.is_empty() && route.path.starts_with(BASE));
            assert_ne!(route.reach, Reach::Public, "{} is open to everybody", route.path);
        }
        assert_eq!(seen.len(), all().len());
    }

    #[test]
    fn plain_parts_come_before_variables() {
        let place = |end: &str| by_path().iter().position(|(path, _)| path.ends_with(end));
        assert!(place("/attachment/latest/{file}") < place("/attachment/{attachment}/version/{version}"));
        assert!(place("/multipart/initiate") < place("/multipart/{upload}"));
    }
}
