//! [`Tables`]: the six tables of a data directory, or of a cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use futures::future::try_join_all;
use metrics::{counter, histogram};
use object_store::ObjectStore;

use super::attempts::Attempts;
use super::backend::Backend;
use super::catalog::{self, Catalog, CatalogError, CatalogOptions, PointerCatalog, Sqlite};
use super::commit::Append;
use super::footers::ReadCaches;
use super::positions::Positions;
use super::slot::Slot;
use super::storage::{self, Files, Objects};
use super::{Table, TableError, TableSnapshot, write};

#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    /// Buckets of accounts, for tables that are made now; an existing table keeps its own.
    pub buckets: u32,
    /// Memory for Parquet footers, page indexes and account indexes, in bytes.
    pub cache_bytes: usize,
    /// Memory for whole data files, in bytes; used where they are not on a local disk.
    pub file_cache_bytes: usize,
    /// Data files up to this size are read whole where they are not on a local disk; larger ones by ranges.
    pub small_file_bytes: u64,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { buckets: 8, cache_bytes: 128 << 20, file_cache_bytes: 256 << 20, small_file_bytes: 4 << 20 }
    }
}

/// Tables that many processes share.
pub struct SharedTables {
    pub catalog: CatalogOptions,
    /// The bucket of `warehouse`.
    pub store: Arc<dyn ObjectStore>,
    /// Where new tables are made: `s3://bucket/prefix`.
    pub warehouse: String,
}

/// The tables of one data directory or cluster. Many processes may open them; those that append to the same table each
/// land other partitions, and whoever meets records landed by another gets [`TableError::Superseded`].
pub struct Tables {
    pub(super) backend: Backend,
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
        let (sqlite, dir) = tokio::task::spawn_blocking(move || {
            let error = |source| TableError::File { path: dir.display().to_string(), source };
            storage::create_folders_synced(&dir.join("warehouse")).map_err(error)?;
            let dir = dir.canonicalize().map_err(error)?;
            Ok::<_, TableError>((Sqlite::open(&dir.join("catalog.db"))?, dir))
        })
        .await??;
        let catalog = Arc::new(PointerCatalog::new(sqlite, Files::Local.io()));
        Self::open_with(catalog, Files::Local, format!("file://{}/warehouse", dir.display()), options).await
    }

    /// Opens the tables of a cluster, and makes those that do not exist.
    ///
    /// # Errors
    /// As [`Tables::open`]; [`TableError::Catalog`] also when the options are wrong or nothing answers.
    pub async fn open_shared(shared: SharedTables, options: TableOptions) -> Result<Arc<Tables>, TableError> {
        let warehouse = shared.warehouse.trim_end_matches('/').to_owned();
        let objects = Objects::of_location(&warehouse, shared.store);
        let files = Files::Objects(objects.map_err(|error| CatalogError::Options(error.to_string()))?);
        let catalog = catalog::connect(shared.catalog, files.io()).await?;
        Self::open_with(catalog, files, warehouse, options).await
    }

    pub(super) async fn open_with(
        catalog: Arc<dyn Catalog>,
        files: Files,
        warehouse: String,
        options: TableOptions,
    ) -> Result<Arc<Tables>, TableError> {
        let backend = Backend::new(catalog, files, warehouse);
        let states = try_join_all(Table::ALL.map(|table| backend.open(table, options.buckets))).await?;
        let slots = states.into_iter().map(Slot::new).collect();
        let caches = Arc::new(ReadCaches::new(&backend.files, options));
        Ok(Arc::new(Self { backend, slots, caches }))
    }

    pub(super) fn slot(&self, table: Table) -> &Slot {
        &self.slots[table as usize]
    }

    /// Where this process goes on landing: by partition of the table's topic, the offset of the next record. A
    /// partition that is not there has landed nothing. Readers ask a snapshot for its positions instead.
    pub fn positions(&self, table: Table) -> Positions {
        self.slot(table).landed.lock().clone()
    }

    /// Begins landing where the newest snapshot ends, whoever made it: [`Tables::positions`] are those from now on. Call
    /// it before reading the first record of partitions that may have been another's, with no append under way.
    pub async fn resume(&self, table: Table) -> Result<Positions, TableError> {
        let slot = self.slot(table);
        let _turn = slot.commit.lock().await;
        slot.reload(&self.backend).await?;
        let positions = slot.state().positions.clone();
        *slot.landed.lock() = positions.clone();
        Ok(positions)
    }

    /// Appends rows and moves the positions, in one atomic and durable commit. The rows have the columns of
    /// [`arrow_schema`](super::arrow_schema); any order. `positions` are the next offsets of the partitions that the
    /// rows came from, which were read from [`Tables::positions`] on; partitions that are not named stay where they are.
    /// One caller at a time lands a partition. A commit without rows moves positions only.
    ///
    /// # Errors
    /// [`TableError::Superseded`]: another process landed the same partition, and nothing was committed. On any other
    /// error nothing was committed as far as is known; when it was after all, the next append is superseded.
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
        let (state, io) = (slot.state(), &self.backend.io);
        let files = write::write(table, &state.metadata, io, batches).await?;
        let append = Append::prepare(&state, io, files, positions.clone()).await?;
        let (backend, positions) = (&self.backend, &positions);
        let attempts = Attempts { backend, slot, append: &append, base: &base, positions };
        if let Err(failed) = attempts.run().await {
            tracing::warn!(%table, rows, error = %failed.error, "rows were not committed");
            if !failed.may_be_committed {
                append.discard(io).await;
            }
            return Err(failed.error);
        }
        counter!("millrace_tables_landed_rows_total", "table" => table.name()).increment(rows as u64);
        histogram!("millrace_tables_commit_rows", "table" => table.name()).record(rows as f64);
        histogram!("millrace_tables_commit_seconds", "table" => table.name()).record(begun.elapsed());
        Ok(())
    }

    /// Looks for commits of other processes. Readers call it before a snapshot where that matters.
    pub async fn refresh(&self, table: Table) -> Result<(), TableError> {
        self.slot(table).refresh(&self.backend).await
    }

    /// The newest snapshot this process knows: a view that later commits do not change.
    pub fn snapshot(&self, table: Table) -> TableSnapshot {
        TableSnapshot::new(self.slot(table).state(), self.caches.clone())
    }

    /// A snapshot with everything of `partition` before `offset`, which somebody has landed: one that this process does
    /// not know yet is looked for. Else the newest there is.
    pub async fn snapshot_reaching(
        &self,
        table: Table,
        partition: u32,
        offset: u64,
    ) -> Result<TableSnapshot, TableError> {
        let known = self.snapshot(table);
        if known.positions().get(&partition).copied().unwrap_or(0) >= offset {
            return Ok(known);
        }
        self.refresh(table).await?;
        Ok(self.snapshot(table))
    }

    pub(crate) fn files(&self) -> &Files {
        &self.backend.files
    }
}
