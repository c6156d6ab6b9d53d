//! Asking the owners to make their shards again.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Shards;
use super::manifest::Manifest;
use super::store::{Before, Replaced, ShardStore, Stored};
use crate::mail::search::error::SearchError;
use crate::mail::search::rebuild::RebuildProgress;
use crate::tables::{Table, Tables};

/// Times that an owner may publish between reading a manifest and marking it.
const ATTEMPTS: usize = 50;
/// How often the shards are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long it may take until an indexer takes a shard up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Shards {
    /// Marks every shard, which ends its owner's claim, and waits until whoever takes it next has made it again.
    pub(in crate::mail::search) async fn rebuild(
        &self,
        tables: &Tables,
        mut progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<RebuildProgress, SearchError> {
        let request = Uuid::now_v7().to_string();
        for shard in &self.shards {
            mark(&shard.store, &request).await?;
        }
        tables.refresh(Table::Emails).await?;
        let total = tables.snapshot(Table::Emails).rows();
        let mut done = RebuildProgress { total, ..RebuildProgress::default() };
        let asked_at = Instant::now();
        let mut waiting: Vec<&ShardStore> = self.shards.iter().map(|shard| &shard.store).collect();
        loop {
            let mut left = Vec::new();
            for store in waiting {
                let Some(Stored { manifest, .. }) = store.manifest().await? else { return Err(store.fenced(None)) };
                match manifest.rebuilt {
                    // Requests are named by their time, so that a later one does as well.
                    Some(rebuilt) if rebuilt.request >= request => done.indexed += rebuilt.indexed,
                    _ if manifest.claim == request && asked_at.elapsed() > PATIENCE => {
                        return Err(store.not_ready("nobody has begun to make it again"));
                    }
                    _ => left.push(store),
                }
            }
            waiting = left;
            // Each owner reads the whole table and takes its part.
            done.read = match waiting.is_empty() {
                true => total,
                false => done.indexed.min(total),
            };
            progress(done);
            if waiting.is_empty() {
                return Ok(done);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Asks for a rebuild in the shard's manifest, or in the place of what cannot be read as one.
async fn mark(store: &ShardStore, request: &str) -> Result<(), SearchError> {
    for attempt in 1.. {
        let Before { manifest: before, version, .. } = store.before(Replaced::Any).await?;
        let marked = Manifest { rebuild: Some(request.to_owned()), ..before.claimed(request.to_owned()) };
        match store.replace(version, marked).await {
            Ok(_) => break,
            Err(SearchError::Fenced { .. }) if attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
