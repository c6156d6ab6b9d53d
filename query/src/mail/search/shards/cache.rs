//! Objects on this process's disk, by partition. What is there is whole and checked; all of it can be thrown away.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tantivy::directory::MmapDirectory;

use super::manifest::Object;
use super::store::ShardStore;
use crate::mail::search::error::SearchError;

/// Objects fetched at the same time for a shard.
const FETCHES: usize = 4;

pub(super) struct Cache {
    dir: PathBuf,
    max_bytes: u64,
    shards: Mutex<HashMap<u32, Held>>,
    /// Held as long as the folder is ours.
    _lock: fs::File,
}

/// What the disk has of a shard.
struct Held {
    bytes: u64,
    used_at: Instant,
    /// Its owner writes here, so it stays.
    is_owned: bool,
}

impl Cache {
    /// Takes the folder for this process, and clears what an owner of before had not published.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock = fs::File::create(dir.join("lock"))?;
        lock.try_lock().map_err(|error| {
            io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{} is used by another process: {error}", dir.display()),
            )
        })?;
        let mut shards = HashMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Some(partition) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let bytes = tidy(&entry.path())?;
            shards.insert(partition, Held { bytes, used_at: Instant::now(), is_owned: false });
        }
        Ok(Self { dir: dir.to_owned(), max_bytes, shards: Mutex::new(shards), _lock: lock })
    }

    /// The folder of a shard's objects.
    pub(super) fn objects(&self, partition: u32) -> Result<(PathBuf, MmapDirectory), SearchError> {
        let path = self.dir.join(partition.to_string()).join("objects");
        fs::create_dir_all(&path)?;
        let objects = MmapDirectory::open(&path).map_err(tantivy::TantivyError::from)?;
        Ok((path, objects))
    }

    /// A new folder for an owner to write in; those of earlier claims go.
    pub(super) fn work(&self, partition: u32, epoch: u64) -> io::Result<PathBuf> {
        let shard = self.dir.join(partition.to_string());
        remove_work(&shard)?;
        let path = shard.join(format!("work-{epoch}"));
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Fetches those objects that are not here.
    pub(super) async fn fetch(&self, store: &ShardStore, objects: &[Object]) -> Result<(), SearchError> {
        let (path, _) = self.objects(store.partition)?;
        let missing: Vec<Object> = objects.iter().filter(|object| !has(&path, object)).cloned().collect();
        let fetch = |object: Object| {
            let target = path.join(&object.name);
            async move {
                store.download(&object, &target).await?;
                metrics::counter!("millrace_search_fetched_bytes_total").increment(object.bytes);
                Ok::<_, SearchError>(())
            }
        };
        futures::stream::iter(missing.into_iter().map(fetch)).buffer_unordered(FETCHES).try_collect().await
    }

    /// Drops objects of a shard that are not among these, tells how much is left, and makes room among other shards.
    pub(super) fn keep_only(&self, partition: u32, names: &HashSet<&str>) -> io::Result<()> {
        let shard = self.dir.join(partition.to_string());
        let mut bytes = 0;
        for entry in fs::read_dir(shard.join("objects"))? {
            let entry = entry?;
            let is_named = entry.file_name().to_str().is_some_and(|name| names.contains(name));
            // One that is being written has no name yet.
            if is_named || entry.file_name().to_string_lossy().starts_with('.') {
                bytes += entry.metadata()?.len();
            } else {
                // Whoever has it open keeps it.
                fs::remove_file(entry.path())?;
            }
        }
        self.held(partition, |held| held.bytes = bytes);
        self.make_room(partition);
        Ok(())
    }

    /// Notes that a shard was searched.
    pub(super) fn used(&self, partition: u32) {
        self.held(partition, |_| {});
    }

    /// Notes that a shard is ours to write, or no longer.
    pub(super) fn set_owned(&self, partition: u32, is_owned: bool) {
        self.held(partition, |held| held.is_owned = is_owned);
    }

    pub(super) fn is_owned(&self, partition: u32) -> bool {
        self.shards.lock().get(&partition).is_some_and(|held| held.is_owned)
    }

    fn held(&self, partition: u32, change: impl FnOnce(&mut Held)) {
        let mut shards = self.shards.lock();
        let held = shards.entry(partition).or_insert(Held { bytes: 0, used_at: Instant::now(), is_owned: false });
        held.used_at = Instant::now();
        change(held);
    }

    /// Throws away the shards that were not searched for the longest time, but never `partition`.
    fn make_room(&self, partition: u32) {
        let mut shards = self.shards.lock();
        let mut bytes: u64 = shards.values().map(|held| held.bytes).sum();
        while bytes > self.max_bytes {
            let others = shards.iter().filter(|(other, held)| **other != partition && !held.is_owned && held.bytes > 0);
            let Some((&oldest, _)) = others.min_by_key(|(_, held)| held.used_at) else { break };
            let folder = self.dir.join(oldest.to_string()).join("objects");
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "room for search cannot be made");
            }
            bytes -= shards.remove(&oldest).map_or(0, |held| held.bytes);
            metrics::counter!("millrace_search_shards_evicted_total").increment(1);
        }
        metrics::gauge!("millrace_search_cached_bytes").set(bytes as f64);
    }

    /// Whether a shard's objects are still here.
    pub(super) fn has_shard(&self, partition: u32) -> bool {
        self.shards.lock().contains_key(&partition)
    }
}

/// Whether the object's file is there; it has its name once it is whole.
fn has(path: &Path, object: &Object) -> bool {
    fs::metadata(path.join(&object.name)).is_ok_and(|found| found.len() == object.bytes)
}

fn remove_work(shard: &Path) -> io::Result<()> {
    for entry in fs::read_dir(shard).into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("work-") {
            // A merge that nobody waits for may still write there.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Removes what a former process left half done; returns the bytes of the rest.
fn tidy(shard: &Path) -> io::Result<u64> {
    remove_work(shard)?;
    let mut bytes = 0;
    for entry in fs::read_dir(shard.join("objects")).into_iter().flatten() {
        let entry = entry?;
        match entry.file_name().to_string_lossy().starts_with('.') {
            true => fs::remove_file(entry.path())?,
            false => bytes += entry.metadata()?.len(),
        }
    }
    Ok(bytes)
}
