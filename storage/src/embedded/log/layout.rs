use millrace_schemas::Topic;

use super::options::LogOptions;

/// Numbers the partitions of all topics through: the slots.
pub(crate) struct Layout {
    counts: [u32; Topic::ALL.len()],
    slots: Vec<(Topic, u32)>,
}

impl Layout {
    /// A topic has at least one partition, whatever the options say.
    pub(crate) fn new(options: &LogOptions) -> Self {
        let counts = Topic::ALL.map(|topic| options.topic(topic).partitions.max(1));
        let slots = Topic::ALL.into_iter().flat_map(|topic| (0..counts[topic as usize]).map(move |p| (topic, p)));
        Self { slots: slots.collect(), counts }
    }

    pub(crate) fn partitions(&self, topic: Topic) -> u32 {
        self.counts[topic as usize]
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (Topic, u32)> + '_ {
        self.slots.iter().copied()
    }

    pub(crate) fn slot(&self, topic: Topic, partition: u32) -> Option<usize> {
        let before: u32 = self.counts[..topic as usize].iter().sum();
        (partition < self.partitions(topic)).then_some((before + partition) as usize)
    }

    pub(crate) fn at(&self, slot: usize) -> (Topic, u32) {
        self.slots[slot]
    }
}
