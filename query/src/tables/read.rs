//! One snapshot, read straight from Parquet: the rows of one account, or all of them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::BoxStream;
use iceberg::spec::{Datum, PrimitiveLiteral, Transform};
use iceberg::transform::create_transform_function;

use super::account::{AccountRead, Wanted};
use super::footers::ReadCaches;
use super::positions::Positions;
use super::state::{DataFileRef, TableState};
use super::write::project;
use super::{Table, TableError, scan};

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
        let (table, caches) = (self.state.table, self.caches.clone());
        AccountRead { table, account_id: account_id.to_owned(), schema, wanted, caches }.all(files).await
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
        let files = self.files().cloned().collect();
        Ok(scan::scan(self.state.table, files, schema, self.caches.clone()))
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
