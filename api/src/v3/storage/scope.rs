//! What an address means: the study and the image that a caller may see.
//!
//! The path names the storage namespace, where the pixels lie; `phi_namespace` names where the study is seen. A caller
//! needs the permission where it is seen. [`study`] is the one place where the two become a stored study.

use std::sync::Arc;

use septum_core::access::{Object, Permission, authorize};
use septum_core::audit::{ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{NamespaceId, StudyInstanceUid, VersionId};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::freeze;
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::services::Services;

use super::error::{Answer, Kind, StorageError};
use crate::call::Call;
use crate::v3::study_id::StudyName;

/// A study, and the namespace it is seen in.
#[derive(Clone)]
pub(super) struct Seen {
    /// Where it is seen.
    pub(super) namespace: Arc<Namespace>,
    /// The study.
    pub(super) study: StudyRef,
    /// Its UID.
    pub(super) uid: String,
}

/// The id of a namespace, with or without hyphens.
pub(super) fn namespace_id(text: &str) -> Option<NamespaceId> {
    NamespaceId::parse(&text.replace('-', ""))
}

/// A parameter that is given and not empty.
pub(super) fn parameter(call: &Call, name: &str) -> Option<String> {
    call.query(name).filter(|value| !value.is_empty())
}

/// A flag: 1 or `true`, which some clients write `True`.
pub(super) fn flag(call: &Call, name: &str) -> bool {
    let given = call.query(name);
    given.is_some_and(|given| given == "1" || given.eq_ignore_ascii_case("true"))
}

/// A list parted by commas.
pub(super) fn list(call: &Call, name: &str) -> Option<Vec<String>> {
    let text = parameter(call, name)?;
    Some(parts(&text))
}

/// The parts of a list parted by commas.
pub(super) fn parts(text: &str) -> Vec<String> {
    text.split(',')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Refuses, and audits that.
pub(super) async fn denied(call: &Call, namespace: Option<NamespaceId>) -> StorageError {
    let object = namespace.map_or(ObjectRef::System, |id| {
        ObjectRef::One(ObjectKind::Namespace, *id.as_bytes())
    });
    call.audit_outcome(object, None, Outcome::Denied).await;
    Kind::AccessDenied.into()
}

/// The study of the path, where the caller sees it.
pub(super) async fn study(call: &Call) -> Answer<Seen> {
    study_of(call, call.path("study")).await
}

/// A study of that UID beside the one of the path.
pub(super) async fn study_of(call: &Call, uid: &str) -> Answer<Seen> {
    let storage = namespace_id(call.path("namespace"));
    let phi = match parameter(call, "phi_namespace") {
        Some(text) => namespace_id(&text),
        None => storage,
    };
    let (Some(storage), Some(phi)) = (storage, phi) else {
        return Err(denied(call, None).await);
    };
    // The dispatcher left those in which the row's permission is given.
    let Some(namespace) = call.namespaces.iter().find(|namespace| namespace.id == phi) else {
        return Err(denied(call, Some(phi)).await);
    };
    let missing = || {
        StorageError::from(Kind::StudyNotFound)
            .with("study_uid", uid)
            .with("namespace", call.path("namespace"))
    };
    let parsed = StudyInstanceUid::parse(uid).map_err(|_| missing())?;
    // There may be two of that UID: one's own, and one that was shared.
    let name = StudyName::of_uid(call.services(), namespace, storage, parsed.as_str())?;
    let study = match name.find(call.services(), namespace) {
        Err(EngineError::NotFound) => return Err(missing()),
        found => found?,
    };
    Ok(Seen {
        namespace: Arc::clone(namespace),
        study,
        uid: parsed.as_str().to_owned(),
    })
}

/// Refuses to change a study that is frozen.
pub(super) fn not_frozen(call: &Call, seen: &Seen) -> Answer<()> {
    if freeze::is_frozen(call.services(), &seen.study)? {
        return Err(StorageError::new(Kind::Conflict, freeze::FROZEN));
    }
    Ok(())
}

/// The image of the path, in the version that it names.
pub(super) fn image(call: &Call, study: &StudyRef) -> Answer<InstanceRef> {
    let missing = || {
        StorageError::from(Kind::ImageNotFound)
            .with("image_uid", call.path("image"))
            .with("image_version", call.path("version"))
    };
    let version = match call.path("version") {
        "" | "*" => None,
        text => Some(VersionId::parse(text).ok_or_else(missing)?),
    };
    let found = find_image(call.services(), study, call.path("image"), version)?.ok_or_else(missing)?;
    if version.is_some() && study.is_original(call.services(), &found)? {
        call.authorize(Permission::StudyViewOriginal, study.namespace)
            .map_err(|_| StorageError::new(Kind::Forbidden, "this version is the original of a correction"))?;
    }
    Ok(found)
}

/// An image by its SOP Instance UID alone: looked for in each series.
pub(super) fn find_image(
    services: &Services,
    study: &StudyRef,
    image_uid: &str,
    version: Option<VersionId>,
) -> Answer<Option<InstanceRef>> {
    let open = services.summaries.open(&study.row)?;
    for series in &open.summary.series {
        match study.instance(services, &series.series_uid, image_uid, version) {
            Err(EngineError::NotFound) => {}
            found => return Ok(Some(found?)),
        }
    }
    Ok(None)
}

/// A namespace that is not the one of the row's permission, where the caller has another permission.
pub(super) async fn namespace_with(call: &Call, text: &str, permission: Permission) -> Answer<Arc<Namespace>> {
    let Some(id) = namespace_id(text) else {
        return Err(denied(call, None).await);
    };
    if authorize(Some(&call.principal), permission, Object::Namespace(id)).is_err() {
        return Err(denied(call, Some(id)).await);
    }
    match call.services().accounts.namespace(id) {
        Err(EngineError::NotFound) => Err(denied(call, Some(id)).await),
        found => Ok(found?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_read_with_and_without_hyphens() {
        let id = NamespaceId::from_bytes([0x1F; 16]);
        for text in [
            "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f",
            "1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f",
        ] {
            assert_eq!(namespace_id(text), Some(id));
        }
        assert_eq!(namespace_id("abra"), None);
    }

    #[test]
    fn lists_have_no_empty_parts() {
        assert_eq!(parts("1.2, 3 ,,"), ["1.2", "3"]);
        assert!(parts("").is_empty());
    }
}
