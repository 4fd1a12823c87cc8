//! Password hashes: Argon2id (RFC 9106) with 64 MiB, three passes, one lane, in PHC string form.

use std::sync::OnceLock;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

/// Shortest password that is taken.
pub const PASSWORD_CHARACTERS_MIN: usize = 10;
/// Longest password that is taken.
pub const PASSWORD_CHARACTERS_MAX: usize = 128;

const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// Letters and digits that are not mistaken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

fn argon2() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hash of a password. `None` only where the operating system has no memory or randomness to give.
pub fn hash(password: &str) -> Option<String> {
    argon2()?
        .hash_password(password.as_bytes())
        .ok()
        .map(|hash| hash.to_string())
}

/// Whether the password is the one of the stored hash. Without a stored hash the same work is done, and the answer is no.
pub(super) fn verify(stored: Option<&str>, password: &str) -> bool {
    static NOBODY: OnceLock<Option<String>> = OnceLock::new();
    let nobody = || NOBODY.get_or_init(|| hash(&random_password())).as_deref();
    let Some(phc) = stored.or_else(nobody) else {
        return false;
    };
    let Ok(parsed) = argon2::PasswordHash::new(phc) else {
        return false;
    };
    let matches = argon2().is_some_and(|argon2| argon2.verify_password(password.as_bytes(), &parsed).is_ok());
    matches && stored.is_some() && password.chars().count() <= PASSWORD_CHARACTERS_MAX
}

/// A password of 100 random bits in four groups.
pub fn random_password() -> String {
    let random = [
        septum_core::ids::ObjectId::random(),
        septum_core::ids::ObjectId::random(),
    ];
    let mut password = String::new();
    for (index, byte) in random.iter().flat_map(|id| *id.as_bytes()).take(20).enumerate() {
        if index > 0 && index % 5 == 0 {
            password.push('-');
        }
        password.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_verified() {
        let stored = hash("correct horse").expect("hashes");
        assert!(stored.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"));
        assert!(verify(Some(&stored), "correct horse"));
        assert!(!verify(Some(&stored), "wrong horse"));
        assert!(!verify(Some("no hash"), "correct horse"));
        assert!(!verify(None, "correct horse"));
    }

    #[test]
    fn random_passwords_are_long_and_differ() {
        let (one, other) = (random_password(), random_password());
        assert_eq!(one.len(), 23);
        assert_ne!(one, other);
    }
}
