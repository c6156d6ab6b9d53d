//! Rows of mail that the tables do not have yet, for SQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use millrace_schemas::Topic;
use millrace_storage::hot::HotTail;
use millrace_storage::{HotStore, Log};

use super::rows::{Row, emails_batch, state_batch};
use super::version::EmailVersion;
use crate::sql::{FreshError, FreshRows};
use crate::tables::{Positions, Table};

/// How long a hot store that was begun afresh is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// The hot store as rows of `emails` and `email_state`.
#[derive(Clone)]
pub struct FreshMail {
    hot: Arc<dyn HotStore>,
    /// Of `mailbox.changes`.
    partitions: u32,
}

impl FreshMail {
    pub fn new(log: Arc<dyn Log>, hot: Arc<dyn HotStore>) -> Self {
        Self { hot, partitions: log.partitions(Topic::MailboxChanges) }
    }

    /// All that is held from `from` on, when that is all that readers have seen.
    async fn tail(&self, partition: u32, from: u64) -> Result<HotTail, FreshError> {
        let begun = Instant::now();
        loop {
            let tail = self.hot.rows(partition, from).await.map_err(|error| unavailable(&error))?;
            if tail.is_complete() {
                return Ok(tail);
            }
            if begun.elapsed() > PATIENCE {
                return Err(unavailable(&format!("mail of partition {partition} is still being read from the log")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> FreshError {
    FreshError::Unavailable(error.to_string())
}

#[async_trait]
impl FreshRows for FreshMail {
    async fn fresh(&self, table: Table, from: &Positions) -> Result<Vec<RecordBatch>, FreshError> {
        let mut rows = Vec::new();
        for partition in 0..self.partitions {
            let from = from.get(&partition).copied().unwrap_or(0);
            let tail = self.tail(partition, from).await?;
            if tail.held_from > from {
                return Err(FreshError::Behind);
            }
            for row in tail.rows {
                let version = EmailVersion::decode(&row.value).map_err(|error| unavailable(&error))?;
                rows.push(Row { account_id: row.account_id, version: Arc::new(version) });
            }
        }
        let batch = if table == Table::Emails { emails_batch(rows.iter()) } else { state_batch(rows.iter()) };
        Ok(vec![batch.map_err(|error| unavailable(&error))?])
    }
}
