//! Follows `mailbox.changes`, and keeps the index within a second of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_schemas::Topic;
use millrace_storage::{BlobStore, Consumer, Log, Record};
use tokio_util::sync::CancellationToken;

use super::error::SearchError;
use super::facade::{Form, Search};
use super::local::Local;
use super::rebuild::rebuild;
use super::shards::Following as FollowingShards;
use super::steps::steps;
use super::writing::Writing;
use crate::backoff::Backoff;
use crate::tables::{Positions, Tables};

/// The group whose position tells the log's retention what is indexed.
pub const GROUP: &str = "search";

pub(super) const POLL: Duration = Duration::from_millis(100);
pub(super) const MAX_POLL_RECORDS: usize = 200;
/// With more waiting in the log, commits are this much rarer: they cost the time that would catch up.
pub(super) const BEHIND: u32 = 5;
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What an indexer reads.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) log: Arc<dyn Log>,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) tables: Arc<Tables>,
}

/// The only writer of a [`Search`]: of the one index, or of the shards whose partitions are ours.
pub struct Indexer {
    search: Arc<Search>,
    inputs: Inputs,
}

impl Indexer {
    pub fn new(search: Arc<Search>, log: Arc<dyn Log>, blobs: Arc<dyn BlobStore>, tables: Arc<Tables>) -> Self {
        Self { search, inputs: Inputs { log, blobs, tables } }
    }

    /// Runs until `shutdown`, then commits what it has. Failures are logged, and the indexer begins again from the last
    /// commit.
    ///
    /// # Errors
    /// What failed while stopping.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SearchError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut consumer = None;
        loop {
            let result = self.session(&mut consumer, &shutdown).await;
            if shutdown.is_cancelled() {
                return result;
            }
            if let Err(error) = result {
                // It may have ended; leaving the group ends it for certain.
                consumer = None;
                let pause = backoff.pause();
                let pause_ms = pause.as_millis();
                tracing::error!(%error, pause_ms, "indexing for search begins again from the last commit");
                metrics::counter!("millrace_search_failures_total", "kind" => error.kind()).increment(1);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    /// From a start to a shutdown or a failure; of the one index also to a change of partitions, or until another wants to
    /// write. The membership outlives it: leaving the group would move everybody's partitions.
    async fn session(
        &self,
        consumer: &mut Option<Box<dyn Consumer>>,
        shutdown: &CancellationToken,
    ) -> Result<(), SearchError> {
        let consumer = match consumer {
            Some(consumer) => consumer.as_mut(),
            None => consumer.insert(self.inputs.log.subscribe(GROUP, Topic::MailboxChanges).await?).as_mut(),
        };
        match &self.search.form {
            Form::Local(local) => self.follow(local, consumer, shutdown).await,
            Form::Shared(shards) => FollowingShards::new(shards, &self.inputs, consumer).run(shutdown).await,
        }
    }

    /// Keeps the one index.
    async fn follow(
        &self,
        local: &Local,
        consumer: &mut dyn Consumer,
        shutdown: &CancellationToken,
    ) -> Result<(), SearchError> {
        let _turn = local.turn.take().await;
        let assigned = consumer.assignment();
        let mut writing = local.writing();
        if self.is_behind_the_log(&assigned, &local.positions()?).await? {
            tracing::warn!("the search index lacks mail that the log no longer has, and is made again from the tables");
            let scope = local.scope(self.inputs.log.as_ref());
            rebuild(&mut writing, &self.inputs.tables, self.inputs.blobs.as_ref(), scope, |_| {}).await?;
        }
        let positions = local.positions()?;
        for &partition in &assigned {
            consumer.seek(partition, positions.get(&partition).copied().unwrap_or(0)).await?;
        }
        let inputs = &self.inputs;
        let mut following =
            Following { local, inputs, consumer, writing, positions, is_behind: false, last_commit: Instant::now() };
        let is_done = |consumer: &dyn Consumer| {
            shutdown.is_cancelled() || local.turn.is_wanted() || consumer.assignment() != assigned
        };
        // A step is short and never cut: positions and documents go together.
        while !is_done(following.consumer) {
            following.step().await?;
        }
        following.commit().await
    }

    /// Whether the log has let go of records that are not indexed.
    async fn is_behind_the_log(&self, assigned: &[u32], positions: &Positions) -> Result<bool, SearchError> {
        for &partition in assigned {
            let (kept_from, _) = self.inputs.log.bounds(Topic::MailboxChanges, partition).await?;
            if positions.get(&partition).copied().unwrap_or(0) < kept_from {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Following<'a> {
    local: &'a Local,
    inputs: &'a Inputs,
    consumer: &'a mut dyn Consumer,
    writing: Writing,
    /// What the next commit says.
    positions: Positions,
    /// Whether the last poll was full: more waits in the log.
    is_behind: bool,
    last_commit: Instant,
}

impl Following<'_> {
    /// Polls once, indexes what came, and commits when it is time.
    async fn step(&mut self) -> Result<(), SearchError> {
        let options = self.local.options;
        let interval = options.commit_interval * if self.is_behind { BEHIND } else { 1 };
        let left = interval.saturating_sub(self.last_commit.elapsed());
        let wait = if self.writing.uncommitted > 0 { left.min(POLL) } else { POLL };
        let records = self.consumer.poll(MAX_POLL_RECORDS, wait).await?;
        self.is_behind = records.len() == MAX_POLL_RECORDS;
        let steps = steps(&records, self.inputs.log.as_ref()).await?;
        self.writing.take(steps, self.inputs.blobs.as_ref()).await?;
        self.positions.extend(ends(&records));
        let is_due = self.last_commit.elapsed() >= interval;
        if self.writing.uncommitted > 0 && (is_due || self.writing.uncommitted >= options.max_uncommitted) {
            self.commit().await?;
        }
        Ok(())
    }

    /// Commits index and positions, then tells the log's retention.
    async fn commit(&mut self) -> Result<(), SearchError> {
        self.last_commit = Instant::now();
        if self.writing.uncommitted == 0 {
            return Ok(());
        }
        self.writing.commit(self.positions.clone()).await?;
        metrics::histogram!("millrace_search_commit_seconds").record(self.last_commit.elapsed());
        // Where the index stands is in the index; this only lets the log's retention go on.
        if let Err(error) = self.consumer.commit(Vec::new()).await {
            tracing::warn!(%error, "the log was not told how far search is; it is told with the next commit");
        }
        Ok(())
    }
}

/// Where the records end, by partition.
fn ends(records: &[Record]) -> Positions {
    records.iter().map(|record| (record.position.partition, record.position.offset + 1)).collect()
}
