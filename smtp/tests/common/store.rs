//! Log and bodies in memory, which fail when they are told to.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_schemas::Topic;
use millrace_storage::{BlobError, BlobStore, BodyRef, Consumer, Log, LogError, NewRecord, Position, Record};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    #[default]
    None,
    BodiesFull,
    BodiesStuck,
    LogFull,
    LogStuck,
}

#[derive(Default)]
pub struct Store {
    pub failure: Mutex<Failure>,
    bodies: Mutex<Vec<Bytes>>,
    records: Mutex<Vec<NewRecord>>,
    /// What a stuck store was given and keeps.
    pub held: Mutex<Vec<Bytes>>,
}

impl Store {
    pub fn fail(&self, failure: Failure) {
        *self.failure.lock() = failure;
    }

    pub fn appended(&self) -> usize {
        self.records.lock().len()
    }

    fn refused() -> LogError {
        LogError::Unavailable("this store only appends and reads".into())
    }
}

#[async_trait]
impl BlobStore for Store {
    async fn put(&self, body: Bytes) -> Result<BodyRef, BlobError> {
        match *self.failure.lock() {
            Failure::BodiesFull => return Err(BlobError::Unavailable("no space left on device".into())),
            Failure::BodiesStuck => self.held.lock().push(body.clone()),
            _ => {}
        }
        if *self.failure.lock() == Failure::BodiesStuck {
            return std::future::pending().await;
        }
        let mut bodies = self.bodies.lock();
        bodies.push(Bytes::copy_from_slice(&body));
        let (offset, length) = (bodies.len() as u64 - 1, body.len() as u64);
        Ok(BodyRef { pack: "2026-01-01/01ARZ3NDEKTSV4RRFFQ69G5FAV.pack".into(), offset, length })
    }

    async fn get(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        let body = self.bodies.lock().get(reference.offset as usize).cloned();
        body.ok_or_else(|| BlobError::NotFound(reference.clone()))
    }
}

#[async_trait]
impl Log for Store {
    fn partitions(&self, _: Topic) -> u32 {
        1
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        let failure = *self.failure.lock();
        match failure {
            Failure::LogFull => return Err(LogError::Unavailable("no space left on device".into())),
            Failure::LogStuck => return std::future::pending().await,
            _ => {}
        }
        let mut all = self.records.lock();
        let first = all.len() as u64;
        let positions =
            (first..).zip(&records).map(|(offset, record)| Position { topic: record.topic, partition: 0, offset });
        let positions = positions.collect();
        all.extend(records);
        Ok(positions)
    }

    async fn read(&self, topic: Topic, _: u32, offset: u64, max: usize, _: usize) -> Result<Vec<Record>, LogError> {
        let all = self.records.lock();
        let of_topic = all.iter().enumerate().filter(|(_, record)| record.topic == topic);
        let record = |(offset, record): (usize, &NewRecord)| Record {
            position: Position { topic, partition: 0, offset: offset as u64 },
            key: record.key.clone(),
            value: record.value.clone(),
            appended_at_us: 0,
        };
        Ok(of_topic.skip(offset as usize).take(max).map(record).collect())
    }

    async fn bounds(&self, _: Topic, _: u32) -> Result<(u64, u64), LogError> {
        Ok((0, self.records.lock().len() as u64))
    }

    async fn wait(&self, _: Topic, _: u32, _: u64, _: Duration) -> Result<bool, LogError> {
        Err(Self::refused())
    }

    async fn subscribe(&self, _: &str, _: Topic) -> Result<Box<dyn Consumer>, LogError> {
        Err(Self::refused())
    }

    async fn committed(&self, _: &str, _: Topic, _: u32) -> Result<Option<u64>, LogError> {
        Err(Self::refused())
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        Ok(0)
    }
}
