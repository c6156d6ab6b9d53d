//! The catalog: what a table's current metadata is, and the one step that changes it.
//!
//! - [`pointer`]: catalogs that name a metadata file, which we write: a commit swaps the name
//! - [`sqlite`], [`postgres`]: these, in the layout of Iceberg's JDBC catalog
//! - [`rest`]: servers that write the metadata files themselves

mod pointer;
mod postgres;
mod rest;
mod sqlite;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{Snapshot, TableMetadata, TableMetadataRef};
use millrace_storage::Secret;
use millrace_storage::cluster::keys::Keys;

pub(super) use self::pointer::PointerCatalog;
#[cfg(test)]
pub(super) use self::pointer::{Pointers, Swap};
pub(super) use self::postgres::Postgres;
pub use self::postgres::PostgresOptions;
pub(super) use self::rest::Rest;
pub use self::rest::RestOptions;
pub(super) use self::sqlite::Sqlite;
use super::state::TableState;
use super::{Table, TableError};

/// The catalog's name, which readers must give.
pub(super) const CATALOG: &str = "millrace";
/// The namespace of all tables.
pub(super) const NAMESPACE: &str = "mail";

/// A catalog that many processes share.
#[derive(Clone, Debug)]
pub enum CatalogOptions {
    Postgres(PostgresOptions),
    Rest(RestOptions),
}

impl CatalogOptions {
    /// By the scheme of `url`: PostgreSQL, for which `secret` is a password, or a REST catalog, for which it is a token.
    ///
    /// # Errors
    /// [`CatalogError::Options`] for any other scheme.
    pub fn of_url(url: &str, secret: Option<Secret>, ca_file: Option<PathBuf>) -> Result<Self, CatalogError> {
        let url = url.to_owned();
        match url.split("://").next() {
            Some("postgresql" | "postgres") => Ok(Self::Postgres(PostgresOptions { url, password: secret, ca_file })),
            Some("http" | "https") => Ok(Self::Rest(RestOptions { url, token: secret, ca_file })),
            _ => {
                let wanted = "the url begins with postgresql://, https:// or http://";
                Err(CatalogError::Options(wanted.to_owned()))
            }
        }
    }
}

const KEYS: Keys = Keys {
    ca_file: "catalog.ca_file",
    login: "catalog.password and the user in catalog.url",
    place: "that it runs, and catalog.url",
};

/// Why the catalog did not do what it was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("the catalog cannot be used: {0}; check the disk, and that catalog.db belongs to this data directory")]
    Sqlite(#[from] rusqlite::Error),
    /// Try again.
    #[error("the catalog at {at} cannot be reached: {reason}; check {}", KEYS.for_reason(.reason))]
    Unavailable { at: String, reason: String },
    #[error("the catalog at {at} refuses: {reason}")]
    Refused { at: String, reason: String },
    #[error("[catalog]: {0}")]
    Options(String),
}

/// What the catalog says of a table.
pub(super) struct Current {
    pub(super) location: String,
    /// Some catalogs tell it themselves; else it is in the file.
    pub(super) metadata: Option<TableMetadataRef>,
}

/// A snapshot that is to follow a state.
pub(super) struct Proposal<'a> {
    pub(super) state: &'a TableState,
    pub(super) snapshot: Snapshot,
}

/// The metadata that a commit made.
pub(super) struct Made {
    pub(super) metadata: TableMetadataRef,
    pub(super) location: String,
    /// Older metadata files, which nothing names any more.
    pub(super) expired: Vec<String>,
}

/// What became of a commit.
pub(super) enum Outcome {
    Committed(Made),
    /// The table has moved on. Nothing was committed.
    Conflict,
    /// It may be committed, now or a little later: only the table itself tells.
    Unknown(CatalogError),
}

#[async_trait]
pub(super) trait Catalog: Send + Sync {
    /// What a table is now; `None` when there is no such table.
    async fn current(&self, table: Table) -> Result<Option<Current>, TableError>;

    /// Of tables that are known at some metadata location: those that have another one now, in the order given.
    async fn changed(&self, known: &[(Table, String)]) -> Result<Vec<(Table, Current)>, TableError>;

    /// Makes a table, unless there is one.
    async fn create(&self, table: Table, metadata: TableMetadata) -> Result<(), TableError>;

    /// Makes the snapshot the table's current one if the table is still in that state.
    ///
    /// # Errors
    /// On an error nothing was committed, and never will be.
    async fn commit(&self, proposal: Proposal<'_>) -> Result<Outcome, TableError>;

    /// Whether a snapshot is in the table. `state` was looked up after the commit that would have made it so.
    async fn has_snapshot(&self, state: &TableState, snapshot_id: i64) -> Result<bool, TableError> {
        Ok(state.metadata.snapshot_by_id(snapshot_id).is_some())
    }
}

/// Makes the catalog ready for use.
pub(super) async fn connect(options: CatalogOptions, io: iceberg::io::FileIO) -> Result<Arc<dyn Catalog>, TableError> {
    match options {
        CatalogOptions::Postgres(options) => Ok(Arc::new(PointerCatalog::new(Postgres::open(options).await?, io))),
        CatalogOptions::Rest(options) => Ok(Arc::new(Rest::open(options).await?)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_url_tells_the_kind_and_no_secret_is_printed() {
        let of = |url| CatalogOptions::of_url(url, Some(Secret::new("hidden")), None);
        assert!(matches!(of("postgresql://m@h/m").unwrap(), CatalogOptions::Postgres(_)));
        assert!(matches!(of("https://h/catalog").unwrap(), CatalogOptions::Rest(_)));
        assert!(matches!(of("sqlite:///a").unwrap_err(), CatalogError::Options(_)));
        for url in ["postgresql://m:hidden@h/m", "https://h/catalog"] {
            let printed = format!("{:?}", of(url).unwrap());
            assert!(!printed.contains("hidden"), "{printed}");
        }
    }
}
