//! The connection to the server: certificates, credentials, one request and what came of it.

use std::collections::HashSet;
use std::time::Duration;

use super::arguments::ImportArguments;
use super::batch::Item;
use super::body::{Body, FileProblem};
use crate::export::source::{Source, text};
use crate::remote::{Broken, Connection, RemoteError, Stop, Target, classify, retry};

/// Longest wait for an answer: it comes when the last instance is durable.
const READ_WAIT: Duration = Duration::from_secs(900);

/// SOP Instance UID (0008,0018).
const SOP_INSTANCE_UID: &str = "00080018";

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// A server that instances are sent to. Shared by all workers.
pub(super) struct Client {
    connection: Connection,
    /// For searches.
    source: Source,
    url: String,
    boundary: String,
    pub(super) retries: u32,
    pub(super) retry_wait: Duration,
}

/// What came of one request.
pub(super) enum Outcome {
    /// The server answered.
    Answer {
        status: u16,
        body: Vec<u8>,
        retry_after: Option<Duration>,
    },
    /// A file ended it, by its index in the batch.
    File(usize, FileProblem),
    /// No answer; trying again may help.
    Broken(String),
    /// No answer, and trying again is no use.
    Hopeless(String),
    /// Ctrl-C.
    Stopped,
}

impl Client {
    /// Reads certificates, asks for the password. Sends nothing yet.
    pub(super) fn new(arguments: &ImportArguments, target: &Target, stop: &Stop) -> Result<Self, RemoteError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| RemoteError::Usage("no random numbers from the system".into()))?;
        let user_agent = concat!("septum-import/", env!("CARGO_PKG_VERSION"));
        let connection = Connection::new(&arguments.remote, target, user_agent, READ_WAIT, stop)?;
        Ok(Self {
            source: Source::over(connection.clone(), target.clone()),
            url: target.studies_url(),
            boundary: format!("septum-{:032x}", u128::from_be_bytes(random)),
            retries: connection.retries,
            retry_wait: connection.retry_wait,
            connection,
        })
    }

    /// One store request.
    pub(super) fn send(&self, items: &[Item], stop: &Stop, on_bytes: &dyn Fn(u64)) -> (Outcome, u64) {
        let mut body = Body::new(&self.boundary, items, stop, on_bytes);
        let mut request = self
            .connection
            .agent
            .post(&self.url)
            .header("Accept", "application/dicom+json")
            .header("Content-Length", Body::length(&self.boundary, items).to_string())
            .header(
                "Content-Type",
                format!(
                    "multipart/related; type=\"application/dicom\"; boundary={}",
                    self.boundary
                ),
            );
        if let Some(authorization) = &self.connection.authorization {
            request = request.header("Authorization", authorization);
        }
        let result = request.send(ureq::SendBody::from_reader(&mut body));
        let num_file_bytes = body.num_file_bytes;
        let outcome = match (result, body.problem) {
            (_, Some((index, problem))) => Outcome::File(index, problem),
            (Ok(response), None) => read_answer(response),
            (Err(_), None) if stop.is_set() => Outcome::Stopped,
            (Err(error), None) => match classify(&error) {
                Broken::Maybe(text) => Outcome::Broken(text),
                Broken::Hopeless(text) => Outcome::Hopeless(text),
            },
        };
        (outcome, num_file_bytes)
    }

    /// Adds the SOP Instance UIDs that the server shows of a study.
    ///
    /// # Errors
    /// When the server does not say.
    pub(super) fn instances(&self, study: &str, stop: &Stop, there: &mut HashSet<String>) -> Result<(), RemoteError> {
        let url = format!("{}/{study}/instances", self.url);
        let searched = self.source.search(&url, "", SOP_INSTANCE_UID, stop, |found| {
            there.extend(text(&found, SOP_INSTANCE_UID).map(str::to_owned));
            Ok(())
        });
        searched.map_err(|error| match error {
            RemoteError::Usage(_) => RemoteError::Unreachable("the search is refused (HTTP 400)".into()),
            other => other,
        })
    }

    /// Whether the server is there and takes the credentials, found by a request with no instance in it.
    pub(super) fn probe(&self, stop: &Stop) -> Result<(), RemoteError> {
        let unreachable = |text: String| Err(RemoteError::Unreachable(format!("{}: {text}", self.url)));
        let mut attempt = 0;
        loop {
            match self.send(&[], stop, &|_| {}).0 {
                Outcome::Stopped => return Ok(()),
                Outcome::Broken(error) | Outcome::Hopeless(error) => return unreachable(error),
                Outcome::File(..) => return Ok(()),
                Outcome::Answer {
                    status, retry_after, ..
                } => match retry::judge(status) {
                    retry::Judgement::Fatal(text) => return unreachable(text),
                    retry::Judgement::Busy if attempt >= self.retries => return unreachable(format!("HTTP {status}")),
                    retry::Judgement::Busy => {
                        stop.sleep(retry::wait(attempt, self.retry_wait, retry_after));
                        attempt += 1;
                    }
                    _ => return Ok(()),
                },
            }
        }
    }
}

fn read_answer(mut response: ureq::http::Response<ureq::Body>) -> Outcome {
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|v| v.to_str().ok())
        .and_then(retry::retry_after);
    let status = response.status().as_u16();
    match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec() {
        Ok(body) => Outcome::Answer {
            status,
            body,
            retry_after,
        },
        // What was refused is refused, whatever else the server wanted to say.
        Err(_) if status >= 400 => Outcome::Answer {
            status,
            body: Vec::new(),
            retry_after,
        },
        Err(error) => Outcome::Broken(format!("the answer broke off: {error}")),
    }
}
