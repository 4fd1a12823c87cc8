//! Bodies that are made while they are sent: a task makes pieces a little ahead of the client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use septum_engine::{EngineError, Result};
use tokio::sync::mpsc;

/// Pieces made ahead.
const PIECES_AHEAD: usize = 2;

/// Where the task puts pieces.
pub(crate) type Sink = mpsc::Sender<Result<Bytes>>;

/// A client that takes not one piece for so long is given up, so that whatever the answer holds comes free. A transport
/// has no such limit of its own.
const STALLED: Duration = Duration::from_secs(120);

/// The client went away, or does not read: stop making pieces.
pub(crate) struct Gone;

/// Sends a piece.
pub(crate) async fn send(sink: &Sink, piece: Bytes) -> std::result::Result<(), Gone> {
    send_within(sink, piece, STALLED).await
}

async fn send_within(sink: &Sink, piece: Bytes, limit: Duration) -> std::result::Result<(), Gone> {
    if piece.is_empty() {
        return Ok(());
    }
    match tokio::time::timeout(limit, sink.send(Ok(piece))).await {
        Ok(sent) => sent.map_err(|_| Gone),
        Err(_) => {
            tracing::warn!("a client stopped reading its answer; it is given up");
            Err(Gone)
        }
    }
}

/// Why a body ends before its end.
pub(crate) enum Break {
    /// Nobody listens any more.
    Gone,
    /// The engine failed: the connection is broken off, so that nobody takes the body for whole.
    Failed(EngineError),
}

impl From<Gone> for Break {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<EngineError> for Break {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

/// A body made by `make`.
pub(crate) fn body<F>(length: Option<u64>, make: impl FnOnce(Sink) -> F) -> Streamed
where
    F: Future<Output = std::result::Result<(), Break>> + 'static,
{
    let (sink, pieces) = mpsc::channel(PIECES_AHEAD);
    let making = make(sink.clone());
    actix_web::rt::spawn(async move {
        if let Err(Break::Failed(error)) = making.await {
            tracing::error!(%error, "an answer broke off while it was sent");
            let _ = sink.send(Err(error)).await;
        }
    });
    Streamed { length, pieces }
}

/// See [`body`].
pub(crate) struct Streamed {
    length: Option<u64>,
    pieces: mpsc::Receiver<Result<Bytes>>,
}

impl MessageBody for Streamed {
    type Error = EngineError;

    fn size(&self) -> BodySize {
        self.length.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.pieces.poll_recv(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (sink, mut pieces) = mpsc::channel(1);
        let send = |text: &'static [u8]| send_within(&sink, Bytes::from_static(text), Duration::from_millis(10));
        assert!(send(b"one").await.is_ok());
        assert!(send(b"two").await.is_err());
        assert_eq!(
            pieces.recv().await.and_then(Result::ok),
            Some(Bytes::from_static(b"one"))
        );
        assert!(send(b"three").await.is_ok());
    }
}
