//! The LSM database under the log: a keyspace per partition, and keyspaces for positions, bounds and claims.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use millrace_schemas::Topic;

use super::disk::Disk;
use super::layout::Layout;
use super::options::LogOptions;
use super::value;
use crate::embedded::OpenError;

/// Journals on disk before partitions that hold old ones back are flushed.
const MAX_JOURNAL_BYTES: u64 = 256 * 1024 * 1024;
/// The database stops in an endless wait at 4; we wait before that, where we can see it fail.
const MAX_SEALED_MEMTABLES: usize = 3;
/// The database stops in an endless wait at 30.
const MAX_LEVEL_0_RUNS: usize = 24;

const SMALL_MEMTABLE_BYTES: u64 = 1024 * 1024;

/// An open database. It is poisoned by a failed write or sync; then all handles are dropped and it is opened anew.
pub(crate) struct Store {
    pub(crate) database: Database,
    /// By slot ([`super::layout::Layout`]).
    pub(crate) partitions: Vec<Keyspace>,
    /// `group 0x00 topic 0x00 partition` to the next offset.
    pub(crate) positions: Keyspace,
    /// Partition counts, and where partitions end that retention may have emptied.
    pub(crate) bounds: Keyspace,
    /// Key to time and claimant.
    pub(crate) claims: Keyspace,
    /// Time and key, for expiry.
    pub(crate) claim_times: Keyspace,
    disk: Arc<dyn Disk>,
}

impl Store {
    pub(crate) fn open(
        dir: &Path,
        options: &LogOptions,
        layout: &Layout,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let log_error = |error: fjall::Error| OpenError::Log { path: dir.to_owned(), reason: explain(&error) };
        let database = Database::builder(dir)
            .cache_size(options.cache_bytes)
            .max_journaling_size(MAX_JOURNAL_BYTES)
            .worker_threads(2)
            .open()
            .map_err(log_error)?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            let create = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
            database.keyspace(name, create).map_err(log_error)
        };
        let bounds = keyspace("bounds", SMALL_MEMTABLE_BYTES)?;
        for topic in Topic::ALL {
            check_partition_count(&bounds, dir, topic, layout.partitions(topic))?;
        }
        let partition = |name: String| keyspace(&name, options.memtable_bytes);
        let store = Self {
            partitions: layout
                .slots()
                .map(|(topic, number)| partition(format!("{topic}.{number}")))
                .collect::<Result<_, _>>()?,
            positions: keyspace("positions", SMALL_MEMTABLE_BYTES)?,
            bounds,
            claims: keyspace("claims", options.memtable_bytes)?,
            claim_times: keyspace("claim-times", options.memtable_bytes)?,
            database: database.clone(),
            disk,
        };
        store.database.persist(PersistMode::SyncAll).map_err(log_error)?;
        Ok(store)
    }

    /// Writes a batch and syncs it. A failure poisons the database.
    pub(crate) fn commit(&self, batch: OwnedWriteBatch) -> Result<(), String> {
        self.disk.commit(batch).map_err(|error| explain(&error))
    }

    /// Waits until flushes and compactions of `keyspaces` have caught up enough to take another batch.
    pub(crate) fn make_room<'a>(&self, keyspaces: impl Iterator<Item = &'a Keyspace>) -> Result<(), String> {
        for keyspace in keyspaces {
            let mut waits = 0_u32;
            while keyspace.sealed_memtable_count() >= MAX_SEALED_MEMTABLES
                || keyspace.tree.l0_run_count() >= MAX_LEVEL_0_RUNS
            {
                std::thread::sleep(Duration::from_millis(2));
                waits += 1;
                if waits.is_multiple_of(50) {
                    // Only tells whether the workers that should make room have died.
                    self.database.persist(PersistMode::Buffer).map_err(|error| explain(&error))?;
                }
            }
        }
        Ok(())
    }

    /// Where a partition begins and ends, and the bytes before its end.
    pub(crate) fn load_end(&self, slot: usize, topic: Topic, partition: u32) -> Result<End, String> {
        let stored = match self.bounds.get(end_key(topic, partition)).map_err(|error| explain(&error))? {
            Some(bytes) => End::decode(&bytes)?,
            None => End::default(),
        };
        let keyspace = &self.partitions[slot];
        let Some(last) = keyspace.last_key_value() else {
            return Ok(End { first: stored.next, ..stored });
        };
        let (key, value) = last.into_inner().map_err(|error| explain(&error))?;
        let header = value::decode_header(&value)?;
        let first = keyspace.first_key_value().map(|first| first.key()).transpose().map_err(|error| explain(&error))?;
        let next = offset_of(&key)? + 1;
        Ok(End {
            first: first.map_or(Ok(next), |first| offset_of(&first))?,
            next: next.max(stored.next),
            bytes: (header.bytes_before + header.len).max(stored.bytes),
            last_at_us: header.appended_at_us.max(stored.last_at_us),
        })
    }
}

/// The bounds of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) first: u64,
    pub(crate) next: u64,
    /// Bytes of keys and values of all records ever appended.
    pub(crate) bytes: u64,
    pub(crate) last_at_us: i64,
}

impl End {
    /// `next u64 | bytes u64 | last_at_us i64`, big-endian: what must survive when all records are gone.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.next.to_be_bytes(), self.bytes.to_be_bytes(), self.last_at_us.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut fields =
            bytes.chunks_exact(8).map(|field| field.try_into().map(u64::from_be_bytes).unwrap_or_default());
        match (fields.next(), fields.next(), fields.next(), bytes.len()) {
            (Some(next), Some(bytes), Some(at), 24) => Ok(Self { first: 0, next, bytes, last_at_us: at.cast_signed() }),
            _ => Err("the stored end of a partition is malformed".to_owned()),
        }
    }
}

pub(crate) fn end_key(topic: Topic, partition: u32) -> String {
    format!("end {topic} {partition}")
}

fn check_partition_count(bounds: &Keyspace, dir: &Path, topic: Topic, asked: u32) -> Result<(), OpenError> {
    let log_error = |error: fjall::Error| OpenError::Log { path: dir.to_owned(), reason: explain(&error) };
    let key = format!("partitions {topic}");
    let Some(stored) = bounds.get(&key).map_err(log_error)? else {
        return bounds.insert(key, asked.to_be_bytes()).map_err(log_error);
    };
    match stored.as_ref().try_into().map(u32::from_be_bytes).unwrap_or_default() {
        stored if stored == asked => Ok(()),
        stored => Err(OpenError::Partitions { topic, stored, asked }),
    }
}

pub(crate) fn offset_of(key: &[u8]) -> Result<u64, String> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| "a record's offset is malformed".to_owned())
}

pub(crate) fn explain(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => format!("the disk says: {error}"),
        fjall::Error::Poisoned => "an earlier write to the disk failed".to_owned(),
        fjall::Error::Locked => "another process has it open".to_owned(),
        other => other.to_string(),
    }
}
