//! What every adapter must do, as suites that take any adapter: a test of an adapter implements [`Place`] and calls
//! each function of a suite, or its `all`.
//!
//! The suites assume neither an empty place nor gapless offsets: every case works with keys and groups of its own, so
//! that they run against brokers that live on, and against one that other suites use at the same time.
//! A case panics when the adapter does not conform.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub mod blob;
pub mod consumer;
pub mod first_seen;
pub mod hot;
pub mod log;
pub mod revocations;

/// How long a case waits for what must come. Brokers share partitions out in seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a case waits to see that nothing comes.
pub const A_MOMENT: Duration = Duration::from_millis(300);

/// Where an adapter keeps its data.
#[async_trait]
pub trait Place<A: ?Sized + Send + Sync>: Send + Sync {
    /// Opens the adapter over the data of this place. Called again after all earlier handles were dropped, as after a
    /// restart.
    async fn open(&self) -> Arc<A>;
}

/// A name that no other case and no other run uses.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", ulid::Ulid::new().to_string().to_lowercase())
}
