//! What can go wrong with a table.

use super::Table;
use super::catalog::CatalogError;
use super::storage::Elsewhere;

#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Another process has landed these records (or others of the partition): nothing was committed. Drop the rows,
    /// ask for the positions again, and go on from there.
    #[error("{table} has moved: partition {partition} stands at {found}, and this commit starts at {expected}")]
    Superseded { table: Table, partition: u32, expected: u64, found: u64 },
    /// Positions only go forward.
    #[error("{table}: partition {partition} cannot go back from {from} to {to}")]
    Backwards { table: Table, partition: u32, from: u64, to: u64 },
    /// Others commit all the time. Nothing was committed; try again.
    #[error("{table}: gave up after {attempts} attempts to commit, since others commit at the same time")]
    Contended { table: Table, attempts: u32 },
    /// The rows do not fit the table.
    #[error("{table}: {message}")]
    Schema { table: Table, message: String },
    /// There is no such column.
    #[error("{table} has no column '{column}'")]
    NoColumn { table: Table, column: String },
    /// The table cannot be read by account.
    #[error("{0} is not partitioned by account")]
    NotByAccount(Table),
    /// The table holds what this version does not read, such as delete files of another engine.
    #[error("{table}: {message}")]
    Unsupported { table: Table, message: String },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Elsewhere(#[from] Elsewhere),
    #[error("Iceberg: {0}")]
    Iceberg(#[from] Box<iceberg::Error>),
    #[error("Arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    /// A file in the bucket.
    #[error("{path}: {source}")]
    Object { path: String, source: object_store::Error },
    /// A task was cancelled or panicked.
    #[error("a background task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl TableError {
    /// The kind as metrics name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Superseded { .. } => "superseded",
            Self::Backwards { .. } => "backwards",
            Self::Contended { .. } => "contended",
            Self::Schema { .. } | Self::NoColumn { .. } | Self::NotByAccount(_) | Self::Unsupported { .. } => "schema",
            Self::Catalog(_) => "catalog",
            Self::Iceberg(_) => "iceberg",
            Self::Arrow(_) => "arrow",
            Self::Parquet(_) => "parquet",
            Self::File { .. } | Self::Elsewhere(_) => "file",
            Self::Object { .. } => "object_store",
            Self::Task(_) => "task",
        }
    }
}

impl From<iceberg::Error> for TableError {
    fn from(error: iceberg::Error) -> Self {
        Self::Iceberg(Box::new(error))
    }
}
