//! Batches that fail, hang or panic on their way to disk, and what callers and consumers find afterwards.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::embedded::Clock;

/// Far longer than a healthy disk takes for a sync, on a machine that does other things as well.
const STALL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The next batch reaches the file and its sync fails; after it nothing more is written.
    Sync,
    /// Nothing is written.
    Write,
    /// Nothing is written, and nothing answered, until the fault goes.
    Hang,
    /// The next batch panics.
    Panic,
}

struct FaultyDisk {
    fault: Mutex<Fault>,
    is_hung: AtomicBool,
}

impl FaultyDisk {
    fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }
}

impl Disk for FaultyDisk {
    fn commit(&self, batch: OwnedWriteBatch) -> fjall::Result<()> {
        let fault = *self.fault.lock();
        match fault {
            Fault::None => return LocalDisk.commit(batch),
            Fault::Sync => {
                self.set(Fault::Write);
                batch.durability(Some(PersistMode::Buffer)).commit()?;
            }
            Fault::Write => {}
            Fault::Hang => {
                self.is_hung.store(true, Ordering::SeqCst);
                while *self.fault.lock() == Fault::Hang {
                    std::thread::sleep(Duration::from_millis(2));
                }
                return LocalDisk.commit(batch);
            }
            Fault::Panic => {
                self.set(Fault::None);
                panic!("a test's disk");
            }
        }
        Err(fjall::Error::Io(io::Error::other("the disk lost it")))
    }
}

/// Lets go of what hangs, so that a test that fails does not hang too.
struct Release(Arc<FaultyDisk>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.set(Fault::None);
    }
}

struct World {
    /// Dropped before the log, which waits for its disk.
    _release: Release,
    log: Arc<EmbeddedLog>,
    disk: Arc<FaultyDisk>,
    dir: TempDir,
}

impl World {
    fn open(options: LogOptions) -> Self {
        let disk = Arc::new(FaultyDisk { fault: Mutex::new(Fault::None), is_hung: AtomicBool::new(false) });
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(EmbeddedLog::open_on(dir.path(), options, disk.clone()).unwrap());
        Self { _release: Release(disk.clone()), log, disk, dir }
    }

    /// As after a restart, on a disk that works.
    fn reopen(self) -> Self {
        let Self { _release, log, disk, dir } = self;
        assert_eq!(Arc::strong_count(&log), 1);
        drop(log);
        disk.set(Fault::None);
        let log = Arc::new(EmbeddedLog::open_on(dir.path(), options(), disk.clone()).unwrap());
        Self { _release, log, disk, dir }
    }

    async fn append(&self, value: &str) -> Result<Vec<Position>, LogError> {
        self.log.append(vec![record(Topic::Reception, value)]).await
    }

    async fn append_until_taken(&self, value: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = self.append(value).await {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn values(&self, topic: Topic) -> Vec<Bytes> {
        let read = self.log.read(topic, 0, 0, 1000, 1 << 20).await.unwrap();
        read.into_iter().map(|record| record.value).collect()
    }

    async fn subscribe(&self) -> Box<dyn Consumer> {
        self.log.subscribe("g", Topic::Reception).await.unwrap()
    }

    async fn committed(&self) -> Option<u64> {
        self.log.committed("g", Topic::Reception, 0).await.unwrap()
    }
}

/// One partition a topic, so that a test need not ask where its records went.
fn options() -> LogOptions {
    let mut options = LogOptions { stall_timeout: STALL, min_free_bytes: 0, ..LogOptions::default() };
    options.topics.iter_mut().for_each(|topic| topic.partitions = 1);
    options
}

fn record(topic: Topic, value: &str) -> NewRecord {
    NewRecord { topic, key: "k".to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn is_unavailable<T>(outcome: &Result<T, LogError>) -> bool {
    matches!(outcome, Err(LogError::Unavailable(_)))
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn poll(consumer: &mut dyn Consumer) -> Vec<Bytes> {
    let polled = consumer.poll(100, Duration::from_millis(100)).await.unwrap();
    polled.into_iter().map(|record| record.value).collect()
}

async fn poll_patiently(consumer: &mut dyn Consumer) -> Vec<Bytes> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match consumer.poll(100, Duration::from_secs(5)).await {
            Ok(polled) if !polled.is_empty() => return polled.into_iter().map(|record| record.value).collect(),
            outcome => assert!(Instant::now() < deadline, "{outcome:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_sync_failed_is_undone() {
    let world = World::open(options());
    world.append("kept").await.unwrap();
    world.disk.set(Fault::Sync);
    let lost = ["lost", "lost too", "all lost"].map(|value| record(Topic::Reception, value));
    assert!(is_unavailable(&world.log.append(lost.to_vec()).await));
    assert!(is_unavailable(&world.append("refused").await));
    world.disk.set(Fault::None);
    world.append_until_taken("after").await;
    assert_eq!(world.values(Topic::Reception).await, ["kept", "after"]);
    assert_eq!(world.log.bounds(Topic::Reception, 0).await.unwrap(), (0, 2), "its offset is given again");
    let world = world.reopen();
    assert_eq!(world.values(Topic::Reception).await, ["kept", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_sync_failed_is_undone_with_its_positions() {
    for committed_before in [None, Some(1)] {
        let world = World::open(options());
        world.append("1").await.unwrap();
        let mut consumer = world.subscribe().await;
        if committed_before.is_some() {
            assert_eq!(poll(&mut *consumer).await, ["1"]);
            consumer.commit(Vec::new()).await.unwrap();
        }
        world.append("2").await.unwrap();
        let polled = poll(&mut *consumer).await;
        world.disk.set(Fault::Sync);
        assert!(is_unavailable(&consumer.commit(vec![record(Topic::Screened, "lost")]).await));
        world.disk.set(Fault::None);
        world.append_until_taken("3").await;
        assert_eq!(world.committed().await, committed_before);
        drop(consumer);

        let world = world.reopen();
        assert_eq!(world.committed().await, committed_before, "a restart knows no more than the group did");
        assert_eq!(world.values(Topic::Screened).await, [""; 0]);
        let mut consumer = world.subscribe().await;
        assert_eq!(poll(&mut *consumer).await, [polled, vec![Bytes::from("3")]].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_refused_and_is_on_disk_is_whole_after_a_restart() {
    let world = World::open(options());
    world.append("1").await.unwrap();
    let mut consumer = world.subscribe().await;
    assert_eq!(poll(&mut *consumer).await, ["1"]);
    // The process ends before the disk lets it undo the batch.
    world.disk.set(Fault::Sync);
    assert!(is_unavailable(&consumer.commit(vec![record(Topic::Screened, "out of 1")]).await));
    drop(consumer);
    let world = world.reopen();
    assert_eq!((world.committed().await, world.values(Topic::Screened).await), (Some(1), vec!["out of 1".into()]));
    let mut consumer = world.subscribe().await;
    assert_eq!(poll(&mut *consumer).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_behind_a_commit_that_lands_late() {
    let world = World::open(options());
    world.append("1").await.unwrap();
    let mut consumer = world.subscribe().await;
    assert_eq!(poll(&mut *consumer).await, ["1"]);
    world.disk.set(Fault::Hang);
    assert!(is_unavailable(&consumer.commit(vec![record(Topic::Screened, "out of 1")]).await));
    assert!(is_unavailable(&consumer.poll(100, Duration::ZERO).await), "nobody knows yet what comes next");
    world.disk.set(Fault::None);
    world.append_until_taken("2").await;
    assert_eq!(poll_patiently(&mut *consumer).await, ["2"]);
    consumer.commit(vec![record(Topic::Screened, "out of 2")]).await.unwrap();
    drop(consumer);
    let world = world.reopen();
    assert_eq!(world.committed().await, Some(2));
    assert_eq!(world.values(Topic::Screened).await, ["out of 1", "out of 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_waits_for_a_commit_in_doubt() {
    let world = World::open(options());
    world.append("1").await.unwrap();
    let mut consumer = world.subscribe().await;
    assert_eq!(poll(&mut *consumer).await, ["1"]);
    world.disk.set(Fault::Hang);
    assert!(is_unavailable(&consumer.commit(vec![record(Topic::Screened, "out of 1")]).await));
    drop(consumer);
    let mut other = world.subscribe().await;
    assert_eq!(poll(&mut *other).await, [""; 0]);
    world.disk.set(Fault::None);
    world.append_until_taken("2").await;
    assert_eq!(poll_patiently(&mut *other).await, ["2"]);
    assert_eq!(world.values(Topic::Screened).await, ["out of 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_needs_no_disk_and_outlasts_a_commit_in_doubt() {
    let world = World::open(options());
    for value in ["1", "2", "3"] {
        world.append(value).await.unwrap();
    }
    let mut consumer = world.subscribe().await;
    consumer.seek(0, 1).await.unwrap();
    world.disk.set(Fault::Hang);
    assert!(is_unavailable(&consumer.commit(Vec::new()).await));
    let started = Instant::now();
    consumer.seek(0, 2).await.unwrap();
    assert!(started.elapsed() < STALL);
    world.disk.set(Fault::None);
    assert_eq!(poll_patiently(&mut *consumer).await, ["3"]);
    assert_eq!(world.committed().await, Some(1));
    consumer.commit(Vec::new()).await.unwrap();
    assert_eq!(world.committed().await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_unavailable_and_what_waits_is_bounded() {
    let budget = 64 * 1024;
    let world = World::open(LogOptions { max_waiting_bytes: budget, ..options() });
    world.append("before").await.unwrap();
    world.disk.set(Fault::Hang);
    let started = Instant::now();
    assert!(is_unavailable(&world.append("hung").await));
    assert!(started.elapsed() >= STALL);
    // Known to hang: the answer comes at once. Younger than that: what waits is bounded.
    let started = Instant::now();
    assert!(is_unavailable(&world.append("refused").await));
    assert!(started.elapsed() < STALL);
    world.log.shared.pressure.begin();
    let large = "x".repeat(4096);
    let appends: Vec<_> = (0..200)
        .map(|_| {
            let (log, large) = (world.log.clone(), record(Topic::Reception, &large));
            tokio::spawn(async move { log.append(vec![large]).await })
        })
        .collect();
    for append in appends {
        assert!(is_unavailable(&append.await.unwrap()));
    }
    let waiting = world.log.shared.queue.waiting_bytes();
    assert!((budget / 2..=budget).contains(&waiting), "{waiting} bytes wait");
    assert_eq!(world.values(Topic::Reception).await, ["before"], "reading goes on");
    world.disk.set(Fault::None);
    world.append_until_taken("after").await;
    assert_eq!(world.values(Topic::Reception).await, ["before", "hung", "after"], "who gave up in the queue left it");
    assert_eq!(world.log.shared.queue.waiting_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_a_batch_is_made_or_written_is_unavailable_and_passes() {
    let is_bad = Arc::new(AtomicBool::new(false));
    let clock = {
        let is_bad = is_bad.clone();
        Clock::new(move || {
            assert!(!is_bad.load(Ordering::SeqCst), "a test's clock");
            1_800_000_000_000_000
        })
    };
    let world = World::open(LogOptions { clock, stall_timeout: Duration::from_secs(30), ..options() });
    world.append("1").await.unwrap();
    let mut consumer = world.subscribe().await;
    for is_the_clock in [false, true] {
        assert_eq!(poll_patiently(&mut *consumer).await.len(), 1);
        is_bad.store(is_the_clock, Ordering::SeqCst);
        world.disk.set(if is_the_clock { Fault::None } else { Fault::Panic });
        let started = Instant::now();
        assert!(is_unavailable(&consumer.commit(vec![record(Topic::Screened, "out")]).await));
        assert!(started.elapsed() < Duration::from_secs(5), "nobody waits for a stall");
        is_bad.store(false, Ordering::SeqCst);
        assert_eq!(poll_patiently(&mut *consumer).await.len(), 1, "the same again");
        while is_unavailable(&consumer.commit(vec![record(Topic::Screened, "out")]).await) {
            assert!(started.elapsed() < Duration::from_secs(20));
            assert_eq!(poll_patiently(&mut *consumer).await.len(), 1);
        }
        world.append_until_taken("next").await;
    }
    assert_eq!(world.values(Topic::Screened).await, ["out", "out"]);
    assert_eq!(world.committed().await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_between_batches_closes_the_log_and_keeps_nobody_waiting() {
    let world = World::open(LogOptions { stall_timeout: Duration::from_secs(30), ..options() });
    world.disk.set(Fault::Hang);
    let append = |value| {
        let (log, record) = (world.log.clone(), record(Topic::Reception, value));
        tokio::spawn(async move { log.append(vec![record]).await })
    };
    let in_the_batch = append("in the batch");
    wait_until(|| world.disk.is_hung.load(Ordering::SeqCst)).await;
    let in_the_queue = append("in the queue");
    wait_until(|| world.log.shared.queue.waiting_bytes() > 0).await;
    let started = Instant::now();
    serve(&world.log.shared, || panic!("a test's committer"));
    let refused = world.append("later").await;
    assert!(refused.unwrap_err().to_string().contains("ended with a panic"));
    assert!(is_unavailable(&in_the_queue.await.unwrap()));
    assert!(started.elapsed() < Duration::from_secs(5), "nobody waits for a stall");
    world.disk.set(Fault::None);
    in_the_batch.await.unwrap().unwrap();
    assert_eq!(world.reopen().values(Topic::Reception).await, ["in the batch"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_meets_damage_gives_out_what_it_read_before() {
    let mut options = options();
    options.topic_mut(Topic::Reception).partitions = 2;
    let world = World::open(options);
    let keys = (0..).map(|n| n.to_string());
    let is_sound = |key: &String| millrace_schemas::topic::partition_of(key, 2) == 0;
    let (sound, damaged): (Vec<_>, Vec<_>) = keys.take(8).partition(is_sound);
    for key in [&sound[0], &damaged[0]] {
        world.log.append(vec![NewRecord { key: key.clone(), ..record(Topic::Reception, key) }]).await.unwrap();
    }
    let slot = world.log.shared.slot(Topic::Reception, 1).unwrap();
    world.log.shared.store().unwrap().partitions[slot].insert(0_u64.to_be_bytes(), [9]).unwrap();
    let mut consumer = world.subscribe().await;
    assert_eq!(poll(&mut *consumer).await, [sound[0].clone()]);
    let damage = consumer.poll(100, Duration::ZERO).await;
    assert!(matches!(damage, Err(LogError::Damaged(_))), "{damage:?}");
}
