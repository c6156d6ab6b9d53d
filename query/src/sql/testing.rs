//! A log, bodies and fresh mail in memory, for tests.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use millrace_schemas::{AvroRecord, Topic, encode};
use millrace_storage::{BlobError, BlobStore, BodyRef, Consumer, Log, LogError, NewRecord, Position, Record};
use parking_lot::Mutex;

use super::fresh::{FreshError, FreshRows};
use crate::tables::{Positions, Table};

/// A log of one partition a topic, of which records before `kept_from` are gone.
#[derive(Default)]
pub(super) struct MemoryLog {
    pub(super) records: Mutex<HashMap<Topic, Vec<Bytes>>>,
    pub(super) kept_from: Mutex<u64>,
}

impl MemoryLog {
    pub(super) fn push<R: AvroRecord>(&self, record: &R) {
        self.push_bytes(R::TOPIC, encode(record).unwrap());
    }

    pub(super) fn push_bytes(&self, topic: Topic, value: Bytes) {
        self.records.lock().entry(topic).or_default().push(value);
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn partitions(&self, _: Topic) -> u32 {
        1
    }

    async fn append(&self, _: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        Err(LogError::Unavailable("tests push".to_owned()))
    }

    async fn read(
        &self,
        topic: Topic,
        partition: u32,
        offset: u64,
        max_records: usize,
        _: usize,
    ) -> Result<Vec<Record>, LogError> {
        let records = self.records.lock();
        let all = records.get(&topic).map(Vec::as_slice).unwrap_or_default();
        let numbered = all.iter().zip(0..).skip_while(|(_, at)| *at < offset.max(*self.kept_from.lock()));
        let record = |(value, offset): (&Bytes, u64)| Record {
            position: Position { topic, partition, offset },
            key: String::new(),
            value: value.clone(),
            appended_at_us: 0,
        };
        Ok(numbered.take(max_records.min(2)).map(record).collect())
    }

    async fn bounds(&self, topic: Topic, _: u32) -> Result<(u64, u64), LogError> {
        let end = self.records.lock().get(&topic).map_or(0, |records| records.len() as u64);
        Ok(((*self.kept_from.lock()).min(end), end))
    }

    async fn wait(&self, _: Topic, _: u32, _: u64, _: Duration) -> Result<bool, LogError> {
        Ok(false)
    }

    async fn subscribe(&self, _: &str, _: Topic) -> Result<Box<dyn Consumer>, LogError> {
        Err(LogError::Unavailable("tests read".to_owned()))
    }

    async fn committed(&self, _: &str, _: Topic, _: u32) -> Result<Option<u64>, LogError> {
        Ok(None)
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        Ok(0)
    }
}

/// Fresh mail: batches with the offset that their rows begin at.
#[derive(Default)]
pub(super) struct MemoryMail {
    pub(super) rows: Mutex<Vec<(Table, u64, RecordBatch)>>,
}

#[async_trait]
impl FreshRows for MemoryMail {
    async fn fresh(&self, table: Table, from: &Positions) -> Result<Vec<RecordBatch>, FreshError> {
        let from = from.get(&0).copied().unwrap_or(0);
        let rows = self.rows.lock();
        Ok(rows.iter().filter(|(of, at, _)| *of == table && *at >= from).map(|(_, _, rows)| rows.clone()).collect())
    }
}

#[derive(Default)]
pub(super) struct MemoryBlobs {
    pub(super) bodies: HashMap<String, Bytes>,
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn put(&self, _: Bytes) -> Result<BodyRef, BlobError> {
        Err(BlobError::Unavailable("tests insert".to_owned()))
    }

    async fn get(&self, reference: &BodyRef) -> Result<Bytes, BlobError> {
        self.bodies.get(&reference.to_string()).cloned().ok_or_else(|| BlobError::NotFound(reference.clone()))
    }
}
