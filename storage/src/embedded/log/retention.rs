//! What the log lets go: records that are too old or too many, and superseded ones of compacted topics; never one that
//! a group has still to process.

use std::collections::HashMap;

use millrace_schemas::Topic;

use super::shared::Shared;
use super::store::{Store, end_key, explain, offset_of};
use super::value::{self, Header};
use crate::log::LogError;

/// Records that go in one batch.
const BATCH_RECORDS: usize = 4096;

pub(crate) fn enforce(shared: &Shared) -> Result<u64, LogError> {
    let mut gone = 0;
    for (slot, (topic, partition)) in shared.layout.slots().enumerate() {
        let store = shared.store()?;
        let end = shared.end(slot);
        let limit =
            shared.groups.slowest(topic, partition).unwrap_or(end.next).min(end.next).saturating_sub(topic.look_back());
        let cleaning = Cleaning { shared, store: &store, slot, topic, partition };
        let count = if topic.is_compacted() { cleaning.compact(limit) } else { cleaning.trim(limit) };
        let count = count.map_err(LogError::Unavailable)?;
        if count > 0 {
            tracing::debug!(%topic, partition, count, "retention dropped records");
        }
        gone += count;
    }
    metrics::counter!("millrace_log_retention_records_total").increment(gone);
    Ok(gone)
}

struct Cleaning<'a> {
    shared: &'a Shared,
    store: &'a Store,
    slot: usize,
    topic: Topic,
    partition: u32,
}

impl Cleaning<'_> {
    /// Drops records below `limit` from the front, by age and size.
    fn trim(&self, limit: u64) -> Result<u64, String> {
        let end = self.shared.end(self.slot);
        let options = self.shared.options.topic(self.topic);
        let partitions = u64::from(self.shared.layout.partitions(self.topic));
        let oldest_us = options.retention_age.map(|age| {
            let age_us = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            self.shared.options.clock.now_us().saturating_sub(age_us)
        });
        let lowest_byte = options.retention_bytes.map(|bytes| end.bytes.saturating_sub(bytes / partitions));
        let goes = |header: Header| {
            oldest_us.is_some_and(|oldest| header.appended_at_us < oldest)
                || lowest_byte.is_some_and(|lowest| header.bytes_before < lowest)
        };
        let cut = self.first_that_stays(end.first, limit, goes)?;
        if cut == end.first {
            return Ok(0);
        }
        // Readers stop seeing them first.
        self.shared.set_first(self.slot, cut);
        let mut gone = 0;
        let doomed = self.store.partitions[self.slot].range(end.first.to_be_bytes()..cut.to_be_bytes());
        let mut offsets =
            doomed.map(|entry| entry.key().map_err(|error| explain(&error)).and_then(|key| offset_of(&key)));
        loop {
            let chunk = offsets.by_ref().take(BATCH_RECORDS).collect::<Result<Vec<u64>, String>>()?;
            if chunk.is_empty() {
                return Ok(gone);
            }
            gone += chunk.len() as u64;
            self.remove(&chunk)?;
        }
    }

    /// Times and bytes only rise, so the border is found by halving.
    fn first_that_stays(&self, first: u64, limit: u64, goes: impl Fn(Header) -> bool) -> Result<u64, String> {
        let (mut low, mut high) = (first, limit.max(first));
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.store.partitions[self.slot].range(middle.to_be_bytes()..high.to_be_bytes()).next();
            let Some(entry) = entry else {
                high = middle;
                continue;
            };
            let (key, value) = entry.into_inner().map_err(|error| explain(&error))?;
            if goes(value::decode_header(&value)?) {
                low = offset_of(&key)? + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Drops records below `limit` that a newer record of the same key supersedes.
    fn compact(&self, limit: u64) -> Result<u64, String> {
        let end = self.shared.end(self.slot);
        let keyspace = &self.store.partitions[self.slot];
        let mut newest: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut superseded = Vec::new();
        let mut gone = 0;
        for entry in keyspace.range(end.first.to_be_bytes()..end.next.to_be_bytes()) {
            let (key, value) = entry.into_inner().map_err(|error| explain(&error))?;
            let offset = offset_of(&key)?;
            if let Some(older) = newest.insert(value::decode_key(&value)?.to_vec(), offset)
                && older < limit
            {
                superseded.push(older);
            }
            if superseded.len() >= BATCH_RECORDS {
                gone += superseded.len() as u64;
                self.remove(&superseded)?;
                superseded.clear();
            }
        }
        gone += superseded.len() as u64;
        if !superseded.is_empty() {
            self.remove(&superseded)?;
        }
        if let Some(first) = keyspace.range(end.first.to_be_bytes()..end.next.to_be_bytes()).next() {
            let key = first.key().map_err(|error| explain(&error))?;
            self.shared.set_first(self.slot, offset_of(&key)?);
        }
        Ok(gone)
    }

    /// The end goes into the same batch, so that offsets go on from it when no record is left.
    fn remove(&self, offsets: &[u64]) -> Result<(), String> {
        let mut batch = self.store.database.batch();
        for offset in offsets {
            batch.remove(&self.store.partitions[self.slot], offset.to_be_bytes());
        }
        let end = self.shared.end(self.slot);
        batch.insert(&self.store.bounds, end_key(self.topic, self.partition), end.encode());
        self.store.make_room([&self.store.partitions[self.slot]].into_iter())?;
        self.store.commit(batch)
    }
}
