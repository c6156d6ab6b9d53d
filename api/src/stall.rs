//! A stream whose peer takes nothing is given up: what waits to be written would be held for it without end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Passes everything through. A write that has waited for `patience` fails with [`io::ErrorKind::TimedOut`].
pub(crate) struct Unstalled<S> {
    stream: S,
    patience: Duration,
    /// Ends when the write that waits has waited too long.
    alarm: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S> Unstalled<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, alarm: Box::pin(sleep(patience)), is_waiting: false }
    }

    fn watch(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.alarm.as_mut().reset(Instant::now() + self.patience);
        }
        let is_over = self.alarm.as_mut().poll(context).is_ready();
        if is_over { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_write_fails_when_nothing_is_taken() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut near = Unstalled::new(near, PATIENCE);
        let begun = Instant::now();
        let error = near.write_all(&[0; 30]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 10);
        assert_eq!(far.read(&mut [0; 100]).await.unwrap(), 10);
    }

    #[tokio::test]
    async fn a_write_goes_on_while_some_of_it_is_taken() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut near = Unstalled::new(near, PATIENCE);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while read < 100 {
                sleep(PATIENCE / 4).await;
                read += far.read(&mut [0; 10]).await.unwrap();
            }
            far
        });
        near.write_all(&[0; 100]).await.unwrap();
        // Between writes, any time may pass.
        let far = reader.await.unwrap();
        sleep(PATIENCE * 2).await;
        near.write_all(&[0; 10]).await.unwrap();
        drop(far);
    }
}
