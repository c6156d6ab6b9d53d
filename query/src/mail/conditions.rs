//! Changes that hold only when nothing came between (RFC 8620, 5.3: `ifInState`).
//!
//! Who asks for one has seen the account in a state, and others may change it before the records are in the log. So the
//! records say how far their writer had seen the log, and the log decides: they hold, all of them, when no other change of
//! the account lies from there to the first of them. Lander, indexer and the writer itself come to the same answer, in
//! whatever process, and again in a replay.

use std::collections::{HashMap, HashSet};

use millrace_schemas::{MailboxChange, Topic, decode_changes};
use millrace_storage::{Log, LogError};

/// Records read at a time, and bytes of them.
const CHUNK_RECORDS: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;

/// A change of an account, as far as conditions go.
struct Place {
    seq: u64,
    call: Option<String>,
}

/// The offsets of those that do not hold of `changes`: offset and change, some that follow each other in a partition. What
/// came before them is read from the log where a condition reaches back so far.
pub(super) async fn refused<'a>(
    log: &dyn Log,
    partition: u32,
    changes: impl Iterator<Item = (u64, &'a MailboxChange)> + Clone + Send,
) -> Result<HashSet<u64>, LogError> {
    let conditional = changes.clone().filter_map(|(seq, change)| Some((seq, change, Condition::of(change)?)));
    let conditional: Vec<_> = conditional.collect();
    let since = conditional.iter().map(|(_, _, condition)| condition.since).min();
    let (Some(since), Some((first, _))) = (since, changes.clone().next()) else { return Ok(HashSet::new()) };
    let mut accounts = Accounts(HashMap::new());
    for (_, change, _) in &conditional {
        accounts.0.entry(&change.account_id).or_default();
    }
    accounts.read(log, partition, since, first).await?;
    changes.for_each(|(seq, change)| accounts.note(seq, change));
    let mut holds = HashMap::new();
    let is_refused = |(seq, change, condition): (u64, &'a MailboxChange, Condition<'a>)| {
        let key = (change.account_id.as_str(), condition.call);
        let holds = holds.entry(key).or_insert_with(|| accounts.holds(&change.account_id, condition));
        (!*holds).then_some(seq)
    };
    Ok(conditional.into_iter().filter_map(is_refused).collect())
}

#[derive(Clone, Copy)]
struct Condition<'a> {
    since: u64,
    call: &'a str,
}

impl<'a> Condition<'a> {
    fn of(change: &'a MailboxChange) -> Option<Self> {
        let since = u64::try_from(change.if_unchanged_since?).unwrap_or(0);
        Some(Self { since, call: change.call.as_deref().unwrap_or_default() })
    }
}

/// The changes of the accounts that conditions are about, in the order of the log.
struct Accounts<'a>(HashMap<&'a str, Vec<Place>>);

impl Accounts<'_> {
    fn note(&mut self, seq: u64, change: &MailboxChange) {
        if let Some(places) = self.0.get_mut(change.account_id.as_str()) {
            places.push(Place { seq, call: change.call.clone() });
        }
    }

    /// Notes what the log has from `from` to before `to`.
    async fn read(&mut self, log: &dyn Log, partition: u32, from: u64, to: u64) -> Result<(), LogError> {
        let mut next = from;
        while next < to {
            let room = usize::try_from(to - next).unwrap_or(usize::MAX).min(CHUNK_RECORDS);
            let records = log.read(Topic::MailboxChanges, partition, next, room, CHUNK_BYTES).await?;
            let Some(last) = records.last() else { return Ok(()) };
            next = last.position.offset + 1;
            let values: Vec<_> = records.iter().map(|record| &record.value).collect();
            for (record, change) in records.iter().zip(decode_changes(&values)) {
                // One that cannot be read changes nothing: nobody applies it.
                if let Ok(change) = change
                    && record.position.offset < to
                {
                    self.note(record.position.offset, &change);
                }
            }
        }
        Ok(())
    }

    fn holds(&self, account_id: &str, condition: Condition<'_>) -> bool {
        let places = self.0.get(account_id).map_or(&[][..], Vec::as_slice);
        let first = places.iter().find(|place| place.seq >= condition.since);
        first.is_none_or(|first| first.call.as_deref() == Some(condition.call))
    }
}
