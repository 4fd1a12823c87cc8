//! Request bodies, with a watchdog and a limit.
//!
//! Invariant 6: a body has a longest length, and a client that sends too slowly is let go: after the grace, each window
//! of as many seconds must bring the asked rate. Time that the server itself takes does not count against the client.

use std::time::{Duration, Instant};

use actix_web::web;
use bytes::Bytes;
use futures_util::StreamExt;

/// What a body may cost.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Longest body, in bytes.
    pub bytes_max: u64,
    /// Bytes a second it must bring.
    pub bytes_per_second_min: u64,
    /// Length of a window.
    pub grace: Duration,
}

/// Why a body ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than allowed.
    #[error("the body is longer than allowed")]
    TooLong,
    /// The client sends too slowly.
    #[error("the body comes too slowly")]
    TooSlow,
    /// The connection broke, or the transfer coding is malformed.
    #[error("the body broke off")]
    Broken,
}

/// Reads one body.
pub struct BodyReader {
    payload: web::Payload,
    limits: BodyLimits,
    received_bytes: u64,
    window: Window,
}

impl BodyReader {
    /// Reads `payload`.
    pub fn new(payload: web::Payload, limits: BodyLimits) -> Self {
        Self {
            payload,
            limits,
            received_bytes: 0,
            window: Window::default(),
        }
    }

    /// Sets another longest length, in bytes.
    pub fn set_longest(&mut self, bytes_max: u64) {
        self.limits.bytes_max = bytes_max;
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`BodyError`]; nothing comes after it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let left = self.limits.grace.saturating_sub(self.window.waited);
            let start = Instant::now();
            let step = tokio::time::timeout(left, self.payload.next()).await;
            self.window.waited += start.elapsed();
            match step {
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(BodyError::Broken),
                Ok(Some(Ok(bytes))) => {
                    self.received_bytes += bytes.len() as u64;
                    self.window.received_bytes += bytes.len() as u64;
                    if self.received_bytes > self.limits.bytes_max {
                        return Err(BodyError::TooLong);
                    }
                    return Ok(Some(bytes));
                }
                Err(_) if self.window.is_too_slow(&self.limits) => return Err(BodyError::TooSlow),
                Err(_) => self.window = Window::default(),
            }
        }
    }

    /// Reads a whole small body.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn read_all(mut self) -> Result<Vec<u8>, BodyError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

#[derive(Default)]
struct Window {
    waited: Duration,
    received_bytes: u64,
}

impl Window {
    fn is_too_slow(&self, limits: &BodyLimits) -> bool {
        let wanted = limits.grace.as_secs_f64() * limits.bytes_per_second_min as f64;
        (self.received_bytes as f64) < wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::FromRequest;
    use actix_web::error::PayloadError;
    use actix_web::test::TestRequest;

    const LIMITS: BodyLimits = BodyLimits {
        bytes_max: 1000,
        bytes_per_second_min: 1000,
        grace: Duration::from_millis(100),
    };

    async fn read(
        stream: impl futures_util::Stream<Item = Result<Bytes, PayloadError>> + 'static,
    ) -> Result<usize, BodyError> {
        let boxed: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(stream);
        let request = TestRequest::default().to_http_request();
        let mut payload = actix_web::dev::Payload::from(boxed);
        let payload = web::Payload::from_request(&request, &mut payload)
            .await
            .expect("takes any payload");
        BodyReader::new(payload, LIMITS)
            .read_all()
            .await
            .map(|whole| whole.len())
    }

    #[actix_web::test]
    async fn bodies_have_limits() {
        let once = |length: usize| futures_util::stream::iter([Ok(Bytes::from(vec![0; length]))]);
        assert_eq!(read(once(1000)).await, Ok(1000));
        assert_eq!(read(once(1001)).await, Err(BodyError::TooLong));
        assert_eq!(read(futures_util::stream::pending()).await, Err(BodyError::TooSlow));
        assert_eq!(
            read(once(200).chain(futures_util::stream::pending())).await,
            Err(BodyError::TooSlow)
        );
        assert_eq!(
            read(futures_util::stream::iter([Err(PayloadError::Incomplete(None))])).await,
            Err(BodyError::Broken)
        );
        let drip = futures_util::stream::unfold(0, |step| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (step < 20).then(|| (Ok(Bytes::from_static(&[0; 40])), step + 1))
        });
        assert_eq!(read(drip).await, Ok(800));
    }
}
