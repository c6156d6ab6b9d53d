//! One table as a query sees it: the Parquet files of one snapshot, and the rows that follow it. Both are fixed at the
//! first scan, so that every use of the table in a query sees the same rows.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::sync::OnceCell;

use super::fresh::{Sources, Whole};
use super::prune::Pruner;
use crate::tables::{DataFileRef, Files, Table, arrow_schema};

pub(super) struct WholeTable {
    table: Table,
    schema: SchemaRef,
    sources: Sources,
    whole: OnceCell<Whole>,
}

impl fmt::Debug for WholeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeTable").field("table", &self.table).finish_non_exhaustive()
    }
}

impl WholeTable {
    pub(super) fn new(table: Table, sources: Sources) -> Self {
        Self { table, schema: arrow_schema(table), sources, whole: OnceCell::new() }
    }

    /// Takes the rows now rather than at the first scan.
    pub(super) async fn pin(&self) -> DataFusionResult<()> {
        self.whole().await.map(|_| ())
    }

    async fn whole(&self) -> DataFusionResult<&Whole> {
        let whole = self.whole.get_or_try_init(|| self.sources.whole(self.table)).await;
        whole.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn parquet(
        &self,
        session: &dyn Session,
        files: Vec<PartitionedFile>,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let url = store_url(self.sources.tables.files())?;
        let store = session.runtime_env().object_store(&url)?;
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        let mut source = ParquetSource::new(self.schema.clone())
            .with_pushdown_filters(true)
            .with_enable_page_index(true)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)));
        if let Some(filter) = conjunction(filters.iter().cloned()) {
            let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
            source = source.with_predicate(session.create_physical_expr(filter, &schema)?);
        }
        let groups = groups(files, session.config().target_partitions());
        let config = FileScanConfigBuilder::new(url, Arc::new(source)).with_file_groups(groups);
        Ok(DataSourceExec::from_data_source(config.with_projection_indices(projection.cloned())?.build()))
    }
}

#[async_trait]
impl TableProvider for WholeTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters choose files and pages; fresh rows are not filtered here, so all are applied again above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let whole = self.whole().await?;
        let pruner = Pruner::new(&whole.snapshot, filters);
        let kept = whole.snapshot.files().filter(|file| pruner.keeps(file));
        let files = kept.map(|file| partitioned_file(self.sources.tables.files(), file));
        let files = files.collect::<DataFusionResult<Vec<_>>>()?;
        let fresh = MemorySourceConfig::try_new_exec(
            std::slice::from_ref(&whole.fresh),
            self.schema.clone(),
            projection.cloned(),
        )?;
        if files.is_empty() {
            return Ok(fresh);
        }
        let landed = self.parquet(session, files, projection, filters)?;
        if whole.fresh.is_empty() {
            return Ok(landed);
        }
        UnionExec::try_new(vec![landed, fresh])
    }
}

/// Where DataFusion finds the files of tables.
fn store_url(files: &Files) -> DataFusionResult<ObjectStoreUrl> {
    match files {
        Files::Local => Ok(ObjectStoreUrl::local_filesystem()),
        Files::Objects(objects) => ObjectStoreUrl::parse(objects.url()),
    }
}

/// Tells DataFusion of the bucket, when the files of tables are in one.
pub(super) fn register_store(runtime: &RuntimeEnv, files: &Files) -> DataFusionResult<()> {
    if let Files::Objects(objects) = files {
        runtime.register_object_store(store_url(files)?.as_ref(), objects.store.clone());
    }
    Ok(())
}

fn partitioned_file(files: &Files, file: &DataFileRef) -> DataFusionResult<PartitionedFile> {
    let location = match files {
        Files::Local => Path::from_absolute_path(file.path.as_ref()),
        Files::Objects(_) => Path::parse(file.path.as_ref()),
    };
    let location = location.map_err(|error| DataFusionError::External(Box::new(error)))?;
    // Files never change, so that when they were last modified is no question.
    let last_modified = Default::default();
    let meta = ObjectMeta { location, last_modified, size: file.size_bytes, e_tag: None, version: None };
    Ok(PartitionedFile::new_from_meta(meta))
}

/// Files in at most `count` groups of about equal size.
fn groups(mut files: Vec<PartitionedFile>, count: usize) -> Vec<FileGroup> {
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    let count = count.clamp(1, files.len().max(1));
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count];
    for file in files {
        if let Some(least) = groups.iter_mut().min_by_key(|group| group.0) {
            // What a file costs to open, in bytes that could be read instead.
            least.0 += file.object_meta.size + 65_536;
            least.1.push(file);
        }
    }
    groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}
