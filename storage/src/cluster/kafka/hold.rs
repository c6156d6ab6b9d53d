//! Holding a topic, and setting where a group stands: what a handover between two consumers needs that keep their own
//! positions, as jobs of a stream processor do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_schemas::Topic;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::KafkaLog;
use super::options::{REQUEST_TIMEOUT, Telling};
use crate::log::{Log as _, LogError};

/// A topic that no reader of committed records gets past. Dropped without being released, it is undone when its lifetime
/// ends.
pub struct Hold {
    producer: FutureProducer<Telling>,
    positions: Vec<u64>,
}

impl Hold {
    /// By partition, the first offset that nobody reads.
    pub fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// Lets readers go on; what held them is never read.
    ///
    /// # Errors
    /// The brokers do not answer: the hold is undone when its lifetime ends.
    pub async fn release(self) -> Result<(), LogError> {
        blocking(move || self.producer.abort_transaction(REQUEST_TIMEOUT)).await
    }
}

impl KafkaLog {
    /// Holds `topic` where it ends now, by a transaction that stays open with a record in each partition. Whoever held it
    /// for the same group before holds it no longer.
    ///
    /// # Errors
    /// The brokers do not answer; whatever was begun is undone when `lifetime` ends.
    pub async fn hold(&self, group: &str, topic: Topic, lifetime: Duration) -> Result<Hold, LogError> {
        let mut config = self.layout.options.transactional(&format!("millrace.hold.{group}"));
        config.set("transaction.timeout.ms", lifetime.as_millis().to_string());
        let partitions = self.partitions(topic);
        let producer = blocking(move || begin(&config)).await?;
        let mut hold = Hold { producer, positions: Vec::with_capacity(partitions as usize) };
        for partition in 0..partitions {
            let marker = FutureRecord::to(topic.name()).partition(partition as i32).key("hold").payload("");
            match hold.producer.send(marker, REQUEST_TIMEOUT).await {
                Ok(delivery) => hold.positions.push(delivery.offset.unsigned_abs()),
                Err((error, _)) => {
                    // Readers of the partitions that have their marker need not wait for the lifetime's end.
                    let _ = hold.release().await;
                    return Err(unavailable(&error));
                }
            }
        }
        Ok(hold)
    }

    /// Whether readers of committed records stop at exactly `positions`, by partition.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn is_held_at(&self, topic: Topic, positions: &[u64]) -> Result<bool, LogError> {
        for (partition, position) in (0..).zip(positions) {
            let (_, stable_end) = self.readers.stable_bounds(topic, partition).await?;
            if stable_end != *position {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many members share out the partitions of `group`.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn group_members(&self, group: &str) -> Result<usize, LogError> {
        let (observer, name) = (self.observer(group)?, group.to_owned());
        let count = move || {
            let groups = observer.fetch_group_list(Some(&name), REQUEST_TIMEOUT)?;
            Ok(groups.groups().iter().filter(|group| group.name() == name).map(|group| group.members().len()).sum())
        };
        blocking(count).await
    }

    /// Where `group` stands, with the note beside it, by partition.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn noted_positions(&self, group: &str, topic: Topic) -> Result<Vec<Option<(u64, String)>>, LogError> {
        let (observer, partitions) = (self.observer(group)?, self.partitions(topic));
        let look = move || {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(topic.name(), 0, partitions as i32 - 1);
            observer.committed_offsets(list, REQUEST_TIMEOUT)
        };
        let found = blocking(look).await?;
        let place = |partition: u32| {
            let place = found.find_partition(topic.name(), partition as i32)?;
            match place.offset() {
                Offset::Offset(offset) => Some((u64::try_from(offset).ok()?, place.metadata().to_owned())),
                _ => None,
            }
        };
        Ok((0..partitions).map(place).collect())
    }

    /// Sets where `group`, which must have no members, stands: by partition the next offset to read, with a note.
    ///
    /// # Errors
    /// The brokers do not answer, or the group has members.
    pub async fn set_positions(
        &self,
        group: &str,
        topic: Topic,
        positions: &[u64],
        note: &'static str,
    ) -> Result<(), LogError> {
        let (config, positions) = (self.layout.options.observer(group), positions.to_vec());
        blocking(move || {
            let mut list = TopicPartitionList::new();
            for (partition, position) in (0..).zip(positions) {
                let mut place = list.add_partition(topic.name(), partition);
                place.set_offset(Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX)))?;
                place.set_metadata(note);
            }
            // A consumer of its own: one that has observed a group may have offsets of its own to commit.
            let consumer: BaseConsumer<Telling> = config.create_with_context(Telling)?;
            consumer.commit(&list, CommitMode::Sync)
        })
        .await
    }

    /// The last position at or before `position` whose record was appended at least `age` before the one at `position`.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn position_before(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
        age: Duration,
    ) -> Result<u64, LogError> {
        let (first, _) = self.bounds(topic, partition).await?;
        let at = self.read(topic, partition, position, 1, 1).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = at.first().map_or(now.as_millis() as i64, |record| record.appended_at_us / 1_000);
        let since_ms = at_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)).max(0);
        let observer = self.observer("millrace.retention")?;
        let look = move || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic.name(), partition as i32, Offset::Offset(since_ms))?;
            observer.offsets_for_times(list, REQUEST_TIMEOUT)
        };
        let found = blocking(look).await?;
        let earlier = match found.elements().first().map(|place| place.offset()) {
            Some(Offset::Offset(offset)) => u64::try_from(offset).unwrap_or(first),
            _ => position,
        };
        Ok(earlier.min(position).max(first))
    }
}

fn begin(config: &ClientConfig) -> Result<FutureProducer<Telling>, KafkaError> {
    let producer: FutureProducer<Telling> = config.create_with_context(Telling)?;
    producer.init_transactions(REQUEST_TIMEOUT)?;
    producer.begin_transaction()?;
    Ok(producer)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| LogError::Unavailable(error.to_string()))?.map_err(|error| unavailable(&error))
}

fn unavailable(error: &KafkaError) -> LogError {
    LogError::Unavailable(error.to_string())
}
