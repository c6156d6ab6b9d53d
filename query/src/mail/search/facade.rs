//! Search of an embedded node or of a cluster.

use std::path::Path;
use std::sync::Arc;

use millrace_storage::{BlobStore, Log};
use object_store::ObjectStore;

use super::error::SearchError;
use super::local::Local;
use super::query::TextQuery;
use super::rebuild::RebuildProgress;
use super::shards::{Shards, SharedOptions};
use crate::tables::Tables;

#[derive(Clone, Copy, Debug)]
pub struct SearchOptions {
    /// Memory for documents that are not committed, in bytes; at least 15 MB. In a cluster: of each shard that is written.
    pub writer_bytes: usize,
    /// Time between commits while there is new mail.
    pub commit_interval: std::time::Duration,
    /// Documents that are committed before the interval has passed.
    pub max_uncommitted: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { writer_bytes: 40 << 20, commit_interval: std::time::Duration::from_millis(400), max_uncommitted: 20_000 }
    }
}

/// The text index of all accounts, wherever it is.
pub struct Search {
    pub(super) form: Form,
}

pub(super) enum Form {
    Local(Local),
    Shared(Arc<Shards>),
}

impl Search {
    /// Opens the one index under `dir`, or makes an empty one: also when what is there was made by a version with other
    /// fields or terms, since an indexer fills it again.
    pub async fn open(dir: &Path, options: SearchOptions) -> Result<Arc<Self>, SearchError> {
        Ok(Arc::new(Self { form: Form::Local(Local::open(dir, options).await?) }))
    }

    /// Opens the shards under `prefix` of the object store, one for each of the `partitions` of `mailbox.changes`. `dir` is
    /// this process's own, and may be thrown away while it does not run.
    ///
    /// # Errors
    /// [`SearchError::Folder`] when the folder cannot be used, as while another process does.
    pub async fn open_shared(
        dir: &Path,
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        partitions: u32,
        options: SharedOptions,
    ) -> Result<Arc<Self>, SearchError> {
        let shards = Shards::open(dir, store, prefix, partitions, options).await?;
        Ok(Arc::new(Self { form: Form::Shared(Arc::new(shards)) }))
    }

    /// Ids of the account's emails that match, in no order. Emails destroyed a moment ago may still be among them.
    pub async fn search(self: &Arc<Self>, account_id: &str, query: &TextQuery) -> Result<Vec<String>, SearchError> {
        match &self.form {
            Form::Local(local) => local.index.search(account_id, query).await,
            Form::Shared(shards) => shards.search(account_id, query).await,
        }
    }

    /// How many documents there are, of all accounts; in a cluster, of the shards that this process has open.
    pub fn documents(&self) -> u64 {
        match &self.form {
            Form::Local(local) => local.index.documents(),
            Form::Shared(shards) => shards.documents(),
        }
    }

    /// Drops all documents and indexes what the tables hold. Until the end, searches answer from the old index.
    ///
    /// The one index is made again here, an [`Indexer`](super::Indexer) of this process makes way. Shards are made again
    /// by the indexers that own them, which must run: this asks them to, and waits.
    ///
    /// # Errors
    /// [`SearchError::Index`] while another process writes the one index; [`SearchError::Store`] when the object store
    /// cannot be asked. Giving up waiting takes nothing back.
    pub async fn rebuild(
        self: &Arc<Self>,
        tables: &Tables,
        blobs: &dyn BlobStore,
        log: &dyn Log,
        progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<RebuildProgress, SearchError> {
        match &self.form {
            Form::Local(local) => local.rebuild(tables, blobs, log, progress).await,
            Form::Shared(shards) => shards.rebuild(tables, progress).await,
        }
    }
}
