//! QIDO-RS parameters and matching (PS3.18 sections 8.3.4 and 10.6, PS3.4 section C.2.2.2).
//!
//! Owns what a search means: parameters to a checked [`Query`], a query against the attributes of one study, series
//! or instance (DICOM JSON Model), which attributes come back and in which order, and [`columns`], the pages that are
//! scanned instead of opening every study, and [`ExtendedAttribute`], what is kept of instances for the same purpose. All
//! ways of matching give the same answer.
//!
//! # Parameters
//!
//! An attribute is named by keyword or by eight hexadecimal digits, a nested one by a path with dots. Names that are
//! neither an attribute nor an option are refused, and so are values that do not fit; the error names the parameter.
//! `limit`, `offset`, `fuzzymatching`, `emptyvaluematching`, `multiplevaluematching` and `includefield` are the
//! standard's; `orderby` is ours (see [`SortKey`]). Only `includefield`, UIDs and code strings may repeat; repeated
//! UIDs and code strings are one list. `includefield=all` beats all other `includefield`.
//!
//! # How values match, by VR
//!
//! | VR | matching |
//! |---|---|
//! | AE LO LT SH ST UC UR UT | case-sensitive; `*` and `?` anywhere |
//! | CS | the same; a list with backslash or comma matches any of its members |
//! | PN | case-insensitive; `*` and `?`; any of the three component groups; empty trailing components do not count |
//! | UI | exact; a list with backslash or comma matches any of its members |
//! | DA TM DT | a value or a range, open ones too; a partial time or moment means all it could be |
//! | DA and TM of a pair, ranges of one form | one range of moments (PS3.4 section C.2.2.2.5.4) |
//! | IS DS US UL SS SL UV SV FL FD | as numbers |
//! | AS AT | exact |
//! | SQ | through the path of a nested attribute; predicates on one sequence must hold in the same item |
//! | private | by the VR that each instance gives, UN as text; by creator, if the query gives it too (PS3.5 section 7.8.1) |
//!
//! An empty value, and one of only `*`, match everything, absent attributes included. Of several stored values one
//! must match. Specific Character Set and Timezone Offset From UTC are never matched; the latter says in which zone
//! the query's dates and times are.
//!
//! Letters that Unicode holds for the same match each other, composed or not. Then there are options:
//!
//! - `fuzzymatching=true`: names also match without diacritics and in any order of their words, each word of the query
//!   being the start of a word of the name; umlauts may be transcribed.
//! - `emptyvaluematching=true`: the value `""` matches attributes that are absent or empty, sequences too.
//! - `multiplevaluematching=true`: a list with backslash (for CS also comma) in AE, AS, AT, CS, LO, PN, SH and UC
//!   matches attributes that have all its members, in any order. Members with wildcards are matched as such.
//!
//! # Levels
//!
//! Attributes of all levels may be matched at all levels. What is above the result describes it; what is below counts
//! when one and the same instance, or series, of the result fulfils it all: `Modality=CT&Manufacturer=X` finds studies
//! with a series that has both. [`split_by_level`] says what must be looked at.
//!
//! Bounds (invariant 6): 64 predicates, 1 KiB a value, 64 KiB and 1,000 UIDs a list of them, 256 bytes a name, paths of 8 tags, 256 included fields, 8
//! attributes to sort by.

mod attribute;
pub mod columns;
mod condition;
mod error;
mod extended;
mod fold;
mod matching;
mod name;
mod order;
mod parse;
mod private;
mod project;
mod temporal;
mod wildcard;
mod window;
mod zone;

use dicom_core::VR;
use serde_json::{Map, Value as Json};

use condition::Condition;

pub use crate::dicom::json::{Level, level_of};
pub use error::{Name, QueryError};
pub use extended::{ExtendedAttribute, ExtendedAttributeError};
pub use fold::normalized;
pub use matching::matches_all;
pub use order::{OrderKey, SortKey};
pub use project::required_attributes;
pub use window::Window;

use private::Step;

/// Most predicates in one query.
pub const PREDICATES_MAX: usize = 64;

/// Longest value of a parameter, in bytes, unless it is a list.
pub const VALUE_BYTES_MAX: usize = 1024;

/// Longest `includefield` or `orderby`, in bytes.
pub const NAMES_BYTES_MAX: usize = 16 << 10;

/// Longest list of UIDs, in bytes: that many of the longest ones.
pub const UIDS_BYTES_MAX: usize = 64 << 10;

/// Most UIDs in a list.
pub const UIDS_MAX: usize = 1000;

/// Longest name of a parameter, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Most tags in the path to a nested attribute.
pub const PATH_TAGS_MAX: usize = 8;

/// Most attributes asked for with `includefield`.
pub const INCLUDE_MAX: usize = 256;

/// Most attributes in `orderby`.
pub const ORDER_MAX: usize = 8;

/// Longest private value of unknown VR that is compared, in characters of Base64.
const PRIVATE_UN_BYTES_MAX: usize = 4096;

/// Which attributes come back beyond the required ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include {
    /// All that are known.
    All,
    /// These tags, group × 65536 + element, sorted. Nested attributes are kept apart.
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
    /// What results are sorted by, most important first; empty when the client leaves it to us.
    pub order: Vec<SortKey>,
    /// The deepest level that the request's path fixes; its attributes are not repeated in each result.
    pub fixed: Option<Level>,
    /// Without `order` the studies that came last come first, not those with the latest dates.
    pub latest_first: bool,
    /// Included attributes, nested ones too.
    include_paths: Vec<Vec<Step>>,
}

/// One condition on one attribute.
#[derive(Clone)]
pub struct Predicate {
    /// From the top level to the attribute; at least one.
    steps: Vec<Step>,
    /// The attribute's VR by the dictionary, LO for attributes it does not know.
    vr: VR,
    condition: Condition,
}

impl Predicate {
    /// The attribute's tag, of a nested one that of the outermost sequence; group × 65536 + element.
    pub fn tag(&self) -> u32 {
        self.steps.first().map_or(0, |step| step.tag)
    }

    /// Whether the attribute lies inside a sequence.
    pub fn is_nested(&self) -> bool {
        self.steps.len() > 1
    }

    /// The highest level that the attribute describes.
    pub fn level(&self) -> Level {
        Self::level_of_tag(self.tag())
    }

    /// Every level has its availability: the highest one can decide on it.
    fn level_of_tag(tag: u32) -> Level {
        match tag {
            0x0008_0056 => Level::Study,
            _ => level_of(tag),
        }
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
        let keys: Vec<_> = self.steps.iter().map(Step::key).collect();
        write!(f, "Predicate({} {})", keys.join("."), self.vr.to_string())
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

impl PredicatesByLevel {
    /// The deepest level that must be looked at to decide: when it lies below the level searched, a result matches if
    /// one of its series, or instances, fulfils all predicates of the levels below.
    pub fn deepest(&self) -> Level {
        match (self.instance.is_empty(), self.series.is_empty()) {
            (false, _) => Level::Instance,
            (true, false) => Level::Series,
            (true, true) => Level::Study,
        }
    }
}

impl Query {
    /// Reads the parameters of a request's query, already percent-decoded.
    ///
    /// An attribute is named by keyword or by eight hexadecimal digits, a nested one by a path with dots. `accept` and
    /// `charset` are left to the HTTP side. The error names the parameter, never its value.
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

    /// Says that without `orderby` the studies that came last come first.
    #[must_use]
    pub fn with_latest_first(self) -> Self {
        Self {
            latest_first: true,
            ..self
        }
    }

    /// Whether all predicates hold for `attributes`: those of one result, the levels above and the computed ones
    /// (Modalities in Study and so on) included. Predicates of levels below the one searched need the attributes of
    /// those levels, see [`PredicatesByLevel::deepest`].
    pub fn matches(&self, attributes: &Map<String, Json>) -> bool {
        matches_all(&self.predicates, attributes)
    }

    /// The attributes of one result that go out: the required ones of the level and of the levels above (PS3.18
    /// tables 10.6.3-3 to 10.6.3-5) that the path does not fix, those of the predicates, and the included ones.
    pub fn project(&self, attributes: &Map<String, Json>) -> Map<String, Json> {
        project::project(self, attributes)
    }

    /// Where a result with these attributes, those of the levels above included, stands in the order asked for; without
    /// `orderby` newest study first, in a study by Series Number, in a series by Instance Number.
    pub fn order_key(&self, attributes: &Map<String, Json>) -> OrderKey {
        order::order_key(self, attributes)
    }

    /// Whether a row of a column page surely comes behind a key of this query: a cheap test before
    /// [`Self::order_key_of_row`], which says no where it cannot tell.
    pub fn is_row_behind(&self, page: &columns::Page, row: usize, last: &OrderKey) -> bool {
        order::is_row_behind(self, page, row, last)
    }

    /// What [`Self::order_key`] gives for the study that a row was made from, without opening the study. `None` when the
    /// search is not for studies, is sorted by something that rows do not hold, or the row had a field that was too
    /// long.
    pub fn order_key_of_row(&self, page: &columns::Page, row: usize) -> Option<OrderKey> {
        order::order_key_of_row(self, page, row)
    }
}

#[cfg(test)]
mod tests;
