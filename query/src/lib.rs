//! The tables of Millrace, and reading an account's mail from hot store and tables together.
//!
//! - [`tables`]: Iceberg tables: schemas, catalog, durable files, the committer, scans
//! - [`mail`]: landing of `mailbox.changes`, the view of one account, search
//! - [`sql`]: DataFusion over the tables and what has not landed yet

mod backoff;
pub mod mail;
pub mod sql;
pub mod tables;
