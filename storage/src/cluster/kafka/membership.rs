//! Membership of a group, kept alive by a thread of its own: partitions move at once when members come and go, also
//! while the owner is busy with what it polled; its commit is refused then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use millrace_schemas::Topic;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::sync::Notify;

use super::options::{KafkaOptions, tell, tell_error};
use crate::log::LogError;

/// An owner that has asked for nothing for so long hangs: its membership is no longer kept alive, and Kafka gives its
/// partitions to others when `max.poll.interval.ms` has passed as well.
const OWNER_PATIENCE: Duration = Duration::from_secs(600);

/// Members of this process that have not left their groups.
static MEMBERS: AtomicUsize = AtomicUsize::new(0);

/// Waits until all members of this process have left their groups, so that others take their partitions at once and not
/// when the session has timed out.
pub async fn all_left(timeout: Duration) {
    let deadline = Instant::now() + timeout;
    while MEMBERS.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the thread and the owner share.
pub(super) struct Shared {
    topic: Topic,
    consumer: OnceLock<Weak<BaseConsumer<Shared>>>,
    /// Partitions that are ours, each with a number that no other tenure of it here had.
    tenures: Mutex<BTreeMap<u32, u64>>,
    next_tenure: AtomicU64,
    /// Records came, or the assignment changed.
    pub(super) news: Arc<Notify>,
    is_fatal: AtomicBool,
    begun: Instant,
    asked_at_ms: AtomicU64,
    is_over: AtomicBool,
}

impl ClientContext for Shared {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tell_error(&error, reason);
    }
}

impl ConsumerContext for Shared {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            // Records go to queues that the owner reads, from the first on; see `Membership::queue`.
            Rebalance::Assign(partitions) => {
                if let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) {
                    for place in partitions.elements() {
                        drop(consumer.split_partition_queue(place.topic(), place.partition()));
                    }
                }
            }
            // Before it is given up: no commit of ours may begin from here on.
            Rebalance::Revoke(partitions) => {
                let mut tenures = self.tenures.lock();
                for place in partitions.elements() {
                    tenures.remove(&place.partition().unsigned_abs());
                }
            }
            Rebalance::Error(_) => {}
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let mut tenures = self.tenures.lock();
            for place in partitions.elements() {
                let tenure = self.next_tenure.fetch_add(1, Ordering::Relaxed);
                tenures.insert(place.partition().unsigned_abs(), tenure);
            }
        }
        let ours: Vec<u32> = self.tenures.lock().keys().copied().collect();
        tracing::debug!(topic = %self.topic, ?ours, "partitions were shared out");
        metrics::counter!("millrace_log_rebalances_total", "topic" => self.topic.name()).increment(1);
        self.news.notify_one();
    }
}

impl Shared {
    fn is_hanging(&self) -> bool {
        let asked_at = Duration::from_millis(self.asked_at_ms.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(asked_at) > OWNER_PATIENCE
    }
}

/// A member of a group.
pub(super) struct Membership {
    pub(super) consumer: Arc<BaseConsumer<Shared>>,
}

impl Membership {
    /// Joins. Partitions come later, from the thread.
    pub(super) fn join(options: &KafkaOptions, group: &str, topic: Topic) -> Result<Self, LogError> {
        let shared = Shared {
            topic,
            consumer: OnceLock::new(),
            tenures: Mutex::default(),
            next_tenure: AtomicU64::new(0),
            news: Arc::default(),
            is_fatal: AtomicBool::new(false),
            begun: Instant::now(),
            asked_at_ms: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        };
        let cannot = |error: &dyn std::fmt::Display| LogError::Unavailable(format!("the group {group}: {error}"));
        let consumer: BaseConsumer<Shared> =
            options.member(group).create_with_context(shared).map_err(|error| cannot(&error))?;
        let consumer = Arc::new(consumer);
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        consumer.subscribe(&[topic.name()]).map_err(|error| cannot(&error))?;
        let served = consumer.clone();
        MEMBERS.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("kafka-member".to_owned());
        let spawned = thread.spawn(move || {
            serve(served);
            MEMBERS.fetch_sub(1, Ordering::Relaxed);
        });
        spawned.map_err(|error| {
            MEMBERS.fetch_sub(1, Ordering::Relaxed);
            cannot(&error)
        })?;
        Ok(Self { consumer })
    }

    pub(super) fn shared(&self) -> &Shared {
        self.consumer.context()
    }

    /// Partitions that are ours now, with their tenures.
    pub(super) fn tenures(&self) -> BTreeMap<u32, u64> {
        self.shared().tenures.lock().clone()
    }

    /// The owner is alive. Fails when the membership cannot be kept any more.
    pub(super) fn asked(&self) -> Result<(), LogError> {
        let shared = self.shared();
        shared.asked_at_ms.store(shared.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
        if shared.is_fatal.load(Ordering::Relaxed) {
            let reason = "Kafka has ended this membership".to_owned();
            return Err(LogError::Fenced { topic: shared.topic, partition: 0, reason });
        }
        Ok(())
    }
}

impl Drop for Membership {
    /// The thread leaves the group: that asks the brokers, and would hold up whoever drops this.
    fn drop(&mut self) {
        self.shared().is_over.store(true, Ordering::Relaxed);
    }
}

/// Serves rebalances; records go elsewhere.
fn serve(consumer: Arc<BaseConsumer<Shared>>) {
    let shared = consumer.context().clone();
    while !shared.is_over.load(Ordering::Relaxed) {
        if shared.is_hanging() {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(_)) => tracing::error!(topic = %shared.topic, "a record came to the queue of events"),
            Some(Err(KafkaError::MessageConsumptionFatal(error))) => {
                tracing::error!(topic = %shared.topic, %error, "kafka has ended a membership");
                shared.is_fatal.store(true, Ordering::Relaxed);
                shared.news.notify_one();
            }
            Some(Err(error)) => tracing::debug!(topic = %shared.topic, %error, "kafka member"),
        }
    }
    shared.tenures.lock().clear();
    // The last owner's drop of the client leaves the group; partition queues of the owner are gone by now or soon.
    drop(consumer);
}
