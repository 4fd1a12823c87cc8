//! How the interface names a study: one text that holds the namespace its patient data is seen in and where it lies
//! there, so that a study has its name before its first image comes, and keeps it.

use septum_core::ids::NamespaceId;
use septum_core::seal::Token;
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::Owner;
use septum_engine::records::key;
use septum_engine::retrieve::StudyRef;
use septum_engine::services::Services;

/// A study's name in the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StudyName {
    /// The namespace its patient data is seen in.
    pub phi: NamespaceId,
    /// The namespace its pixels were stored in.
    pub storage: NamespaceId,
    /// The blind index token of its UID in the first.
    pub token: Token,
}

impl StudyName {
    /// The name of a study by its UID.
    ///
    /// # Errors
    /// Where the account's keys cannot be had.
    pub fn of_uid(
        services: &Services,
        namespace: &Namespace,
        storage: NamespaceId,
        study_uid: &str,
    ) -> Result<Self, EngineError> {
        let account = services.keyring.account(namespace.account)?;
        Ok(Self {
            phi: namespace.id,
            storage,
            token: services.studies.study_token(&account, namespace.id, study_uid),
        })
    }

    /// The name of a stored study.
    pub fn of_row_key(namespace: NamespaceId, row_key: &[u8]) -> Option<Self> {
        let rest = row_key.get(key::STUDY_PREFIX_BYTES..)?;
        let (token, storage) = rest.split_at_checked(16)?;
        Some(Self {
            phi: namespace,
            storage: NamespaceId::from_bytes(storage.try_into().ok()?),
            token: Token::from_bytes(token.try_into().ok()?),
        })
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        let part = |number: usize| super::ask::uuid(digits.get(number * 32..number * 32 + 32)?);
        let (phi, token) = (NamespaceId::from_bytes(part(0)?), Token::from_bytes(part(1)?));
        let storage = match digits.len() {
            64 => phi,
            96 => NamespaceId::from_bytes(part(2)?),
            _ => return None,
        };
        Some(Self { phi, storage, token })
    }

    /// The stored study, where there is one.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] where nothing came yet.
    pub fn find(&self, services: &Services, namespace: &Namespace) -> Result<StudyRef, EngineError> {
        let account = services.keyring.account(namespace.account)?;
        let row_key = self.row_key();
        for (shard, stored_in) in services.store.shards().iter().enumerate() {
            if stored_in.get(&row_key)?.is_some() {
                return StudyRef::load(services, self.phi, account, shard, row_key);
            }
        }
        Err(EngineError::NotFound)
    }

    /// The key of its row.
    pub fn row_key(&self) -> Vec<u8> {
        key::study(self.phi, &self.token, self.storage)
    }

    /// What the documents of the study belong to.
    pub fn owner(&self) -> Owner {
        let parts = [*self.phi.as_bytes(), *self.token.as_bytes(), *self.storage.as_bytes()];
        let digest = blake3::derive_key("septum documents of a study 1", &parts.concat());
        let mut owner = [0; 16];
        owner.copy_from_slice(&digest[..16]);
        owner
    }
}

impl std::fmt::Display for StudyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = NamespaceId::from_bytes(*self.token.as_bytes());
        write!(f, "{}-{token}", self.phi)?;
        if self.storage == self.phi {
            Ok(())
        } else {
            write!(f, "-{}", self.storage)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let here = NamespaceId::from_bytes([1; 16]);
        for storage in [here, NamespaceId::from_bytes([2; 16])] {
            let name = StudyName {
                phi: here,
                storage,
                token: Token::from_bytes([7; 16]),
            };
            assert_eq!(StudyName::parse(&name.to_string()), Some(name));
        }
        for text in ["", "1", &"0".repeat(32), &"0".repeat(65), &"g".repeat(64)] {
            assert_eq!(StudyName::parse(text), None, "{text}");
        }
    }
}
