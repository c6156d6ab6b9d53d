//! What an operator can set for reception.

use std::sync::Arc;
use std::time::Duration;

/// Settings of [`crate::Reception`].
#[derive(Clone, Debug)]
pub struct ReceptionOptions {
    /// Our host name: in the greeting, the reply to EHLO and the `by` of Received.
    pub server_name: String,
    /// Largest message taken, announced with SIZE, in bytes of content.
    pub max_message_bytes: usize,
    /// Recipients of one transaction; at least 100 (RFC 5321 section 4.5.3.1.8).
    pub max_recipients: usize,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// How long a client is made to wait for the greeting. One that talks meanwhile is turned away.
    pub greeting_delay: Duration,
    /// STARTTLS is offered when there is one (see [`crate::tls`]).
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Bounds on what clients can make us do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_connections: usize,
    /// Per IPv4 address, or per IPv6 network of 64 bits.
    pub max_connections_per_address: usize,
    /// Commands since the last accepted message, or since the start.
    pub max_commands_per_message: usize,
    /// Commands that were refused as wrong, in a session.
    pub max_bad_commands: usize,
    /// Recipients that were refused, in a session.
    pub max_refused_recipients: usize,
    /// Bytes of all bodies in memory, from their first byte until they are stored.
    pub max_body_memory_bytes: usize,
    /// Bytes of a message that are still read once it has been refused; then the connection is closed.
    pub max_drained_bytes: usize,
    /// Received headers before a message counts as looping.
    pub max_received_headers: usize,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From a reply to the end of the next command (RFC 5321 section 4.5.3.2.7: 5 minutes).
    pub command: Duration,
    /// For the next piece of a message (RFC 5321 section 4.5.3.2.5: 3 minutes).
    pub data_block: Duration,
    /// For the client to take our replies.
    pub write: Duration,
    /// For the whole session.
    pub session: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the directory to say where a recipient's mail goes.
    pub resolve: Duration,
    /// For storage to make a message durable.
    pub commit: Duration,
    /// For memory to become free.
    pub memory: Duration,
    /// For running transactions to end when the server shuts down.
    pub drain: Duration,
}

impl ReceptionOptions {
    /// The defaults, for a server of this name, without TLS.
    pub fn new(server_name: impl Into<String>) -> Self {
        Self {
            server_name: server_name.into(),
            max_message_bytes: 50 * 1024 * 1024,
            max_recipients: 1000,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            greeting_delay: Duration::ZERO,
            tls: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 2000,
            max_connections_per_address: 200,
            max_commands_per_message: 2000,
            max_bad_commands: 10,
            max_refused_recipients: 100,
            max_body_memory_bytes: 512 * 1024 * 1024,
            max_drained_bytes: 64 * 1024 * 1024,
            max_received_headers: 50,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(300),
            data_block: Duration::from_secs(180),
            write: Duration::from_secs(60),
            session: Duration::from_secs(3600),
            handshake: Duration::from_secs(30),
            resolve: Duration::from_secs(10),
            commit: Duration::from_secs(30),
            memory: Duration::from_secs(5),
            drain: Duration::from_secs(20),
        }
    }
}
