//! Data files to a snapshot. The cost of a commit depends on what is new: older manifests are named again, not read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, ManifestFile, ManifestListWriter, ManifestWriterBuilder, Operation, Snapshot, SnapshotSummaryCollector,
    Summary, TableMetadata,
};
use uuid::Uuid;

use super::TableError;
use super::positions::{self, Positions};
use super::state::{LoadedManifest, TableState};
use super::storage::Files;

/// Totals that each summary derives from its parent's and from what was added.
const TOTALS: [(&str, &str); 3] = [
    ("total-records", "added-records"),
    ("total-files-size", "added-files-size"),
    ("total-data-files", "added-data-files"),
];
/// Totals of what appends never add.
const ZEROES: [&str; 3] = ["total-delete-files", "total-position-deletes", "total-equality-deletes"];

/// A commit but for the catalog.
pub(super) struct Prepared {
    pub(super) snapshot: Snapshot,
    /// What the snapshot holds.
    pub(super) manifests: Vec<Arc<LoadedManifest>>,
    pub(super) positions: Positions,
}

/// Files to append, with the manifest that names them; made once, whatever number of attempts the commit takes.
pub(super) struct Append {
    id: Uuid,
    snapshot_id: i64,
    files: Vec<DataFile>,
    manifest: Option<ManifestFile>,
    positions: Positions,
}

impl Append {
    /// Writes the manifest (none without files). `positions` are those that this append moves.
    pub(super) async fn prepare(
        state: &TableState,
        io: &FileIO,
        files: Vec<DataFile>,
        positions: Positions,
    ) -> Result<Self, TableError> {
        let id = Uuid::now_v7();
        // 63 random bits, as other engines do it.
        let snapshot_id = (Uuid::now_v7().as_u128() ^ (Uuid::now_v7().as_u128() << 17)) as i64 & i64::MAX;
        let metadata = &state.metadata;
        if files.is_empty() {
            return Ok(Self { id, snapshot_id, files, manifest: None, positions });
        }
        let output = io.new_output(format!("{}/metadata/{id}-m0.avro", metadata.location()))?;
        let spec = metadata.default_partition_spec().as_ref().clone();
        let builder = ManifestWriterBuilder::new(output, Some(snapshot_id), metadata.current_schema().clone(), spec);
        let mut writer = builder.build_v2_data();
        for file in &files {
            // A sequence number below zero is inherited from the snapshot.
            writer.add_file(file.clone(), -1)?;
        }
        let manifest = Some(writer.write_manifest_file().await?);
        Ok(Self { id, snapshot_id, files, manifest, positions })
    }

    /// The same in every attempt, so that a snapshot that was committed unheard is recognised.
    pub(super) fn snapshot_id(&self) -> i64 {
        self.snapshot_id
    }

    /// Writes the manifest list of the snapshot that follows `state`: everything but what the catalog does.
    pub(super) async fn onto(
        &self,
        state: &TableState,
        files: &Files,
        io: &FileIO,
        attempt: u32,
    ) -> Result<Prepared, TableError> {
        let metadata = &state.metadata;
        let sequence_number = metadata.next_sequence_number();
        let parent = metadata.current_snapshot_id();
        let mut positions = state.positions.clone();
        positions.extend(&self.positions);

        let id = self.id;
        let list = format!("{}/metadata/snap-{}-{attempt}-{id}.avro", metadata.location(), self.snapshot_id);
        let manifests = self.manifests(state, files, sequence_number)?;
        let output = io.new_output(&list)?.writer().await?;
        let mut writer = ManifestListWriter::v2(output, self.snapshot_id, parent, sequence_number);
        // The new manifest goes in without its sequence number, which the writer assigns.
        let older = state.manifests.iter().map(|loaded| loaded.manifest.clone());
        writer.add_manifests(self.manifest.clone().into_iter().chain(older))?;
        writer.close().await?;

        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence_number)
            .with_timestamp_ms(timestamp_ms(metadata))
            .with_manifest_list(list)
            .with_schema_id(metadata.current_schema_id())
            .with_summary(self.summary(state, &positions))
            .build();
        Ok(Prepared { snapshot, manifests, positions })
    }

    fn manifests(
        &self,
        state: &TableState,
        files: &Files,
        sequence_number: i64,
    ) -> Result<Vec<Arc<LoadedManifest>>, TableError> {
        let mut manifests = Vec::with_capacity(state.manifests.len() + 1);
        if let Some(mut manifest) = self.manifest.clone() {
            manifest.sequence_number = sequence_number;
            manifest.min_sequence_number = sequence_number;
            manifests.push(Arc::new(LoadedManifest::of_new(manifest, files, &self.files)?));
        }
        manifests.extend(state.manifests.iter().cloned());
        Ok(manifests)
    }

    fn summary(&self, state: &TableState, positions: &Positions) -> Summary {
        let metadata = &state.metadata;
        let mut collector = SnapshotSummaryCollector::default();
        for file in &self.files {
            collector.add_file(file, metadata.current_schema().clone(), metadata.default_partition_spec().clone());
        }
        let mut properties = collector.build();
        let before = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
        for (total, added) in TOTALS {
            let sum = number(before, total) + number(Some(&properties), added);
            properties.insert(total.to_owned(), sum.to_string());
        }
        for total in ZEROES {
            properties.insert(total.to_owned(), number(before, total).to_string());
        }
        properties.insert(positions::PROPERTY.to_owned(), positions::to_json(state.table.topic(), positions));
        Summary { operation: Operation::Append, additional_properties: properties }
    }

    /// Removes files that no snapshot will name; what cannot be removed stays for garbage collection.
    pub(super) async fn discard(self, io: &FileIO) {
        let manifest = self.manifest.iter().map(|manifest| manifest.manifest_path.as_str());
        remove(io, self.files.iter().map(DataFile::file_path).chain(manifest)).await;
    }
}

/// Removes files that nothing names; what cannot be removed stays for garbage collection.
pub(super) async fn remove(io: &FileIO, paths: impl Iterator<Item = &str>) {
    for path in paths {
        if let Err(error) = io.delete(path).await {
            tracing::warn!(path, %error, "a file that nothing needs stays behind");
        }
    }
}

fn number(properties: Option<&HashMap<String, String>>, key: &str) -> u64 {
    properties.and_then(|all| all.get(key)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Now, but never before the last change: Iceberg refuses snapshots that a clock set back would date too early.
fn timestamp_ms(metadata: &TableMetadata) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    now.max(metadata.last_updated_ms())
}
