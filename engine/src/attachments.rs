//! Documents attached to a study: sealed on the PHI side, in pieces, whatever they hold.
//!
//! | row | key | value |
//! |---|---|---|
//! | attachment | study id ‖ 0 ‖ attachment id | [`AttachmentRow`] |
//! | piece under way | study id ‖ 1 ‖ attachment id ‖ number, big endian | the object's id |
//!
//! Pieces are committed as they come, so that memory does not grow with the document; the attachment's row makes them
//! visible at once and takes the pieces' rows along. What an interrupted upload left goes with the study. The study's row
//! takes part in every change, so that a study which is being re-sealed never loses one. The same content attached twice
//! is one attachment, so a retried upload doubles nothing.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{NamespaceId, ObjectId, StudyId};
use septum_core::seal::{ObjectContext, Part, StudyKeys, open_record, seal_record};
use septum_storage::RowKind;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::ledger::{Event, Staging};
use crate::pipeline::messages::Source;
use crate::records::{StudyRow, decode, encode};
use crate::retrieve::StudyRef;
use crate::services::{Services, now_ms};

/// Bytes of one piece.
const PIECE_BYTES: usize = 4 << 20;

const STORE: Action = Action::new("attachment.store");
const DELETE: Action = Action::new("attachment.delete");

const WHOLE: u8 = 0;
const PIECE: u8 = 1;

/// An attachment as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachmentRow {
    /// The sealed pieces, in order.
    pub pieces: Vec<ObjectId>,
    /// Sealed [`AttachmentRecord`].
    pub sealed: Vec<u8>,
}

/// What is known of an attachment; PHI, always sealed at rest.
#[derive(Clone, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// The file's name as sent, without folders.
    pub file_name: String,
    /// Its media type as sent.
    pub media_type: String,
    /// Its length in bytes.
    pub length: u64,
    /// BLAKE3 of its content.
    pub digest: [u8; 32],
    /// When it was stored, milliseconds since 1970.
    pub stored_ms: i64,
    /// In which namespace it was attached.
    pub phi_namespace: NamespaceId,
}

impl std::fmt::Debug for AttachmentRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AttachmentRecord({} bytes)", self.length)
    }
}

/// An attachment of a study.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Names it within its study.
    pub id: ObjectId,
    /// What is known of it.
    pub record: AttachmentRecord,
    pieces: Vec<ObjectId>,
}

impl Attachment {
    /// The version: 32 hexadecimal digits of its content's digest.
    pub fn version(&self) -> String {
        let digest = blake3::Hash::from_bytes(self.record.digest).to_hex();
        digest[..32].to_owned()
    }

    /// Number of pieces that [`piece`] reads.
    pub fn num_pieces(&self) -> usize {
        self.pieces.len()
    }
}

/// Prefix of every row of a study's attachments.
pub fn all_rows(study: StudyId) -> Vec<u8> {
    RowKind::Attachment.key(&[study.as_bytes()])
}

fn whole_key(study: StudyId, id: ObjectId) -> Vec<u8> {
    RowKind::Attachment.key(&[study.as_bytes(), &[WHOLE], id.as_bytes()])
}

fn piece_key(study: StudyId, id: ObjectId, number: u32) -> Vec<u8> {
    RowKind::Attachment.key(&[study.as_bytes(), &[PIECE], id.as_bytes(), &number.to_be_bytes()])
}

/// The objects that a row of attachments refers to.
///
/// # Errors
/// Where the row is damaged.
pub fn objects_of(row_key: &[u8], value: &[u8]) -> Result<Vec<ObjectId>> {
    match row_key.get(17) {
        Some(&WHOLE) => Ok(decode::<AttachmentRow>(value, "attachment row")?.pieces),
        Some(&PIECE) => Ok(vec![decode(value, "attachment piece")?]),
        _ => Err(EngineError::Corrupt("attachment key")),
    }
}

fn record_context(id: ObjectId) -> ObjectContext {
    ObjectContext::without_pixels(Part::Attachment, *id.as_bytes(), id)
}

fn piece_context(id: ObjectId, object: ObjectId) -> ObjectContext {
    ObjectContext::without_pixels(Part::Attachment, *id.as_bytes(), object)
}

fn open_row(keys: &StudyKeys, row_key: &[u8], value: &[u8]) -> Result<Attachment> {
    let row: AttachmentRow = decode(value, "attachment row")?;
    let id = row_key
        .get(18..)
        .and_then(|id| id.try_into().ok())
        .map(ObjectId::from_bytes)
        .ok_or(EngineError::Corrupt("attachment key"))?;
    let plain = open_record(&keys.phi, &record_context(id), &row.sealed)?;
    Ok(Attachment {
        id,
        record: decode(&plain, "attachment record")?,
        pieces: row.pieces,
    })
}

/// The attachments of a study, oldest first.
///
/// # Errors
/// Where a row cannot be read or opened.
pub fn list(services: &Services, study: &StudyRef) -> Result<Vec<Attachment>> {
    let mut prefix = all_rows(study.id());
    prefix.push(WHOLE);
    let mut found = Vec::new();
    for row in crate::scan::rows(study.stored_in(services), prefix) {
        let (row_key, value) = row?;
        found.push(open_row(&study.keys, &row_key, &value)?);
    }
    found.sort_by_key(|attachment| (attachment.record.stored_ms, attachment.id));
    Ok(found)
}

/// One piece of an attachment's content.
///
/// # Errors
/// Where it cannot be read or opened.
pub async fn piece(services: &Services, study: &StudyRef, attachment: &Attachment, number: usize) -> Result<Bytes> {
    let object = *attachment.pieces.get(number).ok_or(EngineError::NotFound)?;
    let sealed = study.stored_in(services).read_object(object, None).await?;
    let (keys, id) = (Arc::clone(&study.keys), attachment.id);
    let plain = services
        .compute
        .run(move || open_record(&keys.phi, &piece_context(id, object), &sealed));
    Ok(plain.await??.into())
}

/// An attachment on its way in.
pub struct Writer {
    services: Arc<Services>,
    study: StudyRef,
    id: ObjectId,
    buffer: BytesMut,
    pieces: Vec<ObjectId>,
    length: u64,
    digest: blake3::Hasher,
}

impl Writer {
    /// Begins an attachment of a study.
    pub fn new(services: &Arc<Services>, study: StudyRef) -> Self {
        Self {
            services: Arc::clone(services),
            study,
            id: ObjectId::random(),
            buffer: BytesMut::new(),
            pieces: Vec::new(),
            length: 0,
            digest: blake3::Hasher::new(),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Where they cannot be stored.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= PIECE_BYTES {
            let piece = self.buffer.split_to(PIECE_BYTES).freeze();
            self.piece(piece).await?;
        }
        Ok(())
    }

    async fn piece(&mut self, plain: Bytes) -> Result<()> {
        let object = ObjectId::random();
        let (id, study) = (self.id, self.study.id());
        let (suite, keys) = (self.services.keyring.suite(), Arc::clone(&self.study.keys));
        let sealing = self
            .services
            .compute
            .run(move || seal_record(suite, &keys.phi, &piece_context(id, object), &plain));
        let sealed = sealing.await??;
        let number = self.pieces.len() as u32;
        self.services.ledgers[self.study.shard]
            .commit(|staging| {
                staging.object(object, sealed.into());
                staging.put(piece_key(study, id, number), encode(&object));
                Ok(())
            })
            .await?;
        self.pieces.push(object);
        Ok(())
    }

    /// Makes it visible, and gives it back. The same content that is attached already is given back instead.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] where the study changed meanwhile; where it cannot be stored.
    pub async fn finish(mut self, file_name: &str, media_type: &str, source: &Source) -> Result<Attachment> {
        if !self.buffer.is_empty() {
            let rest = self.buffer.split().freeze();
            self.piece(rest).await?;
        }
        let digest = *self.digest.finalize().as_bytes();
        let known = list(&self.services, &self.study)?;
        if let Some(known) = known.into_iter().find(|known| known.record.digest == digest) {
            self.give_up().await?;
            return Ok(known);
        }
        let record = AttachmentRecord {
            file_name: file_name.to_owned(),
            media_type: media_type.to_owned(),
            length: self.length,
            digest,
            stored_ms: now_ms(),
            phi_namespace: self.study.namespace,
        };
        let suite = self.services.keyring.suite();
        let row = encode(&AttachmentRow {
            pieces: self.pieces.clone(),
            sealed: seal_record(suite, &self.study.keys.phi, &record_context(self.id), &encode(&record))?,
        });
        let (study, id, num_pieces) = (&self.study, self.id, self.pieces.len() as u32);
        self.services.ledgers[study.shard]
            .commit(|staging| {
                touch(staging, study)?;
                staging.put(whole_key(study.id(), id), row);
                (0..num_pieces).for_each(|number| staging.delete(piece_key(study.id(), id, number)));
                staging.audit(event(study, STORE, source));
                Ok(())
            })
            .await?;
        self.services.late_arrivals.push(study.shard, &study.row_key);
        Ok(Attachment {
            id,
            record,
            pieces: self.pieces,
        })
    }

    /// Takes back what was stored of it.
    ///
    /// # Errors
    /// Where that cannot be committed.
    pub async fn give_up(self) -> Result<()> {
        let (study, id) = (self.study.id(), self.id);
        self.services.ledgers[self.study.shard]
            .commit(|staging| {
                (0..self.pieces.len() as u32).for_each(|number| staging.delete(piece_key(study, id, number)));
                staging.free(self.pieces);
                Ok(())
            })
            .await
    }
}

/// Takes an attachment away. Its bytes are given back; what is left of them on disk is sealed until it is compacted.
///
/// # Errors
/// [`EngineError::NotFound`] where it is gone; [`EngineError::Conflict`] where the study changed meanwhile.
pub async fn delete(services: &Services, study: &StudyRef, id: ObjectId, source: &Source) -> Result<()> {
    services.ledgers[study.shard]
        .commit(|staging| {
            let row_key = whole_key(study.id(), id);
            let row = staging.get(&row_key)?.ok_or(EngineError::NotFound)?;
            touch(staging, study)?;
            staging.use_reserve();
            staging.free(objects_of(&row_key, &row)?);
            staging.delete(row_key);
            staging.audit(event(study, DELETE, source));
            Ok(())
        })
        .await?;
    services.late_arrivals.push(study.shard, &study.row_key);
    Ok(())
}

/// Lets everybody who watches the study's row see that something changed.
fn touch(staging: &mut Staging<'_>, study: &StudyRef) -> Result<()> {
    let row = staging.get(&study.row_key)?.ok_or(EngineError::NotFound)?;
    let mut row: StudyRow = decode(&row, "study row")?;
    if row.study != study.id() {
        return Err(EngineError::Conflict("the study changed meanwhile, try again"));
    }
    row.revision += 1;
    staging.put(study.row_key.clone(), encode(&row));
    Ok(())
}

fn event(study: &StudyRef, action: Action, source: &Source) -> Event {
    Event {
        actor: Actor::User(source.user),
        action,
        object: ObjectRef::One(ObjectKind::Study, *study.id().as_bytes()),
        outcome: Outcome::Success,
        source: source.address,
        account: Some(study.account.account),
    }
}

/// Brings the copy of a study that is being made up to date: what is new and wanted is sealed again under its keys, what
/// is gone goes.
///
/// # Errors
/// Where something cannot be read, opened or stored.
pub async fn follow(
    services: &Services,
    from: &StudyRef,
    (to, keys): (StudyId, &Arc<StudyKeys>),
    copied: &mut HashSet<ObjectId>,
    is_wanted: impl Fn(&Attachment) -> bool,
) -> Result<()> {
    let mut attachments = list(services, from)?;
    attachments.retain(is_wanted);
    let there: HashSet<ObjectId> = attachments.iter().map(|attachment| attachment.id).collect();
    let ledger = &services.ledgers[from.shard];
    for gone in copied.difference(&there) {
        let row_key = whole_key(to, *gone);
        ledger
            .commit(|staging| {
                if let Some(row) = staging.get(&row_key)? {
                    staging.free(objects_of(&row_key, &row)?);
                    staging.delete(row_key);
                }
                Ok(())
            })
            .await?;
    }
    copied.retain(|id| there.contains(id));
    let suite = services.keyring.suite();
    for attachment in attachments {
        if !copied.insert(attachment.id) {
            continue;
        }
        let id = attachment.id;
        let mut pieces = Vec::new();
        for number in 0..attachment.num_pieces() {
            let plain = piece(services, from, &attachment, number).await?;
            let (object, keys) = (ObjectId::random(), Arc::clone(keys));
            let sealing = services
                .compute
                .run(move || seal_record(suite, &keys.phi, &piece_context(id, object), &plain));
            let sealed = sealing.await??;
            ledger
                .commit(|staging| {
                    staging.object(object, sealed.into());
                    staging.put(piece_key(to, id, number as u32), encode(&object));
                    Ok(())
                })
                .await?;
            pieces.push(object);
        }
        let num_pieces = pieces.len() as u32;
        let row = encode(&AttachmentRow {
            pieces,
            sealed: seal_record(suite, &keys.phi, &record_context(id), &encode(&attachment.record))?,
        });
        ledger
            .commit(|staging| {
                staging.put(whole_key(to, id), row);
                (0..num_pieces).for_each(|number| staging.delete(piece_key(to, id, number)));
                Ok(())
            })
            .await?;
    }
    Ok(())
}
