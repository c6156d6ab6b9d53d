//! An index filled from the tables and the stored bodies.

use std::collections::HashSet;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use futures::StreamExt;
use millrace_schemas::topic::partition_of;
use millrace_storage::BlobStore;

use super::error::SearchError;
use super::schema::Source;
use super::steps::Step;
use super::writing::Writing;
use crate::tables::{Positions, Table, TableSnapshot, Tables};

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebuildProgress {
    /// Emails in the tables.
    pub total: u64,
    /// Emails read from the tables so far.
    pub read: u64,
    /// Of these, indexed; the others are destroyed or will come from the log.
    pub indexed: u64,
}

/// Whose mail an index has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// How many partitions `mailbox.changes` has.
    pub(super) partitions: u32,
    /// `None` for all of them.
    pub(super) only: Option<u32>,
}

impl Scope {
    fn partition_of(self, account_id: &str) -> u32 {
        partition_of(account_id, self.partitions)
    }

    fn has(self, account_id: &str) -> bool {
        self.only.is_none_or(|only| self.partition_of(account_id) == only)
    }
}

/// Replaces all documents by what the tables hold, in one commit: until then searches answer from what was there.
/// Returns where the tables end; the log brings what follows.
pub(super) async fn rebuild(
    writing: &mut Writing,
    tables: &Tables,
    blobs: &dyn BlobStore,
    scope: Scope,
    mut progress: impl FnMut(RebuildProgress) + Send,
) -> Result<RebuildProgress, SearchError> {
    // `emails` lands first: a snapshot taken after that of the state has every email that the state has.
    tables.refresh(Table::EmailState).await?;
    let state = tables.snapshot(Table::EmailState);
    tables.refresh(Table::Emails).await?;
    let emails = tables.snapshot(Table::Emails);
    let mut positions = state.positions().clone();
    positions.retain(|partition, _| scope.only.is_none_or(|only| only == *partition));
    let destroyed = destroyed(&state, scope).await?;
    writing.clear().await?;
    let mut done = RebuildProgress { total: emails.rows(), ..RebuildProgress::default() };
    let mut batches = emails.scan(&["account_id", "email_id", "body", "summary", "seq"]).await?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        done.read += batch.num_rows() as u64;
        let sources = sources(&batch, &destroyed, &positions, scope)?;
        done.indexed += sources.len() as u64;
        let steps = sources.into_iter().map(|source| Step::Add(source, None)).collect();
        writing.take(steps, blobs).await?;
        progress(done);
    }
    writing.commit(positions).await?;
    Ok(done)
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, ArrowError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt());
    column.ok_or_else(|| ArrowError::SchemaError(format!("no text column '{name}'")))
}

/// Account and email id of what was destroyed.
async fn destroyed(state: &TableSnapshot, scope: Scope) -> Result<HashSet<(String, String)>, SearchError> {
    let mut found = HashSet::new();
    let mut batches = state.scan(&["account_id", "email_id", "is_destroyed"]).await?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let flags = batch.column_by_name("is_destroyed").and_then(|column| column.as_boolean_opt());
        let flags = flags.ok_or_else(|| ArrowError::SchemaError("no column 'is_destroyed'".to_owned()))?;
        let (accounts, emails) = (text(&batch, "account_id")?, text(&batch, "email_id")?);
        let gone = (0..batch.num_rows()).filter(|row| flags.value(*row) && scope.has(accounts.value(*row)));
        found.extend(gone.map(|row| (accounts.value(row).to_owned(), emails.value(row).to_owned())));
    }
    Ok(found)
}

/// The emails of a batch that are in scope and that the log will not bring again.
fn sources(
    batch: &RecordBatch,
    destroyed: &HashSet<(String, String)>,
    positions: &Positions,
    scope: Scope,
) -> Result<Vec<Source>, ArrowError> {
    let (accounts, emails) = (text(batch, "account_id")?, text(batch, "email_id")?);
    let (bodies, summaries) = (text(batch, "body")?, text(batch, "summary")?);
    let seqs = batch.column_by_name("seq").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let seqs = seqs.ok_or_else(|| ArrowError::SchemaError("no column 'seq'".to_owned()))?;
    let mut found = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let account_id = accounts.value(row);
        let end = positions.get(&scope.partition_of(account_id)).copied().unwrap_or(0);
        let key = (account_id.to_owned(), emails.value(row).to_owned());
        if scope.has(account_id) && seqs.value(row).unsigned_abs() < end && !destroyed.contains(&key) {
            let (account_id, email_id) = key;
            let (body, summary) = (bodies.value(row).to_owned(), summaries.value(row).to_owned());
            found.push(Source { account_id, email_id, body, summary });
        }
    }
    Ok(found)
}
