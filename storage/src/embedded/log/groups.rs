//! Consumer groups: who owns which partition, and how far the group has come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millrace_schemas::Topic;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::queue::Advance;
use crate::log::LogError;

/// All groups of a log. Locked for moments only.
pub(crate) struct Groups {
    groups: Mutex<HashMap<(Arc<str>, Topic), Group>>,
    /// Rises with every change of ownership and every end of a commit.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Group {
    members: Vec<u64>,
    /// Rises with every change of ownership of any partition, so that a tenure never comes back.
    last_tenure: u64,
    partitions: BTreeMap<u32, Share>,
}

#[derive(Default)]
struct Share {
    owner: Option<u64>,
    tenure: u64,
    committed: Option<u64>,
    /// A commit is on its way to disk; a new owner waits for it before it reads.
    is_committing: bool,
}

/// A partition that a member owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenancy {
    pub(crate) partition: u32,
    pub(crate) tenure: u64,
    pub(crate) committed: Option<u64>,
    pub(crate) is_committing: bool,
}

impl Groups {
    pub(crate) fn new() -> Self {
        Self { groups: Mutex::default(), changes: watch::channel(0).0 }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// Sets a position that was read from disk.
    pub(crate) fn load(&self, group: &str, topic: Topic, partition: u32, committed: u64) {
        let mut groups = self.groups.lock();
        let group = groups.entry((Arc::from(group), topic)).or_default();
        group.partitions.entry(partition).or_default().committed = Some(committed);
    }

    pub(crate) fn join(&self, name: &Arc<str>, topic: Topic, partitions: u32, member: u64) {
        let mut groups = self.groups.lock();
        let group = groups.entry((name.clone(), topic)).or_default();
        for partition in 0..partitions {
            group.partitions.entry(partition).or_default();
        }
        group.members.push(member);
        group.share_out();
        drop(groups);
        self.changed();
    }

    pub(crate) fn leave(&self, name: &Arc<str>, topic: Topic, member: u64) {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.get_mut(&(name.clone(), topic)) {
            group.members.retain(|other| *other != member);
            group.share_out();
        }
        drop(groups);
        self.changed();
    }

    pub(crate) fn tenancies(&self, name: &Arc<str>, topic: Topic, member: u64) -> Vec<Tenancy> {
        let groups = self.groups.lock();
        let Some(group) = groups.get(&(name.clone(), topic)) else { return Vec::new() };
        let owned = group.partitions.iter().filter(|(_, share)| share.owner == Some(member));
        owned
            .map(|(&partition, share)| Tenancy {
                partition,
                tenure: share.tenure,
                committed: share.committed,
                is_committing: share.is_committing,
            })
            .collect()
    }

    pub(crate) fn committed(&self, name: &str, topic: Topic, partition: u32) -> Option<u64> {
        let groups = self.groups.lock();
        groups.get(&(Arc::from(name), topic))?.partitions.get(&partition)?.committed
    }

    /// The position of the group furthest behind, of those that have committed on the partition.
    pub(crate) fn slowest(&self, topic: Topic, partition: u32) -> Option<u64> {
        let groups = self.groups.lock();
        let of_topic = groups.iter().filter(|((_, of), _)| *of == topic);
        of_topic.filter_map(|(_, group)| group.partitions.get(&partition)?.committed).min()
    }

    /// Every committed position.
    pub(crate) fn positions(&self) -> Vec<(Arc<str>, Topic, u32, u64)> {
        let groups = self.groups.lock();
        let mut all = Vec::new();
        for ((name, topic), group) in groups.iter() {
            let committed =
                group.partitions.iter().filter_map(|(partition, share)| Some((*partition, share.committed?)));
            all.extend(committed.map(|(partition, offset)| (name.clone(), *topic, partition, offset)));
        }
        all
    }

    /// Marks the partitions of a step as committing, or tells which one is no longer the member's.
    pub(crate) fn begin(&self, advance: &Advance) -> Result<(), LogError> {
        let mut groups = self.groups.lock();
        let group = groups.entry((advance.group.clone(), advance.topic)).or_default();
        for step in &advance.moves {
            let share = group.partitions.entry(step.partition).or_default();
            if share.tenure != step.tenure || share.owner.is_none() {
                return Err(fenced(advance.topic, step.partition));
            }
        }
        for step in &advance.moves {
            group.partitions.entry(step.partition).or_default().is_committing = true;
        }
        Ok(())
    }

    /// Ends what [`Self::begin`] began: the batch is on disk, and the positions move.
    pub(crate) fn end(&self, advance: &Advance) {
        let mut groups = self.groups.lock();
        let group = groups.entry((advance.group.clone(), advance.topic)).or_default();
        for step in &advance.moves {
            let share = group.partitions.entry(step.partition).or_default();
            share.is_committing = false;
            share.committed = Some(step.to);
        }
        drop(groups);
        self.changed();
    }

    /// Ends everything that was begun without moving a position.
    pub(crate) fn abort_all(&self) {
        let mut groups = self.groups.lock();
        for share in groups.values_mut().flat_map(|group| group.partitions.values_mut()) {
            share.is_committing = false;
        }
        drop(groups);
        self.changed();
    }
}

pub(crate) fn fenced(topic: Topic, partition: u32) -> LogError {
    LogError::Fenced { topic, partition, reason: "another member of the group has it".to_owned() }
}

impl Group {
    /// Shares the partitions out round robin, in the order in which members joined. One that changes hands gets a new
    /// tenure, which fences what its former owner still has under way.
    fn share_out(&mut self) {
        for (&partition, share) in &mut self.partitions {
            let owner = match self.members.len() {
                0 => None,
                members => self.members.get(partition as usize % members).copied(),
            };
            if share.owner != owner {
                self.last_tenure += 1;
                share.owner = owner;
                share.tenure = self.last_tenure;
            }
        }
    }
}

/// `group 0x00 topic 0x00 partition`.
pub(crate) fn position_key(group: &str, topic: Topic, partition: u32) -> Vec<u8> {
    let mut key = [group.as_bytes(), topic.name().as_bytes()].join(&0);
    key.push(0);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// The parts of a [`position_key`]; `None` when it is malformed or of a topic that is no more.
pub(crate) fn parse_position_key(key: &[u8]) -> Option<(&str, Topic, u32)> {
    let (rest, partition) = key.split_last_chunk::<4>()?;
    let rest = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    let (group, topic) = rest.rsplit_once('\0')?;
    Some((group, topic.parse().ok()?, u32::from_be_bytes(*partition)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn position_keys_parse_back() {
        let key = position_key("lander", Topic::MailboxChanges, 3);
        assert_eq!(parse_position_key(&key), Some(("lander", Topic::MailboxChanges, 3)));
        assert_eq!(parse_position_key(b"x"), None);
    }

    #[test]
    fn a_partition_that_changes_hands_and_back_has_another_tenure() {
        let groups = Groups::new();
        let name: Arc<str> = Arc::from("g");
        groups.join(&name, Topic::Reception, 2, 1);
        let before = groups.tenancies(&name, Topic::Reception, 1);
        groups.join(&name, Topic::Reception, 2, 2);
        groups.leave(&name, Topic::Reception, 2);
        let after = groups.tenancies(&name, Topic::Reception, 1);
        assert_eq!(before[0], after[0], "the partition that stayed keeps its tenure");
        assert_ne!(before[1].tenure, after[1].tenure);
    }
}
