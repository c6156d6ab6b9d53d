//! [`Consumer`] on Kafka: cursors of the partitions that are ours, and commits that Kafka refuses once they are not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cursor::{Cursor, blocking, committed, group_position, seek};
use super::membership::Membership;
use super::read::{cannot_read, record};
use super::slots::Slot;
use super::transaction::{Failure, Offsets, Transactions, end_what_was_left_open, unavailable};
use super::{Layout, place_records};
use crate::log::{Consumer, LogError, NewRecord, Position, Record, check_sizes};

/// Bytes that one poll returns, about.
const MAX_POLL_BYTES: usize = 8 * 1024 * 1024;

/// A step of a commit.
#[derive(Clone, Copy)]
struct Moved {
    partition: u32,
    tenure: u64,
    to: u64,
}

/// A member of a group on Kafka.
pub(super) struct KafkaConsumer {
    // Queues hold the client, so they go before the membership does.
    cursors: BTreeMap<u32, Cursor>,
    membership: Membership,
    group: String,
    layout: Arc<Layout>,
    topic: Topic,
    transactions: Transactions,
    /// Ends what a predecessor left open. Our own transactions begin after it: it would fence their producer off.
    ending: Option<JoinHandle<()>>,
    /// What a commit without an answer would have moved.
    in_doubt: Option<Vec<Moved>>,
    /// Where the next poll begins, so that no partition starves.
    turn: usize,
    _slot: Arc<Slot>,
}

impl KafkaConsumer {
    pub(super) fn new(membership: Membership, layout: Arc<Layout>, topic: Topic, group: &str, slot: Slot) -> Self {
        let id = format!("{group}.{}", slot.number());
        let slot = Arc::new(slot);
        // Many a member never commits outputs; one that does connects again.
        let ending = layout.options.is_name_kept.then(|| {
            let mut left = Transactions::new(&layout.options, &id);
            // The next member of this number begins after it, too.
            let slot = slot.clone();
            tokio::spawn(async move {
                end_what_was_left_open(&mut left).await;
                drop(slot);
            })
        });
        let transactions = Transactions::new(&layout.options, &id);
        Self {
            cursors: BTreeMap::new(),
            membership,
            group: group.to_owned(),
            layout,
            topic,
            transactions,
            ending,
            in_doubt: None,
            turn: 0,
            _slot: slot,
        }
    }

    fn fenced(&self, partition: u32, reason: &str) -> LogError {
        LogError::Fenced { topic: self.topic, partition, reason: reason.to_owned() }
    }

    /// Brings the cursors in line with what is ours. True when partitions came or went; fails when one went of which
    /// records were polled.
    fn refresh(&mut self) -> Result<bool, LogError> {
        if self.membership.asked().is_err() {
            return self.join_again();
        }
        let tenures = self.membership.tenures();
        let is_ours = |partition: &u32, cursor: &Cursor| tenures.get(partition) == Some(&cursor.tenure);
        let gone: Vec<u32> =
            self.cursors.iter().filter(|(partition, cursor)| !is_ours(partition, cursor)).map(|(p, _)| *p).collect();
        let mut lost = None;
        for partition in &gone {
            if self.cursors.remove(partition).is_some_and(|cursor| cursor.has_polled()) {
                lost = Some(*partition);
            }
        }
        let mut has_changed = !gone.is_empty();
        for (partition, tenure) in tenures {
            if !self.cursors.contains_key(&partition) {
                self.cursors.insert(partition, self.cursor(partition, tenure)?);
                has_changed = true;
            }
        }
        match lost {
            Some(partition) => Err(self.lose(partition, "it went to another member of the group")),
            None => Ok(has_changed),
        }
    }

    /// Kafka has ended the membership for good: begins another.
    fn join_again(&mut self) -> Result<bool, LogError> {
        let lost = self.cursors.iter().find(|(_, cursor)| cursor.has_polled()).map(|(partition, _)| *partition);
        let had_any = !self.cursors.is_empty();
        self.cursors.clear();
        self.membership = Membership::join(&self.layout.options, &self.group, self.topic)?;
        match lost {
            Some(partition) => Err(self.fenced(partition, "Kafka has ended the membership")),
            None => Ok(had_any),
        }
    }

    /// Forgets all that was polled.
    fn lose(&mut self, partition: u32, reason: &str) -> LogError {
        self.cursors.values_mut().for_each(Cursor::forget);
        self.fenced(partition, reason)
    }

    fn cursor(&self, partition: u32, tenure: u64) -> Result<Cursor, LogError> {
        let queue = self.membership.consumer.split_partition_queue(self.topic.name(), partition as i32);
        let mut queue = queue.ok_or(LogError::NoPartition { topic: self.topic, partition })?;
        let news = self.membership.shared().news.clone();
        queue.set_nonempty_callback(move || news.notify_one());
        Ok(Cursor { tenure, queue, fetch_at: None, start: None, next: None, is_sought: false })
    }

    /// Makes every queue give what its owner wants next.
    async fn align(&mut self) -> Result<(), LogError> {
        let is_off = |cursor: &Cursor| match (cursor.next, cursor.fetch_at) {
            (Some(next), Some(fetch_at)) => next != fetch_at,
            (Some(_), None) | (None, Some(_)) => true,
            (None, None) => false,
        };
        let off: Vec<_> = self.cursors.iter().filter(|(_, cursor)| is_off(cursor)).map(|(p, c)| (*p, c.next)).collect();
        if off.is_empty() {
            return Ok(());
        }
        let (consumer, topic) = (self.membership.consumer.clone(), self.topic);
        let sought = blocking(move || {
            off.into_iter()
                .map(|(partition, next)| {
                    let target = match next {
                        Some(next) => next,
                        None => group_position(&consumer, topic, partition)?,
                    };
                    seek(&consumer, topic, partition, target).map(|()| (partition, target))
                })
                .collect::<Result<Vec<_>, LogError>>()
        })
        .await?;
        for (partition, target) in sought {
            if let Some(cursor) = self.cursors.get_mut(&partition) {
                cursor.fetch_at = Some(target);
                cursor.next = Some(target);
                cursor.start = cursor.start.or(Some(target));
            }
        }
        Ok(())
    }

    /// Takes what has come.
    fn drain(&mut self, max_records: usize) -> Vec<Record> {
        let mut order: Vec<u32> = self.cursors.keys().copied().collect();
        if order.is_empty() {
            return Vec::new();
        }
        let begin = self.turn % order.len();
        order.rotate_left(begin);
        self.turn = self.turn.wrapping_add(1);
        let (mut records, mut bytes) = (Vec::new(), 0);
        for partition in order {
            let Some(cursor) = self.cursors.get_mut(&partition) else { continue };
            while records.len() < max_records && bytes < MAX_POLL_BYTES {
                let Some(message) = cursor.queue.poll(Duration::ZERO) else { break };
                let message = match message {
                    Ok(message) => message,
                    Err(error) => {
                        tracing::debug!(topic = %self.topic, partition, %error, "kafka partition");
                        break;
                    }
                };
                let record = record(self.topic, &message);
                let offset = message.offset().unsigned_abs();
                // Out of a fetch that a seek has overtaken.
                if cursor.next.is_some_and(|next| offset < next) {
                    continue;
                }
                cursor.start.get_or_insert(offset);
                (cursor.next, cursor.fetch_at) = (Some(offset + 1), Some(offset + 1));
                bytes += record.key.len() + record.value.len();
                records.push(record);
            }
        }
        records
    }

    /// Learns how a commit ended whose answer did not come.
    async fn settle(&mut self) -> Result<(), LogError> {
        let Some(moves) = self.in_doubt.clone() else { return Ok(()) };
        // The coordinator commits or aborts what was left open before the producer's successor may begin.
        let begun = self.transactions.call(|transactor| transactor.begin_anew().map(drop)).await;
        begun.map_err(unavailable)?;
        let (consumer, topic) = (self.membership.consumer.clone(), self.topic);
        let found = blocking(move || {
            let look = |moved: Moved| Ok((moved, committed(&consumer, topic, moved.partition)? == Some(moved.to)));
            moves.into_iter().map(look).collect::<Result<Vec<_>, LogError>>()
        })
        .await?;
        // The step was whole or not at all. What has gone to another since was perhaps moved on by it, and says nothing.
        let tenures = self.membership.tenures();
        let is_ours = |moved: &Moved| tenures.get(&moved.partition) == Some(&moved.tenure);
        let is_committed = found.iter().filter(|(moved, _)| is_ours(moved)).all(|(_, is_there)| *is_there);
        self.in_doubt = None;
        self.cursors.values_mut().for_each(if is_committed { Cursor::committed } else { Cursor::rewind });
        Ok(())
    }

    fn moves(&self) -> Vec<Moved> {
        let moved = |(partition, cursor): (&u32, &Cursor)| {
            Some(Moved { partition: *partition, tenure: cursor.tenure, to: cursor.move_to()? })
        };
        self.cursors.iter().filter_map(moved).collect()
    }

    fn list(&self, moves: &[Moved]) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for Moved { partition, to, .. } in moves {
            let offset = Offset::Offset(i64::try_from(*to).unwrap_or(i64::MAX));
            let added = list.add_partition_offset(self.topic.name(), *partition as i32, offset);
            added.map_err(|error| cannot_read(self.topic, &error))?;
        }
        Ok(list)
    }

    /// Moves the group alone.
    async fn commit_positions(&self, moves: &[Moved]) -> Result<Vec<Position>, Failure> {
        let list = self.list(moves).map_err(|error| Failure::Refused(error.to_string()))?;
        let consumer = self.membership.consumer.clone();
        let done = tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync)).await;
        match done {
            Ok(Ok(())) => Ok(Vec::new()),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(error) => Err(Failure::InDoubt(error.to_string())),
        }
    }

    /// Moves the group and appends the outputs, in one transaction.
    async fn commit_outputs(&mut self, outputs: Vec<NewRecord>, moves: &[Moved]) -> Result<Vec<Position>, Failure> {
        let refused = |error: LogError| Failure::Refused(error.to_string());
        let records = place_records(&self.layout, outputs).map_err(refused)?;
        let offsets = if moves.is_empty() {
            None
        } else {
            let member = self.membership.consumer.group_metadata();
            let member = member.ok_or_else(|| Failure::Fenced("we are no member of the group".to_owned()))?;
            // After the generation was read: a partition that goes from here on goes with a new one, and Kafka refuses.
            let tenures = self.membership.tenures();
            if moves.iter().any(|moved| tenures.get(&moved.partition) != Some(&moved.tenure)) {
                return Err(Failure::Fenced("a partition went to another member of the group".to_owned()));
            }
            Some(Offsets { positions: self.list(moves).map_err(refused)?, member })
        };
        if let Some(ending) = &mut self.ending {
            let _ = ending.await;
            self.ending = None;
        }
        let begun = Instant::now();
        let committed = self.transactions.call(move |transactor| transactor.run(&records, offsets.as_ref())).await;
        metrics::histogram!("millrace_log_transaction_seconds").record(begun.elapsed());
        committed
    }
}

fn refusal(error: &KafkaError) -> Failure {
    use RDKafkaErrorCode::{FencedInstanceId, FencedMemberEpoch, IllegalGeneration, StaleMemberEpoch, UnknownMemberId};
    match error.rdkafka_error_code() {
        Some(IllegalGeneration | UnknownMemberId | FencedInstanceId | FencedMemberEpoch | StaleMemberEpoch) => {
            Failure::Fenced(error.to_string())
        }
        _ => Failure::Refused(error.to_string()),
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    fn assignment(&self) -> Vec<u32> {
        self.cursors.keys().copied().collect()
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.settle().await?;
        let Some(cursor) = self.cursors.get_mut(&partition) else {
            return Err(self.fenced(partition, "it is not ours"));
        };
        (cursor.start, cursor.next, cursor.is_sought) = (Some(offset), Some(offset), true);
        Ok(())
    }

    async fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        let deadline = Instant::now() + timeout;
        self.settle().await?;
        loop {
            // What is to be read from elsewhere than where the group is must be sought first, so nothing is read yet.
            if self.refresh()? {
                return Ok(Vec::new());
            }
            self.align().await?;
            let records = self.drain(max_records);
            if !records.is_empty() {
                return Ok(records);
            }
            let news = self.membership.shared().news.clone();
            if tokio::time::timeout_at(deadline, news.notified()).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    async fn commit(&mut self, outputs: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        check_sizes(&outputs)?;
        self.settle().await?;
        self.refresh()?;
        let moves = self.moves();
        let outcome = match (outputs.is_empty(), moves.is_empty()) {
            (true, true) => return Ok(Vec::new()),
            (true, false) => self.commit_positions(&moves).await,
            (false, _) => self.commit_outputs(outputs, &moves).await,
        };
        match outcome {
            Ok(positions) => {
                self.layout.appended.note(&positions);
                self.cursors.values_mut().for_each(Cursor::committed);
                Ok(positions)
            }
            Err(Failure::Refused(reason)) => {
                self.cursors.values_mut().for_each(Cursor::rewind);
                Err(LogError::Unavailable(reason))
            }
            Err(Failure::Fenced(reason)) => {
                let partition = moves.first().map_or(0, |moved| moved.partition);
                Err(self.lose(partition, &reason))
            }
            Err(Failure::InDoubt(reason)) => {
                // A commit of positions alone may be repeated: nothing else hangs on it.
                if moves.is_empty() {
                    self.cursors.values_mut().for_each(Cursor::rewind);
                } else {
                    self.in_doubt = Some(moves);
                }
                Err(LogError::Unavailable(reason))
            }
        }
    }

    async fn rewind(&mut self) -> Result<(), LogError> {
        self.settle().await?;
        self.cursors.values_mut().for_each(Cursor::rewind);
        Ok(())
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.cursors.clear();
    }
}
