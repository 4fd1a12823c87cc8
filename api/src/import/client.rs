//! The connection to the server: certificates, credentials, one request and what came of it.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use super::arguments::{ImportArguments, Target};
use super::batch::Item;
use super::body::{Body, FileProblem};
use super::stop::Stop;
use super::{ImportError, password, retry};

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// The certificate that a Septum makes for itself, relative to the folder it was started in.
const OWN_CERTIFICATE: &str = "data/tls/cert.pem";

/// Names a file of trusted certificates for many programs, OpenSSL's first.
const CERTIFICATE_VARIABLE: &str = "SSL_CERT_FILE";

/// A server that instances are sent to. Shared by all workers.
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
    boundary: String,
    pub(super) retries: u32,
    pub(super) retry_wait: Duration,
}

/// What came of one request.
pub(super) enum Outcome {
    /// The server answered.
    Answer {
        status: u16,
        body: Vec<u8>,
        retry_after: Option<Duration>,
    },
    /// A file ended it, by its index in the batch.
    File(usize, FileProblem),
    /// No answer; trying again may help.
    Broken(String),
    /// No answer, and trying again is no use.
    Hopeless(String),
    /// Ctrl-C.
    Stopped,
}

impl Client {
    /// Reads certificates, asks for the password. Sends nothing yet.
    pub(super) fn new(arguments: &ImportArguments, target: &Target, stop: &Stop) -> Result<Self, ImportError> {
        let authorization = match &arguments.user {
            None => None,
            Some(user) if user.contains(':') => {
                return Err(ImportError::Usage("--user must not hold a colon (RFC 7617)".into()));
            }
            Some(user) => {
                let password = password::get(user, &target.studies_url, stop)?;
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| ImportError::Usage("no random numbers from the system".into()))?;
        let config = ureq::Agent::config_builder()
            .tls_config(tls_config(arguments, target)?)
            .http_status_as_error(false)
            // A body that streams cannot be sent twice, and credentials belong to one server.
            .max_redirects(0)
            .max_idle_connections_per_host(arguments.parallel)
            .max_idle_connections(arguments.parallel)
            .user_agent(concat!("septum-import/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_per_write(Some(Duration::from_secs(120)))
            // The answer comes when the last instance is durable.
            .timeout_recv_response(Some(Duration::from_secs(900)))
            .timeout_recv_body(Some(Duration::from_secs(120)))
            .output_buffer_size(256 << 10)
            .build();
        Ok(Self {
            agent: config.new_agent(),
            url: target.studies_url.clone(),
            authorization,
            boundary: format!("septum-{:032x}", u128::from_be_bytes(random)),
            retries: arguments.retries,
            retry_wait: Duration::from_millis(arguments.retry_wait_ms),
        })
    }

    /// One store request.
    pub(super) fn send(&self, items: &[Item], stop: &Stop, on_bytes: &dyn Fn(u64)) -> (Outcome, u64) {
        let mut body = Body::new(&self.boundary, items, stop, on_bytes);
        let mut request = self
            .agent
            .post(&self.url)
            .header("Accept", "application/dicom+json")
            .header("Content-Length", Body::length(&self.boundary, items).to_string())
            .header(
                "Content-Type",
                format!(
                    "multipart/related; type=\"application/dicom\"; boundary={}",
                    self.boundary
                ),
            );
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let result = request.send(ureq::SendBody::from_reader(&mut body));
        let num_file_bytes = body.num_file_bytes;
        let outcome = match (result, body.problem) {
            (_, Some((index, problem))) => Outcome::File(index, problem),
            (Ok(response), None) => read_answer(response),
            (Err(_), None) if stop.is_set() => Outcome::Stopped,
            (Err(error), None) => classify(&error),
        };
        (outcome, num_file_bytes)
    }

    /// Whether the server is there and takes the credentials, found by a request with no instance in it.
    pub(super) fn probe(&self, stop: &Stop) -> Result<(), ImportError> {
        let unreachable = |text: String| Err(ImportError::Unreachable(format!("{}: {text}", self.url)));
        let mut attempt = 0;
        loop {
            match self.send(&[], stop, &|_| {}).0 {
                Outcome::Stopped => return Ok(()),
                Outcome::Broken(error) | Outcome::Hopeless(error) => return unreachable(error),
                Outcome::File(..) => return Ok(()),
                Outcome::Answer {
                    status, retry_after, ..
                } => match retry::judge(status) {
                    retry::Judgement::Fatal(text) => return unreachable(text),
                    retry::Judgement::Busy if attempt >= self.retries => return unreachable(format!("HTTP {status}")),
                    retry::Judgement::Busy => {
                        stop.sleep(retry::wait(attempt, self.retry_wait, retry_after));
                        attempt += 1;
                    }
                    _ => return Ok(()),
                },
            }
        }
    }
}

fn read_answer(mut response: ureq::http::Response<ureq::Body>) -> Outcome {
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|v| v.to_str().ok())
        .and_then(retry::retry_after);
    let status = response.status().as_u16();
    match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec() {
        Ok(body) => Outcome::Answer {
            status,
            body,
            retry_after,
        },
        // What was refused is refused, whatever else the server wanted to say.
        Err(_) if status >= 400 => Outcome::Answer {
            status,
            body: Vec::new(),
            retry_after,
        },
        Err(error) => Outcome::Broken(format!("the answer broke off: {error}")),
    }
}

fn classify(error: &ureq::Error) -> Outcome {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    match (error, tls) {
        (_, Some(rustls::Error::InvalidCertificate(reason))) => Outcome::Hopeless(format!(
            "the server's certificate is not trusted ({reason:?}): give its PEM file by --ca"
        )),
        (_, Some(error)) => Outcome::Broken(error.to_string()),
        (ureq::Error::HostNotFound, _) => Outcome::Broken("no such host".into()),
        (
            ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_),
            _,
        ) => Outcome::Broken(error.to_string()),
        _ => Outcome::Hopeless(error.to_string()),
    }
}

fn tls_config(arguments: &ImportArguments, target: &Target) -> Result<TlsConfig, ImportError> {
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
    let usage = |text: String| ImportError::Usage(format!("{name} {}: {text}", path.display()));
    let pem = std::fs::read(&path).map_err(|error| usage(error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(ImportError::Usage(format!(
            "--ca {}: no certificate in it",
            path.display()
        )));
    }
    Ok(builder.root_certs(RootCerts::new_with_certs(&certificates)).build())
}
