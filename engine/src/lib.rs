//! # septum-engine: Septum without HTTP
//!
//! Everything that is true whatever door a request comes through.
//!
//! ```text
//! pipeline::Intake ─► parser ─► compressor ─► sealer ─► committer[shard] ─► septum-storage
//!                                                                              │
//! retrieve, search, feed, exceptions ◄─────────────────────────────────────────┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`archive`] | opening, wiring, background work, shutdown |
//! | [`pipeline`] | ingest: supervised actors with credits; alone names `actix` |
//! | [`retrieve`] | the read path: locate, frames, streams, metadata |
//! | [`search`] | QIDO searches |
//! | [`columns`], [`lookup`] | searchable fields in sealed pages; studies by blind index token |
//! | [`extended`] | what instances say of attributes that an administrator has searches by |
//! | [`folding`] | what a stable study left behind one by one, put together |
//! | [`erase`], [`reseal`], [`copy`], [`replace`] | deleting for ever; re-sealing what remains; copies under other keys, and in a study's place |
//! | [`correct`], [`amendment`], [`standing`], [`freeze`] | corrections of patient and study data, of late images too; studies that nothing may change |
//! | [`share`], [`pixel_use`] | a study in several namespaces on the same pixels |
//! | [`attachments`], [`derive`] | documents of a study; new instances made of stored ones |
//! | [`exceptions`], [`patients`] | studies held because their patient differs; patient keys that were merged |
//! | [`resubmit`] | a stored study through the pipeline once more |
//! | [`quarantine`] | inputs on which processing panicked twice |
//! | [`follow`] | what changes in a study is shown in its shares |
//! | [`densify`] | the dense tier in the background |
//! | [`stability`], [`feed`] | when a study is stable; the change feed |
//! | [`ledger`], [`audit_log`] | one writer a shard, audit leaves, signed checkpoints |
//! | [`keyring`], [`accounts`], [`studies`] | keys in use; accounts, namespaces, users; from identity to study |
//! | [`records`], [`scan`] | what rows look like; walking them |
//! | [`stored_size`] | how much a study takes on disk |
//! | [`summaries`], [`templates`], [`headers`] | opened summaries and templates; headers to metadata |
//! | [`compute`], [`detached`] | the one route to the CPU pool; work that nobody's going away interrupts |
//! | [`maintenance`] | fsck, scrub, backup, restore |
//! | [`telemetry`], [`observe`] | metric names; what storage reports |
//!
//! Deliberately absent: HTTP, URLs, status codes (septum-api), RocksDB and files (septum-storage), anything pure
//! (septum-core).

pub mod accounts;
pub mod amendment;
pub mod archive;
pub mod attachments;
pub mod audit_log;
pub mod columns;
pub mod compute;
pub mod copy;
pub mod correct;
pub mod densify;
pub mod derive;
pub mod detached;
pub mod erase;
pub mod error;
pub mod exceptions;
pub mod extended;
pub mod feed;
pub mod folding;
pub mod follow;
pub mod freeze;
pub mod headers;
pub mod keyring;
pub mod ledger;
pub mod lookup;
pub mod maintenance;
pub mod observe;
pub mod patients;
pub mod pipeline;
pub mod pixel_use;
pub mod quarantine;
pub mod records;
pub mod replace;
pub mod reseal;
pub mod resubmit;
pub mod retrieve;
pub mod scan;
pub mod search;
pub mod services;
pub mod share;
pub mod stability;
pub mod standing;
pub mod stored_size;
pub mod studies;
pub mod summaries;
pub mod telemetry;
pub mod templates;

pub use error::{EngineError, ErrorKind, Result};
