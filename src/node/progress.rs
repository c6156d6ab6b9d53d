//! How far screening and landing have come, and waiting for them.

use std::time::{Duration, Instant};

use anyhow::Context;
use millrace_schemas::Topic;
use tokio::time::sleep;

use super::Node;

/// How long the lander may take to begin after a start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How often those who wait look again.
const POLL: Duration = Duration::from_millis(20);

impl Node {
    /// Waits until the lander has begun on every partition: before, nobody can say what the tables do not have yet.
    ///
    /// # Errors
    /// When no lander runs here, or it does not begin in time.
    pub async fn begun(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.is_in_cluster() || self.lander.is_running().await,
            "this node runs no lander, and cannot tell what has not landed; ask a node that runs `lander` or `up`"
        );
        let begun = async {
            for partition in 0..self.storage.log.partitions(Topic::MailboxChanges) {
                while !matches!(self.storage.hot.applied_to(partition).await, Ok(Some(_))) {
                    sleep(POLL).await;
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(START_TIMEOUT, begun)
            .await
            .context("no lander has begun on all partitions; see the log of the node, or of the landers")?
    }

    /// Receptions that screening has not processed, and changes that are not visible yet.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn in_flight(&self) -> anyhow::Result<u64> {
        let unscreened = self.unscreened(&self.ends(Topic::Reception).await?).await?;
        Ok(unscreened + self.behind().await?)
    }

    /// Changes that the hot store does not have yet.
    pub(super) async fn behind(&self) -> anyhow::Result<u64> {
        self.unapplied(&self.ends(Topic::MailboxChanges).await?).await
    }

    /// Waits until all mail that was received before the call is screened and visible.
    ///
    /// # Errors
    /// When the log cannot be read, or nothing moves for `patience`.
    pub async fn settle(&self, patience: Duration) -> anyhow::Result<()> {
        let ends = self.ends(Topic::Reception).await?;
        let mut standstill = Standstill::new(patience);
        while let left @ 1.. = self.unscreened(&ends).await? {
            standstill.check(left, "messages that were received before wait for screening")?;
            sleep(POLL).await;
        }
        self.begun().await?;
        let ends = self.ends(Topic::MailboxChanges).await?;
        let mut standstill = Standstill::new(patience);
        while let left @ 1.. = self.unapplied(&ends).await? {
            standstill.check(left, "changes of mailboxes wait for the lander")?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// By partition, the offset after the last record.
    pub(super) async fn ends(&self, topic: Topic) -> anyhow::Result<Vec<u64>> {
        let log = &self.storage.log;
        let mut ends = Vec::new();
        for partition in 0..log.partitions(topic) {
            ends.push(log.bounds(topic, partition).await?.1);
        }
        Ok(ends)
    }

    /// Receptions before `ends` that screening has not processed.
    async fn unscreened(&self, ends: &[u64]) -> anyhow::Result<u64> {
        let log = &self.storage.log;
        let mut left = 0;
        for (partition, end) in (0..).zip(ends) {
            let (start, _) = log.bounds(Topic::Reception, partition).await?;
            let done = log.committed(&self.screening, Topic::Reception, partition).await?;
            left += end.saturating_sub(done.unwrap_or(start));
        }
        Ok(left)
    }

    /// Changes before `ends` that the hot store does not have yet.
    async fn unapplied(&self, ends: &[u64]) -> anyhow::Result<u64> {
        let mut left = 0;
        for (partition, end) in (0..).zip(ends) {
            let (start, _) = self.storage.log.bounds(Topic::MailboxChanges, partition).await?;
            let applied = self.storage.hot.applied_to(partition).await?;
            left += end.saturating_sub(applied.unwrap_or(start));
        }
        Ok(left)
    }
}

/// Tells when what is waited for has not moved for too long.
struct Standstill {
    patience: Duration,
    least: u64,
    moved_at: Instant,
}

impl Standstill {
    fn new(patience: Duration) -> Self {
        Self { patience, least: u64::MAX, moved_at: Instant::now() }
    }

    fn check(&mut self, left: u64, what: &str) -> anyhow::Result<()> {
        if left < self.least {
            (self.least, self.moved_at) = (left, Instant::now());
        }
        let is_moving = self.moved_at.elapsed() < self.patience;
        anyhow::ensure!(is_moving, "{left} {what}, which makes no progress; see the node's log");
        Ok(())
    }
}
