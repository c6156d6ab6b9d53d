//! What an owner has committed, to the object store: new objects first, then the manifest that names them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tantivy::IndexMeta;
use tantivy::index::SegmentComponent;
use tokio::sync::watch;

use super::Shards;
use super::cache::Cache;
use super::directory::ShardDirectory;
use super::manifest::{Manifest, Object, Rebuilt};
use super::store::{Look, ShardStore, Stored};
use crate::backoff::Backoff;
use crate::mail::search::error::SearchError;
use crate::mail::search::index::TextIndex;

/// How often an owner that publishes nothing sees whether the shard is still its own.
const CHECK: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Objects on their way at the same time.
const UPLOADS: usize = 3;
/// Objects deleted after a publication.
const DELETIONS: usize = 8;

/// Files without which a segment cannot be opened.
const NEEDED: [SegmentComponent; 5] = [
    SegmentComponent::Postings,
    SegmentComponent::Terms,
    SegmentComponent::FastFields,
    SegmentComponent::FieldNorms,
    SegmentComponent::Store,
];

/// How far a shard is published.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    /// Of those committed by this owner.
    pub(super) documents: u64,
    pub(super) position: u64,
    /// Set when nothing more will be.
    pub(super) failure: Option<Arc<SearchError>>,
}

struct Known {
    object: Object,
    is_stored: bool,
}

pub(super) struct Publisher {
    store: ShardStore,
    cache: Arc<Cache>,
    grace: Duration,
    /// The folder of objects.
    objects: PathBuf,
    directory: ShardDirectory,
    index: Arc<TextIndex>,
    /// What the store has, and what it calls it.
    stored: Stored,
    /// Whether the index has what is not published.
    is_behind: bool,
    /// Objects with files of the index.
    known: BTreeMap<String, Known>,
    /// Objects that are named no more, and when they may go.
    leftovers: Vec<(Instant, String)>,
}

impl Publisher {
    /// Goes on from `stored`. `leftovers` are objects that no manifest can name any more.
    pub(super) fn new(
        shards: &Shards,
        store: ShardStore,
        directory: ShardDirectory,
        index: Arc<TextIndex>,
        stored: Stored,
        leftovers: Vec<String>,
    ) -> Result<Self, SearchError> {
        let known = |object: &Object| (object.name.clone(), Known { object: object.clone(), is_stored: true });
        let until = Instant::now() + shards.options.grace;
        Ok(Self {
            cache: shards.cache.clone(),
            grace: shards.options.grace,
            objects: shards.cache.objects(store.partition)?.0,
            directory,
            index,
            is_behind: false,
            known: stored.manifest.objects.iter().map(known).collect(),
            leftovers: leftovers.into_iter().map(|name| (until, name)).collect(),
            store,
            stored,
        })
    }

    /// Notes a rebuild that is done, to be published with it.
    pub(super) fn rebuilt(&mut self, rebuilt: Rebuilt) {
        (self.stored.manifest.rebuild, self.stored.manifest.rebuilt) = (None, Some(rebuilt));
        self.is_behind = true;
    }

    /// How far others can see the shard.
    pub(super) fn position(&self) -> u64 {
        self.stored.manifest.position(self.store.partition).ok().flatten().unwrap_or(0)
    }

    /// Runs until its owner goes, or until it can publish no more.
    pub(super) async fn run(mut self, mut commits: watch::Receiver<u64>, published: watch::Sender<Published>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let outcome = match self.is_behind {
                true => {
                    let documents = *commits.borrow_and_update();
                    self.publish().await.map(|()| {
                        let position = self.position();
                        published.send_replace(Published { documents, position, failure: None });
                    })
                }
                false => self.check().await,
            };
            let partition = self.store.partition;
            match outcome {
                Ok(()) => backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
                Err(SearchError::Store(error)) => {
                    let pause = backoff.pause();
                    tracing::warn!(partition, %error, pause_ms = pause.as_millis(), "search is not published");
                    metrics::counter!("millrace_search_failures_total", "kind" => "publish").increment(1);
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(error) => {
                    published.send_modify(|published| published.failure = Some(Arc::new(error)));
                    return;
                }
            }
            self.sweep().await;
            tokio::select! {
                changed = commits.changed() => match changed {
                    Ok(()) => self.is_behind = true,
                    Err(_) => return,
                },
                () = tokio::time::sleep(CHECK) => {}
            }
        }
    }

    /// Whether the manifest is still ours: one without new mail would not notice.
    async fn check(&mut self) -> Result<(), SearchError> {
        match self.store.look(Some(&self.stored.version)).await? {
            Look::Same => Ok(()),
            Look::Missing => Err(self.store.fenced(None)),
            Look::New(found) if found.manifest.claim == self.stored.manifest.claim => {
                self.stored.version = found.version;
                Ok(())
            }
            Look::New(found) => Err(self.store.fenced(Some(*found))),
        }
    }

    async fn publish(&mut self) -> Result<(), SearchError> {
        let begun = Instant::now();
        // Also when this fails, objects and a manifest may come to be there under what is named after it.
        self.stored.manifest.publication += 1;
        let index = self.index.clone();
        // Its files stay while it is held.
        let meta = tokio::task::spawn_blocking(move || index.committed()).await??;
        self.bundle(self.bundles(&meta)).await?;
        let named = self.named(&meta)?;
        self.upload(&named).await?;
        let known = self.known.values().map(|known| &known.object);
        let manifest = Manifest {
            meta: serde_json::to_value(&meta).map_err(std::io::Error::from)?,
            objects: known.filter(|object| named.contains(object.name.as_str())).cloned().collect(),
            ..self.stored.manifest.clone()
        };
        self.stored = self.store.replace(Some(self.stored.version.clone()), manifest).await?;
        self.is_behind = false;
        self.forget(&named);
        metrics::histogram!("millrace_search_publish_seconds").record(begun.elapsed());
        Ok(())
    }

    /// Makes objects of the files that are in none.
    async fn bundle(&mut self, bundles: BTreeMap<String, Vec<PathBuf>>) -> Result<(), SearchError> {
        for (name, files) in bundles {
            let (directory, target) = (self.directory.clone(), self.objects.join(&name));
            let work = move || directory.bundle(&files, &target, name);
            let object = tokio::task::spawn_blocking(work).await??;
            self.known.insert(object.name.clone(), Known { object, is_stored: false });
        }
        Ok(())
    }

    /// Files that are in no object, by the name of that to make: one of each new segment, and one of all deletions in older
    /// ones.
    fn bundles(&self, meta: &IndexMeta) -> BTreeMap<String, Vec<PathBuf>> {
        let Manifest { epoch, publication, .. } = self.stored.manifest;
        let mut bundles: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let files = meta.list_segment_files();
        for segment in &meta.segments {
            let id = segment.id().uuid_string();
            let is_new = |file: &&PathBuf| is_of(file, &id) && self.directory.is_unbundled(file);
            let new: Vec<PathBuf> = files.iter().filter(is_new).cloned().collect();
            let has_documents = new.iter().any(|file| file.extension().is_none_or(|extension| extension != "del"));
            let name = match has_documents {
                true => format!("{epoch:08}-{id}"),
                false => format!("{epoch:08}-{publication:08}-deletes"),
            };
            if !new.is_empty() {
                bundles.entry(name).or_default().extend(new);
            }
        }
        bundles
    }

    /// The objects that have the files of an index.
    fn named(&self, meta: &IndexMeta) -> Result<HashSet<Arc<str>>, SearchError> {
        let mut named: HashSet<Arc<str>> = HashSet::new();
        for segment in &meta.segments {
            let deletes = segment.has_deletes().then_some(SegmentComponent::Delete);
            for component in NEEDED.into_iter().chain(deletes) {
                let file = segment.relative_path(component);
                let object = self.directory.object_of(&file).filter(|object| self.known.contains_key(&**object));
                // As when the disk was cleared under us.
                let missing = || SearchError::Folder(std::io::Error::other(format!("{} is gone", file.display())));
                named.insert(object.ok_or_else(missing)?);
            }
        }
        let files = meta.list_segment_files();
        named.extend(files.iter().filter_map(|file| self.directory.object_of(file)));
        Ok(named)
    }

    /// Stores the objects that the next manifest names.
    async fn upload(&mut self, named: &HashSet<Arc<str>>) -> Result<(), SearchError> {
        let is_new = |known: &&Known| !known.is_stored && named.contains(known.object.name.as_str());
        let new: Vec<Object> = self.known.values().filter(is_new).map(|known| known.object.clone()).collect();
        let upload = |object: Object| {
            let (store, file) = (self.store.clone(), self.objects.join(&object.name));
            async move { store.upload(&object, &file).await.map(|()| object) }
        };
        let mut uploads = futures::stream::iter(new.into_iter().map(upload)).buffer_unordered(UPLOADS);
        let mut stored = Vec::new();
        let mut outcome = Ok(());
        while let Some(upload) = uploads.next().await {
            match upload {
                Ok(object) => stored.push(object),
                Err(error) => outcome = Err(error),
            }
        }
        drop(uploads);
        for object in stored {
            metrics::counter!("millrace_search_published_bytes_total").increment(object.bytes);
            self.known.entry(object.name).and_modify(|known| known.is_stored = true);
        }
        outcome
    }

    /// Lets go of objects that the manifest no longer names.
    fn forget(&mut self, named: &HashSet<Arc<str>>) {
        let until = Instant::now() + self.grace;
        let gone = self.known.extract_if(.., |name, _| !named.contains(name.as_str()));
        let stored = gone.filter(|(_, known)| known.is_stored).map(|(name, _)| (until, name));
        self.leftovers.extend(stored);
        // The index may have one open for a merge that is going on.
        let shown = self.directory.objects();
        let keep = named.iter().chain(&shown).map(|name| &**name).collect();
        if let Err(error) = self.cache.keep_only(self.store.partition, &keep) {
            tracing::warn!(partition = self.store.partition, %error, "room for search cannot be made");
        }
    }

    /// Deletes some of what has been named no more for long enough.
    async fn sweep(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.leftovers.extract_if(.., |(until, _)| *until <= now).take(DELETIONS).collect();
        let mut deletions = Vec::new();
        for (_, name) in &due {
            deletions.push(self.store.delete(name));
        }
        let deleted = futures::future::join_all(deletions).await;
        for ((_, name), deleted) in due.into_iter().zip(deleted) {
            if let Err(error) = deleted {
                tracing::warn!(partition = self.store.partition, name, %error, "an old object of search is left");
                self.leftovers.push((now + CHECK, name));
            }
        }
    }
}

fn is_of(file: &Path, segment: &str) -> bool {
    file.to_str().is_some_and(|name| name.starts_with(segment))
}
