//! Which of this process's members of consumer groups still come round: one that hangs holds its partitions, and nobody
//! else works on them.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use millrace_query::mail::search;
use millrace_schemas::Topic;
use millrace_storage::{Consumer, Log, LogError, NewRecord, Position, Record};
use parking_lot::Mutex;

/// How long a batch may take, and a log that cannot be read be waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A log that notes when each member polled last.
pub struct WatchedLog {
    log: Arc<dyn Log>,
    members: Mutex<Vec<Weak<Member>>>,
}

struct Member {
    group: String,
    topic: Topic,
    polled_at: Mutex<Instant>,
}

impl WatchedLog {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, members: Mutex::default() }
    }

    /// Whether all members come round, or which does not.
    pub fn verdict(&self) -> Result<(), String> {
        self.verdict_after(PATIENCE)
    }

    fn verdict_after(&self, patience: Duration) -> Result<(), String> {
        let mut members = self.members.lock();
        members.retain(|member| member.strong_count() > 0);
        for member in members.iter().filter_map(Weak::upgrade) {
            let silence = member.polled_at.lock().elapsed();
            if silence > patience {
                let (group, topic) = (&member.group, member.topic.name());
                let seconds = silence.as_secs();
                return Err(format!("a member of group {group} has taken nothing from {topic} for {seconds} s"));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Log for WatchedLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.log.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.log.append(records).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.log.read(topic, partition, offset, max_records, max_bytes).await
    }

    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError> {
        self.log.wait(topic, partition, offset, timeout).await
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError> {
        let consumer = self.log.subscribe(group, topic).await?;
        // An index that is made again from the tables takes as long as it takes.
        if group == search::GROUP {
            return Ok(consumer);
        }
        let member = Arc::new(Member { group: group.to_owned(), topic, polled_at: Mutex::new(Instant::now()) });
        self.members.lock().push(Arc::downgrade(&member));
        Ok(Box::new(WatchedConsumer { consumer, member }))
    }

    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
        self.log.committed(group, topic, partition).await
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        self.log.enforce_retention().await
    }
}

struct WatchedConsumer {
    consumer: Box<dyn Consumer>,
    member: Arc<Member>,
}

#[async_trait]
impl Consumer for WatchedConsumer {
    fn assignment(&self) -> Vec<u32> {
        self.consumer.assignment()
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.consumer.seek(partition, offset).await
    }

    async fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        let records = self.consumer.poll(max_records, timeout).await?;
        *self.member.polled_at.lock() = Instant::now();
        Ok(records)
    }

    async fn commit(&mut self, outputs: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.consumer.commit(outputs).await
    }

    async fn rewind(&mut self) -> Result<(), LogError> {
        self.consumer.rewind().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_member_that_hangs_is_told_until_it_comes_round_or_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let storage = EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap();
        let log = WatchedLog::new(storage.log.clone());
        let mut hanging = log.subscribe("screening", Topic::Reception).await.unwrap();
        let _indexing = log.subscribe(search::GROUP, Topic::MailboxChanges).await.unwrap();
        log.verdict().unwrap();
        let patience = Duration::from_millis(30);
        tokio::time::sleep(patience * 2).await;
        let why = log.verdict_after(patience).unwrap_err();
        assert!(why.starts_with("a member of group screening has taken nothing from mail.reception"), "{why}");

        hanging.poll(1, Duration::ZERO).await.unwrap();
        log.verdict().unwrap();
        tokio::time::sleep(patience * 2).await;
        assert!(log.verdict_after(patience).is_err());
        drop(hanging);
        log.verdict_after(patience).unwrap();
    }
}
