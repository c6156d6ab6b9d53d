//! The facade that the API reads and changes mail through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_schemas::{Topic, topic::partition_of};
use millrace_storage::hot::{Changed, HotError};
use millrace_storage::{HotStore, Log, LogError};
use tokio::sync::{OnceCell, broadcast};

use super::cache::{FactsCache, Known, ViewCache};
use super::merged::{self, MergeError};
use super::search::{Search, SearchError, TextQuery};
use super::stored::{self, StoredError};
use super::version::{EmailVersion, Facts};
use super::view::AccountView;
use crate::tables::{Table, Tables};

/// How long a first read waits for the lander to catch up with the log after a start.
const START_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub struct MailboxesOptions {
    /// Emails in cached views, in all; some 400 bytes each.
    pub max_cached_emails: usize,
    /// Facts kept from the tables; some 2 KB each.
    pub max_cached_facts: usize,
    /// How long a change waits to become visible.
    pub change_patience: Duration,
}

impl Default for MailboxesOptions {
    fn default() -> Self {
        Self { max_cached_emails: 500_000, max_cached_facts: 20_000, change_patience: Duration::from_secs(10) }
    }
}

/// Why mail cannot be read now. All of these pass: answer `serverUnavailable`.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Hot(#[from] HotError),
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error("mail of partition {0} is still being read from the log; try again in a moment")]
    Starting(u32),
}

/// Mailboxes of all accounts. Cheap to clone.
#[derive(Clone)]
pub struct Mailboxes {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) log: Arc<dyn Log>,
    pub(super) hot: Arc<dyn HotStore>,
    tables: Arc<Tables>,
    search: Arc<Search>,
    pub(super) options: MailboxesOptions,
    pub(super) views: ViewCache,
    facts: FactsCache,
    /// By partition: set once the hot store has all that the log had when it was first asked for.
    started: Vec<OnceCell<()>>,
}

impl Mailboxes {
    pub fn new(
        log: Arc<dyn Log>,
        hot: Arc<dyn HotStore>,
        tables: Arc<Tables>,
        search: Arc<Search>,
        options: MailboxesOptions,
    ) -> Self {
        let started = (0..log.partitions(Topic::MailboxChanges)).map(|_| OnceCell::new()).collect();
        let views = ViewCache::new(options.max_cached_emails);
        let facts = FactsCache::new(options.max_cached_facts);
        Self { shared: Arc::new(Shared { log, hot, tables, search, options, views, facts, started }) }
    }

    /// The account, complete up to the last applied change. An account without mail is an empty view.
    pub async fn view(&self, account_id: &str) -> Result<Arc<AccountView>, MailError> {
        Ok(self.known(account_id).await?.view)
    }

    /// The view, and how much of the log it has.
    pub(super) async fn known(&self, account_id: &str) -> Result<Known, MailError> {
        let shared = &self.shared;
        let partition = shared.partition(account_id);
        shared.started(partition).await?;
        let slot = shared.views.slot(account_id);
        let mut held = slot.known.lock().await;
        let begun = Instant::now();
        loop {
            let known = match held.take() {
                Some(known) => shared.catch_up(partition, account_id, known).await?,
                None => None,
            };
            let known = match known {
                Some(known) => known,
                None => shared.load(partition, account_id).await?,
            };
            let known = held.insert(known);
            shared.views.weigh(account_id, known.view.weight());
            if known.is_complete() {
                return Ok(known.clone());
            }
            // A hot store that was begun afresh: states never go back, so readers wait until it is filled again.
            let patience = START_PATIENCE.saturating_sub(begun.elapsed());
            if !shared.wait_applied(partition, known.complete_at, patience).await? {
                return Err(MailError::Starting(partition));
            }
        }
    }

    /// The facts of those of the emails that are live, in no order.
    pub async fn facts(&self, account_id: &str, email_ids: &[&str]) -> Result<Vec<Arc<Facts>>, MailError> {
        let shared = &self.shared;
        let view = self.view(account_id).await?;
        let partition = shared.partition(account_id);
        let account: Arc<str> = account_id.into();
        let mut found = Vec::with_capacity(email_ids.len());
        let (mut stored, mut landed_to) = (Vec::new(), 0);
        for version in email_ids.iter().filter_map(|email_id| view.get(email_id)) {
            if let Some(facts) = shared.facts.get(&account, &version.email_id) {
                found.push(facts);
                continue;
            }
            let hot = merged::newest_hot(shared.hot.as_ref(), partition, account_id, &version.email_id).await?;
            match hot.and_then(|version| version.facts.clone()) {
                Some(facts) => found.push(facts),
                None => {
                    landed_to = landed_to.max(version.created_seq + 1);
                    stored.push((version.received_at_us, version.email_id.to_string()));
                }
            }
        }
        // What the hot store no longer had has landed, in some process.
        let snapshot = shared.tables.snapshot_reaching(Table::Emails, partition, landed_to).await;
        let snapshot = snapshot.map_err(StoredError::from)?;
        for facts in stored::facts(&snapshot, account_id, &stored).await? {
            shared.facts.put(&account, &facts);
            found.push(facts);
        }
        Ok(found)
    }

    /// Ids of live emails that match, in no order. New mail is found within a second of its landing in the log.
    pub async fn search(&self, account_id: &str, query: &TextQuery) -> Result<Vec<Arc<str>>, MailError> {
        let found = self.shared.search.search(account_id, query).await?;
        let view = self.view(account_id).await?;
        let mut live: Vec<Arc<str>> =
            found.iter().filter_map(|email_id| Some(view.get(email_id)?.email_id.clone())).collect();
        live.sort_unstable();
        live.dedup();
        Ok(live)
    }

    /// Tells of every change of any account from now on. A receiver that lags must read the states again.
    pub fn watch(&self) -> broadcast::Receiver<Changed> {
        self.shared.hot.watch()
    }

    /// What the account's live emails take.
    pub async fn usage_bytes(&self, account_id: &str) -> Result<u64, MailError> {
        Ok(self.view(account_id).await?.size_bytes())
    }
}

impl Shared {
    pub(super) fn partition(&self, account_id: &str) -> u32 {
        partition_of(account_id, self.log.partitions(Topic::MailboxChanges))
    }

    /// Waits, once per partition, until the lander has applied what the log held at the first call: after a start no
    /// reader sees an older state than before.
    async fn started(&self, partition: u32) -> Result<(), MailError> {
        let Some(started) = self.started.get(partition as usize) else { return Err(MailError::Starting(partition)) };
        started.get_or_try_init(|| self.wait_for_start(partition)).await.map(|_| ())
    }

    async fn wait_for_start(&self, partition: u32) -> Result<(), MailError> {
        let (_, end) = self.log.bounds(Topic::MailboxChanges, partition).await?;
        match self.wait_applied(partition, end, START_PATIENCE).await? {
            true => Ok(()),
            false => Err(MailError::Starting(partition)),
        }
    }

    /// Waits until the hot store has everything before `offset`. False when that takes longer than `patience`.
    pub(super) async fn wait_applied(&self, partition: u32, offset: u64, patience: Duration) -> Result<bool, HotError> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(500);
        while self.hot.applied_to(partition).await?.is_none_or(|applied_to| applied_to < offset) {
            if begun.elapsed() > patience {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(true)
    }

    /// Adds what is new; `None` when the hot store no longer reaches back to what is known.
    async fn catch_up(&self, partition: u32, account_id: &str, known: Known) -> Result<Option<Known>, MailError> {
        let tail = self.hot.tail(partition, account_id, known.known_to).await?;
        if tail.held_from > known.known_to {
            return Ok(None);
        }
        let (known_to, complete_at) = (known.known_to.max(tail.applied_to), tail.complete_at);
        if tail.rows.is_empty() {
            return Ok(Some(Known { view: known.view, known_to, complete_at }));
        }
        let mut view = known.view.as_ref().clone();
        for row in &tail.rows {
            let version = EmailVersion::decode(&row.value).map_err(MergeError::from)?;
            view.apply(Arc::new(version.without_facts()));
        }
        Ok(Some(Known { view: Arc::new(view), known_to, complete_at }))
    }

    async fn load(&self, partition: u32, account_id: &str) -> Result<Known, MailError> {
        let begun = Instant::now();
        let merged = merged::load(&self.tables, self.hot.as_ref(), partition, account_id).await?;
        let view: AccountView = merged.versions.into_values().collect();
        metrics::histogram!("millrace_mailboxes_load_seconds").record(begun.elapsed());
        Ok(Known { view: Arc::new(view), known_to: merged.known_to, complete_at: merged.complete_at })
    }
}
