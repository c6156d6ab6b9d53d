//! The topics, made in one place: partitions, replicas and what is kept.

use std::collections::HashMap;

use millrace_schemas::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use super::options::{KafkaOptions, MAX_BATCH_BYTES, REQUEST_TIMEOUT, Telling};
use super::reach;
use crate::log::LogError;

/// Makes the topics that do not exist, and gives the number of partitions of each.
pub(super) async fn ensure(options: &KafkaOptions) -> Result<HashMap<Topic, u32>, LogError> {
    let cannot = |error: &dyn std::fmt::Display| {
        LogError::Unavailable(format!("the brokers at {} cannot be used: {error}", options.brokers))
    };
    let admin: AdminClient<Telling> = options.admin().create_with_context(Telling).map_err(|error| cannot(&error))?;
    let found = partitions(options).await?;
    let missing: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| !found.contains_key(topic)).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    let sizes = Sizes::of(options);
    let new: Vec<NewTopic<'_>> = missing.iter().map(|topic| sizes.topic(*topic)).collect();
    let request = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    for made in admin.create_topics(&new, &request).await.map_err(|error| cannot(&error))? {
        match made {
            Ok(topic) => tracing::info!(topic, "made a topic"),
            // Another process was there first.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => return Err(cannot(&format!("the topic {topic} cannot be made: {error}"))),
        }
    }
    // Brokers learn of a new topic one after the other.
    for _ in 0..100 {
        let found = partitions(options).await?;
        if found.len() == Topic::ALL.len() {
            return Ok(found);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(cannot(&"new topics do not appear"))
}

/// What Kafka's options say as text.
struct Sizes {
    partitions: i32,
    replicas: i32,
    min_insync_replicas: String,
    max_batch_bytes: String,
}

impl Sizes {
    fn of(options: &KafkaOptions) -> Self {
        let replicas = options.replication_factor.max(1) as i32;
        // With three replicas one broker may be away: two still hold every record that was acknowledged.
        let min_insync_replicas = (replicas - 1).max(1).to_string();
        let max_batch_bytes = MAX_BATCH_BYTES.to_string();
        Self { partitions: options.partitions.max(1) as i32, replicas, min_insync_replicas, max_batch_bytes }
    }

    fn topic(&self, topic: Topic) -> NewTopic<'_> {
        let partitions = if topic.is_compacted() { 1 } else { self.partitions };
        let new = NewTopic::new(topic.name(), partitions, TopicReplication::Fixed(self.replicas))
            .set("min.insync.replicas", &self.min_insync_replicas)
            .set("max.message.bytes", &self.max_batch_bytes)
            // The log's own clock: readers compare it with one another's.
            .set("message.timestamp.type", "LogAppendTime")
            .set("unclean.leader.election.enable", "false");
        if topic.is_compacted() {
            new.set("cleanup.policy", "compact")
        } else {
            // What goes, goes by `enforce_retention`, which knows what has been processed.
            new.set("cleanup.policy", "delete").set("retention.ms", "-1").set("retention.bytes", "-1")
        }
    }
}

/// The topics of ours that exist, with their partitions.
async fn partitions(options: &KafkaOptions) -> Result<HashMap<Topic, u32>, LogError> {
    let metadata = reach::metadata(options).await?;
    // A topic that was made a moment ago has no leaders yet, and cannot be read.
    let is_led = |topic: &&MetadataTopic| {
        topic.error().is_none() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
    };
    let ours = metadata.topics().iter().filter(is_led);
    Ok(ours.filter_map(|topic| Some((topic.name().parse().ok()?, topic.partitions().len() as u32))).collect())
}
