//! Studies made of studies: split, merge, clone, regions obscured, cropped.
//!
//! A copy's images are new instances: read, changed as asked and stored through the pipeline like any other, so that what
//! holds for images that are sent holds for them. Only then is anything deleted that was to go. Study, series and image
//! UIDs are exchanged on every level of a header, so that references within the copy stay references within it. New UIDs
//! are made of the request's own random one, so that work which is tried again makes the same images.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use septum_core::access::Permission;
use septum_core::dicom::edit::Edits;
use septum_core::ids::{NamespaceId, StudyInstanceUid, Uid, VersionId};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::copy::instance_rows;
use septum_engine::derive::{self, PixelChange, Recipe};
use septum_engine::erase;
use septum_engine::pipeline::messages::{Source, StoreKind};
use septum_engine::reseal::Removal;
use septum_engine::retrieve::InstanceRef;
use septum_engine::services::Services;

use super::error::{Answer, Kind, StorageError};
use super::form::body_error;
use super::jobs;
use super::regions::{self, Regions};
use super::scope::{self, Seen};
use super::upload::job_name;
use crate::app::App;
use crate::call::Call;
use crate::v3::channels::Event;
use crate::v3::documents;
use crate::v3::study_id::StudyName;

/// Rounds of copying before a study counts as too busy.
const ROUNDS_MAX: usize = 16;

/// Longest description of regions, in bytes.
const REGIONS_BYTES_MAX: u64 = 4 << 20;

/// Series and images of a study that are copied, and what becomes of their UIDs.
pub(super) struct Plan {
    pub(super) app: Arc<App>,
    pub(super) source: Source,
    pub(super) from: Seen,
    pub(super) to: Arc<Namespace>,
    pub(super) study_uid: String,
    /// Only these series; all where there are none.
    pub(super) series: Option<HashSet<String>>,
    /// New UIDs for series, images.
    pub(super) renews: (bool, bool),
    /// Seed of new UIDs.
    pub(super) seed: String,
}

/// A UID that depends on nothing but a seed and an old one (PS3.5 section B.2: made of 128 bits).
pub(super) fn derived_uid(seed: &str, old: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(seed.as_bytes());
    hasher.update(b"\0");
    hasher.update(old.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    // A UUID of version 8, variant 1 (RFC 9562 section 5.8).
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bytes))
}

impl Plan {
    fn holds(&self, image: &InstanceRef) -> bool {
        self.series
            .as_ref()
            .is_none_or(|series| series.contains(&image.record.series_uid))
    }

    /// The images to copy, in the order of their rows.
    async fn images(&self) -> Answer<Vec<InstanceRef>> {
        let (services, study) = (Arc::clone(&self.app.archive.services), self.from.study.clone());
        let listing =
            tokio::task::spawn_blocking(move || study.instances(&services, None).collect::<Result<Vec<_>, _>>());
        let mut images = listing.await.map_err(|_| septum_engine::EngineError::Panicked)??;
        images.retain(|image| self.holds(image));
        if images.is_empty() {
            return Err(Kind::NoImages.into());
        }
        Ok(images)
    }

    fn series_uid(&self, old: &str) -> String {
        if self.renews.0 {
            derived_uid(&self.seed, old)
        } else {
            old.to_owned()
        }
    }

    fn image_uid(&self, old: &str) -> String {
        if self.renews.1 {
            derived_uid(&self.seed, old)
        } else {
            old.to_owned()
        }
    }

    /// What all copies have in common.
    fn edits(&self, images: &[InstanceRef]) -> Edits {
        let mut edits = Edits::default();
        edits.exchange_uid(&self.from.uid, &self.study_uid);
        for image in images {
            let record = &image.record;
            if self.renews.0 {
                edits.exchange_uid(&record.series_uid, &self.series_uid(&record.series_uid));
            }
            if self.renews.1 {
                edits.exchange_uid(&record.instance_uid, &self.image_uid(&record.instance_uid));
            }
        }
        edits
    }

    /// Makes and stores one copy. A copy that is held apart, its study being another patient's, is none.
    async fn store(&self, image: &InstanceRef, recipe: Recipe) -> Answer<()> {
        let archive = &self.app.archive;
        let derived = derive::open(&archive.services, image, recipe).await?;
        let (_, outcome) = derived.store(&archive.pipeline, &self.to, &self.source).await?;
        match outcome.kind {
            StoreKind::Held => Err(StorageError::new(
                Kind::Conflict,
                "the study that is copied into belongs to another patient",
            )),
            _ => Ok(()),
        }
    }

    /// The study as it is now.
    fn refresh(&mut self) -> Result<(), EngineError> {
        self.from.study = self.from.study.again(&self.app.archive.services)?;
        Ok(())
    }

    /// Every version that the study has now: what may be erased once all of it is copied.
    fn versions(&self) -> Answer<HashSet<VersionId>> {
        let rows = instance_rows(&self.app.archive.services, &self.from.study)?;
        Ok(rows.into_iter().flat_map(|entry| entry.row.versions).collect())
    }

    /// Erases the series that were copied, all of the study where none are named. `false` where something came that was
    /// not copied: then that stays, and is to be copied first.
    async fn erase(&mut self, copied: &HashSet<VersionId>) -> Answer<bool> {
        let services = Arc::clone(&self.app.archive.services);
        let erased = match self.series.clone() {
            None => {
                let study = self.from.study.clone();
                erase::as_found(&services, study, self.from.uid.clone(), &self.source).await
            }
            Some(series) => self.erase_series(&services, series, copied).await,
        };
        match erased {
            Ok(()) => {}
            Err(EngineError::Conflict(erase::CHANGED)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        // What was noted of a study that is gone goes too.
        let name = StudyName::of_row_key(self.from.namespace.id, &self.from.study.row_key);
        match (self.refresh(), name) {
            (Err(EngineError::NotFound), Some(name)) => documents::forget_study(&services, &name, &self.source).await?,
            (refreshed, _) => refreshed?,
        }
        Ok(true)
    }

    async fn erase_series(
        &self,
        services: &Arc<Services>,
        series: HashSet<String>,
        copied: &HashSet<VersionId>,
    ) -> Result<(), EngineError> {
        for series_uid in series {
            let study = match self.from.study.again(services) {
                Err(EngineError::NotFound) => return Ok(()),
                study => study?,
            };
            let removal = Removal {
                series_uid,
                instance_uid: None,
                only: Some(copied.clone()),
            };
            match erase::part(services, study, removal, &self.source).await {
                Ok(()) | Err(EngineError::NotFound) => {}
                failed => return failed,
            }
        }
        Ok(())
    }

    /// Copies everything; `change` says what becomes of an image's pixels.
    pub(super) async fn run(&self, change: impl Fn(&InstanceRef) -> PixelChange) -> Answer<Vec<InstanceRef>> {
        let images = self.images().await?;
        let common = self.edits(&images);
        for image in &images {
            let mut edits = common.clone();
            edits.text(tags::STUDY_INSTANCE_UID, VR::UI, &self.study_uid);
            edits.text(
                tags::SERIES_INSTANCE_UID,
                VR::UI,
                &self.series_uid(&image.record.series_uid),
            );
            edits.text(
                tags::SOP_INSTANCE_UID,
                VR::UI,
                &self.image_uid(&image.record.instance_uid),
            );
            let recipe = Recipe {
                edits,
                pixels: change(image),
            };
            self.store(image, recipe).await?;
        }
        Ok(images)
    }
}

/// The namespace to copy into, where the caller may upload: `to_namespace`, else the study's own.
async fn to_namespace(call: &Call, seen: &Seen) -> Answer<Arc<Namespace>> {
    let text = scope::parameter(call, "to_namespace").unwrap_or_else(|| seen.namespace.id.to_string());
    scope::namespace_with(call, &text, Permission::StudyUpload).await
}

/// Runs work that is in a namespace under the request's key, and answers with what it says.
async fn run<F>(call: &Call, namespace: NamespaceId, body: &[u8], says: String, work: F) -> Answer
where
    F: Future<Output = Answer<()>> + 'static,
{
    // Sessions may change between two tries, what is asked does not.
    let query: Vec<String> = crate::http::query_pairs(&call.request)
        .into_iter()
        .filter(|(name, _)| name != "sid")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let query = query.join("&");
    let path = call.request.path().as_bytes();
    let key = jobs::key(call.principal.user, &[path, query.as_bytes(), body]);
    let jobs = Arc::clone(&call.app.storage.jobs);
    // Clients listen where they sent the request to; of a share that is the sender's namespace, which is not theirs.
    let addressed = NamespaceId::parse(call.path("namespace"));
    let addressed = addressed.filter(|addressed| call.principal.reaches(*addressed));
    let name = job_name(call, addressed.unwrap_or(namespace));
    let (says, is_done) = jobs.start(key, name, says, work).await?;
    let status = if is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(says))
}

fn series_of(call: &Call, name: &str, seen: &Seen) -> Answer<Option<HashSet<String>>> {
    let Some(list) = scope::list(call, name) else {
        return Ok(None);
    };
    let open = call.services().summaries.open(&seen.study.row)?;
    for uid in &list {
        if !open.summary.series.iter().any(|series| series.series_uid == *uid) {
            return Err(StorageError::from(Kind::SeriesNotFound).with("series_uid", uid.as_str()));
        }
    }
    Ok(Some(list.into_iter().collect()))
}

fn new_uid() -> String {
    Uid::random().as_str().to_owned()
}

/// `POST /study/{namespace}/{study}/split`.
pub(super) async fn split(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let place = seen.namespace.id;
    let to = to_namespace(&call, &seen).await?;
    let series = series_of(&call, "series_uid", &seen)?;
    let deletes = scope::flag(&call, "delete_series_from_original");
    if deletes {
        let text = seen.namespace.id.to_string();
        scope::namespace_with(&call, &text, Permission::StudyDeleteImage).await?;
    }
    call.audit_study(&seen.study).await?;
    let study_uid = new_uid();
    if deletes {
        scope::not_frozen(&call, &seen)?;
    }
    let mut plan = Plan {
        app: Arc::clone(&call.app),
        source: call.source(),
        from: seen,
        to,
        study_uid: study_uid.clone(),
        series,
        renews: (true, true),
        seed: study_uid.clone(),
    };
    run(&call, place, &[], study_uid, async move {
        for _ in 0..ROUNDS_MAX {
            plan.refresh()?;
            let copied = plan.versions()?;
            plan.run(|_| PixelChange::Keep).await?;
            if !deletes || plan.erase(&copied).await? {
                return Ok(());
            }
        }
        Err(EngineError::Overloaded { retry_after_seconds: 5 }.into())
    })
    .await
}

/// `GET /study/{namespace}/{study}/merge`: a GET that changes things, with a permission of its own.
pub(super) async fn merge(call: Call) -> Answer {
    let primary = scope::study(&call).await?;
    let place = primary.namespace.id;
    let secondaries = scope::list(&call, "secondary_study_uid")
        .ok_or_else(|| StorageError::new(Kind::Validation, "secondary_study_uid is missing"))?;
    let deletes = scope::flag(&call, "delete_secondary_study");
    if deletes {
        let text = primary.namespace.id.to_string();
        scope::namespace_with(&call, &text, Permission::StudyDelete).await?;
    }
    let to = to_namespace(&call, &primary).await?;
    let series: Option<HashSet<String>> = scope::list(&call, "series_uids").map(|list| list.into_iter().collect());
    call.audit_study(&primary.study).await?;
    // What is merged is shown as the primary study's: its patient and study attributes.
    let attributes = super::attributes::attributes_of_study(call.services(), &primary)?;
    let mut plans = Vec::new();
    for uid in secondaries {
        if uid == primary.uid {
            return Err(StorageError::new(
                Kind::Validation,
                "a study cannot be merged into itself",
            ));
        }
        let from = scope::study_of(&call, &uid).await?;
        if deletes {
            scope::not_frozen(&call, &from)?;
        }
        call.audit_study(&from.study).await?;
        plans.push(Plan {
            app: Arc::clone(&call.app),
            source: call.source(),
            from,
            to: Arc::clone(&to),
            study_uid: primary.uid.clone(),
            series: series.clone(),
            renews: (false, false),
            seed: String::new(),
        });
    }
    let uid = primary.uid.clone();
    let (app, merged) = (Arc::clone(&call.app), uid.clone());
    // What came since an earlier request is merged by this one.
    let revisions = plans.iter().map(|plan| plan.from.study.row.revision.to_string());
    let revisions = revisions.collect::<Vec<_>>().join(" ");
    let response = run(&call, place, revisions.as_bytes(), uid, async move {
        for mut plan in plans {
            let mut is_done = false;
            for _ in 0..ROUNDS_MAX {
                plan.refresh()?;
                let copied = plan.versions()?;
                merge_one(&plan, &attributes).await?;
                is_done = !deletes || plan.erase(&copied).await?;
                if is_done {
                    break;
                }
            }
            if !is_done {
                return Err(EngineError::Overloaded { retry_after_seconds: 5 }.into());
            }
        }
        app.channels
            .tell_of_study(&app.archive.services, Event::Edit, to.id, &merged);
        Ok(())
    })
    .await?;
    // Documented as 202, whether done already or not.
    let mut response = response;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

async fn merge_one(plan: &Plan, attributes: &serde_json::Map<String, serde_json::Value>) -> Answer<()> {
    let images = plan.images().await?;
    let common = plan.edits(&images);
    for image in &images {
        let mut edits = common.clone();
        edits.text(tags::STUDY_INSTANCE_UID, VR::UI, &plan.study_uid);
        for (tag, key) in [(tags::PATIENT_ID, "00100020"), (tags::ISSUER_OF_PATIENT_ID, "00100021")] {
            if attributes
                .get(key)
                .is_none_or(|attribute| attribute.get("Value").is_none())
            {
                edits.remove(tag);
            }
        }
        super::wrap::set_study_attributes(&mut edits, attributes, false);
        let recipe = Recipe {
            edits,
            pixels: PixelChange::Keep,
        };
        plan.store(image, recipe).await?;
    }
    Ok(())
}

/// `POST /study/{namespace}/{study}/clone`.
pub(super) async fn clone(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let place = seen.namespace.id;
    let to = to_namespace(&call, &seen).await?;
    call.audit_study(&seen.study).await?;
    let study_uid = new_uid();
    let renews = (
        scope::flag(&call, "new_series_uids"),
        scope::flag(&call, "new_image_uids"),
    );
    let plan = Plan {
        app: Arc::clone(&call.app),
        source: call.source(),
        from: seen,
        to,
        study_uid: study_uid.clone(),
        series: None,
        renews,
        seed: study_uid.clone(),
    };
    let work = async move { plan.run(|_| PixelChange::Keep).await.map(|_| ()) };
    run(&call, place, &[], study_uid, work).await
}

/// What `anonymize` and `crop` have in common.
async fn with_regions(mut call: Call, change: impl Fn(Vec<derive::paint::Region>) -> PixelChange + 'static) -> Answer {
    let mut body = call.body()?;
    body.set_longest(REGIONS_BYTES_MAX);
    let body = body.read_all().await.map_err(body_error)?;
    let seen = scope::study(&call).await?;
    let place = seen.namespace.id;
    let regions = Regions::parse(&body)?;
    let to = to_namespace(&call, &seen).await?;
    let study_uid = match scope::parameter(&call, "new_study_uid") {
        None => new_uid(),
        Some(text) => StudyInstanceUid::parse(&text)
            .map_err(|_| StorageError::new(Kind::Validation, "new_study_uid is not a UID"))?
            .as_str()
            .to_owned(),
    };
    let keeps = scope::flag(&call, "keep_image_uids");
    call.audit_study(&seen.study).await?;
    let plan = Plan {
        app: Arc::clone(&call.app),
        source: call.source(),
        from: seen,
        to,
        study_uid: study_uid.clone(),
        series: None,
        renews: (true, !keeps),
        seed: study_uid.clone(),
    };
    let work = async move {
        let change = |image: &InstanceRef| {
            let found = regions.of(&image.record.series_uid, &image.record.instance_uid);
            if found.is_empty() || image.row.pixel_set.is_none() {
                PixelChange::Keep
            } else {
                change(found)
            }
        };
        plan.run(change).await.map(|_| ())
    };
    run(&call, place, &body, study_uid, work).await
}

/// `POST /study/{namespace}/{study}/anonymize`.
pub(super) async fn anonymize(call: Call) -> Answer {
    let text = scope::parameter(&call, "color");
    let colour = regions::colour(text.as_deref())
        .ok_or_else(|| StorageError::new(Kind::Validation, "color is not written as #rrggbb"))?;
    with_regions(call, move |regions| PixelChange::Obscure(regions, colour)).await
}

/// `POST /study/{namespace}/{study}/crop`.
pub(super) async fn crop(call: Call) -> Answer {
    if scope::parameter(&call, "phi_namespace").is_none() && scope::parameter(&call, "to_namespace").is_none() {
        return Err(StorageError::new(
            Kind::Validation,
            "neither phi_namespace nor to_namespace is given",
        ));
    }
    with_regions(call, |regions| {
        // Of several, the first: an image has one rectangle.
        regions
            .first()
            .map_or(PixelChange::Keep, |region| PixelChange::Crop(*region))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_uids_are_uids_of_their_seed() {
        let uid = derived_uid("seed", "1.2.3");
        assert_eq!(uid, derived_uid("seed", "1.2.3"));
        assert_ne!(uid, derived_uid("seed", "1.2.4"));
        assert_ne!(uid, derived_uid("other", "1.2.3"));
        assert!(uid.len() <= 64 && Uid::parse(&uid).is_ok());
    }
}
