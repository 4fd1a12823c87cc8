//! Decodes compressed frames that were made elsewhere, in sandboxed child processes.
//!
//! Some codecs here are C or C++, and the streams come from anyone: a decoder must be assumed to be taken over by its
//! input. So the server runs [`decode`] in child processes only ([`DecoderPool`]), which can do nothing but compute and
//! talk over two pipes ([`run_child`]); what they answer is checked against what was asked. The cost of a crash, a hang or
//! a memory bomb is one error.

#[cfg(unix)]
mod child;
mod decode;
mod error;
mod jpeg;
mod jpeg2000;
mod jpegls;
mod jpegxl;
#[cfg(unix)]
mod pool;
mod rle;
mod samples;
#[cfg(unix)]
mod sandbox;
mod uncompressed;
#[cfg(unix)]
mod wire;
#[cfg(unix)]
mod worker;

#[cfg(unix)]
pub use child::{run_child, run_child_with};
pub use decode::{DecodeRequest, Decoded, FrameLayout, MAX_FRAME_BYTES, decode, is_supported};
pub use error::{Damage, DecodeError};
#[cfg(unix)]
pub use pool::{DecoderPool, PoolLimits};
