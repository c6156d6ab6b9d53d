//! An SMTP client of bytes, over a socket or over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client<S = TcpStream> {
    pub stream: S,
    read: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// Connects, is greeted and has said EHLO.
    pub async fn introduced(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        client.expect("220 ").await;
        client.say("EHLO client.example").await;
        client.reply().await;
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // The server may have hung up already; what it said before is what a test looks at.
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server does not read");
        let _ = self.stream.flush().await;
    }

    /// Sends a line.
    pub async fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes()).await;
    }

    /// The next line without its CRLF; `None` when the server closed the connection.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.read.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut piece = [0; 4096];
            match timeout(PATIENCE, self.stream.read(&mut piece)).await.expect("the server says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => self.read.extend_from_slice(&piece[..bytes]),
            }
        }
    }

    /// A whole reply, its lines joined by `\n`.
    pub async fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if is_last {
                break;
            }
        }
        lines.join("\n")
    }

    /// Reads a reply that begins so.
    pub async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await;
        assert!(reply.starts_with(start), "wanted {start:?}, got {reply:?}");
        reply
    }

    pub async fn ask(&mut self, line: &str, start: &str) -> String {
        self.say(line).await;
        self.expect(start).await
    }

    pub async fn expect_close(&mut self) {
        assert_eq!(self.line().await, None, "the server should have hung up");
    }

    /// MAIL, RCPT to alice and DATA, up to 354.
    pub async fn open_data(&mut self) {
        self.ask("MAIL FROM:<sender@example.com>", "250 ").await;
        self.ask("RCPT TO:<alice@millrace.test>", "250 ").await;
        self.ask("DATA", "354 ").await;
    }

    /// Sends a message to alice and returns the last reply.
    pub async fn deliver(&mut self, content: &str) -> String {
        self.open_data().await;
        self.send(format!("{content}\r\n.\r\n").as_bytes()).await;
        self.reply().await
    }
}
