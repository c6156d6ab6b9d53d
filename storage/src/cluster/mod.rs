//! The adapters over services that a cluster shares.
//!
//! - [`kafka`]: the log on Kafka

pub mod kafka;

pub use kafka::{KafkaLog, KafkaOptions, SaslOptions};
