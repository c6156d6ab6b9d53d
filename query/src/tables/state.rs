//! One snapshot of a table as it is held in memory: metadata, manifests, files, positions.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, Datum, FormatVersion, ManifestContentType, ManifestFile, ManifestList, PrimitiveLiteral, Struct,
    TableMetadata, TableMetadataRef,
};

use super::positions::{self, Positions};
use super::storage::local_path;
use super::{Table, TableError};

/// A data file of a snapshot.
#[derive(Debug)]
pub(crate) struct DataFileRef {
    /// Local path.
    pub(crate) path: Arc<str>,
    pub(crate) size_bytes: u64,
    pub(crate) rows: u64,
    /// Partition values, when written under the table's present partition spec.
    partition: Option<Struct>,
    /// Smallest and largest value by field id, for columns that keep statistics.
    bounds: Vec<(i32, Datum, Datum)>,
}

impl DataFileRef {
    fn new(file: &DataFile, has_current_spec: bool) -> Self {
        let bounds = file.lower_bounds().iter().filter_map(|(id, lower)| {
            let upper = file.upper_bounds().get(id)?;
            Some((*id, lower.clone(), upper.clone()))
        });
        Self {
            path: local_path(file.file_path()).to_string_lossy().into(),
            size_bytes: file.file_size_in_bytes(),
            rows: file.record_count(),
            partition: has_current_spec.then(|| file.partition().clone()),
            bounds: bounds.collect(),
        }
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

/// A snapshot of a table; an empty table has none and no manifests.
pub(super) struct TableState {
    pub(super) table: Table,
    pub(super) metadata: TableMetadataRef,
    pub(super) metadata_location: String,
    pub(super) manifests: Vec<Arc<LoadedManifest>>,
    pub(super) positions: Positions,
}

impl TableState {
    /// Reads a table's metadata and those of its manifests that `previous` does not hold.
    pub(super) async fn load(
        table: Table,
        io: &FileIO,
        metadata_location: String,
        previous: Option<&TableState>,
    ) -> Result<Self, TableError> {
        let metadata = Arc::new(TableMetadata::read_from(io, &metadata_location).await?);
        let Some(snapshot) = metadata.current_snapshot().cloned() else {
            let (manifests, positions) = (Vec::new(), Positions::new());
            return Ok(Self { table, metadata, metadata_location, manifests, positions });
        };
        let unsupported = |message| TableError::Unsupported { table, message };
        let positions = positions::of_snapshot(table.topic(), &snapshot).map_err(unsupported)?;
        let known: HashMap<&str, &Arc<LoadedManifest>> = previous
            .into_iter()
            .flat_map(|state| &state.manifests)
            .map(|loaded| (loaded.manifest.manifest_path.as_str(), loaded))
            .collect();
        let list = io.new_input(snapshot.manifest_list())?.read().await?;
        let list = ManifestList::parse_with_version(&list, FormatVersion::V2)?;
        let mut manifests = Vec::with_capacity(list.entries().len());
        for manifest in list.consume_entries().into_iter().collect::<Vec<_>>() {
            match known.get(manifest.manifest_path.as_str()) {
                Some(loaded) => manifests.push(Arc::clone(loaded)),
                None => manifests.push(Arc::new(load_manifest(table, io, &metadata, manifest).await?)),
            }
        }
        Ok(Self { table, metadata, metadata_location, manifests, positions })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<DataFileRef>> {
        self.manifests.iter().flat_map(|loaded| &loaded.files)
    }
}

async fn load_manifest(
    table: Table,
    io: &FileIO,
    metadata: &TableMetadata,
    manifest: ManifestFile,
) -> Result<LoadedManifest, TableError> {
    if manifest.content == ManifestContentType::Deletes {
        let message = "another engine deleted rows by delete files, which are not read here; rewrite the table there";
        return Err(TableError::Unsupported { table, message: message.to_owned() });
    }
    let has_current_spec = manifest.partition_spec_id == metadata.default_partition_spec_id();
    let entries = manifest.load_manifest(io).await?;
    let alive = entries.entries().iter().filter(|entry| entry.is_alive());
    let files = alive.map(|entry| Arc::new(DataFileRef::new(entry.data_file(), has_current_spec))).collect();
    Ok(LoadedManifest { manifest, files })
}

pub(super) fn loaded(manifest: ManifestFile, files: &[DataFile]) -> LoadedManifest {
    let files = files.iter().map(|file| Arc::new(DataFileRef::new(file, true))).collect();
    LoadedManifest { manifest, files }
}
