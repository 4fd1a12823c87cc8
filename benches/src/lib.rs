//! # septum-benches: what each stage costs, beside what it must cost at least
//!
//! A figure alone says little on a shared machine. So every measurement here is a *comparison*: the subject (one of
//! Septum's stages) and its floor (memcpy, the bare codec, the bare cipher, a raw write) run by turns in one process,
//! and what is reported first is their ratio.
//!
//! | module | owns |
//! |---|---|
//! | [`options`] | the command line |
//! | [`measure`] | the runner: rounds, medians, ratios |
//! | [`report`] | the table and the JSON result |
//! | [`inputs`] | image classes and instances to measure with |
//!
//! The stages themselves are in `stages/`, the bench target of this crate.

pub mod inputs;
pub mod measure;
pub mod options;
pub mod report;
