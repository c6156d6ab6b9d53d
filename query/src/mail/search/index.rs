//! The open index.

use std::path::Path;
use std::sync::Arc;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::StrColumn;
use tantivy::directory::MmapDirectory;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::schema::Schema;
use tantivy::{DocId, Index, IndexReader, IndexWriter, ReloadPolicy, Score, SegmentOrdinal, SegmentReader};

use super::query::{TextQuery, build};
use super::schema::{Document, EMAIL_ID, Fields};
use super::tokenizer::{self, MailTokenizer};
use super::turn::Turn;
use crate::tables::Positions;

#[derive(Clone, Copy, Debug)]
pub struct SearchOptions {
    /// Memory for documents that are not committed, in bytes; at least 15 MB.
    pub writer_bytes: usize,
    /// Time between commits while there is new mail.
    pub commit_interval: std::time::Duration,
    /// Documents that are committed before the interval has passed.
    pub max_uncommitted: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { writer_bytes: 40 << 20, commit_interval: std::time::Duration::from_millis(400), max_uncommitted: 20_000 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The index is damaged, in use by another process, or the disk fails.
    #[error("the search index: {0}; {advice}", advice = advice(.0))]
    Index(#[from] tantivy::TantivyError),
    #[error("the folder of the search index: {0}")]
    Folder(#[from] std::io::Error),
    #[error("the search index has positions that cannot be read: {0}; `millrace rebuild search` makes it again")]
    Positions(String),
    #[error("a search task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Log(#[from] millrace_storage::LogError),
    #[error(transparent)]
    Blob(#[from] millrace_storage::BlobError),
    #[error(transparent)]
    Table(#[from] crate::tables::TableError),
    #[error("rows of a table cannot be read: {0}")]
    Rows(#[from] arrow::error::ArrowError),
}

/// What to do about an error of the index.
fn advice(error: &tantivy::TantivyError) -> &'static str {
    match error {
        tantivy::TantivyError::IoError(_) | tantivy::TantivyError::ErrorInThread(_) => {
            "see that its disk works and has room"
        }
        tantivy::TantivyError::LockFailure(..) => "see that no other process uses the data directory",
        _ => "`millrace rebuild search` makes it again from the tables",
    }
}

/// The index of a data directory.
pub struct Search {
    pub(super) index: Index,
    reader: IndexReader,
    pub(super) schema: Schema,
    pub(super) fields: Fields,
    pub(super) options: SearchOptions,
    pub(super) turn: Turn,
}

/// Emails of the smallest segments that merging tells apart by size.
const SMALLEST_LAYER: u32 = 256;

impl Search {
    /// Opens the index under `dir`, or makes an empty one: also when what is there was made by a version with other
    /// fields or terms, since an indexer fills it again.
    pub async fn open(dir: &Path, options: SearchOptions) -> Result<Arc<Self>, SearchError> {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || Self::open_blocking(&dir, options)).await?
    }

    fn open_blocking(dir: &Path, options: SearchOptions) -> Result<Arc<Self>, SearchError> {
        let (schema, fields) = Fields::new();
        std::fs::create_dir_all(dir)?;
        let directory = || MmapDirectory::open(dir).map_err(tantivy::TantivyError::from);
        let index = match Index::open_or_create(directory()?, schema.clone()) {
            Err(tantivy::TantivyError::SchemaError(reason)) => {
                tracing::warn!(reason, "the search index is of another version and is made again");
                std::fs::remove_dir_all(dir)?;
                std::fs::create_dir_all(dir)?;
                Index::open_or_create(directory()?, schema.clone())?
            }
            opened => opened?,
        };
        index.tokenizers().register(tokenizer::NAME, MailTokenizer);
        // Reloaded by whoever commits; watching the folder would add half a second.
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Arc::new(Self { index, reader, schema, fields, options, turn: Turn::default() }))
    }

    /// Ids of the account's emails that match, in no order. Emails destroyed a moment ago may still be among them.
    pub async fn search(self: &Arc<Self>, account_id: &str, query: &TextQuery) -> Result<Vec<String>, SearchError> {
        let query = build(&self.fields, account_id, query);
        let search = self.clone();
        let found = tokio::task::spawn_blocking(move || search.reader.searcher().search(&query, &EmailIds)).await??;
        Ok(found)
    }

    /// How many documents the index has, of all accounts.
    pub fn documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// The only writer; fails while there is another, here or in another process.
    pub(super) fn writer(&self) -> Result<IndexWriter, SearchError> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(self.options.writer_bytes)
            .build();
        let writer = self.index.writer_with_options(options)?;
        // A commit makes a segment of some hundred emails. Layers that begin there merge an email once a layer, where
        // the default of 10,000 would merge a growing segment again with every eight commits.
        let mut policy = LogMergePolicy::default();
        policy.set_min_layer_size(SMALLEST_LAYER);
        writer.set_merge_policy(Box::new(policy));
        Ok(writer)
    }

    /// The positions that the last commit reached.
    pub fn positions(&self) -> Result<Option<Positions>, SearchError> {
        let Some(payload) = self.index.load_metas()?.payload else { return Ok(None) };
        serde_json::from_str(&payload)
            .map(Some)
            .map_err(|error| SearchError::Positions(format!("'{payload}': {error}")))
    }

    pub(super) fn add(&self, writer: &IndexWriter, document: &Document) -> Result<(), SearchError> {
        writer.add_document(self.fields.document(&self.schema, document)?)?;
        Ok(())
    }

    pub(super) fn delete(&self, writer: &IndexWriter, account_id: &str, email_id: &str) {
        writer.delete_term(self.fields.key_term(account_id, email_id));
    }

    /// Makes everything durable and searchable, and says in the same step how far it goes.
    pub(super) fn commit(&self, writer: &mut IndexWriter, positions: &Positions) -> Result<(), SearchError> {
        let payload = serde_json::to_string(positions).map_err(|error| SearchError::Positions(error.to_string()))?;
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&payload);
        commit.commit()?;
        self.reader.reload()?;
        Ok(())
    }
}

/// Collects the email ids of what matches.
struct EmailIds;

struct SegmentIds {
    column: Option<StrColumn>,
    ords: Vec<u64>,
}

impl Collector for EmailIds {
    type Fruit = Vec<String>;
    type Child = SegmentIds;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentIds> {
        Ok(SegmentIds { column: segment.fast_fields().str(EMAIL_ID)?, ords: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, fruits: Vec<Vec<String>>) -> tantivy::Result<Vec<String>> {
        Ok(fruits.into_iter().flatten().collect())
    }
}

impl SegmentCollector for SegmentIds {
    type Fruit = Vec<String>;

    fn collect(&mut self, document: DocId, _: Score) {
        if let Some(column) = &self.column {
            self.ords.extend(column.term_ords(document));
        }
    }

    fn harvest(self) -> Vec<String> {
        let Some(column) = self.column else { return Vec::new() };
        let mut found = Vec::with_capacity(self.ords.len());
        for ord in self.ords {
            let mut email_id = String::new();
            if matches!(column.ord_to_str(ord, &mut email_id), Ok(true)) {
                found.push(email_id);
            }
        }
        found
    }
}
