//! Who a request comes from.
//!
//! HTTP Basic (RFC 7617) against Argon2id hashes. A verified pair of name and password is remembered for a few minutes
//! by a keyed hash, so that a viewer's hundred requests cost one Argon2. Unknown names cost the same as wrong passwords.
//! At most two hashes run at once, and failures are counted by address: guessing is slow, and cannot starve serving.
//!
//! Sessions (`Authorization: Bearer`, cookie) have their one place in [`Authenticator::authenticate`].

mod limiter;
mod password;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use septum_core::access::Principal;
use septum_engine::accounts::{Accounts, User};
use tokio::sync::Semaphore;

use crate::http::problem::{Answer, Problem};
use limiter::Limiter;

pub use password::{PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN, hash, random_password};

/// How long a verified pair is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Pairs remembered at most.
const REMEMBERED_MAX: usize = 1024;
/// Hashes at once.
const HASHES_AT_ONCE: usize = 2;
/// Requests that may wait for their turn to hash.
const WAITING_MAX: usize = 16;
/// Longest Authorization header.
const HEADER_BYTES_MAX: usize = 1024;

/// Checks credentials.
pub struct Authenticator {
    accounts: Arc<Accounts>,
    /// Keys the memory's hashes; new at each start.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    limiter: Limiter,
}

struct Remembered {
    until: Instant,
    /// The hash that was verified: a changed password forgets the pair.
    password_hash: String,
    name: String,
}

impl Authenticator {
    /// Over the catalogue's users.
    pub fn new(accounts: Arc<Accounts>) -> Self {
        let half = || *septum_core::ids::ObjectId::random().as_bytes();
        let mut key = [0; 32];
        key[..16].copy_from_slice(&half());
        key[16..].copy_from_slice(&half());
        Self {
            accounts,
            key,
            remembered: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            limiter: Limiter::default(),
        }
    }

    /// The principal of a request; `None` where it names nobody.
    ///
    /// # Errors
    /// 401 for wrong credentials and for schemes that are not known; 429 after too many failures.
    pub async fn authenticate(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Answer<Option<Arc<Principal>>> {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Ok(None);
        };
        let text = header.to_str().map_err(|_| Problem::unauthenticated())?;
        if text.len() > HEADER_BYTES_MAX {
            return Err(Problem::unauthenticated());
        }
        let (scheme, credentials) = text.split_once(' ').ok_or_else(Problem::unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Problem::unauthenticated());
        }
        let (name, password) = basic(credentials.trim()).ok_or_else(Problem::unauthenticated)?;
        let user = self.verify(&name, &password, address).await?;
        let mut principal = Principal::new(user.id, user.name.clone());
        principal.administrator = user.administrator;
        Ok(Some(Arc::new(principal)))
    }

    async fn verify(&self, name: &str, password: &str, address: Option<IpAddr>) -> Answer<Arc<User>> {
        let user = self.accounts.user(name)?;
        let pair = self.pair(name, password);
        if let Some(user) = &user
            && self.remembers(&pair, user)
        {
            return Ok(Arc::clone(user));
        }
        let later = || {
            Problem::later(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-attempts",
                "too many attempts to sign in",
                10,
            )
        };
        if !self.limiter.may_try(address) {
            return Err(later());
        }
        let _waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| later())?;
        let turn = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| later())?;
        // Whoever waited behind the same pair finds it remembered now.
        if let Some(user) = &user
            && self.remembers(&pair, user)
        {
            return Ok(Arc::clone(user));
        }
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let given = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            let verified = password::verify(stored.as_deref(), &given);
            drop(turn);
            verified
        });
        let verified = verified.await.unwrap_or(false);
        match user {
            Some(user) if verified => {
                self.remember(pair, &user);
                Ok(user)
            }
            _ => {
                self.limiter.note_failure(address);
                Err(Problem::unauthenticated())
            }
        }
    }

    fn pair(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn remembers(&self, pair: &[u8; 32], user: &User) -> bool {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(known) = remembered.get(pair) else {
            return false;
        };
        let valid =
            known.until > Instant::now() && known.name == user.name && known.password_hash == user.password_hash;
        if !valid {
            remembered.remove(pair);
        }
        valid
    }

    fn remember(&self, pair: [u8; 32], user: &User) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, known| known.until > now);
        }
        if remembered.len() < REMEMBERED_MAX {
            let (password_hash, name) = (user.password_hash.clone(), user.name.clone());
            remembered.insert(
                pair,
                Remembered {
                    until: now + REMEMBERED,
                    password_hash,
                    name,
                },
            );
        }
    }
}

/// `name:password` in Base64, UTF-8 (RFC 7617 section 2).
fn basic(credentials: &str) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD.decode(credentials).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read() {
        for (text, expected) in [
            ("YTpi", Some(("a", "b"))),
            ("YTpiOmM=", Some(("a", "b:c"))),
            ("w6Q6w7Y=", Some(("ä", "ö"))),
            ("YWI=", None),
            ("!", None),
            ("/zo=", None),
        ] {
            let pair = basic(text);
            assert_eq!(
                pair.as_ref().map(|(name, password)| (name.as_str(), password.as_str())),
                expected,
                "{text}"
            );
        }
    }
}
