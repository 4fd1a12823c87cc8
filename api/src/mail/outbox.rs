//! The outbox: letters that wait for the mail server, kept like everything else that must not be lost.
//!
//! A letter is a document of the catalogue: sealed, there after a restart, gone once the mail server took it. What the mail
//! server does not take is tried again after two seconds, four, eight, and so on, at most once an hour, for two days.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use septum_core::ids::{AccountId, DocumentId};
use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind, NewDocument, Owner};
use septum_engine::pipeline::messages::Source;
use septum_engine::services::{Services, now_ms};
use serde_json::{Map, Value, json};

use super::Mailer;
use super::letter::Letter;
use super::transport::Handed;

/// Letters that wait at once.
const WAITING_MAX: usize = 10_000;
/// What letters belong to.
const OWNER: Owner = *b"septum outbox\0\0\0";
/// How often the outbox is looked at while nobody adds to it.
const LOOK: Duration = Duration::from_secs(2);
/// When a letter is tried again for the first time, in milliseconds; each time doubles it.
const AGAIN_MS: i64 = 2_000;
/// The longest time between two tries, in milliseconds.
const AGAIN_MS_MAX: i64 = 3_600_000;
/// When a letter is given up, in milliseconds after it was written.
const GIVE_UP_MS: i64 = 2 * 24 * 3_600_000;

/// How long a letter waits after so many tries, in milliseconds.
fn pause_ms(tries: u32) -> i64 {
    let doubled = 1_i64.checked_shl(tries.saturating_sub(1).min(20)).unwrap_or(i64::MAX);
    AGAIN_MS.saturating_mul(doubled).min(AGAIN_MS_MAX)
}

fn number(document: &Document, name: &str) -> i64 {
    document.body.get(name).and_then(Value::as_i64).unwrap_or_default()
}

fn letter_of(document: &Document) -> Letter {
    let text = |name: &str| {
        let value = document.body.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    Letter {
        to: text("to"),
        subject: text("subject"),
        text: text("text"),
    }
}

fn source_of(document: &Document) -> Source {
    Source {
        user: document.created_by,
        address: None,
    }
}

impl Mailer {
    /// Keeps a letter until it is sent.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] where too many wait; where it cannot be stored.
    pub async fn post(
        &self,
        services: &Services,
        letter: &Letter,
        account: AccountId,
        source: &Source,
    ) -> Result<(), EngineError> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return Err(EngineError::Overloaded {
                retry_after_seconds: 60,
            });
        }
        let body = json!({"to": letter.to, "subject": letter.subject, "text": letter.text});
        let new = NewDocument {
            kind: Kind::Mail,
            owner: OWNER,
            account,
            body: body.as_object().cloned().unwrap_or_else(Map::new),
        };
        services.accounts.documents.add(new, source).await?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        services.telemetry.mail.with_label_values(&["queued"]).inc();
        self.wake.notify_one();
        Ok(())
    }

    /// Sends what waits, until the server stops.
    pub async fn run(self: Arc<Self>, services: Weak<Services>) {
        loop {
            if let Err(error) = self.deliver(&services).await {
                tracing::error!(%error, "mail could not be looked through; it is tried again");
            }
            let _woken = tokio::time::timeout(LOOK, self.wake.notified()).await;
            if services.strong_count() == 0 {
                return;
            }
        }
    }

    /// Tries everything that is due once.
    async fn deliver(&self, services: &Weak<Services>) -> Result<(), EngineError> {
        // The archive closes when nobody holds it: it is let go while the mail server is waited for.
        let due = {
            let Some(services) = services.upgrade() else {
                return Ok(());
            };
            let mut waiting = services.accounts.documents.list(Kind::Mail, &OWNER)?;
            self.waiting.store(waiting.len(), Ordering::Relaxed);
            services
                .telemetry
                .mail_waiting
                .set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
            let now = now_ms();
            waiting.retain(|document| number(document, "next_ms") <= now);
            waiting.sort_by_key(|document| document.created_ms);
            waiting
        };
        for document in due {
            let handed = match letter_of(&document).message(&self.from, document.id) {
                Some(message) => self.transport.hand(message).await,
                // An address that is none is never one.
                None => Handed::Never { code: 553 },
            };
            let Some(services) = services.upgrade() else {
                return Ok(());
            };
            self.settle(&services, &document, handed).await?;
            if handed == (Handed::Later { code: None }) {
                // The mail server cannot be reached: the others wait for the next round.
                break;
            }
        }
        Ok(())
    }

    async fn settle(&self, services: &Services, document: &Document, handed: Handed) -> Result<(), EngineError> {
        let is_old = now_ms() - document.created_ms > GIVE_UP_MS;
        let count = |outcome: &str| services.telemetry.mail.with_label_values(&[outcome]).inc();
        let id = document.id;
        match handed {
            Handed::Taken => {
                count("sent");
                remove(services, document).await
            }
            Handed::Later { code } if !is_old => {
                count("retried");
                tracing::warn!(letter = %id, code, "the mail server did not take a letter; it is tried again");
                again(services, id, &source_of(document)).await
            }
            Handed::Later { code } => {
                count("dropped");
                tracing::error!(letter = %id, code, "the mail server never took a letter; it is given up");
                remove(services, document).await
            }
            Handed::Never { code } => {
                count("dropped");
                tracing::error!(letter = %id, code, "the mail server refuses a letter for good; it is given up");
                remove(services, document).await
            }
        }
    }
}

async fn again(services: &Services, id: DocumentId, source: &Source) -> Result<(), EngineError> {
    let edit = |document: &mut Document| {
        let tries = number(document, "tries") + 1;
        let next_ms = now_ms().saturating_add(pause_ms(u32::try_from(tries).unwrap_or(u32::MAX)));
        document.body.insert("tries".into(), tries.into());
        document.body.insert("next_ms".into(), next_ms.into());
        Ok::<(), EngineError>(())
    };
    services.accounts.documents.edit(Kind::Mail, id, source, edit).await?;
    Ok(())
}

async fn remove(services: &Services, document: &Document) -> Result<(), EngineError> {
    let (store, source) = (&services.accounts.documents, source_of(document));
    match store.delete(Kind::Mail, document.id, &source).await {
        Ok(()) | Err(EngineError::NotFound) => Ok(()),
        failed => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_an_hour() {
        let pauses: Vec<i64> = [1, 2, 3, 11, 12, 100].into_iter().map(pause_ms).collect();
        assert_eq!(pauses, [2_000, 4_000, 8_000, 2_048_000, 3_600_000, 3_600_000]);
    }
}
