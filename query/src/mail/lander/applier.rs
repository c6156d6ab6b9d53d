//! Records of `mailbox.changes` to rows of the hot store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millrace_schemas::{MailboxChange, decode_changes};
use millrace_storage::{HotRow, HotStore, Log, Record};

use super::LandError;
use super::backlog::Backlog;
use super::known::KnownIds;
use crate::mail::apply::apply;
use crate::mail::conditions;
use crate::mail::merged;
use crate::mail::rows::Row;
use crate::mail::stored::{self, Wanted};
use crate::mail::version::EmailVersion;
use crate::tables::{Table, Tables};

/// Clocks of the machines that number messages and of those that keep the log differ by less.
const CLOCK_SLACK_MS: i64 = 2_000;

/// A record that was read: `seq`, when the log took it, what it says.
struct Change {
    seq: u64,
    appended_at_ms: i64,
    change: MailboxChange,
}

/// Account, email id, and the newest version; `None` when the email was never delivered.
type Current = HashMap<(String, String), Arc<EmailVersion>>;

pub(super) struct Applier {
    log: Arc<dyn Log>,
    pub(super) hot: Arc<dyn HotStore>,
    pub(super) tables: Arc<Tables>,
    pub(super) backlog: Arc<Backlog>,
    known: KnownIds,
    /// By partition: what the log took before this time may be in the tables only.
    horizon_ms: BTreeMap<u32, i64>,
    /// By partition: the newest record's time, which becomes the horizon when rows are released.
    newest_ms: BTreeMap<u32, i64>,
}

impl Applier {
    pub(super) fn new(log: Arc<dyn Log>, hot: Arc<dyn HotStore>, tables: Arc<Tables>, backlog: Arc<Backlog>) -> Self {
        let known = KnownIds::new();
        Self { log, hot, tables, backlog, known, horizon_ms: BTreeMap::new(), newest_ms: BTreeMap::new() }
    }

    /// The hot store may have dropped rows: what was applied so far may be in the tables only.
    pub(super) fn landed(&mut self) {
        self.horizon_ms.extend(&self.newest_ms);
    }

    /// Makes the rows of a partition's `records` and applies them. `Err` leaves the hot store as it was or with all of
    /// them.
    pub(super) async fn process(&mut self, partition: u32, records: &[Record]) -> Result<(), LandError> {
        let Some(last) = records.last() else { return Ok(()) };
        let end = last.position.offset + 1;
        let mut changes = read(records);
        let all = changes.iter().map(|change| (change.seq, &change.change));
        let refused = conditions::refused(self.log.as_ref(), partition, all).await?;
        metrics::counter!("millrace_lander_refused_changes_total").increment(refused.len() as u64);
        changes.retain(|change| !refused.contains(&change.seq));
        if let Some(first) = records.first() {
            self.horizon_ms.entry(partition).or_insert(first.appended_at_us / 1000);
        }
        let mut current = self.current(partition, &changes).await?;
        let mut rows = Vec::with_capacity(changes.len());
        for Change { seq, change, .. } in changes {
            let key = (change.account_id.clone(), change.email_id.clone());
            let Some(version) = apply(current.get(&key).map(Arc::as_ref), &change, seq) else { continue };
            if version.is_delivery() {
                self.known.add(&change.account_id, &change.email_id);
            }
            let version = Arc::new(version);
            current.insert(key, version.clone());
            rows.push(Row { account_id: change.account_id.into(), version });
        }
        let hot_rows: Vec<HotRow> = rows.iter().map(hot_row).collect();
        let bytes = hot_rows.iter().map(unlanded_bytes).sum();
        metrics::counter!("millrace_lander_applied_rows_total").increment(rows.len() as u64);
        self.hot.apply(partition, hot_rows, end).await?;
        self.backlog.push(partition, rows, bytes, end);
        let newest = self.newest_ms.entry(partition).or_default();
        *newest = records.iter().map(|record| record.appended_at_us / 1000).fold(*newest, i64::max);
        Ok(())
    }

    /// The versions that the changes meet: from the hot store, else from the tables, by account in one read.
    async fn current(&mut self, partition: u32, changes: &[Change]) -> Result<Current, LandError> {
        let mut current = Current::new();
        let mut wanted: BTreeMap<&str, BTreeMap<&str, Option<i64>>> = BTreeMap::new();
        for change in changes {
            let (account_id, email_id) = (change.change.account_id.as_str(), change.change.email_id.as_str());
            let key = (account_id.to_owned(), email_id.to_owned());
            if current.contains_key(&key) {
                continue;
            }
            if let Some(version) = merged::newest_hot(self.hot.as_ref(), partition, account_id, email_id).await? {
                current.insert(key, version);
            } else if self.may_be_landed(partition, change).await? {
                // Only a patch tells the time of the delivery itself.
                let is_patch = change.change.kind == MailboxChange::UPDATED;
                let received_at_us = change.change.received_at_us.filter(|_| is_patch);
                wanted.entry(account_id).or_default().insert(email_id, received_at_us);
            }
        }
        let Some(before) = changes.first().map(|change| change.seq) else { return Ok(current) };
        let snapshot = self.tables.snapshot(Table::EmailState);
        for (account_id, emails) in wanted {
            let emails: Vec<Wanted> = emails.into_iter().map(|(id, at)| (at, id.to_owned())).collect();
            for (email_id, version) in stored::some_versions(&snapshot, account_id, &emails, before).await? {
                current.entry((account_id.to_owned(), email_id.to_string())).or_insert_with(|| Arc::new(version));
            }
        }
        Ok(current)
    }

    /// Whether the tables have to be asked about an email that the hot store does not hold.
    async fn may_be_landed(&mut self, partition: u32, change: &Change) -> Result<bool, LandError> {
        if change.change.kind != MailboxChange::DELIVERED {
            return Ok(true);
        }
        let horizon_ms = self.horizon_ms.get(&partition).copied().unwrap_or(i64::MAX);
        if is_new_since(&change.change.email_id, horizon_ms, change.appended_at_ms) {
            return Ok(false);
        }
        let (account_id, email_id) = (&change.change.account_id, &change.change.email_id);
        if let Some(may_have) = self.known.may_have(account_id, email_id) {
            return Ok(may_have);
        }
        let account = merged::load(&self.tables, self.hot.as_ref(), partition, account_id).await?;
        self.known.load(account_id, account.versions.keys().map(AsRef::as_ref));
        Ok(account.versions.contains_key(email_id.as_str()))
    }
}

/// What a row takes while it waits to land, about.
pub(super) fn unlanded_bytes(row: &HotRow) -> usize {
    row.value.len() + size_of::<Row>()
}

fn hot_row(row: &Row) -> HotRow {
    HotRow {
        account_id: row.account_id.clone(),
        email_id: row.version.email_id.clone(),
        seq: row.version.seq,
        value: row.version.encode(),
    }
}

/// What the records say. One that cannot be read is left out with a loud line: it stays in the log, and the lander goes
/// on, since everything behind it is somebody's mail.
fn read(records: &[Record]) -> Vec<Change> {
    let mut changes = Vec::with_capacity(records.len());
    let values: Vec<_> = records.iter().map(|record| &record.value).collect();
    for (record, change) in records.iter().zip(decode_changes(&values)) {
        match change {
            Ok(change) => changes.push(Change {
                seq: record.position.offset,
                appended_at_ms: record.appended_at_us / 1000,
                change,
            }),
            Err(error) => {
                metrics::counter!("millrace_lander_unreadable_records_total").increment(1);
                let (partition, offset) = (record.position.partition, record.position.offset);
                tracing::error!(partition, offset, %error, "a record of mailbox.changes cannot be read and is passed over");
            }
        }
    }
    changes
}

/// Whether the id is a ULID made between `horizon_ms` and `appended_at_ms`: then nothing that the log took before the
/// horizon can be about this email. Ids of imported mail are made from its content; their time tells nothing, and is
/// hardly ever in so narrow a window.
fn is_new_since(email_id: &str, horizon_ms: i64, appended_at_ms: i64) -> bool {
    let Some(made_at_ms) = ulid_ms(email_id) else { return false };
    made_at_ms > horizon_ms.saturating_add(CLOCK_SLACK_MS) && made_at_ms <= appended_at_ms + CLOCK_SLACK_MS
}

/// The time in a ULID (Crockford base 32, the first ten characters).
fn ulid_ms(id: &str) -> Option<i64> {
    if id.len() != 26 {
        return None;
    }
    id.bytes().take(10).try_fold(0_i64, |time, byte| {
        let digit = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter().position(|digit| *digit == byte.to_ascii_uppercase())?;
        Some(time << 5 | i64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_made_since_the_horizon_are_taken_for_new() {
        // The example of the ULID specification: 2016-07-30T23:54:10.259Z.
        let id = "01ARYZ6S41TSV4RRFFQ69G5FAV";
        let made = 1_469_918_176_385;
        assert_eq!(ulid_ms(id), Some(made));
        assert!(is_new_since(id, made - 5_000, made + 10));
        assert!(!is_new_since(id, made, made + 10));
        assert!(!is_new_since(id, made - 5_000, made - 5_000));
        assert!(!is_new_since("import-1", 0, i64::MAX - CLOCK_SLACK_MS));
    }
}
