//! One-shot sealing of small records: header ‖ sealed frame 0. Each record has its own salt, thus its own key.

use super::context::{OBJECT_HEADER_BYTES, ObjectContext};
use super::{DataKey, ObjectOpener, ObjectSealer, SealError, Suite};

/// Seals a record: [`OBJECT_HEADER_BYTES`], then the sealed frame 0.
///
/// # Errors
/// [`SealError::Unavailable`] where the build lacks the suite; [`SealError::TooLong`] from 2^32 chunks on.
pub fn seal_record(
    suite: Suite,
    key: &DataKey,
    context: &ObjectContext,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let sealer = ObjectSealer::new(suite, key, context)?;
    let mut out = Vec::with_capacity(OBJECT_HEADER_BYTES + ObjectSealer::sealed_length(plaintext.len()));
    out.extend_from_slice(sealer.header());
    sealer.seal_frame(0, plaintext, &mut out)?;
    Ok(out)
}

/// Opens a record that [`seal_record`] made. Errors as [`ObjectOpener::new`] and [`ObjectOpener::open_frame`].
pub fn open_record(key: &DataKey, context: &ObjectContext, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (header, frame) = sealed
        .split_at_checked(OBJECT_HEADER_BYTES)
        .ok_or(SealError::Length(sealed.len()))?;
    ObjectOpener::new(key, header, context)?.open_frame(0, frame)
}
