//! Request bodies, with a watchdog and a limit.
//!
//! Invariant 6: a body has a longest length, and a client that sends too slowly is let go: after the grace, each window
//! of as many seconds must bring the asked rate. Time that the server itself takes does not count against the client. Of a
//! body in a content coding, both the bytes that come and the bytes they expand to are bounded.

use std::time::{Duration, Instant};

use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::coding::{Coding, CodingError, Decoder};
use super::multipart::DATA_BYTES;

/// What a body may cost.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Longest body, in bytes.
    pub bytes_max: u64,
    /// Bytes a second it must bring.
    pub bytes_per_second_min: u64,
    /// Length of a window.
    pub grace: Duration,
    /// Most bytes out of one byte of a content coding.
    pub coding_ratio_max: u32,
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
    /// The content coding cannot be undone, or expands more than allowed.
    #[error(transparent)]
    Coding(CodingError),
}

/// Reads one body.
pub struct BodyReader {
    payload: web::Payload,
    limits: BodyLimits,
    received_bytes: u64,
    window: Window,
    coded: Option<Coded>,
}

/// A body in a content coding.
struct Coded {
    decoder: Decoder,
    /// Received and not yet decoded.
    rest: Bytes,
    decoded_bytes: u64,
    is_complete: bool,
}

impl BodyReader {
    /// Reads `payload`, which is in `coding`.
    pub fn new(payload: web::Payload, coding: Coding, limits: BodyLimits) -> Self {
        let coded = Decoder::new(coding, limits.coding_ratio_max).map(|decoder| Coded {
            decoder,
            rest: Bytes::new(),
            decoded_bytes: 0,
            is_complete: false,
        });
        Self {
            payload,
            limits,
            received_bytes: 0,
            window: Window::default(),
            coded,
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
        let Some(mut coded) = self.coded.take() else {
            return self.receive().await;
        };
        let outcome = self.decode(&mut coded).await;
        self.coded = Some(coded);
        outcome
    }

    async fn decode(&mut self, coded: &mut Coded) -> Result<Option<Bytes>, BodyError> {
        while !coded.is_complete {
            let (used, mut output) = coded.decoder.step(&coded.rest).map_err(BodyError::Coding)?;
            let _ = coded.rest.split_to(used);
            if used == 0 && output.is_empty() {
                if !coded.rest.is_empty() {
                    return Err(BodyError::Coding(CodingError::Malformed));
                }
                match self.receive().await? {
                    Some(bytes) => coded.rest = bytes,
                    None => {
                        coded.is_complete = true;
                        // No bytes at all are an empty body in any coding.
                        if self.received_bytes > 0 {
                            output = coded.decoder.finish().map_err(BodyError::Coding)?;
                        }
                    }
                }
            }
            coded.decoded_bytes += output.len() as u64;
            if coded.decoded_bytes > self.limits.bytes_max {
                return Err(BodyError::TooLong);
            }
            if !output.is_empty() {
                // A long body that is here already must not keep this thread from the others.
                tokio::task::yield_now().await;
                return Ok(Some(output.into()));
            }
        }
        Ok(None)
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, BodyError> {
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

    /// The next bytes, gathered into a piece of at least [`DATA_BYTES`], the last one excepted; `None` at the end.
    ///
    /// # Errors
    /// [`BodyError`]; nothing comes after it, and what was gathered is lost.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        let mut piece = BytesMut::new();
        while piece.len() < DATA_BYTES {
            let Some(bytes) = self.next().await? else { break };
            if piece.capacity() - piece.len() < bytes.len() {
                // At once what a piece needs: growing step by step would copy it several times.
                piece.reserve(DATA_BYTES + bytes.len());
            }
            piece.extend_from_slice(&bytes);
        }
        Ok((!piece.is_empty()).then(|| piece.freeze()))
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
        coding_ratio_max: 200,
    };

    async fn read(
        stream: impl futures_util::Stream<Item = Result<Bytes, PayloadError>> + 'static,
    ) -> Result<usize, BodyError> {
        read_coded(stream, Coding::Identity).await
    }

    async fn read_coded(
        stream: impl futures_util::Stream<Item = Result<Bytes, PayloadError>> + 'static,
        coding: Coding,
    ) -> Result<usize, BodyError> {
        let boxed: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(stream);
        let request = TestRequest::default().to_http_request();
        let mut payload = actix_web::dev::Payload::from(boxed);
        let payload = web::Payload::from_request(&request, &mut payload)
            .await
            .expect("takes any payload");
        BodyReader::new(payload, coding, LIMITS)
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

    #[actix_web::test]
    async fn coded_bodies_have_limits_before_and_after() {
        let coded = |length: usize| {
            let body = zstd::encode_all(&vec![7; length][..], 3).expect("encodes");
            futures_util::stream::iter(body.chunks(3).map(Bytes::copy_from_slice).map(Ok).collect::<Vec<_>>())
        };
        assert_eq!(read_coded(coded(1000), Coding::Zstd).await, Ok(1000));
        assert_eq!(read_coded(coded(1001), Coding::Zstd).await, Err(BodyError::TooLong));
        assert_eq!(read_coded(coded(0), Coding::Zstd).await, Ok(0));
        let malformed = Err(BodyError::Coding(CodingError::Malformed));
        assert_eq!(read_coded(coded(10), Coding::Gzip).await, malformed);
        let cut = coded(1000).take(3);
        assert_eq!(read_coded(cut, Coding::Zstd).await, malformed);
        assert_eq!(read_coded(futures_util::stream::empty(), Coding::Gzip).await, Ok(0));
    }
}
