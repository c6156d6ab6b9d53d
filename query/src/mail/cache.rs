//! Views of the accounts used last.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::version::Facts;
use super::view::AccountView;

/// A view and how much of the log it has.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) view: Arc<AccountView>,
    /// Every change before this offset of the account's partition is in.
    pub(super) known_to: u64,
    /// What was shown before may reach to here.
    pub(super) complete_at: u64,
}

impl Known {
    /// Whether the view is as new as any that was shown.
    pub(super) fn is_complete(&self) -> bool {
        self.known_to >= self.complete_at
    }
}

/// One account: loaded and brought up to date by one task at a time.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) known: AsyncMutex<Option<Known>>,
    /// Held by whoever changes the account.
    pub(super) writer: AsyncMutex<()>,
}

struct Entry {
    slot: Arc<Slot>,
    weight: usize,
}

pub(super) struct ViewCache {
    entries: Mutex<(LruCache<Arc<str>, Entry>, usize)>,
    max_weight: usize,
}

impl ViewCache {
    pub(super) fn new(max_weight: usize) -> Self {
        Self { entries: Mutex::new((LruCache::unbounded(), 0)), max_weight }
    }

    pub(super) fn slot(&self, account_id: &str) -> Arc<Slot> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.0.get(account_id) {
            return entry.slot.clone();
        }
        let slot = Arc::<Slot>::default();
        entries.0.put(account_id.into(), Entry { slot: slot.clone(), weight: 1 });
        entries.1 += 1;
        slot
    }

    /// Notes how heavy an account's view has become, and lets those go that were used least recently. A slot that
    /// someone holds stays, so that two never work on one account.
    pub(super) fn weigh(&self, account_id: &str, weight: usize) {
        let mut entries = self.entries.lock();
        let (cache, total) = &mut *entries;
        if let Some(entry) = cache.get_mut(account_id) {
            *total = *total - entry.weight + weight;
            entry.weight = weight;
        }
        let mut tries = cache.len();
        while *total > self.max_weight && cache.len() > 1 && tries > 0 {
            tries -= 1;
            let Some((oldest, entry)) = cache.pop_lru() else { break };
            *total -= entry.weight;
            if Arc::strong_count(&entry.slot) > 1 {
                *total += entry.weight;
                cache.put(oldest, entry);
            }
        }
    }
}

/// Account and email.
type Key = (Arc<str>, Arc<str>);

/// Facts read last.
pub(super) struct FactsCache(Mutex<LruCache<Key, Arc<Facts>>>);

impl FactsCache {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = std::num::NonZeroUsize::new(capacity).unwrap_or(std::num::NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(capacity)))
    }

    pub(super) fn get(&self, account_id: &Arc<str>, email_id: &Arc<str>) -> Option<Arc<Facts>> {
        self.0.lock().get(&(account_id.clone(), email_id.clone())).cloned()
    }

    pub(super) fn put(&self, account_id: &Arc<str>, facts: &Arc<Facts>) {
        self.0.lock().put((account_id.clone(), facts.email_id.as_str().into()), facts.clone());
    }
}
