//! A shard that another process may be writing: searched from what the object store names, refreshed by whoever searches.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use object_store::UpdateVersion;
use parking_lot::Mutex;

use super::cache::Cache;
use super::directory::ShardDirectory;
use super::manifest::Manifest;
use super::store::{Look, ShardStore};
use crate::mail::search::error::SearchError;
use crate::mail::search::index::TextIndex;

/// Times that objects may be gone because a newer manifest names others.
const ATTEMPTS: usize = 4;
/// How long a search waits for what is new when it has something older.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one waits that has nothing.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// Until a store that did not answer is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Remote {
    store: ShardStore,
    cache: Arc<Cache>,
    interval: Duration,
    state: Mutex<State>,
    /// Held while objects come or go, by a refresh or by an owner that restores.
    pub(super) files: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// How the last look went, which stands until then.
    looked: Option<(Outcome, Instant)>,
    refresh: Option<Refresh>,
}

#[derive(Clone)]
struct Current {
    index: Arc<TextIndex>,
    version: UpdateVersion,
}

type Outcome = Result<(), Failure>;
/// One that many searches wait for.
type Refresh = Shared<BoxFuture<'static, Outcome>>;

#[derive(Clone, Debug)]
struct Failure {
    reason: String,
    /// Waiting does not help; what is here may lack mail for ever.
    is_lasting: bool,
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Self {
        let is_lasting = matches!(error, SearchError::Damaged { .. } | SearchError::NotReady { .. });
        Self { reason: error.to_string(), is_lasting }
    }
}

impl Remote {
    pub(super) fn new(store: ShardStore, cache: Arc<Cache>, interval: Duration) -> Self {
        Self { store, cache, interval, state: Mutex::default(), files: tokio::sync::Mutex::default() }
    }

    /// What was opened last.
    pub(super) fn opened(&self) -> Option<Arc<TextIndex>> {
        self.state.lock().current.as_ref().map(|current| current.index.clone())
    }

    /// Closes the index, so that its files can go.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        (state.current, state.looked) = (None, None);
    }

    /// The shard as it was a moment ago; older when the store does not answer.
    pub(super) async fn index(self: &Arc<Self>) -> Result<Arc<TextIndex>, SearchError> {
        let (refresh, patience) = self.refreshing();
        let late = |_| Err(Failure { reason: "the object store is slow".to_owned(), is_lasting: false });
        let outcome = tokio::time::timeout(patience, refresh).await.unwrap_or_else(late);
        match (outcome, self.opened()) {
            (Ok(()), Some(index)) => Ok(index),
            (Err(failure), Some(index)) if !failure.is_lasting => {
                tracing::debug!(partition = self.store.partition, reason = failure.reason, "search may lack new mail");
                metrics::counter!("millrace_search_stale_total").increment(1);
                Ok(index)
            }
            (Err(failure), _) => Err(self.unavailable(failure.reason)),
            (Ok(()), None) => Err(self.unavailable("its files were thrown away meanwhile".to_owned())),
        }
    }

    fn unavailable(&self, reason: String) -> SearchError {
        SearchError::Unavailable { partition: self.store.partition, reason }
    }

    /// What tells how fresh the index is, and for how long to wait for that.
    fn refreshing(self: &Arc<Self>) -> (Refresh, Duration) {
        let mut state = self.state.lock();
        let patience = if state.current.is_some() { PATIENCE } else { FIRST_PATIENCE };
        if let Some(refresh) = &state.refresh {
            return (refresh.clone(), patience);
        }
        if let Some((outcome, _)) = state.looked.as_ref().filter(|(_, until)| *until > Instant::now()) {
            return (std::future::ready(outcome.clone()).boxed().shared(), patience);
        }
        // A task of its own, which a search that goes away does not take with it.
        let remote = self.clone();
        let task = tokio::spawn(async move { remote.refresh().await });
        let ended = |error| Err(Failure { reason: format!("a refresh ended early: {error}"), is_lasting: false });
        let refresh = async move { task.await.unwrap_or_else(ended) }.boxed().shared();
        state.refresh = Some(refresh.clone());
        (refresh, patience)
    }

    async fn refresh(&self) -> Outcome {
        let _files = self.files.lock().await;
        let begun = Instant::now();
        let outcome = self.catch_up().await.map_err(Failure::from);
        metrics::histogram!("millrace_search_refresh_seconds").record(begun.elapsed());
        let pause = match &outcome {
            Ok(()) => self.interval,
            Err(failure) => {
                tracing::warn!(partition = self.store.partition, reason = failure.reason, "search is not refreshed");
                RETRY_PAUSE
            }
        };
        let mut state = self.state.lock();
        state.looked = Some((outcome.clone(), Instant::now() + pause));
        state.refresh = None;
        outcome
    }

    async fn catch_up(&self) -> Result<(), SearchError> {
        for attempt in 1.. {
            let known = self.state.lock().current.as_ref().map(|current| current.version.clone());
            let stored = match self.store.look(known.as_ref()).await? {
                Look::Same => return Ok(()),
                Look::Missing => return Err(self.store.not_ready("no indexer has made it")),
                Look::New(stored) => stored,
            };
            match self.open(&stored.manifest).await {
                Ok(index) => {
                    let version = stored.version;
                    self.state.lock().current = Some(Current { index, version });
                    return Ok(());
                }
                // Merged away after the manifest was read: a newer one names others.
                Err(SearchError::Missing { .. }) if attempt < ATTEMPTS => {}
                Err(SearchError::Missing { object, .. }) => return Err(self.store.damaged(&object, "it is gone")),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn open(&self, manifest: &Manifest) -> Result<Arc<TextIndex>, SearchError> {
        if !manifest.has_our_fields() {
            return Err(self.store.not_ready("another version has made it"));
        }
        if manifest.rebuild.is_some() && manifest.position(self.store.partition)?.is_none() {
            return Err(self.store.not_ready("it is being made from the tables"));
        }
        self.cache.fetch(&self.store, &manifest.objects).await?;
        let index = open(&self.store, &self.cache, manifest.clone()).await?;
        // An owner also has objects that are not named yet.
        if !self.cache.is_owned(self.store.partition) {
            let names: HashSet<&str> = manifest.objects.iter().map(|object| object.name.as_str()).collect();
            self.cache.keep_only(self.store.partition, &names)?;
        }
        Ok(index)
    }
}

/// Opens what a manifest names, whose objects are here.
async fn open(store: &ShardStore, cache: &Cache, manifest: Manifest) -> Result<Arc<TextIndex>, SearchError> {
    let (_, objects) = cache.objects(store.partition)?;
    tokio::task::spawn_blocking(move || {
        let directory = ShardDirectory::reading(objects, manifest.meta.to_string().into_bytes());
        for object in &manifest.objects {
            directory.add(&object.name)?;
        }
        TextIndex::open(directory)
    })
    .await?
}
