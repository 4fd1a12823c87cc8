//! # septum-testkit: studies of nobody
//!
//! Synthetic DICOM instances for the demo, tests and benches. Everything follows from a seed: the same specification
//! gives the same bytes on every machine, so that a test can name what it expects. Patients are invented and say so
//! (`DEMO^…`, Patient ID `DEMO-…`, Issuer `SEPTUM-DEMO`).
//!
//! | module | owns |
//! |---|---|
//! | [`study`] | [`StudySpec`]: CT volume, MR volume, ultrasound cine, mammogram |
//! | [`tiny`] | [`TinyInstance`]: small instances for tests, with anything in them overridden |
//! | [`dataset`] | elements and datasets before they are bytes |
//! | [`part10`] | the writer: explicit, implicit, big endian, deflated, encapsulated |
//! | [`rle`] | an RLE Lossless encoder, so that encapsulated instances hold real images |
//! | [`uid`] | UIDs from seeds |
//! | [`random`] | the seeded random numbers |
//!
//! No dependency, no file, no clock.

pub mod dataset;
pub mod part10;
mod phantom;
pub mod random;
pub mod rle;
pub mod study;
pub mod tags;
pub mod tiny;
pub mod uid;

pub use dataset::{Dataset, Element, SequenceLength, Tag, Value};
pub use part10::{FileOptions, TransferSyntax};
pub use study::{Instance, Patient, StudyKind, StudySpec, demo_studies};
pub use tiny::{Encapsulation, TinyInstance};
