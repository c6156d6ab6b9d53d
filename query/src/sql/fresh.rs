//! Rows that have not landed yet.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millrace_schemas::arrow::BatchDecoder;
use millrace_storage::{Log, LogError, Record};

use crate::tables::{Positions, Table, TableError, TableSnapshot, Tables, event_batch};

/// Records decoded at a time.
const CHUNK_RECORDS: usize = 4096;
const CHUNK_BYTES: usize = 8 << 20;
/// How often a snapshot is taken anew because landing went past it meanwhile.
const ATTEMPTS: u32 = 5;

#[derive(Debug, thiserror::Error)]
pub enum FreshError {
    /// What followed those positions has landed and was let go: take a newer snapshot and ask again.
    #[error("rows that followed the snapshot have landed since; ask again")]
    Behind,
    #[error("rows that have not landed cannot be read: {0}")]
    Unavailable(String),
    /// Landing is far behind, and all of it would not fit in memory.
    #[error(
        "{table} has more than {limit_bytes} bytes that have not landed; see `millrace pipelines lag`, and ask again later"
    )]
    TooMuch { table: Table, limit_bytes: usize },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The rows of `emails` and `email_state` that have not landed, as the hot store has them.
#[async_trait]
pub trait FreshRows: Send + Sync {
    /// The rows made of the records at and after `from` (a partition that is not there: all of it), with the columns of
    /// [`crate::tables::arrow_schema`]. Neither fewer nor more: `from` are the positions of a snapshot, whose rows end
    /// there.
    ///
    /// # Errors
    /// [`FreshError::Behind`] when rows after `from` are no longer held.
    async fn fresh(&self, table: Table, from: &Positions) -> Result<Vec<RecordBatch>, FreshError>;
}

/// A snapshot and the rows that follow it: together all rows there are, each once.
pub(super) struct Whole {
    pub(super) snapshot: TableSnapshot,
    pub(super) fresh: Vec<RecordBatch>,
}

/// Where fresh rows come from.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) tables: Arc<Tables>,
    pub(super) log: Option<Arc<dyn Log>>,
    pub(super) mail: Option<Arc<dyn FreshRows>>,
    pub(super) limit_bytes: usize,
}

impl Sources {
    /// A snapshot and what follows it. Landing may go on: rows that move from log to table meanwhile are still seen
    /// once, since what to read of the log follows from the snapshot alone.
    pub(super) async fn whole(&self, table: Table) -> Result<Whole, FreshError> {
        for _ in 0..ATTEMPTS {
            self.tables.refresh(table).await?;
            let snapshot = self.tables.snapshot(table);
            let fresh = match (table.is_event(), &self.log, &self.mail) {
                (true, Some(log), _) => self.of_log(log.as_ref(), table, snapshot.positions()).await,
                (false, _, Some(mail)) => mail.fresh(table, snapshot.positions()).await,
                _ => Ok(Vec::new()),
            };
            match fresh {
                Err(FreshError::Behind) => continue,
                Err(error) => return Err(error),
                Ok(fresh) => return Ok(Whole { snapshot, fresh }),
            }
        }
        Err(FreshError::Behind)
    }

    /// The log's records of an event table, from these positions to the present end.
    async fn of_log(&self, log: &dyn Log, table: Table, from: &Positions) -> Result<Vec<RecordBatch>, FreshError> {
        let topic = table.topic();
        let (mut batches, mut used_bytes) = (Vec::new(), 0);
        for partition in 0..log.partitions(topic) {
            let mut offset = from.get(&partition).copied().unwrap_or(0);
            let end = log.bounds(topic, partition).await?.1;
            while offset < end {
                let mut records = log.read(topic, partition, offset, CHUNK_RECORDS, CHUNK_BYTES).await?;
                records.retain(|record| record.position.offset < end);
                let Some(last) = records.last() else { break };
                offset = last.position.offset + 1;
                let rows = decode(table, partition, &records)?;
                used_bytes += rows.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
                if used_bytes > self.limit_bytes {
                    return Err(FreshError::TooMuch { table, limit_bytes: self.limit_bytes });
                }
                batches.extend(rows);
            }
            // Retention may have cut what followed the snapshot, but only after it landed.
            let first = log.bounds(topic, partition).await?.0;
            if first > from.get(&partition).copied().unwrap_or(0) {
                return Err(FreshError::Behind);
            }
        }
        Ok(batches)
    }
}

/// One batch, or when a record is damaged one for each that is not.
fn decode(table: Table, partition: u32, records: &[Record]) -> Result<Vec<RecordBatch>, FreshError> {
    let decoder = BatchDecoder::new(table.topic());
    let values: Vec<_> = records.iter().map(|record| &record.value).collect();
    let offsets: Vec<_> = records.iter().map(|record| record.position.offset).collect();
    if let Ok(batch) = decoder.decode(&values) {
        return Ok(vec![event_batch(table, &batch, partition, &offsets)?]);
    }
    let mut batches = Vec::with_capacity(records.len());
    for record in records {
        match decoder.decode(&[&record.value]) {
            Ok(batch) => batches.push(event_batch(table, &batch, partition, &[record.position.offset])?),
            Err(error) => {
                tracing::warn!(%table, partition, offset = record.position.offset, %error, "a record is not readable");
            }
        }
    }
    Ok(batches)
}
