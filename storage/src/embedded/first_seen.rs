//! First-seen in the log's database. Claims are answered from memory and disk, and written with the committer's next
//! batch: before, or in the same sync as, any output that rests on them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::log::{ClaimKey, EmbeddedLog, Shared, StoredClaim};
use crate::first_seen::{Claim, FirstSeen, FirstSeenError};
use crate::log::LogError;

/// Claims that may be unwritten before more are refused.
const MAX_UNSAVED: usize = 200_000;
/// Claims that are forgotten in one batch.
const EXPIRE_CHUNK: usize = 512;

#[derive(Clone, Debug)]
pub struct FirstSeenOptions {
    /// How long a claim holds.
    pub window: Duration,
}

impl Default for FirstSeenOptions {
    /// Clients that missed an answer try again for days.
    fn default() -> Self {
        Self { window: Duration::from_secs(5 * 24 * 60 * 60) }
    }
}

/// A [`FirstSeen`] that shares the log's database.
pub struct EmbeddedFirstSeen {
    shared: Arc<Shared>,
    window_us: i64,
}

impl EmbeddedFirstSeen {
    pub fn new(log: &EmbeddedLog, options: FirstSeenOptions) -> Self {
        let window_us = i64::try_from(options.window.as_micros()).unwrap_or(i64::MAX);
        Self { shared: log.shared().clone(), window_us }
    }

    fn has_lapsed(&self, claimed_us: i64, now_us: i64) -> bool {
        now_us.saturating_sub(claimed_us) > self.window_us
    }

    fn expire_chunk(&self, before_us: i64) -> Result<(usize, u64), FirstSeenError> {
        let store = self.shared.store().map_err(refused)?;
        // Held throughout: a claim that is made anew meanwhile must not be lost.
        let unsaved = self.shared.claims.lock();
        let mut batch = store.database.batch();
        let (mut seen, mut forgotten) = (0, 0);
        for entry in store.claim_times.range(..before_us.max(0).to_be_bytes().to_vec()).take(EXPIRE_CHUNK) {
            let index_key = entry.key().map_err(failed)?;
            seen += 1;
            if let Some((time, key)) = index_key.split_first_chunk::<8>()
                && let Ok(key) = ClaimKey::try_from(key)
                && unsaved.get(&key).is_none()
            {
                let stored = store.claims.get(key).map_err(failed)?;
                let stored = stored.map(|bytes| StoredClaim::decode(&bytes)).transpose().map_err(FirstSeenError)?;
                if stored.is_some_and(|claim| claim.at_us.max(0) == i64::from_be_bytes(*time)) {
                    batch.remove(&store.claims, key);
                    forgotten += 1;
                }
            }
            batch.remove(&store.claim_times, index_key);
        }
        store.make_room([&store.claims, &store.claim_times].into_iter()).map_err(FirstSeenError)?;
        batch.commit().map_err(failed)?;
        Ok((seen, forgotten))
    }
}

fn failed(error: fjall::Error) -> FirstSeenError {
    FirstSeenError(error.to_string())
}

fn refused(error: LogError) -> FirstSeenError {
    FirstSeenError(error.to_string())
}

#[async_trait]
impl FirstSeen for EmbeddedFirstSeen {
    async fn claim(&self, key: ClaimKey, claimant: &str, at_us: i64) -> Result<Claim, FirstSeenError> {
        let store = self.shared.store().map_err(refused)?;
        let mut unsaved = self.shared.claims.lock();
        let held = match unsaved.get(&key) {
            Some(claim) => Some(claim.clone()),
            None => {
                let stored = store.claims.get(key).map_err(failed)?;
                stored.map(|bytes| StoredClaim::decode(&bytes)).transpose().map_err(FirstSeenError)?
            }
        };
        match held {
            Some(claim) if claim.claimant == claimant => Ok(Claim::First),
            Some(claim) if !self.has_lapsed(claim.at_us, at_us) => Ok(Claim::Taken(claim.claimant)),
            _ if unsaved.len() >= MAX_UNSAVED => Err(FirstSeenError("too many claims wait to be written".to_owned())),
            lapsed => {
                let claim = StoredClaim { claimant: claimant.to_owned(), at_us };
                unsaved.insert(key, claim, lapsed.map(|claim| claim.at_us));
                Ok(Claim::First)
            }
        }
    }

    async fn expire(&self, now_us: i64) -> Result<u64, FirstSeenError> {
        let before_us = now_us.saturating_sub(self.window_us);
        let mut total = 0;
        loop {
            let (seen, forgotten) = self.expire_chunk(before_us)?;
            total += forgotten;
            if seen < EXPIRE_CHUNK {
                return Ok(total);
            }
            tokio::task::yield_now().await;
        }
    }
}
