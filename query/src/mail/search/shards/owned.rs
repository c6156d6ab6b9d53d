//! A shard that is ours: written here, published behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_storage::Record;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::Shards;
use super::publisher::{Published, Publisher};
use crate::mail::search::error::SearchError;
use crate::mail::search::index::TextIndex;
use crate::mail::search::indexer::Inputs;
use crate::mail::search::steps::steps;
use crate::mail::search::writing::Writing;
use crate::tables::Positions;

/// Keeps a shard's files here, and ends this process's searching of them as its owner.
pub(super) struct Ownership {
    shards: Arc<Shards>,
    partition: u32,
}

impl Ownership {
    pub(super) fn new(shards: Arc<Shards>, partition: u32) -> Self {
        shards.cache.set_owned(partition, true);
        Self { shards, partition }
    }

    /// From here on, searches in this process use the owner's index.
    fn show(&self, index: Arc<TextIndex>) {
        if let Ok(shard) = self.shards.shard(self.partition) {
            *shard.owned.write() = Some(index);
            shard.remote.close();
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if let Ok(shard) = self.shards.shard(self.partition) {
            *shard.owned.write() = None;
        }
        self.shards.cache.set_owned(self.partition, false);
    }
}

pub(super) struct Owned {
    ownership: Ownership,
    writing: Writing,
    /// The next record to take.
    pub(super) next: u64,
    /// Documents committed since we own it.
    committed: u64,
    commits: watch::Sender<u64>,
    published: watch::Receiver<Published>,
    _publishing: AbortOnDropHandle<()>,
    /// When its writer was last needed.
    pub(super) used_at: Instant,
}

impl Owned {
    /// Begins to publish what is committed; `next` is where the index ends.
    pub(super) fn new(ownership: Ownership, writing: Writing, publisher: Publisher, next: u64) -> Self {
        ownership.show(writing.index.clone());
        let (commits, committed) = watch::channel(0);
        let (publishing, published) =
            watch::channel(Published { position: publisher.position(), ..Default::default() });
        let task = tokio::spawn(publisher.run(committed, publishing));
        let publishing = AbortOnDropHandle::new(task);
        Self {
            ownership,
            writing,
            next,
            committed: 0,
            commits,
            published,
            _publishing: publishing,
            used_at: Instant::now(),
        }
    }

    /// Indexes records; those that were indexed before are passed over.
    pub(super) async fn take(&mut self, records: &[Record], inputs: &Inputs) -> Result<(), SearchError> {
        let known = records.partition_point(|record| record.position.offset < self.next);
        let Some(last) = records[known..].last() else { return Ok(()) };
        let steps = steps(&records[known..], inputs.log.as_ref()).await?;
        self.used_at = Instant::now();
        self.writing.take(steps, inputs.blobs.as_ref()).await?;
        self.next = last.position.offset + 1;
        Ok(())
    }

    pub(super) fn uncommitted(&self) -> usize {
        self.writing.uncommitted
    }

    pub(super) fn is_open(&self) -> bool {
        self.writing.is_open()
    }

    /// Gives back the writer's memory; what is not committed is forgotten.
    pub(super) async fn close(&mut self) -> Result<(), SearchError> {
        self.writing.close().await
    }

    /// Commits, and lets the publisher know.
    pub(super) async fn commit(&mut self) -> Result<(), SearchError> {
        let documents = self.writing.uncommitted as u64;
        let begun = Instant::now();
        self.writing.commit(Positions::from([(self.ownership.partition, self.next)])).await?;
        metrics::histogram!("millrace_search_commit_seconds").record(begun.elapsed());
        self.committed += documents;
        self.commits.send_replace(self.committed);
        Ok(())
    }

    /// How far others can see the shard.
    pub(super) fn published_to(&self) -> u64 {
        self.published.borrow().position
    }

    /// Documents that others cannot see yet.
    pub(super) fn unpublished(&self) -> usize {
        (self.committed - self.published.borrow().documents) as usize
    }

    /// Why the shard must be taken over again.
    pub(super) fn failure(&self) -> Option<Arc<SearchError>> {
        self.published.borrow().failure.clone()
    }

    /// Waits until what is committed is published, but not for long.
    pub(super) async fn is_published(&mut self, patience: Duration) -> bool {
        let committed = self.committed;
        let is_done = |published: &Published| published.documents >= committed || published.failure.is_some();
        let is_waited_for = tokio::time::timeout(patience, self.published.wait_for(is_done)).await.is_ok();
        is_waited_for && self.unpublished() == 0
    }
}
