//! Reads and denials in the audit log, and signed checkpoints over all its trees.
//!
//! A read's leaf is queued before the first byte leaves and durable within 100 ms (invariant 8): the writer commits
//! whatever is queued, one commit after the other, to the catalogue's ledger. If a commit fails, reads are refused until
//! one succeeds again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use septum_core::audit::{Checkpoint, CheckpointSigner, CheckpointVerifier};
use septum_storage::RowKind;
use tokio::sync::mpsc;

use crate::error::{EngineError, Result};
use crate::ledger::Event;
use crate::services::Services;

/// Reads that may wait for their leaf at once; more of them wait for a place.
const QUEUE_EVENTS: usize = 4_096;

/// How long a read waits for a place in the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the writer gathers before it commits: well inside the 100 ms a leaf may take.
const GATHER: Duration = Duration::from_millis(20);

/// The origin in checkpoints.
const ORIGIN: &str = "septum/audit";

/// Takes the events that change nothing.
pub struct AuditLog {
    queue: mpsc::Sender<Event>,
    working: Arc<AtomicBool>,
}

impl AuditLog {
    /// Starts the writer.
    pub fn start(services: Arc<Services>) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_EVENTS);
        let working = Arc::new(AtomicBool::new(true));
        tokio::spawn(write(services, events, Arc::clone(&working)));
        Self { queue, working }
    }

    /// Queues an event. After an error the caller must not serve what it asked for.
    pub async fn note(&self, event: Event) -> Result<()> {
        if !self.working.load(Ordering::Acquire) {
            // Still queue it, so that the writer learns when the log works again.
            let _ = self.queue.try_send(event);
            return Err(EngineError::AuditUnavailable);
        }
        match tokio::time::timeout(QUEUE_TIMEOUT, self.queue.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(EngineError::AuditUnavailable),
        }
    }
}

async fn write(services: Arc<Services>, mut events: mpsc::Receiver<Event>, working: Arc<AtomicBool>) {
    let mut batch = Vec::new();
    loop {
        if batch.is_empty() {
            match events.recv().await {
                Some(first) => batch.push(first),
                None => return,
            }
        }
        tokio::time::sleep(GATHER).await;
        while batch.len() < QUEUE_EVENTS
            && let Ok(event) = events.try_recv()
        {
            batch.push(event);
        }
        let gathered = std::mem::take(&mut batch);
        let retry = gathered.clone();
        let outcome = services.catalog_ledger.commit(|staging| {
            gathered.into_iter().for_each(|event| staging.audit(event));
            Ok(())
        });
        if let Err(error) = outcome.await {
            tracing::error!(%error, "the audit log does not take entries; reads are refused");
            working.store(false, Ordering::Release);
            // What was promised is written as soon as it can be.
            batch = retry;
            tokio::time::sleep(Duration::from_millis(500)).await;
        } else {
            working.store(true, Ordering::Release);
        }
    }
}

fn checkpoint_key() -> Vec<u8> {
    RowKind::Checkpoint.key(&[])
}

/// The name of a shard's tree in checkpoints.
pub fn tree_name(shard: usize) -> String {
    format!("shard-{shard}")
}

/// Signs a checkpoint over the catalogue's tree and every shard's, and stores it.
pub async fn sign_checkpoint(services: &Services) -> Result<String> {
    let trees = services
        .ledgers
        .iter()
        .enumerate()
        .map(|(shard, ledger)| (tree_name(shard), ledger.durable_head()));
    let trees = trees
        .map(|(name, head)| head.map(|head| (name, head)))
        .collect::<Result<Vec<_>>>()?;
    let checkpoint = Checkpoint::new(ORIGIN, services.catalog_ledger.durable_head()?, trees)
        .map_err(|_| EngineError::Corrupt("audit checkpoint"))?;
    let signer = CheckpointSigner::from_seed(services.keyring.audit_signing_key().expose());
    let note = signer.sign(&checkpoint);
    let (value, key) = (note.clone().into_bytes(), checkpoint_key());
    services
        .catalog_ledger
        .commit(move |staging| {
            staging.put(key, value);
            Ok(())
        })
        .await?;
    Ok(note)
}

/// The last signed checkpoint, and what verifies it.
pub fn checkpoint(services: &Services) -> Result<Option<(String, CheckpointVerifier)>> {
    let Some(note) = services.store.catalog().get(&checkpoint_key())? else {
        return Ok(None);
    };
    let note = String::from_utf8(note).map_err(|_| EngineError::Corrupt("audit checkpoint"))?;
    Ok(Some((
        note,
        CheckpointSigner::from_seed(services.keyring.audit_signing_key().expose()).verifier(),
    )))
}

/// Signs whenever something was added, at most once a second.
pub async fn keep_signing(services: Arc<Services>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    let mut signed = None;
    loop {
        interval.tick().await;
        let sizes: Vec<u64> = services
            .ledgers
            .iter()
            .chain([&*services.catalog_ledger])
            .map(|ledger| ledger.durable_head().map_or(0, |head| head.size))
            .collect();
        if signed.as_ref() != Some(&sizes) {
            match sign_checkpoint(&services).await {
                Ok(_) => signed = Some(sizes),
                Err(error) => tracing::error!(%error, "no audit checkpoint could be signed"),
            }
        }
    }
}

/// Checks every tree against the last signed checkpoint: what was signed is all there and unchanged.
pub fn verify(services: &Services) -> Result<Verified> {
    let (note, verifier) = checkpoint(services)?.ok_or(EngineError::NotFound)?;
    let mut verified = Verified::default();
    let ledgers = services
        .ledgers
        .iter()
        .enumerate()
        .map(|(shard, ledger)| (Some(tree_name(shard)), ledger));
    for (name, ledger) in ledgers.chain([(None, &*services.catalog_ledger)]) {
        let leaves = crate::scan::rows(ledger.shard(), RowKind::AuditLeaf.key(&[]))
            .map(|row| row.map(|(_, leaf)| leaf))
            .collect::<Result<Vec<_>>>()?;
        verified.num_leaves += leaves.len() as u64;
        match septum_core::audit::verify_log_prefix(&leaves, &note, &verifier, name.as_deref()) {
            Ok(_) => {}
            Err(fault) => {
                verified
                    .faults
                    .push(format!("{}: {fault}", name.unwrap_or_else(|| "catalogue".to_owned())));
            }
        }
    }
    Ok(verified)
}

/// What [`verify`] found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Leaves looked at.
    pub num_leaves: u64,
    /// What is wrong, one line a tree.
    pub faults: Vec<String>,
}
