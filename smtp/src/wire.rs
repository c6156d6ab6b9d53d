//! The connection's bytes: commands and content in, replies out, in the clear or over TLS.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::command::MAX_PATH_LINE_BYTES;
use crate::reply::Reply;
use crate::session::End;

/// Read buffer while commands are awaited, and while content comes.
const COMMAND_BUFFER_BYTES: usize = 4 * 1024;
const CONTENT_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of a line without an end that are read over before we hang up.
const MAX_SKIPPED_BYTES: usize = 64 * 1024;
/// Replies that wait to be written together are written when they are more than this.
const MAX_HELD_REPLY_BYTES: usize = 16 * 1024;
/// How long and how much is read from a client that was told to go, so that it sees why.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER_BYTES: usize = 256 * 1024;

/// One side of a conversation.
pub(crate) struct Wire {
    stream: Stream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    skipped: usize,
    output: Vec<u8>,
    write_timeout: Duration,
    ends_at: Instant,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Closed,
}

/// What the input begins with.
pub(crate) enum Line<'a> {
    /// A line without its CRLF; it is taken from the input.
    Text(&'a [u8]),
    /// A line that ended with LF alone; taken.
    BareLf,
    /// The end of a line that is longer than any command; taken.
    TooLong,
    /// A line that does not end.
    Endless,
    /// Nothing yet.
    Incomplete,
}

impl Wire {
    /// `ends_at` is when the session is over, whatever is going on.
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration, ends_at: Instant) -> Self {
        Self {
            stream: Stream::Plain(stream),
            input: vec![0; COMMAND_BUFFER_BYTES],
            start: 0,
            end: 0,
            skipped: 0,
            output: Vec::with_capacity(512),
            write_timeout,
            ends_at,
        }
    }

    /// What has come and was not consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Makes room to read content in large pieces.
    pub(crate) fn widen(&mut self) {
        if self.input.len() < CONTENT_BUFFER_BYTES {
            self.input.resize(CONTENT_BUFFER_BYTES, 0);
        }
    }

    /// Takes the next line.
    pub(crate) fn take_line(&mut self) -> Line<'_> {
        let Some(length) = memchr(b'\n', self.buffered()) else {
            let waiting = self.end - self.start;
            if self.skipped > 0 || waiting > MAX_PATH_LINE_BYTES {
                self.skipped += waiting;
                self.consume(waiting);
            }
            return if self.skipped > MAX_SKIPPED_BYTES { Line::Endless } else { Line::Incomplete };
        };
        let from = self.start;
        self.start += length + 1;
        if mem::take(&mut self.skipped) > 0 || length >= MAX_PATH_LINE_BYTES {
            return Line::TooLong;
        }
        match &self.input[from..from + length] {
            [text @ .., b'\r'] => Line::Text(text),
            _ => Line::BareLf,
        }
    }

    /// Waits for more input, after writing what is held.
    ///
    /// # Errors
    /// [`End::Gone`] when the client went, [`End::TimedOut`] at `deadline`, [`End::SessionOver`] at the session's.
    pub(crate) async fn fill(&mut self, deadline: Instant) -> Result<(), End> {
        self.flush().await?;
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = &mut self.input[self.end..];
        match timeout_at(deadline.min(self.ends_at), self.stream.read(room)).await {
            Ok(Ok(0) | Err(_)) => Err(End::Gone),
            Ok(Ok(bytes)) => {
                self.end += bytes;
                Ok(())
            }
            Err(_) if self.ends_at <= Instant::now() => Err(End::SessionOver),
            Err(_) => Err(End::TimedOut),
        }
    }

    /// Holds a reply back until [`Wire::flush`] or the next [`Wire::fill`].
    pub(crate) fn hold(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
    }

    pub(crate) fn hold_text(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn holds_much(&self) -> bool {
        self.output.len() > MAX_HELD_REPLY_BYTES
    }

    /// Writes what is held.
    pub(crate) async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = timeout(self.write_timeout, self.stream.write(&self.output)).await;
        self.output.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }

    /// Goes over to TLS. What the client sent in the clear and we did not process is forgotten: it may be an
    /// attacker's (RFC 3207 section 4.2 and 6).
    pub(crate) async fn upgrade(&mut self, config: Arc<rustls::ServerConfig>, wait: Duration) -> Result<(), End> {
        self.flush().await?;
        (self.start, self.end, self.skipped) = (0, 0, 0);
        let Stream::Plain(stream) = mem::replace(&mut self.stream, Stream::Closed) else { return Err(End::Gone) };
        match timeout(wait, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => {
                self.stream = Stream::Tls(Box::new(stream));
                Ok(())
            }
            _ => Err(End::Gone),
        }
    }

    /// Writes what is held and closes. A client that may be sending still is read from for a moment: to close with
    /// unread input would reset the connection and could take the reply with it.
    pub(crate) async fn close(mut self, is_client_sending: bool) {
        let is_flushed = self.flush().await.is_ok();
        if !is_client_sending && matches!(self.stream, Stream::Plain(_)) {
            return; // Dropping the socket closes it, one system call cheaper than a shutdown before.
        }
        let is_shut = timeout(LINGER, self.stream.shutdown()).await.is_ok_and(|shut| shut.is_ok());
        if !(is_client_sending && is_flushed && is_shut) {
            return;
        }
        let linger = async {
            let mut read = 0;
            while let Ok(bytes @ 1..) = self.stream.read(&mut self.input).await {
                read += bytes;
                if read > MAX_LINGER_BYTES {
                    break;
                }
            }
        };
        let _ = timeout(LINGER, linger).await;
    }
}

impl Stream {
    async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(room).await,
            Stream::Tls(stream) => stream.read(room).await,
            Stream::Closed => Ok(0),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
            Stream::Closed => Ok(()),
        }
    }
}
