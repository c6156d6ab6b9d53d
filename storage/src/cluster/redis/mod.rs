//! The hot store, first-seen and ended sessions on Redis (6.2 or newer), alone or as a cluster.
//!
//! [`Redis`] is a pool of connections that all share. Whatever must happen at once is one script (`scripts/`), over keys
//! of one hash tag, so that cluster mode works. Values are binary.

mod client;
mod first_seen;
mod hot;
mod options;
mod probe;
mod revocations;
mod script;
mod watch;

pub use client::{Redis, RedisError};
pub use first_seen::{RedisFirstSeen, RedisFirstSeenOptions};
pub use hot::{RedisHot, RedisHotOptions};
pub use options::RedisOptions;
pub use revocations::RedisRevocations;
