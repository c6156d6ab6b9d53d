//! What may go from Kafka: what is old, and processed by all who need it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use millrace_schemas::Topic;
use millrace_storage::cluster::{KafkaLog, KafkaOptions};
use millrace_storage::{Log, NewRecord};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

const TOPIC: Topic = Topic::DeadLetter;

async fn log(needed_by: &[&str]) -> KafkaLog {
    let brokers = std::env::var("MILLRACE_TEST_KAFKA").expect("MILLRACE_TEST_KAFKA is the address of a broker");
    let needed_by = needed_by.iter().map(|group| (TOPIC, (*group).to_owned())).collect();
    let options = KafkaOptions::new(brokers, format!("retention-{}", std::process::id()));
    let retention_age = Some(Duration::from_millis(1));
    KafkaLog::open(KafkaOptions { needed_by, retention_age, ..options }).await.unwrap()
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
    let group = format!("test-needed-{}", std::process::id());
    let log = log(&[&group]).await;
    let record = |number: u32| NewRecord { topic: TOPIC, key: format!("k{number}"), value: "value".into() };
    log.append((0..40).map(record).collect()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = kept(&log).await;
    log.enforce_retention().await.unwrap();
    assert_eq!(kept(&log).await, before, "the group has processed nothing, as far as the brokers know");

    let ends: Vec<u64> = {
        let mut ends = Vec::new();
        for partition in 0..log.partitions(TOPIC) {
            ends.push(log.bounds(TOPIC, partition).await.unwrap().1);
        }
        ends
    };
    log.set_positions(&group, TOPIC, &ends, "processed").await.unwrap();
    log.enforce_retention().await.unwrap();
    assert_eq!(kept(&log).await, 0);
    forget(&group).await;
}

/// A group that is left behind would keep all that comes later.
async fn forget(group: &str) {
    let brokers = std::env::var("MILLRACE_TEST_KAFKA").unwrap();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let forgotten = admin.delete_groups(&[group], &AdminOptions::new()).await.unwrap();
    assert!(forgotten.iter().all(Result::is_ok), "{forgotten:?}");
}
