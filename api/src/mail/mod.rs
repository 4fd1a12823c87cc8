//! Mail that goes out: invitations, lost passwords, notices.
//!
//! ```text
//! call ─► letter (what it says) ─► outbox (kept, sealed) ─► transport (SMTP) ─► gone from the outbox
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`letter`] | the words, and how they become a message |
//! | [`outbox`] | what waits: kept until the mail server took it, tried again later and later, given up in the end |
//! | [`transport`] | the mail server |
//!
//! Invariants: no mail and no log line holds a patient's name or id, nor anything that somebody wrote about a study; links
//! in mail begin with the configured address of this server and never with what a request says of itself. A message may go
//! out twice where the server stops between sending and noting so; its Message-ID is the same then.

pub mod letter;
pub mod outbox;
pub mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use lettre::message::Mailbox;
use tokio::sync::Notify;

use crate::config::MailConfig;
use transport::Transport;

/// Why there is no mail although some is configured.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A file that a setting names.
    #[error("{setting}: {error}")]
    File {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// A setting that makes no sense.
    #[error("{0} cannot be used")]
    Setting(&'static str),
}

/// Everything that sending mail takes.
pub struct Mailer {
    transport: Transport,
    from: Mailbox,
    public_url: String,
    /// How many letters wait, as far as is known.
    waiting: AtomicUsize,
    /// Wakes who sends.
    wake: Notify,
}

impl Mailer {
    /// From the settings; `None` where no mail goes out.
    ///
    /// # Errors
    /// [`MailError`].
    pub fn open(config: &MailConfig) -> Result<Option<Arc<Self>>, MailError> {
        if !config.is_on() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Self {
            transport: Transport::open(config)?,
            from: config.from.parse().map_err(|_| MailError::Setting("mail.from"))?,
            public_url: config.public_url.clone(),
            waiting: AtomicUsize::new(0),
            wake: Notify::new(),
        })))
    }

    /// How people reach this server.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }
}
