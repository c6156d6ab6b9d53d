//! A log that fails as told, for tests of those who read one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use parking_lot::Mutex;

use crate::log::{Consumer, Log, LogError, NewRecord, Position, Record};

/// When reading fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    Never,
    Now,
    /// From the next append on.
    AfterAppend,
}

/// A log of which one topic may not be readable; its consumers are not hindered.
pub struct HinderedLog {
    log: Arc<dyn Log>,
    topic: Topic,
    hindrance: Mutex<Hindrance>,
}

impl HinderedLog {
    pub fn new(log: Arc<dyn Log>, topic: Topic) -> Self {
        Self { log, topic, hindrance: Mutex::new(Hindrance::Never) }
    }

    pub fn hinder(&self, hindrance: Hindrance) {
        *self.hindrance.lock() = hindrance;
    }
}

#[async_trait]
impl Log for HinderedLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.log.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        let appended = self.log.append(records).await;
        let mut hindrance = self.hindrance.lock();
        if *hindrance == Hindrance::AfterAppend {
            *hindrance = Hindrance::Now;
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
        if topic == self.topic && *self.hindrance.lock() == Hindrance::Now {
            return Err(LogError::Unavailable("hindered".to_owned()));
        }
        self.log.read(topic, partition, offset, max_records, max_bytes).await
    }

    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError> {
        self.log.wait(topic, partition, offset, timeout).await
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError> {
        self.log.subscribe(group, topic).await
    }

    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
        self.log.committed(group, topic, partition).await
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        self.log.enforce_retention().await
    }
}
