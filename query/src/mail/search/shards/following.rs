//! Following the log for the shards whose partitions are ours, as partitions come and go.
//!
//! A partition that comes is restored while the others go on; until then its records are passed by. Where a shard stands
//! is in its manifest; the group's position only lets the log's retention go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_schemas::Topic;
use millrace_storage::{Consumer, Log, LogError, Record};
use tokio_util::sync::CancellationToken;

use super::places::Places;
use super::{Shards, SharedOptions};
use crate::mail::search::error::SearchError;
use crate::mail::search::indexer::{BEHIND, Inputs, MAX_POLL_RECORDS, POLL};

/// Until a log that gives nothing is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Polls in a row that may be fenced while partitions move.
const MAX_FENCES: u32 = 10;
/// How often the log is told how far search is.
const TELL: Duration = Duration::from_secs(10);
/// How long the last publications may take when this ends.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

pub(in crate::mail::search) struct Following<'a> {
    options: SharedOptions,
    log: Arc<dyn Log>,
    consumer: &'a mut dyn Consumer,
    places: Places,
    /// Whether the last poll was full: more waits in the log.
    is_behind: bool,
    /// Whether the consumer may have forgotten where it reads.
    is_astray: bool,
    /// Polls in a row that were fenced.
    fences: u32,
    /// Whether too much waits to be published.
    is_held_up: bool,
    committed_at: Instant,
    /// How long the last commits took.
    commit_time: Duration,
    told_at: Instant,
}

impl<'a> Following<'a> {
    pub(in crate::mail::search) fn new(shards: &Arc<Shards>, inputs: &Inputs, consumer: &'a mut dyn Consumer) -> Self {
        let now = Instant::now();
        Self {
            options: shards.options,
            log: inputs.log.clone(),
            consumer,
            places: Places::new(shards.clone(), inputs.clone()),
            is_behind: false,
            is_astray: false,
            fences: 0,
            is_held_up: false,
            committed_at: now,
            commit_time: Duration::ZERO,
            told_at: now,
        }
    }

    /// Runs until `shutdown`, then commits and publishes what it has.
    pub(in crate::mail::search) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), SearchError> {
        while !shutdown.is_cancelled() {
            self.is_astray |= self.places.follow(&self.consumer.assignment()).await;
            self.is_astray |= self.places.settle().await;
            if self.is_astray && !self.seek_all().await? {
                continue;
            }
            let records = self.poll().await?;
            self.places.index(records).await;
            if self.is_commit_due() {
                self.commit().await;
            }
            if self.told_at.elapsed() >= TELL {
                self.tell_log().await;
            }
        }
        self.finish().await
    }

    /// Sets every partition to where it is read: one without an index to the end of the log, since what comes is passed by.
    /// False when the log cannot tell now.
    async fn seek_all(&mut self) -> Result<bool, SearchError> {
        let nexts: Vec<_> = self.places.all().map(|(partition, owned)| (partition, owned.map(|o| o.next))).collect();
        for (partition, next) in nexts {
            let next = match next {
                Some(next) => Ok(next),
                None => self.log.bounds(Topic::MailboxChanges, partition).await.map(|(_, end)| end),
            };
            let sought = match next {
                Ok(next) => self.consumer.seek(partition, next).await,
                Err(error) => Err(error),
            };
            match sought {
                // It is no longer ours, as the next look at the assignment tells.
                Ok(()) | Err(LogError::Fenced { .. }) => {}
                Err(LogError::Unavailable(reason)) => {
                    wait_for_log(&reason).await;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.is_astray = false;
        Ok(true)
    }

    async fn poll(&mut self) -> Result<Vec<Record>, SearchError> {
        let max_unpublished = self.options.max_unpublished;
        let mut owned = self.places.owned();
        let is_held_up = owned.any(|(_, owned)| owned.unpublished() + owned.uncommitted() >= max_unpublished);
        drop(owned);
        if is_held_up && !self.is_held_up {
            tracing::warn!("nothing more is indexed until what is indexed is published");
        }
        self.is_held_up = is_held_up;
        if is_held_up {
            // Still asks, as a member that is alive does.
            tokio::time::sleep(POLL).await;
            return self.answer(0, Duration::ZERO).await;
        }
        let has_uncommitted = self.places.owned().any(|(_, owned)| owned.uncommitted() > 0);
        let left = self.commit_interval().saturating_sub(self.committed_at.elapsed());
        let wait = if has_uncommitted { left.min(POLL) } else { POLL };
        let records = self.answer(MAX_POLL_RECORDS, wait).await?;
        self.is_behind = records.len() == MAX_POLL_RECORDS;
        Ok(records)
    }

    async fn answer(&mut self, max_records: usize, wait: Duration) -> Result<Vec<Record>, SearchError> {
        let error = match self.consumer.poll(max_records, wait).await {
            Ok(records) => {
                self.fences = 0;
                return Ok(records);
            }
            Err(error) => error,
        };
        self.is_astray = true;
        match error {
            // Partitions went that were read; the others go on. But one that is fenced again and again is no member.
            LogError::Fenced { .. } if self.fences < MAX_FENCES => {
                tokio::time::sleep(POLL * self.fences).await;
                self.fences += 1;
                Ok(Vec::new())
            }
            LogError::Unavailable(reason) => {
                wait_for_log(&reason).await;
                Ok(Vec::new())
            }
            error => Err(error.into()),
        }
    }

    /// Rarer when there is more to read, or when commits take long.
    fn commit_interval(&self) -> Duration {
        let interval = self.options.writing.commit_interval * if self.is_behind { BEHIND } else { 1 };
        interval.max(self.commit_time * 2)
    }

    fn is_commit_due(&mut self) -> bool {
        let max_uncommitted = self.options.writing.max_uncommitted;
        let is_time = self.committed_at.elapsed() >= self.commit_interval();
        let mut owned = self.places.owned();
        owned.any(|(_, owned)| owned.uncommitted() >= max_uncommitted || is_time && owned.uncommitted() > 0)
    }

    async fn commit(&mut self) {
        self.committed_at = Instant::now();
        self.commit_time = self.places.commit().await;
    }

    /// Moves the group to where others can see the shards. Not while one is restored, whose place is not known.
    async fn tell_log(&mut self) {
        self.told_at = Instant::now();
        let mut published = BTreeMap::new();
        for (partition, owned) in self.places.all() {
            let Some(owned) = owned else { return };
            published.insert(partition, owned.published_to());
        }
        self.is_astray = true;
        for (partition, position) in published {
            if let Err(error) = self.consumer.seek(partition, position).await {
                tracing::debug!(partition, %error, "the log is told later how far search is");
                return;
            }
        }
        if let Err(error) = self.consumer.commit(Vec::new()).await {
            tracing::warn!(%error, "the log was not told how far search is, which is tried again");
        }
    }

    /// Commits and publishes what there is.
    async fn finish(mut self) -> Result<(), SearchError> {
        self.commit().await;
        if !self.places.are_published(LAST_PATIENCE).await {
            tracing::warn!("some mail is not published for search, and is indexed again by the next owner");
        }
        self.tell_log().await;
        self.places.close().await
    }
}

async fn wait_for_log(reason: &str) {
    tracing::warn!(reason, "the log cannot be read now, which is tried again");
    tokio::time::sleep(RETRY_PAUSE).await;
}
