//! Query parameters and matching: no panic, and pages answer like attributes.
//!
//! Input: one byte for the level, then lines of `name=value`; lines that start with `@` are values of the study that is
//! searched: `@` tag VR value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::query::columns::{Column, CompiledPredicates, Page, Row};
use septum_core::query::{Level, Query, matches_all, split_by_level};

mod study;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let level = [Level::Study, Level::Series, Level::Instance][usize::from(choice % 3)];
    let study = study::of_text(&text);
    let pairs = text.lines().filter(|line| !line.starts_with('@')).map(|line| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    });
    let query = match Query::parse(level, pairs) {
        Ok(query) => query,
        Err(error) => {
            assert!(error.to_string().len() < 2000);
            return;
        }
    };
    let matches = query.matches(&study);
    let levels = split_by_level(&query);
    let by_level = [&levels.study, &levels.series, &levels.instance];
    assert_eq!(
        matches,
        by_level.iter().all(|predicates| matches_all(predicates.iter(), &study))
    );
    assert!(query.project(&study).keys().all(|key| study.contains_key(key)));

    let mut page = Page::new();
    page.upsert(&Row::from_attributes([1; 16], &study))
        .expect("an empty page has room");
    let page = Page::decode(&page.encode()).expect("ours");
    let (compiled, others) = CompiledPredicates::new(&query.predicates);
    let found = page.scan(&compiled).next().is_some();
    let is_exact = Column::ALL.iter().all(|_| page.is_exact(0));
    if is_exact && others.is_empty() {
        assert_eq!(found, matches, "pages answer like attributes");
    } else if matches {
        assert!(found, "a page never hides a match");
    }
});
