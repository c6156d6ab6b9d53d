//! A mailbox as simply as it can be written, to hold the real one against.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::{MailboxChange, MailboxPatch};

use crate::mail::{AccountView, MailboxCounts};

#[derive(Clone, Debug)]
pub(super) struct Email {
    pub(super) mailboxes: BTreeSet<String>,
    pub(super) keywords: BTreeSet<String>,
    pub(super) is_destroyed: bool,
    pub(super) created: u64,
    pub(super) changed: u64,
    received_at_us: i64,
    thread_id: String,
    size_bytes: u64,
}

/// One account.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) emails: BTreeMap<String, Email>,
    pub(super) state: u64,
    /// Rows that `email_state` must have.
    pub(super) state_rows: usize,
    /// Every state there was, with the ids of the emails that were live then.
    pub(super) history: Vec<(u64, BTreeSet<String>)>,
    /// Offset and call of every record.
    records: Vec<(u64, Option<String>)>,
}

impl Account {
    pub(super) fn apply(&mut self, change: &MailboxChange, seq: u64) {
        self.records.push((seq, change.call.clone()));
        let changed = match &change.patch {
            _ if self.is_refused(change) => false,
            None => self.deliver(change, seq),
            Some(patch) => self.update(&change.email_id, &serde_json::from_str(patch).unwrap(), seq),
        };
        if changed {
            self.state = seq + 1;
            self.history.push((self.state, self.live()));
        }
    }

    fn is_refused(&self, change: &MailboxChange) -> bool {
        let Some(since) = change.if_unchanged_since else { return false };
        let (_, next) = self.records.iter().find(|(seq, _)| *seq as i64 >= since).unwrap();
        *next != change.call
    }

    fn deliver(&mut self, change: &MailboxChange, seq: u64) -> bool {
        if self.emails.contains_key(&change.email_id) {
            return false;
        }
        let summary: serde_json::Value = serde_json::from_str(change.summary.as_deref().unwrap()).unwrap();
        self.state_rows += 1;
        let email = Email {
            mailboxes: [change.mailbox.clone().unwrap()].into(),
            keywords: BTreeSet::new(),
            is_destroyed: false,
            created: seq,
            changed: seq,
            received_at_us: change.received_at_us.unwrap(),
            thread_id: summary["thread_id"].as_str().unwrap().to_owned(),
            size_bytes: change.size_bytes.unwrap().unsigned_abs(),
        };
        self.emails.insert(change.email_id.clone(), email);
        true
    }

    fn update(&mut self, email_id: &str, patch: &MailboxPatch, seq: u64) -> bool {
        let Some(email) = self.emails.get_mut(email_id).filter(|email| !email.is_destroyed) else { return false };
        let mut next = email.clone();
        if patch.is_destroyed {
            next.is_destroyed = true;
            next.mailboxes.clear();
        } else {
            if let Some(all) = &patch.set_keywords {
                next.keywords = all.iter().cloned().collect();
            }
            for (name, is_on) in &patch.keywords {
                if *is_on {
                    next.keywords.insert(name.clone())
                } else {
                    next.keywords.remove(name)
                };
            }
            for (name, is_in) in &patch.mailboxes {
                if *is_in {
                    next.mailboxes.insert(name.clone())
                } else {
                    next.mailboxes.remove(name)
                };
            }
            let is_same = next.mailboxes == email.mailboxes && next.keywords == email.keywords;
            if is_same || next.mailboxes.is_empty() {
                return false;
            }
        }
        next.changed = seq;
        self.state_rows += 1 + usize::from(next.keywords.contains("$seen") != email.keywords.contains("$seen"));
        *email = next;
        true
    }

    /// A patch that holds if nothing but its own call has come since one of the last records; perhaps something has.
    pub(super) fn conditional(&self, change: MailboxChange, back: usize) -> MailboxChange {
        let since = self.records.iter().rev().nth(back).map_or(0, |(seq, _)| seq + 1) as i64;
        MailboxChange { if_unchanged_since: Some(since), call: Some(format!("since {since}")), ..change }
    }

    pub(super) fn live(&self) -> BTreeSet<String> {
        self.emails.iter().filter(|(_, email)| !email.is_destroyed).map(|(id, _)| id.clone()).collect()
    }

    fn counts(&self, mailbox: &str) -> MailboxCounts {
        let live: Vec<&Email> = self.emails.values().filter(|email| !email.is_destroyed).collect();
        let is_unread = |email: &&&Email| !email.keywords.contains("$seen") && !email.keywords.contains("$draft");
        let here: Vec<&Email> = live.iter().filter(|email| email.mailboxes.contains(mailbox)).copied().collect();
        let threads: BTreeSet<&str> = here.iter().map(|email| email.thread_id.as_str()).collect();
        let counts_for = |email: &&&Email| match mailbox {
            "trash" => email.mailboxes.contains("trash"),
            _ => email.mailboxes.iter().any(|mailbox| mailbox != "trash"),
        };
        let unread: BTreeSet<&str> =
            live.iter().filter(is_unread).filter(counts_for).map(|email| email.thread_id.as_str()).collect();
        MailboxCounts {
            total_emails: here.len() as u64,
            unread_emails: here.iter().filter(is_unread).count() as u64,
            total_threads: threads.len() as u64,
            unread_threads: threads.intersection(&unread).count() as u64,
        }
    }

    pub(super) fn assert_is(&self, view: &AccountView) {
        assert_eq!(view.state, self.state);
        assert_eq!(view.len(), self.live().len());
        let mut size_bytes = 0;
        for (email_id, email) in &self.emails {
            let Some(version) = view.get(email_id) else {
                assert!(email.is_destroyed, "{email_id} is missing");
                continue;
            };
            assert!(!email.is_destroyed, "{email_id} is still there");
            assert!(version.mailboxes.iter().map(AsRef::as_ref).eq(email.mailboxes.iter().map(String::as_str)));
            assert!(version.keywords.iter().map(AsRef::as_ref).eq(email.keywords.iter().map(String::as_str)));
            assert_eq!((version.created_seq, version.seq), (email.created, email.changed));
            size_bytes += email.size_bytes;
            let thread = view.thread(&email.thread_id).unwrap();
            assert!(thread.iter().any(|member| **member == **email_id));
        }
        assert_eq!(view.size_bytes(), size_bytes);
        let mut ordered: Vec<_> = self.live().into_iter().map(|id| (-self.emails[&id].received_at_us, id)).collect();
        ordered.sort();
        let ids: Vec<String> = view.iter_newest_first().map(|version| version.email_id.to_string()).collect();
        assert_eq!(ids, ordered.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
        for mailbox in crate::mail::ROLES {
            assert_eq!(view.mailbox_counts(mailbox), self.counts(mailbox), "{mailbox}");
        }
    }

    /// Follows the changes from each former state in pages, as a client does, and must end with what is there.
    pub(super) fn assert_changes(&self, view: &AccountView, page: usize) {
        for (state, live) in self.history.iter().chain([&(0, BTreeSet::new())]) {
            let (mut state, mut known) = (*state, live.clone());
            let mut told = BTreeSet::new();
            loop {
                let changes = view.changes_since(state, page).unwrap();
                assert!(changes.created.len() + changes.updated.len() + changes.destroyed.len() <= page);
                for id in &changes.created {
                    assert!(known.insert(id.to_string()), "{id} created twice");
                    told.insert(id.to_string());
                }
                for id in &changes.updated {
                    assert!(known.contains(&**id), "{id} updated before it was created");
                    told.insert(id.to_string());
                }
                for id in &changes.destroyed {
                    assert!(known.remove(&**id) || page < usize::MAX, "{id} destroyed, and never created");
                }
                assert!(!changes.has_more || changes.new_state > state, "no progress");
                state = changes.new_state;
                if !changes.has_more {
                    break;
                }
            }
            assert_eq!(known, self.live());
            assert_eq!(state, self.state);
        }
        assert!(view.changes_since(self.state + 1, page).is_err());
    }

    /// One page tells exactly the emails that changed.
    pub(super) fn assert_exact_changes(&self, view: &AccountView, since: u64) {
        let changes = view.changes_since(since, usize::MAX).unwrap();
        let pick = |wanted: &dyn Fn(&Email) -> bool| -> BTreeSet<String> {
            self.emails
                .iter()
                .filter(|(_, email)| email.changed >= since && wanted(email))
                .map(|(id, _)| id.clone())
                .collect()
        };
        let set = |ids: &[std::sync::Arc<str>]| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(set(&changes.created), pick(&|email| !email.is_destroyed && email.created >= since));
        assert_eq!(set(&changes.updated), pick(&|email| !email.is_destroyed && email.created < since));
        assert_eq!(set(&changes.destroyed), pick(&|email| email.is_destroyed && email.created < since));
        let mut last = None;
        for version in view.versions_since(since) {
            let email = &self.emails[&*version.email_id];
            assert_eq!((&*version.thread_id, version.is_destroyed), (email.thread_id.as_str(), email.is_destroyed));
            assert_eq!((version.created_seq, version.seq), (email.created, email.changed));
            assert!(last < Some(version.seq), "in the order of the log");
            last = Some(version.seq);
        }
        assert_eq!(view.versions_since(since).count(), pick(&|_| true).len());
    }
}
