//! Log records in, log records out; a record that cannot be processed is singled out and dead-lettered.

use std::collections::HashMap;
use std::iter;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use millrace_schemas::arrow::{BatchDecoder, encode_batch};
use millrace_schemas::{DeadLetter, Topic, encode};
use millrace_storage::log::MAX_RECORD_BYTES;
use millrace_storage::{NewRecord, Position, Record};
use tracing::warn;

use crate::error::PipelineError;
use crate::functions::{Functions, Unavailable};
use crate::plan::Pipeline;
use crate::program::{Failure, Inserted, Program};

/// The stage of a dead letter whose record could not be decoded.
const DECODE: &str = "decode";

/// Turns records of the source into records of the sinks. One at a time.
pub(crate) struct Processor {
    program: Program,
    decoder: BatchDecoder,
    max_body_bytes: u64,
}

/// Records whose evaluation is tried together.
struct Chunk {
    /// Which of the polled records.
    records: Range<usize>,
    rows: RecordBatch,
}

impl Processor {
    /// `max_body_bytes`: bodies that are in memory at once, in all, unless one alone is larger.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub(crate) async fn new(
        pipeline: &Pipeline,
        functions: &Arc<dyn Functions>,
        max_body_bytes: u64,
    ) -> Result<Self, PipelineError> {
        let program = Program::new(pipeline, functions).await?;
        Ok(Self { program, decoder: BatchDecoder::new(pipeline.source()), max_body_bytes })
    }

    /// What the sinks get for `records`, in their order.
    ///
    /// # Errors
    /// [`Unavailable`]: try the same records again later.
    pub(crate) async fn process(&mut self, records: &[Record]) -> Result<Vec<NewRecord>, Unavailable> {
        let mut outputs = Vec::with_capacity(records.len() * 4);
        let mut waiting: Vec<_> = iter::once(0..records.len()).collect();
        while let Some(range) = waiting.pop() {
            match self.decode(&records[range.clone()]) {
                Ok(rows) => {
                    for chunk in self.chunks(range, rows) {
                        self.chunk(records, chunk, &mut outputs).await?;
                    }
                }
                Err(error) if range.len() == 1 => {
                    let record = &records[range.start];
                    outputs.push(dead_letter(record, DECODE, error, None));
                }
                Err(_) => split(range, &mut waiting),
            }
        }
        Ok(outputs)
    }

    fn decode(&self, records: &[Record]) -> Result<RecordBatch, String> {
        let values: Vec<&Bytes> = records.iter().map(|record| &record.value).collect();
        let rows = guarded(|| self.decoder.decode(&values).map_err(|error| error.to_string()))?;
        project(&rows, self.program.source_schema()).map_err(|error| error.to_string())
    }

    /// Splits rows so that the bodies of a chunk fit into memory, going by the column `size_bytes`.
    fn chunks(&self, range: Range<usize>, rows: RecordBatch) -> Vec<Chunk> {
        let sizes = rows.column_by_name("size_bytes").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let mut chunks = Vec::new();
        let (mut from, mut bytes) = (0, 0_u64);
        for row in 0..rows.num_rows() {
            let size = sizes.map_or(0, |sizes| u64::try_from(sizes.value(row)).unwrap_or(0));
            if row > from && bytes.saturating_add(size) > self.max_body_bytes {
                chunks.push(cut(&range, &rows, from..row));
                (from, bytes) = (row, 0);
            }
            bytes = bytes.saturating_add(size);
        }
        chunks.push(cut(&range, &rows, from..rows.num_rows()));
        chunks
    }

    /// Evaluates a chunk; when that fails its halves, down to the record that is to blame.
    async fn chunk(
        &mut self,
        records: &[Record],
        chunk: Chunk,
        outputs: &mut Vec<NewRecord>,
    ) -> Result<(), Unavailable> {
        let mut waiting: Vec<_> = iter::once(0..chunk.rows.num_rows()).collect();
        while let Some(range) = waiting.pop() {
            let Chunk { records: at, rows } = cut(&chunk.records, &chunk.rows, range.clone());
            match self.evaluate(&records[at.clone()], &rows).await {
                Ok(made) => outputs.extend(made),
                Err(Failure::Unavailable(unavailable)) => return Err(unavailable),
                Err(Failure::Poison { stage, error }) if range.len() == 1 => {
                    outputs.push(dead_letter(&records[at.start], &stage, error, Some(&rows)));
                }
                Err(Failure::Poison { .. }) => split(range, &mut waiting),
            }
        }
        Ok(())
    }

    async fn evaluate(&mut self, records: &[Record], rows: &RecordBatch) -> Result<Vec<NewRecord>, Failure> {
        let mut outputs = Vec::new();
        for inserted in self.program.evaluate(rows.clone()).await? {
            let inserted = with_positions(inserted, records, rows)?;
            outputs.extend(encoded(&inserted)?);
        }
        Ok(outputs)
    }
}

/// A codec that panics on some bytes costs the record, not the runner.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the codec panicked".to_owned()))
}

/// Puts both halves of a range on the stack, so that the first comes off first.
fn split(range: Range<usize>, waiting: &mut Vec<Range<usize>>) {
    let middle = range.start + range.len() / 2;
    waiting.push(middle..range.end);
    waiting.push(range.start..middle);
}

fn cut(records: &Range<usize>, rows: &RecordBatch, part: Range<usize>) -> Chunk {
    let at = records.start + part.start..records.start + part.end;
    Chunk { records: at, rows: rows.slice(part.start, part.len()) }
}

/// The columns of `schema`, in its order.
fn project(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = schema.fields().iter().map(|field| {
        let column = rows.column_by_name(field.name()).cloned();
        column.ok_or_else(|| arrow::error::ArrowError::SchemaError(format!("no column '{}'", field.name())))
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<Vec<_>, _>>()?)
}

fn encoded(inserted: &Inserted) -> Result<Vec<NewRecord>, Failure> {
    let poison = |error: String| Failure::Poison { stage: inserted.topic.name().to_owned(), error };
    let values = guarded(|| encode_batch(inserted.topic, &inserted.rows).map_err(|error| error.to_string()));
    let values = values.map_err(poison)?;
    let key_field = inserted.topic.key_field();
    let keys = inserted.rows.column_by_name(key_field).and_then(|column| column.as_string_opt::<i32>());
    let keys = keys.ok_or_else(|| poison(format!("the key column '{key_field}' is not text")))?;
    let records = values.into_iter().enumerate().map(|(row, value)| {
        let record = NewRecord { topic: inserted.topic, key: keys.value(row).to_owned(), value };
        match record.size() {
            ..=MAX_RECORD_BYTES => Ok(record),
            size => Err(poison(format!("it makes a record of {size} bytes, and one may have {MAX_RECORD_BYTES}"))),
        }
    });
    records.collect()
}

/// Says in dead letters where the record is that they came from: SQL does not know it.
fn with_positions(inserted: Inserted, records: &[Record], rows: &RecordBatch) -> Result<Inserted, Failure> {
    if inserted.topic != Topic::DeadLetter {
        return Ok(inserted);
    }
    let (Some(from), Some(ids)) = (text(rows, "message_id"), text(&inserted.rows, "message_id")) else {
        return Ok(inserted);
    };
    let positions: HashMap<&str, Position> =
        records.iter().enumerate().map(|(row, record)| (from.value(row), record.position)).collect();
    let found: Vec<Option<Position>> = ids.iter().map(|id| positions.get(id?).copied()).collect();
    let number = |of: fn(&Position) -> u64| -> ArrayRef {
        let numbers = found.iter().map(|position| position.as_ref().map(|position| of(position) as i64));
        Arc::new(numbers.collect::<Int64Array>())
    };
    let topics = found.iter().map(|position| position.as_ref().map(|position| position.topic.name()));
    let topics: ArrayRef = Arc::new(topics.collect::<StringArray>());
    let schema = inserted.rows.schema();
    let columns =
        schema.fields().iter().zip(inserted.rows.columns()).map(|(field, column)| match field.name().as_str() {
            "topic" => Arc::clone(&topics),
            "partition" => number(|position| u64::from(position.partition)),
            "offset" => number(|position| position.offset),
            _ => Arc::clone(column),
        });
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns.collect());
    let rows = rows.map_err(|error| Failure::Poison { stage: DECODE.to_owned(), error: error.to_string() })?;
    Ok(Inserted { topic: inserted.topic, rows })
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Option<&'a StringArray> {
    rows.column_by_name(name)?.as_string_opt::<i32>()
}

/// The dead letter of one record; `row` is its decoded row, where it could be decoded.
fn dead_letter(record: &Record, stage: &str, error: String, row: Option<&RecordBatch>) -> NewRecord {
    let column = |name: &str| row.and_then(|row| text(row, name)).filter(|column| column.is_valid(0));
    let received = row.and_then(|row| row.column_by_name("received_at_us")?.as_primitive_opt::<Int64Type>());
    let letter = DeadLetter {
        stage: stage.to_owned(),
        error,
        failed_at_us: received.map_or(record.appended_at_us, |received| received.value(0)),
        message_id: column("message_id").map(|column| column.value(0).to_owned()),
        recipient: None,
        body: column("body").map(|column| column.value(0).to_owned()),
        topic: Some(record.position.topic.name().to_owned()),
        partition: Some(i64::from(record.position.partition)),
        offset: i64::try_from(record.position.offset).ok(),
    };
    let Position { topic, partition, offset } = record.position;
    warn!(%topic, partition, offset, stage, error = letter.error, "record is dead-lettered");
    let value = encode(&letter).expect("a dead letter fits its own schema");
    NewRecord { topic: Topic::DeadLetter, key: letter.stage, value }
}
