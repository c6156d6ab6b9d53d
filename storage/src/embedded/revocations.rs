//! Ended sessions in process: a restart ends all sessions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::revocations::{Epoch, MAX_OF_ACCOUNT, RevocationError, Revocations, TokenId};

/// When more would have to be kept, all sessions end.
const MAX_ACCOUNTS: usize = 100_000;

/// [`Revocations`] of this process alone.
pub struct EmbeddedRevocations(Mutex<Kept>);

struct Kept {
    epoch: Epoch,
    accounts: HashMap<String, Ended>,
}

/// The tokens of an account that ended.
struct Ended {
    /// With when they would have ended by themselves, at the latest.
    ids: HashMap<[u8; 16], Instant>,
    /// All that were opened until then.
    cut_us: i64,
    until: Instant,
}

impl Default for EmbeddedRevocations {
    fn default() -> Self {
        Self(Mutex::new(Kept::new()))
    }
}

impl Kept {
    fn new() -> Self {
        Self { epoch: ulid::Ulid::new().to_bytes(), accounts: HashMap::new() }
    }

    fn make_room(&mut self, account_id: &str) {
        if self.accounts.len() < MAX_ACCOUNTS || self.accounts.contains_key(account_id) {
            return;
        }
        let now = Instant::now();
        self.accounts.retain(|_, ended| ended.until > now);
        if self.accounts.len() >= MAX_ACCOUNTS {
            tracing::warn!("too many have logged out to remember them all: every session ends");
            *self = Self::new();
        }
    }
}

impl Ended {
    fn end(&mut self, id: [u8; 16], now_us: i64, until: Instant) {
        self.until = self.until.max(until);
        self.ids.insert(id, until);
        if self.ids.len() <= MAX_OF_ACCOUNT {
            return;
        }
        let now = Instant::now();
        self.ids.retain(|_, until| *until > now);
        if self.ids.len() > MAX_OF_ACCOUNT {
            self.ids.clear();
            self.cut_us = now_us;
        }
    }
}

#[async_trait]
impl Revocations for EmbeddedRevocations {
    async fn epoch(&self, _: &str) -> Result<Epoch, RevocationError> {
        Ok(self.0.lock().epoch)
    }

    async fn holds(&self, token: &TokenId) -> Result<bool, RevocationError> {
        let kept = self.0.lock();
        let has_ended = |ended: &Ended| ended.ids.contains_key(&token.id) || token.opened_at_us <= ended.cut_us;
        Ok(kept.epoch == token.epoch && !kept.accounts.get(&token.account_id).is_some_and(has_ended))
    }

    async fn revoke(&self, token: &TokenId, now_us: i64, keep: Duration) -> Result<(), RevocationError> {
        let mut kept = self.0.lock();
        kept.make_room(&token.account_id);
        let until = Instant::now() + keep;
        let fresh = || Ended { ids: HashMap::new(), cut_us: i64::MIN, until };
        kept.accounts.entry(token.account_id.clone()).or_insert_with(fresh).end(token.id, now_us, until);
        Ok(())
    }
}
