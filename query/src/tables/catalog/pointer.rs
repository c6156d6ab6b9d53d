//! Catalogs that only keep where a table's metadata file is: we write the file, then swap the name.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::MetadataLocation;
use iceberg::io::FileIO;
use iceberg::spec::{MAIN_BRANCH, TableMetadata};

use super::{Catalog, CatalogError, Current, Made, Outcome, Proposal};
use crate::tables::{Table, TableError, commit};

/// What became of a swap.
#[derive(Debug)]
pub(in crate::tables) enum Swap {
    Done,
    /// Another name was there than expected.
    Lost,
    /// It may have been done, or be done yet.
    Unknown(CatalogError),
}

/// The names of the tables' current metadata files.
#[async_trait]
pub(in crate::tables) trait Pointers: Send + Sync {
    /// Each table that there is.
    async fn all(&self) -> Result<Vec<(Table, String)>, CatalogError>;

    async fn get(&self, table: Table) -> Result<Option<String>, CatalogError>;

    /// Registers a new table. False when it exists already.
    async fn insert(&self, table: Table, location: &str) -> Result<bool, CatalogError>;

    /// Makes `next` the table's metadata if `expected` is it now.
    ///
    /// # Errors
    /// On an error the swap was not made, and never will be.
    async fn swap(&self, table: Table, expected: &str, next: &str) -> Result<Swap, CatalogError>;
}

pub(in crate::tables) struct PointerCatalog<P> {
    pointers: P,
    io: FileIO,
}

impl<P: Pointers> PointerCatalog<P> {
    pub(in crate::tables) fn new(pointers: P, io: FileIO) -> Self {
        Self { pointers, io }
    }
}

#[async_trait]
impl<P: Pointers> Catalog for PointerCatalog<P> {
    async fn current(&self, table: Table) -> Result<Option<Current>, TableError> {
        Ok(self.pointers.get(table).await?.map(named))
    }

    async fn changed(&self, known: &[(Table, String)]) -> Result<Vec<(Table, Current)>, TableError> {
        let all = self.pointers.all().await?;
        let newer = known.iter().filter_map(|(table, known)| {
            let (_, location) = all.iter().find(|(found, _)| found == table)?;
            (location != known).then(|| (*table, named(location.clone())))
        });
        Ok(newer.collect())
    }

    async fn create(&self, table: Table, metadata: TableMetadata) -> Result<(), TableError> {
        let location = MetadataLocation::new_with_metadata(metadata.location(), &metadata);
        metadata.write_to(&self.io, &location).await?;
        let location = location.to_string();
        if !self.pointers.insert(table, &location).await? {
            commit::remove(&self.io, [location.as_str()].into_iter()).await;
        }
        Ok(())
    }

    async fn commit(&self, proposal: Proposal<'_>) -> Result<Outcome, TableError> {
        let Proposal { state, snapshot } = proposal;
        let expected = &state.metadata_location;
        let builder = state.metadata.as_ref().clone().into_builder(Some(expected.clone()));
        let built = builder.set_branch_snapshot(snapshot, MAIN_BRANCH)?.build()?;
        let metadata = built.metadata;
        let location = MetadataLocation::from_str(expected)?.with_next_version().with_new_metadata(&metadata);
        metadata.write_to(&self.io, &location).await?;
        let location = location.to_string();
        match self.pointers.swap(state.table, expected, &location).await {
            Ok(Swap::Done) => {
                let expired = built.expired_metadata_logs.into_iter().map(|log| log.metadata_file).collect();
                Ok(Outcome::Committed(Made { metadata: Arc::new(metadata), location, expired }))
            }
            Ok(Swap::Unknown(error)) => Ok(Outcome::Unknown(error)),
            Ok(Swap::Lost) => {
                commit::remove(&self.io, [location.as_str()].into_iter()).await;
                Ok(Outcome::Conflict)
            }
            Err(error) => {
                commit::remove(&self.io, [location.as_str()].into_iter()).await;
                Err(error.into())
            }
        }
    }
}

fn named(location: String) -> Current {
    Current { location, metadata: None }
}
