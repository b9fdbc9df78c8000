//! Peers that are too slow: a body that hardly comes, and an answer that nobody takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use portcullis_core::error::Unreachable;
use portcullis_core::ports::Chunks;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

/// The least that a body has to bring in each interval, in bytes.
const LEAST: usize = 1 << 10;

/// A body that breaks off where it brings less than 1 KiB in an `interval`.
pub(crate) fn paced(
    chunks: impl Stream<Item = Result<Bytes, hyper::Error>> + Send + Unpin + 'static,
    interval: Duration,
) -> Chunks {
    let deadline = Instant::now() + interval;
    stream::unfold((chunks, deadline, 0), move |(mut chunks, mut deadline, mut read)| async move {
        let chunk = match timeout_at(deadline, chunks.next()).await {
            Ok(chunk) => chunk?.map_err(|error| Unreachable::new("client", error.to_string())),
            Err(_) => Err(Unreachable::new("client", "sends its request too slowly")),
        };
        read += chunk.as_ref().map_or(0, Bytes::len);
        if read >= LEAST {
            (deadline, read) = (Instant::now() + interval, 0);
        }
        Some((chunk, (chunks, deadline, read)))
    })
    .boxed()
}

/// A connection that fails where the peer takes nothing of what is written for too long.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs while something waits to be written.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Waits as long as `patience` for the peer to take something.
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Time is virtual here: it passes only while nothing else can happen.
    const SHORT: Duration = Duration::from_secs(20);

    async fn collect(chunks: Chunks) -> Vec<Result<usize, String>> {
        chunks.map(|chunk| chunk.map(|bytes| bytes.len()).map_err(|error| error.message)).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_hardly_comes_breaks_off() {
        let trickle = stream::repeat_with(|| Ok(Bytes::from_static(b"x")))
            .then(async |byte| {
                sleep(SHORT / 4).await;
                byte
            })
            .boxed();
        let read = collect(paced(trickle, SHORT).take(100).boxed()).await;
        assert!(read.iter().any(Result::is_err), "{read:?}");
        let quick = stream::iter((0..3).map(|_| Ok(Bytes::from(vec![b'x'; LEAST]))));
        let quick = quick
            .then(async |chunk| {
                sleep(SHORT / 2).await;
                chunk
            })
            .boxed();
        assert_eq!(collect(paced(quick, Duration::from_secs(30))).await, [Ok(LEAST), Ok(LEAST), Ok(LEAST)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, mut far) = duplex(8);
        let mut patient = Patient::new(near, SHORT);
        let error = patient.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all.len())
        });
        tokio::task::yield_now().await;
        patient.write_all(&[0; 64]).await.expect("somebody reads");
        drop(patient);
        assert_eq!(reading.await.expect("it ends").expect("it reads"), 72);
    }
}
