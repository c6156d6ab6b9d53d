//! Which rows of a file to read, by what its footer and its runs say.

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ArrowReaderMetadata, RowSelection};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::footers::RunsRef;

pub(super) const BATCH_ROWS: usize = 8192;

/// Row groups, and in them the rows of an account.
pub(super) struct Selection {
    row_groups: Vec<usize>,
    ranges: Vec<Range<usize>>,
    rows: usize,
    /// Whether the ranges hold nothing else.
    pub(super) is_sorted: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self { row_groups: Vec::new(), ranges: Vec::new(), rows: 0, is_sorted: true }
    }
}

impl Selection {
    /// Adds a row group, when its runs have the account or cannot tell.
    pub(super) fn add(&mut self, row_group: usize, footer: &ArrowReaderMetadata, runs: &RunsRef, account_id: &str) {
        let rows = footer.metadata().row_group(row_group).num_rows() as usize;
        let range = match runs.as_ref() {
            Some(runs) => runs.find(account_id),
            None => {
                self.is_sorted = false;
                Some(0..rows)
            }
        };
        let Some(range) = range else { return };
        self.row_groups.push(row_group);
        self.ranges.push(self.rows + range.start..self.rows + range.end);
        self.rows += rows;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.row_groups.is_empty()
    }

    pub(super) fn apply<T>(self, builder: ArrowReaderBuilder<T>) -> ArrowReaderBuilder<T> {
        builder
            .with_row_groups(self.row_groups)
            .with_row_selection(RowSelection::from_consecutive_ranges(self.ranges.into_iter(), self.rows))
            .with_batch_size(BATCH_ROWS)
    }
}

/// The row groups that may hold the account.
pub(super) fn candidates(footer: &ArrowReaderMetadata, account_id: &str) -> Vec<usize> {
    let row_groups = footer.metadata().row_groups().iter().enumerate();
    row_groups.filter(|(_, row_group)| may_hold(row_group, account_id)).map(|(index, _)| index).collect()
}

/// The columns of the schema that the file has.
pub(super) fn mask(footer: &ArrowReaderMetadata, schema: &SchemaRef) -> ProjectionMask {
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
