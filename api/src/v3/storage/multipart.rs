//! Uploads in parts: a large file comes in pieces, each with its CRC-32, and is put together at the end.
//!
//! Parts wait in memory only, within the same bounds as what store requests hold: nothing of them is written before the
//! file goes through the pipeline. A part that is sent again takes its own place; completing twice stores once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use bytes::Bytes;
use septum_core::ids::{ObjectId, UserId};
use serde_json::json;

use super::error::{Answer, Kind, StorageError};
use super::form::body_error;
use super::upload::{self, job_name, required_study, target};
use super::{jobs, scope, wrap};
use crate::call::Call;
use crate::stow::held::Share;

/// Uploads at a time.
const UPLOADS_MAX: usize = 256;

/// Uploads of one user at a time.
const PER_OWNER_MAX: usize = 32;

/// Parts of one upload.
const PARTS_MAX: u32 = 100_000;

/// An upload without news for this long is given up.
const IDLE: Duration = Duration::from_secs(600);

struct Part {
    bytes: Bytes,
    _share: Share,
}

struct Upload {
    owner: UserId,
    parts: BTreeMap<u32, Part>,
    touched: Instant,
}

/// Uploads under way.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<ObjectId, Upload>>);

impl Uploads {
    fn all(&self) -> MutexGuard<'_, HashMap<ObjectId, Upload>> {
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.retain(|_, upload| upload.touched.elapsed() < IDLE);
        uploads
    }

    fn begin(&self, owner: UserId) -> Answer<ObjectId> {
        let mut uploads = self.all();
        if uploads.len() >= UPLOADS_MAX {
            return Err(StorageError::later("there are too many uploads at the moment", 30));
        }
        // Nobody takes the places of all others: the oldest of their own goes.
        let own = uploads.iter().filter(|(_, upload)| upload.owner == owner);
        let own: Vec<(Instant, ObjectId)> = own.map(|(id, upload)| (upload.touched, *id)).collect();
        if own.len() >= PER_OWNER_MAX
            && let Some((_, oldest)) = own.into_iter().min()
        {
            uploads.remove(&oldest);
        }
        let id = ObjectId::random();
        let upload = Upload {
            owner,
            parts: BTreeMap::new(),
            touched: Instant::now(),
        };
        uploads.insert(id, upload);
        Ok(id)
    }

    fn put(&self, owner: UserId, id: ObjectId, number: u32, part: Part) -> Answer<()> {
        let mut uploads = self.all();
        let upload = uploads
            .get_mut(&id)
            .filter(|upload| upload.owner == owner)
            .ok_or_else(unknown)?;
        upload.touched = Instant::now();
        upload.parts.insert(number, part);
        Ok(())
    }

    /// The parts in order. The upload stays until it is ended, so that a client may complete it again.
    fn parts(&self, owner: UserId, id: ObjectId, length: u64) -> Answer<Vec<Bytes>> {
        let mut uploads = self.all();
        let upload = uploads
            .get_mut(&id)
            .filter(|upload| upload.owner == owner)
            .ok_or_else(unknown)?;
        upload.touched = Instant::now();
        if !upload.parts.keys().copied().eq(0..upload.parts.len() as u32) {
            return Err(StorageError::new(Kind::Validation, "a part is missing"));
        }
        let parts: Vec<Bytes> = upload.parts.values().map(|part| part.bytes.clone()).collect();
        if parts.iter().map(|part| part.len() as u64).sum::<u64>() != length {
            return Err(StorageError::new(
                Kind::Validation,
                "X-File-Size is not the length of all parts together",
            ));
        }
        Ok(parts)
    }

    fn end(&self, id: ObjectId) {
        self.all().remove(&id);
    }
}

fn unknown() -> StorageError {
    StorageError::new(Kind::NotFound, "there is no such upload")
}

fn id_of(call: &Call) -> Answer<ObjectId> {
    ObjectId::parse(call.path("upload")).ok_or_else(unknown)
}

/// A header that is a number.
pub(super) fn number<T: std::str::FromStr>(call: &Call, name: &'static str) -> Answer<T> {
    let value = call.request.headers().get(name).and_then(|value| value.to_str().ok());
    value
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| StorageError::new(Kind::Validation, format!("the header {name} is missing or no number")))
}

/// `GET /multipart/initiate`.
pub(super) async fn initiate(call: Call) -> Answer {
    let id = call.app.storage.uploads.begin(call.principal.user)?;
    Ok(HttpResponse::Ok().json(json!({"upload_uuid": id.to_string()})))
}

/// `POST /multipart/{upload}`.
pub(super) async fn part(mut call: Call) -> Answer {
    let id = id_of(&call)?;
    let at: u32 = number(&call, "X-File-Name")?;
    let length: u64 = number(&call, "X-File-Size")?;
    let checksum: u32 = number(&call, "X-AmbraHealth-part-checksum")?;
    if at >= PARTS_MAX {
        return Err(StorageError::new(Kind::Validation, "there are too many parts"));
    }
    if length > call.app.held.total_bytes() {
        return Err(Kind::PayloadTooLarge.into());
    }
    let mut share = call.app.held.share();
    if !share.grow(length) {
        return Err(StorageError::later(
            "other uploads fill what may be held; try again",
            10,
        ));
    }
    let mut body = call.body()?;
    body.set_longest(length);
    let bytes = body.read_all().await.map_err(body_error)?;
    if bytes.len() as u64 != length {
        return Err(StorageError::new(
            Kind::Validation,
            "X-File-Size is not the length of the part",
        ));
    }
    if crc32fast::hash(&bytes) != checksum {
        return Err(StorageError::new(
            Kind::Validation,
            "the checksum is not that of the part",
        ));
    }
    let part = Part {
        bytes: bytes.into(),
        _share: share,
    };
    call.app.storage.uploads.put(call.principal.user, id, at, part)?;
    Ok(HttpResponse::Ok().json(json!({"upload_uuid": id.to_string(), "part": at})))
}

/// `POST /multipart/{upload}/complete`.
pub(super) async fn complete(call: Call) -> Answer {
    let id = id_of(&call)?;
    let length: u64 = number(&call, "X-File-Size")?;
    let namespace = target(&call, &call.query("namespace").unwrap_or_default()).await?;
    let (user, app, source) = (call.principal.user, Arc::clone(&call.app), call.source());
    let name = job_name(&call, namespace.id);
    let uploads = Arc::clone(&call.app.storage.uploads);
    let key = jobs::key(user, &[b"complete", id.as_bytes()]);
    let study_uid = required_study(&call)?;
    let endpoint = call.query("endpoint").unwrap_or_default();
    let wrapped = match endpoint.as_str() {
        "" | "image" => None,
        "wrap" => Some(wrap::Options::of(&call, scope::parameter(&call, "tags"))?),
        _ => {
            return Err(StorageError::new(
                Kind::Validation,
                "endpoint is neither image nor wrap",
            ));
        }
    };
    // Where the upload is ended already, the answer is that of the first time.
    let parts = uploads.parts(user, id, length);
    let work = async move {
        let parts = parts?;
        match wrapped {
            None => {
                upload::store(&app, &namespace, source, study_uid.as_deref(), parts).await?;
            }
            Some(options) => {
                let whole: Bytes = parts.concat().into();
                wrap::store(&app, &namespace, source, whole, options).await?;
            }
        }
        uploads.end(id);
        Ok(())
    };
    let jobs = Arc::clone(&call.app.storage.jobs);
    let says = id.to_string();
    let (upload_uuid, is_done) = jobs.start(key, name, says, work).await?;
    Ok(HttpResponse::Accepted().json(json!({"upload_uuid": upload_uuid, "done": u8::from(is_done)})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stow::held::Held;

    fn part(text: &'static str) -> Part {
        Part {
            bytes: Bytes::from_static(text.as_bytes()),
            _share: Held::new(1 << 20).share(),
        }
    }

    #[test]
    fn parts_are_put_together_in_order() {
        let (uploads, owner) = (Uploads::default(), UserId::random());
        let id = uploads.begin(owner).expect("room");
        for (number, text) in [(1, "cd"), (0, "xx"), (2, "e"), (0, "ab")] {
            uploads.put(owner, id, number, part(text)).expect("taken");
        }
        let whole = uploads.parts(owner, id, 5).expect("whole").concat();
        assert_eq!(whole, b"abcde");
        for (wrong, kind) in [
            (uploads.parts(owner, id, 6), Kind::Validation),
            (uploads.parts(UserId::random(), id, 5), Kind::NotFound),
            (uploads.parts(owner, ObjectId::random(), 5), Kind::NotFound),
        ] {
            assert_eq!(wrong.expect_err("refused").kind(), kind);
        }
        uploads.put(owner, id, 7, part("z")).expect("taken");
        assert_eq!(uploads.parts(owner, id, 6).expect_err("gap").kind(), Kind::Validation);
        uploads.end(id);
        assert_eq!(uploads.parts(owner, id, 5).expect_err("gone").kind(), Kind::NotFound);
    }
}
