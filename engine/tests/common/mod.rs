//! An archive on temporary roots, and short ways to store and read.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared by several test binaries"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use septum_core::codec::Tier;
use septum_core::dicom::{SplitLimits, Splitter};
use septum_core::ids::UserId;
use septum_core::seal::Suite;
use septum_engine::accounts::Namespace;
use septum_engine::archive::{Archive, ArchiveConfig};
use septum_engine::maintenance;
use septum_engine::pipeline::messages::{Source, StoreOutcome};
use septum_engine::retrieve::stream::{self, Form};
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::{EngineError, Result};

pub fn config(root: &std::path::Path) -> ArchiveConfig {
    ArchiveConfig {
        phi_root: root.join("phi"),
        pixel_root: root.join("pixel"),
        key_root: root.join("key"),
        root_key_file: root.join("root.key"),
        shards: 2,
        suite: Suite::default(),
        tier: Tier::Acknowledge,
        split: SplitLimits::default(),
        memory_bytes: 64 << 20,
        read_memory_bytes: 64 << 20,
        concurrent_instances: 8,
        admission_timeout: Duration::from_secs(20),
        restarts_per_minute_max: 100,
        compute_threads: 2,
        stable_after: Duration::from_millis(300),
        densify: false,
        decoder_command: vec!["/bin/false".into()],
        decoder_children: 1,
        create: true,
        exit_on_poison: false,
    }
}

pub struct Bench {
    pub root: tempfile::TempDir,
    pub archive: Arc<Archive>,
    pub namespace: Arc<Namespace>,
}

pub fn source() -> Source {
    Source {
        user: UserId::random(),
        address: None,
    }
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The store proves itself once it is closed.
    pub async fn must_be_sound(self) {
        let Self { root, archive, .. } = self;
        archive.shutdown(Duration::from_secs(5)).await;
        let report = loop {
            match maintenance::fsck(&config(root.path())) {
                Err(EngineError::Storage(septum_storage::StorageError::Locked)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                report => break report.unwrap(),
            }
        };
        assert!(report.is_sound(), "{:?}", report.findings);
    }

    pub async fn with(change: impl FnOnce(&mut ArchiveConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        change(&mut config);
        let archive = Archive::open(config).await.unwrap();
        let namespace = archive.services.accounts.namespaces().unwrap().remove(0);
        Self {
            root,
            archive,
            namespace,
        }
    }

    /// Stops everything and opens it again on the same roots.
    pub async fn reopen(self) -> Self {
        self.archive.shutdown(Duration::from_secs(5)).await;
        let archive = loop {
            match Archive::open(config(self.root.path())).await {
                // The last owner is still closing the files.
                Err(EngineError::Storage(septum_storage::StorageError::Locked)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => break opened.unwrap(),
            }
        };
        let namespace = archive.services.accounts.namespace(self.namespace.id).unwrap();
        Self {
            root: self.root,
            archive,
            namespace,
        }
    }

    pub async fn store(&self, file: &[u8]) -> Result<StoreOutcome> {
        self.store_into(&self.namespace, file).await
    }

    pub async fn store_into(&self, namespace: &Arc<Namespace>, file: &[u8]) -> Result<StoreOutcome> {
        let mut intake = self.archive.pipeline.admit(Arc::clone(namespace), source()).await?;
        for chunk in file.chunks(60_000) {
            intake.push(Bytes::copy_from_slice(chunk)).await?;
        }
        intake.finish().await.1
    }

    pub fn find(&self, file: &[u8]) -> Result<InstanceRef> {
        self.find_in(&self.namespace, file)
    }

    pub fn find_in(&self, namespace: &Namespace, file: &[u8]) -> Result<InstanceRef> {
        let identity = identity(file);
        let services = &self.archive.services;
        StudyRef::find(services, namespace, identity.study.as_str())?.instance(
            services,
            identity.series.as_str(),
            identity.instance.as_str(),
            None,
        )
    }

    pub async fn read(&self, instance: &InstanceRef, form: Form) -> Result<Vec<u8>> {
        let mut stream = stream::open(&self.archive.services, instance, form).await?;
        let mut file = Vec::new();
        while let Some(piece) = stream.next().await {
            file.extend_from_slice(&piece?);
        }
        if let Some(length) = stream.length {
            assert_eq!(length, file.len() as u64, "the announced length is the length");
        }
        Ok(file)
    }

    /// The dataset of what comes back as the original.
    pub async fn dataset(&self, file: &[u8]) -> Result<(u64, [u8; 32])> {
        let back = self.read(&self.find(file)?, Form::Original).await?;
        Ok(dataset_of(&back))
    }
}

pub fn identity(file: &[u8]) -> septum_core::dicom::Identity {
    split(file).expect("a storable file").start.identity
}

pub fn split(file: &[u8]) -> std::result::Result<septum_core::dicom::SplitInstance, septum_core::dicom::Rejection> {
    let mut splitter = Splitter::new(SplitLimits::default());
    let mut events = Vec::new();
    splitter.push(Bytes::copy_from_slice(file), &mut events)?;
    splitter.finish(&mut events)
}

/// Length and BLAKE3 of everything behind preamble and file meta, inflated where it is deflated.
pub fn dataset_of(file: &[u8]) -> (u64, [u8; 32]) {
    let split = split(file).expect("a storable file");
    (split.dataset_length, split.dataset_digest)
}

pub fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SEPTUM_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let found = folder.is_dir();
    if !found {
        println!("no corpus here: nothing to check");
    }
    found.then_some(folder)
}

pub fn is_rejection(error: &EngineError) -> bool {
    matches!(error, EngineError::Rejected(_))
}
