//! The catalog: which metadata file is a table's current one. The layout is that of Iceberg's JDBC catalog, so that
//! PyIceberg's `SqlCatalog("millrace", uri="sqlite:///…/catalog.db")` and others open it.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::Table;

/// The catalog's name, which readers must give.
pub(super) const CATALOG: &str = "millrace";
/// The namespace of all tables.
pub(super) const NAMESPACE: &str = "mail";

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

/// Calls block: give them to `spawn_blocking`.
pub(super) struct Catalog {
    connection: Mutex<Connection>,
}

impl Catalog {
    /// Opens or makes the catalog. Every write is synced.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(LAYOUT)?;
        connection.execute(
            "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?1, ?2, 'exists', 'true')",
            params![CATALOG, NAMESPACE],
        )?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// The location of the table's current metadata; `None` when there is no such table.
    pub(super) fn current(&self, table: Table) -> rusqlite::Result<Option<String>> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3",
        )?;
        statement.query_row(params![CATALOG, NAMESPACE, table.name()], |row| row.get(0)).optional()
    }

    /// Registers a new table. False when it exists already.
    pub(super) fn create(&self, table: Table, location: &str) -> rusqlite::Result<bool> {
        let changed = self.connection.lock().execute(
            "INSERT OR IGNORE INTO iceberg_tables
             (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
             VALUES (?1, ?2, ?3, ?4, 'TABLE')",
            params![CATALOG, NAMESPACE, table.name(), location],
        )?;
        Ok(changed == 1)
    }

    /// Makes `next` the table's metadata if `expected` is it now. False when something else is.
    ///
    /// When SQLite reports an error the outcome is looked up, since a commit can succeed and fail to say so.
    pub(super) fn swap(&self, table: Table, expected: &str, next: &str) -> rusqlite::Result<bool> {
        let swapped = self.connection.lock().execute(
            "UPDATE iceberg_tables SET metadata_location = ?1, previous_metadata_location = ?2
             WHERE catalog_name = ?3 AND table_namespace = ?4 AND table_name = ?5 AND metadata_location = ?2",
            params![next, expected, CATALOG, NAMESPACE, table.name()],
        );
        match swapped {
            Ok(changed) => Ok(changed == 1),
            Err(error) => match self.current(table) {
                Ok(Some(current)) if current == next => Ok(true),
                _ => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_swap_takes_place_only_from_what_was_expected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let catalog = Catalog::open(&path).unwrap();
        assert_eq!(catalog.current(Table::Emails).unwrap(), None);
        assert!(catalog.create(Table::Emails, "one").unwrap());
        assert!(!catalog.create(Table::Emails, "other").unwrap());
        let second = Catalog::open(&path).unwrap();
        assert!(second.swap(Table::Emails, "one", "two").unwrap());
        assert!(!catalog.swap(Table::Emails, "one", "three").unwrap());
        assert_eq!(catalog.current(Table::Emails).unwrap().as_deref(), Some("two"));
        assert_eq!(catalog.current(Table::EmailState).unwrap(), None);
    }
}
