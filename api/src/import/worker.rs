//! A worker: sends batches, finds out what became of each file, tries again, and halves a batch until the file that
//! the server cannot take is found.

use std::collections::HashSet;
use std::time::Duration;

use super::answer::{Answer, Fate, WARNING_DUPLICATE, is_temporary};
use super::arguments::ImportArguments;
use super::batch::{Batch, Item, Planner};
use super::body::FileProblem;
use super::client::{Client, Outcome};
use super::earlier::Check;
use super::report::{Refusal, Reporter};
use super::state::State;
use crate::remote::retry::{self, Judgement};
use crate::remote::{RemoteError, Stop};

/// Attempts after which a batch that always fails is suspected and halved.
const SUSPICION_ATTEMPTS: u32 = 3;

/// The same for a single file, which is then given up.
const SUSPICION_ATTEMPTS_ALONE: u32 = 5;

/// What a worker is given.
pub(super) enum Job {
    /// Files to send.
    Send(Batch),
    /// Files that an earlier run sent: those that the server does not show are sent again.
    Check(Check),
}

/// What a worker needs. Without a client nothing is sent: a dry run.
pub(super) struct Worker<'a> {
    pub(super) client: Option<&'a Client>,
    pub(super) arguments: &'a ImportArguments,
    pub(super) state: &'a State,
    pub(super) reporter: &'a Reporter,
    pub(super) stop: &'a Stop,
}

impl Worker<'_> {
    /// Does a job to its end, or to a stop.
    ///
    /// # Errors
    /// When nothing more can be sent to this server.
    pub(super) fn run(&self, job: Job) -> Result<(), RemoteError> {
        match job {
            Job::Send(batch) => self.send(batch),
            Job::Check(check) => self.check(check),
        }
    }

    /// Asks for a study, and sends what the server does not show of it.
    fn check(&self, check: Check) -> Result<(), RemoteError> {
        let mut there = HashSet::new();
        if let Some(client) = self.client
            && let Err(error) = client.instances(&check.study, self.stop, &mut there)
        {
            // Sending again is safe; passing over what may be gone is not.
            self.reporter
                .note_once(&format!("what was sent before is sent again, because {error}"));
        }
        if self.stop.is_set() {
            return Ok(());
        }
        let mut planner = Planner::new(self.arguments.batch, self.arguments.batch_mib << 20);
        for item in check.items {
            if item.sop_instance_uid.as_ref().is_some_and(|uid| there.contains(uid)) {
                self.reporter.already_there(item.file.length, 1);
                continue;
            }
            self.reporter.gone();
            for batch in planner.add(item) {
                self.send(batch)?;
            }
        }
        planner.finish().map_or(Ok(()), |batch| self.send(batch))
    }

    /// Sends a batch and whatever it falls into, until every file has its fate, or a stop.
    ///
    /// # Errors
    /// When nothing more can be sent to this server.
    fn send(&self, batch: Batch) -> Result<(), RemoteError> {
        let Some(client) = self.client else {
            batch
                .items
                .iter()
                .for_each(|item| self.reporter.would_send(item.file.length));
            return Ok(());
        };
        // At most the halves of halves: as many as the batch has files.
        let mut pending = vec![(batch, 0u32)];
        while let Some((batch, attempt)) = pending.pop() {
            if self.stop.is_set() {
                break;
            }
            if !batch.items.is_empty() {
                self.send_once(client, batch, attempt, &mut pending)?;
            }
        }
        Ok(())
    }

    fn send_once(
        &self,
        client: &Client,
        mut batch: Batch,
        attempt: u32,
        pending: &mut Vec<(Batch, u32)>,
    ) -> Result<(), RemoteError> {
        let (outcome, num_file_bytes) = client.send(&batch.items, self.stop, &|count| self.reporter.advance(count));
        // Progress is given back unless the files get their fate now.
        let mut give_back = Some(num_file_bytes);
        let result = match outcome {
            Outcome::Stopped => Ok(()),
            Outcome::Hopeless(error) => Err(RemoteError::Unreachable(error)),
            Outcome::File(index, problem) => {
                let item = batch.items.remove(index);
                match problem {
                    FileProblem::Unreadable => self.reporter.unreadable(&item.file.path),
                    FileProblem::Changed => self.reporter.refused(&item.file.path, Refusal::Changed),
                }
                self.reporter.advance(item.file.length);
                pending.push((batch, attempt));
                Ok(())
            }
            Outcome::Broken(error) => self.broken(client, batch, attempt, &error, pending),
            Outcome::Answer {
                status,
                body,
                retry_after,
            } => match (retry::judge(status), Answer::parse(&body)) {
                (Judgement::Answered, None) => Err(RemoteError::Unreachable(format!(
                    "the server's answer is not one of a DICOMweb store service (HTTP {status})"
                ))),
                (Judgement::Answered, Some(answer)) => {
                    give_back = None;
                    self.settle(client, batch, attempt, &answer, pending)
                }
                (Judgement::Rejected, Some(answer)) if status == 400 => {
                    give_back = None;
                    self.settle(client, batch, attempt, &answer, pending)
                }
                (Judgement::Fatal(text), _) => Err(RemoteError::Unreachable(text)),
                (Judgement::Busy, _) if attempt >= client.retries => Err(RemoteError::Unreachable(format!(
                    "the server is busy (HTTP {status}), tried {} times",
                    attempt + 1
                ))),
                (Judgement::Busy, _) => {
                    self.wait(
                        client,
                        attempt,
                        retry_after,
                        &format!("the server is busy (HTTP {status})"),
                    );
                    pending.push((batch, attempt + 1));
                    Ok(())
                }
                (Judgement::Rejected, _) if status >= 500 && attempt + 1 < SUSPICION_ATTEMPTS => {
                    self.wait(
                        client,
                        attempt,
                        retry_after,
                        &format!("the server failed (HTTP {status})"),
                    );
                    pending.push((batch, attempt + 1));
                    Ok(())
                }
                (Judgement::TooLarge | Judgement::Rejected, _) => {
                    self.halve(batch, Refusal::Status(status), pending);
                    Ok(())
                }
            },
        };
        if let Some(num_bytes) = give_back {
            self.reporter.retreat(num_bytes);
        }
        result
    }

    /// No answer came. A server that closes the connection on a file it cannot take looks like one that went away:
    /// what the probe says tells them apart.
    fn broken(
        &self,
        client: &Client,
        batch: Batch,
        attempt: u32,
        error: &str,
        pending: &mut Vec<(Batch, u32)>,
    ) -> Result<(), RemoteError> {
        let is_suspect = match batch.items.len() {
            1 => attempt + 1 >= SUSPICION_ATTEMPTS_ALONE || attempt >= client.retries,
            _ => attempt + 1 >= SUSPICION_ATTEMPTS,
        };
        if is_suspect && client.probe(self.stop).is_ok() {
            self.halve(batch, Refusal::Breaks, pending);
            return Ok(());
        }
        if attempt >= client.retries {
            return Err(RemoteError::Unreachable(format!(
                "no connection, tried {} times: {error}",
                attempt + 1
            )));
        }
        self.wait(client, attempt, None, error);
        pending.push((batch, attempt + 1));
        Ok(())
    }

    fn wait(&self, client: &Client, attempt: u32, retry_after: Option<Duration>, why: &str) {
        let wait = retry::wait(attempt, client.retry_wait, retry_after);
        // The first tries are nothing to speak of.
        if attempt >= 2 || wait > Duration::from_secs(5) {
            self.reporter
                .note(&format!("{why}; trying again in {:.0} s", wait.as_secs_f32()));
        }
        self.stop.sleep(wait);
    }

    /// Tries the halves, or gives the only file its refusal.
    fn halve(&self, batch: Batch, refusal: Refusal, pending: &mut Vec<(Batch, u32)>) {
        if let [item] = batch.items.as_slice() {
            self.reporter.advance(item.file.length);
            self.reporter.refused(&item.file.path, refusal);
            return;
        }
        let (first, second) = batch.split();
        pending.push((second, 0));
        pending.push((first, 0));
    }

    /// Gives every file the fate that the answer names.
    fn settle(
        &self,
        client: &Client,
        batch: Batch,
        attempt: u32,
        answer: &Answer,
        pending: &mut Vec<(Batch, u32)>,
    ) -> Result<(), RemoteError> {
        let is_alone = batch.items.len() == 1;
        let mut again = Batch::default();
        let mut stored: Vec<Item> = Vec::new();
        for item in batch.items {
            match answer.fate(item.sop_instance_uid.as_deref(), is_alone) {
                Fate::Stored(Some(WARNING_DUPLICATE)) => {
                    self.reporter.already_there(0, 1);
                    stored.push(item);
                }
                Fate::Stored(warning) => {
                    self.reporter.sent(item.file.length, warning.is_some());
                    stored.push(item);
                }
                Fate::Failed(failure) if is_temporary(failure.reason) && attempt < client.retries => {
                    again.items.push(item);
                }
                Fate::Failed(failure) => {
                    let refusal = Refusal::Reason(failure.reason);
                    self.reporter
                        .refused_with(&item.file.path, refusal, failure.comment.as_deref());
                }
                // The sieve may have seen another UID than the server: alone, there is no doubt.
                Fate::Unmentioned if !is_alone => {
                    self.reporter.retreat(item.file.length);
                    pending.push((Batch { items: vec![item] }, 0));
                }
                Fate::Unmentioned => self.reporter.refused(&item.file.path, Refusal::Unmentioned),
            }
        }
        let noted = self.state.add(stored.iter().map(|item| &item.file));
        if !again.items.is_empty() {
            self.reporter.retreat(again.num_bytes());
            self.wait(client, attempt, None, "the server is out of resources");
            pending.push((again, attempt + 1));
        }
        noted.map_err(|error| RemoteError::Unreachable(format!("cannot write the state file: {error}")))
    }
}
