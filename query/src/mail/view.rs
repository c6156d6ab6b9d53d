//! All of an account's mail at one state.

use std::sync::Arc;

use imbl::{HashMap, HashSet, OrdMap, OrdSet};

use super::changes::{self, CannotCalculate, Changes};
use super::counts::{Counts, MailboxCounts, Place, place};
use super::version::EmailVersion;

/// An account at one state. Immutable; the next state shares all that did not change, so that one new email in a
/// mailbox of 100,000 costs microseconds.
#[derive(Clone, Debug, Default)]
pub struct AccountView {
    /// The highest `seq` of the account's changes plus one; 0 before the first. The JMAP `state`.
    pub state: u64,
    emails: HashMap<Arc<str>, Arc<EmailVersion>>,
    newest_first: OrdSet<Place>,
    /// The newest version of every email, destroyed ones among them, by its `seq`.
    pub(super) by_change: OrdMap<u64, Arc<EmailVersion>>,
    /// `created_seq` to email id, of live emails.
    pub(super) by_creation: OrdMap<u64, Arc<str>>,
    destroyed: HashSet<Arc<str>>,
    counts: Counts,
    size_bytes: u64,
}

impl AccountView {
    /// The newest version of a live email.
    pub fn get(&self, email_id: &str) -> Option<&Arc<EmailVersion>> {
        self.emails.get(email_id)
    }

    /// Live emails.
    pub fn len(&self) -> usize {
        self.emails.len()
    }

    pub fn is_empty(&self) -> bool {
        self.emails.is_empty()
    }

    /// Size of all live emails.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Live emails by time received, newest first; those of the same microsecond by id.
    pub fn iter_newest_first(&self) -> impl Iterator<Item = &Arc<EmailVersion>> {
        self.newest_first.iter().filter_map(|(_, email_id)| self.emails.get(email_id))
    }

    pub fn mailbox_counts(&self, mailbox: &str) -> MailboxCounts {
        self.counts.mailboxes.get(mailbox).copied().unwrap_or_default()
    }

    /// Ids of the thread's emails, oldest first (RFC 8621, 3); `None` when there is no such thread.
    pub fn thread(&self, thread_id: &str) -> Option<Vec<Arc<str>>> {
        let thread = self.counts.threads.get(thread_id)?;
        Some(thread.emails.iter().rev().map(|(_, email_id)| email_id.clone()).collect())
    }

    /// What changed after `state`, at most `max` ids.
    ///
    /// # Errors
    /// [`CannotCalculate`] when the account was never in that state.
    pub fn changes_since(&self, state: u64, max: usize) -> Result<Changes, CannotCalculate> {
        changes::since(self, state, max)
    }

    /// The newest version of every email that changed after `state`, destroyed ones among them, in the order of the log.
    pub fn versions_since(&self, state: u64) -> impl Iterator<Item = &Arc<EmailVersion>> {
        self.by_change.range(state..).map(|(_, version)| version)
    }

    /// Whether there was an email with this id, and is none any more.
    pub fn was_destroyed(&self, email_id: &str) -> bool {
        self.destroyed.contains(email_id)
    }

    /// Takes in a newer version of an email.
    pub(crate) fn apply(&mut self, version: Arc<EmailVersion>) {
        self.state = self.state.max(version.seq + 1);
        if let Some(before) = self.emails.remove(&version.email_id) {
            self.by_change.remove(&before.seq);
            self.by_creation.remove(&before.created_seq);
            self.newest_first.remove(&place(&before));
            self.counts.change(&before, false);
            self.size_bytes = self.size_bytes.saturating_sub(before.size_bytes.unsigned_abs());
        }
        self.by_change.insert(version.seq, version.clone());
        if version.is_destroyed {
            self.destroyed.insert(version.email_id.clone());
        } else {
            self.by_creation.insert(version.created_seq, version.email_id.clone());
            self.newest_first.insert(place(&version));
            self.counts.change(&version, true);
            self.size_bytes += version.size_bytes.unsigned_abs();
            self.emails.insert(version.email_id.clone(), version);
        }
    }

    /// What it takes in a cache: emails that were ever there.
    pub(crate) fn weight(&self) -> usize {
        self.by_change.len() + 16
    }
}

impl FromIterator<EmailVersion> for AccountView {
    fn from_iter<T: IntoIterator<Item = EmailVersion>>(versions: T) -> Self {
        let mut view = Self::default();
        versions.into_iter().for_each(|version| view.apply(Arc::new(version)));
        view
    }
}
