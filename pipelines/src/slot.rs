//! A slot holds the batch of one relation (the source or a view) while the stages that read it run.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};

/// Written once per batch by the stage that makes the relation, read by every stage after it.
#[derive(Debug)]
pub(crate) struct Slot {
    schema: SchemaRef,
    batch: Mutex<RecordBatch>,
}

impl Slot {
    pub(crate) fn new(schema: SchemaRef) -> Arc<Self> {
        let batch = Mutex::new(RecordBatch::new_empty(Arc::clone(&schema)));
        Arc::new(Self { schema, batch })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn set(&self, batch: RecordBatch) {
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner) = batch;
    }

    pub(crate) fn clear(&self) {
        self.set(RecordBatch::new_empty(Arc::clone(&self.schema)));
    }

    pub(crate) fn get(&self) -> RecordBatch {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A slot as a table that DataFusion plans over.
#[derive(Debug)]
pub(crate) struct SlotTable(pub(crate) Arc<Slot>);

#[async_trait]
impl TableProvider for SlotTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.0.schema.project(columns)?),
            None => Arc::clone(&self.0.schema),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let slot = Arc::clone(&self.0);
        Ok(Arc::new(SlotExec { slot, projection: projection.cloned(), properties: Arc::new(properties) }))
    }
}

/// Reads what the slot holds when it is executed.
#[derive(Debug)]
struct SlotExec {
    slot: Arc<Slot>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for SlotExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlotExec")
    }
}

impl ExecutionPlan for SlotExec {
    fn name(&self) -> &str {
        "SlotExec"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a slot has no inputs") }
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let stream = MemoryStream::try_new(vec![self.slot.get()], self.schema(), self.projection.clone())?;
        Ok(Box::pin(stream))
    }
}
