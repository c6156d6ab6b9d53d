//! Holding a topic on Kafka: readers of committed records stop, and go on when it is released.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use millrace_schemas::Topic;
use millrace_storage::cluster::{KafkaLog, KafkaOptions};
use millrace_storage::{Log, NewRecord, Position};

const GROUP: &str = "test-held";
const NOTE: &str = "a note";
const LIFETIME: Duration = Duration::from_secs(60);

async fn log() -> KafkaLog {
    let brokers = std::env::var("MILLRACE_TEST_KAFKA").expect("MILLRACE_TEST_KAFKA is the address of a broker");
    KafkaLog::open(KafkaOptions::new(brokers, format!("hold-{}", std::process::id()))).await.unwrap()
}

/// Each test has a topic of its own: they run at the same time.
async fn append(log: &KafkaLog, topic: Topic, count: usize) -> Vec<Position> {
    let record = |number| NewRecord { topic, key: format!("k{number}"), value: "value".into() };
    log.append((0..count).map(record).collect()).await.unwrap()
}

/// Waits until readers see what was appended, which is a moment after the answer.
async fn shown(log: &KafkaLog, appended: &[Position]) {
    for place in appended {
        assert_eq!(log.read(place.topic, place.partition, place.offset, 1, 1).await.unwrap().len(), 1);
    }
}

/// Records that readers see.
async fn seen(log: &KafkaLog) -> usize {
    let mut seen = 0;
    for partition in 0..log.partitions(Topic::Delivery) {
        seen += log.read(Topic::Delivery, partition, 0, 10_000, 1 << 20).await.unwrap().len();
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn a_held_topic_is_read_up_to_the_hold_and_no_further() {
    let log = log().await;
    shown(&log, &append(&log, Topic::Delivery, 40).await).await;
    let before = seen(&log).await;
    let hold = log.hold(GROUP, Topic::Delivery, LIFETIME).await.unwrap();
    let positions = hold.positions().to_vec();
    assert!(log.is_held_at(Topic::Delivery, &positions).await.unwrap());
    let behind = append(&log, Topic::Delivery, 40).await;
    assert_eq!(seen(&log).await, before, "nothing behind the hold is read");
    assert!(log.is_held_at(Topic::Delivery, &positions).await.unwrap());

    hold.release().await.unwrap();
    shown(&log, &behind).await;
    assert_eq!(seen(&log).await, before + 40);
    assert!(!log.is_held_at(Topic::Delivery, &positions).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn a_later_hold_undoes_one_whose_holder_is_gone() {
    let log = log().await;
    append(&log, Topic::Screened, 4).await;
    let gone = log.hold("test-gone", Topic::Screened, LIFETIME).await.unwrap();
    let positions = gone.positions().to_vec();
    std::mem::forget(gone);
    let hold = log.hold("test-gone", Topic::Screened, LIFETIME).await.unwrap();
    assert!(hold.positions().iter().zip(&positions).all(|(later, earlier)| later > earlier));
    assert!(log.is_held_at(Topic::Screened, hold.positions()).await.unwrap());
    hold.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn a_group_stands_where_it_was_set_with_its_note() {
    let log = log().await;
    // A broker keeps a group's positions: one of an earlier run must not be found here.
    let group = &format!("test-set-{}", std::process::id());
    let members = &format!("{group}-members");
    let partitions = log.partitions(Topic::Reception) as usize;
    let positions: Vec<u64> = (0..partitions as u64).map(|partition| partition + 3).collect();
    assert!(log.noted_positions(group, Topic::Reception).await.unwrap().iter().all(Option::is_none));
    assert_eq!(log.group_members(group).await.unwrap(), 0);
    log.set_positions(group, Topic::Reception, &positions, NOTE).await.unwrap();
    let noted = log.noted_positions(group, Topic::Reception).await.unwrap();
    let wanted: Vec<_> = positions.iter().map(|position| Some((*position, NOTE.to_owned()))).collect();
    assert_eq!(noted, wanted);
    assert_eq!(log.committed(group, Topic::Reception, 1).await.unwrap(), Some(4));

    let member = log.subscribe(members, Topic::Reception).await.unwrap();
    let joined = async {
        while log.group_members(members).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), joined).await.unwrap();
    drop(member);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: compose/native/test"]
async fn an_earlier_position_is_one_from_before_that_time() {
    let log = log().await;
    append(&log, Topic::MailboxChanges, 20).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    append(&log, Topic::MailboxChanges, 20).await;
    for partition in 0..log.partitions(Topic::MailboxChanges) {
        let (first, end) = log.bounds(Topic::MailboxChanges, partition).await.unwrap();
        let a_second = Duration::from_secs(1);
        let earlier = log.position_before(Topic::MailboxChanges, partition, end, a_second).await.unwrap();
        assert!((first..=end).contains(&earlier));
        let day = Duration::from_secs(86_400);
        assert_eq!(log.position_before(Topic::MailboxChanges, partition, end, day).await.unwrap(), first);
    }
}
