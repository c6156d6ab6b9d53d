//! What is kept in memory of data files: footers with page indexes, the runs of accounts, and where files are in a bucket
//! whole small files. Bounded by bytes, the least recently used go first. Files never change, so nothing here goes
//! stale.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderBuilder, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::PageIndexPolicy;

use super::bounded::Bounded;
use super::data::Data;
use super::object_reads::ObjectReads;
use super::runs::Runs;
use super::storage::Files;
use super::{TableError, TableOptions};

/// The runs of a row group; `None` when its accounts are not sorted.
pub(super) type RunsRef = Arc<Option<Runs>>;

pub(super) struct ReadCaches {
    footers: Mutex<Bounded<Arc<str>, ArrowReaderMetadata>>,
    runs: Mutex<Bounded<(Arc<str>, usize), RunsRef>>,
    /// Where files are in a bucket.
    pub(super) objects: Option<ObjectReads>,
}

impl ReadCaches {
    pub(super) fn new(files: &Files, options: TableOptions) -> Self {
        let half = options.cache_bytes / 2;
        let objects = match files {
            Files::Local => None,
            Files::Objects(objects) => Some(ObjectReads::new(objects.clone(), options)),
        };
        Self { footers: Mutex::new(Bounded::new(half)), runs: Mutex::new(Bounded::new(half)), objects }
    }

    pub(super) fn known_footer(&self, path: &Arc<str>) -> Option<ArrowReaderMetadata> {
        self.footers.lock().get(path)
    }

    pub(super) fn keep_footer(&self, path: &Arc<str>, footer: &ArrowReaderMetadata) {
        self.footers.lock().put(path.clone(), footer.clone(), footer.metadata().memory_size());
    }

    /// The footer and page index of a file at hand.
    pub(super) fn footer(&self, path: &Arc<str>, data: &Data) -> Result<ArrowReaderMetadata, TableError> {
        if let Some(footer) = self.known_footer(path) {
            return Ok(footer);
        }
        let footer = ArrowReaderMetadata::load(data, footer_options())?;
        self.keep_footer(path, &footer);
        Ok(footer)
    }

    pub(super) fn known_runs(&self, path: &Arc<str>, row_group: usize) -> Option<RunsRef> {
        self.runs.lock().get(&(path.clone(), row_group))
    }

    /// Finds the runs in what [`runs_only`] read.
    pub(super) fn keep_runs(&self, path: &Arc<str>, row_group: usize, batches: &[RecordBatch]) -> RunsRef {
        let runs: RunsRef = Arc::new(Runs::new(batches.iter().map(|batch| batch.column(0).as_string())));
        let size = runs.as_ref().as_ref().map_or(0, Runs::size_bytes);
        self.runs.lock().put((path.clone(), row_group), runs.clone(), size);
        runs
    }

    /// The runs of accounts in a row group of a file at hand.
    pub(super) fn runs(
        &self,
        path: &Arc<str>,
        data: &Data,
        footer: &ArrowReaderMetadata,
        row_group: usize,
    ) -> Result<RunsRef, TableError> {
        if let Some(runs) = self.known_runs(path, row_group) {
            return Ok(runs);
        }
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(data.clone(), footer.clone());
        let batches = runs_only(builder, footer, row_group).build()?.collect::<Result<Vec<RecordBatch>, _>>()?;
        Ok(self.keep_runs(path, row_group, &batches))
    }
}

pub(super) fn footer_options() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional)
}

/// Reads the accounts of a row group and nothing else.
pub(super) fn runs_only<T>(
    builder: ArrowReaderBuilder<T>,
    footer: &ArrowReaderMetadata,
    row_group: usize,
) -> ArrowReaderBuilder<T> {
    let mask = ProjectionMask::columns(footer.metadata().file_metadata().schema_descr(), ["account_id"]);
    builder.with_row_groups(vec![row_group]).with_projection(mask).with_batch_size(8192)
}
