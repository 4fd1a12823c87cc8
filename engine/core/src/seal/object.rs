//! Sealing and opening objects, frame by frame.
//!
//! A sealed frame is a run of chunks, each at most [`CHUNK_BYTES`] of ciphertext and a tag of [`TAG_BYTES`]; all but the
//! last are full. An empty frame is one empty last chunk. Nonce = frame ‖ chunk ‖ last flag: deterministic, which is safe
//! because every object has a key of its own (fresh salt) and a sealer refuses to seal one frame number twice.
//! Frames may be sealed and opened in any order and from several threads. How many frames an object has is kept by its
//! record, sealed itself: a missing frame is found there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize;

use super::context::{OBJECT_HEADER_BYTES, ObjectCipher, ObjectContext};
use super::suite::{Position, Suite, TAG_BYTES};
use super::{DataKey, SealError};

/// Most plaintext bytes of one chunk. Part of the format.
pub const CHUNK_BYTES: usize = 256 * 1024;

const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// Seals the frames of one object under a key of its own.
pub struct ObjectSealer {
    cipher: ObjectCipher,
    header: [u8; OBJECT_HEADER_BYTES],
    spent: SpentFrames,
}

impl ObjectSealer {
    /// Draws a salt and derives the object's key from `key`, the study's data key of the right half.
    ///
    /// # Errors
    /// [`SealError::Unavailable`] where the build lacks the suite.
    pub fn new(suite: Suite, key: &DataKey, context: &ObjectContext) -> Result<Self, SealError> {
        let (cipher, header) = ObjectCipher::fresh(suite, key, context)?;
        Ok(Self {
            cipher,
            header,
            spent: SpentFrames::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn with_salt(
        suite: Suite,
        key: &DataKey,
        context: &ObjectContext,
        salt: [u8; 32],
    ) -> Result<Self, SealError> {
        let (cipher, header) = ObjectCipher::with_salt(suite, key, context, salt)?;
        Ok(Self {
            cipher,
            header,
            spent: SpentFrames::default(),
        })
    }

    /// The header, to be kept beside the sealed frames.
    pub fn header(&self) -> &[u8; OBJECT_HEADER_BYTES] {
        &self.header
    }

    /// Appends the sealed frame, [`ObjectSealer::sealed_length`] bytes, to `out`. On error `out` is as it was.
    ///
    /// # Errors
    /// [`SealError::FrameSpent`] when this frame number was sealed before; [`SealError::TooLong`] from 2^32 chunks on.
    pub fn seal_frame(&self, frame: u32, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let too_long = SealError::TooLong(plaintext.len());
        let num_chunks = u32::try_from(num_chunks(plaintext.len())).map_err(|_| too_long)?;
        if !self.spent.spend(frame) {
            return Err(SealError::FrameSpent {
                object: self.cipher.object,
                frame,
            });
        }
        let start = out.len();
        out.reserve(Self::sealed_length(plaintext.len()));
        let result = (0..num_chunks).try_for_each(|chunk| {
            let from = chunk as usize * CHUNK_BYTES;
            let to = plaintext.len().min(from + CHUNK_BYTES);
            let at = Position {
                frame,
                chunk,
                last: chunk + 1 == num_chunks,
            };
            let place = out.len();
            out.extend_from_slice(&plaintext[from..to]);
            let tag = self.cipher.cipher.seal(at, &self.cipher.aad(at), &mut out[place..])?;
            out.extend_from_slice(&tag);
            Ok(())
        });
        if result.is_err() {
            out[start..].zeroize();
            out.truncate(start);
        }
        result
    }

    /// Bytes of the sealed form of a frame of `plain_bytes`.
    pub fn sealed_length(plain_bytes: usize) -> usize {
        plain_bytes.saturating_add(num_chunks(plain_bytes).saturating_mul(TAG_BYTES))
    }
}

impl fmt::Debug for ObjectSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectSealer")
            .field("object", &self.cipher.object)
            .finish_non_exhaustive()
    }
}

/// Opens the frames of one object.
pub struct ObjectOpener {
    cipher: ObjectCipher,
    suite: Suite,
}

impl ObjectOpener {
    /// Reads the object's header and proves that key and context fit it.
    ///
    /// # Errors
    /// [`SealError::Magic`], [`SealError::UnknownVersion`], [`SealError::UnknownSuite`], [`SealError::Unavailable`],
    /// [`SealError::Length`] for the header's form; [`SealError::Context`] where it names another object or part;
    /// [`SealError::Key`] where the commitment differs.
    pub fn new(key: &DataKey, header: &[u8], context: &ObjectContext) -> Result<Self, SealError> {
        let (cipher, suite) = ObjectCipher::read(key, header, context)?;
        Ok(Self { cipher, suite })
    }

    /// The suite the object is sealed with.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Opens one frame. Nothing of it is given out before all its tags held.
    ///
    /// # Errors
    /// [`SealError::Length`] for a length no sealed frame has; [`SealError::Tampered`] for anything changed.
    pub fn open_frame(&self, frame: u32, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        self.open_frame_into(frame, sealed, &mut out)?;
        Ok(out)
    }

    /// Opens one frame and appends it to `out`. On error `out` is as it was. Errors as [`ObjectOpener::open_frame`].
    pub fn open_frame_into(&self, frame: u32, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let plain_bytes = Self::plain_length(sealed.len()).ok_or(SealError::Length(sealed.len()))?;
        let start = out.len();
        out.reserve(plain_bytes.saturating_add(TAG_BYTES));
        let num_chunks = sealed.len().div_ceil(SEALED_CHUNK_BYTES);
        let result = sealed
            .chunks(SEALED_CHUNK_BYTES)
            .enumerate()
            .try_for_each(|(index, sealed_chunk)| {
                let chunk = u32::try_from(index).map_err(|_| SealError::Length(sealed.len()))?;
                let at = Position {
                    frame,
                    chunk,
                    last: index + 1 == num_chunks,
                };
                let place = out.len();
                out.extend_from_slice(sealed_chunk);
                let opened = self.cipher.cipher.open(at, &self.cipher.aad(at), &mut out[place..]);
                opened.map_err(|_| SealError::Tampered {
                    object: self.cipher.object,
                    frame,
                    chunk,
                })?;
                out.truncate(out.len() - TAG_BYTES);
                Ok(())
            });
        if result.is_err() {
            // Chunks before the bad one were opened: none of their plaintext may stay behind.
            out[start..].zeroize();
            out.truncate(start);
        }
        result
    }

    /// Bytes of the frame inside `sealed_bytes`, or `None` for a length that no sealed frame has.
    pub fn plain_length(sealed_bytes: usize) -> Option<usize> {
        let num_chunks = sealed_bytes.div_ceil(SEALED_CHUNK_BYTES);
        let plain_bytes = sealed_bytes.checked_sub(num_chunks.checked_mul(TAG_BYTES)?)?;
        // One length, one form: a short last chunk without a tag, or an empty one after full ones, is refused here.
        (num_chunks > 0 && ObjectSealer::sealed_length(plain_bytes) == sealed_bytes).then_some(plain_bytes)
    }
}

impl fmt::Debug for ObjectOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectOpener")
            .field("object", &self.cipher.object)
            .finish_non_exhaustive()
    }
}

/// Chunks of a frame; an empty frame has one.
fn num_chunks(plain_bytes: usize) -> usize {
    plain_bytes.div_ceil(CHUNK_BYTES).max(1)
}

/// The frame numbers already sealed, as ranges (first → last), so that sealing in order costs one entry.
#[derive(Default)]
struct SpentFrames(Mutex<BTreeMap<u32, u32>>);

impl SpentFrames {
    /// Marks a frame as sealed; `false` when it was before.
    fn spend(&self, frame: u32) -> bool {
        // A panic elsewhere cannot leave the map half changed in a way that forgets a frame.
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ranges.range(..=frame).next_back().map(|(&first, &last)| (first, last));
        if before.is_some_and(|(_, last)| last >= frame) {
            return false;
        }
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(frame) => first,
            _ => frame,
        };
        let last = frame
            .checked_add(1)
            .and_then(|next| ranges.get(&next).map(|&last| (next, last)));
        ranges.insert(first, last.map_or(frame, |(_, last)| last));
        if let Some((next, _)) = last {
            ranges.remove(&next);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_spent_once_in_any_order() {
        let spent = SpentFrames::default();
        for frame in [0, 1, 2, 7, 5, 6, u32::MAX, u32::MAX - 1, 3, 4] {
            assert!(spent.spend(frame), "{frame}");
            assert!(!spent.spend(frame), "{frame}");
        }
        assert_eq!(
            spent
                .0
                .lock()
                .unwrap()
                .iter()
                .map(|(&first, &last)| (first, last))
                .collect::<Vec<_>>(),
            [(0, 7), (u32::MAX - 1, u32::MAX)]
        );
    }

    #[test]
    fn lengths_agree_both_ways() {
        let full = SEALED_CHUNK_BYTES;
        for (sealed, expected) in [
            (0, None),
            (15, None),
            (16, Some(0)),
            (17, Some(1)),
            (full, Some(CHUNK_BYTES)),
            (full + 15, None),
            (full + 16, None),
            (full + 17, Some(CHUNK_BYTES + 1)),
            (2 * full, Some(2 * CHUNK_BYTES)),
            (usize::MAX, None),
        ] {
            if sealed != usize::MAX {
                assert_eq!(ObjectOpener::plain_length(sealed), expected, "{sealed}");
            } else {
                let _ = ObjectOpener::plain_length(sealed); // No overflow.
            }
        }
        for plain in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 9] {
            assert_eq!(
                ObjectOpener::plain_length(ObjectSealer::sealed_length(plain)),
                Some(plain)
            );
        }
    }
}
