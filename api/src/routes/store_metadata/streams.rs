//! From metadata to streams: parsing, and the pieces of complete instances into the pipeline.

use std::collections::HashMap;

use bytes::Bytes;
use septum_core::dicom::from_json::{BulkPart, FromJsonWarning, JsonInstance, Piece, SequenceLengths, from_json};
use septum_engine::EngineError;

use super::{FromMetadata, Ingest, Waiting};
use crate::routes::store_answer::Failure;
use crate::stow::held::Share;
use crate::stow::metadata::{MetadataError, Needs, cost_bytes, needs, parse};
use crate::stow::parts::BulkFailure;

impl FromMetadata {
    /// Room for the parsed form of a text.
    fn room(&self, text: &[u8]) -> Result<(Share, u32), Failure> {
        let cost = cost_bytes(self.form, text);
        if cost > self.limits.held.total_bytes() {
            return Err(Failure::Metadata(MetadataError::TooLarge));
        }
        let mut share = self.limits.held.share();
        match share.grow(cost) {
            true => Ok((share, u32::try_from(cost / 100).unwrap_or(u32::MAX))),
            false => Err(Failure::Engine(EngineError::Overloaded { retry_after_seconds: 5 })),
        }
    }

    pub(super) async fn look_through(&self, text: Bytes) -> Result<Needs, Failure> {
        let (room, values_max) = self.room(&text)?;
        let (form, base) = (self.form, self.base.clone());
        // Megabytes of text: not on a thread that serves others.
        let looked = tokio::task::spawn_blocking(move || {
            let found = parse(form, &text, values_max).map(|dataset| needs(&dataset, &base));
            drop(room);
            found
        });
        let looked = looked.await.map_err(|_| Failure::Engine(EngineError::Panicked))?;
        looked.map_err(Failure::Metadata)
    }

    /// Makes the stream of an instance. Bulk data of `unknown` is described by it.
    pub(super) async fn make(
        &self,
        waiting: &Waiting,
        passed: Option<(&str, BulkPart)>,
    ) -> Result<(JsonInstance, Share), Failure> {
        let mut known: HashMap<String, BulkPart> = HashMap::new();
        for key in &waiting.needs.keys {
            match self.entries.get(key) {
                _ if passed.as_ref().is_some_and(|(passed, _)| passed == key) => {}
                Some(entry) => {
                    if let Some(BulkFailure(reason, why)) = entry.failure {
                        return Err(Failure::Incomplete(reason, why));
                    }
                    known.extend(entry.bulk_part().map(|part| (key.clone(), part)));
                }
                None => {}
            }
        }
        known.extend(passed.map(|(key, part)| (key.to_owned(), part)));
        let (room, values_max) = self.room(&waiting.text)?;
        let (form, base, text) = (self.form, self.base.clone(), waiting.text.clone());
        let made = tokio::task::spawn_blocking(move || {
            let dataset = parse(form, &text, values_max).map_err(Failure::Metadata)?;
            let mut resolve = |uri: &str| known.get(&base.resolve(uri)).cloned();
            from_json(&dataset, &mut resolve, SequenceLengths::default()).map_err(Failure::FromJson)
        });
        let made = made.await.map_err(|_| Failure::Engine(EngineError::Panicked))??;
        Ok((made, room))
    }

    /// Sends a complete instance into the pipeline.
    pub(super) async fn store(&mut self, ingest: &mut Ingest, index: usize) {
        let Some(waiting) = self.waiting[index].take() else {
            return;
        };
        match self.make(&waiting, None).await {
            Err(failure) => ingest.refuse(waiting.needs.named.clone(), failure),
            Ok((made, _room)) => {
                ingest.begin(None).await;
                ingest.describe(waiting.needs.named.clone(), changes(&made.warnings));
                for piece in made.pieces {
                    self.push(ingest, piece).await;
                }
                ingest.end().await;
            }
        }
        self.release(&waiting.needs.keys, index);
    }

    pub(super) async fn push(&self, ingest: &mut Ingest, piece: Piece) {
        match piece {
            Piece::Bytes(bytes) => ingest.data(bytes).await,
            Piece::Bulk(bulk) => {
                let entry = self.entries.get(&self.base.resolve(&bulk.uri));
                let chunks = entry
                    .and_then(|entry| entry.parts.get(bulk.part))
                    .map(|part| &part.chunks);
                for chunk in chunks.into_iter().flatten() {
                    ingest.data(chunk.clone()).await;
                }
            }
        }
    }

    /// An instance needs its bulk data no more.
    pub(super) fn release(&mut self, keys: &[String], index: usize) {
        for key in keys {
            let Some(entry) = self.entries.get_mut(key) else {
                continue;
            };
            if !entry
                .wanted_by
                .iter()
                .any(|other| *other != index && self.waiting[*other].is_some())
                && entry.is_closed
            {
                entry.is_used = true;
                entry.parts = Vec::new();
            }
        }
    }
}

/// The changes that the sender should know of. What only described another encoding is none.
pub(super) fn changes(warnings: &[FromJsonWarning]) -> Vec<&'static str> {
    let is_change = |warning: &&FromJsonWarning| {
        matches!(
            warning,
            FromJsonWarning::DecimalRounded | FromJsonWarning::LongValueAsUnknown
        )
    };
    warnings
        .iter()
        .filter(is_change)
        .map(|warning| warning.name())
        .collect()
}
