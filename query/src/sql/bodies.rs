//! Reads every body back and holds it against the digest taken at reception.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_storage::{BlobStore, BodyRef};

use super::audit::Finding;
use super::engine::{SqlEngine, SqlError, execution};
use crate::tables::Table;

/// Bodies read at a time.
const CONCURRENT: usize = 16;
const NAMED: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyReport {
    pub checked: u64,
    pub damaged: Option<Finding>,
}

/// A body that was received.
struct Received {
    message_id: String,
    reference: String,
    trace_bytes: usize,
    digest: String,
}

/// Checks the body of every reception: it reads back, and the BLAKE3 of what follows the trace headers is
/// `body_digest`. `progress` is called with how many are done and how many there are.
///
/// # Errors
/// As [`SqlEngine::query`]; a body that cannot be read is a finding.
pub async fn check_bodies(
    engine: &SqlEngine,
    blobs: &dyn BlobStore,
    mut progress: impl FnMut(u64, u64),
) -> Result<BodyReport, SqlError> {
    let session = engine.session(&[Table::Reception]).await?;
    let total = session.query("SELECT count(*) FROM reception").await?;
    let total = total.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0).unsigned_abs());
    let mut report = BodyReport::default();
    let mut rows = session.stream("SELECT message_id, body, trace_bytes, body_digest FROM reception").await?;
    while let Some(batch) = rows.try_next().await.map_err(execution)? {
        let checks = stream::iter(received(&batch)).map(|received| async move { check(blobs, &received).await });
        let mut checks = std::pin::pin!(checks.buffer_unordered(CONCURRENT));
        while let Some(problem) = checks.next().await {
            report.checked += 1;
            progress(report.checked, total);
            let Some(problem) = problem else { continue };
            let what = "messages whose body is lost or damaged";
            let finding = report.damaged.get_or_insert_with(|| Finding { what, count: 0, first: Vec::new() });
            finding.count += 1;
            if finding.first.len() < NAMED {
                finding.first.push(problem);
            }
        }
    }
    Ok(report)
}

fn received(batch: &RecordBatch) -> Vec<Received> {
    let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
    let trace_bytes = batch.column(2).as_primitive::<Int64Type>();
    let row = |row| Received {
        message_id: text(0, row),
        reference: text(1, row),
        trace_bytes: usize::try_from(trace_bytes.value(row)).unwrap_or(usize::MAX),
        digest: text(3, row),
    };
    (0..batch.num_rows()).map(row).collect()
}

/// What is wrong with the body, if anything.
async fn check(blobs: &dyn BlobStore, received: &Received) -> Option<String> {
    let name = |problem: &dyn std::fmt::Display| Some(format!("{}: {problem}", received.message_id));
    let reference: BodyRef = match received.reference.parse() {
        Ok(reference) => reference,
        Err(error) => return name(&error),
    };
    let body = match blobs.get(&reference).await {
        Ok(body) => body,
        Err(error) => return name(&error),
    };
    let Some(sent) = body.get(received.trace_bytes..) else {
        return name(&format!("the body has {} bytes, and its trace headers {}", body.len(), received.trace_bytes));
    };
    let digest = blake3::hash(sent).to_hex();
    if digest.as_str() == received.digest { None } else { name(&format!("its digest is {digest}")) }
}
