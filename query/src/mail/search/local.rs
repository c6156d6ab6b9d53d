//! The one index of an embedded node, with the mail of all accounts.

use std::path::Path;
use std::sync::Arc;

use millrace_schemas::Topic;
use millrace_storage::{BlobStore, Log};

use super::error::SearchError;
use super::facade::SearchOptions;
use super::index::{TextIndex, WriterLimits};
use super::rebuild::{RebuildProgress, Scope, rebuild};
use super::turn::Turn;
use super::writing::Writing;
use crate::tables::{Positions, Tables};

pub(super) struct Local {
    pub(super) index: Arc<TextIndex>,
    pub(super) options: SearchOptions,
    pub(super) turn: Turn,
}

impl Local {
    pub(super) async fn open(dir: &Path, options: SearchOptions) -> Result<Self, SearchError> {
        let dir = dir.to_owned();
        let index = tokio::task::spawn_blocking(move || TextIndex::open_folder(&dir)).await??;
        Ok(Self { index, options, turn: Turn::default() })
    }

    /// The positions that the last commit reached.
    pub(super) fn positions(&self) -> Result<Positions, SearchError> {
        Ok(self.index.positions()?.unwrap_or_default())
    }

    pub(super) fn writing(&self) -> Writing {
        let limits = WriterLimits { bytes: self.options.writer_bytes, merged_documents: None };
        Writing::new(self.index.clone(), limits)
    }

    pub(super) fn scope(&self, log: &dyn Log) -> Scope {
        Scope { partitions: log.partitions(Topic::MailboxChanges), only: None }
    }

    /// An indexer makes way, and then goes on from where the tables end.
    pub(super) async fn rebuild(
        &self,
        tables: &Tables,
        blobs: &dyn BlobStore,
        log: &dyn Log,
        progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<RebuildProgress, SearchError> {
        let _turn = self.turn.take().await;
        let mut writing = self.writing();
        let done = rebuild(&mut writing, tables, blobs, self.scope(log), progress).await?;
        writing.close().await?;
        Ok(done)
    }
}
