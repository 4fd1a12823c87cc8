//! Certificates: made at the first start, or given as files; read again when they change and on SIGHUP.
//!
//! TLS 1.2 and 1.3 by rustls over aws-lc-rs. The private key's file has mode 0600 and never leaves `tls_dir`.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

/// How long a self-signed certificate is valid; it is made anew at a start in its last quarter.
const SELF_SIGNED_DAYS: i64 = 825;
/// How often files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

const CERTIFICATE_FILE: &str = "cert.pem";
const KEY_FILE: &str = "key.pem";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no certificate or key in PEM form.
    #[error("{path}: {reason}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
}

/// Makes a self-signed certificate for this machine and `names`, unless there is a good one.
///
/// # Errors
/// [`TlsError`], where files cannot be written.
pub fn ensure_self_signed(tls_dir: &Path, names: &[String]) -> Result<(), TlsError> {
    let (certificate_path, key_path) = (tls_dir.join(CERTIFICATE_FILE), tls_dir.join(KEY_FILE));
    if is_young(&certificate_path) && key_path.exists() {
        return Ok(());
    }
    let failed = |error: rcgen::Error| TlsError::Certificate(error.to_string());
    let mut subjects = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    subjects.extend(host_name());
    subjects.extend(names.iter().cloned());
    subjects.dedup();
    let mut parameters = rcgen::CertificateParams::new(subjects).map_err(failed)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Septum (self-signed)");
    parameters.not_before = OffsetDateTime::now_utc() - time::Duration::hours(1);
    parameters.not_after = OffsetDateTime::now_utc() + time::Duration::days(SELF_SIGNED_DAYS);
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    std::fs::create_dir_all(tls_dir).map_err(file(tls_dir))?;
    // The key first: a certificate without its key would look complete at the next start.
    write(&key_path, key.serialize_pem().as_bytes(), 0o600).map_err(file(&key_path))?;
    write(&certificate_path, certificate.pem().as_bytes(), 0o644).map_err(file(&certificate_path))
}

fn is_young(path: &Path) -> bool {
    let age = std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|made| made.elapsed().ok());
    age.is_some_and(|age| age < Duration::from_secs(SELF_SIGNED_DAYS as u64 * 24 * 3600 * 3 / 4))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The process's mask would keep the certificate from clients of other users on this machine.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')))
    .then(|| name.to_owned())
}

/// The certificate in use, which can change while serving.
pub struct Certificate {
    tls_dir: PathBuf,
    current: RwLock<(Arc<CertifiedKey>, Option<SystemTime>)>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("tls_dir", &self.tls_dir)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads `cert.pem` and `key.pem`.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(tls_dir: &Path) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new((read(tls_dir)?, changed(tls_dir)));
        Ok(Arc::new(Self {
            tls_dir: tls_dir.to_owned(),
            current,
        }))
    }

    /// Reads the files again; a certificate that cannot be used leaves the old one in use.
    pub fn reload(&self) {
        // Looked at before reading: a change in between is seen the next time.
        let changed = changed(&self.tls_dir);
        match read(&self.tls_dir) {
            Ok(key) => {
                *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = (key, changed);
                tracing::info!("the TLS certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the new TLS certificate cannot be used; the old one stays"),
        }
    }

    /// Watches the files for as long as the server runs.
    pub async fn watch(self: Arc<Self>) {
        let mut interval = tokio::time::interval(WATCH_INTERVAL);
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = asked => self.reload(),
                _ = interval.tick() => {
                    let known = self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).1;
                    if changed(&self.tls_dir) != known {
                        self.reload();
                    }
                }
            }
        }
    }

    /// What rustls serves with.
    ///
    /// # Errors
    /// [`TlsError`], where the provider lacks a protocol version: never with the built-in one.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        Ok(builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().ok().map(|current| Arc::clone(&current.0))
    }
}

fn changed(tls_dir: &Path) -> Option<SystemTime> {
    [CERTIFICATE_FILE, KEY_FILE]
        .iter()
        .filter_map(|name| {
            std::fs::metadata(tls_dir.join(name))
                .and_then(|metadata| metadata.modified())
                .ok()
        })
        .max()
}

fn read(tls_dir: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let (certificate_path, key_path) = (tls_dir.join(CERTIFICATE_FILE), tls_dir.join(KEY_FILE));
    let bytes = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::File {
            path: path.to_owned(),
            source,
        })
    };
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |error: rustls::pki_types::pem::Error| TlsError::Pem {
            path,
            reason: error.to_string(),
        }
    };
    let chain = CertificateDer::pem_slice_iter(&bytes(&certificate_path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem(&certificate_path))?;
    if chain.is_empty() {
        return Err(TlsError::Pem {
            path: certificate_path,
            reason: "holds no certificate".to_owned(),
        });
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(&key_path)?).map_err(pem(&key_path))?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    Ok(Arc::new(certified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_read_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let tls_dir = folder.path().join("tls");
        assert!(Certificate::load(&tls_dir).is_err());
        ensure_self_signed(&tls_dir, &["archive.example".to_owned()]).expect("makes one");
        let mode = std::fs::metadata(tls_dir.join(KEY_FILE))
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let certificate = Certificate::load(&tls_dir).expect("reads it");
        certificate.server_config().expect("serves it");
        let first = certificate.current.read().expect("whole").0.cert.clone();
        ensure_self_signed(&tls_dir, &[]).expect("keeps it");
        certificate.reload();
        assert_eq!(certificate.current.read().expect("whole").0.cert, first);
        std::fs::remove_file(tls_dir.join(CERTIFICATE_FILE)).expect("removes");
        certificate.reload();
        assert_eq!(
            certificate.current.read().expect("whole").0.cert,
            first,
            "the old one stays"
        );
        ensure_self_signed(&tls_dir, &[]).expect("makes another");
        certificate.reload();
        assert_ne!(certificate.current.read().expect("whole").0.cert, first);
    }
}
