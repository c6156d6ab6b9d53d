//! The hot store: changes to mailboxes that the tables do not have yet, and what changed last.
//!
//! It can be thrown away at any moment: a lander fills it again from the log, from where the tables end.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

/// One version of one email, as the lander made it of one record of `mailbox.changes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotRow {
    pub account_id: Arc<str>,
    pub email_id: Arc<str>,
    /// Offset of the record; orders the changes of an account.
    pub seq: u64,
    /// The version, in the form that `query` gives it.
    pub value: Bytes,
}

/// The changes of an account after some point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HotTail {
    /// Every change of the account's partition at or after this offset is held: a reader that knows all before it
    /// (from the tables or from an earlier tail) is complete with `rows`.
    pub held_from: u64,
    /// Every change before this offset has been applied.
    pub applied_to: u64,
    /// What a reader saw before the partition was begun afresh may reach to here: until `applied_to` has, the state may be
    /// older than one that was shown.
    pub complete_at: u64,
    /// Ascending by `seq`.
    pub rows: Vec<HotRow>,
}

impl HotTail {
    /// Whether it has all that was ever shown.
    pub fn is_complete(&self) -> bool {
        self.applied_to >= self.complete_at
    }
}

/// Tells that an account changed: for push, and for writers that wait for their own change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub account_id: Arc<str>,
    pub seq: u64,
}

impl Changed {
    /// Stands for changes that could not be told, as when a hot store elsewhere could not be heard for a while: any
    /// account may have changed.
    pub fn missed() -> Self {
        Self { account_id: Arc::from(""), seq: u64::MAX }
    }

    /// Whether it tells, or may stand for, a change of the account at or after `from`.
    pub fn concerns(&self, account_id: &str, from: u64) -> bool {
        self.seq >= from && (self.account_id.is_empty() || *self.account_id == *account_id)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// Try again later; nothing is lost, since the log has it.
    #[error("the hot store cannot be reached: {0}")]
    Unavailable(String),
    /// Another lander has taken the partition over.
    #[error("partition {0} of the hot store belongs to another lander")]
    Fenced(u32),
}

#[async_trait]
pub trait HotStore: Send + Sync {
    /// Starts a partition afresh at `from` (where the tables end): drops all it held. Its tails are complete again when all
    /// before `end` (of the log, now) is applied.
    async fn reset(&self, partition: u32, from: u64, end: u64) -> Result<(), HotError>;

    /// Makes the caller the one that applies, and goes on with what is held, so that no reader sees less than before.
    /// Gives what is applied; `None` when what is held does not begin and end around `from` (where the tables end): then
    /// nothing has changed, and [`reset`](Self::reset) is what helps. `end` (of the log, now) is what readers may have seen
    /// of a store that has gone back to an older state.
    async fn take_over(&self, partition: u32, from: u64, end: u64) -> Result<Option<u64>, HotError>;

    /// Adds the rows made of the records before `next_offset` that were not applied yet, ascending by `seq`, and tells
    /// the watchers. Rows below what is applied are ignored, so that a repeated call changes nothing.
    async fn apply(&self, partition: u32, rows: Vec<HotRow>, next_offset: u64) -> Result<(), HotError>;

    /// The offset that follows the last applied record; `None` before the first reset.
    async fn applied_to(&self, partition: u32) -> Result<Option<u64>, HotError>;

    /// The tables now hold all before `offset`: rows below may be dropped.
    async fn release(&self, partition: u32, offset: u64) -> Result<(), HotError>;

    /// The rows of an account with `seq >= from`.
    async fn tail(&self, partition: u32, account_id: &str, from: u64) -> Result<HotTail, HotError>;

    /// The newest held version of an email.
    async fn newest(&self, partition: u32, account_id: &str, email_id: &str) -> Result<Option<HotRow>, HotError>;

    /// All rows held of a partition with `seq >= from`, ascending by `seq`, for SQL over fresh mail.
    async fn rows(&self, partition: u32, from: u64) -> Result<HotTail, HotError>;

    /// Changes from now on. A receiver that lags loses the oldest and must read the state again; so must every receiver
    /// that is told [`Changed::missed`].
    fn watch(&self) -> broadcast::Receiver<Changed>;
}
