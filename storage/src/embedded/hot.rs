//! The hot store in process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::hot::{Changed, HotError, HotRow, HotStore, HotTail};

/// What a row costs beside its value, about.
const ROW_OVERHEAD_BYTES: usize = 256;

#[derive(Clone, Debug)]
pub struct HotOptions {
    /// Rows that the tables have as well are kept for recent readers up to this many bytes per partition.
    pub released_bytes: usize,
    /// Changes that a watcher may lag behind.
    pub watch_capacity: usize,
}

impl Default for HotOptions {
    fn default() -> Self {
        Self { released_bytes: 16 * 1024 * 1024, watch_capacity: 8192 }
    }
}

/// A [`HotStore`] in memory: rows per partition in order, and per account for tails and newest versions.
pub struct EmbeddedHot {
    options: HotOptions,
    partitions: RwLock<HashMap<u32, Arc<RwLock<Partition>>>>,
    changes: broadcast::Sender<Changed>,
}

#[derive(Default)]
struct Partition {
    held_from: u64,
    applied_to: u64,
    released_to: u64,
    complete_at: u64,
    released_bytes: usize,
    rows: VecDeque<HotRow>,
    accounts: HashMap<Arc<str>, Account>,
}

#[derive(Default)]
struct Account {
    rows: VecDeque<HotRow>,
    newest: HashMap<Arc<str>, HotRow>,
}

fn cost(row: &HotRow) -> usize {
    row.value.len() + row.account_id.len() + row.email_id.len() + ROW_OVERHEAD_BYTES
}

impl Partition {
    fn at(from: u64, end: u64) -> Self {
        Self { held_from: from, applied_to: from, released_to: from, complete_at: end, ..Self::default() }
    }

    fn add(&mut self, row: HotRow) {
        let account = self.accounts.entry(row.account_id.clone()).or_default();
        account.newest.insert(row.email_id.clone(), row.clone());
        account.rows.push_back(row.clone());
        self.rows.push_back(row);
    }

    /// Marks what is below `offset` as droppable, then drops the oldest of it that is over the budget.
    fn release(&mut self, offset: u64, budget: usize) {
        let to = offset.min(self.applied_to).max(self.released_to);
        let newly =
            self.rows.partition_point(|row| row.seq < self.released_to)..self.rows.partition_point(|row| row.seq < to);
        self.released_bytes += self.rows.range(newly).map(cost).sum::<usize>();
        self.released_to = to;
        while self.released_bytes > budget {
            let Some(seq) = self.rows.front().map(|row| row.seq).filter(|seq| *seq < to) else { break };
            // A reader is told offsets, so rows of one offset go together.
            while self.rows.front().is_some_and(|row| row.seq == seq) {
                self.drop_oldest();
            }
            self.held_from = seq + 1;
        }
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.rows.pop_front() else { return };
        self.released_bytes = self.released_bytes.saturating_sub(cost(&row));
        let Some(account) = self.accounts.get_mut(&row.account_id) else { return };
        account.rows.pop_front();
        if account.newest.get(&row.email_id).is_some_and(|newest| newest.seq == row.seq) {
            account.newest.remove(&row.email_id);
        }
        if account.rows.is_empty() {
            self.accounts.remove(&row.account_id);
        }
    }

    fn tail_of(&self, rows: Option<&VecDeque<HotRow>>, from: u64) -> HotTail {
        let rows = rows.map(|rows| rows.range(rows.partition_point(|row| row.seq < from)..).cloned().collect());
        let rows = rows.unwrap_or_default();
        HotTail { held_from: self.held_from, applied_to: self.applied_to, complete_at: self.complete_at, rows }
    }
}

impl EmbeddedHot {
    pub fn new(options: HotOptions) -> Self {
        let (changes, _) = broadcast::channel(options.watch_capacity.max(1));
        Self { options, partitions: RwLock::default(), changes }
    }

    fn partition(&self, partition: u32) -> Result<Arc<RwLock<Partition>>, HotError> {
        self.partitions
            .read()
            .get(&partition)
            .cloned()
            .ok_or_else(|| HotError::Unavailable(format!("partition {partition} is still being filled")))
    }
}

#[async_trait]
impl HotStore for EmbeddedHot {
    async fn reset(&self, partition: u32, from: u64, end: u64) -> Result<(), HotError> {
        self.partitions.write().insert(partition, Arc::new(RwLock::new(Partition::at(from, end))));
        Ok(())
    }

    async fn take_over(&self, partition: u32, from: u64, _end: u64) -> Result<Option<u64>, HotError> {
        let Ok(held) = self.partition(partition) else { return Ok(None) };
        let held = held.read();
        Ok((held.held_from..=held.applied_to).contains(&from).then_some(held.applied_to))
    }

    async fn apply(&self, partition: u32, rows: Vec<HotRow>, next_offset: u64) -> Result<(), HotError> {
        let held = self.partition(partition)?;
        let mut changed = Vec::with_capacity(rows.len());
        {
            let mut held = held.write();
            let applied_to = held.applied_to;
            for row in rows.into_iter().filter(|row| row.seq >= applied_to) {
                changed.push(Changed { account_id: row.account_id.clone(), seq: row.seq });
                held.add(row);
            }
            let rows_end = changed.last().map_or(0, |change| change.seq + 1);
            held.applied_to = applied_to.max(next_offset).max(rows_end);
        }
        for change in changed {
            // Nobody may be watching.
            let _ = self.changes.send(change);
        }
        Ok(())
    }

    async fn applied_to(&self, partition: u32) -> Result<Option<u64>, HotError> {
        Ok(self.partitions.read().get(&partition).map(|held| held.read().applied_to))
    }

    async fn release(&self, partition: u32, offset: u64) -> Result<(), HotError> {
        self.partition(partition)?.write().release(offset, self.options.released_bytes);
        Ok(())
    }

    async fn tail(&self, partition: u32, account_id: &str, from: u64) -> Result<HotTail, HotError> {
        let held = self.partition(partition)?;
        let held = held.read();
        Ok(held.tail_of(held.accounts.get(account_id).map(|account| &account.rows), from))
    }

    async fn newest(&self, partition: u32, account_id: &str, email_id: &str) -> Result<Option<HotRow>, HotError> {
        let held = self.partition(partition)?;
        let held = held.read();
        Ok(held.accounts.get(account_id).and_then(|account| account.newest.get(email_id)).cloned())
    }

    async fn rows(&self, partition: u32, from: u64) -> Result<HotTail, HotError> {
        let held = self.partition(partition)?;
        let held = held.read();
        Ok(held.tail_of(Some(&held.rows), from))
    }

    fn watch(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Rows of as many emails each as the numbers say; one record may make none.
        Apply(Vec<u8>),
        /// How far behind (or before) what is applied the tables end.
        Release(i8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let apply = proptest::collection::vec(0..3_u8, 0..12).prop_map(Step::Apply);
        prop_oneof![apply, (-6..12_i8).prop_map(Step::Release)]
    }

    fn row(seq: u64, n: u8) -> HotRow {
        HotRow {
            account_id: format!("a{}", (seq + u64::from(n)) % 3).into(),
            email_id: format!("e{}", (seq + u64::from(n)) % 5).into(),
            seq,
            value: vec![b'v'; 100].into(),
        }
    }

    /// In memory there is nothing to wait for.
    fn done<T>(outcome: impl Future<Output = Result<T, HotError>>) -> T {
        outcome.now_or_never().unwrap().unwrap()
    }

    fn after(rows: &[HotRow], from: u64) -> Vec<HotRow> {
        rows.iter().filter(|row| row.seq >= from).cloned().collect()
    }

    proptest! {
        #[test]
        fn rows_that_have_not_landed_are_never_dropped(
            steps in proptest::collection::vec(step(), 1..40),
            budget in prop_oneof![Just(0), Just(1), 300..3000_usize, Just(usize::MAX)],
        ) {
            let hot = EmbeddedHot::new(HotOptions { released_bytes: budget, ..HotOptions::default() });
            done(hot.reset(0, 0, 0));
            let (mut all, mut next, mut landed) = (Vec::new(), 0, 0);
            for step in steps {
                match step {
                    Step::Apply(counts) => {
                        let begin = next;
                        next += counts.len() as u64;
                        let records = (begin..next).zip(counts);
                        let rows: Vec<HotRow> =
                            records.flat_map(|(seq, count)| (0..count).map(move |n| row(seq, n))).collect();
                        all.extend_from_slice(&rows);
                        done(hot.apply(0, rows, next));
                    }
                    Step::Release(behind) => {
                        let to = next.saturating_add_signed(-i64::from(behind));
                        done(hot.release(0, to));
                        landed = landed.max(to.min(next));
                    }
                }
                let held = done(hot.rows(0, 0));
                prop_assert_eq!(held.applied_to, next);
                prop_assert!(held.held_from <= landed, "held from {}, landed to {}", held.held_from, landed);
                prop_assert_eq!(&held.rows, &after(&all, held.held_from));
                let released: usize = held.rows.iter().filter(|row| row.seq < landed).map(cost).sum();
                prop_assert!(released <= budget, "{} bytes are kept beyond what has to be", released);
                for account_id in ["a0", "a1", "a2"] {
                    let of_account: Vec<HotRow> =
                        all.iter().filter(|row| &*row.account_id == account_id).cloned().collect();
                    let tail = done(hot.tail(0, account_id, 0));
                    prop_assert_eq!(tail.rows, after(&of_account, held.held_from));
                    for email_id in ["e0", "e1", "e2", "e3", "e4"] {
                        let newest = of_account.iter().rfind(|row| &*row.email_id == email_id);
                        let newest = newest.filter(|row| row.seq >= held.held_from).cloned();
                        prop_assert_eq!(done(hot.newest(0, account_id, email_id)), newest);
                    }
                }
            }
        }
    }
}
