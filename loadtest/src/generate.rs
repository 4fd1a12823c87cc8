//! Writes a corpus into a folder.

use std::fs;
use std::sync::Arc;

use crate::arguments::{GenerateOptions, Kind};
use crate::corpus::set::Set;
use crate::corpus::{Corpus, Described, Needs};
use crate::suite::SuiteError;

/// Writes one file an instance, `000000.dcm` and so on, and returns how the sources and their copies compress.
pub(crate) fn generate(options: &GenerateOptions) -> Result<Vec<Described>, SuiteError> {
    let needs = Needs {
        ct: options.kind == Kind::Ct,
        mixed: options.kind == Kind::Mixed,
        multi_frame: options.kind == Kind::MultiFrame,
        small: options.kind == Kind::Patients,
    };
    let corpus = Corpus::new(options.corpus.as_deref(), needs)?;
    let (count, series) = (options.count as usize, options.series as usize);
    let even = |sources: &Arc<Vec<_>>, series| Set::even(options.seed, sources, count, series);
    let set = match options.kind {
        Kind::Ct => even(&corpus.ct, series),
        Kind::Mixed => Set::mixed(options.seed, &corpus, count),
        Kind::MultiFrame => even(&corpus.multi_frame, 1),
        Kind::Patients => even(&corpus.small, 1),
    };
    fs::create_dir_all(&options.out)?;
    let mut bytes = Vec::new();
    for number in 0..set.len().min(count) {
        bytes.clear();
        set.append(&mut bytes, number);
        fs::write(options.out.join(format!("{number:06}.dcm")), &bytes)?;
    }
    Ok(corpus.describe())
}
