use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_schemas::Topic;
use parking_lot::RwLock;
use tokio::sync::{oneshot, watch};

use super::claims::PendingClaims;
use super::disk::Disk;
use super::groups::{Groups, parse_position_key};
use super::layout::Layout;
use super::options::LogOptions;
use super::queue::{Advance, Queue, Request, cost};
use super::store::{End, Store, explain, offset_of};
use super::value;
use crate::embedded::OpenError;
use crate::embedded::pressure::Pressure;
use crate::log::{LogError, NewRecord, Position, Record};

/// The most that one read returns, whatever it asks for.
const MAX_READ_BYTES: usize = 16 * 1024 * 1024;

pub(crate) type Answer = oneshot::Receiver<Result<Vec<Position>, LogError>>;

/// What the log's callers, its consumers and its committer share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) layout: Layout,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) pressure: Pressure,
    pub(crate) queue: Queue,
    pub(crate) groups: Groups,
    pub(crate) claims: PendingClaims,
    /// `None` while it is being opened anew after a failure, and after the end.
    store: RwLock<Option<Arc<Store>>>,
    /// What readers may see, by slot.
    ends: RwLock<Vec<End>>,
    /// By topic: rises when records of it become visible.
    arrivals: [watch::Sender<u64>; Topic::ALL.len()],
    last_member: AtomicU64,
}

impl Shared {
    pub(crate) fn open(dir: &Path, options: LogOptions, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let layout = Layout::new(&options);
        let store = Store::open(dir, &options, &layout, disk.clone())?;
        let log_error = |reason| OpenError::Log { path: dir.to_owned(), reason };
        let ends = load_ends(&store, &layout).map_err(log_error)?;
        let groups = Groups::new();
        for entry in store.positions.iter() {
            let (key, offset) = entry.into_inner().map_err(|error| log_error(explain(&error)))?;
            let offset = offset_of(&offset).map_err(log_error)?;
            match parse_position_key(&key) {
                Some((group, topic, partition)) => groups.load(group, topic, partition, offset),
                None => tracing::warn!(?key, "a position of an unknown topic is left alone"),
            }
        }
        Ok(Self {
            pressure: Pressure::new(options.max_waiting_bytes, options.stall_timeout),
            dir: dir.to_owned(),
            options,
            layout,
            disk,
            queue: Queue::default(),
            groups,
            claims: PendingClaims::default(),
            store: RwLock::new(Some(Arc::new(store))),
            ends: RwLock::new(ends),
            arrivals: Topic::ALL.map(|_| watch::channel(0).0),
            last_member: AtomicU64::new(0),
        })
    }

    pub(crate) fn store(&self) -> Result<Arc<Store>, LogError> {
        self.store.read().clone().ok_or_else(|| match self.pressure.check() {
            Err(reason) => LogError::Unavailable(reason),
            Ok(()) => LogError::Unavailable("it is being opened".to_owned()),
        })
    }

    pub(crate) fn set_store(&self, store: Option<Arc<Store>>) -> Option<Arc<Store>> {
        std::mem::replace(&mut *self.store.write(), store)
    }

    pub(crate) fn slot(&self, topic: Topic, partition: u32) -> Result<usize, LogError> {
        self.layout.slot(topic, partition).ok_or(LogError::NoPartition { topic, partition })
    }

    pub(crate) fn end(&self, slot: usize) -> End {
        self.ends.read()[slot]
    }

    pub(crate) fn ends(&self) -> Vec<End> {
        self.ends.read().clone()
    }

    /// Makes all records before the new ends visible in one moment.
    pub(crate) fn publish(&self, ends: &[End]) {
        let mut arrived = [false; Topic::ALL.len()];
        {
            let mut visible = self.ends.write();
            for (slot, (old, new)) in visible.iter_mut().zip(ends).enumerate() {
                if old.next < new.next {
                    arrived[self.layout.at(slot).0 as usize] = true;
                    // The first offset belongs to retention.
                    *old = End { first: old.first, ..*new };
                }
            }
        }
        for (arrivals, _) in self.arrivals.iter().zip(arrived).filter(|(_, arrived)| *arrived) {
            arrivals.send_modify(|version| *version += 1);
        }
    }

    pub(crate) fn set_first(&self, slot: usize, first: u64) {
        let end = &mut self.ends.write()[slot];
        end.first = end.first.max(first);
    }

    pub(crate) fn arrivals(&self, topic: Topic) -> watch::Receiver<u64> {
        self.arrivals[topic as usize].subscribe()
    }

    pub(crate) fn new_member(&self) -> u64 {
        self.last_member.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Hands records to the committer; the answer comes when they are durable.
    pub(crate) async fn submit(&self, records: Vec<NewRecord>, advance: Option<Advance>) -> Result<Answer, LogError> {
        let room = self.pressure.enter(cost(&records)).await.map_err(LogError::Unavailable)?;
        let (answer, receiver) = oneshot::channel();
        self.queue.push(Request { records, advance, answer, _room: room })?;
        Ok(receiver)
    }

    /// Reads visible records of a slot from `offset` on.
    pub(crate) fn read(
        &self,
        slot: usize,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let end = self.end(slot);
        let from = offset.max(end.first);
        if from >= end.next || max_records == 0 {
            return Ok(Vec::new());
        }
        let store = self.store()?;
        let (topic, partition) = self.layout.at(slot);
        let mut records = Vec::new();
        let mut bytes = 0;
        for entry in store.partitions[slot].range(from.to_be_bytes()..end.next.to_be_bytes()) {
            let (key, stored) = entry.into_inner().map_err(|error| read_error(&error))?;
            let offset = offset_of(&key).map_err(LogError::Damaged)?;
            let position = Position { topic, partition, offset };
            let stored =
                value::decode(&stored).map_err(|reason| LogError::Damaged(format!("{position:?}: {reason}")))?;
            bytes += stored.key.len() + stored.value.len();
            records.push(Record {
                position,
                key: stored.key,
                value: stored.value,
                appended_at_us: stored.appended_at_us,
            });
            if records.len() >= max_records || bytes >= max_bytes.min(MAX_READ_BYTES) {
                break;
            }
        }
        Ok(records)
    }
}

pub(crate) fn load_ends(store: &Store, layout: &Layout) -> Result<Vec<End>, String> {
    layout.slots().enumerate().map(|(slot, (topic, partition))| store.load_end(slot, topic, partition)).collect()
}

/// A disk that does not read may do so later; everything else means that what is stored is not what was written.
fn read_error(error: &fjall::Error) -> LogError {
    match error {
        fjall::Error::Io(_) | fjall::Error::Poisoned => LogError::Unavailable(explain(error)),
        _ => LogError::Damaged(explain(error)),
    }
}
