//! The server's life: open the archive, first start, listen, drain.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use rustix::fs::Access;
use septum_core::codec::Tier;
use septum_core::dicom::SplitLimits;
use septum_engine::EngineError;
use septum_engine::archive::{Archive, ArchiveConfig};

use crate::app::App;
use crate::config::{CodecTier, Config, TlsMode};
use crate::mail::{MailError, Mailer};
use crate::tls::{Certificate, TlsError, ensure_self_signed};
use crate::v3::channels::{self, Hub};
use crate::v3::{links, one_time, shares};
use crate::{admin, first_start, routes, viewer};

/// How long a drain may take altogether.
const DRAIN: Duration = Duration::from_secs(10);
/// What of it requests may take.
const DRAIN_REQUESTS: Duration = Duration::from_secs(7);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The archive cannot be opened.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A socket or folder.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The viewer's folder.
    #[error(transparent)]
    Viewer(#[from] viewer::FilesError),
    /// Mail is configured and cannot be sent.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The first administrator.
    #[error("{0}")]
    FirstStart(String),
}

/// The engine's part of the settings. `create` makes what is missing.
///
/// # Errors
/// Where the program cannot find itself, which it runs as its decoder child.
pub fn archive_config(config: &Config, create: bool) -> std::io::Result<ArchiveConfig> {
    let (storage, limits, pipeline) = (&config.storage, &config.limits, &config.pipeline);
    Ok(ArchiveConfig {
        phi_root: storage.phi_root.clone(),
        pixel_root: storage.pixel_root.clone(),
        key_root: storage.key_root.clone(),
        root_key_file: storage.root_key_path(),
        shards: storage.shards,
        suite: storage.suite,
        tier: match storage.codec {
            CodecTier::Pressure => Tier::Pressure,
            CodecTier::Acknowledge => Tier::Acknowledge,
            CodecTier::Dense => Tier::Dense,
        },
        split: SplitLimits {
            instance_bytes_max: limits.instance.0,
            header_bytes_max: limits.header.as_usize(),
            depth_max: limits.depth,
            elements_max: limits.elements,
            inflate_ratio_max: limits.inflate_ratio,
            fragments_max: limits.fragments,
        },
        // Half for instances on their way in, an eighth for answers; the rest is what caches and the index take.
        memory_bytes: limits.memory.as_usize() / 2,
        read_memory_bytes: limits.memory.as_usize() / 8,
        concurrent_instances: limits.concurrent_instances,
        admission_timeout: Duration::from_secs(limits.admission_timeout_s),
        restarts_per_minute_max: pipeline.restarts_per_minute,
        compute_threads: pipeline.compute_threads,
        stable_after: Duration::from_secs(pipeline.stable_after_s),
        densify: pipeline.densify,
        decoder_command: vec![std::env::current_exe()?.into_os_string(), "decode-child".into()],
        decoder_children: cores().clamp(1, 4),
        create,
        exit_on_poison: true,
    })
}

/// Whether there is no archive yet. Nothing is ever made beside one that exists: a missing root key must not be replaced
/// by a new one that opens nothing.
pub fn is_first_start(config: &Config) -> bool {
    !config.storage.phi_root.join("identity").exists()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Makes the folders that may be missing at the first start, readable by nobody else.
///
/// # Errors
/// Where a folder cannot be made or written to; the error names the setting and the folder.
pub fn make_folders(config: &Config) -> std::io::Result<()> {
    for (setting, folder) in roots(config) {
        make_folder(folder)
            .and_then(|()| {
                Ok(rustix::fs::access(
                    folder,
                    Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
                )?)
            })
            .map_err(unusable(setting, folder))?;
    }
    let root_key = config.storage.root_key_path();
    let usable = match root_key.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        // The root key may lie where nothing else can be written.
        Some(folder) if is_first_start(config) => make_folder(folder),
        None if is_first_start(config) => Ok(()),
        _ => std::fs::File::open(&root_key).map(drop),
    };
    usable.map_err(unusable("storage.root_key_file", &root_key))
}

fn roots(config: &Config) -> [(&'static str, &Path); 3] {
    let storage = &config.storage;
    [
        ("storage.phi_root", &storage.phi_root),
        ("storage.pixel_root", &storage.pixel_root),
        ("storage.key_root", &storage.key_root),
    ]
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Checks that the roots are there, for what makes none.
///
/// # Errors
/// Where one is not a folder; the error names the setting and the folder.
pub fn look_for_roots(config: &Config) -> std::io::Result<()> {
    for (setting, folder) in roots(config) {
        std::fs::read_dir(folder).map_err(unusable(setting, folder))?;
    }
    Ok(())
}

fn unusable(setting: &str, path: &Path) -> impl FnOnce(std::io::Error) -> std::io::Error {
    move |error| std::io::Error::new(error.kind(), format!("{setting} = \"{}\": {error}", path.display()))
}

/// A running server.
pub struct Running {
    /// Where the public listener listens.
    pub address: SocketAddr,
    /// Where the admin listener listens.
    pub admin_address: SocketAddr,
    /// The engine.
    pub archive: Arc<Archive>,
    channels: Arc<Hub>,
    public: ServerHandle,
    admin: ServerHandle,
}

/// Starts everything; must be called inside an actix system.
///
/// # Errors
/// [`ServerError`].
pub async fn start(config: &Config) -> Result<Running, ServerError> {
    // Sockets first: nothing is made on disk for a server that cannot listen.
    let public_listener = admin::bind("server.listen", config.server.listen)?;
    let admin_listener = admin::bind("admin.listen", config.admin.listen)?;
    let (address, admin_address) = (public_listener.local_addr()?, admin_listener.local_addr()?);
    make_folders(config)?;
    let certificate = certificate(config)?;
    let viewer = viewer::open(&config.viewer.dist_dir)?;
    if viewer.is_none() {
        tracing::info!("no viewer is installed; /viewer says so");
    }
    let mailer = Mailer::open(&config.mail)?;
    let opening = Instant::now();
    let archive = Archive::open(archive_config(config, is_first_start(config))?).await?;
    tracing::info!(ms = opening.elapsed().as_millis() as u64, "the archive is open");
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", shown_address(address));
    first_start::administrator(&archive, &url)
        .await
        .map_err(ServerError::FirstStart)?;
    let app = App::new(Arc::clone(&archive), config, viewer, mailer.clone());
    let channels = Arc::clone(&app.channels);
    let public = public_server(config, public_listener, certificate.as_ref(), app)?;
    let operators = admin::serve(admin_listener, Arc::clone(&archive))?;
    let running = Running {
        address,
        admin_address,
        archive,
        channels,
        public: public.handle(),
        admin: operators.handle(),
    };
    actix_web::rt::spawn(public);
    actix_web::rt::spawn(operators);
    let services = Arc::downgrade(&running.archive.services);
    actix_web::rt::spawn(links::sweep(services.clone()));
    actix_web::rt::spawn(one_time::sweep(services.clone()));
    actix_web::rt::spawn(shares::deferred::follow(
        services.clone(),
        Arc::downgrade(&running.channels),
    ));
    if let Some(mailer) = mailer {
        actix_web::rt::spawn(mailer.run(services.clone()));
    }
    actix_web::rt::spawn(channels::follow(Arc::downgrade(&running.channels), services));
    if let Some(certificate) = certificate {
        actix_web::rt::spawn(certificate.watch());
    }
    tracing::info!(%url, admin = %admin_address, version = env!("CARGO_PKG_VERSION"), "Septum is ready");
    Ok(running)
}

fn certificate(config: &Config) -> Result<Option<Arc<Certificate>>, TlsError> {
    let tls_dir = &config.server.tls_dir;
    match config.server.tls {
        TlsMode::Off => return Ok(None),
        TlsMode::SelfSigned => ensure_self_signed(tls_dir, &config.server.names)?,
        TlsMode::Files => {}
    }
    Certificate::load(tls_dir).map(Some)
}

/// A loopback or wildcard address as `localhost`, which the certificate names.
fn shown_address(address: SocketAddr) -> String {
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

fn public_server(
    config: &Config,
    listener: TcpListener,
    certificate: Option<&Arc<Certificate>>,
    app: Arc<App>,
) -> Result<actix_web::dev::Server, ServerError> {
    let limits = &config.limits;
    let workers = if config.server.workers == 0 {
        cores()
    } else {
        config.server.workers
    };
    let header_timeout = Duration::from_secs(limits.header_timeout_s);
    let server = HttpServer::new(move || actix_web::App::new().configure(routes::configure(Arc::clone(&app))))
        .workers(workers)
        .max_connections(limits.connections.div_ceil(workers))
        .client_request_timeout(header_timeout)
        .client_disconnect_timeout(Duration::from_secs(2))
        .keep_alive(Duration::from_secs(60))
        // An answer is written in pieces; without this the last one waits for the client's delayed acknowledgement.
        .tcp_nodelay(true)
        .tls_handshake_timeout(header_timeout)
        .shutdown_timeout(DRAIN_REQUESTS.as_secs())
        .disable_signals();
    let server = match certificate {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server_config()?)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

impl Running {
    /// Takes nothing new, finishes what is under way within 10 seconds, closes the archive.
    pub async fn stop(self) {
        let start = Instant::now();
        self.archive.drain();
        self.channels.close();
        let stopping = self.public.stop(true);
        if tokio::time::timeout(DRAIN_REQUESTS, stopping).await.is_err() {
            tracing::warn!("requests did not finish in time and are broken off");
        }
        let left = DRAIN.saturating_sub(start.elapsed()).max(Duration::from_secs(1));
        // Both servers hold the archive; it closes when nobody does any more.
        self.admin.stop(false).await;
        self.archive.shutdown(left).await;
        tracing::info!(ms = start.elapsed().as_millis() as u64, "stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_root_is_named_with_its_setting() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "no folder").expect("a file");
        let unusable = file.join("below");
        for number in 0..4 {
            let mut config = crate::config::load(None).expect("the defaults");
            let storage = &mut config.storage;
            storage.phi_root = folder.path().join("phi");
            storage.pixel_root = folder.path().join("pixel");
            storage.key_root = folder.path().join("key");
            let (setting, path) = match number {
                0 => ("phi_root", &mut storage.phi_root),
                1 => ("pixel_root", &mut storage.pixel_root),
                2 => ("key_root", &mut storage.key_root),
                _ => ("root_key_file", &mut storage.root_key_file),
            };
            path.clone_from(&unusable);
            let named = format!("storage.{setting} = \"{}\"", unusable.display());
            let refused = make_folders(&config).expect_err("refused").to_string();
            assert!(refused.contains(&named), "{refused}");
            if number < 3 {
                let missing = look_for_roots(&config).expect_err("not there").to_string();
                assert!(missing.contains(&named), "{missing}");
            }
        }
    }
}
