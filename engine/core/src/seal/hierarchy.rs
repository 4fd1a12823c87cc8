//! The key hierarchy: root key → account keys by epoch → study keys, as wrapped in the key store.
//!
//! The root key itself comes from outside (a key file, later a token or a key service) and is a [`DataKey`].

use super::wrap::{AccountKeyKind, Half, WrapBinding, unwrap, wrap};
use super::{DataKey, IndexKey, SealError, Suite};
use crate::ids::{AccountId, StudyKeyId};

/// An account's keys of one epoch, in memory. Wiped on drop.
#[derive(Debug, Clone)]
pub struct AccountKeys {
    /// The account.
    pub account: AccountId,
    /// Counts up at each rotation.
    pub epoch: u32,
    phi: DataKey,
    pixel: DataKey,
    index: IndexKey,
}

/// An account's keys of one epoch, as the key store holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedAccountKeys {
    /// Wraps PHI keys.
    pub phi: Vec<u8>,
    /// Wraps pixel keys.
    pub pixel: Vec<u8>,
    /// Makes tokens.
    pub index: Vec<u8>,
}

impl AccountKeys {
    /// Fresh keys for a new account: epoch 0.
    pub fn generate(account: AccountId) -> Self {
        let index = IndexKey::new(DataKey::random());
        Self {
            account,
            epoch: 0,
            phi: DataKey::random(),
            pixel: DataKey::random(),
            index,
        }
    }

    /// The next epoch: fresh wrapping keys, the same index key (its tokens are in every row).
    ///
    /// `None` when epochs are used up (2^32).
    pub fn next_epoch(&self) -> Option<Self> {
        let epoch = self.epoch.checked_add(1)?;
        let index = self.index.clone();
        Some(Self {
            account: self.account,
            epoch,
            phi: DataKey::random(),
            pixel: DataKey::random(),
            index,
        })
    }

    /// The key of blind index tokens.
    pub fn index_key(&self) -> &IndexKey {
        &self.index
    }

    /// Wraps all three under the root key. Errors as [`wrap`].
    pub fn wrap(&self, suite: Suite, root: &DataKey) -> Result<WrappedAccountKeys, SealError> {
        let wrap = |kind, key| wrap(suite, root, key, &self.binding(kind));
        Ok(WrappedAccountKeys {
            phi: wrap(AccountKeyKind::Phi, &self.phi)?,
            pixel: wrap(AccountKeyKind::Pixel, &self.pixel)?,
            index: wrap(AccountKeyKind::Index, self.index.key())?,
        })
    }

    /// Unwraps all three. Errors as [`unwrap`].
    pub fn unwrap(
        root: &DataKey,
        account: AccountId,
        epoch: u32,
        wrapped: &WrappedAccountKeys,
    ) -> Result<Self, SealError> {
        let unwrap = |kind, bytes| unwrap(root, bytes, &WrapBinding::Account { account, kind, epoch });
        Ok(Self {
            account,
            epoch,
            phi: unwrap(AccountKeyKind::Phi, &wrapped.phi)?,
            pixel: unwrap(AccountKeyKind::Pixel, &wrapped.pixel)?,
            index: IndexKey::new(unwrap(AccountKeyKind::Index, &wrapped.index)?),
        })
    }

    fn binding(&self, kind: AccountKeyKind) -> WrapBinding {
        WrapBinding::Account {
            account: self.account,
            kind,
            epoch: self.epoch,
        }
    }

    fn half(&self, half: Half) -> &DataKey {
        match half {
            Half::Phi => &self.phi,
            Half::Pixel => &self.pixel,
        }
    }

    /// Wraps one study key of one half: for a share, only the pixel half goes to another account.
    /// Errors as [`wrap`].
    pub fn wrap_study_key(
        &self,
        suite: Suite,
        half: Half,
        id: StudyKeyId,
        key: &DataKey,
    ) -> Result<Vec<u8>, SealError> {
        wrap(suite, self.half(half), key, &self.study_binding(half, id))
    }

    /// Unwraps one study key of one half. Errors as [`unwrap`].
    pub fn unwrap_study_key(&self, half: Half, id: StudyKeyId, wrapped: &[u8]) -> Result<DataKey, SealError> {
        unwrap(self.half(half), wrapped, &self.study_binding(half, id))
    }

    fn study_binding(&self, half: Half, study_key: StudyKeyId) -> WrapBinding {
        WrapBinding::Study {
            account: self.account,
            half,
            epoch: self.epoch,
            study_key,
        }
    }
}

/// The pair of data keys of one study, in memory. Wiped on drop.
#[derive(Debug, Clone)]
pub struct StudyKeys {
    /// The pair's id.
    pub id: StudyKeyId,
    /// Seals the PHI side.
    pub phi: DataKey,
    /// Seals the pixel side.
    pub pixel: DataKey,
}

/// The pair of data keys of one study, as the key store holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedStudyKeys {
    /// The PHI key.
    pub phi: Vec<u8>,
    /// The pixel key.
    pub pixel: Vec<u8>,
}

impl StudyKeys {
    /// A fresh pair.
    pub fn generate() -> Self {
        Self {
            id: StudyKeyId::random(),
            phi: DataKey::random(),
            pixel: DataKey::random(),
        }
    }

    /// A pair whose pixel key is this one's: of a share, which opens the same pixels and nobody else's identity.
    pub fn on_same_pixels(&self) -> Self {
        Self {
            pixel: self.pixel.clone(),
            ..Self::generate()
        }
    }

    /// Wraps both under the account's keys. Errors as [`wrap`].
    pub fn wrap(&self, suite: Suite, account: &AccountKeys) -> Result<WrappedStudyKeys, SealError> {
        Ok(WrappedStudyKeys {
            phi: account.wrap_study_key(suite, Half::Phi, self.id, &self.phi)?,
            pixel: account.wrap_study_key(suite, Half::Pixel, self.id, &self.pixel)?,
        })
    }

    /// Unwraps both. Errors as [`unwrap`].
    pub fn unwrap(account: &AccountKeys, id: StudyKeyId, wrapped: &WrappedStudyKeys) -> Result<Self, SealError> {
        Ok(Self {
            id,
            phi: account.unwrap_study_key(Half::Phi, id, &wrapped.phi)?,
            pixel: account.unwrap_study_key(Half::Pixel, id, &wrapped.pixel)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_round_trips_and_keeps_accounts_apart() {
        let suite = Suite::default();
        let root = DataKey::random();
        let account = AccountKeys::generate(AccountId::random());
        let wrapped = account.wrap(suite, &root).unwrap();
        let account = AccountKeys::unwrap(&root, account.account, 0, &wrapped).unwrap();
        let study = StudyKeys::generate();
        let wrapped_study = study.wrap(suite, &account).unwrap();
        let again = StudyKeys::unwrap(&account, study.id, &wrapped_study).unwrap();
        assert_eq!((&again.phi, &again.pixel), (&study.phi, &study.pixel));

        let other = AccountKeys::generate(AccountId::random());
        assert_eq!(
            StudyKeys::unwrap(&other, study.id, &wrapped_study).unwrap_err(),
            SealError::Key
        );
        assert_eq!(
            AccountKeys::unwrap(&root, other.account, 0, &wrapped).unwrap_err(),
            SealError::Key
        );
        assert_eq!(
            AccountKeys::unwrap(&root, account.account, 1, &wrapped).unwrap_err(),
            SealError::Key
        );
        let next = account.next_epoch().unwrap();
        assert_eq!(
            StudyKeys::unwrap(&next, study.id, &wrapped_study).unwrap_err(),
            SealError::Key
        );
        assert_eq!(next.index_key(), account.index_key());
        let swapped = WrappedStudyKeys {
            phi: wrapped_study.pixel,
            pixel: wrapped_study.phi,
        };
        assert_eq!(
            StudyKeys::unwrap(&account, study.id, &swapped).unwrap_err(),
            SealError::Key
        );
    }

    #[test]
    fn a_share_wraps_the_pixel_key_once_more_and_nothing_else() {
        let (giver, receiver) = (
            AccountKeys::generate(AccountId::random()),
            AccountKeys::generate(AccountId::random()),
        );
        let study = StudyKeys::generate();
        let shared = receiver
            .wrap_study_key(Suite::default(), Half::Pixel, study.id, &study.pixel)
            .unwrap();
        assert_eq!(
            receiver.unwrap_study_key(Half::Pixel, study.id, &shared).unwrap(),
            study.pixel
        );
        assert_eq!(
            giver.unwrap_study_key(Half::Pixel, study.id, &shared).unwrap_err(),
            SealError::Key
        );
        assert_eq!(
            receiver.unwrap_study_key(Half::Phi, study.id, &shared).unwrap_err(),
            SealError::Key
        );
    }
}
