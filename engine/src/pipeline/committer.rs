//! Committer: one for each shard. Appends runs, decides about instances, answers once they are durable.
//!
//! The decision holds the ledger's lock for a moment; the fsyncs are the storage layer's group commit, so many instances
//! wait here together, each holding one credit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use septum_storage::Shard;

use super::actor::Stage;
use super::arrival;
use super::decision::decide;
use super::handoff::Credit;
use super::messages::{CommitWork, SealedInstance, SealedRun, SealedValue, StoreKind, StoreOutcome};
use crate::densify::Candidate;
use crate::error::EngineError;
use crate::exceptions;
use crate::records::Run;
use crate::services::Services;

/// The stage of one shard.
pub struct Committer {
    services: Arc<Services>,
    shard: usize,
}

impl Committer {
    /// Over what all stages share.
    pub fn new(services: Arc<Services>, shard: usize) -> Self {
        Self { services, shard }
    }

    fn shard(&self) -> &Arc<Shard> {
        self.services.ledgers[self.shard].shard()
    }

    async fn run(&self, run: SealedRun) {
        let SealedRun {
            object,
            bytes,
            first_unit,
            units,
            ticket,
            share,
        } = run;
        match self.shard().put_batch(vec![(object, bytes)]).await {
            Ok(placed) => match placed.into_iter().next() {
                Some(placed) => {
                    let run = Run {
                        object,
                        first_unit,
                        units,
                    };
                    ticket.placed(first_unit, (run, placed));
                }
                None => drop(ticket),
            },
            Err(error) => ticket.failed(error.into()),
        }
        drop(share);
    }

    async fn value(&self, value: SealedValue) {
        let SealedValue {
            version,
            index,
            object,
            bytes,
            arrival,
            ticket,
            share,
        } = value;
        let kept = self.services.ledgers[self.shard]
            .commit(|staging| {
                arrival::stage(staging, version, index, object, bytes);
                Ok(())
            })
            .await;
        match kept {
            Ok(()) => ticket.placed(index, object),
            Err(error) => ticket.failed(error),
        }
        drop((arrival, share));
    }

    /// Commits an instance. The credit goes back once the commit is queued: whoever waits for a sync must not keep the next
    /// pixels from being appended.
    async fn ended(&self, mut sealed: SealedInstance, credit: Credit) {
        let ledger = &self.services.ledgers[self.shard];
        // The locks inside tolerate a panic; it costs this instance alone.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            ledger.submit(|staging| decide(&self.services, staging, &mut sealed))
        }))
        .unwrap_or(Err(EngineError::Panicked));
        drop(credit);
        let waits_for_density = sealed.waits_for_density();
        let SealedInstance {
            budget,
            instance,
            record,
            receipt,
            payload_bytes,
            stored_bytes,
            values,
            ..
        } = sealed;
        let (decision, ticket) = match decided {
            Ok(decided) => decided,
            Err(error) => return receipt.failed(error),
        };
        let (study, kind) = (&instance.study, decision.kind);
        if kind != StoreKind::Duplicate && !study.held {
            // Before the wait: if this generation ends in it, the commit still comes through.
            self.services.stability.touch(self.shard, &study.row_key);
        }
        let proof = match ticket.await {
            Ok(proof) => proof,
            Err(error) => {
                decision.take_back(&self.services, study);
                return receipt.failed(error.into());
            }
        };
        values.settle();
        let telemetry = &self.services.telemetry;
        telemetry
            .ingest_commit_duration_seconds
            .observe(instance.admitted.elapsed().as_secs_f64());
        if kind != StoreKind::Duplicate {
            if stored_bytes > 0 {
                telemetry
                    .compression_ratio
                    .observe(payload_bytes as f64 / stored_bytes as f64);
            }
            if decision.is_to_follow {
                self.services.late_arrivals.push(self.shard, &study.row_key);
            }
            if waits_for_density {
                self.services.densify.push(Candidate {
                    shard: self.shard,
                    study: study.study,
                    keys: study.keys.id,
                    pixel_set: instance.pixel_set,
                });
            }
        }
        let outcome = StoreOutcome {
            kind,
            version: instance.version,
            namespace: study.namespace,
            exception: (kind == StoreKind::Held).then(|| exceptions::id_of(&study.row_key)),
            warnings: record.warnings,
        };
        // Whoever hears success finds the permits back.
        drop(budget);
        receipt.committed(&proof, outcome);
    }
}

impl Stage for Committer {
    type Work = CommitWork;
    const NAME: &'static str = "committer";

    async fn work(self: Arc<Self>, work: CommitWork, credit: Credit) {
        let start = Instant::now();
        match work {
            CommitWork::Run(run) => {
                self.run(run).await;
                drop(credit);
            }
            CommitWork::Value(value) => {
                self.value(value).await;
                drop(credit);
            }
            CommitWork::Ended(sealed) => self.ended(*sealed, credit).await,
        }
        self.services.telemetry.observe_stage(Self::NAME, start);
    }
}
