//! How one version of a pipeline takes over from another.
//!
//! A version's state (calls under way, where its source stands) is in its own checkpoints, which no other can read. What
//! others see is the position of its group, and that is not enough: Arroyo notes there the last record it has *read*,
//! before the checkpoint that makes anything of it durable, and says nothing of calls that are under way. So:
//!
//! 1. The source is held: a transaction that stays open puts one record into each partition, and nobody who reads
//!    committed records gets past it. Mail is taken as before; only its screening waits.
//! 2. The old version is let finish everything before the hold, then stopped with a checkpoint.
//! 3. The group is set to where the hold stands, with a note that this is exact. The hold is undone.
//! 4. The new version begins there.
//!
//! Whatever dies in between, the hold undoes itself within minutes. A note on the positions says that step 3 was done, and
//! the first checkpoint of a version wipes it away when it begins. Without it, a stopped version is started again, to go on
//! from its own checkpoint, and the handover begins anew.
//!
//! A version whose first checkpoint began and never finished has moved the group, and nothing that it read was ever seen.
//! So its text says where it began, and the group is set back to there before another begins.

use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use millrace_storage::LogError;

/// What a handover does to the source and to a group that reads it.
#[async_trait]
pub trait Handover: Send + Sync {
    /// How many processes share out the partitions of `group` among them, as the local runner's do and Arroyo's do not.
    async fn members(&self, group: &str) -> Result<usize, LogError>;

    /// Lets no reader of committed records past where `topic` ends now. One hold at a time per group: a later one undoes an
    /// earlier one. It undoes itself after `lifetime`.
    async fn hold(&self, group: &str, topic: Topic, lifetime: Duration) -> Result<Box<dyn Hold>, LogError>;

    /// Whether a version of `group` at Arroyo has noted that it read everything before `positions`.
    async fn is_reached(&self, group: &str, topic: Topic, positions: &[u64]) -> Result<bool, LogError>;

    /// Whether a hold at `positions` has lasted until now.
    async fn is_held_at(&self, topic: Topic, positions: &[u64]) -> Result<bool, LogError>;

    /// Where a group stands by its positions, as the next record to read; in partitions where it has none, the first.
    async fn stands(&self, group: &str, topic: Topic) -> Result<Vec<u64>, LogError>;

    /// Whether a group was set by [`Handover::set`] and nobody has moved it since.
    async fn is_exact(&self, group: &str, topic: Topic) -> Result<bool, LogError>;

    /// Sets a group without members to `positions`, by partition: the next record to read.
    async fn set(&self, group: &str, topic: Topic, positions: &[u64]) -> Result<(), LogError>;

    /// Positions that are at least `by` earlier than where a group stands.
    async fn earlier(&self, group: &str, topic: Topic, by: Duration) -> Result<Vec<u64>, LogError>;
}

/// A held topic. Dropped without being released, it undoes itself after a while.
#[async_trait]
pub trait Hold: Send + Sync {
    /// Where each partition is held: the first offset that nobody reads.
    fn positions(&self) -> &[u64];

    async fn release(self: Box<Self>) -> Result<(), LogError>;
}
