//! The catalog of many processes, behind Iceberg's REST protocol: the server writes the metadata files, and commits if
//! the branch is still where we saw it.

mod client;
mod options;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};

use self::client::{Client, Reply, Sent};
pub use self::options::RestOptions;
use self::wire::{CommitTable, CreateTable, LoadedTable};
use super::{Catalog, CatalogError, Current, Made, NAMESPACE, Outcome, Proposal};
use crate::tables::state::TableState;
use crate::tables::{Table, TableError};

/// Only the snapshot that the branch is at: it is all that reads need, and metadata grows with every snapshot.
const NEWEST: &str = "?snapshots=refs";
const ALL: &str = "?snapshots=all";

pub(in crate::tables) struct Rest {
    client: Client,
    namespace: String,
}

impl Rest {
    pub(in crate::tables) async fn open(options: RestOptions) -> Result<Self, CatalogError> {
        Self::open_namespace(options, NAMESPACE).await
    }

    /// Connects, and makes the namespace when there is none.
    pub(in crate::tables) async fn open_namespace(options: RestOptions, namespace: &str) -> Result<Self, CatalogError> {
        let catalog = Self { client: Client::connect(options).await?, namespace: namespace.to_owned() };
        let path = format!("namespaces/{namespace}");
        if catalog.client.get(&path).await?.is_not_found() {
            let wanted = serde_json::json!({ "namespace": [namespace], "properties": {} });
            let made = catalog.client.post("namespaces", &wanted).await;
            // Another process may have been quicker, or the answer may have got lost.
            if catalog.client.get(&path).await?.is_not_found() {
                made.reply()?.ok(&catalog.client)?;
            }
        }
        Ok(catalog)
    }

    fn tables(&self) -> String {
        format!("namespaces/{}/tables", self.namespace)
    }

    async fn load(&self, table: Table, snapshots: &str) -> Result<Option<LoadedTable>, CatalogError> {
        let reply = self.client.get(&format!("{}/{table}{snapshots}", self.tables())).await?;
        if reply.is_not_found() {
            return Ok(None);
        }
        reply.ok(&self.client)?.parse(&self.client).map(Some)
    }

    fn updates(&self, proposal: Proposal<'_>) -> CommitTable {
        let Proposal { state, snapshot } = proposal;
        let retention = SnapshotRetention::branch(None, None, None);
        let reference = SnapshotReference::new(snapshot.snapshot_id(), retention);
        let (r#ref, snapshot_id) = (MAIN_BRANCH.to_owned(), state.metadata.current_snapshot_id());
        CommitTable::new(
            &self.namespace,
            state.table,
            vec![
                TableRequirement::UuidMatch { uuid: state.metadata.uuid() },
                TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id },
            ],
            vec![
                TableUpdate::AddSnapshot { snapshot },
                TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
            ],
        )
    }
}

#[async_trait]
impl Catalog for Rest {
    async fn current(&self, table: Table) -> Result<Option<Current>, TableError> {
        Ok(self.load(table, NEWEST).await?.map(Current::from))
    }

    /// The protocol has no question about several tables.
    async fn changed(&self, known: &[(Table, String)]) -> Result<Vec<(Table, Current)>, TableError> {
        let loads = known.iter().map(|(table, _)| self.current(*table));
        let found = try_join_all(loads).await?;
        let newer = known.iter().zip(found).filter_map(|((table, known), current)| {
            let current = current?;
            (current.location != *known).then_some((*table, current))
        });
        Ok(newer.collect())
    }

    async fn create(&self, table: Table, metadata: TableMetadata) -> Result<(), TableError> {
        let sent = self.client.post(&self.tables(), &CreateTable::new(table, &metadata)).await;
        // Another process may have been quicker, or the answer may have got lost.
        if self.load(table, NEWEST).await?.is_none() {
            sent.reply()?.ok(&self.client)?;
        }
        Ok(())
    }

    async fn commit(&self, proposal: Proposal<'_>) -> Result<Outcome, TableError> {
        let path = format!("{}/{}", self.tables(), proposal.state.table);
        let sent = self.client.post(&path, &self.updates(proposal)).await;
        let reply = match sent {
            Sent::Answered(reply) => reply,
            Sent::Never(error) => return Err(error.into()),
            Sent::Unanswered(error) => return Ok(Outcome::Unknown(error)),
        };
        if reply.status.as_u16() == 409 {
            return Ok(Outcome::Conflict);
        }
        match reply.ok(&self.client).and_then(|reply: Reply| reply.parse::<LoadedTable>(&self.client)) {
            Ok(made) => Ok(Outcome::Committed(made.into())),
            // The server took it, or did not come to an end: by the protocol the state of the commit is unknown.
            Err(error @ CatalogError::Unavailable { .. }) => Ok(Outcome::Unknown(error)),
            Err(error) => Err(error.into()),
        }
    }

    async fn has_snapshot(&self, state: &TableState, snapshot_id: i64) -> Result<bool, TableError> {
        let loaded = self.load(state.table, ALL).await?;
        Ok(loaded.is_some_and(|table| table.metadata.snapshot_by_id(snapshot_id).is_some()))
    }
}

impl From<LoadedTable> for Current {
    fn from(table: LoadedTable) -> Self {
        let location = table.location();
        Self { location, metadata: Some(Arc::new(table.metadata)) }
    }
}

impl From<LoadedTable> for Made {
    fn from(table: LoadedTable) -> Self {
        let location = table.location();
        // The server removes what it wrote.
        Self { location, metadata: Arc::new(table.metadata), expired: Vec::new() }
    }
}
