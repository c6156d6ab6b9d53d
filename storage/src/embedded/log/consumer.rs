use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use tokio::time::{Instant, timeout_at};

use super::groups::{Tenancy, fenced};
use super::queue::{Advance, Move};
use super::shared::{Answer, Shared};
use crate::log::{Consumer, LogError, NewRecord, Position, Record, check_sizes};

/// Bytes that one poll returns, about.
const MAX_POLL_BYTES: usize = 8 * 1024 * 1024;

/// A member of a group in this process.
pub(crate) struct EmbeddedConsumer {
    shared: Arc<Shared>,
    group: Arc<str>,
    topic: Topic,
    member: u64,
    cursors: BTreeMap<u32, Cursor>,
    /// A commit whose answer was not waited for to the end, and where it moves us when it succeeds.
    in_doubt: Option<(Answer, BTreeMap<u32, u64>)>,
    /// Where the next poll begins, so that no partition starves.
    turn: u32,
    /// Where a rewind sets it, so that the same records come again.
    committed_turn: u32,
}

#[derive(Clone, Copy)]
struct Cursor {
    tenure: u64,
    /// Where a rewind goes.
    start: u64,
    next: u64,
    /// Set by a seek, for the next commit to take the group there even when nothing was polled.
    is_sought: bool,
}

impl EmbeddedConsumer {
    pub(crate) fn join(shared: Arc<Shared>, group: &str, topic: Topic) -> Self {
        let group: Arc<str> = Arc::from(group);
        let member = shared.new_member();
        shared.groups.join(&group, topic, shared.layout.partitions(topic), member);
        let cursors = BTreeMap::new();
        let mut joined = Self { shared, group, topic, member, cursors, in_doubt: None, turn: 0, committed_turn: 0 };
        // What is ours from the first is no news to the first poll. What cannot be had yet is found there.
        let _ = joined.refresh();
        joined
    }

    fn tenancies(&self) -> Vec<Tenancy> {
        self.shared.groups.tenancies(&self.group, self.topic, self.member)
    }

    /// Brings the cursors in line with what is ours now; true when partitions came. Fails when one went whose records were
    /// polled.
    fn refresh(&mut self) -> Result<bool, LogError> {
        let tenancies = self.tenancies();
        let is_ours = |partition: u32, cursor: &Cursor| {
            tenancies.iter().any(|tenancy| tenancy.partition == partition && tenancy.tenure == cursor.tenure)
        };
        let lost =
            self.cursors.iter().find(|(partition, cursor)| cursor.next > cursor.start && !is_ours(**partition, cursor));
        if let Some((&partition, _)) = lost {
            self.cursors.clear();
            return Err(fenced(self.topic, partition));
        }
        self.cursors.retain(|partition, cursor| is_ours(*partition, cursor));
        let before = self.cursors.len();
        for tenancy in tenancies {
            // The former owner's commit decides where we begin.
            if tenancy.is_committing || self.cursors.contains_key(&tenancy.partition) {
                continue;
            }
            let first = self.shared.end(self.shared.slot(self.topic, tenancy.partition)?).first;
            let start = tenancy.committed.unwrap_or(first);
            self.cursors
                .insert(tenancy.partition, Cursor { tenure: tenancy.tenure, start, next: start, is_sought: false });
        }
        Ok(self.cursors.len() > before)
    }

    fn read_some(&mut self, max_records: usize) -> Result<Vec<Record>, LogError> {
        let mut partitions: Vec<u32> = self.cursors.keys().copied().collect();
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let turn = self.turn as usize % partitions.len();
        self.turn = self.turn.wrapping_add(1);
        partitions.rotate_left(turn);
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for partition in partitions {
            let Some(cursor) = self.cursors.get_mut(&partition) else { continue };
            let slot = self.shared.slot(self.topic, partition)?;
            let room = max_records - records.len();
            let read = match self.shared.read(slot, cursor.next, room, MAX_POLL_BYTES - bytes) {
                Ok(read) => read,
                // What was read before counts as polled, so it has to be given out; the error comes again.
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            };
            if let Some(last) = read.last() {
                cursor.next = last.position.offset + 1;
            }
            bytes += read.iter().map(|record| record.key.len() + record.value.len()).sum::<usize>();
            records.extend(read);
            if records.len() >= max_records || bytes >= MAX_POLL_BYTES {
                break;
            }
        }
        Ok(records)
    }

    /// Waits for the outcome of a commit that was given up on.
    async fn settle(&mut self, deadline: Instant) -> Result<(), LogError> {
        let Some((answer, ends)) = &mut self.in_doubt else { return Ok(()) };
        let outcome = timeout_at(deadline, answer).await;
        let Ok(outcome) = outcome else { return Err(LogError::Unavailable(self.shared.pressure.silence())) };
        let ends = std::mem::take(ends);
        self.in_doubt = None;
        self.conclude(ends, outcome.is_ok_and(|outcome| outcome.is_ok()));
        Ok(())
    }

    fn conclude(&mut self, ends: BTreeMap<u32, u64>, is_durable: bool) {
        if is_durable {
            self.committed_turn = self.turn;
        }
        self.turn = self.committed_turn;
        for (partition, cursor) in &mut self.cursors {
            if let (true, Some(&end)) = (is_durable, ends.get(partition)) {
                cursor.start = end;
                cursor.is_sought = false;
            }
            cursor.next = cursor.start;
        }
    }

    fn stall_deadline(&self) -> Instant {
        Instant::now() + self.shared.pressure.stall_timeout()
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    fn assignment(&self) -> Vec<u32> {
        self.tenancies().into_iter().map(|tenancy| tenancy.partition).collect()
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        let tenancies = self.tenancies();
        let tenancy = tenancies.iter().find(|tenancy| tenancy.partition == partition);
        let tenancy = tenancy.ok_or_else(|| fenced(self.topic, partition))?;
        self.cursors.insert(partition, Cursor { tenure: tenancy.tenure, start: offset, next: offset, is_sought: true });
        if let Some((_, ends)) = &mut self.in_doubt {
            // Whatever becomes of that commit, this is where we read on.
            ends.remove(&partition);
        }
        Ok(())
    }

    async fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        let deadline = Instant::now() + timeout;
        self.settle(deadline.max(self.stall_deadline())).await?;
        let mut arrivals = self.shared.arrivals(self.topic);
        let mut changes = self.shared.groups.changes();
        loop {
            // What is to be read from elsewhere than where the group is must be sought first, so nothing is read yet.
            if self.refresh()? {
                return Ok(Vec::new());
            }
            let records = self.read_some(max_records)?;
            if !records.is_empty() || max_records == 0 {
                return Ok(records);
            }
            let news = futures::future::select(Box::pin(arrivals.changed()), Box::pin(changes.changed()));
            if timeout_at(deadline, news).await.is_err() {
                return Ok(Vec::new());
            }
            if self.shared.queue.is_closed() {
                return Err(LogError::Unavailable("it is shutting down".to_owned()));
            }
        }
    }

    /// When the disk does not answer in time, the next call first waits for what became of this commit.
    async fn commit(&mut self, outputs: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        check_sizes(&outputs)?;
        self.settle(self.stall_deadline()).await?;
        let polled = self.cursors.iter().filter(|(_, cursor)| cursor.next > cursor.start || cursor.is_sought);
        let moves: Vec<Move> =
            polled.map(|(&partition, cursor)| Move { partition, tenure: cursor.tenure, to: cursor.next }).collect();
        if moves.is_empty() && outputs.is_empty() {
            return Ok(Vec::new());
        }
        let ends = moves.iter().map(|step| (step.partition, step.to)).collect();
        let advance = Advance { group: self.group.clone(), topic: self.topic, moves };
        let answer = match self.shared.submit(outputs, Some(advance)).await {
            Ok(answer) => answer,
            Err(error) => {
                self.conclude(BTreeMap::new(), false);
                return Err(error);
            }
        };
        let deadline = self.stall_deadline();
        let (answer, _) = self.in_doubt.insert((answer, ends));
        let Ok(outcome) = timeout_at(deadline, answer).await else {
            return Err(LogError::Unavailable(self.shared.pressure.silence()));
        };
        let outcome =
            outcome.unwrap_or_else(|_| Err(LogError::Unavailable("the committer dropped the request".to_owned())));
        let ends = self.in_doubt.take().map(|(_, ends)| ends).unwrap_or_default();
        self.conclude(ends, outcome.is_ok());
        if matches!(outcome, Err(LogError::Fenced { .. })) {
            self.cursors.clear();
        }
        outcome
    }

    async fn rewind(&mut self) -> Result<(), LogError> {
        self.settle(self.stall_deadline()).await?;
        self.conclude(BTreeMap::new(), false);
        Ok(())
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.shared.groups.leave(&self.group, self.topic, self.member);
    }
}
