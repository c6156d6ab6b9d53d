//! The physical plans of a pipeline, made once, and how a batch goes through them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, collect};
use futures::FutureExt;
use millrace_schemas::Topic;

use crate::error::{PipelineError, Place};
use crate::functions::{Functions, Unavailable};
use crate::plan::{LogicalStage, Output, Pipeline, logical_stages, session};
use crate::slot::Slot;

/// Why a batch did not go through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing is wrong with the records: try again later.
    Unavailable(Unavailable),
    /// A record, or several, cannot be processed in `stage`.
    Poison { stage: String, error: String },
}

/// Rows for a sink.
pub(crate) struct Inserted {
    pub(crate) topic: Topic,
    /// Columns with the names and types of the topic's Avro schema.
    pub(crate) rows: RecordBatch,
}

/// One worker's plans. A batch goes through one at a time.
pub(crate) struct Program {
    source: Arc<Slot>,
    stages: Vec<Stage>,
    context: Arc<TaskContext>,
}

struct Stage {
    name: String,
    plan: Arc<dyn ExecutionPlan>,
    input: Arc<Slot>,
    output: Target,
}

enum Target {
    View(Arc<Slot>),
    Sink { topic: Topic, schema: SchemaRef },
}

impl Program {
    /// Plans a pipeline with its functions linked in.
    ///
    /// # Errors
    /// [`PipelineError::Invalid`] when DataFusion cannot plan a stage.
    pub(crate) async fn new(pipeline: &Pipeline, functions: &Arc<dyn Functions>) -> Result<Self, PipelineError> {
        let definition = pipeline.definition();
        let context = session(Some(functions), pipeline.name())?;
        let (source, logical) = logical_stages(pipeline.name(), definition, &context)?;
        let state = context.state();
        let mut stages = Vec::with_capacity(logical.len());
        for (stage, parsed) in logical.into_iter().zip(&definition.stages) {
            let LogicalStage { name, plan, input, output } = stage;
            let place = Place { pipeline: pipeline.name(), line: parsed.line };
            let plan = state.create_physical_plan(&plan).await;
            let plan = plan.map_err(|error| place.invalid(error.strip_backtrace()))?;
            let output = match output {
                Output::View(slot) => Target::View(slot),
                Output::Sink(sink) => {
                    let sink = &definition.sinks[sink];
                    Target::Sink { topic: sink.topic, schema: Arc::clone(&sink.schema) }
                }
            };
            stages.push(Stage { name, plan, input, output });
        }
        Ok(Self { source, stages, context: context.task_ctx() })
    }

    /// The columns of the source that the pipeline reads.
    pub(crate) fn source_schema(&self) -> &SchemaRef {
        self.source.schema()
    }

    /// Runs every stage once over `batch`, in order, handing each view's rows on to all that read it.
    ///
    /// # Errors
    /// [`Failure`]; then nothing of the batch counts.
    pub(crate) async fn evaluate(&mut self, batch: RecordBatch) -> Result<Vec<Inserted>, Failure> {
        self.source.set(batch);
        let result = self.stages().await;
        self.source.clear();
        for stage in &self.stages {
            if let Target::View(slot) = &stage.output {
                slot.clear();
            }
        }
        result
    }

    async fn stages(&self) -> Result<Vec<Inserted>, Failure> {
        let mut inserted = Vec::new();
        for stage in &self.stages {
            // No stage makes rows of nothing: aggregates are refused.
            if stage.input.get().num_rows() == 0 {
                continue;
            }
            let rows = AssertUnwindSafe(self.stage(stage)).catch_unwind().await;
            let rows = rows.unwrap_or_else(|_| Err(DataFusionError::Execution("a stage function panicked".into())));
            let rows = rows.map_err(|error| failure(&stage.name, &error))?;
            match &stage.output {
                Target::View(slot) => slot.set(rows),
                Target::Sink { topic, .. } if rows.num_rows() > 0 => inserted.push(Inserted { topic: *topic, rows }),
                Target::Sink { .. } => {}
            }
        }
        Ok(inserted)
    }

    async fn stage(&self, stage: &Stage) -> Result<RecordBatch, DataFusionError> {
        let plan = reset_plan_states(Arc::clone(&stage.plan))?;
        let schema = plan.schema();
        let mut batches = collect(plan, Arc::clone(&self.context)).await?;
        let rows = if batches.len() == 1 { batches.remove(0) } else { concat_batches(&schema, &batches)? };
        match &stage.output {
            Target::View(slot) => conform(&rows, slot.schema()),
            Target::Sink { schema, .. } => conform(&rows, schema),
        }
    }
}

/// The same columns under the names, types and nullability of `schema`.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => cast(column, field.data_type()),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn failure(stage: &str, error: &DataFusionError) -> Failure {
    if let DataFusionError::External(cause) = error.find_root()
        && let Some(unavailable) = cause.downcast_ref::<Unavailable>()
    {
        return Failure::Unavailable(unavailable.clone());
    }
    Failure::Poison { stage: stage.to_owned(), error: error.strip_backtrace() }
}
