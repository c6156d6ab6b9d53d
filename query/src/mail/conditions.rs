//! Changes that hold only when nothing came between (RFC 8620, 5.3: `ifInState`).
//!
//! Who asks for one has seen the account in a state, and others may change it before the records are in the log. So the
//! records say how far their writer had seen the log, and the log decides: they hold, all of them, when no other change of
//! the account lies from there to the first of them, and that is not far. Lander, indexer and the writer itself come to the
//! same answer, in whatever process, and again in a replay.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use millrace_schemas::{MailboxChange, Topic, decode_changes};
use millrace_storage::{Log, LogError, Record};

/// Offsets between what a writer had seen and the first of its records, at most; a writer that was slower tries again. So
/// that a lander never reads far back.
const MAX_SPAN: u64 = Topic::MailboxChanges.look_back();
/// How long a log is asked again that gives nothing now.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);

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
    let Some((first, _)) = changes.clone().next() else { return Ok(HashSet::new()) };
    let accounts = conditional.iter().map(|(_, change, _)| (change.account_id.as_str(), Vec::new()));
    let mut accounts = Accounts(accounts.collect());
    let mut read_to = 0;
    for since in conditional.iter().map(|(_, _, condition)| condition.since).collect::<BTreeSet<_>>() {
        let to = first.min(since.saturating_add(MAX_SPAN + 1));
        accounts.read(log, partition, since.max(read_to)..to).await?;
        read_to = to.max(read_to);
    }
    changes.for_each(|(seq, change)| accounts.note(seq, change));
    let mut holds = HashMap::new();
    let is_refused = |(seq, change, condition): (u64, &'a MailboxChange, Condition<'a>)| {
        let key = (change.account_id.as_str(), condition.call);
        let holds = holds.entry(key).or_insert_with(|| accounts.holds(&change.account_id, condition));
        (!*holds).then_some(seq)
    };
    Ok(conditional.into_iter().filter_map(is_refused).collect())
}

/// Offsets of an account's changes in a range of the log that ends behind a record that is there, but for `own`.
pub(super) async fn others(
    log: &dyn Log,
    partition: u32,
    account_id: &str,
    range: Range<u64>,
    own: &[u64],
) -> Result<Vec<u64>, LogError> {
    if range.end - range.start == own.len() as u64 {
        return Ok(Vec::new());
    }
    if range.end - range.start > MAX_SPAN {
        return Err(LogError::Unavailable(format!("more than {MAX_SPAN} records came between")));
    }
    let mut accounts = Accounts(HashMap::from([(account_id, Vec::new())]));
    accounts.read(log, partition, range).await?;
    let seqs = accounts.0.into_values().flatten().map(|place| place.seq);
    Ok(seqs.filter(|seq| !own.contains(seq)).collect())
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

    /// Notes what the log has of a range that ends before a record that was read.
    async fn read(&mut self, log: &dyn Log, partition: u32, range: Range<u64>) -> Result<(), LogError> {
        let mut next = range.start;
        while next < range.end {
            let room = usize::try_from(range.end - next).unwrap_or(usize::MAX).min(CHUNK_RECORDS);
            let records = read_patiently(log, partition, next, room).await?;
            next = records.last().map_or(range.end, |last| last.position.offset + 1);
            let values: Vec<_> = records.iter().map(|record| &record.value).collect();
            for (record, change) in records.iter().zip(decode_changes(&values)) {
                // One that cannot be read changes nothing: nobody applies it.
                if let Ok(change) = change
                    && record.position.offset < range.end
                {
                    self.note(record.position.offset, &change);
                }
            }
        }
        Ok(())
    }

    fn holds(&self, account_id: &str, condition: Condition<'_>) -> bool {
        let places = self.0.get(account_id).map_or(&[][..], Vec::as_slice);
        let next = places.iter().find(|place| place.seq >= condition.since);
        next.is_some_and(|next| next.call.as_deref() == Some(condition.call) && next.seq - condition.since <= MAX_SPAN)
    }
}

/// Records of a log that holds more than was asked for, so that it gives some.
async fn read_patiently(log: &dyn Log, partition: u32, from: u64, room: usize) -> Result<Vec<Record>, LogError> {
    let begun = Instant::now();
    loop {
        let read = log.read(Topic::MailboxChanges, partition, from, room, CHUNK_BYTES).await;
        let why = match read {
            Ok(records) if !records.is_empty() => return Ok(records),
            Ok(_) => "the log gives less of a partition than was read of it already".to_owned(),
            Err(LogError::Unavailable(why)) => why,
            Err(error) => return Err(error),
        };
        if begun.elapsed() > PATIENCE {
            return Err(LogError::Unavailable(why));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use millrace_schemas::{encode, topic::partition_of};
    use millrace_storage::NewRecord;
    use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};
    use tempfile::TempDir;

    use super::*;
    use crate::mail::testing::{delivery, patch};

    struct World {
        log: std::sync::Arc<dyn Log>,
        partition: u32,
        /// Another account of ann's partition.
        neighbour: String,
        _dir: TempDir,
    }

    impl World {
        fn open() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log: std::sync::Arc<dyn Log> =
                EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap().log;
            let partition_of = |account: &str| partition_of(account, log.partitions(Topic::MailboxChanges));
            let partition = partition_of("ann");
            let neighbour = (0..).map(|n| format!("b{n}")).find(|account| partition_of(account) == partition).unwrap();
            Self { log, partition, neighbour, _dir: dir }
        }

        /// Gives the offset of the last.
        async fn append(&self, changes: &[MailboxChange]) -> u64 {
            let record = |change: &MailboxChange| NewRecord {
                topic: Topic::MailboxChanges,
                key: change.account_id.clone(),
                value: encode(change).unwrap(),
            };
            let positions = self.log.append(changes.iter().map(record).collect()).await.unwrap();
            positions.last().unwrap().offset
        }

        /// Whether a change that has been appended is refused by one who reads nothing else with it.
        async fn is_refused(&self, seq: u64, change: &MailboxChange) -> bool {
            let refused = refused(self.log.as_ref(), self.partition, [(seq, change)].into_iter()).await.unwrap();
            refused.contains(&seq)
        }
    }

    fn conditional(call: &str, since: u64) -> MailboxChange {
        let (since, call) = (Some(since as i64), Some(call.to_owned()));
        MailboxChange { if_unchanged_since: since, call, ..patch("ann", "e", r#"{"keywords":{"$seen":true}}"#) }
    }

    #[tokio::test]
    async fn a_call_is_decided_at_its_first_record() {
        let world = World::open();
        let end = world.append(&[delivery("ann", "e"), delivery(&world.neighbour, "other")]).await + 1;
        let change = conditional("one", end);
        let first = world.append(std::slice::from_ref(&change)).await;
        world.append(&[delivery(&world.neighbour, "more"), delivery("ann", "between")]).await;
        let second = world.append(std::slice::from_ref(&change)).await;
        assert!(!world.is_refused(first, &change).await);
        assert!(!world.is_refused(second, &change).await, "what came after the first is of no account");
        let late = conditional("two", end);
        let seq = world.append(std::slice::from_ref(&late)).await;
        assert!(world.is_refused(seq, &late).await);
        let anew = conditional("three", seq + 1);
        let seq = world.append(std::slice::from_ref(&anew)).await;
        assert!(!world.is_refused(seq, &anew).await, "a refused one came before, and its writer had seen it");
    }

    #[tokio::test]
    async fn conditions_reach_back_so_far_and_no_further() {
        for (between, is_near) in [(MAX_SPAN, true), (MAX_SPAN + 1, false)] {
            let world = World::open();
            let end = world.append(&[delivery("ann", "e")]).await + 1;
            let fill: Vec<_> = (0..between).map(|n| delivery(&world.neighbour, &n.to_string())).collect();
            for some in fill.chunks(2_000) {
                world.append(some).await;
            }
            let change = conditional("one", end);
            let first = world.append(std::slice::from_ref(&change)).await;
            assert_eq!(first - end, between);
            assert_eq!(world.is_refused(first, &change).await, !is_near);
            let second = world.append(std::slice::from_ref(&change)).await;
            assert_eq!(world.is_refused(second, &change).await, !is_near, "all of a call or none");
        }
    }
}
