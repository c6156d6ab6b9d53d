//! The lander: changes to mail become visible at once and land in the tables a little later.
//!
//! Two tasks, so that no table commit is ever waited for by new mail: one applies records to the hot store
//! ([`applier`]), one takes what has gathered to the tables ([`landing`]); between them is a bounded [`backlog`].
//! What a start finds in the hot store it keeps and lands; else it goes on at the position of `email_state`, and versions
//! before it come from the tables, so that a restart makes the same rows.

mod applier;
mod backlog;
mod known;
mod landing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::error::ArrowError;
use millrace_schemas::Topic;
use millrace_storage::hot::HotError;
use millrace_storage::{Consumer, HotStore, Log, LogError, Record};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::applier::Applier;
use self::backlog::Backlog;
use self::landing::Landing;
use super::merged::MergeError;
use super::rows::Row;
use super::stored::StoredError;
use super::version::EmailVersion;
use crate::backoff::Backoff;
use crate::tables::{Positions, Table, TableError, Tables};

/// The group whose position tells the log's retention what has landed.
pub const GROUP: &str = "lander";

const POLL: Duration = Duration::from_millis(100);
/// Until it begins again after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a hot store that got nothing new is asked whether it is still ours: one that was lost, or reset by another, is
/// filled again also when no mail comes.
const HOLD_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for tables that do not take the rest; the log has it.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// The same when partitions have changed: until it goes on, nothing new is shown.
const MOVE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a start waits for the catalog to tell where the tables end.
const RESUME_PATIENCE: Duration = Duration::from_secs(3);
/// Until a log that takes or gives nothing is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct LanderOptions {
    /// Time between landings.
    pub interval: Duration,
    /// Rows that are landed before the interval has passed.
    pub max_rows: usize,
    /// Bytes of rows that are landed before the interval has passed.
    pub max_bytes: usize,
    /// Rows that may wait for the tables before applying slows down.
    pub max_unlanded_rows: usize,
    /// The same in bytes.
    pub max_unlanded_bytes: usize,
    /// Records applied at a time.
    pub max_poll_records: usize,
}

impl Default for LanderOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            max_rows: 50_000,
            max_bytes: 64 << 20,
            max_unlanded_rows: 200_000,
            max_unlanded_bytes: 256 << 20,
            max_poll_records: 1_000,
        }
    }
}

/// What stops a round of landing; the lander begins again from the tables' positions, and nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum LandError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Hot(#[from] HotError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error("rows cannot be made: {0}")]
    Rows(#[from] ArrowError),
    /// What is left is in the log, and landed by whoever goes on.
    #[error("the tables did not take the rest in {0:?}; see that the catalog and the store of the tables answer")]
    Late(Duration),
    #[error("the catalog did not tell in {0:?} where the tables end; see that it and the store of the tables answer")]
    Away(Duration),
    #[error("a task of the lander ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl LandError {
    /// The kind as metrics name it: what failed, and of tables how.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Hot(_) => "hot",
            Self::Table(error) => error.kind(),
            Self::Stored(_) => "stored",
            Self::Merge(_) => "merge",
            Self::Rows(_) => "rows",
            Self::Late(_) => "late",
            Self::Away(_) => "catalog",
            Self::Task(_) => "task",
        }
    }

    /// Whether it only says that another has what was ours.
    fn is_move(&self) -> bool {
        matches!(
            self,
            LandError::Log(LogError::Fenced { .. })
                | LandError::Hot(HotError::Fenced(_))
                | LandError::Table(TableError::Superseded { .. })
        )
    }
}

/// Consumes `mailbox.changes`; see the module.
pub struct Lander {
    log: Arc<dyn Log>,
    hot: Arc<dyn HotStore>,
    tables: Arc<Tables>,
    options: LanderOptions,
}

impl Lander {
    pub fn new(log: Arc<dyn Log>, hot: Arc<dyn HotStore>, tables: Arc<Tables>, options: LanderOptions) -> Self {
        Self { log, hot, tables, options }
    }

    /// Runs until `shutdown`, then lands what is left.
    ///
    /// # Errors
    /// What failed while stopping; before that, failures are logged and tried again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), LandError> {
        let mut consumer = None;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let result = self.session(&mut consumer, &shutdown).await;
            if shutdown.is_cancelled() {
                return result;
            }
            if let Err(error) = result {
                if error.is_move() {
                    tracing::info!(%error, "partitions have moved: the lander begins again from where the tables end");
                    tokio::time::sleep(FIRST_PAUSE).await;
                    continue;
                }
                metrics::counter!("millrace_lander_failures_total", "kind" => error.kind()).increment(1);
                let pause = backoff.pause();
                let pause_ms = pause.as_millis();
                tracing::error!(%error, pause_ms, "the lander begins again from where the tables end");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    /// From a start to a shutdown, a failure or a change of partitions. The membership outlives it: leaving the group would
    /// move everybody's partitions.
    async fn session(
        &self,
        consumer: &mut Option<Box<dyn Consumer>>,
        shutdown: &CancellationToken,
    ) -> Result<(), LandError> {
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => consumer.insert(self.log.subscribe(GROUP, Topic::MailboxChanges).await?),
        };
        while consumer.assignment().is_empty() && !shutdown.is_cancelled() {
            consumer.poll(1, POLL).await?;
            consumer.rewind().await?;
        }
        let backlog = Arc::new(Backlog::new(self.options));
        let begun = self.start(consumer.as_mut(), &backlog).await?;
        let (landed, landings) = watch::channel(Positions::new());
        let tables = self.tables.clone();
        let landing = Landing { tables, backlog: backlog.clone(), landed, is_resumed: begun.is_resumed };
        // Stopped when this round ends, whatever ends it.
        let stop = CancellationToken::new();
        let mut landing = AbortOnDropHandle::new(tokio::spawn(landing.run(stop.clone())));
        let mut applying = Applying {
            applier: Applier::new(self.log.clone(), self.hot.clone(), self.tables.clone(), backlog),
            next: begun.applied,
            landed: begun.landed,
            consumer: consumer.as_mut(),
            landings,
            retry_at: None,
            held_at: Instant::now(),
            max_records: self.options.max_poll_records,
        };
        // Refused when the partitions have gone to another meanwhile: what was made of the hot store is made again there.
        applying.commit().await?;
        let applied = tokio::select! {
            applied = applying.run() => applied,
            () = shutdown.cancelled() => Ok(()),
            early = &mut landing => return early?,
        };
        stop.cancel();
        end(landing, if shutdown.is_cancelled() { STOP_PATIENCE } else { MOVE_PATIENCE }).await?;
        applying.commit().await?;
        applied
    }

    /// Takes every partition over, and sets it to where the hot store ends, else to where the tables do.
    async fn start(&self, consumer: &mut dyn Consumer, backlog: &Backlog) -> Result<Begun, LandError> {
        let (landed, away) = match self.resume().await {
            Ok(landed) => (landed, None),
            // What the hot store holds from there on is all that came after, whoever may have landed some of it.
            Err(error) => (self.tables.snapshot(Table::EmailState).positions().clone(), Some(error)),
        };
        let mut begun = Begun { is_resumed: away.is_none(), ..Begun::default() };
        for partition in consumer.assignment() {
            let from = landed.get(&partition).copied().unwrap_or(0);
            let (_, end) = self.log.bounds(Topic::MailboxChanges, partition).await?;
            let applied = self.hot.take_over(partition, from, end).await?;
            // Now, since the one before may have gone on until it was fenced.
            let (kept_from, end) = self.log.bounds(Topic::MailboxChanges, partition).await?;
            let applied = match applied.filter(|applied| *applied <= end) {
                Some(applied) => applied,
                None => match away {
                    None => self.begin_afresh(partition, from, end).await?,
                    // For that, where the tables end must be known.
                    Some(error) => return Err(error),
                },
            };
            if applied < kept_from {
                tracing::error!(partition, applied, kept_from, "the log no longer has changes that did not land");
            }
            let held = if applied > from { self.held(partition, from, applied, backlog).await? } else { 0 };
            let records = end.saturating_sub(applied);
            tracing::info!(partition, from, held, applied, records, "landing starts");
            consumer.seek(partition, applied).await?;
            begun.landed.insert(partition, from);
            begun.applied.insert(partition, applied);
        }
        if let Some(error) = away {
            tracing::warn!(%error, "new mail is shown from what is known, and lands later");
        }
        Ok(begun)
    }

    /// Where the tables end, as the catalog has it now.
    async fn resume(&self) -> Result<Positions, LandError> {
        let resume = async {
            self.tables.resume(Table::Emails).await?;
            self.tables.resume(Table::EmailState).await
        };
        let resumed = tokio::time::timeout(RESUME_PATIENCE, resume).await;
        Ok(resumed.map_err(|_| LandError::Away(RESUME_PATIENCE))??)
    }

    /// Empties the hot store; gives where it is filled from.
    async fn begin_afresh(&self, partition: u32, from: u64, end: u64) -> Result<u64, LandError> {
        self.hot.reset(partition, from, end).await?;
        let (_, after) = self.log.bounds(Topic::MailboxChanges, partition).await?;
        if after > end {
            // The one before may have shown that, too.
            self.hot.reset(partition, from, after).await?;
        }
        Ok(from)
    }

    /// Lets what the hot store has and the tables have not be landed. Gives the number of rows.
    async fn held(&self, partition: u32, from: u64, applied: u64, backlog: &Backlog) -> Result<usize, LandError> {
        let tail = self.hot.rows(partition, from).await?;
        let bytes = tail.rows.iter().map(applier::unlanded_bytes).sum();
        let rows = tail.rows.into_iter().map(|row| {
            let version = EmailVersion::decode(&row.value).map_err(MergeError::from)?;
            Ok(Row { account_id: row.account_id, version: Arc::new(version) })
        });
        let rows: Vec<Row> = rows.collect::<Result<_, MergeError>>()?;
        let held = rows.len();
        backlog.push(partition, rows, bytes, applied);
        Ok(held)
    }
}

/// Where a session begins, by partition.
#[derive(Default)]
struct Begun {
    /// The next offset to land.
    landed: Positions,
    /// The next offset to apply.
    applied: Positions,
    /// Whether `landed` is what the catalog has, rather than what is known here of it.
    is_resumed: bool,
}

/// Waits until what was to land has landed, and gives it up when that takes longer than `patience`.
async fn end(mut landing: AbortOnDropHandle<Result<(), LandError>>, patience: Duration) -> Result<(), LandError> {
    if let Ok(landed) = tokio::time::timeout(patience, &mut landing).await {
        return landed?;
    }
    landing.abort();
    // It has let go of the tables when this ends.
    let _ = landing.await;
    Err(LandError::Late(patience))
}

/// The task that polls, applies, and commits the group's position when rows have landed.
struct Applying<'a> {
    applier: Applier,
    consumer: &'a mut dyn Consumer,
    /// By partition of ours, the next offset to apply.
    next: Positions,
    /// By partition of ours, the next offset to land.
    landed: Positions,
    landings: watch::Receiver<Positions>,
    /// Set while the log has refused the group's position.
    retry_at: Option<Instant>,
    /// When the hot store was last asked about all partitions.
    held_at: Instant,
    max_records: usize,
}

impl Applying<'_> {
    /// Returns when the partitions that are ours change.
    async fn run(&mut self) -> Result<(), LandError> {
        loop {
            let is_retry_due = self.retry_at.is_some_and(|at| at <= Instant::now());
            if self.landings.has_changed().unwrap_or(false) || is_retry_due {
                self.commit().await?;
            }
            if !self.consumer.assignment().iter().eq(self.next.keys()) {
                return Ok(());
            }
            if self.held_at.elapsed() >= HOLD_INTERVAL {
                self.hold().await?;
            }
            self.applier.backlog.space().await;
            let records = match self.consumer.poll(self.max_records, POLL).await {
                Ok(records) => records,
                Err(LogError::Unavailable(reason)) => {
                    tracing::warn!(reason, "the log cannot be read now, which is tried again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut partitions: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
            for record in records {
                partitions.entry(record.position.partition).or_default().push(record);
            }
            for (partition, records) in partitions {
                self.applier.process(partition, &records).await?;
                if let Some(last) = records.last() {
                    self.next.insert(partition, last.position.offset + 1);
                }
            }
        }
    }

    /// Makes sure that the hot store is ours and has all that was applied.
    async fn hold(&mut self) -> Result<(), LandError> {
        for (&partition, &next) in &self.next {
            self.applier.hot.apply(partition, Vec::new(), next).await?;
        }
        self.held_at = Instant::now();
        Ok(())
    }

    /// Lets the hot store drop what has landed, moves the group to behind it, and goes on reading where it was. A log
    /// that cannot take the position now, as on a full disk, is asked again: only its retention waits for it.
    async fn commit(&mut self) -> Result<(), LandError> {
        // Before anything is dropped: from here on the tables are asked about all that was applied so far.
        self.applier.landed();
        let ours = self.consumer.assignment();
        let landed = self.landings.borrow_and_update().clone();
        for (&partition, &offset) in landed.iter().filter(|(partition, _)| ours.contains(partition)) {
            self.applier.hot.release(partition, offset).await?;
        }
        self.landed.extend(landed);
        for (&partition, &offset) in self.landed.iter().filter(|(partition, _)| ours.contains(partition)) {
            self.consumer.seek(partition, offset).await?;
        }
        let committed = self.consumer.commit(Vec::new()).await;
        let ours = self.consumer.assignment();
        for (&partition, &offset) in self.next.iter().filter(|(partition, _)| ours.contains(partition)) {
            self.consumer.seek(partition, offset).await?;
        }
        match committed {
            Ok(_) => self.retry_at = None,
            Err(LogError::Unavailable(reason)) => {
                tracing::warn!(reason, "the log does not take what has landed, which is tried again");
                self.retry_at = Some(Instant::now() + RETRY_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
