//! The Iceberg tables: what they hold, how rows get in, and how they are read back.
//!
//! Commits are our own, over the public parts of the `iceberg` crate: its own transactions load every manifest,
//! and carry no positions. Not here: what rows mean (`mail`), and SQL (`sql`).
//!
//! - [`table`]: the six tables and the topics they land
//! - [`schema`]: columns, partitioning and sort order of each
//! - [`batch`]: records of the log as rows of a table
//! - [`positions`]: how far the log has landed, kept in every snapshot
//! - [`storage`]: files that are durable before they are named
//! - [`catalog`]: which metadata file is a table's current one (SQLite)
//! - [`write`]: rows to Parquet files
//! - [`commit`]: files to a snapshot
//! - [`state`]: one snapshot as it is held in memory
//! - [`open`]: [`Tables`], which puts these together
//! - [`read`], [`footers`], [`runs`]: the rows of one account, straight from Parquet

mod batch;
mod catalog;
mod commit;
mod error;
mod footers;
mod open;
mod positions;
mod read;
mod runs;
mod schema;
mod state;
mod storage;
mod table;
mod write;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use batch::event_batch;
pub use error::TableError;
pub use open::{TableOptions, Tables};
pub use positions::Positions;
pub use read::TableSnapshot;
pub use schema::arrow_schema;
pub use table::Table;

pub(crate) use batch::conform;
pub(crate) use state::DataFileRef;
