//! The writer of an index, lent to blocking tasks.

use std::sync::Arc;

use millrace_storage::BlobStore;
use tantivy::IndexWriter;

use super::error::SearchError;
use super::index::{TextIndex, WriterLimits};
use super::steps::{Step, groups, take_steps, with_bodies};
use crate::tables::Positions;

/// The only one that changes an index. Opens its writer when there is something to write.
pub(super) struct Writing {
    pub(super) index: Arc<TextIndex>,
    limits: WriterLimits,
    /// Away while a blocking task has it; a task that fails drops it, and with it what was not committed.
    writer: Option<IndexWriter>,
    pub(super) uncommitted: usize,
}

impl Writing {
    pub(super) fn new(index: Arc<TextIndex>, limits: WriterLimits) -> Self {
        Self { index, limits, writer: None, uncommitted: 0 }
    }

    pub(super) fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// Gives back the writer's memory and threads; what is not committed is forgotten.
    pub(super) async fn close(&mut self) -> Result<(), SearchError> {
        self.uncommitted = 0;
        // It waits for its threads.
        let writer = self.writer.take();
        Ok(tokio::task::spawn_blocking(move || drop(writer)).await?)
    }

    /// Reads bodies, parses and adds.
    pub(super) async fn take(&mut self, steps: Vec<Step>, blobs: &dyn BlobStore) -> Result<(), SearchError> {
        for group in groups(steps) {
            let group = with_bodies(group, blobs).await?;
            self.uncommitted += group.len();
            self.lend(move |index, writer| take_steps(index, writer, group)).await?;
        }
        Ok(())
    }

    /// Forgets all documents, from the next commit on.
    pub(super) async fn clear(&mut self) -> Result<(), SearchError> {
        self.lend(|_, writer| Ok(writer.delete_all_documents().map(drop)?)).await
    }

    /// Commits documents and positions in one step.
    pub(super) async fn commit(&mut self, positions: Positions) -> Result<(), SearchError> {
        self.lend(move |index, writer| index.commit(writer, &positions)).await?;
        self.uncommitted = 0;
        Ok(())
    }

    async fn lend(
        &mut self,
        work: impl FnOnce(&TextIndex, &mut IndexWriter) -> Result<(), SearchError> + Send + 'static,
    ) -> Result<(), SearchError> {
        let (index, limits, writer) = (self.index.clone(), self.limits, self.writer.take());
        let (writer, result) = tokio::task::spawn_blocking(move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => index.writer(limits)?,
            };
            let result = work(&index, &mut writer);
            Ok::<_, SearchError>((writer, result))
        })
        .await??;
        self.writer = Some(writer);
        result
    }
}
