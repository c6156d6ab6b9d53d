//! The log on Kafka.
//!
//! What readers see is what is committed: an append of one record is idempotent, several go in a transaction, and so do
//! the outputs of a consumer with its group's positions. Kafka fences whoever lost a partition (the group's generation)
//! and whoever has a successor (the producer's epoch).
//!
//! - [`options`]: brokers, and what every client has in common
//! - [`reach`]: asking the brokers who they are; [`topics`]: the topics, made in one place
//! - [`append`]: appending; [`transaction`]: records and positions as one
//! - [`read`]: reading from anywhere; [`ends`]: where a partition ends
//! - [`member`]: a member of a group; [`cursor`]: where it is in a partition; [`membership`]: how it stays one;
//!   [`slots`]: what it is called
//! - [`hold`]: holding a topic while another consumer takes over; [`retention`]: what may go

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use millrace_schemas::topic::partition_of;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use self::append::Appender;
use self::ends::{Appended, Ends};
use self::member::KafkaConsumer;
use self::membership::Membership;
use self::options::{REQUEST_TIMEOUT, Telling};
use self::read::{Range, Readers, cannot_read, patiently};
use self::slots::Slots;
use crate::cluster::depth::Depth;
use crate::log::{Consumer, Log, LogError, NewRecord, Position, Record, check_sizes};

mod append;
mod cursor;
mod ends;
mod hold;
mod member;
mod membership;
mod options;
mod probe;
mod reach;
mod read;
mod retention;
mod slots;
mod topics;
mod transaction;

pub use hold::Hold;
pub use membership::all_left;
pub use options::{KafkaOptions, MAX_BATCH_BYTES, SaslOptions, TRANSACTION_TIMEOUT};
pub use probe::probe;

/// How often a wait looks for the end of a partition.
const WAIT_INTERVAL: Duration = Duration::from_millis(250);
/// How often a read looks for what this process has appended and readers are not shown yet.
const SHOWN_INTERVAL: Duration = Duration::from_millis(2);

/// Topics as the brokers have them.
struct Layout {
    options: KafkaOptions,
    partitions: HashMap<Topic, u32>,
    appended: Appended,
}

impl Layout {
    fn partitions(&self, topic: Topic) -> u32 {
        self.partitions.get(&topic).copied().unwrap_or(1)
    }

    fn check(&self, topic: Topic, partition: u32) -> Result<(), LogError> {
        if partition < self.partitions(topic) {
            return Ok(());
        }
        Err(LogError::NoPartition { topic, partition })
    }
}

/// Records with the partitions that their keys lead to.
fn place_records(layout: &Layout, records: Vec<NewRecord>) -> Result<Vec<(u32, NewRecord)>, LogError> {
    let place = |record: NewRecord| (partition_of(&record.key, layout.partitions(record.topic)), record);
    Ok(records.into_iter().map(place).collect())
}

/// A [`Log`] on Kafka.
pub struct KafkaLog {
    layout: Arc<Layout>,
    appender: Appender,
    readers: Readers,
    ends: Ends,
    observers: Mutex<HashMap<String, Arc<BaseConsumer<Telling>>>>,
    slots: Slots,
}

impl KafkaLog {
    /// Connects, and makes the topics that do not exist.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the brokers do not answer or refuse us.
    pub async fn open(options: KafkaOptions) -> Result<Self, LogError> {
        let partitions = topics::ensure(&options).await?;
        let appender = Appender::start(&options)
            .map_err(|error| LogError::Unavailable(format!("Kafka's options are refused: {error}")))?;
        Ok(Self {
            readers: Readers::new(options.clone()),
            layout: Arc::new(Layout { options, partitions, appended: Appended::default() }),
            appender,
            ends: Ends::default(),
            observers: Mutex::default(),
            slots: Slots::default(),
        })
    }

    /// The first kept offset, and the one at which readers stop: behind `offset`, if this process has appended there.
    async fn stable_bounds(&self, topic: Topic, partition: u32, offset: u64) -> Result<(u64, u64), LogError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let (first, end) = self.readers.stable_bounds(topic, partition).await?;
            if offset < end || self.layout.appended.end(topic, partition) <= offset {
                return Ok((first, end));
            }
            if Instant::now() > deadline {
                let seconds = REQUEST_TIMEOUT.as_secs();
                let reason = format!("a transaction holds partition {partition} of {topic} back for {seconds} s");
                return Err(LogError::Unavailable(reason));
            }
            tokio::time::sleep(SHOWN_INTERVAL).await;
        }
    }

    fn observer(&self, group: &str) -> Result<Arc<BaseConsumer<Telling>>, LogError> {
        let mut observers = self.observers.lock();
        if let Some(observer) = observers.get(group) {
            return Ok(observer.clone());
        }
        let observer: BaseConsumer<Telling> = self
            .layout
            .options
            .observer(group)
            .create_with_context(Telling)
            .map_err(|error| LogError::Unavailable(format!("the group {group}: {error}")))?;
        Ok(observers.entry(group.to_owned()).or_insert(Arc::new(observer)).clone())
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.layout.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        if records.is_empty() {
            return self.appender.check().map(|()| Vec::new());
        }
        check_sizes(&records)?;
        let (begun, count) = (Instant::now(), records.len());
        let _in_flight = Depth::new(metrics::gauge!("millrace_log_appends_in_flight"), 1);
        let appended = self.appender.append(place_records(&self.layout, records)?).await;
        metrics::histogram!("millrace_log_append_seconds").record(begun.elapsed());
        metrics::histogram!("millrace_log_append_records").record(count as f64);
        match &appended {
            Ok(positions) => self.layout.appended.note(positions),
            Err(error) => {
                metrics::counter!("millrace_log_append_failures_total", "kind" => error.kind()).increment(1);
            }
        }
        appended
    }

    async fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.layout.check(topic, partition)?;
        let (first, end) = self.stable_bounds(topic, partition, offset).await?;
        if offset >= end || max_records == 0 {
            return Ok(Vec::new());
        }
        self.readers.read(Range { topic, partition, offset: offset.max(first), max_records, max_bytes }).await
    }

    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        self.layout.check(topic, partition)?;
        let (first, end) = self.ends.bounds(&self.readers, topic, partition).await?;
        Ok((first, end.max(self.layout.appended.end(topic, partition))))
    }

    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.bounds(topic, partition).await?.1 > offset {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + WAIT_INTERVAL)).await;
        }
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError> {
        let (layout, slot) = (self.layout.clone(), self.slots.take(group));
        let membership = Membership::join(&layout.options, group, topic)?;
        Ok(Box::new(KafkaConsumer::new(membership, layout, topic, group, slot)))
    }

    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
        self.layout.check(topic, partition)?;
        let observer = self.observer(group)?;
        let look = move || {
            let mut list = TopicPartitionList::new();
            list.add_partition(topic.name(), partition as i32);
            patiently(|| observer.committed_offsets(list.clone(), REQUEST_TIMEOUT))
        };
        let found = tokio::task::spawn_blocking(look).await;
        let found = found.map_err(|error| LogError::Unavailable(error.to_string()))?;
        let found = found.map_err(|error| cannot_read(topic, &error))?;
        Ok(found.elements().first().and_then(|place| match place.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        }))
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        retention::enforce(&self.layout.options, &self.layout.partitions).await
    }
}
