//! The server, asked: searches (QIDO-RS, PS3.18 section 10.6) and retrieves (WADO-RS, section 10.4).

use std::collections::HashSet;
use std::io::Read;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::remote::{Broken, Connection, RemoteArguments, RemoteError, Stop, Target, classify, retry};

/// Longest answer to a search, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Longest silence of the server.
const READ_WAIT: Duration = Duration::from_secs(120);

/// Results asked for at a time.
const PAGE: usize = 1000;

/// A page shorter than this is the last one, if nothing speaks against it: no server caps pages as low.
const SHORT_PAGE: usize = 100;

/// Retrieve URL (0008,1190).
pub(super) const RETRIEVE_URL: &str = "00081190";

/// A result of a search: attributes in DICOM JSON.
pub(crate) type Found = Map<String, Value>;

/// The server.
pub(crate) struct Source {
    connection: Connection,
    pub(super) target: Target,
    accept: String,
}

/// Why a retrieve gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not there (any more).
    Gone,
    /// Not to be had in the transfer syntax asked for.
    Syntax,
    /// Refused, with this HTTP status.
    Status(u16),
    /// Try again later.
    Busy(String, Option<Duration>),
    /// Nothing can be had from this server.
    Fatal(String),
}

impl Source {
    /// Reads certificates, asks for the password. Sends nothing yet.
    pub(super) fn new(
        arguments: &RemoteArguments,
        target: Target,
        syntax: &str,
        stop: &Stop,
    ) -> Result<Self, RemoteError> {
        let user_agent = concat!("septum-export/", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            connection: Connection::new(arguments, &target, user_agent, READ_WAIT, stop)?,
            target,
            accept: format!("multipart/related; type=\"application/dicom\"; transfer-syntax={syntax}"),
        })
    }

    /// One for searches, over a connection that is there already.
    pub(crate) fn over(connection: Connection, target: Target) -> Self {
        Self {
            connection,
            target,
            accept: String::new(),
        }
    }

    /// Times to try again, and the first wait.
    pub(super) fn patience(&self) -> (u32, Duration) {
        (self.connection.retries, self.connection.retry_wait)
    }

    fn get(&self, url: &str, accept: &str) -> Result<ureq::http::Response<ureq::Body>, Refused> {
        let mut request = self.connection.agent.get(url).header("Accept", accept);
        if let Some(authorization) = &self.connection.authorization {
            request = request.header("Authorization", authorization);
        }
        let response = request.call().map_err(|error| match classify(&error) {
            Broken::Maybe(text) => Refused::Busy(text, None),
            Broken::Hopeless(text) => Refused::Fatal(text),
        })?;
        let status = response.status().as_u16();
        let retry_after = header(&response, "retry-after").and_then(retry::retry_after);
        match judge(status) {
            Ok(()) => Ok(response),
            Err(Refused::Busy(text, _)) => Err(Refused::Busy(text, retry_after)),
            Err(refused) => Err(refused),
        }
    }

    /// Retrieves what is below `url`. One attempt.
    pub(super) fn retrieve(&self, url: &str) -> Result<ureq::http::Response<ureq::Body>, Refused> {
        self.get(url, &self.accept)
    }

    /// Searches, page by page. Each result comes once, told apart by its UID in `key` and its address. `query` is `&name=value…`.
    pub(crate) fn search(
        &self,
        url: &str,
        query: &str,
        key: &str,
        stop: &Stop,
        mut on_found: impl FnMut(Found) -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        let mut seen = HashSet::new();
        let mut offset = 0;
        while !stop.is_set() {
            let (page, has_more) = self.page(&format!("{url}?limit={PAGE}&offset={offset}{query}"), stop)?;
            let num_found = page.len();
            offset += num_found;
            let mut is_new = false;
            for found in page {
                let uid = text(&found, key).unwrap_or_default().to_owned();
                // An archive of several namespaces may have one UID in two of them.
                let url = text(&found, RETRIEVE_URL).map(|url| blake3::hash(url.as_bytes()));
                if seen.insert((uid, url)) {
                    is_new = true;
                    on_found(found)?;
                }
            }
            // A server that knows no offset gives the same page again and again.
            if !is_new || (!has_more && num_found < SHORT_PAGE) {
                break;
            }
        }
        Ok(())
    }

    /// One page, and whether the server says that there are more results (PS3.18 section 8.3.4.4).
    fn page(&self, url: &str, stop: &Stop) -> Result<(Vec<Found>, bool), RemoteError> {
        let (retries, first_wait) = self.patience();
        let mut attempt = 0;
        loop {
            let refused = match self.get(url, "application/dicom+json") {
                Ok(response) if response.status().as_u16() == 204 => return Ok((Vec::new(), false)),
                Ok(mut response) => {
                    let has_more = header(&response, "warning").is_some_and(|text| text.starts_with("299"));
                    match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec() {
                        Ok(body) => {
                            let page = serde_json::from_slice(&body).map_err(|_| {
                                RemoteError::Unreachable("the server's answer is not one of a DICOMweb search".into())
                            })?;
                            return Ok((page, has_more));
                        }
                        Err(error) => Refused::Busy(format!("the answer broke off: {error}"), None),
                    }
                }
                Err(refused) => refused,
            };
            match refused {
                _ if stop.is_set() => return Ok((Vec::new(), false)),
                Refused::Busy(_, after) if attempt < retries => stop.sleep(retry::wait(attempt, first_wait, after)),
                Refused::Busy(text, _) | Refused::Fatal(text) => {
                    return Err(RemoteError::Unreachable(format!("{}: {text}", self.target.service_url)));
                }
                Refused::Gone => {
                    return Err(RemoteError::Unreachable(format!(
                        "{}: there is no DICOMweb search at this address",
                        self.target.service_url
                    )));
                }
                Refused::Syntax => return Err(RemoteError::Unreachable("the server gives no DICOM JSON".into())),
                Refused::Status(400) => {
                    return Err(RemoteError::Usage("the server does not understand --match".into()));
                }
                Refused::Status(status) => {
                    return Err(RemoteError::Unreachable(format!(
                        "the search is refused (HTTP {status})"
                    )));
                }
            }
            attempt += 1;
        }
    }
}

/// Judges the status of a search or retrieve.
fn judge(status: u16) -> Result<(), Refused> {
    let fatal = |text: &str| Err(Refused::Fatal(format!("{text} (HTTP {status})")));
    match status {
        200 | 204 | 206 => Ok(()),
        408 | 425 | 429 | 502 | 503 | 504 => Err(Refused::Busy(format!("the server is busy (HTTP {status})"), None)),
        401 => fatal("the server does not accept these credentials: give --user and SEPTUM_PASSWORD"),
        403 => fatal("this user may not read here"),
        404 | 410 => Err(Refused::Gone),
        406 => Err(Refused::Syntax),
        300..=399 => fatal("the server answers with a redirection, which is not followed: give its final address"),
        _ => Err(Refused::Status(status)),
    }
}

/// A header as text.
pub(super) fn header<'a>(response: &'a ureq::http::Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The first value of an attribute as text.
pub(crate) fn text<'a>(found: &'a Found, tag: &str) -> Option<&'a str> {
    found
        .get(tag)?
        .get("Value")?
        .get(0)?
        .as_str()
        .map(|text| text.trim_end_matches(['\0', ' ']))
}

/// The first value of an attribute as number; IS may be either (PS3.18 section F.2.3).
pub(super) fn number(found: &Found, tag: &str) -> Option<i64> {
    let value = found.get(tag)?.get("Value")?.get(0)?;
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A response's body as a reader without a limit of its own.
pub(super) fn body(response: ureq::http::Response<ureq::Body>) -> impl Read {
    response.into_body().into_with_config().limit(u64::MAX).reader()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements() {
        for status in [200, 204, 206] {
            assert_eq!(judge(status), Ok(()));
        }
        for status in [429, 503] {
            assert!(matches!(judge(status), Err(Refused::Busy(..))));
        }
        for status in [301, 401, 403] {
            assert!(matches!(judge(status), Err(Refused::Fatal(_))));
        }
        assert_eq!(judge(404), Err(Refused::Gone));
        assert_eq!(judge(500), Err(Refused::Status(500)));
    }

    #[test]
    fn values_in_json() {
        let found: Found = serde_json::from_str(
            r#"{"00080018":{"vr":"UI","Value":["1.2 "]},"00200013":{"vr":"IS","Value":["7"]},"00201209":{"vr":"IS","Value":[8]},
                "00100020":{"vr":"LO"}}"#,
        )
        .expect("JSON");
        assert_eq!(text(&found, "00080018"), Some("1.2"));
        assert_eq!(text(&found, "00100020"), None);
        assert_eq!(
            (number(&found, "00200013"), number(&found, "00201209")),
            (Some(7), Some(8))
        );
    }
}
