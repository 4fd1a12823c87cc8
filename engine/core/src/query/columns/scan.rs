//! Predicates against a page.

use memchr::memmem::Finder;

use super::super::Predicate;
use super::super::condition::Condition;
use super::super::wildcard::Pattern;
use super::{Column, Page, SEPARATOR};

/// Predicates made ready for scanning pages.
#[derive(Clone)]
pub struct CompiledPredicates {
    tests: Vec<Test>,
}

#[derive(Clone)]
struct Test {
    column: Column,
    /// For a range of moments, the column with the time.
    time: Option<Column>,
    condition: Condition,
    /// Every value that matches contains one of these; empty where nothing can be said.
    literals: Vec<Finder<'static>>,
}

fn literals(condition: &Condition) -> Vec<Finder<'static>> {
    let literals = match condition {
        Condition::Text(patterns) => patterns.iter().map(Pattern::literal).collect(),
        Condition::Name(pattern) => pattern.literals(),
        _ => None,
    };
    let finder = |literal: &str| Finder::new(literal.as_bytes()).into_owned();
    literals.unwrap_or_default().into_iter().map(finder).collect()
}

impl CompiledPredicates {
    /// Takes the predicates that pages can decide, and gives back the others: for these, each row found must still be
    /// asked. Universal predicates decide nothing and are dropped.
    pub fn new<'a>(predicates: impl IntoIterator<Item = &'a Predicate>) -> (Self, Vec<Predicate>) {
        let mut tests = Vec::new();
        let mut others = Vec::new();
        for predicate in predicates.into_iter().filter(|predicate| !predicate.is_universal()) {
            let column = Column::of_tag(predicate.tag()).filter(|_| !predicate.is_nested());
            let time = match predicate.condition {
                Condition::DateAndTime { time_tag, .. } => Column::of_tag(time_tag).map(Some),
                // Rows do not know their study's time zone.
                Condition::InZone { .. } => None,
                _ => Some(None),
            };
            match (column, time) {
                (Some(column), Some(time)) => {
                    tests.push(Test {
                        column,
                        time,
                        condition: predicate.condition.clone(),
                        literals: literals(&predicate.condition),
                    });
                }
                _ => others.push(predicate.clone()),
            }
        }
        // Cheap tests first: names cost more than all others.
        tests.sort_by_key(|test| matches!(test.condition, Condition::Name(_)));
        (Self { tests }, others)
    }

    /// The values that an attribute must equal one of, where the predicates say so: what an index by value can answer.
    pub fn exact_values(&self, column: Column) -> Option<Vec<&str>> {
        self.tests
            .iter()
            .filter(|test| test.column == column)
            .find_map(|test| match &test.condition {
                Condition::Uid(uids) => Some(uids.iter().map(String::as_str).collect()),
                Condition::Text(patterns) => patterns
                    .iter()
                    .map(|pattern| match pattern {
                        Pattern::Exact(value) => Some(value.as_str()),
                        _ => None,
                    })
                    .collect(),
                _ => None,
            })
    }

    /// Whether every row matches.
    pub fn is_universal(&self) -> bool {
        self.tests.is_empty()
    }
}

impl std::fmt::Debug for CompiledPredicates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.tests.iter().map(|test| test.column))
            .finish()
    }
}

impl Page {
    /// The numbers of the rows that match, ascending. See [`Page::is_exact`] for rows with fields that were too long.
    pub fn scan<'a>(&'a self, predicates: &'a CompiledPredicates) -> impl Iterator<Item = usize> + 'a {
        self.candidates(predicates)
            .filter(move |&row| predicates.tests.iter().all(|test| self.row_matches(row, test)))
    }

    /// The rows that may match, ascending: those that contain what must be contained, found in the text of all rows
    /// together.
    fn candidates(&self, predicates: &CompiledPredicates) -> impl Iterator<Item = usize> + use<> {
        let rarest = predicates.tests.iter().filter(|test| !test.literals.is_empty());
        let found = rarest
            .filter_map(|test| self.rows_with(test.column, &test.literals))
            .min_by_key(Vec::len);
        let all = if found.is_none() { self.num_rows() } else { 0 };
        (0..all).chain(found.unwrap_or_default())
    }

    fn row_matches(&self, row: usize, test: &Test) -> bool {
        let Some(field) = self.field(row, test.column) else {
            return true;
        };
        if field.is_empty() {
            return test.condition.matches_empty();
        }
        match test.time {
            None => test.condition.matches_values(field.split(SEPARATOR)),
            Some(time) => {
                let Some(times) = self.field(row, time) else {
                    return true;
                };
                let mut times = times.split(SEPARATOR).filter(|time| !time.is_empty());
                field
                    .split(SEPARATOR)
                    .any(|date| test.condition.matches_date_and_time(date, times.next()))
            }
        }
    }
}
