//! One-time tokens: what a link in a mail proves, that whoever has it reads that address.
//!
//! A token is 16 random bytes. What it stands for is a document that belongs to a digest of it: the token itself is
//! nowhere on disk but in a letter that waits to go out. It ends by itself, and by being used.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use septum_core::ids::DocumentId;
use septum_engine::EngineError;
use septum_engine::accounts::documents::{AGAIN_MS, Document, Kind, Owner};
use septum_engine::pipeline::messages::Source;
use septum_engine::services::{Services, now_ms};
use serde_json::Value;

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};

/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// The kinds of document that end by themselves.
const ENDING: [Kind; 4] = [
    Kind::Invitation,
    Kind::PasswordReset,
    Kind::InvitedShare,
    Kind::DeferredShare,
];
/// Calls that are remembered in case they come again.
const CALLS_MAX: usize = 1_000;
/// Names that a pace is kept of.
const NAMES_MAX: usize = 10_000;

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 16]);

impl Token {
    /// One that nobody had before.
    pub fn fresh() -> Self {
        Self(*DocumentId::random().as_bytes())
    }

    /// Reads what [`std::fmt::Display`] writes; hyphens may be in it.
    pub fn parse(text: &str) -> Option<Self> {
        uuid(text).map(Self)
    }

    /// What the document of that kind that it stands for belongs to.
    pub fn owner(self, kind: Kind) -> Owner {
        let text = [&[kind as u8], self.0.as_slice()].concat();
        let digest = blake3::derive_key("septum one-time token 1", &text);
        let mut owner = [0; 16];
        owner.copy_from_slice(&digest[..16]);
        owner
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        DocumentId::from_bytes(self.0).fmt(f)
    }
}

/// When a document ends, milliseconds since 1970; one that does not say so has ended.
pub fn ends_ms(document: &Document) -> i64 {
    document.body.get("ends_ms").and_then(Value::as_i64).unwrap_or_default()
}

/// What a token stands for and has not ended. Whoever guesses is slowed down like whoever guesses passwords.
///
/// # Errors
/// `wrong` where it stands for nothing, `LOCKOUT` after too many wrong ones.
pub fn find(ask: &Ask, kind: Kind, token: &str, wrong: &'static str) -> Outcome<Document> {
    let found = match Token::parse(token) {
        Some(token) => ask
            .accounts()
            .documents
            .list(kind, &token.owner(kind))?
            .into_iter()
            .next(),
        None => None,
    };
    let found = found.filter(|document| ends_ms(document) > now_ms());
    let guessed = ask.app.authenticator.guess(ask.address, || found);
    guessed.map_err(|problem| match problem.status() {
        StatusCode::UNAUTHORIZED => Fault::new(wrong),
        _ => Fault::new("LOCKOUT"),
    })
}

/// How often something may happen to one name: so many times at once, and again each so many seconds.
struct Pace {
    burst: f64,
    seconds: f64,
    keys: RandomState,
    levels: Mutex<HashMap<u64, (f64, Instant)>>,
}

impl Pace {
    fn new(burst: f64, seconds: f64) -> Self {
        Self {
            burst,
            seconds,
            keys: RandomState::new(),
            levels: Mutex::default(),
        }
    }

    /// Counts one more, where that is not too many.
    fn take(&self, name: &str) -> bool {
        let now = Instant::now();
        let level =
            |(level, since): (f64, Instant)| (level - now.duration_since(since).as_secs_f64() / self.seconds).max(0.0);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.len() >= NAMES_MAX {
            levels.retain(|_, known| level(*known) > 0.0);
        }
        let key = self.keys.hash_one(name);
        let is_full = levels.len() >= NAMES_MAX && !levels.contains_key(&key);
        let before = levels.get(&key).map_or(0.0, |known| level(*known));
        // Nobody makes room by filling the memory: then nothing goes until it has emptied.
        if is_full || before + 1.0 > self.burst {
            return false;
        }
        levels.insert(key, (before + 1.0, now));
        true
    }
}

/// What is known of tokens while the server runs.
pub struct OneTime {
    by_client: Pace,
    by_email: Pace,
    calls: Mutex<HashMap<[u8; 32], (Token, Instant)>>,
}

impl Default for OneTime {
    fn default() -> Self {
        Self {
            by_client: Pace::new(20.0, 30.0),
            by_email: Pace::new(3.0, 600.0),
            calls: Mutex::default(),
        }
    }
}

impl OneTime {
    /// Whether a client may ask for one more letter to whomever it names.
    pub fn may_ask(&self, client: Option<IpAddr>) -> bool {
        let name = match client {
            // One host has all of a network of 64 bits.
            Some(IpAddr::V6(v6)) => format!("{:x}", u128::from(v6) >> 64),
            Some(v4) => v4.to_string(),
            None => String::new(),
        };
        self.by_client.take(&name)
    }

    /// Whether one more letter that nobody signed in asked for may go to an address.
    pub fn may_write(&self, email: &str) -> bool {
        self.by_email.take(email)
    }

    /// The token of a call: that of the same call a short while ago, whose answer may have been lost.
    ///
    /// # Errors
    /// 401 where nobody asks.
    pub fn token(&self, ask: &Ask) -> Outcome<Token> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(ask.principal()?.user.as_bytes());
        hasher.update(ask.entry.path.as_bytes());
        for (name, value) in ask.parameters.iter().filter(|(name, _)| *name != "sid") {
            for text in [name, value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        let again = Duration::from_millis(AGAIN_MS.unsigned_abs());
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|_, (_, since)| since.elapsed() < again);
        if calls.len() >= CALLS_MAX {
            calls.clear();
        }
        let made = || (Token::fresh(), Instant::now());
        Ok(calls.entry(*hasher.finalize().as_bytes()).or_insert_with(made).0)
    }
}

/// Removes, now and then, what has ended.
pub async fn sweep(services: Weak<Services>) {
    let mut interval = tokio::time::interval(SWEEP);
    loop {
        interval.tick().await;
        let Some(services) = services.upgrade() else { return };
        if let Err(error) = sweep_once(&services).await {
            tracing::error!(%error, "invitations that are over could not be removed; it is tried again");
        }
    }
}

async fn sweep_once(services: &Services) -> Result<(), EngineError> {
    let store = &services.accounts.documents;
    for kind in ENDING {
        for document in store.all(kind)? {
            if ends_ms(&document) <= now_ms() {
                let source = Source {
                    user: document.created_by,
                    address: None,
                };
                match store.delete(kind, document.id, &source).await {
                    Ok(()) | Err(EngineError::NotFound) => {}
                    failed => return failed,
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_stand_for_one_kind() {
        let token = Token::fresh();
        assert_eq!(Token::parse(&token.to_string()), Some(token));
        assert_ne!(token.owner(Kind::Invitation), token.owner(Kind::PasswordReset));
        assert_ne!(token.owner(Kind::Invitation), token.0, "the token is not on disk");
        assert_eq!(Token::parse("x"), None);
    }

    #[test]
    fn a_pace_is_kept_by_name() {
        let pace = Pace::new(3.0, 600.0);
        let taken: Vec<bool> = (0..5).map(|_| pace.take("one")).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(pace.take("other"));
        let one_time = OneTime::default();
        let client = |text: &str| Some(text.parse().expect("an address"));
        assert!((0..20).all(|_| one_time.may_ask(client("2001:db8::1"))));
        assert!(!one_time.may_ask(client("2001:db8::2")));
        assert!(one_time.may_ask(client("192.0.2.1")) && one_time.may_ask(None));
    }
}
