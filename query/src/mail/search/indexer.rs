//! Follows `mailbox.changes`, and keeps the index within a second of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_schemas::{MailboxChange, MailboxPatch, Topic, decode_changes};
use millrace_storage::{BlobError, BlobStore, Consumer, Log, Record};
use tantivy::IndexWriter;
use tokio_util::sync::CancellationToken;

use super::index::{Search, SearchError};
use super::schema::Source;
use crate::backoff::Backoff;
use crate::tables::{Positions, Tables};

/// The group whose position tells the log's retention what is indexed.
pub const GROUP: &str = "search";

const POLL: Duration = Duration::from_millis(100);
const MAX_POLL_RECORDS: usize = 200;
/// With more waiting in the log, commits are this much rarer: they cost the time that would catch up.
const BEHIND: u32 = 5;
/// Bodies held at a time while they are read and parsed.
pub(super) const MAX_HELD_BYTES: usize = 16 << 20;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What a record does to the index, in the order of the log.
pub(super) enum Step {
    Add(Source, Option<Bytes>),
    Delete { account_id: String, email_id: String },
}

/// The only writer of a [`Search`] index.
pub struct Indexer {
    search: Arc<Search>,
    log: Arc<dyn Log>,
    blobs: Arc<dyn BlobStore>,
    tables: Arc<Tables>,
}

impl Indexer {
    pub fn new(search: Arc<Search>, log: Arc<dyn Log>, blobs: Arc<dyn BlobStore>, tables: Arc<Tables>) -> Self {
        Self { search, log, blobs, tables }
    }

    /// Runs until `shutdown`, then commits what it has. Failures are logged, and the indexer begins again from the last
    /// commit.
    ///
    /// # Errors
    /// What failed while stopping.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SearchError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let result = self.session(&shutdown).await;
            if shutdown.is_cancelled() {
                return result;
            }
            if let Err(error) = result {
                let pause = backoff.pause();
                let pause_ms = pause.as_millis();
                tracing::error!(%error, pause_ms, "indexing for search begins again from the last commit");
                metrics::counter!("millrace_search_failures_total").increment(1);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    /// From a start to a shutdown, a failure, a change of partitions, or until another wants to write.
    async fn session(&self, shutdown: &CancellationToken) -> Result<(), SearchError> {
        let _turn = self.search.turn.take().await;
        let mut consumer = self.log.subscribe(GROUP, Topic::MailboxChanges).await?;
        let assigned = consumer.assignment();
        let mut positions = self.search.positions()?.unwrap_or_default();
        if self.is_behind_the_log(&assigned, &positions).await? {
            tracing::warn!("the search index lacks mail that the log no longer has, and is made again from the tables");
            self.search.rebuild_in_turn(&self.tables, self.blobs.as_ref(), self.log.as_ref(), |_| {}).await?;
            positions = self.search.positions()?.unwrap_or_default();
        }
        for &partition in &assigned {
            consumer.seek(partition, positions.get(&partition).copied().unwrap_or(0)).await?;
        }
        let mut following = Following {
            search: self.search.clone(),
            blobs: self.blobs.clone(),
            consumer,
            writer: Some(self.search.writer()?),
            positions,
            uncommitted: 0,
            is_behind: false,
            last_commit: Instant::now(),
        };
        let is_done = |consumer: &dyn Consumer| {
            shutdown.is_cancelled() || self.search.turn.is_wanted() || consumer.assignment() != assigned
        };
        // A step is short and never cut: positions and documents go together.
        while !is_done(following.consumer.as_ref()) {
            following.step().await?;
        }
        following.commit().await
    }

    /// Whether the log has let go of records that are not indexed.
    async fn is_behind_the_log(&self, assigned: &[u32], positions: &Positions) -> Result<bool, SearchError> {
        for &partition in assigned {
            let (kept_from, _) = self.log.bounds(Topic::MailboxChanges, partition).await?;
            if positions.get(&partition).copied().unwrap_or(0) < kept_from {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Following {
    search: Arc<Search>,
    blobs: Arc<dyn BlobStore>,
    consumer: Box<dyn Consumer>,
    /// Away while a blocking task has it; a task that fails drops it, and with it what was not committed.
    writer: Option<IndexWriter>,
    /// What the next commit says.
    positions: Positions,
    uncommitted: usize,
    /// Whether the last poll was full: more waits in the log.
    is_behind: bool,
    last_commit: Instant,
}

impl Following {
    /// Polls once, indexes what came, and commits when it is time.
    async fn step(&mut self) -> Result<(), SearchError> {
        let options = self.search.options;
        let interval = options.commit_interval * if self.is_behind { BEHIND } else { 1 };
        let left = interval.saturating_sub(self.last_commit.elapsed());
        let wait = if self.uncommitted > 0 { left.min(POLL) } else { POLL };
        let records = self.consumer.poll(MAX_POLL_RECORDS, wait).await?;
        self.is_behind = records.len() == MAX_POLL_RECORDS;
        self.index(records).await?;
        let is_due = self.last_commit.elapsed() >= interval;
        if self.uncommitted > 0 && (is_due || self.uncommitted >= options.max_uncommitted) {
            self.commit().await?;
        }
        Ok(())
    }

    async fn index(&mut self, records: Vec<Record>) -> Result<(), SearchError> {
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        let mut steps = Vec::with_capacity(records.len());
        let mut held = 0;
        let values: Vec<_> = records.iter().map(|record| &record.value).collect();
        for (record, change) in records.iter().zip(decode_changes(&values)) {
            ends.insert(record.position.partition, record.position.offset + 1);
            // The lander tells of records that cannot be read.
            let Some(mut step) = change.ok().and_then(step) else { continue };
            if let Step::Add(source, body) = &mut step {
                *body = read_patiently(source, self.blobs.as_ref()).await?;
                held += body.as_ref().map_or(0, Bytes::len);
            }
            steps.push(step);
            if held >= MAX_HELD_BYTES {
                self.take(std::mem::take(&mut steps)).await?;
                held = 0;
            }
        }
        self.take(steps).await?;
        self.positions.extend(ends);
        Ok(())
    }

    /// Parses and adds, off the async threads.
    async fn take(&mut self, steps: Vec<Step>) -> Result<(), SearchError> {
        if steps.is_empty() {
            return Ok(());
        }
        self.uncommitted += steps.len();
        self.with_writer(move |search, writer| take_steps(search, writer, steps)).await
    }

    /// Commits index and positions, then tells the log's retention.
    async fn commit(&mut self) -> Result<(), SearchError> {
        self.last_commit = Instant::now();
        if std::mem::take(&mut self.uncommitted) == 0 {
            return Ok(());
        }
        let positions = self.positions.clone();
        self.with_writer(move |search, writer| search.commit(writer, &positions)).await?;
        metrics::histogram!("millrace_search_commit_seconds").record(self.last_commit.elapsed());
        // Where the index stands is in the index; this only lets the log's retention go on.
        if let Err(error) = self.consumer.commit(Vec::new()).await {
            tracing::warn!(%error, "the log was not told how far search is; it is told with the next commit");
        }
        Ok(())
    }

    async fn with_writer(
        &mut self,
        work: impl FnOnce(&Search, &mut IndexWriter) -> Result<(), SearchError> + Send + 'static,
    ) -> Result<(), SearchError> {
        let search = self.search.clone();
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => search.writer()?,
        };
        let (writer, result) = tokio::task::spawn_blocking(move || {
            let result = work(&search, &mut writer);
            (writer, result)
        })
        .await?;
        self.writer = Some(writer);
        result
    }
}

/// Adds and deletes in order.
pub(super) fn take_steps(search: &Search, writer: &IndexWriter, steps: Vec<Step>) -> Result<(), SearchError> {
    for step in steps {
        match step {
            Step::Add(source, body) => search.add(writer, &source.document(body.as_deref()))?,
            Step::Delete { account_id, email_id } => search.delete(writer, &account_id, &email_id),
        }
    }
    Ok(())
}

/// What a change means to the index; most updates mean nothing.
fn step(change: MailboxChange) -> Option<Step> {
    match change.kind.as_str() {
        MailboxChange::DELIVERED => Some(Step::Add(Source::of(change), None)),
        MailboxChange::UPDATED => {
            let patch: MailboxPatch = serde_json::from_str(change.patch.as_deref()?).ok()?;
            patch.is_destroyed.then_some(Step::Delete { account_id: change.account_id, email_id: change.email_id })
        }
        _ => None,
    }
}

/// The body, tried again for a while when the store does not answer.
pub(super) async fn read_patiently(source: &Source, blobs: &dyn BlobStore) -> Result<Option<Bytes>, BlobError> {
    let mut pause = Duration::from_millis(50);
    loop {
        match source.read(blobs).await {
            Err(BlobError::Unavailable(reason)) if pause < Duration::from_secs(5) => {
                tracing::warn!(reason, "a body cannot be read now and is tried again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
}
