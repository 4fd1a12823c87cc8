//! The read path: no actor hop, permits of its own, bounded caches, so that ingest cannot starve viewing.
//!
//! - [`locate`]: from UIDs to rows and keys;
//! - [`permits`]: byte permits of the read path;
//! - [`pixels`]: units and frames of one pixel set;
//! - [`frames`]: frames as stored or decoded;
//! - [`interchange`]: frames and instances as High-Throughput JPEG 2000 and JPEG-LS;
//! - [`rendered`]: pictures of frames;
//! - [`values`]: long values outside the pixels;
//! - [`stream`]: a whole instance, in its original or another transfer syntax;
//! - [`metadata`]: the pre-built DICOM JSON of instances.

pub(crate) mod envelope;
pub mod frames;
pub mod interchange;
pub mod locate;
pub mod metadata;
pub mod permits;
pub mod pixels;
pub mod rendered;
pub mod stream;
pub mod values;

pub use locate::{InstanceRef, StudyRef};
pub use pixels::PixelReader;
pub use values::{StoredValue, Values};
