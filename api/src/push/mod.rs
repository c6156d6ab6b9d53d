//! Push: tells clients that an account changed (RFC 8620 section 7).
//!
//! - [`watch`]: waits for changes of one account, and says which types changed
//! - [`event_source`]: over an HTTP response that does not end (RFC 8620 section 7.3)
//! - [`websocket`]: over a WebSocket, which takes requests too (RFC 8887)

pub(crate) mod event_source;
pub(crate) mod watch;
pub(crate) mod websocket;
