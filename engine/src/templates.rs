//! Header templates: what the headers of a series are compressed against.
//!
//! A header refers only to a template that is committed; the first instances of a series stand alone. Templates are
//! cached opened, so the cache is bounded by bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use septum_core::ids::{ObjectId, StudyId};
use septum_core::seal::{StudyKeys, Token, TokenDomain, open_record, token};
use septum_storage::{Shard, Store};

use crate::error::Result;
use crate::pipeline::messages::InstanceContext;
use crate::records::{SeriesRow, Template, decode, key, template_context};

/// Bytes of opened templates kept.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// A template and the object it is stored in.
pub struct LoadedTemplate {
    /// The object.
    pub object: ObjectId,
    /// The template.
    pub template: Template,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<ObjectId, Arc<LoadedTemplate>> for ByBytes {
    fn weight(&self, _: &ObjectId, loaded: &Arc<LoadedTemplate>) -> u64 {
        (loaded.template.header.len() + loaded.template.metadata.len() + 128) as u64
    }
}

/// Opened templates.
pub struct Templates {
    store: Arc<Store>,
    cache: Cache<ObjectId, Arc<LoadedTemplate>, ByBytes>,
}

impl Templates {
    /// An empty cache over a store.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            cache: Cache::with_weighter(1_024, CACHE_BYTES, ByBytes),
        }
    }

    /// The committed template of the series an instance belongs to.
    pub async fn of_series(&self, instance: &InstanceContext) -> Result<Option<Arc<LoadedTemplate>>> {
        let study = &instance.study;
        let series_uid = instance.start.identity.series.as_str();
        let series: Token = token(
            study.account.index_key(),
            TokenDomain::Series,
            study.namespace,
            series_uid.as_bytes(),
        );
        let shard = &self.store.shards()[study.shard];
        self.of_row(shard, study.study, &series, &study.keys).await
    }

    async fn of_row(
        &self,
        shard: &Shard,
        study: StudyId,
        series: &Token,
        keys: &StudyKeys,
    ) -> Result<Option<Arc<LoadedTemplate>>> {
        let Some(row) = shard.get(&key::series(study, series))? else {
            return Ok(None);
        };
        let row: SeriesRow = decode(&row, "series row")?;
        self.load(shard, row.template, keys).await.map(Some)
    }

    /// The template stored in `object`.
    pub async fn load(&self, shard: &Shard, object: ObjectId, keys: &StudyKeys) -> Result<Arc<LoadedTemplate>> {
        if let Some(loaded) = self.cache.get(&object) {
            return Ok(loaded);
        }
        let sealed = shard.read_object(object, None).await?;
        let plain = open_record(&keys.phi, &template_context(object), &sealed)?;
        let loaded = Arc::new(LoadedTemplate {
            object,
            template: decode(&plain, "header template")?,
        });
        self.cache.insert(object, Arc::clone(&loaded));
        Ok(loaded)
    }
}
