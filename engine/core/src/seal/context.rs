//! What a sealed object is bound to, and the header that makes it self-describing.
//!
//! Header, 88 bytes, version 1:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `SPTO` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | suite |
//! | 6 | 1 | part |
//! | 7 | 1 | reserved, 0 |
//! | 8 | 16 | object id |
//! | 24 | 32 | random salt |
//! | 56 | 32 | key commitment |
//!
//! Pixel set and version are not in the header: whoever opens must know them, and the commitment proves them.

use super::SealError;
use super::key::{COMMITMENT_BYTES, DataKey, Labels, commitments_match, fill_random};
use super::suite::{Cipher, Position, Suite};
use crate::ids::{ObjectId, PixelSetId, VersionId};

/// Bytes of an object's header.
pub const OBJECT_HEADER_BYTES: usize = 88;

pub(super) const MAGIC: [u8; 4] = *b"SPTO";
pub(super) const FORMAT_VERSION: u8 = 1;
const SALT: std::ops::Range<usize> = 24..56;
const COMMITMENT: std::ops::Range<usize> = 56..88;
const LABELS: Labels = Labels {
    key: b"septum object 1 key",
    commit: b"septum object 1 commit",
};

/// What kind of bytes an object holds. The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    /// Header bytes of an instance: everything but pixels, file meta, preamble.
    Phi = 1,
    /// Frames.
    Pixel = 2,
    /// A series' pre-built metadata list, or a delta of it.
    Metadata = 3,
    /// A small record of the catalogue.
    Record = 4,
    /// The sealed detail of an audit leaf.
    Audit = 5,
    /// A thumbnail or preview.
    Thumbnail = 6,
    /// A document attached to a study.
    Attachment = 7,
    /// A page of sealed columns for searching.
    Column = 8,
    /// A series' header template.
    Template = 9,
    /// A temporary or spool file.
    Spool = 10,
    /// A setting or credential.
    Setting = 11,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 11] = [
        Self::Phi,
        Self::Pixel,
        Self::Metadata,
        Self::Record,
        Self::Audit,
        Self::Thumbnail,
        Self::Attachment,
        Self::Column,
        Self::Template,
        Self::Spool,
        Self::Setting,
    ];

    /// The number in headers.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// What an object is bound to: random, immutable ids only, so that sharing, moving and rewrapping touch no sealed byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectContext {
    /// What kind of bytes.
    pub part: Part,
    /// The pixel set, or, where there is none, the owning row's id in its place (see [`ObjectContext::without_pixels`]).
    pub pixel_set: PixelSetId,
    /// The version of the instance, or the owning row's id.
    pub version: VersionId,
    /// The object itself. Fresh for each sealing.
    pub object: ObjectId,
}

impl ObjectContext {
    /// An object that belongs to no pixel set: header bytes, metadata, records. `owner` is the 16 bytes of the id of
    /// the version, series, study or other row that the object belongs to.
    pub const fn without_pixels(part: Part, owner: [u8; 16], object: ObjectId) -> Self {
        Self {
            part,
            pixel_set: PixelSetId::from_bytes(owner),
            version: VersionId::from_bytes(owner),
            object,
        }
    }

    /// suite ‖ part ‖ pixel set ‖ object ‖ version: 50 bytes, fixed length.
    fn encode(&self, suite: Suite) -> [u8; CONTEXT_BYTES] {
        let mut bytes = [0; CONTEXT_BYTES];
        bytes[0] = suite.number();
        bytes[1] = self.part.number();
        bytes[2..18].copy_from_slice(self.pixel_set.as_bytes());
        bytes[18..34].copy_from_slice(self.object.as_bytes());
        bytes[34..50].copy_from_slice(self.version.as_bytes());
        bytes
    }
}

const CONTEXT_BYTES: usize = 50;
const AAD_BYTES: usize = 4 + 1 + CONTEXT_BYTES + 4 + 4 + 1;

/// An object's own cipher with what each chunk is bound to.
pub(super) struct ObjectCipher {
    pub(super) cipher: Cipher,
    pub(super) object: ObjectId,
    /// Associated data with room for frame, chunk and last flag at the end.
    aad: [u8; AAD_BYTES],
}

impl ObjectCipher {
    fn new(suite: Suite, key: DataKey, context: &ObjectContext) -> Result<Self, SealError> {
        let mut aad = [0; AAD_BYTES];
        aad[..4].copy_from_slice(&MAGIC);
        aad[4] = FORMAT_VERSION;
        aad[5..5 + CONTEXT_BYTES].copy_from_slice(&context.encode(suite));
        Ok(Self {
            cipher: Cipher::new(suite, key)?,
            object: context.object,
            aad,
        })
    }

    /// A fresh salt, the key it gives and the header that says so.
    pub(super) fn fresh(
        suite: Suite,
        key: &DataKey,
        context: &ObjectContext,
    ) -> Result<(Self, [u8; OBJECT_HEADER_BYTES]), SealError> {
        let mut salt = [0; 32];
        fill_random(&mut salt);
        Self::with_salt(suite, key, context, salt)
    }

    pub(super) fn with_salt(
        suite: Suite,
        key: &DataKey,
        context: &ObjectContext,
        salt: [u8; 32],
    ) -> Result<(Self, [u8; OBJECT_HEADER_BYTES]), SealError> {
        let (object_key, commitment) = key.derive(&salt, LABELS, &context.encode(suite));
        let mut header = [0; OBJECT_HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = FORMAT_VERSION;
        header[5] = suite.number();
        header[6] = context.part.number();
        header[8..24].copy_from_slice(context.object.as_bytes());
        header[SALT].copy_from_slice(&salt);
        header[COMMITMENT].copy_from_slice(&commitment);
        Ok((Self::new(suite, object_key, context)?, header))
    }

    /// Reads a header, proves that key and context fit it, and gives the object's cipher.
    pub(super) fn read(key: &DataKey, header: &[u8], context: &ObjectContext) -> Result<(Self, Suite), SealError> {
        let header: &[u8; OBJECT_HEADER_BYTES] = header.try_into().map_err(|_| SealError::Length(header.len()))?;
        if header[..4] != MAGIC {
            return Err(SealError::Magic);
        }
        if header[4] != FORMAT_VERSION {
            return Err(SealError::UnknownVersion(header[4]));
        }
        let suite = Suite::from_number(header[5])?;
        if header[6] != context.part.number() || header[7] != 0 || &header[8..24] != context.object.as_bytes() {
            return Err(SealError::Context);
        }
        let mut salt = [0; 32];
        salt.copy_from_slice(&header[SALT]);
        let (object_key, commitment) = key.derive(&salt, LABELS, &context.encode(suite));
        if !commitments_match(&header[COMMITMENT], &commitment) {
            return Err(SealError::Key);
        }
        Ok((Self::new(suite, object_key, context)?, suite))
    }

    /// The associated data of one chunk.
    pub(super) fn aad(&self, at: Position) -> [u8; AAD_BYTES] {
        let mut aad = self.aad;
        aad[AAD_BYTES - 9..AAD_BYTES - 5].copy_from_slice(&at.frame.to_be_bytes());
        aad[AAD_BYTES - 5..AAD_BYTES - 1].copy_from_slice(&at.chunk.to_be_bytes());
        aad[AAD_BYTES - 1] = u8::from(at.last);
        aad
    }
}

// Commitments are public; only their comparison with a secret-derived value is timed.
const _: () = assert!(COMMITMENT.end - COMMITMENT.start == COMMITMENT_BYTES && COMMITMENT.end == OBJECT_HEADER_BYTES);
