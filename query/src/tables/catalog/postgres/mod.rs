//! The catalog of many processes, in PostgreSQL. The layout is that of Iceberg's JDBC catalog, so that PyIceberg's
//! `SqlCatalog("millrace", uri="postgresql+psycopg2://…")` and others open it.

mod connection;
mod options;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use self::connection::{Connection, Failure};
pub use self::options::PostgresOptions;
use super::pointer::{Pointers, Swap};
use super::{CATALOG, CatalogError, NAMESPACE};
use crate::tables::Table;

const LAYOUT: &str = include_str!("layout.sql");

pub(in crate::tables) struct Postgres {
    connection: Connection,
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

fn text(value: &(dyn ToSql + Sync)) -> Parameter<'_> {
    (value, Type::VARCHAR)
}

impl Postgres {
    /// Connects, and makes the tables of the catalog when there are none.
    pub(in crate::tables) async fn open(options: PostgresOptions) -> Result<Self, CatalogError> {
        let catalog = Self { connection: Connection::new(options)? };
        let found = catalog.query("SELECT to_regclass('iceberg_tables') IS NOT NULL AS found", &[]).await?;
        // A role that may not make tables can use those that are there.
        if !found.first().is_some_and(|row| row.get("found")) {
            catalog.connection.run(LAYOUT).await.map_err(|failure| failure.error)?;
        }
        catalog
            .query(
                "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
                 VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING",
                &[text(&CATALOG), text(&NAMESPACE)],
            )
            .await?;
        // What each commit does, on no row: a role that may not is told so now.
        catalog.query("UPDATE iceberg_tables SET metadata_location = metadata_location WHERE false", &[]).await?;
        Ok(catalog)
    }

    /// A statement that may be run twice: it is, when the connection turns out to be gone.
    async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, CatalogError> {
        match self.connection.query(sql, parameters).await {
            Err(Failure { is_lost: true, .. }) => self.connection.query(sql, parameters).await,
            outcome => outcome,
        }
        .map_err(|failure| failure.error)
    }
}

#[async_trait]
impl Pointers for Postgres {
    async fn all(&self) -> Result<Vec<(Table, String)>, CatalogError> {
        let rows = self
            .query(
                "SELECT table_name, metadata_location FROM iceberg_tables
                 WHERE catalog_name = $1 AND table_namespace = $2 AND metadata_location IS NOT NULL",
                &[text(&CATALOG), text(&NAMESPACE)],
            )
            .await?;
        let named = |row: &Row| Some((Table::of_name(row.get("table_name"))?, row.get("metadata_location")));
        Ok(rows.iter().filter_map(named).collect())
    }

    async fn get(&self, table: Table) -> Result<Option<String>, CatalogError> {
        let rows = self
            .query(
                "SELECT metadata_location FROM iceberg_tables
                 WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3",
                &[text(&CATALOG), text(&NAMESPACE), text(&table.name())],
            )
            .await?;
        Ok(rows.first().and_then(|row| row.get("metadata_location")))
    }

    async fn insert(&self, table: Table, location: &str) -> Result<bool, CatalogError> {
        self.query(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
             VALUES ($1, $2, $3, $4, 'TABLE') ON CONFLICT DO NOTHING",
            &[text(&CATALOG), text(&NAMESPACE), text(&table.name()), text(&location)],
        )
        .await?;
        // Asked rather than counted, since the statement may have run twice.
        Ok(self.get(table).await?.as_deref() == Some(location))
    }

    /// One statement: what PostgreSQL answers, it has made durable. Where no answer comes the outcome is unknown, and a
    /// swap that is still under way somewhere does nothing once another has taken place.
    async fn swap(&self, table: Table, expected: &str, next: &str) -> Result<Swap, CatalogError> {
        let swapped = self
            .connection
            .execute(
                "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2
                 WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $2",
                &[text(&next), text(&expected), text(&CATALOG), text(&NAMESPACE), text(&table.name())],
            )
            .await;
        match swapped {
            Ok(1) => Ok(Swap::Done),
            Ok(_) => Ok(Swap::Lost),
            Err(failure) if failure.is_conflict => Ok(Swap::Lost),
            Err(failure) if failure.is_unknown => Ok(Swap::Unknown(failure.error)),
            Err(failure) => Err(failure.error),
        }
    }
}
