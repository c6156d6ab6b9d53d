//! One snapshot of a table as it is held in memory: metadata, manifests, files, positions.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::spec::{
    DataFile, Datum, FormatVersion, ManifestContentType, ManifestFile, ManifestList, PrimitiveLiteral, Struct,
    TableMetadata, TableMetadataRef,
};

use super::backend::Backend;
use super::catalog::Current;
use super::positions::{self, Positions};
use super::storage::{Elsewhere, Files};
use super::{Table, TableError};

/// Manifests read at a time.
const CONCURRENT_READS: usize = 16;

/// A data file of a snapshot.
#[derive(Debug)]
pub(crate) struct DataFileRef {
    /// Path on the local disk, or key in the bucket.
    pub(crate) path: Arc<str>,
    pub(crate) size_bytes: u64,
    pub(crate) rows: u64,
    /// Partition values, when written under the table's present partition spec.
    partition: Option<Struct>,
    /// Smallest and largest value by field id, for columns that keep statistics.
    bounds: Vec<(i32, Datum, Datum)>,
}

impl DataFileRef {
    fn new(files: &Files, file: &DataFile, has_current_spec: bool) -> Result<Self, Elsewhere> {
        let bounds = file.lower_bounds().iter().filter_map(|(id, lower)| {
            let upper = file.upper_bounds().get(id)?;
            Some((*id, lower.clone(), upper.clone()))
        });
        Ok(Self {
            path: files.path(file.file_path())?,
            size_bytes: file.file_size_in_bytes(),
            rows: file.record_count(),
            partition: has_current_spec.then(|| file.partition().clone()),
            bounds: bounds.collect(),
        })
    }

    /// The error of a read that did not come to an end.
    pub(super) fn unread(&self, reason: String) -> TableError {
        let source = object_store::Error::Generic { store: "S3", source: reason.into() };
        TableError::Object { path: self.path.to_string(), source }
    }

    /// The value of a partition field, where it is known.
    pub(crate) fn partition_value(&self, field: usize) -> Option<PrimitiveLiteral> {
        self.partition.as_ref()?.fields().get(field)?.as_ref()?.as_primitive_literal()
    }

    /// Smallest and largest value of a column, where they are known.
    pub(crate) fn bounds(&self, field_id: i32) -> Option<(&Datum, &Datum)> {
        self.bounds.iter().find(|(id, _, _)| *id == field_id).map(|(_, lower, upper)| (lower, upper))
    }
}

/// A manifest and the files it names.
pub(super) struct LoadedManifest {
    pub(super) manifest: ManifestFile,
    pub(super) files: Vec<Arc<DataFileRef>>,
}

impl LoadedManifest {
    /// A manifest that was just written for these files.
    pub(super) fn of_new(manifest: ManifestFile, files: &Files, added: &[DataFile]) -> Result<Self, TableError> {
        let added = added.iter().map(|file| Ok(Arc::new(DataFileRef::new(files, file, true)?)));
        Ok(Self { manifest, files: added.collect::<Result<_, Elsewhere>>()? })
    }
}

/// A snapshot of a table; an empty table has none and no manifests.
pub(super) struct TableState {
    pub(super) table: Table,
    pub(super) metadata: TableMetadataRef,
    pub(super) metadata_location: String,
    pub(super) manifests: Vec<Arc<LoadedManifest>>,
    pub(super) positions: Positions,
}

impl TableState {
    /// Reads a table's metadata and those of its manifests that `known` does not hold.
    pub(super) async fn load(
        table: Table,
        backend: &Backend,
        current: Current,
        known: Option<&TableState>,
    ) -> Result<Self, TableError> {
        let Current { location: metadata_location, metadata } = current;
        let metadata = match metadata {
            Some(metadata) => metadata,
            None => Arc::new(TableMetadata::read_from(&backend.io, &metadata_location).await?),
        };
        let unsupported = |message| TableError::Unsupported { table, message };
        if known.is_some_and(|known| known.metadata.uuid() != metadata.uuid()) {
            return Err(unsupported("the table was dropped and made anew; restart this process".to_owned()));
        }
        let Some(snapshot) = metadata.current_snapshot().cloned() else {
            let (manifests, positions) = (Vec::new(), Positions::new());
            return Ok(Self { table, metadata, metadata_location, manifests, positions });
        };
        let positions = positions::of_snapshot(table.topic(), &snapshot).map_err(unsupported)?;
        let list = backend.io.new_input(snapshot.manifest_list())?.read().await?;
        let list = ManifestList::parse_with_version(&list, FormatVersion::V2)?;
        let held: HashMap<&str, &Arc<LoadedManifest>> = known
            .into_iter()
            .flat_map(|state| &state.manifests)
            .map(|loaded| (loaded.manifest.manifest_path.as_str(), loaded))
            .collect();
        let entries: Vec<_> = list.consume_entries().into_iter().collect();
        let manifests = entries.into_iter().map(|manifest| {
            let held = held.get(manifest.manifest_path.as_str()).map(|loaded| Arc::clone(loaded));
            let metadata = &metadata;
            async move {
                match held {
                    Some(loaded) => Ok(loaded),
                    None => load_manifest(table, backend, metadata, manifest).await.map(Arc::new),
                }
            }
        });
        let manifests = stream::iter(manifests).buffered(CONCURRENT_READS).try_collect().await?;
        Ok(Self { table, metadata, metadata_location, manifests, positions })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<DataFileRef>> {
        self.manifests.iter().flat_map(|loaded| &loaded.files)
    }
}

async fn load_manifest(
    table: Table,
    backend: &Backend,
    metadata: &TableMetadata,
    manifest: ManifestFile,
) -> Result<LoadedManifest, TableError> {
    if manifest.content == ManifestContentType::Deletes {
        let message = "another engine deleted rows by delete files, which are not read here; rewrite the table there";
        return Err(TableError::Unsupported { table, message: message.to_owned() });
    }
    let has_current_spec = manifest.partition_spec_id == metadata.default_partition_spec_id();
    let entries = manifest.load_manifest(&backend.io).await?;
    let alive = entries.entries().iter().filter(|entry| entry.is_alive());
    let files = alive.map(|entry| Ok(Arc::new(DataFileRef::new(&backend.files, entry.data_file(), has_current_spec)?)));
    Ok(LoadedManifest { files: files.collect::<Result<_, Elsewhere>>()?, manifest })
}
