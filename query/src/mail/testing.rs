//! A data directory with a lander and an indexer, for tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use millrace_schemas::{MailboxChange, Topic, encode};
use millrace_storage::embedded::{EmbeddedHot, EmbeddedStorage, HotOptions, StorageOptions};
use millrace_storage::{BlobStore, HotStore, Log, NewRecord, Position};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::search::Indexer;
use super::{Lander, LanderOptions, Mailboxes, Search, SearchOptions};
use crate::tables::{Table, TableOptions, Tables};

pub(crate) struct World {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) hot: Arc<dyn HotStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) search: Arc<Search>,
    pub(crate) mailboxes: Mailboxes,
    shutdown: CancellationToken,
    lander: Option<JoinHandle<Result<(), super::LandError>>>,
    indexer: Option<JoinHandle<Result<(), super::SearchError>>>,
    pub(crate) dir: TempDir,
    _storage: EmbeddedStorage,
}

impl World {
    pub(crate) async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap();
        let log: Arc<dyn Log> = storage.log.clone();
        let hot: Arc<dyn HotStore> = storage.hot.clone();
        let tables = Tables::open(dir.path(), TableOptions::default()).await.unwrap();
        let search = Search::open(&dir.path().join("search"), SearchOptions::default()).await.unwrap();
        let mailboxes = Mailboxes::new(log.clone(), hot.clone(), tables.clone(), search.clone(), Default::default());
        let (shutdown, blobs) = (CancellationToken::new(), storage.blobs.clone());
        Self {
            log,
            hot,
            blobs,
            tables,
            search,
            mailboxes,
            shutdown,
            lander: None,
            indexer: None,
            dir,
            _storage: storage,
        }
    }

    /// Lands only when it stops.
    pub(crate) fn slow() -> LanderOptions {
        LanderOptions { interval: Duration::from_secs(3600), ..LanderOptions::default() }
    }

    /// Lands all the time.
    pub(crate) fn quick() -> LanderOptions {
        LanderOptions { interval: Duration::from_millis(15), max_poll_records: 7, ..LanderOptions::default() }
    }

    pub(crate) fn start(&mut self, options: LanderOptions) {
        let lander = Lander::new(self.log.clone(), self.hot.clone(), self.tables.clone(), options);
        self.lander = Some(tokio::spawn(lander.run(self.shutdown.clone())));
    }

    pub(crate) fn start_indexer(&mut self) {
        let indexer = Indexer::new(self.search.clone(), self.log.clone(), self.blobs.clone(), self.tables.clone());
        self.indexer = Some(tokio::spawn(indexer.run(self.shutdown.clone())));
    }

    /// As after a SIGTERM.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(lander) = self.lander.take() {
            lander.await.unwrap().unwrap();
        }
        if let Some(indexer) = self.indexer.take() {
            indexer.await.unwrap().unwrap();
        }
        self.shutdown = CancellationToken::new();
    }

    /// As after a kill, wherever it hits.
    pub(crate) async fn kill(&mut self) {
        let lander = self.lander.take().map(|task| task.abort_handle());
        let indexer = self.indexer.take().map(|task| task.abort_handle());
        for task in [lander, indexer].into_iter().flatten() {
            task.abort();
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        self.shutdown = CancellationToken::new();
    }

    /// A new process on the same directory: nothing that was in memory is left.
    pub(crate) async fn reopen(&mut self) {
        // Small, so that released rows go at once.
        self.hot = Arc::new(EmbeddedHot::new(HotOptions { released_bytes: 0, ..HotOptions::default() }));
        self.tables = Tables::open(self.dir.path(), TableOptions::default()).await.unwrap();
        self.search = Search::open(&self.dir.path().join("search"), SearchOptions::default()).await.unwrap();
        self.mailboxes = Mailboxes::new(
            self.log.clone(),
            self.hot.clone(),
            self.tables.clone(),
            self.search.clone(),
            Default::default(),
        );
    }

    pub(crate) async fn append(&self, changes: Vec<MailboxChange>) -> Vec<Position> {
        let record = |change: MailboxChange| NewRecord {
            topic: Topic::MailboxChanges,
            key: change.account_id.clone(),
            value: encode(&change).unwrap(),
        };
        self.log.append(changes.into_iter().map(record).collect()).await.unwrap()
    }

    /// Waits until the hot store has what was appended.
    pub(crate) async fn settle(&self, positions: &[Position]) {
        for position in positions {
            while self.hot.applied_to(position.partition).await.unwrap().is_none_or(|to| to <= position.offset) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// Rows in `emails` and in `email_state`.
    pub(crate) async fn stored_rows(&self) -> (usize, usize) {
        let mut counts = [0, 0];
        for (count, table) in counts.iter_mut().zip([Table::Emails, Table::EmailState]) {
            let mut batches = self.tables.snapshot(table).scan(&["account_id"]).await.unwrap();
            while let Some(batch) = batches.next().await {
                *count += batch.unwrap().num_rows();
            }
        }
        (counts[0], counts[1])
    }

    /// A delivery whose body is stored.
    pub(crate) async fn deliver(&self, account_id: &str, email_id: &str, raw: &str) -> Vec<Position> {
        let body = self.blobs.put(Bytes::copy_from_slice(raw.as_bytes())).await.unwrap();
        self.append(vec![MailboxChange { body: Some(body.to_string()), ..delivery(account_id, email_id) }]).await
    }
}

pub(crate) fn delivery(account_id: &str, email_id: &str) -> MailboxChange {
    let number: i64 = email_id.bytes().fold(7, |sum, byte| (sum * 31 + i64::from(byte)) % 1000);
    MailboxChange {
        kind: MailboxChange::DELIVERED.into(),
        account_id: account_id.into(),
        email_id: email_id.into(),
        message_id: Some(email_id.into()),
        received_at_us: Some(1_700_000_000_000_000 + number * 1_000_000),
        recipient: Some(format!("{account_id}@millrace.test")),
        size_bytes: Some(100 + number),
        mailbox: Some(if number % 5 == 0 { "junk" } else { "inbox" }.into()),
        summary: Some(format!(r#"{{"subject":"mail {email_id}","thread_id":"t{}","preview":"p"}}"#, number % 4)),
        ..MailboxChange::default()
    }
}

pub(crate) fn patch(account_id: &str, email_id: &str, patch: &str) -> MailboxChange {
    MailboxChange {
        kind: MailboxChange::UPDATED.into(),
        account_id: account_id.into(),
        email_id: email_id.into(),
        patch: Some(patch.into()),
        ..MailboxChange::default()
    }
}
