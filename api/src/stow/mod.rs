//! Instances sent as metadata and bulk data (PS3.18 sections 8.6 and 10.5.1.4), without HTTP and without the engine.
//!
//! | file | owns |
//! |---|---|
//! | [`codestream`] | compressed frames: what they begin with, and boxes around them |
//! | [`held`] | the memory that all store requests together may hold |
//! | [`location`] | which part a `BulkDataURI` means |
//! | [`metadata`] | metadata cut into instances, and what each of them waits for |
//! | [`parts`] | bulk data that is held until its instances are complete |

pub mod codestream;
pub mod held;
pub mod location;
pub mod metadata;
pub mod parts;
