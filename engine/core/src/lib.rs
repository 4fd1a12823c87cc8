//! # septum-core: what is true without input and output
//!
//! Pure functions and types; no sibling crate below it, no thread, no clock, no file. Builds for
//! `wasm32-unknown-unknown` without the `native` feature.
//!
//! | module | owns |
//! |---|---|
//! | [`ids`] | validated UIDs and random ids |
//! | [`frame_shape`] | how a decoded frame lies in memory |
//! | [`dicom`] | bounds-checked walker, split and merge, frame table, header to DICOM JSON, transcoding of headers |
//! | [`codec`] | lossless frame codecs and the header templates |
//! | [`seal`] | key hierarchy, sealed objects and records, blind index tokens |
//! | [`query`] | QIDO-RS parameters and matching |
//! | [`audit`] | RFC 6962 tree, leaves, signed checkpoints |
//! | [`access`] | permissions and the one decision function |

pub mod access;
pub mod audit;
pub mod codec;
pub mod dicom;
pub mod frame_shape;
pub mod ids;
pub mod query;
pub mod seal;
