//! The one actor type all stages share: it takes an envelope, spawns the stage's work on its own arbiter and tells the
//! supervisor when anything panics.
//!
//! Work in flight is bounded by credits, not by the mailbox, so spawning is safe.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use futures_util::FutureExt;
use tokio::sync::mpsc::Sender;

use super::handoff::{Credit, Envelope};

/// What a stage does with one message. A panic in here ends the pipeline generation.
pub trait Stage: Send + Sync + 'static {
    /// Its messages.
    type Work: Send + 'static;
    /// Its name in metrics and logs.
    const NAME: &'static str;
    /// Does the work, hands the result on and drops the credit last.
    fn work(self: Arc<Self>, work: Self::Work, credit: Credit) -> impl Future<Output = ()> + 'static;
}

/// Tells the supervisor that an actor of a generation is gone.
#[derive(Clone)]
pub struct Death {
    /// Of which generation.
    pub generation: u64,
    /// Which stage.
    pub stage: &'static str,
    /// To the supervisor.
    pub signal: Sender<(u64, &'static str)>,
}

impl Death {
    fn tell(&self) {
        // A full channel already holds the news of this generation's end.
        let _ = self.signal.try_send((self.generation, self.stage));
    }
}

/// The actor of a stage.
pub struct StageActor<S: Stage> {
    stage: Arc<S>,
    death: Death,
    mailbox_capacity: usize,
}

impl<S: Stage> StageActor<S> {
    /// An actor whose mailbox holds as many messages as there are credits, and the [`Heartbeat`] beside them.
    pub fn new(stage: Arc<S>, death: Death, num_credits: usize) -> Self {
        Self {
            stage,
            death,
            mailbox_capacity: num_credits + 1,
        }
    }
}

impl<S: Stage> Drop for StageActor<S> {
    fn drop(&mut self) {
        // Also runs when a generation is ended on purpose; the supervisor knows its own.
        self.death.tell();
    }
}

impl<S: Stage> Actor for StageActor<S> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(self.mailbox_capacity);
    }
}

impl<S: Stage> Handler<Envelope<S::Work>> for StageActor<S> {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<S::Work>, _: &mut Self::Context) {
        let stage = Arc::clone(&self.stage);
        let death = self.death.clone();
        actix::spawn(async move {
            let work = async move {
                fail_point(S::NAME);
                stage.work(envelope.work, envelope.credit).await;
            };
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                death.tell();
            }
        });
    }
}

/// Where tests make a stage panic: `pipeline::parser` and so on.
fn fail_point(stage: &'static str) {
    let _ = stage;
    #[cfg(feature = "failpoints")]
    fail::eval(&format!("pipeline::{stage}"), |_| ());
}

/// Answered at once by a live actor; the heartbeat.
pub struct Heartbeat;

impl Message for Heartbeat {
    type Result = ();
}

impl<S: Stage> Handler<Heartbeat> for StageActor<S> {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

#[cfg(test)]
mod tests {
    use super::super::handoff::Handoff;
    use super::*;
    use crate::telemetry::Telemetry;
    use actix::Arbiter;

    /// Holds up its whole arbiter until it is let go.
    struct Stuck(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

    impl Stage for Stuck {
        type Work = ();
        const NAME: &'static str = "stuck";

        async fn work(self: Arc<Self>, (): (), _: Credit) {
            let held = self.0.lock().expect("nobody else holds it").recv();
            assert!(held.is_ok());
        }
    }

    #[test]
    fn every_credit_has_a_place_beside_a_heartbeat() {
        actix::System::new().block_on(async {
            const NUM_CREDITS: usize = 3;
            let (let_go, held) = std::sync::mpsc::channel();
            let (signal, _signals) = tokio::sync::mpsc::channel(1);
            let death = Death {
                generation: 1,
                stage: Stuck::NAME,
                signal,
            };
            let actor = StageActor::new(Arc::new(Stuck(std::sync::Mutex::new(held))), death, NUM_CREDITS);
            let arbiter = Arbiter::new();
            let address = StageActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
            address.send(Heartbeat).await.expect("it lives");
            let handoff = Handoff::new(Stuck::NAME, NUM_CREDITS, &Telemetry::new().expect("metrics register"));
            handoff.publish(address.clone().recipient());
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            arbiter.spawn_fn(move || assert!(stopped.recv().is_ok()));
            assert!(address.try_send(Heartbeat).is_ok());
            for _ in 0..NUM_CREDITS {
                handoff
                    .hand_over(())
                    .await
                    .expect("there is a credit, so there is a place");
                let_go.send(()).expect("the stage is there");
            }
            stop.send(()).expect("the arbiter is there");
            arbiter.stop();
        });
    }
}
