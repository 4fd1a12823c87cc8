//! The clients and the clock.
//!
//! Each client has a connection of its own and takes the next request from a shared counter. Store requests are made before
//! the clock starts as far as their budget of memory goes; what is more is made by the client between two requests, outside
//! of what counts as latency, and the result says what share that was.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::corpus::set::Set;
use crate::histogram::Histogram;
use crate::http::{Call, Connection, Endpoint};
use crate::multipart::{STORE_CONTENT_TYPE, store_body};
use crate::request::{Kind, Request, acknowledged, judge, refusals};
use crate::schedule::Pacing;
use crate::target::Accepts;

/// Requests ready to go.
pub(crate) struct Plan<'a> {
    requests: Vec<Request>,
    /// What store requests take their instances from.
    set: Option<&'a Set>,
    bodies: Vec<Mutex<Option<Vec<u8>>>>,
    begins: Option<Vec<Duration>>,
    clients: u32,
}

/// What became of the requests of one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Requests that were answered as they should be.
    pub(crate) num_good: u64,
    /// The others, by what was wrong.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Instances acknowledged, of store requests.
    pub(crate) num_instances: u64,
    /// Bytes of bodies sent.
    pub(crate) sent_bytes: u64,
    /// Bytes of bodies received.
    pub(crate) received_bytes: u64,
    /// Native bytes of what was moved by good requests.
    pub(crate) native_bytes: u64,
    /// From the intended begin (closed loop: from the begin) to the last byte of the answer.
    pub(crate) latency: Histogram,
    /// From the begin to the last byte of the answer.
    pub(crate) service: Histogram,
}

impl Tally {
    fn fail(&mut self, why: String) {
        *self.failures.entry(why).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        self.num_good += other.num_good;
        self.num_instances += other.num_instances;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.native_bytes += other.native_bytes;
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        for (why, count) in other.failures {
            *self.failures.entry(why).or_default() += count;
        }
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// By kind of request.
    pub(crate) tallies: BTreeMap<Kind, Tally>,
    /// Instances of the set that the server acknowledged.
    pub(crate) acknowledged: Vec<usize>,
    /// Indices of delete requests that were acknowledged.
    pub(crate) deleted: Vec<usize>,
    /// Wall-clock time from the first intended begin to the last answer.
    pub(crate) seconds: f64,
}

impl Outcome {
    /// Adds what another plan, driven at the same time, came to.
    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, tally) in other.tallies {
            self.tallies.entry(kind).or_default().merge(tally);
        }
        self.acknowledged.extend(other.acknowledged);
        self.deleted.extend(other.deleted);
        self.seconds = self.seconds.max(other.seconds);
    }
}

impl<'a> Plan<'a> {
    /// Makes the bodies of store requests, at most `prepared_bytes` of them.
    pub(crate) fn new(
        requests: Vec<Request>,
        set: Option<&'a Set>,
        clients: u32,
        pacing: Pacing,
        prepared_bytes: u64,
    ) -> Self {
        let mut left = prepared_bytes;
        let bodies = requests.iter().map(|request| {
            let body = set
                .filter(|_| request.kind == Kind::Store && request.native_bytes <= left)
                .map(|set| {
                    left -= request.native_bytes;
                    store_body(set, request.instances.clone())
                });
            Mutex::new(body)
        });
        Self {
            bodies: bodies.collect(),
            begins: pacing.begins(requests.len()),
            requests,
            set,
            clients,
        }
    }

    /// Share of store requests that were made before the clock starts; 1 without any.
    pub(crate) fn prepared_share(&self) -> f64 {
        let stores = self
            .requests
            .iter()
            .zip(&self.bodies)
            .filter(|(request, _)| request.kind == Kind::Store);
        let (mut ready, mut all) = (0, 0);
        for (_, body) in stores {
            all += 1;
            ready += u32::from(body.lock().is_ok_and(|body| body.is_some()));
        }
        if all == 0 {
            1.0
        } else {
            f64::from(ready) / f64::from(all)
        }
    }

    /// Sends everything, or until `stop`.
    pub(crate) fn drive(&self, endpoint: &Endpoint, accepts: &Accepts, stop: Option<&AtomicBool>) -> Outcome {
        let next = AtomicUsize::new(0);
        let began = Instant::now();
        let mut all = Outcome::default();
        thread::scope(|scope| {
            let client = || {
                let mut client = Client {
                    plan: self,
                    connection: Connection::new(endpoint),
                    accepts,
                    began,
                    outcome: Outcome::default(),
                };
                while !stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = self.requests.get(index) else {
                        break;
                    };
                    client.one(index, request);
                }
                client.outcome.seconds = began.elapsed().as_secs_f64();
                client.outcome
            };
            let clients: Vec<_> = (0..self.clients).map(|_| scope.spawn(client)).collect();
            for client in clients {
                match client.join() {
                    Ok(outcome) => all.merge(outcome),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        all
    }

    fn body(&self, index: usize, request: &Request) -> Option<Vec<u8>> {
        if request.kind != Kind::Store {
            return None;
        }
        let ready = self.bodies[index].lock().ok().and_then(|mut body| body.take());
        ready.or_else(|| self.set.map(|set| store_body(set, request.instances.clone())))
    }
}

struct Client<'a> {
    plan: &'a Plan<'a>,
    connection: Connection,
    accepts: &'a Accepts,
    began: Instant,
    outcome: Outcome,
}

impl Client<'_> {
    fn one(&mut self, index: usize, request: &Request) {
        let body = self.plan.body(index, request);
        let intended = self.plan.begins.as_ref().map(|begins| self.began + begins[index]);
        if let Some(intended) = intended {
            thread::sleep(intended.saturating_duration_since(Instant::now()));
        }
        let begin = Instant::now();
        let answer = self.connection.request(Call {
            method: request.kind.method(),
            path: &request.path,
            accept: self.accepts.of(request.kind),
            body: body.as_ref().map(|body| (STORE_CONTENT_TYPE, body.as_slice())),
            sink: request.kind.sink(),
        });
        let end = Instant::now();
        let tally = self.outcome.tallies.entry(request.kind).or_default();
        // A refused or broken request took its time too: leaving it out would flatter a server that fails.
        tally.latency.record(end - intended.unwrap_or(begin).min(begin));
        tally.service.record(end - begin);
        tally.sent_bytes += body.map_or(0, |body| body.len() as u64);
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => return tally.fail("connection".into()),
        };
        tally.received_bytes += answer.num_bytes;
        match judge(request.kind, &answer, self.connection.body()) {
            Err(why) => return tally.fail(why),
            Ok(()) if request.kind != Kind::Store => {
                tally.native_bytes += request.native_bytes;
                tally.num_good += 1;
            }
            Ok(()) => self.stored(request),
        }
        if request.kind == Kind::Delete {
            self.outcome.deleted.push(index);
        }
    }

    fn stored(&mut self, request: &Request) {
        let Some(set) = self.plan.set else {
            return;
        };
        let named: std::collections::HashSet<String> = acknowledged(self.connection.body()).into_iter().collect();
        let stored: Vec<usize> = request
            .instances
            .clone()
            .filter(|number| named.contains(&set.instance_uid(*number)))
            .collect();
        let tally = self.outcome.tallies.entry(Kind::Store).or_default();
        tally.num_instances += stored.len() as u64;
        tally.native_bytes += stored
            .iter()
            .map(|number| set.source(*number).len() as u64)
            .sum::<u64>();
        if stored.len() == request.instances.len() {
            tally.num_good += 1;
        } else {
            let reasons: Vec<String> = refusals(self.connection.body()).into_iter().collect();
            tally.fail(format!("not all acknowledged, reasons {}", reasons.join(" ")));
        }
        self.outcome.acknowledged.extend(stored);
    }
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
