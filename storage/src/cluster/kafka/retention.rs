//! What has been processed by everyone and is old enough goes. Kafka's own retention is off: it knows ages, not who has
//! yet to read.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_schemas::Topic;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::options::{KafkaOptions, REQUEST_TIMEOUT, Telling};
use crate::log::LogError;

type Place = (Topic, u32);

/// Drops what is older than the options say. Gives the number of offsets that went.
pub(super) async fn enforce(options: &KafkaOptions, partitions: &HashMap<Topic, u32>) -> Result<u64, LogError> {
    let Some(age) = options.retention_age else { return Ok(0) };
    let cannot = |error: KafkaError| LogError::Unavailable(format!("retention: {error}"));
    let places: Vec<Place> = partitions
        .iter()
        .filter(|(topic, _)| !topic.is_compacted())
        .flat_map(|(topic, count)| (0..*count).map(|partition| (*topic, partition)))
        .collect();
    let asked = options.clone();
    let cuts = tokio::task::spawn_blocking(move || cuts(&asked, &places, age)).await;
    let cuts = cuts.map_err(|error| LogError::Unavailable(error.to_string()))?.map_err(cannot)?;
    if cuts.is_empty() {
        return Ok(0);
    }
    let mut list = TopicPartitionList::new();
    for ((topic, partition), (_, to)) in &cuts {
        list.add_partition_offset(topic.name(), *partition as i32, Offset::Offset(*to)).map_err(cannot)?;
    }
    delete(options, &list).await.map_err(cannot)?;
    Ok(cuts.values().map(|(from, to)| (to - from).max(0).unsigned_abs()).sum())
}

async fn delete(options: &KafkaOptions, before: &TopicPartitionList) -> Result<(), KafkaError> {
    let admin: AdminClient<Telling> = options.admin().create_with_context(Telling)?;
    let request = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let deleted = admin.delete_records(before, &request).await?;
    deleted.elements().iter().try_for_each(|place| place.error())
}

/// Whether records may be deleted: deletes none.
pub(super) async fn try_to_delete(options: &KafkaOptions, topic: Topic) -> Result<(), LogError> {
    let tried = async {
        let mut none = TopicPartitionList::new();
        none.add_partition_offset(topic.name(), 0, Offset::Offset(0))?;
        delete(options, &none).await
    };
    tried.await.map_err(|error| {
        LogError::Unavailable(format!(
            "records of {topic} cannot be deleted once they are processed and old, so that disks fill: {error}; let \
             kafka.username delete on our topics"
        ))
    })
}

/// By partition, the first kept offset and the one that is to be the first.
fn cuts(options: &KafkaOptions, places: &[Place], age: Duration) -> Result<HashMap<Place, (i64, i64)>, KafkaError> {
    let client: BaseConsumer<Telling> = options.observer("millrace.retention").create_with_context(Telling)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before_ms = now.saturating_sub(age).as_millis() as i64;
    let mut cuts = HashMap::new();
    for &(topic, partition) in places {
        let (first, end) = client.fetch_watermarks(topic.name(), partition as i32, REQUEST_TIMEOUT)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic.name(), partition as i32, Offset::Offset(before_ms))?;
        let found = client.offsets_for_times(list, REQUEST_TIMEOUT)?;
        let to = match found.elements().first().map(|place| place.offset()) {
            Some(Offset::Offset(offset)) => offset,
            // All of it is older.
            _ => end,
        };
        if to > first {
            cuts.insert((topic, partition), (first, to));
        }
    }
    if cuts.is_empty() {
        return Ok(cuts);
    }
    for (topic, group) in &options.needed_by {
        hold_back(options, group, Some(*topic), &mut cuts)?;
    }
    for group in client.fetch_group_list(None, REQUEST_TIMEOUT)?.groups() {
        hold_back(options, group.name(), None, &mut cuts)?;
    }
    Ok(cuts)
}

/// Keeps what a group has not processed, on the partitions where it has a position; and all of a topic that needs the
/// group where it has none.
fn hold_back(
    options: &KafkaOptions,
    group: &str,
    needed_by: Option<Topic>,
    cuts: &mut HashMap<Place, (i64, i64)>,
) -> Result<(), KafkaError> {
    if cuts.is_empty() {
        return Ok(());
    }
    let observer: BaseConsumer<Telling> = options.observer(group).create_with_context(Telling)?;
    let mut list = TopicPartitionList::new();
    for (topic, partition) in cuts.keys() {
        list.add_partition(topic.name(), *partition as i32);
    }
    for place in observer.committed_offsets(list, REQUEST_TIMEOUT)?.elements() {
        let Ok(topic) = place.topic().parse::<Topic>() else { continue };
        let key = (topic, place.partition().unsigned_abs());
        let Some((_, to)) = cuts.get_mut(&key) else { continue };
        match place.offset() {
            Offset::Offset(at) => *to = (*to).min(at.saturating_sub_unsigned(topic.look_back())),
            _ if needed_by == Some(topic) => *to = i64::MIN,
            _ => {}
        }
    }
    cuts.retain(|_, (first, to)| to > first);
    Ok(())
}
