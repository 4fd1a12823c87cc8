//! Numbered instances: instance `n` of a set is always the same bytes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use septum_testkit::random::Random;

use super::identity::StudyIdentity;
use super::source::Source;
use super::{Corpus, group};

/// Studies of one group of sources hold no more bytes than this, as mammograms and cines do not come by the hundred.
const STUDY_BYTES: usize = 32 << 20;

/// One instance: which study, which of it, made from which source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    study: u32,
    index: u32,
    source: u32,
}

/// Instances that follow from a seed.
#[derive(Debug)]
pub(crate) struct Set {
    seed: u64,
    sources: Arc<Vec<Source>>,
    entries: Vec<Entry>,
    studies: Vec<(StudyIdentity, Range<usize>)>,
}

impl Set {
    fn new(seed: u64, sources: &Arc<Vec<Source>>) -> Self {
        Self {
            seed,
            sources: Arc::clone(sources),
            entries: Vec::new(),
            studies: Vec::new(),
        }
    }

    /// `count` instances in studies of `per_study`, sources taken in turn.
    pub(crate) fn even(seed: u64, sources: &Arc<Vec<Source>>, count: usize, per_study: usize) -> Self {
        let mut set = Self::new(seed, sources);
        let all: Vec<usize> = (0..sources.len()).collect();
        while set.len() < count {
            set.push_study(per_study.min(count - set.len()), &all);
        }
        set
    }

    /// At least `count` instances in studies of one modality each; modalities by turns, so that a short run has all.
    pub(crate) fn mixed(seed: u64, corpus: &Corpus, count: usize) -> Self {
        let mut set = Self::new(seed, &corpus.mixed);
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, source) in corpus.mixed.iter().enumerate() {
            groups.entry(group(source)).or_default().push(index);
        }
        let groups: Vec<Vec<usize>> = groups.into_values().collect();
        // Every modality has its turn at least once.
        let turn = count.div_ceil(groups.len().max(1)).max(1);
        for group in groups.iter().cycle() {
            if set.len() >= count || group.is_empty() {
                break;
            }
            let largest = group.iter().map(|index| corpus.mixed[*index].len()).max().unwrap_or(1);
            set.push_study((STUDY_BYTES / largest.max(1)).clamp(1, 60).min(turn), group);
        }
        set
    }

    fn push_study(&mut self, num_instances: usize, sources: &[usize]) {
        let study = u32::try_from(self.studies.len()).unwrap_or(u32::MAX);
        let first = self.entries.len();
        let instances = (0..num_instances).map(|index| Entry {
            study,
            index: index as u32,
            source: sources[(first + index) % sources.len()] as u32,
        });
        self.entries.extend(instances);
        self.studies
            .push((StudyIdentity::of(self.seed, study), first..self.entries.len()));
    }

    /// Instances.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Studies in order, each with the numbers of its instances.
    pub(crate) fn studies(&self) -> &[(StudyIdentity, Range<usize>)] {
        &self.studies
    }

    /// The study of instance `number`.
    pub(crate) fn study(&self, number: usize) -> &StudyIdentity {
        &self.studies[self.entries[number].study as usize].0
    }

    /// The source of instance `number`.
    pub(crate) fn source(&self, number: usize) -> &Source {
        &self.sources[self.entries[number].source as usize]
    }

    /// SOP Instance UID of instance `number`.
    pub(crate) fn instance_uid(&self, number: usize) -> String {
        let entry = self.entries[number];
        StudyIdentity::instance(self.seed, entry.study, entry.index)
    }

    /// Bytes of these instances together.
    pub(crate) fn bytes(&self, numbers: Range<usize>) -> u64 {
        numbers.map(|number| self.source(number).len() as u64).sum()
    }

    /// Appends instance `number`.
    pub(crate) fn append(&self, out: &mut Vec<u8>, number: usize) {
        let seed = Random::new(self.seed, 0x5EED_0000_0000 | number as u64).next_u64();
        let entry = self.entries[number];
        let instance = self.instance_uid(number);
        self.source(number)
            .append(out, self.study(number), &instance, entry.index, seed);
    }

    /// Path of the study of instance `number`.
    pub(crate) fn study_path(&self, number: usize) -> String {
        format!("/studies/{}", self.study(number).study)
    }

    /// Path of the series of instance `number`.
    pub(crate) fn series_path(&self, number: usize) -> String {
        format!("{}/series/{}", self.study_path(number), self.study(number).series)
    }

    /// Path of instance `number`.
    pub(crate) fn instance_path(&self, number: usize) -> String {
        format!("{}/instances/{}", self.series_path(number), self.instance_uid(number))
    }

    /// Runs of at most `batch` instances and about `bytes` bytes, for one request each.
    pub(crate) fn batches(&self, batch: usize, bytes: u64) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut held = 0;
        for number in 0..self.len() {
            let own = self.source(number).len() as u64;
            match found.last_mut() {
                Some(last) if last.len() < batch && held + own <= bytes => {
                    last.end = number + 1;
                    held += own;
                }
                _ => {
                    found.push(number..number + 1);
                    held = own;
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use septum_testkit::{StudyKind, StudySpec};

    fn sources(kinds: &[StudyKind]) -> Arc<Vec<Source>> {
        let of = |kind: &StudyKind| Source::parse(&StudySpec::new(*kind, 5).instance(0).bytes).unwrap();
        Arc::new(kinds.iter().map(of).collect())
    }

    const CT: StudyKind = StudyKind::Ct {
        slices: 1,
        rows: 16,
        columns: 16,
    };
    const MR: StudyKind = StudyKind::Mr {
        slices: 1,
        rows: 32,
        columns: 16,
    };

    #[test]
    fn studies_fill_up_and_instances_repeat() {
        let set = Set::even(3, &sources(&[CT]), 25, 10);
        let lengths: Vec<_> = set.studies().iter().map(|(_, numbers)| numbers.len()).collect();
        assert_eq!((set.len(), lengths), (25, vec![10, 10, 5]));
        let bytes = |number| {
            let mut out = Vec::new();
            set.append(&mut out, number);
            out
        };
        assert_eq!(bytes(7), bytes(7));
        assert_ne!(bytes(7), bytes(8));
        assert_ne!(set.study_path(9), set.study_path(10));
        let uids: std::collections::HashSet<_> = (0..25).map(|number| set.instance_uid(number)).collect();
        assert_eq!(uids.len(), 25);
    }

    #[test]
    fn batches_hold_to_both_limits() {
        let set = Set::even(3, &sources(&[CT, MR]), 10, 10);
        let all = set.bytes(0..10);
        assert_eq!(set.batches(4, u64::MAX), [0..4, 4..8, 8..10]);
        assert_eq!(set.batches(100, all), vec![0..10]);
        assert_eq!(set.batches(100, 1).len(), 10);
        assert!(set.batches(100, all / 2).len() >= 2);
    }
}
