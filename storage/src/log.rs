//! The log: topics of partitions of ordered records.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_schemas::Topic;

/// Key and value of one record, together, at most: a line that no record of ours comes near, and every adapter draws.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

/// A record to append. The partition follows from the key ([`millrace_schemas::topic::partition_of`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub topic: Topic,
    pub key: String,
    /// Framed Avro (`millrace_schemas::encode`).
    pub value: Bytes,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub topic: Topic,
    pub partition: u32,
    pub offset: u64,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub position: Position,
    pub key: String,
    pub value: Bytes,
    /// When it was appended, microseconds since 1970 UTC.
    pub appended_at_us: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk or the brokers take nothing now. Nothing was appended; try again later (SMTP: 452).
    #[error("the log takes and gives nothing now: {0}")]
    Unavailable(String),
    /// No answer came to an append: all of it may be there, now or a while later, or nothing (SMTP: 452).
    #[error("it is not known whether the log has taken it: {0}")]
    InDoubt(String),
    /// The consumer lost the partition to another member of its group, or was left behind by retention.
    /// Whatever was being committed was not; start again from the group's position.
    #[error("partition {partition} of {topic} is no longer ours: {reason}")]
    Fenced { topic: Topic, partition: u32, reason: String },
    /// A record has more than [`MAX_RECORD_BYTES`]. Nothing was appended, and the same is refused again.
    #[error("a record of {topic} has {bytes} bytes, and a record may have {MAX_RECORD_BYTES}")]
    TooLarge { topic: Topic, bytes: usize },
    /// The partition does not exist.
    #[error("{topic} has no partition {partition}")]
    NoPartition { topic: Topic, partition: u32 },
    /// Stored data is damaged.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

impl NewRecord {
    /// Bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Refuses records that no log takes.
///
/// # Errors
/// The first of them, as [`LogError::TooLarge`].
pub(crate) fn check_sizes(records: &[NewRecord]) -> Result<(), LogError> {
    match records.iter().find(|record| record.size() > MAX_RECORD_BYTES) {
        Some(record) => Err(LogError::TooLarge { topic: record.topic, bytes: record.size() }),
        None => Ok(()),
    }
}

impl LogError {
    /// The kind as metrics name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::InDoubt(_) => "in_doubt",
            Self::Fenced { .. } => "fenced",
            Self::TooLarge { .. } => "too_large",
            Self::NoPartition { .. } => "no_partition",
            Self::Damaged(_) => "damaged",
        }
    }
}

/// Topics of partitions. Offsets begin at 0, rise by one a record (a broker may leave gaps), and never change.
#[async_trait]
pub trait Log: Send + Sync {
    /// How many partitions a topic has.
    fn partitions(&self, topic: Topic) -> u32;

    /// Appends records and returns their positions, in order, once all are durable. All or none become visible,
    /// and those of one partition stay in the order of the call. Whoever appended them reads them
    /// at once; other processes may be shown them a moment later. Many callers share one sync.
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError>;

    /// Reads at most `max_records` records and about `max_bytes` bytes (at least one record) of a partition from
    /// `offset` on. Empty at the end. An offset below the first kept record reads from the first kept one.
    async fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError>;

    /// The first kept offset and the one after the last.
    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError>;

    /// Waits until the partition has a record at or after `offset`, or until `timeout`. True when it has.
    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError>;

    /// Joins a group that shares out the partitions of `topic`.
    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError>;

    /// The position a group has committed for a partition: the next offset it will process.
    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError>;

    /// Drops what retention lets go (age, size, superseded keys of compacted topics), never a record that a
    /// group which has ever committed on that partition has not processed. Returns how many records went.
    async fn enforce_retention(&self) -> Result<u64, LogError>;
}

/// A member of a consumer group. Positions move only by [`Consumer::commit`]; a call that fails polls nothing.
#[async_trait]
pub trait Consumer: Send {
    /// Partitions that are ours, as of the last call. Those that come to a member while it polls give their first record
    /// to a later poll: the one that finds them returns nothing, so that they can be sought first.
    fn assignment(&self) -> Vec<u32>;

    /// Sets where the next poll of a partition of ours reads, for positions that are kept elsewhere.
    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError>;

    /// Waits up to `timeout` for records of our partitions that have not been polled since the last commit, seek or
    /// rewind; at most `max_records`, those of one partition in order and without gaps. Empty on timeout, and at once when
    /// partitions came or went. Starts at the committed position, or at the first record.
    async fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Vec<Record>, LogError>;

    /// Appends `outputs` and moves the group to behind everything polled (a partition that was sought and not polled
    /// since: to where it was sought), as one atomic and durable step. Returns the outputs' positions.
    ///
    /// # Errors
    /// What was polled is forgotten, so outputs that were made of it must not be committed again: poll, and make new
    /// ones. After `Fenced` nothing has happened, and what is still ours is read from the group's position. After
    /// `Unavailable` nothing has happened, and the same records come again from where they began, be that a seek; only
    /// when the answer was lost may all of it have happened, and the next poll goes on behind it. Never is it a part.
    async fn commit(&mut self, outputs: Vec<NewRecord>) -> Result<Vec<Position>, LogError>;

    /// Forgets what was polled since the last commit, so that the next poll reads it again.
    async fn rewind(&mut self) -> Result<(), LogError>;
}
