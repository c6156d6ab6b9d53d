//! A pipeline file that was parsed, checked and planned.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::execution::SessionState;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as DataFusionStatement;
use datafusion::sql::sqlparser::ast::Statement;
use futures::FutureExt;
use millrace_schemas::Topic;

use crate::check;
use crate::error::{PipelineError, Place};
use crate::functions::Functions;
use crate::link;
use crate::parse::{Definition, Into, Stage};
use crate::slot::{Slot, SlotTable};

/// A pipeline that can be run.
#[derive(Clone)]
pub struct Pipeline {
    name: String,
    sql: String,
    definition: Definition,
}

impl Pipeline {
    /// Parses, checks and plans a SQL file. `name` is the file's name without `.sql`, and the consumer group.
    ///
    /// # Errors
    /// [`PipelineError`], with the construct and the line.
    pub fn load(name: &str, sql: &str) -> Result<Self, PipelineError> {
        let definition = Definition::parse(name, sql)?;
        let context = session(None, name)?;
        check::check(name, &definition, &context.state())?;
        logical_stages(name, &definition, &context)?;
        if !definition.stages.iter().any(|stage| matches!(stage.into, Into::Sink(_))) {
            return Err(Place { pipeline: name, line: 1 }.invalid("nothing is inserted into a sink"));
        }
        Ok(Self { name: name.to_owned(), sql: sql.to_owned(), definition })
    }

    /// Name of the file without `.sql`; the consumer group of its runners.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, for a deployer.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Views and INSERTs.
    pub(crate) fn statements(&self) -> usize {
        self.definition.stages.len()
    }

    /// The topic that it reads.
    pub fn source(&self) -> Topic {
        self.definition.source.topic
    }

    /// The topics that it writes, in the order of their tables.
    pub fn sinks(&self) -> Vec<Topic> {
        self.definition.sinks.iter().map(|sink| sink.topic).collect()
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.definition
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A DataFusion session with Arroyo's JSON operators and our functions.
pub(crate) fn session(functions: Option<&Arc<dyn Functions>>, pipeline: &str) -> Result<SessionContext, PipelineError> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    let mut context = SessionContext::new_with_config(config);
    datafusion_functions_json::register_all(&mut context)
        .map_err(|error| Place { pipeline, line: 1 }.invalid(error.to_string()))?;
    for function in link::scalar_functions(functions) {
        context.register_udf(function);
    }
    Ok(context)
}

/// A stage planned logically, with its place in the flow.
pub(crate) struct LogicalStage {
    /// The view, or the sink's table, for errors and dead letters.
    pub(crate) name: String,
    pub(crate) plan: LogicalPlan,
    pub(crate) input: Arc<Slot>,
    pub(crate) output: Output,
}

#[derive(Clone)]
pub(crate) enum Output {
    View(Arc<Slot>),
    /// Index into [`Definition::sinks`].
    Sink(usize),
}

/// Plans the stages in order, and registers a slot in `context` for the source and each view. The first slot is the
/// source's.
pub(crate) fn logical_stages(
    pipeline: &str,
    definition: &Definition,
    context: &SessionContext,
) -> Result<(Arc<Slot>, Vec<LogicalStage>), PipelineError> {
    let place = Place { pipeline, line: 1 };
    let source = register(place, context, &definition.source.name, Arc::clone(&definition.source.schema))?;
    let mut slots = vec![(definition.source.name.clone(), Arc::clone(&source))];
    let mut stages = Vec::with_capacity(definition.stages.len());
    let mut inserted: Vec<Option<(u64, SchemaRef)>> = vec![None; definition.sinks.len()];
    for stage in &definition.stages {
        let place = Place { pipeline, line: stage.line };
        let plan = logical(place, &context.state(), stage)?;
        let schema = between_stages(&plan);
        let input = input(&plan);
        let input = slots.iter().find(|(name, _)| Some(name) == input.as_ref());
        let (_, input) = input.ok_or_else(|| place.invalid("the stage reads no source and no view"))?;
        let input = Arc::clone(input);
        let (name, output) = match &stage.into {
            Into::View(name) => {
                let slot = register(place, context, name, schema)?;
                slots.push((name.clone(), Arc::clone(&slot)));
                (name.clone(), Output::View(slot))
            }
            Into::Sink(sink) => {
                let table = &definition.sinks[*sink];
                fits(place, &table.name, &schema, &table.schema)?;
                match &inserted[*sink] {
                    Some(earlier) => agrees(place, &table.name, &schema, earlier)?,
                    None => inserted[*sink] = Some((stage.line, Arc::clone(&schema))),
                }
                (table.name.clone(), Output::Sink(*sink))
            }
        };
        stages.push(LogicalStage { name, plan, input, output });
    }
    Ok((source, stages))
}

fn register(
    place: Place<'_>,
    context: &SessionContext,
    name: &str,
    schema: SchemaRef,
) -> Result<Arc<Slot>, PipelineError> {
    let slot = Slot::new(schema);
    let table = Arc::new(SlotTable(Arc::clone(&slot)));
    let reference = datafusion::common::TableReference::bare(name.to_owned());
    context.register_table(reference, table).map_err(|error| place.invalid(error.to_string()))?;
    Ok(slot)
}

fn logical(place: Place<'_>, state: &SessionState, stage: &Stage) -> Result<LogicalPlan, PipelineError> {
    let statement = Statement::Query(Box::new(stage.query.clone()));
    let statement = DataFusionStatement::Statement(Box::new(statement));
    // Tables are all in memory: planning has nothing to wait for.
    let planned = state.statement_to_plan(statement).now_or_never();
    let planned = planned.ok_or_else(|| place.invalid("planning waited for something"))?;
    planned.map_err(|error| place.invalid(error.strip_backtrace()))
}

/// The one relation that a checked stage scans.
fn input(plan: &LogicalPlan) -> Option<String> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan.table_name.table().to_owned()),
        _ => plan.inputs().first().and_then(|plan| input(plan)),
    }
}

/// What a stage hands on. Some of DataFusion's text functions give views of text; between stages text is plain. In
/// Arroyo whatever went through `unnest` may be null.
fn between_stages(plan: &LogicalPlan) -> SchemaRef {
    let is_unnested = is_unnested(plan);
    let fields = plan.schema().fields().iter().map(|field| {
        let field = field.as_ref().clone();
        let field = match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => field.with_data_type(DataType::Utf8),
            _ => field,
        };
        let is_nullable = field.is_nullable() || is_unnested;
        field.with_nullable(is_nullable)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn is_unnested(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Unnest(_)) || plan.inputs().into_iter().any(is_unnested)
}

/// Holds an INSERT against an earlier one into the same sink. Arroyo writes all rows of a sink by the schema of one, in
/// which a column that may be null is another type than one that may not.
fn agrees(
    place: Place<'_>,
    sink: &str,
    given: &Schema,
    (line, earlier): &(u64, SchemaRef),
) -> Result<(), PipelineError> {
    for (given, earlier) in given.fields().iter().zip(earlier.fields()) {
        if given.is_nullable() != earlier.is_nullable() {
            let (here, there) = if given.is_nullable() { ("may be", "is never") } else { ("is never", "may be") };
            let name = given.name();
            let message = format!("column '{name}' of '{sink}' {here} null, and {there} in the INSERT on line {line}");
            return Err(place.invalid(message + "; write coalesce(…) where it may, so that all rows have one schema"));
        }
    }
    Ok(())
}

/// Holds the columns of an INSERT against those of its sink: by position, names too, so that a column that slipped
/// is seen. That no null comes to a column that takes none is checked on each row when the pipeline runs.
fn fits(place: Place<'_>, sink: &str, given: &Schema, wanted: &Schema) -> Result<(), PipelineError> {
    if given.fields().len() != wanted.fields().len() {
        let (given, wanted) = (given.fields().len(), wanted.fields().len());
        return Err(place.invalid(format!("{given} columns are inserted into '{sink}', which has {wanted}")));
    }
    for (number, (given, wanted)) in given.fields().iter().zip(wanted.fields()).enumerate() {
        let number = number + 1;
        let name = wanted.name();
        if given.name() != name {
            let given = given.name();
            let message = format!("column {number} inserted into '{sink}' is named '{given}', not '{name}'");
            return Err(place.invalid(message + "; name it with AS"));
        }
        let is_null = given.data_type() == &DataType::Null;
        if is_null && !wanted.is_nullable() {
            return Err(place.invalid(format!("column '{name}' of '{sink}' takes no NULL")));
        }
        if !is_null && !is_same(given.data_type(), wanted.data_type()) {
            let (given, wanted) = (given.data_type(), wanted.data_type());
            return Err(place.invalid(format!("column '{name}' of '{sink}' is {wanted}, not {given}; write a CAST")));
        }
    }
    Ok(())
}

/// Lists may differ in what they call their items and whether those may be null: checked on each row.
fn is_same(given: &DataType, wanted: &DataType) -> bool {
    match (given, wanted) {
        (DataType::List(given), DataType::List(wanted)) => is_same(given.data_type(), wanted.data_type()),
        _ => given == wanted,
    }
}
