//! [`Log`]: appending and reading.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_schemas::Topic;
use millrace_schemas::topic::partition_of;

use super::{A_MOMENT, PATIENCE, Place, unique};
use crate::log::{Log, LogError, MAX_RECORD_BYTES, NewRecord, Position, Record};

/// Every case of this suite, and of [`super::consumer`].
pub async fn all(place: &dyn Place<dyn Log>) {
    what_is_appended_reads_back_at_its_position(place).await;
    records_of_a_call_stay_in_order(place).await;
    an_append_to_many_topics_is_visible_as_a_whole(place).await;
    reads_keep_to_their_limits(place).await;
    reading_at_the_end_is_empty(place).await;
    a_record_of_the_largest_size_is_taken_and_a_larger_one_never(place).await;
    a_partition_that_does_not_exist_is_refused(place).await;
    waiting_ends_with_a_record_or_the_timeout(place).await;
    concurrent_appends_all_get_places_of_their_own(place).await;
    what_was_acknowledged_is_there_after_a_restart(place).await;
    nothing_is_appended_for_nothing(place).await;
    super::consumer::all(place).await;
}

pub(crate) fn record(topic: Topic, key: &str, value: &str) -> NewRecord {
    NewRecord { topic, key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// Appends one after the other for the same key; all are in one partition.
pub(crate) async fn append_all(log: &dyn Log, topic: Topic, key: &str, values: &[&str]) -> Vec<Position> {
    let records = values.iter().map(|value| record(topic, key, value)).collect();
    log.append(records).await.expect("an append to a healthy log")
}

/// Reads from a position on until the end.
pub(crate) async fn read_from(log: &dyn Log, position: Position) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut offset = position.offset;
    loop {
        let read = log.read(position.topic, position.partition, offset, 1000, 1 << 20).await.expect("a read");
        let Some(last) = read.last() else { return records };
        offset = last.position.offset + 1;
        records.extend(read);
    }
}

pub async fn what_is_appended_reads_back_at_its_position(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    let positions = append_all(&*log, Topic::Reception, &key, &["first", ""]).await;
    let partition = partition_of(&key, log.partitions(Topic::Reception));
    assert!(positions.iter().all(|position| position.topic == Topic::Reception && position.partition == partition));
    for (position, value) in positions.iter().zip(["first", ""]) {
        let read = log.read(position.topic, position.partition, position.offset, 1, 1000).await.expect("a read");
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].position, read[0].key.as_str()), (*position, key.as_str()));
        assert_eq!(read[0].value, value);
        assert!(read[0].appended_at_us > 1_700_000_000_000_000, "the time is in microseconds since 1970");
    }
    let (first, next) = log.bounds(Topic::Reception, partition).await.expect("bounds");
    assert!(first <= positions[0].offset && next > positions[1].offset);
}

pub async fn records_of_a_call_stay_in_order(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let prefix = unique("key");
    let records: Vec<NewRecord> =
        (0..200).map(|n| record(Topic::Screened, &format!("{prefix}-{}", n % 7), &n.to_string())).collect();
    let positions = log.append(records.clone()).await.expect("an append");
    assert_eq!(positions.len(), records.len());
    let mut by_partition: BTreeMap<u32, Vec<(Position, &NewRecord)>> = BTreeMap::new();
    for (position, record) in positions.iter().zip(&records) {
        by_partition.entry(position.partition).or_default().push((*position, record));
    }
    for appended in by_partition.values() {
        assert!(appended.windows(2).all(|pair| pair[0].0.offset < pair[1].0.offset));
        let read = read_from(&*log, appended[0].0).await;
        let ours: Vec<&Record> = read.iter().filter(|record| record.key.starts_with(&prefix)).collect();
        assert_eq!(ours.len(), appended.len());
        for (read, (position, record)) in ours.iter().zip(appended) {
            assert_eq!((read.position, &read.key, &read.value), (*position, &record.key, &record.value));
        }
    }
}

pub async fn an_append_to_many_topics_is_visible_as_a_whole(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    let records = Topic::ALL.map(|topic| record(topic, &key, topic.name())).to_vec();
    let positions = log.append(records).await.expect("an append");
    for (position, topic) in positions.iter().zip(Topic::ALL) {
        assert_eq!(position.topic, topic);
        let read = log.read(topic, position.partition, position.offset, 1, 1000).await.expect("a read");
        assert_eq!(read[0].value, topic.name());
    }
}

pub async fn a_record_of_the_largest_size_is_taken_and_a_larger_one_never(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    // Bytes that do not get fewer by compression: the high ones of a linear congruential generator.
    let noise = std::iter::successors(Some(1_u32), |n| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    let largest: Vec<u8> = noise.map(|n| (n >> 24) as u8).take(MAX_RECORD_BYTES - key.len()).collect();
    let large = |bytes: &[u8]| NewRecord { topic: Topic::DeadLetter, key: key.clone(), value: bytes.to_vec().into() };
    for records in [vec![large(&largest)], vec![large(&largest), record(Topic::DeadLetter, &key, "and another")]] {
        let Position { topic, partition, offset } = log.append(records).await.expect("an append")[0];
        let read = log.read(topic, partition, offset, 1, 1).await.expect("a read");
        assert!(read[0].value == largest[..]);
    }
    let larger = [&largest[..], b"x"].concat();
    let is_refused = |outcome| matches!(outcome, Err(LogError::TooLarge { topic: Topic::DeadLetter, bytes }) if bytes == MAX_RECORD_BYTES + 1);
    assert!(is_refused(log.append(vec![large(&larger)]).await));
    let mut consumer = log.subscribe(&unique("group"), Topic::Reception).await.expect("a group");
    assert!(is_refused(consumer.commit(vec![large(&larger)]).await));
    consumer.commit(vec![record(Topic::DeadLetter, &key, "in its place")]).await.expect("a commit");
}

pub async fn reads_keep_to_their_limits(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let value = "x".repeat(1000);
    let positions = append_all(&*log, Topic::Reception, &unique("key"), &[value.as_str(); 10]).await;
    let Position { topic, partition, offset } = positions[0];
    let read = |records, bytes| log.read(topic, partition, offset, records, bytes);
    assert_eq!(read(3, 1 << 20).await.expect("a read").len(), 3);
    assert_eq!(read(100, 1).await.expect("a read").len(), 1, "at least one record, however large");
    let some = read(100, 4000).await.expect("a read").len();
    assert!((2..=8).contains(&some), "about 4000 bytes are not {some} records of 1000");
}

pub async fn reading_at_the_end_is_empty(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    for partition in 0..log.partitions(Topic::DeadLetter) {
        let (_, next) = log.bounds(Topic::DeadLetter, partition).await.expect("bounds");
        for offset in [next, next + 1000] {
            let read = log.read(Topic::DeadLetter, partition, offset, 10, 1000).await.expect("a read");
            assert_eq!(read, []);
        }
    }
}

pub async fn a_partition_that_does_not_exist_is_refused(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let partition = log.partitions(Topic::Reception);
    let is_refused = |error: LogError| matches!(error, LogError::NoPartition { topic: Topic::Reception, .. });
    assert!(log.read(Topic::Reception, partition, 0, 1, 1).await.is_err_and(is_refused));
    assert!(log.bounds(Topic::Reception, partition).await.is_err_and(is_refused));
    assert!(log.wait(Topic::Reception, partition, 0, A_MOMENT).await.is_err_and(is_refused));
}

pub async fn waiting_ends_with_a_record_or_the_timeout(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    let at = append_all(&*log, Topic::Delivery, &key, &["here"]).await[0];
    assert!(log.wait(at.topic, at.partition, at.offset, Duration::ZERO).await.expect("a wait"));
    let (_, next) = log.bounds(at.topic, at.partition).await.expect("bounds");
    assert!(!log.wait(at.topic, at.partition, next + 10, A_MOMENT).await.expect("a wait"));
    let waiter = {
        let log = log.clone();
        tokio::spawn(async move { log.wait(at.topic, at.partition, next, PATIENCE).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    append_all(&*log, Topic::Delivery, &key, &["there"]).await;
    assert!(waiter.await.expect("a waiter").expect("a wait"));
}

pub async fn concurrent_appends_all_get_places_of_their_own(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let prefix = unique("key");
    let writers = (0..50).map(|writer| {
        let (log, key) = (log.clone(), format!("{prefix}-{writer}"));
        tokio::spawn(async move {
            let mut positions = Vec::new();
            for n in 0..20 {
                positions.extend(append_all(&*log, Topic::Reception, &key, &[&n.to_string()]).await);
            }
            assert!(positions.windows(2).all(|pair| pair[0].offset < pair[1].offset));
            positions
        })
    });
    let mut places = HashSet::new();
    for writer in writers.collect::<Vec<_>>() {
        places.extend(writer.await.expect("a writer"));
    }
    assert_eq!(places.len(), 1000);
    let mut found = 0;
    for partition in 0..log.partitions(Topic::Reception) {
        let (offset, _) = log.bounds(Topic::Reception, partition).await.expect("bounds");
        let read = read_from(&*log, Position { topic: Topic::Reception, partition, offset }).await;
        found += read.iter().filter(|record| record.key.starts_with(&prefix)).count();
        assert!(read.windows(2).all(|pair| pair[0].position < pair[1].position));
    }
    assert_eq!(found, 1000);
}

pub async fn what_was_acknowledged_is_there_after_a_restart(place: &dyn Place<dyn Log>) {
    let key = unique("key");
    let before = {
        let log = place.open().await;
        append_all(&*log, Topic::MailboxChanges, &key, &["a", "b"]).await
    };
    let log = place.open().await;
    let after = append_all(&*log, Topic::MailboxChanges, &key, &["c"]).await;
    assert!(before[1] < after[0], "an offset is never given twice");
    let read = read_from(&*log, before[0]).await;
    let values: Vec<&[u8]> = read.iter().filter(|record| record.key == key).map(|record| &record.value[..]).collect();
    assert_eq!(values, [b"a", b"b", b"c"]);
}

pub async fn nothing_is_appended_for_nothing(place: &dyn Place<dyn Log>) {
    let log: Arc<dyn Log> = place.open().await;
    assert_eq!(log.append(Vec::new()).await.expect("an append of nothing"), []);
}
