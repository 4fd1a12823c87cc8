//! Searches over sealed data.
//!
//! A search goes from the top: study predicates decide on the (cached, opened) summaries of a namespace, series
//! predicates on the series inside them, and only what passes has its instances' metadata opened. The order is fixed
//! (newest study first, then by UID), so that `offset` pages are stable.

use std::sync::Arc;

use septum_core::dicom::json::Level;
use septum_core::ids::NamespaceId;
use septum_core::query::{Query, matches_all, split_by_level};
use serde_json::{Map, Value, json};

use crate::accounts::Namespace;
use crate::error::{EngineError, Result};
use crate::records::{SeriesSummary, StudyRow, StudySummary, decode, key};
use crate::retrieve::{StudyRef, metadata};
use crate::services::Services;
use crate::summaries::OpenSummary;

/// Most results of one search, whatever the client asks for.
pub const RESULTS_MAX: usize = 10_000;

/// The part of the hierarchy that a request's path fixes.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only inside this study.
    pub study_uid: Option<String>,
    /// Only inside this series of it.
    pub series_uid: Option<String>,
}

/// One result.
pub struct Item {
    /// Where it was found.
    pub namespace: NamespaceId,
    /// Its study.
    pub study_uid: String,
    /// Its series, at series and instance level.
    pub series_uid: Option<String>,
    /// Its SOP Instance UID, at instance level.
    pub instance_uid: Option<String>,
    /// The attributes asked for.
    pub attributes: Map<String, Value>,
}

/// What a search found.
pub struct Found {
    /// The page asked for.
    pub items: Vec<Item>,
    /// There is more behind it.
    pub truncated: bool,
}

struct Candidate {
    namespace: Arc<Namespace>,
    shard: usize,
    row_key: Vec<u8>,
    summary: Arc<OpenSummary>,
}

/// Runs a search over namespaces the caller may see.
pub async fn search(
    services: &Arc<Services>,
    namespaces: &[Arc<Namespace>],
    scope: Scope,
    query: &Query,
) -> Result<Found> {
    let (owned, wanted) = (Arc::clone(services), namespaces.to_vec());
    let (study_uid, parts) = (scope.study_uid.clone(), split_by_level(query));
    let (study_predicates, series_predicates) = (parts.study.clone(), parts.series.clone());
    let candidates = services
        .compute
        .run(move || -> Result<Vec<Candidate>> {
            let mut candidates = match study_uid {
                Some(uid) => candidates_of_uid(&owned, &wanted, &uid)?,
                None => all_candidates(&owned, &wanted)?,
            };
            candidates.retain(|candidate| matches_all(&study_predicates, &study_map(&candidate.summary.summary)));
            candidates.sort_by_cached_key(|candidate| order(&candidate.summary.summary));
            Ok(candidates)
        })
        .await??;
    let limit = query.limit.unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    let mut page = Page {
        skip: query.offset,
        limit,
        items: Vec::new(),
        truncated: false,
    };
    for candidate in &candidates {
        if page.truncated {
            break;
        }
        match query.level {
            Level::Study => page.add(|| item(query, candidate, None, None, study_map(&candidate.summary.summary))),
            Level::Series => {
                for series in series_of(candidate, &scope) {
                    let map = series_map(&candidate.summary.summary, series);
                    if matches_all(&series_predicates, &map) {
                        page.add(|| item(query, candidate, Some(series), None, map));
                    }
                }
            }
            Level::Instance => {
                instances(
                    services,
                    query,
                    candidate,
                    &scope,
                    &series_predicates,
                    &parts.instance,
                    &mut page,
                )
                .await?;
            }
        }
    }
    Ok(Found {
        items: page.items,
        truncated: page.truncated,
    })
}

struct Page {
    skip: usize,
    limit: usize,
    items: Vec<Item>,
    truncated: bool,
}

impl Page {
    fn add(&mut self, item: impl FnOnce() -> Item) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if self.items.len() < self.limit {
            self.items.push(item());
        } else {
            self.truncated = true;
        }
    }
}

async fn instances(
    services: &Arc<Services>,
    query: &Query,
    candidate: &Candidate,
    scope: &Scope,
    series_predicates: &[septum_core::query::Predicate],
    instance_predicates: &[septum_core::query::Predicate],
    page: &mut Page,
) -> Result<()> {
    let account = services.keyring.account(candidate.namespace.account)?;
    let study = match StudyRef::load(
        services,
        candidate.namespace.id,
        account,
        candidate.shard,
        candidate.row_key.clone(),
    ) {
        Ok(study) => study,
        // Deleted since the summaries were read.
        Err(EngineError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    for series in series_of(candidate, scope) {
        let upper = series_map(&candidate.summary.summary, series);
        if !matches_all(series_predicates, &upper) {
            continue;
        }
        let entries = metadata::of_study(services, &study, Some(&series.series_uid)).await?;
        let (upper, predicates) = (upper.clone(), instance_predicates.to_vec());
        let maps = services
            .compute
            .run(move || -> Result<Vec<Map<String, Value>>> {
                let mut maps = Vec::with_capacity(entries.len());
                for entry in entries {
                    let mut map: Map<String, Value> =
                        serde_json::from_str(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
                    for (tag, value) in &upper {
                        map.insert(tag.clone(), value.clone());
                    }
                    map.insert("00080056".to_owned(), json!({ "vr": "CS", "Value": ["ONLINE"] }));
                    if matches_all(&predicates, &map) {
                        maps.push(map);
                    }
                }
                maps.sort_by_key(|map| (number(map, "00200013"), first_text(map, "00080018")));
                Ok(maps)
            })
            .await??;
        for map in maps {
            page.add(|| {
                let uid = first_text(&map, "00080018");
                item(query, candidate, Some(series), Some(uid), map)
            });
        }
        if page.truncated {
            break;
        }
    }
    Ok(())
}

fn item(
    query: &Query,
    candidate: &Candidate,
    series: Option<&SeriesSummary>,
    instance_uid: Option<String>,
    map: Map<String, Value>,
) -> Item {
    Item {
        namespace: candidate.namespace.id,
        study_uid: candidate.summary.summary.study_uid.clone(),
        series_uid: series.map(|series| series.series_uid.clone()),
        instance_uid,
        attributes: query.project(&map),
    }
}

fn series_of<'a>(candidate: &'a Candidate, scope: &'a Scope) -> impl Iterator<Item = &'a SeriesSummary> {
    let wanted = scope.series_uid.as_deref();
    let all = candidate.summary.summary.series.iter();
    all.filter(move |series| wanted.is_none_or(|uid| series.series_uid == uid))
}

fn candidates_of_uid(services: &Services, namespaces: &[Arc<Namespace>], uid: &str) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for namespace in namespaces {
        match StudyRef::find(services, namespace, uid) {
            Ok(study) => candidates.push(Candidate {
                namespace: Arc::clone(namespace),
                shard: study.shard,
                summary: services.summaries.open(&study.row)?,
                row_key: study.row_key,
            }),
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(candidates)
}

fn all_candidates(services: &Services, namespaces: &[Arc<Namespace>]) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for namespace in namespaces {
        for (shard, stored_in) in services.store.shards().iter().enumerate() {
            for entry in crate::scan::rows(stored_in, key::studies(namespace.id)) {
                let (row_key, row) = entry?;
                let row: StudyRow = decode(&row, "study row")?;
                match services.summaries.open(&row) {
                    Ok(summary) => {
                        candidates.push(Candidate {
                            namespace: Arc::clone(namespace),
                            shard,
                            row_key,
                            summary,
                        });
                    }
                    // Its keys are being destroyed: it is as good as deleted.
                    Err(EngineError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(candidates)
}

/// Newest study first; studies without a date last.
fn order(summary: &StudySummary) -> impl Ord + use<> {
    let moment = format!(
        "{:0<8}{:0<6}",
        first_text(&summary.attributes, "00080020"),
        first_text(&summary.attributes, "00080030")
    );
    (std::cmp::Reverse(moment), summary.study_uid.clone())
}

/// Patient and study attributes with what is computed: numbers of series and instances, modalities, SOP classes.
pub fn study_map(summary: &StudySummary) -> Map<String, Value> {
    let mut map = summary.attributes.clone();
    let mut modalities: Vec<String> = Vec::new();
    let mut sop_classes: Vec<&str> = Vec::new();
    let mut num_instances = 0_u64;
    for series in &summary.series {
        let modality = first_text(&series.attributes, "00080060");
        if !modality.is_empty() && !modalities.contains(&modality) {
            modalities.push(modality);
        }
        for class in &series.sop_classes {
            if !sop_classes.contains(&class.as_str()) {
                sop_classes.push(class);
            }
        }
        num_instances += u64::from(series.num_instances);
    }
    map.insert("00080061".to_owned(), values("CS", modalities));
    map.insert("00080062".to_owned(), values("UI", sop_classes));
    map.insert("00080056".to_owned(), values("CS", ["ONLINE"]));
    map.insert("00201206".to_owned(), values("IS", [summary.series.len()]));
    map.insert("00201208".to_owned(), values("IS", [num_instances]));
    map
}

/// Study and series attributes with what is computed.
pub fn series_map(study: &StudySummary, series: &SeriesSummary) -> Map<String, Value> {
    let mut map = study_map(study);
    map.extend(series.attributes.clone());
    map.insert("00201209".to_owned(), values("IS", [series.num_instances]));
    map
}

fn values<T: serde::Serialize>(vr: &str, values: impl IntoIterator<Item = T>) -> Value {
    let values: Vec<T> = values.into_iter().collect();
    if values.is_empty() {
        json!({ "vr": vr })
    } else {
        json!({ "vr": vr, "Value": values })
    }
}

fn first_text(map: &Map<String, Value>, tag: &str) -> String {
    map.get(tag)
        .and_then(|attribute| attribute.get("Value"))
        .and_then(|values| values.get(0))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn number(map: &Map<String, Value>, tag: &str) -> i64 {
    map.get(tag)
        .and_then(|attribute| attribute.get("Value"))
        .and_then(|values| values.get(0))
        .and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()))
        .unwrap_or(i64::MAX)
}
