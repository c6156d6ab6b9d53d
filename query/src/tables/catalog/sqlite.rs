//! The catalog of one machine, in SQLite. The layout is that of Iceberg's JDBC catalog, so that PyIceberg's
//! `SqlCatalog("millrace", uri="sqlite:///…/catalog.db")` and others open it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::pointer::{Pointers, Swap};
use super::{CATALOG, CatalogError, NAMESPACE};
use crate::tables::Table;

const LAYOUT: &str = "
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key)
);";

/// Cheap to clone.
#[derive(Clone)]
pub(in crate::tables) struct Sqlite {
    connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    /// Opens or makes the catalog. Every write is synced. Blocks.
    pub(in crate::tables) fn open(path: &Path) -> Result<Self, CatalogError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(LAYOUT)?;
        connection.execute(
            "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?1, ?2, 'exists', 'true')",
            params![CATALOG, NAMESPACE],
        )?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs a call off the async threads.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let connection = self.connection.clone();
        let called = tokio::task::spawn_blocking(move || work(&connection.lock())).await;
        match called {
            Ok(outcome) => Ok(outcome?),
            Err(panic) => Err(CatalogError::Unavailable { at: "catalog.db".to_owned(), reason: panic.to_string() }),
        }
    }
}

fn get(connection: &Connection, table: Table) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare(
        "SELECT metadata_location FROM iceberg_tables
         WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3",
    )?;
    statement.query_row(params![CATALOG, NAMESPACE, table.name()], |row| row.get(0)).optional()
}

/// When SQLite reports an error the outcome is looked up, since a commit can succeed and fail to say so.
fn swap(connection: &Connection, table: Table, expected: &str, next: &str) -> rusqlite::Result<Swap> {
    let swapped = connection.execute(
        "UPDATE iceberg_tables SET metadata_location = ?1, previous_metadata_location = ?2
         WHERE catalog_name = ?3 AND table_namespace = ?4 AND table_name = ?5 AND metadata_location = ?2",
        params![next, expected, CATALOG, NAMESPACE, table.name()],
    );
    match swapped {
        Ok(1) => Ok(Swap::Done),
        Ok(_) => Ok(Swap::Lost),
        Err(error) => match get(connection, table) {
            Ok(Some(current)) if current == next => Ok(Swap::Done),
            Ok(Some(current)) if current == expected => Err(error),
            _ => Ok(Swap::Unknown(error.into())),
        },
    }
}

#[async_trait]
impl Pointers for Sqlite {
    async fn all(&self) -> Result<Vec<(Table, String)>, CatalogError> {
        self.call(|connection| {
            let mut statement = connection.prepare(
                "SELECT table_name, metadata_location FROM iceberg_tables
                 WHERE catalog_name = ?1 AND table_namespace = ?2 AND metadata_location IS NOT NULL",
            )?;
            let rows = statement.query_map(params![CATALOG, NAMESPACE], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let rows = rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
            Ok(rows.into_iter().filter_map(|(name, at)| Some((Table::of_name(&name)?, at))).collect())
        })
        .await
    }

    async fn get(&self, table: Table) -> Result<Option<String>, CatalogError> {
        self.call(move |connection| get(connection, table)).await
    }

    async fn insert(&self, table: Table, location: &str) -> Result<bool, CatalogError> {
        let location = location.to_owned();
        self.call(move |connection| {
            let changed = connection.execute(
                "INSERT OR IGNORE INTO iceberg_tables
                 (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
                 VALUES (?1, ?2, ?3, ?4, 'TABLE')",
                params![CATALOG, NAMESPACE, table.name(), location],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    async fn swap(&self, table: Table, expected: &str, next: &str) -> Result<Swap, CatalogError> {
        let (expected, next) = (expected.to_owned(), next.to_owned());
        match self.call(move |connection| swap(connection, table, &expected, &next)).await {
            // The task ended early: nobody saw what SQLite said.
            Err(error @ CatalogError::Unavailable { .. }) => Ok(Swap::Unknown(error)),
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_swap_takes_place_only_from_what_was_expected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let catalog = Sqlite::open(&path).unwrap();
        assert_eq!(catalog.get(Table::Emails).await.unwrap(), None);
        assert!(catalog.insert(Table::Emails, "one").await.unwrap());
        assert!(!catalog.insert(Table::Emails, "other").await.unwrap());
        let second = Sqlite::open(&path).unwrap();
        assert!(matches!(second.swap(Table::Emails, "one", "two").await.unwrap(), Swap::Done));
        assert!(matches!(catalog.swap(Table::Emails, "one", "three").await.unwrap(), Swap::Lost));
        assert_eq!(catalog.get(Table::Emails).await.unwrap().as_deref(), Some("two"));
        assert_eq!(catalog.get(Table::EmailState).await.unwrap(), None);
        assert_eq!(catalog.all().await.unwrap(), [(Table::Emails, "two".to_owned())]);
    }
}
