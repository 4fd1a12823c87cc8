//! The mail server: one connection for each letter, which are few.

use std::path::Path;
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::response::{Category, Severity};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::MailError;
use crate::config::MailConfig;
use crate::config::mail::{MailServer, Protection};

/// How long the mail server may take for each of its answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// The mail server took it.
    Taken,
    /// Not now.
    Later {
        /// The answer's code, where there was an answer.
        code: Option<u16>,
    },
    /// Never: nobody has that address, or the like.
    Never {
        /// The answer's code.
        code: u16,
    },
}

/// The mail server.
pub(super) struct Transport(AsyncSmtpTransport<Tokio1Executor>);

impl Transport {
    pub(super) fn open(config: &MailConfig) -> Result<Self, MailError> {
        let server = MailServer::parse(&config.server).ok_or(MailError::Setting("mail.server"))?;
        let tls = match server.protection {
            Protection::Plain => Tls::None,
            Protection::Tls => Tls::Wrapper(trusted(&server, &config.ca_file)?),
            Protection::StartTls => Tls::Required(trusted(&server, &config.ca_file)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .tls(tls)
            .timeout(Some(PATIENCE));
        if !config.user.is_empty() {
            let password = read("mail.password_file", &config.password_file)?;
            let password = String::from_utf8(password).map_err(|_| MailError::Setting("mail.password_file"))?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            builder = builder.credentials(Credentials::new(config.user.clone(), password));
        }
        Ok(Self(builder.build()))
    }

    pub(super) async fn hand(&self, message: Message) -> Handed {
        let Err(error) = self.0.send(message).await else {
            return Handed::Taken;
        };
        let code = error.status().map(u16::from);
        let is_final = error.status().is_some_and(|status| {
            status.severity == Severity::PermanentNegativeCompletion && status.category == Category::MailSystem
        });
        match code {
            // What is wrong with signing in or the connection is wrong with this server's settings, not with the letter.
            Some(code) if is_final => Handed::Never { code },
            code => Handed::Later { code },
        }
    }
}

fn trusted(server: &MailServer, ca_file: &Path) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(server.host.clone());
    if !ca_file.as_os_str().is_empty() {
        let certificates = Certificate::from_pem(&read("mail.ca_file", ca_file)?);
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificates.map_err(|_| MailError::Setting("mail.ca_file"))?);
    }
    builder.build().map_err(|_| MailError::Setting("mail.server"))
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, MailError> {
    std::fs::read(path).map_err(|error| MailError::File { setting, error })
}
