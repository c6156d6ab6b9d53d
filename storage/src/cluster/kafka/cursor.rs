//! The cursor of a member in a partition of its own, and the calls that place it. Those to the client block.

use std::time::{Duration, Instant};

use millrace_schemas::Topic;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::membership::Shared;
use super::options::REQUEST_TIMEOUT;
use super::read::{cannot_read, patiently};
use crate::log::LogError;

/// How long a partition that has just come may take until it can be sought.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a member has of a partition that is its own.
pub(super) struct Cursor {
    pub(super) tenure: u64,
    pub(super) queue: PartitionQueue<Shared>,
    /// What the queue gives next; `None` before its first record, when that is the group's position.
    pub(super) fetch_at: Option<u64>,
    /// Where a rewind goes; `None` while nothing was polled or sought.
    pub(super) start: Option<u64>,
    /// What the owner gets next; `None` for the group's position.
    pub(super) next: Option<u64>,
    pub(super) is_sought: bool,
}

impl Cursor {
    pub(super) fn has_polled(&self) -> bool {
        self.next > self.start
    }

    /// Where the next commit takes the group, if anywhere.
    pub(super) fn move_to(&self) -> Option<u64> {
        self.next.filter(|_| self.is_sought || self.has_polled())
    }

    pub(super) fn rewind(&mut self) {
        self.next = self.start;
    }

    pub(super) fn committed(&mut self) {
        (self.start, self.is_sought) = (self.next, false);
    }

    pub(super) fn forget(&mut self) {
        (self.start, self.next, self.is_sought) = (None, None, false);
    }
}

/// Runs what blocks on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(LogError::Unavailable(format!("a task ended early: {error}"))))
}

type Client = BaseConsumer<Shared>;

/// The offset that the group has committed. Waits for transactions that may move it.
pub(super) fn committed(consumer: &Client, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic.name(), partition as i32);
    let found = patiently(|| consumer.committed_offsets(list.clone(), REQUEST_TIMEOUT));
    let found = found.map_err(|error| cannot_read(topic, &error))?;
    Ok(found.elements().first().and_then(|place| match place.offset() {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    }))
}

/// Where the group goes on: at what it has committed, else at the first record.
pub(super) fn group_position(consumer: &Client, topic: Topic, partition: u32) -> Result<u64, LogError> {
    if let Some(offset) = committed(consumer, topic, partition)? {
        return Ok(offset);
    }
    let bounds = patiently(|| consumer.fetch_watermarks(topic.name(), partition as i32, REQUEST_TIMEOUT));
    Ok(bounds.map_err(|error| cannot_read(topic, &error))?.0.max(0).unsigned_abs())
}

/// Sets a queue. A partition that has just come refuses for a moment, until its fetcher has started.
pub(super) fn seek(consumer: &Client, topic: Topic, partition: u32, offset: u64) -> Result<(), LogError> {
    let deadline = Instant::now() + SEEK_TIMEOUT;
    let to = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
    loop {
        match consumer.seek(topic.name(), partition as i32, to, SEEK_TIMEOUT) {
            Ok(()) => return Ok(()),
            Err(KafkaError::Seek(_)) if Instant::now() < deadline => {
                // It may be gone as well; then there is nothing to seek.
                let ours = consumer.assignment().is_ok_and(|list| {
                    list.elements().iter().any(|place| place.partition().unsigned_abs() == partition)
                });
                if !ours {
                    let reason = "it went to another member of the group".to_owned();
                    return Err(LogError::Fenced { topic, partition, reason });
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(cannot_read(topic, &error)),
        }
    }
}
