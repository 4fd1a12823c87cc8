//! Supervision of pipeline generations.
//!
//! A generation is one actor a stage. The parser, which computes most, has an arbiter (a thread) of its own; compressor and
//! sealer, which hand to the CPU pool and on, share one: what a thread passes to itself wakes nobody. Committers have as
//! many of their own as there are cores left, and are with those two where none is.
//! The first panic, or a heartbeat missed for [`HEARTBEAT_TIMEOUT`], ends the whole generation: its arbiters stop, which drops all work inside it, and the next
//! one starts downstream first. Too many ends within a minute make the server unready instead of looping.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, Recipient};
use tokio::sync::mpsc;

use super::Handoffs;
use super::actor::{Death, Heartbeat, Stage, StageActor};
use super::committer::Committer;
use super::compressor::Compressor;
use super::handoff::Handoff;
use super::parser::Parser;
use super::sealer::Sealer;
use crate::error::{EngineError, Result};
use crate::services::Services;

/// How often actors are asked for a sign of life.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How long an actor may stay silent.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// A stage name that means "stop", sent by [`Supervisor::stop`].
const STOP: &str = "stop";

/// The supervisor's handle; its thread ends with [`Supervisor::stop`].
pub struct Supervisor {
    ready: Arc<AtomicBool>,
    generation: Arc<AtomicU64>,
    signal: mpsc::Sender<(u64, &'static str)>,
}

struct Generation {
    arbiters: Vec<Arbiter>,
    pulses: Vec<(&'static str, Recipient<Heartbeat>)>,
}

struct Nursery {
    services: Arc<Services>,
    handoffs: Arc<Handoffs>,
    signal: mpsc::Sender<(u64, &'static str)>,
}

impl Supervisor {
    /// Starts the supervisor's thread and the first generation; returns once it runs.
    pub fn start(services: Arc<Services>, handoffs: Arc<Handoffs>, restarts_per_minute_max: usize) -> Result<Self> {
        let (signal, signals) = mpsc::channel(64);
        let ready = Arc::new(AtomicBool::new(false));
        let generation = Arc::new(AtomicU64::new(0));
        let nursery = Nursery {
            services,
            handoffs,
            signal: signal.clone(),
        };
        let (started, start) = std::sync::mpsc::channel();
        let (is_ready, number) = (Arc::clone(&ready), Arc::clone(&generation));
        std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || {
                actix::System::new().block_on(async move {
                    supervise(nursery, signals, is_ready, number, started, restarts_per_minute_max).await;
                    if let Some(system) = actix::System::try_current() {
                        system.stop();
                    }
                });
            })
            .map_err(|source| EngineError::File {
                what: "supervisor thread",
                source,
            })?;
        start.recv().map_err(|_| EngineError::PipelineRestarted)?;
        Ok(Self {
            ready,
            generation,
            signal,
        })
    }

    /// Whether work can be handed in.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The number of the running generation, from 1.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Ends the running generation for good.
    pub fn stop(&self) {
        self.ready.store(false, Ordering::Release);
        let _ = self.signal.try_send((0, STOP));
    }
}

async fn supervise(
    nursery: Nursery,
    mut signals: mpsc::Receiver<(u64, &'static str)>,
    ready: Arc<AtomicBool>,
    number: Arc<AtomicU64>,
    started: std::sync::mpsc::Sender<()>,
    restarts_per_minute_max: usize,
) {
    let mut ends: VecDeque<Instant> = VecDeque::new();
    loop {
        let current = number.fetch_add(1, Ordering::AcqRel) + 1;
        let generation = nursery.raise(current).await;
        ready.store(true, Ordering::Release);
        let _ = started.send(());
        let stage = watch(&generation, current, &mut signals).await;
        nursery.close();
        for arbiter in generation.arbiters {
            arbiter.stop();
        }
        if stage == STOP {
            return;
        }
        nursery.services.telemetry.pipeline_restarts.inc();
        tracing::error!(stage, generation = current, "a stage ended; the pipeline restarts");
        let now = Instant::now();
        ends.push_back(now);
        while ends
            .front()
            .is_some_and(|end| now.duration_since(*end) > Duration::from_secs(60))
        {
            ends.pop_front();
        }
        if ends.len() > restarts_per_minute_max {
            tracing::error!(
                ends = ends.len(),
                "too many pipeline restarts within a minute; not ready any more"
            );
            ready.store(false, Ordering::Release);
            nursery.services.telemetry.ready.set(0.0);
            return;
        }
    }
}

/// Waits for the end of a generation and says which stage ended it.
async fn watch(
    generation: &Generation,
    number: u64,
    signals: &mut mpsc::Receiver<(u64, &'static str)>,
) -> &'static str {
    let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
    loop {
        tokio::select! {
            signal = signals.recv() => match signal {
                Some((_, STOP)) | None => return STOP,
                Some((of, stage)) if of == number => return stage,
                // The late echo of an earlier generation.
                Some(_) => {}
            },
            _ = heartbeat.tick() => {
                for (stage, pulse) in &generation.pulses {
                    if !matches!(tokio::time::timeout(HEARTBEAT_TIMEOUT, pulse.send(Heartbeat)).await, Ok(Ok(()))) {
                        return stage;
                    }
                }
            }
        }
    }
}

impl Nursery {
    async fn raise(&self, generation: u64) -> Generation {
        let mut raised = Generation {
            arbiters: Vec::new(),
            pulses: Vec::new(),
        };
        let (services, handoffs) = (&self.services, &self.handoffs);
        let num_arbiters = services.compute.num_threads().clamp(2, 2 + handoffs.committers.len());
        let arbiters: Vec<Arbiter> = (0..num_arbiters).map(|_| Arbiter::new()).collect();
        // Those beyond the last share it.
        let on = |wanted: usize| &arbiters[wanted.min(num_arbiters - 1)];
        for (shard, handoff) in handoffs.committers.iter().enumerate() {
            let committer = Committer::new(Arc::clone(services), shard);
            self.spawn(&mut raised, on(2 + shard), generation, committer, handoff)
                .await;
        }
        let sealer = Sealer::new(Arc::clone(services), Arc::clone(handoffs));
        self.spawn(&mut raised, on(1), generation, sealer, &handoffs.sealer)
            .await;
        let compressor = Compressor::new(Arc::clone(services), Arc::clone(handoffs));
        self.spawn(&mut raised, on(1), generation, compressor, &handoffs.compressor)
            .await;
        let parser = Parser::new(Arc::clone(services), Arc::clone(handoffs));
        self.spawn(&mut raised, on(0), generation, parser, &handoffs.parser)
            .await;
        raised.arbiters = arbiters;
        raised
    }

    async fn spawn<S: Stage>(
        &self,
        raised: &mut Generation,
        arbiter: &Arbiter,
        generation: u64,
        stage: S,
        handoff: &Handoff<S::Work>,
    ) {
        let death = Death {
            generation,
            stage: S::NAME,
            signal: self.signal.clone(),
        };
        let actor = StageActor::new(Arc::new(stage), death, handoff.num_credits());
        let address: Addr<StageActor<S>> = StageActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        // Until it has started its mailbox holds sixteen, whatever it was told. Of one that dies at once its death tells.
        let _ = tokio::time::timeout(HEARTBEAT_TIMEOUT, address.send(Heartbeat)).await;
        handoff.publish(address.clone().recipient());
        raised.pulses.push((S::NAME, address.recipient()));
    }

    /// Nothing goes into a dying generation.
    fn close(&self) {
        self.handoffs.parser.close();
        self.handoffs.compressor.close();
        self.handoffs.sealer.close();
        self.handoffs.committers.iter().for_each(Handoff::close);
    }
}
