//! Certificates, credentials and the HTTP client.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use super::arguments::{RemoteArguments, Target};
use super::stop::Stop;
use super::{RemoteError, password};

/// The certificate that a Septum makes for itself, relative to the folder it was started in.
const OWN_CERTIFICATE: &str = "data/tls/cert.pem";

/// Names a file of trusted certificates for many programs, OpenSSL's first.
const CERTIFICATE_VARIABLE: &str = "SSL_CERT_FILE";

/// A way to a server. Shared by all threads; a clone uses the same connections.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The HTTP client.
    pub(crate) agent: ureq::Agent,
    /// The value of `Authorization`, when there is a user.
    pub(crate) authorization: Option<String>,
    /// Times to try again.
    pub(crate) retries: u32,
    /// First wait before trying again.
    pub(crate) retry_wait: Duration,
}

impl Connection {
    /// Reads certificates, asks for the password. Sends nothing yet. A server that says nothing for `read_wait` is
    /// given up.
    pub(crate) fn new(
        arguments: &RemoteArguments,
        target: &Target,
        user_agent: &str,
        read_wait: Duration,
        stop: &Stop,
    ) -> Result<Self, RemoteError> {
        let authorization = match &arguments.user {
            None => None,
            Some(user) if user.contains(':') => {
                return Err(RemoteError::Usage("--user must not hold a colon (RFC 7617)".into()));
            }
            Some(user) => {
                let password = password::get(user, &target.studies_url(), stop)?;
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
        };
        let config = ureq::Agent::config_builder()
            .tls_config(tls_config(arguments, target)?)
            .http_status_as_error(false)
            // A body that streams cannot be sent twice, and credentials belong to one server.
            .max_redirects(0)
            .max_idle_connections_per_host(arguments.parallel)
            .max_idle_connections(arguments.parallel)
            .user_agent(user_agent)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_per_write(Some(Duration::from_secs(120)))
            .timeout_per_read(Some(read_wait))
            .output_buffer_size(256 << 10)
            .build();
        Ok(Self {
            agent: config.new_agent(),
            authorization,
            retries: arguments.retries,
            retry_wait: Duration::from_millis(arguments.retry_wait_ms),
        })
    }
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Trying again may help.
    Maybe(String),
    /// Trying again is no use.
    Hopeless(String),
}

/// Judges an error of the HTTP client.
pub(crate) fn classify(error: &ureq::Error) -> Broken {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    match (error, tls) {
        (_, Some(rustls::Error::InvalidCertificate(reason))) => Broken::Hopeless(format!(
            "the server's certificate is not trusted ({reason:?}): give its PEM file by --ca"
        )),
        (_, Some(error)) => Broken::Maybe(error.to_string()),
        (ureq::Error::HostNotFound, _) => Broken::Maybe("no such host".into()),
        (
            ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_),
            _,
        ) => Broken::Maybe(error.to_string()),
        _ => Broken::Hopeless(error.to_string()),
    }
}

fn tls_config(arguments: &RemoteArguments, target: &Target) -> Result<TlsConfig, RemoteError> {
    let builder = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    if arguments.insecure {
        if std::io::stderr().is_terminal() {
            eprintln!("septum: the server's certificate is not verified (--insecure)");
        }
        return Ok(builder.disable_verification(true).build());
    }
    // Beside a server on this machine, its own certificate is as good as a secret shared with it.
    let own = Path::new(OWN_CERTIFICATE);
    let (name, path) = match (
        &arguments.ca,
        std::env::var_os(CERTIFICATE_VARIABLE).filter(|file| !file.is_empty()),
    ) {
        (Some(path), _) => ("--ca", path.clone()),
        (None, _) if target.is_loopback && own.is_file() => ("trusted certificate", own.to_path_buf()),
        (None, Some(path)) => (CERTIFICATE_VARIABLE, path.into()),
        (None, None) => return Ok(builder.build()),
    };
    let usage = |text: String| RemoteError::Usage(format!("{name} {}: {text}", path.display()));
    let pem = std::fs::read(&path).map_err(|error| usage(error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(RemoteError::Usage(format!(
            "--ca {}: no certificate in it",
            path.display()
        )));
    }
    Ok(builder.root_certs(RootCerts::new_with_certs(&certificates)).build())
}
