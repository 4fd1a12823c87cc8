//! Secret keys in memory: 32 bytes, never printed, compared in constant time, wiped on drop.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;

/// A 256-bit secret. Wiped on drop; `Debug` shows nothing; equality takes constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey(Box<[u8; KEY_BYTES]>);

impl DataKey {
    /// Draws a fresh key from the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing safe can be done without it.
    pub fn random() -> Self {
        let mut key = Self(Box::new([0; KEY_BYTES]));
        fill_random(key.0.as_mut());
        key
    }

    /// A key that was kept elsewhere. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(Box::new(*bytes))
    }

    /// The secret bytes. For key stores and signing seeds only.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// HKDF-SHA-256 (RFC 5869) of this key with `salt`: the key for `label_key ‖ info` and the public commitment for
    /// `label_commit ‖ info`. `info` must be of fixed length or carry its own lengths.
    pub(super) fn derive(&self, salt: &[u8; 32], labels: Labels, info: &[u8]) -> (Self, [u8; COMMITMENT_BYTES]) {
        let hkdf = Hkdf::<Sha256>::new(Some(salt), self.expose());
        let mut key = Self(Box::new([0; KEY_BYTES]));
        let mut commitment = [0; COMMITMENT_BYTES];
        #[expect(
            clippy::expect_used,
            reason = "HKDF-SHA-256 gives up to 8160 bytes, 32 are asked for"
        )]
        {
            hkdf.expand_multi_info(&[labels.key, info], key.0.as_mut())
                .expect("32 bytes");
            hkdf.expand_multi_info(&[labels.commit, info], &mut commitment)
                .expect("32 bytes");
        }
        (key, commitment)
    }
}

impl PartialEq for DataKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for DataKey {}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// Bytes of a key commitment.
pub(super) const COMMITMENT_BYTES: usize = 32;

/// The two HKDF labels of one format: they keep keys of different formats, and keys and commitments, apart.
#[derive(Clone, Copy)]
pub(super) struct Labels {
    pub(super) key: &'static [u8],
    pub(super) commit: &'static [u8],
}

/// Whether two commitments are equal, in constant time.
pub(super) fn commitments_match(left: &[u8], right: &[u8; COMMITMENT_BYTES]) -> bool {
    left.ct_eq(right.as_slice()).into()
}

/// Fills from the operating system; panics where there is no randomness.
pub(super) fn fill_random(bytes: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "no key or salt may ever be predictable")]
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels = Labels {
        key: b"k",
        commit: b"c",
    };

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", DataKey::from_bytes([0xab; 32])), "DataKey(…)");
    }

    #[test]
    fn keys_compare_by_value_and_are_fresh() {
        assert_eq!(DataKey::from_bytes([1; 32]), DataKey::from_bytes([1; 32]));
        assert_ne!(DataKey::from_bytes([1; 32]), DataKey::from_bytes([2; 32]));
        assert_ne!(DataKey::random(), DataKey::random());
    }

    #[test]
    fn wiping_leaves_zeros() {
        let mut key = DataKey::from_bytes([7; 32]);
        key.zeroize();
        assert_eq!(key.expose(), &[0; 32]);
    }

    #[test]
    fn derivation_depends_on_everything() {
        let key = DataKey::from_bytes([1; 32]);
        let base = key.derive(&[0; 32], LABELS, b"info");
        assert_eq!(base.0, key.derive(&[0; 32], LABELS, b"info").0);
        assert_ne!(base.0.expose(), &base.1);
        assert_ne!(base.0, key.derive(&[1; 32], LABELS, b"info").0);
        assert_ne!(base.0, key.derive(&[0; 32], LABELS, b"other").0);
        assert_ne!(base.0, DataKey::from_bytes([2; 32]).derive(&[0; 32], LABELS, b"info").0);
    }
}
