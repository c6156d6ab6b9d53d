//! [`Tables`]: the six tables of a data directory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::{MetadataLocation, TableCreation};
use metrics::{counter, histogram};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Mutex as AsyncMutex;

use super::catalog::{Catalog, NAMESPACE};
use super::commit::{self, Append, Prepared};
use super::footers::ReadCaches;
use super::positions::Positions;
use super::state::TableState;
use super::{Table, TableError, TableSnapshot, arrow_schema, schema, storage, write};

/// Attempts to commit against others before giving up.
const ATTEMPTS: u32 = 20;

#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    /// Buckets of accounts, for tables that are made now; an existing table keeps its own.
    pub buckets: u32,
    /// Memory for Parquet footers, page indexes and account indexes, in bytes.
    pub cache_bytes: usize,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { buckets: 8, cache_bytes: 128 << 20 }
    }
}

struct Slot {
    /// One commit at a time.
    commit: AsyncMutex<()>,
    state: RwLock<Arc<TableState>>,
    /// Where this process has landed to: what its next commit starts from.
    landed: Mutex<Positions>,
}

/// The tables of one data directory. Many processes may open it; those that append to the same table each land other
/// partitions, and whoever meets records landed by another gets [`TableError::Superseded`].
pub struct Tables {
    catalog: Arc<Catalog>,
    io: FileIO,
    slots: Vec<Slot>,
    caches: Arc<ReadCaches>,
}

impl Tables {
    /// Opens the tables under `dir` (`catalog.db` and `warehouse/`), and makes those that do not exist.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] when a table was made by a version with other columns, or changed by another engine
    /// in a way that is not read here; [`TableError::Catalog`] and [`TableError::File`] when the disk fails.
    pub async fn open(dir: &Path, options: TableOptions) -> Result<Arc<Tables>, TableError> {
        let dir = dir.to_owned();
        let (catalog, dir) = tokio::task::spawn_blocking(move || {
            let error = |source| TableError::File { path: dir.display().to_string(), source };
            storage::create_folders_synced(&dir.join("warehouse")).map_err(error)?;
            let dir = dir.canonicalize().map_err(error)?;
            Ok::<_, TableError>((Catalog::open(&dir.join("catalog.db"))?, dir))
        })
        .await??;
        let (catalog, io) = (Arc::new(catalog), storage::file_io());
        let mut slots = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            let location = format!("file://{}/warehouse/{NAMESPACE}/{table}", dir.display());
            let state = open_table(table, &catalog, &io, location, options.buckets).await?;
            let landed = Mutex::new(state.positions.clone());
            slots.push(Slot { commit: AsyncMutex::default(), state: RwLock::new(Arc::new(state)), landed });
        }
        Ok(Arc::new(Self { catalog, io, slots, caches: Arc::new(ReadCaches::new(options.cache_bytes)) }))
    }

    fn slot(&self, table: Table) -> &Slot {
        &self.slots[table as usize]
    }

    /// Where this process goes on landing: by partition of the table's topic, the offset of the next record. A
    /// partition that is not there has landed nothing.
    pub fn positions(&self, table: Table) -> Positions {
        self.slot(table).landed.lock().clone()
    }

    /// Appends rows and moves the positions, in one atomic and durable commit. The rows have the columns of
    /// [`arrow_schema`]; any order. `positions` are the next offsets of the partitions that the rows came from, which
    /// were read from [`Tables::positions`] on; partitions that are not named stay where they are. One caller at a time
    /// lands a partition. A commit without rows moves positions only.
    ///
    /// # Errors
    /// On any error nothing was committed. [`TableError::Superseded`]: another process landed the same partition.
    pub async fn append(
        &self,
        table: Table,
        batches: Vec<RecordBatch>,
        positions: Positions,
    ) -> Result<(), TableError> {
        let slot = self.slot(table);
        let _turn = slot.commit.lock().await;
        let begun = Instant::now();
        let base = slot.landed.lock().clone();
        for (&partition, &to) in &positions {
            let from = base.get(&partition).copied().unwrap_or(0);
            if to < from {
                return Err(TableError::Backwards { table, partition, from, to });
            }
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let state = slot.state.read().clone();
        let files = write::write(table, &state.metadata, &self.io, batches).await?;
        let append = Append::prepare(&state, &self.io, files, positions.clone()).await?;
        let committed = self.commit(table, slot, &append, &base, &positions).await;
        if let Err(error) = committed {
            tracing::warn!(%table, rows, %error, "rows were not committed");
            append.discard(&self.io).await;
            return Err(error);
        }
        counter!("millrace_tables_landed_rows_total", "table" => table.name()).increment(rows as u64);
        histogram!("millrace_tables_commit_seconds", "table" => table.name()).record(begun.elapsed());
        Ok(())
    }

    async fn commit(
        &self,
        table: Table,
        slot: &Slot,
        append: &Append,
        base: &Positions,
        positions: &Positions,
    ) -> Result<(), TableError> {
        for attempt in 0..ATTEMPTS {
            let state = slot.state.read().clone();
            if let Err(error) = check_positions(table, &state.positions, base, positions) {
                *slot.landed.lock() = state.positions.clone();
                return Err(error);
            }
            let Prepared { next, expired } = append.onto(&state, &self.io, attempt).await?;
            let (expected, found) = (state.metadata_location.clone(), next.metadata_location.clone());
            let catalog = self.catalog.clone();
            if tokio::task::spawn_blocking(move || catalog.swap(table, &expected, &found)).await?? {
                slot.landed.lock().extend(positions);
                *slot.state.write() = Arc::new(next);
                commit::remove(&self.io, expired.iter().map(String::as_str)).await;
                return Ok(());
            }
            counter!("millrace_tables_commit_conflicts_total", "table" => table.name()).increment(1);
            tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 5)).await;
            self.reload(table).await?;
        }
        Err(TableError::Contended { table, attempts: ATTEMPTS })
    }

    /// Looks for commits of other processes. Readers call it before a snapshot where that matters; while a commit of
    /// this process is under way it does nothing, since that looks too.
    pub async fn refresh(&self, table: Table) -> Result<(), TableError> {
        let Ok(_turn) = self.slot(table).commit.try_lock() else { return Ok(()) };
        self.reload(table).await
    }

    async fn reload(&self, table: Table) -> Result<(), TableError> {
        let slot = self.slot(table);
        let state = slot.state.read().clone();
        let catalog = self.catalog.clone();
        let current = tokio::task::spawn_blocking(move || catalog.current(table)).await??;
        let gone = || TableError::Unsupported { table, message: "the table was dropped from the catalog".to_owned() };
        let current = current.ok_or_else(gone)?;
        if current != state.metadata_location {
            let newer = TableState::load(table, &self.io, current, Some(&state)).await?;
            *slot.state.write() = Arc::new(newer);
        }
        Ok(())
    }

    /// The newest snapshot this process knows: a view that later commits do not change.
    pub fn snapshot(&self, table: Table) -> TableSnapshot {
        TableSnapshot::new(self.slot(table).state.read().clone(), self.caches.clone())
    }

    #[cfg(test)]
    pub(super) fn state_for_test(&self, table: Table) -> Arc<TableState> {
        self.slot(table).state.read().clone()
    }
}

/// The partitions that a commit moves must stand where it started from.
fn check_positions(
    table: Table,
    current: &Positions,
    base: &Positions,
    positions: &Positions,
) -> Result<(), TableError> {
    for partition in positions.keys() {
        let expected = base.get(partition).copied().unwrap_or(0);
        let found = current.get(partition).copied().unwrap_or(0);
        if expected != found {
            return Err(TableError::Superseded { table, partition: *partition, expected, found });
        }
    }
    Ok(())
}

async fn open_table(
    table: Table,
    catalog: &Arc<Catalog>,
    io: &FileIO,
    location: String,
    buckets: u32,
) -> Result<TableState, TableError> {
    let look_up = || {
        let catalog = catalog.clone();
        tokio::task::spawn_blocking(move || catalog.current(table))
    };
    let mut current = look_up().await??;
    if current.is_none() {
        let metadata = new_metadata(table, &location, buckets)?;
        let metadata_location = MetadataLocation::new_with_metadata(&location, &metadata);
        metadata.write_to(io, &metadata_location).await?;
        let (catalog, made) = (catalog.clone(), metadata_location.to_string());
        tokio::task::spawn_blocking(move || catalog.create(table, &made)).await??;
        current = look_up().await??;
    }
    let current = current.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let state = TableState::load(table, io, current, None).await?;
    check_columns(table, &state.metadata)?;
    Ok(state)
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

fn check_columns(table: Table, metadata: &TableMetadata) -> Result<(), TableError> {
    let theirs: Vec<_> =
        metadata.current_schema().as_struct().fields().iter().map(|field| field.name.clone()).collect();
    let ours: Vec<_> = arrow_schema(table).fields().iter().map(|field| field.name().clone()).collect();
    if theirs == ours {
        return Ok(());
    }
    let message = format!("its columns are {theirs:?}, and this version of millrace has {ours:?}");
    Err(TableError::Unsupported { table, message })
}
