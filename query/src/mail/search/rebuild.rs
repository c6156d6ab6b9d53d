//! The index made again from the tables and the stored bodies.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::StreamExt;
use millrace_schemas::{Topic, topic::partition_of};
use millrace_storage::{BlobStore, Log};

use super::index::{Search, SearchError};
use super::indexer::{MAX_HELD_BYTES, Step, read_patiently, take_steps};
use super::schema::Source;
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

impl Search {
    /// Drops all documents and indexes what the tables hold; an [`Indexer`](super::Indexer) of this process makes way
    /// and then goes on from where the tables end. Until the end, searches answer from the old index.
    ///
    /// # Errors
    /// [`SearchError::Index`] while another process writes the index.
    pub async fn rebuild(
        self: &Arc<Self>,
        tables: &Tables,
        blobs: &dyn BlobStore,
        log: &dyn Log,
        progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<RebuildProgress, SearchError> {
        let _turn = self.turn.take().await;
        self.rebuild_in_turn(tables, blobs, log, progress).await
    }

    /// [`Search::rebuild`] for whoever has the turn.
    pub(super) async fn rebuild_in_turn(
        self: &Arc<Self>,
        tables: &Tables,
        blobs: &dyn BlobStore,
        log: &dyn Log,
        mut progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<RebuildProgress, SearchError> {
        // `emails` lands first: a snapshot taken after that of the state has every email that the state has. Both are
        // looked for, since others land, and the log may have let go of what an older snapshot lacks.
        tables.refresh(Table::EmailState).await?;
        let state = tables.snapshot(Table::EmailState);
        tables.refresh(Table::Emails).await?;
        let emails = tables.snapshot(Table::Emails);
        let positions = state.positions().clone();
        let partitions = log.partitions(Topic::MailboxChanges);
        let destroyed = destroyed(&state).await?;
        let mut writer = Some(self.writer()?);
        if let Some(writer) = &writer {
            writer.delete_all_documents()?;
        }
        let mut done = RebuildProgress { total: emails.rows(), ..RebuildProgress::default() };
        let mut batches = emails.scan(&["account_id", "email_id", "body", "summary", "seq"]).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            done.read += batch.num_rows() as u64;
            let sources = sources(&batch, &destroyed, &positions, partitions)?;
            done.indexed += sources.len() as u64;
            let mut steps = Vec::new();
            let mut held = 0;
            for source in sources {
                let body = read_patiently(&source, blobs).await?;
                held += body.as_ref().map_or(0, Bytes::len);
                steps.push(Step::Add(source, body));
                if held >= MAX_HELD_BYTES {
                    writer = self.take_blocking(writer, std::mem::take(&mut steps)).await?;
                    held = 0;
                }
            }
            writer = self.take_blocking(writer, steps).await?;
            progress(done);
        }
        let search = self.clone();
        tokio::task::spawn_blocking(move || match writer {
            Some(mut writer) => search.commit(&mut writer, &positions),
            None => Ok(()),
        })
        .await??;
        Ok(done)
    }

    async fn take_blocking(
        self: &Arc<Self>,
        writer: Option<tantivy::IndexWriter>,
        steps: Vec<Step>,
    ) -> Result<Option<tantivy::IndexWriter>, SearchError> {
        let search = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Some(writer) = &writer {
                take_steps(&search, writer, steps)?;
            }
            Ok(writer)
        })
        .await?
    }
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, ArrowError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt());
    column.ok_or_else(|| ArrowError::SchemaError(format!("no text column '{name}'")))
}

/// Account and email id of what was destroyed.
async fn destroyed(state: &TableSnapshot) -> Result<HashSet<(String, String)>, SearchError> {
    let mut found = HashSet::new();
    let mut batches = state.scan(&["account_id", "email_id", "is_destroyed"]).await?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let flags = batch.column_by_name("is_destroyed").and_then(|column| column.as_boolean_opt());
        let flags = flags.ok_or_else(|| ArrowError::SchemaError("no column 'is_destroyed'".to_owned()))?;
        let (accounts, emails) = (text(&batch, "account_id")?, text(&batch, "email_id")?);
        let gone = (0..batch.num_rows()).filter(|row| flags.value(*row));
        found.extend(gone.map(|row| (accounts.value(row).to_owned(), emails.value(row).to_owned())));
    }
    Ok(found)
}

/// The emails of a batch that the log will not bring again.
fn sources(
    batch: &RecordBatch,
    destroyed: &HashSet<(String, String)>,
    positions: &Positions,
    partitions: u32,
) -> Result<Vec<Source>, ArrowError> {
    let (accounts, emails) = (text(batch, "account_id")?, text(batch, "email_id")?);
    let (bodies, summaries) = (text(batch, "body")?, text(batch, "summary")?);
    let seqs = batch.column_by_name("seq").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let seqs = seqs.ok_or_else(|| ArrowError::SchemaError("no column 'seq'".to_owned()))?;
    let mut found = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let account_id = accounts.value(row);
        let end = positions.get(&partition_of(account_id, partitions)).copied().unwrap_or(0);
        let key = (account_id.to_owned(), emails.value(row).to_owned());
        if seqs.value(row).unsigned_abs() < end && !destroyed.contains(&key) {
            let (account_id, email_id) = key;
            let (body, summary) = (bodies.value(row).to_owned(), summaries.value(row).to_owned());
            found.push(Source { account_id, email_id, body, summary });
        }
    }
    Ok(found)
}
