//! Extended attributes: searches by what instances say, without opening them.
//!
//! Every attribute can be searched by; those that no column holds are looked for in the metadata of all instances that
//! come into question. An administrator names the ones that are searched often. Of these, each study has one row that says
//! what its instances have ([`rows`]), sealed with the study's own keys, so that it dies with the study. The row is made
//! when the study is folded, and in the background for the studies that were there before ([`worker`]).
//!
//! Invariants:
//! - a row only rules studies out, and only while it is of the study's present revision: a search finds the same with and
//!   without rows, whether the work is done or not;
//! - rows are derived from metadata: a lost or damaged one is made anew.

mod rows;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use septum_core::ids::DocumentId;
use septum_core::query::{ExtendedAttribute, ExtendedAttributeError};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::accounts::documents::{Document, Kind, NewDocument};
use crate::error::{EngineError, Result};
use crate::pipeline::messages::Source;
use crate::services::Services;

pub use rows::{make, may_match, shown};
pub use worker::run;

/// Most extended attributes.
pub const ATTRIBUTES_MAX: usize = 64;

/// The documents of attributes belong to nobody.
const NO_OWNER: [u8; 16] = [0; 16];

/// An attribute that searches are extended by.
#[derive(Debug)]
pub struct ExtendedTag {
    /// Its id: one that is added again is another.
    pub id: DocumentId,
    /// Who made the private attributes in its path.
    pub private_creator: Option<String>,
    /// The attribute.
    pub attribute: ExtendedAttribute,
    /// When it was added, milliseconds since 1970.
    pub created_ms: i64,
}

/// How far the studies are that were there before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Studies that are looked at, as far as they are counted.
    pub num_studies: u64,
    /// How many of them are done.
    pub num_done: u64,
    /// How many could not be done, and are tried again.
    pub num_failed: u64,
    /// All are done for all attributes.
    pub is_complete: bool,
}

/// The extended attributes, and how far the work is.
#[derive(Default)]
pub struct Extended {
    tags: RwLock<Arc<Vec<Arc<ExtendedTag>>>>,
    progress: Mutex<Progress>,
    changed: Notify,
    /// Held while the list is changed.
    changing: tokio::sync::Mutex<()>,
}

/// Why an attribute was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It is not fit.
    #[error(transparent)]
    Attribute(#[from] ExtendedAttributeError),
    /// It could not be kept, or is there already.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Extended {
    /// The attributes, in the order in which they were added.
    pub fn tags(&self) -> Arc<Vec<Arc<ExtendedTag>>> {
        Arc::clone(&self.tags.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far the work is.
    pub fn progress(&self) -> Progress {
        *self.work()
    }

    fn work(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mut tags: Vec<Arc<ExtendedTag>>, is_complete: bool) {
        tags.sort_by_key(|tag| (tag.created_ms, tag.id));
        // Together: nothing may seem complete that is not.
        let mut work = self.work();
        *self.tags.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tags);
        *work = Progress {
            is_complete,
            ..Progress::default()
        };
        drop(work);
        self.changed.notify_one();
    }

    /// Notes how far the work is on that list; `false` where it is another by now.
    fn note(&self, tags: &Arc<Vec<Arc<ExtendedTag>>>, progress: Progress) -> bool {
        let mut work = self.work();
        let is_same = Arc::ptr_eq(tags, &self.tags());
        if is_same {
            *work = progress;
        }
        is_same
    }

    /// Reads the list. An attribute that this build does not know is left out.
    pub fn reload(&self, services: &Services) -> Result<()> {
        let documents = services.accounts.documents.all(Kind::ExtendedTag)?;
        let tags = documents.iter().filter_map(|document| {
            let tag = tag_of(document);
            if tag.is_none() {
                tracing::error!("an extended attribute is unknown to this build: searches do without it");
            }
            tag.map(Arc::new)
        });
        let tags: Vec<_> = tags.collect();
        let is_complete = tags.is_empty();
        self.set(tags, is_complete);
        Ok(())
    }

    /// Adds an attribute.
    ///
    /// # Errors
    /// [`AddError::Attribute`] where it is not fit; [`EngineError::Conflict`] where it is there, or there are too many.
    pub async fn add(
        &self,
        services: &Services,
        path: &str,
        private_creator: Option<&str>,
        source: &Source,
    ) -> std::result::Result<Arc<ExtendedTag>, AddError> {
        let attribute = ExtendedAttribute::parse(path, private_creator)?;
        let _changing = self.changing.lock().await;
        let mut tags = self.tags().to_vec();
        if tags.iter().any(|tag| tag.attribute == attribute) {
            return Err(EngineError::Conflict("searches are extended by this attribute already").into());
        }
        if tags.len() >= ATTRIBUTES_MAX {
            return Err(EngineError::Conflict("there are as many extended attributes as there may be").into());
        }
        // The catalogue keeps documents by account; this one is of the installation, whose first account stands for it.
        let accounts = services.accounts.accounts()?;
        let account = accounts.first().ok_or(EngineError::NotFound)?.id;
        let mut body = Map::new();
        body.insert("path".to_owned(), attribute.path().into());
        body.insert("privateCreator".to_owned(), private_creator.into());
        let new = NewDocument {
            kind: Kind::ExtendedTag,
            owner: NO_OWNER,
            account,
            body,
        };
        let document = services.accounts.documents.add(new, source).await?;
        let tag = Arc::new(tag_of(&document).ok_or(EngineError::Corrupt("extended attribute"))?);
        tags.push(Arc::clone(&tag));
        self.set(tags, false);
        Ok(tag)
    }

    /// Removes an attribute; what was kept of it goes in the background.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] where there is none of that id.
    pub async fn remove(&self, services: &Services, id: DocumentId, source: &Source) -> Result<()> {
        let _changing = self.changing.lock().await;
        services
            .accounts
            .documents
            .delete(Kind::ExtendedTag, id, source)
            .await?;
        let tags = self.tags();
        // What was kept must go, even if it was the last.
        self.set(tags.iter().filter(|tag| tag.id != id).cloned().collect(), false);
        Ok(())
    }
}

fn tag_of(document: &Document) -> Option<ExtendedTag> {
    let text = |name: &str| document.body.get(name).and_then(Value::as_str);
    let private_creator = text("privateCreator");
    Some(ExtendedTag {
        id: document.id,
        attribute: ExtendedAttribute::parse(text("path")?, private_creator).ok()?,
        private_creator: private_creator.map(str::to_owned),
        created_ms: document.created_ms,
    })
}
