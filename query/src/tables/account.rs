//! The rows of one account, straight from Parquet.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use futures::stream::{self, StreamExt, TryStreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};

use super::data::Data;
use super::footers::{ReadCaches, runs_only};
use super::object_reads::{ObjectReads, Opened};
use super::select::{Selection, candidates, mask};
use super::state::DataFileRef;
use super::{Table, TableError, conform};

/// Files of a bucket read at a time.
const CONCURRENT_FILES: usize = 16;
/// For one file, whatever the store's own client does within it: somebody waits for a mailbox.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Emails to look for.
pub(super) struct Wanted {
    times_us: HashSet<i64>,
    ids: HashSet<String>,
}

impl Wanted {
    pub(super) fn new(emails: &[(i64, String)]) -> Self {
        let (times_us, ids) = emails.iter().cloned().unzip();
        Self { times_us, ids }
    }
}

/// A read of one account, file by file.
pub(super) struct AccountRead {
    pub(super) table: Table,
    pub(super) account_id: String,
    pub(super) schema: SchemaRef,
    pub(super) wanted: Option<Arc<Wanted>>,
    pub(super) caches: Arc<ReadCaches>,
}

impl AccountRead {
    /// The account's rows in the files.
    pub(super) async fn all(self, files: Vec<Arc<DataFileRef>>) -> Result<Vec<RecordBatch>, TableError> {
        let caches = self.caches.clone();
        if let Some(objects) = &caches.objects {
            return Arc::new(self).of_objects(objects, files).await;
        }
        tokio::task::spawn_blocking(move || {
            let mut batches = Vec::new();
            for file in files {
                self.file(&file, Data::open(&file.path)?, &mut batches)?;
            }
            Ok(batches)
        })
        .await?
    }

    async fn of_objects(
        self: Arc<Self>,
        objects: &ObjectReads,
        files: Vec<Arc<DataFileRef>>,
    ) -> Result<Vec<RecordBatch>, TableError> {
        let reads = files.into_iter().map(|file| {
            let read = self.clone();
            async move {
                let rows = tokio::time::timeout(TIMEOUT, read.of_object(objects, file.clone())).await;
                rows.map_err(|_| file.unread(format!("no answer in {} s", TIMEOUT.as_secs())))?
            }
        });
        let batches: Vec<Vec<RecordBatch>> =
            stream::iter(reads).buffer_unordered(CONCURRENT_FILES).try_collect().await?;
        Ok(batches.into_iter().flatten().collect())
    }

    async fn of_object(
        self: Arc<Self>,
        objects: &ObjectReads,
        file: Arc<DataFileRef>,
    ) -> Result<Vec<RecordBatch>, TableError> {
        match objects.open(&file).await? {
            Opened::Large(reader) => self.large(&file, reader).await,
            Opened::Small(data) => {
                tokio::task::spawn_blocking(move || {
                    let mut batches = Vec::new();
                    self.file(&file, data, &mut batches)?;
                    Ok(batches)
                })
                .await?
            }
        }
    }

    /// Reads a file at hand. Blocks.
    fn file(&self, file: &DataFileRef, data: Data, batches: &mut Vec<RecordBatch>) -> Result<(), TableError> {
        let footer = self.caches.footer(&file.path, &data)?;
        let mut selection = Selection::default();
        for index in candidates(&footer, &self.account_id) {
            let runs = self.caches.runs(&file.path, &data, &footer, index)?;
            selection.add(index, &footer, &runs, &self.account_id);
        }
        if selection.is_empty() {
            return Ok(());
        }
        let (mask, filter) = (mask(&footer, &self.schema), self.filter(&footer, selection.is_sorted));
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(data, footer);
        for batch in selection.apply(builder).with_row_filter(filter).with_projection(mask).build()? {
            self.keep(&batch?, batches)?;
        }
        Ok(())
    }

    /// Reads a file by ranges: those of a step together.
    async fn large(&self, file: &DataFileRef, mut reader: ParquetObjectReader) -> Result<Vec<RecordBatch>, TableError> {
        let footer = self.caches.large_footer(&file.path, &mut reader).await?;
        let builder = || ParquetRecordBatchStreamBuilder::new_with_metadata(reader.clone(), footer.clone());
        let mut selection = Selection::default();
        for index in candidates(&footer, &self.account_id) {
            let runs = match self.caches.known_runs(&file.path, index) {
                Some(runs) => runs,
                None => {
                    let batches: Vec<_> = runs_only(builder(), &footer, index).build()?.try_collect().await?;
                    self.caches.keep_runs(&file.path, index, &batches)
                }
            };
            selection.add(index, &footer, &runs, &self.account_id);
        }
        let mut batches = Vec::new();
        if selection.is_empty() {
            return Ok(batches);
        }
        let (mask, filter) = (mask(&footer, &self.schema), self.filter(&footer, selection.is_sorted));
        let mut rows = selection.apply(builder()).with_row_filter(filter).with_projection(mask).build()?;
        while let Some(batch) = rows.try_next().await? {
            self.keep(&batch, &mut batches)?;
        }
        Ok(batches)
    }

    fn keep(&self, batch: &RecordBatch, batches: &mut Vec<RecordBatch>) -> Result<(), TableError> {
        if batch.num_rows() > 0 {
            batches.push(conform(self.table, batch, &self.schema)?);
        }
        Ok(())
    }

    /// What the selection of rows does not say yet: the cheapest test first.
    fn filter(&self, footer: &ArrowReaderMetadata, is_sorted: bool) -> RowFilter {
        let descriptor = footer.metadata().file_metadata().schema_descr();
        let column = |name| ProjectionMask::columns(descriptor, [name]);
        let mut predicates: Vec<Box<dyn ArrowPredicate>> = Vec::new();
        if !is_sorted {
            let account_id = self.account_id.clone();
            let test = move |batch: RecordBatch| texts(&batch, |text| text == account_id);
            predicates.push(Box::new(ArrowPredicateFn::new(column("account_id"), test)));
        }
        if let Some(wanted) = self.wanted.clone() {
            let times = wanted.clone();
            predicates.push(Box::new(ArrowPredicateFn::new(column("received_at"), move |batch| {
                let array = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>();
                let array = array.ok_or_else(|| ArrowError::SchemaError("received_at is not a time".to_owned()))?;
                Ok(array.iter().map(|time| Some(time.is_some_and(|time| times.times_us.contains(&time)))).collect())
            })));
            let test = move |batch: RecordBatch| texts(&batch, |text| wanted.ids.contains(text));
            predicates.push(Box::new(ArrowPredicateFn::new(column("email_id"), test)));
        }
        RowFilter::new(predicates)
    }
}

fn texts(batch: &RecordBatch, test: impl Fn(&str) -> bool) -> Result<BooleanArray, ArrowError> {
    let array = batch.column(0).as_string_opt::<i32>();
    let array = array.ok_or_else(|| ArrowError::SchemaError("the column is not text".to_owned()))?;
    Ok(array.iter().map(|text| Some(text.is_some_and(&test))).collect())
}
