//! Who a request comes from.
//!
//! A session's `sid` (form field, query or cookie), a bearer token (RFC 6750), which is the same thing, or HTTP Basic (RFC
//! 7617) against Argon2id hashes: for every door alike. A verified pair of name and password is remembered for a few minutes
//! by a keyed hash, so that a viewer's hundred requests cost one Argon2. Unknown names cost the same as wrong passwords.
//! At most two hashes run at once, and failures are counted by address: guessing is slow, and cannot starve serving.
//!
//! [`Authenticator::signed_in`] is the one place where a request becomes somebody, [`Authenticator::verify`] the one place
//! where a password is looked at: further rules (second factors, allow-lists of addresses) belong there. A `sid` never
//! stands in a log.

mod limiter;
mod password;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use septum_core::access::Principal;
use septum_engine::EngineError;
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
/// Groups of pairs of which only one at a time is hashed.
const ALIKE: usize = 64;
/// Requests that may wait for their turn to hash.
const WAITING_MAX: usize = 16;
/// Longest Authorization header.
const HEADER_BYTES_MAX: usize = 1024;

/// The name of a session's secret, in forms, queries and cookies.
pub const SID: &str = "sid";

/// Where a request may name somebody, the most explicit first.
pub struct Presented<'a> {
    /// Of a form.
    pub sid: Option<&'a str>,
    /// Its `Authorization` header, query and cookies.
    pub request: Option<&'a HttpRequest>,
}

/// Somebody who asks.
pub struct SignedIn {
    /// Who, with the rights of all roles.
    pub principal: Arc<Principal>,
    /// The session's secret, where there is a session.
    pub sid: Option<String>,
}

/// Checks credentials.
pub struct Authenticator {
    accounts: Arc<Accounts>,
    /// Keys the memory's hashes; new at each start.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    hashing: Arc<Semaphore>,
    /// One hash at a time of each of so many groups of pairs: a client's first requests on several connections wait for
    /// one hash instead of each making its own.
    alike: [Semaphore; ALIKE],
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
            alike: std::array::from_fn(|_| Semaphore::new(1)),
            hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            limiter: Limiter::default(),
        }
    }

    /// Who a request comes from, with their rights as they are now; `None` where it names nobody.
    ///
    /// # Errors
    /// 401 for wrong credentials, for sessions that are over and for schemes that are not known; 429 after too many
    /// failures.
    pub async fn signed_in(&self, presented: &Presented<'_>, address: Option<IpAddr>) -> Answer<Option<SignedIn>> {
        if let Some(sid) = presented.sid {
            return self.by_session(sid).map(Some);
        }
        let Some(request) = presented.request else {
            return Ok(None);
        };
        if let Some(header) = request.headers().get(AUTHORIZATION) {
            let text = header.to_str().map_err(|_| Problem::unauthenticated())?;
            if text.len() > HEADER_BYTES_MAX {
                return Err(Problem::unauthenticated());
            }
            let (scheme, credentials) = text.split_once(' ').ok_or_else(Problem::unauthenticated)?;
            if scheme.eq_ignore_ascii_case("bearer") {
                return self.by_session(credentials.trim()).map(Some);
            }
            if !scheme.eq_ignore_ascii_case("basic") {
                return Err(Problem::unauthenticated());
            }
            let (name, password) = basic(credentials.trim()).ok_or_else(Problem::unauthenticated)?;
            let user = self.verify(&name, &password, address).await?;
            return Ok(Some(SignedIn {
                principal: self.accounts.principal(user.id)?,
                sid: None,
            }));
        }
        let mut query = crate::http::query_pairs(request).into_iter();
        if let Some((_, sid)) = query.find(|(name, _)| name == SID) {
            return self.by_session(&sid).map(Some);
        }
        match cookie(request, SID) {
            Some(sid) => self.by_session(sid).map(Some),
            None => Ok(None),
        }
    }

    fn by_session(&self, sid: &str) -> Answer<SignedIn> {
        let session = self.accounts.sessions.used(sid)?.ok_or_else(Problem::unauthenticated)?;
        let principal = self.accounts.principal(session.user).map_err(|error| match error {
            // The user is gone.
            EngineError::NotFound => Problem::unauthenticated(),
            error => Problem::from(error),
        })?;
        Ok(SignedIn {
            principal,
            sid: Some(sid.to_owned()),
        })
    }

    /// The user of a name and password. Guests have none: they come by their link.
    ///
    /// # Errors
    /// 401 where they are not right, 429 after too many failures.
    pub async fn verify(&self, name: &str, password: &str, address: Option<IpAddr>) -> Answer<Arc<User>> {
        let user = self.accounts.user(name)?.filter(|user| user.guest.is_none());
        let pair = self.pair(name, password);
        if let Some(user) = &user
            && self.remembers(&pair, user)
        {
            return Ok(Arc::clone(user));
        }
        let _waiting = self.may_try(address)?;
        // The pair's hash is keyed: nobody can choose a group to block.
        let _alike = self.alike[usize::from(pair[0]) % ALIKE]
            .acquire()
            .await
            .map_err(|_| too_many())?;
        // Whoever waited behind the same pair finds it remembered now.
        if let Some(user) = &user
            && self.remembers(&pair, user)
        {
            return Ok(Arc::clone(user));
        }
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        match user {
            Some(user) if self.matches(stored, password).await? => {
                self.remember(pair, &user);
                Ok(user)
            }
            Some(_) => Err(self.failed(address)),
            None => {
                // As long as for a name that is known.
                self.matches(None, password).await?;
                Err(self.failed(address))
            }
        }
    }

    /// Whether a password is that of a hash, for what has a password beside users.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn check(&self, hash: String, password: &str, address: Option<IpAddr>) -> Answer<()> {
        let _waiting = self.may_try(address)?;
        if self.matches(Some(hash), password).await? {
            Ok(())
        } else {
            Err(self.failed(address))
        }
    }

    /// What `find` gives, for what may be guessed beside passwords. `None` is a wrong guess, and counts as one.
    ///
    /// # Errors
    /// 401 for a wrong guess, 429 after too many.
    pub fn guess<T>(&self, address: Option<IpAddr>, find: impl FnOnce() -> Option<T>) -> Answer<T> {
        let _waiting = self.may_try(address)?;
        find().ok_or_else(|| self.failed(address))
    }

    fn may_try(&self, address: Option<IpAddr>) -> Answer<tokio::sync::OwnedSemaphorePermit> {
        if !self.limiter.may_try(address) {
            return Err(too_many());
        }
        Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| too_many())
    }

    fn failed(&self, address: Option<IpAddr>) -> Problem {
        self.limiter.note_failure(address);
        Problem::unauthenticated()
    }

    pub(crate) async fn matches(&self, stored: Option<String>, password: &str) -> Answer<bool> {
        let turn = Arc::clone(&self.hashing)
            .acquire_owned()
            .await
            .map_err(|_| too_many())?;
        let given = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            let verified = password::verify(stored.as_deref(), &given);
            drop(turn);
            verified
        });
        Ok(verified.await.unwrap_or(false))
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

fn too_many() -> Problem {
    Problem::later(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-attempts",
        "too many attempts to sign in",
        10,
    )
}

/// A cookie by its name (RFC 6265 section 4.2).
fn cookie<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let headers = request.headers().get_all(COOKIE);
    let mut pairs = headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
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
