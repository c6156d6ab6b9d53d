//! Which emails an account was ever delivered: so that a delivery is known to be new without a look into the tables.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use lru::LruCache;

/// Ids kept in all; 8 bytes and some each.
const MAX_IDS: usize = 4_000_000;

/// Hashes of all email ids of the accounts used last.
pub(super) struct KnownIds {
    accounts: LruCache<String, HashSet<u64>>,
    total: usize,
}

fn hash(email_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    email_id.hash(&mut hasher);
    hasher.finish()
}

impl KnownIds {
    pub(super) fn new() -> Self {
        Self { accounts: LruCache::unbounded(), total: 0 }
    }

    /// Whether the account may have the email; `None` when the account is not loaded.
    pub(super) fn may_have(&mut self, account_id: &str, email_id: &str) -> Option<bool> {
        Some(self.accounts.get(account_id)?.contains(&hash(email_id)))
    }

    /// Takes all ids of an account.
    pub(super) fn load<'a>(&mut self, account_id: &str, email_ids: impl Iterator<Item = &'a str>) {
        let ids: HashSet<u64> = email_ids.map(hash).collect();
        self.total += ids.len() + 1;
        if let Some(before) = self.accounts.put(account_id.to_owned(), ids) {
            self.total -= before.len() + 1;
        }
        while self.total > MAX_IDS && self.accounts.len() > 1 {
            let Some((_, dropped)) = self.accounts.pop_lru() else { break };
            self.total -= dropped.len() + 1;
        }
    }

    /// Notes a delivery, when the account is loaded.
    pub(super) fn add(&mut self, account_id: &str, email_id: &str) {
        if let Some(ids) = self.accounts.peek_mut(account_id) {
            self.total += usize::from(ids.insert(hash(email_id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_account_answers_for_all_its_emails() {
        let mut known = KnownIds::new();
        assert_eq!(known.may_have("a", "1"), None);
        known.add("a", "1");
        known.load("a", ["2"].into_iter());
        assert_eq!((known.may_have("a", "1"), known.may_have("a", "2")), (Some(false), Some(true)));
        known.add("a", "1");
        assert_eq!(known.may_have("a", "1"), Some(true));
        assert_eq!(known.may_have("b", "1"), None);
    }
}
