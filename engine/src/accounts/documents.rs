//! Small records of every other kind: custom fields, filters, annotations, orders.
//!
//! A document has a kind, an owner (an account, a study, a user), an id and a body. It is sealed, and changes commit with
//! their audit leaf. The same document sent again within [`AGAIN_MS`] by the same user is that document, so that a client
//! that lost an answer makes nothing twice.
//!
//! | row, behind the kind of row | value |
//! |---|---|
//! | 1 ‖ kind ‖ owner ‖ id | sealed [`Document`], JSON behind a format version byte |
//! | 2 ‖ kind ‖ id | owner |
//! | 3 ‖ keyed digest of user, kind, owner and body | id ‖ when it was added, milliseconds since 1970 big endian |

use std::sync::Arc;

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{AccountId, DocumentId, NamespaceId, ObjectId, UserId};
use septum_core::seal::{ObjectContext, Part, TokenDomain, open_record, seal_record, token};
use septum_storage::RowKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{EngineError, Result};
use crate::keyring::Keyring;
use crate::ledger::{Event, Ledger, Staging};
use crate::pipeline::messages::Source;
use crate::services::now_ms;

/// For how long the same document sent again is the same document, in milliseconds: five minutes.
pub const AGAIN_MS: i64 = 300_000;
/// Longest body, in bytes of JSON.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Most documents of one kind that one owner may have.
pub const PER_OWNER_MAX: usize = 200_000;

const FORMAT_VERSION: u8 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $add:literal, $edit:literal, $delete:literal;)+) => {
        /// Kinds of document; the numbers are on disk.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $number),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The names in the audit log of adding, changing and removing one.
            const fn actions(self) -> [&'static str; 3] {
                match self { $(Self::$name => [$add, $edit, $delete]),+ }
            }
        }
    };
}

kinds! {
    /// Fields an account adds to its studies, orders and so on.
    CustomField = 1, "customfield.create", "customfield.edit", "customfield.delete";
    /// Saved filters.
    Filter = 2, "filter.create", "filter.edit", "filter.delete";
    /// Drawn on frames.
    Annotation = 3, "annotation.create", "annotation.edit", "annotation.delete";
    /// Frames that matter.
    KeyImage = 4, "keyimage.create", "keyimage.edit", "keyimage.delete";
    /// Words tied to anything.
    Tag = 5, "tag.create", "tag.edit", "tag.delete";
    /// Between users.
    Message = 6, "message.create", "message.edit", "message.delete";
    /// An account's own words.
    Terminology = 7, "terminology.create", "terminology.edit", "terminology.delete";
    /// Patients of an account.
    Patient = 8, "patient.create", "patient.edit", "patient.delete";
    /// Ordered procedures, with their scheduled steps.
    Order = 9, "order.create", "order.edit", "order.delete";
    /// Links that open something to whoever has them.
    Link = 10, "link.create", "link.edit", "link.delete";
    /// What the doors know of a study beyond its images.
    Study = 11, "study.note", "study.note", "study.forget";
    /// Comments on studies.
    Comment = 12, "comment.create", "comment.edit", "comment.delete";
    /// What happened, for people.
    Activity = 13, "activity.create", "activity.edit", "activity.delete";
    /// Rules by which datasets lose what identifies.
    Anonymization = 14, "anonymization.create", "anonymization.edit", "anonymization.delete";
    /// Studies that are announced and of which nothing came yet.
    Phantom = 15, "study.announce", "study.announce", "study.arrive";
    /// Studies shared with who must approve them first.
    Offer = 16, "study.offer", "study.offer", "study.decide";
    /// Attributes that searches are extended by.
    ExtendedTag = 17, "extendedtag.create", "extendedtag.edit", "extendedtag.delete";
    /// Mail that is to go out.
    Mail = 40, "mail.create", "mail.edit", "mail.delete";
    /// Invitations, found by a digest of their token.
    Invitation = 41, "invitation.create", "invitation.edit", "invitation.delete";
    /// Permits to set a lost password anew, found by a digest of their token.
    PasswordReset = 42, "password.lost", "password.lost", "password.found";
    /// Studies shared with somebody who is invited by mail.
    InvitedShare = 43, "study.invite", "study.invite", "study.uninvite";
    /// Who may share with whom.
    ShareRule = 44, "sharerule.create", "sharerule.edit", "sharerule.delete";
    /// Shares of studies that have not come yet.
    DeferredShare = 45, "study.defer", "study.defer", "study.undefer";
}

/// What a document belongs to.
pub type Owner = [u8; 16];

/// A small record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Its kind.
    pub kind: Kind,
    /// What it belongs to.
    pub owner: Owner,
    /// The account it is in.
    pub account: AccountId,
    /// Who added it.
    pub created_by: UserId,
    /// When it was added, milliseconds since 1970.
    pub created_ms: i64,
    /// When it was changed last, milliseconds since 1970.
    pub updated_ms: i64,
    /// Grows by one with each change.
    pub version: u64,
    /// What it says.
    pub body: Map<String, Value>,
}

/// A document to be added.
#[derive(Clone)]
pub struct NewDocument {
    /// Its kind.
    pub kind: Kind,
    /// What it belongs to.
    pub owner: Owner,
    /// The account it is in.
    pub account: AccountId,
    /// What it says.
    pub body: Map<String, Value>,
}

/// All documents.
pub struct Documents {
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
}

fn row_key(kind: Kind, owner: &Owner, id: DocumentId) -> Vec<u8> {
    RowKind::Document.key(&[&[1, kind as u8], owner, id.as_bytes()])
}

fn owner_key(kind: Kind, id: DocumentId) -> Vec<u8> {
    RowKind::Document.key(&[&[2, kind as u8], id.as_bytes()])
}

fn context(kind: Kind, id: DocumentId) -> ObjectContext {
    let mut owner = *b"septum document\0";
    owner[15] = kind as u8;
    ObjectContext::without_pixels(Part::Record, owner, ObjectId::from_bytes(*id.as_bytes()))
}

fn event(action: &'static str, document: &Document, source: &Source) -> Event {
    Event {
        actor: Actor::User(source.user),
        action: Action::new(action),
        object: ObjectRef::One(ObjectKind::Document, *document.id.as_bytes()),
        outcome: Outcome::Success,
        source: source.address,
        account: Some(document.account),
    }
}

impl Documents {
    pub(super) fn new(ledger: Arc<Ledger>, keyring: Arc<Keyring>) -> Self {
        Self { ledger, keyring }
    }

    fn seal(&self, document: &Document) -> Result<Vec<u8>> {
        let mut plain = vec![FORMAT_VERSION];
        serde_json::to_writer(&mut plain, document).map_err(|_| EngineError::Corrupt("document"))?;
        if plain.len() > BODY_BYTES_MAX {
            return Err(EngineError::Conflict("the document is too long"));
        }
        let context = context(document.kind, document.id);
        let (suite, key) = (self.keyring.suite(), self.keyring.record_key());
        Ok(seal_record(suite, key, &context, &plain)?)
    }

    fn unseal(&self, kind: Kind, id: DocumentId, sealed: &[u8]) -> Result<Document> {
        let plain = open_record(self.keyring.record_key(), &context(kind, id), sealed)?;
        match plain.split_first() {
            Some((&FORMAT_VERSION, json)) => serde_json::from_slice(json).map_err(|_| EngineError::Corrupt("document")),
            _ => Err(EngineError::Corrupt("document")),
        }
    }

    /// The row that tells that the same was added a short while ago: a digest under a key, since bodies are PHI.
    fn again_key(&self, new: &NewDocument, user: UserId) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(&new.body).map_err(|_| EngineError::Corrupt("document"))?;
        let text = [&[new.kind as u8], user.as_bytes().as_slice(), &new.owner, &body].concat();
        let account = self.keyring.account(new.account)?;
        let owner = NamespaceId::from_bytes(new.owner);
        let digest = token(account.index_key(), TokenDomain::Document, owner, &text);
        Ok(RowKind::Document.key(&[&[3], digest.as_bytes()]))
    }

    /// Adds a document, or finds the one that the same user added in the same words a short while ago.
    pub async fn add(&self, new: NewDocument, source: &Source) -> Result<Document> {
        let again = self.again_key(&new, source.user)?;
        let now = now_ms();
        let document = Document {
            id: DocumentId::random(),
            kind: new.kind,
            owner: new.owner,
            account: new.account,
            created_by: source.user,
            created_ms: now,
            updated_ms: now,
            version: 1,
            body: new.body,
        };
        let sealed = self.seal(&document)?;
        let known = self
            .ledger
            .commit(|staging| {
                if let Some(id) = self.added_before(staging, &document, &again, now)? {
                    return Ok(Some(id));
                }
                let (id, owner) = (document.id, document.owner);
                staging.put(row_key(document.kind, &owner, id), sealed);
                staging.put(owner_key(document.kind, id), owner.to_vec());
                staging.put(again, [id.as_bytes().as_slice(), &now.to_be_bytes()].concat());
                staging.audit(event(document.kind.actions()[0], &document, source));
                Ok(None)
            })
            .await?;
        match known {
            Some(id) => self.get(document.kind, id),
            None => Ok(document),
        }
    }

    fn added_before(
        &self,
        staging: &Staging<'_>,
        document: &Document,
        again: &[u8],
        now: i64,
    ) -> Result<Option<DocumentId>> {
        let Some(value) = staging.get(again)? else {
            return Ok(None);
        };
        let parsed = value.split_first_chunk::<16>().and_then(|(id, time)| {
            let time = i64::from_be_bytes(time.try_into().ok()?);
            Some((DocumentId::from_bytes(*id), time))
        });
        let (id, time) = parsed.ok_or(EngineError::Corrupt("document"))?;
        let is_there = staging.get(&row_key(document.kind, &document.owner, id))?.is_some();
        Ok((is_there && now - time < AGAIN_MS).then_some(id))
    }

    /// The document of that kind and id.
    pub fn get(&self, kind: Kind, id: DocumentId) -> Result<Document> {
        let shard = self.ledger.shard();
        let owner = shard.get(&owner_key(kind, id))?.ok_or(EngineError::NotFound)?;
        let owner: Owner = owner.try_into().map_err(|_| EngineError::Corrupt("document owner"))?;
        let sealed = shard.get(&row_key(kind, &owner, id))?.ok_or(EngineError::NotFound)?;
        self.unseal(kind, id, &sealed)
    }

    /// All documents of a kind.
    pub fn all(&self, kind: Kind) -> Result<Vec<Document>> {
        let prefix = RowKind::Document.key(&[&[1, kind as u8]]);
        let rows = crate::scan::rows(self.ledger.shard(), prefix.clone());
        rows.map(|row| {
            let (key, sealed) = row?;
            let id = key.get(prefix.len() + 16..).and_then(|id| id.try_into().ok());
            let id = id.ok_or(EngineError::Corrupt("document key"))?;
            self.unseal(kind, DocumentId::from_bytes(id), &sealed)
        })
        .collect()
    }

    /// The documents of a kind that something owns, by id. Of more than [`PER_OWNER_MAX`] none is given.
    pub fn list(&self, kind: Kind, owner: &Owner) -> Result<Vec<Document>> {
        let prefix = RowKind::Document.key(&[&[1, kind as u8], owner]);
        let mut found = Vec::new();
        for row in crate::scan::rows(self.ledger.shard(), prefix.clone()) {
            let (key, sealed) = row?;
            let id: [u8; 16] = key[prefix.len()..]
                .try_into()
                .map_err(|_| EngineError::Corrupt("document key"))?;
            if found.len() >= PER_OWNER_MAX {
                return Err(EngineError::Overloaded {
                    retry_after_seconds: 60,
                });
            }
            found.push(self.unseal(kind, DocumentId::from_bytes(id), &sealed)?);
        }
        Ok(found)
    }

    /// Changes a document, its owner too where `edit` gives it another. `edit` may refuse.
    pub async fn edit<E: From<EngineError>>(
        &self,
        kind: Kind,
        id: DocumentId,
        source: &Source,
        edit: impl FnOnce(&mut Document) -> std::result::Result<(), E>,
    ) -> std::result::Result<Document, E> {
        let owner = self.get(kind, id)?.owner;
        let key = row_key(kind, &owner, id);
        let mut refused = None;
        let committed = self
            .ledger
            .commit(|staging| {
                let sealed = staging.get(&key)?.ok_or(EngineError::NotFound)?;
                let mut document = self.unseal(kind, id, &sealed)?;
                if let Err(error) = edit(&mut document) {
                    refused = Some(error);
                    return Err(EngineError::Conflict("refused"));
                }
                document.version += 1;
                document.updated_ms = now_ms();
                let now_at = row_key(kind, &document.owner, id);
                if now_at != key {
                    staging.delete(key);
                    staging.put(owner_key(kind, id), document.owner.to_vec());
                }
                staging.put(now_at, self.seal(&document)?);
                staging.audit(event(kind.actions()[1], &document, source));
                Ok(document)
            })
            .await;
        match (committed, refused) {
            (_, Some(refused)) => Err(refused),
            (committed, None) => Ok(committed?),
        }
    }

    /// Removes a document.
    pub async fn delete(&self, kind: Kind, id: DocumentId, source: &Source) -> Result<()> {
        let document = self.get(kind, id)?;
        let key = row_key(kind, &document.owner, id);
        self.ledger
            .commit(|staging| {
                if staging.get(&key)?.is_none() {
                    return Err(EngineError::NotFound);
                }
                staging.delete(key);
                staging.delete(owner_key(kind, id));
                staging.audit(event(kind.actions()[2], &document, source));
                Ok(())
            })
            .await
    }
}
