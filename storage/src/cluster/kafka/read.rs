//! Reading a partition from anywhere: a few clients without a group, each set to one partition at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_schemas::Topic;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use super::options::{KafkaOptions, REQUEST_TIMEOUT, Telling};
use crate::log::{LogError, Position, Record};

/// Reads at a time.
const READERS: usize = 4;

pub(super) struct Readers {
    options: KafkaOptions,
    idle: Arc<Mutex<Vec<Reader>>>,
    turns: Arc<Semaphore>,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) topic: Topic,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) max_records: usize,
    pub(super) max_bytes: usize,
}

struct Reader(BaseConsumer<Telling>);

impl Readers {
    pub(super) fn new(options: KafkaOptions) -> Self {
        Self { options, idle: Arc::default(), turns: Arc::new(Semaphore::new(READERS)) }
    }

    /// The records of a range up to the last stable one; none when there are none.
    pub(super) async fn read(&self, range: Range) -> Result<Vec<Record>, LogError> {
        self.with(move |reader| reader.read(range)).await
    }

    /// The first kept offset, and the one at which a reader of committed records stops.
    pub(super) async fn stable_bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        self.with(move |Reader(consumer)| {
            let bounds = || consumer.fetch_watermarks(topic.name(), partition as i32, REQUEST_TIMEOUT);
            let (low, high) = patiently(bounds).map_err(|error| cannot_read(topic, &error))?;
            Ok((low.max(0).unsigned_abs(), high.max(0).unsigned_abs()))
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let ending = || LogError::Unavailable("the process is ending".to_owned());
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| ending())?;
        let reader = match self.idle.lock().pop() {
            Some(reader) => reader,
            None => Reader(
                self.options
                    .reader()
                    .create_with_context(Telling)
                    .map_err(|error| LogError::Unavailable(format!("no client can be made: {error}")))?,
            ),
        };
        let idle = self.idle.clone();
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&reader);
            // One that failed may be out of order; the next read makes another.
            if outcome.is_ok() {
                idle.lock().push(reader);
            }
            drop(turn);
            outcome
        });
        done.await.unwrap_or_else(|_| Err(ending()))
    }
}

impl Reader {
    fn read(&self, range: Range) -> Result<Vec<Record>, LogError> {
        let Range { topic, partition, offset, max_records, max_bytes } = range;
        let mut place = TopicPartitionList::new();
        let from = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        let assigned = place.add_partition_offset(topic.name(), partition as i32, from);
        assigned.and_then(|()| self.0.assign(&place)).map_err(|error| cannot_read(topic, &error))?;
        let read = self.gather(topic, max_records, max_bytes);
        let left = self.0.unassign().map_err(|error| cannot_read(topic, &error));
        read.and_then(|records| left.map(|()| records))
    }

    fn gather(&self, topic: Topic, max_records: usize, max_bytes: usize) -> Result<Vec<Record>, LogError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < max_records && (bytes < max_bytes || records.is_empty()) {
            match self.0.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let record = record(topic, &message);
                    let size = record.key.len() + record.value.len();
                    if !records.is_empty() && bytes + size > max_bytes {
                        break;
                    }
                    bytes += size;
                    records.push(record);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(cannot_read(topic, &error)),
                None => {}
            }
            if Instant::now() > deadline {
                let seconds = REQUEST_TIMEOUT.as_secs();
                return Err(LogError::Unavailable(format!("Kafka has given nothing of {topic} in {seconds} s")));
            }
        }
        Ok(records)
    }
}

/// Asks again while what is in the way passes by itself, as when a partition moves to another broker.
pub(super) fn patiently<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        match ask() {
            Err(error) if is_passing(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(100));
            }
            outcome => return outcome,
        }
    }
}

fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NetworkException
        )
    )
}

pub(super) fn cannot_read(topic: Topic, error: &KafkaError) -> LogError {
    LogError::Unavailable(format!("{topic} cannot be read from Kafka: {error}"))
}

/// A record as a broker gives it. A key that is no UTF-8 was written by something else; it is shown as far as it goes, so
/// that whoever reads on finds the value and says what is wrong with it.
pub(super) fn record(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    let (partition, offset) = (message.partition().unsigned_abs(), message.offset().unsigned_abs());
    Record {
        position: Position { topic, partition, offset },
        key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
        value: bytes::Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        appended_at_us: message.timestamp().to_millis().unwrap_or(0).saturating_mul(1000),
    }
}
