//! Rows to Parquet files: sorted, one file per partition value, synced.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Schema as ArrowSchema;
use futures::future::join_all;
use iceberg::arrow::{RecordBatchPartitionSplitter, schema_to_arrow_schema};
use iceberg::io::FileIO;
use iceberg::spec::{DataContentType, DataFile, PartitionKey, SchemaRef, TableMetadataRef};
use iceberg::writer::file_writer::{FileWriter, FileWriterBuilder, ParquetWriterBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::schema::{columns, sort_columns};
use super::{Table, TableError, arrow_schema, conform};

/// Rows of a page: what a point read decodes at least.
const PAGE_ROWS: usize = 1024;
const ROW_GROUP_ROWS: usize = 65_536;
/// Files written at a time: enough that their syncs overlap.
const CONCURRENT_FILES: usize = 8;

/// Writes the rows to new files, which no snapshot names yet. None when there are no rows. When it is dropped, nothing more
/// is written.
///
/// # Errors
/// [`TableError::Schema`] and [`TableError::NoColumn`] when the rows do not fit; files written before an error stay
/// behind unnamed.
pub(super) async fn write(
    table: Table,
    metadata: &TableMetadataRef,
    io: &FileIO,
    batches: Vec<RecordBatch>,
) -> Result<Vec<DataFile>, TableError> {
    let for_split = metadata.clone();
    let parts = tokio::task::spawn_blocking(move || split(table, &for_split, &batches)).await??;
    let permits = Arc::new(Semaphore::new(CONCURRENT_FILES));
    // A thread that has begun a file does not end by itself with the one who waits for it.
    let given_up = CancellationToken::new();
    let _give_up = given_up.clone().drop_guard();
    let files = parts.into_iter().map(|(key, rows)| {
        let given_up = given_up.clone();
        let (io, schema, permits) = (io.clone(), metadata.current_schema().clone(), permits.clone());
        let folder = format!("{}/data/{}", metadata.location(), key.to_path());
        let spec = metadata.default_partition_spec_id();
        async move {
            let _permit = permits.acquire_owned().await;
            // Encoding takes a core for a while: off the runtime's own threads.
            let handle = Handle::current();
            let file = move || {
                let file = write_file(table, &io, schema, &folder, spec, &key, &rows);
                handle.block_on(given_up.run_until_cancelled(file))
            };
            // Whoever waits has not given up.
            let written = tokio::task::spawn_blocking(file).await?;
            written.unwrap_or_else(|| Err(TableError::Schema { table, message: "a file was given up".to_owned() }))
        }
    });
    join_all(files).await.into_iter().collect()
}

/// The rows sorted and split by partition value.
fn split(
    table: Table,
    metadata: &TableMetadataRef,
    batches: &[RecordBatch],
) -> Result<Vec<(PartitionKey, RecordBatch)>, TableError> {
    let plain = arrow_schema(table);
    let batches = batches.iter().map(|batch| conform(table, batch, &plain)).collect::<Result<Vec<_>, _>>()?;
    let rows = sort(table, &concat_batches(&plain, &batches)?)?;
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let schema = metadata.current_schema();
    // The same columns, now with the table's field ids.
    let rows = conform(table, &rows, &Arc::new(schema_to_arrow_schema(schema)?))?;
    let spec = metadata.default_partition_spec().clone();
    Ok(RecordBatchPartitionSplitter::try_new_with_computed_values(schema.clone(), spec)?.split(&rows)?)
}

fn sort(table: Table, rows: &RecordBatch) -> Result<RecordBatch, TableError> {
    let column = |&(name, descending): &(&str, bool)| {
        let values = rows.column_by_name(name).cloned();
        let values = values.ok_or_else(|| TableError::NoColumn { table, column: name.to_owned() })?;
        Ok(SortColumn { values, options: Some(SortOptions { descending, nulls_first: !descending }) })
    };
    let columns = sort_columns(table).iter().map(column).collect::<Result<Vec<_>, TableError>>()?;
    Ok(take_record_batch(rows, &lexsort_to_indices(&columns, None)?)?)
}

async fn write_file(
    table: Table,
    io: &FileIO,
    schema: SchemaRef,
    folder: &str,
    spec: i32,
    key: &PartitionKey,
    rows: &RecordBatch,
) -> Result<DataFile, TableError> {
    let output = io.new_output(format!("{folder}/{}.parquet", Uuid::now_v7()))?;
    let mut writer = ParquetWriterBuilder::new(writer_properties(table), schema).build(output).await?;
    writer.write(rows).await?;
    let mut built = writer.close().await?;
    let mut file = built.pop().ok_or_else(|| TableError::Schema { table, message: "no rows".to_owned() })?;
    file.content(DataContentType::Data).partition(key.data().clone()).partition_spec_id(spec).sort_order_id(1);
    file.build().map_err(|error| TableError::Schema { table, message: error.to_string() })
}

fn writer_properties(table: Table) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("zstd has a level 1");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None);
    for column in columns(table) {
        let path = ColumnPath::from(column.name);
        if column.is_repetitive {
            properties = properties.set_column_dictionary_enabled(path.clone(), true);
        }
        if column.is_pruned {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
        }
    }
    properties.build()
}

/// The plain Arrow schema of some columns.
pub(super) fn project(table: Table, names: &[&str]) -> Result<arrow::datatypes::SchemaRef, TableError> {
    let all = arrow_schema(table);
    let field = |name: &&str| {
        let field = all.field_with_name(name);
        field.cloned().map_err(|_| TableError::NoColumn { table, column: (*name).to_owned() })
    };
    Ok(Arc::new(ArrowSchema::new(names.iter().map(field).collect::<Result<Vec<_>, _>>()?)))
}
