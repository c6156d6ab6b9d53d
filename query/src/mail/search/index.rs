//! An open index: searching it, and what a writer does to it.

use std::path::Path;
use std::sync::Arc;

use tantivy::directory::{Directory, META_LOCK, MmapDirectory};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::schema::Schema;
use tantivy::{Index, IndexMeta, IndexReader, IndexSettings, IndexWriter, ReloadPolicy};

use super::collector::EmailIds;
use super::error::SearchError;
use super::query::{TextQuery, build};
use super::schema::{Document, Fields};
use super::tokenizer::{self, MailTokenizer};
use crate::tables::Positions;

/// Emails of the smallest segments that merging tells apart by size.
const SMALLEST_LAYER: u32 = 256;

#[derive(Clone, Copy)]
pub(super) struct WriterLimits {
    /// Memory for documents that are not committed.
    pub(super) bytes: usize,
    /// Segments with more documents are merged no more; `None` for the usual ten million.
    pub(super) merged_documents: Option<usize>,
}

/// An index of mail, of one account or many.
pub(super) struct TextIndex {
    index: Index,
    reader: IndexReader,
    schema: Schema,
    fields: Fields,
}

impl TextIndex {
    /// Opens the index under `dir`, or makes an empty one: also when what is there was made by a version with other
    /// fields or terms, since an indexer fills it again.
    pub(super) fn open_folder(dir: &Path) -> Result<Arc<Self>, SearchError> {
        let (schema, _) = Fields::new();
        std::fs::create_dir_all(dir)?;
        let directory = || MmapDirectory::open(dir).map_err(tantivy::TantivyError::from);
        let index = match Index::open_or_create(directory()?, schema.clone()) {
            Err(tantivy::TantivyError::SchemaError(reason)) => {
                tracing::warn!(reason, "the search index is of another version and is made again");
                std::fs::remove_dir_all(dir)?;
                std::fs::create_dir_all(dir)?;
                Index::open_or_create(directory()?, schema)?
            }
            opened => opened?,
        };
        Self::over(index)
    }

    /// Makes an empty index.
    pub(super) fn create(directory: impl Directory) -> Result<Arc<Self>, SearchError> {
        Self::over(Index::create(directory, Fields::new().0, IndexSettings::default())?)
    }

    /// Opens what is there.
    ///
    /// # Errors
    /// Also when it was made by a version with other fields or terms.
    pub(super) fn open(directory: impl Directory) -> Result<Arc<Self>, SearchError> {
        let index = Index::open(directory)?;
        if index.schema() != Fields::new().0 {
            let reason = "it was made by another version".to_owned();
            return Err(tantivy::TantivyError::SchemaError(reason).into());
        }
        Self::over(index)
    }

    fn over(index: Index) -> Result<Arc<Self>, SearchError> {
        let (schema, fields) = Fields::new();
        index.tokenizers().register(tokenizer::NAME, MailTokenizer);
        // Reloaded by whoever commits; watching the folder would add half a second.
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Arc::new(Self { index, reader, schema, fields }))
    }

    /// Ids of the account's emails that match, in no order. Emails destroyed a moment ago may still be among them.
    pub(super) async fn search(
        self: &Arc<Self>,
        account_id: &str,
        query: &TextQuery,
    ) -> Result<Vec<String>, SearchError> {
        let query = build(&self.fields, account_id, query);
        let index = self.clone();
        Ok(tokio::task::spawn_blocking(move || index.reader.searcher().search(&query, &EmailIds)).await??)
    }

    pub(super) fn documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// The only writer; fails while there is another, here or in another process.
    pub(super) fn writer(&self, limits: WriterLimits) -> Result<IndexWriter, SearchError> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(limits.bytes)
            .build();
        let writer = self.index.writer_with_options(options)?;
        // A commit makes a segment of some hundred emails. Layers that begin there merge an email once a layer, where
        // the default of 10,000 would merge a growing segment again with every eight commits.
        let mut policy = LogMergePolicy::default();
        policy.set_min_layer_size(SMALLEST_LAYER);
        if let Some(documents) = limits.merged_documents {
            policy.set_max_docs_before_merge(documents);
        }
        writer.set_merge_policy(Box::new(policy));
        Ok(writer)
    }

    /// What was committed last. Its files stay while it is held.
    pub(super) fn committed(&self) -> Result<IndexMeta, SearchError> {
        // Else files may go between reading their names and holding them.
        let _lock = self.index.directory().acquire_lock(&META_LOCK).map_err(tantivy::TantivyError::from)?;
        Ok(self.index.load_metas()?)
    }

    /// The positions that the last commit reached.
    pub(super) fn positions(&self) -> Result<Option<Positions>, SearchError> {
        positions(self.index.load_metas()?.payload.as_deref())
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

/// The positions in the payload of a commit.
pub(super) fn positions(payload: Option<&str>) -> Result<Option<Positions>, SearchError> {
    let Some(payload) = payload else { return Ok(None) };
    serde_json::from_str(payload).map(Some).map_err(|error| SearchError::Positions(format!("'{payload}': {error}")))
}
