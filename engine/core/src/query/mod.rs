//! QIDO-RS parameters and matching (PS3.18 sections 8.3.4 and 10.6, PS3.4 section C.2.2.2).
//!
//! Owns what a search means: parameters to a checked [`Query`], a query against the attributes of one study, series
//! or instance (DICOM JSON Model), which attributes come back, and [`columns`], the pages that are scanned instead
//! of opening every study. Both ways of matching give the same answer.
//!
//! How values match, by VR:
//!
//! | VR | matching |
//! |---|---|
//! | AE LO LT SH ST UC UR UT | case-sensitive; `*` and `?` anywhere |
//! | CS | the same; a list with backslash or comma matches any of its members |
//! | PN | case-insensitive; `*` and `?`; any of the three component groups; empty trailing components do not count |
//! | UI | exact; a list with backslash or comma |
//! | DA TM DT | a value or a range, open ones too; a partial value means all it could be |
//! | DA and TM of a pair, both as ranges | one range of moments (PS3.4 section C.2.2.2.5.4) |
//! | IS DS US UL SS SL UV SV FL FD | as numbers |
//! | AS AT | exact |
//! | SQ | through the path of a nested attribute; predicates on one sequence must hold in the same item |
//!
//! An empty value, and one of only `*`, match everything, absent attributes included. Of several stored values one
//! must match. With `fuzzymatching=true` names also match without diacritics and in any order of their words, each
//! word of the query being the start of a word of the name. With `emptyvaluematching=true` the value `""` matches
//! absent and empty attributes. With `multiplevaluematching=true` backslash lists work for all text VRs.
//!
//! Bounds (invariant 6): 64 predicates, 1 KiB a value, 256 bytes a name, paths of 8 tags, 256 included fields.

pub mod columns;
mod condition;
mod error;
mod fold;
mod matching;
mod name;
mod parse;
mod project;
mod temporal;
mod wildcard;

use dicom_core::VR;
use serde_json::{Map, Value as Json};

use condition::Condition;

pub use crate::dicom::json::{Level, level_of};
pub use error::{Name, QueryError};
pub use matching::matches_all;

/// Most predicates in one query.
pub const PREDICATES_MAX: usize = 64;

/// Longest value of a parameter, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024;

/// Longest name of a parameter, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Most tags in the path to a nested attribute.
pub const PATH_TAGS_MAX: usize = 8;

/// Most attributes asked for with `includefield`.
pub const INCLUDE_MAX: usize = 256;

/// Which attributes come back beyond the required ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include {
    /// All that are known.
    All,
    /// These tags, group × 65536 + element, sorted.
    Tags(Vec<u32>),
}

/// A checked search.
#[derive(Debug, Clone)]
pub struct Query {
    /// What is searched for.
    pub level: Level,
    /// What must hold, all of it.
    pub predicates: Vec<Predicate>,
    /// Attributes that come back beyond the required ones.
    pub include: Include,
    /// Most results that the client wants.
    pub limit: Option<usize>,
    /// How many results the client wants skipped.
    pub offset: usize,
    /// Whether names match fuzzily.
    pub fuzzy: bool,
    /// The deepest level that the request's path fixes; its attributes are not repeated in each result.
    pub fixed: Option<Level>,
}

/// One condition on one attribute.
#[derive(Clone)]
pub struct Predicate {
    /// Tags from the top level to the attribute, each group × 65536 + element; at least one.
    path: Vec<u32>,
    /// The same as keys of the JSON model.
    keys: Vec<String>,
    /// The attribute's VR by the dictionary, LO for attributes it does not know.
    vr: VR,
    condition: Condition,
}

impl Predicate {
    /// The attribute's tag, of a nested one that of the outermost sequence; group × 65536 + element.
    pub fn tag(&self) -> u32 {
        self.path.first().copied().unwrap_or_default()
    }

    /// Whether the attribute lies inside a sequence.
    pub fn is_nested(&self) -> bool {
        self.path.len() > 1
    }

    /// The highest level that the attribute describes.
    pub fn level(&self) -> Level {
        level_of(self.tag())
    }

    /// Whether everything matches, absent attributes included.
    pub fn is_universal(&self) -> bool {
        matches!(self.condition, Condition::Universal)
    }

    /// The values of which one must be there exactly, when that is what the predicate says (a list of UIDs, text
    /// without wildcards): what an index of exact values can answer. `None` for all other predicates.
    pub fn exact_values(&self) -> Option<Vec<&str>> {
        if self.is_nested() {
            None
        } else {
            self.condition.exact_values()
        }
    }
}

impl std::fmt::Debug for Predicate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Predicate({} {})", self.keys.join("."), self.vr.to_string())
    }
}

/// A query's predicates by the level that can decide them.
#[derive(Debug, Clone, Default)]
pub struct PredicatesByLevel {
    /// On patient and study attributes.
    pub study: Vec<Predicate>,
    /// On series attributes.
    pub series: Vec<Predicate>,
    /// On all other attributes.
    pub instance: Vec<Predicate>,
}

/// Sorts a query's predicates by level, so that a search prunes studies before it looks at their series, and series
/// before instances. Universal ones are left out: they decide nothing.
pub fn split_by_level(query: &Query) -> PredicatesByLevel {
    let mut levels = PredicatesByLevel::default();
    for predicate in query.predicates.iter().filter(|predicate| !predicate.is_universal()) {
        match predicate.level() {
            Level::Study => levels.study.push(predicate.clone()),
            Level::Series => levels.series.push(predicate.clone()),
            Level::Instance => levels.instance.push(predicate.clone()),
        }
    }
    levels
}

impl Query {
    /// Reads the parameters of a request's query, already percent-decoded.
    ///
    /// An attribute is named by keyword or by eight hexadecimal digits, a nested one by a path with dots. Attributes
    /// of a level below `level` are refused: their answer would depend on instances that are not part of the result.
    /// `accept` and `charset` are left to the HTTP side. The error names the parameter, never its value.
    pub fn parse(level: Level, pairs: impl Iterator<Item = (String, String)>) -> Result<Self, QueryError> {
        parse::parse(level, pairs)
    }

    /// Says which level the request's path fixes, as in `/studies/{uid}/series`.
    pub fn with_fixed(self, fixed: Level) -> Self {
        Self {
            fixed: Some(fixed),
            ..self
        }
    }

    /// Whether all predicates hold for `attributes`: those of one result, the levels above and the computed ones
    /// (Modalities in Study and so on) included.
    pub fn matches(&self, attributes: &Map<String, Json>) -> bool {
        matches_all(&self.predicates, attributes)
    }

    /// The attributes of one result that go out: the required ones of the level and of the levels above (PS3.18
    /// tables 10.6.3-3 to 10.6.3-5) that the path does not fix, those of the predicates, and the included ones.
    pub fn project(&self, attributes: &Map<String, Json>) -> Map<String, Json> {
        project::project(self, attributes)
    }
}

#[cfg(test)]
mod tests;
