//! SQL over the tables and what has not landed yet. Read-only.
//!
//! - [`engine`]: [`SqlEngine`]: one query, with its limits
//! - [`fresh`]: rows that have not landed: the log's for events, the hot store's for mail
//! - [`provider`]: one table as DataFusion scans it: Parquet files and fresh rows
//! - [`prune`]: which files a filter leaves out
//! - `views.sql`: current mail, read and unread, delivery rates
//! - [`format`]: results as a table, JSON, CSV or Arrow
//! - [`audit`]: that every message ended exactly once for every recipient
//! - [`bodies`]: that every body reads back as it was received

mod audit;
mod bodies;
mod engine;
mod format;
mod fresh;
mod provider;
mod prune;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use audit::{AuditReport, Finding, audit};
pub use bodies::{BodyReport, check_bodies};
pub use engine::{SqlEngine, SqlError, SqlOptions};
pub use format::{Format, FormatError, UnknownFormat, write_batches};
pub use fresh::{FreshError, FreshRows};
