//! Handovers on Kafka.

use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::Topic;
use millrace_storage::cluster::KafkaLog;
use millrace_storage::cluster::kafka::Hold as KafkaHold;
use millrace_storage::{Log, LogError};

use super::handover::{Handover, Hold};

/// What stands beside positions that are exact.
const NOTE: &str = "millrace handover";

#[async_trait]
impl Handover for KafkaLog {
    async fn members(&self, group: &str) -> Result<usize, LogError> {
        self.group_members(group).await
    }

    async fn hold(&self, group: &str, topic: Topic, lifetime: Duration) -> Result<Box<dyn Hold>, LogError> {
        match KafkaLog::hold(self, group, topic, lifetime).await {
            Ok(hold) => Ok(Box::new(hold)),
            Err(LogError::Unavailable(reason)) => Err(LogError::Unavailable(hinted(reason, lifetime))),
            Err(other) => Err(other),
        }
    }

    async fn is_reached(&self, group: &str, topic: Topic, positions: &[u64]) -> Result<bool, LogError> {
        let noted = self.noted_positions(group, topic).await?;
        for (partition, (position, noted)) in (0..).zip(positions.iter().zip(noted)) {
            // Arroyo notes the last record that it read, where everyone else notes the next.
            let next = match noted {
                Some((next, note)) if note == NOTE => next,
                Some((last, _)) => last + 1,
                None => 0,
            };
            // What stands between may be marks of transactions, which nobody reads.
            let left = self.read(topic, partition, next, 1, 1).await?;
            if left.iter().any(|record| record.position.offset < *position) {
                return Ok(false);
            }
        }
        // A transaction that began before the hold may yet bring records.
        self.is_held_at(topic, positions).await
    }

    async fn is_held_at(&self, topic: Topic, positions: &[u64]) -> Result<bool, LogError> {
        KafkaLog::is_held_at(self, topic, positions).await
    }

    async fn stands(&self, group: &str, topic: Topic) -> Result<Vec<u64>, LogError> {
        let noted = self.noted_positions(group, topic).await?;
        let mut positions = Vec::with_capacity(noted.len());
        for (partition, noted) in (0..).zip(noted) {
            let (first, _) = self.bounds(topic, partition).await?;
            positions.push(noted.map_or(first, |(position, _)| position.max(first)));
        }
        Ok(positions)
    }

    async fn is_exact(&self, group: &str, topic: Topic) -> Result<bool, LogError> {
        let noted = self.noted_positions(group, topic).await?;
        let mut set = noted.iter().flatten().peekable();
        Ok(set.peek().is_some() && set.all(|(_, note)| note == NOTE))
    }

    async fn set(&self, group: &str, topic: Topic, positions: &[u64]) -> Result<(), LogError> {
        self.set_positions(group, topic, positions, NOTE).await
    }

    async fn earlier(&self, group: &str, topic: Topic, by: Duration) -> Result<Vec<u64>, LogError> {
        let mut positions = Vec::new();
        for partition in 0..self.partitions(topic) {
            let (first, _) = self.bounds(topic, partition).await?;
            let stood = self.committed(group, topic, partition).await?.unwrap_or(first).max(first);
            positions.push(self.position_before(topic, partition, stood, by).await?);
        }
        Ok(positions)
    }
}

/// Brokers that allow shorter transactions than their default say so in a word.
fn hinted(reason: String, lifetime: Duration) -> String {
    if !reason.to_lowercase().replace(' ', "").contains("transactiontimeout") {
        return reason;
    }
    let lifetime_ms = lifetime.as_millis();
    format!(
        "{reason} (the source is held for {lifetime_ms} ms at most: raise transaction.max.timeout.ms of the brokers, or lower arroyo.patience_s)"
    )
}

#[async_trait]
impl Hold for KafkaHold {
    fn positions(&self) -> &[u64] {
        KafkaHold::positions(self)
    }

    async fn release(self: Box<Self>) -> Result<(), LogError> {
        KafkaHold::release(*self).await
    }
}
