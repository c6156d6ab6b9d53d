//! The Iceberg tables: what they hold, how rows get in, and how they are read back.
//!
//! Commits are our own, over the public parts of the `iceberg` crate: its own transactions load every manifest,
//! and carry no positions. Not here: what rows mean (`mail`), and SQL (`sql`).
//!
//! - [`table`]: the six tables and the topics they land
//! - [`schema`]: columns, partitioning and sort order of each
//! - [`batch`]: records of the log as rows of a table
//! - [`positions`]: how far the log has landed, kept in every snapshot
//! - [`storage`]: files that are durable before they are named: on a disk, or in a bucket
//! - [`catalog`]: what a table's current metadata is: SQLite, PostgreSQL, REST
//! - [`write`]: rows to Parquet files
//! - [`commit`]: files to a snapshot
//! - [`attempts`]: a snapshot into the table, against all others who commit
//! - [`state`]: one snapshot as it is held in memory
//! - [`backend`]: a catalog and the files that it names
//! - [`slot`]: what a process knows of one table
//! - [`open`]: [`Tables`], which puts these together
//! - [`follow`]: readers that see what other processes commit
//! - [`read`], [`account`], [`select`], [`scan`]: rows straight from Parquet
//! - [`data`], [`object_reads`]: the bytes of a file, from a disk or a bucket
//! - [`footers`], [`runs`], [`bounded`]: what is kept in memory of files

mod account;
mod attempts;
mod backend;
mod batch;
mod bounded;
mod catalog;
mod commit;
mod data;
mod error;
mod follow;
mod footers;
mod object_reads;
mod open;
mod positions;
mod read;
mod runs;
mod scan;
mod schema;
mod select;
mod slot;
mod state;
mod storage;
mod table;
mod write;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use batch::event_batch;
pub use catalog::{CatalogError, CatalogOptions, PostgresOptions, RestOptions};
pub use error::TableError;
pub use open::{SharedTables, TableOptions, Tables};
pub use positions::Positions;
pub use read::TableSnapshot;
pub use schema::arrow_schema;
pub use table::Table;

pub(crate) use batch::conform;
pub(crate) use state::DataFileRef;
pub(crate) use storage::Files;
