//! A log whose consumers stop dead at a commit, as a process does that is killed there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use millrace_storage::log::{Consumer, Log, LogError};
use millrace_storage::{NewRecord, Position, Record};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Outputs and positions are not written. Happens at every second commit, so that there is progress.
    BeforeCommit,
    /// They are written, and the runner does not learn of it. Happens at every commit.
    AfterCommit,
    /// Every second commit is refused once; the runner lives on.
    Refused,
}

pub struct Interrupting {
    pub inner: Arc<dyn Log>,
    pub moment: Moment,
    pub commits: Arc<AtomicU32>,
    /// Cancelled when a consumer has stopped dead.
    pub stopped: CancellationToken,
}

impl Interrupting {
    pub fn new(inner: Arc<dyn Log>, moment: Moment) -> Arc<Self> {
        Arc::new(Self { inner, moment, commits: Arc::default(), stopped: CancellationToken::new() })
    }
}

struct Stopping {
    inner: Box<dyn Consumer>,
    moment: Moment,
    commits: Arc<AtomicU32>,
    stopped: CancellationToken,
}

#[async_trait]
impl Consumer for Stopping {
    fn assignment(&self) -> Vec<u32> {
        self.inner.assignment()
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.inner.seek(partition, offset).await
    }

    async fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        self.inner.poll(max_records, timeout).await
    }

    async fn commit(&mut self, outputs: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        let is_second = self.commits.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        match self.moment {
            Moment::Refused if is_second => return Err(LogError::Unavailable("refused by the test".into())),
            Moment::BeforeCommit if is_second => {}
            Moment::AfterCommit => {
                self.inner.commit(outputs).await?;
            }
            _ => return self.inner.commit(outputs).await,
        }
        self.stopped.cancel();
        std::future::pending().await
    }

    async fn rewind(&mut self) -> Result<(), LogError> {
        self.inner.rewind().await
    }
}

#[async_trait]
impl Log for Interrupting {
    fn partitions(&self, topic: Topic) -> u32 {
        self.inner.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.inner.append(records).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.inner.read(topic, partition, offset, max_records, max_bytes).await
    }

    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        self.inner.bounds(topic, partition).await
    }

    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError> {
        self.inner.wait(topic, partition, offset, timeout).await
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError> {
        let inner = self.inner.subscribe(group, topic).await?;
        let (commits, stopped) = (self.commits.clone(), self.stopped.clone());
        Ok(Box::new(Stopping { inner, moment: self.moment, commits, stopped }))
    }

    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
        self.inner.committed(group, topic, partition).await
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        self.inner.enforce_retention().await
    }
}
