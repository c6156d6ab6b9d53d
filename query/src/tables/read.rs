//! One snapshot, read straight from Parquet: the rows of one account, or all of them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use futures::stream::{self, BoxStream, StreamExt};
use iceberg::spec::{Datum, PrimitiveLiteral, Transform};
use iceberg::transform::create_transform_function;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use tokio::sync::mpsc;

use super::footers::{self, ReadCaches};
use super::positions::Positions;
use super::state::{DataFileRef, TableState};
use super::write::project;
use super::{Table, TableError, conform};

const BATCH_ROWS: usize = 8192;

/// A table as it was at one commit; later commits do not change it. Cheap to clone.
#[derive(Clone)]
pub struct TableSnapshot {
    state: Arc<TableState>,
    caches: Arc<ReadCaches>,
}

impl TableSnapshot {
    pub(super) fn new(state: Arc<TableState>, caches: Arc<ReadCaches>) -> Self {
        Self { state, caches }
    }

    pub fn table(&self) -> Table {
        self.state.table
    }

    /// By partition of the topic, the offset of the next record to land: all before it is in this snapshot.
    pub fn positions(&self) -> &Positions {
        &self.state.positions
    }

    /// How many rows there are, without reading any.
    pub fn rows(&self) -> u64 {
        self.state.files().map(|file| file.rows).sum()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<DataFileRef>> {
        self.state.files()
    }

    pub(crate) fn field_id(&self, column: &str) -> Option<i32> {
        self.state.metadata.current_schema().field_id_by_name(column)
    }

    /// The transform and the source column of each partition field.
    pub(crate) fn partition_fields(&self) -> Vec<(Transform, String)> {
        let schema = self.state.metadata.current_schema();
        let fields = self.state.metadata.default_partition_spec().fields();
        let name = |id| schema.name_by_field_id(id).unwrap_or_default().to_owned();
        fields.iter().map(|field| (field.transform, name(field.source_id))).collect()
    }

    /// All rows of an account, these columns. Rows of one file come sorted; files come in no order.
    ///
    /// # Errors
    /// [`TableError::NotByAccount`] for tables of events, [`TableError::NoColumn`].
    pub async fn read_account(&self, account_id: &str, columns: &[&str]) -> Result<Vec<RecordBatch>, TableError> {
        self.read(account_id, columns, None).await
    }

    /// The rows of some emails of an account, each given with its `received_at` in microseconds since 1970 UTC.
    ///
    /// # Errors
    /// As [`TableSnapshot::read_account`].
    pub async fn read_emails(
        &self,
        account_id: &str,
        email_ids: &[(i64, String)],
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>, TableError> {
        if email_ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read(account_id, columns, Some(Arc::new(Wanted::new(email_ids)))).await
    }

    async fn read(
        &self,
        account_id: &str,
        columns: &[&str],
        wanted: Option<Arc<Wanted>>,
    ) -> Result<Vec<RecordBatch>, TableError> {
        let schema = project(self.state.table, columns)?;
        let files = self.files_of(account_id)?;
        let read = AccountRead {
            table: self.state.table,
            account_id: account_id.to_owned(),
            schema,
            wanted,
            caches: self.caches.clone(),
        };
        tokio::task::spawn_blocking(move || {
            let mut batches = Vec::new();
            for file in files {
                read.file(&file, &mut batches)?;
            }
            Ok(batches)
        })
        .await?
    }

    /// The files that may hold rows of the account.
    fn files_of(&self, account_id: &str) -> Result<Vec<Arc<DataFileRef>>, TableError> {
        let table = self.state.table;
        if table.is_event() {
            return Err(TableError::NotByAccount(table));
        }
        let bucket = self.bucket(account_id)?;
        let field_id = self.field_id("account_id").ok_or(TableError::NotByAccount(table))?;
        let may_hold = |file: &&Arc<DataFileRef>| {
            file.partition_value(0).is_none_or(|value| value == bucket)
                && file.bounds(field_id).is_none_or(|(lower, upper)| is_between(account_id, lower, upper))
        };
        Ok(self.files().filter(may_hold).cloned().collect())
    }

    pub(crate) fn bucket(&self, account_id: &str) -> Result<PrimitiveLiteral, TableError> {
        let spec = self.state.metadata.default_partition_spec();
        let field = spec.fields().first().ok_or(TableError::NotByAccount(self.state.table))?;
        let bucket = create_transform_function(&field.transform)?;
        Ok(bucket.transform_literal_result(&Datum::string(account_id))?.literal().clone())
    }

    /// All rows, these columns, file by file, in batches.
    ///
    /// # Errors
    /// [`TableError::NoColumn`]; the stream ends after an error in it.
    pub async fn scan(
        &self,
        columns: &[&str],
    ) -> Result<BoxStream<'static, Result<RecordBatch, TableError>>, TableError> {
        let schema = project(self.state.table, columns)?;
        let (sender, receiver) = mpsc::channel(4);
        let snapshot = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = snapshot.send_all(&schema, &sender) {
                // Nobody listens any more when this fails.
                let _ = sender.blocking_send(Err(error));
            }
        });
        let next =
            |mut receiver: mpsc::Receiver<_>| async move { receiver.recv().await.map(|batch| (batch, receiver)) };
        Ok(stream::unfold(receiver, next).boxed())
    }

    fn send_all(
        &self,
        schema: &SchemaRef,
        sender: &mpsc::Sender<Result<RecordBatch, TableError>>,
    ) -> Result<(), TableError> {
        for data in self.files() {
            let file = footers::open(&data.path)?;
            let footer = self.caches.footer(&data.path, &file)?;
            let mask = mask(&footer, schema);
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer);
            for batch in builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()? {
                let batch = conform(self.state.table, &batch?, schema);
                if sender.blocking_send(batch).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn is_between(account_id: &str, lower: &Datum, upper: &Datum) -> bool {
    match (lower.literal(), upper.literal()) {
        (PrimitiveLiteral::String(lower), PrimitiveLiteral::String(upper)) => {
            lower.as_str() <= account_id && account_id <= upper.as_str()
        }
        _ => true,
    }
}

/// Emails to look for.
struct Wanted {
    times_us: HashSet<i64>,
    ids: HashSet<String>,
}

impl Wanted {
    fn new(emails: &[(i64, String)]) -> Self {
        let (times_us, ids) = emails.iter().cloned().unzip();
        Self { times_us, ids }
    }
}

/// A read of one account, file by file. Blocks.
struct AccountRead {
    table: Table,
    account_id: String,
    schema: SchemaRef,
    wanted: Option<Arc<Wanted>>,
    caches: Arc<ReadCaches>,
}

impl AccountRead {
    fn file(&self, data: &DataFileRef, batches: &mut Vec<RecordBatch>) -> Result<(), TableError> {
        let file = footers::open(&data.path)?;
        let footer = self.caches.footer(&data.path, &file)?;
        let mut row_groups = Vec::new();
        let mut ranges = Vec::new();
        let mut rows_before = 0;
        let mut is_sorted = true;
        for (index, row_group) in footer.metadata().row_groups().iter().enumerate() {
            if !may_hold(row_group, &self.account_id) {
                continue;
            }
            let rows = row_group.num_rows() as usize;
            let range = match self.caches.runs(&data.path, &file, &footer, index)?.as_ref() {
                Some(runs) => runs.find(&self.account_id),
                None => {
                    is_sorted = false;
                    Some(0..rows)
                }
            };
            let Some(range) = range else { continue };
            row_groups.push(index);
            ranges.push(rows_before + range.start..rows_before + range.end);
            rows_before += rows;
        }
        if row_groups.is_empty() {
            return Ok(());
        }
        let filter = self.filter(&footer, is_sorted);
        self.rows(file, footer, row_groups, (ranges, rows_before), filter, batches)
    }

    fn rows(
        &self,
        file: std::fs::File,
        footer: ArrowReaderMetadata,
        row_groups: Vec<usize>,
        (ranges, rows): (Vec<Range<usize>>, usize),
        filter: RowFilter,
        batches: &mut Vec<RecordBatch>,
    ) -> Result<(), TableError> {
        let mask = mask(&footer, &self.schema);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer)
            .with_row_groups(row_groups)
            .with_row_selection(RowSelection::from_consecutive_ranges(ranges.into_iter(), rows))
            .with_row_filter(filter)
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()?;
        for batch in reader {
            let batch = batch?;
            if batch.num_rows() > 0 {
                batches.push(conform(self.table, &batch, &self.schema)?);
            }
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

/// The columns of the schema that the file has.
fn mask(footer: &ArrowReaderMetadata, schema: &SchemaRef) -> ProjectionMask {
    let theirs = footer.schema().fields().iter().enumerate();
    let roots = theirs.filter(|(_, field)| schema.column_with_name(field.name()).is_some()).map(|(index, _)| index);
    ProjectionMask::roots(footer.metadata().file_metadata().schema_descr(), roots)
}

/// Whether the row group's statistics let the account be in it. Cut-off bounds are still bounds.
fn may_hold(row_group: &RowGroupMetaData, account_id: &str) -> bool {
    let column = row_group.columns().iter().find(|column| column.column_path().string() == "account_id");
    let Some(Statistics::ByteArray(statistics)) = column.and_then(|column| column.statistics()) else { return true };
    let account_id = account_id.as_bytes();
    statistics.min_bytes_opt().is_none_or(|least| least <= account_id)
        && statistics.max_bytes_opt().is_none_or(|most| account_id <= most)
}
