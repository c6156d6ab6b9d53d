//! How far pipelines are behind, by the log alone: it says the same of every runner.

use std::time::{SystemTime, UNIX_EPOCH};

use millrace_schemas::Topic;
use millrace_storage::{Log, LogError};

use crate::plan::Pipeline;

/// Who runs a pipeline: what its group's position means depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// This process, or others of ours: the position is the next record.
    Local,
    /// Arroyo: the position is the last record that it read, at its last checkpoint.
    Arroyo,
}

/// How far one pipeline is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub pipeline: String,
    pub topic: Topic,
    pub partition: u32,
    /// The next record to process; None before the first.
    pub position: Option<u64>,
    /// Behind the last record.
    pub end: u64,
    /// Offsets between them.
    pub records: u64,
    /// Age of the oldest record that is not processed.
    pub seconds: u64,
}

/// Of all partitions of all pipelines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LagReport {
    pub lags: Vec<Lag>,
}

/// Asks the log how far `pipelines` are behind.
///
/// # Errors
/// The log cannot be read now.
pub async fn lag(log: &dyn Log, pipelines: &[Pipeline], runner: Runner) -> Result<LagReport, LogError> {
    let mut lags = Vec::new();
    for pipeline in pipelines {
        for partition in 0..log.partitions(pipeline.source()) {
            lags.push(of_partition(log, pipeline, partition, runner).await?);
        }
    }
    Ok(LagReport { lags })
}

async fn of_partition(log: &dyn Log, pipeline: &Pipeline, partition: u32, runner: Runner) -> Result<Lag, LogError> {
    let topic = pipeline.source();
    // Asked before the end, so that what is processed meanwhile does not count as more than there is.
    let committed = log.committed(pipeline.name(), topic, partition).await?;
    let (first, end) = log.bounds(topic, partition).await?;
    let position = committed.map(|committed| match runner {
        Runner::Local => committed,
        Runner::Arroyo => committed + 1,
    });
    let next = position.unwrap_or(first).max(first);
    let oldest = if next < end { log.read(topic, partition, next, 1, 1).await? } else { Vec::new() };
    let (records, seconds) = match oldest.first() {
        Some(oldest) => (end.saturating_sub(oldest.position.offset), age_s(oldest.appended_at_us)),
        None => (0, 0),
    };
    Ok(Lag { pipeline: pipeline.name().to_owned(), topic, partition, position, end, records, seconds })
}

fn age_s(appended_at_us: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(u64::try_from(appended_at_us / 1_000_000).unwrap_or_default())
}
