//! The shards of an indexer: restored by tasks of their own, worked on together, and each failing alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use millrace_storage::Record;
use tokio_util::task::AbortOnDropHandle;

use super::Shards;
use super::owned::Owned;
use super::restore::restore;
use crate::backoff::Backoff;
use crate::mail::search::error::SearchError;
use crate::mail::search::indexer::{FIRST_PAUSE, Inputs, LONGEST_PAUSE};

/// Shards worked on at the same time.
const WORK: usize = 4;

/// The partitions of ours.
pub(super) struct Places {
    shards: Arc<Shards>,
    inputs: Inputs,
    places: BTreeMap<u32, Place>,
}

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

/// What is done to a shard, and how it went.
type Work<'a> = BoxFuture<'a, (u32, Result<(), SearchError>)>;

impl Place {
    fn owned(&mut self) -> Option<&mut Owned> {
        match &mut self.stage {
            Stage::Owned(owned) => Some(owned),
            _ => None,
        }
    }
}

impl Places {
    pub(super) fn new(shards: Arc<Shards>, inputs: Inputs) -> Self {
        Self { shards, inputs, places: BTreeMap::new() }
    }

    /// Every partition, with its shard when that is restored.
    pub(super) fn all(&mut self) -> impl Iterator<Item = (u32, Option<&mut Owned>)> {
        self.places.iter_mut().map(|(partition, place)| (*partition, place.owned()))
    }

    /// The shards that are restored.
    pub(super) fn owned(&mut self) -> impl Iterator<Item = (u32, &mut Owned)> {
        self.all().filter_map(|(partition, owned)| Some((partition, owned?)))
    }

    /// Begins to restore what came, and lets go of what went. True when something came.
    pub(super) async fn follow(&mut self, assigned: &[u32]) -> bool {
        let gone: Vec<u32> = self.places.keys().copied().filter(|partition| !assigned.contains(partition)).collect();
        for partition in gone {
            tracing::info!(partition, "a search index goes to another owner");
            if let Some(Place { stage: Stage::Owned(mut owned), .. }) = self.places.remove(&partition) {
                // What was not committed is indexed again there.
                let _ = owned.close().await;
            }
        }
        let mut has_come = false;
        for &partition in assigned {
            if !self.places.contains_key(&partition) {
                tracing::info!(partition, "a search index comes to this owner");
                let stage = self.restoring(partition);
                self.places.insert(partition, Place { stage, backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE) });
                has_come = true;
            }
        }
        metrics::gauge!("millrace_search_shards").set(self.places.len() as f64);
        has_come
    }

    fn restoring(&self, partition: u32) -> Stage {
        let restore = restore(self.shards.clone(), partition, self.inputs.clone());
        Stage::Restoring(AbortOnDropHandle::new(tokio::spawn(restore)))
    }

    /// Takes up what is restored, drops what has failed, and tries again what failed a while ago. True when something was
    /// restored.
    pub(super) async fn settle(&mut self) -> bool {
        let mut has_restored = false;
        let partitions: Vec<u32> = self.places.keys().copied().collect();
        for partition in partitions {
            let Some(place) = self.places.get_mut(&partition) else { continue };
            match &mut place.stage {
                Stage::Restoring(task) if task.is_finished() => match task.await.map_err(SearchError::from).flatten() {
                    Ok(owned) => {
                        place.stage = Stage::Owned(Box::new(owned));
                        has_restored = true;
                    }
                    Err(error) => self.fail(partition, &error).await,
                },
                Stage::Owned(owned) => {
                    if let Some(error) = owned.failure() {
                        self.fail(partition, &error).await;
                    }
                }
                Stage::Failed(until) if *until <= Instant::now() => {
                    let stage = self.restoring(partition);
                    self.places.entry(partition).and_modify(|place| place.stage = stage);
                }
                Stage::Restoring(_) | Stage::Failed(_) => {}
            }
        }
        has_restored
    }

    /// Drops a shard, to be restored from what is published.
    async fn fail(&mut self, partition: u32, error: &SearchError) {
        metrics::counter!("millrace_search_failures_total", "kind" => error.kind()).increment(1);
        let Some(place) = self.places.get_mut(&partition) else { return };
        let pause = place.backoff.pause();
        tracing::error!(partition, %error, pause_ms = pause.as_millis(), "indexing for search begins again");
        let stage = std::mem::replace(&mut place.stage, Stage::Failed(Instant::now() + pause));
        if let Stage::Owned(mut owned) = stage {
            // What it had is no more use, so neither is an error here.
            let _ = owned.close().await;
        }
    }

    /// Indexes records of shards that are restored, a few shards at a time.
    pub(super) async fn index(&mut self, records: Vec<Record>) {
        let mut partitions: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for record in records {
            partitions.entry(record.position.partition).or_default().push(record);
        }
        partitions.retain(|partition, _| self.places.get_mut(partition).is_some_and(|place| place.owned().is_some()));
        while !partitions.is_empty() {
            let rest = partitions.keys().nth(self.max_writers()).copied();
            let rest = rest.map(|from| partitions.split_off(&from)).unwrap_or_default();
            self.make_room(&partitions).await;
            self.take(&partitions).await;
            partitions = rest;
        }
    }

    fn max_writers(&self) -> usize {
        self.shards.options.max_writers.max(1)
    }

    async fn take(&mut self, records: &BTreeMap<u32, Vec<Record>>) {
        let inputs = self.inputs.clone();
        let mut work: Vec<Work<'_>> = Vec::new();
        for (partition, owned) in self.owned() {
            if let Some(records) = records.get(&partition) {
                let inputs = &inputs;
                work.push(async move { (partition, owned.take(records, inputs).await) }.boxed());
            }
        }
        let taken = futures::stream::iter(work).buffer_unordered(WORK).collect().await;
        self.fail_those(taken).await;
    }

    async fn fail_those(&mut self, results: Vec<(u32, Result<(), SearchError>)>) {
        for (partition, result) in results {
            if let Err(error) = result {
                self.fail(partition, &error).await;
            }
        }
    }

    /// Closes the writers that were not needed for the longest time, so that there are not too many with these.
    async fn make_room(&mut self, needed: &BTreeMap<u32, Vec<Record>>) {
        let mut idle = Vec::new();
        for (partition, owned) in self.owned() {
            if owned.is_open() && !needed.contains_key(&partition) {
                idle.push((owned.used_at, partition));
            }
        }
        let room = self.max_writers().saturating_sub(needed.len());
        if idle.len() <= room {
            return;
        }
        self.commit().await;
        idle.sort_unstable();
        idle.truncate(idle.len() - room);
        for (_, partition) in idle {
            let Some(owned) = self.places.get_mut(&partition).and_then(Place::owned) else { continue };
            if let Err(error) = owned.close().await {
                self.fail(partition, &error).await;
            }
        }
    }

    /// Commits every shard that has something; tells how long that took.
    pub(super) async fn commit(&mut self) -> Duration {
        let begun = Instant::now();
        let mut work: Vec<Work<'_>> = Vec::new();
        for (partition, owned) in self.owned().filter(|(_, owned)| owned.uncommitted() > 0) {
            work.push(async move { (partition, owned.commit().await) }.boxed());
        }
        let committed = futures::stream::iter(work).buffer_unordered(WORK).collect().await;
        self.fail_those(committed).await;
        begun.elapsed()
    }

    /// Waits, not longer than `patience`, until others can see what is committed.
    pub(super) async fn are_published(&mut self, patience: Duration) -> bool {
        let mut waits = Vec::new();
        for (_, owned) in self.owned() {
            waits.push(owned.is_published(patience));
        }
        !futures::future::join_all(waits).await.contains(&false)
    }

    /// Gives back what the writers hold.
    pub(super) async fn close(mut self) -> Result<(), SearchError> {
        for (_, owned) in self.owned() {
            owned.close().await?;
        }
        Ok(())
    }
}
