//! Counts of a mailbox (RFC 8621, 2), kept up with every change.

use std::cmp::Reverse;
use std::sync::Arc;

use imbl::{HashMap, OrdSet};

use super::labels::TRASH;
use super::version::EmailVersion;

/// What `Mailbox/get` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxCounts {
    pub total_emails: u64,
    pub unread_emails: u64,
    pub total_threads: u64,
    /// Threads with an email here and an unread one anywhere outside the trash (in the trash: inside it).
    pub unread_threads: u64,
}

/// Newest first: received at, then id.
pub(crate) type Place = (Reverse<i64>, Arc<str>);

pub(crate) fn place(version: &EmailVersion) -> Place {
    (Reverse(version.received_at_us), version.email_id.clone())
}

/// The emails of a thread and how many of them each mailbox has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    pub(crate) emails: OrdSet<Place>,
    mailboxes: Vec<(Arc<str>, u64)>,
    unread_in_trash: u64,
    unread_elsewhere: u64,
}

fn step(count: &mut u64, is_added: bool) {
    *count = if is_added { *count + 1 } else { count.saturating_sub(1) };
}

impl Thread {
    /// Adds an email's version, or takes it away.
    fn change(&mut self, version: &EmailVersion, is_added: bool) {
        if is_added {
            self.emails.insert(place(version));
        } else {
            self.emails.remove(&place(version));
        }
        for mailbox in &version.mailboxes {
            match self.mailboxes.iter_mut().find(|(held, _)| held == mailbox) {
                Some((_, count)) => step(count, is_added),
                None if is_added => self.mailboxes.push((mailbox.clone(), 1)),
                None => {}
            }
        }
        self.mailboxes.retain(|(_, count)| *count > 0);
        if version.is_unread() {
            if version.is_in(TRASH) {
                step(&mut self.unread_in_trash, is_added);
            }
            if version.mailboxes.iter().any(|mailbox| &**mailbox != TRASH) {
                step(&mut self.unread_elsewhere, is_added);
            }
        }
    }

    fn is_unread_in(&self, mailbox: &str) -> bool {
        if mailbox == TRASH { self.unread_in_trash > 0 } else { self.unread_elsewhere > 0 }
    }
}

/// Threads and mailboxes of an account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) threads: HashMap<Arc<str>, Thread>,
    pub(crate) mailboxes: HashMap<Arc<str>, MailboxCounts>,
}

impl Counts {
    /// Adds a live version of an email, or takes away the one that was added.
    pub(crate) fn change(&mut self, version: &EmailVersion, is_added: bool) {
        for mailbox in &version.mailboxes {
            let counts = self.mailboxes.entry(mailbox.clone()).or_default();
            step(&mut counts.total_emails, is_added);
            if version.is_unread() {
                step(&mut counts.unread_emails, is_added);
            }
        }
        let mut thread = self.threads.get(&version.thread_id).cloned().unwrap_or_default();
        self.count_thread(&thread, false);
        thread.change(version, is_added);
        self.count_thread(&thread, true);
        if thread.emails.is_empty() {
            self.threads.remove(&version.thread_id);
        } else {
            self.threads.insert(version.thread_id.clone(), thread);
        }
    }

    fn count_thread(&mut self, thread: &Thread, is_added: bool) {
        for (mailbox, _) in &thread.mailboxes {
            let counts = self.mailboxes.entry(mailbox.clone()).or_default();
            step(&mut counts.total_threads, is_added);
            if thread.is_unread_in(mailbox) {
                step(&mut counts.unread_threads, is_added);
            }
        }
    }
}
