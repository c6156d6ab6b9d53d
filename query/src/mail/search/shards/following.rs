//! The shards of an indexer, as partitions come and go.
//!
//! A partition that comes is restored by a task of its own while the others go on; until then its records are passed by.
//! A shard that fails or is fenced is dropped and restored again, alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use millrace_schemas::Topic;
use millrace_storage::{Consumer, LogError, Record};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Shards;
use super::owned::Owned;
use super::restore::restore;
use crate::backoff::Backoff;
use crate::mail::search::error::SearchError;
use crate::mail::search::indexer::{BEHIND, FIRST_PAUSE, Inputs, LONGEST_PAUSE, MAX_POLL_RECORDS, POLL};

/// Shards worked on at the same time.
const WORK: usize = 4;
/// Until a log that gives nothing is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often the log is told how far search is.
const TELL: Duration = Duration::from_secs(10);
/// How long the last publications may take when this ends.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

pub(in crate::mail::search) struct Following<'a> {
    shards: &'a Arc<Shards>,
    inputs: &'a Inputs,
    consumer: &'a mut dyn Consumer,
    places: BTreeMap<u32, Place>,
    /// Whether the last poll was full: more waits in the log.
    is_behind: bool,
    /// Whether the consumer may have forgotten where it reads.
    is_astray: bool,
    committed_at: Instant,
    /// How long the last commits took.
    commit_time: Duration,
    told_at: Instant,
}

/// A partition of ours.
struct Place {
    stage: Stage,
    backoff: Backoff,
}

enum Stage {
    Restoring(AbortOnDropHandle<Result<Owned, SearchError>>),
    Owned(Box<Owned>),
    /// Until it is tried again.
    Failed(Instant),
}

impl Place {
    fn owned(&mut self) -> Option<&mut Owned> {
        match &mut self.stage {
            Stage::Owned(owned) => Some(owned),
            _ => None,
        }
    }
}

/// What is done to a shard, and how it went.
type Work<'a> = BoxFuture<'a, (u32, Result<(), SearchError>)>;

impl<'a> Following<'a> {
    pub(in crate::mail::search) fn new(
        shards: &'a Arc<Shards>,
        inputs: &'a Inputs,
        consumer: &'a mut dyn Consumer,
    ) -> Self {
        let now = Instant::now();
        Self {
            shards,
            inputs,
            consumer,
            places: BTreeMap::new(),
            is_behind: false,
            is_astray: false,
            committed_at: now,
            commit_time: Duration::ZERO,
            told_at: now,
        }
    }

    /// Runs until `shutdown`, then commits and publishes what it has.
    pub(in crate::mail::search) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), SearchError> {
        while !shutdown.is_cancelled() {
            self.follow_assignment().await?;
            self.settle().await?;
            if std::mem::take(&mut self.is_astray) {
                self.seek_all().await?;
            }
            let records = self.poll().await?;
            self.index(records).await?;
            if self.is_commit_due() {
                self.commit().await;
            }
            if self.told_at.elapsed() >= TELL {
                self.tell_log().await?;
            }
        }
        self.finish().await
    }

    /// The shards that are restored.
    fn owned(&mut self) -> impl Iterator<Item = (u32, &mut Owned)> {
        self.places.iter_mut().filter_map(|(partition, place)| Some((*partition, place.owned()?)))
    }

    /// Begins to restore what came, and lets go of what went.
    async fn follow_assignment(&mut self) -> Result<(), SearchError> {
        let assigned = self.consumer.assignment();
        let gone: Vec<u32> = self.places.keys().copied().filter(|partition| !assigned.contains(partition)).collect();
        for partition in gone {
            tracing::info!(partition, "a search index goes to another owner");
            if let Some(Place { stage: Stage::Owned(mut owned), .. }) = self.places.remove(&partition) {
                owned.close().await?;
            }
        }
        for partition in assigned {
            if !self.places.contains_key(&partition) {
                tracing::info!(partition, "a search index comes to this owner");
                let stage = self.restoring(partition);
                self.places.insert(partition, Place { stage, backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE) });
                self.is_astray = true;
            }
        }
        metrics::gauge!("millrace_search_shards").set(self.places.len() as f64);
        Ok(())
    }

    fn restoring(&self, partition: u32) -> Stage {
        let restore = restore(self.shards.clone(), partition, self.inputs.clone());
        Stage::Restoring(AbortOnDropHandle::new(tokio::spawn(restore)))
    }

    /// Takes up what is restored, drops what has failed, and tries again what failed a while ago.
    async fn settle(&mut self) -> Result<(), SearchError> {
        let partitions: Vec<u32> = self.places.keys().copied().collect();
        for partition in partitions {
            let Some(place) = self.places.get_mut(&partition) else { continue };
            match &mut place.stage {
                Stage::Restoring(task) if task.is_finished() => match task.await? {
                    Ok(owned) => {
                        place.stage = Stage::Owned(Box::new(owned));
                        self.is_astray = true;
                    }
                    Err(error) => self.fail(partition, &error.to_string()).await,
                },
                Stage::Owned(owned) => {
                    if let Some(reason) = owned.failure() {
                        self.fail(partition, &reason).await;
                    }
                }
                Stage::Failed(until) if *until <= Instant::now() => {
                    let stage = self.restoring(partition);
                    if let Some(place) = self.places.get_mut(&partition) {
                        place.stage = stage;
                    }
                }
                Stage::Restoring(_) | Stage::Failed(_) => {}
            }
        }
        Ok(())
    }

    /// Drops a shard, to be restored from what is published.
    async fn fail(&mut self, partition: u32, reason: &str) {
        metrics::counter!("millrace_search_failures_total").increment(1);
        let Some(place) = self.places.get_mut(&partition) else { return };
        let pause = place.backoff.pause();
        tracing::error!(partition, reason, pause_ms = pause.as_millis(), "indexing for search begins again");
        let stage = std::mem::replace(&mut place.stage, Stage::Failed(Instant::now() + pause));
        if let Stage::Owned(mut owned) = stage {
            // What it had is no more use, so neither is an error here.
            let _ = owned.close().await;
        }
    }

    /// Sets every partition to where it is read: one without an index to the end of the log, since what comes is passed by.
    async fn seek_all(&mut self) -> Result<(), SearchError> {
        for (&partition, place) in &mut self.places {
            let next = match place.owned() {
                Some(owned) => owned.next,
                None => self.inputs.log.bounds(Topic::MailboxChanges, partition).await?.1,
            };
            match self.consumer.seek(partition, next).await {
                // It is no longer ours, as the next look at the assignment tells.
                Ok(()) | Err(LogError::Fenced { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn poll(&mut self) -> Result<Vec<Record>, SearchError> {
        let max_unpublished = self.shards.options.max_unpublished;
        if self.owned().any(|(_, owned)| owned.unpublished() + owned.uncommitted() >= max_unpublished) {
            tracing::warn!("search is not read on until what is indexed is published");
            tokio::time::sleep(POLL).await;
            return self.answer(0, Duration::ZERO).await;
        }
        let has_uncommitted = self.owned().any(|(_, owned)| owned.uncommitted() > 0);
        let left = self.commit_interval().saturating_sub(self.committed_at.elapsed());
        let wait = if has_uncommitted { left.min(POLL) } else { POLL };
        let records = self.answer(MAX_POLL_RECORDS, wait).await?;
        self.is_behind = records.len() == MAX_POLL_RECORDS;
        Ok(records)
    }

    async fn answer(&mut self, max_records: usize, wait: Duration) -> Result<Vec<Record>, SearchError> {
        match self.consumer.poll(max_records, wait).await {
            Ok(records) => Ok(records),
            Err(LogError::Fenced { .. }) => {
                self.is_astray = true;
                Ok(Vec::new())
            }
            Err(LogError::Unavailable(reason)) => {
                tracing::warn!(reason, "the log cannot be read now, which is tried again");
                tokio::time::sleep(RETRY_PAUSE).await;
                self.is_astray = true;
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Indexes what came, a few partitions at a time.
    async fn index(&mut self, records: Vec<Record>) -> Result<(), SearchError> {
        let mut partitions: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for record in records {
            partitions.entry(record.position.partition).or_default().push(record);
        }
        partitions.retain(|partition, _| self.places.get_mut(partition).is_some_and(|place| place.owned().is_some()));
        while !partitions.is_empty() {
            let rest = partitions.keys().nth(self.shards.options.max_writers.max(1)).copied();
            let rest = rest.map(|from| partitions.split_off(&from)).unwrap_or_default();
            self.make_room(&partitions).await;
            self.take(&partitions).await;
            partitions = rest;
        }
        Ok(())
    }

    async fn take(&mut self, records: &BTreeMap<u32, Vec<Record>>) {
        let blobs = self.inputs.blobs.as_ref();
        let mut work: Vec<Work<'_>> = Vec::new();
        for (partition, owned) in self.owned() {
            if let Some(records) = records.get(&partition) {
                work.push(async move { (partition, owned.take(records, blobs).await) }.boxed());
            }
        }
        let taken = futures::stream::iter(work).buffer_unordered(WORK).collect().await;
        self.fail_those(taken).await;
    }

    async fn fail_those(&mut self, results: Vec<(u32, Result<(), SearchError>)>) {
        for (partition, result) in results {
            if let Err(error) = result {
                self.fail(partition, &error.to_string()).await;
            }
        }
    }

    /// Closes the writers that were not needed for the longest time, so that there are not too many with these.
    async fn make_room(&mut self, needed: &BTreeMap<u32, Vec<Record>>) {
        let is_idle = |(partition, owned): (u32, &mut Owned)| {
            (owned.is_open() && !needed.contains_key(&partition)).then_some((owned.used_at, partition))
        };
        let mut idle: Vec<_> = self.owned().filter_map(is_idle).collect();
        let room = self.shards.options.max_writers.max(1).saturating_sub(needed.len());
        if idle.len() <= room {
            return;
        }
        self.commit().await;
        idle.sort_unstable();
        idle.truncate(idle.len() - room);
        for (_, partition) in idle {
            let Some(owned) = self.places.get_mut(&partition).and_then(Place::owned) else { continue };
            if let Err(error) = owned.close().await {
                self.fail(partition, &error.to_string()).await;
            }
        }
    }

    /// Rarer when there is more to read, or when commits take long.
    fn commit_interval(&self) -> Duration {
        let interval = self.shards.options.writing.commit_interval * if self.is_behind { BEHIND } else { 1 };
        interval.max(self.commit_time * 2)
    }

    fn is_commit_due(&mut self) -> bool {
        let max_uncommitted = self.shards.options.writing.max_uncommitted;
        let is_time = self.committed_at.elapsed() >= self.commit_interval();
        self.owned().any(|(_, owned)| owned.uncommitted() >= max_uncommitted || is_time && owned.uncommitted() > 0)
    }

    /// Commits every shard that has something.
    async fn commit(&mut self) {
        self.committed_at = Instant::now();
        let mut work: Vec<Work<'_>> = Vec::new();
        for (partition, owned) in self.owned().filter(|(_, owned)| owned.uncommitted() > 0) {
            work.push(async move { (partition, owned.commit().await) }.boxed());
        }
        let committed = futures::stream::iter(work).buffer_unordered(WORK).collect().await;
        self.commit_time = self.committed_at.elapsed();
        self.fail_those(committed).await;
    }

    /// Moves the group to where others can see all shards, for the log's retention; where a shard stands is in its
    /// manifest. Not while one is restored, whose place is not known.
    async fn tell_log(&mut self) -> Result<(), SearchError> {
        self.told_at = Instant::now();
        let mut published = BTreeMap::new();
        for (&partition, place) in &mut self.places {
            let Some(owned) = place.owned() else { return Ok(()) };
            published.insert(partition, owned.published_to());
        }
        self.is_astray = true;
        for (partition, position) in published {
            if let Err(LogError::Fenced { .. }) = self.consumer.seek(partition, position).await {
                return Ok(());
            }
        }
        if let Err(error) = self.consumer.commit(Vec::new()).await {
            tracing::warn!(%error, "the log was not told how far search is, which is tried again");
        }
        Ok(())
    }

    /// Commits and publishes what there is.
    async fn finish(mut self) -> Result<(), SearchError> {
        self.commit().await;
        let mut waits = Vec::new();
        for (_, owned) in self.owned() {
            waits.push(owned.is_published(LAST_PATIENCE));
        }
        if futures::future::join_all(waits).await.contains(&false) {
            tracing::warn!("some mail is not published for search, and is indexed again by the next owner");
        }
        self.tell_log().await?;
        for mut place in std::mem::take(&mut self.places).into_values() {
            if let Some(owned) = place.owned() {
                owned.close().await?;
            }
        }
        Ok(())
    }
}
