//! What the instances of one study say of extended attributes.

use std::collections::BTreeSet;
use std::sync::Arc;

use septum_core::dicom::json::read_stored;
use septum_core::ids::{DocumentId, ObjectId, StudyId};
use septum_core::query::{Predicate, Query, matches_all};
use septum_core::seal::{ObjectContext, Part, open_record, seal_record};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ExtendedTag;
use crate::error::{EngineError, Result};
use crate::records::{StudyRow, decode, encode, key};
use crate::retrieve::StudyRef;
use crate::retrieve::metadata::Reader;
use crate::services::Services;

/// Most different parts of datasets that are kept of one attribute: a study with more is looked into.
const PARTS_MAX: usize = 256;
/// Longest parts of one attribute together, in bytes of JSON.
const PARTS_BYTES_MAX: usize = 16 << 10;

/// The row of a study. What it says in the clear is a number and random ids.
#[derive(Serialize, Deserialize)]
struct ExtendedRow {
    /// The study's revision that it was made of.
    revision: u64,
    /// The attributes it was made for.
    tags: Vec<DocumentId>,
    /// Sealed list of [`Kept`].
    sealed: Vec<u8>,
}

/// What the instances say of one attribute; PHI, always sealed at rest.
#[derive(Serialize, Deserialize)]
struct Kept {
    tag: DocumentId,
    /// Each different part of a dataset as JSON text, the empty one too; none where there are too many.
    parts: Option<Vec<String>>,
}

/// What the row of a study is bound to.
fn context(study: StudyId) -> ObjectContext {
    let object = ObjectId::from_bytes(*study.as_bytes());
    ObjectContext::without_pixels(Part::Record, *b"septum extended\0", object)
}

/// Gathers what instances say.
struct Gathering {
    tags: Arc<Vec<Arc<ExtendedTag>>>,
    parts: Vec<Option<(BTreeSet<String>, usize)>>,
}

impl Gathering {
    fn new(tags: Arc<Vec<Arc<ExtendedTag>>>) -> Self {
        let parts = tags.iter().map(|_| Some(Default::default())).collect();
        Self { tags, parts }
    }

    fn hear(&mut self, attributes: &Map<String, Value>) {
        for (tag, parts) in self.tags.iter().zip(&mut self.parts) {
            let Some((known, num_bytes)) = parts else { continue };
            let part = Value::Object(tag.attribute.part_of(attributes)).to_string();
            let length = part.len();
            if known.insert(part) {
                *num_bytes += length;
            }
            if known.len() > PARTS_MAX || *num_bytes > PARTS_BYTES_MAX {
                *parts = None;
            }
        }
    }

    fn finish(self) -> Vec<Kept> {
        let tags = self.tags.iter().map(|tag| tag.id);
        tags.zip(self.parts)
            .map(|(tag, parts)| Kept {
                tag,
                parts: parts.map(|(parts, _)| parts.into_iter().collect()),
            })
            .collect()
    }
}

fn row_of(services: &Services, study: &StudyRef) -> Result<Option<ExtendedRow>> {
    let row = study.stored_in(services).get(&key::extended(study.id()))?;
    row.map(|row| decode(&row, "extended row")).transpose()
}

/// Makes a study's row what it is to be now: `false` where it was that already.
///
/// # Errors
/// [`EngineError::Conflict`] where the study changed meanwhile: it will be folded again.
pub async fn make(services: &Arc<Services>, study: &StudyRef) -> Result<bool> {
    let tags = services.extended.tags();
    let ids: Vec<DocumentId> = tags.iter().map(|tag| tag.id).collect();
    // One that cannot be read is made anew.
    let is_there = study.stored_in(services).get(&key::extended(study.id()))?.is_some();
    let known = row_of(services, study).ok().flatten();
    let is_right = match &known {
        Some(row) => row.revision == study.row.revision && row.tags == ids && !ids.is_empty(),
        None => ids.is_empty() && !is_there,
    };
    if is_right {
        return Ok(false);
    }
    let row = if ids.is_empty() {
        None
    } else {
        let kept = gathered(services, study, tags).await?;
        let suite = services.keyring.suite();
        let sealed = seal_record(suite, &study.keys.phi, &context(study.id()), &encode(&kept))?;
        Some(ExtendedRow {
            revision: study.row.revision,
            tags: ids,
            sealed,
        })
    };
    services.ledgers[study.shard]
        .commit(|staging| {
            let now = staging.get(&study.row_key)?.ok_or(EngineError::NotFound)?;
            let now: StudyRow = decode(&now, "study row")?;
            if now.study != study.id() || now.revision != study.row.revision {
                return Err(EngineError::Conflict("the study changed meanwhile"));
            }
            match &row {
                Some(row) => staging.put(key::extended(study.id()), encode(row)),
                None => staging.delete(key::extended(study.id())),
            }
            Ok(())
        })
        .await?;
    Ok(true)
}

async fn gathered(services: &Arc<Services>, study: &StudyRef, tags: Arc<Vec<Arc<ExtendedTag>>>) -> Result<Vec<Kept>> {
    let mut gathering = Gathering::new(tags);
    let mut reader = Reader::new(services, study, None)?;
    while let Some(entries) = reader.next().await? {
        let heard = move || -> Result<Gathering> {
            for entry in entries {
                let attributes = read_stored(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
                gathering.hear(&attributes);
            }
            Ok(gathering)
        };
        gathering = services.compute.run(heard).await??;
    }
    Ok(gathering.finish())
}

/// What is kept of a study as it is; none where that is behind, or cannot be read.
fn kept_of(services: &Services, study: &StudyRef) -> Option<Vec<Kept>> {
    let open = || -> Result<Option<Vec<Kept>>> {
        let Some(row) = row_of(services, study)?.filter(|row| row.revision == study.row.revision) else {
            return Ok(None);
        };
        let plain = open_record(&study.keys.phi, &context(study.id()), &row.sealed)?;
        decode(&plain, "extended row").map(Some)
    };
    open().unwrap_or_else(|error| {
        tracing::warn!(%error, "what is kept of extended attributes cannot be read: the study itself is searched");
        None
    })
}

fn parts_of(kept: &[Kept], tag: DocumentId) -> Option<Vec<Map<String, Value>>> {
    let parts = kept.iter().find(|kept| kept.tag == tag)?.parts.as_ref()?;
    parts.iter().map(|part| serde_json::from_str(part).ok()).collect()
}

/// Whether an instance of a study may fulfil predicates: `false` is sure.
pub fn may_match(services: &Services, study: &StudyRef, predicates: &[Predicate]) -> bool {
    let tags = services.extended.tags();
    let covered = |predicate: &&Predicate| tags.iter().any(|tag| tag.attribute.covers(predicate));
    if !predicates.iter().any(|predicate| covered(&predicate)) {
        return true;
    }
    let Some(kept) = kept_of(services, study) else {
        return true;
    };
    predicates.iter().all(|predicate| {
        let tag = tags.iter().find(|tag| tag.attribute.covers(predicate));
        let parts = tag.and_then(|tag| parts_of(&kept, tag.id));
        parts.is_none_or(|parts| parts.iter().any(|part| matches_all([predicate], part)))
    })
}

/// The extended attributes that a query shows of a study: those of which all its instances say the same.
pub fn shown(services: &Services, study: &StudyRef, query: &Query) -> Map<String, Value> {
    let tags = services.extended.tags();
    let wanted: Vec<_> = tags.iter().filter(|tag| tag.attribute.is_shown_by(query)).collect();
    if wanted.is_empty() {
        return Map::new();
    }
    let kept = kept_of(services, study).unwrap_or_default();
    let mut out = Map::new();
    for tag in wanted {
        if let Some([part]) = parts_of(&kept, tag.id).as_deref() {
            for (key, value) in part {
                // Two paths may lead into one sequence: the first one counts.
                out.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use septum_core::query::ExtendedAttribute;
    use serde_json::json;

    #[test]
    fn what_says_too_much_is_not_kept() {
        let tag = ExtendedTag {
            id: DocumentId::random(),
            private_creator: None,
            attribute: ExtendedAttribute::parse("ImageComments", None).expect("sound"),
            created_ms: 0,
        };
        let tags = Arc::new(vec![Arc::new(tag)]);
        let gathered = |values: &mut dyn Iterator<Item = String>| {
            let mut gathering = Gathering::new(Arc::clone(&tags));
            for value in values {
                let dataset = json!({"00204000": {"vr": "LT", "Value": [value]}, "00080080": {"vr": "LO"}});
                gathering.hear(dataset.as_object().expect("an object"));
            }
            let kept = gathering.finish();
            assert_eq!(kept.len(), 1);
            kept.into_iter().next().and_then(|kept| kept.parts)
        };
        let two = gathered(&mut ["A", "B", "A"].map(str::to_owned).into_iter()).expect("kept");
        assert_eq!(two.len(), 2);
        assert!(!two[0].contains("00080080"));
        assert!(gathered(&mut (0..PARTS_MAX).map(|n| n.to_string())).is_some());
        assert!(gathered(&mut (0..=PARTS_MAX).map(|n| n.to_string())).is_none());
        assert!(gathered(&mut std::iter::once("x".repeat(PARTS_BYTES_MAX))).is_none());
    }
}
