//! The adapters over services that a cluster shares.
//!
//! - [`kafka`]: the log on Kafka
//! - [`redis`]: the hot store, first-seen and ended sessions on Redis
//! - [`packs`]: bodies in packs on S3
//! - [`object_store`]: how S3 is reached
//! - [`keys`]: what of the configuration to look at when one of them cannot be used
//! - [`probe`]: whether a bucket can be used
//! - [`depth`]: how much waits, as gauges

mod depth;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod keys;
pub mod object_store;
pub mod packs;
pub mod probe;
pub mod redis;

#[cfg(feature = "kafka")]
pub use kafka::{KafkaLog, KafkaOptions, SaslOptions};
pub use object_store::{S3Error, S3Options};
pub use packs::{S3PackOptions, S3Packs};
pub use redis::{
    Redis, RedisError, RedisFirstSeen, RedisFirstSeenOptions, RedisHot, RedisHotOptions, RedisOptions, RedisRevocations,
};
