//! What all requests share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use septum_engine::archive::Archive;
use tokio::sync::Semaphore;

use crate::auth::Authenticator;
use crate::config::{Config, TlsMode};
use crate::http::address::Network;
use crate::http::body::BodyLimits;
use crate::http::multipart::MultipartLimits;
use crate::mail::Mailer;
use crate::routes::commitment::Commitments;
use crate::stow::held::Held;
use crate::v3::channels::Hub;
use crate::v3::one_time::OneTime;
use crate::v3::pins::Pins;
use crate::v3::reports::Reports;
use crate::v3::storage::Storage;
use crate::viewer::Files;

/// Shared state of the public listener.
pub struct App {
    /// The engine.
    pub archive: Arc<Archive>,
    /// Who is who.
    pub authenticator: Authenticator,
    /// Whether connections are TLS.
    pub is_tls: bool,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins that may read answers.
    pub cors_origins: Vec<String>,
    /// Bounds of bodies.
    pub body: BodyLimits,
    /// Bounds of multipart bodies.
    pub multipart: MultipartLimits,
    /// What store requests hold until instances are complete.
    pub held: Held,
    /// What is told to who listens.
    pub channels: Arc<Hub>,
    /// Numbers that stand for links.
    pub pins: Pins,
    /// What is known of one-time tokens while the server runs.
    pub one_time: OneTime,
    /// Mail, where any goes out.
    pub mailer: Option<Arc<Mailer>>,
    /// Reports that can be fetched.
    pub reports: Reports,
    /// What the storage API keeps between requests.
    pub storage: Storage,
    /// Longest metadata part of a store request, in bytes.
    pub metadata_bytes_max: u64,
    /// Results of storage commitment.
    pub commitments: Commitments,
    /// Most frames in one request.
    pub frames_max: usize,
    /// Most results of one search.
    pub search_results_max: usize,
    /// Requests at once.
    pub requests: Arc<Semaphore>,
    /// The viewer, where there is one.
    pub viewer: Option<Files>,
}

impl App {
    /// Over an open archive.
    pub fn new(
        archive: Arc<Archive>,
        config: &Config,
        viewer: Option<Files>,
        mailer: Option<Arc<Mailer>>,
    ) -> Arc<Self> {
        let limits = &config.limits;
        let channels = Arc::<Hub>::default();
        Arc::new(Self {
            authenticator: Authenticator::new(Arc::clone(&archive.services.accounts)),
            archive,
            is_tls: config.server.tls != TlsMode::Off,
            trusted_proxies: config.server.trusted_proxies.clone(),
            cors_origins: config.server.cors_origins.clone(),
            body: BodyLimits {
                bytes_max: limits.body.0,
                bytes_per_second_min: limits.body_rate.0,
                grace: Duration::from_secs(limits.body_grace_s),
                coding_ratio_max: limits.inflate_ratio,
            },
            multipart: MultipartLimits {
                parts: limits.parts,
                part_header: limits.part_header.as_usize(),
            },
            held: Held::new(limits.held.0),
            pins: Pins::default(),
            reports: Reports::default(),
            one_time: OneTime::default(),
            mailer,
            storage: Storage::new(Arc::clone(&channels)),
            channels,
            metadata_bytes_max: limits.header.0,
            commitments: Commitments::default(),
            frames_max: limits.frames,
            search_results_max: limits.search_results,
            requests: Arc::new(Semaphore::new(limits.requests)),
            viewer,
        })
    }

    /// The client's address.
    pub fn client_address(&self, request: &actix_web::HttpRequest) -> Option<IpAddr> {
        crate::http::address::client(request, &self.trusted_proxies)
    }
}
