//! Requests and answers of the REST protocol, as far as the `iceberg` crate does not have them.

use iceberg::spec::{PartitionSpec, Schema, SortOrder, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

use crate::tables::Table;

#[derive(Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) defaults: HashMap<String, String>,
    #[serde(default)]
    pub(super) overrides: HashMap<String, String>,
}

/// `LoadTableResult` and `CommitTableResponse`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadedTable {
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
}

impl LoadedTable {
    /// What tells one state of the table from another.
    pub(super) fn location(&self) -> String {
        self.metadata_location.clone().unwrap_or_else(|| {
            let metadata = &self.metadata;
            format!("{}@{}-{}", metadata.uuid(), metadata.last_sequence_number(), metadata.last_updated_ms())
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateTable<'a> {
    name: &'static str,
    location: &'a str,
    schema: &'a Schema,
    partition_spec: &'a PartitionSpec,
    write_order: &'a SortOrder,
    stage_create: bool,
    properties: &'a HashMap<String, String>,
}

impl<'a> CreateTable<'a> {
    pub(super) fn new(table: Table, metadata: &'a TableMetadata) -> Self {
        Self {
            name: table.name(),
            location: metadata.location(),
            schema: metadata.current_schema(),
            partition_spec: metadata.default_partition_spec(),
            write_order: metadata.default_sort_order(),
            stage_create: false,
            properties: metadata.properties(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct CommitTable {
    identifier: Identifier,
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

#[derive(Serialize)]
struct Identifier {
    namespace: Vec<String>,
    name: &'static str,
}

impl CommitTable {
    pub(super) fn new(
        namespace: &str,
        table: Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Self {
        Self {
            identifier: Identifier { namespace: vec![namespace.to_owned()], name: table.name() },
            requirements,
            updates,
        }
    }
}

/// `IcebergErrorResponse`.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) error: Reason,
}

#[derive(Deserialize)]
pub(super) struct Reason {
    pub(super) message: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}
