//! Records of the event topics to their tables, in bulk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use millrace_schemas::arrow::BatchDecoder;
use millrace_storage::{Consumer, Log, Record};
use tokio_util::sync::CancellationToken;

use super::lander::LandError;
use crate::backoff::Backoff;
use crate::tables::{Positions, Table, TableError, Tables, event_batch};

const POLL: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub struct EventLanderOptions {
    /// Time between landings.
    pub interval: Duration,
    /// Records that are landed before the interval has passed.
    pub max_rows: usize,
    /// Bytes of records that are landed before the interval has passed.
    pub max_bytes: usize,
}

impl Default for EventLanderOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), max_rows: 50_000, max_bytes: 32 << 20 }
    }
}

/// Lands one of `reception`, `screened`, `delivery` and `dead_letter` from the topic of the same name.
pub struct EventLander {
    log: Arc<dyn Log>,
    tables: Arc<Tables>,
    table: Table,
    options: EventLanderOptions,
}

/// Records by partition.
#[derive(Default)]
struct Gathered {
    partitions: BTreeMap<u32, Vec<Record>>,
    rows: usize,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, record: Record) {
        self.rows += 1;
        self.bytes += record.value.len() + size_of::<Record>();
        self.partitions.entry(record.position.partition).or_default().push(record);
    }

    fn ends(&self) -> Positions {
        let end = |records: &Vec<Record>| Some(records.last()?.position.offset + 1);
        self.partitions.iter().filter_map(|(partition, records)| Some((*partition, end(records)?))).collect()
    }
}

impl EventLander {
    /// `table` is one of the event tables.
    pub fn new(log: Arc<dyn Log>, tables: Arc<Tables>, table: Table, options: EventLanderOptions) -> Self {
        Self { log, tables, table, options }
    }

    /// Runs until `shutdown`, then lands what is left.
    ///
    /// # Errors
    /// What failed while stopping; before that, failures are logged and tried again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), LandError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut consumer = None;
        loop {
            let result = self.session(&mut consumer, &shutdown).await;
            if shutdown.is_cancelled() {
                return result;
            }
            if let Err(error) = result {
                let pause = backoff.pause();
                metrics::counter!("millrace_lander_failures_total", "kind" => error.kind()).increment(1);
                tracing::warn!(table = %self.table, %error, pause_ms = pause.as_millis(), "landing begins again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    /// From a start to a shutdown, a failure or a change of partitions. The membership outlives it: leaving the group would
    /// move everybody's partitions.
    async fn session(
        &self,
        consumer: &mut Option<Box<dyn Consumer>>,
        shutdown: &CancellationToken,
    ) -> Result<(), LandError> {
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => consumer.insert(self.log.subscribe(&format!("lander.{}", self.table), self.table.topic()).await?),
        };
        while consumer.assignment().is_empty() && !shutdown.is_cancelled() {
            consumer.poll(1, POLL).await?;
            consumer.rewind().await?;
        }
        let landed = self.tables.resume(self.table).await?;
        let assigned = consumer.assignment();
        for &partition in &assigned {
            consumer.seek(partition, landed.get(&partition).copied().unwrap_or(0)).await?;
        }
        while !shutdown.is_cancelled() && consumer.assignment() == assigned {
            let gathered = self.gather(consumer.as_mut(), &assigned, shutdown).await?;
            if gathered.rows > 0 {
                self.land(&gathered).await?;
                consumer.commit(Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// Polls until the interval has passed, enough has gathered, partitions come or go, or a shutdown.
    async fn gather(
        &self,
        consumer: &mut dyn Consumer,
        assigned: &[u32],
        shutdown: &CancellationToken,
    ) -> Result<Gathered, LandError> {
        let deadline = Instant::now() + self.options.interval;
        let mut gathered = Gathered::default();
        while gathered.rows < self.options.max_rows && gathered.bytes < self.options.max_bytes {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || shutdown.is_cancelled() || consumer.assignment() != assigned {
                break;
            }
            let records = consumer.poll(1_000, left.min(POLL)).await?;
            records.into_iter().for_each(|record| gathered.add(record));
        }
        Ok(gathered)
    }

    async fn land(&self, gathered: &Gathered) -> Result<(), LandError> {
        let mut batches = Vec::with_capacity(gathered.partitions.len());
        for (&partition, records) in &gathered.partitions {
            batches.extend(rows(self.table, partition, records)?);
        }
        self.tables.append(self.table, batches, gathered.ends()).await?;
        tracing::debug!(table = %self.table, rows = gathered.rows, "landed");
        Ok(())
    }
}

/// The rows of a partition's records. When one does not decode, they are decoded one by one and the bad ones are left
/// out: they stay in the log.
fn rows(table: Table, partition: u32, records: &[Record]) -> Result<Vec<RecordBatch>, TableError> {
    let decoder = BatchDecoder::new(table.topic());
    let values: Vec<&Bytes> = records.iter().map(|record| &record.value).collect();
    let offsets: Vec<u64> = records.iter().map(|record| record.position.offset).collect();
    if let Ok(batch) = decoder.decode(&values) {
        return Ok(vec![event_batch(table, &batch, partition, &offsets)?]);
    }
    let mut batches = Vec::with_capacity(records.len());
    for (value, offset) in values.iter().zip(offsets) {
        match decoder.decode(&[value]) {
            Ok(batch) => batches.push(event_batch(table, &batch, partition, &[offset])?),
            Err(error) => {
                metrics::counter!("millrace_lander_unreadable_records_total").increment(1);
                tracing::error!(%table, partition, offset, %error, "a record cannot be read and is passed over");
            }
        }
    }
    Ok(batches)
}
