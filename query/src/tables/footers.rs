//! What is kept in memory of Parquet files: footers with page indexes, and the runs of accounts. Bounded by bytes, the
//! least recently used go first. Files never change, so nothing here goes stale.

use std::fs::File;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use lru::LruCache;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;

use super::TableError;
use super::runs::Runs;

/// The runs of a row group; `None` when its accounts are not sorted.
pub(super) type RunsRef = Arc<Option<Runs>>;

pub(super) struct ReadCaches {
    footers: Mutex<Bounded<Arc<str>, ArrowReaderMetadata>>,
    runs: Mutex<Bounded<(Arc<str>, usize), RunsRef>>,
}

impl ReadCaches {
    pub(super) fn new(limit_bytes: usize) -> Self {
        let half = limit_bytes / 2;
        Self { footers: Mutex::new(Bounded::new(half)), runs: Mutex::new(Bounded::new(half)) }
    }

    /// The footer and page index of an open file.
    pub(super) fn footer(&self, path: &Arc<str>, file: &File) -> Result<ArrowReaderMetadata, TableError> {
        if let Some(footer) = self.footers.lock().get(path) {
            return Ok(footer);
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let footer = ArrowReaderMetadata::load(file, options)?;
        let size = footer.metadata().memory_size();
        self.footers.lock().put(path.clone(), footer.clone(), size);
        Ok(footer)
    }

    /// The runs of accounts in a row group.
    pub(super) fn runs(
        &self,
        path: &Arc<str>,
        file: &File,
        footer: &ArrowReaderMetadata,
        row_group: usize,
    ) -> Result<RunsRef, TableError> {
        let key = (path.clone(), row_group);
        if let Some(runs) = self.runs.lock().get(&key) {
            return Ok(runs);
        }
        let mask = ProjectionMask::columns(footer.metadata().file_metadata().schema_descr(), ["account_id"]);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(clone(path, file)?, footer.clone())
            .with_row_groups(vec![row_group])
            .with_projection(mask)
            .with_batch_size(8192)
            .build()?;
        let batches = reader.collect::<Result<Vec<RecordBatch>, _>>()?;
        let runs: RunsRef = Arc::new(Runs::new(batches.iter().map(|batch| batch.column(0).as_string())));
        let size = runs.as_ref().as_ref().map_or(0, Runs::size_bytes);
        self.runs.lock().put(key, runs.clone(), size);
        Ok(runs)
    }
}

pub(super) fn open(path: &str) -> Result<File, TableError> {
    File::open(path).map_err(|source| TableError::File { path: path.to_owned(), source })
}

pub(super) fn clone(path: &str, file: &File) -> Result<File, TableError> {
    file.try_clone().map_err(|source| TableError::File { path: path.to_owned(), source })
}

/// A least-recently-used cache bounded by the bytes of its values.
struct Bounded<K: Hash + Eq, V> {
    entries: LruCache<K, (V, usize)>,
    used_bytes: usize,
    limit_bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    /// What an entry costs beyond its value.
    const ENTRY_BYTES: usize = 200;

    fn new(limit_bytes: usize) -> Self {
        Self { entries: LruCache::unbounded(), used_bytes: 0, limit_bytes }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    fn put(&mut self, key: K, value: V, size_bytes: usize) {
        let size_bytes = size_bytes + Self::ENTRY_BYTES;
        if size_bytes > self.limit_bytes {
            return;
        }
        if let Some((_, replaced)) = self.entries.put(key, (value, size_bytes)) {
            self.used_bytes -= replaced;
        }
        self.used_bytes += size_bytes;
        while self.used_bytes > self.limit_bytes {
            let Some((_, (_, freed))) = self.entries.pop_lru() else { return };
            self.used_bytes -= freed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_memory_is_bounded() {
        let mut cache = Bounded::new(3 * 300);
        for key in 0..3 {
            cache.put(key, key, 100);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.put(3, 3, 100);
        assert_eq!((cache.get(&0), cache.get(&1), cache.get(&3)), (Some(0), None, Some(3)));
        cache.put(4, 4, 10_000);
        assert_eq!((cache.get(&4), cache.used_bytes), (None, 900));
        cache.put(3, 3, 50);
        assert_eq!(cache.used_bytes, 850);
    }
}
