//! Search in a cluster: a shard for each partition of `mailbox.changes`, kept in the object store.
//!
//! A shard has one owner, the indexer whose partition it is. It writes on its own disk and publishes what it commits:
//! new segments as objects that never change, then the manifest that names them, which is replaced only by who knows the
//! one before it. So whoever takes a shard over, by replacing the manifest with a claim of its own, ends the former
//! owner's: no clock and no lock is needed. Any process searches any shard from the objects that its manifest names.
//!
//! - [`manifest`]: what a shard is at one moment
//! - [`bundle`]: files of an index as one object
//! - [`store`]: manifest and objects in the object store
//! - [`cache`]: objects on this process's disk
//! - [`directory`]: objects as the files of an index
//! - [`remote`]: searching a shard of another
//! - [`restore`]: taking a shard over
//! - [`publisher`]: what an owner has committed, to the object store
//! - [`owned`]: a shard that is ours
//! - [`places`]: the shards of an indexer
//! - [`following`]: the log for these, as partitions come and go
//! - [`rebuild`]: asking the owners to make their shards again

mod bundle;
mod cache;
mod directory;
mod following;
mod manifest;
mod owned;
mod places;
mod publisher;
mod rebuild;
mod remote;
mod restore;
mod store;
#[cfg(test)]
mod tests;

#[cfg(test)]
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::topic::partition_of;
use object_store::ObjectStore;
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use self::cache::Cache;
pub(super) use self::following::Following;
use self::remote::Remote;
use self::store::ShardStore;
use super::error::SearchError;
use super::facade::SearchOptions;
use super::index::TextIndex;
use super::query::TextQuery;

/// Shards restored at the same time.
const RESTORES: usize = 4;
/// Shards made again from the tables at the same time.
const REBUILDS: usize = 2;

#[derive(Clone, Copy, Debug)]
pub struct SharedOptions {
    pub writing: SearchOptions,
    /// Shards that are written at the same time; one more is committed and closed first.
    pub max_writers: usize,
    /// Documents of a shard that may wait to be published before its partition is no longer read.
    pub max_unpublished: usize,
    /// What shards may take of the disk, apart from those that this process owns or searches just now.
    pub cache_bytes: u64,
    /// How often a shard is looked at while it is searched.
    pub refresh_interval: Duration,
    /// How long objects stay that no manifest names any more, for those who are about to open them.
    pub grace: Duration,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self {
            writing: SearchOptions { writer_bytes: 16 << 20, ..SearchOptions::default() },
            max_writers: 64,
            max_unpublished: 100_000,
            cache_bytes: 20 << 30,
            refresh_interval: Duration::from_millis(200),
            grace: Duration::from_secs(120),
        }
    }
}

/// The shards of all partitions, as this process sees them.
pub(super) struct Shards {
    options: SharedOptions,
    cache: Arc<Cache>,
    shards: Vec<Shard>,
    /// For fetching what an owner needs.
    restoring: Semaphore,
    /// For reading the tables.
    rebuilding: Semaphore,
}

struct Shard {
    store: ShardStore,
    /// The owner's index, while that is us.
    owned: RwLock<Option<Arc<TextIndex>>>,
    remote: Arc<Remote>,
}

impl Shards {
    pub(super) async fn open(
        dir: &Path,
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        partitions: u32,
        options: SharedOptions,
    ) -> Result<Self, SearchError> {
        let dir = dir.to_owned();
        let cache = tokio::task::spawn_blocking(move || Cache::open(&dir, options.cache_bytes)).await??;
        let cache = Arc::new(cache);
        let shard = |partition| {
            let store = ShardStore::new(store.clone(), prefix, partition);
            let remote = Arc::new(Remote::new(store.clone(), cache.clone(), options.refresh_interval));
            Shard { store, owned: RwLock::default(), remote }
        };
        let shards = (0..partitions).map(shard).collect();
        let (restoring, rebuilding) = (Semaphore::new(RESTORES), Semaphore::new(REBUILDS));
        Ok(Self { options, cache, shards, restoring, rebuilding })
    }

    fn partitions(&self) -> u32 {
        self.shards.len() as u32
    }

    fn shard(&self, partition: u32) -> Result<&Shard, SearchError> {
        let reason = || format!("there are {} partitions", self.shards.len());
        let shard = self.shards.get(partition as usize);
        shard.ok_or_else(|| SearchError::Unavailable { partition, reason: reason() })
    }

    pub(super) async fn search(&self, account_id: &str, query: &TextQuery) -> Result<Vec<String>, SearchError> {
        let partition = partition_of(account_id, self.partitions());
        let shard = self.shard(partition)?;
        let owned = shard.owned.read().clone();
        let index = match owned {
            Some(index) => index,
            None => {
                self.cache.used(partition);
                let index = shard.remote.index().await?;
                self.close_evicted();
                index
            }
        };
        index.search(account_id, query).await
    }

    /// Files that were thrown away take room until nobody has them open.
    fn close_evicted(&self) {
        for (partition, shard) in (0..).zip(&self.shards) {
            if shard.remote.opened().is_some() && !self.cache.has_shard(partition) {
                shard.remote.close();
            }
        }
    }

    pub(super) fn documents(&self) -> u64 {
        let open = |shard: &Shard| shard.owned.read().clone().or_else(|| shard.remote.opened());
        self.shards.iter().filter_map(open).map(|index| index.documents()).sum()
    }

    /// How far the shards that this process owns are indexed.
    #[cfg(test)]
    fn owned(&self) -> BTreeMap<u32, Arc<TextIndex>> {
        let owned = |(partition, shard): (u32, &Shard)| Some((partition, shard.owned.read().clone()?));
        (0..).zip(&self.shards).filter_map(owned).collect()
    }
}
