//! Records of the log as rows of a table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{Table, TableError, arrow_schema};

/// Rows of an event table from records of its topic, decoded in order.
///
/// `decoded` is what `BatchDecoder` gave for records of `partition` at `offsets`. A record's `x_us` becomes the time
/// column `x`.
///
/// # Errors
/// [`TableError::Schema`] when the batch is of another topic, or has another length than `offsets`.
pub fn event_batch(
    table: Table,
    decoded: &RecordBatch,
    partition: u32,
    offsets: &[u64],
) -> Result<RecordBatch, TableError> {
    let error = |message: String| TableError::Schema { table, message };
    if offsets.len() != decoded.num_rows() {
        return Err(error(format!("{} records at {} offsets", decoded.num_rows(), offsets.len())));
    }
    let partition = i32::try_from(partition).map_err(|_| error(format!("partition {partition}")))?;
    let offsets: Option<Vec<i64>> = offsets.iter().map(|&offset| i64::try_from(offset).ok()).collect();
    let offsets = offsets.ok_or_else(|| error("an offset is out of range".to_owned()))?;
    let mut fields: Vec<_> = decoded.schema().fields().iter().cloned().collect();
    let mut columns = decoded.columns().to_vec();
    let log_columns: [(&str, ArrayRef); 2] = [
        ("log_partition", Arc::new(Int32Array::from(vec![partition; offsets.len()]))),
        ("log_offset", Arc::new(Int64Array::from(offsets))),
    ];
    for (name, column) in log_columns {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), false)));
        columns.push(column);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    conform(table, &batch, &arrow_schema(table))
}

/// The batch's columns by name, in the order and with the types of `wanted`; a missing optional column is null.
pub(crate) fn conform(table: Table, batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, TableError> {
    let columns = wanted.fields().iter().map(|field| conform_column(table, batch, field));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(wanted.clone(), columns)
        .map_err(|error| TableError::Schema { table, message: error.to_string() })
}

fn conform_column(table: Table, batch: &RecordBatch, field: &Field) -> Result<ArrayRef, TableError> {
    let name = field.name();
    let column = batch.column_by_name(name).or_else(|| batch.column_by_name(&format!("{name}_us")));
    let Some(column) = column else {
        if field.is_nullable() {
            return Ok(new_null_array(field.data_type(), batch.num_rows()));
        }
        return Err(TableError::NoColumn { table, column: name.clone() });
    };
    if column.data_type() == field.data_type() {
        return Ok(column.clone());
    }
    cast(column, field.data_type())
        .map_err(|error| TableError::Schema { table, message: format!("column '{name}': {error}") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{AsArray, TimestampMicrosecondArray};
    use millrace_schemas::{Topic, arrow::BatchDecoder, encode};

    use super::*;
    use crate::tables::testing::reception;

    #[test]
    fn records_become_rows_with_their_place_in_the_log() {
        let records: Vec<_> = (0..3).map(|n| encode(&reception(n)).unwrap()).collect();
        let decoded = BatchDecoder::new(Topic::Reception).decode(&records).unwrap();
        let rows = event_batch(Table::Reception, &decoded, 2, &[7, 8, 10]).unwrap();
        assert_eq!(rows.schema(), arrow_schema(Table::Reception));
        let offsets = rows.column_by_name("log_offset").unwrap();
        assert_eq!(offsets.as_primitive::<arrow::datatypes::Int64Type>().values(), &[7, 8, 10]);
        let times = rows.column_by_name("received_at").unwrap();
        let times: &TimestampMicrosecondArray = times.as_primitive();
        assert_eq!(times.value(1), reception(1).received_at_us);
        assert!(event_batch(Table::Reception, &decoded, 2, &[7]).is_err());
        assert!(event_batch(Table::Delivery, &decoded, 2, &[7, 8, 9]).is_err());
    }
}
