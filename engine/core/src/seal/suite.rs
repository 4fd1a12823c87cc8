//! The two AEAD suites behind one interface. The number of a suite is part of every format.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use super::{DataKey, SealError};

/// Bytes of the authentication tag, in both suites.
pub const TAG_BYTES: usize = 16;

/// An authenticated cipher. Recorded per object, so that suites can be changed while serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Suite {
    /// XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha-03): in every build.
    #[default]
    #[serde(rename = "xchacha20-poly1305")]
    XChaCha20Poly1305 = 1,
    /// AES-256-GCM (NIST SP 800-38D): with the `native` feature; the one NIST approves.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm = 2,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 2] = [Self::XChaCha20Poly1305, Self::Aes256Gcm];

    /// The number in headers.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in configuration and on the status page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XChaCha20Poly1305 => "xchacha20-poly1305",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    /// Whether NIST approves the algorithm (SP 800-38D). Says nothing about a validated module.
    pub const fn is_nist_approved(self) -> bool {
        matches!(self, Self::Aes256Gcm)
    }

    /// Whether this build has the suite.
    pub const fn is_available(self) -> bool {
        match self {
            Self::XChaCha20Poly1305 => true,
            Self::Aes256Gcm => cfg!(feature = "native"),
        }
    }

    /// The suite of a number in a header.
    pub fn from_number(number: u8) -> Result<Self, SealError> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.number() == number)
            .ok_or(SealError::UnknownSuite(number))
    }

    /// The suite of a name in configuration; `None` where there is no such suite.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }
}

impl std::str::FromStr for Suite {
    type Err = UnknownSuiteName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::from_name(name).ok_or(UnknownSuiteName)
    }
}

/// A configured cipher suite that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cipher suite is `xchacha20-poly1305` or `aes-256-gcm`")]
pub struct UnknownSuiteName;

/// Where in an object a chunk lies. Unique under the object's key, so it is the nonce.
#[derive(Clone, Copy)]
pub(super) struct Position {
    pub(super) frame: u32,
    pub(super) chunk: u32,
    pub(super) last: bool,
}

impl Position {
    /// frame (big endian) ‖ chunk (big endian) ‖ last flag, then zeros up to the suite's nonce length.
    fn nonce<const N: usize>(self) -> [u8; N] {
        let mut nonce = [0; N];
        nonce[..4].copy_from_slice(&self.frame.to_be_bytes());
        nonce[4..8].copy_from_slice(&self.chunk.to_be_bytes());
        nonce[8] = u8::from(self.last);
        nonce
    }
}

/// One suite with its key.
pub(super) enum Cipher {
    /// The key schedule is nothing but the key: kept as [`DataKey`], which wipes itself.
    XChaCha20Poly1305(DataKey),
    #[cfg(feature = "native")]
    Aes256Gcm(Box<aws_lc_rs::aead::LessSafeKey>),
}

impl Cipher {
    pub(super) fn new(suite: Suite, key: DataKey) -> Result<Self, SealError> {
        match suite {
            Suite::XChaCha20Poly1305 => Ok(Self::XChaCha20Poly1305(key)),
            #[cfg(feature = "native")]
            Suite::Aes256Gcm => {
                use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| SealError::Cipher)?;
                Ok(Self::Aes256Gcm(Box::new(LessSafeKey::new(key))))
            }
            #[cfg(not(feature = "native"))]
            Suite::Aes256Gcm => Err(SealError::Unavailable(suite)),
        }
    }

    /// Encrypts in place and gives the tag.
    pub(super) fn seal(&self, at: Position, aad: &[u8], in_out: &mut [u8]) -> Result<[u8; TAG_BYTES], SealError> {
        match self {
            Self::XChaCha20Poly1305(key) => xchacha_seal(key, &at.nonce(), aad, in_out),
            #[cfg(feature = "native")]
            Self::Aes256Gcm(key) => aes_seal(key, at.nonce(), aad, in_out),
        }
    }

    /// Checks the tag at the end of `in_out`, then decrypts what precedes it in place. What `in_out` holds after an
    /// error is unspecified: the caller wipes it.
    pub(super) fn open(&self, at: Position, aad: &[u8], in_out: &mut [u8]) -> Result<(), SealError> {
        match self {
            Self::XChaCha20Poly1305(key) => xchacha_open(key, &at.nonce(), aad, in_out),
            #[cfg(feature = "native")]
            Self::Aes256Gcm(key) => aes_open(key, at.nonce(), aad, in_out),
        }
    }
}

fn xchacha_seal(key: &DataKey, nonce: &[u8; 24], aad: &[u8], in_out: &mut [u8]) -> Result<[u8; TAG_BYTES], SealError> {
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let tag = cipher
        .encrypt_inout_detached(nonce.into(), aad, in_out.into())
        .map_err(|_| SealError::Cipher)?;
    Ok(tag.into())
}

fn xchacha_open(key: &DataKey, nonce: &[u8; 24], aad: &[u8], in_out: &mut [u8]) -> Result<(), SealError> {
    let (in_out, tag) = in_out.split_last_chunk_mut::<TAG_BYTES>().ok_or(SealError::Cipher)?;
    let tag: &[u8; TAG_BYTES] = tag;
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    cipher
        .decrypt_inout_detached(nonce.into(), aad, in_out.into(), tag.into())
        .map_err(|_| SealError::Cipher)
}

#[cfg(feature = "native")]
fn aes_seal(
    key: &aws_lc_rs::aead::LessSafeKey,
    nonce: [u8; 12],
    aad: &[u8],
    in_out: &mut [u8],
) -> Result<[u8; TAG_BYTES], SealError> {
    use aws_lc_rs::aead::{Aad, Nonce};
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), in_out)
        .map_err(|_| SealError::Cipher)?;
    tag.as_ref().try_into().map_err(|_| SealError::Cipher)
}

#[cfg(feature = "native")]
fn aes_open(
    key: &aws_lc_rs::aead::LessSafeKey,
    nonce: [u8; 12],
    aad: &[u8],
    in_out: &mut [u8],
) -> Result<(), SealError> {
    use aws_lc_rs::aead::{Aad, Nonce};
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, Aad::from(aad), in_out)
        .map_err(|_| SealError::Cipher)?;
    Ok(())
}

#[cfg(test)]
mod vectors;
