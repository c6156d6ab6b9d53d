//! Building again what can be built from the tables and the log.

use std::time::{Duration, Instant};

use millrace_query::tables::Table;
use millrace_schemas::Topic;

use super::{Node, Role};

/// How long landers may take to notice.
const PATIENCE: Duration = Duration::from_secs(60);

impl Node {
    /// Makes the search index again from the tables and the bodies; what has not landed follows from the log. Searches
    /// answer from the old index until it is done. Gives the number of emails indexed.
    ///
    /// # Errors
    /// When tables, bodies or index cannot be used; the old index stays.
    pub async fn rebuild_search(&self, progress: impl Fn(u64, u64) + Send + Sync) -> anyhow::Result<u64> {
        // Shards are made again by the indexers that own them, which may be ours.
        let makes_way = !self.search.is_shared() && self.indexer.is_running().await;
        if makes_way {
            self.indexer.stop().await?;
        }
        let total = self.tables.snapshot(Table::Emails).rows();
        let mut indexed = 0;
        let rebuilt = self
            .search
            .rebuild(&self.tables, &*self.storage.blobs, &*self.storage.log, |done| {
                indexed = done.indexed;
                progress(done.read, total);
            })
            .await;
        if makes_way {
            self.indexer.start().await;
        }
        rebuilt?;
        Ok(indexed)
    }

    /// Throws the hot store away and fills it from the log, from where the tables end. Gives the number of rows.
    ///
    /// # Errors
    /// When the lander does not run here, or the log cannot be read.
    pub async fn rebuild_hot(&self, progress: impl Fn(u64, u64) + Send + Sync) -> anyhow::Result<u64> {
        self.require(&[Role::Lander])?;
        let is_here = self.lander.is_running().await;
        self.lander.stop().await?;
        for partition in 0..self.storage.log.partitions(Topic::MailboxChanges) {
            let landed = self.tables.positions(Table::EmailState).get(&partition).copied().unwrap_or(0);
            let (_, end) = self.storage.log.bounds(Topic::MailboxChanges, partition).await?;
            self.storage.hot.reset(partition, landed, end).await?;
        }
        // Landers of other processes find that their partitions were reset, and fill them as they do after a start.
        if is_here {
            self.lander.start().await;
        }
        let total = self.behind().await?;
        let begun = Instant::now();
        loop {
            let behind = self.behind().await?;
            progress(total.saturating_sub(behind), total);
            if behind == 0 {
                break;
            }
            let is_moving = behind < total || begun.elapsed() < PATIENCE;
            anyhow::ensure!(is_moving, "no lander fills the hot store; start one with `millrace run lander`");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut rows = 0;
        for partition in 0..self.storage.log.partitions(Topic::MailboxChanges) {
            rows += self.storage.hot.rows(partition, 0).await?.rows.len() as u64;
        }
        Ok(rows)
    }
}
