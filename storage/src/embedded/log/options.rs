use std::time::Duration;

use millrace_schemas::Topic;

use crate::embedded::{Clock, MIN_FREE_BYTES, STALL_TIMEOUT};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a topic keeps. A compacted topic ignores age and size.
#[derive(Clone, Debug)]
pub struct TopicOptions {
    /// Fixed when the log is created.
    pub partitions: u32,
    pub retention_age: Option<Duration>,
    /// Bytes of keys and values, for the topic as a whole, shared evenly by its partitions.
    pub retention_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct LogOptions {
    /// In the order of [`Topic::ALL`]; see [`Self::topic_mut`].
    pub topics: [TopicOptions; Topic::ALL.len()],
    /// Bytes of requests that may wait for the committer.
    pub max_waiting_bytes: usize,
    /// How long a caller waits for a disk that does not answer.
    pub stall_timeout: Duration,
    /// Free space below which nothing is taken.
    pub min_free_bytes: u64,
    /// Memory for blocks that are read.
    pub cache_bytes: u64,
    /// Memory of one partition's newest records; several may be waiting for their flush.
    pub memtable_bytes: u64,
    pub clock: Clock,
}

impl LogOptions {
    pub fn topic(&self, topic: Topic) -> &TopicOptions {
        &self.topics[topic as usize]
    }

    pub fn topic_mut(&mut self, topic: Topic) -> &mut TopicOptions {
        &mut self.topics[topic as usize]
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        let topics = Topic::ALL.map(|topic| TopicOptions {
            partitions: if topic.is_compacted() { 1 } else { 4 },
            retention_age: Some(if topic == Topic::DeadLetter { 30 * DAY } else { 7 * DAY }),
            retention_bytes: None,
        });
        Self {
            topics,
            max_waiting_bytes: 32 * 1024 * 1024,
            stall_timeout: STALL_TIMEOUT,
            min_free_bytes: MIN_FREE_BYTES,
            cache_bytes: 16 * 1024 * 1024,
            memtable_bytes: 4 * 1024 * 1024,
            clock: Clock::default(),
        }
    }
}
