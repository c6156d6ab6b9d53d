//! What may go from Kafka: what is old, and processed by all who need it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use millrace_schemas::Topic;
use millrace_storage::cluster::{KafkaLog, KafkaOptions};
use millrace_storage::{Log, NewRecord};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tokio::sync::Mutex;

const TOPIC: Topic = Topic::DeadLetter;

/// Retention is of all topics, so the tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

fn brokers() -> String {
    std::env::var("MILLRACE_TEST_KAFKA").expect("MILLRACE_TEST_KAFKA is the address of a broker")
}

async fn log(needed_by: &[&str]) -> KafkaLog {
    let needed_by = needed_by.iter().map(|group| (TOPIC, (*group).to_owned())).collect();
    let options = KafkaOptions::new(brokers(), format!("retention-{}", std::process::id()));
    let retention_age = Some(Duration::from_millis(1));
    KafkaLog::open(KafkaOptions { needed_by, retention_age, ..options }).await.unwrap()
}

/// The offset after the last record, by partition.
async fn ends(log: &KafkaLog, topic: Topic) -> Vec<u64> {
    let mut ends = Vec::new();
    for partition in 0..log.partitions(topic) {
        ends.push(log.bounds(topic, partition).await.unwrap().1);
    }
    ends
}

/// Records that are kept.
async fn kept(log: &KafkaLog) -> u64 {
    let mut kept = 0;
    for partition in 0..log.partitions(TOPIC) {
        let (first, end) = log.bounds(TOPIC, partition).await.unwrap();
        kept += end - first;
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn what_a_needed_group_has_no_position_in_is_kept() {
    let _turn = TURN.lock().await;
    let group = format!("test-needed-{}", std::process::id());
    let log = log(&[&group]).await;
    let record = |number: u32| NewRecord { topic: TOPIC, key: format!("k{number}"), value: "value".into() };
    log.append((0..40).map(record).collect()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = kept(&log).await;
    log.enforce_retention().await.unwrap();
    assert_eq!(kept(&log).await, before, "the group has processed nothing, as far as the brokers know");

    log.set_positions(&group, TOPIC, &ends(&log, TOPIC).await, "processed").await.unwrap();
    log.enforce_retention().await.unwrap();
    assert_eq!(kept(&log).await, 0);
    forget(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn what_a_topic_looks_back_at_is_kept_before_the_position_of_a_group() {
    const CHANGES: Topic = Topic::MailboxChanges;
    let _turn = TURN.lock().await;
    let group = format!("test-behind-{}", std::process::id());
    let log = log(&[]).await;
    let record = |_| NewRecord { topic: CHANGES, key: "one".to_owned(), value: "value".into() };
    let mut last = Vec::new();
    for _ in 0..12 {
        last = log.append((0..1_000).map(record).collect()).await.unwrap();
    }
    let partition = last[0].partition;
    let ends = ends(&log, CHANGES).await;
    let end = ends[partition as usize];
    log.set_positions(&group, CHANGES, &ends, "processed").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    log.enforce_retention().await.unwrap();
    let (first, _) = log.bounds(CHANGES, partition).await.unwrap();
    assert_eq!(first, end - CHANGES.look_back(), "older records went, and no other");
    forget(&group).await;
}

/// A group that is left behind would keep all that comes later.
async fn forget(group: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let forgotten = admin.delete_groups(&[group], &AdminOptions::new()).await.unwrap();
    assert!(forgotten.iter().all(Result::is_ok), "{forgotten:?}");
}
