//! The embedded log across crashes, failing disks and retention.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_schemas::Topic;
use millrace_storage::embedded::{
    Clock, EmbeddedFirstSeen, EmbeddedLog, EmbeddedStorage, FirstSeenOptions, LogOptions, OpenError, StorageOptions,
};
use millrace_storage::{Claim, Consumer, FirstSeen, Log, LogError, NewRecord, Position, Record};

/// Set in the child process of a test: the directory of its log.
const CHILD: &str = "MILLRACE_TEST_LOG";

fn open(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(dir, LogOptions::default()).unwrap()
}

fn record(topic: Topic, key: &str, value: impl Into<Bytes>) -> NewRecord {
    NewRecord { topic, key: key.to_owned(), value: value.into() }
}

async fn read_all(log: &EmbeddedLog, topic: Topic) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for partition in 0..log.partitions(topic) {
        let (mut offset, next) = log.bounds(topic, partition).await.unwrap();
        while offset < next {
            let read = log.read(topic, partition, offset, 5000, 8 << 20).await.unwrap();
            let Some(last) = read.last() else { break };
            offset = last.position.offset + 1;
            records.extend(read);
        }
    }
    records
}

/// Not a test of its own: appends from many tasks and prints what was acknowledged, until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_appends_until_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let log = Arc::new(open(Path::new(&dir)));
    let run = ulid::Ulid::new();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0_u64.. {
                    let name = format!("{run}-{writer}-{n}");
                    let pair =
                        [record(Topic::Reception, &name, name.clone()), record(Topic::Screened, &name, name.clone())];
                    let at = log.append(pair.to_vec()).await.unwrap()[0];
                    let line = format!("ack {name} {} {}\n", at.partition, at.offset);
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn run_child_and_kill(dir: &Path, after: Duration) -> Vec<(String, u32, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_appends_until_killed", "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || lines.lines().map_while(Result::ok).collect::<Vec<String>>());
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = reader.join().unwrap();
    let acknowledged = lines.iter().filter_map(|line| {
        let mut words = line.strip_prefix("ack ")?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    });
    // The last line may be cut off; a cut number would be a wrong one.
    let complete = acknowledged.collect::<Vec<_>>();
    complete[..complete.len().saturating_sub(16)].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_sigkill_whole_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = HashMap::new();
    for round in 0..4 {
        let path = dir.path().to_owned();
        let after = Duration::from_millis(600 + 170 * round);
        let acks = tokio::task::spawn_blocking(move || run_child_and_kill(&path, after)).await.unwrap();
        acknowledged.extend(acks.into_iter().map(|(name, partition, offset)| (name, (partition, offset))));
        let log = open(dir.path());
        let reception = read_all(&log, Topic::Reception).await;
        let names: HashSet<&str> = reception.iter().map(|record| record.key.as_str()).collect();
        assert_eq!(names.len(), reception.len(), "a record is there twice");
        let places: HashMap<&str, (u32, u64)> = reception
            .iter()
            .map(|record| (record.key.as_str(), (record.position.partition, record.position.offset)))
            .collect();
        for (name, place) in &acknowledged {
            assert_eq!(places.get(name.as_str()), Some(place), "{name}");
        }
        let screened: Vec<Record> = read_all(&log, Topic::Screened).await;
        let of_screened: HashSet<&str> = screened.iter().map(|record| record.key.as_str()).collect();
        assert_eq!(names, of_screened, "half an append is there");
    }
    assert!(acknowledged.len() > 100, "only {} appends were acknowledged", acknowledged.len());
}

#[tokio::test]
async fn two_processes_cannot_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap();
    let second = EmbeddedStorage::open(dir.path(), StorageOptions::default());
    assert!(matches!(second, Err(OpenError::InUse(_))));
    drop(first);
    EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap();
}

#[tokio::test]
async fn another_partition_count_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut options = LogOptions::default();
    options.topic_mut(Topic::Reception).partitions = 8;
    let refused = EmbeddedLog::open(dir.path(), options).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Partitions { topic: Topic::Reception, stored: 4, asked: 8 }), "{refused}");
}

/// A log whose clock and retention the test sets.
fn open_at(dir: &Path, now_us: &Arc<AtomicI64>, age: Option<Duration>, bytes: Option<u64>) -> EmbeddedLog {
    let now_us = now_us.clone();
    let mut options = LogOptions { clock: Clock::new(move || now_us.load(Ordering::SeqCst)), ..LogOptions::default() };
    let topic = options.topic_mut(Topic::DeadLetter);
    (topic.partitions, topic.retention_age, topic.retention_bytes) = (1, age, bytes);
    EmbeddedLog::open(dir, options).unwrap()
}

async fn append_dead(log: &EmbeddedLog, value: &str) -> Position {
    log.append(vec![record(Topic::DeadLetter, "stage", value.to_owned())]).await.unwrap()[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_go_and_offsets_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_800_000_000_000_000));
    let age = Some(Duration::from_secs(60));
    let log = open_at(dir.path(), &now, age, None);
    for n in 0..10 {
        now.fetch_add(10_000_000, Ordering::SeqCst);
        assert_eq!(append_dead(&log, &n.to_string()).await.offset, n);
    }
    assert_eq!(log.enforce_retention().await.unwrap(), 3);
    assert_eq!(log.bounds(Topic::DeadLetter, 0).await.unwrap(), (3, 10));
    let read = log.read(Topic::DeadLetter, 0, 0, 1, 100).await.unwrap();
    assert_eq!(read[0].position.offset, 3, "reading below the first kept record begins at it");
    now.fetch_add(1_000_000_000, Ordering::SeqCst);
    assert_eq!(log.enforce_retention().await.unwrap(), 7);
    drop(log);
    let log = open_at(dir.path(), &now, age, None);
    assert_eq!(log.bounds(Topic::DeadLetter, 0).await.unwrap(), (10, 10));
    assert_eq!(append_dead(&log, "after").await.offset, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_beyond_the_size_go_from_the_front() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_800_000_000_000_000));
    let log = open_at(dir.path(), &now, None, Some(10 * 105));
    for _ in 0..30 {
        append_dead(&log, &"x".repeat(100)).await;
    }
    assert_eq!(log.enforce_retention().await.unwrap(), 20);
    assert_eq!(log.enforce_retention().await.unwrap(), 0, "what is gone does not count again");
    assert_eq!(read_all(&log, Topic::DeadLetter).await.len(), 10);
}

async fn poll_some(consumer: &mut dyn Consumer, count: usize) -> Vec<Record> {
    consumer.poll(count, Duration::from_secs(10)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_waits_for_the_slowest_group() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_800_000_000_000_000));
    let log = open_at(dir.path(), &now, Some(Duration::from_secs(1)), None);
    for n in 0..10 {
        append_dead(&log, &n.to_string()).await;
    }
    let mut slow = log.subscribe("slow", Topic::DeadLetter).await.unwrap();
    assert_eq!(poll_some(&mut *slow, 4).await.len(), 4);
    slow.commit(Vec::new()).await.unwrap();
    now.fetch_add(10_000_000, Ordering::SeqCst);
    assert_eq!(log.enforce_retention().await.unwrap(), 4);
    assert_eq!(poll_some(&mut *slow, 100).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_looks_back_at_is_kept_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_800_000_000_000_000));
    let clock = now.clone();
    let mut options = LogOptions { clock: Clock::new(move || clock.load(Ordering::SeqCst)), ..LogOptions::default() };
    let topic = options.topic_mut(Topic::MailboxChanges);
    (topic.partitions, topic.retention_age) = (1, Some(Duration::from_secs(1)));
    let log = EmbeddedLog::open(dir.path(), options).unwrap();
    let count = Topic::MailboxChanges.look_back() + 5;
    log.append((0..count).map(|n| record(Topic::MailboxChanges, "a", n.to_string())).collect()).await.unwrap();
    now.fetch_add(10_000_000, Ordering::SeqCst);
    assert_eq!(log.enforce_retention().await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_keeps_the_newest_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for round in 0..5 {
        for key in ["a.example", "b.example", "c.example"] {
            log.append(vec![record(Topic::Directory, key, format!("{key} {round}"))]).await.unwrap();
        }
    }
    assert_eq!(log.enforce_retention().await.unwrap(), 12);
    let kept: Vec<Bytes> = read_all(&log, Topic::Directory).await.into_iter().map(|record| record.value).collect();
    assert_eq!(kept, ["a.example 4", "b.example 4", "c.example 4"]);
    assert_eq!(log.bounds(Topic::Directory, 0).await.unwrap(), (12, 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_durable_with_the_output_that_rests_on_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = open(dir.path());
        let seen = EmbeddedFirstSeen::new(&log, FirstSeenOptions::default());
        assert_eq!(seen.claim([1; 32], "m1", 1_800_000_000_000_000).await.unwrap(), Claim::First);
        log.append(vec![record(Topic::Screened, "m1", "out")]).await.unwrap();
        std::mem::forget(log.subscribe("g", Topic::Screened).await.unwrap());
    }
    let log = open(dir.path());
    let seen = EmbeddedFirstSeen::new(&log, FirstSeenOptions::default());
    let taken = seen.claim([1; 32], "m2", 1_800_000_000_000_001).await.unwrap();
    assert_eq!(taken, Claim::Taken("m1".to_owned()));
    let later = 1_800_000_000_000_000 + 6 * 24 * 3600 * 1_000_000;
    assert_eq!(seen.expire(later).await.unwrap(), 1);
    assert_eq!(seen.claim([1; 32], "m2", 1_800_000_000_000_001).await.unwrap(), Claim::First);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_free_space_is_unavailable_and_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(vec![record(Topic::Reception, "k", "v")]).await.unwrap();
    let options = LogOptions { min_free_bytes: u64::MAX, ..LogOptions::default() };
    let log = EmbeddedLog::open(dir.path(), options).unwrap();
    for _ in 0..3 {
        let refused = log.append(vec![record(Topic::Reception, "k", "v")]).await.unwrap_err();
        assert!(matches!(&refused, LogError::Unavailable(reason) if reason.contains("the disk is full")), "{refused}");
    }
    assert_eq!(read_all(&log, Topic::Reception).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_log_is_unavailable_to_the_consumers_that_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut consumer = log.subscribe("g", Topic::Reception).await.unwrap();
    drop(log);
    let started = Instant::now();
    let refused = consumer.commit(vec![record(Topic::Screened, "k", "v")]).await.unwrap_err();
    assert!(matches!(refused, LogError::Unavailable(_)), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(2));
    // The directory is free, although the consumer lives.
    open(dir.path());
}

/// Lets this process write files up to `bytes` only; a write beyond fails, as on a full disk.
fn limit_file_size(bytes: &str) {
    let pid = std::process::id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().unwrap();
    assert!(limited.success());
}

async fn append_until_taken(log: &EmbeddedLog, key: &str) -> Position {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match log.append(vec![record(Topic::Reception, key, "again")]).await {
            Ok(at) => return at[0],
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Not a test of its own: its disk fills up and has room again.
#[tokio::test(flavor = "multi_thread")]
async fn child_whose_disk_fills_up() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let log = open(Path::new(&dir));
    let mut acknowledged = Vec::new();
    for n in 0..50 {
        acknowledged
            .extend(log.append(vec![record(Topic::Reception, &format!("before-{n}"), vec![b'x'; 500])]).await.unwrap());
    }
    let mut consumer = log.subscribe("g", Topic::Reception).await.unwrap();
    let polled = poll_some(&mut *consumer, 10).await;
    limit_file_size("100000");
    let mut refused = 0;
    for n in 0..200 {
        let started = Instant::now();
        match log.append(vec![record(Topic::Reception, &format!("during-{n}"), vec![b'y'; 3000])]).await {
            Ok(at) => acknowledged.extend(at),
            Err(LogError::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    assert!(refused > 100, "only {refused} appends were refused");
    let failed = consumer.commit(vec![record(Topic::Screened, "k", "out")]).await.unwrap_err();
    assert!(matches!(failed, LogError::Unavailable(_)), "{failed}");
    limit_file_size("unlimited");
    acknowledged.push(append_until_taken(&log, "after").await);
    let found: Vec<Position> = read_all(&log, Topic::Reception).await.iter().map(|record| record.position).collect();
    acknowledged.sort_unstable();
    assert_eq!(found, acknowledged, "what was refused is not there, and what was taken is");
    let again = poll_some(&mut *consumer, 10).await;
    assert!(again == polled, "the next poll reads the same records again");
    consumer.commit(vec![record(Topic::Screened, "k", "out")]).await.unwrap();
    assert_eq!(read_all(&log, Topic::Screened).await.len(), 1);
    drop((consumer, log));
    assert_eq!(read_all(&open(Path::new(&dir)), Topic::Reception).await.len(), acknowledged.len());
    println!("the disk filled up and had room again");
}

#[test]
fn a_full_disk_is_unavailable_until_it_has_room_again() {
    let dir = tempfile::tempdir().unwrap();
    // The signal that says that a file is too large would end the process; an ignored one stays ignored in a child.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" child_whose_disk_fills_up --exact --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("the disk filled up and had room again"), "{out}\n{err}");
}
