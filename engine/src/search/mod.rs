//! Searches over sealed data.
//!
//! A search goes from the top. Which studies may match is found by blind index token where one attribute is asked for
//! exactly, else by scanning columns; of these, in order, summaries are opened and asked, then what is kept of extended
//! attributes ([`crate::extended`]), then the series inside, and only what passes has its instances' metadata opened.
//! Without `orderby` the order is fixed (newest study first, by its date or by when it came), so that `offset` pages are
//! stable. Of results, and of studies
//! that may match, no more are held than a page needs, or a batch has.

mod matches;

use std::sync::Arc;

use septum_core::dicom::json::{Level, read_stored};
use septum_core::ids::NamespaceId;
use septum_core::query::columns::CompiledPredicates;
use septum_core::query::{Predicate, PredicatesByLevel, Query, Window, matches_all, split_by_level};
use serde_json::{Map, Value, json};

use crate::accounts::Namespace;
use crate::columns::Match;
use crate::error::{EngineError, Result};
use crate::extended;
use crate::records::{SeriesSummary, StudySummary};
use crate::retrieve::StudyRef;
use crate::retrieve::metadata::Reader;
use crate::services::Services;
use crate::summaries::OpenSummary;

use matches::{Batch, Looking};

/// Most results of one search, whatever the client asks for.
pub const RESULTS_MAX: usize = 10_000;

/// The part of the hierarchy that a request's path fixes.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only inside this study.
    pub study_uid: Option<String>,
    /// Only inside this series of it.
    pub series_uid: Option<String>,
    /// Of studies of one UID in one namespace all are found, not only the one that stands for the UID there
    /// ([`StudyRef::find`]).
    pub each_of_a_uid: bool,
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
    /// The key of its study's row.
    pub row_key: Vec<u8>,
    /// What is known of its study.
    pub summary: Arc<OpenSummary>,
}

/// What a search found.
pub struct Found {
    /// The page asked for.
    pub items: Vec<Item>,
    /// There is more behind it.
    pub truncated: bool,
}

/// Most results that are skipped where they are sorted: that many are held in memory.
const SORTED_OFFSET_MAX: usize = 100_000;

/// Studies whose summaries are opened in one step.
const STEP_STUDIES: usize = 64;

const MODALITY: &str = "00080060";

/// A study that may match, or its summary once opened.
struct Candidate {
    study: StudyRef,
    summary: Arc<OpenSummary>,
}

/// Runs a search over namespaces the caller may see.
pub async fn search(
    services: &Arc<Services>,
    namespaces: &[Arc<Namespace>],
    scope: Scope,
    query: &Query,
) -> Result<Found> {
    let parts = split_by_level(query);
    let (compiled, others) = CompiledPredicates::new(&parts.study);
    let limit = query.limit.unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    // What the columns say is enough to count with, and perhaps to sort by.
    let is_of_columns = query.level == Level::Study && others.is_empty() && parts.deepest() == Level::Study;
    let is_sorted = !query.order.is_empty();
    let mut looking = Looking {
        namespaces: namespaces.to_vec(),
        study_uid: scope.study_uid.clone(),
        predicates: Arc::new(compiled),
        sorted: (is_of_columns && is_sorted).then(|| Arc::new(query.clone())),
        wanted: is_of_columns.then(|| limit.saturating_add(query.offset)),
        latest_first: query.latest_first,
        each_of_a_uid: scope.each_of_a_uid,
    };
    let mut page = Page::new(query, limit, is_sorted && looking.sorted.is_none())?;
    let mut after = None;
    loop {
        let (owned, wanted) = (Arc::clone(services), looking.clone());
        let is_wide = looking.is_wide(services);
        let work = move || wanted.batch(&owned, after);
        let batch = if is_wide {
            services.compute.spread(work).await??
        } else {
            services.compute.run(work).await??
        };
        let Some(Batch { mut matches, rest }) = batch else {
            // From the beginning, the long way.
            (looking.sorted, looking.wanted) = (None, None);
            page = Page::new(query, limit, true)?;
            after = None;
            continue;
        };
        if is_of_columns && page.sorted.is_none() {
            let skipped = page.skip.min(matches.len());
            matches.drain(..skipped);
            page.skip -= skipped;
        }
        for step in matches.chunks(STEP_STUDIES) {
            let (owned, wanted) = (Arc::clone(services), namespaces.to_vec());
            let (step, parts_of_step) = (step.to_vec(), parts.clone());
            let candidates = services
                .compute
                .run(move || candidates(&owned, &wanted, &step, &parts_of_step))
                .await??;
            for candidate in &candidates {
                add(services, query, candidate, &scope, &parts, &mut page).await?;
                if page.truncated {
                    return Ok(page.into());
                }
            }
        }
        match rest {
            Some(_) => after = rest,
            None => return Ok(page.into()),
        }
    }
}

/// Adds what a study has to offer at the query's level.
async fn add(
    services: &Arc<Services>,
    query: &Query,
    candidate: &Candidate,
    scope: &Scope,
    parts: &PredicatesByLevel,
    page: &mut Page,
) -> Result<()> {
    let summary = &candidate.summary.summary;
    match query.level {
        Level::Study => {
            if has_series(services, candidate, scope, parts).await? {
                let mut map = extended::shown(services, &candidate.study, query);
                map.extend(study_map(summary));
                page.add(query, candidate, None, None, map);
            }
        }
        Level::Series => {
            for series in series_of(candidate, scope) {
                if let Some(map) = matching(summary, series, &parts.series)
                    && has_instance(services, candidate, series, &map, parts).await?
                {
                    page.add(query, candidate, Some(series), None, map);
                }
            }
        }
        Level::Instance => {
            for series in series_of(candidate, scope) {
                if let Some(map) = matching(summary, series, &parts.series)
                    && !page.truncated
                {
                    let found = Instances::new(services, candidate, series, &map, parts)?;
                    instances(query, candidate, series, found, page).await?;
                }
            }
        }
    }
    Ok(())
}

/// Whether one series, or instance, of a study fulfils the predicates of the levels below it.
async fn has_series(
    services: &Arc<Services>,
    candidate: &Candidate,
    scope: &Scope,
    parts: &PredicatesByLevel,
) -> Result<bool> {
    if parts.deepest() == Level::Study {
        return Ok(true);
    }
    for series in series_of(candidate, scope) {
        if let Some(map) = matching(&candidate.summary.summary, series, &parts.series)
            && has_instance(services, candidate, series, &map, parts).await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an instance of a series fulfils predicates; without any, it is not asked.
async fn has_instance(
    services: &Arc<Services>,
    candidate: &Candidate,
    series: &SeriesSummary,
    upper: &Map<String, Value>,
    parts: &PredicatesByLevel,
) -> Result<bool> {
    if parts.instance.is_empty() {
        return Ok(true);
    }
    let mut found = Instances::new(services, candidate, series, upper, parts)?;
    Ok(found.next().await?.is_some())
}

/// The part of the results that was asked for.
struct Page {
    skip: usize,
    limit: usize,
    items: Vec<Item>,
    truncated: bool,
    /// What is sorted by something that columns lack: everything must be looked at.
    sorted: Option<Window<Item>>,
}

impl Page {
    fn new(query: &Query, limit: usize, is_sorted: bool) -> Result<Self> {
        if is_sorted && query.offset > SORTED_OFFSET_MAX {
            return Err(EngineError::Conflict(
                "with orderby, offset is limited: narrow the search instead",
            ));
        }
        Ok(Self {
            skip: query.offset,
            limit,
            items: Vec::new(),
            truncated: false,
            sorted: is_sorted.then(|| Window::new(query.offset, limit)),
        })
    }

    fn add(
        &mut self,
        query: &Query,
        candidate: &Candidate,
        series: Option<&SeriesSummary>,
        instance_uid: Option<String>,
        map: Map<String, Value>,
    ) {
        let key = self.sorted.is_some().then(|| query.order_key(&map));
        let item = || item(query, candidate, series, instance_uid, map);
        match (&mut self.sorted, key) {
            (Some(window), Some(key)) => window.offer(key, item),
            _ if self.skip > 0 => self.skip -= 1,
            _ if self.items.len() < self.limit => self.items.push(item()),
            _ => self.truncated = true,
        }
    }
}

impl Page {
    /// Where results come unsorted that the page follows, such as those of one series: the part of them that it can take.
    fn window(&self) -> Window<Item> {
        Window::new(self.skip, self.limit.saturating_sub(self.items.len()))
    }

    fn take(&mut self, window: Window<Item>) {
        self.skip = self.skip.saturating_sub(window.num_offered());
        let (mut items, truncated) = window.finish();
        self.items.append(&mut items);
        self.truncated |= truncated;
    }
}

impl From<Page> for Found {
    fn from(page: Page) -> Self {
        let (items, truncated) = match page.sorted {
            Some(window) => window.finish(),
            None => (page.items, page.truncated),
        };
        Self { items, truncated }
    }
}

/// The instances of a series that fulfil predicates, in the order they are stored in.
struct Instances<'a> {
    services: &'a Arc<Services>,
    reader: Reader,
    upper: &'a Map<String, Value>,
    predicates: Vec<Predicate>,
}

impl<'a> Instances<'a> {
    fn new(
        services: &'a Arc<Services>,
        candidate: &Candidate,
        series: &SeriesSummary,
        upper: &'a Map<String, Value>,
        parts: &PredicatesByLevel,
    ) -> Result<Self> {
        let mut predicates = parts.instance.clone();
        if series.modalities.len() > 1 {
            // That one of them matches does not mean that of each instance does.
            predicates.extend(parts.series.iter().cloned());
        }
        Ok(Self {
            services,
            reader: Reader::new(services, &candidate.study, Some(&series.series_uid))?,
            upper,
            predicates,
        })
    }

    /// Some more, never an empty list; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<Map<String, Value>>>> {
        loop {
            let entries = match self.reader.next().await {
                Ok(Some(entries)) => entries,
                // Or deleted since it was found.
                Ok(None) | Err(EngineError::NotFound) => return Ok(None),
                Err(error) => return Err(error),
            };
            let (upper, predicates) = (self.upper.clone(), self.predicates.clone());
            let matching = self.services.compute.run(move || -> Result<Vec<Map<String, Value>>> {
                let mut matching = Vec::new();
                for entry in entries {
                    let mut map: Map<String, Value> =
                        read_stored(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
                    let modality = map.get(MODALITY).filter(|own| own.get("Value").is_some()).cloned();
                    for (tag, value) in &upper {
                        map.insert(tag.clone(), value.clone());
                    }
                    map.extend(modality.map(|own| (MODALITY.to_owned(), own)));
                    map.insert("00080056".to_owned(), json!({ "vr": "CS", "Value": ["ONLINE"] }));
                    if matches_all(&predicates, &map) {
                        matching.push(map);
                    }
                }
                Ok(matching)
            });
            let matching = matching.await??;
            if !matching.is_empty() {
                return Ok(Some(matching));
            }
        }
    }
}

async fn instances(
    query: &Query,
    candidate: &Candidate,
    series: &SeriesSummary,
    mut found: Instances<'_>,
    page: &mut Page,
) -> Result<()> {
    // They come in the order in which they are stored.
    let mut window = page.sorted.is_none().then(|| page.window());
    while let Some(matching) = found.next().await? {
        for map in matching {
            let uid = Some(first_text(&map, "00080018"));
            match &mut window {
                Some(window) => {
                    let key = query.order_key(&map);
                    window.offer(key, || item(query, candidate, Some(series), uid, map));
                }
                None => page.add(query, candidate, Some(series), uid, map),
            }
        }
    }
    if let Some(window) = window {
        page.take(window);
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
        namespace: candidate.study.namespace,
        study_uid: candidate.summary.summary.study_uid.clone(),
        series_uid: series.map(|series| series.series_uid.clone()),
        instance_uid,
        attributes: query.project(&map),
        row_key: candidate.study.row_key.clone(),
        summary: Arc::clone(&candidate.summary),
    }
}

fn series_of<'a>(candidate: &'a Candidate, scope: &'a Scope) -> impl Iterator<Item = &'a SeriesSummary> {
    let wanted = scope.series_uid.as_deref();
    let all = candidate.summary.summary.series.iter();
    all.filter(move |series| wanted.is_none_or(|uid| series.series_uid == uid))
}

/// Opens candidates and leaves out what does not match after all, or is gone.
fn candidates(
    services: &Services,
    namespaces: &[Arc<Namespace>],
    matches: &[Match],
    parts: &PredicatesByLevel,
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::with_capacity(matches.len());
    for found in matches {
        let Some(namespace) = namespaces.iter().find(|namespace| namespace.id == found.namespace) else {
            continue;
        };
        let account = services.keyring.account(namespace.account)?;
        let opened = StudyRef::load(services, namespace.id, account, found.shard, found.row_key())
            .and_then(|study| Ok((services.summaries.open(&study.row)?, study)));
        match opened {
            Ok((summary, study))
                if matches_all(&parts.study, &study_map(&summary.summary))
                    && extended::may_match(services, &study, &parts.instance) =>
            {
                candidates.push(Candidate { study, summary });
            }
            // Gone, its keys being destroyed, or changed.
            Ok(_) | Err(EngineError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(candidates)
}

/// Patient and study attributes with what is computed: numbers of series and instances, modalities, SOP classes.
pub fn study_map(summary: &StudySummary) -> Map<String, Value> {
    let mut map = summary.attributes.clone();
    let mut modalities: Vec<&str> = Vec::new();
    let mut sop_classes: Vec<&str> = Vec::new();
    let mut num_instances = 0_u64;
    for series in &summary.series {
        for modality in &series.modalities {
            if !modalities.contains(&modality.as_str()) {
                modalities.push(modality);
            }
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

/// The attributes of a series if it fulfils predicates. Where its instances are of several modalities it stands for each
/// of them, and shows one that was asked for.
fn matching(study: &StudySummary, series: &SeriesSummary, predicates: &[Predicate]) -> Option<Map<String, Value>> {
    let mut map = series_map(study, series);
    if matches_all(predicates, &map) {
        return Some(map);
    }
    for modality in series.modalities.iter().filter(|_| series.modalities.len() > 1) {
        map.insert(MODALITY.to_owned(), values("CS", [modality]));
        if matches_all(predicates, &map) {
            return Some(map);
        }
    }
    None
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
