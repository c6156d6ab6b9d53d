//! A catalog and the files that it names.

use std::sync::Arc;

use iceberg::TableCreation;
use iceberg::io::FileIO;
use iceberg::spec::{FormatVersion, TableMetadata, TableMetadataBuilder};

use super::catalog::{Catalog, Current, NAMESPACE};
use super::state::TableState;
use super::storage::Files;
use super::{Table, TableError, arrow_schema, schema};

/// How often a state is read that was replaced while it was read.
const LOADS: u32 = 5;

pub(super) struct Backend {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) files: Files,
    pub(super) io: FileIO,
    /// The location that new tables are made under.
    warehouse: String,
}

impl Backend {
    pub(super) fn new(catalog: Arc<dyn Catalog>, files: Files, warehouse: String) -> Self {
        let io = files.io();
        Self { catalog, files, io, warehouse }
    }

    /// The table as it is; it is made when there is none.
    pub(super) async fn open(&self, table: Table, buckets: u32) -> Result<TableState, TableError> {
        let mut current = self.catalog.current(table).await?;
        if current.is_none() {
            let location = format!("{}/{NAMESPACE}/{table}", self.warehouse);
            self.catalog.create(table, new_metadata(table, &location, buckets)?).await?;
            current = self.catalog.current(table).await?;
        }
        let current = current.ok_or_else(|| dropped(table))?;
        let state = self.load(table, current, None).await?;
        check_form(table, &state.metadata)?;
        Ok(state)
    }

    /// The table's present state; `None` when it is still that of `known`.
    pub(super) async fn newer(&self, known: &TableState) -> Result<Option<TableState>, TableError> {
        let current = self.catalog.current(known.table).await?.ok_or_else(|| dropped(known.table))?;
        if current.location == known.metadata_location {
            return Ok(None);
        }
        self.load(known.table, current, Some(known)).await.map(Some)
    }

    /// Reads a state. Its files may be removed meanwhile, since others go on: then there is a newer one to read.
    pub(super) async fn load(
        &self,
        table: Table,
        mut current: Current,
        known: Option<&TableState>,
    ) -> Result<TableState, TableError> {
        let mut attempt = 1;
        loop {
            let location = current.location.clone();
            let error = match TableState::load(table, self, current, known).await {
                Ok(state) => return Ok(state),
                Err(error) => error,
            };
            current = self.catalog.current(table).await?.ok_or_else(|| dropped(table))?;
            if current.location == location || attempt == LOADS {
                return Err(error);
            }
            tracing::debug!(%table, %error, "a snapshot was replaced while it was read");
            attempt += 1;
        }
    }
}

fn dropped(table: Table) -> TableError {
    TableError::Unsupported { table, message: "the table was dropped from the catalog".to_owned() }
}

fn new_metadata(table: Table, location: &str, buckets: u32) -> Result<TableMetadata, TableError> {
    let columns = schema::iceberg_schema(table)?;
    let spec = schema::partition_spec(table, &columns, buckets)?;
    let order = schema::sort_order(table, &columns)?;
    let creation = TableCreation::builder()
        .name(table.name().to_owned())
        .location(location.to_owned())
        .schema(columns)
        .partition_spec(spec)
        .sort_order(order)
        .properties(schema::properties(table))
        .build();
    Ok(TableMetadataBuilder::from_table_creation(creation)?.build()?.metadata)
}

/// A table that another made, or a catalog for us, may not be what is written here.
fn check_form(table: Table, metadata: &TableMetadata) -> Result<(), TableError> {
    if metadata.format_version() != FormatVersion::V2 {
        let message = format!("its format is {}, and this version of millrace writes v2", metadata.format_version());
        return Err(TableError::Unsupported { table, message });
    }
    let theirs: Vec<_> =
        metadata.current_schema().as_struct().fields().iter().map(|field| field.name.clone()).collect();
    let ours: Vec<_> = arrow_schema(table).fields().iter().map(|field| field.name().clone()).collect();
    if theirs == ours {
        return Ok(());
    }
    let message = format!("its columns are {theirs:?}, and this version of millrace has {ours:?}");
    Err(TableError::Unsupported { table, message })
}
