//! Where a partition ends. The offset at which Kafka's readers stop may lie behind markers of transactions, which nobody
//! ever reads: whoever waited to get there would wait for ever. So the end is that of the last record.

use std::collections::HashMap;

use millrace_schemas::Topic;
use parking_lot::Mutex;

use super::read::{Range, Readers};
use crate::log::{LogError, Position};

#[derive(Clone, Copy)]
struct Known {
    stable_end: u64,
    end: u64,
}

/// Where the records end that this process has appended, by partition. They are durable, and readers are shown them a
/// moment later, when the markers of their transactions are written: who appended need not know of that.
#[derive(Default)]
pub(super) struct Appended(Mutex<HashMap<(Topic, u32), u64>>);

impl Appended {
    pub(super) fn note(&self, positions: &[Position]) {
        let mut ends = self.0.lock();
        for position in positions {
            let end = ends.entry((position.topic, position.partition)).or_default();
            *end = (*end).max(position.offset + 1);
        }
    }

    pub(super) fn end(&self, topic: Topic, partition: u32) -> u64 {
        self.0.lock().get(&(topic, partition)).copied().unwrap_or_default()
    }
}

/// Ends of partitions, looked up again when something was appended.
#[derive(Default)]
pub(super) struct Ends(Mutex<HashMap<(Topic, u32), Known>>);

impl Ends {
    /// The first kept offset, and the one after the last record.
    pub(super) async fn bounds(&self, readers: &Readers, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        let (first, stable_end) = readers.stable_bounds(topic, partition).await?;
        let known = self.0.lock().get(&(topic, partition)).copied();
        if let Some(known) = known.filter(|known| known.stable_end == stable_end) {
            return Ok((first, known.end.max(first)));
        }
        let floor = known.map_or(first, |known| known.end.max(first));
        let end = last_end(readers, topic, partition, floor, stable_end).await?;
        self.0.lock().insert((topic, partition), Known { stable_end, end });
        Ok((first, end))
    }
}

/// Looks back in growing steps for the last record between `floor` and `stable_end`.
async fn last_end(
    readers: &Readers,
    topic: Topic,
    partition: u32,
    floor: u64,
    stable_end: u64,
) -> Result<u64, LogError> {
    let mut step = 4;
    let mut until = stable_end;
    while until > floor {
        let offset = until.saturating_sub(step).max(floor);
        let max_records = usize::try_from(stable_end - offset).unwrap_or(usize::MAX);
        let records = readers.read(Range { topic, partition, offset, max_records, max_bytes: usize::MAX }).await?;
        if let Some(last) = records.iter().rfind(|record| record.position.offset < stable_end) {
            return Ok(last.position.offset + 1);
        }
        (until, step) = (offset, step * 4);
    }
    Ok(floor)
}
